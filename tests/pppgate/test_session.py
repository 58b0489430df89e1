"""Session: what it says of itself, and what becomes of its address."""

import json

from tests.support.serial_world import SerialWorld


def test_a_stay_is_plain_data_at_every_moment() -> None:
    world = SerialWorld()
    status = json.loads(json.dumps(world.session.status()))
    assert (status["name"], status["key"], status["address"]) == (world.port.name, "line#0", None)
    world.up()
    status = json.loads(json.dumps(world.session.status()))
    assert status["address"] == "10.0.2.15"
    assert status["end"]["link"]["phase"] == "network" and status["end"]["port"]["kind"] == "virtual"
    world.session.abandon(world.now)
    status = json.loads(json.dumps(world.session.status()))
    assert status["address"] is None and status["end"]["link"]["phase"] == "dead"


def test_the_counters_of_a_stay_are_those_of_framing_link_and_end() -> None:
    world = SerialWorld()
    world.up()
    world.octets(b"~\xff\x03\x00\x21 noise~")
    world.settle()
    assert world.session.counters["hdlc.fcs"] == 1 and world.session.counters["hdlc.frames"] > 3

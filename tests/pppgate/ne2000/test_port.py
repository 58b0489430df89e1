"""The port whose other end is an NE2000: doorbells, refusal, the end."""

import select
from collections.abc import Iterator

import pytest

from pppgate.ether.links.port import FramePort
from pppgate.ne2000.port import QUEUE_MOST, Ne2000Port
from serialport.port import HangUp
from tests.support.ne2000_bench import MAC, PEER, Bench, LinuxDriver, frame


class Cable(Bench):
    """A card that is in a port, with Linux's driver on it."""

    def __init__(self) -> None:
        super().__init__()
        self.port = Ne2000Port("card", MAC, interrupt=self.edges.append)
        self.card = self.port.card
        self.driver = LinuxDriver(self)
        self.driver.probe()
        self.driver.initialize()

    def events(self) -> str:
        readable, writable, _ = select.select([self.port.fd], [self.port.fd], [], 0)
        return "r" * len(readable) + "w" * len(writable)


@pytest.fixture
def cable() -> Iterator[Cable]:
    cable = Cable()
    yield cable
    cable.port.close()


def test_it_is_a_lossless_frame_port(cable: Cable) -> None:
    port: FramePort = cable.port
    assert port.lossless
    assert port.name == "card"
    assert cable.events() == "w"
    assert port.receive() == []


def test_frames_from_the_guest(cable: Cable) -> None:
    frames = [frame(60 + seed, to=PEER, seed=seed) for seed in range(5)]
    for data in frames:
        cable.driver.transmit(data)
    assert cable.events() == "rw"
    assert cable.port.receive() == frames
    assert cable.events() == "w"


def test_frames_to_the_guest(cable: Cable) -> None:
    frames = [frame(100, seed=seed) for seed in range(5)]
    assert cable.port.send(frames) == 5
    cable.driver.interrupt()
    assert cable.driver.received == frames


def test_what_the_ring_has_no_room_for_is_refused_until_it_has(cable: Cable) -> None:
    frames = [frame(1514, seed=seed) for seed in range(12)]
    taken = cable.port.send(frames)
    assert taken == 8
    assert cable.events() == ""
    assert cable.port.send(frames[taken:]) == 0
    cable.driver.interrupt()
    assert cable.events() == "w"
    assert cable.port.send(frames[taken:]) == 4
    cable.driver.interrupt()
    assert cable.driver.received == frames
    assert not cable.port.count


def test_a_short_frame_behind_a_refused_one_does_not_open_the_way_early(cable: Cable) -> None:
    assert cable.port.send([frame(1514)] * 9) == 8
    assert cable.port.send([frame(60)]) == 1  # there are pages enough for it
    assert cable.events() == ""
    cable.driver.interrupt()
    assert cable.events() == "w"


def test_a_guest_that_is_not_up_loses_frames_and_holds_nobody_up(cable: Cable) -> None:
    cable.port.send([frame(1514)] * 9)
    cable.card.reset()
    assert cable.events() == "w"
    assert cable.port.send([frame(1514)] * 9) == 9
    assert cable.port.count["ne2k.not_listening"] == 9


@pytest.mark.parametrize("size", [0, 13, 9019, 65536])
def test_a_frame_that_is_none_is_dropped_and_counted(cable: Cable, size: int) -> None:
    assert cable.port.send([bytes(size), frame()]) == 2
    assert cable.port.count["ne2k.bad_length"] == 1
    cable.driver.interrupt()
    assert cable.driver.received == [frame()]


def test_a_guest_that_is_not_read_is_bounded(cable: Cable) -> None:
    number = QUEUE_MOST // 1514 + 10
    for seed in range(number):
        cable.driver.transmit(frame(1514, to=PEER, seed=seed))
    got = []
    while frames := cable.port.receive():
        assert sum(map(len, frames)) <= 65536 + 1514
        got += frames
    assert got == [frame(1514, to=PEER, seed=seed) for seed in range(len(got))]
    assert len(got) + cable.port.count["ne2k.queue_full"] == number
    assert cable.port.count["ne2k.queue_full"] > 0
    assert cable.events() == "w"
    dropped = cable.port.count["ne2k.queue_full"]
    for _ in range(number):
        cable.driver.transmit(frame(1514, to=PEER))
        assert len(cable.port.receive()) == 1
    assert cable.port.count["ne2k.queue_full"] == dropped


def test_an_unplugged_card_is_a_hangup_after_its_last_frame(cable: Cable) -> None:
    cable.port.send([frame(1514)] * 9)
    cable.driver.transmit(frame(60, to=PEER))
    cable.port.unplug()
    assert cable.events() == "rw"
    assert cable.port.send([frame(1514)] * 9) == 9
    assert cable.port.receive() == [frame(60, to=PEER)]
    assert cable.events() == "rw"
    with pytest.raises(HangUp):
        cable.port.receive()


def test_a_closed_port_leaves_the_card_harmless(cable: Cable) -> None:
    cable.port.close()
    cable.port.close()
    cable.driver.transmit(frame(60, to=PEER))
    cable.card.reset()
    cable.port.unplug()
    assert cable.port.count["ne2k.closed"] == 1

"""Edges of LCP, IPCP and framing: an end at a time, two ends on a wire, and through a whole gateway."""

import math

import pytest

from ipcp.protocol import IPCP_WORDS, Ipcp
from lcp import fcs
from lcp.config import LinkConfig
from lcp.fsm import State, Timing
from lcp.hdlc import SLACK, Deframer, Framer
from lcp.packet import build, parse
from lcp.trace import WORDS, describe
from tests.support.ppp_ends import GATEWAY, GUEST, End, Wire, client, lender_of, server
from tests.support.serial_world import Canary, SerialWorld

REQ, ACK, NAK, REJ, TERM = 1, 2, 3, 4, 5


def both_up() -> Wire:
    wire = Wire(server(), client())
    wire.up()
    wire.settle()
    assert wire.a.ipcp is not None and wire.a.ipcp.opened
    wire.a.taken()
    return wire


def codes(sent: list[bytes]) -> list[int | None]:
    return [packet and packet.code for packet in map(parse, sent)]


def state(end: End) -> State:
    """Anew each time: a type checker takes a field for what it was when it was last compared."""
    return end.link.lcp.state


def test_a_request_while_we_hang_up_is_no_redial() -> None:  # RFC 1661 section 4.1: Stopping stays Stopping
    end = both_up().a
    end.link.lcp.fail(10.0, "enough")
    assert codes(end.taken()) == [TERM]
    end.give(REQ, 9, b"", now=10.1)
    assert end.taken() == [] and state(end) == State.STOPPING
    end.link.tick(13.0)
    assert codes(end.taken()) == [TERM]
    end.link.tick(16.0)
    assert state(end) == State.STOPPED and end.link.deadline == math.inf
    end.give(REQ, 9, b"", now=17.0)
    assert codes(end.taken()) == [REQ, ACK]


def test_terminate_of_the_peer_leaves_it_one_period_to_hang_up() -> None:  # zrc
    end = both_up().a
    end.give(TERM, 9, now=50.0)
    assert end.link.deadline == 53.0
    end.link.tick(52.9)
    assert state(end) == State.STOPPING
    end.link.tick(53.0)
    assert state(end) == State.STOPPED


@pytest.mark.parametrize("kind", (3, 129, 131))
@pytest.mark.parametrize("value", (b"", b"\x0a", b"\x0a\x00\x02", bytes(5), bytes(253)))
def test_an_address_of_the_wrong_length_is_naked_with_one_of_the_right(kind: int, value: bytes) -> None:
    end = both_up().a
    option = bytes((kind, 2 + len(value))) + value
    end.give(REQ, 7, (b"\x03\x06" + GUEST if kind != 3 else b"") + option, protocol=0x8021)
    packet = parse(end.taken(0x8021)[-1])
    assert packet is not None and packet.code == NAK and packet.data[:2] == bytes((kind, 6)) and len(packet.data) >= 6


def test_a_guest_that_wants_our_address_gets_its_own() -> None:  # RFC 1332 section 3.3
    end = both_up().a
    end.give(REQ, 7, b"\x03\x06" + GATEWAY, protocol=0x8021)
    assert parse(end.taken(0x8021)[-1]) == (NAK, 7, b"\x03\x06" + GUEST)


@pytest.mark.parametrize("size", (4, 6))
def test_van_jacobson_of_either_length_is_rejected(size: int) -> None:
    end = both_up().a
    option = bytes((2, size)) + b"\x00\x2d\x0f\x01"[: size - 2]
    end.give(REQ, 7, option + b"\x03\x06" + GUEST, protocol=0x8021)
    assert parse(end.taken(0x8021)[-1]) == (REJ, 7, option)


def test_the_options_of_ipcp_in_words() -> None:
    data = (
        b"\x01\x0a\x0a\x00\x02\x0f\x0a\x00\x02\x02" b"\x02\x06\x00\x2d\x0f\x01" b"\x03\x06\x00\x00\x00\x00"
        b"\x81\x06\x0a\x00\x02\x03" b"\x82\x06\x00\x00\x00\x00" b"\x83\x06\x0a\x00\x02\x03" b"\x84\x06\x00\x00\x00\x00"
    )  # fmt: skip
    text = describe(0x8021, build(1, 3, data), {**WORDS, 0x8021: IPCP_WORDS})
    for words in ("<addrs 10.0.2.15 10.0.2.2>", "<compress VJ 0f 01>", "<addr 0.0.0.0>", "<ms-dns1 10.0.2.3>",
                  "<ms-wins1 0.0.0.0>", "<ms-dns2 10.0.2.3>", "<ms-wins2 0.0.0.0>"):  # fmt: skip
        assert words in text


def test_a_client_that_was_rejected_asks_again_in_the_next_negotiation() -> None:
    end = client()
    assert end.ipcp is not None
    end.ipcp.negotiator.take_reject(end.ipcp.negotiator.request(), end.ipcp.negotiator.request())
    assert end.ipcp.negotiator.request() == b""
    end.ipcp.negotiator.restart()
    assert end.ipcp.negotiator.request()[:6] == b"\x03\x06" + bytes(4)


def test_two_name_servers_or_one_that_serves_as_both_or_none() -> None:
    lease = lender_of(lambda wanted: GUEST)
    assert Ipcp.server(GATEWAY, lease, [GATEWAY, GUEST]).dns == [GATEWAY, GUEST]
    assert Ipcp.server(GATEWAY, lease, [GATEWAY]).dns == [GATEWAY]
    assert Ipcp.server(GATEWAY, lease).dns == []


def test_the_accm_changes_in_the_middle_of_the_stream() -> None:  # RFC 1662 section 7.1
    world = SerialWorld(guest_config=LinkConfig(accm=0x000A0000), config=LinkConfig(accm=0xFFFFFFFF))
    world.up()
    canary = Canary(world)
    for accm in (0, 0xFFFFFFFF, 0x000A0000):
        world.end.link.lcp.accm.wanted = accm
        world.end.link.down(world.now)
        world.end.link.up(world.now)
        world.up(60)
        assert world.end.link.lcp.accm.ours == accm
    canary.finish()


def test_what_software_flow_control_adds_to_the_line_is_no_data() -> None:  # XON and XOFF between any two octets
    world = SerialWorld(config=LinkConfig(accm=0x000A0000), guest_config=LinkConfig())
    world.up()
    canary = Canary(world)
    world.spoil_in = lambda data: b"\x11".join(data[i : i + 1] for i in range(len(data))) + b"\x13"
    canary.finish()
    assert not world.count["hdlc.fcs"]


@pytest.mark.parametrize("change", ("double", "delete", "insert"))
def test_one_octet_too_many_or_too_few_costs_two_frames_at_most(change: str) -> None:
    framer = Framer()
    stream = b"~" + b"".join(framer.frame(0x21, bytes((n,)) * 40) for n in range(1, 9))
    for at in range(1, len(stream)):
        octet = stream[at : at + 1]
        put = {"double": octet + octet, "delete": b"", "insert": b"\x55" + octet}[change]
        deframer = Deframer()
        frames = deframer.feed(stream[:at] + put + stream[at + 1 :])
        assert len(frames) >= 6
        assert sum(number for name, number in deframer.count.items() if name != "hdlc.frames") <= 2


def test_pap_and_chap_packets_of_other_phases_are_counted() -> None:
    end = both_up().a
    for protocol in (0xC023, 0xC223):
        end.give(1, 1, b"\x01a\x01b", protocol=protocol)
    assert end.link.count["link.protocol_rejected"] == 2
    end.link.down(1.0)
    end.link.up(1.0)
    for protocol in (0xC023, 0xC223, 0x8021, 0x21):
        end.give(1, 1, b"\x01a\x01b", protocol=protocol)
    assert end.link.count["link.out_of_phase"] == 4


@pytest.mark.parametrize("over", (-1, 0, 1))
def test_the_longest_frame_and_one_octet_more(over: int) -> None:
    deframer = Deframer(1500)
    body = b"\x21" + b"E" * (1500 + SLACK - 3 + over)
    frames = deframer.feed(b"~" + body + fcs.compute(body).to_bytes(2, "little") + b"~")
    assert len(frames) == (over <= 0) and deframer.count["hdlc.giant"] == (over > 0)


@pytest.mark.parametrize("over", (0, 1))
def test_the_longest_beginning_of_a_frame_and_one_octet_more(over: int) -> None:
    deframer = Deframer(1500)
    most = 2 * (1500 + SLACK)
    assert deframer.feed(b"~" + b"U" * (most + over)) == []
    assert len(deframer._tail) == (0 if over else most) and deframer.count["hdlc.giant"] == over


def test_the_timers_and_counters_of_rfc_1661() -> None:  # section 4.6
    assert Timing() == (3.0, 10, 2, 5)


def test_what_was_agreed_in_words_and_numbers() -> None:
    wire = both_up()
    ours, theirs = wire.a.ipcp, wire.b.ipcp
    assert ours is not None and theirs is not None
    assert (theirs.local, theirs.remote, ours.local, ours.remote) == (GUEST, GATEWAY, GATEWAY, GUEST)
    assert ours.summary() == ("local 10.0.2.2, remote 10.0.2.15, DNS 10.0.2.3", "")


def test_a_server_whose_address_was_rejected_announces_it_in_the_next_negotiation() -> None:
    end = server()
    assert end.ipcp is not None
    negotiator = end.ipcp.negotiator
    negotiator.take_reject(negotiator.request(), negotiator.request())
    assert negotiator.request() == b""
    negotiator.restart()
    assert negotiator.request() == b"\x03\x06" + GATEWAY


def test_options_that_are_too_short_for_words_are_shown_as_octets() -> None:
    text = describe(0x8021, build(1, 3, b"\x01\x04\x0a\x0b\x02\x04\x00\x2f\x03\x03\x0c"), {**WORDS, 0x8021: IPCP_WORDS})
    assert "<addrs 0a0b>" in text and "<compress 002f>" in text and "<addr 0c>" in text

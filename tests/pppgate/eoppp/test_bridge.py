"""pppgate.eoppp.bridge: one guest behind a PPP session, without either; DHCP by messages that a client would send."""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.dirty import Dirty
from nat.icmp import BURST
from nat.line import Line
from nat.rules import Asked, PppRules
from nat.wire.checksum import checksum
from nat.wire.ipv4 import DONT_FRAGMENT, build_ipv4, is_host
from nat.wire.udp import build_udp
from pppgate.eoppp.bridge import (
    FLOW_MOST,
    HELD_MOST,
    LINE_MOST,
    SERVER,
    Bridge,
    neighborhood,
)
from pppgate.eoppp.bridge_dhcp import BridgeDhcp
from pppgate.eoppp.call import Agreed
from pppgate.ether.bridge_port import Neighbor
from pppgate.ether.dhcp_service import Answer
from pppgate.ether.frame import BROADCAST, IPV4, header
from pppgate.ether.segment import Segment
from tests.pppgate.ether.test_segment import FakeDhcp, FakePort, FakeWatcher
from tests.support.ether_guest import (
    ACK,
    DECLINE,
    DISCOVER,
    MAC,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    dhcp_message,
    dhcp_options,
)


def ip(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


LOCAL, REMOTE, DNS, ELSEWHERE = map(ip, ("10.9.0.77", "10.9.0.1", "10.9.0.53", "198.51.100.7"))
OTHER = ip("10.9.0.99")
AGREED = Agreed(LOCAL, REMOTE, (DNS,), 1500)
SECOND = b"\x52\x54\0\0\0\2"
KEYS = ("ether client", "ether 52:54:00:00:00:01")
NOW = 1000.0


class Calls:
    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.used = 0.0
        self.hopeful = False
        self.woken = 0

    def wake(self, now: float) -> None:
        self.woken += 1

    def note_traffic(self, now: float) -> None:
        self.used = now

    def start(self, now: float) -> None: ...

    def end(self, now: float) -> None: ...

    def close(self, now: float) -> None: ...

    def status(self) -> dict[str, object]:
        return {}


class Port:
    def __init__(self) -> None:
        self.ready: dict[object, None] = {}

    def mark(self) -> None: ...


@dataclass
class Rig:
    bridge: Bridge
    calls: Calls
    count: Counter[str]

    def host(self, address: bytes = LOCAL, mac: bytes = MAC) -> Neighbor:
        """A host that uses the address."""
        arrive = partial(self.bridge.arrive, KEYS, NOW)
        return Neighbor(address, mac, Port(), b"", Asked(PppRules()), arrive, NOW)  # type: ignore[arg-type]

    def out(self) -> list[bytes]:
        """What goes to the server."""
        return self.bridge.line.take(1 << 20)

    def back(self, neighbor: Neighbor) -> list[bytes]:
        """What goes to the host."""
        return neighbor.line.take(1 << 20)


def rig(agreed: Agreed | None = AGREED, **options: Any) -> Rig:
    count: Counter[str] = Counter()
    calls = Calls()
    bridge = Bridge(
        count, lambda when, call: None, PppRules(), lambda said: None, lambda bridge: calls, lease=60.0, **options
    )
    if agreed is not None:
        bridge.link_up(agreed, NOW)
    return Rig(bridge, calls, count)


def packet(source: bytes = LOCAL, to: bytes = ELSEWHERE, size: int = 20, port: int = 80, flags: int = 0) -> bytes:
    return build_udp(source, 4000, to, port, bytes(size), flags=flags, identification=7)


# Packets


def test_packets_pass_unchanged_both_ways_without_their_padding() -> None:
    it = rig()
    host = it.host()
    out, back = packet(), packet(ELSEWHERE, LOCAL)
    host.receive(out + bytes(12), NOW)
    it.bridge.receive(back, NOW + 1)
    assert it.out() == [out] and it.back(host) == [back]
    assert it.calls.used == NOW + 1 and not it.count


GOOD = packet()


@pytest.mark.parametrize(
    "bad", [b"", b"\x45", GOOD[:19], b"\x55" + GOOD[1:], b"\x44" + GOOD[1:], GOOD[:-1], b"\x4f" + GOOD[1:]]
)
def test_what_is_no_packet_is_counted(bad: bytes) -> None:
    it = rig()
    host = it.host()
    host.receive(bad, NOW)
    it.bridge.receive(bad, NOW)
    assert it.out() == [] and it.back(host) == []
    assert +it.count == {"bridge.malformed": 2}


def test_only_the_negotiated_address_may_be_used() -> None:
    it = rig()
    host = it.host()
    host.receive(packet(OTHER), NOW)
    assert it.out() == [] and it.count == {"bridge.old_address": 1}
    it.bridge.receive(packet(ELSEWHERE, OTHER), NOW)
    it.bridge.receive(packet(LOCAL, LOCAL), NOW)
    assert it.back(host) == []
    assert +it.count == {"bridge.old_address": 1, "bridge.not_the_guests": 1, "bridge.forged": 1}


@pytest.mark.parametrize(
    "to", ["224.0.0.251", "255.255.255.255", "127.0.0.1", "0.0.0.1", "169.254.169.254", "240.0.0.1"]
)
def test_what_belongs_to_a_segment_stays_on_it(to: str) -> None:
    it = rig()
    it.host().receive(packet(to=ip(to)), NOW)
    assert it.out() == [] and it.count == {"bridge.stays": 1}
    assert not it.bridge.owns(ip(to)) and not is_host(ip(to))


def test_broadcasts_and_what_is_not_ip_stay_on_the_segment_and_do_not_dial() -> None:
    it = rig()
    it.bridge.link_down(NOW)
    router, group = b"\x52\x55" + SERVER, b"\x01\0\x5e\0\0\xfb"
    segment = Segment(
        router, SERVER, it.bridge, FakeDhcp(), FakeWatcher(), Dirty(), lambda said: None, it.count, PppRules()
    )
    guest, other = FakePort(0), FakePort(1)
    ends = [segment.attach(port, NOW) for port in (guest, other)]
    stay = [
        header(BROADCAST, MAC, IPV4) + packet(to=ip("10.9.0.255"), size=40),
        header(BROADCAST, MAC, IPV4) + packet(to=ip("255.255.255.255"), size=40),
        header(group, MAC, IPV4) + packet(to=ip("224.0.0.251"), size=40),
        header(BROADCAST, MAC, 0x8137) + bytes(60),  # IPX
        header(b"\x03\0\0\0\0\x01", MAC, 60) + bytes(60),  # NetBEUI: IEEE 802.3, with a length
        header(SECOND, MAC, 0x86DD) + bytes(60),
    ]
    guest.arrives = [*stay, header(router, MAC, 0x8137) + bytes(60)]
    ends[0].on_readable(NOW)
    ends[1].flush(NOW)
    assert other.sent[-len(stay) :] == stay
    assert it.out() == [] and it.calls.woken == 0 and +it.count == {"ether.unknown_type": 1}
    guest.arrives = [header(router, MAC, IPV4) + packet()]
    ends[0].on_readable(NOW)
    assert it.calls.woken == 1


def test_without_a_guest_packets_for_it_are_counted() -> None:
    it = rig()
    it.bridge.receive(packet(ELSEWHERE, LOCAL), NOW)
    assert +it.count == {"bridge.nobody_there": 1}


def test_a_full_queue_drops_from_the_flow_that_fills_it() -> None:
    it = rig()
    host = it.host()
    it.bridge.line.flow_limit = 6000
    for _ in range(40):
        host.receive(packet(size=1400), NOW)
    host.receive(packet(size=10, port=53), NOW)
    sent = it.out()
    assert sum(map(len, sent)) <= FLOW_MOST + 100 and any(len(each) == 38 for each in sent[:8])
    assert it.count["bridge.queue_full"] == 41 - len(sent)
    for port in range(400):
        host.receive(packet(size=1400, port=port + 1), NOW)
    assert sum(map(len, it.out())) <= LINE_MOST


def test_a_fast_line_may_hold_more() -> None:
    it = rig()
    host = it.host()
    it.bridge.line.flow_limit = 4 * FLOW_MOST
    for _ in range(40):
        host.receive(packet(size=1400), NOW)
    assert len(it.out()) == 40


def test_packets_that_are_too_long_are_cut_or_complained_about() -> None:
    it = rig(Agreed(LOCAL, REMOTE, (), 296))
    host = it.host()
    host.receive(packet(size=1000), NOW)
    pieces = it.out()
    assert len(pieces) > 3 and max(map(len, pieces)) <= 296
    long = packet(size=1000, flags=DONT_FRAGMENT)
    host.receive(long, NOW)
    (error,) = it.back(host)
    assert it.out() == [] and error[12:20] == SERVER + LOCAL
    kind, code, _, mtu = struct.unpack("!BBHI", error[20:28])
    assert (kind, code, mtu) == (3, 4, 296) and error[28:] == long[:28] and not checksum(error[20:])


# While there is no link


def test_while_the_link_is_down_the_host_is_told() -> None:
    it = rig()
    host = it.host()
    it.bridge.link_down(NOW)
    host.receive(packet(), NOW)
    (error,) = it.back(host)
    assert error[20:22] == b"\x03\x01" and error[24:28] == bytes(4)
    assert it.calls.woken == 1 and it.out() == []
    assert it.count["bridge.link_down"] == 1


def test_it_is_not_told_more_often_than_is_due() -> None:
    it = rig()
    host = it.host()
    it.bridge.link_down(NOW)
    for _ in range(500):
        host.receive(packet(), NOW)
    assert len(it.back(host)) == BURST
    assert it.count["bridge.error_not_sent"] == 500 - BURST
    icmp_error = build_ipv4(LOCAL, ELSEWHERE, 1, b"\x03\x01" + bytes(30))
    host.receive(icmp_error, NOW + 10)
    assert it.back(host) == []


def test_while_it_comes_up_packets_wait_within_bounds() -> None:
    it = rig()
    host = it.host()
    it.bridge.link_down(NOW)
    it.calls.hopeful = True
    host.receive(packet(), NOW)
    for port in range(100):
        host.receive(packet(size=1400, port=port + 100), NOW)
    assert it.back(host) == []
    it.bridge.link_up(AGREED, NOW)
    waited = it.out()
    assert waited[0] == packet() and sum(map(len, waited)) <= HELD_MOST


def test_what_waited_is_dropped_when_the_call_fails_or_brings_another_address() -> None:
    it = rig()
    host = it.host()
    ends: list[Callable[[], None]] = [
        lambda: it.bridge.link_down(NOW),
        lambda: it.bridge.link_up(Agreed(OTHER, REMOTE, (), 1500), NOW),
    ]
    for end in ends:
        it.bridge.link_down(NOW)
        it.calls.hopeful = True
        host.receive(packet(), NOW)
        end()
        assert it.out() == []


def test_a_guest_wants_the_link_by_what_it_sends_and_not_by_arp() -> None:
    it = rig(None)
    assert not it.bridge.owns(REMOTE) and it.calls.woken == 0
    assert not it.bridge.admit(KEYS, LOCAL, NOW) and it.calls.woken == 1
    it = rig()
    it.bridge.link_down(NOW)
    assert it.bridge.admit(KEYS, LOCAL, NOW) and it.bridge.owns(REMOTE) and it.calls.woken == 0


# Who has the address


def test_arp_is_answered_for_everything_but_the_guest() -> None:
    it = rig()
    assert it.bridge.owns(REMOTE) and it.bridge.owns(ELSEWHERE) and it.bridge.owns(OTHER)
    assert not it.bridge.owns(LOCAL) and not it.bridge.owns(bytes(4))
    assert list(it.bridge.expected()) == [LOCAL] and list(rig(None).bridge.expected()) == []


def test_the_first_host_has_it_until_it_leaves() -> None:
    it = rig()
    assert it.bridge.admit(KEYS, LOCAL, NOW) and it.bridge.holds(KEYS, LOCAL)
    assert not it.bridge.admit(KEYS, OTHER, NOW)
    host = it.host()
    assert not it.bridge.admit(("ether other",), LOCAL, NOW + 1e6) and not it.bridge.holds(("ether other",), LOCAL)
    it.bridge.leave(host, NOW)
    assert it.bridge.admit(("ether other",), LOCAL, NOW)


def test_after_a_redial_with_another_address_the_old_one_is_nobodys() -> None:
    it = rig()
    assert it.bridge.admit(KEYS, LOCAL, NOW)
    old = it.host()
    it.bridge.link_down(NOW)
    it.bridge.link_up(Agreed(OTHER, REMOTE, (), 1500), NOW)
    assert not it.bridge.holds(KEYS, LOCAL) and it.bridge.admit(("ether other",), OTHER, NOW)
    old.receive(packet(), NOW)
    assert +it.count == {"bridge.old_address": 1}
    it.bridge.leave(old, NOW)
    assert it.bridge.holds(("ether other",), OTHER)


def test_a_guest_with_an_address_of_before_is_there_again_when_that_comes_back() -> None:
    it = rig()
    host = it.host()
    for agreed in (Agreed(OTHER, REMOTE, (), 1500), AGREED):
        it.bridge.link_down(NOW)
        it.bridge.link_up(agreed, NOW)
    it.bridge.receive(packet(ELSEWHERE, LOCAL), NOW)
    assert len(it.back(host)) == 1


# DHCP


def ask(
    it: Rig, dhcp: BridgeDhcp, payload: bytes, mac: bytes = MAC, now: float = NOW
) -> tuple[int, bytes, dict[int, bytes]]:
    """(kind, address, options) of the answer; kind 0: none."""
    answers: list[Answer] = []
    dhcp.receive(payload, mac, bytes(4), now, lambda answer, now: answers.append(answer))
    if not answers or not answers[0].payload:
        return 0, b"", {}
    (answer,) = answers
    options = dhcp_options(answer.payload)
    return options[53][0], answer.payload[16:20], options


def desk(it: Rig) -> BridgeDhcp:
    return BridgeDhcp(it.bridge, it.count)


def test_dhcp_tells_what_was_negotiated() -> None:
    it = rig(Agreed(LOCAL, REMOTE, (DNS, ELSEWHERE), 576), domain="example.org", search=("example.org",))
    dhcp = desk(it)
    kind, address, options = ask(it, dhcp, dhcp_message(DISCOVER, _55=bytes((1, 3, 6, 15, 26, 119))))
    assert (kind, address) == (OFFER, LOCAL)
    kind, address, options = ask(
        it, dhcp, dhcp_message(REQUEST, _50=LOCAL, _54=SERVER, _55=bytes((1, 3, 6, 15, 26, 119)))
    )
    assert (kind, address, options[54]) == (ACK, LOCAL, SERVER)
    assert options[3] == REMOTE and options[6] == DNS + ELSEWHERE and options[26] == (576).to_bytes(2, "big")
    assert options[51] == (60).to_bytes(4, "big") and options[1] == ip("255.255.255.128")
    assert options[15] == b"example.org"


def test_our_own_name_servers_take_the_place_of_the_servers() -> None:
    _, _, options = ask(it := rig(dns=(ELSEWHERE,)), desk(it), dhcp_message(DISCOVER, _55=b"\x06"))
    assert options[6] == ELSEWHERE


def test_dhcp_before_there_is_an_address_wants_the_link_and_is_silent() -> None:
    it = rig(None)
    assert ask(it, desk(it), dhcp_message(DISCOVER))[0] == 0
    assert it.calls.woken == 1


def test_a_renewal_while_the_link_is_down_is_granted_and_wants_nothing() -> None:
    it = rig()
    it.bridge.link_down(NOW)
    assert ask(it, desk(it), dhcp_message(REQUEST, ciaddr=LOCAL))[0] == ACK
    assert it.calls.woken == 0


def test_a_renewal_of_the_old_address_is_refused_and_the_new_one_offered() -> None:
    it = rig()
    dhcp = desk(it)
    assert ask(it, dhcp, dhcp_message(REQUEST, _50=LOCAL))[0] == ACK
    it.bridge.link_down(NOW)
    it.bridge.link_up(Agreed(OTHER, REMOTE, (), 1500), NOW)
    assert ask(it, dhcp, dhcp_message(REQUEST, ciaddr=LOCAL))[0] == NAK
    assert ask(it, dhcp, dhcp_message(DISCOVER))[:2] == (OFFER, OTHER)


def test_a_second_guest_gets_nothing_until_the_first_has_given_it_back() -> None:
    it = rig()
    dhcp = desk(it)
    assert ask(it, dhcp, dhcp_message(REQUEST, _50=LOCAL))[0] == ACK
    assert ask(it, dhcp, dhcp_message(DISCOVER, SECOND), SECOND)[0] == 0
    assert ask(it, dhcp, dhcp_message(REQUEST, SECOND, _50=LOCAL), SECOND)[0] == NAK
    ask(it, dhcp, dhcp_message(RELEASE, SECOND, ciaddr=LOCAL, _54=SERVER), SECOND)
    assert ask(it, dhcp, dhcp_message(DISCOVER, SECOND), SECOND)[0] == 0  # it was not its own to give back
    ask(it, dhcp, dhcp_message(RELEASE, ciaddr=LOCAL, _54=SERVER))
    assert ask(it, dhcp, dhcp_message(DISCOVER, SECOND), SECOND)[:2] == (OFFER, LOCAL)


def test_a_lease_that_was_not_renewed_ends() -> None:
    it = rig()
    dhcp = desk(it)
    assert ask(it, dhcp, dhcp_message(REQUEST, _50=LOCAL))[0] == ACK
    assert ask(it, dhcp, dhcp_message(DISCOVER, SECOND), SECOND, NOW + 59)[0] == 0
    assert ask(it, dhcp, dhcp_message(DISCOVER, SECOND), SECOND, NOW + 61)[0] == OFFER


def test_a_boot_rom_and_the_system_after_it_are_one_guest() -> None:
    it = rig()
    dhcp = desk(it)
    assert ask(it, dhcp, dhcp_message(REQUEST, _50=LOCAL, _61=b"\0rom"))[0] == ACK
    assert ask(it, dhcp, dhcp_message(DISCOVER, _61=b"\xffsystem"))[:2] == (OFFER, LOCAL)
    assert ask(it, dhcp, dhcp_message(REQUEST, _50=LOCAL, _61=b"\xffsystem"))[0] == ACK
    assert it.bridge.admit(KEYS, LOCAL, NOW)


def test_a_decline_is_counted_and_changes_nothing() -> None:
    it = rig()
    dhcp = desk(it)
    ask(it, dhcp, dhcp_message(REQUEST, _50=LOCAL))
    ask(it, dhcp, dhcp_message(DECLINE, _50=LOCAL, _54=SERVER))
    assert it.count["bridge.declined"] == 1
    assert ask(it, dhcp, dhcp_message(DISCOVER))[0] == OFFER


# The network that PPP has not


@pytest.mark.parametrize(
    ("local", "remote", "router", "prefix"),
    [
        ("10.0.2.15", "10.0.2.2", "10.0.2.2", 27),
        ("10.9.0.1", "10.9.0.2", "10.9.0.2", 30),
        ("10.64.3.7", "192.0.0.1", "10.64.3.6", 28),
        ("10.64.3.5", None, "10.64.3.6", 30),
        ("10.0.0.0", None, "10.0.0.1", 6),
        ("128.0.0.0", None, "128.0.0.1", 1),
    ],
)
def test_neighborhood(local: str, remote: str | None, router: str, prefix: int) -> None:
    found = neighborhood(ip(local), ip(remote) if remote else None)
    assert found == (ip(router), prefix)


hosts = st.one_of(st.integers(0x01000000, 0x7EFFFFFF), st.integers(0x80000001, 0xDFFFFFFF))


@given(hosts, st.one_of(st.none(), hosts))
def test_the_router_is_in_the_guests_network_and_neither_is_its_edge(local: int, remote: int | None) -> None:
    far = None if remote in (None, local) else remote.to_bytes(4, "big")
    router, prefix = neighborhood(local.to_bytes(4, "big"), far)
    host = (1 << 32 - prefix) - 1
    number = int.from_bytes(router, "big")
    assert 1 <= prefix <= 30 and number != local and number & ~host == local & ~host
    assert 0 < local & host < host and 0 < number & host < host


@given(st.lists(st.tuples(st.sampled_from("<>ud"), st.binary(max_size=60)), max_size=30))
def test_any_octets_either_way(events: list[tuple[str, bytes]]) -> None:
    it = rig()
    host = it.host()
    for what, octets in events:
        match what:
            case "<":
                it.bridge.receive(octets, NOW)
            case ">":
                host.receive(b"\x45" + octets[1:12] + LOCAL + octets[16:], NOW)
            case "u":
                it.bridge.link_up(AGREED, NOW)
            case "d":
                it.bridge.link_down(NOW)
    assert isinstance(host.line, Line) and host.line.queued <= 1 << 20
    assert all(each[12:16] == LOCAL for each in it.out())

"""nat.station and nat.gateway: what is checked of every packet, and where a destination leads."""

import math
from collections import Counter
from random import Random

import pytest

from nat.context import Context
from nat.deadlines import Deadlines
from nat.dns import Dns
from nat.gateway import KEEP_AWAY, Gateway
from nat.rules import Rules
from nat.station import Station
from nat.wire.checksum import checksum
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import ICMP, UDP, build_ipv4
from nat.wire.tcp import ACK, RST, SYN, build_segment
from nat.wire.udp import build_udp
from tests.support.tcp_peer import StreamHost, StreamSocket

GATEWAY, DNS, GUEST, OTHER = (bytes((10, 0, 2, last)) for last in (2, 3, 15, 16))
OUTSIDE = bytes((192, 0, 2, 1))
NOW = 1000.0


class Host(StreamHost):
    own = bytes((198, 51, 100, 7))

    def owns(self, address: bytes) -> bool:
        return address == self.own

    def resolvers(self) -> list[object]:
        return []


class Net:
    def __init__(self, *, host_loopback: bool = False, internet_only: bool = False) -> None:
        self.host = Host()
        self.notes: list[str] = []
        rules = Rules(
            self.host,
            (bytes((10, 0, 2, 0)), 24),
            GATEWAY,
            dns=DNS,
            host_loopback=host_loopback,
            internet_only=internet_only,
        )
        self.context = Context(self.host, rules, Deadlines(), Random(5), self.notes.append, Counter())  # type: ignore[arg-type]
        self.gateway = Gateway(self.context, GATEWAY, Dns(self.context, DNS))
        self.kicked = 0
        self.guest = self.arrive(GUEST)

    def arrive(self, address: bytes, mtu: int = 1500) -> Station:
        def kick() -> None:
            self.kicked += 1

        return self.gateway.arrive(address, mtu, kick, NOW)

    def send(self, packet: bytes, station: Station | None = None) -> list[bytes]:
        """What the guest is told in return."""
        station = station or self.guest
        station.receive(packet, NOW)
        self.context.dirty.flush(NOW)
        return station.line.take(1 << 20)

    @property
    def count(self) -> Counter[str]:
        return self.context.count


def syn(destination: bytes, source: bytes = GUEST, port: int = 80) -> bytes:
    return build_segment(source, 40000, destination, port, sequence=1, flags=SYN)


def mended(packet: bytes) -> bytes:
    head = packet[:10] + b"\0\0" + packet[12:20]
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + packet[20:]


@pytest.mark.parametrize(
    ("packet", "counter"),
    (
        (b"", "ip.short"),
        (b"\x45" + bytes(18), "ip.short"),
        (b"\x60" + bytes(39), "ip.bad_header"),
        (b"\x44" + syn(OUTSIDE)[1:], "ip.bad_header"),
        (b"\x4f" + syn(OUTSIDE)[1:], "ip.bad_header"),
        (syn(OUTSIDE)[:2] + b"\x00\x10" + syn(OUTSIDE)[4:], "ip.bad_header"),  # CVE-2020-35684
        (syn(OUTSIDE)[:2] + b"\xff\xff" + syn(OUTSIDE)[4:], "ip.bad_header"),
        (syn(OUTSIDE)[:-1], "ip.bad_header"),
        (syn(OUTSIDE)[:10] + b"\x00\x01" + syn(OUTSIDE)[12:], "ip.bad_checksum"),
        (syn(OUTSIDE, OTHER), "ip.bad_source"),
        (syn(OUTSIDE, GATEWAY), "ip.bad_source"),
        (syn(OUTSIDE, bytes((127, 0, 0, 1))), "ip.bad_source"),
        (syn(OUTSIDE, bytes(4)), "ip.bad_source"),  # CVE-2014-3640
        (syn(OUTSIDE, b"\xff\xff\xff\xff"), "ip.bad_source"),
        (syn(OUTSIDE, b"\xe0\0\0\1"), "ip.bad_source"),
        (syn(GUEST), "ip.land"),  # CVE-1999-0016
        (build_ipv4(GUEST, OUTSIDE, 6, bytes(19)), "tcp.short"),
    ),
)
def test_a_packet_that_lies_is_dropped_and_counted(packet: bytes, counter: str) -> None:
    net = Net()
    assert net.send(packet) == []
    assert net.count[counter] == 1 and not net.host.sockets


def test_every_truncation_of_every_kind_of_packet_is_survived() -> None:
    net = Net()
    packets = [
        syn(OUTSIDE),
        build_udp(GUEST, 1000, DNS, 53, bytes(40)),
        build_udp(GUEST, 1000, GATEWAY, 99, bytes(40)),
        build_icmp(GUEST, GATEWAY, 8, 0, b"\0\1\0\1", b"ping"),
        build_icmp(GUEST, GATEWAY, 3, 3, bytes(4), syn(OUTSIDE)),
    ]
    for packet in packets:
        for size in range(len(packet)):
            net.send(packet[:size])
            shortened = packet[:2] + size.to_bytes(2, "big") + packet[4:size]
            answer = net.send(mended(shortened) if size >= 20 else shortened)
            assert sum(map(len, answer)) <= len(packet) + 28


def test_padding_after_the_packet_is_left_out() -> None:
    net = Net()
    net.send(syn(OUTSIDE) + bytes(7))
    assert len(net.host.sockets) == 1


def test_ip_options_are_stepped_over() -> None:
    net = Net()
    plain = syn(OUTSIDE)
    packet = b"\x46" + plain[1:2] + (len(plain) + 4).to_bytes(2, "big") + plain[4:10] + b"\0\0" + plain[12:20]
    packet += b"\x01\x01\x01\x00"
    packet = packet[:10] + checksum(packet).to_bytes(2, "big") + packet[12:] + plain[20:]
    net.send(packet)
    assert len(net.host.sockets) == 1


def test_a_fragmented_segment_is_put_together() -> None:
    net = Net()
    whole = build_segment(GUEST, 40000, OUTSIDE, 80, sequence=1, flags=SYN, options=b"\x02\x04\x05\xb4")
    first = build_ipv4(GUEST, OUTSIDE, 6, whole[20:36], identification=9, flags=0x2000)
    rest = build_ipv4(GUEST, OUTSIDE, 6, whole[36:], identification=9, flags=2)
    net.send(rest)
    assert not net.host.sockets
    net.send(first)
    # 16 octets of TCP header in the first fragment are enough for the ports, not for the flags (RFC 1858): dropped
    whole_first = build_ipv4(GUEST, OUTSIDE, 6, whole[20:44], identification=10, flags=0x2000)
    net.send(whole_first)
    assert len(net.host.sockets) <= 1


def test_the_gateway_answers_echo_requests_for_its_own_addresses() -> None:
    net = Net()
    for address in (GATEWAY, DNS):
        (answer,) = net.send(build_icmp(GUEST, address, 8, 0, b"\0\1\0\2", b"hello"))
        assert answer[12:20] == address + GUEST and answer[20] == 0 and answer[24:] == b"\0\1\0\2hello"
        assert checksum(answer[20:]) == 0


def test_an_unknown_protocol_is_answered_with_protocol_unreachable() -> None:
    net = Net()
    (answer,) = net.send(build_ipv4(GUEST, OUTSIDE, 47, bytes(30)))
    assert answer[9] == ICMP and answer[20:22] == b"\3\2"


def test_guests_are_routed_to_each_other_one_hop_less() -> None:
    net = Net()
    other = net.arrive(OTHER)
    packet = build_udp(GUEST, 1, OTHER, 2, b"hi", ttl=10)
    assert net.send(packet) == []
    (arrived,) = other.line.take(9999)
    assert arrived[8] == 9 and checksum(arrived[:20]) == 0 and arrived[20:] == packet[20:]
    (expired,) = net.send(build_udp(GUEST, 1, OTHER, 2, b"hi", ttl=1))
    assert expired[20:22] == b"\x0b\0"
    assert not other.line.take(9999)


def test_a_packet_too_big_for_the_other_guest() -> None:
    net = Net()
    other = net.arrive(OTHER, mtu=576)
    (answer,) = net.send(build_udp(GUEST, 1, OTHER, 2, bytes(1000), flags=0x4000))
    assert answer[20:22] == b"\3\4" and answer[26:28] == (576).to_bytes(2, "big")
    assert net.send(build_udp(GUEST, 1, OTHER, 2, bytes(1000))) == []
    pieces = other.line.take(9999)
    assert len(pieces) == 2 and all(len(piece) <= 576 for piece in pieces)


FORBIDDEN = [
    (127, 0, 0, 1), (127, 1, 2, 3), (127, 255, 255, 254), (0, 0, 0, 0), (0, 0, 0, 1), (0, 255, 1, 1),
    (169, 254, 169, 254), (169, 254, 0, 1), (168, 63, 129, 16), (100, 100, 100, 200), (224, 0, 0, 1),
    (239, 255, 255, 255), (240, 0, 0, 1), (255, 255, 255, 255), (10, 0, 2, 2), (10, 0, 2, 255), (10, 0, 2, 0),
    (10, 0, 2, 99), (198, 51, 100, 7),
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN, ids=lambda address: ".".join(map(str, address)))
@pytest.mark.parametrize("protocol", ("tcp", "udp"))
def test_what_is_forbidden_makes_no_socket(address: tuple[int, ...], protocol: str) -> None:
    net = Net()
    destination = bytes(address)
    packet = syn(destination) if protocol == "tcp" else build_udp(GUEST, 1000, destination, 80, b"x")
    answers = net.send(packet)
    assert not net.host.sockets
    assert sum(map(len, answers)) <= len(packet) + 28
    assert sum(number for name, number in net.count.items() if name.startswith("policy.")) >= 1
    silent = 224 <= address[0] < 240 or address in ((255, 255, 255, 255), (10, 0, 2, 255))
    silent |= protocol == "udp" and address[0] == 240  # RFC 1122 section 3.2.2: no ICMP error about a class E address
    assert bool(answers) != silent


@pytest.mark.parametrize("address", ((10, 1, 2, 3), (172, 16, 0, 1), (192, 168, 1, 1), (100, 64, 0, 1)))
def test_internet_only_denies_private_networks(address: tuple[int, ...]) -> None:
    assert len(Net().send(syn(bytes(address)))) == 0
    net = Net(internet_only=True)
    (answer,) = net.send(syn(bytes(address)))
    assert answer[33] == RST | ACK
    assert "--internet-only" in net.notes[0]


def test_host_loopback_leads_the_gateway_to_the_host_and_nothing_else() -> None:
    net = Net(host_loopback=True)
    seen: list[tuple[bytes, int]] = []
    connect = net.host.connect_tcp

    def noted(address: bytes, port: int) -> StreamSocket:
        seen.append((address, port))
        return connect(address, port)

    net.host.connect_tcp = noted  # type: ignore[method-assign]
    net.send(syn(GATEWAY, port=8080))
    net.send(syn(bytes((127, 0, 0, 1)), port=8080))
    assert seen == [(bytes((127, 0, 0, 1)), 8080)]


def test_a_denial_says_which_option_would_allow_it() -> None:
    net = Net()
    net.send(syn(GATEWAY))
    assert "--host-loopback" in net.notes[0] and "10.0.2.2 port 80" in net.notes[0]


def test_a_guest_that_comes_back_is_asked_about_its_connections_and_one_that_stays_away_is_forgotten() -> None:
    net = Net()
    net.send(syn(OUTSIDE))
    net.host.ready(NOW)
    (answer,) = net.guest.line.take(9999)
    sequence = int.from_bytes(answer[24:28], "big")
    established = build_segment(GUEST, 40000, OUTSIDE, 80, sequence=2, acknowledgement=sequence + 1, flags=ACK)
    net.send(established)
    net.gateway.leave(net.guest, NOW)
    assert net.guest.line.send(b"x" * 40, "key") is False
    assert net.arrive(GUEST) is net.guest
    (probe,) = net.guest.line.take(9999)
    assert probe[33] == ACK
    net.gateway.leave(net.guest, NOW)
    net.context.deadlines.expire(NOW + KEEP_AWAY + 1)
    assert GUEST not in net.gateway.stations and net.host.sockets[0].closed
    assert net.guest.deadline == math.inf


def test_a_guest_that_lost_its_address_to_another_takes_nothing_with_it_when_it_leaves() -> None:
    net = Net()
    other = net.gateway.arrive(GUEST, 1500, lambda: None, NOW, "another")
    net.gateway.leave(net.guest, NOW)
    net.context.deadlines.expire(NOW + KEEP_AWAY + 1)
    assert net.gateway.stations[GUEST] is other and other.line.up


def test_random_packets_are_survived() -> None:
    net = Net(host_loopback=False)
    random = Random(3)
    for _ in range(20_000):
        body = random.randbytes(random.randrange(0, 80))
        destination = random.choice((GATEWAY, DNS, OTHER, bytes((127, 0, 0, 1))))
        flags = random.choice((0, 0x4000, 0x2000, 7))
        packet = bytearray(build_ipv4(GUEST, destination, random.choice((1, 6, UDP, 255)), body, flags=flags))
        if random.random() < 0.3:
            packet[random.randrange(len(packet))] ^= 1 << random.randrange(8)
        net.send(mended(bytes(packet)) if random.random() < 0.5 else bytes(packet))
    assert not net.host.sockets

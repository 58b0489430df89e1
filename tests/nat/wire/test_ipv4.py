"""nat.wire.ipv4: the header against Scapy, the helpers for those who look at one field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.wire import ipv4
from nat.wire.ipv4 import DONT_FRAGMENT, MORE_FRAGMENTS, build_ipv4, dotted
from nat.wire.udp import build_udp
from tests.support.oracle import sound
from tests.support.rfc1071 import reference

A = bytes((10, 0, 2, 15))
B = bytes((192, 0, 2, 1))
PACKET = build_udp(A, 1000, B, 2000, b"hello", identification=4711, flags=DONT_FRAGMENT)


def with_options(packet: bytes, options: bytes) -> bytes:
    head = bytes((0x45 + len(options) // 4,)) + packet[1:2] + (len(packet) + len(options)).to_bytes(2, "big")
    return ipv4.with_checksum(head + packet[4:10] + b"\0\0" + packet[12:20] + options) + packet[20:]


def test_ipv4_header() -> None:
    read = sound(build_ipv4(A, B, 99, b"abc", tos=0x10))
    assert (read.proto, read.tos, int(read.flags), read.len) == (99, 0x10, DONT_FRAGMENT >> 13, 23)


def test_dotted() -> None:
    assert dotted(b"\x0a\0\2\xff") == "10.0.2.255"


def test_the_fields_of_a_packet() -> None:
    assert (PACKET[ipv4.SOURCE], PACKET[ipv4.DESTINATION], PACKET[ipv4.ADDRESSES]) == (A, B, A + B)
    assert (PACKET[ipv4.TTL], PACKET[ipv4.PROTOCOL]) == (64, ipv4.UDP)
    assert PACKET[ipv4.IDENTIFICATION] == (4711).to_bytes(2, "big")
    assert (ipv4.version(PACKET), ipv4.header_length(PACKET), ipv4.fragment_field(PACKET)) == (4, 20, DONT_FRAGMENT)
    assert ipv4.quoted(PACKET, 20) == PACKET[:28]


@pytest.mark.parametrize(
    ("packet", "length"),
    (
        (PACKET, 33),
        (PACKET + bytes(9), 33),
        (PACKET[:32], 0),
        (PACKET[:19], 0),
        (b"", 0),
        (b"\x65" + PACKET[1:], 0),
        (b"\x44" + PACKET[1:], 0),
        (b"\x4f" + PACKET[1:], 0),
        (PACKET[:2] + b"\0\x13" + PACKET[4:], 0),
        (with_options(PACKET, b"\1\1\1\0"), 37),
    ),
)
def test_the_length_of_a_packet_or_0(packet: bytes, length: int) -> None:
    assert ipv4.length(packet) == length


@pytest.mark.parametrize(
    ("packet", "protocol", "ports"),
    (
        (PACKET, 17, (b"\x03\xe8", b"\x07\xd0")),
        (PACKET, 6, (b"\x03\xe8", b"\x07\xd0")),
        (PACKET, 1, (b"", b"")),
        (build_ipv4(A, B, 17, PACKET[20:], flags=MORE_FRAGMENTS), 17, (b"", b"")),
        (build_ipv4(A, B, 17, PACKET[20:], flags=1), 17, (b"", b"")),
    ),
)
def test_ports_where_they_are_to_be_seen(packet: bytes, protocol: int, ports: tuple[bytes, bytes]) -> None:
    assert ipv4.ports(packet, 20, protocol) == ports


def test_options_are_taken_off_and_a_hop_is_taken() -> None:
    long = with_options(PACKET, b"\1\1\1\0")
    assert ipv4.without_options(long, 24) == PACKET
    for packet, hlen in ((PACKET, 20), (long, 24)):
        further = ipv4.one_hop_further(packet, hlen)
        assert further[ipv4.TTL] == 63 and reference(further[:hlen]) == 0
        assert further[9:10] + further[12:] == packet[9:10] + packet[12:] and further[:8] == packet[:8]


def test_the_header_of_the_whole() -> None:
    first = build_ipv4(A, B, 17, bytes(8), identification=9, flags=MORE_FRAGMENTS, ttl=7, tos=3)
    read = sound(ipv4.reassembled(first, 20, 20))
    assert (read.len, read.id, int(read.flags), read.frag, read.ttl, read.tos) == (20, 9, 0, 0, 7, 3)


@given(st.binary(min_size=4, max_size=4))
def test_what_a_host_may_have(address: bytes) -> None:
    first = address[0]
    assert ipv4.is_host(address) == (0 < first < 224 and first != 127 and address[:2] != b"\xa9\xfe")

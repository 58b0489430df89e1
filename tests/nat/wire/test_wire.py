"""nat.wire.ipv4: the checksum against the RFC's own words, the builders against Scapy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.wire.ipv4 import (
    DONT_FRAGMENT,
    build_icmp,
    build_ipv4,
    build_udp,
    checksum,
    dotted,
    pseudo_header_sum,
    sum16,
)
from tests.support.oracle import sound

A = bytes((10, 0, 2, 15))
B = bytes((192, 0, 2, 1))
payloads = st.one_of(st.binary(max_size=80), st.binary(min_size=1400, max_size=1500))


def reference(data: bytes) -> int:
    """RFC 1071 section 4.1, word by word."""
    total = 0
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("size", (*range(0, 40), *range(250, 262), *range(734, 740), *range(1468, 1476), 65535))
def test_checksum_at_every_size_where_the_method_changes(size: int) -> None:
    for fill in (b"\0", b"\xff", b"\x01\xfe", b"\xab\xcd\xef"):
        data = (fill * size)[:size]
        assert checksum(data) == reference(data)
        assert sum16(memoryview(data)) == sum16(data)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_checksum_is_rfc_1071(data: bytes) -> None:
    assert checksum(data) == reference(data)


@settings(deadline=None)
@given(payloads, st.integers(1, 65535), st.integers(1, 65535), st.integers(1, 255))
def test_udp_as_scapy_builds_it(payload: bytes, sport: int, dport: int, ttl: int) -> None:
    packet = build_udp(A, sport, B, dport, payload, ttl=ttl, identification=4711)
    read = sound(packet)
    assert (read.src, read.dst, read.ttl, read.id, read.sport, read.dport) == (
        "10.0.2.15", "192.0.2.1", ttl, 4711, sport, dport,
    )  # fmt: skip
    assert bytes(read["UDP"].payload) == payload


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    for word in range(65536):
        packet = build_udp(A, 1, B, 2, word.to_bytes(2, "big"))
        if packet[26:28] == b"\xff\xff":
            break
        assert packet[26:28] != b"\0\0"
    else:
        pytest.fail("one of the words must bring the sum to zero")
    assert (pseudo_header_sum(A, B, 17, 10) + sum16(packet[20:])) % 0xFFFF == 0


@settings(deadline=None)
@given(payloads, st.sampled_from((0, 3, 8, 11)), st.integers(0, 15), st.binary(min_size=4, max_size=4))
def test_icmp_as_scapy_builds_it(payload: bytes, kind: int, code: int, rest: bytes) -> None:
    packet = build_icmp(A, B, kind, code, rest, payload)
    assert reference(packet[20:]) == 0
    assert packet[20:22] == bytes((kind, code))
    if kind in (0, 8):
        sound(packet)


def test_an_empty_echo_reply_of_id_0_and_sequence_0_has_a_checksum_too() -> None:
    packet = build_icmp(A, B, 0, 0, bytes(4), b"")
    assert packet[22:24] == b"\xff\xff"
    sound(packet)


def test_ipv4_header() -> None:
    read = sound(build_ipv4(A, B, 99, b"abc", tos=0x10))
    assert (read.proto, read.tos, int(read.flags), read.len) == (99, 0x10, DONT_FRAGMENT >> 13, 23)


def test_dotted() -> None:
    assert dotted(b"\x0a\0\2\xff") == "10.0.2.255"

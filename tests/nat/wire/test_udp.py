"""nat.wire.udp: the builder against Scapy, the parser against everything that can be wrong."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.wire.checksum import pseudo_header_sum, sum16
from nat.wire.udp import build_udp, destination_port, parse
from tests.support.oracle import sound

A = bytes((10, 0, 2, 15))
B = bytes((192, 0, 2, 1))
payloads = st.one_of(st.binary(max_size=80), st.binary(min_size=1400, max_size=1500))
PACKET = build_udp(A, 1000, B, 2000, b"hello")


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


@given(payloads, st.integers(1, 65535), st.integers(1, 65535))
def test_what_is_built_is_parsed(payload: bytes, sport: int, dport: int) -> None:
    count: Counter[str] = Counter()
    assert parse(build_udp(A, sport, B, dport, payload), 20, count) == (sport, dport, payload)
    assert not count


def test_padding_is_not_payload_and_a_sender_may_leave_the_checksum_out() -> None:
    without = PACKET[:26] + b"\0\0" + PACKET[28:]
    for packet in (PACKET + bytes(10), without, without + b"x"):
        assert parse(packet, 20, Counter()) == (1000, 2000, b"hello")


@pytest.mark.parametrize(
    ("packet", "name"),
    (
        (PACKET[:27], "udp.short"),
        (PACKET[:24] + b"\0\7" + PACKET[26:], "udp.bad_length"),
        (PACKET[:-1], "udp.bad_length"),
        (PACKET[:-1] + b"?", "udp.bad_checksum"),
        (build_udp(A, 0, B, 2000, b""), "udp.port_zero"),
        (build_udp(A, 1000, B, 0, b""), "udp.port_zero"),
    ),
)
def test_what_is_wrong_is_counted_by_name(packet: bytes, name: str) -> None:
    count: Counter[str] = Counter()
    assert parse(packet, 20, count) is None
    assert count == {name: 1}


def test_the_port_before_anything_is_checked() -> None:
    assert destination_port(PACKET, 20) == 2000
    destination_port(PACKET[:21], 20)

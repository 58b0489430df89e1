"""nat.wire.icmp: the builder against Scapy and RFC 1071."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nat.wire.icmp import (
    ECHO,
    ECHO_REPLY,
    IDENTIFIER,
    PAYLOAD,
    SEQUENCE,
    answer,
    build_icmp,
    build_message,
    is_echo,
    is_sound,
)
from tests.support.oracle import sound
from tests.support.rfc1071 import reference

A = bytes((10, 0, 2, 15))
B = bytes((192, 0, 2, 1))
payloads = st.one_of(st.binary(max_size=80), st.binary(min_size=1400, max_size=1500))


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


def test_the_fields_of_a_message() -> None:
    message = build_message(ECHO, 0, b"\1\2\3\4", b"hello")
    assert (message[IDENTIFIER], message[SEQUENCE]) == (b"\1\2", b"\3\4")
    assert message[PAYLOAD] == b"hello" and is_sound(message) and not is_sound(message[:-1] + b"?")


@pytest.mark.parametrize(
    ("message", "kind", "is_one"),
    (
        (build_message(8, 0, bytes(4), b""), ECHO, True),
        (build_message(0, 0, bytes(4), b""), ECHO_REPLY, True),
        (build_message(0, 0, bytes(4), b""), ECHO, False),
        (build_message(8, 1, bytes(4), b""), ECHO, False),
        (build_message(8, 0, bytes(4), b"")[:7], ECHO, False),
        (b"", ECHO, False),
    ),
)
def test_what_is_an_echo(message: bytes, kind: int, is_one: bool) -> None:
    assert is_echo(message, kind) == is_one


@given(st.binary(min_size=4, max_size=64))
@example(b"\0\1\0\0" + bytes.fromhex("fffe"))
@example(bytes(4))
def test_an_answer_is_what_the_echo_asked_for_with_a_sound_checksum(rest: bytes) -> None:
    echo = build_message(ECHO, 0, rest[:4], rest[4:])
    reply = answer(echo)
    assert is_sound(reply) and reply[:2] == b"\0\0" and reply[4:] == rest
    assert reply[2:4] in (build_message(ECHO_REPLY, 0, rest[:4], rest[4:])[2:4], b"\xff\xff")

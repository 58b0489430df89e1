"""nat.wire.tcp: segments against Scapy, options however they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.wire.tcp import (
    ACK,
    FIN,
    RST,
    SYN,
    SegmentWriter,
    SynOptions,
    build_reset,
    build_segment,
    parse_sack_blocks,
    parse_syn_options,
    sack_option,
    syn_options,
)
from tests.support.oracle import sound

A = bytes((10, 0, 2, 15))
B = bytes((192, 0, 2, 1))
numbers = st.integers(0, 2**32 - 1)


@given(numbers, numbers, st.integers(0, 0x3F), st.integers(0, 65535), st.binary(max_size=1460))
def test_a_segment_as_scapy_builds_it(
    sequence: int, acknowledgement: int, flags: int, window: int, load: bytes
) -> None:
    fields = {"sequence": sequence, "acknowledgement": acknowledgement, "flags": flags, "window": window}
    packet = build_segment(A, 1000, B, 80, payload=load, **fields)  # type: ignore[arg-type]
    read = sound(packet)["TCP"]
    assert (read.seq, read.ack, int(read.flags), read.window) == (sequence, acknowledgement, flags, window)
    (fast,) = SegmentWriter(A, 1000, B, 80).data(sequence, acknowledgement, flags, window, (load,))
    assert fast == packet


@pytest.mark.parametrize(("mss", "scale", "sack"), ((1460, 7, True), (536, None, False), (48, 0, True)))
def test_the_options_of_a_syn_there_and_back(mss: int, scale: int | None, sack: bool) -> None:
    made = syn_options(mss, scale, sack)
    assert len(made) % 4 == 0 and parse_syn_options(made) == SynOptions(mss, scale, sack)


@given(st.binary(max_size=40))
def test_options_that_lie_are_ignored(options: bytes) -> None:
    read = parse_syn_options(options)
    assert 48 <= read.mss <= 65535 and (read.window_scale is None or read.window_scale <= 14)
    assert len(parse_sack_blocks(options)) <= 4


def test_sack_blocks_there_and_back() -> None:
    blocks = [(n * 100, n * 100 + 50) for n in range(1, 6)]
    assert parse_sack_blocks(sack_option(blocks)) == blocks[:4]
    assert sack_option([]) == b""


@pytest.mark.parametrize(
    ("flags", "load", "answer"),
    (
        (SYN, b"", (RST | ACK, 0, 8)),
        (FIN, b"ab", (RST | ACK, 0, 10)),
        (ACK, b"ab", (RST, 99, 0)),
        (RST, b"", None),
    ),
)
def test_what_has_no_connection_is_reset(flags: int, load: bytes, answer: tuple[int, int, int] | None) -> None:
    """RFC 9293 section 3.10.7.1."""
    made = build_reset(build_segment(A, 1000, B, 80, sequence=7, acknowledgement=99, flags=flags, payload=load), 20)
    if answer is None:
        assert made is None
        return
    assert made is not None
    read = sound(made)
    assert (read.src, read.dst, read.sport, read.dport) == ("192.0.2.1", "10.0.2.15", 80, 1000)
    assert (int(read["TCP"].flags), read["TCP"].seq, read["TCP"].ack) == answer

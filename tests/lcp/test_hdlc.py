"""Framing: vectors, counters, and round trips of anything in any pieces."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.ppp import PPP

from lcp import fcs
from lcp.hdlc import SLACK, Deframer, Framer, controls, unescape

FLAG = b"~"
Crc = Callable[[bytes], int]


def crc_bit_by_bit(data: bytes) -> int:
    """RFC 1662, C.2, without tables."""
    register = 0xFFFF
    for octet in data:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    return register ^ 0xFFFF


def escape(frame: bytes, also: bytes = b"") -> bytes:
    return b"".join(bytes((0x7D, c ^ 0x20)) if c in b"}~" + also else bytes((c,)) for c in frame)


def line(body: bytes, also: bytes = b"") -> bytes:
    """A frame as the RFC says, made the slow way."""
    return FLAG + escape(body + crc_bit_by_bit(body).to_bytes(2, "little"), also) + FLAG


BOTH = [(fcs.check, fcs.GOOD, fcs.compute), (fcs.check_stdlib, fcs.GOOD_STDLIB, fcs.compute_stdlib)]


@pytest.mark.parametrize(("check", "good", "compute"), BOTH, ids=["chosen", "stdlib"])
@given(body=st.binary(max_size=300))
def test_fcs_is_that_of_rfc1662(check: Crc, good: int, compute: Crc, body: bytes) -> None:
    assert compute(body) == crc_bit_by_bit(body)
    assert check(body + compute(body).to_bytes(2, "little")) == good


@pytest.mark.parametrize(("check", "good", "compute"), BOTH, ids=["chosen", "stdlib"])
def test_each_fcs_bit_flipped(check: Crc, good: int, compute: Crc) -> None:
    body = b"\xff\x03\xc0\x21\x01\x01\x00\x04"
    tail = compute(body)
    for bit in range(16):
        assert check(body + (tail ^ 1 << bit).to_bytes(2, "little")) != good


def feed(data: bytes, **options: int) -> tuple[list[bytes], dict[str, int]]:
    deframer = Deframer(**options)
    frames = deframer.feed(data)
    return frames, {name: n for name, n in deframer.count.items() if n}


def test_flags_only_are_neither_frame_nor_error() -> None:
    assert feed(b"~" * 100) == ([], {})


@pytest.mark.parametrize("octets", [b"a", b"ab", b"abc", b"\x00\x00", b"}a"])
def test_under_four_octets_is_silently_discarded(octets: bytes) -> None:
    assert feed(FLAG + octets + FLAG) == ([], {"hdlc.runt": 1})


def test_lwip_a9664395_valid_fcs_without_payload() -> None:
    assert feed(bytes.fromhex("7e00007e")) == ([], {"hdlc.runt": 1})


def test_address_and_control_and_nothing_else() -> None:
    assert feed(line(b"\xff\x03")) == ([], {"hdlc.runt": 1})


def test_abort_is_not_an_fcs_error() -> None:
    assert feed(b"~\xff\x03\xc0\x21partial}~" + line(b"\x00\x21ok")) == (
        [b"\x00\x21ok"],
        {"hdlc.abort": 1, "hdlc.frames": 1},
    )


def test_wrong_fcs_is_counted() -> None:
    good = line(b"\xff\x03\xc0\x21abc")
    assert feed(good.replace(b"abc", b"abd")) == ([], {"hdlc.fcs": 1})


@pytest.mark.parametrize("body", [b"\xff\x03\x00\x21data", b"\x00\x21data", b"\xff\x03\x21data", b"\x21data"])
def test_acfc_and_pfc_are_understood_whatever_was_agreed(body: bytes) -> None:
    frames, _ = feed(line(body))
    assert frames == [body.removeprefix(b"\xff\x03")]


def test_shared_and_doubled_flags() -> None:
    one, two = line(b"\x00\x21one"), line(b"\x00\x21two")
    assert feed(one + two[1:])[0] == [b"\x00\x21one", b"\x00\x21two"]
    assert feed(one + FLAG * 5 + two)[0] == [b"\x00\x21one", b"\x00\x21two"]


def test_any_octet_may_be_escaped() -> None:
    body = b"\x00\x21" + bytes(range(256))
    assert feed(line(body, bytes(set(range(256)) - {0x5E})))[0] == [body]


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (b"}]", b"}"),
        (b"}^", b"~"),
        (b"}}", b"]"),
        (b"}}}}", b"]]"),
        (b"}]^", b"}^"),
        (b"}]}]", b"}}"),
        (b"a}}b}1c", b"a]b\x11c"),
        (b"a}", b"a"),
        (b"}", b""),
        (b"}}}", b"]"),
    ],
)
def test_unescape(raw: bytes, plain: bytes) -> None:
    assert unescape(raw) == plain


@pytest.mark.parametrize("noise", [b"\x11", b"\x13", b"\x11\x13\x11"])
def test_control_octets_in_our_accm_are_ignored(noise: bytes) -> None:
    whole = line(b"\xff\x03\x00\x21 some } data ~", controls(0xFFFFFFFF))
    for at in range(1, len(whole) - 1):
        assert feed(whole[:at] + noise + whole[at:])[0] == [b"\x00\x21 some } data ~"], at


def test_control_octets_outside_our_accm_are_data() -> None:
    body = b"\x00\x21\x11\x13"
    assert feed(line(body), accm=0)[0] == [body]
    spoiled = line(b"\x00\x21data").replace(b"da", b"d\x11a")
    assert feed(spoiled, accm=0) == ([], {"hdlc.fcs": 1})


def test_control_octets_that_are_data_after_all_are_understood() -> None:
    body = b"\x00\x21\x11\x13"
    assert feed(line(body), accm=0xFFFFFFFF)[0] == [body]


def test_endless_frame_without_flag_holds_no_memory_and_counts_once() -> None:
    deframer = Deframer()
    for _ in range(1000):
        assert deframer.feed(b"x" * 1000) == []
        assert len(deframer._tail) <= 2 * (1500 + SLACK) + 1000
    assert deframer.count["hdlc.giant"] == 1
    assert deframer.feed(b"tail of it" + line(b"\x00\x21ok")) == [b"\x00\x21ok"]
    assert deframer.feed(line(b"\x00\x21ok")) == [b"\x00\x21ok"]
    assert deframer.count["hdlc.giant"] == 1 and not deframer.count["hdlc.fcs"]


def test_oversize_with_good_fcs_is_a_giant() -> None:
    assert feed(line(b"\x00\x21" + bytes(1600))) == ([], {"hdlc.giant": 1})
    assert len(feed(line(b"\x00\x21" + bytes(1600)), mru=1600)[0]) == 1


def test_reset_forgets_the_frame_begun() -> None:
    deframer = Deframer()
    deframer.feed(b"~\x00\x21half a fra")
    deframer.reset()
    assert deframer.feed(line(b"\x00\x21ok")) == [b"\x00\x21ok"] and not deframer.count["hdlc.fcs"]


# what is sent


def test_nothing_agreed_escapes_all_controls_and_keeps_the_header() -> None:
    framer = Framer()
    out = framer.frame(0x0021, bytes(range(256)))
    assert not any(c < 0x20 for c in out) and out.count(FLAG) == 1 and out.endswith(FLAG)
    assert Deframer().feed(out) == [b"\x00\x21" + bytes(range(256))]
    assert out.startswith(b"\xff}#}")


def test_lcp_is_sent_plainly_whatever_is_agreed() -> None:
    framer = Framer()
    before = framer.frame(0xC021, b"\x09\x01\x00\x08\x00\x00\x00\x00")
    framer.configure(accm=0, acfc=True, pfc=True)
    assert framer.frame(0xC021, b"\x09\x01\x00\x08\x00\x00\x00\x00") == before


@pytest.mark.parametrize(
    ("protocol", "acfc", "pfc", "head"),
    [
        (0x0021, False, False, b"\xff\x03\x00\x21"),
        (0x0021, True, False, b"\x00\x21"),
        (0x0021, False, True, b"\xff\x03\x21"),
        (0x0021, True, True, b"\x21"),
        (0x8021, True, True, b"\x80\x21"),
        (0xC023, False, True, b"\xff\x03\xc0\x23"),
        (0x4021, True, True, b"\x40\x21"),
    ],
)
def test_what_was_agreed_is_sent(protocol: int, acfc: bool, pfc: bool, head: bytes) -> None:
    framer = Framer()
    framer.configure(accm=0, acfc=acfc, pfc=pfc)
    assert framer.frame(protocol, b"Efghij").startswith(head + b"Efghij")
    framer.reset()
    assert framer.frame(protocol, b"E").startswith(b"\xff}#")


def test_empty_information_both_ways() -> None:
    assert Deframer().feed(Framer().frame(0x0021, b"")) == [b"\x00\x21"]


def test_scapy_reads_what_is_sent() -> None:
    framer = Framer()
    framer.configure(accm=0, acfc=False, pfc=False)
    frame = unescape(framer.frame(0xC021, bytes.fromhex("0101000a05061a2b3c4d"))[:-1])
    packet = PPP(frame[:-2])
    assert packet.proto == 0xC021 and packet.payload.id == 1
    assert packet.payload.options[0].magic_number == 0x1A2B3C4D


bodies = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@given(
    bodies,
    st.integers(0, 0xFFFFFFFF),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 5000), max_size=10),
    st.booleans(),
)
def test_round_trip_in_any_pieces(
    informations: list[bytes], accm: int, acfc: bool, pfc: bool, cuts: list[int], stdlib: bool
) -> None:
    framer, deframer = Framer(), Deframer(accm=accm)
    if stdlib:
        framer._compute = fcs.compute_stdlib
        deframer._check, deframer._good = fcs.check_stdlib, fcs.GOOD_STDLIB
    framer.configure(accm=accm, acfc=acfc, pfc=pfc)
    data = FLAG + b"".join(framer.frame(0x0021, body) for body in informations)
    frames = [frame for piece in pieces(data, cuts) for frame in deframer.feed(piece)]
    head = b"\x21" if pfc else b"\x00\x21"
    assert frames == [head + body for body in informations]
    allowed = controls(accm)
    assert not any(c in allowed for c in data)


@given(st.binary(max_size=4000), st.lists(st.integers(0, 5000), max_size=10), st.integers(0, 0xFFFFFFFF))
def test_any_octets_then_the_next_good_frame(garbage: bytes, cuts: list[int], accm: int) -> None:
    deframer = Deframer(accm=accm)
    frames = [frame for piece in pieces(garbage, cuts) for frame in deframer.feed(piece)]
    assert all(frames)
    assert deframer.feed(line(b"\x00\x21ok"))[-1:] == [b"\x00\x21ok"]
    ended = [part for part in (garbage + FLAG).split(FLAG)[:-1] if part]
    assert sum(deframer.count.values()) <= len(ended) + 1


@pytest.mark.parametrize("seed", range(20))
def test_corruption_loses_two_frames_at_most(seed: int) -> None:
    """One octet changed, inserted, deleted or doubled."""
    chance = random.Random(seed)
    framer = Framer()
    sent = [chance.randbytes(chance.randrange(1, 100)) for _ in range(20)]
    data = bytearray(FLAG + b"".join(framer.frame(0x0021, body) for body in sent))
    at = chance.randrange(len(data))
    how = seed % 4
    if how == 0:
        data[at] ^= 1 << chance.randrange(8)
    elif how == 1:
        data.insert(at, chance.randrange(256))
    elif how == 2:
        del data[at]
    else:
        data.insert(at, data[at])
    got = Deframer().feed(bytes(data))
    assert len(set(sent) - {frame[2:] for frame in got}) <= 2


@pytest.mark.parametrize("noise", [b"NO CARRIER\r\n", b"ATZ\rATDT 555\r", b"\x11\x13" * 20, bytes(10_000)])
def test_resync_after_what_modems_say(noise: bytes) -> None:
    assert Deframer().feed(noise + line(b"\x00\x21ok"))[-1:] == [b"\x00\x21ok"]

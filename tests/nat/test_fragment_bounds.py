"""nat.fragment at its bounds, the last that is taken and the first that is not, with the numbers themselves."""

import pytest

from nat.fragment import deliver, fragment
from nat.wire.ipv4 import build_ipv4
from tests.nat.test_fragment import Setup
from tests.support.fakes import GUEST, SERVER, Bench, fragment_of
from tests.support.oracle import sound

MIB = 1 << 20
OVERHEAD = 96
"""What a datagram, and each fragment of it, costs beyond its octets."""


def test_sixty_four_datagrams_are_kept_and_the_oldest_goes_for_one_more() -> None:
    setup = Setup()
    for ident in range(64):
        setup.feed(fragment_of(bytes(8), 0, more=True, ident=ident))
    assert setup.count["fragment.evicted"] == 0
    setup.feed(fragment_of(bytes(8), 0, more=True, ident=64))
    assert setup.count["fragment.evicted"] == 1
    assert setup.feed(fragment_of(b"end", 8, more=False, ident=1)) is not None, "the second is still there"
    setup.feed(fragment_of(b"end", 8, more=False, ident=0))
    assert setup.count["fragment.reassembled"] == 1, "the first is gone"


def fill(setup: Setup, octets: int) -> None:
    """Unfinished datagrams that cost exactly so much."""
    ident = 0
    while octets:
        octets -= OVERHEAD
        for number in range(40):
            size = min(1480, octets - OVERHEAD)
            if 0 < octets - OVERHEAD - size < 3 * OVERHEAD:
                size -= 3 * OVERHEAD  # what would be left is too little for another datagram
            setup.feed(fragment_of(bytes(size), 8 + 1480 * number, more=True, ident=ident))
            octets -= size + OVERHEAD
            if not octets:
                return
        ident += 1


def test_a_mebibyte_is_kept_and_nothing_above() -> None:
    setup = Setup()
    fill(setup, MIB)
    assert not setup.count and not setup.empty
    setup = Setup()
    fill(setup, MIB + 8)
    assert setup.count["fragment.evicted"] == 1


def test_half_a_minute_and_no_longer() -> None:
    setup = Setup()
    first = fragment_of(bytes(8), 0, more=True)
    setup.feed(first, 100.0)
    setup.deadlines.expire(129.99)
    assert not setup.empty and not setup.expired
    setup.deadlines.expire(130.0)
    assert setup.empty and setup.expired == [first]


@pytest.mark.parametrize(("size", "counter"), [(3, ""), (4, "fragment.too_long")])
def test_the_last_octet_that_a_packet_can_have(size: int, counter: str) -> None:
    setup = Setup()  # 20 octets of header, 65,512 before it
    setup.feed(fragment_of(bytes(size), 65_512, more=False, protocol=99))
    assert dict(setup.count) == ({counter: 1} if counter else {})


@pytest.mark.parametrize(("hlen", "whole"), [(20, True), (24, False)])
def test_a_whole_of_65535_octets_and_one_of_65539(hlen: int, whole: bool) -> None:
    setup = Setup()
    options = b"\x01" * (hlen - 20)
    for number in range(4):
        setup.feed(fragment_of(bytes(16_376), 8 + 16_376 * number, more=True, protocol=99))
    setup.feed(fragment_of(bytes(3), 65_512, more=False, protocol=99))
    plain = fragment_of(bytes(8), 0, more=True, protocol=99)
    head = bytes((0x40 + hlen // 4, 0)) + (hlen + 8).to_bytes(2, "big") + plain[4:20] + options
    made = setup.feed(head + bytes(8))
    assert (made is not None) == whole
    assert setup.count["fragment.too_long"] == (not whole)
    assert made is None or len(made) == 65_535


@pytest.mark.parametrize(
    ("protocol", "size", "offset", "taken"),
    [
        (6, 24, 0, True),
        (6, 16, 0, False),
        (6, 8, 8, False),
        (6, 8, 16, True),
        (17, 8, 0, True),
        (1, 8, 0, True),
        (17, 8, 8, True),
        (99, 8, 8, True),
    ],
)
def test_the_smallest_first_fragment(protocol: int, size: int, offset: int, taken: bool) -> None:
    setup = Setup()
    setup.feed(fragment_of(bytes(size), offset, more=True, protocol=protocol))
    assert setup.count["fragment.tiny"] == (not taken) and setup.empty != taken


@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_only_the_last_fragment_may_have_any_length(size: int) -> None:
    setup = Setup()
    setup.feed(fragment_of(bytes(size), 8, more=False))
    assert not setup.count
    setup.feed(fragment_of(bytes(size), 80, more=True, ident=2))
    assert setup.count["fragment.bad_length"] == (size % 8 != 0)


def test_neighbors_touch_and_do_not_overlap() -> None:
    for middle in (range(16, 24), range(8, 16)):
        setup = Setup()
        setup.feed(fragment_of(bytes(8), 0, more=True))
        setup.feed(fragment_of(bytes(8), 24 if middle.start == 16 else 16, more=True))
        setup.feed(fragment_of(bytes(8), middle.start, more=True))
        assert not setup.count
    for offset, size in ((8, 24), (0, 16), (16, 16)):
        setup = Setup()
        setup.feed(fragment_of(b"a" * 8, 0, more=True))
        setup.feed(fragment_of(b"a" * 8, 24, more=True))
        setup.feed(fragment_of(b"b" * size, offset, more=True))
        assert setup.count["fragment.overlap"] == 1


def with_options(options: bytes, size: int) -> bytes:
    plain = build_ipv4(GUEST, SERVER, 99, bytes(size), flags=0)
    hlen = 20 + len(options)
    head = bytes((0x40 + hlen // 4, 0)) + (hlen + size).to_bytes(2, "big") + plain[4:20]
    return head + options + plain[20:]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (b"", b""),
        (b"\x83\x03\x04\x00", b"\x83\x03\x04\x00"),  # a source route without hops, and its padding
        (b"\x94\x04\x00\x00", b"\x94\x04\x00\x00"),  # router alert: four octets, no padding
        (b"\x82\x02\x00\x00", b"\x82\x02\x00\x00"),  # two are the least that an option with a length can have
        (b"\x01\x01\x94\x04\x09\x09\x01\x00", b"\x94\x04\x09\x09"),  # no operation, before it and after it
        (b"\x07\x03\x04\x94\x04\x09\x09\x00", b"\x94\x04\x09\x09"),  # one that is not copied before it
        (b"\x94\x04\x09\x09\x07\x03\x04\x00", b"\x94\x04\x09\x09"),  # and after it
        (b"\x00\x94\x04\x09\x09\x00\x00\x00", b""),  # behind the end of the list
        (b"\x94\x01\x09\x09", b""),  # one octet long
        (b"\x94\x00\x09\x09", b""),  # of no length
        (b"\x01\x01\x01\x94", b""),  # its length would be past the end
        (b"\x94\x04\x09\x09\x83\x01\x00\x00", b"\x94\x04\x09\x09"),  # a good one, then one that lies
        (b"\x83\x27\x04" + bytes(36) + b"\x01", b"\x83\x27\x04" + bytes(37)),  # forty octets
    ],
    ids=bytes.hex,
)
def test_the_options_of_the_second_fragment(options: bytes, kept: bytes) -> None:
    first, second, *_ = fragment(with_options(options, 600), 296)
    assert first[20 : (first[0] & 15) * 4] == options
    assert second[0] == 0x45 + len(kept) // 4 and second[20 : (second[0] & 15) * 4] == kept
    assert len(first) <= 296 and len(second) <= 296
    for piece in (first, second):
        assert int.from_bytes(piece[2:4], "big") == len(piece)
        sound(piece)


@pytest.mark.parametrize(("size", "sizes"), [(276, [296]), (277, [292, 25]), (544, [292, 292]), (545, [292, 292, 21])])
def test_pieces_for_an_mtu_of_296(size: int, sizes: list[int]) -> None:
    """20 octets of header and as many eights as fit: 272; what fits whole is not cut."""
    assert [len(piece) for piece in fragment(build_ipv4(GUEST, SERVER, 99, bytes(size), flags=0), 296)] == sizes


@pytest.mark.parametrize(("size", "pieces"), [(276, 1), (277, 2)])
def test_what_a_line_takes_whole(size: int, pieces: int) -> None:
    bench = Bench(mtu=296)
    assert deliver(bench.line, build_ipv4(SERVER, GUEST, 99, bytes(size), flags=0), "a")
    assert len(bench.out()) == pieces

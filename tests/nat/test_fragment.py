"""nat.fragment: overlaps, FragmentSmack (CVE-2018-5391) and its kin, round trips, bounds."""

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.fragment import DATAGRAMS_MOST, LIFETIME, OCTETS_MOST, Reassembler, deliver, fragment
from nat.wire.ipv4 import build_ipv4
from tests.support.fakes import GUEST, SERVER, Bench, fragment_of
from tests.support.oracle import sound


class Setup(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.expired: list[bytes] = []
        self.reassembler = Reassembler(self.context, lambda first, now: self.expired.append(first))

    def feed(self, packet: bytes, now: float = 0.0) -> bytes | None:
        return self.reassembler.feed(packet, (packet[0] & 15) * 4, now)

    @property
    def empty(self) -> bool:
        return not self.reassembler._datagrams and self.reassembler._cost == 0


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=4000), st.sampled_from((68, 296, 576, 1500)), st.randoms())
def test_round_trip_in_any_order(payload: bytes, mtu: int, random: Random) -> None:
    setup = Setup()
    packet = build_ipv4(GUEST, SERVER, 99, payload, identification=77, flags=0, ttl=9, tos=4)
    pieces = fragment(packet, mtu)
    assert all(len(piece) <= mtu for piece in pieces)
    for piece in pieces:
        sound(piece)
    if len(pieces) == 1:
        assert pieces == [packet]
        return
    random.shuffle(pieces)
    results = [setup.feed(piece) for piece in pieces]
    assert results[:-1] == [None] * (len(pieces) - 1)
    assert results[-1] == packet
    assert setup.empty


def test_fragments_of_fragments_come_together() -> None:
    setup = Setup()
    packet = build_ipv4(GUEST, SERVER, 99, Random(1).randbytes(9000), identification=5, flags=0)
    pieces = [small for big in fragment(packet, 1500) for small in fragment(big, 296)]
    assert [setup.feed(piece) for piece in pieces][-1] == packet


def test_options_with_the_copied_flag_are_in_every_fragment() -> None:
    options = bytes((1, 0x83, 7, 4, 9, 9, 9, 9, 7, 3, 0, 0))  # no-op, source route (copied), record route (not)
    plain = build_ipv4(GUEST, SERVER, 99, bytes(2000), flags=0)
    head = bytes((0x48, 0)) + (32 + 2000).to_bytes(2, "big") + plain[4:20] + options
    pieces = fragment(head + plain[20:], 576)
    assert pieces[0][20:32] == options
    assert all(piece[20:28] == options[1:8] + b"\0" for piece in pieces[1:])
    assert all(len(piece) <= 576 for piece in pieces)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8191), st.binary(max_size=64), st.booleans(), st.integers(0, 3)), max_size=60))
def test_arbitrary_fragments_only_ever_give_whole_packets(
    pieces: list[tuple[int, bytes, bool, int]],
) -> None:
    setup = Setup()
    for units, piece, more, ident in pieces:
        whole = setup.feed(fragment_of(piece, units * 8, more=more, ident=ident, protocol=99))
        if whole is not None:
            sound(whole)
    setup.deadlines.expire(LIFETIME + 1)
    assert setup.empty


def test_first_fragment_larger_than_the_rest_cve_2019_14378() -> None:
    setup = Setup()
    body = Random(2).randbytes(1480 + 40)
    assert setup.feed(fragment_of(body[:1480], 0, more=True)) is None
    whole = setup.feed(fragment_of(body[1480:], 1480, more=False))
    assert whole is not None and whole[20:] == body


def test_fragments_that_cover_their_successors_cve_2019_15890() -> None:
    setup = Setup()
    for size in range(8, 8008, 8):
        setup.feed(fragment_of(bytes(size), 8000 - size, more=True))
    assert setup.count["fragment.overlap"] == 1
    assert setup.count["fragment.dead"] == 998
    assert setup.reassembler._cost < 200


def test_65535_octets_in_pieces_of_8_cve_2020_1983() -> None:
    setup = Setup()
    body = Random(3).randbytes(65515)
    started = time.process_time()
    whole = None
    order = list(range(0, len(body), 8))
    Random(4).shuffle(order)
    for offset in order:
        piece = body[offset : offset + 8]
        whole = setup.feed(fragment_of(piece, offset, more=offset + 8 < len(body), protocol=99)) or whole
    assert whole is not None and whole[20:] == body
    assert time.process_time() - started < 2


def test_overlap_that_trims_the_front_discards_the_datagram_cve_2018_11806() -> None:
    setup = Setup()
    assert setup.feed(fragment_of(bytes(64), 0, more=True)) is None
    assert setup.feed(fragment_of(bytes(64), 56, more=True)) is None
    assert setup.feed(fragment_of(bytes(8), 64, more=False)) is None
    assert setup.count["fragment.overlap"] == 1 and setup.count["fragment.dead"] == 1


def test_an_exact_duplicate_is_ignored() -> None:
    setup = Setup()
    first, last = fragment_of(bytes(64), 0, more=True), fragment_of(b"end", 64, more=False)
    setup.feed(first)
    setup.feed(first)
    assert setup.feed(last) is not None
    assert setup.count["fragment.duplicate"] == 1


@pytest.mark.parametrize("second", ((b"x" * 16, 64, False), (b"x" * 8, 72, False), (b"x" * 8, 80, True)))
def test_final_length_conflict(second: tuple[bytes, int, bool]) -> None:
    setup = Setup()
    setup.feed(fragment_of(b"x" * 8, 64, more=False))
    piece, offset, more = second
    setup.feed(fragment_of(piece, offset, more=more))
    assert setup.count["fragment.length_conflict"] == 1
    assert setup.feed(fragment_of(bytes(64), 0, more=True)) is None


def test_a_last_fragment_before_what_already_came() -> None:
    setup = Setup()
    setup.feed(fragment_of(bytes(64), 64, more=True))
    setup.feed(fragment_of(bytes(8), 0, more=False))
    assert setup.count["fragment.length_conflict"] == 1


def test_ping_of_death() -> None:
    setup = Setup()
    setup.feed(fragment_of(bytes(1480), 65528, more=False, protocol=1))
    assert setup.count["fragment.too_long"] == 1 and setup.empty


def test_header_of_the_first_fragment_makes_it_too_long() -> None:
    setup = Setup()
    body = bytes(65512)
    for offset in range(8, len(body), 1472):
        piece = body[offset : offset + 1472]
        setup.feed(fragment_of(piece, offset, more=offset + 1472 < len(body), protocol=99))
    plain = fragment_of(bytes(8), 0, more=True, protocol=99)
    long = bytes((0x4F, 0)) + (60 + 8).to_bytes(2, "big") + plain[4:20] + bytes(40) + bytes(8)
    assert setup.feed(long) is None
    assert setup.count["fragment.too_long"] == 1 and setup.empty


@pytest.mark.parametrize(
    ("packet", "counter"),
    (
        (fragment_of(bytes(16), 0, more=True, protocol=6), "fragment.tiny"),
        (fragment_of(bytes(64), 8, more=True, protocol=6), "fragment.tiny"),
        (fragment_of(bytes(7), 0, more=True), "fragment.bad_length"),
        (fragment_of(b"", 0, more=True), "fragment.bad_length"),
        (fragment_of(b"", 8, more=False), "fragment.bad_length"),
        (fragment_of(bytes(9), 8, more=True), "fragment.bad_length"),
    ),
)
def test_tiny_and_crooked_fragments_rfc_1858(packet: bytes, counter: str) -> None:
    setup = Setup()
    assert setup.feed(packet) is None
    assert setup.count[counter] == 1 and setup.empty


def test_expiry_tells_only_of_datagrams_whose_first_fragment_came() -> None:
    setup = Setup()
    first = fragment_of(bytes(64), 0, more=True, ident=1)
    setup.feed(first, 0.0)
    setup.feed(fragment_of(bytes(64), 64, more=True, ident=2), 1.0)
    setup.deadlines.expire(LIFETIME - 0.1)
    assert not setup.expired
    setup.deadlines.expire(LIFETIME)
    assert setup.expired == [first]
    assert setup.deadlines.next() == LIFETIME + 1
    setup.deadlines.expire(LIFETIME + 1)
    assert setup.expired == [first] and setup.empty
    assert setup.count["fragment.expired"] == 2


def test_a_flood_stays_within_the_bounds() -> None:
    """A hundred thousand fragments, sound and hostile."""
    setup = Setup()
    random = Random(5)
    for number in range(100_000):
        size = random.choice((8, 64, 1480))
        offset = random.randrange(1, 5000) * 8
        setup.feed(fragment_of(bytes(size), offset, more=True, ident=number % 300), number / 1e5)
        assert len(setup.reassembler._datagrams) <= DATAGRAMS_MOST
        assert setup.reassembler._cost <= OCTETS_MOST
    assert setup.count["fragment.evicted"] > 100


def test_one_huge_datagram_at_a_time_is_held_to_the_octets() -> None:
    setup = Setup()
    for ident in range(60):
        for offset in range(8, 60000, 1480):
            setup.feed(fragment_of(bytes(1480), offset, more=True, ident=ident))
            assert setup.reassembler._cost <= OCTETS_MOST


def test_close_forgets_everything() -> None:
    setup = Setup()
    setup.feed(fragment_of(bytes(64), 0, more=True))
    setup.reassembler.close()
    setup.deadlines.expire(1e6)
    assert setup.empty and not setup.expired


def test_deliver_stops_when_a_fragment_is_refused() -> None:
    bench = Bench(mtu=296)
    packet = build_ipv4(SERVER, GUEST, 99, bytes(60000), flags=0)
    assert deliver(bench.line, packet, "a")
    assert deliver(bench.line, packet, "a")
    assert not deliver(bench.line, packet, "a")
    assert bench.count["line.queue_full"] == 1

"""nat.tcp.ordering at its bounds: what is kept, what is refused, and where pieces touch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.tcp.ordering import OutOfOrder


def kept(*pieces: tuple[int, bytes], capacity: int = 1000) -> OutOfOrder:
    ahead = OutOfOrder(capacity)
    for sequence, payload in pieces:
        assert ahead.add(sequence, payload)
    return ahead


def test_the_capacity_to_the_octet() -> None:
    ahead = kept((10, bytes(60)), capacity=100)
    assert ahead.add(100, bytes(40)) and ahead.size == 100
    assert not ahead.add(200, b"x") and ahead.size == 100
    assert not kept(capacity=100).add(10, bytes(101))
    assert kept((10, bytes(100)), capacity=100).size == 100


def test_what_is_there_already_needs_no_room() -> None:
    ahead = kept((10, bytes(100)), capacity=100)
    assert ahead.add(10, bytes(100)) and ahead.add(50, bytes(60)) and ahead.size == 100
    assert not ahead.add(50, bytes(61))


def test_128_pieces_and_not_one_more() -> None:
    ahead = kept(*((10 * n, b"x") for n in range(1, 129)))
    assert len(ahead.blocks()) == 128
    assert not ahead.add(5000, b"x")
    assert ahead.add(10, b"x"), "what is there already is no other piece"


@pytest.mark.parametrize(
    ("sequence", "payload", "blocks"),
    [
        (15, b"BBBBB", [(10, 20)]),  # touches the piece before it
        (5, b"BBBBB", [(5, 15)]),  # and the one after it
        (16, b"BBBB", [(16, 20), (10, 15)]),  # a gap of one octet before it
        (4, b"BBBBB", [(4, 9), (10, 15)]),  # and after it
        (14, b"BB", [(10, 16)]),  # one octet of it is there
        (9, b"BB", [(9, 15)]),
        (10, b"BBBBB", [(10, 15)]),  # all of it is
        (11, b"BBB", [(10, 15)]),
        (9, b"BBBBBBB", [(9, 16)]),  # one octet before and one after
    ],
)
def test_beside_a_piece(sequence: int, payload: bytes, blocks: list[tuple[int, int]]) -> None:
    ahead = kept((10, b"aaaaa"), (sequence, payload))
    assert ahead.blocks() == blocks
    assert ahead.size == sum(end - start for start, end in blocks)
    first = min(start for start, _ in blocks)
    taken = ahead.take(first)
    assert b"aaaaa"[: len(taken)] in taken or first + len(taken) <= 10, "what came first stays"
    assert all(taken[at - first : at - first + 1] in (b"a", b"") for at in range(10, 15))


def test_between_two_pieces_only_the_gap_is_new() -> None:
    ahead = kept((10, b"aaaa"), (20, b"bbbb"), (12, b"X" * 10))
    assert ahead.size == 14 and ahead.take(10) == b"aaaaXXXXXXbbbb" and not ahead and ahead.size == 0


def test_what_is_taken_begins_at_the_sequence() -> None:
    ahead = kept((10, b"abcde"), (15, b"fg"), (18, b"z"))
    assert ahead.take(9) == b"" and ahead.size == 8
    assert ahead.take(10) == b"abcdefg" and ahead.size == 1 and ahead.blocks() == [(18, 19)]
    assert kept((10, b"abcde")).take(12) == b"cde"
    assert kept((10, b"abcde")).take(15) == b""


@pytest.mark.parametrize("last", [0, 1, 2])
def test_the_block_that_changed_last_is_the_first(last: int) -> None:
    pieces = [(10, b"aa"), (20, b"bb"), (30, b"cc")]
    ahead = kept(*pieces[:last], *pieces[last + 1 :], pieces[last])
    start, payload = pieces[last]
    assert ahead.blocks()[0] == (start, start + len(payload))
    assert ahead.add(start + 2, b"!") and ahead.blocks()[0] == (start, start + 3)
    assert sorted(ahead.blocks())[0][0] == 10 and len(ahead.blocks()) == 3


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=12)), max_size=20))
def test_the_first_octet_of_each_number_wins(pieces: list[tuple[int, bytes]]) -> None:
    ahead = OutOfOrder(1000)
    first: dict[int, int] = {}
    for sequence, payload in pieces:
        assert ahead.add(sequence, payload)
        for at, octet in enumerate(payload, sequence):
            first.setdefault(at, octet)
        assert ahead.size == len(first)
    while first:
        at = min(first)
        wanted = bytearray()
        while at + len(wanted) in first:
            wanted.append(first.pop(at + len(wanted)))
        assert ahead.take(at) == wanted
    assert not ahead and ahead.size == 0

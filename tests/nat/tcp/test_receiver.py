"""nat.tcp.receiver by itself: what is put in order, what the stream gets, and what the guest is told."""

import math
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.stream import Callback, memory_pair
from nat.tcp.receiver import DELAYED_ACK, QUICK_ACKS, RCV_CAPACITY, Receiver

ISS = 5000
MSS = 1000


class Rig:
    """A receiver with a stream that holds `capacity` octets; `remote` is the stream's other end."""

    def __init__(self, capacity: int = 1 << 20, *, scaled: bool = True) -> None:
        self.calls: deque[Callback] = deque()
        self.stream, self.remote = memory_pair(self.calls.append, capacity)
        self.count: Counter[str] = Counter()
        self.woken = 0
        self.receiver = Receiver(self.stream, self._on_writable, self.count)
        self.receiver.begin(ISS - 1, scaled=scaled)
        self.receiver.announce_syn()
        self.receiver.quick_acks = 0

    def _on_writable(self, now: float) -> None:
        self.woken += 1
        self.receiver.writable()

    def turn(self) -> None:
        for _ in range(len(self.calls)):
            self.calls.popleft()(0.0)

    def text(self, at: int, payload: bytes, fin: bool = False) -> None:
        self.receiver.text(ISS + at, payload, fin)


def test_the_first_window_is_not_scaled_and_the_next_is() -> None:
    rig = Rig()
    assert rig.receiver.rcv_edge - rig.receiver.rcv_nxt == 0xFFFF
    assert rig.receiver.announce() << 2 == RCV_CAPACITY
    assert Rig(scaled=False).receiver.announce() == 0xFFFF


def test_a_gap_is_kept_open_until_it_is_filled() -> None:
    rig = Rig()
    rig.text(MSS, b"b" * MSS)
    assert (
        rig.receiver.rcv_nxt == ISS
        and rig.receiver.ack_now
        and rig.receiver.ahead.blocks() == [(ISS + MSS, ISS + 2 * MSS)]
    )
    rig.text(0, b"a" * MSS)
    assert rig.receiver.rcv_nxt == ISS + 2 * MSS and not rig.receiver.ahead.size
    rig.receiver.deliver()
    assert rig.remote.recv(4 * MSS) == b"a" * MSS + b"b" * MSS


def test_a_fin_counts_when_nothing_before_it_is_missing() -> None:
    rig = Rig()
    rig.text(3, b"def", fin=True)
    assert not rig.receiver.fin_received and rig.receiver.fin_at == ISS + 6
    rig.receiver.accept(b"abc")
    assert rig.receiver.fin_received and rig.receiver.rcv_nxt == ISS + 7
    rig.receiver.deliver()
    rig.receiver.finish()
    rig.receiver.finish()
    assert rig.remote.recv(100) == b"abcdef" and rig.remote.recv(100) == b""


def test_what_lies_beyond_the_window_is_cut_off_with_the_fin_behind_it() -> None:
    rig = Rig()
    rig.text(RCV_CAPACITY - 10, bytes(20), fin=True)
    assert rig.receiver.ahead.size == 10 and rig.receiver.fin_at == -1 and rig.count["tcp.past_window"] == 1


@pytest.mark.parametrize(
    ("at", "length", "fits"),
    (
        (0, 0, True),
        (-1, 0, False),
        (-1, 1, False),
        (-1, 2, True),
        (RCV_CAPACITY - 1, 1, True),
        (RCV_CAPACITY - 1, 0, True),
        (RCV_CAPACITY, 0, False),
        (RCV_CAPACITY, 1, False),
    ),
)
def test_what_is_acceptable(at: int, length: int, fits: bool) -> None:
    assert Rig().receiver.acceptable(ISS + at, length) == fits


def test_a_closed_window_lets_through_only_what_is_next() -> None:
    rig = Rig()
    rig.receiver.accept(bytes(RCV_CAPACITY))
    nxt = rig.receiver.rcv_nxt
    assert rig.receiver.announce() == 0
    assert rig.receiver.acceptable(nxt, 1) and not rig.receiver.acceptable(nxt + 1, 0)


def test_sequence_numbers_of_the_wire_are_unwrapped_to_the_nearest() -> None:
    receiver = Rig().receiver
    receiver.begin((1 << 33) + 10, scaled=False)
    assert receiver.unwrap(11) == (1 << 33) + 11
    assert receiver.unwrap((1 << 32) - 1) == (1 << 33) - 1
    assert receiver.unwrap(11 + (1 << 31) - 1) == (1 << 33) + 11 + (1 << 31) - 1


def test_every_segment_is_acknowledged_at_first_and_then_every_second_one() -> None:
    rig = Rig()
    receiver = rig.receiver
    receiver.quick_acks = QUICK_ACKS
    for _ in range(QUICK_ACKS):
        receiver.accept(bytes(MSS))
        assert receiver.ack_due(0.0)
        receiver.announce()
        receiver.deliver()
    receiver.accept(bytes(MSS))
    assert not receiver.ack_due(1.0) and receiver.ack_at == 1.0 + DELAYED_ACK
    receiver.accept(bytes(MSS))
    assert receiver.ack_due(1.0)
    receiver.announce()
    assert receiver.ack_at == math.inf and not receiver.ack_due(1.0)


def test_a_window_that_opens_wide_is_told_and_one_that_opens_a_little_is_not() -> None:
    rig = Rig(capacity=RCV_CAPACITY // 2)
    receiver = rig.receiver
    receiver.accept(bytes(RCV_CAPACITY))
    receiver.announce()
    receiver.deliver()
    assert receiver.delivery.blocked and receiver.ack_due(0.0)
    receiver.announce()
    assert not receiver.ack_due(0.0)
    rig.remote.recv(1000)
    rig.turn()
    receiver.deliver()
    assert rig.woken == 1 and not receiver.ack_due(0.0)


def test_a_full_stream_is_asked_again_when_it_says_so_and_not_before() -> None:
    rig = Rig(capacity=100)
    receiver = rig.receiver
    receiver.accept(bytes(250))
    for _ in range(3):
        receiver.deliver()
    assert receiver.delivery.size == 150
    for _ in range(2):
        rig.remote.recv(100)
        rig.turn()
        receiver.deliver()
    rig.turn()
    assert receiver.delivery.size == 0 and rig.woken == 2 and not rig.calls


def test_a_broken_stream_is_the_callers_to_deal_with() -> None:
    rig = Rig()
    rig.remote.reset()
    rig.receiver.accept(b"x")
    with pytest.raises(ConnectionResetError):
        rig.receiver.deliver()


@settings(max_examples=200, deadline=None)
@given(
    st.binary(min_size=1, max_size=4000),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 900), st.booleans()), max_size=60),
    st.booleans(),
)
def test_octets_come_out_exactly_and_the_window_never_moves_left(
    data: bytes, pieces: list[tuple[int, int, bool]], scaled: bool
) -> None:
    rig = Rig(capacity=700, scaled=scaled)
    receiver = rig.receiver
    got = bytearray()
    for at, size, announce in [*pieces, *((at, 500, True) for at in range(0, len(data), 500))]:
        payload = data[at : at + size]
        edge = receiver.rcv_edge
        if at <= len(data) and receiver.acceptable(ISS + at, len(payload)):
            receiver.text(ISS + at, payload, at + size >= len(data))
        receiver.deliver()
        if announce:
            receiver.announce()
        assert receiver.rcv_edge >= edge and receiver.rcv_acked <= receiver.rcv_nxt
        assert receiver.delivery.size + receiver.ahead.size <= RCV_CAPACITY
        while rig.remote.readable:
            got += rig.remote.recv(1000)
            rig.turn()
            receiver.deliver()
    assert bytes(got) == data and receiver.fin_received and receiver.rcv_nxt == ISS + len(data) + 1

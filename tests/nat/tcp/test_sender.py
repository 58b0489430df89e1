"""nat.tcp.sender by itself: what it reads, sends, sends again, and says of it."""

import math
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.stream import Callback, memory_pair
from nat.tcp.output import Output
from nat.tcp.receiver import Receiver
from nat.tcp.sender import DATA_RETRIES, Heard, Outcome, Sender, Timer
from nat.wire.tcp import SynOptions
from tests.support.tcp_peer import GUEST, OUTSIDE, DirectLine, Segment

KEY = GUEST + OUTSIDE + (40000).to_bytes(2, "big") + (80).to_bytes(2, "big")
ISS = 0xFFFFFF00  # wraps early
MASK = 0xFFFFFFFF
MSS = 1000


class Rig:
    """An established sender; `remote` is the other end of its stream."""

    def __init__(self, *, window: int = 50_000, sack: bool = False) -> None:
        self.line = DirectLine()
        self.calls: deque[Callback] = deque()
        self.stream, self.remote = memory_pair(self.calls.append, 1 << 20)
        self.count: Counter[str] = Counter()
        self.readable: list[float] = []
        receiver = Receiver(self.stream, self.readable.append, self.count)
        output = Output(self.line, KEY, receiver)  # type: ignore[arg-type]
        self.sender = Sender(output, self.stream, self.readable.append, self.count, ISS)
        self.sender.begin(window, SynOptions(MSS, None, sack))
        self.sender.syn(0x12, b"", 0.0)
        self.sender.established(0.1)
        self.line.sent.clear()

    def out(self) -> list[Segment]:
        sent, self.line.sent = self.line.sent, []
        return [Segment(packet) for packet in sent]

    def read(self, data: bytes = b"", now: float = 1.0) -> list[Segment]:
        if data:
            self.remote.send(data)
        assert self.sender.read(now) is Outcome.DONE
        return self.out()

    def ack(self, octets: int, *, window: int = 50_000, now: float = 1.1, size: int = 0) -> Heard:
        """The guest has got so many octets of text."""
        return self.sender.acknowledged((ISS + 1 + octets) & MASK, window, size, now)

    def turn(self) -> None:
        for _ in range(len(self.calls)):
            self.calls.popleft()(0.0)


def test_octets_go_out_in_full_segments_and_are_kept_until_they_are_acknowledged() -> None:
    rig = Rig()
    segments = rig.read(b"a" * 2500)
    assert [len(segment.payload) for segment in segments] == [1000, 1000, 500]
    assert [(segment.sequence - ISS - 1) & MASK for segment in segments] == [0, 1000, 2000]
    sender = rig.sender
    assert bytes(sender.unacked) == b"a" * 2500 and sender.aloft == rig.line.flight.flying == 2500
    assert rig.ack(1000) is Heard.FINE and len(sender.unacked) == sender.aloft == 1500
    assert rig.ack(2500) is Heard.RESTED
    assert sender.timer is Timer.NONE and sender.timer_at == math.inf and rig.line.flight.flying == 0


def test_what_an_ack_can_mean() -> None:
    rig = Rig()
    rig.read(b"a" * 2000)
    assert rig.ack(1000) is Heard.FINE
    assert rig.ack(500) is Heard.OLD
    assert rig.ack(2001) is Heard.UNSENT and rig.count["tcp.ack_of_unsent"] == 1
    assert rig.ack(2000) is Heard.RESTED


def test_the_stream_is_watched_while_it_has_nothing_and_not_while_the_guest_takes_nothing() -> None:
    rig = Rig(window=2000)
    rig.read()
    assert rig.sender.watching
    assert len(rig.read(b"a" * 5000)) == 2
    assert not rig.sender.watching
    rig.ack(2000, window=2000)
    assert len(rig.read()) == 2 and len(rig.sender.unacked) == 2000


def test_a_line_without_room_is_said_with_what_it_takes() -> None:
    rig = Rig()
    rig.line.space = 500
    rig.remote.send(b"a" * 5000)
    assert rig.sender.read(1.0) is Outcome.NO_ROOM and rig.sender.need == MSS + 40 and not rig.sender.watching
    rig.line.space = rig.sender.need
    assert len(rig.read()) == 1
    small = Rig(window=300)
    small.line.space = 0
    assert small.sender.read(1.0) is Outcome.NO_ROOM and small.sender.need == 341


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 5000), st.integers(48, 1460))
def test_with_the_room_that_was_needed_it_never_asks_for_room_again(space: int, window: int, mss: int) -> None:
    rig = Rig(window=window)
    rig.sender.guest_mss = mss
    rig.line.space = space
    rig.remote.send(bytes(10_000))
    if rig.sender.read(1.0) is Outcome.NO_ROOM:
        assert space < rig.sender.need <= rig.line.mtu
        rig.line.space = rig.sender.need
        assert rig.sender.read(1.0) is Outcome.DONE


def test_the_streams_end_becomes_a_fin_once_and_counts() -> None:
    rig = Rig()
    rig.remote.send(b"bye")
    rig.remote.shutdown()
    rig.read()
    assert rig.sender.read(1.0) is Outcome.ENDED and rig.sender.fin_sent
    (fin,) = rig.out()
    assert fin.flags & 1 and (fin.sequence - ISS - 1) & MASK == 3
    assert rig.ack(3) is Heard.FINE and rig.ack(4) is Heard.RESTED


def test_a_broken_stream_is_the_callers_to_deal_with() -> None:
    rig = Rig()
    rig.remote.reset()
    with pytest.raises(ConnectionResetError):
        rig.sender.read(1.0)


def test_three_duplicates_send_the_first_again() -> None:
    rig = Rig()
    rig.read(b"".join(bytes((n,)) * MSS for n in range(5)))
    for n in range(3):
        assert rig.out() == [] and rig.ack(0) is Heard.FINE, n
    (again,) = rig.out()
    assert again.payload == bytes(MSS) and rig.count["tcp.fast_retransmit"] == rig.count["tcp.retransmitted"] == 1


def test_an_ack_with_text_is_no_duplicate() -> None:
    rig = Rig()
    rig.read(b"a" * 5000)
    for _ in range(5):
        rig.ack(0, size=10)
    assert rig.out() == []


def test_sack_blocks_show_the_hole() -> None:
    rig = Rig(sack=True)
    rig.read(b"".join(bytes((n,)) * MSS for n in range(6)))
    left = (ISS + 1 + 2 * MSS) & MASK
    rig.sender.take_sack([(left, (left + 3 * MSS) & MASK), (left - 5000 & MASK, left - 4000 & MASK)], 1.1)
    assert [segment.payload[0] for segment in rig.out()] == [0, 1]


def test_a_tail_is_probed_for_before_the_time_out() -> None:
    rig = Rig()
    rig.read(b"a" * 1500)
    sender = rig.sender
    timer = sender.timer
    assert timer is Timer.TAIL
    assert sender.tick(sender.timer_at) is Outcome.DONE
    (probe,) = rig.out()
    assert len(probe.payload) == MSS and sender.probed and sender.timer is Timer.RETRANSMIT


def test_time_outs_double_and_come_to_an_end() -> None:
    rig = Rig()
    rig.sender.probed = True
    rig.read(b"a" * 1500)
    sender = rig.sender
    waits = []
    for _ in range(DATA_RETRIES):
        now = sender.timer_at
        assert sender.timer is Timer.RETRANSMIT and sender.tick(now) is Outcome.DONE
        assert len(rig.out()) == 1 and sender.aloft == 0
        waits.append(sender.timer_at - now)
    assert waits[1] == pytest.approx(2 * waits[0]) and waits[-1] == 60.0
    assert sender.tick(sender.timer_at) is Outcome.GIVE_UP


def test_what_a_slow_line_has_not_taken_yet_is_not_lost() -> None:
    rig = Rig()
    rig.read(b"a" * 1500)
    rig.line.waiting = lambda key: key == KEY  # type: ignore[method-assign]
    for _ in range(50):
        assert rig.sender.tick(rig.sender.timer_at) is Outcome.DONE
    assert rig.out() == [] and rig.sender.retries == 0


def test_a_closed_window_is_probed_and_opens_again() -> None:
    rig = Rig(window=0)
    rig.remote.send(b"a" * 10)
    assert rig.sender.read(1.0) is Outcome.DONE
    timer = rig.sender.timer
    assert timer is Timer.PERSIST
    first = rig.sender.timer_at
    assert rig.sender.tick(first) is Outcome.DONE
    (question,) = rig.out()
    assert not question.payload and question.sequence == ISS & MASK
    timer = rig.sender.timer
    assert timer is Timer.PERSIST and rig.sender.timer_at - first > first - 1.0
    assert rig.ack(0, window=100) is Heard.RESTED and rig.sender.timer is Timer.NONE
    assert rig.read()[0].payload == b"a" * 10


def test_a_guest_that_comes_back_gets_the_first_unacknowledged_segment_again() -> None:
    rig = Rig()
    assert not rig.sender.probe(1.0)
    rig.read(b"a" * 2500)
    rig.line.mtu = 576
    assert rig.sender.probe(2.0)
    assert [len(segment.payload) for segment in rig.out()] == [536]


def test_closing_gives_back_what_was_on_the_way() -> None:
    rig = Rig()
    rig.read(b"a" * 2500)
    rig.sender.close()
    assert rig.line.flight.flying == 0 and not rig.sender.unacked and rig.sender.timer_at == math.inf


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(1, 5000)),
            st.tuples(st.just("ack"), st.integers(0, 100)),
            st.tuples(st.just("tick"), st.just(0)),
            st.tuples(st.just("window"), st.sampled_from((0, 500, 3000, 50_000))),
            st.tuples(st.just("end"), st.just(0)),
        ),
        max_size=60,
    )
)
def test_its_invariants_hold_whatever_happens(steps: list[tuple[str, int]]) -> None:
    rig = Rig()
    sender = rig.sender
    now, window, ended = 1.0, 50_000, False
    for action, amount in steps:
        now += 0.05
        if action == "read" and not sender.fin_sent:
            if not ended:
                rig.remote.send(bytes(amount))
            sender.read(now)
        elif action == "ack":
            count = (sender.snd_nxt - sender.snd_una) * amount // 100
            sender.acknowledged((sender.snd_una + count) & MASK, window, 0, now)
        elif action == "window":
            window = amount
            sender.acknowledged(sender.snd_una & MASK, window, 0, now)
        elif action == "end" and not ended:
            ended = True
            rig.remote.shutdown()
        elif action == "tick" and sender.timer_at < math.inf:
            now = max(now, sender.timer_at)
            sender.tick(now)
        flight = sender.snd_nxt - sender.snd_una
        assert len(sender.unacked) == flight - (sender.fin_sent and flight > 0)
        assert 0 <= sender.aloft <= len(sender.unacked) and rig.line.flight.flying == sender.aloft
        assert (sender.timer is Timer.NONE) == (sender.timer_at == math.inf)
        assert sender.timer_at < math.inf or not flight, "something is on the way, and nobody will send it again"
        assert sender.timed_end == -1 or sender.snd_una < sender.timed_end <= sender.snd_nxt
        for segment in rig.out():
            assert len(segment.payload) <= MSS

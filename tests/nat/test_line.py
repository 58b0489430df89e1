"""nat.line: accounting under any order of calls, and fairness."""

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.dirty import Dirty
from nat.line import BULK_MOST, FLOW_MOST, TOTAL_MOST, Line


def make(mtu: int = 1500) -> tuple[Line, list[int]]:
    kicks: list[int] = []
    line = Line(b"\x0a\0\2\x0f", mtu, lambda: kicks.append(1), Counter())
    line.up = True
    return line, kicks


def packet(key: int, number: int, size: int) -> bytes:
    return (bytes((key,)) + number.to_bytes(4, "big")).ljust(size, b".")


step = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 5), st.sampled_from((40, 576, 1500, 9000))),
    st.tuples(st.just("take"), st.just(0), st.integers(1, 20000)),
    st.tuples(st.just("up"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(step, max_size=300), st.sampled_from((296, 1500)))
def test_any_order_of_calls_keeps_the_accounts(steps: list[tuple[str, int, int]], mtu: int) -> None:
    line, kicks = make(mtu)
    model: dict[int, deque[bytes]] = {key: deque() for key in range(6)}
    number = 0
    for action, key, amount in steps:
        waiting = sum(map(len, model.values()))
        if action == "send":
            number += 1
            one = packet(key, number, amount)
            before = len(kicks)
            if line.send(one, key):
                model[key].append(one)
                assert waiting or len(kicks) > before  # the owner is told when the line was idle
            else:
                assert not line.up or line.queued > TOTAL_MOST or sum(map(len, model[key])) > FLOW_MOST
        elif action == "take":
            taken = line.take(amount)
            assert bool(taken) == bool(waiting)
            assert not taken or sum(map(len, taken[:-1])) < amount
            for one in taken:
                assert model[one[0]].popleft() == one  # in order within a flow
        elif action == "up":
            line.up = bool(key)
        else:
            line.clear()
            for queue in model.values():
                queue.clear()
        assert line.queued == sum(len(one) for queue in model.values() for one in queue)
        for flow in range(6):
            assert line.waiting(flow) == bool(model[flow])
    rest = line.take(1 << 30)
    assert sorted(rest) == sorted(one for queue in model.values() for one in queue)
    assert line.queued == 0 and line.take(1) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from((64, 100, 576, 1000, 1500)), min_size=2, max_size=6),
    st.sampled_from((600, 3000, 9000)),
)
def test_busy_flows_share_the_line_by_octets(sizes: list[int], budget: int) -> None:
    line, _ = make()
    shares: Counter[int] = Counter()
    number = 0
    for _ in range(300):
        for key, size in enumerate(sizes):
            while line.room(key) >= size:
                number += 1
                line.send(packet(key, number, size), key)
        for one in line.take(budget):
            shares[one[0]] += len(one)
    values = [shares[key] for key in range(len(sizes))]
    assert max(values) - min(values) <= 6 * 1500


def test_a_small_packet_overtakes_a_bulk_transfer() -> None:
    line, _ = make()
    for number in range(20):
        line.send(packet(0, number, 1500), 0)
    line.take(3000)
    line.send(packet(1, 0, 40), 1)
    assert line.take(1500)[0][0] == 1


def test_new_flows_cannot_starve_an_old_one() -> None:
    line, _ = make()
    for number in range(60):
        line.send(packet(0, number, 1500), 0)
    got = 0
    for turn in range(200):
        line.send(packet(1 + turn % 3, turn, 1400), 1 + turn % 3)
        got += sum(one[0] == 0 for one in line.take(3000))
        if got == 60:
            break
    assert got == 60


def test_a_refused_packet_leaves_nothing_behind() -> None:
    line, _ = make()
    number = 0
    for key in range(20):
        while line.send(packet(0, number, 1500), key):
            number += 1
    assert TOTAL_MOST < line.queued <= TOTAL_MOST + 1500
    for key in range(1000, 2000):
        assert not line.send(b"x" * 40, key)
    assert line.count["line.queue_full"] >= 1000
    assert not any(line.waiting(key) for key in range(1000, 2000))
    line.take(1 << 30)
    assert not line._queues


@pytest.mark.parametrize("known", (False, True))
def test_while_the_guest_is_away_packets_are_dropped_and_counted(known: bool) -> None:
    line, _ = make()
    if known:
        line.send(b"x" * 40, 1)
    line.up = False
    assert not line.send(b"x" * 40, 1)
    assert line.count["line.down"] == 1
    assert line.room(1) == 0


def test_what_a_flow_no_longer_wants_is_dropped_and_nothing_else() -> None:
    line = Line(b"\x0a\0\2\x0f", 1500, lambda: None, Counter())
    line.up = True
    for n in range(3):
        line.send(bytes(100), "gone")
        line.send(bytes((n,)) * 50, "stays")
    line.discard("gone")
    line.discard("never there")
    assert line.queued == 150 and not line.waiting("gone") and line.count["line.discarded"] == 3
    line.send(b"new", "gone")
    assert sorted(map(len, line.take(1 << 20))) == [3, 50, 50, 50]
    assert line.queued == 0 and line.take(1 << 20) == []


class Flow:
    """A flow that keeps the contract of nat.line.Waiter, with `octets` of its host still to read."""

    def __init__(self, line: Line, dirty: Dirty, key: int) -> None:
        self.line, self.dirty, self.key = line, dirty, key
        self.octets = 0
        self.need = 1500
        self.turns = 0  # how often it was woken
        self.sent = 0
        self.marked = self.waits = False

    def wake(self) -> None:
        self.waits = False
        self.turns += 1
        self.mark()

    def mark(self) -> None:
        if not self.marked:
            self.marked = True
            self.dirty.flow(self)

    def flush(self, now: float) -> None:
        self.marked = False
        room = self.line.room(self.key)
        if self.octets and room < self.need:
            self.waits = True
            self.line.wait(self.key, self, self.need)
        elif self.octets:
            self._send(min(room, self.octets))
        if self.line.turn == self.key:
            self.line.pass_on()

    def _send(self, size: int) -> None:
        self.octets -= size
        self.sent += size
        self.line.flight.flying += size
        while size:
            part = min(size, 1500)
            assert self.line.send(packet(self.key, 0, max(5, part))[:part], self.key)
            size -= part
        if self.octets:
            self.mark()


class Waiting:
    """A line, flows that want to send, and the queue of the dirty that lets them."""

    def __init__(self, number: int, *, hidden: bool = False) -> None:
        self.dirty = Dirty()
        self.line, _ = make()
        self.line.flow_limit = FLOW_MOST
        self.line.flight.reset(1500, hidden=hidden)
        self.flows = [Flow(self.line, self.dirty, key) for key in range(number)]

    def want(self, key: int, octets: int) -> None:
        self.flows[key].octets += octets
        self.flows[key].mark()
        self.dirty.flush(0.0)

    def land(self, octets: int) -> None:
        self.line.flight.flying -= min(octets, self.line.flight.flying)
        self.line.offer()
        self.dirty.flush(0.0)

    def take(self, budget: int) -> int:
        taken = self.line.take(budget)
        self.dirty.flush(0.0)
        return sum(map(len, taken))

    def turns(self) -> list[int]:
        return [flow.turns for flow in self.flows]


def test_a_flow_whose_queue_is_full_is_woken_when_there_is_room_in_it_and_not_before() -> None:
    it = Waiting(2)
    it.want(0, FLOW_MOST + 6000)
    it.want(1, 3000)
    assert it.flows[0].waits and it.flows[0].octets == 6000 and it.turns() == [0, 0]
    it.line.take(40)  # one packet of the other, or of the first: then the other's
    while it.line.room(0) < 1500:
        assert it.turns()[0] == 0
        it.line.take(1500)
    assert it.turns()[0] == 1 and it.dirty and it.flows[0].octets == 6000, "it is only marked in the middle of a take"
    it.dirty.flush(0.0)
    assert it.flows[0].octets < 6000


def test_of_many_that_wait_for_the_same_room_one_is_woken_at_a_time() -> None:
    """2,000 flows that wait once cost 2.4 ms at each write, for one packet's room."""
    it = Waiting(2003)
    for key in range(3):
        it.want(key, FLOW_MOST)
    for key in range(3, 2003):
        it.want(key, 15_000)
    assert it.line.queued >= BULK_MOST and all(flow.waits for flow in it.flows[3:])
    for _ in range(100):
        it.take(1500)
    served = [flow for flow in it.flows[3:] if flow.turns]
    assert sum(it.turns()) <= 200 and served == it.flows[3 : 3 + len(served)] and served


def test_one_that_uses_nothing_passes_its_turn_on() -> None:
    it = Waiting(6)
    for key in range(3):
        it.want(key, FLOW_MOST)
    for key in range(3, 6):
        it.want(key, 3000)
    for key in (3, 4):
        it.flows[key].octets = 0  # the host's end has changed its mind
    while it.line.queued >= BULK_MOST:
        it.take(1500)
    assert [flow.sent for flow in it.flows[3:]] == [0, 0, 3000] and it.turns()[3:] == [1, 1, 1]


def test_who_comes_later_gets_no_room_before_those_who_wait() -> None:
    it = Waiting(3, hidden=True)
    it.line.flight.window = 3000
    it.want(0, 9000)
    it.want(1, 6000)
    it.land(1000)
    assert it.line.flight.room() == 1000 and it.line.room(2) == it.line.room(1) == 0
    it.flows[2].need = 500
    it.want(2, 500)
    assert it.flows[2].waits
    it.land(500)
    assert [flow.sent for flow in it.flows] == [4500, 0, 0]
    it.land(1500)
    it.land(500)
    assert [flow.sent for flow in it.flows] == [4500, 1500, 500]


@pytest.mark.parametrize("hidden", (False, True))
def test_those_who_wait_while_the_guest_is_away_are_woken_when_it_is_back(hidden: bool) -> None:
    it = Waiting(3, hidden=hidden)
    it.line.flow_limit = 6000
    it.want(0, 30_000)
    it.line.up = False
    it.line.clear()
    it.want(1, 1500)
    it.want(2, 1500)
    it.line.flight.flying -= it.line.flight.flying
    assert it.turns() == [0, 0, 0] and not it.dirty
    it.line.up = True
    it.dirty.flush(0.0)
    assert [flow.sent for flow in it.flows[1:]] == [1500, 1500] and it.flows[0].sent > 6000


def test_a_flow_that_ends_in_its_turn_passes_it_on() -> None:
    it = Waiting(3, hidden=True)
    it.line.flight.window = 3000
    for key in range(3):
        it.want(key, 3000)
    it.line.flight.flying -= 3000
    it.line.offer()
    turn = it.line.turn
    it.flows[1].octets = 0
    it.line.forget(1)
    assert (turn, it.line.turn) == (1, 2)
    it.dirty.flush(0.0)
    assert [flow.sent for flow in it.flows] == [3000, 0, 3000]


def test_an_mtu_that_grows_leaves_nobody_waiting_for_more_than_an_empty_queue_has() -> None:
    it = Waiting(1)
    it.line.mtu, it.line.flow_limit = 1500, 4 * 296
    it.want(0, 1500)
    assert it.flows[0].sent == 1500


waiting_step = st.one_of(
    st.tuples(st.just("want"), st.integers(0, 5), st.sampled_from((1, 536, 1500, 30_000, 200_000))),
    st.tuples(st.just("take"), st.just(0), st.sampled_from((1, 1500, 20_000, 300_000))),
    st.tuples(st.just("land"), st.just(0), st.sampled_from((1, 536, 1500, 20_000))),
    st.tuples(st.just("window"), st.just(0), st.sampled_from((4500, 9000, 100_000))),
    st.tuples(st.just("need"), st.integers(0, 5), st.sampled_from((41, 576, 1500))),
    st.tuples(st.just("limit"), st.just(0), st.sampled_from((1184, 6000, FLOW_MOST))),
    st.tuples(st.just("end"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("discard"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("up"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
)


def do(it: Waiting, action: str, key: int, amount: int) -> None:
    flow, line = it.flows[key], it.line
    if action == "want":
        it.want(key, amount)
    elif action == "take":
        it.take(amount)
    elif action == "land":
        it.land(amount)
    elif action == "window":
        line.flight.window = amount
        line.offer()
    elif action == "need":
        flow.need = amount  # of what it asks for next
    elif action == "limit":
        line.flow_limit = amount
    elif action == "end":
        flow.octets, flow.waits = 0, False
        line.forget(key)
    elif action == "discard":
        line.discard(key)
    elif action == "up":
        line.up = bool(key)
    else:
        line.clear()


@settings(max_examples=300, deadline=None)
@given(st.lists(waiting_step, max_size=60), st.booleans())
def test_nobody_is_forgotten_and_nobody_starves(steps: list[tuple[str, int, int]], hidden: bool) -> None:
    it = Waiting(6, hidden=hidden)
    line = it.line
    for action, key, amount in steps:
        before = sum(it.turns())
        do(it, action, key, amount)
        it.dirty.flush(0.0)
        assert sum(it.turns()) - before <= 2 * len(it.flows) + sum(flow.sent for flow in it.flows) // 41
        assert line.turn is None and not it.dirty
        for flow in it.flows:
            assert flow.waits or not flow.octets, "it has octets, and nobody will call it"
        row = list(line._row.values())
        if row and line.up and line.queued < BULK_MOST:
            assert line.flight.hidden and line.flight.room() < row[0][1], "there is room for the first of the row"
    # From here on the line only takes and the guest only acknowledges: everybody gets all out.
    line.up = True
    line.flight.window = max(line.flight.window, 4500)
    for _ in range(10_000):
        if not any(flow.octets for flow in it.flows) and not line.queued:
            break
        it.take(3000)
        it.land(3000)
    assert not any(flow.octets or flow.waits for flow in it.flows)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.booleans())
def test_flows_that_always_want_more_have_their_turns_in_rotation(number: int, hidden: bool) -> None:
    it = Waiting(number, hidden=hidden)
    it.line.flow_limit = 6000
    for key in range(number):
        it.want(key, 1_000_000)
    for _ in range(600):
        it.take(1500)
        it.land(1500)
    sent = [flow.sent for flow in it.flows]
    assert min(sent) > 0 and max(sent) - min(sent) <= 6 * 6000


def test_what_is_discarded_makes_room_for_those_who_wait() -> None:
    it = Waiting(3)
    for key in range(2):
        it.want(key, FLOW_MOST)
    it.want(2, 3000)
    assert it.flows[2].waits
    it.line.discard(1)
    it.dirty.flush(0.0)
    assert it.flows[2].sent == 3000
    alone = Waiting(1)
    alone.want(0, FLOW_MOST + 1500)
    assert alone.flows[0].waits
    alone.line.discard(0)
    alone.dirty.flush(0.0)
    assert alone.flows[0].octets == 0


def test_one_whose_room_is_gone_before_its_turn_stays_the_first() -> None:
    it = Waiting(3, hidden=True)
    it.line.flight.window = 4500
    it.want(0, 4500)
    it.want(1, 3000)
    it.want(2, 3000)
    it.line.flight.flying -= 1500
    it.line.offer()
    assert it.line.turn == 1
    it.line.flight.window = 3000
    it.dirty.flush(0.0)
    assert it.flows[1].waits and it.line.turn is None and not it.flows[1].sent
    it.land(1500)
    assert [flow.sent for flow in it.flows[1:]] == [1500, 0]


def test_the_first_that_needs_less_than_it_did_has_its_turn() -> None:
    it = Waiting(2, hidden=True)
    it.line.flight.window = 4500
    it.want(0, 4500)
    it.want(1, 3000)
    it.land(600)
    assert it.flows[1].sent == 0
    it.flows[1].need = 500  # the guest's window has shrunk
    it.flows[1].mark()
    it.dirty.flush(0.0)
    assert it.flows[1].sent == 600

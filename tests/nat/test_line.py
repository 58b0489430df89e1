"""nat.line: accounting under any order of calls, and fairness."""

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.line import FLOW_LIMIT, TOTAL_LIMIT, Line


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
                assert not line.up or line.queued > TOTAL_LIMIT or sum(map(len, model[key])) > FLOW_LIMIT
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
    assert TOTAL_LIMIT < line.queued <= TOTAL_LIMIT + 1500
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


def test_waiting_flows_resume_in_order_and_may_wait_again() -> None:
    line, _ = make()
    order: list[int] = []

    class Flow:
        def __init__(self, name: int) -> None:
            self.name = name

        def resume(self, now: float) -> None:
            order.append(self.name)
            if len(order) < 5:
                line.wait(self)

    flows = [Flow(name) for name in range(3)]
    for flow in flows:
        line.wait(flow)
    line.forget(flows[1])
    line.resume(0.0)
    assert order == [0, 2]
    line.resume(0.0)
    line.resume(0.0)
    line.resume(0.0)
    assert order == [0, 2, 0, 2, 0, 2]


def test_a_flow_that_another_one_ended_is_not_resumed() -> None:
    line, _ = make()
    order: list[int] = []

    class Flow:
        def __init__(self, name: int) -> None:
            self.name = name

        def resume(self, now: float) -> None:
            order.append(self.name)
            for flow in flows:
                line.forget(flow)

    flows = [Flow(name) for name in range(3)]
    for flow in flows:
        line.wait(flow)
    line.resume(0.0)
    assert order == [0]


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

"""nat.deadlines: Deadlines against a brute-force minimum."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from nat.deadlines import Deadlines


class Thing:
    def __init__(self, name: int) -> None:
        self.name = name
        self.deadline = self.queued = math.inf
        self.ticks: list[float] = []

    def tick(self, now: float) -> None:
        self.ticks.append(now)


step = st.one_of(
    st.tuples(st.just("arm"), st.integers(0, 7), st.one_of(st.integers(0, 100), st.just(math.inf))),
    st.tuples(st.just("expire"), st.just(0), st.integers(0, 30)),
)


@settings(deadline=None)
@given(st.lists(step, max_size=200))
def test_deadlines_agree_with_brute_force(steps: list[tuple[str, int, float]]) -> None:
    deadlines = Deadlines()
    things = [Thing(number) for number in range(8)]
    expected = [math.inf] * 8
    now = 0.0
    for action, index, amount in steps:
        if action == "arm":
            deadlines.arm(things[index], now + amount)
            expected[index] = now + amount
        else:
            now += amount
            due = [number for number in range(8) if expected[number] <= now]
            before = [len(thing.ticks) for thing in things]
            deadlines.expire(now)
            ticked = [number for number in range(8) if len(things[number].ticks) > before[number]]
            assert ticked == due
            assert all(len(thing.ticks) - old <= 1 for thing, old in zip(things, before, strict=True))
            for number in due:
                expected[number] = math.inf
        assert deadlines.next() == min(expected)
        assert [thing.deadline for thing in things] == expected


def test_ticks_come_in_order_and_may_arm_again() -> None:
    deadlines = Deadlines()
    order: list[int] = []

    class Again(Thing):
        def tick(self, now: float) -> None:
            order.append(self.name)
            if now < 10:
                deadlines.arm(self, now + 10)

    things = [Again(number) for number in range(5)]
    for thing in reversed(things):
        deadlines.arm(thing, 1.0 + thing.name)
    deadlines.expire(6.0)
    assert order == [0, 1, 2, 3, 4]
    assert deadlines.next() == 16.0
    deadlines.expire(16.0)
    assert len(order) == 10 and deadlines.next() == math.inf


def test_a_far_deadline_behind_many_near_ones_leaves_no_litter() -> None:
    """A TCP flow: idle in two hours, retransmission in a moment, over and over."""
    deadlines = Deadlines()
    things = [Thing(number) for number in range(3)]
    now = 0.0
    for _ in range(5000):
        for thing in things:
            deadlines.arm(thing, now + 0.3)
            deadlines.arm(thing, now + 7440)
        now += 0.5
        deadlines.expire(now)
        for thing in things:
            if thing.deadline == math.inf:
                deadlines.arm(thing, now + 7440)
    assert len(deadlines) < 200
    assert deadlines.next() == min(thing.deadline for thing in things)


def test_litter_of_ticks_that_really_come() -> None:
    deadlines = Deadlines()
    thing = Thing(0)
    now = 0.0
    for _ in range(5000):
        deadlines.arm(thing, now + 7440)
        deadlines.arm(thing, now + 0.3)
        now += 0.5
        deadlines.expire(now)
    assert len(thing.ticks) == 5000
    assert len(deadlines) < 200


def test_owners_that_end_leave_no_litter() -> None:
    deadlines = Deadlines()
    for number in range(10_000):
        thing = Thing(number)
        deadlines.arm(thing, number + 600.0)
        deadlines.arm(thing, math.inf)
        deadlines.arm(thing, math.inf)
    assert len(deadlines) < 200
    assert deadlines.next() == math.inf


def test_an_error_of_one_owner_is_reported_and_the_others_have_their_tick() -> None:
    reported: list[tuple[str, float]] = []
    deadlines = Deadlines(lambda error, now: reported.append((str(error), now)))

    class Bad(Thing):
        def tick(self, now: float) -> None:
            raise ValueError("a bug")

    good, bad = [Thing(number) for number in range(2)], Bad(9)
    for when, thing in enumerate((good[0], bad, good[1])):
        deadlines.arm(thing, float(when))
    deadlines.expire(5.0)
    assert [thing.ticks for thing in good] == [[5.0], [5.0]]
    assert reported == [("a bug", 5.0)]
    assert deadlines.next() == bad.deadline == math.inf

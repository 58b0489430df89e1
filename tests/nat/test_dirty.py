"""nat.dirty: who has a turn when the wake-up ends, and in what order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.dirty import Dirty
from tests.support.turns import Turn


def make() -> tuple[Dirty, list[str], list[str]]:
    reported: list[str] = []
    return Dirty(lambda error, now: reported.append(f"{error} at {now}")), [], reported


def test_flows_come_before_lines_whatever_came_first() -> None:
    dirty, done, _ = make()
    dirty.line(Turn("line", done))
    dirty.flow(Turn("one", done))
    dirty.flow(Turn("other", done))
    dirty.flush(0.0)
    assert done == ["one", "other", "line"] and not dirty


def test_a_line_is_put_in_once() -> None:
    dirty, done, _ = make()
    line = Turn("line", done)
    for _ in range(3):
        dirty.line(line)
    dirty.flush(0.0)
    assert done == ["line"]


def test_what_a_line_wakes_runs_in_the_same_wake_up_and_brings_the_line_back() -> None:
    dirty, done, _ = make()
    line = Turn("line", done)
    flow = Turn("flow", done, lambda: dirty.line(line))
    turns = iter(range(2))
    line.then = lambda: dirty.flow(flow) if next(turns, None) is not None else None
    dirty.flow(flow)
    dirty.flush(0.0)
    assert done == ["flow", "line", "flow", "line", "flow", "line"] and not dirty


def test_flows_that_the_lines_wake_come_before_lines_that_the_lines_wake() -> None:
    dirty, done, _ = make()
    last, flow = Turn("last", done), Turn("flow", done)
    dirty.line(Turn("first", done, lambda: (dirty.line(last), dirty.flow(flow))))
    dirty.flush(0.0)
    assert done == ["first", "flow", "last"]


def test_an_error_of_one_is_reported_and_the_others_have_their_turn() -> None:
    dirty, done, reported = make()

    def fail() -> None:
        raise ValueError("a bug")

    dirty.flow(Turn("bad flow", done, fail))
    dirty.flow(Turn("flow", done))
    dirty.line(Turn("bad line", done, fail))
    dirty.line(Turn("line", done))
    dirty.flush(7.0)
    assert done == ["bad flow", "flow", "bad line", "line"] and not dirty
    assert reported == ["a bug at 7.0"] * 2


def test_without_a_report_the_error_comes_out() -> None:
    dirty = Dirty()

    def fail() -> None:
        raise ValueError("a bug")

    dirty.flow(Turn("bad", [], fail))
    with pytest.raises(ValueError, match="a bug"):
        dirty.flush(0.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.booleans()), max_size=30))
def test_everybody_who_was_put_in_has_a_turn_after_it(steps: list[tuple[bool, int, bool]]) -> None:
    dirty, done, _ = make()
    things = {kind: [Turn(f"{kind} {number}", done) for number in range(5)] for kind in (True, False)}
    owed: set[str] = set()
    for is_flow, number, flush in steps:
        thing = things[is_flow][number]
        if not is_flow:
            dirty.line(thing)
        elif thing.name not in owed:  # a flow sees to this itself
            dirty.flow(thing)
        owed.add(thing.name)
        if flush:
            dirty.flush(0.0)
            assert set(done) == owed and len(done) == len(owed)
            owed.clear()
            done.clear()
    assert bool(dirty) == bool(owed)

"""The automaton against RFC 1661's own table, its timer, and two of them joined."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcp.fsm import TABLE, TIMED, Automaton, Event, State, Timing

_EVENTS = ["Up", "Down", "Open", "Close", "TO+", "TO-", "RCR+", "RCR-", "RCA", "RCN"]
_EVENTS += ["RTR", "RTA", "RUC", "RXJ+", "RXJ-", "RXR"]


def rfc_cells() -> list[tuple[State, Event, str]]:
    """(state, event, cell) of every cell of the RFC's two half tables."""
    cells = []
    columns: list[int] = []
    for line in (Path(__file__).parents[1] / "data" / "rfc1661_table.txt").read_text().splitlines():
        head, bar, rest = line.partition("|")
        if bar and not head.strip() and re.fullmatch(r"[\s0-9]+", rest) and rest.strip():
            columns = [int(word) for word in rest.split()]
        elif head.strip() in _EVENTS:
            words = rest.split()
            assert len(words) == len(columns), line
            event = Event(_EVENTS.index(head.strip()))
            cells += [(State(column), event, word) for column, word in zip(columns, words, strict=True)]
    return cells


class Recorder:
    def __init__(self, timing: Timing | None = None) -> None:
        self.actions: list[str] = []
        self.automaton = Automaton(self, timing)

    def act(self, action: str, now: float) -> None:
        self.actions.append(action)


def test_the_rfc_table_has_160_cells() -> None:
    cells = rfc_cells()
    assert len({(state, event) for state, event, _ in cells}) == len(cells) == 160


@pytest.mark.parametrize(("state", "event", "cell"), rfc_cells(), ids=lambda value: getattr(value, "name", value))
def test_rfc1661_cell(state: State, event: Event, cell: str) -> None:
    recorder = Recorder()
    recorder.automaton.state = state
    happened = recorder.automaton.event(event, 0.0)
    if cell == "-":
        assert not happened and event not in TABLE[state]
        assert recorder.automaton.state == state and not recorder.actions
        return
    actions, _, following = cell.rpartition("/")
    assert happened and recorder.automaton.state == int(following.rstrip("rpx"))
    internal = ("irc", "zrc")
    assert recorder.actions == [a for a in actions.split(",") if a and a not in internal]
    assert list(TABLE[state][event][0]) == [a for a in actions.split(",") if a]
    # RFC 1661 section 4.2: the Restart timer runs in these states and in no other
    assert (recorder.automaton.deadline < math.inf) == (recorder.automaton.state in TIMED)


def expire(recorder: Recorder) -> list[float]:
    times = []
    while recorder.automaton.deadline < math.inf:
        times.append(recorder.automaton.deadline)
        recorder.automaton.tick(times[-1])
    return times


def test_silence_ten_configure_requests_three_seconds_apart() -> None:
    recorder = Recorder()
    recorder.automaton.event(Event.OPEN, 0.0)
    recorder.automaton.event(Event.UP, 0.0)
    assert expire(recorder) == [3.0 * i for i in range(1, 11)]
    assert recorder.actions.count("scr") == 10 and recorder.actions[-1] == "tlf"
    assert recorder.automaton.state == State.STOPPED


def test_silence_two_terminate_requests() -> None:
    recorder = Recorder()
    recorder.automaton.state = State.OPENED
    recorder.automaton.event(Event.CLOSE, 0.0)
    assert expire(recorder) == [3.0, 6.0]
    assert recorder.actions == ["tld", "str", "str", "tlf"] and recorder.automaton.state == State.CLOSED


def test_terminated_by_the_peer_waits_one_restart_period() -> None:
    recorder = Recorder()
    recorder.automaton.state = State.OPENED
    recorder.automaton.event(Event.RTR, 10.0)
    assert recorder.actions == ["tld", "sta"] and recorder.automaton.deadline == 13.0
    recorder.automaton.tick(12.9)
    state = recorder.automaton.state
    recorder.automaton.tick(13.0)
    assert (state, recorder.automaton.state) == (State.STOPPING, State.STOPPED)


def test_tick_before_the_deadline_does_nothing() -> None:
    recorder = Recorder()
    recorder.automaton.event(Event.OPEN, 0.0)
    recorder.automaton.event(Event.UP, 0.0)
    before = list(recorder.actions)
    recorder.automaton.tick(2.999)
    assert recorder.actions == before


@pytest.mark.parametrize(("spoken_at", "again_at"), [(0.1, 0.6), (0.5, 0.7), (2.0, 2.2), (2.9, 3.0)])
def test_hurry_repeats_once_a_request_sent_before_the_peer_listened(spoken_at: float, again_at: float) -> None:
    recorder = Recorder()
    automaton = recorder.automaton
    automaton.event(Event.OPEN, 0.0)
    automaton.event(Event.UP, 0.0)
    automaton.event(Event.RCR_PLUS, spoken_at)
    automaton.hurry(spoken_at)
    assert automaton.deadline == again_at and recorder.actions.count("scr") == 1
    automaton.hurry(spoken_at)
    automaton.tick(again_at)
    assert recorder.actions.count("scr") == 2 and automaton.deadline == again_at + 3.0


@pytest.mark.parametrize("state", [State.STOPPED, State.OPENED])
def test_a_request_that_the_peer_provoked_is_not_hurried(state: State) -> None:
    """On a very slow line an early repetition would make the peer begin anew."""
    recorder = Recorder()
    recorder.automaton.state = state
    recorder.automaton.event(Event.RCR_PLUS, 10.0)
    recorder.automaton.hurry(10.0)
    assert recorder.automaton.deadline == 13.0


def test_an_event_caused_by_an_action_waits_for_the_state() -> None:
    class Closing(Recorder):
        def act(self, action: str, now: float) -> None:
            super().act(action, now)
            if action == "tlu":
                self.automaton.event(Event.RXJ_MINUS, now)

    closing = Closing()
    closing.automaton.state = State.ACK_SENT
    closing.automaton.event(Event.RCA, 0.0)
    assert closing.actions == ["tlu", "tld", "str"] and closing.automaton.state == State.STOPPING


class Pair:
    """Two automata whose Configure packets cross a wire that loses some of them."""

    def __init__(self, losses: list[bool]) -> None:
        self.losses = iter(losses)
        self.now = 0.0
        self.queue: list[tuple[int, Event, int]] = []
        self.ids = [0, 0]
        self.answered = [True, True]
        self.heard = [0, 0]
        self.automata = [Automaton(_Half(self, i)) for i in (0, 1)]

    def send(self, end: int, event: Event, identifier: int) -> None:
        if not next(self.losses, False):
            self.queue.append((1 - end, event, identifier))

    def deliver(self) -> None:
        while self.queue:
            end, event, identifier = self.queue.pop(0)
            automaton = self.automata[end]
            if event == Event.RCR_PLUS:
                self.heard[end] = identifier
            elif event == Event.RCA:
                if identifier != self.ids[end] or self.answered[end]:
                    continue
                self.answered[end] = True
            automaton.event(event, self.now)


class _Half:
    def __init__(self, pair: Pair, end: int) -> None:
        self.pair, self.end = pair, end

    def act(self, action: str, now: float) -> None:
        pair, end = self.pair, self.end
        if action == "scr":
            pair.ids[end] += pair.answered[end]
            pair.answered[end] = False
            pair.send(end, Event.RCR_PLUS, pair.ids[end])
        elif action == "sca":
            pair.send(end, Event.RCA, pair.heard[end])


@given(st.lists(st.booleans(), max_size=12), st.booleans())
def test_two_automata_converge_under_loss(losses: list[bool], together: bool) -> None:
    pair = Pair(losses)
    for i, automaton in enumerate(pair.automata):
        automaton.event(Event.OPEN, 0.0)
        if together or i == 0:
            automaton.event(Event.UP, 0.0)
    pair.deliver()
    if not together:
        pair.automata[1].event(Event.UP, 0.0)
        pair.deliver()
    for _ in range(100):
        if all(automaton.state == State.OPENED for automaton in pair.automata):
            break
        pair.now = min(automaton.deadline for automaton in pair.automata)
        assert pair.now < math.inf, [automaton.state for automaton in pair.automata]
        for automaton in pair.automata:
            automaton.tick(pair.now)
        pair.deliver()
    assert all(automaton.state == State.OPENED for automaton in pair.automata)

"""LineMeter against simulated lines: a buffer that drains at a fixed rate, seen as a pty shows it."""

import math
import random

import pytest

from serialport.meter import NUDGES, TWO_FRAMES, UNMETERED, WINDOW_MOST, LineMeter

PTY_SATURATION = 4095
"""FIONREAD of a pty's slave never says more than this, however much is queued behind (n_tty's read buffer)."""

FRAME = 1510


class Line:
    """A pty with a reader of `rate` octets a second: 20 KB fit, pending() saturates, writable again when
    low."""

    def __init__(self, rate: float, capacity: int = 20_000) -> None:
        self.rate = rate
        self.capacity = capacity
        self.queued = 0.0
        self.time = 0.0
        self.taken = 0.0
        self.idle = 0.0

    def advance(self, now: float) -> None:
        drained = min(self.queued, (now - self.time) * self.rate)
        self.queued -= drained
        self.taken += drained
        self.time = now

    def pending(self) -> int:
        return min(math.ceil(self.queued), PTY_SATURATION)

    def write(self, octets: int) -> int:
        taken = max(min(octets, int(self.capacity - self.queued)), 0)
        self.queued += taken
        return taken

    def writable_at(self) -> float:
        """The kernel wakes the writer when the line discipline's part has been read."""
        return self.time + min(self.queued, 4096.0) / self.rate


class Sender:
    """The owner of a meter: it has `backlog` octets to send, in frames, and times its turns as epoll
    would."""

    def __init__(self, line: Line, jitter: random.Random | None = None) -> None:
        self.line = line
        self.meter = LineMeter()
        self.jitter = jitter
        self.looks = 0
        self.wakes = 0
        self.ahead: list[float] = []

    def turn(self, now: float, backlog: int) -> tuple[int, float]:
        """One turn: octets sent, and when the next turn is due."""
        self.line.advance(now)
        self.wakes += 1
        sent = 0
        meter = self.meter
        while sent < backlog:
            budget = meter.spare()
            if not budget:
                self.looks += 1
                budget = meter.allowance(now, self.line.pending())
            if budget <= 0:
                break
            want = min(math.ceil(budget / FRAME) * FRAME, backlog - sent)
            self.ahead.append(self.line.queued)
            taken = self.line.write(want)
            self.ahead[-1] = self.line.queued
            meter.wrote(taken, now)
            sent += taken
            if taken < want:
                meter.blocked(now)
                return sent, self.line.writable_at()
        if sent >= backlog:
            meter.idle()
            return sent, math.inf
        meter.waiting(now)
        assert now < meter.recheck <= now + 0.0501
        due = math.ceil(meter.recheck * 1000) / 1000
        if self.jitter is not None and self.jitter.random() < 0.02:
            due += self.jitter.uniform(0, 0.015)
        return sent, due

    def run(self, seconds: float) -> float:
        """Send without end; the share of the line's time that it was busy."""
        now = 0.0
        while now < seconds:
            _sent, due = self.turn(now, 1 << 30)
            now = max(due, now + 2e-5)
        self.line.advance(now)
        return self.line.taken / (self.line.rate * now)


@pytest.mark.parametrize("rate", [960, 11_500, 165_000, 1_000_000, 40_000_000])
@pytest.mark.parametrize("jittery", [False, True])
def test_a_line_is_kept_busy(rate: int, jittery: bool) -> None:
    sender = Sender(Line(rate), random.Random(rate) if jittery else None)
    # One wake-up in fifty comes up to 15 ms late: that is more than a window of the fastest metered line.
    least = 0.98 if not jittery else 0.9 if rate == 1_000_000 else 0.97
    assert sender.run(60 if rate < 10_000 else 10) >= least


@pytest.mark.parametrize(
    ("rate", "octets"),
    [(960, TWO_FRAMES), (11_500, TWO_FRAMES), (165_000, TWO_FRAMES), (1_000_000, WINDOW_MOST)],
)
def test_what_waits_in_the_line_is_bounded(rate: int, octets: int) -> None:
    """The window, a few octets of escapes more, and never the 20 KB that a pty takes."""
    line = Line(rate)
    sender = Sender(line)
    sender.run(10)
    half = sender.ahead[len(sender.ahead) // 4 :]
    assert max(half) <= octets + 20


@pytest.mark.parametrize("rate", [960, 11_500, 165_000])
def test_a_slow_line_holds_about_two_frames(rate: int) -> None:
    line = Line(rate)
    sender = Sender(line)
    sender.run(20)
    assert sender.meter.metered
    assert sender.meter.window == TWO_FRAMES


def test_a_fast_line_is_not_metered_and_not_asked() -> None:
    sender = Sender(Line(40e6))
    sender.run(0.02)
    assert not sender.meter.metered
    looks = sender.looks
    sender.run(5)
    assert sender.looks - looks <= 20
    assert sender.meter.allowance(5, 0) == UNMETERED


def test_a_fast_line_is_found_out_within_milliseconds() -> None:
    sender = Sender(Line(40e6))
    now = 0.0
    while sender.meter.metered:
        _sent, due = sender.turn(now, 1 << 30)
        now = max(due, now + 2e-5)
    assert now < 0.006


def test_a_line_that_becomes_slow_is_metered_again() -> None:
    line = Line(40e6)
    sender = Sender(line)
    sender.run(0.05)
    assert not sender.meter.metered
    line.rate = 11_500
    now = line.time
    until = now + 20
    while now < until:
        _sent, due = sender.turn(now, 1 << 30)
        now = max(due, now + 2e-5)
    assert sender.meter.metered
    assert sender.meter.window == TWO_FRAMES
    assert max(sender.ahead[-20:]) <= TWO_FRAMES + 20


def test_a_line_that_becomes_fast_is_unmetered_soon() -> None:
    line = Line(11_500)
    sender = Sender(line)
    sender.run(5)
    line.rate = 40e6
    now = line.time
    until = now + 0.3
    while now < until:
        _sent, due = sender.turn(now, 1 << 30)
        now = max(due, now + 2e-5)
    assert not sender.meter.metered


def test_looks_are_few_on_a_slow_line() -> None:
    sender = Sender(Line(960))
    sender.run(60)
    assert sender.wakes <= 60 * 22


def test_an_idle_line_asks_for_no_wakeup() -> None:
    meter = LineMeter()
    assert meter.recheck == math.inf
    assert meter.allowance(0.0, 0) > 0
    meter.wrote(100, 0.0)
    meter.idle()
    assert meter.recheck == math.inf


def test_what_surely_fits_needs_no_look() -> None:
    meter = LineMeter()
    assert meter.spare() == TWO_FRAMES // 2
    meter.wrote(1000, 0.0)
    meter.idle()
    assert meter.spare() == TWO_FRAMES // 2 - 1000
    meter.wrote(500, 0.0)
    meter.idle()
    assert meter.spare() == 0
    assert meter.allowance(10.0, 0) == TWO_FRAMES // 2
    assert meter.spare() == TWO_FRAMES // 2


def test_while_something_waits_each_turn_looks() -> None:
    meter = LineMeter()
    meter.wrote(3000, 0.0)
    meter.waiting(0.0)
    assert meter.spare() == 0
    assert meter.allowance(0.002, 0) > 0
    assert meter.spare() == 0
    meter.idle()
    assert meter.spare() > 0


def test_a_line_that_is_not_metered_is_never_asked() -> None:
    meter = LineMeter()
    meter.allowance(0.0, -1)
    meter.blocked(0.0)
    assert meter.spare() == UNMETERED


def test_single_packets_hours_apart_teach_it_nothing() -> None:
    meter = LineMeter()
    for hour in range(100):
        assert meter.allowance(hour * 3600.0, 0) > 0
        meter.wrote(1500, hour * 3600.0)
        meter.idle()
        meter.allowance(hour * 3600.0 + 0.01, 1400)
    assert meter.window == TWO_FRAMES
    assert meter.metered


def test_a_port_that_cannot_tell_is_not_metered() -> None:
    meter = LineMeter()
    assert meter.allowance(0.0, -1) == UNMETERED
    assert not meter.metered


def test_what_the_kernel_has_not_counted_yet_is_not_written_twice() -> None:
    meter = LineMeter()
    assert meter.allowance(0.0, 0) > 0
    meter.wrote(3000, 0.0)
    meter.waiting(0.0)
    assert meter.allowance(0.0001, 0) == 0
    assert meter.window == TWO_FRAMES


def test_a_stalled_reader_gets_a_look_every_50_ms_at_most() -> None:
    line = Line(1e-9)
    sender = Sender(line)
    now = 0.0
    for _ in range(30):
        _sent, now = sender.turn(now, 1 << 30)
    before = now
    _sent, now = sender.turn(now, 1 << 30)
    assert now - before == pytest.approx(0.05, abs=0.002)
    assert line.queued <= TWO_FRAMES + NUDGES * FRAME + 20


def test_a_reader_that_missed_its_signal_is_nudged() -> None:
    """user-mode-linux, now and then: it reads nothing more until more octets arrive."""
    line = Line(1e6)
    sender = Sender(line)
    now = 0.0
    while now < 0.5:
        _sent, due = sender.turn(now, 1 << 30)
        now = max(due, now + 2e-5)
    line.rate = 1e-9
    stalled, held = now, line.queued
    while line.queued <= held:
        _sent, due = sender.turn(now, 1 << 30)
        now = max(due, now + 2e-5)
        assert now < stalled + 0.25
        held = max(held, line.queued if now < stalled + 0.05 else held)
    line.rate = 1e6
    _sent, due = sender.turn(now + 0.01, 1 << 30)
    assert sender.meter.allowance(now + 0.02, 0) > 1


def test_a_reader_that_has_stopped_is_nudged_a_few_times_only() -> None:
    line = Line(1e-9)
    sender = Sender(line)
    now = 0.0
    while now < 3600:
        _sent, due = sender.turn(now, 1 << 30)
        now = max(due, now + 2e-5)
    assert line.queued <= TWO_FRAMES + NUDGES * FRAME + 20


@pytest.mark.parametrize("rate", [300, 960, 11_500])
def test_a_slow_reader_is_not_taken_for_one_that_stopped(rate: int) -> None:
    line = Line(rate)
    sender = Sender(line)
    sender.run(30)
    assert max(sender.ahead) <= TWO_FRAMES + 20


def test_a_slow_reader_in_steps_is_not_nudged_at_every_step() -> None:
    """A socket's reader is seen in pieces of half a kilobyte, half a second apart at 9,600 baud."""
    meter = LineMeter()
    held, written = 0, 0
    for step in range(4000):
        now = step * 0.05
        if step % 10 == 9:
            held = max(0, held - 480)
        while (budget := meter.allowance(now, held)) > 0:
            held += -(-budget // FRAME) * FRAME
            meter.wrote(-(-budget // FRAME) * FRAME, now)
            written += 1
        meter.waiting(now)
        if step > 100:
            assert held <= TWO_FRAMES + 20

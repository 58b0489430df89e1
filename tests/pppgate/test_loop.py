"""The event loop, with real descriptors, and asyncio beside it."""

import asyncio
import logging
import math
import os
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from pppgate.loop import ERRORS_BEFORE_MUTE, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


class CountingEpoll:
    """Counts how often it is asked."""

    def __init__(self, epoll: select.epoll) -> None:
        self.register, self.modify, self.unregister, self.close = (
            epoll.register,
            epoll.modify,
            epoll.unregister,
            epoll.close,
        )
        self.polls = 0
        self._poll = epoll.poll

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        self.polls += 1
        return self._poll(timeout, most)


def run_for(loop: Loop, seconds: float) -> None:
    loop.call_at(loop.now() + seconds, lambda now: loop.stop())
    loop.run(lambda: None)


def test_a_wakeup_runs_every_ready_callback_with_one_time_and_flushes_once(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    times: list[float] = []
    flushes: list[float] = []

    def reader(sock: socket.socket) -> None:
        def read(now: float) -> None:
            sock.recv(100)
            times.append(now)
            if len(times) == 5:
                loop.stop()

        loop.watch_read(sock.fileno(), read)

    for ours, theirs in pairs:
        reader(ours)
        theirs.send(b"x")
    loop.flush = flushes.append
    loop.run(lambda: None)
    assert len(set(times)) == 1 and len(times) == 5
    assert flushes.count(times[0]) == 1
    assert abs(times[0] - time.monotonic()) < 5
    for ours, theirs in pairs:
        loop.unwatch_read(ours.fileno())
        ours.close()
        theirs.close()


def test_reading_and_writing_are_watched_apart(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    seen: list[str] = []
    fd = ours.fileno()

    def writable(_now: float) -> None:
        seen.append("w")
        loop.unwatch_write(fd)
        theirs.send(b"x")

    def readable(_now: float) -> None:
        seen.append("r")
        ours.recv(10)
        loop.stop()

    loop.watch_write(fd, writable)
    loop.watch_read(fd, readable)
    loop.run(lambda: None)
    assert seen == ["w", "r"]
    loop.unwatch_read(fd)
    loop.unwatch_read(fd)
    loop.unwatch_write(fd)


def test_an_idle_loop_does_not_wake(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    calls: list[float] = []
    loop.watch_read(ours.fileno(), calls.append)
    flushes: list[float] = []
    loop.flush = flushes.append
    run_for(loop, 0.1)
    assert calls == []
    assert len(flushes) == 2  # one at the start, one for the timer that ends the test
    loop.unwatch_read(ours.fileno())


def test_a_callback_may_close_and_unwatch_others_of_the_same_wakeup(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    calls: list[int] = []

    def make(number: int) -> None:
        def read(_now: float) -> None:
            calls.append(number)
            for ours, _theirs in pairs:
                loop.unwatch_read(ours.fileno())
                ours.close()

        loop.watch_read(pairs[number][0].fileno(), read)

    for number, (_ours, theirs) in enumerate(pairs):
        make(number)
        theirs.send(b"x")
    run_for(loop, 0.05)
    assert len(calls) == 1
    for _ours, theirs in pairs:
        theirs.close()


def test_a_number_used_again_after_close_is_watched(loop: Loop) -> None:
    first, other = socket.socketpair()
    number = first.fileno()
    loop.watch_read(number, lambda now: None)
    first.close()  # without unwatching
    other.close()
    ours, theirs = socket.socketpair()
    calls: list[float] = []

    def read(now: float) -> None:
        calls.append(now)
        loop.stop()

    loop.watch_read(ours.fileno(), read)
    theirs.send(b"x")
    loop.run(lambda: None)
    assert calls
    loop.unwatch_read(ours.fileno())
    loop.unwatch_read(number)
    ours.close()
    theirs.close()


def test_a_hung_up_writer_is_told(loop: Loop) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    calls: list[float] = []

    def writable(now: float) -> None:
        calls.append(now)
        loop.stop()

    while True:
        try:
            os.write(writer, bytes(65536))
        except BlockingIOError:
            break
    loop.watch_write(writer, writable)
    os.close(reader)
    loop.run(lambda: None)
    assert calls
    loop.unwatch_write(writer)
    os.close(writer)


# -- time


def test_the_nearest_deadline_is_one_timer_and_never_early(loop: Loop) -> None:
    deadlines = [loop.now() + 0.02]
    ticks: list[float] = []

    def tick(now: float) -> None:
        assert now >= deadlines[0]
        ticks.append(now)
        deadlines[0] = now + 0.02
        if len(ticks) == 3:
            loop.stop()

    loop.tick = tick
    loop.deadline = lambda: deadlines[0]
    started = loop.now()
    loop.run(lambda: None)
    assert 0.06 <= loop.now() - started < 0.5


def test_a_deadline_moved_later_costs_one_stale_wakeup(loop: Loop) -> None:
    deadline = loop.now() + 0.02
    loop.deadline = lambda: deadline
    ticks: list[float] = []
    flushes: list[float] = []
    loop.tick = ticks.append

    def move(_now: float) -> None:
        nonlocal deadline
        deadline = math.inf

    loop.call_at(loop.now() + 0.005, move)
    loop.flush = flushes.append
    run_for(loop, 0.08)
    assert ticks == []
    assert len(flushes) <= 4


def test_a_deadline_moved_earlier_is_met(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    deadline = loop.now() + 30
    started = loop.now()

    def read(now: float) -> None:
        nonlocal deadline
        ours.recv(1)
        deadline = now + 0.01

    loop.watch_read(ours.fileno(), read)
    loop.deadline = lambda: deadline
    loop.tick = lambda now: loop.stop()
    theirs.send(b"x")
    loop.run(lambda: None)
    assert loop.now() - started < 1
    loop.unwatch_read(ours.fileno())


def test_a_deadline_in_the_past_does_not_starve_descriptors(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    ticks: list[float] = []
    loop.deadline = lambda: 0.0
    loop.tick = ticks.append
    loop.watch_read(ours.fileno(), lambda now: loop.stop())
    loop.call_at(loop.now() + 0.05, lambda now: theirs.sendall(b"x"))
    loop.run(lambda: None)
    assert 3 <= len(ticks) <= 60  # a millisecond apart, not as fast as it goes
    loop.unwatch_read(ours.fileno())


def test_timers_can_be_canceled(loop: Loop) -> None:
    calls: list[float] = []
    timer = loop.call_at(loop.now() + 0.01, calls.append)
    timer.cancel()
    timer.cancel()
    run_for(loop, 0.03)
    assert calls == []


# -- trouble


def test_an_exception_is_one_line_counted_and_survived(
    loop: Loop, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = pair

    def read(_now: float) -> None:
        data = ours.recv(1)
        if data == b"!":
            loop.stop()
            return
        raise ZeroDivisionError("of ours")

    loop.watch_read(ours.fileno(), read)
    theirs.send(b"xxx!")
    with caplog.at_level(logging.DEBUG, "pppgate.loop"):
        loop.run(lambda: None)
    assert loop.count["loop.errors"] == 3
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "ZeroDivisionError at test_loop.py:" in errors[0].getMessage()
    assert "\n" not in errors[0].getMessage()
    assert any("Traceback" in r.getMessage() for r in caplog.records if r.levelno == logging.DEBUG)
    loop.unwatch_read(ours.fileno())


def test_a_callback_that_always_raises_is_no_busy_loop(
    loop: Loop, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pppgate.loop.MUTE_FOR", 0.1)
    ours, theirs = pair
    calls = 0

    def read(_now: float) -> None:
        nonlocal calls
        calls += 1
        if calls > ERRORS_BEFORE_MUTE:
            ours.recv(10)
            loop.stop()
            return
        raise KeyError("ever")

    loop.watch_read(ours.fileno(), read)
    theirs.send(b"x")
    started = loop.now()
    loop.run(lambda: None)
    assert calls == ERRORS_BEFORE_MUTE + 1
    assert loop.now() - started >= 0.09
    assert loop.count["loop.muted"] == 1
    loop.unwatch_read(ours.fileno())


@pytest.mark.parametrize("what", ["flush", "tick", "deadline"])
def test_flush_tick_and_deadline_may_raise_too(loop: Loop, what: str) -> None:
    def bad(*_now: float) -> float:
        raise RuntimeError(what)

    loop.deadline = lambda: 0.0
    setattr(loop, what, bad)
    run_for(loop, 0.02)
    assert loop.count["loop.errors"] >= 1


# -- signals


def test_the_first_signal_is_graceful_and_the_second_is_not(loop: Loop) -> None:
    signals: list[str] = []

    def on_signal() -> None:
        signals.append("first")
        loop.call_at(loop.now() + 0.02, lambda now: os.kill(os.getpid(), signal.SIGTERM))

    loop.call_at(loop.now() + 0.01, lambda now: os.kill(os.getpid(), signal.SIGTERM))
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert loop.run(on_signal) == 128 + signal.SIGTERM
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert signals == ["first"]


def test_a_signal_during_the_start_is_not_lost(loop: Loop) -> None:
    assert loop.run(loop.stop, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0


def test_what_the_start_raises_comes_out(loop: Loop) -> None:
    def start() -> None:
        raise ValueError("no such port")

    with pytest.raises(ValueError, match="no such port"):
        loop.run(loop.stop, start)


def test_a_graceful_end_has_the_status_it_was_given(loop: Loop) -> None:
    loop.call_at(loop.now() + 0.01, lambda now: os.kill(os.getpid(), signal.SIGINT))
    assert loop.run(lambda: loop.stop(0)) == 0


def test_asyncio_has_its_turn_while_descriptors_stay_ready(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    theirs.send(b"never read")
    loop.watch_read(ours.fileno(), lambda now: None)
    steps: list[int] = []

    async def beside() -> None:
        for step in range(3):
            await asyncio.sleep(0)
            steps.append(step)
        loop.stop()

    task = loop.loop.create_task(beside())
    loop.run(lambda: None)
    assert steps == [0, 1, 2] and task.done()
    loop.unwatch_read(ours.fileno())


def test_a_callback_may_give_work_to_asyncio(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """It runs in the same turn, though nothing else happens that would wake the loop."""
    ours, theirs = pair
    answer: asyncio.Future[bytes] = loop.loop.create_future()
    answers: list[bytes] = []

    async def wait() -> None:
        answers.append(await answer)
        loop.stop()

    def read(_now: float) -> None:
        answer.set_result(ours.recv(10))

    task = loop.loop.create_task(wait())
    loop.watch_read(ours.fileno(), read)
    theirs.send(b"x")
    started = loop.now()
    loop.run(lambda: None)
    assert answers == [b"x"] and task.done()
    assert loop.now() - started < 1
    loop.unwatch_read(ours.fileno())


def test_streams_of_asyncio_work_beside_it(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """Descriptors that asyncio watches itself, for reading and for writing."""
    ours, theirs = pair
    theirs.setblocking(False)
    size = 1 << 20
    got = 0

    async def send() -> None:
        await loop.loop.sock_sendall(theirs, bytes(size))

    def read(_now: float) -> None:
        nonlocal got
        got += len(ours.recv(65536))
        if got == size:
            loop.stop()

    task = loop.loop.create_task(send())
    loop.watch_read(ours.fileno(), read)
    loop.run(lambda: None)
    assert got == size
    loop.unwatch_read(ours.fileno())
    loop.loop.run_until_complete(task)


def test_a_wakeup_is_one_system_call_beside_its_callbacks(
    loop: Loop, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    wakeups = 0

    def read(_now: float) -> None:
        nonlocal wakeups
        wakeups += 1
        ours.recv(1)
        if wakeups == 20:
            loop.stop()
        else:
            theirs.send(b"x")

    epoll = CountingEpoll(loop._epoll)
    monkeypatch.setattr(loop, "_epoll", epoll)
    loop.watch_read(ours.fileno(), read)
    theirs.send(b"x")
    loop.run(lambda: None)
    assert epoll.polls <= wakeups + 2
    loop.unwatch_read(ours.fileno())


def test_a_deadline_is_met_while_descriptors_stay_ready(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    deadline = loop.now() + 0.02
    late: list[float] = []
    theirs.send(b"never read")
    loop.watch_read(ours.fileno(), lambda now: time.sleep(0.0005))

    def tick(now: float) -> None:
        late.append(now - deadline)
        loop.stop()

    loop.deadline = lambda: deadline
    loop.tick = tick
    loop.run(lambda: None)
    assert late[0] < 0.1
    loop.unwatch_read(ours.fileno())


def test_under_nohup_a_lost_terminal_is_ignored(loop: Loop) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals: list[int] = []
        loop.call_at(loop.now() + 0.01, lambda now: os.kill(os.getpid(), signal.SIGHUP))
        loop.call_at(loop.now() + 0.03, lambda now: loop.stop())
        loop.run(lambda: signals.append(1))
        assert signals == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_event_is_not_passed_on_to_a_file_that_took_over_the_number(loop: Loop) -> None:
    first, second = socket.socketpair(), socket.socketpair()
    number = second[0].fileno()
    called: list[str] = []
    kept: list[socket.socket] = [*first, second[1]]

    def take_over(now: float) -> None:
        """Both are ready in this wake-up; the second is closed, and its number goes to a pipe with nothing in it."""
        first[0].recv(10)
        loop.unwatch_read(number)
        second[0].close()
        quiet = socket.socketpair()
        kept.extend(quiet)
        if quiet[0].fileno() != number:
            os.dup2(quiet[0].fileno(), number)
        loop.watch_read(number, lambda now: called.append("stale"))
        loop.call_at(loop.now() + 0.02, lambda now: loop.stop())

    # the order in which epoll reports is the order in which they became ready
    loop.watch_read(first[0].fileno(), take_over)
    loop.watch_read(number, lambda now: called.append("original"))
    first[1].send(b"x")
    second[1].send(b"x")
    loop.run(lambda: None)
    loop.unwatch_read(number)
    if number not in [each.fileno() for each in kept]:
        os.close(number)
    for each in kept:
        each.close()
    assert called == []

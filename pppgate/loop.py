"""The event loop: descriptors and timers for callbacks that never wait.

In: descriptors to watch, a `deadline()` to ask and a `tick(now)` to call when it has passed. Out: callbacks
with the time of the wake-up, and one `flush(now)` after all that a wake-up brought. It knows nothing of
packets.

All watched descriptors sit in one epoll of ours, and asyncio waits in it too: its selector is ours. What asyncio
watches itself (signals, and whatever wants coroutines beside the packet path) sits in a second epoll, which is one
descriptor of the first. So a wake-up is one `epoll_wait`, the callbacks of all descriptors that are ready, and one
flush, which writes the octets for a line once for all of them. asyncio gets its turn when it has been given something
to do, and not before: its own turn costs as much as a packet. Watching and unwatching is one system call. (The other
way round, our epoll inside the loop of asyncio or uvloop, a packet that comes alone costs two system calls more.)
"""

import asyncio
import logging
import math
import os
import select
import selectors
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Protocol, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")
Callback = Callable[[float], None]

EARLIEST_TIMER = 0.001
"""Seconds: a deadline that is always in the past is not a busy loop."""
EVENTS_MOST = 256
"""Descriptors that one wake-up serves before what they brought is written."""
ERRORS_BEFORE_MUTE = 10
MUTE_FOR = 1.0
"""A descriptor whose callback raised that often in succession rests so long, so that a bug is not a busy
loop."""
REPORT_EVERY = 60.0
"""The same error (kind and place) is written down once in so many seconds."""
_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_TROUBLE = select.EPOLLERR | select.EPOLLHUP


class HasFileno(Protocol):
    def fileno(self) -> int: ...


log = logging.getLogger("pppgate.loop")


class LoopTimer:
    """A pending `call_at`."""

    def __init__(self) -> None:
        self.handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None


class Loop:
    """Implements the watcher that `serialport` and `nat.host` ask for.

    The owner says with `drive` what a wake-up is for. Callbacks may watch, unwatch and close any descriptor. An event
    found before a number was given to another file is not passed on to the new one.
    """

    def __init__(self) -> None:
        self.flush: Callback = _nothing
        self.tick: Callback = _nothing
        self.deadline: Callable[[], float] = _never
        self.count: Counter[str] = Counter()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._muted: set[int] = set()
        self._fresh: set[int] = set()
        self._failures: Counter[int] = Counter()
        self._reported: dict[tuple[str, str, int], float] = {}
        self._armed = math.inf
        self._status = 0
        self._signals = 0
        self._epoll = select.epoll()
        selector = _Selector(self._wait)
        self._beside = selector.fileno()
        self._epoll.register(self._beside, _READ)
        self.loop = _Asyncio(selector)

    def drive(self, flush: Callback, tick: Callback, deadline: Callable[[], float]) -> None:
        """What is done with each wake-up from now on: `flush(now)` at its end, and `tick(now)` when `deadline()` has
        passed."""
        self.flush, self.tick, self.deadline = flush, tick, deadline

    # -- the watcher

    now = staticmethod(time.monotonic)

    def watch_read(self, fd: int, callback: Callback) -> None:
        self._readers[fd] = callback
        self._register(fd)

    def unwatch_read(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._register(fd)

    def watch_write(self, fd: int, callback: Callback) -> None:
        self._writers[fd] = callback
        self._register(fd)

    def unwatch_write(self, fd: int) -> None:
        if self._writers.pop(fd, None) is not None:
            self._register(fd)

    def call_at(self, when: float, callback: Callback) -> LoopTimer:
        """Call `callback(now)` at `when`, never early. For the rare (redials); flows use `deadline` and
        `tick`."""
        timer = LoopTimer()

        def fire() -> None:
            now = time.monotonic()
            if now < when:
                timer.handle = self.loop.call_later(max(when - now, EARLIEST_TIMER), fire)
                return
            timer.handle = None
            self._guard(callback, now)
            self._finish(now)

        timer.handle = self.loop.call_later(max(when - time.monotonic(), 0.0), fire)
        return timer

    def _register(self, fd: int) -> None:
        mask = (_READ if fd in self._readers else 0) | (_WRITE if fd in self._writers else 0)
        if fd in self._muted:
            mask = 0
        if not mask:
            # gone already when the file was closed first
            self._failures.pop(fd, None)
            with suppress(OSError):
                self._epoll.unregister(fd)
            return
        try:
            self._epoll.modify(fd, mask)
        except FileNotFoundError:
            self._epoll.register(fd, mask)
            self._fresh.add(fd)

    # -- a wake-up

    def _wait(self, timeout: float | None) -> bool:
        """Wake-ups until asyncio has something to do: deals with all that is ready or due, for at most `timeout`
        seconds (None: forever), and returns whether a descriptor of asyncio's own is ready. asyncio then runs what it
        was given meanwhile."""
        asyncio_loop, poll = self.loop, self._epoll.poll
        asyncio_loop.given = False
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            wanted = min(self._armed, until)
            ready = poll(max(wanted - time.monotonic(), 0.0) if wanted < math.inf else None, EVENTS_MOST)
            now = time.monotonic()
            beside = self._serve(ready, now)
            due = self._armed <= now
            if due:
                self._expire(now)
            if due or len(ready) > beside:
                self._finish(now)
            if beside or asyncio_loop.given or now >= until:
                return beside

    def _serve(self, ready: list[tuple[int, int]], now: float) -> bool:
        """Call back for each event; returns whether there is any for asyncio."""
        readers, writers, fresh = self._readers, self._writers, self._fresh
        beside = False
        fresh.clear()
        for fd, events in ready:
            if fd in fresh:
                continue  # its number meant another file when this event was found
            if events & (_READ | _TROUBLE):
                callback = readers.get(fd)
                if callback is not None:
                    try:
                        callback(now)
                    except Exception as error:
                        self._failed(fd, error, now)
                    else:
                        if self._failures:
                            self._failures.pop(fd, None)
                elif fd == self._beside:
                    beside = True
                    continue
                if events & _TROUBLE:
                    events |= _WRITE
            if events & _WRITE:
                callback = writers.get(fd)
                if callback is not None:
                    try:
                        callback(now)
                    except Exception as error:
                        self._failed(fd, error, now)
                    else:
                        if self._failures:
                            self._failures.pop(fd, None)
        return beside

    def _failed(self, fd: int, error: Exception, now: float) -> None:
        self.report(error, now)
        self._failures[fd] += 1
        if self._failures[fd] >= ERRORS_BEFORE_MUTE:
            self._mute(fd)

    def _guard(self, callback: Callback, now: float) -> None:
        try:
            callback(now)
        except Exception as error:
            self.report(error, now)

    def _expire(self, now: float) -> None:
        """The armed deadline has come; it may have been moved later meanwhile."""
        self._armed = math.inf
        try:
            due = self.deadline() <= now
        except Exception as error:
            self.report(error, now)
            due = False
        if due:
            self._guard(self.tick, now)

    def _finish(self, now: float) -> None:
        """What ends every wake-up: one flush, and a look at the nearest deadline."""
        try:
            self.flush(now)
        except Exception as error:
            self.report(error, now)
        try:
            deadline = self.deadline()
        except Exception as error:
            self.report(error, now)
            deadline = now + 1.0
        if deadline < self._armed:
            self._armed = max(deadline, now + EARLIEST_TIMER)

    # -- trouble

    def _mute(self, fd: int) -> None:
        self._muted.add(fd)
        self._register(fd)
        self.count["loop.muted"] += 1

        def unmute() -> None:
            self._muted.discard(fd)
            if fd in self._readers or fd in self._writers:
                with suppress(OSError):
                    self._register(fd)

        self.loop.call_later(MUTE_FOR, unmute)

    def report(self, error: Exception, now: float) -> None:
        self.count["loop.errors"] += 1
        frames = traceback.extract_tb(error.__traceback__)
        where = frames[-1] if frames else None
        place = f"{os.path.basename(where.filename)}:{where.lineno}" if where else "nowhere"
        key = (type(error).__name__, where.filename if where else "", where.lineno or 0 if where else 0)
        if now - self._reported.get(key, -math.inf) < REPORT_EVERY:
            return
        self._reported[key] = now
        log.error("Internal error, please report it: %s at %s: %s", type(error).__name__, place, error)
        log.debug("%s", "".join(traceback.format_exception(error)))

    # -- running

    def run(self, on_signal: Callable[[], None], start: Callable[[], None] = lambda: None) -> int:
        """Run until `stop`. The first SIGINT, SIGTERM or SIGHUP calls `on_signal`; the second stops at
        once, and a third is the kernel's to deal with. Returns the exit status: 0, or 128 + the number of a
        second signal.

        `start()` is called when signals are caught already, so that what it makes is taken down whenever one
        comes; what it raises comes out of here.
        """
        failures: list[Exception] = []

        def begin() -> None:
            try:
                start()
            except Exception as error:
                failures.append(error)
                self.loop.stop()
            self._finish(time.monotonic())

        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signals.append(signal.SIGHUP)  # and under nohup it stays ignored
        for number in signals:
            self.loop.add_signal_handler(number, self._on_signal, number, on_signal)
        try:
            self.loop.call_soon(begin)
            self.loop.run_forever()
        finally:
            for number in signals:
                self.loop.remove_signal_handler(number)
        if failures:
            raise failures[0]
        return self._status

    def turn(self, seconds: float = 0.0) -> None:
        """Deal with what is ready, and with what becomes so within `seconds`: for an owner that has a loop of its own
        and calls this from it. Signals are left to the owner."""
        self._finish(time.monotonic())  # the owner may have done something since that is not seen on a descriptor
        if seconds > 0:
            self.loop.call_later(seconds, self.loop.stop)
        else:
            self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def _on_signal(self, number: signal.Signals, on_signal: Callable[[], None]) -> None:
        self._signals += 1
        if self._signals == 1:
            now = time.monotonic()
            self._guard(lambda _now: on_signal(), now)
            self._finish(now)
            return
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self.stop(128 + number)

    def stop(self, status: int = 0) -> None:
        self._status = status
        self.loop.stop()

    def close(self) -> None:
        self.loop.close()
        self._epoll.close()


class _Asyncio(asyncio.SelectorEventLoop):
    """asyncio's loop, which knows when it was `given` something to do since this was last set to False.

    What other threads give it shows in a descriptor of its own.
    """

    given = False

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.given = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.given = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self.given = True
        super().stop()


class _Selector(selectors.BaseSelector):
    """What asyncio waits with: `wait(timeout)` does the waiting, and says whether any of asyncio's own is ready."""

    def __init__(self, wait: Callable[[float | None], bool]) -> None:
        self._wait = wait
        self._own = selectors.EpollSelector()

    def fileno(self) -> int:
        """A descriptor that is readable when one of asyncio's own is ready."""
        return self._own.fileno()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._own.select(0) if self._wait(timeout) else []

    def register(self, fileobj: int | HasFileno, events: int, data: object = None) -> selectors.SelectorKey:
        return self._own.register(fileobj, events, data)

    def unregister(self, fileobj: int | HasFileno) -> selectors.SelectorKey:
        return self._own.unregister(fileobj)

    def modify(self, fileobj: int | HasFileno, events: int, data: object = None) -> selectors.SelectorKey:
        return self._own.modify(fileobj, events, data)

    def get_map(self) -> Mapping[int | HasFileno, selectors.SelectorKey]:
        return self._own.get_map()

    def close(self) -> None:
        self._own.close()


def _nothing(_now: float) -> None:
    pass


def _never() -> float:
    return math.inf

"""A watcher for tests: real descriptors through epoll, real time, and a count of wake-ups."""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from contextlib import suppress

Callback = Callable[[float], None]


class Timer:
    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class EpollWatcher:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return time.monotonic()

    def watch_read(self, fd: int, callback: Callback) -> None:
        self._readers[fd] = callback
        self._register(fd)

    def unwatch_read(self, fd: int) -> None:
        self._readers.pop(fd, None)
        self._register(fd)

    def watch_write(self, fd: int, callback: Callback) -> None:
        self._writers[fd] = callback
        self._register(fd)

    def unwatch_write(self, fd: int) -> None:
        self._writers.pop(fd, None)
        self._register(fd)

    def call_at(self, when: float, callback: Callback) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def _register(self, fd: int) -> None:
        mask = (select.EPOLLIN if fd in self._readers else 0) | (select.EPOLLOUT if fd in self._writers else 0)
        with suppress(OSError):
            self._epoll.unregister(fd)
        if mask:
            self._epoll.register(fd, mask)

    def run_once(self, timeout: float) -> int:
        """Wait at most `timeout` seconds; the number of callbacks made."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._timers:
            timeout = min(timeout, max(self._timers[0][0] - self.now(), 0.0))
        calls = 0
        for fd, events in self._epoll.poll(timeout):
            for table, bits in (
                (self._readers, select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR),
                (self._writers, select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR),
            ):
                callback = table.get(fd)
                if events & bits and callback is not None:
                    calls += 1
                    callback(self.now())
        while self._timers and self._timers[0][0] <= self.now():
            due = heapq.heappop(self._timers)[2].callback
            if due is not None:
                calls += 1
                due(self.now())
        return calls

    def run(self, seconds: float) -> int:
        """Serve events for so long; the number of callbacks made."""
        end = self.now() + seconds
        calls = 0
        while (left := end - self.now()) > 0:
            calls += self.run_once(left)
        return calls

    def run_until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        end = self.now() + seconds
        while not condition():
            assert self.now() < end, "it did not happen in time"
            self.run_once(0.02)

    def close(self) -> None:
        self._epoll.close()

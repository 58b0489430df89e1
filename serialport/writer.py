"""LineWriter: gets what a guest is owed onto its port, in time and no sooner. Sans-I/O but for the port.

In: a port, a watcher, and `take(budget)`, which gives octets of what waits, a frame more than `budget` at the most, and
whether anything still waits. Out: writes, `wake()` when a port that was full takes octets again,
and `moved()` when `deadline` is another than before, which only `flush` makes it. `flush` is for the end of every
wake-up in which something is to be sent, and for when `deadline` has come. It does not know what the octets mean.
"""

import math
from collections.abc import Callable

from serialport.meter import LineMeter
from serialport.port import Port, Watcher

TURN_MOST = 262144
"""Octets written in one turn, so that a very fast reader does not keep the others waiting."""


class LineWriter:
    def __init__(
        self,
        port: Port,
        watcher: Watcher,
        take: Callable[[int], tuple[bytes, bool]],
        wake: Callable[[], None],
        moved: Callable[[], None],
    ) -> None:
        self.meter = LineMeter()
        self._port = port
        self._watcher = watcher
        self._take = take
        self._wake = wake
        self._moved = moved
        self._unwritten: bytes = b""
        self._watching = False
        self._closed = False
        self._turn = -math.inf  # the wake-up that was written in last
        self._sent = 0  # octets, in that wake-up: what is written may bring more of the same

    @property
    def deadline(self) -> float:
        """When `flush` is next wanted; infinite when nothing waits, or the port will say that it is
        writable."""
        return self.meter.recheck

    @property
    def blocked(self) -> bool:
        return self._watching

    def flush(self, now: float) -> None:
        """Write what may be written now. Cheap when the port is full: nothing is taken, nothing asked."""
        meter = self.meter
        due = meter.recheck
        if self._watching or self._closed or now < due < math.inf:
            # Full when last looked at. What came since goes behind what is in flight, now as well as then.
            return
        if now != self._turn:
            self._turn, self._sent = now, 0
        while True:
            if self._sent >= TURN_MOST:
                meter.waiting(now)
                break
            data, more = self._unwritten, True
            if not data:
                budget = meter.spare() or meter.allowance(now, self._port.pending())
                if budget <= 0:
                    meter.waiting(now)
                    break
                data, more = self._take(budget)
            taken = self._port.write(data) if data else 0
            meter.wrote(taken, now)
            self._sent += taken
            self._unwritten = data[taken:]
            if self._unwritten:
                meter.blocked(now)
                self._watching = True
                self._watcher.watch_write(self._port.write_fd, self._on_writable)
                break
            if not more:
                if meter.busy:
                    meter.idle()
                break
        if meter.recheck != due:
            self._moved()

    def _on_writable(self, now: float) -> None:
        self._watching = False
        self._watcher.unwatch_write(self._port.write_fd)
        self._wake()

    def close(self) -> None:
        """Let go of the port's descriptor, and write no more; before the port is closed."""
        self._closed = True
        if self._watching:
            self._watching = False
            self._watcher.unwatch_write(self._port.write_fd)
        self._unwritten = b""

"""LineWriter: gets what a guest is owed onto its port, in time and no sooner. Sans-I/O but for the port.

In: a port, a watcher, and `take(budget) -> bytes`, which gives at least `budget` octets of what waits (a frame more
at the most); fewer mean that nothing else waits. Out: writes, and `wake()` when a port that was full takes octets
again. `flush` is for the end of every wake-up in which something is to be sent; `deadline`, which only `flush` moves,
and `tick` are for the owner's timer. It does not know what the octets mean.
"""

import math
from collections.abc import Callable

from serialport.meter import LineMeter
from serialport.port import Port, Watcher

TURN_MOST = 262144
"""Octets written in one turn, so that a very fast reader does not keep the others waiting."""


class LineWriter:
    def __init__(self, port: Port, watcher: Watcher, take: Callable[[int], bytes], wake: Callable[[], None]) -> None:
        self.meter = LineMeter()
        self._port = port
        self._watcher = watcher
        self._take = take
        self._wake = wake
        self._unwritten: bytes = b""
        self._watching = False
        self._turn = -math.inf  # the wake-up that was written in last
        self._sent = 0  # octets, in that wake-up: what is written may bring more of the same

    @property
    def deadline(self) -> float:
        """When `tick` is next wanted; infinite when nothing waits, or the port will say that it is
        writable."""
        return self.meter.recheck

    @property
    def blocked(self) -> bool:
        return self._watching

    def flush(self, now: float) -> None:
        """Write what may be written now. Cheap when the port is full: nothing is taken, nothing asked."""
        if self._watching:
            return
        meter = self.meter
        if now < meter.recheck < math.inf:
            # Full when last looked at. What came since goes behind what is in flight, now as well as then.
            return
        if now != self._turn:
            self._turn, self._sent = now, 0
        while self._sent < TURN_MOST:
            data, budget = self._unwritten, 0
            if not data:
                budget = meter.spare() or meter.allowance(now, self._port.pending())
                if budget <= 0:
                    meter.waiting(now)
                    return
                data = self._take(budget)
            taken = self._port.write(data) if data else 0
            meter.wrote(taken, now)
            self._sent += taken
            self._unwritten = data[taken:]
            if self._unwritten:
                meter.blocked(now)
                self._watching = True
                self._watcher.watch_write(self._port.write_fd, self._on_writable)
                return
            if len(data) < budget:  # that was all
                meter.idle()
                return
        meter.waiting(now)

    tick = flush

    def _on_writable(self, now: float) -> None:
        self._watching = False
        self._watcher.unwatch_write(self._port.write_fd)
        self._wake()

    def close(self) -> None:
        """Let go of the port's descriptor; before the port is closed."""
        if self._watching:
            self._watching = False
            self._watcher.unwatch_write(self._port.write_fd)
        self._unwritten = b""

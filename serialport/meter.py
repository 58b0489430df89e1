"""LineMeter: how much may be written to a port now, and when to look again. Sans-I/O.

In: the time, what `Port.pending()` says, what was written, that a write blocked. Out: a budget in octets
and the time of the next look. It knows neither frames nor descriptors.

The aim is that a new packet finds about two frames ahead of it on a slow line, while a fast reader gets
writes as large as it takes, and no system call but the write. The kernel's own limits serve neither: a pty
takes 11 to 22 KB before it blocks, which is two seconds at 115,200 baud. So there are two ways of working.

Metered: at most `window` octets are in flight. It starts at two frames. When the line was found empty while
more was waiting, the window was too small for the time it takes to come back here, and doubles; when the
rate is known it is held to what drains in 20 ms (never under two frames). The next look is when half of it
should have drained.

Unmetered, once the window would pass 8 KB: write until it blocks, wait for writability. Back to metered
when the line, full all the time between two blocked writes, took less than 2 MB/s.
"""

import math

TWO_FRAMES = 3000
"""Octets: two frames of the default MRU."""
WINDOW_MOST = 8192
"""Octets: a line that needs more in flight than this drains a whole pty buffer in a few milliseconds
anyway."""
DRAIN_TIME = 0.020
"""Seconds that a window should take to drain, at most, where that is more than two frames."""
SLOW_RATE = 2e6
"""Octets a second below which metering is worth it."""
SLOW_SAMPLE = 0.010
"""Seconds that a line must have been full for its rate to be believed."""
LOOK_LEAST = 0.0005
LOOK_MOST = 0.050
"""Seconds between looks at the line while something waits."""
LAG = 0.0005
"""Seconds after a write in which `pending` may not count it yet: the kernel's worker has not moved it."""
PTY_SATURATION = 4095
"""FIONREAD of a pty's slave never says more than this, however much is queued behind (n_tty's read
buffer)."""
PTY_FULL = 22048
"""The most that a pty takes before it blocks, by the size of the writes."""
UNMETERED = 1 << 16
"""The allowance of a line that is not metered."""
MISTRUST = 3
"""So many times in succession found empty, and the known rate is no longer believed."""


class LineMeter:
    """One per port.

    The owner's turn, while it has something to send:

        budget = meter.allowance(now, port.pending() if meter.metered else 0)
        if budget > 0: taken = port.write(about `budget` octets, may be a frame more); meter.wrote(taken, now)
        if the write was short: meter.blocked(now) and watch for writability
        otherwise, if more waits: meter.waiting(now), and look again at `meter.recheck`
        otherwise: meter.idle()
    """

    def __init__(self, two_frames: int = TWO_FRAMES) -> None:
        self.metered = True
        """Whether `allowance` wants to know what is pending; if not, it may be given 0."""
        self.recheck = math.inf
        """When to take a turn again; infinite when nothing waits or the line is blocked."""
        self.rate = 0.0
        """Octets a second the line takes; 0.0 while unknown."""
        self._least = two_frames
        self.window = two_frames
        self._in_flight = 0
        self._waiting = False
        self._looked = -math.inf
        self._wrote_at = -math.inf
        self._starved = 0
        self._pause = LOOK_LEAST
        self._blocked_at = math.nan
        self._since_blocked = 0

    def allowance(self, now: float, pending: int) -> int:
        """Octets that may be written now; `pending` as Port.pending() has it, -1 when the port cannot
        tell."""
        self.recheck = math.inf
        if not self.metered:
            return UNMETERED
        if pending < 0:
            self._unmeter()
            return UNMETERED
        self._look(now, pending)
        return max(self.window - self._in_flight, 0) if self.metered else UNMETERED

    def wrote(self, octets: int, now: float) -> None:
        if not self._in_flight:
            self._looked = now  # busy from here on
        self._in_flight += octets
        self._since_blocked += octets
        self._wrote_at = now

    def waiting(self, now: float) -> None:
        """More waits than the allowance let through."""
        self._waiting = True
        if self.metered:
            self.recheck = now + self._next_look()
        else:
            self.recheck = now + LOOK_LEAST

    def idle(self) -> None:
        """Nothing waits any more: the line may run empty without that meaning anything."""
        self._waiting = False
        self.recheck = math.inf
        self._blocked_at = math.nan

    def blocked(self, now: float) -> None:
        """The port took less than it was given: it is full, and will say when it is writable."""
        self._waiting = True
        self.recheck = math.inf
        if not self.metered:
            elapsed = now - self._blocked_at
            # not a number: there was no full line to start from
            if elapsed >= SLOW_SAMPLE:
                self.rate = self._since_blocked / elapsed
                if self.rate < SLOW_RATE:
                    self._meter(now)
            elif elapsed >= 0:
                return
        self._blocked_at = now
        self._since_blocked = 0

    # -- metered

    def _look(self, now: float, pending: int) -> None:
        elapsed = now - self._looked
        if now - self._wrote_at < LAG:
            # What was just written may not be counted yet, so an answer that is too small proves nothing.
            return
        before = self._in_flight
        saturated = pending == PTY_SATURATION
        self._in_flight = self._estimate(before, elapsed) if saturated else pending
        if pending:
            self._starved = 0
        elif self._waiting and before:
            self._starve(before, elapsed)
        if pending and not saturated and pending < before and elapsed > 0:
            self._sample(before - pending, elapsed)
        self._looked = now

    def _estimate(self, before: int, elapsed: float) -> int:
        """What is in flight when `pending` has reached its end: as much as the rate leaves, if that is
        possible."""
        left = before - int(self.rate * elapsed)
        if left < PTY_SATURATION and elapsed > 0:
            # More than that is there, so the rate was thought too high. Were it not put right, a window
            # above the saturation would keep the line there and never be proved wrong.
            self.rate = max((before - PTY_SATURATION) / elapsed, 1.0)
            self._hold_window()
        return max(left, PTY_SATURATION)

    def _hold_window(self) -> None:
        self.window = max(self._least, min(self.window, int(self.rate * DRAIN_TIME)))

    def _sample(self, taken: int, elapsed: float) -> None:
        """The line was busy all the time between two looks, so this is its rate."""
        self._believe(taken / elapsed)
        self._pause = LOOK_LEAST
        self._hold_window()

    def _starve(self, taken: int, elapsed: float) -> None:
        """The line ran empty while more waited: at least `taken / elapsed` is its rate."""
        self._starved += 1
        if elapsed > 0:
            self.rate = max(self.rate, taken / elapsed)
        if self._starved < MISTRUST and self.window > self.rate * DRAIN_TIME > 0:
            return  # the window was long enough for any wait but the one that we were kept waiting ourselves
        if self.window * 2 > WINDOW_MOST:
            self._unmeter()
        else:
            self.window *= 2

    def _believe(self, rate: float) -> None:
        self.rate = rate if not self.rate else self.rate + (rate - self.rate) / 4

    def _next_look(self) -> float:
        if not self.rate:
            # nothing is known yet: look at growing intervals
            pause, self._pause = self._pause, min(self._pause * 2, LOOK_MOST)
            return pause
        return min(max((self._in_flight - self.window / 2) / self.rate, LOOK_LEAST), LOOK_MOST)

    # -- changing over

    def _unmeter(self) -> None:
        self.metered = False
        self._blocked_at = math.nan
        self._since_blocked = 0

    def _meter(self, now: float) -> None:
        self.metered = True
        self.window = min(max(self._least, int(self.rate * DRAIN_TIME / 2)), WINDOW_MOST)
        self._starved = 0
        self._looked = now
        # All that fits is in flight. While that is more than `pending` can say, the rate tells how it
        # shrinks.
        self._in_flight = PTY_FULL

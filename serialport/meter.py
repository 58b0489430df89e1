"""LineMeter: how much may be written to a port now, and when to look again. Sans-I/O.

In: the time, what `Port.pending()` says, what was written, that a write blocked. Out: a budget in octets and the
time of the next look. It knows neither frames nor descriptors.

The aim is that a new packet finds about two frames ahead of it on a slow line, while a fast reader gets writes as
large as it takes, and no system call but the write. The kernel's own limits serve neither: a pty takes 11 to 22 KB
before it blocks, which is two seconds at 115,200 baud. So there are two ways of working.

Metered: what is in flight stays under `window`, which is two frames, and on a line of more than SLOWEST octets a
second a little more, since timers count whole milliseconds. It never reaches what a pty's line discipline holds
(4,095): beyond that `pending` tells nothing, and the kernel throttles in steps that leave the reader waiting. The
next look is when there should be room for a frame.

Unmetered, for a line that takes more than FAST octets a second: write until it blocks, wait for writability. Back to
metered when the line, full all the time between two blocked writes, took less than FAST.
"""

import math

FRAME = 1500
"""Octets: a frame of the default MRU. `allowance` leaves room for one, since who asks may exceed it by one."""
TWO_FRAMES = 2 * FRAME
WINDOW_MOST = 3900
"""Octets: under the 3,968 at which a pty's line discipline throttles its writer."""
SATURATION = 4095
"""FIONREAD of a pty's slave never says more, however much is queued behind."""
UNMETERED = 1 << 16
"""The allowance of a line that is not metered."""
SLOWEST = 250_000.0
"""Octets a second up to which two frames last for several looks."""
FAST = 2e6
"""Octets a second above which metering is not worth it: a full pty drains in 10 ms."""
BURSTS = 3
"""So many looks in succession at a line that ran empty at more than FAST, and it is fast: fewer may have been a reader
that caught up."""
STARVED_MOST = 8
"""So many looks in succession at a line that ran empty while more waited, at a rate not far from FAST, and metering is
given up: it may be the timers that are slow."""
SAMPLE = 0.010
"""Seconds that a line must have been full for its rate to be believed."""
LOOK_LEAST = 0.001
LOOK_MOST = 0.050
"""Seconds between looks at the line while something waits."""


STALL = 0.1
"""Seconds, at the least, in which a line that holds something takes nothing before it is nudged."""
NUDGES = 4


class LineMeter:
    """One per port.

    The owner's turn, while it has something to send:

        budget = meter.spare() or meter.allowance(now, port.pending())
        if budget > 0: taken = port.write(about `budget` octets, may be a frame more); meter.wrote(taken, now)
        if the write was short: meter.blocked(now) and watch for writability
        otherwise, if more waits: meter.waiting(now), and look again at `meter.recheck`
        otherwise, if it is busy: meter.idle()
    """

    def __init__(self) -> None:
        self.metered = True
        """Whether what is in flight is bounded by `window`."""
        self.recheck = math.inf
        """When to take a turn again; infinite when nothing waits or the line is blocked."""
        self.rate = 0.0
        """Octets a second the line takes; 0.0 while unknown."""
        self.window = TWO_FRAMES
        self.delay = 0.0
        """Seconds that the line needs for what is in flight, as last seen; 0.0 where it does not matter."""
        self.busy = False
        """Whether more waits than the line has taken so far."""
        self._in_flight = 0
        self._looked = -math.inf
        self._starved = 0
        self._moved_at = 0.0
        self._nudges = 0
        self._pause = LOOK_LEAST
        self._blocked_at = math.nan
        self._since_blocked = 0

    def spare(self) -> int:
        """Octets that may be written whatever the port has pending, a frame more at the most: as if nothing of what was
        written since the last look had been taken. 0: look, and ask `allowance`. So that a packet now and then, and a
        line that is not metered, cost no system call but the write."""
        if not self.metered:
            self.recheck = math.inf
            return UNMETERED
        if self.busy:
            return 0
        return max(self.window - FRAME - self._in_flight, 0)

    def allowance(self, now: float, pending: int) -> int:
        """Octets that may be written now, a frame more at the most; `pending` as Port.pending() has it, -1 when the
        port cannot tell."""
        self.recheck = math.inf
        if self.metered:
            if pending < 0:
                self._unmeter()
            elif now - self._looked >= LOOK_LEAST or not self._in_flight:
                self._look(now, pending)
        if not self.metered:
            return UNMETERED
        if self._stalled(now):
            return 1
        # A frame is always let onto an empty line, however large it is.
        return max(self.window - FRAME - self._in_flight, 0 if self._in_flight else 1)

    def wrote(self, octets: int, now: float) -> None:
        if not self._in_flight:
            self._moved_at = now
        self._in_flight += octets
        self._since_blocked += octets
        if self.rate and self.metered:
            self.delay = self._in_flight / self.rate

    def waiting(self, now: float) -> None:
        """More waits than the allowance let through."""
        self.busy = True
        self.recheck = now + (self._next_look() if self.metered else LOOK_LEAST)

    def idle(self) -> None:
        """Nothing waits any more: the line may run empty without that meaning anything."""
        self.busy = False
        self.recheck = math.inf
        self._blocked_at = math.nan

    def blocked(self, now: float) -> None:
        """The port took less than it was given: it is full, and will say when it is writable."""
        self.busy = True
        self.recheck = math.inf
        elapsed = now - self._blocked_at
        if self.metered or elapsed >= SAMPLE:
            # Where nothing is known of a full line (not a number), nothing is concluded.
            if elapsed >= SAMPLE and self._since_blocked < FAST * elapsed:
                self.metered = True
                self._in_flight = 0  # unknown; the next look tells
                self._believe(self._since_blocked / elapsed)
                self._looked = now
        elif elapsed >= 0:
            return
        self._blocked_at = now
        self._since_blocked = 0

    def _look(self, now: float, pending: int) -> None:
        """What the line took since it last took anything is its rate, or at least that, if it ran empty meanwhile."""
        if pending >= SATURATION:
            pending = max(pending, self._in_flight)  # at least that much: no news
        taken = self._in_flight - pending
        if taken > 0 or not pending:
            if taken > 0 and self.busy:
                self._learn(taken / max(now - self._moved_at, LOOK_LEAST), pending)
            self._pause = LOOK_LEAST
            self._moved_at, self._nudges = now, 0
        else:
            self._pause = min(self._pause * 2, LOOK_MOST)
        self._in_flight = pending
        self.delay = pending / self.rate if self.rate and self.metered else 0.0
        self._looked = now

    def _stalled(self, now: float) -> bool:
        """Whether to send one frame more than fits, because the reader may have missed that there is something.

        user-mode-linux reads its line when a signal says that octets have come; sometimes it leaves some behind and
        waits for the next signal, which only more octets bring.  A reader that has really stopped is nudged a few
        times and then left alone.
        """
        patience = max(STALL, 2 * self._in_flight / self.rate if self.rate else 0.0)
        if not self.busy or self._nudges >= NUDGES or now - self._moved_at < patience * (self._nudges + 1):
            return False
        self._nudges += 1
        return True

    def _learn(self, rate: float, pending: int) -> None:
        if pending:
            self._starved = 0
            self._believe(rate)
            return
        self._starved += 1
        if self._starved >= (BURSTS if rate > FAST else STARVED_MOST if rate > FAST / 4 else math.inf):
            self._unmeter()
        else:
            self.rate = max(self.rate, rate)
            self._resize()

    def _believe(self, rate: float) -> None:
        self.rate = rate if not self.rate else self.rate + (rate - self.rate) / 4
        self._resize()

    def _resize(self) -> None:
        self.window = TWO_FRAMES if self.rate <= SLOWEST else WINDOW_MOST

    def _next_look(self) -> float:
        """Until there is room for a frame; at growing intervals while the line takes nothing."""
        if not self.rate:
            return self._pause
        until = (self._in_flight - self.window + FRAME) / self.rate
        return min(max(until, self._pause), LOOK_MOST)

    def _unmeter(self) -> None:
        self.metered = False
        self.delay = 0.0
        self._starved = 0
        self._blocked_at = math.nan
        self._since_blocked = 0

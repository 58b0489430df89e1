"""The sending half of a UART: holding register or FIFO, shift register, and when each is empty.

In: octets, the time that a character takes (0: none), whether the line is blocked.  Out: `deliver(octet, when)` when
its last bit has gone, `emptied()` when the holding register or FIFO has become empty.  It knows neither registers nor
interrupts.  It never holds more than `size` octets and the one that is being sent.
"""

import math
from collections import deque
from collections.abc import Callable

THRE = 0x20
TEMT = 0x40
BOTH = THRE | TEMT


class Transmitter:
    __slots__ = (
        "waiting", "size", "fifo", "status", "deadline", "character", "stop", "blocked",
        "_deliver", "_emptied", "_shift", "_sent_at", "_empty_at", "_most",
    )  # fmt: skip

    def __init__(self, deliver: Callable[[int, float], None], emptied: Callable[[], None]) -> None:
        self.waiting: deque[int] = deque()
        self.size = 1
        self.fifo = False
        """Whether a write to a full transmitter is lost (FIFO mode) or replaces what waits."""
        self.status = BOTH
        """LSR bits 6 and 5."""
        self.deadline = math.inf
        self.character = 0.0
        """Seconds from start bit to stop bit; 0 when characters take no time."""
        self.stop = 0.0
        """Seconds of the last stop bit, in a line that has time."""
        self.blocked = False
        """Whether the line takes nothing: a character that has begun is sent, and no other begins."""
        self._deliver = deliver
        self._emptied = emptied
        self._shift = -1
        self._sent_at = self._empty_at = math.inf
        self._most = 2

    def write(self, octet: int, now: float) -> None:
        waiting = self.waiting
        if not (self.character or self.blocked or waiting or self._shift >= 0):
            self._deliver(octet, now)
            self._emptied()
            return
        if len(waiting) >= self.size:
            if self.fifo:
                return
            waiting.clear()
        waiting.append(octet)
        self._most = max(self._most, len(waiting))
        self._empty_at = math.inf
        self.status = 0
        self.run(now)

    def run(self, now: float) -> None:
        """Begin the next character, if there is one and the line is free."""
        waiting = self.waiting
        if waiting and self._shift < 0 and not self.blocked:
            if self.character:
                self._shift = waiting.popleft()
                self._sent_at = now + self.character
            else:
                while waiting and not self.blocked:  # who is delivered to may block
                    self._deliver(waiting.popleft(), now)
            if not waiting:
                self._ran_empty(now)
        self.deadline = min(self._sent_at, self._empty_at)

    def tick(self, now: float) -> None:
        while self.deadline <= now:
            when = self.deadline
            if self._empty_at <= when:
                self._empty_at = math.inf
                self._empty()
            if self._sent_at <= when:
                octet, self._shift, self._sent_at = self._shift, -1, math.inf
                if not self.waiting and self._empty_at > when:
                    self.status = BOTH
                self._deliver(octet, when)
            self.run(when)

    def clear(self) -> None:
        """Forget what waits; the shift register is not cleared (PC16550D, section 8.5, bit 2)."""
        self.waiting.clear()
        self._empty_at = math.inf
        self.deadline = self._sent_at
        self._empty()

    def reset(self) -> None:
        """As after master reset: nothing is being sent either."""
        self._shift = -1
        self._sent_at = self._empty_at = self.deadline = math.inf
        self.waiting.clear()
        self.status = BOTH
        self._most = 2

    def hasten(self) -> None:
        """The next indication that the FIFO is empty is not delayed (after a change of FCR bit 0)."""
        self._most = 2

    def _ran_empty(self, now: float) -> None:
        """The last octet has gone to the shift register.

        Unless two were waiting together since the last time, the FIFO tells of it one character less one stop bit
        later (PC16550D, FIFO interrupt mode operation, B), so that software has something to fill it with.
        """
        if self.fifo and self.character and self._most < 2:
            self._empty_at = now + self.character - self.stop
        else:
            self._empty()

    def _empty(self) -> None:
        was = self.status
        self.status = THRE if self._shift >= 0 else BOTH
        self._most = 0
        if not was & THRE:
            self._emptied()

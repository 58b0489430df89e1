"""What becomes of a flow on which nothing happens: it ends, or its guest is asked whether it still knows it, or it
waits in TIME-WAIT.

In: when something was heard, and ticks.  Out: what is due.  It runs while the sender has nothing on the way, and it
sends nothing itself.
Sources: RFC 9293 section 3.8.4 (keep-alives) and 3.6.1 (TIME-WAIT), RFC 5382 REQ-5 (idle times).
"""

import math
from enum import Enum
from typing import Final

from nat.context import Limits

TIME_WAIT_FOR: Final = 60.0  # seconds
ALIVE_TRIES: Final = 6  # at 0, 1, 3, 7, 15 and 31 s; a guest that has not answered after 63 s is not there


class Timer(Enum):
    IDLE = "end the idle flow"
    ALIVE = "ask whether the guest still knows the connection"
    EXPIRE = "leave TIME-WAIT"


class Due(Enum):
    NOTHING = "go on"
    ASK = "ask the guest whether it still knows the connection, and say so with `ask`"
    IDLE = "end it: nothing has happened for too long"
    DEAD = "end it: the guest answers no question"
    EXPIRED = "TIME-WAIT is over"


class Idle:
    """Of one flow.

    heard_at: when the guest or the stream was last heard of.
    asked: questions that the guest has not answered with any segment; the flow sets it back to 0.
    timer, timer_at: what is due next and when; at most one thing is.
    """

    __slots__ = ("heard_at", "asked", "timer", "timer_at", "_limits")

    def __init__(self, limits: Limits) -> None:
        self.heard_at = 0.0
        self.asked = 0
        self.timer, self.timer_at = Timer.IDLE, math.inf
        self._limits = limits

    def begin(self, since: float, *, fin_sent: bool) -> None:
        """Nothing is in flight and nothing is wrong: come back when it has been so for long."""
        self.timer, self.timer_at = Timer.IDLE, since + min(self._limit(fin_sent), self._limits.tcp_keepalive)

    def _limit(self, fin_sent: bool) -> float:
        """A guest that still has an answer to come may wait for it as long as for anything else; one that only has not
        closed a connection whose other end has is waited for for minutes (RFC 5382 REQ-5)."""
        return self._limits.tcp_transitory if fin_sent else self._limits.tcp_idle

    def ask(self, now: float) -> None:
        """A question goes to the guest now."""
        self.asked += 1
        self.timer, self.timer_at = Timer.ALIVE, now + 2.0 ** (self.asked - 1)

    def time_wait(self, now: float) -> None:
        """The connection is over, and its name must not be used again for a time; also when the guest repeats itself,
        since it has not heard of the end yet."""
        self.timer, self.timer_at = Timer.EXPIRE, now + TIME_WAIT_FOR

    def silent(self, now: float) -> bool:
        """Whether nothing was heard for so long that even a flow with something to send may end."""
        return now - self.heard_at >= self._limits.tcp_idle

    def tick(self, now: float, *, fin_sent: bool, up: bool) -> Due:
        """`timer_at` has come.  `up`: the guest can be asked."""
        if self.timer is Timer.EXPIRE:
            return Due.EXPIRED
        if self.timer is Timer.ALIVE:  # some time after a question
            if not self.asked or not up:
                self.begin(now, fin_sent=fin_sent)
                return Due.NOTHING
            return Due.ASK if self.asked < ALIVE_TRIES else Due.DEAD
        idle = now - self.heard_at
        if idle >= self._limit(fin_sent):
            return Due.IDLE
        if idle >= self._limits.tcp_keepalive:
            self.asked = 0
            return Due.ASK
        self.begin(self.heard_at, fin_sent=fin_sent)
        return Due.NOTHING

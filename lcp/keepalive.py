"""The keepalive of a link: when an Echo-Request is due, and when there have been too many in vain.

In: the clock, and when a good frame was heard last. Out: what is to be done. Any frame is a sign of life, so a busy
line carries no echoes (pppd's lcp-echo-adaptive). What is heard does not move the deadline: when that comes, `tick`
is told when something was heard last.
"""

import math
from enum import Enum


class Act(Enum):
    NOTHING = "nothing"
    ECHO = "echo"
    GIVE_UP = "give up"


class Keepalive:
    """`interval`: seconds of silence before a request, 0 is never; `failures`: unanswered ones that end the link."""

    def __init__(self, interval: float, failures: int) -> None:
        self.deadline = math.inf
        self._interval = interval
        self._failures = failures
        self._asked_at = -math.inf
        self._unanswered = 0

    def start(self, now: float) -> None:
        """The link is open."""
        self._unanswered = 0
        self._asked_at = -math.inf
        self.deadline = now + self._interval if self._interval > 0 else math.inf

    def stop(self) -> None:
        """It is not any more, or the peer does not know echoes."""
        self.deadline = math.inf

    def tick(self, heard: float, now: float) -> Act:
        """`heard`: the time of the last good frame."""
        if now < self.deadline:
            return Act.NOTHING
        if heard >= self._asked_at:
            self._unanswered = 0
        if heard + self._interval > now:
            self.deadline = heard + self._interval
            return Act.NOTHING
        if self._unanswered >= self._failures:
            return Act.GIVE_UP
        self._unanswered += 1
        self._asked_at = now
        self.deadline = now + self._interval
        return Act.ECHO

"""What PAP and CHAP have in common: a side of an authentication that sends, waits and comes to a verdict.

A `Side` gets the packets whose codes it lists in `codes`, a clock, and the link's `send`; it reports once
through `done`. It knows neither phases nor the link.
"""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from lcp.auth.secrets import Identity
from lcp.fsm import Timing
from lcp.packet import ControlPacket

PATIENCE = 30.0
"""Seconds that a peer gets to show who it is, when it is the one to begin."""


class Failure(NamedTuple):
    """Why an authentication failed; `name` as the peer gave it."""

    name: str
    reason: str


Outcome = Identity | Failure
Send = Callable[[int, int, bytes], None]


class Side:
    """Base of PapServer, PapClient, ChapServer and ChapClient.

    `send(code, id, data)` is the link's; `done(outcome, now)` is called at most once, with the Identity of
    the peer (or, on the showing side, our own) or a Failure.
    """

    name: ClassVar[str]
    codes: ClassVar[frozenset[int]]

    def __init__(self, send: Send, done: Callable[[Outcome, float], None], timing: Timing) -> None:
        self.send = send
        self.timing = timing
        self.deadline = math.inf
        self.outcome: Outcome | None = None
        self._done = done
        self._tries = 0

    def start(self, now: float) -> None:
        """The Authenticate phase has begun."""

    def receive(self, packet: ControlPacket, now: float) -> bool:
        """A packet with one of `codes`; False when it was not fit to be looked at."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        if now >= self.deadline:
            self.deadline = math.inf
            self.expire(now)

    def expire(self, now: float) -> None: ...

    def again(self, now: float) -> bool:
        """Count a try and start the timer; False, with a Failure, when there have been too many."""
        if self._tries >= self.timing.max_configure:
            self.finish(Failure("", f"no answer to {self._tries} {self.name} packets"), now)
            return False
        self._tries += 1
        self.deadline = now + self.timing.restart
        return True

    def finish(self, outcome: Outcome, now: float) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.deadline = math.inf
            self._done(outcome, now)


def counted(data: bytes) -> tuple[bytes, bytes] | None:
    """(field, rest) of data that begins with a length octet; None when the length lies."""
    if not data or 1 + data[0] > len(data):
        return None
    return data[1 : 1 + data[0]], data[1 + data[0] :]

"""What PAP and CHAP have in common: a side of an authentication that sends, waits and comes to a verdict.

A `Side` gets the packets whose codes it lists in `codes`, a clock, and the link's `send`; it reports once
through `done`. It knows neither phases nor the link. A `Verifier` is the side that is shown something: it
asks an Authenticator, whose verdict may come at once or later.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from lcp.auth.secrets import Answer, Identity, text
from lcp.fsm import Timing
from lcp.packet import ControlPacket

PATIENCE = 30.0
"""Seconds that a peer gets to show who it is, when it is the one to begin."""
VERDICT_PATIENCE = 60.0
"""Seconds that an Authenticator gets for its verdict; few peers wait as long."""


class Failure(NamedTuple):
    """Why an authentication failed; `name` as the peer gave it."""

    name: str
    reason: str


Outcome = Identity | Failure
Send = Callable[[int, int, bytes], None]
Done = Callable[[Outcome, float], None]


class Side(ABC):
    """Base of PapServer, PapClient, ChapServer and ChapClient.

    `send(code, id, data)` is the link's; `done(outcome, now)` is called at most once, with the Identity of
    the peer (or, on the showing side, our own) or a Failure.
    """

    name: ClassVar[str]
    codes: ClassVar[frozenset[int]]

    def __init__(self, send: Send, done: Done, timing: Timing) -> None:
        self.send = send
        self.timing = timing
        self.deadline = math.inf
        self.outcome: Outcome | None = None
        self._done = done
        self._tries = 0

    @abstractmethod
    def start(self, now: float) -> None:
        """The Authenticate phase has begun."""

    @abstractmethod
    def receive(self, packet: ControlPacket, now: float) -> bool:
        """A packet with one of `codes`; False when it was not fit to be looked at."""

    @abstractmethod
    def expire(self, now: float) -> None:
        """`deadline` has come."""

    def tick(self, now: float) -> None:
        if now >= self.deadline:
            self.deadline = math.inf
            self.expire(now)

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


class Verifier(Side):
    """The side that is shown who the peer is.

    The Authenticator is asked once, about the first thing shown. Until it answers, what the peer repeats
    gets no answer; then the latest gets it, and so does whatever is repeated after that. A verdict that
    comes later than it was asked for makes `deadline` due, and calls `wake`, which sees to a `tick`.
    """

    def __init__(self, send: Send, done: Done, timing: Timing, wake: Callable[[], None]) -> None:
        super().__init__(send, done, timing)
        self._wake = wake
        self._shown_by = b""  # the name that the peer gave
        self._latest = 0  # identifier of the peer's latest packet
        self._asked = False
        self._asking = False  # within the Authenticator's check
        self._verdict: Identity | str | None = None

    @abstractmethod
    def announce(self, identifier: int, good: bool) -> None:
        """Send the verdict, as the answer to the peer's packet with this identifier."""

    @abstractmethod
    def expire_unasked(self, now: float) -> None:
        """`deadline` has come, and the peer has shown nothing yet."""

    def judge(self, name: bytes, identifier: int, check: Callable[[Answer], None], now: float) -> None:
        """The peer shows something: have it checked, the first time, and answer if there is a verdict."""
        self._latest = identifier
        if not self._asked and self.outcome is None:
            self._asked, self._shown_by = True, name
            self.deadline = now + VERDICT_PATIENCE
            self._asking = True
            try:
                check(self._take_verdict)
            finally:
                self._asking = False
        self._answer(now)

    def expire(self, now: float) -> None:
        if not self._asked:
            self.expire_unasked(now)
            return
        if self._verdict is None:
            self._verdict = f"there was no verdict within {VERDICT_PATIENCE:g} s"
        self._answer(now)

    def _take_verdict(self, verdict: Identity | str) -> None:
        if self._verdict is None:
            self._verdict = verdict
            if not self._asking:
                self.deadline = -math.inf
                self._wake()

    def _answer(self, now: float) -> None:
        verdict = self._verdict
        if verdict is None:
            return
        good = not isinstance(verdict, str)
        self.announce(self._latest, good)
        self.finish(Failure(text(self._shown_by), verdict) if isinstance(verdict, str) else verdict, now)


def counted(data: bytes) -> tuple[bytes, bytes] | None:
    """(field, rest) of data that begins with a length octet; None when the length lies."""
    if not data or 1 + data[0] > len(data):
        return None
    return data[1 : 1 + data[0]], data[1 + data[0] :]

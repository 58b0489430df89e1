"""A chat script at work: what is said to a modem or a login prompt before PPP begins.

In: the steps of a script (pppgate.eoppp.chat), octets from the line, the clock.  Out: octets through `send`, sentences
through `say`, and once `done(failure, rest, now)`: "" and what the line said after the last expected word, or one
clause that says what went wrong.  pexpect (extra `chat`) looks for the words; it sees neither a descriptor nor a clock,
so that nothing here waits.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from lcp.packet import printable
from pppgate.eoppp.chat import Abort, ChatError, Expect, Say, Sending, Step, Timeout

TIMEOUT: Final = 45.0
"""Seconds that chat(8) waits when nothing else is said."""
HEARD_MOST: Final = 64 * 1024
"""Octets that the line may say without the expected word among them: no banner is longer, and a line that only makes
noise must not fill the memory."""
_SHOWN: Final = 60  # octets of what the line said last that a failure quotes


def need_pexpect() -> None:
    """Raises ChatError when pexpect is not installed."""
    try:
        import pexpect  # noqa: F401
    except ImportError:
        raise ChatError("A chat script needs pexpect: pip install 'pppgate[chat]'.") from None


class Conversation:
    """Plays the steps once.  `start`, then `receive` and, at `deadline`, `tick` until `done` is called.

    `trace` takes what is sent and found, without what the script marks as secret.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        send: Callable[[bytes], None],
        say: Callable[[str], None],
        done: Callable[[str, bytes, float], None],
        trace: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        need_pexpect()
        from pexpect.spawnbase import SpawnBase

        self.deadline = math.inf
        self._steps = list(steps)
        self._send = send
        self._say = say
        self._done = done
        self._trace = trace
        self._timeout = TIMEOUT
        self._aborts: list[bytes] = []
        self._pieces: list[bytes | float] = []  # what is being sent
        self._secret = False
        self._expecting: bytes | None = None
        self._otherwise: list[tuple[Sending, bytes]] = []
        self._after: bytes | None = None  # what to expect when all pieces are sent
        self._spawn: Any = SpawnBase(encoding=None)  # pexpect's buffer; it has no process and no descriptor
        self._expecter: Any = None
        self._over = False

    def start(self, now: float) -> None:
        """Begin; it may be over when this returns."""
        self._go_on(now)

    def receive(self, data: bytes, now: float) -> None:
        """The line has said something."""
        if self._over:
            return
        if self._expecter is None:
            self._spawn._before.write(data)  # looked at when something is expected
            self._spawn._buffer.write(data)
        else:
            self._judge(self._expecter.new_data(data), now)
        if not self._over and self._spawn._before.tell() > HEARD_MOST:
            self._finish(f"the line says more than {HEARD_MOST} octets without {self._wanted()}", now)

    def tick(self, now: float) -> None:
        """Run what is due at `deadline`: the end of a delay, or of patience."""
        if self._over or now < self.deadline:
            return
        self.deadline = math.inf
        if self._expecting is None:
            self._go_on(now)
        elif self._otherwise:
            sending, self._after = self._otherwise.pop(0)
            self._expecting = self._expecter = None
            self._say_it(sending)
            self._go_on(now)
        else:
            self._finish(f"{self._wanted()} did not come within {self._timeout:g} s{self._heard()}", now)

    def hang_up(self, reason: str, now: float) -> None:
        """The line is gone."""
        self._finish(f"{reason} while {self._wanted()} was waited for{self._heard()}", now)

    def _go_on(self, now: float) -> None:
        """Do all that needs no waiting."""
        while not self._over:
            if self._pieces:
                piece = self._pieces.pop(0)
                if isinstance(piece, float):
                    self.deadline = now + piece
                    return
                self._trace(f"sent {'a secret' if self._secret else _quoted(piece)}")
                self._send(piece)
            elif self._after is not None:
                word, self._after = self._after, None
                if not self._expect(word, now):
                    return
            elif self._steps:
                if not self._step(self._steps.pop(0), now):
                    return
            else:
                self._finish("", now)

    def _say_it(self, sending: Sending) -> None:
        self._pieces, self._secret = list(sending.parts), sending.secret

    def _step(self, step: Step, now: float) -> bool:
        """False when it has to be waited for."""
        match step:
            case Sending():
                self._say_it(step)
            case Expect():
                self._otherwise = list(step.otherwise)
                return self._expect(step.word, now)
            case Abort(word, clear):
                if clear:
                    self._aborts = [each for each in self._aborts if each != word]
                elif word not in self._aborts:
                    self._aborts.append(word)
            case Timeout(seconds):
                self._timeout = seconds
            case Say(text):
                self._say(text)
        return True

    def _expect(self, word: bytes, now: float) -> bool:
        """Whether the word is there already."""
        from pexpect.expect import Expecter, searcher_string

        if not word:
            self._otherwise.clear()
            return True
        self._expecting = word
        self._expecter = Expecter(self._spawn, searcher_string([word, *self._aborts]))
        self.deadline = now + self._timeout
        return self._found(self._expecter.existing_data(), now)

    def _judge(self, index: int | None, now: float) -> None:
        if self._found(index, now):
            self._go_on(now)

    def _found(self, index: int | None, now: float) -> bool:
        if index is None or index < 0:
            return False
        if index > 0:
            self._finish(f"the line said {_quoted(self._aborts[index - 1])}", now)
            return False
        self._trace(f"got {self._wanted()}")
        self._expecting = self._expecter = None
        self._otherwise.clear()
        self.deadline = math.inf
        return True

    def _finish(self, failure: str, now: float) -> None:
        if not self._over:
            self._over = True
            self.deadline = math.inf
            self._done(failure, b"" if failure else self._spawn._before.getvalue(), now)

    def _wanted(self) -> str:
        return _quoted(self._expecting) if self._expecting is not None else "the next word"

    def _heard(self) -> str:
        said = self._spawn._before.getvalue()
        return f"; the line said {_quoted(said[-_SHOWN:])}" if said.strip() else "; the line said nothing"


def _quoted(octets: bytes) -> str:
    return f"'{printable(octets.strip())}'"

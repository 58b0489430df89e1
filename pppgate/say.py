"""Say: how the program speaks to its user, one line an event, shown at once.

In: sentences, with how important they are. Out: lines on a stream. A reader that has gone away (`pppgate |
head`) is no error: the lines are dropped from then on. One that does not read (a terminal stopped with
Ctrl-S, a pager) holds nobody up: lines are left out until it reads again, and then it is told how many.
What the parts log through `logging` comes out the same way.
"""

import io
import logging
import os
import select
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

LINE_MOST = 1000
"""Characters: less than the 4,096 octets (PIPE_BUF) that a writable pipe surely has room for."""
LEVELS = {"error": 40, "warning": 30, "info": 20, "debug": 10}


class Say:
    def __init__(self, level: str = "info", stream: TextIO | io.TextIOBase | None = None) -> None:
        self._least = LEVELS[level]
        # Python has None for a standard stream that was closed when it started.
        self._stream = stream or sys.stdout or open(os.devnull, "w")  # noqa: SIM115
        self.gone = False
        self._left_out = 0
        self._ready = _readiness(self._stream)

    def error(self, sentence: str) -> None:
        self._line(40, sentence)

    def warning(self, sentence: str) -> None:
        self._line(30, sentence)

    def event(self, sentence: str) -> None:
        """What a user wants to know of: a link up or down, something denied."""
        self._line(20, sentence)

    def debug(self, sentence: str) -> None:
        self._line(10, sentence)

    def counted(self, counters: Mapping[str, int]) -> None:
        """What was dropped, and other things worth counting, by name in one line."""
        words = ", ".join(f"{name} {number}" for name, number in sorted(counters.items()))
        self.event(f"Counted: {words or 'nothing'}.")

    def _line(self, level: int, sentence: str) -> None:
        if level < self._least or self.gone:
            return
        if not self._ready():
            self._left_out += 1
            return
        text = _printable(sentence)
        if len(text) > LINE_MOST:
            text = text[: LINE_MOST - 3] + "..."
        if self._left_out:
            text = f"({self._left_out} lines were left out: nobody read them)\n{text}"
            self._left_out = 0
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # the reader has gone; the interpreter must not try again when it ends
            self.gone = True
            _silence(self._stream)

    def capture_logging(self) -> None:
        """Send what is logged under "pppgate" here."""
        logger = logging.getLogger("pppgate")
        logger.handlers = [_Handler(self)]
        logger.setLevel(self._least)
        logger.propagate = False


class _Handler(logging.Handler):
    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        for line in record.getMessage().splitlines():
            self._say._line(record.levelno, line)


def _printable(sentence: str) -> str:
    """A guest's own words (its name, an Identification) must not steer the user's terminal."""
    if sentence.isprintable():
        return sentence
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in sentence)


def _readiness(stream: TextIO | io.TextIOBase) -> Callable[[], bool]:
    """Tells whether a line can be written without waiting; a stream that is no file of the system's never waits."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return lambda: True
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return lambda: bool(poll.poll(0))


def _silence(stream: TextIO | io.TextIOBase) -> None:
    try:
        number = stream.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)
    except (OSError, ValueError):
        pass

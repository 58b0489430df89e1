r"""Chat scripts: what is said to a modem or a login prompt before PPP begins, in the manner of pppd's chat(8).

A script is pairs of words, what to expect and what to send for it, with quotes and escapes:

    ABORT BUSY ABORT "NO CARRIER"     # give up at once when one of these comes
    TIMEOUT 45                        # seconds for every expect from here on
    SAY "Dialing the provider."
    "" ATZ                            # expect nothing, send ATZ and a carriage return
    OK ATDT5551234
    CONNECT \d\c                      # wait a second, send nothing
    ogin:--ogin: guest                # no login prompt in time: send a carriage return and expect it again

Words end at a blank or the end of a line; `#` where a word could begin makes the rest of the line a comment.
Escapes, in both: \b \n \r \s (space) \t \N (NUL) \\ \- \ooo (octal) ^C; in what is sent also \d (a second's delay),
\p (a tenth of one), \q (what is sent is a secret), \c at the end (no carriage return).

In: a file's text.  Out: steps, or a ChatError.  `pppgate.eoppp.conversation` plays them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

FILE_MOST: Final = 64 * 1024
"""Octets of a script."""
ABORTS_MOST: Final = 50
SILENCE_MOST: Final = 3600
"""Seconds for TIMEOUT."""
DELAY: Final = 1.0
PAUSE: Final = 0.1


class ChatError(Exception):
    """The script cannot be used.  The text is one sentence that names file and line."""


class Sending(NamedTuple):
    """What is sent in turn: octets, or seconds of waiting.  A secret is not shown."""

    parts: tuple[bytes | float, ...]
    secret: bool = False


@dataclass(frozen=True)
class Expect:
    """`word`, and what to do in turn for as long as it does not come: send something and expect another."""

    word: bytes
    otherwise: tuple[tuple[Sending, bytes], ...] = ()


@dataclass(frozen=True)
class Abort:
    word: bytes
    clear: bool = False


@dataclass(frozen=True)
class Timeout:
    seconds: float


@dataclass(frozen=True)
class Say:
    text: str


Step = Expect | Sending | Abort | Timeout | Say


def load(path: str) -> tuple[Step, ...]:
    """The steps of a file.  ChatError when it cannot be read or is wrong."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MOST + 1)
    except OSError as error:
        raise ChatError(f"The chat script {path} cannot be read: {error.strerror}.") from None
    if len(data) > FILE_MOST:
        raise ChatError(f"The chat script {path} is longer than {FILE_MOST} octets.")
    return parse(data.decode("latin-1"), path)


def parse(script: str, path: str = "chat script") -> tuple[Step, ...]:
    """The steps of a script, in order.  Characters are octets (latin-1).  Raises ChatError."""
    words = list(_words(script, path))
    steps: list[Step] = []
    aborts: set[bytes] = set()
    at = 0
    sends = False  # whether the next word is sent
    while at < len(words):
        word = words[at]
        if not sends and not word.quoted and word.text in _DIRECTIVES:
            if at + 1 == len(words):
                raise word.error(f"{word.text} needs something after it")
            step = _DIRECTIVES[word.text](words[at + 1])
            if isinstance(step, Abort):
                (aborts.discard if step.clear else aborts.add)(step.word)
                if len(aborts) > ABORTS_MOST:
                    raise word.error(f"there are more than {ABORTS_MOST} abort strings")
            steps.append(step)
            at += 2
            continue
        if not sends and not word.quoted and word.text in _UNKNOWN:
            raise word.error(f"{word.text} is not known here; leave it out, or quote it if the line says so")
        steps.append(_sending(word) if sends else _expect(word))
        sends = not sends
        at += 1
    if not any(isinstance(step, Expect | Sending) for step in steps):
        raise ChatError(f"{path}: nothing is expected and nothing is sent; write pairs such as OK ATDT5551234.")
    return tuple(steps)


class _Word(NamedTuple):
    text: str
    quoted: bool
    line: int
    path: str

    def error(self, what: str) -> ChatError:
        return ChatError(f"{self.path}, line {self.line}: {what}.")


def _words(script: str, path: str) -> Iterator[_Word]:
    """The words of all lines.  Quotes are taken off; the escapes in them stay for whoever knows what they mean."""
    for number, line in enumerate(script.split("\n"), 1):
        at = 0
        while at < len(line):
            c = line[at]
            if c.isspace():
                at += 1
                continue
            if c == "#":
                break
            word, at, quoted = _word(line, at)
            if at < 0:
                raise ChatError(f"{path}, line {number}: a quote is not closed.")
            yield _Word(word, quoted, number, path)


def _word(line: str, at: int) -> tuple[str, int, bool]:
    """One word that begins at `at`, where the next is looked for (-1: a quote is open), whether it began quoted."""
    quote = line[at] if line[at] in "'\"" else ""
    begun = at = at + len(quote)
    while at < len(line):
        c = line[at]
        if c == "\\" and at + 1 < len(line):
            at += 2
        elif c == quote or (not quote and c.isspace()):
            return line[begun:at], at + len(quote), bool(quote)
        else:
            at += 1
    return line[begun:at], (-1 if quote else at), bool(quote)


_OCTETS: Final = {"b": 8, "n": 10, "r": 13, "s": 32, "t": 9, "N": 0}
_WAITS: Final = {"d": DELAY, "p": PAUSE}
_OCTAL: Final = "01234567"


def _unescape(word: _Word, *, sending: bool) -> Iterator[int | float | str]:
    """Octets as numbers, waiting as seconds, and the letter of `\\c` or `\\q` or `-` (a bare hyphen)."""
    text = word.text
    at = 0
    while at < len(text):
        c = text[at]
        at += 1
        if c == "^" and at < len(text) and "@" <= text[at].upper() <= "_":
            yield ord(text[at].upper()) & 0x1F
            at += 1
        elif c == "-":
            yield "-"
        elif c != "\\" or at == len(text):
            yield ord(c)
        elif text[at] in _OCTAL:
            digits = ""
            while at < len(text) and len(digits) < 3 and text[at] in _OCTAL:
                digits += text[at]
                at += 1
            if int(digits, 8) > 255:
                raise word.error(f"\\{digits} is no octet: octal numbers end at \\377")
            yield int(digits, 8)
        else:
            yield _escaped(word, text[at], sending=sending)
            at += 1


def _escaped(word: _Word, letter: str, *, sending: bool) -> int | float | str:
    if letter in _OCTETS:
        return _OCTETS[letter]
    if letter in "dpqc":
        if not sending:
            raise word.error(f"\\{letter} has a meaning only in what is sent, not in what is expected")
        return _WAITS.get(letter, letter)
    if letter in "kK":
        raise word.error(f"\\{letter}, a break, cannot be sent here")
    return ord(letter)


def _sending(word: _Word) -> Sending:
    """`BREAK` and `EOT` are chat(8)'s own names."""
    if word.text == "BREAK" and not word.quoted:
        raise word.error("a break cannot be sent here")
    if word.text == "EOT" and not word.quoted:
        return Sending((b"\x04",))
    return _assemble(_unescape(word, sending=True))


def _assemble(items: Iterator[int | float | str]) -> Sending:
    parts: list[bytes | float] = []
    octets = bytearray()
    bare = secret = False
    for item in items:
        if isinstance(item, float):
            parts += [bytes(octets), item] if octets else [item]
            octets.clear()
        elif item == "c":
            bare = True
        elif item == "q":
            secret = True
        else:
            octets.append(ord(item) if isinstance(item, str) else item)
    if not bare:
        octets += b"\r"
    if octets:
        parts.append(bytes(octets))
    return Sending(tuple(parts), secret)


def _expect(word: _Word) -> Expect:
    """`login:-BREAK-login:`: at hyphens that are not escaped, expects and sends take turns."""
    pieces: list[list[int | float | str]] = [[]]
    # what stands at an odd place is sent, and may have the escapes of what is sent
    for at, part in enumerate(_split(word)):
        sending = at % 2 == 1
        if at:
            pieces.append([])
        pieces[-1] += _unescape(word._replace(text=part), sending=sending)
    if len(pieces) % 2 == 0:
        raise word.error(
            f"{word.text!r} ends with what to send: expects and sends in it take turns, as in ogin:--ogin:"
        )
    octets = [bytes(item for item in piece if isinstance(item, int)) for piece in pieces]
    otherwise = tuple((_assemble(iter(pieces[at])), octets[at + 1]) for at in range(1, len(pieces), 2))
    return Expect(octets[0], otherwise)


def _split(word: _Word) -> list[str]:
    parts, begun, at, text = [], 0, 0, word.text
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "-":
            parts.append(text[begun:at])
            begun = at + 1
        at += 1
    return [*parts, text[begun:]]


def _plain(word: _Word) -> bytes:
    items = _unescape(word, sending=False)
    return bytes(ord(item) if isinstance(item, str) else int(item) for item in items)


def _abort(word: _Word) -> Abort:
    if not word.text:
        raise word.error("ABORT needs a string that is not empty")
    return Abort(_plain(word))


def _timeout(word: _Word) -> Timeout:
    if not (word.text.isascii() and word.text.isdigit() and 0 < int(word.text) <= SILENCE_MOST):
        raise word.error(f"TIMEOUT needs a number of seconds from 1 to {SILENCE_MOST}, not {word.text!r}")
    return Timeout(float(word.text))


_DIRECTIVES: Final[dict[str, Callable[[_Word], Step]]] = {
    "ABORT": _abort,
    "CLR_ABORT": lambda word: Abort(_plain(word), clear=True),
    "TIMEOUT": _timeout,
    "SAY": lambda word: Say(_plain(word).decode("latin-1").strip()),
}
_UNKNOWN: Final = frozenset(("ECHO", "HANGUP", "REPORT", "CLR_REPORT"))
"""Directives of chat(8) that are about its own terminal and process."""

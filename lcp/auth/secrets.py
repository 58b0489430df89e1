"""Who may dial in: names and secrets in the style of pppd's pap-secrets.

In: a file of lines `client server secret [address ...]`. Fields may be quoted with ' or "; `#` begins a
comment; `*` as client is any name, `*` as server any gateway, `*` as address any address. Out: an
`Authenticator`, which judges what a peer showed over PAP or CHAP-MD5. `Anyone` lets everybody in.

Differing from pppd: an empty secret is an empty password, not any password.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple, Protocol

from lcp.protocol import CHAP_MD5, PAP

LINE_MOST = 4096
"""A line of the file may have this many characters."""


class SecretsError(Exception):
    """One sentence for the user: which file and line, and what is wrong with it."""


class Identity(NamedTuple):
    """Who a peer has proved to be. `addresses`: IPv4 addresses (4 octets) it may have; () is any."""

    name: str
    addresses: tuple[bytes, ...] = ()


Answer = Callable[[Identity | str], None]
"""Takes the verdict on a peer: its Identity, or a str that says why not."""


class Authenticator(Protocol):
    """`demand`: the values of LCP's Authentication-Protocol to ask for, best first.

    `refusable`: a peer that will not show anything is let in all the same. The two checks call `answer`
    once, before they return or any time later; a link that has gone by then takes no notice. A check of
    CHAP gets all that the peer's answer was made of but the secret, which need not be known here.
    """

    demand: Sequence[bytes]
    refusable: bool

    def check_pap(self, name: bytes, password: bytes, answer: Answer) -> None: ...

    def check_chap(self, name: bytes, identifier: int, challenge: bytes, response: bytes, answer: Answer) -> None: ...


def text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def chap_md5(identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """The Response value of CHAP with MD5 (RFC 1994 section 4.1)."""
    return hashlib.md5(bytes((identifier,)) + secret + challenge, usedforsecurity=False).digest()


class Anyone:
    """Any name and any password; PAP is asked for first, since every caller has it."""

    demand: Sequence[bytes] = (PAP, CHAP_MD5)
    refusable = True

    def check_pap(self, name: bytes, password: bytes, answer: Answer) -> None:
        answer(Identity(text(name)))

    def check_chap(self, name: bytes, identifier: int, challenge: bytes, response: bytes, answer: Answer) -> None:
        answer(Identity(text(name)))


@dataclass(frozen=True)
class Entry:
    client: bytes
    server: bytes
    secret: bytes
    addresses: tuple[bytes, ...] = ()


class Secrets:
    """The entries of a secrets file; `server` is the name this gateway goes by."""

    demand: Sequence[bytes] = (CHAP_MD5, PAP)
    refusable = False

    def __init__(self, entries: Sequence[Entry], server: str = "pppgate") -> None:
        self.entries = tuple(entries)
        self._server = server.encode()

    @classmethod
    def load(cls, path: str | Path, server: str = "pppgate") -> "Secrets":
        """Read a file. SecretsError when it cannot be read or a line is wrong."""
        try:
            content = Path(path).read_text("utf-8", "surrogateescape")
        except OSError as error:
            raise SecretsError(f"cannot read the secrets file {path}: {error.strerror}") from None
        return cls(parse_entries(content, str(path)), server)

    def find(self, name: bytes) -> Entry | str:
        """The entry for a peer's name, an exact one before a `*`, or why there is none."""
        reason = "the name is not in the secrets file"
        for wanted in (name, b"*"):
            for entry in self.entries:
                if entry.client == wanted:
                    if entry.server in (b"*", self._server):
                        return entry
                    reason = f"its entry is for the server {text(entry.server)!r}, not {text(self._server)!r}"
        return reason

    def check_pap(self, name: bytes, password: bytes, answer: Answer) -> None:
        answer(self._judge(name, lambda secret: hmac.compare_digest(secret, password)))

    def check_chap(self, name: bytes, identifier: int, challenge: bytes, response: bytes, answer: Answer) -> None:
        answer(self._judge(name, lambda secret: hmac.compare_digest(chap_md5(identifier, secret, challenge), response)))

    def _judge(self, name: bytes, knows: Callable[[bytes], bool]) -> Identity | str:
        entry = self.find(name)
        if isinstance(entry, str):
            return entry
        return Identity(text(name), entry.addresses) if knows(entry.secret) else "wrong password"


def parse_entries(content: str, path: str = "secrets") -> list[Entry]:
    entries = []
    for number, line in enumerate(content.splitlines(), 1):
        where = f"{path}, line {number}"
        if len(line) > LINE_MOST:
            raise SecretsError(f"{where}: longer than {LINE_MOST} characters")
        fields = _fields(line, where)
        if not fields:
            continue
        if len(fields) < 3:
            raise SecretsError(f"{where}: expected 'client server secret [address ...]'")
        client, server, secret = (field.encode("utf-8", "surrogateescape") for field in fields[:3])
        entries.append(Entry(client, server, secret, _addresses(fields[3:], where)))
    return entries


def _fields(line: str, where: str) -> list[str]:
    """Words of a line; quotes keep blanks and #, a backslash keeps the next character."""
    fields: list[str] = []
    word: list[str] | None = None
    quote = ""
    characters = iter(line)
    for c in characters:
        if c == "\\":
            word = (word or []) + [next(characters, "")]
        elif quote:
            if c == quote:
                quote = ""
            elif word is not None:
                word.append(c)
        elif c in "'\"":
            quote, word = c, word or []
        elif c.isspace() or c == "#":
            if word is not None:
                fields.append("".join(word))
                word = None
            if c == "#":
                break
        else:
            word = (word or []) + [c]
    if quote:
        raise SecretsError(f"{where}: a quote is not closed")
    if word is not None:
        fields.append("".join(word))
    return fields


def _addresses(fields: Sequence[str], where: str) -> tuple[bytes, ...]:
    try:
        return tuple(IPv4Address(field).packed for field in fields if field not in ("*", "-"))
    except ValueError:
        raise SecretsError(f"{where}: {' '.join(fields)!r} is not a list of IPv4 addresses") from None

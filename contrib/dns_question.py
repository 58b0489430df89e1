"""A question about a name, and the addresses in its answer: as much of RFC 1035 as a guest needs.

In: a name.  Out: the octets of a query, and the addresses in the octets of a reply.  It sends nothing.
"""

from nat.dns import question_end
from nat.wire.ipv4 import dotted

_RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}  # RFC 1035 section 4.1.1


class NoAddress(Exception):
    """The answer is an error, or none; the text says which."""


def query(name: str, identifier: bytes) -> bytes:
    """RFC 1035 section 4.1: one question, for an IPv4 address, recursion desired."""
    labels = b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return identifier + bytes.fromhex("01000001000000000000") + labels + b"\0\0\1\0\1"


def addresses(name: str, asked: bytes, reply: bytes) -> list[str]:
    """The A records of a reply (RFC 1035 section 4.1).  Raises NoAddress."""
    if len(reply) < len(asked) or reply[:2] != asked[:2]:
        raise NoAddress(f"{name}: the answer makes no sense")
    if reply[3] & 0x0F:
        raise NoAddress(f"{name}: {_RCODES.get(reply[3] & 0x0F, 'an error')}")
    at, found = question_end(reply), []
    for _ in range(int.from_bytes(reply[6:8], "big")):
        while at < len(reply) and 0 < reply[at] < 0xC0:
            at += 1 + reply[at]
        at += 2 if reply[at : at + 1] >= b"\xc0" else 1
        size = int.from_bytes(reply[at + 8 : at + 10], "big")
        if reply[at : at + 2] == b"\0\1" and size == 4:
            found.append(dotted(reply[at + 10 : at + 14]))
        at += 10 + size
    return found

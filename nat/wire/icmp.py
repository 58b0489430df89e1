"""ICMP (RFC 792): the header, types and codes, the one builder.

In and out: messages, from their type on, and whole IPv4 packets.  Nothing here checks what a peer sent but `is_echo`.
"""

from typing import Final

from nat.wire.checksum import checksum, sum16
from nat.wire.ipv4 import DEFAULT_TTL, ICMP, build_ipv4

# In a message:
KIND: Final = 0
CODE: Final = 1
IDENTIFIER: Final = slice(4, 6)
SEQUENCE: Final = slice(6, 8)
NEXT_MTU: Final = slice(6, 8)
"""RFC 1191 section 4, with FRAGMENTATION_NEEDED."""
REST_ON: Final = slice(4, None)
"""That, and what follows."""
HEADER: Final = 8
"""Octets."""
PAYLOAD: Final = slice(8, None)

# Types
ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12
QUERIES: Final = frozenset((0, 8, 9, 10, 13, 14, 15, 16, 17, 18))
"""RFC 1122 section 3.2.2: the messages that are queries or their replies; all others are errors."""
# Codes; those of UNREACHABLE beyond 5 from RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1
NETWORK_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
PROHIBITED: Final = 13
"""Communication administratively prohibited."""
TTL_EXCEEDED: Final = 0
REASSEMBLY_EXCEEDED: Final = 1


def is_echo(message: bytes, kind: int) -> bool:
    """Whether it is an ECHO, or an ECHO_REPLY, with its whole header."""
    return len(message) >= HEADER and message[KIND] == kind and message[CODE] == 0


def is_sound(message: bytes) -> bool:
    """Whether the checksum is right."""
    return not sum16(message)


def build_message(kind: int, code: int, rest: bytes, payload: bytes) -> bytes:
    """`rest`: the 4 octets after the checksum."""
    body = bytes((kind, code, 0, 0)) + rest + payload
    return body[:2] + checksum(body).to_bytes(2, "big") + body[4:]


def answer(echo: bytes) -> bytes:
    """The ECHO_REPLY to a sound ECHO.  Its checksum is that of the request but for the type (RFC 1624 section 3)."""
    check = (echo[2] << 8 | echo[3]) + (ECHO << 8)
    if check > 0xFFFF:
        check -= 0xFFFF
    return b"\0\0" + check.to_bytes(2, "big") + echo[REST_ON]


def build_icmp(
    source: bytes,
    destination: bytes,
    kind: int,
    code: int,
    rest: bytes,
    payload: bytes,
    *,
    ttl: int = DEFAULT_TTL,
    flags: int = 0,
    identification: int = 0,
) -> bytes:
    """An ICMP message in an IPv4 packet."""
    whole = build_message(kind, code, rest, payload)
    return build_ipv4(source, destination, ICMP, whole, ttl=ttl, flags=flags, identification=identification)

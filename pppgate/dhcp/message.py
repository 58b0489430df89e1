"""BOOTP and DHCP messages as octets: the one walker of options, the one builder, domain names in options.

In: what a guest's UDP datagram carried.  Out: a Message; what is wrong is counted.  And back: a
reply as octets, no longer than its reader takes.  It decides nothing: who gets what is the server's business.

RFC 951 and 2131 section 2 (layout), 2132 (options), 3396 (an option in several parts), 3397 and 1035 section 4.1.4
(search lists).
"""

from collections import Counter
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

# op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file
FIXED: Final = Struct("!BBBB4sHH4s4s4s4s16s64s128s")
COOKIE: Final = bytes((99, 130, 83, 99))
BOOTP_LEAST: Final = 300
"""Octets of a BOOTP message (RFC 951 section 3, RFC 1542 section 2.1); old clients drop shorter replies."""
MESSAGE_MOST: Final = 4096
"""Octets of a request that are looked at: bounds what reading options may cost; real ones stay below 1,500."""

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
ETHERNET: Final = 1
BROADCAST_FLAG: Final = 0x8000

# Options, RFC 2132 unless it says otherwise.
PAD: Final = 0
MASK: Final = 1
ROUTER: Final = 3
DNS: Final = 6
HOST_NAME: Final = 12
DOMAIN: Final = 15
MTU: Final = 26
BROADCAST_ADDRESS: Final = 28
REQUESTED: Final = 50
LEASE: Final = 51
OVERLOAD: Final = 52
KIND: Final = 53
SERVER: Final = 54
WANTED: Final = 55
TEXT: Final = 56
SIZE: Final = 57
T1: Final = 58
T2: Final = 59
CLIENT_ID: Final = 61
RELAY: Final = 82  # RFC 3046
SEARCH: Final = 119  # RFC 3397
END: Final = 255

_LENGTHS: Final = {REQUESTED: 4, OVERLOAD: 1, KIND: 1, SERVER: 4, SIZE: 2}
_OVERLOADED: Final = {1: ("file",), 2: ("sname",), 3: ("file", "sname")}
_OPTION_MOST: Final = 255


class Message(NamedTuple):
    """A request from a card on Ethernet, or a reply to one."""

    op: int
    """BOOTREQUEST or BOOTREPLY."""
    length: int
    """Octets that came."""
    xid: bytes
    """4 octets, as they are sent back."""
    flags: int
    ciaddr: bytes
    yiaddr: bytes
    giaddr: bytes
    chaddr: bytes
    """All 16 octets, as they are sent back."""
    mac: bytes
    options: dict[int, bytes]
    """Empty without the magic cookie."""


def parse(payload: bytes, count: Counter[str], *, replies: bool = False) -> Message | None:
    """None, and counted: anything truncated, lengths that lie, other hardware, and replies unless they are wanted."""
    if not FIXED.size <= len(payload) <= MESSAGE_MOST:
        count["dhcp.short" if len(payload) < FIXED.size else "dhcp.long"] += 1
        return None
    op, htype, hlen, _, xid, _, flags, ciaddr, yiaddr, _, giaddr, chaddr, sname, file = FIXED.unpack_from(payload)
    if op != BOOTREQUEST and not (replies and op == BOOTREPLY):
        count["dhcp.op"] += 1
        return None
    if htype != ETHERNET or hlen != 6:
        count["dhcp.hardware"] += 1
        return None
    options = _options(payload, {"sname": sname, "file": file}, count)
    if options is None:
        return None
    return Message(op, len(payload), xid, flags, ciaddr, yiaddr, giaddr, chaddr, chaddr[:hlen], options)


def _options(payload: bytes, fields: dict[str, bytes], count: Counter[str]) -> dict[int, bytes] | None:
    """All of them, wherever they stand; `fields`: where more may be (RFC 2131 section 4.1)."""
    options: dict[int, bytes] = {}
    start = FIXED.size + len(COOKIE)
    if payload[FIXED.size : start] != COOKIE:
        return options
    if not _walk(payload[start:], options, count):
        return None
    if OVERLOAD in options and not _overload(options, fields, count):
        return None
    for code, length in _LENGTHS.items():
        if len(options.get(code, bytes(length))) != length:
            count["dhcp.option_length"] += 1
            return None
    return options


def _overload(options: dict[int, bytes], fields: dict[str, bytes], count: Counter[str]) -> bool:
    """The options in `file`, then those in `sname` (RFC 2131 section 4.1).  A second overload option in there makes the
    first one two octets long, and that is refused as any other wrong length."""
    value = options[OVERLOAD]
    names = _OVERLOADED.get(value[0]) if len(value) == 1 else None
    if names is None:
        count["dhcp.overload"] += 1
        return False
    return all(_walk(fields[name], options, count) for name in names)


def _walk(area: bytes, options: dict[int, bytes], count: Counter[str]) -> bool:
    """Adds the options in `area`; parts of one are joined (RFC 3396).  The end mark may be missing: some clients fill
    the field to the last octet."""
    at, end = 0, len(area)
    while at < end:
        code = area[at]
        at += 1
        if code == PAD:
            continue
        if code == END:
            return True
        if at == end or at + 1 + area[at] > end:
            count["dhcp.options"] += 1
            return False
        after = at + 1 + area[at]
        options[code] = options.get(code, b"") + area[at + 1 : after]
        at = after
    return True


def build(
    request: Message,
    options: Iterable[tuple[int, bytes]],
    *,
    ciaddr: bytes = bytes(4),
    yiaddr: bytes = bytes(4),
    siaddr: bytes = bytes(4),
    most: int,
) -> bytes:
    """The reply to `request`: at least 300 octets, at most `most` (itself no less than 300).

    Options go in their order; one that does not fit into the room that is left is left out.
    """
    head = FIXED.pack(
        BOOTREPLY, ETHERNET, 6, 0, request.xid, 0, request.flags, ciaddr, yiaddr, siaddr, request.giaddr,
        request.chaddr, b"", b"",
    )  # fmt: skip
    reply = bytearray(head + COOKIE)
    for code, value in options:
        if len(reply) + 2 + len(value) < most:  # and one for the end mark
            reply += bytes((code, len(value))) + value
    reply.append(END)
    return bytes(reply.ljust(BOOTP_LEAST, b"\0"))


def domain_labels(name: str) -> tuple[bytes, ...]:
    """The labels of a domain name; ValueError, in one sentence, if it is none (RFC 1035 section 2.3.4)."""
    labels = name.removesuffix(".").split(".")
    plain = name.isascii() and name.isprintable() and " " not in name and len(name) <= 254
    if not plain or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError(f"{name!r} is not a domain name; write one as example.com, in ASCII (xn--... where needed).")
    return tuple(label.encode() for label in labels)


def encode_search(names: Iterable[str]) -> bytes:
    """A search list, compressed (RFC 3397 section 2, RFC 1035 section 4.1.4).  It ends before the first name that does
    not fit into the 255 octets of one option.  ValueError as in domain_labels."""
    out = bytearray()
    places: dict[tuple[bytes, ...], int] = {}
    for name in names:
        labels = domain_labels(name)
        piece = bytearray()
        new = {}
        for i in range(len(labels)):
            if labels[i:] in places:
                piece += (0xC000 | places[labels[i:]]).to_bytes(2, "big")
                break
            new[labels[i:]] = len(out) + len(piece)
            piece += bytes((len(labels[i]),)) + labels[i]
        else:
            piece.append(0)
        if len(out) + len(piece) > _OPTION_MOST:
            break
        out += piece
        places |= new
    return bytes(out)

"""IPv4 fragments: put together within bounds, and cut for a line's MTU (RFC 791 section 3.2, RFC 815).

In: fragments from one guest, as whole IPv4 packets whose header has been checked.  Out: whole packets.
It does not know what the packets carry, apart from how long a transport header must be.

A datagram whose fragments overlap is dropped, with all that still comes of it (RFC 5722, which asks it for IPv6);
an exact duplicate is only ignored (RFC 8200 section 4.5).
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Final

from nat.context import Context
from nat.line import Line
from nat.wire.ipv4 import (
    ADDRESSES,
    HEADER,
    ICMP,
    IDENTIFICATION,
    IPV4,
    MORE_FRAGMENTS,
    OFFSET_MASK,
    PACKET_MOST,
    PROTOCOL,
    TCP,
    UDP,
    fragment_field,
    header_length,
    reassembled,
    with_checksum,
)

DATAGRAMS_MOST: Final = 64
OCTETS_MOST: Final = 1 << 20
LIFETIME: Final = 30.0  # seconds; RFC 1122 section 3.3.2 asks for 60 to 120, RFC 791 begins with 15
_PIECE_COST: Final = 96  # octets of memory that a fragment costs beyond its payload
# RFC 1858 section 3: a first fragment that cuts the transport header hides it from filters.
_LEAST_FIRST: Final = {TCP: 20, UDP: 8, ICMP: 8}


class _Datagram:
    """What has come of one datagram so far: pieces in order, none touching another's octets."""

    __slots__ = ("expires", "starts", "pieces", "octets", "cost", "length", "first", "dead")

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.octets = 0
        self.cost = _PIECE_COST
        self.length = -1  # of the whole payload, once the last fragment has come
        self.first = b""  # the fragment with offset 0, for its header
        self.dead = False

    def add(self, offset: int, piece: bytes, *, more: bool, count: Counter[str]) -> bool:
        """Whether the piece fits to what is there (a duplicate does); the reason why not is counted."""
        end = offset + len(piece)
        if (not more and self.length not in (-1, end)) or (self.length != -1 and end > self.length):
            count["fragment.length_conflict"] += 1
            return False
        index = bisect_left(self.starts, offset)
        if index < len(self.starts) and self.starts[index] == offset and self.pieces[index] == piece:
            count["fragment.duplicate"] += 1
            return True
        before = self.starts[index - 1] + len(self.pieces[index - 1]) if index else 0
        after = self.starts[index] if index < len(self.starts) else PACKET_MOST
        if offset < before or end > after:
            count["fragment.overlap"] += 1
            return False
        if not more:
            if index < len(self.starts):
                count["fragment.length_conflict"] += 1
                return False
            self.length = end
        self.starts.insert(index, offset)
        self.pieces.insert(index, piece)
        self.octets += len(piece)
        self.cost += len(piece) + _PIECE_COST
        return True


class Reassembler:
    """One guest's unfinished datagrams.

    `expired(first, now)` is called with the first fragment of a datagram that was not completed in time; not
    called when the first fragment never came (RFC 792: then no Time Exceeded is sent).
    """

    def __init__(self, context: Context, expired: Callable[[bytes, float], None]) -> None:
        self.deadline = math.inf
        self.queued = math.inf
        self._count = context.count
        self._deadlines = context.deadlines
        self._expired = expired
        self._datagrams: dict[bytes, _Datagram] = {}  # the oldest first
        self._cost = 0

    def feed(self, packet: bytes, hlen: int, now: float) -> bytes | None:
        """The whole packet if this fragment completes it; else None."""
        field = fragment_field(packet)
        more = bool(field & MORE_FRAGMENTS)
        offset = (field & OFFSET_MASK) * 8
        piece = packet[hlen:]
        protocol = packet[PROTOCOL]
        if not self._plausible(protocol, offset, len(piece), hlen, more=more):
            return None
        key = packet[IDENTIFICATION] + bytes((protocol,)) + packet[ADDRESSES]  # RFC 791 section 3.2
        datagram = self._datagrams.get(key)
        if datagram is None:
            self._make_room(1)
            datagram = self._datagrams[key] = _Datagram(now + LIFETIME)
            self._cost += datagram.cost
            if self.deadline == math.inf:
                self._deadlines.arm(self, datagram.expires)
        if datagram.dead:
            self._count["fragment.dead"] += 1
            return None
        before = datagram.cost
        if not datagram.add(offset, piece, more=more, count=self._count):
            self._kill(datagram)
            return None
        self._cost += datagram.cost - before
        if offset == 0:
            datagram.first = packet
        if datagram.octets == datagram.length:
            del self._datagrams[key]
            self._cost -= datagram.cost
            return self._whole(datagram, now)
        if self._cost > OCTETS_MOST:
            self._make_room(0)
        return None

    def tick(self, now: float) -> None:
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if datagram.expires > now:
                self._deadlines.arm(self, datagram.expires)
                return
            del self._datagrams[key]
            self._cost -= datagram.cost
            self._count["fragment.expired"] += 1
            if datagram.first:
                self._expired(datagram.first, now)

    def close(self) -> None:
        self._datagrams.clear()
        self._cost = 0
        self._deadlines.arm(self, math.inf)

    def _plausible(self, protocol: int, offset: int, size: int, hlen: int, *, more: bool) -> bool:
        if size == 0 or (more and size % 8):
            self._count["fragment.bad_length"] += 1
        elif hlen + offset + size > PACKET_MOST:  # the ping of death
            self._count["fragment.too_long"] += 1
        elif (offset == 0 and size < _LEAST_FIRST.get(protocol, 0)) or (protocol == TCP and offset == 8):
            self._count["fragment.tiny"] += 1
        else:
            return True
        return False

    def _kill(self, datagram: _Datagram) -> None:
        """Keep nothing but the memory that it is dead, until its time is over."""
        self._cost -= datagram.cost
        datagram.dead = True
        datagram.starts = []
        datagram.pieces = []
        datagram.first = b""
        datagram.cost = _PIECE_COST
        self._cost += datagram.cost

    def _make_room(self, wanted: int) -> None:
        datagrams = self._datagrams
        while datagrams and (len(datagrams) + wanted > DATAGRAMS_MOST or self._cost > OCTETS_MOST):
            self._cost -= datagrams.pop(next(iter(datagrams))).cost
            self._count["fragment.evicted"] += 1

    def _whole(self, datagram: _Datagram, now: float) -> bytes | None:
        first = datagram.first
        hlen = header_length(first)
        total = hlen + datagram.length
        if total > PACKET_MOST:  # the first fragment's header is longer than that of the others
            self._count["fragment.too_long"] += 1
            return None
        self._count["fragment.reassembled"] += 1
        return b"".join((reassembled(first, hlen, total), *datagram.pieces))


def fragment(packet: bytes, mtu: int) -> list[bytes]:
    """An IPv4 packet as fragments of at most `mtu` octets (RFC 791 section 3.2); DF is the caller's business."""
    if len(packet) <= mtu:
        return [packet]
    hlen = header_length(packet)
    version, tos, _, identification, field, ttl, protocol, _, source, destination = IPV4.unpack_from(packet)
    options = packet[HEADER:hlen]
    base = field & OFFSET_MASK
    last_flag = field & MORE_FRAGMENTS
    fragments: list[bytes] = []
    position = hlen
    while position < len(packet):
        size = max(8, (mtu - 20 - len(options)) & ~7)
        piece = packet[position : position + size]
        more = MORE_FRAGMENTS if position + size < len(packet) else last_flag
        head = IPV4.pack(
            0x45 + len(options) // 4,
            tos,
            20 + len(options) + len(piece),
            identification,
            more | (base + (position - hlen) // 8),
            ttl,
            protocol,
            0,
            source,
            destination,
        )
        fragments.append(with_checksum(head + options) + piece)
        if position == hlen:
            options = _copied(options)
        position += size
    return fragments


def deliver(line: Line, packet: bytes, key: Hashable) -> bool:
    """Queue a packet for the guest, cut to its MTU if need be.  False: dropped, at least in part, and counted."""
    if len(packet) <= line.mtu:
        return line.send(packet, key)
    return all(line.send(piece, key) for piece in fragment(packet, line.mtu))


def _copied(options: bytes) -> bytes:
    """The options that go into every fragment (RFC 791 section 3.1: those with the copied flag)."""
    kept = b""
    position = 0
    while position < len(options):
        kind = options[position]
        if kind == 0:
            break
        if kind == 1:
            position += 1
            continue
        length = options[position + 1] if position + 1 < len(options) else 0
        if length < 2:
            break
        if kind & 0x80:
            kept += options[position : position + length]
        position += length
    return kept + bytes(-len(kept) % 4)

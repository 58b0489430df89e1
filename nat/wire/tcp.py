"""TCP segments as bytes: flags, options, and whole IPv4 packets that carry a segment without a flow.

In: headers that the caller has length-checked.  Out: option values, packets.  It keeps no state.
Source: RFC 9293 sections 3.1 and 3.2, RFC 7323 section 2 (window scale), RFC 2018 (SACK).
"""

from collections.abc import Sequence
from struct import Struct, unpack_from
from typing import Final, NamedTuple

from nat.wire.checksum import pseudo_header_sum, sum16
from nat.wire.ipv4 import DEFAULT_TTL, DESTINATION, DONT_FRAGMENT, SOURCE, TCP, build_ipv4

# RFC 9293 section 3.1: ports, sequence, acknowledgement, data offset, flags, window, checksum, urgent pointer.
TCP_HEADER: Final = Struct("!HHLLBBHHH")

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10

SEQUENCE_MASK: Final = 0xFFFFFFFF

DEFAULT_MSS: Final = 536  # RFC 9293 section 3.7.1, MUST-15
MSS_LEAST: Final = 48  # a guest that announces less is sent this much, lest each octet cost a packet
WINDOW_SCALE_MOST: Final = 14  # RFC 7323 section 2.3

OPTION_END: Final = 0
OPTION_NOP: Final = 1
OPTION_MSS: Final = 2
OPTION_WINDOW_SCALE: Final = 3
OPTION_SACK_PERMITTED: Final = 4
OPTION_SACK: Final = 5

# An IPv4 header and a TCP header, both without options, in one go.
_HEADERS: Final = Struct("!HHHHHH4s4sHHLLHHHH")
_IP_CONSTANT: Final = 0x4500 + DONT_FRAGMENT + (DEFAULT_TTL << 8) + TCP

SEGMENT: Final = Struct("!LLHHHH")  # sequence, acknowledgement, offset and flags, window, checksum, urgent

# In an IPv4 packet without options:
KEY: Final = slice(12, 24)
"""Of a flow: both addresses and both ports, the sender's first."""
SUMMED: Final = slice(12, None)
"""What the checksum covers beside the protocol and the length (RFC 9293 section 3.1)."""
SEQUENCE: Final = slice(24, 28)
SEGMENT_AT: Final = 24
"""Where a SEGMENT is."""
OFFSET: Final = 32
FLAGS: Final = 33
OPTIONS_AT: Final = 40
"""Where TCP's options begin."""
AFTER_HEADERS: Final = slice(OPTIONS_AT, None)
"""The payload of a segment without options."""
_BLOCK: Final = Struct("!LL")


class SynOptions(NamedTuple):
    """What a SYN announces.  `window_scale` is None where the option is absent."""

    mss: int
    window_scale: int | None
    sack_permitted: bool


def ends(key: bytes) -> tuple[bytes, bytes, int, int]:
    """Guest, outside, the guest's port, the outside's: the parts of a KEY."""
    return key[:4], key[4:8], int.from_bytes(key[8:10], "big"), int.from_bytes(key[10:], "big")


def headers_length(packet: bytes) -> int:
    """Octets, with TCP's options, of an IPv4 packet without options of its own; nothing is checked."""
    return 20 + (packet[OFFSET] >> 4) * 4


def _walk(options: bytes) -> list[tuple[int, bytes]]:
    """The options in order as (kind, value); stops quietly at the first that is malformed (MUST-7)."""
    found = []
    at, end = 0, len(options)
    while at < end:
        kind = options[at]
        if kind == OPTION_END:
            break
        if kind == OPTION_NOP:
            at += 1
            continue
        if at + 1 >= end:
            break
        length = options[at + 1]
        if length < 2 or at + length > end:
            break
        found.append((kind, options[at + 2 : at + length]))
        at += length
    return found


def parse_syn_options(options: bytes) -> SynOptions:
    """Read the options of a SYN; anything unknown or malformed is ignored (RFC 9293 section 3.1, MUST-6)."""
    mss, scale, sack = DEFAULT_MSS, None, False
    for kind, value in _walk(options):
        if kind == OPTION_MSS and len(value) == 2:
            mss = max(MSS_LEAST, int.from_bytes(value, "big"))
        elif kind == OPTION_WINDOW_SCALE and len(value) == 1:
            scale = min(value[0], WINDOW_SCALE_MOST)
        elif kind == OPTION_SACK_PERMITTED and not value:
            sack = True
    return SynOptions(mss, scale, sack)


def parse_sack_blocks(options: bytes) -> list[tuple[int, int]]:
    """The SACK blocks (RFC 2018 section 3) as (left edge, right edge) sequence numbers, at most four."""
    for kind, value in _walk(options):
        if kind == OPTION_SACK and len(value) % 8 == 0:
            return [unpack_from("!LL", value, at) for at in range(0, min(len(value), 32), 8)]
    return []


def syn_options(mss: int, window_scale: int | None, sack_permitted: bool) -> bytes:
    """The options of a SYN of ours, padded to a multiple of 4 octets."""
    out = bytes((OPTION_MSS, 4)) + mss.to_bytes(2, "big")
    if window_scale is not None:
        out += bytes((OPTION_NOP, OPTION_WINDOW_SCALE, 3, window_scale))
    if sack_permitted:
        out += bytes((OPTION_NOP, OPTION_NOP, OPTION_SACK_PERMITTED, 2))
    return out


def sack_option(blocks: list[tuple[int, int]]) -> bytes:
    """A SACK option with up to four blocks, padded to a multiple of 4 octets."""
    if not blocks:
        return b""
    kept = blocks[:4]
    head = bytes((OPTION_NOP, OPTION_NOP, OPTION_SACK, 2 + 8 * len(kept)))
    return head + b"".join(_BLOCK.pack(left & SEQUENCE_MASK, right & SEQUENCE_MASK) for left, right in kept)


class SegmentWriter:
    """Builds the segments of one connection; the addresses and ports are summed up once.

    The sums are not folded on the way: 2**16 and 2**32 are both 1 modulo 0xFFFF, so that a sequence number of 32
    bits counts as it stands.
    """

    __slots__ = ("source", "source_port", "destination", "destination_port", "_ip", "_tcp")

    def __init__(self, source: bytes, source_port: int, destination: bytes, destination_port: int) -> None:
        self.source, self.source_port = source, source_port
        self.destination, self.destination_port = destination, destination_port
        addresses = int.from_bytes(source, "big") + int.from_bytes(destination, "big")
        self._ip = _IP_CONSTANT + addresses + 40
        self._tcp = addresses + TCP + source_port + destination_port + 20 + (5 << 12)

    def data(
        self, sequence: int, acknowledgement: int, flags: int, window: int, payloads: Sequence[bytes]
    ) -> list[bytes]:
        """Consecutive segments without options, each a whole packet: the path of everything that carries data."""
        source, destination = self.source, self.destination
        source_port, destination_port = self.source_port, self.destination_port
        acknowledgement &= SEQUENCE_MASK
        ip, tcp = self._ip, self._tcp + acknowledgement + flags + window
        flags |= 5 << 12
        pack = _HEADERS.pack
        out = []
        for payload in payloads:
            size = len(payload)
            wire = sequence & SEQUENCE_MASK
            head = pack(
                0x4500, 40 + size, 0, 0x4000, 0x4006, 0xFFFF - (ip + size) % 0xFFFF, source, destination,
                source_port, destination_port, wire, acknowledgement, flags, window,
                0xFFFF - (tcp + wire + size + sum16(payload)) % 0xFFFF, 0,
            )  # fmt: skip
            out.append(head + payload)
            sequence += size
        return out

    def control(self, sequence: int, acknowledgement: int, flags: int, window: int, options: bytes = b"") -> bytes:
        """One segment without data."""
        if options:
            return build_segment(
                self.source, self.source_port, self.destination, self.destination_port,
                sequence=sequence, acknowledgement=acknowledgement, flags=flags, window=window, options=options,
            )  # fmt: skip
        return self.data(sequence, acknowledgement, flags, window, (b"",))[0]


def build_segment(
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
    *,
    sequence: int,
    acknowledgement: int = 0,
    flags: int,
    window: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    urgent: int = 0,
    ttl: int = DEFAULT_TTL,
) -> bytes:
    """A whole IPv4 packet.  The flows' own fast path builds the same octets; this one is for everything rare."""
    length = 20 + len(options)
    offset_flags = (length // 4) << 12 | flags
    fields = (source_port, destination_port, sequence & SEQUENCE_MASK, acknowledgement & SEQUENCE_MASK)
    total = pseudo_header_sum(source, destination, TCP, length + len(payload))
    total += sum(fields) + offset_flags + window + urgent + sum16(options) + sum16(payload)
    check = (0xFFFF - total % 0xFFFF) % 0xFFFF
    head = TCP_HEADER.pack(*fields, offset_flags >> 8, offset_flags & 0xFF, window, check, urgent)
    return build_ipv4(source, destination, TCP, head + options + payload, ttl=ttl)


def build_reset(packet: bytes, header_length: int) -> bytes | None:
    """The RST that answers a segment for which there is no connection (RFC 9293 section 3.10.7.1).

    None if the segment is itself a RST.  The packet has at least 20 octets of TCP header after its IP header.
    """
    source_port, destination_port, sequence, acknowledgement, offset, flags, _, _, _ = TCP_HEADER.unpack_from(
        packet, header_length
    )
    if flags & RST:
        return None
    source, destination = packet[DESTINATION], packet[SOURCE]
    if flags & ACK:
        return build_segment(source, destination_port, destination, source_port, sequence=acknowledgement, flags=RST)
    length = len(packet) - header_length - (offset >> 4) * 4
    length = max(0, length) + bool(flags & SYN) + bool(flags & FIN)
    return build_segment(
        source,
        destination_port,
        destination,
        source_port,
        sequence=0,
        acknowledgement=sequence + length,
        flags=RST | ACK,
    )

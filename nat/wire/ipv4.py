"""IPv4 (RFC 791): the header, its fields by name, the one builder.

In: addresses as 4 octets, lengths as integers, payloads as bytes.  Out: whole packets as bytes.
Nothing here checks what a peer sent but `length`: whoever takes a packet from a line compares lengths once, and what
comes after that may look at every field.
"""

from struct import Struct
from typing import Final

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17

# RFC 791 section 3.1: version and IHL, TOS, total length, identification, flags and offset, TTL, protocol,
# checksum, source, destination.
IPV4: Final = Struct("!BBHHHBBH4s4s")
HEADER: Final = 20
"""Octets without options."""

# Fields, for the paths that look at one of them only.
TTL: Final = 8
PROTOCOL: Final = 9
IDENTIFICATION: Final = slice(4, 6)
SOURCE: Final = slice(12, 16)
DESTINATION: Final = slice(16, 20)
ADDRESSES: Final = slice(12, 20)

DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
OFFSET_MASK: Final = 0x1FFF

DEFAULT_TTL: Final = 64
PACKET_MOST: Final = 65535


def version(packet: bytes) -> int:
    return packet[0] >> 4


def header_length(packet: bytes) -> int:
    """Octets, with the options."""
    return (packet[0] & 0x0F) * 4


def fragment_field(packet: bytes) -> int:
    """DONT_FRAGMENT, MORE_FRAGMENTS, and the offset (OFFSET_MASK) in units of 8 octets."""
    return packet[6] << 8 | packet[7]


def length(packet: bytes) -> int:
    """The total length of a packet that may be followed by padding; 0 if that or the header's is wrong, or it is no
    IPv4."""
    if len(packet) < HEADER or version(packet) != 4:
        return 0
    total = packet[2] << 8 | packet[3]
    return total if HEADER <= header_length(packet) <= total <= len(packet) else 0


def ports(packet: bytes, hlen: int, protocol: int) -> tuple[bytes, bytes]:
    """The source's and the destination's, 2 octets each; empty where the packet has none, or where they are not to be
    seen (a fragment)."""
    if protocol not in (TCP, UDP) or fragment_field(packet) & (MORE_FRAGMENTS | OFFSET_MASK):
        return b"", b""
    return packet[hlen : hlen + 2], packet[hlen + 2 : hlen + 4]


def quoted(packet: bytes, hlen: int) -> bytes:
    """What an ICMP error repeats of a packet (RFC 792): the header and the first 64 bits."""
    return packet[: hlen + 8]


def with_checksum(head: bytes) -> bytes:
    """The header with its checksum, whose field is zero."""
    # A header is never all zero, and 2**16 is 1 modulo 0xFFFF: the checksum is what makes the whole a multiple of it.
    return head[:10] + (-int.from_bytes(head, "big") % 0xFFFF).to_bytes(2, "big") + head[12:]


def without_options(packet: bytes, hlen: int) -> bytes:
    """The same packet with a header of 20 octets."""
    head = b"\x45" + packet[1:2] + (len(packet) - hlen + HEADER).to_bytes(2, "big") + packet[4:10] + b"\0\0"
    return with_checksum(head + packet[ADDRESSES]) + packet[hlen:]


def one_hop_further(packet: bytes, hlen: int) -> bytes:
    """The same packet with a TTL that is one less (RFC 1812 section 5.3.1)."""
    head = packet[:8] + bytes((packet[TTL] - 1, packet[PROTOCOL], 0, 0)) + packet[12:hlen]
    return with_checksum(head) + packet[hlen:]


def reassembled(first: bytes, hlen: int, total: int) -> bytes:
    """The header of the whole, made of that of the first fragment (RFC 791 section 3.2)."""
    head = first[:2] + total.to_bytes(2, "big") + first[4:6] + b"\0\0" + first[8:10] + b"\0\0" + first[12:hlen]
    return with_checksum(head)


def build_ipv4(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 0,
    flags: int = DONT_FRAGMENT,
    ttl: int = DEFAULT_TTL,
    tos: int = 0,
) -> bytes:
    """A packet without options.  With DF set the identification may be 0 (RFC 6864 section 4.1)."""
    head = IPV4.pack(0x45, tos, 20 + len(payload), identification, flags, ttl, protocol, 0, source, destination)
    return with_checksum(head) + payload


def dotted(address: bytes) -> str:
    """4 octets as people write them."""
    return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"


def is_host(address: bytes) -> bool:
    """Whether a host somewhere may have the address: not unspecified, loopback, link-local, multicast or broadcast."""
    return address[0] not in (0, 127) and address[0] < 224 and address[:2] != b"\xa9\xfe"

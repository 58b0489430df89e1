"""UDP (RFC 768): the header, the one parser, the one builder.

In: IPv4 packets whose own header has been checked, up to their total length.  Out: ports and payloads; whole packets.
"""

from collections import Counter
from struct import Struct
from typing import Final

from nat.wire.checksum import pseudo_header_sum, sum16
from nat.wire.ipv4 import ADDRESSES, DEFAULT_TTL, UDP, build_ipv4

# Ports, length, checksum.
UDP_HEADER: Final = Struct("!HHHH")
DATAGRAM_MOST: Final = 65535
"""Octets: no payload is longer."""


def destination_port(packet: bytes, hlen: int) -> int:
    """Before anything is checked; of a packet that ends before it, any number."""
    return int.from_bytes(packet[hlen + 2 : hlen + 4], "big")


def parse(packet: bytes, hlen: int, count: Counter[str]) -> tuple[int, int, bytes] | None:
    """Source port, destination port and payload of a sound datagram; None, and counted, if it is not sound."""
    size = len(packet) - hlen
    if size < 8:
        count["udp.short"] += 1
        return None
    source_port, destination_port, length, check = UDP_HEADER.unpack_from(packet, hlen)
    if length < 8 or length > size:
        count["udp.bad_length"] += 1
        return None
    # RFC 768: a checksum of 0 means that the sender made none.
    if check and (sum16(packet[ADDRESSES]) + UDP + length + sum16(packet[hlen : hlen + length])) % 0xFFFF:
        count["udp.bad_checksum"] += 1
        return None
    if source_port == 0 or destination_port == 0:
        count["udp.port_zero"] += 1
        return None
    return source_port, destination_port, packet[hlen + 8 : hlen + length]


def build_udp(
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
    payload: bytes,
    *,
    identification: int = 0,
    flags: int = 0,
    ttl: int = DEFAULT_TTL,
) -> bytes:
    """A UDP datagram in an IPv4 packet, always with a checksum (some guests drop datagrams without one)."""
    length = 8 + len(payload)
    total = (
        pseudo_header_sum(source, destination, UDP, length) + source_port + destination_port + length + sum16(payload)
    )
    # RFC 768: a checksum that comes out as zero is sent as all ones, which 0xFFFF - 0 already is.
    check = 0xFFFF - total % 0xFFFF
    head = UDP_HEADER.pack(source_port, destination_port, length, check)
    return build_ipv4(source, destination, UDP, head + payload, identification=identification, flags=flags, ttl=ttl)

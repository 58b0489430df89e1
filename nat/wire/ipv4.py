"""IPv4, TCP, UDP and ICMP headers as bytes: precompiled Structs, the Internet checksum, builders.

In: addresses as 4 octets, ports and lengths as integers, payloads as bytes.  Out: whole packets as bytes.
Nothing here checks what a peer sent; callers compare lengths before they unpack.
"""

from struct import Struct
from typing import Final

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17

# RFC 791 section 3.1: version and IHL, TOS, total length, identification, flags and offset, TTL, protocol,
# checksum, source, destination.
IPV4: Final = Struct("!BBHHHBBH4s4s")
# RFC 9293 section 3.1: ports, sequence, acknowledgement, data offset, flags, window, checksum, urgent pointer.
TCP_HEADER: Final = Struct("!HHLLBBHHH")
# RFC 768: ports, length, checksum.
UDP_HEADER: Final = Struct("!HHHH")

DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
OFFSET_MASK: Final = 0x1FFF

DEFAULT_TTL: Final = 64

_HALF: Final = 752  # octets: twice this is a full-size packet with its pseudo-header
_HALF_BITS: Final = _HALF * 8
_HALF_MASK: Final = (1 << _HALF_BITS) - 1
_QUARTER_BITS: Final = _HALF * 4
_QUARTER_MASK: Final = (1 << _QUARTER_BITS) - 1


def sum16(data: bytes | memoryview) -> int:
    """The one's complement sum of 16-bit words (RFC 1071) modulo 0xFFFF; an odd last octet is padded with zero.

    2**16 is 1 modulo 0xFFFF, so that the sum of the words and the number they spell agree modulo 0xFFFF.
    Halving the number by shift and add before the division costs a third less on a full-size packet.
    """
    number = int.from_bytes(data, "big")
    length = len(data)
    if length > 256:
        if length > 2 * _HALF:
            if length & 1:
                number <<= 8
            return number % 0xFFFF
        number = (number >> _HALF_BITS) + (number & _HALF_MASK)
        number = (number >> _QUARTER_BITS) + (number & _QUARTER_MASK)
    if length & 1:
        number <<= 8
    return number % 0xFFFF


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data whose checksum field is zero, ready to be stored there."""
    rest = 0xFFFF - sum16(data)
    if rest == 0xFFFF:  # the words add up to 0xFFFF, or all of them are zero (an empty echo reply 0 of id 0)
        return 0 if any(data) else 0xFFFF
    return rest


def pseudo_header_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """What the pseudo-header (RFC 9293 section 3.1, RFC 768) adds to a TCP or UDP checksum; not yet reduced."""
    return int.from_bytes(source, "big") + int.from_bytes(destination, "big") + protocol + length


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
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


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
    """An ICMP message (RFC 792): `rest` is the 4 octets after the checksum."""
    body = bytes((kind, code, 0, 0)) + rest + payload
    whole = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    return build_ipv4(source, destination, ICMP, whole, ttl=ttl, flags=flags, identification=identification)


def dotted(address: bytes) -> str:
    """4 octets as people write them."""
    return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"


def is_host(address: bytes) -> bool:
    """Whether a host somewhere may have the address: not unspecified, loopback, link-local, multicast or broadcast."""
    return address[0] not in (0, 127) and address[0] < 224 and address[:2] != b"\xa9\xfe"

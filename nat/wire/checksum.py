"""The Internet checksum (RFC 1071), as IPv4, TCP, UDP and ICMP have it.

In: octets, a multiple of two or padded with zero.  Out: sums modulo 0xFFFF.
"""

from typing import Final

_HALF: Final = 752  # octets: twice this is a full-size packet with its pseudo-header
_HALF_BITS: Final = _HALF * 8
_HALF_MASK: Final = (1 << _HALF_BITS) - 1
_QUARTER_BITS: Final = _HALF * 4
_QUARTER_MASK: Final = (1 << _QUARTER_BITS) - 1
_EIGHTH_BITS: Final = _HALF * 2
_EIGHTH_MASK: Final = (1 << _EIGHTH_BITS) - 1


def sum16(data: bytes | memoryview) -> int:
    """The one's complement sum of 16-bit words (RFC 1071) modulo 0xFFFF; an odd last octet is padded with zero.

    2**16 is 1 modulo 0xFFFF, so that the sum of the words and the number they spell agree modulo 0xFFFF.
    Halving the number thrice by shift and add before the division makes a full-size packet cost 3.8 us in the place
    of 6.4.
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
        number = (number >> _EIGHTH_BITS) + (number & _EIGHTH_MASK)
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

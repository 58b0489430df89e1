"""Control packets as LCP, the NCPs, PAP and CHAP spell them: code, identifier, length, data (RFC 1661 section 5).

In: the information field of a frame. Out: a `ControlPacket`, or None when its length field is wrong.
Knows the numbers of codes and protocols, and nothing of states or options.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("!BBH")

DEFAULT_MRU = 1500
"""RFC 1661 section 6.1: what every receiver takes before anything is agreed, and for LCP packets always."""


class Code(IntEnum):
    """RFC 1661 section 5; Identification and Time-Remaining are RFC 1570 section 1."""

    CONFIGURE_REQUEST = 1
    CONFIGURE_ACK = 2
    CONFIGURE_NAK = 3
    CONFIGURE_REJECT = 4
    TERMINATE_REQUEST = 5
    TERMINATE_ACK = 6
    CODE_REJECT = 7
    PROTOCOL_REJECT = 8
    ECHO_REQUEST = 9
    ECHO_REPLY = 10
    DISCARD_REQUEST = 11
    IDENTIFICATION = 12
    TIME_REMAINING = 13


class Protocol(IntEnum):
    """Protocol numbers of PPP (RFC 1661 section 2; the IANA list), for the names in a trace."""

    IP = 0x0021
    VJ_COMPRESSED = 0x002D
    VJ_UNCOMPRESSED = 0x002F
    IPX = 0x002B
    NBF = 0x003F
    IPV6 = 0x0057
    MPLS = 0x0281
    COMPRESSED = 0x00FD
    IPCP = 0x8021
    IPXCP = 0x802B
    ATCP = 0x8029
    NBFCP = 0x803F
    ECP = 0x8053
    IPV6CP = 0x8057
    CCP = 0x80FD
    MPLSCP = 0x8281
    LCP = 0xC021
    PAP = 0xC023
    LQR = 0xC025
    CBCP = 0xC029
    CHAP = 0xC223
    EAP = 0xC227


class ControlPacket(NamedTuple):
    code: int
    id: int
    data: bytes


def parse(information: bytes) -> ControlPacket | None:
    """The control packet in a frame's information; octets after its length are padding (RFC 1661 section 5).

    None when fewer octets are there than the header or its length field claim.
    """
    if len(information) < 4:
        return None
    code, identifier, length = HEADER.unpack_from(information)
    if not 4 <= length <= len(information):
        return None
    return ControlPacket(code, identifier, information[4:length])


def build(code: int, identifier: int, data: bytes = b"") -> bytes:
    return HEADER.pack(code, identifier, 4 + len(data)) + data


def split_protocol(frame: bytes) -> tuple[int, bytes]:
    """(protocol, information) of a deframed frame, its protocol field in one octet or two.

    An odd first octet is the whole field (RFC 1661 sections 2 and 6.5). An empty or cut field gives protocol 0.
    """
    if not frame:
        return 0, b""
    if frame[0] & 1:
        return frame[0], frame[1:]
    if len(frame) < 2:
        return 0, b""
    return frame[0] << 8 | frame[1], frame[2:]


def protocol_name(protocol: int) -> str:
    """'CCP' or, for a number without a name here, '0x80fb'."""
    try:
        return Protocol(protocol).name.replace("_", " ")
    except ValueError:
        return f"0x{protocol:04x}"


def printable(data: bytes, limit: int = 200) -> str:
    """A peer's text made safe for a terminal: at most `limit` octets, controls and the like as \\xNN."""
    text = "".join(chr(c) if 0x20 <= c < 0x7F and c != 0x5C else f"\\x{c:02x}" for c in data[:limit])
    return text + "..." if len(data) > limit else text


def name_of(names: Mapping[int, str], code: int) -> str:
    return names.get(code) or f"code {code}"


CODE_NAMES: dict[int, str] = {code: code.name.title().replace("_", "-") for code in Code}
"""How the codes of LCP and the NCPs are written in a trace and in counters."""

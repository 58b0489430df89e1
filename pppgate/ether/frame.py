"""Ethernet II frames: addresses, types, the 14 octets in front, the padding behind.

In and out: addresses as 6 octets, frames as bytes without preamble and FCS (IEEE 802.3 section 3).
Nothing here checks what a guest sent; callers compare lengths first.
"""

from string import hexdigits
from struct import Struct
from typing import Final

from nat.wire import ipv4
from pppgate.ether.links.port import FRAME_LEAST, HEADER

HEADER_FIELDS: Final = Struct("!6s6sH")
"""Destination, source, type."""
DESTINATION: Final = slice(0, 6)
SOURCE: Final = slice(6, 12)
TYPE: Final = slice(12, 14)
# Of an IPv4 packet in a frame, for the paths that look at nothing else of it.
IP_PROTOCOL: Final = HEADER + ipv4.PROTOCOL
IP_SOURCE: Final = slice(HEADER + ipv4.SOURCE.start, HEADER + ipv4.SOURCE.stop)
IP_DESTINATION: Final = slice(HEADER + ipv4.DESTINATION.start, HEADER + ipv4.DESTINATION.stop)

BROADCAST: Final = b"\xff" * 6
NOBODY: Final = bytes(6)
"""Not an address that a card may have."""

IPV4: Final = 0x0800
ARP: Final = 0x0806
VLANS: Final = frozenset((0x8100, 0x88A8))
"""IEEE 802.1Q: a customer's tag and a provider's."""
LENGTH_MOST: Final = 1500
"""Up to here the type field is the length of an IEEE 802.3 frame (section 3.2.6): NetBEUI, IPX, spanning tree."""


def header(destination: bytes, source: bytes, ethertype: int) -> bytes:
    return HEADER_FIELDS.pack(destination, source, ethertype)


def pad(frame: bytes) -> bytes:
    """The frame, no shorter than 60 octets (IEEE 802.3 section 3.2.8).  The padding is zeros, never old memory."""
    return frame if len(frame) >= FRAME_LEAST else frame.ljust(FRAME_LEAST, b"\0")


def is_group(mac: bytes) -> bool:
    """Whether the address is multicast or broadcast: no sender may have such a one."""
    return bool(mac[0] & 1)


def mac_text(mac: bytes) -> str:
    """6 octets as people write them: "52:54:00:12:34:56"."""
    return mac.hex(":")


def mac_key(mac: bytes) -> str:
    """By what a host is known whose card has this address: "ether 52:54:00:12:34:56"."""
    return f"ether {mac_text(mac)}"


def parse_mac(text: str) -> bytes:
    """A person's address of a card, with colons or hyphens: ValueError for anything else, and for a group's."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(0 < len(part) <= 2 and set(part) <= set(hexdigits) for part in parts):
        raise ValueError(f"{text!r} is not an Ethernet address; write one as 52:54:00:12:34:56.")
    mac = bytes(int(part, 16) for part in parts)
    if is_group(mac):
        raise ValueError(f"{text!r} is a group's Ethernet address; a card's begins with an even octet.")
    if mac == NOBODY:
        raise ValueError(f"{text!r} is nobody's Ethernet address; write one as 52:54:00:12:34:56.")
    return mac


def gateway_mac(address: bytes) -> bytes:
    """The address of the gateway's own card, made of its IPv4 address: a guest that keeps its ARP table over a restart
    of the gateway need not ask again.  Locally administered (IEEE 802 section 8.4)."""
    return b"\x52\x55" + address

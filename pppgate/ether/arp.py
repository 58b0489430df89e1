"""ARP for IPv4 on Ethernet (RFC 826): packets to and from the 28 octets behind the Ethernet header.

In: payloads as they came, padding and all.  Out: an Arp; what is not sound ARP for IPv4 on Ethernet is counted.
It keeps no table and decides nothing: whose address is whose is the segment's business.
"""

from collections import Counter
from struct import Struct
from typing import Final, NamedTuple

# RFC 826: hardware space, protocol space, their address lengths, operation; sender and target, hardware first.
PACKET: Final = Struct("!HHBBH6s4s6s4s")
REQUEST: Final = 1
REPLY: Final = 2

_ETHERNET_IPV4: Final = (1, 0x0800, 6, 4)
_NOBODY: Final = bytes(6)


class Arp(NamedTuple):
    operation: int
    sender_mac: bytes
    sender: bytes
    """IPv4.  0.0.0.0 in a probe (RFC 5227 section 1.1)."""
    target_mac: bytes
    """In a request: nobody knows, and it is ignored."""
    target: bytes
    """IPv4.  The sender's own in an announcement (RFC 5227 section 1.1)."""


def parse(payload: bytes, count: Counter[str]) -> Arp | None:
    """None, and counted: truncated, of other hardware or another protocol, or neither request nor reply."""
    if len(payload) >= PACKET.size:
        *kind, operation, sender_mac, sender, target_mac, target = PACKET.unpack_from(payload)
        if tuple(kind) == _ETHERNET_IPV4 and operation in (REQUEST, REPLY):
            return Arp(operation, sender_mac, sender, target_mac, target)
    count["arp.malformed"] += 1
    return None


def build(packet: Arp) -> bytes:
    return PACKET.pack(*_ETHERNET_IPV4, *packet)


def request(mac: bytes, sender: bytes, target: bytes) -> Arp:
    """Who has `target`?  Tell `sender` at `mac`."""
    return Arp(REQUEST, mac, sender, _NOBODY, target)


def reply(request: Arp, mac: bytes) -> Arp:
    """The address that was asked for is at `mac`."""
    return Arp(REPLY, mac, request.target, request.sender_mac, request.sender)

"""Frames in words, as `-v` shows them: ARP and DHCP in full, everything else by its addresses and length.

In: frames as they came, however wrong.  Out: one line of text.
"""

from typing import Final

from nat.wire.ipv4 import UDP, dotted
from pppgate.ether import arp, frame
from pppgate.ether.links.port import HEADER

# RFC 2132 section 9.6
_DHCP_TYPES: Final = ("?", "Discover", "Offer", "Request", "Decline", "Ack", "Nak", "Release", "Inform")
_TYPES: Final = {0x86DD: "IPv6", 0x8137: "IPX", 0x8100: "VLAN", 0x88A8: "VLAN", 0x88CC: "LLDP"}
_MAGIC: Final = b"\x63\x82\x53\x63"
_DHCP_PORTS: Final = (67, 68)


def is_control(octets: bytes) -> bool:
    """Whether `-v` shows the frame: ARP, DHCP."""
    return octets[12:14] == b"\x08\x06" or _is_dhcp(octets)


def describe(octets: bytes) -> str:
    if len(octets) < HEADER:
        return f"a frame of {len(octets)} octets"
    destination, source, kind = frame.HEADER_FIELDS.unpack_from(octets)
    way = f"{frame.mac_text(source)} > {frame.mac_text(destination)}"
    if kind == frame.ARP:
        return f"{way} {_describe_arp(octets[HEADER:])}"
    if _is_dhcp(octets):
        return f"{way} {_describe_dhcp(octets)}"
    if kind == frame.IPV4 and len(octets) >= HEADER + 20:
        return f"{way} IPv4 {dotted(octets[26:30])} > {dotted(octets[30:34])}, {len(octets)} octets"
    name = _TYPES.get(kind, "802.3" if kind <= frame.LENGTH_MOST else f"type {kind:#06x}")
    return f"{way} {name}, {len(octets)} octets"


def _describe_arp(payload: bytes) -> str:
    packet = arp.parse(payload)
    if packet is None:
        return "ARP, malformed"
    if packet.operation == arp.REQUEST:
        return f"ARP who has {dotted(packet.target)}? tell {dotted(packet.sender)}"
    return f"ARP {dotted(packet.sender)} is at {frame.mac_text(packet.sender_mac)}"


def _is_dhcp(octets: bytes) -> bool:
    if octets[12:14] != b"\x08\x00" or len(octets) < HEADER + 28 or octets[23] != UDP:
        return False
    head = HEADER + (octets[14] & 0x0F) * 4
    return int.from_bytes(octets[head + 2 : head + 4], "big") in _DHCP_PORTS


def _describe_dhcp(octets: bytes) -> str:
    message = octets[HEADER + (octets[14] & 0x0F) * 4 + 8 :]
    if len(message) < 240:
        return "BOOTP, truncated"
    name = _dhcp_type(message) if message[236:240] == _MAGIC else ""
    offered = message[16:20]
    has = message[12:16]
    words = [f"DHCP {name}" if name else f"BOOTP {'Request' if message[0] == 1 else 'Reply'}"]
    if any(offered):
        words.append(dotted(offered))
    if any(has):
        words.append(f"to {dotted(has)}" if message[0] == 2 else f"from {dotted(has)}")
    return " ".join(words)


def _dhcp_type(message: bytes) -> str:
    """Option 53, wherever it stands among the options (RFC 2131 section 3: not always the first)."""
    position = 240
    while position + 2 < len(message) and message[position] != 255:
        if message[position] == 0:
            position += 1
            continue
        if message[position] == 53:
            kind = message[position + 2]
            return _DHCP_TYPES[kind] if kind < len(_DHCP_TYPES) else f"type {kind}"
        position += 2 + message[position + 1]
    return ""

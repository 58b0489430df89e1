"""Frames in words, as `-v` shows them: ARP and DHCP in full, everything else by its addresses and length.

In: frames as they came, however wrong.  Out: one line of text.
"""

from collections import Counter
from typing import Final

from nat.wire.ipv4 import UDP, dotted, header_length
from nat.wire.udp import UDP_HEADER, destination_port
from pppgate.dhcp import message as dhcp
from pppgate.ether import arp, frame
from pppgate.ether.links.port import HEADER

# RFC 2132 section 9.6
_DHCP_TYPES: Final = ("?", "Discover", "Offer", "Request", "Decline", "Ack", "Nak", "Release", "Inform")
_TYPES: Final = {0x86DD: "IPv6", 0x8137: "IPX", 0x8100: "VLAN", 0x88A8: "VLAN", 0x88CC: "LLDP"}
_DHCP_PORTS: Final = (67, 68)


def is_control(octets: bytes) -> bool:
    """Whether `-v` shows the frame: ARP, DHCP."""
    return octets[frame.TYPE] == b"\x08\x06" or _is_dhcp(octets)


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
        ends = f"{dotted(octets[frame.IP_SOURCE])} > {dotted(octets[frame.IP_DESTINATION])}"
        return f"{way} IPv4 {ends}, {len(octets)} octets"
    name = _TYPES.get(kind, "802.3" if kind <= frame.LENGTH_MOST else f"type {kind:#06x}")
    return f"{way} {name}, {len(octets)} octets"


def _describe_arp(payload: bytes) -> str:
    packet = arp.parse(payload, Counter())  # the trace counts nothing
    if packet is None:
        return "ARP, malformed"
    if packet.operation == arp.REQUEST:
        return f"ARP who has {dotted(packet.target)}? tell {dotted(packet.sender)}"
    return f"ARP {dotted(packet.sender)} is at {frame.mac_text(packet.sender_mac)}"


def _is_dhcp(octets: bytes) -> bool:
    if octets[frame.TYPE] != b"\x08\x00" or len(octets) < HEADER + 28 or octets[frame.IP_PROTOCOL] != UDP:
        return False
    packet = octets[HEADER:]
    return destination_port(packet, header_length(packet)) in _DHCP_PORTS


def _describe_dhcp(octets: bytes) -> str:
    packet = octets[HEADER:]
    payload = packet[header_length(packet) + UDP_HEADER.size :]
    if len(payload) < dhcp.FIXED.size + len(dhcp.COOKIE):
        return "BOOTP, truncated"
    message = dhcp.parse(payload, Counter(), replies=True)  # the trace counts nothing
    if message is None:
        return "BOOTP, malformed"
    kind = message.options.get(dhcp.KIND)
    request = message.op == dhcp.BOOTREQUEST
    words = [f"DHCP {_kind(kind[0])}" if kind is not None else f"BOOTP {'Request' if request else 'Reply'}"]
    if any(message.yiaddr):
        words.append(dotted(message.yiaddr))
    if any(message.ciaddr):
        words.append(f"{'from' if request else 'to'} {dotted(message.ciaddr)}")
    return " ".join(words)


def _kind(kind: int) -> str:
    return _DHCP_TYPES[kind] if kind < len(_DHCP_TYPES) else f"type {kind}"

"""Scapy as an independent reader of packets that this project built."""

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, TCPerror, UDPerror
from scapy.packet import Raw

__all__ = ["ICMP", "IP", "TCP", "UDP", "ICMPerror", "IPerror", "Raw", "TCPerror", "UDPerror", "sound"]


def sound(packet: bytes) -> Any:
    """The packet as Scapy reads it, after Scapy has come to the same lengths and checksums by itself."""
    read = IP(packet)
    again = IP(packet)
    del again.chksum, again.len
    for layer in (ICMP, TCP, UDP):
        if layer in again and not (again.frag or again.flags.MF):
            del again[layer].chksum
    assert bytes(again) == packet
    return read

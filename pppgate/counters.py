"""The registry of counters: every name that anything of this process counts under, with a sentence each.

A name that is not here is not counted; tests see to it.  Each other room declares its own, in its own counters.py.
"""

from collections.abc import Mapping
from typing import Final

import ipcp.counters
import lcp.counters
import nat.counters
import serialport.counters

_OWN: Final[Mapping[str, str]] = {
    "loop.errors": "An error of our own was caught and written down.",
    "loop.muted": "A descriptor that kept failing was left alone for a while.",
    "guest.control_full": "A packet of a control protocol was dropped: too many wait for the line.",
    # Ethernet
    "ether.bad_length": "A stream announced a frame of an impossible length.",
    "ether.bad_source": "The source of a frame was no card's address, or ours.",
    "ether.empty": "A frame was empty.",
    "ether.forged_mac": "A card's address came from another cable than its own.",
    "ether.long": "A frame was too long.",
    "ether.macs_full": "A frame came from one card too many behind one cable.",
    "ether.neighbours_full": "There was no room for another IPv4 address behind one cable.",
    "ether.no_peer": "A frame was dropped: nobody is at the other end of the cable yet.",
    "ether.not_sent": "A frame could not be sent.",
    "ether.peer_full": "A frame was dropped: the other end of the cable takes no more now.",
    "ether.queue_full": "A frame was dropped: too much waits for the cable.",
    "ether.short": "A frame was too short.",
    "ether.unknown_type": "A frame to the router was neither ARP nor IPv4.",
    "ether.vlan": "A frame had a VLAN tag.",
    "arp.forged": "A card spoke for an address that is not its own.",
    "arp.malformed": "A packet was no sound ARP for IPv4 on Ethernet.",
    # DHCP
    "dhcp.chaddr": "A card spoke for another card.",
    "dhcp.ciaddr": "A client gave as its own an address that no host can have.",
    "dhcp.giaddr": "A message came through a relay agent, of which there can be none.",
    "dhcp.hardware": "A client was not on Ethernet.",
    "dhcp.kind": "A message was of a kind that is not for a server.",
    "dhcp.long": "A message was too long.",
    "dhcp.malformed": "A datagram to the server was not sound.",
    "dhcp.nak": "A client was told to ask anew.",
    "dhcp.no_address": "A client named no address where it has to.",
    "dhcp.none_free": "No address was free for a client.",
    "dhcp.not_its_own": "A client gave back, or declined, an address that is not its own.",
    "dhcp.nothing_to_lease": "A client asked while there was nothing to lease.",
    "dhcp.op": "A message to the server was no request.",
    "dhcp.option_length": "An option had a wrong length.",
    "dhcp.options": "An option was longer than the message.",
    "dhcp.other_server": "A client has chosen another server.",
    "dhcp.overload": "The option that says where more options are was wrong.",
    "dhcp.repeated": "A client repeated itself while its address was being decided on.",
    "dhcp.short": "A message was too short.",
    "dhcp.too_late": "A card had gone when its address was decided on.",
    "dhcp.too_many": "Too many clients wait for their addresses.",
    # Ethernet over PPP
    "bridge.declined": "A client found the address that it was given in use.",
    "bridge.error_not_sent": "An ICMP error was not sent: not due, or too many.",
    "bridge.error_sent": "An ICMP error was sent to a guest.",
    "bridge.forged": "A packet from the PPP server had the guest's own address as its source.",
    "bridge.link_down": "A guest's packet was dropped: there is no link.",
    "bridge.malformed": "A packet was no sound IPv4.",
    "bridge.nobody_there": "A packet from the PPP server came while no guest was there.",
    "bridge.not_the_guests": "A packet from the PPP server was not for the guest's address.",
    "bridge.old_address": "A guest's packet had an address that is not the agreed one.",
    "bridge.queue_full": "A guest's packet was dropped: too much waits for the PPP server.",
    # The NE2000
    "ne2k.bad_fcs": "The driver sent a frame with a wrong frame check sequence of its own.",
    "ne2k.bad_length": "A frame for the card had an impossible length.",
    "ne2k.closed": "The guest sent a frame when nobody was at the other end any more.",
    "ne2k.filtered": "A frame was not for the card.",
    "ne2k.long": "The guest sent a frame that was too long.",
    "ne2k.monitored": "A frame came while the card only watched.",
    "ne2k.not_listening": "A frame came while the card was stopped.",
    "ne2k.overrun": "A frame came while the card's ring was full.",
    "ne2k.queue_full": "A frame of the guest was dropped: too much waits already.",
    "ne2k.runt": "A frame was too short for the card.",
    "ne2k.short": "The guest sent a frame without a whole header.",
    "ne2k.transmit_outside": "The guest told the card to send from where there is no memory.",
    # Devices over vfio-user
    "vfio.access_size": "Refused: an access of an impossible size.",
    "vfio.capabilities": "Capabilities were not understood; the connection was ended.",
    "vfio.descriptor_count": "Refused: a wrong number of descriptors.",
    "vfio.interrupt_flags": "Refused: impossible flags of an interrupt.",
    "vfio.major_version": "The emulator speaks another version; the connection was ended.",
    "vfio.message_size": "A message had an impossible size; the connection was ended.",
    "vfio.no_such_interrupt": "Refused: no such interrupt.",
    "vfio.no_such_region": "Refused: no such region.",
    "vfio.no_version": "The emulator did not begin with its version; the connection was ended.",
    "vfio.not_a_request": "A message was an answer that nobody asked for.",
    "vfio.not_an_event": "Refused: a descriptor that is no event.",
    "vfio.out_of_range": "Refused: an access beyond the end of a region.",
    "vfio.second_version": "Refused: a version in the midst of the connection.",
    "vfio.short_message": "Refused: a message that is too short.",
    "vfio.short_version": "A version had no number; the connection was ended.",
    "vfio.stray_descriptors": "Descriptors came with a message that takes none.",
    "vfio.too_many_descriptors": "Too many descriptors came at once; the connection was ended.",
    "vfio.unknown_command": "Refused: an unknown command.",
}

COUNTERS: Final[Mapping[str, str]] = {
    **_OWN,
    **nat.counters.COUNTERS,
    **lcp.counters.COUNTERS,
    **ipcp.counters.COUNTERS,
    **serialport.counters.COUNTERS,
}
"""All of them."""

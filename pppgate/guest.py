"""One guest on one port: octets from the line become IP packets for the NAT, and the other way round.

In: a Port that is open, the Network that it joins.  Out: octets on the port, packets in a Station.
The packet path, top to bottom:

    in   on_readable -> port.read -> Deframer.feed -> PppLink.receive -> Station.receive
    out  Line.take -> Framer.frame -> port.write, once for all that a wake-up brought

It knows neither what the link negotiates nor what the NAT does with a packet.  `flush` ends every wake-up in which
something is to be sent; `deadline` and `tick` belong to the network's Deadlines.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ipcp.protocol import Ipcp
from lcp.hdlc import Deframer, Framer
from lcp.link import LinkParameters, PppLink
from nat.line import FLOW_LIMIT
from nat.station import Station
from serialport.meter import LineMeter
from serialport.port import HangUp, Port

if TYPE_CHECKING:
    from pppgate.wiring import Network

IP = 0x0021
READ_MOST = 64 * 1024  # octets that one wake-up takes from one guest before others get their turn
WRITES_MOST = 8  # and writes that it makes
CONTROL_MOST = 64  # control frames that may wait for a line that takes nothing


class Guest:
    """`key` names the guest in the address pool; `name` is what event lines call it."""

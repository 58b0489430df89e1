"""What a segment asks of a DHCP server, and what it is answered.

In: the payload of a datagram to UDP port 67, and who sent it.  Out: at most one Answer, which the segment puts into a
frame.  Neither side knows more of the other: pppgate.dhcp knows no segment, pppgate.ether no message of DHCP.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Answer(NamedTuple):
    payload: bytes
    """The message; empty: nothing is to be sent (the client gave its address back)."""
    address: bytes
    """To this IPv4 address, ..."""
    mac: bytes
    """... at this card."""
    said: str
    """A plain sentence for whoever watches; "": nothing worth saying."""
    key: str
    """By which the client's lease is known."""


Reply = Callable[[Answer, float], None]
"""Takes the answer to one message, and the time."""


class DhcpService(Protocol):
    def receive(self, payload: bytes, source_mac: bytes, source: bytes, now: float, reply: Reply) -> None:
        """One message from the card `source_mac`, sent from `source` (0.0.0.0 while it has no address).

        `reply` is called once at the most, before this returns or later.
        """

"""What the segment sees of an Ethernet guest's cable: a FramePort, handed out by an EtherLink.

A frame is an Ethernet II frame as bytes, from the destination address to the end of the payload, without preamble and
FCS (IEEE 802.3 section 3).  Its length is at least HEADER; ports drop shorter ones themselves, under a name in `count`.
An EtherLink is a serialport Link (same attributes, same life) whose ports carry frames instead of octets.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from serialport.port import Watcher

HEADER: Final = 14
"""Octets: destination, source, type."""
FRAME_LEAST: Final = 60
"""Octets without FCS; what is shorter is padded by who sends it (IEEE 802.3 section 3.2.8)."""
FRAME_MOST: Final = 9018
"""Octets without FCS: a jumbo frame with room for one VLAN tag.  What is longer is dropped and counted."""


class FramePort(Protocol):
    """One guest's cable.  The owner watches `fd` and calls `close()` once after HangUp (serialport.port)."""

    name: str
    """In words, for event lines: "/tmp/eth0#1", "127.0.0.1:50112"."""
    fd: int
    """Readable when frames wait, or the end does; writable when `send` would take more."""
    lossless: bool
    """Whether `send` refuses what the card has no room for (our own NE2000).  Elsewhere the emulator takes everything
    and its card drops what overruns the ring."""
    count: Counter[str]
    """What was dropped, by name."""

    def receive(self) -> list[bytes]:
        """The frames that are there now, up to about 64 KB of them; [] when there are none.  Raises HangUp after the
        last frame of a guest that left."""

    def send(self, frames: list[bytes]) -> int:
        """How many of the frames were taken, from the front; less than all when it would block.  Never raises: what is
        sent to a guest that has gone counts as taken."""

    def close(self) -> None:
        """Give the port back.  May be called twice."""


class EtherLink(Protocol):
    """What the user named: `ether:unix-listen:/tmp/eth0`.  As serialport.port.Link, but its ports carry frames."""

    url: str
    scheme: str
    """ "ether:unix-listen", "ether:dgram", ..., "ne2k:vfio-user"."""
    path: str
    description: str
    note: Callable[[str], None]
    ended: Callable[[], None]
    count: Counter[str]

    def report_to(self, note: Callable[[str], None], ended: Callable[[], None]) -> None: ...
    def start(self, watcher: Watcher, on_port: Callable[[FramePort], None]) -> None: ...
    def stop(self) -> None: ...

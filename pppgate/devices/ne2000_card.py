"""A PCI NE2000: an RTL8029, 32 octets of I/O, bound by every system's own NE2000 driver.

In:  register accesses; frames to its port.  Out: the chip's interrupt, and one FramePort to `on_port`, which hangs up
when the card is pulled out.  A guest that restarts keeps its cable.
"""

from collections.abc import Callable
from typing import Final

from pppgate.devices.pci import Identity
from pppgate.ether.links.port import FramePort
from pppgate.ne2000.card import PORTS
from pppgate.ne2000.port import Ne2000Port

IDENTITY: Final = Identity(vendor=0x10EC, device=0x8029, class_code=0x020000, subsystem_vendor=0x10EC, subsystem=0x8029)
"""RTL8029AS data sheet, section 6: class 02 00 00, an Ethernet controller."""


class Ne2000Card:
    identity = IDENTITY
    io_size = PORTS

    def __init__(
        self,
        name: str,
        interrupt: Callable[[bool], None],
        on_port: Callable[[FramePort], None],
        *,
        mac: bytes,
        memory: int,
    ) -> None:
        """Raises PortError when the process may open no more files."""
        port = Ne2000Port(name, mac, memory=memory, interrupt=interrupt)
        self.read = port.card.read
        self.write = port.card.write
        self.reset = port.card.reset
        self.close = port.unplug
        on_port(port)

"""A PCI card as its machine sees it: 256 octets of configuration space with a type 0 header, one I/O BAR, and INTx.

In:  identifiers, reads and writes of configuration space by offset and size.  Out: the octets; whether the guest has
turned INTx off.  Section numbers are those of the PCI Local Bus Specification 3.0.  It knows no card and no protocol.
"""

import struct
from dataclasses import dataclass
from typing import Final, Protocol

CONFIG_SIZE: Final = 256

COMMAND: Final = 0x04
STATUS: Final = 0x06
BAR0: Final = 0x10
INTERRUPT_LINE: Final = 0x3C
INTERRUPT_PIN: Final = 0x3D

COMMAND_WRITABLE: Final = 0x0001 | 0x0002 | 0x0004 | 0x0040 | 0x0100 | 0x0400
"""6.2.2: I/O space, memory space, bus master, parity response, SERR#, interrupt disable."""
INTX_DISABLE: Final = 0x0400
INTERRUPT_STATUS: Final = 0x0008
"""6.2.3: INTx is pending in the device, whether or not the command register lets it out."""
BAR_IS_IO: Final = 0x1
_HEADER: Final = struct.Struct("<HHHHB3sBBBB")
"""6.1: vendor, device, command, status, revision, class code, cache line, latency timer, header type, BIST."""


@dataclass(frozen=True)
class Identity:
    """What a driver binds to."""

    vendor: int
    device: int
    class_code: int
    """24 bits: base class, sub-class, programming interface."""
    subsystem_vendor: int = 0
    subsystem: int = 0
    revision: int = 0


class Card(Protocol):
    """What sits behind BAR 0. It was given `interrupt: Callable[[bool], None]` when it was made, for its INTx pin."""

    identity: Identity
    io_size: int
    """Octets of I/O space, a power of two from 4 up."""

    def read(self, offset: int, size: int) -> int:
        """`size` is 1, 2 or 4, and `offset + size` within `io_size`; little-endian."""

    def write(self, offset: int, value: int, size: int) -> None: ...
    def reset(self) -> None:
        """RST#: as after power-up."""

    def close(self) -> None:
        """The card is pulled out of its slot. May be called twice."""


class ConfigSpace:
    """Octets, and which bits of them a write changes (6.1: writes to the rest are done and have no effect)."""

    def __init__(self, identity: Identity, io_size: int) -> None:
        self.pending = False
        """Set by the owner: the level of INTx, before the guest's interrupt disable bit."""
        self._fresh = _fresh(identity)
        self._mask = bytearray(CONFIG_SIZE)
        struct.pack_into("<H", self._mask, COMMAND, COMMAND_WRITABLE)
        # 6.2.5.1: the address bits below the size read as zero, which is how software learns the size.
        struct.pack_into("<I", self._mask, BAR0, 0xFFFFFFFF & ~(io_size - 1) & ~0x3)
        self._mask[0x0C] = 0xFF  # cache line size
        self._mask[INTERRUPT_LINE] = 0xFF
        self._octets = bytearray(self._fresh)

    def reset(self) -> None:
        self._octets[:] = self._fresh

    @property
    def intx_disabled(self) -> bool:
        return bool(self._octets[COMMAND + 1] & INTX_DISABLE >> 8)

    @property
    def bar(self) -> int:
        """The I/O address that the guest has given BAR 0."""
        (value,) = struct.unpack_from("<I", self._octets, BAR0)
        return int(value) & ~0x3

    def read(self, offset: int, size: int) -> bytes:
        """The caller has seen to it that they lie within CONFIG_SIZE."""
        octets = self._octets
        octets[STATUS] = octets[STATUS] & ~INTERRUPT_STATUS | (INTERRUPT_STATUS if self.pending else 0)
        return bytes(octets[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        octets, mask = self._octets, self._mask
        for at, value in enumerate(data, offset):
            octets[at] = octets[at] & ~mask[at] | value & mask[at]


def _fresh(identity: Identity) -> bytes:
    octets = bytearray(CONFIG_SIZE)
    class_code = identity.class_code.to_bytes(3, "little")
    _HEADER.pack_into(octets, 0, identity.vendor, identity.device, 0, 0, identity.revision, class_code, 0, 0, 0, 0)
    struct.pack_into("<I", octets, BAR0, BAR_IS_IO)
    struct.pack_into("<HH", octets, 0x2C, identity.subsystem_vendor, identity.subsystem)
    octets[INTERRUPT_PIN] = 1  # INTA#
    return bytes(octets)

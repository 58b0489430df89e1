"""The NE2000: a DP8390 behind 32 I/O addresses, with RAM and a PROM that holds the station address.

In: I/O reads and writes at offsets 0 to 31 from the card's base, `reset()` for the bus's reset, frames for the guest.
Out: `interrupt(level)`, `transmit(frame)`, `room()` as in dp8390/chip.py.  What it does not know: PCI's configuration
space, interrupt numbers, time.

    0x00-0x0f  the chip's registers
    0x10-0x17  the data port, 8, 16 or 32 bits wide: remote DMA
    0x18-0x1f  reset, by a read or a write
    memory     0x0000-0x001f PROM, 16 octets each twice; 0x4000 up: RAM; everything else reads as ones

An access across several registers is as many of one octet.  To put the card into an emulator that lives in this
process, hand its port I/O to `read` and `write`, and let `interrupt` set the line:

    card = Ne2000(parse_mac("52:54:00:12:34:56"), interrupt=pic.set_irq3, transmit=frames.append, room=wake, front=ISA)
"""

from collections.abc import Callable
from typing import Final

from pppgate.ne2000.dp8390.chip import Dp8390
from pppgate.ne2000.dp8390.ring import Ring
from pppgate.ne2000.rtl8029 import Rtl8029

ISA: Final = "isa"
"""Novell's card: a plain DP8390."""
RTL8029: Final = "rtl8029"
"""The PCI card, which tells its name in page 0 and has a page 3."""

RAM_BASE: Final = 0x4000
RAM_SIZES: Final = (16384, 32768)
PROM_SIGNATURE: Final = b"\x57\x57"  # in a 16-bit card's octets 14 and 15; by this drivers know an NE2000

DATA: Final = 0x10
RESET: Final = 0x18
PORTS: Final = 32
NOTHING: Final = 0xFF


class Ne2000:
    """Raises ValueError for an address that is not six octets or a memory size that no card has."""

    def __init__(
        self,
        mac: bytes,
        *,
        memory: int = RAM_SIZES[0],
        front: str = RTL8029,
        interrupt: Callable[[bool], None],
        transmit: Callable[[bytes], None],
        room: Callable[[], None],
    ) -> None:
        if len(mac) != 6 or memory not in RAM_SIZES or front not in (ISA, RTL8029):
            raise ValueError(f"no NE2000 has address {mac.hex(':')!r}, {memory} octets of memory and front {front!r}")
        self.mac = mac
        self._memory_size = memory
        self._front = front
        self._callables = (interrupt, transmit, room)
        self._interrupt = interrupt
        self._room = room
        self._power_on()

    def _power_on(self) -> None:
        ring = Ring(RAM_BASE, self._memory_size)
        prom = self.mac + bytes(8) + PROM_SIGNATURE
        ring.memory[: 2 * len(prom)] = bytes(octet for octet in prom for _ in range(2))
        interrupt, transmit, room = self._callables
        self.chip = Dp8390(ring, interrupt=interrupt, transmit=transmit, room=room)
        if self._front == RTL8029:
            Rtl8029(self.chip)
        self._dma = self.chip.dma
        self._memory = ring.memory
        self.count = self.chip.count

    def reset(self) -> None:
        """The bus's reset, or power off and on: as new, memory included.  `count` goes on."""
        count = self.count
        self.chip.reset()  # lets go of the interrupt line, and of who waits for room
        self._power_on()
        count.update(self.count)
        self.count = self.chip.count = count

    def read(self, offset: int, size: int) -> int:
        """An I/O read of 1, 2 or 4 octets, lowest octet first."""
        if offset == DATA:
            dma = self._dma
            run = dma.read_run
            if 1 < size < run:  # the short cut: nothing ends or wraps here
                at = dma.address
                end = dma.address = at + size
                dma.count -= size
                dma.read_run = run - size
                return int.from_bytes(self._memory[at:end], "little")
            return dma.read(size)
        offset &= PORTS - 1
        if offset >= RESET:
            self.chip.reset()
            return (1 << 8 * size) - 1
        if offset > DATA:
            return self._dma.read(size)
        if size == 1:
            return self.chip.read(offset)
        value = 0
        for number in range(size):
            value |= self.read(offset + number, 1) << 8 * number
        return value

    def write(self, offset: int, value: int, size: int) -> None:
        if offset == DATA:
            dma = self._dma
            run = dma.write_run
            if 1 < size < run:
                at = dma.address
                end = dma.address = at + size
                dma.count -= size
                dma.write_run = run - size
                self._memory[at:end] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            else:
                dma.write(value, size)
            return
        offset &= PORTS - 1
        if offset >= RESET:
            self.chip.reset()
        elif offset > DATA:
            self._dma.write(value, size)
        elif size == 1:
            self.chip.write(offset, value & 0xFF)
        else:
            for number in range(size):
                self.write(offset + number, value >> 8 * number & 0xFF, 1)

    def receive(self, frame: bytes, *, force: bool = False) -> bool:
        """A frame for the guest, without FCS.  False: refused for want of room, and `room()` will be called; nothing is
        lost or counted.  force: what finds no room overruns the ring and is lost, as it is on hardware."""
        return self.chip.receive(frame, force=force)

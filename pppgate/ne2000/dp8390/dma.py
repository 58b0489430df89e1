"""The remote DMA of a DP8390: what moves octets between the card's memory and its data port (data sheet section 9).

In: the start address and count that the driver set, reads and writes of the data port.  Out: octets, and `done` when
the count has run out.  What it does not know: the other registers, packets.

An access of the data port moves one unit of the width that DCR.WTS sets, or as many as it is wide: 16 bits wide with
octets set moves two, 8 bits wide with words set moves one word and shows its lower half (which is how Linux and the
packet drivers read the PROM).  The address wraps from PSTOP to PSTART, so that a packet across the end of the ring is
read in one go.  What is read beyond the count is ones, and what is written beyond it is lost; an odd count of words
ends with a whole one.

`read_run` and `write_run` tell the card how far it may go straight in memory, without asking: they are 0 unless the
next octets are inside the count, short of PSTOP, and (written) in the RAM.
"""

from collections.abc import Callable
from typing import Final

from pppgate.ne2000.dp8390.ring import PAGE, Ring

IDLE: Final = 0
READING: Final = 1
WRITING: Final = 2


class RemoteDma:
    def __init__(self, ring: Ring, done: Callable[[], None]) -> None:
        self._ring = ring
        self._done = done
        self.address = 0
        self.count = 0
        self.unit = 1
        """Octets: 1, or 2 when DCR.WTS is set."""
        self.way = IDLE
        self.read_run = 0
        self.write_run = 0

    def start(self, way: int) -> None:
        """With a count of 0 there is nothing to do, and that is done at once."""
        self.way = way
        self.settle()
        if not self.count:
            self._finish()

    def settle(self) -> None:
        """Something that the runs depend on has changed."""
        self.read_run = self.write_run = 0
        ring = self._ring
        run = self.count
        end = (ring.stop or PAGE) * PAGE  # 0 is 256: the page counter has eight bits
        if self.address < end:
            run = min(run, end - self.address)
        if self.way == READING:
            self.read_run = min(run, len(ring.memory) - self.address)
        elif self.way == WRITING and ring.low <= self.address < ring.high:
            self.write_run = min(run, ring.high - self.address)

    def read(self, size: int) -> int:
        """An access `size` octets wide, lowest octet first, without the short cut."""
        value = 0
        memory = self._ring.memory
        for shift in range(0, 8 * size, 8 * self.unit):
            for at in range(self.unit):
                octet = memory[(self.address + at) & 0xFFFF] if self.way == READING else 0xFF
                value |= octet << shift + 8 * at
            if self.way == READING:
                self._advance()
        return value & (1 << 8 * size) - 1

    def write(self, value: int, size: int) -> None:
        ring = self._ring
        for shift in range(0, 8 * size, 8 * self.unit):
            if self.way != WRITING:
                return
            for at in range(self.unit):
                address = (self.address + at) & 0xFFFF
                if ring.low <= address < ring.high:
                    ring.memory[address] = value >> shift + 8 * at & 0xFF
            self._advance()

    def _advance(self) -> None:
        ring = self._ring
        end = (ring.stop or PAGE) * PAGE
        following = self.address + self.unit
        if self.address < end <= following:
            following += ring.start * PAGE - end
        self.address = following & 0xFFFF
        self.count = max(0, self.count - self.unit)
        if self.count:
            self.settle()
        else:
            self._finish()

    def _finish(self) -> None:
        self.way = IDLE
        self.read_run = self.write_run = 0
        self._done()

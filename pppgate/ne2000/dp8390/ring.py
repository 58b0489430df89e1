"""The memory that a DP8390 sees, and the receive ring in it (data sheet section 7).

In: packets with their FCS, and the page registers that the driver sets.  Out: packets in the ring, each behind a
header of four octets (status, next page, length with FCS and without header), and what a driver placed for sending.
What it does not know: addresses on the network, interrupts, remote DMA.

The card's RAM is a window in 64 KB of address space.  What lies outside it is the PROM and a bus that nobody drives:
it reads as ones and cannot be written, whatever the page registers say.
"""

from typing import Final

PAGE: Final = 256
HEADER: Final = 4
ADDRESS_SPACE: Final = 65536


class Ring:
    """Pages `start` up to but not including `stop`.  The chip fills at `current`, the driver empties behind `boundary`.

    A packet is taken only if `current` does not come to stand on `boundary`, so that the two are equal only where the
    driver made them so, and that is an empty ring.  (The chip itself cannot tell a full ring from an empty one.)
    `boundary` counts modulo the ring: Linux sets it to `start - 1` when `stop - 1` is meant.
    """

    def __init__(self, low: int, size: int) -> None:
        """RAM of `size` octets at the address `low`; the rest of `memory` may be given contents by the card."""
        self.low = low
        self.high = low + size
        self.memory = bytearray(b"\xff") * ADDRESS_SPACE
        self.memory[low : self.high] = bytes(size)
        self.start = 0
        self.stop = 0
        self.boundary = 0
        self.current = 0
        self.local = 0
        """The address after the last octet that was stored (CLDA)."""

    @staticmethod
    def pages(packet: int) -> int:
        """How many a packet of so many octets, FCS included, takes."""
        return (packet + HEADER + PAGE - 1) // PAGE

    @property
    def sane(self) -> bool:
        return self.start <= self.current < self.stop

    def fits(self, pages: int) -> bool:
        size = self.stop - self.start
        return self.sane and pages < ((self.boundary - self.current) % size or size)

    def may_fit(self, pages: int) -> bool:
        """Whether the driver can make room for so many by reading alone, leaving `boundary` one page behind."""
        return self.sane and pages < self.stop - self.start - 1

    @property
    def unread(self) -> bool:
        """Whether packets wait, for a driver that keeps `boundary` at the next packet or one page behind it."""
        return self.sane and (self.current - self.boundary) % (self.stop - self.start) > 1

    def place(self, packet: bytes, status: int, swap: bool) -> None:
        """Store a packet that fits: at most two copies, and nothing outside the RAM."""
        length = len(packet)
        following = self.current + self.pages(length)
        if following >= self.stop:
            following -= self.stop - self.start
        data = bytes((status, following, length & 0xFF, length >> 8)) + packet
        if swap:
            data = data[:2] + swapped(data)[2:]
        at = self.current * PAGE
        before_wrap = self.stop * PAGE - at
        self._store(at, data[:before_wrap])
        self.local = at + len(data)
        if len(data) >= before_wrap:
            self._store(self.start * PAGE, data[before_wrap:])
            self.local = self.start * PAGE + len(data) - before_wrap
        self.current = following

    def _store(self, at: int, data: bytes) -> None:
        first = max(at, self.low)
        end = min(at + len(data), self.high)
        if first < end:
            self.memory[first:end] = data[first - at : end - at]

    def fetch(self, at: int, size: int, swap: bool) -> bytes | None:
        """`size` octets for sending; None if they do not lie in the RAM.  The ring's end means nothing here."""
        if not self.low <= at <= self.high - size:
            return None
        if swap:
            return swapped(bytes(self.memory[at : at + size + (size & 1)]))[:size]
        return bytes(self.memory[at : at + size])


def swapped(data: bytes) -> bytes:
    """The octets of each word exchanged; one octet is added to make the last word whole."""
    out = bytearray(data)
    if len(out) & 1:
        out.append(0)
    out[::2], out[1::2] = out[1::2], out[::2]
    return bytes(out)

"""An NE2000 on the bench: what it transmitted, its interrupt line, and drivers as the guests' are, in small.

The drivers are written from what those of Linux (PCI and ISA), the BSDs and the DOS packet drivers do with the card's
registers: the order of accesses, their widths, and where each keeps the boundary.
"""

from pppgate.ne2000.card import RTL8029, Ne2000
from pppgate.ne2000.dp8390.bits import ISR_OVW, ISR_PRX, ISR_PTX, ISR_RDC, ISR_RXE, ISR_TXE
from pppgate.ne2000.dp8390.ring import PAGE

MAC = bytes.fromhex("525400123456")
PEER = bytes.fromhex("525400abcdef")
TX_PAGE, RING, STOP = 0x40, 0x4C, 0x80

# Register offsets, page 0 (read | written).
CR, PSTART, PSTOP, BNRY, TSR, NCR, FIFO, ISR = range(8)
CLDA0, CLDA1 = 1, 2
TPSR, TBCR0, TBCR1 = 4, 5, 6
CRDA0, CRDA1, RSAR0, RSAR1, RBCR0, RBCR1 = 8, 9, 8, 9, 10, 11
RSR, CNTR0, CNTR1, CNTR2 = 12, 13, 14, 15
RCR, TCR, DCR, IMR = 12, 13, 14, 15
# Page 1.
PAR0, CURR, MAR0 = 1, 7, 8
DATA, RESET = 0x10, 0x1F
# Command register values.
STOP0, START0, STOP1, START1, STOP2, START2, START3 = 0x21, 0x22, 0x61, 0x62, 0xA1, 0xA2, 0xE2
READ, WRITE, SEND_PACKET, TRANSMIT = 0x0A, 0x12, 0x1A, 0x26
WORDS, BYTES = 0x49, 0x48


def frame(size: int = 60, to: bytes = MAC, seed: int = 1) -> bytes:
    """A frame of so many octets without FCS, different for each seed."""
    payload = b"".join((seed * 2654435761 + at & 0xFFFFFFFF).to_bytes(4, "big") for at in range(size // 4))
    return (to + PEER + b"\x08\x00" + payload)[:size]


class Bench:
    """A card, everything that came out of it, and short names for its registers."""

    def __init__(self, front: str = RTL8029, memory: int = 16384) -> None:
        self.sent: list[bytes] = []
        self.edges: list[bool] = []
        self.rooms = 0
        self.card = Ne2000(
            MAC, memory=memory, front=front, interrupt=self.edges.append, transmit=self.sent.append, room=self._room
        )

    def _room(self) -> None:
        self.rooms += 1

    @property
    def line(self) -> bool:
        return bool(self.edges) and self.edges[-1]

    def inb(self, offset: int) -> int:
        return self.card.read(offset, 1)

    def out(self, *pairs: tuple[int, int]) -> None:
        for offset, value in pairs:
            self.card.write(offset, value, 1)

    def remote(self, command: int, address: int, count: int) -> None:
        self.out(
            (CR, START0), (RBCR0, count & 0xFF), (RBCR1, count >> 8), (RSAR0, address & 0xFF), (RSAR1, address >> 8)
        )
        self.out((CR, command))

    def load(self, address: int, count: int, size: int = 2) -> bytes:
        """Read card memory by remote DMA, in accesses of `size`."""
        self.remote(READ, address, count)
        data = b"".join(self.card.read(DATA, size).to_bytes(size, "little") for _ in range(-(-count // size)))
        self.out((ISR, ISR_RDC))
        return data[:count]

    def store(self, address: int, data: bytes, size: int = 2) -> None:
        self.remote(WRITE, address, len(data))
        for at in range(0, len(data), size):
            self.card.write(DATA, int.from_bytes(data[at : at + size], "little"), size)

    def current(self) -> int:
        self.out((CR, START1))
        value = self.inb(CURR)
        self.out((CR, START0))
        return value

    def set_up(
        self, *, dcr: int = WORDS, rcr: int = 4, imr: int = 0x3F, start: int = RING, stop: int = STOP, curr: int = 0
    ) -> "Bench":
        """Section 11's initialization, in its order; the driver's own way of it in `initialize` below."""
        self.out((CR, STOP0), (DCR, dcr), (RBCR0, 0), (RBCR1, 0), (RCR, rcr), (TCR, 2), (PSTART, start))
        self.out((BNRY, start), (PSTOP, stop), (ISR, 0xFF), (IMR, imr), (CR, STOP1))
        self.out(*((PAR0 + at, octet) for at, octet in enumerate(MAC)), *((MAR0 + at, 0) for at in range(8)))
        self.out((CURR, curr or start + 1), (CR, START0), (TCR, 0))
        return self


class LinuxDriver:
    """8390 on PCI: 32-bit data port, boundary a page behind, nine packets an interrupt and PRX acknowledged after."""

    dcr = WORDS
    batch = 9

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.received: list[bytes] = []
        self.bad: list[tuple[int, int, int]] = []
        self.overruns = 0
        self.tx_errors = 0
        self.missed = 0

    def probe(self) -> bytes:
        """The station address; raises LookupError where the driver would say that there is no card."""
        bench = self.bench
        if bench.inb(CR) == 0xFF:
            raise LookupError("nothing there")
        bench.out((CR, STOP1))
        bench.inb(0x0D)
        bench.out((0x0D, 0xFF), (CR, 0x20))
        bench.inb(CNTR0)
        if bench.inb(CNTR0):
            raise LookupError("no 8390")
        bench.out((RESET, bench.inb(RESET)))
        if not bench.inb(ISR) & 0x80:
            raise LookupError("no reset ack")
        bench.out((ISR, 0xFF), (CR, STOP0), (DCR, WORDS), (RBCR0, 0), (RBCR1, 0), (IMR, 0), (ISR, 0xFF))
        bench.out((RCR, 0x20), (TCR, 0x02), (RBCR0, 32), (RBCR1, 0), (RSAR0, 0), (RSAR1, 0), (CR, READ))
        prom = bytes(bench.inb(DATA) for _ in range(32))  # a word each, its lower half
        bench.out((DCR, WORDS))
        return prom[:6]

    def initialize(self) -> None:
        bench = self.bench
        bench.out((CR, STOP0), (DCR, self.dcr), (RBCR0, 0), (RBCR1, 0), (RCR, 0x20), (TCR, 0x02), (TPSR, TX_PAGE))
        bench.out((PSTART, RING), (BNRY, STOP - 1), (PSTOP, STOP), (ISR, 0xFF), (IMR, 0), (CR, STOP1))
        bench.out(*((PAR0 + at, octet) for at, octet in enumerate(MAC)))
        assert [bench.inb(PAR0 + at) for at in range(6)] == list(MAC)
        bench.out((CURR, RING), (CR, STOP0), (ISR, 0xFF), (IMR, 0x3F), (CR, START0), (TCR, 0))
        bench.out((RCR, 0x20), (CR, 0x60), *((MAR0 + at, 0) for at in range(8)), (CR, 0x20), (RCR, 4))

    def transmit(self, data: bytes) -> None:
        bench = self.bench
        count = len(data) + (len(data) & 1)
        padded = data + bytes(4)
        bench.out((CR, START0))
        bench.remote(READ, 0x42, 0x42)  # the packet drivers' remedy for a bug of the first chips
        bench.out((ISR, ISR_RDC))
        bench.remote(WRITE, TX_PAGE * PAGE, count)
        for at in range(0, count & ~3, 4):
            bench.card.write(DATA, int.from_bytes(padded[at : at + 4], "little"), 4)
        if count & 2:
            bench.card.write(DATA, int.from_bytes(padded[count & ~3 :][:2], "little"), 2)
        assert bench.inb(ISR) & ISR_RDC
        bench.out((ISR, ISR_RDC), (CR, 0x20), (TBCR0, len(data) & 0xFF), (TBCR1, len(data) >> 8), (TPSR, TX_PAGE))
        bench.out((CR, TRANSMIT))

    def interrupt(self) -> None:
        """The handler, as long as it goes round; as often as the line asks for it, but bounded."""
        for _ in range(100):
            if not self.bench.line:
                return
            self._service()
        raise AssertionError("the interrupt line does not fall")

    def _service(self) -> None:
        bench = self.bench
        bench.out((CR, 0x20))
        for _ in range(12):
            isr = bench.inb(ISR)
            if not isr:
                return
            if isr & ISR_OVW:
                self._overrun()
            elif isr & (ISR_PRX | ISR_RXE):
                self._receive()
            if isr & ISR_PTX:
                assert bench.inb(TSR) & 1
                bench.out((ISR, ISR_PTX))
            elif isr & ISR_TXE:
                self.tx_errors += 1
                bench.out((ISR, ISR_TXE))
            if isr & 0x20:
                bench.inb(CNTR0), bench.inb(CNTR1)
                self.missed += bench.inb(CNTR2)
                bench.out((ISR, 0x20))
            bench.out((ISR, ISR_RDC), (CR, START0))
        bench.out((ISR, 0x3F))

    def _receive(self) -> None:
        bench = self.bench
        for _ in range(self.batch):
            bench.out((CR, 0x60))
            current = bench.inb(CURR)
            bench.out((CR, 0x20))
            this = bench.inb(BNRY) + 1
            if this >= STOP:
                this = RING
            if this == current:
                break
            self._take(this)
        bench.out((ISR, ISR_PRX | ISR_RXE))

    def _take(self, this: int) -> None:
        bench = self.bench
        bench.remote(READ, this * PAGE, 4)
        header = bench.card.read(DATA, 4).to_bytes(4, "little")
        bench.out((ISR, ISR_RDC))
        status, following, count = header[0], header[1], int.from_bytes(header[2:], "little") - 4
        expected = this + 1 + (count + 4 >> 8)
        ring = STOP - RING
        if following not in (expected, expected + 1, expected - ring, expected + 1 - ring):
            self.bad.append((status, following, count))
        if 60 <= count <= 1518 and status & 0x0F == 1:
            self.received.append(self._block_input(count, this * PAGE + 4))
        else:
            self.bad.append((status, following, count))
        bench.out((BNRY, following - 1))  # RING - 1 when the next packet is at the ring's start

    def _block_input(self, count: int, address: int) -> bytes:
        bench = self.bench
        bench.remote(READ, address, count)
        data = b"".join(bench.card.read(DATA, 4).to_bytes(4, "little") for _ in range(count >> 2))
        if count & 2:
            data += bench.card.read(DATA, 2).to_bytes(2, "little")
        if count & 1:
            data += bytes((bench.inb(DATA),))
        bench.out((ISR, ISR_RDC))
        return data

    def _overrun(self) -> None:
        bench = self.bench
        self.overruns += 1
        transmitting = bench.inb(CR) & 4
        bench.out((CR, STOP0), (RBCR0, 0), (RBCR1, 0))
        resend = transmitting and not bench.inb(ISR) & (ISR_PTX | ISR_TXE)
        bench.out((TCR, 2), (CR, START0))
        self._receive()
        bench.out((ISR, ISR_OVW), (TCR, 0))
        if resend:
            bench.out((CR, TRANSMIT))


class IsaDriver(LinuxDriver):
    """Linux on ISA: finds out the width from the PROM; 16-bit data port."""

    def probe(self) -> bytes:
        return _probe_by_prom(self.bench)

    def _block_input(self, count: int, address: int) -> bytes:
        return _words_input(self.bench, count, address)


def _probe_by_prom(bench: Bench) -> bytes:
    bench.out((RESET, bench.inb(RESET)))
    if not bench.inb(ISR) & 0x80:
        raise LookupError("no reset ack")
    bench.out((ISR, 0xFF), (CR, STOP0), (DCR, BYTES), (RBCR0, 0), (RBCR1, 0), (IMR, 0), (ISR, 0xFF))
    bench.out((RCR, 0x20), (TCR, 0x02), (RBCR0, 32), (RBCR1, 0), (RSAR0, 0), (RSAR1, 0), (CR, READ))
    prom = bytes(bench.inb(DATA) for _ in range(32))
    if prom[::2] != prom[1::2] or prom[28:] != b"\x57" * 4:
        raise LookupError("no NE2000")
    bench.out((DCR, WORDS))
    return prom[:12:2]


def _words_input(bench: Bench, count: int, address: int) -> bytes:
    bench.remote(READ, address, count)
    data = b"".join(bench.card.read(DATA, 2).to_bytes(2, "little") for _ in range(count >> 1))
    if count & 1:
        data += bytes((bench.inb(DATA),))
    bench.out((ISR, ISR_RDC))
    return data


class BsdDriver(LinuxDriver):
    """Boundary a page behind, but never outside the ring; acknowledges first, then reads until the ring is empty."""

    def probe(self) -> bytes:
        """Finds the memory by writing: at 8 KB in octets (NE1000: must fail), at 16 KB in words."""
        bench = self.bench
        bench.out((RESET, bench.inb(RESET)), (CR, STOP0))
        if bench.inb(CR) & 0x27 != 0x21 or not bench.inb(ISR) & 0x80:
            raise LookupError("no 8390")
        pattern = b"THIS is A memory TEST pattern\0\0\0"
        bench.out((CR, START0), (DCR, BYTES), (PSTART, 0x20), (PSTOP, 0x40), (IMR, 0))
        bench.store(0x2000, pattern, 1)
        if bench.load(0x2000, len(pattern), 1) == pattern:
            raise LookupError("an NE1000")
        bench.out((DCR, WORDS), (PSTART, 0x40), (PSTOP, 0x80))
        bench.store(0x4000, pattern)
        if not bench.inb(ISR) & ISR_RDC or bench.load(0x4000, len(pattern)) != pattern:
            raise LookupError("no memory")
        return bench.load(0, 16)[::2][:6]

    def _service(self) -> None:
        bench = self.bench
        bench.out((CR, START0))
        for _ in range(100):
            isr = bench.inb(ISR) & 0x3F
            if not isr:
                return
            bench.out((ISR, isr))
            if isr & ISR_OVW:
                self.overruns += 1
                self.missed += bench.inb(CNTR2)
                bench.out((CR, STOP0), (RBCR0, 0), (RBCR1, 0), (TCR, 2), (CR, START0), (TCR, 0))
            if isr & (ISR_PRX | ISR_RXE | ISR_OVW):
                self._receive()

    def _receive(self) -> None:
        bench = self.bench
        while (this := self._next()) != bench.current():
            self._take(this)

    def _next(self) -> int:
        following = self.bench.inb(BNRY) + 1
        return RING if following >= STOP else following

    def _take(self, this: int) -> None:
        bench = self.bench
        super()._take(this)
        if bench.inb(BNRY) < RING:
            bench.out((BNRY, STOP - 1))


class PacketDriver(BsdDriver):
    """16-bit data port; keeps its place itself and the boundary right on the next packet, so that an empty ring has
    both pointers on one page, as the chip's first data sheet sets it up."""

    def probe(self) -> bytes:
        return _probe_by_prom(self.bench)

    def initialize(self) -> None:
        super().initialize()
        self.place = RING
        self.bench.out((BNRY, RING))

    def _next(self) -> int:
        return self.place

    def _take(self, this: int) -> None:
        LinuxDriver._take(self, this)
        self.place = self.bench.inb(BNRY) + 1
        self.bench.out((BNRY, self.place))

    def _block_input(self, count: int, address: int) -> bytes:
        return _words_input(self.bench, count, address)


DRIVERS = [LinuxDriver, IsaDriver, BsdDriver, PacketDriver]

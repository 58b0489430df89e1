"""The DP8390D network interface controller, by register (National Semiconductor's data sheet, with its sections).

In: register reads and writes, frames from the network.  Out: `interrupt(level)` when the line changes,
`transmit(frame)`, and `room()` when a frame that was refused would be taken.  Frames have no FCS here; the chip makes
one for the ring, where drivers expect it.  What it does not know: the card around it, time.

Everything happens at once: a packet is on the network when the command register has been written, without collisions
(NCR is 0), and what the driver never sees is not modeled: FIFO thresholds, the back-off of TCR.OFST, the automatic
transmit disable of TCR.ATD, bus states.

Where the network can wait, `receive` refuses a frame that the ring has no room for, instead of losing it.  Two things
follow for PRX, which otherwise tells of a packet's arrival and no more.  A refused frame raises it too, since it has
arrived in front of a full ring.  And a driver that acknowledges it after having read some packets, but not all, gets it
again: Linux reads nine an interrupt, acknowledges last, and on a quiet network would leave the rest lying.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final
from zlib import crc32

from pppgate.ether.links.port import FRAME_LEAST, FRAME_MOST, HEADER
from pppgate.ne2000.dp8390.bits import (
    CR_PAGE_SHIFT,
    CR_RD_SHIFT,
    CR_STA,
    CR_STP,
    CR_TXP,
    DCR_ARM,
    DCR_BOS,
    DCR_LAS,
    DCR_WTS,
    IMR_ALL,
    ISR_CNT,
    ISR_OVW,
    ISR_PRX,
    ISR_PTX,
    ISR_RDC,
    ISR_RST,
    ISR_RXE,
    ISR_TXE,
    RCR_AR,
    RCR_MON,
    RCR_SEP,
    RD_ABORT,
    RD_READ,
    RD_SEND,
    RD_WRITE,
    RSR_CRC,
    RSR_DIS,
    RSR_FAE,
    RSR_MPA,
    RSR_PHY,
    RSR_PRX,
    TCR_CRC,
    TCR_LOOP,
    TCR_LOOP_SHIFT,
    TSR_FU,
    TSR_PTX,
)
from pppgate.ne2000.dp8390.dma import IDLE, READING, WRITING, RemoteDma
from pppgate.ne2000.dp8390.filter import Filter
from pppgate.ne2000.dp8390.loopback import LoopFifo
from pppgate.ne2000.dp8390.ring import PAGE, Ring

FCS: Final = 4
TALLY_MOST: Final = 192
"""Where the tally counters stop counting (section 10)."""
TALLY_ALARM: Final = 128
OPEN_BUS: Final = 0xFF
"""What a register reads that is not there."""
MISSED: Final = 2

Reader = Callable[[], int]
Writer = Callable[[int], None]


class Dp8390:
    """`readers[page][offset]` and `writers[page][offset]` are the registers; a card may put its own among them."""

    def __init__(
        self,
        ring: Ring,
        *,
        interrupt: Callable[[bool], None],
        transmit: Callable[[bytes], None],
        room: Callable[[], None],
    ) -> None:
        self.count: Counter[str] = Counter()
        self.ring = ring
        self.filter = Filter()
        self.dma = RemoteDma(ring, self._dma_done)
        self.fifo = LoopFifo()
        self._interrupt = interrupt
        self._transmit = transmit
        self._room = room
        self.running = False
        self.page = 0
        self._remote_command = RD_ABORT
        self._sending = False  # the remote DMA empties the ring by itself
        self._next_packet = 0  # where it goes on: the remote next packet pointer
        self.isr = ISR_RST
        self.imr = 0
        self.dcr = DCR_LAS
        self.tcr = 0
        self.tsr = 0
        self.rsr = 0
        self.tpsr = 0
        self.tbcr = 0
        self.tally = [0, 0, 0]
        self._line = False
        self._progress = False  # the driver has read packets since PRX was raised
        self._refused = 0  # pages that the frame wants which was refused; 0: none
        self.readers: list[list[Reader]] = [[_open_bus] * 16 for _ in range(4)]
        self.writers: list[list[Writer]] = [[_nothing] * 16 for _ in range(4)]
        self._wire_up()

    # -- registers

    def read(self, offset: int) -> int:
        """Register 0 to 15 of the page that the command register selects."""
        return self.readers[self.page][offset]()

    def write(self, offset: int, value: int) -> None:
        self.writers[self.page][offset](value)

    def reset(self) -> None:
        """The RESET pin (section 11).  It leaves the memory, the ring's registers and the counters as they are."""
        self.running = False
        self.page = 0
        self._remote_command = RD_ABORT
        self.dma.way = IDLE
        self.dma.settle()
        self.isr |= ISR_RST
        self.imr = 0
        self.dcr |= DCR_LAS
        self.tcr &= ~TCR_LOOP
        self._update()
        self._ask()

    def _wire_up(self) -> None:
        for page in range(4):
            self.readers[page][0] = self._read_command
            self.writers[page][0] = self._write_command
        self._wire_page_0()
        self._wire_page_1()
        self._wire_page_2()

    def _wire_page_0(self) -> None:
        ring, dma = self.ring, self.dma
        self.readers[0][1:] = [
            lambda: ring.local & 0xFF,
            lambda: ring.local >> 8 & 0xFF,
            lambda: ring.boundary,
            lambda: self.tsr,
            lambda: 0,  # NCR
            self.fifo.read,
            lambda: self.isr,
            lambda: dma.address & 0xFF,
            lambda: dma.address >> 8,
            _open_bus,
            _open_bus,
            lambda: self.rsr | (RSR_DIS if self.filter.rcr & RCR_MON else 0),
            *(partial(self._read_tally, number) for number in range(3)),
        ]
        self.writers[0][1:] = [
            partial(self._write_ring, "start"),
            partial(self._write_ring, "stop"),
            self._write_boundary,
            partial(setattr, self, "tpsr"),
            partial(self._write_half, self, "tbcr", 0),
            partial(self._write_half, self, "tbcr", 8),
            self._write_isr,
            partial(self._write_half, dma, "address", 0),
            partial(self._write_half, dma, "address", 8),
            partial(self._write_half, dma, "count", 0),
            partial(self._write_half, dma, "count", 8),
            self._write_rcr,
            self._write_tcr,
            self._write_dcr,
            self._write_imr,
        ]

    def _wire_page_1(self) -> None:
        chosen = self.filter
        for number in range(6):
            self.readers[1][1 + number] = partial(lambda at: chosen.station[at], number)
            self.writers[1][1 + number] = partial(self._write_station, number)
        self.readers[1][7] = lambda: self.ring.current
        self.writers[1][7] = partial(self._write_ring, "current")
        for number in range(8):
            self.readers[1][8 + number] = partial(chosen.multicast.__getitem__, number)
            self.writers[1][8 + number] = partial(chosen.multicast.__setitem__, number)

    def _wire_page_2(self) -> None:
        """Diagnostics.  What is read of the configuration has ones where no bit is; nothing here can be written."""
        ring = self.ring
        self.readers[2][1:8] = [
            lambda: ring.start,
            lambda: ring.stop,
            lambda: self._next_packet,
            lambda: self.tpsr,
            lambda: ring.current,  # the local next packet pointer, between packets
            lambda: ring.local >> 8 & 0xFF,
            lambda: ring.local & 0xFF,
        ]
        self.readers[2][12:16] = [
            lambda: self.filter.rcr | 0xC0,
            lambda: self.tcr | 0xE0,
            lambda: self.dcr | 0x80,
            lambda: self.imr,
        ]

    def _write_half(self, where: object, name: str, shift: int, value: int) -> None:
        setattr(where, name, getattr(where, name) & 0xFF00 >> shift | value << shift)
        self.dma.settle()

    def _write_ring(self, name: str, value: int) -> None:
        setattr(self.ring, name, value)
        self.dma.settle()
        self._ask()

    def _write_boundary(self, value: int) -> None:
        """Packets have been read: whatever an overflow left is over (section 10, ISR)."""
        self._progress = self._progress or value != self.ring.boundary
        self.ring.boundary = value
        if self.running:
            self.isr &= ~ISR_RST
        self._ask()

    def _write_station(self, number: int, value: int) -> None:
        station = bytearray(self.filter.station)
        station[number] = value
        self.filter.station = bytes(station)

    def _write_rcr(self, value: int) -> None:
        self.filter.rcr = value & 0x3F
        self._ask()

    def _write_tcr(self, value: int) -> None:
        self.tcr = value & 0x1F
        self._ask()

    def _write_dcr(self, value: int) -> None:
        self.dcr = value & 0x7F
        self.dma.unit = 2 if value & DCR_WTS else 1
        self.dma.settle()

    def _write_imr(self, value: int) -> None:
        self.imr = value & IMR_ALL
        self._update()

    def _write_isr(self, value: int) -> None:
        """A one acknowledges, except at RST.  When PRX is raised again the line falls first: on ISA edges count."""
        self.isr &= ~(value & IMR_ALL)
        self._update()
        if value & ISR_PRX and self._progress and self.running and self.ring.unread:
            self._raise_prx()
            self._update()

    def _read_tally(self, number: int) -> int:
        value = self.tally[number]
        self.tally[number] = 0
        return value

    def _add_tally(self, number: int) -> None:
        self.tally[number] = min(self.tally[number] + 1, TALLY_MOST)
        if self.tally[number] >= TALLY_ALARM:
            self.isr |= ISR_CNT

    # -- the command register (section 10)

    def _read_command(self) -> int:
        state = CR_STA if self.running else CR_STP
        return self.page << CR_PAGE_SHIFT | self._remote_command << CR_RD_SHIFT | state

    def _write_command(self, value: int) -> None:
        """With neither STP nor STA, the state stays as it is (Linux selects pages so)."""
        self.page = value >> CR_PAGE_SHIFT
        if value & CR_STP:
            self.running = False
            self.isr |= ISR_RST
            self._ask()
        elif value & CR_STA:
            self.running = True
            self.isr &= ~ISR_RST
            self._ask()
        self._remote_command = value >> CR_RD_SHIFT & 7
        if self._remote_command:  # 0 is not allowed, and does nothing
            self._start_remote(self._remote_command)
        if value & CR_TXP and self.running:
            self._send()

    def _start_remote(self, command: int) -> None:
        self._sending = False
        if command == RD_READ:
            self.dma.start(READING)
        elif command == RD_WRITE:
            self.dma.start(WRITING)
        elif command == RD_SEND and self.dcr & DCR_ARM:
            self._send_packet_command()
        else:
            self.dma.way = IDLE
            self.dma.settle()

    def _send_packet_command(self) -> None:
        """Read the packet at the boundary, header first; the boundary follows when it has been read (section 9)."""
        dma, ring = self.dma, self.ring
        at = ring.boundary * PAGE
        dma.address = at
        dma.count = 0
        if ring.boundary != ring.current:
            self._sending = True
            self._next_packet = ring.memory[at + 1]
            dma.count = ring.memory[at + 2] | ring.memory[at + 3] << 8
        dma.start(READING)

    def _dma_done(self) -> None:
        self.isr |= ISR_RDC
        if self._sending:
            self._sending = False
            self._write_boundary(self._next_packet)
        self._update()

    # -- interrupts

    def _update(self) -> None:
        line = bool(self.isr & self.imr)
        if line != self._line:
            self._line = line
            self._interrupt(line)

    def _raise_prx(self) -> None:
        if not self.isr & ISR_PRX:
            self.isr |= ISR_PRX
            self._progress = False

    # -- transmission (section 8)

    def _send(self) -> None:
        packet = None
        if 0 < self.tbcr <= FRAME_MOST + FCS:
            packet = self.ring.fetch(self.tpsr * PAGE, self.tbcr, self._swaps)
        if packet is None:
            self.count["ne2k.transmit_outside"] += 1
            self.tsr = TSR_FU
            self.isr |= ISR_TXE
            self._update()
            return
        self.tsr = TSR_PTX
        self.isr |= ISR_PTX
        mode = (self.tcr & TCR_LOOP) >> TCR_LOOP_SHIFT
        if mode:
            self._loop(packet, mode)
        if mode in (0, 3):  # the third goes round outside, over the network
            self._put_on_network(packet)
        self._update()

    def _put_on_network(self, packet: bytes) -> None:
        if self.tcr & TCR_CRC:  # the driver made the FCS
            packet, fcs = packet[:-FCS], packet[-FCS:]
            if crc32(packet).to_bytes(FCS, "little") != fcs:
                self.count["ne2k.bad_fcs"] += 1
                return
        if len(packet) < HEADER:
            self.count["ne2k.short"] += 1
        elif len(packet) > FRAME_MOST:
            self.count["ne2k.long"] += 1
        else:
            self._transmit(packet)

    def _loop(self, packet: bytes, mode: int) -> None:
        """Into the FIFO, and nowhere else: no memory is written, so nothing is received (section 12)."""
        if self.dcr & DCR_WTS:  # only one octet of each word goes round
            packet = packet[self.dcr & DCR_BOS != 0 :: 2]
        if not packet:
            return
        self.tsr, self.rsr = self.fifo.loop(packet, mode, bool(self.tcr & TCR_CRC), self.filter.accepts(packet))

    # -- reception (section 7)

    @property
    def _swaps(self) -> bool:
        return self.dcr & (DCR_BOS | DCR_WTS) == DCR_BOS | DCR_WTS

    @property
    def _listens(self) -> bool:
        return self.running and not self.tcr & TCR_LOOP

    def receive(self, frame: bytes, *, force: bool = False, damage: int = 0) -> bool:
        """A frame from the network: HEADER octets or more.  False: there is no room now, and `room` will be called.

        True: it is in the ring, or the chip does not want it.  force: lose it where there is no room, as hardware does.
        damage: RSR_CRC, RSR_FAE or both, for a frame that came with errors.
        """
        if not self._listens:
            self.count["ne2k.not_listening"] += 1
            return True
        accepted = self.filter.accepts(frame)
        if damage and accepted:
            self._tell_damage(frame, damage)
        rcr = self.filter.rcr
        if not accepted or damage and not rcr & RCR_SEP:
            self.count["ne2k.filtered"] += 1
        elif len(frame) < FRAME_LEAST and not rcr & RCR_AR:
            self.count["ne2k.runt"] += 1
        elif rcr & RCR_MON:
            self._miss("ne2k.monitored", 0)
        else:
            pages = self.ring.pages(len(frame) + FCS)
            if not self.ring.fits(pages):
                return self._no_room(pages, force)
            self._keep(frame, damage)
        self._update()
        return True

    def _keep(self, frame: bytes, damage: int) -> None:
        self.rsr = (damage or RSR_PRX) | (RSR_PHY if frame[0] & 1 else 0)
        self.ring.place(frame + crc32(frame).to_bytes(FCS, "little"), self.rsr, self._swaps)
        if not damage:
            self._raise_prx()

    def _tell_damage(self, frame: bytes, damage: int) -> None:
        self.rsr = damage | (RSR_PHY if frame[0] & 1 else 0)
        self.isr |= ISR_RXE
        if damage & RSR_FAE:
            self._add_tally(0)
        if damage & RSR_CRC:
            self._add_tally(1)

    def _no_room(self, pages: int, force: bool) -> bool:
        if not force and self.ring.may_fit(pages):
            self._refused = pages
            self._raise_prx()
            self._update()
            return False
        self._miss("ne2k.overrun", ISR_OVW | ISR_RST)
        self._update()
        return True

    def _miss(self, name: str, status: int) -> None:
        self.count[name] += 1
        self.rsr = RSR_MPA
        self.isr |= ISR_RXE | status
        self._add_tally(MISSED)

    def _ask(self) -> None:
        """Something has changed that a refused frame may have waited for."""
        pages = self._refused
        if pages and not (self._listens and self.ring.may_fit(pages) and not self.ring.fits(pages)):
            self._refused = 0
            self._room()


def _open_bus() -> int:
    return OPEN_BUS


def _nothing(_value: int) -> None:
    pass

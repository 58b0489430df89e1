"""The NE2000: every absurd programming is harmless and bounded, by the name of what others got wrong."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pppgate.ne2000.card import ISA
from pppgate.ne2000.dp8390.bits import ISR_OVW, ISR_PRX, ISR_RDC
from pppgate.ne2000.dp8390.ring import Ring
from tests.support.ne2000_bench import (
    BNRY,
    BYTES,
    CR,
    CURR,
    DATA,
    DCR,
    FIFO,
    ISR,
    PSTART,
    PSTOP,
    RBCR0,
    RBCR1,
    READ,
    RING,
    RSAR0,
    RSAR1,
    START0,
    START1,
    STOP0,
    TBCR0,
    TBCR1,
    TCR,
    TPSR,
    TRANSMIT,
    WORDS,
    WRITE,
    Bench,
    LinuxDriver,
    frame,
)

pytestmark = pytest.mark.untraced  # they take long, and what they reach has tests of its own

LONG = frame(1514)
DROPS = ("not_listening", "filtered", "runt", "monitored", "overrun", "transmit_outside", "short", "bad_fcs")
KNOWN = {f"ne2k.{what}" for what in DROPS}
OUTSIDE = slice(0, 0x4000), slice(0x8000, 65536)


class Watched(Ring):
    """Counts the copies into memory."""

    copies = 0

    def _store(self, at: int, data: bytes) -> None:
        self.copies += 1
        super()._store(at, data)


def watched() -> tuple[Bench, Watched]:
    bench = Bench().set_up()
    ring = bench.card.chip.ring
    ring.__class__ = Watched
    assert isinstance(ring, Watched)
    return bench, ring


def outside(bench: Bench) -> tuple[bytes, ...]:
    return tuple(bytes(bench.card.chip.ring.memory[part]) for part in OUTSIDE)


def test_cve_2016_2841_every_pstart_and_pstop_and_one_long_frame() -> None:
    """A bad pair was an endless loop.  Here: at most two copies, none outside the RAM, and all is well afterwards."""
    bench, ring = watched()
    before = outside(bench)
    write, receive = bench.card.write, bench.card.receive
    most = overflowed = 0
    for start in range(256):
        write(PSTART, start, 1)
        for stop in range(256):
            write(PSTOP, stop, 1)
            for current in (start, stop - 1 & 0xFF):  # the second goes round
                ring.boundary = ring.current = current
                ring.copies = 0
                overflowed += not receive(LONG)
                most = max(most, ring.copies)
        assert len(ring.memory) == 65536
        assert outside(bench) == before
    assert most == 2
    assert overflowed == 0  # nobody waits for a ring that can never take it
    bench.set_up()
    assert bench.card.receive(LONG)
    assert bench.current() == RING + 7


@pytest.mark.parametrize("current", [0x00, 0x4B, 0x4C, 0x7F, 0x80, 0x81, 0xFF])
def test_cve_2015_5278_current_beyond_pstop(current: int) -> None:
    """The room was computed as 0 forever, and the loop did not end.  Every boundary with every current page."""
    bench, ring = watched()
    before = outside(bench)
    for boundary in range(256):
        ring.copies = 0
        bench.out((BNRY, boundary), (CR, START1), (CURR, current), (CR, START0))
        bench.card.receive(LONG)
        bench.card.receive(LONG, force=True)
        assert ring.copies <= 4
    assert outside(bench) == before
    assert bench.inb(ISR) & (ISR_OVW | ISR_PRX)


def test_cve_2015_5279_a_ring_that_ends_beyond_the_ram() -> None:
    """The copy went past the memory.  Here it is cut: what lies outside is lost, what lies inside is there."""
    bench = Bench().set_up(start=0x78, stop=0xFF, curr=0x7D)
    before = outside(bench)
    assert bench.card.receive(LONG)
    assert outside(bench) == before
    memory = bench.card.chip.ring.memory
    assert memory[0x7D00:0x7D04] == bytes((1, 0x83)) + (1518).to_bytes(2, "little")
    assert memory[0x7D04:0x8000] == LONG[: 0x300 - 4]
    assert bench.load(0x8000, 16) == b"\xff" * 16


def test_cve_2015_5279_a_ring_that_begins_before_the_ram() -> None:
    bench = Bench().set_up(start=0x00, stop=0x80, curr=0x3D)
    before = outside(bench)
    assert bench.card.receive(LONG)
    assert outside(bench) == before
    assert bench.card.chip.ring.memory[0x4000:0x4100] == LONG[0x300 - 4 : 0x400 - 4]


def addresses() -> list[int]:
    """Every page, and around each of its ends."""
    return sorted({(page * 256 + offset) & 0xFFFF for page in range(256) for offset in (-3, -2, -1, 0, 1, 2, 3)})


@pytest.mark.parametrize("dcr", [BYTES, WORDS])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_cve_2015_8743_and_2018_10839_every_remote_address(dcr: int, size: int) -> None:
    """Reads and writes outside the RAM, with a count that was taken for a signed number in other places."""
    bench = Bench().set_up(dcr=dcr)
    before = outside(bench)
    for address in addresses():
        for count in (1, 2, 3, 0x7FFF, 0x8000, 0xFFFF):
            for command in (READ, WRITE):
                bench.out((RBCR0, count & 255), (RBCR1, count >> 8), (RSAR0, address & 255), (RSAR1, address >> 8))
                bench.out((CR, command))
                if command == WRITE:
                    bench.card.write(DATA, 0xA5A5A5A5, size)
                    bench.card.write(DATA, 0xA5A5A5A5, size)
                else:
                    assert 0 <= bench.card.read(DATA, size) < 1 << 8 * size
                    assert 0 <= bench.card.read(DATA, size) < 1 << 8 * size
    assert outside(bench) == before
    assert len(bench.card.chip.ring.memory) == 65536


@pytest.mark.parametrize("size", [2, 4])
def test_cve_2015_8743_a_whole_round_of_the_address_space(size: int) -> None:
    bench = Bench(ISA)
    bench.out((CR, START0), (DCR, WORDS))
    data = bench.load(0xFFFE, 0xFFFE, size)
    memory = bytes(bench.card.chip.ring.memory)
    assert data == (memory[-2:] + memory)[:0xFFFE]
    before = outside(bench)
    bench.store(0xFFFE, b"\x5a" * 0xFFFE, size)
    assert outside(bench) == before
    assert bench.card.chip.ring.memory[0x4000:0x8000] == b"\x5a" * 0x4000


def test_cve_2007_1321_every_count_ends() -> None:
    """RDC comes after as many octets as the count says, for every count."""
    bench = Bench().set_up(dcr=WORDS)
    dma = bench.card.chip.dma
    for count in range(65536):
        bench.out((ISR, ISR_RDC), (RBCR0, count & 255), (RBCR1, count >> 8), (RSAR0, 0), (RSAR1, 0x4C), (CR, READ))
        skipped = max(0, count - 4)  # by hand: the way there is tested elsewhere
        dma.count -= skipped
        dma.settle()
        for _ in range(-(-min(count, 4) // 2)):
            assert not bench.card.chip.isr & ISR_RDC
            bench.card.read(DATA, 2)
        assert bench.card.chip.isr & ISR_RDC


def send_everything_back(bench: Bench) -> None:
    """A network that returns each frame while it is being sent."""

    def transmit(sent: bytes) -> None:
        bench.card.receive(sent)

    bench.card.chip._transmit = transmit


@pytest.mark.parametrize("mode", [2, 3, 4, 5, 6, 7])
def test_cve_2021_3416_loopback_storm(mode: int) -> None:
    """Loopback called the receiver from the transmitter without end.  Here it does not touch the receiver at all."""
    bench = Bench().set_up(rcr=0x1F)
    send_everything_back(bench)
    bench.store(0x4000, LONG)
    current = bench.current()
    bench.out((TCR, mode), (TPSR, 0x40), (TBCR0, 1514 & 255), (TBCR1, 1514 >> 8))
    began = time.monotonic()
    for _ in range(10_000):
        bench.out((CR, TRANSMIT))
    assert time.monotonic() - began < 5
    assert bench.current() == current
    assert not bench.inb(ISR) & ISR_PRX
    assert bench.inb(FIFO) == bench.card.chip.fifo._octets[0]


def test_a_network_that_sends_everything_back_ends_with_the_ring() -> None:
    bench = Bench().set_up(rcr=0x1F)
    send_everything_back(bench)
    bench.store(0x4000, LONG)
    bench.out((TPSR, 0x40), (TBCR0, 1514 & 255), (TBCR1, 1514 >> 8))
    for _ in range(1000):
        bench.out((CR, TRANSMIT))
    assert bench.current() == RING + 1 + 48


def test_every_transmit_page_and_length() -> None:
    bench = Bench().set_up()
    for page in range(256):
        for length in (0, 1, 13, 14, 60, 255, 256, 257, 1514, 9018, 9023, 0x3FFF, 0x4000, 0x8000, 0xFFFF):
            bench.out((TPSR, page), (TBCR0, length & 255), (TBCR1, length >> 8), (CR, TRANSMIT))
            inside = page >= 0x40 and page * 256 + length <= 0x8000 and 14 <= length <= 9018
            assert len(bench.sent) == inside, (page, length)
            bench.sent.clear()


def test_a_million_random_port_accesses() -> None:
    """Eight accesses and a frame, over and over; put in order every 64 accesses, lest most fall on a dead chip."""
    dice = random.Random(8390)
    bench = Bench()
    card = bench.card
    read, write = card.read, card.write
    before = outside(bench)
    frames = [frame(size, seed=size) for size in (60, 100, 300, 600, 1000, 1514, 9018, 14)]
    sizes = (1, 1, 1, 1, 2, 2, 4, 4)
    kept = sent = 0
    for number in range(1_000_000 // 8):
        if not number % 8:
            bench.set_up(rcr=dice.getrandbits(5))
        noise = dice.getrandbits(8 * 48)
        for _ in range(8):
            offset, size, kind = noise & 31, sizes[noise >> 5 & 7], noise >> 8 & 0xFF
            value = noise >> 16 & (1 << 8 * size) - 1
            if offset >= 24 and kind & 0xF0:  # most of what would be a reset is a command
                write(CR, value & 0xFE, 1)
            elif kind & 1:
                write(offset, value, size)
            else:
                assert 0 <= read(offset, size) < 1 << 8 * size
            noise >>= 48
        local = card.chip.ring.local
        card.receive(frames[number & 7], force=number & 8 != 0)
        kept += local != card.chip.ring.local
        sent += len(bench.sent)
        bench.sent.clear()
    assert outside(bench) == before
    assert card.count.keys() <= KNOWN
    assert kept > 10_000
    assert sent > 1000
    guest = LinuxDriver(bench)
    guest.probe()
    guest.initialize()
    card.receive(LONG)
    guest.interrupt()
    assert guest.received == [LONG]


ACCESS = st.tuples(
    st.sampled_from(["read", "write", "receive", "force", "reset"]),
    st.integers(0, 31),
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([1, 2, 4]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACCESS, max_size=60), st.sampled_from([ISA, "rtl8029"]), st.sampled_from([16384, 32768]))
def test_any_register_traffic_is_harmless(accesses: list[tuple[str, int, int, int]], front: str, memory: int) -> None:
    bench = Bench(front, memory)
    card = bench.card
    prom = bytes(card.chip.ring.memory[:0x4000])
    for what, offset, value, size in accesses:
        if what == "read":
            assert 0 <= card.read(offset, size) < 1 << 8 * size
        elif what == "write":
            card.write(offset, value & (1 << 8 * size) - 1, size)
        elif what == "reset" and not value % 16:
            card.reset()
        else:
            card.receive(frame(14 + value % 1505, seed=value), force=what == "force")
        assert bench.line == bool(card.chip.isr & card.chip.imr)
    assert card.chip.ring.memory[:0x4000] == prom
    assert card.chip.ring.memory[0x4000 + memory :] == b"\xff" * (0xC000 - memory)
    bench.out((CR, STOP0))
    bench.set_up()
    assert card.receive(LONG)

"""The DP8390's receiver: what it takes, where it goes, and what a full ring does to it (data sheet section 7)."""

from collections.abc import Iterable
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.ne2000.dp8390.bits import (
    ISR_OVW,
    ISR_PRX,
    ISR_RXE,
    RCR_AB,
    RCR_AM,
    RCR_AR,
    RCR_MON,
    RCR_PRO,
    RCR_SEP,
    RSR_CRC,
    RSR_DIS,
    RSR_MPA,
    RSR_PHY,
    RSR_PRX,
)
from pppgate.ne2000.dp8390.filter import hash_index
from tests.support.ne2000_bench import (
    BNRY,
    CLDA0,
    CLDA1,
    CNTR2,
    CR,
    CURR,
    DCR,
    ISR,
    MAC,
    MAR0,
    PSTART,
    PSTOP,
    RCR,
    RING,
    RSR,
    START0,
    START1,
    STOP,
    STOP0,
    STOP1,
    TCR,
    Bench,
    frame,
)

BROADCAST = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000001")
OTHER = bytes.fromhex("525400999999")


def kept(bench: Bench, data: bytes) -> bool:
    before = bench.current()
    assert bench.card.receive(data)
    return bench.current() != before


def memory(bench: Bench, address: int, size: int) -> bytes:
    return bytes(bench.card.chip.ring.memory[address : address + size])


# -- the address filter


def shifted_crc(address: bytes) -> int:
    """The CRC-32 bit by bit, as the chip's shift register makes it."""
    crc = 0xFFFFFFFF
    for octet in address:
        for bit in range(8):
            feedback = crc >> 31 ^ (octet >> bit & 1)
            crc = (crc << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if feedback else 0)
    return crc


@given(st.binary(min_size=6, max_size=6))
def test_the_hash_is_the_upper_six_bits_of_the_crc(address: bytes) -> None:
    assert hash_index(address) == shifted_crc(address) >> 26


@pytest.mark.parametrize(
    ("rcr", "taken"),
    [
        (0, {MAC}),
        (RCR_AB, {MAC, BROADCAST}),
        (RCR_PRO, {MAC, OTHER}),
        (RCR_AM, {MAC}),  # the hash bit is not set
        (RCR_PRO | RCR_AB, {MAC, OTHER, BROADCAST}),
    ],
)
def test_which_addresses_are_taken(rcr: int, taken: set[bytes]) -> None:
    bench = Bench().set_up(rcr=rcr)
    assert {to for to in (MAC, OTHER, BROADCAST, MULTICAST) if kept(bench, frame(to=to))} == taken


def test_multicast_is_taken_by_its_hash_bit() -> None:
    bench = Bench().set_up(rcr=RCR_AM)
    index = hash_index(MULTICAST)
    bench.out((CR, START1), (MAR0 + (index >> 3), 1 << (index & 7)), (CR, START0))
    assert kept(bench, frame(to=MULTICAST))
    others = [bytes((1, 0, 0x5E, 0, 0, last)) for last in range(2, 30)]
    assert all(kept(bench, frame(to=to)) == (hash_index(to) == index) for to in others)
    bench.out((RCR, 0))
    assert not kept(bench, frame(to=MULTICAST))


def test_all_multicast_and_promiscuous_as_drivers_set_them() -> None:
    bench = Bench().set_up(rcr=RCR_PRO | RCR_AM | RCR_AB)
    bench.out((CR, START1), *((MAR0 + at, 0xFF) for at in range(8)), (CR, START0))
    assert all(kept(bench, frame(to=to)) for to in (MAC, OTHER, BROADCAST, MULTICAST))


def test_the_station_address_is_the_chips_not_the_proms() -> None:
    bench = Bench().set_up()
    bench.out((CR, START1), *((1 + at, octet) for at, octet in enumerate(OTHER)), (CR, START0))
    assert not kept(bench, frame(to=MAC))
    assert kept(bench, frame(to=OTHER))


def test_runts_are_taken_only_when_asked_for() -> None:
    bench = Bench().set_up()
    assert not kept(bench, frame(59))
    assert bench.card.count["ne2k.runt"] == 1
    assert kept(bench, frame(60))
    bench.out((RCR, RCR_AR))
    assert kept(bench, frame(14))


def test_packets_with_errors_are_kept_only_when_asked_for() -> None:
    bench = Bench().set_up(rcr=RCR_SEP)
    bench.card.chip.receive(frame(), damage=RSR_CRC)
    assert bench.inb(ISR) == ISR_RXE  # and not PRX
    assert memory(bench, (RING + 1) * 256, 4) == bytes((RSR_CRC, RING + 2, 64, 0))


def test_monitor_mode_looks_counts_and_keeps_nothing() -> None:
    bench = Bench().set_up(rcr=RCR_MON | RCR_AB)
    assert bench.inb(RSR) & RSR_DIS
    assert not kept(bench, frame())
    assert not kept(bench, frame(to=OTHER))
    assert bench.inb(RSR) == RSR_MPA | RSR_DIS
    assert bench.inb(CNTR2) == 1
    bench.out((RCR, RCR_AB))
    assert not bench.inb(RSR) & RSR_DIS
    assert kept(bench, frame())


@pytest.mark.parametrize("mode", [2, 4, 6])
def test_in_loopback_the_network_is_not_heard(mode: int) -> None:
    bench = Bench().set_up()
    bench.out((TCR, mode))
    assert not kept(bench, frame())
    assert bench.inb(ISR) == 0
    bench.out((TCR, 0))
    assert kept(bench, frame())


# -- the ring


def test_a_packet_has_its_header_and_its_fcs() -> None:
    bench = Bench().set_up()
    data = frame(100)
    assert kept(bench, data)
    at = (RING + 1) * 256
    assert memory(bench, at, 108) == bytes((RSR_PRX, RING + 2, 104, 0)) + data + crc32(data).to_bytes(4, "little")
    assert (bench.inb(RSR), bench.inb(ISR), bench.current()) == (RSR_PRX, ISR_PRX, RING + 2)


@pytest.mark.parametrize("to", [BROADCAST, MULTICAST])
def test_a_group_address_shows_in_the_status(to: bytes) -> None:
    bench = Bench().set_up(rcr=RCR_AB | RCR_AM)
    bench.out((CR, START1), *((MAR0 + at, 0xFF) for at in range(8)), (CR, START0))
    assert kept(bench, frame(to=to))
    assert memory(bench, (RING + 1) * 256, 1)[0] == bench.inb(RSR) == RSR_PRX | RSR_PHY


@pytest.mark.parametrize(
    ("size", "pages"), [(60, 1), (248, 1), (249, 2), (504, 2), (505, 3), (1514, 6), (1528, 6), (1529, 7)]
)
def test_how_many_pages_a_packet_takes(size: int, pages: int) -> None:
    bench = Bench().set_up()
    assert kept(bench, frame(size))
    assert bench.current() == RING + 1 + pages
    assert memory(bench, (RING + 1) * 256 + 1, 1)[0] == RING + 1 + pages


def test_a_packet_goes_on_at_the_rings_start() -> None:
    bench = Bench().set_up(curr=STOP - 2)
    bench.out((BNRY, STOP - 3))
    data = frame(1514)
    assert kept(bench, data)
    whole = memory(bench, (STOP - 2) * 256, 512) + memory(bench, RING * 256, 4 * 256)
    assert whole[:4] == bytes((1, RING + 4)) + (1518).to_bytes(2, "little")
    assert whole[4:1518] == data
    assert bench.current() == RING + 4
    assert bench.load((STOP - 2) * 256 + 4, 1514) == data  # and the remote DMA wraps as well


def test_a_packet_that_ends_with_the_ring_is_followed_by_its_start() -> None:
    bench = Bench().set_up(curr=STOP - 1)
    bench.out((BNRY, STOP - 2))
    assert kept(bench, frame(248))
    assert memory(bench, (STOP - 1) * 256 + 1, 1)[0] == bench.current() == RING
    assert (bench.inb(CLDA0), bench.inb(CLDA1)) == (0, RING)


def test_the_68000_order_exchanges_the_octets_of_each_word_but_not_of_the_first() -> None:
    bench = Bench().set_up()
    bench.out((DCR, 0x4B))
    data = frame(61)
    assert kept(bench, data)
    got = memory(bench, (RING + 1) * 256, 70)
    assert got[:4] == bytes((RSR_PRX, RING + 2, 0, 65))
    assert bytes(got[4 + (at ^ 1)] for at in range(61)) == data


# -- a full ring


def fill(bench: Bench, size: int = 1514) -> int:
    for number in range(100):
        if not bench.card.receive(frame(size, seed=number)):
            return number
    raise AssertionError("the ring is never full")


@pytest.mark.parametrize(("size", "most"), [(60, 50), (1514, 8), (505, 16)])
def test_how_much_fits_a_ring_of_52_pages(size: int, most: int) -> None:
    """With the boundary a page behind, and never so much that a full ring would look like an empty one."""
    bench = Bench().set_up()
    assert fill(bench, size) == most
    assert bench.current() != RING


def test_a_refused_frame_loses_nothing_and_is_asked_for_when_there_is_room() -> None:
    bench = Bench().set_up()
    number = fill(bench)
    assert bench.inb(CNTR2) == 0
    assert bench.inb(ISR) == ISR_PRX
    assert bench.rooms == 0
    bench.out((BNRY, RING + 1))
    assert bench.rooms == 0  # one page is not enough
    bench.out((BNRY, RING + 6))
    assert bench.rooms == 1
    assert bench.card.receive(frame(1514, seed=number))
    bench.out((BNRY, RING + 12))
    assert bench.rooms == 1  # nobody waits


def test_a_refused_frame_raises_prx_again() -> None:
    bench = Bench().set_up()
    fill(bench)
    bench.out((ISR, ISR_PRX))
    assert not bench.line
    assert not bench.card.receive(frame(1514))
    assert bench.line


@pytest.mark.parametrize(
    "writes",
    [
        [(CR, STOP0)],
        [(TCR, 2)],
        [(PSTOP, 0)],
        [(PSTART, 0x60)],
        [(PSTOP, 0xFF)],
        [(CR, START1), (CURR, RING)],
    ],
)
def test_whatever_ends_the_wait_asks_for_the_frame(writes: Iterable[tuple[int, int]]) -> None:
    bench = Bench().set_up()
    fill(bench)
    bench.out(*writes)
    assert bench.rooms == 1
    assert bench.card.receive(frame(1514))


def test_with_force_the_ring_overruns_as_hardware_does() -> None:
    bench = Bench().set_up()
    number = fill(bench)
    before = bytes(bench.card.chip.ring.memory)
    current = bench.current()
    assert bench.card.receive(frame(1514, seed=number), force=True)
    assert bench.inb(ISR) & (ISR_OVW | ISR_RXE) == ISR_OVW | ISR_RXE
    assert bench.inb(RSR) == RSR_MPA
    assert bench.inb(CNTR2) == 1
    assert bench.card.count["ne2k.overrun"] == 1
    assert bench.current() == current
    assert bytes(bench.card.chip.ring.memory) == before


def test_what_can_never_fit_is_lost_instead_of_waited_for() -> None:
    bench = Bench().set_up(stop=RING + 6)
    assert bench.card.receive(frame(1514))
    assert bench.inb(ISR) & ISR_OVW
    assert kept(bench, frame(1000))


def test_what_would_fit_only_with_equal_pointers_is_lost_as_well() -> None:
    """A driver that keeps the boundary a page behind never has all pages but one free."""
    bench = Bench().set_up(stop=RING + 7)
    assert bench.card.receive(frame(1514))
    assert bench.inb(ISR) & ISR_OVW
    bench.out((CR, START1), (CURR, RING), (CR, START0))
    assert bench.card.receive(frame(1514))
    assert bench.current() == RING + 6


def test_equal_pointers_are_an_empty_ring() -> None:
    """The first data sheet's initialization: both at PSTART."""
    bench = Bench().set_up(curr=RING)
    assert fill(bench) == 8


def test_a_boundary_one_below_the_ring_is_one_below_its_end() -> None:
    """Linux's lib8390 writes it when the next packet is at the ring's start."""
    bench = Bench().set_up(curr=RING)
    bench.out((BNRY, RING - 1))
    assert fill(bench) == 8
    assert bench.current() == RING + 48
    bench.out((BNRY, RING + 6 - 1))
    assert bench.card.receive(frame(1514))
    assert bench.current() == RING + 2


@pytest.mark.parametrize("current", [0, RING - 1, STOP, STOP + 1, 0xFF])
def test_a_current_page_outside_the_ring_overflows_at_once(current: int) -> None:
    bench = Bench().set_up()
    bench.out((CR, STOP1), (CURR, current), (CR, START0))
    assert bench.card.receive(frame(1514))
    assert bench.inb(ISR) & ISR_OVW
    assert bench.current() == current


def test_32_kilobytes_hold_twice_as_much() -> None:
    bench = Bench(memory=32768).set_up(stop=0xC0)
    assert fill(bench) == 19

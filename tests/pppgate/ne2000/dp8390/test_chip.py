"""The DP8390 by register: pages, command, interrupts, tally counters, reset (data sheet sections 10 and 11)."""

import pytest

from pppgate.ne2000.card import ISA
from pppgate.ne2000.dp8390.bits import (
    ISR_CNT,
    ISR_OVW,
    ISR_PRX,
    ISR_PTX,
    ISR_RDC,
    ISR_RST,
    ISR_RXE,
    RSR_CRC,
    RSR_FAE,
)
from tests.support.ne2000_bench import (
    BNRY,
    BYTES,
    CLDA0,
    CLDA1,
    CNTR0,
    CNTR1,
    CNTR2,
    CR,
    CRDA0,
    CRDA1,
    CURR,
    DCR,
    FIFO,
    IMR,
    ISR,
    MAC,
    MAR0,
    NCR,
    PAR0,
    PSTART,
    PSTOP,
    RBCR0,
    RBCR1,
    RCR,
    RESET,
    RING,
    RSAR0,
    RSAR1,
    RSR,
    START0,
    START1,
    START2,
    START3,
    STOP,
    STOP0,
    STOP1,
    STOP2,
    TBCR0,
    TCR,
    TPSR,
    TSR,
    WORDS,
    Bench,
    frame,
)

# -- pages


def test_page_1_is_read_as_written() -> None:
    bench = Bench()
    bench.out((CR, STOP1))
    for offset in range(1, 16):
        bench.out((offset, 0x11 * offset))
    assert [bench.inb(offset) for offset in range(1, 16)] == [0x11 * offset for offset in range(1, 16)]


def test_page_2_shows_what_was_written_in_page_0() -> None:
    bench = Bench()
    bench.out((CR, STOP0), (PSTART, 0x46), (PSTOP, 0x70), (TPSR, 0x41), (RCR, 0x1F), (TCR, 0x1D), (DCR, 0x49))
    bench.out((IMR, 0x5A), (CR, STOP1), (CURR, 0x47), (CR, STOP2))
    assert [bench.inb(offset) for offset in (1, 2, 4, 5)] == [0x46, 0x70, 0x41, 0x47]
    assert [bench.inb(RCR), bench.inb(TCR), bench.inb(DCR), bench.inb(IMR)] == [0xDF, 0xFD, 0xC9, 0x5A]


def test_page_2_cannot_be_written() -> None:
    bench = Bench().set_up()
    bench.out((CR, START2))
    before = [bench.inb(offset) for offset in range(16)]
    bench.out(*((offset, 0x33) for offset in range(1, 16)))
    assert [bench.inb(offset) for offset in range(16)] == before


def test_reserved_registers_read_as_an_open_bus() -> None:
    bench = Bench(front=ISA)
    assert (bench.inb(10), bench.inb(11)) == (0xFF, 0xFF)
    bench.out((CR, STOP2))
    assert [bench.inb(offset) for offset in range(8, 12)] == [0xFF] * 4


def test_page_0_reads_and_writes_are_different_registers() -> None:
    bench = Bench().set_up()
    bench.out((TPSR, 0x40), (TBCR0, 60), (TCR, 0))
    assert (bench.inb(TSR), bench.inb(NCR), bench.inb(FIFO)) == (0, 0, 0)
    bench.out((RSAR0, 0x34), (RSAR1, 0x52))
    assert (bench.inb(CRDA0), bench.inb(CRDA1)) == (0x34, 0x52)
    assert bench.inb(BNRY) == RING


def test_clda_is_where_the_last_octet_went() -> None:
    bench = Bench().set_up()
    bench.card.receive(frame(100))
    assert bench.inb(CLDA0) | bench.inb(CLDA1) << 8 == (RING + 1) * 256 + 4 + 100 + 4
    bench.out((CR, START2))
    assert bench.inb(6) << 8 | bench.inb(7) == (RING + 1) * 256 + 108


# -- command register


def test_after_power_on_it_is_stopped_and_says_so() -> None:
    bench = Bench()
    assert bench.inb(CR) == STOP0
    assert bench.inb(ISR) == ISR_RST
    assert bench.edges == []


@pytest.mark.parametrize("value", [START0, START1, START2, START3, STOP0, STOP1, STOP2, 0x0A, 0x12])
def test_command_is_read_as_written(value: int) -> None:
    bench = Bench()
    bench.out((CR, value))
    assert bench.inb(CR) == value


def test_pages_are_selected_without_stopping_or_starting() -> None:
    bench = Bench()
    bench.out((CR, 0x60))
    assert bench.inb(CR) == STOP1
    bench.out((CR, START0), (CR, 0x60))
    assert bench.inb(CR) == START1
    bench.out((CR, 0x20))
    assert bench.inb(CR) == START0


def test_stop_outweighs_start() -> None:
    bench = Bench()
    bench.out((CR, START0), (CR, 0x23))
    assert bench.inb(CR) == STOP0


def test_rst_follows_stop_and_start_and_is_no_interrupt() -> None:
    bench = Bench()
    bench.out((IMR, 0xFF), (CR, START0))
    assert bench.inb(ISR) == 0
    bench.out((CR, STOP0))
    assert bench.inb(ISR) == ISR_RST
    bench.out((ISR, 0xFF))
    assert bench.inb(ISR) == ISR_RST
    assert bench.edges == []


def test_a_stopped_chip_neither_sends_nor_receives() -> None:
    bench = Bench().set_up()
    bench.out((TPSR, 0x40), (TBCR0, 60), (CR, 0x25))
    assert bench.sent == []
    assert bench.card.receive(frame())
    assert bench.inb(ISR) == ISR_RST
    assert bench.card.count["ne2k.not_listening"] == 1


def test_the_forbidden_dma_command_0_does_nothing() -> None:
    bench = Bench().set_up()
    bench.remote(0x0A, 0x4000, 8)
    bench.out((CR, 0x02))
    assert bench.card.read(0x10, 2) == 0
    assert bench.inb(RSAR0) == 2


# -- interrupts


def test_the_line_is_any_unmasked_status() -> None:
    bench = Bench().set_up(imr=0)
    bench.card.receive(frame())
    assert bench.inb(ISR) == ISR_PRX
    assert not bench.line
    bench.out((IMR, ISR_PTX))
    assert not bench.line
    bench.out((IMR, ISR_PRX))
    assert bench.line
    bench.out((IMR, 0))
    assert bench.edges == [True, False]


def test_a_status_is_cleared_by_writing_a_one() -> None:
    bench = Bench().set_up()
    bench.card.receive(frame())
    bench.load(0x4000, 4)
    bench.store(0x4000, bytes(4))
    assert bench.inb(ISR) == ISR_PRX | ISR_RDC
    bench.out((ISR, 0))
    assert bench.inb(ISR) == ISR_PRX | ISR_RDC
    bench.out((ISR, ISR_PRX))
    assert bench.inb(ISR) == ISR_RDC
    assert bench.line is False  # RDC is not in the mask
    bench.out((IMR, 0x7F))
    assert bench.line is True


def test_only_changes_of_the_line_are_told() -> None:
    bench = Bench().set_up()
    for seed in range(3):
        bench.card.receive(frame(seed=seed))
    assert bench.edges == [True]
    bench.out((ISR, ISR_PRX), (ISR, ISR_PRX))
    assert bench.edges == [True, False]


def test_prx_comes_back_when_the_driver_acknowledges_in_the_middle_of_the_ring() -> None:
    """Linux's lib8390 reads nine packets an interrupt, acknowledges after them, and waits for the next interrupt."""
    bench = Bench().set_up()
    for seed in range(4):
        bench.card.receive(frame(seed=seed))
    bench.out((ISR, ISR_PRX))
    assert not bench.line  # acknowledged first, nothing read yet: as the data sheet has it
    bench.out((BNRY, RING + 1), (ISR, ISR_PRX))
    assert bench.edges == [True, False, True]
    bench.out((ISR, ISR_PRX))
    assert not bench.line  # nothing was read since it came back
    bench.out((BNRY, RING + 4), (ISR, ISR_PRX))
    assert bench.inb(ISR) == 0  # the ring is empty


# -- tally counters


def test_tally_counters_count_by_kind_and_are_cleared_by_reading() -> None:
    bench = Bench().set_up()
    chip = bench.card.chip
    chip.receive(frame(), damage=RSR_FAE)
    chip.receive(frame(), damage=RSR_CRC)
    chip.receive(frame(), damage=RSR_CRC | RSR_FAE)
    bench.out((RCR, 0x24))
    bench.card.receive(frame())
    assert [bench.inb(CNTR0), bench.inb(CNTR1), bench.inb(CNTR2)] == [2, 2, 1]
    assert [bench.inb(CNTR0), bench.inb(CNTR1), bench.inb(CNTR2)] == [0, 0, 0]


def test_a_tally_counter_interrupts_at_128_and_stops_at_192() -> None:
    bench = Bench().set_up(imr=ISR_CNT, rcr=0x24)
    for _ in range(127):
        bench.card.receive(frame())
    assert not bench.line
    bench.card.receive(frame())
    assert bench.line
    for _ in range(200):
        bench.card.receive(frame())
    assert bench.inb(CNTR2) == 192
    bench.out((ISR, ISR_CNT))
    assert not bench.line


def test_damaged_packets_show_in_rsr_and_isr() -> None:
    bench = Bench().set_up()
    bench.card.chip.receive(frame(), damage=RSR_CRC)
    assert bench.inb(ISR) == ISR_RXE
    assert bench.inb(RSR) == RSR_CRC
    assert bench.current() == RING + 1


# -- reset


@pytest.mark.parametrize("how", ["read", "write"])
def test_reset_leaves_what_the_data_sheet_leaves(how: str) -> None:
    bench = Bench().set_up()
    bench.store(0x4000, b"kept")
    bench.card.receive(frame())
    bench.out((TCR, 0x1F), (CR, START1))
    assert bench.line
    if how == "read":
        bench.inb(RESET)
    else:
        bench.out((RESET, 0))
    assert not bench.line
    assert bench.inb(CR) == STOP0
    assert bench.inb(ISR) & ISR_RST
    assert bench.inb(BNRY) == RING
    bench.out((CR, STOP2))
    assert (bench.inb(PSTART), bench.inb(PSTOP)) == (RING, STOP)
    assert bench.inb(IMR) == 0
    assert bench.inb(TCR) & 0x1F == 0x19  # LB0 and LB1
    assert bench.inb(DCR) == 0xCD  # LAS
    bench.out((CR, START1))
    assert bytes(bench.inb(PAR0 + at) for at in range(6)) == MAC
    assert bench.inb(CURR) == RING + 2
    assert bench.inb(MAR0) == 0
    assert bench.load(0x4000, 4) == b"kept"


def test_reset_ends_a_remote_dma() -> None:
    bench = Bench().set_up()
    bench.remote(0x0A, 0x4000, 8)
    bench.inb(RESET)
    assert bench.card.read(0x10, 2) == 0xFFFF


def test_reset_lets_a_refused_frame_go() -> None:
    bench = Bench().set_up()
    while bench.card.receive(frame(1514)):
        pass
    bench.inb(RESET)
    assert bench.rooms == 1
    assert bench.card.receive(frame(1514))  # nobody listens: it is lost, as it should be


def test_registers_of_16_and_32_bits_are_several_of_8() -> None:
    bench = Bench()
    bench.card.write(CR, STOP1, 2)
    bench.card.write(PAR0, int.from_bytes(MAC[:4], "little"), 4)
    assert bench.card.read(PAR0, 4) == int.from_bytes(MAC[:4], "little")
    assert bench.card.read(PAR0 + 2, 2) == int.from_bytes(MAC[2:4], "little")


def test_word_and_byte_mode_are_a_bit_of_dcr() -> None:
    bench = Bench().set_up(dcr=BYTES)
    assert bench.card.chip.dma.unit == 1
    bench.out((DCR, WORDS), (RBCR0, 0), (RBCR1, 0))
    assert bench.card.chip.dma.unit == 2


def test_overflow_sets_rst_until_packets_are_read() -> None:
    bench = Bench().set_up()
    while bench.card.receive(frame(1514)):
        pass
    bench.card.receive(frame(1514), force=True)
    assert bench.inb(ISR) == ISR_RST | ISR_OVW | ISR_RXE | ISR_PRX
    bench.out((BNRY, RING + 6))
    assert bench.inb(ISR) == ISR_OVW | ISR_RXE | ISR_PRX
    bench.out((CR, STOP0), (BNRY, RING + 12))
    assert bench.inb(ISR) & ISR_RST

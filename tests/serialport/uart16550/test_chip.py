"""The UART by register, from the PC16550D data sheet: one test or more for each paragraph of its section 8.

Time plays no part here: see test_line.py.
"""

import math
from typing import Any

import pytest

from serialport.uart16550.chip import BURST_LEAST, BURST_PAUSE, ModemOutputs, Uart16550
from serialport.uart16550.receiver import BREAK, FRAMING, OVERRUN, PARITY
from tests.support.uart_bench import DLL, DLM, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, SCR, THR, Bench

ERBFI, ETBEI, ELSI, EDSSI = 1, 2, 4, 8
NONE, RLS, RDA, CTI, THRE, MODEM = 0x01, 0x06, 0x04, 0x0C, 0x02, 0x00
FIFO = 0xC0


# Table I: reset


def test_master_reset_sets_the_registers_that_table_i_lists() -> None:
    bench = Bench().up(fcr=0xC1, ier=0x0F)
    bench.bring(b"abc")
    bench.uart.receive_damaged(7, PARITY, bench.now)
    bench.uart.reset(bench.now)
    bench.line.clear()
    assert [bench.read(register) for register in (IER, IIR, LCR, MCR)] == [0, 0x01, 0, 0]
    assert bench.read(LSR) & ~1 == 0x60
    assert bench.read(MSR) & 0x0F == 0
    assert bench.outputs[-1] == ModemOutputs()
    assert not bench.level


def test_reset_leaves_the_scratch_register_and_the_divisor() -> None:
    bench = Bench()
    bench.write(SCR, 0x5A)
    bench.divisor(0x1234)
    bench.uart.reset(bench.now)
    assert bench.read(SCR) == 0x5A
    bench.write(LCR, 0x80)
    assert (bench.read(DLL), bench.read(DLM)) == (0x34, 0x12)


def test_reset_lowers_the_interrupt_and_the_modem_outputs_and_says_so_once() -> None:
    bench = Bench().up(ier=0x0F)
    assert bench.interrupts == [True]
    bench.uart.reset(bench.now)
    bench.uart.reset(bench.now)
    assert bench.interrupts == [True, False]
    assert len(bench.outputs) == 2


def test_what_waits_on_the_line_survives_a_reset_of_the_chip() -> None:
    bench = Bench().up(fcr=0)
    bench.bring(b"ab")  # one in RBR, one on the line
    bench.uart.reset(bench.now)
    bench.write(LCR, 0x03)
    assert bench.all() == b"b"


# 8.1 and 8.2: LCR and the divisor latch


@pytest.mark.parametrize("lcr", range(256))
def test_lcr_reads_back_and_selects_the_divisor_latch(lcr: int) -> None:
    bench = Bench()
    bench.write(LCR, lcr)
    assert bench.read(LCR) == lcr
    bench.write(DLM, 0xA5)
    bench.write(LCR, 0)
    assert bench.read(IER) == (0 if lcr & 0x80 else 0x05)


@pytest.mark.parametrize(("lcr", "mask"), [(0, 0x1F), (1, 0x3F), (2, 0x7F), (3, 0xFF)])
def test_word_length_bounds_what_is_sent_and_what_is_received(lcr: int, mask: int) -> None:
    bench = Bench()
    bench.write(LCR, lcr)
    bench.write(THR, 0xFF)
    bench.bring(b"\xff")
    assert bench.sent == [mask]
    assert bench.read(RBR) == mask


def test_break_control_forces_sout_to_spacing_and_touches_nothing_else() -> None:
    bench = Bench().up()
    bench.write(LCR, 0x43)
    assert bench.outputs[-1].sending_break
    bench.write(THR, 0x41)
    assert bench.read(LSR) == 0x60
    assert bench.sent == [0x41]
    bench.write(LCR, 0x03)
    assert not bench.outputs[-1].sending_break


def test_the_divisor_latch_is_apart_from_thr_and_ier() -> None:
    bench = Bench()
    bench.write(IER, 0x0A)
    bench.write(LCR, 0x83)
    bench.write(DLL, 0x12)
    bench.write(DLM, 0x34)
    assert (bench.read(DLL), bench.read(DLM)) == (0x12, 0x34)
    bench.write(LCR, 0x03)
    assert bench.read(IER) == 0x0A
    assert bench.sent == []


# 8.3 and 8.4: LSR


def test_data_ready_while_there_is_something_to_read() -> None:
    bench = Bench().up(fcr=0)
    assert bench.read(LSR) == 0x60
    bench.bring(b"x")
    assert bench.read(LSR) == 0x61
    assert bench.read(RBR) == ord("x")
    assert bench.read(LSR) == 0x60


def test_rbr_read_again_gives_what_it_held() -> None:
    bench = Bench().up(fcr=0)
    bench.bring(b"x")
    assert [bench.read(RBR), bench.read(RBR)] == [ord("x"), ord("x")]


def test_a_full_receive_register_is_overwritten_and_tells_of_the_overrun() -> None:
    bench = Bench().up(fcr=0)
    bench.bring(b"a")
    bench.uart.receive_damaged(ord("b"), 0, bench.now)
    assert bench.read(LSR) == 0x61 | OVERRUN
    assert bench.read(LSR) == 0x61  # reading it has cleared the bit
    assert bench.read(RBR) == ord("b")


def test_a_full_fifo_loses_the_new_character_and_tells_at_once() -> None:
    bench = Bench().up()
    for octet in range(17):
        assert not bench.read(LSR) & OVERRUN
        bench.uart.receive_damaged(octet, 0, bench.now)
    assert bench.read(LSR) & OVERRUN
    assert bench.all() == bytes(range(16))


@pytest.mark.parametrize("error", [PARITY, FRAMING, BREAK])
def test_an_error_shows_when_its_character_is_next(error: int) -> None:
    bench = Bench().up()
    bench.uart.receive_damaged(1, 0, bench.now)
    bench.uart.receive_damaged(2, error, bench.now)
    assert bench.read(LSR) == 0xE1  # bit 7: there is one somewhere in the FIFO
    assert bench.read(RBR) == 1
    assert bench.read(LSR) == 0xE1 | error
    assert bench.read(LSR) == 0x61
    assert bench.read(RBR) == 2


def test_bit_7_stays_until_the_last_error_in_the_fifo_has_been_seen() -> None:
    bench = Bench().up()
    for error in (PARITY, 0, FRAMING):
        bench.uart.receive_damaged(1, error, bench.now)
    assert bench.read(LSR) == 0xE1 | PARITY
    assert bench.read(LSR) == 0xE1
    bench.read(RBR)
    bench.read(RBR)
    assert bench.read(LSR) == 0xE1 | FRAMING
    assert bench.read(LSR) == 0x61


def test_bit_7_is_always_0_without_fifos() -> None:
    bench = Bench()
    bench.uart.receive_damaged(1, PARITY, bench.now)
    assert bench.read(LSR) == 0x61 | PARITY


def test_errors_that_nobody_read_add_up() -> None:
    bench = Bench().up()
    for error in (PARITY, FRAMING):
        bench.uart.receive_damaged(1, error, bench.now)
    bench.read(RBR)
    assert bench.read(LSR) == 0xE1 | PARITY | FRAMING


@pytest.mark.parametrize(
    ("lcr", "errors"),
    [(0x03, BREAK | FRAMING), (0x0B, BREAK | FRAMING | PARITY), (0x1B, BREAK | FRAMING),
     (0x2B, BREAK | FRAMING | PARITY), (0x3B, BREAK | FRAMING)],
)  # fmt: skip
def test_a_break_is_one_zero_with_what_is_wrong_with_it(lcr: int, errors: int) -> None:
    bench = Bench().up()
    bench.write(LCR, lcr)
    bench.uart.receive_break(bench.now)
    assert bench.read(LSR) == 0xE1 | errors
    assert bench.read(RBR) == 0
    assert bench.read(LSR) == 0x60


def test_writing_lsr_and_msr_does_nothing() -> None:
    bench = Bench().up()
    before = bench.read(LSR), bench.read(MSR)
    bench.write(LSR, 0xFF)
    bench.write(MSR, 0xFF)
    assert (bench.read(LSR), bench.read(MSR)) == before


# 8.5: FCR


def test_the_fifo_keeps_sixteen_in_order() -> None:
    bench = Bench().up()
    bench.bring(bytes(range(40)))
    assert bench.uart.waiting == 16
    assert bench.all() == bytes(range(40))


@pytest.mark.parametrize(("first", "second"), [(0x01, 0x00), (0x00, 0x01)])
def test_changing_bit_0_clears_both_fifos(first: int, second: int) -> None:
    bench = Bench().up(fcr=first)
    bench.uart.hold(True, bench.now)
    bench.write(THR, 1)
    bench.uart.receive_damaged(1, 0, bench.now)
    bench.write(FCR, second)
    assert bench.read(LSR) == 0x60
    bench.uart.hold(False, bench.now)
    assert bench.sent == []


def test_writing_bit_0_again_clears_nothing() -> None:
    bench = Bench().up()
    bench.bring(b"abc")
    bench.write(FCR, 0x01)
    assert bench.all() == b"abc"


def test_bits_1_and_2_clear_one_fifo_each_and_themselves() -> None:
    bench = Bench().up()
    bench.uart.hold(True, bench.now)
    bench.write(THR, 1)
    bench.bring(b"a")
    bench.write(FCR, 0x03)
    assert bench.read(LSR) == 0x00
    bench.bring(b"b")
    bench.write(FCR, 0x05)
    assert bench.read(LSR) == 0x61
    bench.bring(b"c")
    bench.write(FCR, 0x01)
    assert bench.all() == b"bc"


def test_other_bits_are_programmed_with_bit_0_only() -> None:
    bench = Bench().up(fcr=0xC1, ier=ERBFI)
    bench.write(FCR, 0xC0)
    bench.write(FCR, 0x01)
    bench.uart.receive_damaged(1, 0, bench.now)
    assert bench.read(IIR) == FIFO | RDA  # trigger level 1 again


@pytest.mark.parametrize(("bits", "level"), [(0x00, 1), (0x40, 4), (0x80, 8), (0xC0, 14)])
def test_trigger_levels(bits: int, level: int) -> None:
    bench = Bench().up(fcr=bits | 1, ier=ERBFI)
    for octet in range(level):
        assert bench.read(IIR) in (FIFO | NONE, FIFO | CTI)
        bench.uart.receive_damaged(octet, 0, bench.now)
    assert bench.read(IIR) == FIFO | RDA
    bench.read(RBR)
    assert bench.read(IIR) == FIFO | (CTI if level > 1 else NONE)


def test_dma_mode_0_follows_what_is_there() -> None:
    bench = Bench().up(fcr=0x81)
    assert (bench.uart.rxrdy, bench.uart.txrdy) == (False, True)
    bench.bring(b"a")
    bench.uart.hold(True, bench.now)
    bench.write(THR, 1)
    assert (bench.uart.rxrdy, bench.uart.txrdy) == (True, False)
    bench.read(RBR)
    bench.uart.hold(False, bench.now)
    assert (bench.uart.rxrdy, bench.uart.txrdy) == (False, True)


def test_dma_mode_1_holds_on_until_all_is_moved() -> None:
    bench = Bench(pace="line").up(fcr=0x89)
    for octet in range(8):
        assert not bench.uart.rxrdy
        bench.uart.receive_damaged(octet, 0, bench.now)
    for _ in range(8):
        assert bench.uart.rxrdy
        bench.read(RBR)
    assert not bench.uart.rxrdy
    bench.uart.hold(True, bench.now)
    for octet in range(16):
        assert bench.uart.txrdy
        bench.write(THR, octet)
    assert not bench.uart.txrdy


# 8.6 and table IV: interrupts


def test_without_interrupts_iir_says_so() -> None:
    assert Bench().read(IIR) == NONE
    assert Bench().up().read(IIR) == FIFO | NONE


def test_ier_keeps_its_four_bits() -> None:
    bench = Bench()
    bench.write(IER, 0xFF)
    assert bench.read(IER) == 0x0F


def test_priorities_and_how_each_is_cleared() -> None:
    bench = Bench().up(ier=0)
    bench.uart.receive_damaged(1, PARITY, bench.now)
    bench.uart.set_modem_inputs(cts=True, now=bench.now)
    bench.write(IER, 0x0F)
    assert bench.read(IIR) == FIFO | RLS
    bench.read(LSR)
    assert bench.read(IIR) == FIFO | RDA
    bench.read(RBR)
    assert bench.read(IIR) == FIFO | THRE  # and this read has cleared it
    assert bench.read(IIR) == FIFO | MODEM
    bench.read(MSR)
    assert bench.read(IIR) == FIFO | NONE
    assert bench.interrupts == [True, False]


def test_reading_iir_leaves_the_transmitter_interrupt_when_another_is_reported() -> None:
    bench = Bench().up(ier=ETBEI | ERBFI)
    bench.bring(b"a")
    assert bench.read(IIR) == FIFO | RDA
    bench.read(RBR)
    assert bench.read(IIR) == FIFO | THRE


def test_writing_thr_clears_the_transmitter_interrupt() -> None:
    bench = Bench().up(ier=ETBEI)
    bench.uart.hold(True, bench.now)
    assert bench.level
    bench.write(THR, 1)
    assert not bench.level
    bench.uart.hold(False, bench.now)
    assert bench.read(IIR) == FIFO | THRE


def test_enabling_the_transmitter_interrupt_while_empty_raises_it_each_time() -> None:
    bench = Bench().up()
    for _ in range(3):
        bench.write(IER, ETBEI)
        assert bench.read(IIR) == FIFO | THRE
        assert bench.read(IIR) == FIFO | NONE
        bench.write(IER, ETBEI)  # no change: nothing new
        assert bench.read(IIR) == FIFO | NONE
        bench.write(IER, 0)


def test_enabling_it_while_the_transmitter_is_full_raises_nothing() -> None:
    bench = Bench().up()
    bench.uart.hold(True, bench.now)
    bench.write(THR, 1)
    bench.write(IER, ETBEI)
    assert bench.read(IIR) == FIFO | NONE


@pytest.mark.parametrize("enable", [ERBFI, ETBEI, ELSI, EDSSI])
def test_each_enable_bit_lets_its_own_interrupt_through(enable: int) -> None:
    bench = Bench().up()
    bench.uart.receive_damaged(1, BREAK, bench.now)
    bench.uart.set_modem_inputs(dcd=True, now=bench.now)
    assert not bench.level
    bench.write(IER, enable)
    assert bench.level
    assert bench.read(IIR) == FIFO | {ERBFI: RDA, ETBEI: THRE, ELSI: RLS, EDSSI: MODEM}[enable]
    bench.write(IER, 0)
    assert not bench.level
    assert bench.read(IIR) == FIFO | NONE


def test_every_line_status_error_interrupts() -> None:
    for error in (PARITY, FRAMING, BREAK):
        bench = Bench().up(ier=ELSI)
        bench.uart.receive_damaged(1, error, bench.now)
        assert bench.read(IIR) == FIFO | RLS
    bench = Bench().up(fcr=0, ier=ELSI)
    for octet in (1, 2):
        assert bench.read(IIR) == NONE
        bench.uart.receive_damaged(octet, 0, bench.now)
    assert bench.read(IIR) == RLS


def test_polled_mode_shows_all_in_lsr_and_nothing_in_iir() -> None:
    bench = Bench().up(ier=0)
    bench.bring(b"abc")
    bench.uart.receive_damaged(0, PARITY, bench.now)
    assert bench.read(IIR) == FIFO | NONE
    assert bench.read(LSR) & 0x81 == 0x81
    assert not bench.interrupts


def test_out2_gates_the_interrupt_line_and_not_iir() -> None:
    bench = Bench().up(ier=ETBEI)
    bench.write(MCR, 0x03)
    bench.bring(b"a")
    assert not bench.level
    bench.write(IER, ERBFI)
    assert bench.read(IIR) == FIFO | RDA
    bench.write(MCR, 0x0B)
    assert bench.level


def test_a_level_is_told_when_it_changes_and_never_twice() -> None:
    bench = Bench().up(fcr=0x81, ier=0x0F)
    for _ in range(3):
        bench.bring(bytes(50))
        for octet in range(50):
            bench.read(IIR)
            bench.read(LSR)
            bench.read(RBR)
            bench.write(THR, octet)
        bench.read(IIR)
        bench.uart.set_modem_inputs(cts=True, now=bench.now)
        bench.uart.set_modem_inputs(cts=False, now=bench.now)
        bench.read(MSR)
    assert bench.interrupts == [True, False] * (len(bench.interrupts) // 2)


# 8.7: MCR


@pytest.mark.parametrize("mcr", range(32))
def test_mcr_drives_the_four_outputs_and_loopback_makes_them_inactive(mcr: int) -> None:
    bench = Bench()
    bench.write(MCR, mcr | 0xE0)
    assert bench.read(MCR) == mcr
    dtr, rts, out1, out2 = (bool(mcr >> at & 1) for at in range(4))
    wanted = ModemOutputs(dtr, rts, out1, out2, False)
    assert bench.uart.outputs == (ModemOutputs() if mcr & 0x10 else wanted)


def test_loopback_brings_back_what_is_sent() -> None:
    bench = Bench().up()
    bench.write(MCR, 0x10)
    for octet in b"0123456789":
        bench.write(THR, octet)
    assert bench.all() == b"0123456789"
    assert bench.sent == []


def test_loopback_disconnects_the_line_which_keeps_what_it_has() -> None:
    bench = Bench().up()
    bench.write(MCR, 0x10)
    bench.bring(b"from outside")
    bench.uart.receive_break(bench.now)
    assert bench.read(LSR) == 0x60
    bench.write(MCR, 0x00)
    assert bench.all() == b"from outside"


def test_loopback_connects_the_modem_lines() -> None:
    bench = Bench()
    bench.uart.set_modem_inputs(cts=True, dsr=True, ri=True, dcd=True, now=bench.now)
    # RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD
    for mcr, msr in ((0x02, 0x10), (0x01, 0x20), (0x04, 0x40), (0x08, 0x80), (0x0A, 0x90), (0x00, 0x00)):
        bench.write(MCR, 0x10 | mcr)
        assert bench.read(MSR) & 0xF0 == msr
    bench.write(MCR, 0)
    assert bench.read(MSR) & 0xF0 == 0xF0


def test_interrupts_work_in_loopback_the_modem_ones_from_mcr() -> None:
    bench = Bench().up(ier=EDSSI | ERBFI)
    bench.write(MCR, 0x1B)
    bench.read(MSR)
    assert not bench.level
    bench.write(MCR, 0x19)
    assert bench.read(IIR) == FIFO | MODEM
    assert bench.level
    bench.read(MSR)
    bench.write(THR, 1)
    assert bench.read(IIR) == FIFO | RDA


def test_a_break_is_not_looped_back() -> None:
    bench = Bench().up()
    bench.write(MCR, 0x10)
    bench.write(LCR, 0x43)
    assert bench.read(LSR) == 0x60
    assert not bench.uart.outputs.sending_break
    bench.write(MCR, 0x00)
    assert bench.uart.outputs.sending_break


def test_loopback_overruns_like_a_line() -> None:
    bench = Bench().up()
    bench.write(MCR, 0x10)
    for octet in range(256):
        bench.write(THR, octet)
    assert bench.read(LSR) & OVERRUN
    assert bench.all() == bytes(range(16))


# 8.8: MSR


@pytest.mark.parametrize(("name", "bit", "delta"), [("cts", 0x10, 1), ("dsr", 0x20, 2), ("dcd", 0x80, 8)])
def test_an_input_and_its_change_both_ways(name: str, bit: int, delta: int) -> None:
    bench = Bench().up(ier=EDSSI)
    for value in (True, False):
        bench.uart.set_modem_inputs(now=bench.now, **{name: value})
        assert bench.level
        assert bench.read(MSR) == (bit if value else 0) | delta
        assert bench.read(MSR) == (bit if value else 0)
        assert not bench.level


def test_only_the_end_of_a_ring_is_told() -> None:
    bench = Bench().up(ier=EDSSI)
    bench.uart.set_modem_inputs(ri=True, now=bench.now)
    assert not bench.level
    assert bench.read(MSR) == 0x40
    bench.uart.set_modem_inputs(ri=False, now=bench.now)
    assert bench.level
    assert bench.read(MSR) == 0x04


def test_a_change_and_back_is_still_a_change() -> None:
    bench = Bench()
    bench.uart.set_modem_inputs(cts=True, now=bench.now)
    bench.uart.set_modem_inputs(cts=False, now=bench.now)
    assert bench.read(MSR) == 0x01


def test_an_input_set_to_what_it_is_changes_nothing() -> None:
    bench = Bench().up(ier=EDSSI)
    bench.uart.set_modem_inputs(cts=False, dsr=False, ri=False, dcd=False, now=bench.now)
    assert bench.read(MSR) == 0
    assert not bench.interrupts


# 8.9: scratch


@pytest.mark.parametrize("value", range(256))
def test_the_scratch_register_keeps_any_value(value: int) -> None:
    bench = Bench()
    bench.write(SCR, value)
    assert bench.read(SCR) == value
    bench.write(LCR, 0x80)
    assert bench.read(SCR) == value


# The line that waits


def test_sending_takes_no_time_and_thr_is_empty_again() -> None:
    bench = Bench().up(ier=ETBEI)
    for octet in b"hello":
        bench.write(THR, octet)
        assert bench.read(LSR) == 0x60
    assert bytes(bench.sent) == b"hello"


def test_one_interrupt_for_a_fifo_full_of_octets() -> None:
    bench = Bench().up(ier=ETBEI)
    for _ in range(10):
        assert bench.read(IIR) == FIFO | THRE
        for octet in range(16):
            bench.write(THR, octet)
    assert bench.interrupts == [True, *[False, True] * 10]  # up when enabled, then down and up once a FIFO
    assert len(bench.sent) == 160


def test_a_held_line_fills_the_fifo_and_what_is_beyond_is_lost() -> None:
    bench = Bench().up()
    bench.uart.hold(True, bench.now)
    for octet in range(20):
        bench.write(THR, octet)
        assert bench.read(LSR) == 0x00
    bench.uart.hold(False, bench.now)
    assert bench.sent == list(range(16))
    assert bench.read(LSR) == 0x60


def test_a_held_line_without_fifos_keeps_the_last_octet() -> None:
    bench = Bench().up(fcr=0)
    bench.uart.hold(True, bench.now)
    bench.write(THR, 1)
    bench.write(THR, 2)
    bench.uart.hold(False, bench.now)
    assert bench.sent == [2]


def test_who_takes_octets_may_hold_the_line_in_the_middle() -> None:
    bench = Bench().up()
    bench.uart.hold(True, bench.now)
    for octet in range(10):
        bench.write(THR, octet)
    uart = bench.uart

    def transmit(octet: int, now: float) -> None:
        bench.sent.append(octet)
        uart.hold(len(bench.sent) % 4 == 0, now)

    uart._transmit = transmit
    uart.hold(False, bench.now)
    assert bench.sent == [0, 1, 2, 3]
    assert bench.read(LSR) == 0x00
    uart.hold(False, bench.now)
    uart.hold(False, bench.now)
    assert bench.sent == list(range(10))


def test_the_line_is_asked_when_it_may_have_something_and_not_otherwise() -> None:
    bench = Bench().up(fcr=0x81)
    bench.bring(bytes(100))
    bench.all()
    pulls = bench.pulls
    assert pulls <= 16
    for _ in range(10):
        bench.read(RBR)
        bench.read(LSR)
    assert bench.pulls == pulls


def test_what_comes_comes_in_bursts_and_iir_lets_the_next_one_in() -> None:
    bench = Bench().up(fcr=0xC1, ier=ERBFI)
    bench.bring(bytes(2 * BURST_LEAST + 4))
    for octets in (BURST_LEAST, BURST_LEAST, 4):
        assert bench.level
        assert bench.read(IIR) == FIFO | (RDA if octets == BURST_LEAST else CTI)
        for _ in range(octets):
            assert bench.read(LSR) == 0x61
            bench.read(RBR)
        assert bench.read(LSR) == 0x60  # a handler that looks here again and again has an end
        assert not bench.level
        assert bench.read(IIR) == FIFO | NONE
    assert bench.interrupts == [True, False] * 3


def test_where_iir_does_not_tell_of_data_lsr_lets_the_next_burst_in() -> None:
    bench = Bench().up()
    bench.bring(bytes(2 * BURST_LEAST + 8))
    for octets in (BURST_LEAST, BURST_LEAST, 8):
        for _ in range(octets):
            assert bench.read(LSR) == 0x61
            bench.read(RBR)
        assert bench.read(LSR) == 0x60
    assert bench.read(LSR) == 0x60


def test_a_guest_that_does_not_look_gets_the_next_burst_after_a_pause() -> None:
    bench = Bench().up(ier=ERBFI)
    bench.bring(bytes(range(2 * BURST_LEAST + 8)))
    got = bytearray()
    for _ in range(3):
        while bench.read(LSR) & 1:
            got.append(bench.read(RBR))
        bench.uart.poke(bench.now)
        assert bench.read(LSR) == 0x60
        bench.run(BURST_PAUSE)
    assert got == bytes(range(2 * BURST_LEAST + 8))
    assert bench.uart.deadline == math.inf


def test_a_chip_without_fifos_has_bursts_too() -> None:
    bench = Bench().up(fcr=0, ier=ERBFI)
    bench.bring(bytes(BURST_LEAST + 16))
    for _ in range(BURST_LEAST):
        assert bench.read(IIR) == RDA
        bench.read(RBR)
    assert bench.interrupts == [True, False] * BURST_LEAST  # an edge for each, for who waits for edges
    assert bench.read(IIR) == NONE
    assert bench.read(IIR) == RDA
    assert len(bench.serve()) == 16


def test_clearing_the_receiver_lets_a_new_burst_in() -> None:
    bench = Bench().up(ier=ERBFI)
    bench.bring(bytes(range(40)))
    bench.write(FCR, 0x03)
    assert bench.read(RBR) == 16


def test_the_time_out_has_passed_as_soon_as_nothing_more_is_there() -> None:
    bench = Bench().up(fcr=0xC1, ier=ERBFI)
    bench.bring(b"abc")
    for _ in range(3):
        assert bench.read(IIR) == FIFO | CTI
        bench.read(RBR)
    assert bench.read(IIR) == FIFO | NONE
    assert bench.interrupts == [True, False]


def test_a_line_that_is_empty_when_asked_is_asked_again_when_poked() -> None:
    bench = Bench().up()
    bench.bring(b"a")
    bench.line += b"b"
    assert bench.all() == b"a"
    bench.uart.poke(bench.now)
    assert bench.all() == b"b"


@pytest.mark.parametrize("wrong", [{"model": "8251"}, {"pace": "fast"}])
def test_an_unknown_model_or_pace_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        Uart16550(
            interrupt=lambda _: None, transmit=lambda *_: None, pull=lambda *_: b"", modem=lambda _: None,
            **wrong,
        )  # fmt: skip

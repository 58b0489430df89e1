"""The UART on a line that takes time: characters, the time-out, the transmitter's indications, every divisor."""

import math

import pytest

from serialport.uart16550.receiver import OVERRUN
from tests.support.uart_bench import CHARACTER, DLL, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, THR, Bench

ERBFI, ETBEI = 1, 2
NONE, RDA, CTI, THRE = 0xC1, 0xC4, 0xCC, 0xC2


def bench(**options: int) -> Bench:
    return Bench(pace="line").up(**options)


def about(seconds: float) -> object:
    return pytest.approx(seconds, rel=1e-6)


# Character times (sections 8.1 and 8.2)


@pytest.mark.parametrize(
    ("lcr", "bits"),
    [(0x00, 7), (0x01, 8), (0x02, 9), (0x03, 10),  # start, 5 to 8 data, one stop
     (0x04, 7.5), (0x05, 9), (0x06, 10), (0x07, 11),  # one and a half stop bits for 5 data bits, else two
     (0x08, 8), (0x1B, 11), (0x3F, 12)],
)  # fmt: skip
@pytest.mark.parametrize("divisor", [1, 12, 0x180])
def test_a_character_takes_what_lcr_and_the_divisor_say(lcr: int, bits: float, divisor: int) -> None:
    it = bench(divisor=divisor, fcr=0)
    it.write(LCR, lcr)
    start = it.now
    it.write(THR, 0)
    it.run(1.0)
    assert it.sent_at == [about(start + bits * divisor * 16 / 1_843_200)]


def test_characters_are_received_one_a_character_time() -> None:
    it = bench()
    it.bring(b"abc")
    for count in (0, 1, 2, 3, 3):
        assert it.uart.waiting == count
        it.run(CHARACTER)
    assert it.all() == b"abc"
    assert it.uart.deadline == math.inf


@pytest.mark.untraced
@pytest.mark.parametrize("pace", ["none", "line"])
def test_every_divisor_is_harmless(pace: str) -> None:
    it = Bench(pace=pace).up()
    it.write(LCR, 0x83)
    for divisor in range(65536):
        if not divisor & 0xFF:
            it.write(1, divisor >> 8)
        it.write(DLL, divisor & 0xFF)
        it.write(LCR, 0x03)
        it.write(THR, 0x55)
        it.bring(b"x")
        it.now = min(max(it.uart.deadline, it.now), it.now + 100)
        it.uart.tick(it.now)
        it.read(RBR)
        it.write(LCR, 0x83)
    it.now += 1000.0
    it.uart.tick(it.now)
    assert it.sent


def test_divisor_0_counts_as_65536() -> None:
    it = bench(divisor=0)
    start = it.now
    it.write(THR, 1)
    it.run(10)
    assert it.sent_at == [about(start + 10 * 16 * 65536 / 1_843_200)]


def test_a_divisor_changed_in_mid_character_takes_effect_with_the_next() -> None:
    it = bench()
    start = it.now
    it.write(THR, 1)
    it.divisor(12)
    it.run(0.1)
    it.write(THR, 2)
    it.run(0.1)
    assert it.sent_at == [about(start + CHARACTER), about(start + 0.1 + 12 * CHARACTER)]


def test_a_character_that_began_at_another_speed_is_not_waited_for() -> None:
    it = bench(divisor=0)
    it.bring(b"ab")
    it.divisor(1)
    it.run(2.1 * CHARACTER)
    assert it.all() == b"ab"


# Receiving: overrun, and time that nobody gave


def test_a_receiver_that_is_not_read_overruns_after_its_fifo_is_full() -> None:
    it = bench()
    it.bring(bytes(range(20)))
    it.run(16.5 * CHARACTER)
    assert it.uart.waiting == 16
    assert not it.read(LSR) & OVERRUN
    it.run(1 * CHARACTER)
    assert it.read(LSR) & OVERRUN
    it.run(10 * CHARACTER)
    assert it.all() == bytes(range(16))


def test_without_fifos_the_last_character_stays() -> None:
    it = bench(fcr=0)
    it.bring(b"abc")
    it.run(3.5 * CHARACTER)
    assert it.read(LSR) & OVERRUN
    assert it.all() == b"c"


def test_a_wake_up_that_comes_late_overruns_nothing() -> None:
    it = bench()
    it.bring(bytes(range(100)))
    got = b""
    for _ in range(20):
        it.now += 1.0  # 11,520 characters' worth
        got += it.all()
    assert got == bytes(range(100))


def test_loopback_takes_its_time() -> None:
    it = bench()
    it.write(MCR, 0x10)
    it.write(THR, 7)
    assert it.read(LSR) & 0x41 == 0
    it.run(CHARACTER * 1.01)
    assert it.read(LSR) & 0x41 == 0x41
    assert it.read(RBR) == 7


def test_what_waits_on_the_line_comes_when_loopback_ends() -> None:
    it = bench()
    it.write(MCR, 0x10)
    it.bring(b"ab")
    it.run(1.0)
    assert it.uart.waiting == 0
    it.write(MCR, 0x00)
    it.run(CHARACTER * 2.5)
    assert it.all() == b"ab"


# The receive time-out (FIFO interrupt mode operation, A to D)


def test_the_time_out_comes_four_characters_after_the_last_one_came() -> None:
    it = bench(fcr=0x81, ier=ERBFI)
    it.bring(b"ab")
    it.run(2.01 * CHARACTER)
    it.run(3.9 * CHARACTER)
    assert it.read(IIR) == NONE
    assert not it.level
    it.run(0.2 * CHARACTER)
    assert it.level
    assert it.read(IIR) == CTI


def test_a_character_or_a_read_begins_the_time_out_anew() -> None:
    it = bench(fcr=0x81, ier=ERBFI)
    it.bring(b"ab")
    it.run(5 * CHARACTER)
    it.read(RBR)
    it.run(2.9 * CHARACTER)
    it.bring(b"c")  # has come 3.9 characters after the read
    it.run(4.9 * CHARACTER)
    assert not it.level
    it.run(0.2 * CHARACTER)
    assert it.read(IIR) == CTI


def test_reading_a_character_clears_the_time_out() -> None:
    it = bench(fcr=0x81, ier=ERBFI)
    it.bring(b"ab")
    it.run(7 * CHARACTER)
    assert it.read(IIR) == CTI
    it.read(RBR)
    assert it.read(IIR) == NONE
    assert not it.level
    it.run(4.1 * CHARACTER)
    assert it.read(IIR) == CTI
    it.read(RBR)
    it.run(1.0)
    assert it.read(IIR) == NONE


def test_a_time_out_stays_when_more_comes() -> None:
    it = bench(fcr=0xC1, ier=ERBFI)
    it.bring(b"a")
    it.run(6 * CHARACTER)
    assert it.level
    it.bring(b"b")
    it.run(2 * CHARACTER)
    assert it.read(IIR) == CTI
    assert it.interrupts == [True]


def test_there_is_no_time_out_without_fifos_or_with_an_empty_one() -> None:
    it = bench(fcr=0, ier=ERBFI)
    it.bring(b"a")
    it.run(1.0)
    assert it.read(IIR) == RDA & 0x0F
    it.write(FCR, 0x81)
    it.run(1.0)
    assert it.read(IIR) == NONE


def test_the_trigger_level_interrupts_at_once() -> None:
    it = bench(fcr=0x41, ier=ERBFI)
    it.bring(b"abcd")
    it.run(3.5 * CHARACTER)
    assert not it.level
    it.run(0.6 * CHARACTER)
    assert it.read(IIR) == RDA


def test_clearing_the_fifo_ends_the_time_out() -> None:
    it = bench(fcr=0x81, ier=ERBFI)
    it.bring(b"a")
    it.run(7 * CHARACTER)
    it.write(FCR, 0x83)
    assert not it.level


# The transmitter


def test_thr_is_empty_when_its_octet_has_gone_to_the_shift_register() -> None:
    it = bench(fcr=0)
    it.write(THR, 1)
    assert it.read(LSR) == 0x20  # THRE, not TEMT
    it.write(THR, 2)
    assert it.read(LSR) == 0x00
    it.run(1.01 * CHARACTER)
    assert it.read(LSR) == 0x20
    it.run(CHARACTER)
    assert it.read(LSR) == 0x60
    assert it.sent == [1, 2]


def test_writing_a_full_thr_replaces_what_waits() -> None:
    it = bench(fcr=0)
    for octet in (1, 2, 3):
        it.write(THR, octet)
    it.run(1.0)
    assert it.sent == [1, 3]


def test_the_fifo_takes_sixteen_beside_the_shift_register() -> None:
    it = bench()
    for octet in range(20):
        it.write(THR, octet)
    it.run(1.0)
    assert it.sent == list(range(17))


def test_characters_follow_each_other_without_a_gap() -> None:
    it = bench()
    start = it.now
    for octet in range(10):
        it.write(THR, octet)
    it.now += 1.0
    it.uart.tick(it.now)  # however late the tick
    assert it.sent_at == [about(start + (at + 1) * CHARACTER) for at in range(10)]


def test_the_fifo_is_empty_when_its_last_octet_leaves_it() -> None:
    it = bench(ier=ETBEI)
    it.read(IIR)
    for octet in range(4):
        it.write(THR, octet)
    it.run(2.9 * CHARACTER)
    assert not it.level
    it.run(0.2 * CHARACTER)
    assert it.read(LSR) == 0x20
    assert it.read(IIR) == THRE
    it.run(CHARACTER)
    assert it.read(LSR) == 0x60


def test_a_single_octet_is_told_a_character_less_a_stop_bit_later() -> None:
    it = bench(ier=ETBEI)
    it.write(THR, 1)
    it.run(1.0)  # the first one after FCR bit 0 changed: at once
    it.read(IIR)
    it.write(THR, 2)
    assert it.read(LSR) == 0x00
    it.run(0.89 * CHARACTER)
    assert not it.level
    it.run(0.02 * CHARACTER)
    assert it.read(LSR) == 0x20
    assert it.read(IIR) == THRE
    it.run(0.1 * CHARACTER)
    assert it.read(LSR) == 0x60


def test_the_first_indication_after_fcr_bit_0_changed_is_not_delayed() -> None:
    it = bench(ier=ETBEI)
    it.read(IIR)
    it.write(THR, 1)
    assert it.read(IIR) == THRE


def test_clearing_the_fifo_leaves_the_shift_register() -> None:
    it = bench(ier=ETBEI)
    for octet in range(5):
        it.write(THR, octet)
    assert not it.level
    it.write(FCR, 0x05)
    assert it.read(IIR) == THRE
    it.run(1.0)
    assert it.sent == [0]


def test_a_held_line_finishes_the_character_that_has_begun() -> None:
    it = bench()
    for octet in range(3):
        it.write(THR, octet)
    it.uart.hold(True, it.now)
    it.run(1.0)
    assert it.sent == [0]
    it.uart.hold(False, it.now)
    it.run(1.0)
    assert it.sent == [0, 1, 2]


def test_reset_ends_the_character_that_is_being_sent() -> None:
    it = bench()
    it.write(THR, 1)
    it.uart.reset(it.now)
    it.run(1.0)
    assert it.sent == []
    assert it.uart.deadline == math.inf


def test_an_idle_chip_wants_no_ticks() -> None:
    it = bench(ier=0x0F, fcr=0x81)
    it.bring(b"hello")
    it.write(THR, 1)
    it.run(1.0)
    it.all()
    it.run(1.0)
    it.read(MSR)
    assert it.uart.deadline == math.inf
    assert it.read(IER) == 0x0F

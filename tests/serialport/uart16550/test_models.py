"""The chips of the family: how software tells them apart, their FIFOs, and automatic flow control."""

import pytest

from serialport.uart16550.models import MODELS
from tests.support.uart_bench import CHARACTER, DLL, DLM, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, SCR, THR, Bench

FIFOS = {"8250": 1, "16450": 1, "16550": 1, "16550A": 16, "16650": 32, "16750": 64, "16950": 128}
EFR = FCR


def deep(model: str, pace: str = "none") -> Bench:
    """With its FIFOs as deep as they can be."""
    it = Bench(model, pace).up(fcr=0)
    if model == "16750":
        it.write(LCR, 0x83)
        it.write(FCR, 0x21)
        it.write(LCR, 0x03)
    elif model in ("16650", "16950"):
        it.write(LCR, 0xBF)
        it.write(EFR, 0x10)
        it.write(LCR, 0x03)
        it.write(FCR, 0x01)
    else:
        it.write(FCR, 0x01)
    return it


def fifo_by_loopback(it: Bench) -> int:
    """What a driver finds that sends 256 octets to itself at 115,200 baud, and counts what has arrived 20 ms later."""
    it.write(LCR, 0)
    it.write(FCR, 0x07)
    mcr = it.read(MCR)
    it.write(MCR, 0x10)
    it.divisor(1)
    it.write(LCR, 0x03)
    for octet in range(256):
        it.write(THR, octet)
    it.run(0.02)
    count = 0
    while it.read(LSR) & 1 and count < 256:
        it.read(RBR)
        count += 1
    it.write(MCR, mcr)
    return count


def detect(it: Bench) -> str:
    """What the PC world's drivers go by, one chip from the next (as Linux's 8250 driver and DOS tools do it)."""
    it.write(IER, 0)
    assert it.read(IER) & 0x0F == 0
    it.write(IER, 0x0F)
    assert it.read(IER) & 0x0F == 0x0F
    it.write(IER, 0)
    it.write(MCR, 0x1A)
    assert it.read(MSR) & 0xF0 == 0x90
    it.write(MCR, 0)
    it.write(LCR, 0xBF)
    it.write(EFR, 0)
    it.write(LCR, 0)
    it.write(FCR, 0x01)
    kind = it.read(IIR) >> 6
    if kind == 0:
        it.write(SCR, 0xA5)
        first = it.read(SCR)
        it.write(SCR, 0x5A)
        return "16450" if (first, it.read(SCR)) == (0xA5, 0x5A) else "8250"
    if kind == 2:
        return "16550"
    assert kind == 3
    it.write(LCR, 0x80)
    assert it.read(EFR) != 0  # still IIR: only the first of the 16650s shows its EFR here
    it.write(LCR, 0xBF)
    if it.read(EFR) == 0:
        return _enhanced(it)
    it.write(LCR, 0)
    it.write(FCR, 0x21)
    plain = it.read(IIR) >> 5
    it.write(FCR, 0x01)
    it.write(LCR, 0x80)
    it.write(FCR, 0x21)
    latched = it.read(IIR) >> 5
    it.write(FCR, 0x01)
    it.write(LCR, 0)
    if (plain, latched) == (6, 7):
        return "16750"
    it.write(IER, 0x40)
    assert it.read(IER) == 0  # not one of the embedded kind with a unit enable bit
    return "16550A" if fifo_by_loopback(it) == 16 else "?"


def _enhanced(it: Bench) -> str:
    it.write(EFR, 0x10)
    it.write(LCR, 0)
    identity = []
    for index in (8, 9, 10):
        it.write(SCR, 0)  # ACR
        it.write(LSR, 0x40)
        it.write(SCR, index)
        identity.append(it.read(LSR))
        it.write(SCR, 0)
        it.write(LSR, 0)
    if identity == [0x16, 0xC9, 0x50]:
        return "16950"
    it.write(LCR, 0x80)
    it.write(DLL, 0)
    it.write(DLM, 0)
    assert it.read(DLM) not in (0x10, 0x12, 0x14)
    return "16650" if fifo_by_loopback(it) == 32 else "?"


@pytest.mark.parametrize("pace", ["none", "line"])
@pytest.mark.parametrize("model", MODELS)
def test_each_chip_is_detected_as_what_it_is(model: str, pace: str) -> None:
    assert detect(Bench(model, pace)) == model


@pytest.mark.parametrize("model", MODELS)
def test_every_chip_has_a_test_here(model: str) -> None:
    assert model in FIFOS


@pytest.mark.parametrize("pace", ["none", "line"])
def test_the_transmitter_interrupt_is_not_taken_for_broken(pace: str) -> None:
    """What a driver does when it opens the port: the interrupt must come back each time it is enabled."""
    it = Bench(pace=pace).up(fcr=0x81)
    it.write(IER, 0x02)
    first = it.read(IIR)
    it.write(IER, 0)
    it.write(IER, 0x02)
    second = it.read(IIR)
    it.write(IER, 0)
    assert (first, second) == (0xC2, 0xC2)
    it.write(IER, 0x02)
    assert it.read(LSR) & 0x40
    assert not it.read(IIR) & 1


@pytest.mark.parametrize("model", MODELS)
def test_fifo_sizes(model: str) -> None:
    it = deep(model)
    it.bring(bytes(300))
    assert it.uart.waiting == FIFOS[model]
    it.uart.hold(True, it.now)
    for octet in range(200):
        it.write(THR, octet)
    it.uart.hold(False, it.now)
    assert len(it.sent) == FIFOS[model]
    it.write(FCR, 0)
    it.bring(b"")
    assert it.uart.waiting <= 1


@pytest.mark.parametrize(
    ("model", "levels"),
    [("16550A", (1, 4, 8, 14)), ("16650", (8, 16, 24, 28)), ("16750", (1, 16, 32, 56)), ("16950", (16, 32, 112, 120))],
)
def test_trigger_levels(model: str, levels: tuple[int, ...]) -> None:
    for bits, level in enumerate(levels):
        it = deep(model, "line")
        it.write(LCR, 0x83)
        it.write(FCR, bits << 6 | 0x21)
        it.write(LCR, 0x03)
        it.write(IER, 0x01)
        for _ in range(level - 1):
            it.uart.receive_damaged(0, 0, it.now)
        assert it.read(IIR) & 0x0F == 0x01
        it.uart.receive_damaged(0, 0, it.now)
        assert it.read(IIR) & 0x0F == 0x04


@pytest.mark.parametrize("model", ["8250", "16450"])
def test_chips_without_fifos_have_no_fcr(model: str) -> None:
    it = Bench(model).up(fcr=0)
    it.bring(b"ab")
    it.write(FCR, 0xFF)
    assert it.read(IIR) == 0x01
    assert it.all() == b"ab"


def test_the_8250_has_no_scratch_register() -> None:
    it = Bench("8250")
    it.write(SCR, 0x12)
    assert it.read(SCR) == 0xFF


def test_the_first_16550_says_that_its_fifos_are_on_and_works_without() -> None:
    it = Bench("16550").up(fcr=0xC1, ier=1)
    assert it.read(IIR) == 0x81
    it.bring(b"abc")
    assert it.read(IIR) == 0x84
    assert it.all() == b"abc"


def test_the_64_octet_mode_of_the_16750_needs_dlab_and_ends_with_the_fifos() -> None:
    it = Bench("16750").up(fcr=0x21)
    assert it.read(IIR) == 0xC1
    it.write(LCR, 0x80)
    it.write(FCR, 0x21)
    it.write(LCR, 0x03)
    assert it.read(IIR) == 0xE1
    it.write(FCR, 0x81)  # bit 5 is guarded: nothing changes it now
    assert it.read(IIR) == 0xE1
    it.write(FCR, 0x00)
    it.write(FCR, 0x01)
    assert it.read(IIR) == 0xC1


@pytest.mark.parametrize("model", MODELS)
def test_bits_that_a_chip_does_not_have_read_as_0(model: str) -> None:
    it = Bench(model)
    it.write(IER, 0xFF)
    it.write(MCR, 0xFF)
    assert it.read(IER) == {"16750": 0x3F}.get(model, 0x0F)
    assert it.read(MCR) == {"16750": 0x3F}.get(model, 0x1F)


@pytest.mark.parametrize("model", ["16650", "16950"])
def test_enhanced_bits_need_efr_bit_4(model: str) -> None:
    it = deep(model)
    it.write(IER, 0xF0)
    it.write(MCR, 0xE0)
    assert (it.read(IER), it.read(MCR)) == (0xF0, 0xE0)
    it.write(LCR, 0xBF)
    it.write(EFR, 0x00)
    it.write(LCR, 0x03)
    it.write(IER, 0xF0)
    it.write(MCR, 0xE0)
    assert (it.read(IER), it.read(MCR)) == (0, 0)


@pytest.mark.parametrize("model", ["16650", "16950"])
def test_lcr_bf_shows_the_enhanced_registers(model: str) -> None:
    it = Bench(model)
    it.write(SCR, 0x11)
    it.write(LCR, 0xBF)
    for register in (2, 4, 5, 6, 7):
        it.write(register, 0xD0 + register)
    assert [it.read(register) for register in (2, 4, 5, 6, 7)] == [0xD2, 0xD4, 0xD5, 0xD6, 0xD7]
    it.write(LCR, 0x03)
    assert (it.read(MCR), it.read(SCR), it.read(LSR)) == (0, 0x11, 0x60)


def test_mcr_bit_7_of_an_enhanced_chip_makes_characters_four_times_as_long() -> None:
    it = deep("16650", "line")
    it.write(MCR, 0x80)
    start = it.now
    it.write(THR, 1)
    it.run(1.0)
    assert it.sent_at == [pytest.approx(start + 4 * CHARACTER)]


# Automatic flow control


def flowing(model: str, pace: str = "none", trigger: int = 0x80) -> Bench:
    """With automatic RTS and CTS on, CTS up."""
    it = deep(model, pace)
    it.write(LCR, 0xBF if model != "16750" else 0x83)
    if model != "16750":
        it.write(EFR, 0xD0)
    else:
        it.write(FCR, trigger | 0x21)
    it.write(LCR, 0x03)
    if model != "16750":
        it.write(FCR, trigger | 0x01)
    it.write(MCR, 0x2B if model == "16750" else 0x0B)
    it.uart.set_modem_inputs(cts=True, now=it.now)
    it.read(MSR)
    return it


@pytest.mark.parametrize("pace", ["none", "line"])
@pytest.mark.parametrize(("model", "resume"), [("16750", 0), ("16650", 16), ("16950", 32)])
def test_rts_drops_at_the_trigger_level_and_returns_when_there_is_room(model: str, resume: int, pace: str) -> None:
    it = flowing(model, pace)
    level = {"16750": 32, "16650": 24, "16950": 112}[model]
    assert it.uart.outputs.rts
    it.bring(bytes(500))
    it.run(1.0)
    assert level <= it.uart.waiting <= FIFOS[model]
    assert not it.uart.outputs.rts
    assert it.read(MCR) & 2  # as the driver wrote it
    while it.uart.waiting > resume + 1:
        it.read(RBR)
        assert not it.uart.outputs.rts
    before = len(it.outputs)
    it.read(RBR)
    assert it.outputs[before].rts


@pytest.mark.parametrize("pace", ["none", "line"])
@pytest.mark.parametrize("model", ["16650", "16750", "16950"])
def test_automatic_rts_loses_nothing(model: str, pace: str) -> None:
    it = flowing(model, pace)
    data = bytes(range(256)) * 8
    it.bring(data)
    got = b""
    for _ in range(100):
        it.run(0.05)
        got += it.all()
    assert got == data
    assert not it.read(LSR) & 0x02


@pytest.mark.parametrize("pace", ["none", "line"])
@pytest.mark.parametrize("model", ["16650", "16750", "16950"])
def test_cts_stops_the_transmitter_and_interrupts_nobody(model: str, pace: str) -> None:
    it = flowing(model, pace)
    it.write(IER, 0x08)
    it.uart.set_modem_inputs(cts=False, now=it.now)
    for octet in range(5):
        it.write(THR, octet)
    it.run(1.0)
    assert it.sent == []
    assert not it.level
    assert it.read(MSR) & 0x1F == 0
    it.uart.set_modem_inputs(cts=True, now=it.now)
    it.run(1.0)
    assert it.sent == list(range(5))
    assert not it.level


def test_without_rts_in_mcr_the_16750_only_minds_cts() -> None:
    it = flowing("16750")
    it.write(MCR, 0x29)
    it.bring(bytes(100))
    assert it.uart.waiting == 64
    assert not it.uart.outputs.rts
    assert len(it.all()) == 100


@pytest.mark.parametrize("model", ["16450", "16550A"])
def test_chips_without_automatic_flow_control_ignore_cts(model: str) -> None:
    it = Bench(model).up()
    it.write(MCR, 0x2B)
    it.write(THR, 1)
    assert it.sent == [1]

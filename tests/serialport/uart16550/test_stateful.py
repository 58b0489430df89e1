"""The UART against a small model of it, and under any traffic at all."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serialport.uart16550.chip import BURST_LEAST
from serialport.uart16550.models import MODELS
from tests.support.uart_bench import FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, THR, Bench

OUT2 = 0x08
OCTET = st.integers(0, 255)


class Against(RuleBasedStateMachine):
    """A 16550A whose line waits, beside what the data sheet says in so many words."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.bench.write(LCR, 0x03)
        self.line: deque[int] = deque()
        self.fifo: deque[tuple[int, int]] = deque()
        self.errors = 0
        self.fifos = False
        self.level = 1
        self.ier = self.mcr = 0
        self.thri = False
        self.inputs = self.deltas = 0
        self.sent: list[int] = []
        self.burst = BURST_LEAST
        self.more = True
        self.pausing = False

    @property
    def size(self) -> int:
        return 16 if self.fifos else 1

    def refill(self) -> None:
        while self.more and self.burst and len(self.fifo) < self.level:
            wanted = min(self.size - len(self.fifo), self.burst)
            for _ in range(wanted):
                if self.line:
                    self.fifo.append((self.line.popleft(), 0))
                    self.burst -= 1
                else:
                    self.more = False

    def next_burst(self) -> None:
        if not self.fifo and self.burst < BURST_LEAST:
            self.burst = BURST_LEAST
            self.pausing = False
            self.refill()

    def reveal(self) -> None:
        if self.fifo:
            octet, errors = self.fifo[0]
            self.errors |= errors
            self.fifo[0] = octet, 0

    def source(self) -> int:
        if self.ier & 4 and self.errors:
            return 0x06
        if self.ier & 1 and self.fifo:
            return 0x04 if len(self.fifo) >= self.level else 0x0C
        if self.ier & 2 and self.thri:
            return 0x02
        return 0x00 if self.ier & 8 and self.deltas else 0x01

    @rule(data=st.binary(min_size=1, max_size=100))
    def bring(self, data: bytes) -> None:
        self.line += data
        self.more = True
        self.refill()
        self.bench.bring(data)

    @rule(octet=OCTET, errors=st.sampled_from([0, 4, 8, 0x18]))
    def damaged(self, octet: int, errors: int) -> None:
        if len(self.fifo) >= self.size:
            self.errors |= 2
            if not self.fifos:
                self.fifo.clear()
        if len(self.fifo) < self.size:
            self.fifo.append((octet, errors))
        self.reveal()
        self.refill()
        self.bench.uart.receive_damaged(octet, errors, self.bench.now)

    @precondition(lambda self: self.fifo)
    @rule()
    def read_rbr(self) -> None:
        octet, _ = self.fifo.popleft()
        self.reveal()
        self.refill()
        self.pausing = self.pausing or (self.more and not self.fifo)
        assert self.bench.read(RBR) == octet

    @rule()
    def read_lsr(self) -> None:
        wanted = 0x60 | bool(self.fifo) | self.errors
        if self.fifos and (self.errors & 0x1C or any(errors for _, errors in self.fifo)):
            wanted |= 0x80
        self.errors = 0
        if not self.ier & 1:
            self.next_burst()
        assert self.bench.read(LSR) == wanted

    @rule()
    def pause(self) -> None:
        if self.pausing:
            self.pausing = False
            self.burst = BURST_LEAST
            self.refill()
        self.bench.run(0.002)

    @rule()
    def read_iir(self) -> None:
        source = self.source()
        if source == 0x02:
            self.thri = False
        self.next_burst()
        assert self.bench.read(IIR) == source | (0xC0 if self.fifos else 0)

    @rule()
    def read_msr(self) -> None:
        assert self.bench.read(MSR) == self.inputs | self.deltas
        self.deltas = 0

    @rule(octet=OCTET)
    def write_thr(self, octet: int) -> None:
        self.sent.append(octet)
        self.thri = True
        self.bench.write(THR, octet)

    @rule(value=OCTET)
    def write_ier(self, value: int) -> None:
        value &= 0x0F
        if value & ~self.ier & 2:
            self.thri = True
        self.ier = value
        self.bench.write(IER, value)

    @rule(value=OCTET)
    def write_fcr(self, value: int) -> None:
        on = bool(value & 1)
        if on != self.fifos or on and value & 2:
            self.fifo.clear()
            self.errors &= 2
        self.fifos = on
        self.level = (1, 4, 8, 14)[value >> 6] if on else 1
        if not self.fifo:
            self.burst = BURST_LEAST
            self.pausing = False
            self.refill()
        self.bench.write(FCR, value)

    @rule(value=st.integers(0, 15))
    def write_mcr(self, value: int) -> None:
        self.mcr = value
        self.bench.write(MCR, value)

    @rule(inputs=st.integers(0, 15))
    def modem(self, inputs: int) -> None:
        changed = inputs ^ self.inputs >> 4
        if inputs & 4:
            changed &= ~4
        self.deltas |= changed
        self.inputs = inputs << 4
        self.bench.uart.set_modem_inputs(
            cts=bool(inputs & 1), dsr=bool(inputs & 2), ri=bool(inputs & 4), dcd=bool(inputs & 8), now=self.bench.now
        )

    @invariant()
    def agrees(self) -> None:
        bench = self.bench
        assert bench.level == (bool(self.mcr & OUT2) and self.source() != 1)
        assert bench.uart.waiting == len(self.fifo)
        assert bytes(bench.line) == bytes(self.line)
        assert bench.sent == self.sent
        assert bench.interrupts == [True, False] * (len(bench.interrupts) // 2) + [True] * (len(bench.interrupts) % 2)
        assert (bench.uart.outputs.dtr, bench.uart.outputs.rts) == (bool(self.mcr & 1), bool(self.mcr & 2))


Against.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAgainst = Against.TestCase


ACCESS = st.tuples(st.just("read"), st.integers(-2, 300), st.just(0))
CHANGE = st.tuples(st.just("write"), st.integers(-2, 300), st.one_of(OCTET, st.sampled_from([0xBF, 0x80, -1, 1 << 40])))
LINE = st.tuples(st.sampled_from(["bring", "damaged", "break", "modem", "hold", "time", "reset"]), OCTET, OCTET)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(MODELS)),
    st.sampled_from(["none", "line"]),
    st.lists(st.one_of(ACCESS, CHANGE, LINE), max_size=120),
)
def test_any_traffic_is_harmless(model: str, pace: str, traffic: list[tuple[str, int, int]]) -> None:
    bench = Bench(model, pace)
    uart = bench.uart
    for what, first, second in traffic:
        if what == "read":
            assert 0 <= bench.read(first) <= 255
        elif what == "write":
            bench.write(first, second)
        elif what == "bring":
            bench.bring(bytes(first))
        elif what == "damaged":
            uart.receive_damaged(first, second, bench.now)
        elif what == "break":
            uart.receive_break(bench.now)
        elif what == "modem":
            uart.set_modem_inputs(cts=bool(first & 1), dsr=bool(first & 2), ri=bool(first & 4), now=bench.now)
        elif what == "hold":
            uart.hold(bool(first & 1), bench.now)
        elif what == "time":
            bench.now += first / 1000
            uart.tick(bench.now)
        else:
            uart.reset(bench.now)
        assert uart.waiting <= 128
        assert len(uart._tx.waiting) <= 128
        assert uart.deadline > bench.now - 1e-9
        assert bench.interrupts == [True, False] * (len(bench.interrupts) // 2) + [True] * (len(bench.interrupts) % 2)
        assert bench.level == (bool(bench.interrupts) and bench.interrupts[-1])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(MODELS)),
    st.sampled_from(["none", "line"]),
    st.binary(max_size=150),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 80)), max_size=60),
)
def test_what_goes_through_a_chip_that_is_served_comes_out(
    model: str, pace: str, data: bytes, turns: list[tuple[int, int]]
) -> None:
    """Both ways at once, however the turns fall, when the driver reads and writes by LSR and in time."""
    bench = Bench(model, pace).up(fcr=0x81, ier=0x0F)
    bench.bring(data)
    got, at = bytearray(), 0
    turns = [*turns, *[(3, 80)] * 350]
    for octets, microseconds in turns:
        for _ in range(octets):
            if bench.read(LSR) & 0x20 and at < len(data):
                bench.write(THR, data[at])
                at += 1
            if bench.read(LSR) & 0x01:
                got.append(bench.read(RBR))
            else:
                bench.read(IIR)
        if pace == "line":
            bench.now += microseconds / 1e6  # less than a character
    bench.run(1.0)
    assert bytes(got) == data
    assert bytes(bench.sent) == data

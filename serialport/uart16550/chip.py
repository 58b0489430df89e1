"""The 16550 UART and its family, register by register (National PC16550D data sheet, June 1995). Sans-I/O.

In: register reads and writes of a guest's driver, octets that `pull` gives, changes of the modem inputs, damaged
characters, `now` in seconds.  Out: the level of the interrupt line, octets, the levels of the modem outputs, each by a
callable that is told of changes only.  `deadline` says when `tick(now)` is next wanted.  It knows nothing of buses,
guests or ports.

The line is one that waits: what arrives stays with its owner until `pull` takes it, so nothing is lost for want of room
in a chip that is not paced.  `poke` tells that there is something to pull.

    pace "none"   a character takes no time, and what comes comes in bursts, in which the receiver is refilled whenever
                  it runs below its trigger level; the receive time-out has passed as soon as no more is there.
    pace "line"   a character takes as long as the divisor and LCR say.  It overruns a receiver that is full, as on a
                  wire, unless `overruns` is off: then it waits.  Time in which nobody called is not held against the
                  guest: at most what there is room for arrives at once.

Why bursts: a receiver that is refilled as fast as it is read never lets go of a driver that goes on while there is more
(Linux's does, 512 times), and a guest with 16 KB coming stands still for seconds.  So the next burst comes when the
guest has learned that nothing is left, from IIR or, where that does not tell, from LSR; or BURST_PAUSE after it has
read the last octet.

On a PC the OUT2 pin gates the interrupt.  Here MCR bit 3 does, in loopback too, where the pin is inactive: the data
sheet has the interrupts work there, and the chips that put the gate inside see it that way.

No program can make it raise or hold more than its FIFOs; a divisor of 0 counts as 65,536, as a 16-bit counter has it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from serialport.uart16550.models import MODELS
from serialport.uart16550.receiver import BREAK, DAMAGE, FRAMING, PARITY, Receiver
from serialport.uart16550.transmitter import Transmitter

PC_CLOCK_HZ = 1_843_200.0
"""The crystal of a PC's serial card: divisor 1 makes 115,200 baud."""
PACES = ("none", "line")
BURST_LEAST = 64
"""Octets of a burst, where the FIFO is smaller.  Four FIFOs of 16 keep a guest in its interrupt handler for some
milliseconds where each access is a message between processes; bursts of one make such a guest's line half as fast."""
BURST_PAUSE = 0.005
"""Seconds after which a guest that has emptied the receiver gets more without having looked whether there is any: more
than a guest takes from its last read to that look, or it never leaves its interrupt handler."""
RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
THR, DLL, DLM, FCR = RBR, RBR, IER, IIR

# Interrupts by priority, as IIR identifies them (table IV); a time-out ranks with received data.
LINE_STATUS, RECEIVED, TIME_OUT, EMPTY, MODEM, NOTHING = 0x06, 0x04, 0x0C, 0x02, 0x00, 0x01
# What IER enables (section 8.6)
_ERBFI, _ETBEI, _ELSI, _EDSSI = 0x01, 0x02, 0x04, 0x08
# MCR (section 8.7), and bit 5 of the 16750
_DTR, _RTS, _OUT1, _OUT2, _LOOP, _AFE = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
# MSR (section 8.8), its inputs
_CTS, _DSR, _RI, _DCD = 0x10, 0x20, 0x40, 0x80
_TERI = 0x04
_DLAB = 0x80
_EXTENDED = 0xBF  # LCR that shows the EFR
_ECB, _AUTO_RTS, _AUTO_CTS = 0x10, 0x40, 0x80  # EFR
_ICR_READ = 0x40  # ACR of the 16950
_OPEN_BUS = 0xFF

Reader = Callable[[float], int]
Writer = Callable[[int, float], None]


class ModemOutputs(NamedTuple):
    """What the chip drives; True is active (or spacing: a break is being sent)."""

    dtr: bool = False
    rts: bool = False
    out1: bool = False
    out2: bool = False
    sending_break: bool = False


class Uart16550:
    """`interrupt(level)`, `transmit(octet, now)`, `pull(most, now) -> bytes`, `modem(outputs)`: what it tells and asks.

    `pull` returns at most `most` octets; when it returns fewer, it is not asked again until `poke`.
    """

    def __init__(
        self,
        *,
        interrupt: Callable[[bool], None],
        transmit: Callable[[int, float], None],
        pull: Callable[[int, float], bytes],
        modem: Callable[[ModemOutputs], None],
        model: str = "16550A",
        pace: str = "none",
        clock_hz: float = PC_CLOCK_HZ,
        overruns: bool = True,
    ) -> None:
        """Raises ValueError for a model that is not in MODELS, or a pace that is neither "none" nor "line"."""
        if model not in MODELS or pace not in PACES:
            raise ValueError(f"no UART {model!r} with pace {pace!r}: {', '.join(MODELS)}; {', '.join(PACES)}")
        self.model = MODELS[model]
        self.deadline = math.inf
        self._interrupt, self._transmit, self._pull, self._modem = interrupt, transmit, pull, modem
        self._instant = pace == "none"
        self._clock_hz = clock_hz
        self._overruns = overruns
        self._rx = Receiver()
        self._tx = Transmitter(self._sent, self._ran_empty)
        self._level = False  # of the interrupt line
        self._outputs = ModemOutputs()
        self._inputs = 0
        self._held = False
        # Not affected by master reset (table I); the divisor is what a PC's firmware leaves.
        self._divisor = 12
        self._scr = 0
        self._banks()
        self._clear()

    # What the machine does

    def read(self, register: int, now: float) -> int:
        if now >= self.deadline:
            self.tick(now)
        return self._readers[register & 7](now)

    def write(self, register: int, value: int, now: float) -> None:
        if now >= self.deadline:
            self.tick(now)
        self._writers[register & 7](value & 0xFF, now)

    def reset(self, now: float) -> None:
        """Master reset (section 3 and table I); the inputs stay as they are."""
        self._clear()
        self._drive()
        self.poke(now)
        self._update()

    def _clear(self) -> None:
        self._ier = self._fcr = self._lcr = self._mcr = self._efr = self._acr = 0
        self._thri = False  # whether "transmitter empty" is pending
        self._more = True  # whether `pull` may have more
        self._bursts_at = math.inf
        self._rts_dropped = False  # by automatic flow control
        self._rxrdy, self._txrdy = False, True
        self._arrives_at = self._times_out_at = math.inf
        self._timed_out = False
        self._deep = False
        self._extra = bytearray(8)  # registers that only keep what is written: XON and XOFF
        self._rx.errors = 0
        self._rx.clear()
        self._tx.reset()
        self._lines = self._inputs
        self._delta = 0
        self._size()
        self._burst = self._burst_most  # octets of it that may still come
        self._timing()
        self._bank()
        self.deadline = math.inf

    # What the line does

    def poke(self, now: float) -> None:
        """The line has octets again, or may give them again."""
        self._more = True
        if self._instant:
            self._fill(now)
            self._update()
            self._schedule()
        elif self._arrives_at == math.inf:
            self._arrives_at = now + self._character
            self._schedule()

    def receive_break(self, now: float) -> None:
        """The line was spacing for longer than a character: a zero with a break, once however long it lasts."""
        # A parity bit of 0 after eight zeros: wrong where it is odd, or stuck at 1.
        self.receive_damaged(0, BREAK | FRAMING | (PARITY if self._lcr & 0x18 == 0x08 else 0), now)

    def receive_damaged(self, octet: int, errors: int, now: float) -> None:
        """A character with errors (LSR bits 4-2) arrives now, ahead of what `pull` would give."""
        if not self._mcr & _LOOP:
            self._rx.put(octet & 0xFF | (errors & DAMAGE) << 8)
            self._arrived(now)

    def set_modem_inputs(
        self,
        *,
        now: float,
        cts: bool | None = None,
        dsr: bool | None = None,
        ri: bool | None = None,
        dcd: bool | None = None,
    ) -> None:
        """Change the inputs that are given."""
        for bit, value in ((_CTS, cts), (_DSR, dsr), (_RI, ri), (_DCD, dcd)):
            if value is not None:
                self._inputs = self._inputs | bit if value else self._inputs & ~bit
        self._sense(now)

    def hold(self, held: bool, now: float) -> None:
        """Whether the line takes nothing for now: what the guest sends then waits in the transmitter."""
        self._held = held
        self._flow(now)

    @property
    def waiting(self) -> int:
        """Octets in the receiver."""
        return len(self._rx.words)

    @property
    def interrupting(self) -> bool:
        return self._level

    @property
    def outputs(self) -> ModemOutputs:
        return self._outputs

    @property
    def rxrdy(self) -> bool:
        """The RXRDY pin (section 4, "DMA modes"): something is there; in mode 1, from the trigger level or the time-out
        until nothing is."""
        return self._rxrdy if self._fcr & 0x09 == 0x09 else bool(self._rx.words)

    @property
    def txrdy(self) -> bool:
        """The TXRDY pin: nothing waits; in mode 1, from when nothing waits until the FIFO is full."""
        return self._txrdy if self._fcr & 0x09 == 0x09 else not self._tx.waiting

    def tick(self, now: float) -> None:
        """Do what time has brought."""
        if self._tx.deadline <= now:
            self._tx.tick(now)
        if self._arrives_at <= now:
            self._characters(now)
        if self._bursts_at <= now:
            self._next_burst(now)
        if self._times_out_at <= now:
            self._times_out_at = math.inf
            self._timed_out = True
            self._update()
        self._schedule()

    # Registers: which there are

    def _banks(self) -> None:
        """What each register number means, by LCR: plain, with DLAB set, with LCR 0xBF."""
        model = self.model
        read: list[Reader] = [
            self._read_rbr, lambda now: self._ier, self._read_iir, lambda now: self._lcr,
            lambda now: self._mcr, self._read_lsr, self._read_msr, lambda now: self._scr,
        ]  # fmt: skip
        write: list[Writer] = [
            self._write_thr, self._write_ier, self._write_fcr, self._write_lcr,
            self._write_mcr, _ignore, _ignore, self._write_scr,
        ]  # fmt: skip
        if not model.scratch:
            read[SCR], write[SCR] = _open_bus, _ignore
        if model.identity:
            write[LSR] = self._write_icr
        self._plain = read, write
        read = [lambda now: self._divisor & 0xFF, lambda now: self._divisor >> 8, *read[2:]]
        write = [self._write_dll, self._write_dlm, *write[2:]]
        self._latch = read, write
        if model.efr:
            read = [read[0], read[1], lambda now: self._efr, read[3], *(self._extra_reader(at) for at in range(4, 8))]
            write = [write[0], write[1], self._write_efr, write[3], *(self._extra_writer(at) for at in range(4, 8))]
        self._enhanced = read, write

    def _bank(self) -> None:
        lcr = self._lcr
        bank = self._enhanced if lcr == _EXTENDED else self._latch if lcr & _DLAB else self._plain
        self._readers, self._writers = bank

    def _extra_reader(self, register: int) -> Reader:
        return lambda now: self._extra[register]

    def _extra_writer(self, register: int) -> Writer:
        def write(value: int, now: float) -> None:
            self._extra[register] = value

        return write

    # Registers: data

    def _read_rbr(self, now: float) -> int:
        rx = self._rx
        value = rx.pop() & self._mask
        left = len(rx.words)
        if self._instant:
            if left >= rx.level and not rx.errors:
                return value  # and nothing else has changed
            if self._rts_dropped and left <= self._resume:
                self._flow(now)
            if not left:
                self._update()  # the line falls before it rises again, for who waits for its edge
            self._fill(now)
            if self._more and not rx.words:
                self._bursts_at = now + BURST_PAUSE
                self._schedule()
        else:
            self._timed_out = False
            self._rest(now)
            if self._rts_dropped and left <= self._resume:
                self._flow(now)
            if self._more:
                self.poke(now)  # it may have waited for room
        self._update()
        return value

    def _write_thr(self, value: int, now: float) -> None:
        self._thri = False
        self._tx.write(value & self._mask, now)
        if not self._instant or self._tx.blocked:
            self._schedule()
            self._update()

    # Registers: interrupts and FIFOs

    def _write_ier(self, value: int, now: float) -> None:
        value &= self.model.ier if not self.model.efr or self._efr & _ECB else 0x0F
        # Enabled while the transmitter is empty: that is told at once, again each time (drivers test a chip by it).
        if value & ~self._ier & _ETBEI and self._tx.status & 0x20:
            self._thri = True
        self._ier = value
        self._update()

    def _read_iir(self, now: float) -> int:
        source = self._source()
        if source == EMPTY:
            self._thri = False
            self._update()
        if self._burst < self._burst_most and not self._rx.words:
            self._next_burst(now)
        return source | (self.model.iir_enabled if self._fcr & 1 else 0) | (0x20 if self._deep_by_fcr else 0)

    @property
    def _deep_by_fcr(self) -> bool:
        return self._deep and self.model.deep_by_fcr

    def _write_fcr(self, value: int, now: float) -> None:
        if not self.model.iir_enabled:
            return  # there is no such register
        changed = (value ^ self._fcr) & 1
        if not value & 1:
            value = 0  # nothing else is programmed then (section 8.5, bit 0)
        if changed or value & 2:
            self._rx.clear()
            self._timed_out = False
            self._times_out_at = math.inf
        if changed or value & 4:
            self._tx.clear()
        if changed:
            self._tx.hasten()
        self._fcr = value & ~6
        if self.model.deep_by_fcr and (self._lcr & _DLAB or not value):
            self._deep = bool(value & 0x20)
        self._size()
        self._flow(now)
        if self._instant and not self._rx.words:
            self._next_burst(now)
        elif not self._instant and self._more:
            self.poke(now)
        self._schedule()
        self._update()

    def _size(self) -> None:
        """FIFO sizes and trigger level, as FCR and the deep mode have them."""
        model, rx, tx = self.model, self._rx, self._tx
        fifo = bool(self._fcr & 1) and model.fifo > 1
        if not model.deep_by_fcr:
            self._deep = bool(model.deep and self._efr & _ECB)
        deep = self._deep and fifo
        levels = model.deep_levels if deep else model.levels
        trigger = self._fcr >> 6
        rx.fifo = tx.fifo = fifo
        rx.size = tx.size = (model.deep if deep else model.fifo) if fifo else 1
        rx.level = levels[trigger] if fifo else 1
        self._burst_most = max(rx.size, BURST_LEAST)
        # RTS comes back when the FIFO is empty (16750), or at the next lower level.
        self._resume = levels[trigger - 1] if model.efr and trigger else 0
        while len(rx.words) > rx.size:
            rx.words.pop()
        while len(tx.waiting) > tx.size:
            tx.waiting.pop()

    def _write_efr(self, value: int, now: float) -> None:
        self._efr = value
        self._size()
        self._flow(now)
        self._update()

    # Registers: line

    def _write_lcr(self, value: int, now: float) -> None:
        self._lcr = value
        self._bank()
        self._retime(now)
        self._drive()

    def _read_lsr(self, now: float) -> int:
        rx = self._rx
        errors = rx.errors
        value = self._tx.status | (1 if rx.words else 0)
        if errors or rx.flagged:
            value |= errors
            if rx.fifo and (errors & DAMAGE or rx.flagged):
                value |= 0x80
            rx.errors = 0
            self._update()
        if self._burst < self._burst_most and not rx.words and not self._ier & _ERBFI:
            self._next_burst(now)
        return value if not self._acr else self._indexed(value)

    def _write_dll(self, value: int, now: float) -> None:
        self._divisor = self._divisor & 0xFF00 | value
        self._retime(now)

    def _write_dlm(self, value: int, now: float) -> None:
        self._divisor = self._divisor & 0xFF | value << 8
        self._retime(now)

    def _retime(self, now: float) -> None:
        """Another speed or format: a character on its way in is not slower than the new ones."""
        self._timing()
        if self._arrives_at < math.inf:
            self._arrives_at = min(self._arrives_at, now + self._character)
            self._schedule()

    def _timing(self) -> None:
        """From LCR (section 8.1) and the divisor latch (8.2) to the seconds of a character."""
        lcr = self._lcr
        bits = 5 + (lcr & 3)
        self._mask = (1 << bits) - 1
        stop = 1.0 if not lcr & 4 else 1.5 if bits == 5 else 2.0
        prescaler = 4 if self.model.efr and self._mcr & 0x80 else 1
        bit = 0.0 if self._instant else 16 * (self._divisor or 0x10000) * prescaler / self._clock_hz
        self._character = self._tx.character = bit * (1 + bits + (1 if lcr & 8 else 0) + stop)
        self._tx.stop = bit * min(stop, 1.0)

    # Registers: modem

    def _write_mcr(self, value: int, now: float) -> None:
        self._mcr = value & (self.model.mcr if not self.model.efr or self._efr & _ECB else 0x1F)
        self._retime(now)
        self._sense(now)
        self._flow(now)
        if self._more:
            self.poke(now)  # loopback may have ended
        self._update()

    def _read_msr(self, now: float) -> int:
        value = self._lines | self._delta
        if self._delta:
            self._delta = 0
            self._update()
        return value

    def _sense(self, now: float) -> None:
        """Look at the inputs, which in loopback are the outputs (section 8.7, bit 4)."""
        mcr = self._mcr
        lines = self._inputs
        if mcr & _LOOP:
            # RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD
            lines = (mcr & _RTS) << 3 | (mcr & _DTR) << 5 | (mcr & _OUT1) << 4 | (mcr & _OUT2) << 4
        changed = (lines ^ self._lines) >> 4
        if lines & _RI:
            changed &= ~_TERI  # only the end of a ring counts (section 8.8, bit 2)
        if self._flows(_AUTO_CTS):
            changed &= ~(_CTS >> 4)
        self._lines = lines
        self._delta |= changed
        self._flow(now)
        self._update()

    def _flows(self, direction: int) -> bool:
        """Whether flow control is automatic: by MCR bit 5 (with RTS on, for that direction), or by EFR."""
        if self.model.efr:
            return bool(self._efr & direction)
        return bool(self._mcr & self.model.mcr & _AFE) and (direction == _AUTO_CTS or bool(self._mcr & _RTS))

    def _flow(self, now: float) -> None:
        """See to who may send: we, by CTS and `hold`; the other side, by RTS."""
        words = len(self._rx.words)
        dropped = self._rts_dropped
        self._rts_dropped = self._flows(_AUTO_RTS) and (words > self._resume if dropped else words >= self._rx.level)
        self._drive()
        if dropped and not self._rts_dropped:
            self.poke(now)
        blocked = self._held or (self._flows(_AUTO_CTS) and not self._lines & _CTS)
        if blocked != self._tx.blocked:
            self._tx.blocked = blocked
            self._tx.run(now)
            self._schedule()
            self._update()

    def _drive(self) -> None:
        """Set the output pins; in loopback they are inactive, and SOUT is marking."""
        mcr = self._mcr
        if mcr & _LOOP:
            outputs = ModemOutputs()
        else:
            outputs = ModemOutputs(
                dtr=bool(mcr & _DTR),
                rts=bool(mcr & _RTS) and not self._rts_dropped,
                out1=bool(mcr & _OUT1),
                out2=bool(mcr & _OUT2),
                sending_break=bool(self._lcr & 0x40),
            )
        if outputs != self._outputs:
            self._outputs = outputs
            self._modem(outputs)

    # Registers: the rest

    def _write_scr(self, value: int, now: float) -> None:
        self._scr = value

    def _write_icr(self, value: int, now: float) -> None:
        """The 16950's indexed registers: SCR has the index.  Only ACR (0) is kept, for what reads the others."""
        if self._scr == 0:
            self._acr = value & _ICR_READ

    def _indexed(self, lsr: int) -> int:
        index = self._scr - 8
        return self.model.identity[index] if 0 <= index < 4 else 0

    # Characters

    def _sent(self, octet: int, when: float) -> None:
        """The transmitter is done with a character."""
        if self._mcr & _LOOP:
            self._rx.put(octet)
            self._arrived(when)
        else:
            self._transmit(octet, when)

    def _ran_empty(self) -> None:
        self._thri = True
        self._txrdy = True
        if not self._level:
            self._update()

    def _may_arrive(self) -> bool:
        return not (self._mcr & _LOOP or self._rts_dropped)

    def _next_burst(self, now: float) -> None:
        """The guest knows that the receiver is empty, or has had time to find out."""
        self._bursts_at = math.inf
        self._burst = self._burst_most
        if self._instant:
            self._fill(now)
        self._update()
        self._schedule()

    def _fill(self, now: float) -> None:
        """Take what the line has and the FIFO and the burst have room for (a line without time)."""
        rx = self._rx
        while self._more and self._burst and len(rx.words) < rx.level and self._may_arrive():
            room = min(rx.size - len(rx.words), self._burst)
            data = self._pull(room, now)
            self._more = len(data) >= room
            self._burst -= len(data)
            rx.words.extend(data)
            if self._flows(_AUTO_RTS):
                self._flow(now)

    def _characters(self, now: float) -> None:
        """Take what has arrived by now (a line with time)."""
        rx = self._rx
        if not self._may_arrive() or (len(rx.words) >= rx.size and not self._overruns):
            self._arrives_at = math.inf
            return
        character = self._character
        due = int((now - self._arrives_at) / character) + 1
        most = min(due, max(rx.size - len(rx.words), 1))
        data = self._pull(most, now)
        for octet in data:
            rx.put(octet)
        if len(data) < most:
            self._arrives_at = math.inf
            self._more = False
        else:
            # Rather late than all at once: see the top of the file.
            self._arrives_at = self._arrives_at + due * character if most == due else now + character
        if data:
            self._arrived(now)

    def _arrived(self, now: float) -> None:
        """Something has come into the receiver."""
        if self._instant:
            self._fill(now)
        else:
            self._rest(now)
        if self._flows(_AUTO_RTS):
            self._flow(now)
        self._update()

    def _rest(self, now: float) -> None:
        """The receiver was touched: its time-out begins anew."""
        rx = self._rx
        self._times_out_at = now + 4 * self._character if rx.fifo and rx.words and not self._timed_out else math.inf
        self._schedule()

    def _schedule(self) -> None:
        self.deadline = min(self._tx.deadline, self._arrives_at, self._times_out_at, self._bursts_at)

    # The interrupt

    def _source(self) -> int:
        """What IIR identifies now."""
        ier, rx = self._ier, self._rx
        if ier & _ELSI and rx.errors:
            return LINE_STATUS
        if ier & _ERBFI:
            if len(rx.words) >= rx.level:
                return RECEIVED
            if rx.words and (self._timed_out or self._instant):
                return TIME_OUT
        if ier & _ETBEI and self._thri:
            return EMPTY
        if ier & _EDSSI and self._delta:
            return MODEM
        return NOTHING

    def _update(self) -> None:
        """Set the interrupt line, and what the DMA pins remember."""
        words = len(self._rx.words)
        self._rxrdy = words > 0 and (self._rxrdy or words >= self._rx.level or self._timed_out or self._instant)
        waiting = len(self._tx.waiting)
        self._txrdy = not waiting or (self._txrdy and waiting < self._tx.size)
        level = bool(self._mcr & _OUT2) and self._source() != NOTHING
        if level != self._level:
            self._level = level
            self._interrupt(level)


def _ignore(_value: int, _now: float) -> None:
    pass


def _open_bus(_now: float) -> int:
    return _OPEN_BUS

"""A UART on a bench: what it says is written down, what its line brings is put into `line`, and time is at hand."""

from serialport.uart16550.chip import (
    DLL,
    DLM,
    FCR,
    IER,
    IIR,
    LCR,
    LSR,
    MCR,
    MSR,
    RBR,
    SCR,
    THR,
    ModemOutputs,
    Uart16550,
)  # fmt: skip

__all__ = ["DLL", "DLM", "FCR", "IER", "IIR", "LCR", "LSR", "MCR", "MSR", "RBR", "SCR", "THR", "Bench", "CHARACTER"]

CHARACTER = 10 / 115_200
"""Seconds: 8N1 with divisor 1."""


class Bench:
    def __init__(self, model: str = "16550A", pace: str = "none") -> None:
        self.now = 100.0
        self.interrupts: list[bool] = []
        self.sent: list[int] = []
        self.sent_at: list[float] = []
        self.outputs: list[ModemOutputs] = []
        self.line = bytearray()
        self.pulls = 0
        self.uart = Uart16550(
            model=model, pace=pace, interrupt=self.interrupts.append, transmit=self._transmit, pull=self._pull,
            modem=self.outputs.append,
        )  # fmt: skip

    def _transmit(self, octet: int, now: float) -> None:
        self.sent.append(octet)
        self.sent_at.append(now)

    def _pull(self, most: int, now: float) -> bytes:
        assert most > 0
        self.pulls += 1
        data = bytes(self.line[:most])
        del self.line[:most]
        return data

    # the guest

    def read(self, register: int) -> int:
        return self.uart.read(register, self.now)

    def write(self, register: int, value: int) -> None:
        self.uart.write(register, value, self.now)

    def divisor(self, divisor: int) -> None:
        lcr = self.read(LCR)
        self.write(LCR, 0x80)
        self.write(DLL, divisor & 0xFF)
        self.write(DLM, divisor >> 8)
        self.write(LCR, lcr)

    def up(self, *, fcr: int = 0x01, ier: int = 0, divisor: int = 1) -> "Bench":
        """8N1, interrupts wired through."""
        self.divisor(divisor)
        self.write(LCR, 0x03)
        self.write(FCR, fcr)
        self.write(MCR, 0x0B)
        self.write(IER, ier)
        return self

    def all(self) -> bytes:
        """What a driver reads that looks at LSR before each octet, and once more when there was nothing."""
        out = bytearray()
        while self.read(LSR) & 1 or self.read(LSR) & 1:
            out.append(self.read(RBR))
        return bytes(out)

    def serve(self) -> bytes:
        """What a driver's interrupt handler reads in one call: all that LSR shows, until IIR has nothing more."""
        out = bytearray()
        while not self.read(IIR) & 1:
            while self.read(LSR) & 1:
                out.append(self.read(RBR))
            self.read(MSR)
        return bytes(out)

    # the line and the clock

    def bring(self, data: bytes) -> None:
        self.line += data
        self.uart.poke(self.now)

    def run(self, seconds: float) -> None:
        """Let time pass, with a tick at every deadline."""
        end = self.now + seconds
        while self.uart.deadline <= end:
            self.now = max(self.now, self.uart.deadline)
            self.uart.tick(self.now)
        self.now = end

    @property
    def level(self) -> bool:
        return self.uart.interrupting

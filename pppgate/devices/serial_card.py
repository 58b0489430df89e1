"""A PCI serial card: one UART, 8 octets of I/O, bound by every system's own serial driver.

In:  register accesses.  Out: the chip's interrupt, and the ports of its line to `on_port`.
"""

from collections.abc import Callable
from typing import Final

from pppgate.devices.pci import Identity
from serialport.port import Port, Watcher
from serialport.uart16550.port import SerialChip

IDENTITY: Final = Identity(
    vendor=0x1B36, device=0x0002, class_code=0x070002, subsystem_vendor=0x1AF4, subsystem=0x1100, revision=1
)
"""QEMU's own pci-serial, which Linux's 8250_pci and the INF file that comes with QEMU know. The programming interface
02 is a 16550-compatible one (PCI Code and ID Assignment, 07h)."""
REGISTERS: Final = 8


class SerialCard:
    identity = IDENTITY
    io_size = REGISTERS

    def __init__(
        self,
        name: str,
        watcher: Watcher,
        interrupt: Callable[[bool], None],
        on_port: Callable[[Port], None],
        *,
        model: str,
        pace: str,
    ) -> None:
        self._chip = SerialChip(name, watcher, on_port, interrupt, model=model, pace=pace)
        self.reset = self._chip.reset
        self.close = self._chip.close

    def read(self, offset: int, size: int) -> int:
        """The chip has an 8-bit bus: a wider access is so many cycles at addresses that follow one another."""
        if size == 1:
            return self._chip.read(offset)
        return sum(self._chip.read(offset + at) << 8 * at for at in range(size))

    def write(self, offset: int, value: int, size: int) -> None:
        if size == 1:
            self._chip.write(offset, value)
            return
        for at in range(size):
            self._chip.write(offset + at, value >> 8 * at & 0xFF)

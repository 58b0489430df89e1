"""The chips of the 8250 family as rows of a table: in what a program can tell one from another.

    name     FIFO   what software sees
    8250     none   no scratch register (it reads 0xFF)
    16450    none   the scratch register
    16550    none   FIFOs that lose octets, so that software must leave them alone: IIR shows bit 7 alone for them
    16550A   16     IIR bits 7 and 6 while the FIFOs are on (PC16550D data sheet, section 8.5)
    16650    32     and an enhanced feature register (EFR) under LCR = 0xBF, with automatic RTS and CTS
    16750    64     and MCR bit 5 for automatic flow control; 64 octets by FCR bit 5, written while DLAB is set, and
                    shown by IIR bit 5
    16950    128    and the EFR; 128 octets while EFR bit 4 is set; indexed registers with the chip's name

What the last three have beyond that (sleep, XON and XOFF by themselves, 9-bit data) is not there: its bits can be
written and read back, no more.
"""

from dataclasses import dataclass

Levels = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Model:
    fifo: int
    """Octets in each FIFO when FCR bit 0 is set; 1 where there is none that works."""
    iir_enabled: int
    """What IIR shows in bits 7 and 6 while FCR bit 0 is set."""
    levels: Levels
    """Octets at which the receiver interrupts, by FCR bits 7 and 6."""
    scratch: bool = True
    ier: int = 0x0F
    """The bits of IER that there are."""
    mcr: int = 0x1F
    deep: int = 0
    """Octets in each FIFO when the deep mode is on; 0 where there is no such mode."""
    deep_levels: Levels = (1, 1, 1, 1)
    deep_by_fcr: bool = False
    """Whether FCR bit 5 under DLAB turns the deep mode on (16750); otherwise EFR bit 4 does (16950)."""
    efr: bool = False
    identity: bytes = b""
    """Of the 16950: its indexed registers ID1, ID2, ID3 and REV."""


NO_FIFO: Levels = (1, 1, 1, 1)

MODELS: dict[str, Model] = {
    "8250": Model(fifo=1, iir_enabled=0x00, levels=NO_FIFO, scratch=False),
    "16450": Model(fifo=1, iir_enabled=0x00, levels=NO_FIFO),
    "16550": Model(fifo=1, iir_enabled=0x80, levels=NO_FIFO),
    "16550A": Model(fifo=16, iir_enabled=0xC0, levels=(1, 4, 8, 14)),
    "16650": Model(fifo=32, iir_enabled=0xC0, levels=(8, 16, 24, 28), ier=0xFF, mcr=0xFF, efr=True),
    "16750": Model(
        fifo=16, iir_enabled=0xC0, levels=(1, 4, 8, 14), ier=0x3F, mcr=0x3F,
        deep=64, deep_levels=(1, 16, 32, 56), deep_by_fcr=True,
    ),
    "16950": Model(
        fifo=16, iir_enabled=0xC0, levels=(1, 4, 8, 14), ier=0xFF, mcr=0xFF,
        deep=128, deep_levels=(16, 32, 112, 120), efr=True, identity=b"\x16\xc9\x50\x03",
    ),
}  # fmt: skip

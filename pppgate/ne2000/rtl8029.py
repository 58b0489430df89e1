"""What an RTL8029 has besides a DP8390: its name in page 0, and a page 3 with its configuration (RTL8029AS data sheet,
section 5).

In: a chip.  Out: the same chip, with more registers.  What it does not know: PCI, the serial EEPROM (9346CR keeps what
is written; there is no EEPROM behind its pins, whose data line reads as one).
"""

from functools import partial
from typing import Final

from pppgate.ne2000.dp8390.chip import Dp8390

ID0: Final = 0x50  # "P"
ID1: Final = 0x43  # "C"
PCI_ID0: Final = 0x29
PCI_ID1: Final = 0x80

EE_MODE: Final = 0xC0  # 9346CR: both set, and CONFIG2 and 3 may be written
EE_DATA_OUT: Final = 0x01
EE_PINS: Final = 0x0E
CONFIG2_WRITABLE: Final = 0xE0  # which medium, and whether bad packets are passed on
CONFIG3_WRITABLE: Final = 0x76  # full duplex, what the lamps show, sleep, power down


class Rtl8029:
    def __init__(self, chip: Dp8390) -> None:
        self._9346cr = 0
        self._config = [0, 0, 0, 0]
        """CONFIG0 to 3 as after power on: twisted pair found by itself, half duplex, awake."""
        chip.readers[0][10] = lambda: ID0
        chip.readers[0][11] = lambda: ID1
        page = chip.readers[3]
        page[1] = lambda: self._9346cr | EE_DATA_OUT
        for number, offset in enumerate((3, 4, 5, 6)):
            page[offset] = partial(self._config.__getitem__, number)
        page[14] = lambda: PCI_ID0
        page[15] = lambda: PCI_ID1
        chip.writers[3][1] = self._write_9346cr
        chip.writers[3][5] = partial(self._write_config, 2, CONFIG2_WRITABLE)
        chip.writers[3][6] = partial(self._write_config, 3, CONFIG3_WRITABLE)

    def _write_9346cr(self, value: int) -> None:
        self._9346cr = value & (EE_MODE | EE_PINS)

    def _write_config(self, number: int, mask: int, value: int) -> None:
        if self._9346cr & EE_MODE == EE_MODE:
            self._config[number] = value & mask

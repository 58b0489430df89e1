"""Which frames a DP8390 takes from the network: by address (data sheet section 10), and by nothing else.

In: a frame, and the registers that the driver set.  Out: yes or no.
"""

from typing import Final
from zlib import crc32

from pppgate.ne2000.dp8390.bits import RCR_AB, RCR_AM, RCR_PRO

BROADCAST: Final = b"\xff" * 6
_REVERSED: Final = [int(f"{value:06b}"[::-1], 2) for value in range(64)]


def hash_index(address: bytes) -> int:
    """Which of the 64 bits of the multicast array stands for the address: the upper six bits of the CRC-32 as the chip
    shifts it, which are the lower six of the usual one, inverted and the other way round."""
    return _REVERSED[~crc32(address) & 0x3F]


class Filter:
    """The physical address (PAR0-5), the multicast array (MAR0-7) and the receive configuration (RCR)."""

    def __init__(self) -> None:
        self.station = bytes(6)
        self.multicast = bytearray(8)
        self.rcr = 0

    def accepts(self, frame: bytes) -> bool:
        """A promiscuous chip takes every physical address; of group addresses only what the other bits admit."""
        address = frame[:6]
        if not frame[0] & 1:
            return address == self.station or bool(self.rcr & RCR_PRO)
        if address == BROADCAST:
            return bool(self.rcr & RCR_AB)
        if not self.rcr & RCR_AM:
            return False
        index = hash_index(address)
        return bool(self.multicast[index >> 3] >> (index & 7) & 1)

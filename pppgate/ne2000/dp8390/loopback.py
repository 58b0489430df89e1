"""The FIFO of a DP8390 in loopback, where a diagnostic reads what came round (data sheet section 12).

In: the octets that were sent.  Out: the two status registers, and the FIFO's eight octets, one a read.
"""

from typing import Final
from zlib import crc32

from pppgate.ne2000.dp8390.bits import RSR_CRC, RSR_PHY, RSR_PRX, TSR_CDH, TSR_CRS, TSR_NDT, TSR_PTX

SIZE: Final = 8
FCS: Final = 4
STATUS: Final = (
    TSR_PTX,
    TSR_PTX | TSR_NDT | TSR_CRS | TSR_CDH,
    TSR_PTX | TSR_NDT | TSR_CDH,
    TSR_PTX | TSR_NDT,
)
"""By mode.  Inside the chip neither carrier nor heartbeat is seen; the encoder shows a carrier."""


class LoopFifo:
    """Eight octets, filled round and round: the packet, then its length as low, high and high octet.  Reading begins at
    the first octet and goes round as well, so a packet of 8 n + 5 octets shows its last five and then the length."""

    def __init__(self) -> None:
        self._octets = bytearray(SIZE)
        self._at = 0

    def read(self) -> int:
        octet = self._octets[self._at]
        self._at = (self._at + 1) % SIZE
        return octet

    def loop(self, packet: bytes, mode: int, has_fcs: bool, accepted: bool) -> tuple[int, int]:
        """TSR and RSR.  There is one CRC circuit: when it has made the FCS, it cannot check it, and finds an error."""
        good = has_fcs and crc32(packet[:-FCS]).to_bytes(FCS, "little") == packet[-FCS:]
        if not has_fcs:
            packet += crc32(packet).to_bytes(FCS, "little")
        length = len(packet)
        stream = packet[-SIZE:] + bytes((length & 0xFF, length >> 8, length >> 8))
        first = max(0, length - SIZE)
        for number, octet in enumerate(stream, first):
            self._octets[number % SIZE] = octet
        self._at = 0
        rsr = 0
        if accepted:
            rsr = (RSR_PRX if good else RSR_CRC) | (RSR_PHY if packet[0] & 1 else 0)
        return STATUS[mode], rsr

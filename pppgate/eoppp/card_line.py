"""The way to a guest's card whose sender is somebody else's TCP: no more is on the way than the card can hold.

In: packets from a PPP server for one guest, the guest's own packets, for their acknowledgements.  Out: the packets, in
the order of a Line, a few at a time.  An NE2000 has 13 KB for what its driver has not fetched.  What does not fit is
lost; a sender that answers loss with time-outs (the classic slirp) then comes to less than 1 Mbit/s.  Holding packets
back until the guest has acknowledged those before is seen by the sender as a longer way, and costs nothing.

What was sent counts as being in the card until the guest acknowledges it, or was silent for QUIET: by then its driver
has fetched everything, or it was lost.  Only TCP is counted; nothing in a packet is changed.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from nat.line import Line
from nat.wire.ipv4 import OFFSET_MASK, TCP

PAGE: Final = 256
"""Octets: a card's ring is made of such pages, and a frame begins on a new one (DP8390D data sheet, section 7.0)."""
CARD_MOST: Final = 42 * PAGE
"""Octets of pages on the way: seven full frames, of the eight that fit into the ring of an NE2000 with 16 KB."""
QUIET: Final = 0.05
"""Seconds without an acknowledgement; longer than a guest delays one (RFC 1122 section 4.2.3.2 allows ten times that,
but systems delay only the second of two)."""
FLOWS_MOST: Final = 256
"""Connections that are counted at a time."""
_AROUND: Final = 14 + 4 + 4
"""Octets around a packet in the ring: the frame's header, its FCS, and what the chip writes before it."""
_HALF: Final = 1 << 31
_MASK: Final = (1 << 32) - 1
_ACK: Final = 0x10


class _Flow:
    """What of one connection is in the card: the end of each segment, and what it takes of the ring."""

    __slots__ = ("segments", "acked")

    def __init__(self, sequence: int) -> None:
        self.segments: deque[tuple[int, int]] = deque()
        self.acked = sequence

    def landed(self, acknowledgement: int) -> int:
        """Octets of the ring that are free again.  A repeated acknowledgement says that another segment has got through
        the card; one older than the last says nothing."""
        segments = self.segments
        if acknowledgement == self.acked:
            return segments.popleft()[1] if segments else 0
        if acknowledgement - self.acked & _MASK >= _HALF:
            return 0
        self.acked = acknowledgement
        free = 0
        while segments and acknowledgement - segments[0][0] & _MASK < _HALF:
            free += segments.popleft()[1]
        return free


class CardLine(Line):
    """`later(when, callback)` is the event loop's timer."""

    def __init__(
        self,
        address: bytes,
        mtu: int,
        kick: Callable[[], None],
        count: Counter[str],
        later: Callable[[float, Callable[[float], None]], object],
    ) -> None:
        super().__init__(address, mtu, kick, count)
        self.flying = 0  # octets of the ring, of all flows
        self._flows: dict[bytes, _Flow] = {}
        self._later = later
        self._timing = False  # `_end_silence` is going to be called
        self._heard = 0.0

    def take(self, budget: int) -> list[bytes]:
        """As many packets as the card has room for; `heard` or the end of a silence kicks again when there is more."""
        packets: list[bytes] = []
        while budget > 0 and self.flying < CARD_MOST and (one := super().take(1)):
            packet = one[0]
            packets.append(packet)
            budget -= len(packet)
            if packet[9] == TCP:
                self._sent(packet)
        if self.flying >= CARD_MOST and not self._timing:
            self._timing = True
            self._later(0.0, self._full)  # at once, but it is the loop that knows the time
        return packets

    def _full(self, now: float) -> None:
        """There is no more room: see to it that this ends."""
        self._heard = now
        self._later(now + QUIET, self._end_silence)

    def heard(self, packet: bytes, now: float) -> None:
        """A packet of the guest."""
        if not self.flying or packet[9] != TCP or (packet[6] << 8 | packet[7]) & OFFSET_MASK:
            return
        hlen = (packet[0] & 0x0F) * 4
        if len(packet) < hlen + 20 or not packet[hlen + 13] & _ACK:
            return
        flow = self._flows.get(packet[16:20] + packet[hlen + 2 : hlen + 4] + packet[hlen : hlen + 2])
        if flow is None:
            return
        acked = int.from_bytes(packet[hlen + 8 : hlen + 12], "big")
        landed = flow.landed(acked)
        self._heard = now
        full = self.flying >= CARD_MOST
        self.flying -= landed
        if full and self.queued:
            self.kick()

    def _sent(self, packet: bytes) -> None:
        hlen = (packet[0] & 0x0F) * 4
        if (packet[6] << 8 | packet[7]) & OFFSET_MASK or len(packet) < hlen + 20:
            return
        size = len(packet) - hlen - (packet[hlen + 12] >> 4) * 4
        if size <= 0:
            return
        key = packet[12:16] + packet[hlen : hlen + 4]
        sequence = int.from_bytes(packet[hlen + 4 : hlen + 8], "big")
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= FLOWS_MOST:
                self._forget()
            flow = self._flows[key] = _Flow(sequence)
        cost = (len(packet) + _AROUND + PAGE - 1) // PAGE * PAGE
        flow.segments.append((sequence + size & _MASK, cost))
        self.flying += cost

    def _forget(self) -> None:
        """Room for another flow: those with nothing in the card, else all of them."""
        self._flows = {key: flow for key, flow in self._flows.items() if flow.segments}
        if len(self._flows) >= FLOWS_MOST:
            self._empty()

    def _empty(self) -> None:
        self._flows.clear()
        self.flying = 0

    def _end_silence(self, now: float) -> None:
        """If the guest has been silent long enough, all that was sent counts as fetched."""
        self._timing = False
        if self.flying < CARD_MOST:
            return
        if now < self._heard + QUIET:
            self._timing = True
            self._later(self._heard + QUIET, self._end_silence)
            return
        self._empty()
        if self.queued:
            self.kick()

"""The receiving half of a TCP flow: what goes from the guest into the stream, and what the guest is told of it.

In: text of the guest's segments with sequence numbers as plain growing integers, readiness of the stream.
Out: octets in order into the stream; the window, and when an ACK is owed.  It sends no segment itself: whoever does
asks `announce` for the window, which is then what the guest knows.

It knows neither the sending half nor the states of the connection.  `deliver` and `finish` raise the stream's OSError.
"""

import math
from collections import Counter
from typing import Final

from nat.stream import Callback, StreamSocket
from nat.tcp.delivery import GATHER_MOST, Delivery
from nat.tcp.ordering import OutOfOrder
from nat.wire.tcp import SEQUENCE_MASK

RCV_CAPACITY: Final = 128 * 1024  # octets of the guest that wait for the stream, in order and ahead
RCV_SCALE: Final = 2  # RFC 7323: RCV_CAPACITY must fit into 16 bits shifted by this
DELAYED_ACK: Final = 0.04  # seconds; RFC 9293 section 3.8.6.3 allows 0.5
QUICK_ACKS: Final = 16  # segments acknowledged one by one, so that a guest's slow start is not held up
_WINDOW_STEP: Final = RCV_CAPACITY // 4  # a window that has opened by so much is worth an ACK of its own


class Receiver:
    """State from the guest, with the names of RFC 9293 section 3.3.1.

    rcv_nxt: all before it is in `delivery` or handed over; with `fin_received` it counts the FIN.
    rcv_acked: what the guest was told last; never past rcv_nxt.
    rcv_edge: the right edge of the window as announced; never moves left.
    rcv_scale: what window fields are shifted by; 0 unless both ends have agreed on it.
    rcv_mss: the largest text of one segment so far.
    fin_at: where a FIN stands that came, perhaps ahead of a gap; -1: none has.
    fin_received: the guest has said all, and nothing of it is missing.
    quick_acks: so many more segments are acknowledged at once.
    ack_now: the next flush sends an ACK.
    ack_at: when an ACK that waits for company is sent all the same; math.inf: none waits.
    delivery: octets in order that the stream has not taken.
    ahead: octets from beyond a gap; with those in `delivery` at most RCV_CAPACITY.
    """

    __slots__ = (
        "rcv_nxt", "rcv_acked", "rcv_edge", "rcv_scale", "rcv_mss", "fin_at", "fin_received", "quick_acks", "ack_now",
        "ack_at", "delivery", "ahead", "_stream", "_on_writable", "_count", "_watching",
    )  # fmt: skip

    def __init__(self, stream: StreamSocket, on_writable: Callback, count: Counter[str]) -> None:
        self.rcv_nxt = self.rcv_acked = self.rcv_edge = 0
        self.rcv_scale = 0
        self.rcv_mss = 536
        self.fin_at = -1
        self.fin_received = False
        self.quick_acks = QUICK_ACKS
        self.ack_now = False
        self.ack_at = math.inf
        self.delivery = Delivery()
        self.ahead = OutOfOrder(RCV_CAPACITY)
        self._stream = stream
        self._on_writable = on_writable
        self._count = count
        self._watching = False  # for room in the stream

    def begin(self, sequence: int, *, scaled: bool) -> None:
        """The guest's SYN, with its sequence number; `scaled`: it knows the window scale option."""
        self.rcv_nxt = self.rcv_acked = self.rcv_edge = sequence + 1
        if scaled:
            self.rcv_scale = RCV_SCALE

    # What a segment says

    def unwrap(self, sequence: int) -> int:
        """The nearest sequence number to rcv_nxt that looks like this on the wire."""
        behind = (sequence - self.rcv_nxt) & SEQUENCE_MASK
        return self.rcv_nxt + behind - (1 << 32 if behind >> 31 else 0)

    def edge(self) -> int:
        """Where the window ends: as announced, or further since the stream has taken octets."""
        return max(self.rcv_edge, self.rcv_nxt + RCV_CAPACITY - self.delivery.size)

    def acceptable(self, sequence: int, length: int) -> bool:
        """RFC 9293 section 3.4; a segment at rcv_nxt passes even into a closed window, for its ACK and RST."""
        if sequence == self.rcv_nxt:
            return True
        if length == 0:
            return self.rcv_nxt <= sequence < self.edge()
        return sequence < self.edge() and sequence + length > self.rcv_nxt

    def accept(self, payload: bytes) -> None:
        """Octets at rcv_nxt that fit."""
        size = len(payload)
        delivery = self.delivery
        delivery.chunks.append(payload)
        delivery.size += size
        self.rcv_nxt += size
        if size > self.rcv_mss:
            self.rcv_mss = size
        if self.ahead.size:
            more = self.ahead.take(self.rcv_nxt)
            if more:
                delivery.chunks.append(more)
                delivery.size += len(more)
                self.rcv_nxt += len(more)
            self.ack_now = True
        if self.fin_at == self.rcv_nxt:
            self._fin()

    def text(self, sequence: int, payload: bytes, fin: bool) -> None:
        """The text of an acceptable segment, and whether a FIN stands behind it."""
        edge = self.edge()
        end = sequence + len(payload)
        if end > edge:
            self._count["tcp.past_window"] += 1
            payload = payload[: edge - sequence]
            fin = False
        if sequence < self.rcv_nxt:
            payload = payload[self.rcv_nxt - sequence :]
            sequence = self.rcv_nxt
            self.ack_now = True
        if fin:
            self.fin_at = end
        if sequence > self.rcv_nxt:
            if payload and not self.ahead.add(sequence, payload):
                self._count["tcp.ahead_full"] += 1
            self.ack_now = True
        elif payload:
            self.accept(payload)
        elif self.fin_at == self.rcv_nxt:
            self._fin()

    def _fin(self) -> None:
        self.rcv_nxt += 1
        self.fin_received = True
        self.ack_now = True

    # Into the stream

    def deliver(self) -> None:
        """Hand over what is in order, as far as the stream takes it."""
        delivery = self.delivery
        if not delivery.blocked:
            delivery.push(self._stream)
            if delivery.blocked:
                if not self._watching:
                    self._watching = True
                    self._stream.watch_write(self._on_writable)
            elif self._watching:
                self._watching = False
                self._stream.unwatch_write()
        elif len(delivery.chunks) > GATHER_MOST:
            delivery.join()  # a guest that sends octet by octet must not make each cost an object

    def writable(self) -> None:
        """The stream takes octets again: the next `deliver` may try."""
        self.delivery.blocked = False

    def close(self) -> None:
        """The connection is over: the stream calls nobody any more."""
        self._on_writable = _nobody

    def finish(self) -> None:
        """All that the guest had to say has been handed over: say so to the stream, once."""
        self.delivery.finish(self._stream)

    # What the guest is told

    def ack_due(self, now: float) -> bool:
        """Whether an ACK is to be sent now; one that is owed and may wait is sent at `ack_at`."""
        owed = self.rcv_nxt - self.rcv_acked
        if owed:
            if self.quick_acks:
                self.quick_acks -= 1
                return True
            if owed >= 2 * self.rcv_mss:
                return True
        if self.ack_now:
            return True
        announced = self.rcv_edge - self.rcv_nxt
        if (
            announced < _WINDOW_STEP
            and min(RCV_CAPACITY - self.delivery.size, 0xFFFF << self.rcv_scale) - announced >= _WINDOW_STEP
        ):
            return True  # the stream took enough that the guest should hear of it (RFC 9293 section 3.8.6.2.2)
        if owed and self.ack_at == math.inf:
            self.ack_at = now + DELAYED_ACK
        return False

    def announce(self) -> int:
        """The window field of a segment that is sent now, with its ACK.

        What was announced is never taken back (RFC 9293 section 3.8.6, SHLD-14).
        """
        nxt = self.rcv_nxt
        field: int = max(RCV_CAPACITY - self.delivery.size, self.rcv_edge - nxt) >> self.rcv_scale
        if field > 0xFFFF:
            field = 0xFFFF
        self.rcv_edge = nxt + (field << self.rcv_scale)
        self.rcv_acked = nxt
        self.ack_now = False
        self.ack_at = math.inf
        return field

    def announce_syn(self) -> int:
        """The same for a SYN, whose window is not scaled (RFC 7323 section 2.2)."""
        self.announce()
        window = min(RCV_CAPACITY, 0xFFFF)
        self.rcv_edge = self.rcv_nxt + window
        return window


def _nobody(_now: float) -> None:
    """In the place of a callback of an owner that is to be let go of."""

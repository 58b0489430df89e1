"""One TCP connection of the guest, carried by one TCP socket of the host.

Theory of operation.  The gateway is the other end of the guest's TCP: it answers the guest's handshake when the
host's own connection has succeeded, keeps the sequence spaces of both directions, and moves octets between the
guest's segments and the host's socket.  The host's kernel does the same toward the outside; the two connections
share nothing but the octets and their ends.

  guest -> host   A segment in order is appended to `delivery`; one in the window but ahead of a gap waits in
                  `ahead`.  When the wake-up ends, `flush` hands all of it to the socket in one gathering write and sends at most one ACK.  What the socket does not take stays, and closes the window.
  host -> guest   Octets are read from the socket only when they can go out at once: the guest's window, the
                  congestion window and the line's queue all have room.  So nothing unsent is ever held here, and
                  `unacked` holds just what is between snd_una and snd_nxt.
  ends            A FIN of the guest becomes shutdown(SHUT_WR) after its last octet; end of file on the socket
                  becomes a FIN.  Either direction lives on without the other (RFC 9293 section 3.6).
  errors          A failed socket is a RST to the guest, a RST of the guest is a reset of the socket.

Limits: RCV_CAPACITY octets toward the host (in order and ahead), SND_CAPACITY toward the guest.  Sequence numbers
are plain growing integers inside and 32 bits on the wire.  One deadline covers the retransmission, the probe of a
closed window, the delayed ACK, the idle end and TIME-WAIT.

It never waits, resolves, selects or reads a clock: the table (nat.tcp_flows) owns it, `now` comes with each call.
"""

import math
import socket
from enum import Enum
from typing import TYPE_CHECKING

from nat.delivery import Delivery
from nat.ordering import OutOfOrder
from nat.packet import dotted
from nat.recovery import RTO_MAX, Recovery
from nat.segment import (
    ACK,
    FIN,
    PSH,
    RST,
    SEGMENT,
    SEQUENCE_MASK,
    SYN,
    SegmentWriter,
    SynOptions,
    parse_sack_blocks,
    parse_syn_options,
    sack_option,
    syn_options,
)

if TYPE_CHECKING:
    from nat.tcp_flows import TcpFlows

RCV_CAPACITY = 128 * 1024
SND_CAPACITY = 128 * 1024
RCV_SCALE = 2  # RFC 7323: RCV_CAPACITY must fit into 16 bits shifted by this
READ_SIZE = 64 * 1024

DELAYED_ACK = 0.04  # seconds; RFC 9293 section 3.8.6.3 allows 0.5
QUICK_ACKS = 16  # segments acknowledged one by one, so that a guest's slow start is not held up
SYN_RETRIES = 7  # 1+2+4+...: a little over 3 minutes (RFC 9293 section 3.8.3, MUST-23)
DATA_RETRIES = 15  # about 12 minutes (SHLD-11 asks for 100 s at the least)
TIME_WAIT = 60.0
TAIL_PROBE_DELAY = 0.2  # what a guest may delay the ACK of a lone segment by

class State(Enum):
    """Where the handshake stands.  In ESTABLISHED the two ends' FINs are the flow's own fin_* attributes."""

    SYN_SENT = "calling the guest"
    SYN_RCVD = "SYN+ACK sent"
    ESTABLISHED = "established"
    TIME_WAIT = "time-wait"
    CLOSED = "closed"


class Timer(Enum):
    """What the flow's timer does when it fires; a flow has only one of them at a time."""

    IDLE = "end the idle flow"
    RETRANSMIT = "retransmit"
    TAIL = "probe for a lost tail"
    PERSIST = "probe a closed window"
    EXPIRE = "leave TIME-WAIT"


SYN_SENT, SYN_RCVD, ESTABLISHED, CLOSED = State.SYN_SENT, State.SYN_RCVD, State.ESTABLISHED, State.CLOSED


class TcpFlow:
    """See the theory of operation above.  `local` is the outside's address as the guest knows it."""

    __slots__ = (
        "table", "context", "line", "key", "sock", "guest", "guest_port", "local", "local_port", "writer", "state",
        "rcv_nxt", "rcv_acked", "rcv_edge", "rcv_scale", "rcv_mss", "fin_at", "fin_received", "delivery", "ahead",
        "ack_now", "quick_acks",
        "snd_una", "snd_nxt", "snd_wnd", "snd_max_wnd", "snd_scale", "sack", "guest_mss", "unacked", "fin_sent",
        "closes_first", "recovery", "timed_end", "timed_at", "retries", "pull", "watching",
        "timer", "timer_at", "ack_at", "challenge_after", "last_activity", "dirty", "deadline", "queued",
    )  # fmt: skip

    def __init__(
        self, table: "TcpFlows", key: bytes, sock: socket.socket, local: bytes, local_port: int, guest_port: int
    ) -> None:
        self.table, self.context, self.line = table, table.context, table.line
        self.key = key
        self.sock: socket.socket | None = sock
        self.local, self.local_port = local, local_port
        self.guest, self.guest_port = self.line.address, guest_port
        self.writer = SegmentWriter(local, local_port, self.guest, guest_port)
        self.state = SYN_SENT
        self.deadline = self.queued = math.inf
        self.timer, self.timer_at, self.ack_at = Timer.IDLE, math.inf, math.inf
        self.challenge_after = -math.inf
        self.last_activity = 0.0
        self.dirty = False
        # Toward the host.
        self.rcv_nxt = self.rcv_acked = self.rcv_edge = 0  # rcv_edge: the window's right edge as announced
        self.rcv_scale = 0
        self.rcv_mss = 536
        self.fin_at = -1  # where a FIN that came ahead of a gap stands
        self.fin_received = False
        self.delivery = Delivery()
        self.ahead = OutOfOrder(RCV_CAPACITY)
        self.ack_now = False
        self.quick_acks = QUICK_ACKS
        # Toward the guest.
        self.snd_una = self.snd_nxt = self.context.random.getrandbits(32)
        self.snd_wnd = self.snd_max_wnd = 0
        self.snd_scale = 0
        self.sack = False
        self.guest_mss = 536
        self.unacked = bytearray()
        self.fin_sent = False  # the host's end of file was read, and our FIN is out
        self.closes_first = False  # our FIN went out before the guest's came: TIME-WAIT is ours
        self.recovery = Recovery(536, SND_CAPACITY)
        self.timed_end, self.timed_at = -1, 0.0
        self.retries = 0
        self.pull = self.watching = False

    # The handshake

    def answer(self, sequence: int, window: int, options: SynOptions, now: float) -> None:
        """The guest asked for the connection, and the host's stands: SYN+ACK."""
        self._take_syn(sequence, window, options)
        self.state = SYN_RCVD
        self.last_activity = now
        self._send_syn(now)

    def call(self, now: float) -> None:
        """Open toward the guest on behalf of a socket that the host has accepted."""
        self.last_activity = now
        self._send_syn(now)

    def _take_syn(self, sequence: int, window: int, options: SynOptions) -> None:
        self.rcv_nxt = self.rcv_acked = self.rcv_edge = sequence + 1
        if options.window_scale is not None:
            self.snd_scale, self.rcv_scale = options.window_scale, RCV_SCALE
        self.sack = options.sack_permitted
        self.guest_mss = options.mss
        self.snd_wnd = self.snd_max_wnd = window  # the window of a SYN is never scaled
        self.recovery = Recovery(self._mss(), SND_CAPACITY)

    def _send_syn(self, now: float) -> None:
        calling = self.state is SYN_SENT
        mss = self.line.mtu - 40
        scale = RCV_SCALE if calling or self.rcv_scale else None
        if self.snd_nxt == self.snd_una:
            self.snd_nxt += 1
            self.timed_end, self.timed_at = self.snd_nxt, now
        else:
            self.timed_end = -1  # Karn: what was sent twice measures nothing
        self._send_control(
            SYN if calling else SYN | ACK,
            self.snd_una,
            options=syn_options(mss, scale, calling or self.sack),
        )
        self._set_timer(Timer.RETRANSMIT, now + self.recovery.rto)

    def _establish(self, now: float) -> None:
        self.state = ESTABLISHED
        self.snd_una = self.snd_nxt
        if self.timed_end >= 0:
            self.recovery.sample(now - self.timed_at)
            self.timed_end = -1
        self.retries = 0
        self.recovery.restore()
        self._set_timer(Timer.IDLE, now + self.context.limits.tcp_idle)
        self.pull = True
        self._mark()

    # From the guest

    def receive(self, packet: bytes, now: float) -> None:
        """A segment of the guest: a whole IPv4 packet without IP options, its lengths and checksums verified."""
        sequence, acknowledgement, offset_flags, window, _, _ = SEGMENT.unpack_from(packet, 24)
        self.last_activity = now
        # Header prediction: no options, ACK and perhaps PSH, exactly what is expected next.
        if (
            offset_flags & 0xF037 == 0x5010
            and self.state is ESTABLISHED
            and sequence == self.rcv_nxt & SEQUENCE_MASK
            and not self.fin_received
        ):
            size = len(packet) - 40
            if size <= RCV_CAPACITY - self.delivery.size:
                if (
                    not size
                    or acknowledgement != self.snd_una & SEQUENCE_MASK
                    or window << self.snd_scale != self.snd_wnd
                ) and not self._acknowledged(acknowledgement, window, size, now):
                    return
                if size:
                    self._accept(packet[40:])
                if not self.dirty:
                    self.dirty = True
                    self.table.dirty.append(self)
                return
        self._receive(packet, sequence, acknowledgement, offset_flags, window, now)

    def _receive(
        self, packet: bytes, wire_sequence: int, acknowledgement: int, offset_flags: int, window: int, now: float
    ) -> None:
        """Any segment, in the order of RFC 9293 section 3.10.7."""
        flags = offset_flags & 0x3F
        header = 20 + (offset_flags >> 12) * 4
        if not 40 <= header <= len(packet):
            self.context.count["tcp.bad_offset"] += 1
            return
        payload = packet[header:]
        if self.state is SYN_SENT:
            self._receive_in_syn_sent(packet, wire_sequence, acknowledgement, flags, window, header, now)
            return
        # The nearest sequence number to rcv_nxt that looks like this on the wire.
        behind = (wire_sequence - self.rcv_nxt) & SEQUENCE_MASK
        sequence = self.rcv_nxt + behind - (1 << 32 if behind >> 31 else 0)
        length = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        edge = max(self.rcv_edge, self.rcv_nxt + RCV_CAPACITY - self.delivery.size)
        if not self._acceptable(sequence, length, edge):
            self._unacceptable(sequence, len(payload), flags, now)
            return
        if flags & RST:
            if sequence == self.rcv_nxt:
                self.context.count["tcp.reset_by_guest"] += 1
                self.abort(now)
            else:
                self._challenge(now)  # RFC 5961 section 3.2
            return
        if flags & SYN:
            if self.state is SYN_RCVD and sequence == self.rcv_nxt - 1:
                self._send_syn(now)
            else:
                self._challenge(now)  # RFC 5961 section 4.2
            return
        if not flags & ACK:
            self.context.count["tcp.no_ack"] += 1
            return
        if self.state is SYN_RCVD:
            if acknowledgement != self.snd_nxt & SEQUENCE_MASK:
                self._refuse(acknowledgement)
                return
            self._agree_window(window)
            self._establish(now)
        elif header > 40 and self.sack:
            self._take_sack(parse_sack_blocks(packet[40:header]), now)
        if not self._acknowledged(acknowledgement, window, len(payload) + bool(flags & FIN), now):
            return
        if self.state is ESTABLISHED and not self.fin_received:
            self._receive_text(sequence, payload, bool(flags & FIN), edge)
        elif length:
            self.ack_now = True  # the FIN again: our ACK of it was lost
            if self.state is State.TIME_WAIT:
                self._set_timer(Timer.EXPIRE, now + TIME_WAIT)
        self._mark()

    def _acceptable(self, sequence: int, length: int, edge: int) -> bool:
        """RFC 9293 section 3.4; a segment at rcv_nxt passes even into a closed window, for its ACK and RST."""
        if sequence == self.rcv_nxt:
            return True
        if length == 0:
            return self.rcv_nxt <= sequence < edge
        return sequence < edge and sequence + length > self.rcv_nxt

    def _unacceptable(self, sequence: int, size: int, flags: int, now: float) -> None:
        if flags & RST:
            self.context.count["tcp.stray_reset"] += 1
        elif flags & SYN and self.state is SYN_RCVD and sequence == self.rcv_nxt - 1:
            self._send_syn(now)  # the guest's SYN again: our answer was lost
        elif size or flags & FIN:
            self.context.count["tcp.duplicate_data" if sequence < self.rcv_nxt else "tcp.past_window"] += 1
            self.ack_now = True
            self._mark()
            if self.state is State.TIME_WAIT:
                self._set_timer(Timer.EXPIRE, now + TIME_WAIT)
        else:
            self._challenge(now)  # keep-alives, ACKs from an earlier life

    def _receive_in_syn_sent(
        self, packet: bytes, sequence: int, acknowledgement: int, flags: int, window: int, header: int, now: float
    ) -> None:
        """RFC 9293 section 3.10.7.3."""
        acceptable = acknowledgement == self.snd_nxt & SEQUENCE_MASK
        if flags & ACK and not acceptable:
            if not flags & RST:
                self._refuse(acknowledgement)
            return
        if flags & RST:
            if flags & ACK:
                self.context.count["tcp.refused_by_guest"] += 1
                self.abort(now)
            return
        if not flags & SYN:
            return
        self._take_syn(sequence, window, parse_syn_options(packet[40:header]))
        if flags & ACK:
            self._establish(now)
            self.ack_now = True
        else:  # both called at the same time (RFC 9293 section 3.5, figure 7)
            self.state = SYN_RCVD
            self._send_syn(now)

    def _challenge(self, now: float) -> None:
        """An ACK that tells the guest where we are, at most two a second (RFC 5961 section 7)."""
        if now < self.challenge_after:
            return
        self.challenge_after = now + 0.5
        self.ack_now = True
        self._mark()

    def _refuse(self, acknowledgement: int) -> None:
        """A RST for an ACK of something never sent (RFC 9293 section 3.10.7.4, SYN-RECEIVED)."""
        self.context.count["tcp.bad_ack"] += 1
        self.line.send(self.writer.control(acknowledgement, 0, RST, 0), self)

    def _accept(self, payload: bytes) -> None:
        """Octets at rcv_nxt that fit."""
        size = len(payload)
        delivery = self.delivery
        delivery.chunks.append(payload)
        delivery.size += size
        self.rcv_nxt += size
        if size > self.rcv_mss:
            self.rcv_mss = size
        if self.ahead:
            more = self.ahead.take(self.rcv_nxt)
            if more:
                delivery.chunks.append(more)
                delivery.size += len(more)
                self.rcv_nxt += len(more)
            self.ack_now = True
        if self.fin_at == self.rcv_nxt:
            self._fin()

    def _receive_text(self, sequence: int, payload: bytes, fin: bool, edge: int) -> None:
        end = sequence + len(payload)
        if end > edge:
            self.context.count["tcp.past_window"] += 1
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
                self.context.count["tcp.ahead_full"] += 1
            self.ack_now = True
        elif payload:
            self._accept(payload)
        elif self.fin_at == self.rcv_nxt:
            self._fin()

    def _fin(self) -> None:
        self.rcv_nxt += 1
        self.fin_received = True
        self.ack_now = True

    # Acknowledgements of what went to the guest

    def _agree_window(self, window: int) -> None:
        self.snd_wnd = window << self.snd_scale
        self.snd_max_wnd = max(self.snd_max_wnd, self.snd_wnd)

    def _acknowledged(self, acknowledgement: int, window: int, size: int, now: float) -> bool:
        """The ACK field and window of an acceptable segment.  False: the segment goes no further."""
        count = (acknowledgement - self.snd_una) & SEQUENCE_MASK
        if count >> 31:
            return True  # an old one; its data still counts
        flight = self.snd_nxt - self.snd_una
        if count > flight:
            self.context.count["tcp.ack_of_unsent"] += 1
            self._challenge(now)
            return False
        wide = window << self.snd_scale
        if not count:
            if flight and not size and wide == self.snd_wnd and not self.recovery.sacked:
                self._duplicate(now)
            if not wide:
                self.retries = 0  # the guest is alive and says no: this must not end the connection (MUST-37)
        if wide != self.snd_wnd:
            self.snd_wnd = wide
            if wide > self.snd_max_wnd:
                self.snd_max_wnd = wide
            if self.timer is Timer.PERSIST and wide:
                self.recovery.restore()
                self._set_timer(Timer.IDLE, now + self.context.limits.tcp_idle)
        if count:
            self._advance(count, flight, now)
        if self.state is not CLOSED:
            self.pull = True
            return True
        return False

    def _advance(self, count: int, flight: int, now: float) -> None:
        """`count` octets (perhaps our FIN among them) have arrived."""
        self.snd_una += count
        del self.unacked[:count]
        recovery = self.recovery
        if 0 <= self.timed_end <= self.snd_una:
            recovery.sample(now - self.timed_at)
            self.timed_end = -1
        elif self.retries:
            recovery.restore()
        self.retries = 0
        recovery.acknowledged(count, self.snd_una, flight)
        if recovery.recover >= 0:
            self._resend(now)
        if self.snd_una == self.snd_nxt:
            if self.fin_sent and self._finish(now):
                return
            self._set_timer(Timer.IDLE, now + self.context.limits.tcp_idle)
        else:
            self._time_out_later(now)

    def _duplicate(self, now: float) -> None:
        if self.recovery.duplicate(self.snd_una, self.snd_nxt):
            self.context.count["tcp.fast_retransmit"] += 1
        self._resend(now)

    def _take_sack(self, blocks: list[tuple[int, int]], now: float) -> None:
        news = False
        for left, right in blocks:
            start = self.snd_una + ((left - self.snd_una) & SEQUENCE_MASK)
            end = self.snd_una + ((right - self.snd_una) & SEQUENCE_MASK)
            if self.snd_una < start < end <= self.snd_nxt:
                news |= self.recovery.selectively_acknowledged(start, end)
        if news:
            self._duplicate(now)

    def _resend(self, now: float) -> None:
        """Send again what is known to be lost, as far as the congestion window allows."""
        sent = False
        while lost := self.recovery.next_lost(self.snd_una, self.snd_nxt):
            start, end = lost
            self.recovery.resend_from = end
            self._send_again(start, end)
            sent = True
        if sent:
            self._set_timer(Timer.RETRANSMIT, now + self.recovery.rto)

    def _send_again(self, start: int, end: int) -> None:
        self.context.count["tcp.retransmitted"] += 1
        self.timed_end = -1  # Karn: what was sent twice measures nothing
        offset = start - self.snd_una
        payload = bytes(self.unacked[offset : offset + end - start])
        flags = ACK | PSH
        if self.fin_sent and start + len(payload) == self.snd_nxt - 1 and end >= self.snd_nxt:
            flags |= FIN
        self._send_segments(start, (payload,), flags)

    def _finish(self, now: float) -> bool:
        """Our FIN is acknowledged.  True: the flow has ended or only waits for its name to be free again."""
        if not self.fin_received:
            return False
        if self.delivery.size:
            return False  # the last octets wait for the host; flush comes back here
        if self.closes_first:
            self._release_socket()
            self.state = State.TIME_WAIT
            self._set_timer(Timer.EXPIRE, now + TIME_WAIT)
        else:
            self.free(now)
        return True

    # The end of a wake-up

    def _mark(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.table.dirty.append(self)

    def flush(self, now: float) -> None:
        """Hand over what came in, read what may go out, and acknowledge: once a wake-up."""
        self.dirty = False
        if self.state is CLOSED:
            return
        if self.delivery.size and not self.delivery.blocked:
            self._push(now)
        if self.fin_received and not self.delivery.size and self.state is ESTABLISHED:
            self._finish_host(now)
        if self.pull and self.state is ESTABLISHED:
            self.resume(now)
        if self.state is CLOSED:
            return
        owed = self.rcv_nxt - self.rcv_acked
        if self.ack_now or owed >= 2 * self.rcv_mss or (owed and self.quick_acks) or self._window_opened():
            if owed and self.quick_acks:
                self.quick_acks -= 1
            self._send_ack()
        elif owed and self.ack_at == math.inf:
            self.ack_at = now + DELAYED_ACK
            self._arm()

    def _window_opened(self) -> bool:
        """The host took enough that the guest should hear of it (RFC 9293 section 3.8.6.2.2)."""
        edge = self.rcv_nxt + min(RCV_CAPACITY - self.delivery.size, 0xFFFF << self.rcv_scale)
        return edge - self.rcv_edge >= RCV_CAPACITY // 4 and self.rcv_edge - self.rcv_nxt < RCV_CAPACITY // 4

    def _push(self, now: float) -> None:
        sock, delivery = self.sock, self.delivery
        if sock is None:
            return
        was_blocked = delivery.blocked
        try:
            delivery.push(sock)
        except OSError:
            self._host_failed(now)
            return
        if delivery.blocked and not was_blocked:
            self.context.host.watch_write(sock.fileno(), self.on_writable)
        elif was_blocked and not delivery.blocked:
            self.context.host.unwatch_write(sock.fileno())

    def on_writable(self, now: float) -> None:
        """The host's socket takes octets again."""
        self._push(now)
        self._mark()

    def _finish_host(self, now: float) -> None:
        """All that the guest had to say has been handed over: say so to the host."""
        try:
            if self.sock is not None:
                self.delivery.finish(self.sock)
        except OSError:
            self._host_failed(now)
            return
        if self.fin_sent and self.snd_una == self.snd_nxt:
            self._send_ack()  # of the guest's FIN
            self._finish(now)

    # Toward the guest

    def _mss(self) -> int:
        return min(self.guest_mss, self.line.mtu - 40)

    def resume(self, now: float) -> None:
        """There may be room now: read from the host what can go out at once.  Also the socket's own callback."""
        self.pull = False
        if self.fin_sent or self.sock is None or self.state is not ESTABLISHED:
            return
        recovery = self.recovery
        recovery.mss = mss = self._mss()
        line = self.line
        flight = self.snd_nxt - self.snd_una
        window = min(self.snd_wnd, recovery.cwnd, SND_CAPACITY) - flight
        room = line.room(self)
        if min(window, room) < mss:
            if room < mss and room <= window:
                self._pause()
                line.wait(self)
                return
            # Silly window avoidance (RFC 9293 section 3.8.6.2.1): less than a segment goes out only if it is
            # half of the largest window this guest has ever offered and nothing is in flight.
            if flight or window * 2 < self.snd_max_wnd or window <= 0:
                self._pause()
                if not flight and self.timer is not Timer.PERSIST:
                    self._set_timer(Timer.PERSIST, now + recovery.rto)
                return
        room = min(room, window, READ_SIZE)
        if room > mss:
            room -= room % mss
        if not self._read(room, now):
            self._watch()
        elif window - room < mss:
            self._pause()  # an ACK of the guest brings us back
        else:
            self._watch()

    def _read(self, room: int, now: float) -> bool:
        """Move at most `room` octets from the host to the guest.  False: the socket has no more for now."""
        if self.sock is None or self.fin_sent:
            return False
        try:
            data = self.sock.recv(room)
        except BlockingIOError:
            return False
        except OSError:
            self._host_failed(now)
            return False
        if not data:
            self._end_of_file(now)
            return False
        self._transmit(data, now)
        return len(data) == room

    def on_readable(self, now: float) -> None:
        """The host's socket has octets, or its end."""
        self.last_activity = now
        self.resume(now)
        self._mark()

    def _watch(self) -> None:
        if not self.watching and self.sock is not None and not self.fin_sent:
            self.watching = True
            self.context.host.watch_read(self.sock.fileno(), self.on_readable)

    def _pause(self) -> None:
        if self.watching and self.sock is not None:
            self.watching = False
            self.context.host.unwatch_read(self.sock.fileno())

    def _transmit(self, data: bytes, now: float) -> None:
        """New octets, sent at once."""
        mss = self.recovery.mss
        start = self.snd_nxt
        size = len(data)
        if size <= mss:
            self._send_segments(start, (data,), ACK | PSH)
        else:
            self._send_segments(start, [data[at : at + mss] for at in range(0, size, mss)], ACK | PSH)
        self.unacked += data
        self.snd_nxt = start + size
        if self.timed_end < 0:
            self.timed_end, self.timed_at = self.snd_nxt, now
        if self.timer is not Timer.RETRANSMIT:
            self._time_out_later(now)

    def _end_of_file(self, now: float) -> None:
        self.fin_sent = True
        self.closes_first = not self.fin_received
        self._pause()
        self._send_control(FIN | ACK, self.snd_nxt)
        self.snd_nxt += 1
        self._time_out_later(now)

    def _send_segments(self, sequence: int, payloads: list[bytes] | tuple[bytes, ...], flags: int) -> None:
        send = self.line.send
        for packet in self.writer.data(sequence, self.rcv_nxt, flags, self._window(), payloads):
            send(packet, self)
        self._acked()

    def _send_control(self, flags: int, sequence: int, options: bytes = b"") -> None:
        """SYN, FIN, RST and ACK; the window of a SYN is not scaled (RFC 7323 section 2.2)."""
        window = self._window()
        if flags & SYN:
            window = min(RCV_CAPACITY, 0xFFFF)
            self.rcv_edge = self.rcv_nxt + window
        packet = self.writer.control(sequence, self.rcv_nxt if flags & ACK else 0, flags, window, options)
        # A key of its own: an ACK or a SYN does not wait behind the data of its flow, which is in order anyway
        # by sequence number; FIN and RST stay behind the data.
        self.line.send(packet, self if flags & (FIN | RST) else self.key)
        self._acked()

    def _send_ack(self) -> None:
        self._send_control(ACK, self.snd_nxt, sack_option(self.ahead.blocks()) if self.ahead and self.sack else b"")

    def _window(self) -> int:
        """The window field; never takes back what was announced (RFC 9293 section 3.8.6, SHLD-14)."""
        room = max(RCV_CAPACITY - self.delivery.size, self.rcv_edge - self.rcv_nxt)
        field: int = min(room >> self.rcv_scale, 0xFFFF)
        self.rcv_edge = self.rcv_nxt + (field << self.rcv_scale)
        return field

    def _acked(self) -> None:
        self.rcv_acked = self.rcv_nxt
        self.ack_now = False
        self.ack_at = math.inf

    # Time

    def _set_timer(self, timer: Timer, when: float) -> None:
        self.timer, self.timer_at = timer, when
        self.context.deadlines.arm(self, min(when, self.ack_at))

    def _arm(self) -> None:
        self.context.deadlines.arm(self, min(self.timer_at, self.ack_at))

    def _time_out_later(self, now: float) -> None:
        """Something is in flight: probe for a lost tail first (after RFC 8985 section 7), then time out."""
        recovery = self.recovery
        if recovery.srtt and recovery.recover < 0:
            wait = 2 * recovery.srtt + 0.01
            if self.snd_nxt - self.snd_una <= recovery.mss:
                wait += TAIL_PROBE_DELAY
            if wait < recovery.rto:
                self._set_timer(Timer.TAIL, now + wait)
                return
        self._set_timer(Timer.RETRANSMIT, now + recovery.rto)

    def tick(self, now: float) -> None:
        """The deadline has come; the wake-up that brought it ends with `flush` if something is to be sent."""
        if self.ack_at <= now:
            self.ack_at = math.inf
            self.ack_now = True
            self._mark()
        if self.timer_at <= now:
            self.timer_at = math.inf
            self._fire(now)
        if self.state is not CLOSED:
            self._arm()

    def _fire(self, now: float) -> None:
        timer = self.timer
        if timer is Timer.EXPIRE:
            self.free(now)
        elif timer is Timer.IDLE:
            limit = self.context.limits.tcp_idle
            if now - self.last_activity >= limit:
                self.context.count["tcp.idle"] += 1
                self.reset(now)
            else:
                self._set_timer(Timer.IDLE, self.last_activity + limit)
        elif timer is Timer.PERSIST:
            self._probe_window(now)
        elif timer is Timer.TAIL:
            if not self.line.waiting(self):
                start = max(self.snd_una, self.snd_nxt - self.recovery.mss)
                self._send_again(start, self.snd_nxt)
            self._set_timer(Timer.RETRANSMIT, now + self.recovery.rto)
        else:
            self._retransmit(now)

    def _retransmit(self, now: float) -> None:
        if self.line.waiting(self):
            # A slow line has not even taken it yet: nothing is lost.
            self._set_timer(Timer.RETRANSMIT, now + self.recovery.rto)
            return
        self.retries += 1
        if self.retries > (DATA_RETRIES if self.state is ESTABLISHED else SYN_RETRIES):
            self.context.count["tcp.timed_out"] += 1
            self.reset(now)
            return
        self.recovery.timed_out(self.snd_una, self.snd_nxt)
        if self.state is ESTABLISHED:
            self._resend(now)
        else:
            self._send_syn(now)

    def _probe_window(self, now: float) -> None:
        """RFC 9293 section 3.8.6.1: an ACK of an octet long gone makes the guest say its window (MUST-36)."""
        if now - self.last_activity >= self.context.limits.tcp_idle:
            self.context.count["tcp.idle"] += 1
            self.reset(now)
            return
        room = min(self.snd_wnd, self.line.room(self), self.recovery.mss)
        if room:
            self._read(room, now)  # the override of silly window avoidance: a small window is better than none
        if self.snd_nxt == self.snd_una:
            self._send_control(ACK, self.snd_una - 1)
            self.recovery.rto = min(self.recovery.rto * 2, RTO_MAX)
            self._set_timer(Timer.PERSIST, now + self.recovery.rto)

    def probe(self, now: float) -> None:
        """The guest's link came back: find out whether this guest still knows the connection.

        One that was rebooted answers with RST; one whose line was only interrupted answers with ACK.
        """
        if self.state is ESTABLISHED:
            self.retries = 0
            self.recovery.restore()
            if self.snd_una == self.snd_nxt:
                self._send_control(ACK, self.snd_una - 1)
            else:
                self._send_again(self.snd_una, min(self.snd_nxt, self.snd_una + self.recovery.mss))
                self._set_timer(Timer.RETRANSMIT, now + self.recovery.rto)
            self.pull = True
            self._mark()

    # Ends

    def _host_failed(self, now: float) -> None:
        self.context.count["tcp.host_failed"] += 1
        self.reset(now)

    def reset(self, now: float) -> None:
        """Tell the guest that the connection is gone, and let go of everything."""
        self._send_control(RST | ACK, self.snd_nxt)
        self.abort(now)

    def abort(self, now: float) -> None:
        """Reset the host's side; the guest hears nothing."""
        if self.sock is not None:
            self.context.host.reset_on_close(self.sock)
        self.free(now)

    def _release_socket(self) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            host = self.context.host
            host.unwatch_read(sock.fileno())
            host.unwatch_write(sock.fileno())
            self.watching = self.delivery.blocked = False
            sock.close()

    def free(self, now: float) -> None:
        """The connection is over: its socket, its timer and its place in the table go."""
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self._release_socket()
        self.unacked.clear()
        self.context.deadlines.arm(self, math.inf)
        self.line.forget(self)
        self.table.ended(self)

    def describe(self) -> str:
        return (
            f"{dotted(self.guest)}:{self.guest_port} - {dotted(self.local)}:{self.local_port} ({self.state.value})"
        )

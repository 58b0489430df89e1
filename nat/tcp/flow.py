"""One TCP connection of the guest, carried by one TCP socket of the host.

Theory of operation.  The gateway is the other end of the guest's TCP: it answers the guest's handshake when the
host's own connection has succeeded, keeps the sequence spaces of both directions, and moves octets between the
guest's segments and the host's socket.  The host's kernel does the same toward the outside; the two connections
share nothing but the octets and their ends.

  guest -> host   A segment in order is appended to `delivery`; one in the window but ahead of a gap waits in
                  `ahead`.  When the wake-up ends, `flush` hands all of `delivery` to the socket in one gathering
                  write and sends at most one ACK.  What the socket does not take stays, and closes the window.
  host -> guest   Is the sending half, nat.tcp.sender.
  ends            A FIN of the guest becomes shutdown(SHUT_WR) after its last octet; end of file on the socket
                  becomes a FIN.  Either direction lives on without the other (RFC 9293 section 3.6).
  errors          A failed socket is a RST to the guest, a RST of the guest is a reset of the socket.

Limits: RCV_CAPACITY octets toward the host (in order and ahead), SND_CAPACITY toward the guest.  Sequence numbers
are plain growing integers inside and 32 bits on the wire.  One deadline covers the retransmission, the probe of a
closed window, the delayed ACK, the idle end and TIME-WAIT.

It never waits, resolves, selects or reads a clock: the table (nat.tcp.flows) owns it, `now` comes with each call.
"""

import math
from typing import Protocol

from nat.context import Context
from nat.line import Line
from nat.stream import StreamSocket
from nat.tcp.delivery import GATHER_MOST
from nat.tcp.recovery import Recovery
from nat.tcp.sender import (
    CLOSED,
    ESTABLISHED,
    RCV_CAPACITY,
    SND_CAPACITY,
    SYN_RCVD,
    SYN_SENT,
    State,
    TcpSender,
    Timer,
)
from nat.wire.ipv4 import dotted
from nat.wire.tcp import (
    ACK,
    FIN,
    RST,
    SEGMENT,
    SEQUENCE_MASK,
    SYN,
    SegmentWriter,
    SynOptions,
    parse_sack_blocks,
    parse_syn_options,
    syn_options,
)

RCV_SCALE = 2  # RFC 7323: RCV_CAPACITY must fit into 16 bits shifted by this
DELAYED_ACK = 0.04  # seconds; RFC 9293 section 3.8.6.3 allows 0.5
QUICK_ACKS = 16  # segments acknowledged one by one, so that a guest's slow start is not held up
TIME_WAIT = 60.0
CHALLENGE_INTERVAL = 0.5  # seconds (RFC 5961 section 7)


class Table(Protocol):
    """What a flow asks of its owner, nat.tcp.flows.TcpFlows."""

    context: Context
    line: Line

    def ended(self, flow: "TcpFlow") -> None: ...


class TcpFlow(TcpSender):
    """See the theory of operation above.  `key`: the guest's address, the outside's as the guest knows it, their ports,
    as they stand in the guest's packets."""

    __slots__ = (
        "table", "guest", "guest_port",
        "rcv_mss", "fin_at", "quick_acks", "challenge_after", "dirty",
    )  # fmt: skip

    def __init__(self, table: Table, key: bytes, sock: StreamSocket) -> None:
        guest, local = key[:4], key[4:8]
        guest_port, local_port = int.from_bytes(key[8:10], "big"), int.from_bytes(key[10:12], "big")
        writer = SegmentWriter(local, local_port, guest, guest_port)
        super().__init__(table.context, table.line, key, sock, writer)
        self.table = table
        self.guest, self.guest_port = guest, guest_port
        self.dirty = False
        self.challenge_after = -math.inf
        self.rcv_mss = 536
        self.fin_at = -1  # where a FIN that came ahead of a gap stands
        self.quick_acks = QUICK_ACKS

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  Times in seconds, sizes in octets."""
        local, port = self.key[4:8], int.from_bytes(self.key[10:12], "big")
        return {
            "protocol": "tcp",
            "guest_port": self.guest_port,
            "outside": f"{dotted(local)}:{port}",
            "state": self.state.value,
            "to_host": self.delivery.size,
            "to_guest": self.snd_nxt - self.snd_una,
            "idle": now - self.last_activity,
        }

    # The handshake

    def answer(self, sequence: int, window: int, options: SynOptions, now: float) -> None:
        """The guest asked for the connection, and the host's stands: SYN+ACK."""
        self._take_syn(sequence, window, options)
        self.state = SYN_RCVD
        self.last_activity = now
        self.send_syn(now)

    def call(self, now: float) -> None:
        """Open toward the guest on behalf of a socket that the host has accepted."""
        self.last_activity = now
        self.send_syn(now)

    def _take_syn(self, sequence: int, window: int, options: SynOptions) -> None:
        self.rcv_nxt = self.rcv_acked = self.rcv_edge = sequence + 1
        if options.window_scale is not None:
            self.snd_scale, self.rcv_scale = options.window_scale, RCV_SCALE
        self.sack = options.sack_permitted
        self.guest_mss = options.mss
        self.snd_wnd = self.snd_max_wnd = window  # the window of a SYN is never scaled
        self.recovery = Recovery(self.mss(), SND_CAPACITY)

    def send_syn(self, now: float) -> None:
        calling = self.state is SYN_SENT
        mss = self.line.mtu - 40
        scale = RCV_SCALE if calling or self.rcv_scale else None
        if self.snd_nxt == self.snd_una:
            self.snd_nxt += 1
            self.timed_end, self.timed_at = self.snd_nxt, now
        else:
            self.timed_end = -1  # Karn: what was sent twice measures nothing
        self.send_control(
            SYN if calling else SYN | ACK,
            self.snd_una,
            options=syn_options(mss, scale, calling or self.sack),
        )
        self.time_out_after(now)

    def _establish(self, now: float) -> None:
        self.state = ESTABLISHED
        self.snd_una = self.snd_nxt
        if self.timed_end >= 0:
            self.recovery.sample(now - self.timed_at)
            self.timed_end = -1
        self.retries = 0
        self.recovery.restore()
        self.idle_later(now)
        self.pull = True
        self.mark()

    # From the guest

    def receive(self, packet: bytes, now: float) -> None:
        """A segment of the guest: a whole IPv4 packet without IP options, its lengths and checksums verified."""
        sequence, acknowledgement, offset_flags, window, _, _ = SEGMENT.unpack_from(packet, 24)
        self.last_activity = now
        self.asked = 0
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
                ) and not self.acknowledged(acknowledgement, window, size, now):
                    return
                if size:
                    self._accept(packet[40:])
                if not self.dirty:
                    self.dirty = True
                    self.context.dirty.flow(self)
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
                self.line.discard(self)
                self.abort(now)
            else:
                self.challenge(now)  # RFC 5961 section 3.2
            return
        if flags & SYN:
            if self.state is SYN_RCVD and sequence == self.rcv_nxt - 1:
                self.send_syn(now)
            else:
                self.challenge(now)  # RFC 5961 section 4.2
            return
        if not flags & ACK:
            self.context.count["tcp.no_ack"] += 1
            return
        if self.state is SYN_RCVD:
            if acknowledgement != self.snd_nxt & SEQUENCE_MASK:
                self._refuse(acknowledgement)
                return
            self.agree_window(window)
            self._establish(now)
        elif header > 40 and self.sack:
            self.take_sack(parse_sack_blocks(packet[40:header]), now)
        if not self.acknowledged(acknowledgement, window, len(payload) + bool(flags & FIN), now):
            return
        if self.state is ESTABLISHED and not self.fin_received:
            self._receive_text(sequence, payload, bool(flags & FIN), edge)
        elif length:
            self.ack_now = True  # the FIN again: our ACK of it was lost
            if self.state is State.TIME_WAIT:
                self.set_timer(Timer.EXPIRE, now + TIME_WAIT)
        self.mark()

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
            self.send_syn(now)  # the guest's SYN again: our answer was lost
        elif size or flags & FIN:
            self.context.count["tcp.duplicate_data" if sequence < self.rcv_nxt else "tcp.past_window"] += 1
            self.ack_now = True
            self.mark()
            if self.state is State.TIME_WAIT:
                self.set_timer(Timer.EXPIRE, now + TIME_WAIT)
        else:
            self.challenge(now)  # keep-alives, ACKs from an earlier life

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
            self.send_syn(now)

    def challenge(self, now: float) -> None:
        """An ACK that tells the guest where we are, at a bounded rate."""
        self.context.count["tcp.challenge"] += 1
        if now < self.challenge_after:
            return
        self.challenge_after = now + CHALLENGE_INTERVAL
        self.ack_now = True
        self.mark()

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

    # The end of a wake-up

    def flush(self, now: float) -> None:
        """Hand over what came in, read what may go out, and acknowledge: once a wake-up."""
        self.dirty = False
        try:
            self._flush(now)
        finally:
            if self.line.turn is self:
                self.line.pass_on()

    def _flush(self, now: float) -> None:
        if self.state is CLOSED:
            return
        delivery = self.delivery
        if delivery.size:
            if not delivery.blocked:
                self._push(now)
            elif len(delivery.chunks) > GATHER_MOST:
                delivery.join()  # a guest that sends octet by octet must not make each cost an object
        if self.fin_received and not delivery.size and self.state is ESTABLISHED:
            self._finish_host(now)
        if self.pull and self.state is ESTABLISHED:
            self.resume(now)
        if self.state is CLOSED:
            return
        owed = self.rcv_nxt - self.rcv_acked
        if self.ack_now or owed >= 2 * self.rcv_mss or (owed and self.quick_acks) or self._window_opened():
            if owed and self.quick_acks:
                self.quick_acks -= 1
            self.send_ack()
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
            self.host_failed(now)
            return
        if delivery.blocked and not was_blocked:
            sock.watch_write(self.on_writable)
        elif was_blocked and not delivery.blocked:
            sock.unwatch_write()

    def on_writable(self, now: float) -> None:
        """The host's socket takes octets again."""
        self._push(now)
        self.mark()

    def _finish_host(self, now: float) -> None:
        """All that the guest had to say has been handed over: say so to the host."""
        try:
            if self.sock is not None:
                self.delivery.finish(self.sock)
        except OSError:
            self.host_failed(now)
            return
        if self.fin_sent and self.snd_una == self.snd_nxt:
            self.send_ack()  # of the guest's FIN
            self.finish(now)

    def mark(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.context.dirty.flow(self)

    # Ends

    def finish(self, now: float) -> bool:
        """Our FIN is acknowledged.  True: the flow has ended or only waits for its name to be free again."""
        if not self.fin_received:
            return False
        if self.delivery.size:
            return False  # the last octets wait for the host; flush comes back here
        if self.closes_first:
            self.release_socket()
            self.state = State.TIME_WAIT
            self.set_timer(Timer.EXPIRE, now + TIME_WAIT)
        else:
            self.free(now)
        return True

    def host_failed(self, now: float) -> None:
        self.context.count["tcp.host_failed"] += 1
        self.reset(now)

    def reset(self, now: float) -> None:
        """Tell the guest that the connection is gone, and let go of everything."""
        self.send_control(RST | ACK, self.snd_nxt)
        self.abort(now)

    def abort(self, now: float) -> None:
        """Reset the host's side; the guest hears nothing."""
        if self.sock is not None:
            self.sock.reset()
        self.free(now)

    def release_socket(self) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            self.watching = self.delivery.blocked = False
            sock.close()

    def free(self, now: float) -> None:
        """The connection is over: its socket, its timer and its place in the table go."""
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self.release_socket()
        self.unacked.clear()
        self.land(self.aloft)
        self.context.deadlines.arm(self, math.inf)
        self.line.forget(self)
        self.table.ended(self)

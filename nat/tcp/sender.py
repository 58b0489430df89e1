"""The sending half of a TCP flow: what goes from the host's socket to the guest, and when it goes again.

In: readiness of the host's socket, the ACK field, window and SACK blocks of the guest's segments, the time.
Out: segments on the guest's line.  Octets are read from the socket only when they can go out at once (the guest's
window, the congestion window and the line's queue all have room), so nothing unsent is ever held here.
It does not know how segments of the guest are judged: that, the handshake and the ends are nat.tcp.flow's.
"""

import math
from enum import Enum

from nat.context import Context
from nat.line import Line
from nat.stream import StreamSocket
from nat.tcp.delivery import Delivery
from nat.tcp.ordering import OutOfOrder
from nat.tcp.recovery import RTO_MAX, Recovery
from nat.wire.tcp import ACK, FIN, PSH, RST, SEQUENCE_MASK, SYN, SegmentWriter, sack_option

RCV_CAPACITY = 128 * 1024  # octets of the guest that wait for the host, in order and ahead
SND_CAPACITY = 128 * 1024  # octets of the host that the guest has not acknowledged
READ_SIZE = 64 * 1024
HEADERS = 40  # octets of a data segment's IP and TCP headers

SYN_RETRIES = 7  # 1+2+4+...: a little over 3 minutes (RFC 9293 section 3.8.3, MUST-23)
DATA_RETRIES = 15  # about 12 minutes (SHLD-11 asks for 100 s at the least)
ALIVE_TRIES = 6  # at 0, 1, 3, 7, 15 and 31 s; a guest that has not answered after 63 s is not there
TAIL_PROBE_DELAY = 0.2  # seconds; what a guest may delay the ACK of a lone segment by


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
    ALIVE = "ask whether the guest still knows the connection"
    EXPIRE = "leave TIME-WAIT"


SYN_SENT, SYN_RCVD, ESTABLISHED, CLOSED = State.SYN_SENT, State.SYN_RCVD, State.ESTABLISHED, State.CLOSED


class TcpSender:
    """State toward the guest, with the names of RFC 9293 section 3.3.1.

    Invariants: `unacked` holds the octets from snd_una to snd_nxt (a FIN or SYN counts in snd_nxt and has none);
    `timed_end` is -1 or the end of the one segment being timed; at most one kind of `timer` is set.
    """

    __slots__ = (
        "context", "line", "key", "sock", "writer", "state",
        "snd_una", "snd_nxt", "snd_wnd", "snd_max_wnd", "snd_scale", "sack", "guest_mss", "unacked", "aloft",
        "fin_sent", "closes_first", "recovery", "timed_end", "timed_at", "probed", "retries", "pull", "watching",
        "timer", "timer_at", "ack_at", "asked", "last_activity", "deadline", "queued",
        "rcv_nxt", "rcv_acked", "rcv_edge", "rcv_scale", "fin_received", "ack_now", "delivery", "ahead",
    )  # fmt: skip

    def __init__(self, context: Context, line: Line, key: bytes, sock: StreamSocket, writer: SegmentWriter) -> None:
        self.context, self.line, self.key, self.writer = context, line, key, writer
        self.sock: StreamSocket | None = sock
        self.state = SYN_SENT
        self.deadline = self.queued = math.inf
        self.timer, self.timer_at, self.ack_at = Timer.IDLE, math.inf, math.inf
        self.asked = 0  # questions that the guest has not answered with any segment
        self.last_activity = 0.0
        self.snd_una = self.snd_nxt = context.random.getrandbits(32)
        self.snd_wnd = self.snd_max_wnd = 0
        self.snd_scale = 0
        self.sack = False
        self.guest_mss = 536
        self.unacked = bytearray()
        self.aloft = 0  # octets of it that the line's account has as being on the way
        self.fin_sent = False  # the host's end of file was read, and our FIN is out
        self.closes_first = False  # our FIN went out before the guest's came: TIME-WAIT is ours
        self.recovery = Recovery(536, SND_CAPACITY)
        self.timed_end, self.timed_at = -1, 0.0
        self.probed = False  # a tail was probed for since the last sample: a second would only be in the way of it
        self.retries = 0
        self.pull = self.watching = False
        # The receiving half's, which every segment reports.
        self.rcv_nxt = self.rcv_acked = self.rcv_edge = 0  # rcv_edge: the window's right edge as announced
        self.rcv_scale = 0
        self.fin_received = False
        self.ack_now = False
        self.delivery = Delivery()
        self.ahead = OutOfOrder(RCV_CAPACITY)

    # What nat.tcp.flow does for this half

    def mark(self) -> None:
        """Have `flush` called when the wake-up ends."""
        raise NotImplementedError

    def send_syn(self, now: float) -> None:
        raise NotImplementedError

    def finish(self, now: float) -> bool:
        """The FIN is acknowledged.  True: the flow has ended or only waits in TIME-WAIT."""
        raise NotImplementedError

    def host_failed(self, now: float) -> None:
        raise NotImplementedError

    def challenge(self, now: float) -> None:
        raise NotImplementedError

    def reset(self, now: float) -> None:
        raise NotImplementedError

    def free(self, now: float) -> None:
        raise NotImplementedError

    # From the host to the guest

    def mss(self) -> int:
        return min(self.guest_mss, self.line.mtu - 40)

    def resume(self, now: float) -> None:
        """There may be room now: read from the host what can go out at once.  Also the socket's own callback."""
        self.pull = False
        if self.fin_sent or self.sock is None or self.state is not ESTABLISHED:
            return
        recovery = self.recovery
        recovery.mss = mss = self.mss()
        line = self.line
        flight = self.snd_nxt - self.snd_una
        window = min(self.snd_wnd, recovery.cwnd, SND_CAPACITY) - flight
        room = line.room(self) * mss // (mss + HEADERS)  # the line counts whole packets
        if min(window, room) < mss:
            if room < mss and room <= window:
                self._pause()
                line.wait(self, self, min(mss, window + 1) + HEADERS)
                return
            # Silly window avoidance (RFC 9293 section 3.8.6.2.1): less than a segment goes out only if nothing is in
            # flight, and it is all there is, or half of the largest window that this guest has ever offered.
            if flight or window <= 0 or not (window * 2 >= self.snd_max_wnd or self._fits(window)):
                self._pause()
                if not flight and self.timer is not Timer.PERSIST:
                    self.set_timer(Timer.PERSIST, now + recovery.rto)
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

    def _fits(self, window: int) -> bool:
        """Whether all that the host has for the guest now fits into a small window."""
        try:
            return self.sock is not None and len(self.sock.peek(window + 1)) <= window
        except OSError:
            return True  # `_read` meets it again, and deals with it

    def _read(self, room: int, now: float) -> bool:
        """Move at most `room` octets from the host to the guest.  False: the socket has no more for now."""
        if self.sock is None or self.fin_sent:
            return False
        try:
            data = self.sock.recv(room)
        except BlockingIOError:
            return False
        except OSError:
            self.host_failed(now)
            return False
        if not data:
            self._end_of_file(now)
            return False
        self._transmit(data, now)
        return len(data) == room

    def wake(self) -> None:
        """nat.line.Waiter: there is room on the line."""
        self.pull = True
        self.mark()

    def on_readable(self, now: float) -> None:
        """The host's socket has octets, or its end."""
        self.last_activity = now
        self.resume(now)
        self.mark()

    def _watch(self) -> None:
        if not self.watching and self.sock is not None and not self.fin_sent:
            self.watching = True
            self.sock.watch_read(self.on_readable)

    def _pause(self) -> None:
        if self.watching and self.sock is not None:
            self.watching = False
            self.sock.unwatch_read()

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
        self.aloft += size
        self.line.flight.launched(size)
        if self.timed_end < 0:
            self.timed_end, self.timed_at = self.snd_nxt, now
        if self.timer is not Timer.RETRANSMIT:
            self._time_out_later(now)

    def _end_of_file(self, now: float) -> None:
        self.fin_sent = True
        self.closes_first = not self.fin_received
        self._pause()
        self.send_control(FIN | ACK, self.snd_nxt)
        self.snd_nxt += 1
        self._time_out_later(now)

    # What the guest acknowledges

    def agree_window(self, window: int) -> None:
        self.snd_wnd = window << self.snd_scale
        self.snd_max_wnd = max(self.snd_max_wnd, self.snd_wnd)

    def acknowledged(self, acknowledgement: int, window: int, size: int, now: float) -> bool:
        """The ACK field and window of an acceptable segment.  False: the segment goes no further."""
        count = (acknowledgement - self.snd_una) & SEQUENCE_MASK
        if count >> 31:
            return True  # an old one; its data still counts
        flight = self.snd_nxt - self.snd_una
        if count > flight:
            self.context.count["tcp.ack_of_unsent"] += 1
            self.challenge(now)
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
                self.idle_later(now)
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
        self.land(count)
        recovery = self.recovery
        if 0 <= self.timed_end <= self.snd_una:
            rtt = now - self.timed_at
            recovery.sample(rtt)
            if self.line.flight.hidden:
                self.line.flight.measured(rtt)
                self.line.offer()
            self.timed_end = -1
            self.probed = False
        elif self.retries:
            recovery.recovered()
        self.retries = 0
        recovery.acknowledged(count, self.snd_una, flight)
        if recovery.recover >= 0:
            self._resend(now)
        if self.snd_una == self.snd_nxt:
            if self.fin_sent and self.finish(now):
                return
            self.idle_later(now)
        else:
            self._time_out_later(now)

    def land(self, octets: int) -> None:
        """At most so many octets are not on the way any more: acknowledged, given up for lost, or nobody's."""
        octets = min(octets, self.aloft)
        self.aloft -= octets
        flight = self.line.flight
        flight.landed(octets)
        if flight.hidden:
            self.line.offer()

    def _duplicate(self, now: float) -> None:
        if self.recovery.duplicate(self.snd_una, self.snd_nxt):
            self.context.count["tcp.fast_retransmit"] += 1
            self.line.flight.lost()
        self._resend(now)

    def take_sack(self, blocks: list[tuple[int, int]], now: float) -> None:
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
            self.time_out_after(now)

    def _send_again(self, start: int, end: int) -> None:
        self.context.count["tcp.retransmitted"] += 1
        if start < self.timed_end:
            self.timed_end = -1  # Karn: what was sent twice measures nothing
        offset = start - self.snd_una
        payload = bytes(self.unacked[offset : offset + end - start])
        flags = ACK | PSH
        if self.fin_sent and start + len(payload) == self.snd_nxt - 1 and end >= self.snd_nxt:
            flags |= FIN
        self._send_segments(start, (payload,), flags)

    # Segments

    def _send_segments(self, sequence: int, payloads: list[bytes] | tuple[bytes, ...], flags: int) -> None:
        send = self.line.send
        for packet in self.writer.data(sequence, self.rcv_nxt, flags, self._window(), payloads):
            send(packet, self)
        self._acked()

    def send_control(self, flags: int, sequence: int, options: bytes = b"") -> None:
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

    def send_ack(self) -> None:
        options = b""
        if self.ahead and self.sack:
            options = sack_option(self.ahead.blocks()[: (self.line.mtu - 44) // 8])
        self.send_control(ACK, self.snd_nxt, options)

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

    def time_out_after(self, now: float) -> None:
        """Start the retransmission timer, which runs from when the line has taken what it has."""
        self.set_timer(Timer.RETRANSMIT, now + self.recovery.rto + self.line.delay)

    def set_timer(self, timer: Timer, when: float) -> None:
        self.timer, self.timer_at = timer, when
        self.context.deadlines.arm(self, min(when, self.ack_at))

    def _arm(self) -> None:
        self.context.deadlines.arm(self, min(self.timer_at, self.ack_at))

    def _time_out_later(self, now: float) -> None:
        """Something is in flight: probe for a lost tail first (after RFC 8985 section 7), then time out."""
        recovery = self.recovery
        if recovery.srtt and recovery.recover < 0 and not self.probed:
            wait = 2 * recovery.srtt + 0.01
            if self.snd_nxt - self.snd_una <= recovery.mss:
                wait += TAIL_PROBE_DELAY
            if wait < recovery.rto:
                self.set_timer(Timer.TAIL, now + wait + self.line.delay)
                return
        self.time_out_after(now)

    def tick(self, now: float) -> None:
        """The deadline has come; the wake-up that brought it ends with `flush` if something is to be sent."""
        if self.ack_at <= now:
            self.ack_at = math.inf
            self.ack_now = True
            self.mark()
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
            idle = now - self.last_activity
            if idle >= self._idle_limit():
                self.context.count["tcp.idle"] += 1
                self.reset(now)
            elif idle >= self.context.limits.tcp_keepalive:
                self.asked = 0
                self._ask(now)
            else:
                self.idle_later(self.last_activity)
        elif timer is Timer.ALIVE:
            self._answered(now)
        elif timer is Timer.PERSIST:
            self._probe_window(now)
        elif timer is Timer.TAIL:
            if not self.line.waiting(self):
                start = max(self.snd_una, self.snd_nxt - self.recovery.mss)
                self._send_again(start, self.snd_nxt)
                self.probed = True
            self.time_out_after(now)
        else:
            self._retransmit(now)

    def _retransmit(self, now: float) -> None:
        if self.line.waiting(self):
            # A slow line has not even taken it yet: nothing is lost.
            self.time_out_after(now)
            return
        self.retries += 1
        if self.retries > (DATA_RETRIES if self.state is ESTABLISHED else SYN_RETRIES):
            self.context.count["tcp.timed_out"] += 1
            self.reset(now)
            return
        self.land(self.aloft)
        self.recovery.timed_out(self.snd_una, self.snd_nxt)
        if self.state is ESTABLISHED:
            self._resend(now)
        else:
            self.send_syn(now)

    def idle_later(self, since: float) -> None:
        """Nothing is in flight and nothing is wrong: look again when it has been so for long."""
        self.set_timer(Timer.IDLE, since + min(self._idle_limit(), self.context.limits.tcp_keepalive))

    def _idle_limit(self) -> float:
        """A guest that still has an answer to come may wait for it as long as for anything else; one that only has not
        closed a connection whose other end has is waited for for minutes (RFC 5382 REQ-5)."""
        limits = self.context.limits
        return limits.tcp_transitory if self.fin_sent else limits.tcp_idle

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
            self.send_control(ACK, self.snd_una - 1)
            self.recovery.rto = min(self.recovery.rto * 2, RTO_MAX)
            self.set_timer(Timer.PERSIST, now + self.recovery.rto)

    def probe(self, now: float) -> None:
        """The guest's link came back: find out whether this guest still knows the connection.

        One that was rebooted answers with RST; one whose line was only interrupted answers with ACK.  The first
        question may come before the guest has set its address, so it is asked again.
        """
        if self.state is ESTABLISHED:
            self.retries = self.asked = 0
            self.recovery.restore()
            self.recovery.mss = self.mss()  # the guest may take less than before
            if self.snd_una == self.snd_nxt:
                self._ask(now)
            else:
                self._send_again(self.snd_una, min(self.snd_nxt, self.snd_una + self.recovery.mss))
                self.time_out_after(now)
            self.pull = True
            self.mark()

    def _ask(self, now: float) -> None:
        """RFC 9293 section 3.8.4: an ACK of an octet long gone; any segment of the guest sets `asked` back to 0."""
        self.asked += 1
        self.send_control(ACK, self.snd_una - 1)
        self.set_timer(Timer.ALIVE, now + 2.0 ** (self.asked - 1))

    def _answered(self, now: float) -> None:
        """Some time after a question."""
        if not self.asked or not self.line.up:
            self.idle_later(now)
        elif self.asked < ALIVE_TRIES:
            self._ask(now)
        else:
            self.context.count["tcp.dead"] += 1
            self.reset(now)

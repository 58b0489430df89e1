"""One TCP connection of the guest, carried by one stream: a TCP socket of the host, or whatever else is a StreamSocket.

Theory of operation.  The gateway is the other end of the guest's TCP: it answers the guest's handshake when the
stream's own connection has succeeded, keeps the sequence spaces of both directions, and moves octets between the
guest's segments and the stream.  Where that is a socket, the host's kernel does the same toward the outside; the two
connections share nothing but the octets and their ends.

  guest -> stream  Is nat.tcp.receiver: a segment in order waits in `delivery`, one ahead of a gap in `ahead`.  When the
                   wake-up ends, `flush` hands all of `delivery` to the stream in one gathering write and sends at most
                   one ACK.  What the stream does not take stays, and closes the window.
  stream -> guest  Is nat.tcp.sender.  It reads the stream in `flush`, and only there.
  ends             A FIN of the guest becomes the stream's `shutdown` after its last octet; the stream's end becomes a
                   FIN.  Either direction lives on without the other (RFC 9293 section 3.6).
  errors           A failed stream is a RST to the guest, a RST of the guest is a reset of the stream.

This file has the handshake, the judgment of segments, the ends and the time; the halves know neither it nor each
other, and say in what they return what happened.  One deadline covers what the sender's timer, the delayed ACK, the
idle end and TIME-WAIT want.  Sequence numbers are plain growing integers inside and 32 bits on the wire.

It never waits, resolves, selects or reads a clock: the table (nat.tcp.flows) owns it, `now` comes with each call.
"""

import math
from collections.abc import Callable
from typing import Final

from nat.context import Context
from nat.line import Line
from nat.stream import StreamSocket
from nat.tcp.idle import Due, Idle
from nat.tcp.output import Output
from nat.tcp.receiver import RCV_CAPACITY, RCV_SCALE, Receiver
from nat.tcp.sender import Heard, Outcome, Sender, Timer
from nat.tcp.state import CLOSED, ESTABLISHED, SYN_RCVD, SYN_SENT, TIME_WAIT
from nat.wire.ipv4 import dotted
from nat.wire.tcp import (
    ACK,
    AFTER_HEADERS,
    FIN,
    OPTIONS_AT,
    RST,
    SEGMENT,
    SEGMENT_AT,
    SEQUENCE_MASK,
    SYN,
    SynOptions,
    ends,
    parse_sack_blocks,
    parse_syn_options,
    sack_option,
    syn_options,
)

CHALLENGE_INTERVAL: Final = 0.5  # seconds (RFC 5961 section 7)
SYN_RETRIES: Final = 7  # 1+2+4+...: a little over 3 minutes (RFC 9293 section 3.8.3, MUST-23)

_FINE, _DONE = Heard.FINE, Outcome.DONE


class TcpFlow:
    """See the theory of operation above.

    key: the guest's address, the outside's as the guest knows it, their ports, as they stand in the guest's packets.
    guest, guest_port: the first parts of it.
    stream: None once it is let go of; never in ESTABLISHED.
    dirty: `flush` is going to be called when this wake-up ends.
    pull: something has happened that may have made room to send.
    closes_first: our FIN went out before the guest's came, so that TIME-WAIT is ours.
    challenge_after: when the next challenge ACK may be sent.
    idle: what is due while the sender has nothing on the way; its timer counts for nothing while it has.
    deadline, queued: belong to nat.deadlines.
    """

    __slots__ = (
        "context", "line", "key", "guest", "guest_port", "stream", "state", "output", "sender", "receiver", "dirty",
        "pull", "closes_first", "challenge_after", "idle", "deadline", "queued",
        "_ended", "_put",
    )  # fmt: skip

    def __init__(
        self, context: Context, line: Line, key: bytes, stream: StreamSocket, ended: Callable[["TcpFlow"], None]
    ) -> None:
        """`ended` is called once, when it has let go of everything."""
        self.context, self.line, self.key = context, line, key
        self.guest, _, self.guest_port, _ = ends(key)
        self.stream: StreamSocket | None = stream
        self.state = SYN_SENT
        self.receiver = Receiver(stream, self.on_writable, context.count)
        self.output = Output(line, key, self.receiver)
        self.sender = Sender(self.output, stream, self.on_readable, context.count, context.random.getrandbits(32))
        self.dirty = self.pull = self.closes_first = False
        self.idle = Idle(context.limits)
        self.challenge_after = -math.inf
        self.deadline = self.queued = math.inf
        self._ended = ended
        self._put = context.dirty.flow

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  Times in seconds, sizes in octets."""
        _, local, _, port = ends(self.key)
        return {
            "protocol": "tcp",
            "guest_port": self.guest_port,
            "outside": f"{dotted(local)}:{port}",
            "state": self.state.value,
            "to_host": self.receiver.delivery.size,
            "to_guest": self.sender.snd_nxt - self.sender.snd_una,
            "idle": now - self.idle.heard_at,
        }

    # The handshake

    def answer(self, sequence: int, window: int, options: SynOptions, now: float) -> None:
        """The guest asked for the connection, and the stream's stands: SYN+ACK."""
        self._take_syn(sequence, window, options)
        self.state = SYN_RCVD
        self.idle.heard_at = now
        self._send_syn(now)

    def call(self, now: float) -> None:
        """Open toward the guest on behalf of a stream that has come from elsewhere."""
        self.idle.heard_at = now
        self._send_syn(now)

    def _take_syn(self, sequence: int, window: int, options: SynOptions) -> None:
        self.receiver.begin(sequence, scaled=options.window_scale is not None)
        self.sender.begin(window, options)

    def _send_syn(self, now: float) -> None:
        calling = self.state is SYN_SENT
        scale = RCV_SCALE if calling or self.receiver.rcv_scale else None
        options = syn_options(self.line.mtu - 40, scale, calling or self.sender.sack)
        self.sender.syn(SYN if calling else SYN | ACK, options, now)
        self._arm()

    def _establish(self, now: float) -> None:
        self.state = ESTABLISHED
        self.sender.established(now)
        self.idle.begin(now, fin_sent=False)
        self.wake()

    # From the guest

    def receive(self, packet: bytes, now: float) -> None:
        """A segment of the guest: a whole IPv4 packet without IP options, its lengths and checksums verified."""
        sequence, acknowledgement, offset_flags, window, _, _ = SEGMENT.unpack_from(packet, SEGMENT_AT)
        idle = self.idle
        idle.heard_at = now
        idle.asked = 0
        receiver = self.receiver
        # Header prediction: no options, ACK and perhaps PSH, exactly what is expected next.
        if (
            offset_flags & 0xF037 == 0x5010
            and self.state is ESTABLISHED
            and sequence == receiver.rcv_nxt & SEQUENCE_MASK
            and not receiver.fin_received
        ):
            size = len(packet) - 40
            if size <= RCV_CAPACITY - receiver.delivery.size:
                sender = self.sender
                if (
                    not size
                    or acknowledgement != sender.snd_una & SEQUENCE_MASK
                    or window << sender.snd_scale != sender.snd_wnd
                ):
                    heard = sender.acknowledged(acknowledgement, window, size, now)
                    if heard is _FINE:
                        self.pull = True
                    elif not self._acknowledged(heard, now):
                        return
                if size:
                    receiver.accept(packet[AFTER_HEADERS])
                if not self.dirty:
                    self.dirty = True
                    self._put(self)
                return
        self._receive(packet, sequence, acknowledgement, offset_flags, window, now)

    def _receive(
        self, packet: bytes, wire_sequence: int, acknowledgement: int, offset_flags: int, window: int, now: float
    ) -> None:
        """Any segment, in the order of RFC 9293 section 3.10.7."""
        flags = offset_flags & 0x3F
        header = 20 + (offset_flags >> 12) * 4
        if not OPTIONS_AT <= header <= len(packet):
            self.context.count["tcp.bad_offset"] += 1
            return
        if self.state is SYN_SENT:
            self._receive_in_syn_sent(packet, wire_sequence, acknowledgement, flags, window, header, now)
            return
        payload = packet[header:]
        receiver, sender = self.receiver, self.sender
        sequence = receiver.unwrap(wire_sequence)
        length = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        if not receiver.acceptable(sequence, length):
            self._unacceptable(sequence, len(payload), flags, now)
            return
        if flags & (RST | SYN) or not flags & ACK:
            self._receive_without_ack(sequence, flags, now)
            return
        if self.state is SYN_RCVD:
            if acknowledgement != sender.snd_nxt & SEQUENCE_MASK:
                self._refuse(acknowledgement)
                return
            sender.agree_window(window)
            self._establish(now)
        elif header > OPTIONS_AT and sender.sack:
            sender.take_sack(parse_sack_blocks(packet[OPTIONS_AT:header]), now)
        heard = sender.acknowledged(acknowledgement, window, len(payload) + bool(flags & FIN), now)
        if not self._acknowledged(heard, now):
            return
        if self.state is ESTABLISHED and not receiver.fin_received:
            receiver.text(sequence, payload, bool(flags & FIN))
        elif length:
            self._repeated(now)  # the FIN again: our ACK of it was lost
        self.mark()

    def _receive_without_ack(self, sequence: int, flags: int, now: float) -> None:
        """An acceptable segment with RST or SYN, or without ACK."""
        receiver = self.receiver
        if flags & RST:
            if sequence == receiver.rcv_nxt:
                self.context.count["tcp.reset_by_guest"] += 1
                self.line.discard(self.key)
                self.abort(now)
            else:
                self._challenge(now)  # RFC 5961 section 3.2
        elif not flags & SYN:
            self.context.count["tcp.no_ack"] += 1
        elif self.state is SYN_RCVD and sequence == receiver.rcv_nxt - 1:
            self._send_syn(now)
        else:
            self._challenge(now)  # RFC 5961 section 4.2

    def _unacceptable(self, sequence: int, size: int, flags: int, now: float) -> None:
        receiver = self.receiver
        if flags & RST:
            self.context.count["tcp.stray_reset"] += 1
        elif flags & SYN and self.state is SYN_RCVD and sequence == receiver.rcv_nxt - 1:
            self._send_syn(now)  # the guest's SYN again: our answer was lost
        elif size or flags & FIN:
            self.context.count["tcp.duplicate_data" if sequence < receiver.rcv_nxt else "tcp.past_window"] += 1
            self._repeated(now)
        else:
            self._challenge(now)  # keep-alives, ACKs from an earlier life

    def _receive_in_syn_sent(
        self, packet: bytes, sequence: int, acknowledgement: int, flags: int, window: int, header: int, now: float
    ) -> None:
        """RFC 9293 section 3.10.7.3."""
        acceptable = acknowledgement == self.sender.snd_nxt & SEQUENCE_MASK
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
        self._take_syn(sequence, window, parse_syn_options(packet[OPTIONS_AT:header]))
        if flags & ACK:
            self._establish(now)
            self.receiver.ack_now = True
        else:  # both called at the same time (RFC 9293 section 3.5, figure 7)
            self.state = SYN_RCVD
            self._send_syn(now)

    def _acknowledged(self, heard: Heard, now: float) -> bool:
        """What the sender made of a segment's ACK.  False: the segment goes no further."""
        if heard is Heard.OLD:
            return True
        if heard is Heard.UNSENT:
            self._challenge(now)
            return False
        if heard is Heard.RESTED and not (self.sender.fin_sent and self._finish(now)):
            self.idle.begin(now, fin_sent=self.sender.fin_sent)
        self.pull = True
        return self.state is not CLOSED

    def _repeated(self, now: float) -> None:
        """The guest sent what it had sent before, or what does not fit: tell it where we are."""
        self.receiver.ack_now = True
        self.mark()
        if self.state is TIME_WAIT:
            self.idle.time_wait(now)

    def _challenge(self, now: float) -> None:
        """An ACK that tells the guest where we are, at a bounded rate."""
        self.context.count["tcp.challenge"] += 1
        if now >= self.challenge_after:
            self.challenge_after = now + CHALLENGE_INTERVAL
            self.receiver.ack_now = True
            self.mark()

    def _refuse(self, acknowledgement: int) -> None:
        self.context.count["tcp.bad_ack"] += 1
        self.output.refuse(acknowledgement)

    # Readiness

    def on_readable(self, now: float) -> None:
        """The stream has octets, or its end."""
        self.idle.heard_at = now
        self.pull = True
        if not self.dirty:
            self.dirty = True
            self._put(self)

    def on_writable(self, now: float) -> None:
        """The stream takes octets again."""
        self.receiver.writable()
        self.mark()

    def wake(self) -> None:
        """There may be room on the line (nat.line.Waiter)."""
        self.pull = True
        self.mark()

    def mark(self) -> None:
        """Have `flush` called when the wake-up ends."""
        if not self.dirty:
            self.dirty = True
            self._put(self)

    # The end of a wake-up

    def flush(self, now: float) -> None:
        """Hand over what came in, read what may go out, and acknowledge: once a wake-up."""
        self.dirty = False
        receiver, sender = self.receiver, self.sender
        try:
            brought = receiver.delivery.size
            if brought and self.state is not CLOSED:
                receiver.deliver()
            if self.state is ESTABLISHED:
                if receiver.fin_received and not receiver.delivery.size:
                    self._finish_stream(now)
                if self.pull and self.state is ESTABLISHED:
                    self.pull = False
                    if not sender.fin_sent:
                        outcome = sender.read(now)
                        if outcome is not _DONE:
                            self._read(outcome)
            if self.state is not CLOSED:
                if (brought or receiver.ack_now or receiver.rcv_nxt != receiver.rcv_acked) and receiver.ack_due(now):
                    self.send_ack()
                when = sender.timer_at
                if when == math.inf or receiver.ack_at < when:
                    self._arm()
                elif when != self.deadline:
                    self.context.deadlines.arm(self, when)
        except OSError:
            self._stream_failed(now)
        finally:
            if self.line.turn == self.key:
                self.line.pass_on()

    def _read(self, outcome: Outcome) -> None:
        """The sender has tried to read, and there is more to it."""
        if outcome is Outcome.NO_ROOM:
            self.line.wait(self.key, self, self.sender.need)
        elif outcome is Outcome.ENDED:
            self.closes_first = not self.receiver.fin_received

    def send_ack(self) -> None:
        ahead = self.receiver.ahead
        if ahead.size and self.sender.sack:
            options = sack_option(ahead.blocks()[: (self.line.mtu - 44) // 8])
            self.output.control(ACK, self.sender.snd_nxt, options)
        else:
            self.output.ack(self.sender.snd_nxt)

    def _finish_stream(self, now: float) -> None:
        """All that the guest had to say has been handed over: say so to the stream."""
        self.receiver.finish()
        if self.sender.fin_sent and self.sender.snd_una == self.sender.snd_nxt:
            self.send_ack()  # of the guest's FIN
            self._finish(now)

    # Time

    def _arm(self) -> None:
        """Ask for a tick when the first of those that want one does."""
        when = self.sender.timer_at
        if when == math.inf:
            when = self.idle.timer_at
        if self.receiver.ack_at < when:
            when = self.receiver.ack_at
        if when != self.deadline:
            self.context.deadlines.arm(self, when)

    def tick(self, now: float) -> None:
        """The deadline has come; the wake-up that brought it ends with `flush` if something is to be sent."""
        if self.receiver.ack_at <= now:
            self.receiver.ack_at = math.inf
            self.receiver.ack_now = True
            self.mark()
        if self.sender.timer_at <= now:
            self._sender_due(now)
        elif self.sender.timer_at == math.inf and self.idle.timer_at <= now:
            self._idle_due(now)
        if self.state is not CLOSED:
            self._arm()

    def _sender_due(self, now: float) -> None:
        sender = self.sender
        if self.state is not ESTABLISHED:
            outcome = sender.timed_out(SYN_RETRIES, now)
            if outcome is Outcome.DONE:
                self._send_syn(now)
        elif sender.timer is Timer.PERSIST and self.idle.silent(now):
            self.context.count["tcp.idle"] += 1
            self.reset(now)
            return
        else:
            try:
                outcome = sender.tick(now)
            except OSError:
                self._stream_failed(now)
                return
            self._read(outcome)
        if outcome is Outcome.GIVE_UP:
            self.context.count["tcp.timed_out"] += 1
            self.reset(now)

    def _idle_due(self, now: float) -> None:
        due = self.idle.tick(now, fin_sent=self.sender.fin_sent, up=self.line.up)
        if due is Due.ASK:
            self._ask(now)
        elif due is Due.EXPIRED:
            self.free(now)
        elif due is not Due.NOTHING:
            self.context.count["tcp.idle" if due is Due.IDLE else "tcp.dead"] += 1
            self.reset(now)

    def probe(self, now: float) -> None:
        """The guest's link came back: find out whether this guest still knows the connection.

        One that was rebooted answers with RST; one whose line was only interrupted answers with ACK.  The first
        question may come before the guest has set its address, so it is asked again.
        """
        if self.state is ESTABLISHED:
            self.idle.asked = 0
            if not self.sender.probe(now):
                self._ask(now)
            self.wake()
            self._arm()

    def _ask(self, now: float) -> None:
        self.sender.ask()
        self.idle.ask(now)

    # Ends

    def _finish(self, now: float) -> bool:
        """Our FIN is acknowledged.  True: the flow has ended or only waits for its name to be free again."""
        if not self.receiver.fin_received or self.receiver.delivery.size:
            return False  # the last octets wait for the stream; flush comes back here
        if self.closes_first:
            self._release_stream()
            self.state = TIME_WAIT
            self.idle.time_wait(now)
        else:
            self.free(now)
        return True

    def _stream_failed(self, now: float) -> None:
        self.context.count["tcp.host_failed"] += 1
        self.reset(now)

    def reset(self, now: float) -> None:
        """Tell the guest that the connection is gone, and let go of everything."""
        self.output.control(RST | ACK, self.sender.snd_nxt)
        self.abort(now)

    def abort(self, now: float) -> None:
        """Reset the stream; the guest hears nothing."""
        if self.stream is not None:
            self.stream.reset()
        self.free(now)

    def _release_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def free(self, now: float) -> None:
        """The connection is over: its stream, its timer and its place in the table go."""
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self._release_stream()
        self.sender.close()
        self.receiver.close()
        self.context.deadlines.arm(self, math.inf)
        self.line.forget(self.key)
        self._ended(self)

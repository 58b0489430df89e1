"""The sending half of a TCP flow: what goes from the stream to the guest, and when it goes again.

In: `read` whenever there may be room, the ACK field, window and SACK blocks of the guest's segments, the time.
Out: segments through nat.tcp.output.  Octets are read from the stream only when they can go out at once (the guest's
window, the congestion window and the line's queue all have room), so nothing unsent is ever held here.

It knows neither the receiving half nor the states of the connection: what it did is what its methods return, and
`timer_at` is when it wants its `tick`.  `read` and `tick` raise the stream's OSError.
"""

import math
from collections import Counter
from enum import Enum
from typing import Final

from nat.stream import Callback, StreamSocket
from nat.tcp.output import Output
from nat.tcp.recovery import RTO_MOST, Recovery
from nat.wire.tcp import ACK, FIN, PSH, SEQUENCE_MASK, SynOptions

SND_CAPACITY: Final = 128 * 1024  # octets of the stream that the guest has not acknowledged
READ_MOST: Final = 64 * 1024  # octets in one read
HEADERS: Final = 40  # octets of a data segment's IP and TCP headers

DATA_RETRIES: Final = 15  # about 12 minutes (RFC 9293 section 3.8.3, SHLD-11 asks for 100 s at the least)
TAIL_PROBE_DELAY: Final = 0.2  # seconds; what a guest may delay the ACK of a lone segment by


class Timer(Enum):
    """What the sender's timer does when it fires; there is only one at a time."""

    NONE = "nothing is on the way, and nothing is in the way of the next"
    RETRANSMIT = "retransmit"
    TAIL = "probe for a lost tail"
    PERSIST = "probe a closed window"


class Outcome(Enum):
    """What became of an attempt to send."""

    DONE = "as far as it goes; whatever lets it go further calls again"
    NO_ROOM = "the line has no room: wait on it for `need` octets"
    ENDED = "the stream has said all, and the FIN is out"
    GIVE_UP = "sent again often enough, and not answered"


class Heard(Enum):
    """What the ACK field of a segment means for the flow."""

    FINE = "there may be room to send"
    RESTED = "the timer has stopped: nothing is on the way any more, or a closed window has opened"
    OLD = "it says nothing; the segment's data still counts"
    UNSENT = "it acknowledges what was never sent: the segment is dropped"


class Sender:
    """State toward the guest, with the names of RFC 9293 section 3.3.1.

    snd_una, snd_nxt: the guest has acknowledged all before the first and was sent all before the second.  A SYN or FIN
      counts in them.
    unacked: the octets between them, without SYN and FIN.
    aloft: so many of them the line's account has as being on the way; at most len(unacked).
    snd_wnd: octets from snd_una that the guest said last it would take; snd_max_wnd: the most it ever did.
    snd_scale: what its window fields are shifted by; 0 unless both ends have agreed on it.
    sack: the guest understands SACK blocks.
    guest_mss: the most text that it takes in a segment.
    fin_sent: the stream's end was read, and our FIN is out: snd_nxt - 1 is its number.
    recovery: what acknowledgements have taught; its `mss` is that of the segments sent last.
    timed_end, timed_at: the end of the one segment whose round trip is being measured and when it went; -1: none is.
    probed: a tail was probed for since the last sample; a second probe would only be in the way of it.
    retries: time-outs in a row since the guest last acknowledged anything.
    timer, timer_at: what is due and when; math.inf exactly while timer is NONE, but for the moment in which it fires.
    watching: the stream says when it is readable.
    need: octets of room on the line that it takes to go on, after NO_ROOM; at most the MTU.
    """

    __slots__ = (
        "snd_una", "snd_nxt", "unacked", "aloft", "snd_wnd", "snd_max_wnd", "snd_scale", "sack", "guest_mss",
        "fin_sent", "recovery", "timed_end", "timed_at", "probed", "retries", "timer", "timer_at", "watching", "need",
        "_output", "_line", "_key", "_stream", "_on_readable", "_count",
    )  # fmt: skip

    def __init__(
        self, output: Output, stream: StreamSocket, on_readable: Callback, count: Counter[str], sequence: int
    ) -> None:
        """`sequence`: the initial one, of 32 bits and random."""
        self.snd_una = self.snd_nxt = sequence
        self.unacked = bytearray()
        self.aloft = 0
        self.snd_wnd = self.snd_max_wnd = 0
        self.snd_scale = 0
        self.sack = False
        self.guest_mss = 536
        self.fin_sent = False
        self.recovery = Recovery(536, SND_CAPACITY)
        self.timed_end, self.timed_at = -1, 0.0
        self.probed = False
        self.retries = 0
        self.timer, self.timer_at = Timer.NONE, math.inf
        self.watching = False
        self.need = 0
        self._output = output
        self._line = output.line
        self._key = output.key
        self._stream = stream
        self._on_readable = on_readable
        self._count = count

    # The handshake

    def begin(self, window: int, options: SynOptions) -> None:
        """What the guest's SYN says of it; the window of a SYN is never scaled."""
        if options.window_scale is not None:
            self.snd_scale = options.window_scale
        self.sack = options.sack_permitted
        self.guest_mss = options.mss
        self.snd_wnd = self.snd_max_wnd = window
        self.recovery = Recovery(self.mss(), SND_CAPACITY)

    def syn(self, flags: int, options: bytes, now: float) -> None:
        """Our SYN, once more if it was sent before."""
        if self.snd_nxt == self.snd_una:
            self.snd_nxt += 1
            self.timed_end, self.timed_at = self.snd_nxt, now
        else:
            self.timed_end = -1  # Karn: what was sent twice measures nothing
        self._output.control(flags, self.snd_una, options)
        self.time_out_after(now)

    def established(self, now: float) -> None:
        """Our SYN is acknowledged."""
        self.snd_una = self.snd_nxt
        if self.timed_end >= 0:
            self.recovery.sample(now - self.timed_at)
            self.timed_end = -1
        self.retries = 0
        self.recovery.restore()
        self.stop_timer()

    def agree_window(self, window: int) -> None:
        self.snd_wnd = window << self.snd_scale
        self.snd_max_wnd = max(self.snd_max_wnd, self.snd_wnd)

    # From the stream to the guest

    def mss(self) -> int:
        return min(self.guest_mss, self._line.mtu - HEADERS)

    def read(self, now: float) -> Outcome:
        """There may be room: read from the stream what can go out at once, and send it.  Not after the FIN."""
        line = self._line
        recovery = self.recovery
        mss = line.mtu - HEADERS
        if mss > self.guest_mss:
            mss = self.guest_mss
        recovery.mss = mss
        flight = self.snd_nxt - self.snd_una
        window = min(self.snd_wnd, recovery.cwnd, SND_CAPACITY) - flight
        room = line.room(self._key) * mss // (mss + HEADERS)  # the line counts whole packets
        if room < mss or window < mss:
            if room < mss and room <= window:
                self._pause()
                self.need = min(mss, window + 1) + HEADERS
                return Outcome.NO_ROOM
            # Silly window avoidance (RFC 9293 section 3.8.6.2.1): less than a segment goes out only if nothing is in
            # flight, and it is all there is, or half of the largest window that this guest has ever offered.
            if flight or window <= 0 or not (window * 2 >= self.snd_max_wnd or self._fits(window)):
                self._pause()
                if not flight and self.timer is not Timer.PERSIST:
                    self.timer, self.timer_at = Timer.PERSIST, now + recovery.rto
                return Outcome.DONE
        size = min(room, window, READ_MOST)
        if size > mss:
            size -= size % mss
        try:
            data = self._stream.recv(size)
        except BlockingIOError:
            self._watch()
            return Outcome.DONE
        if not data:
            return self._end(now)
        self._transmit(data, now)
        if len(data) == size and window - size < mss:
            self._pause()  # an ACK of the guest brings us back
        elif not self.watching:
            self._watch()
        return Outcome.DONE

    def _fits(self, window: int) -> bool:
        """Whether all that the stream has for the guest now fits into a small window."""
        try:
            return len(self._stream.peek(window + 1)) <= window
        except OSError:
            return True  # `recv` meets it again

    def _watch(self) -> None:
        if not self.watching:
            self.watching = True
            self._stream.watch_read(self._on_readable)

    def _pause(self) -> None:
        if self.watching:
            self.watching = False
            self._stream.unwatch_read()

    def _transmit(self, data: bytes, now: float) -> None:
        """New octets, sent at once."""
        mss = self.recovery.mss
        start = self.snd_nxt
        size = len(data)
        if size <= mss:
            self._output.data(start, (data,), ACK | PSH)
        else:
            self._output.data(start, [data[at : at + mss] for at in range(0, size, mss)], ACK | PSH)
        self.unacked += data
        self.snd_nxt = start + size
        self.aloft += size
        self._line.flight.flying += size
        if self.timed_end < 0:
            self.timed_end, self.timed_at = self.snd_nxt, now
        if self.timer is not Timer.RETRANSMIT:
            self._time_out_later(now)

    def _end(self, now: float) -> Outcome:
        self.fin_sent = True
        self._pause()
        self._output.control(FIN | ACK, self.snd_nxt)
        self.snd_nxt += 1
        self._time_out_later(now)
        return Outcome.ENDED

    # What the guest acknowledges

    def acknowledged(self, acknowledgement: int, window: int, size: int, now: float) -> Heard:
        """The ACK field and window of an acceptable segment with `size` octets of text and FIN."""
        count = (acknowledgement - self.snd_una) & SEQUENCE_MASK
        if count >> 31:
            return Heard.OLD
        flight = self.snd_nxt - self.snd_una
        if count > flight:
            self._count["tcp.ack_of_unsent"] += 1
            return Heard.UNSENT
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
                self.stop_timer()
                return Heard.RESTED
        return self._advance(count, flight, now) if count else Heard.FINE

    def _advance(self, count: int, flight: int, now: float) -> Heard:
        """`count` octets (perhaps our FIN among them) of the `flight` that was out have arrived."""
        self.snd_una += count
        del self.unacked[:count]
        self.land(count)
        recovery = self.recovery
        if 0 <= self.timed_end <= self.snd_una:
            rtt = now - self.timed_at
            recovery.sample(rtt)
            if self._line.flight.hidden:
                self._line.flight.measured(rtt)
                self._line.offer()
            self.timed_end = -1
            self.probed = False
        elif self.retries:
            recovery.recovered()
        self.retries = 0
        recovery.acknowledged(count, self.snd_una, flight)
        if recovery.recover >= 0:
            self._resend(now)
        if self.snd_una == self.snd_nxt:
            self.stop_timer()
            return Heard.RESTED
        self._time_out_later(now)
        return Heard.FINE

    def land(self, octets: int) -> None:
        """At most so many octets are not on the way any more: acknowledged, given up for lost, or nobody's."""
        if octets > self.aloft:
            octets = self.aloft
        self.aloft -= octets
        flight = self._line.flight
        flight.flying -= octets
        if flight.hidden:
            self._line.offer()

    def take_sack(self, blocks: list[tuple[int, int]], now: float) -> None:
        news = False
        for left, right in blocks:
            start = self.snd_una + ((left - self.snd_una) & SEQUENCE_MASK)
            end = self.snd_una + ((right - self.snd_una) & SEQUENCE_MASK)
            if self.snd_una < start < end <= self.snd_nxt:
                news |= self.recovery.selectively_acknowledged(start, end)
        if news:
            self._duplicate(now)

    def _duplicate(self, now: float) -> None:
        if self.recovery.duplicate(self.snd_una, self.snd_nxt):
            self._count["tcp.fast_retransmit"] += 1
            self._line.flight.lost()
        self._resend(now)

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
        self._count["tcp.retransmitted"] += 1
        if start < self.timed_end:
            self.timed_end = -1  # Karn: what was sent twice measures nothing
        offset = start - self.snd_una
        payload = bytes(self.unacked[offset : offset + end - start])
        flags = ACK | PSH
        if self.fin_sent and start + len(payload) == self.snd_nxt - 1 and end >= self.snd_nxt:
            flags |= FIN
        self._output.data(start, (payload,), flags)

    # Time

    def stop_timer(self) -> None:
        self.timer, self.timer_at = Timer.NONE, math.inf

    def time_out_after(self, now: float) -> None:
        """Start the retransmission timer, which runs from when the line has taken what it has."""
        self.timer, self.timer_at = Timer.RETRANSMIT, now + self.recovery.rto + self._line.delay

    def _time_out_later(self, now: float) -> None:
        """Something is in flight: probe for a lost tail first (after RFC 8985 section 7), then time out."""
        recovery = self.recovery
        rto = recovery.rto
        if recovery.srtt and recovery.recover < 0 and not self.probed:
            wait = 2 * recovery.srtt + 0.01
            if self.snd_nxt - self.snd_una <= recovery.mss:
                wait += TAIL_PROBE_DELAY
            if wait < rto:
                self.timer, self.timer_at = Timer.TAIL, now + wait + self._line.delay
                return
        self.timer, self.timer_at = Timer.RETRANSMIT, now + rto + self._line.delay

    def tick(self, now: float) -> Outcome:
        """`timer_at` has come, in an established connection."""
        if self.timer is Timer.PERSIST:
            return self._probe_window(now)
        if self.timer is Timer.TAIL:
            if not self._line.waiting(self._key):
                self._send_again(max(self.snd_una, self.snd_nxt - self.recovery.mss), self.snd_nxt)
                self.probed = True
            self.time_out_after(now)
            return Outcome.DONE
        outcome = self.timed_out(DATA_RETRIES, now)
        if outcome is Outcome.NO_ROOM:
            return Outcome.DONE
        if outcome is Outcome.DONE:
            self._resend(now)
        return outcome

    def timed_out(self, most: int, now: float) -> Outcome:
        """The retransmission timer has fired.

        DONE: what is unacknowledged counts as lost and is to be sent again.  NO_ROOM: a slow line has not even taken it
        yet, and the timer runs again.  GIVE_UP: `most` times in a row are enough.
        """
        if self._line.waiting(self._key):
            self.time_out_after(now)
            return Outcome.NO_ROOM
        self.retries += 1
        if self.retries > most:
            return Outcome.GIVE_UP
        self.land(self.aloft)
        self.recovery.timed_out(self.snd_una, self.snd_nxt)
        return Outcome.DONE

    def _probe_window(self, now: float) -> Outcome:
        """RFC 9293 section 3.8.6.1: an ACK of an octet long gone makes the guest say its window (MUST-36)."""
        outcome = Outcome.DONE
        # So little, and so seldom, need not stand in the line's row behind those who want more.
        room = min(self.snd_wnd, self.recovery.mss) if self._line.up else 0
        if room:  # the override of silly window avoidance: a small window is better than none
            try:
                data = self._stream.recv(room)
            except BlockingIOError:
                pass
            else:
                if data:
                    self._transmit(data, now)
                else:
                    outcome = self._end(now)
        if self.snd_nxt == self.snd_una:
            self.ask()
            self.recovery.rto = min(self.recovery.rto * 2, RTO_MOST)
            self.timer, self.timer_at = Timer.PERSIST, now + self.recovery.rto
        return outcome

    def ask(self) -> None:
        """An ACK of an octet long gone, which a guest that knows the connection answers (RFC 9293 section 3.8.4)."""
        self._output.control(ACK, self.snd_una - 1)

    def probe(self, now: float) -> bool:
        """The guest's link came back: send again the first of what is unacknowledged.  False: there is nothing."""
        self.retries = 0
        self.recovery.restore()
        self.recovery.mss = self.mss()  # the guest may take less than before
        if self.snd_una == self.snd_nxt:
            self.stop_timer()
            return False
        self._send_again(self.snd_una, min(self.snd_nxt, self.snd_una + self.recovery.mss))
        self.time_out_after(now)
        return True

    def close(self) -> None:
        """The connection is over: nothing is on the way any more."""
        self.stop_timer()
        self.unacked.clear()
        self.land(self.aloft)
        self._on_readable = _nobody


def _nobody(_now: float) -> None:
    """In the place of a callback of an owner that is to be let go of."""

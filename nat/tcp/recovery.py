"""What a TCP sender learns from acknowledgements: round-trip time, congestion window, what is lost.

In: acknowledgements, SACK blocks and timeouts, with sequences as plain growing integers and times in seconds.
Out: `rto`, `cwnd`, and `next_lost()`, the range that should be sent again now.  It sends nothing and reads no clock.
Sources: RFC 6298 (timer), RFC 5681 and RFC 6582 (congestion control), RFC 2018 and RFC 6675 (SACK).
"""

RTO_INITIAL = 1.0  # RFC 6298 section 2.1
# Section 2.4 asks for a second, against timers of its day; a lost retransmission would leave a line without other
# traffic silent for so long.  Guests delay an ACK by 0.2 s; what a slow line needs for its queue and for what is in
# it is added (`line.waiting`, `line.delay`).
RTO_LEAST = 0.3
RTO_MOST = 60.0  # section 2.5
CLOCK_GRANULARITY = 0.001

DUPLICATE_THRESHOLD = 3  # RFC 5681 section 3.2
INITIAL_SEGMENTS = 10  # RFC 6928
UNSAMPLED_MOST = 8
RANGES_MOST = 64  # SACK ranges remembered; further ones are only a hint that is lost


class Recovery:
    """One direction's sender state.  `mss` is the size of the segments that are sent now."""

    __slots__ = (
        "mss",
        "capacity",
        "srtt",
        "rttvar",
        "rto",
        "unsampled",
        "cwnd",
        "ssthresh",
        "duplicates",
        "recover",
        "resend_from",
        "after_timeout",
        "sacked",
    )

    def __init__(self, mss: int, capacity: int) -> None:
        self.mss = mss
        self.capacity = capacity  # octets: cwnd never grows past it
        self.srtt = 0.0  # seconds; 0.0: no sample yet
        self.rttvar = 0.0
        self.rto = RTO_INITIAL
        self.unsampled = 0  # recoveries since the last sample
        self.cwnd = min(INITIAL_SEGMENTS * mss, capacity)
        self.ssthresh = capacity
        self.duplicates = 0
        self.recover = -1  # while resending: what was sent when the loss was noticed ends here; else -1
        self.resend_from = 0  # everything lost before this has been sent again
        self.after_timeout = False
        self.sacked: list[tuple[int, int]] = []  # ascending, disjoint

    def sample(self, rtt: float) -> None:
        """A round trip was measured on a segment that was sent once (RFC 6298 section 2, Karn's algorithm)."""
        if self.srtt == 0.0:
            self.srtt = rtt
            self.rttvar = rtt / 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8
        self.unsampled = 0
        self.restore()

    def recovered(self) -> None:
        """A retransmission was acknowledged.

        RFC 6298 section 5 leaves the timer backed off until there is a new sample, which a line that loses every
        tenth frame may not give for long.  So it is restored at once, but not forever: a timer that is too short for
        the line would never get a sample at all.
        """
        self.unsampled += 1
        if self.unsampled <= UNSAMPLED_MOST:
            self.restore()

    def restore(self) -> None:
        """Undo the backing off of the timer."""
        if self.srtt:
            self.rto = min(RTO_MOST, max(RTO_LEAST, self.srtt + max(CLOCK_GRANULARITY, 4 * self.rttvar)))
        else:
            self.rto = RTO_INITIAL

    def acknowledged(self, count: int, una: int, flight: int) -> None:
        """`count` new octets were acknowledged; `una` is the new left edge, `flight` what was out before."""
        self.duplicates = 0
        if self.sacked:
            self.sacked = [(max(left, una), right) for left, right in self.sacked if right > una]
        if self.recover >= 0:
            if una >= self.recover:
                if not self.after_timeout:
                    self.cwnd = self.ssthresh  # RFC 6582 section 3.2, full acknowledgement
                self.recover = -1
                return
            self.resend_from = max(self.resend_from, una)
            if not self.after_timeout:
                if not self.sacked:
                    self.resend_from = una  # NewReno: a partial acknowledgement names the next hole
                return
        if flight * 2 < self.cwnd:
            return  # the window was not what limited the sender
        if self.cwnd < self.ssthresh:
            self.cwnd = min(self.cwnd + count, self.capacity)
        else:
            self.cwnd = min(self.cwnd + max(1, self.mss * count // self.cwnd), self.capacity)

    def selectively_acknowledged(self, left: int, right: int) -> bool:
        """A SACK block, already checked to lie between what is unacknowledged and what was sent.  True: it is news."""
        merged: list[tuple[int, int]] = []
        news = True
        for low, high in self.sacked:
            if high < left or low > right:
                merged.append((low, high))
                continue
            if low <= left and right <= high:
                news = False
            left, right = min(left, low), max(right, high)
        if news and len(merged) < RANGES_MOST:
            merged.append((left, right))
            merged.sort()
            self.sacked = merged
        return news

    def duplicate(self, una: int, nxt: int) -> bool:
        """A duplicate acknowledgement, or news in a SACK block.  True: a loss has just been inferred."""
        self.duplicates += 1
        if self.recover >= 0:
            return False
        sacked = sum(right - left for left, right in self.sacked)
        if self.duplicates < DUPLICATE_THRESHOLD and sacked < DUPLICATE_THRESHOLD * self.mss:
            return False
        self.ssthresh = max((nxt - una) // 2, 2 * self.mss)
        self.cwnd = self.ssthresh
        self.recover = nxt
        self.resend_from = una
        self.after_timeout = False
        return True

    def timed_out(self, una: int, nxt: int) -> None:
        """The retransmission timer fired (RFC 5681 section 3.1, RFC 6298 sections 5.4 to 5.7)."""
        if not (self.recover >= 0 and self.after_timeout):
            self.ssthresh = max((nxt - una) // 2, 2 * self.mss)
        self.cwnd = self.mss
        self.recover = nxt
        self.resend_from = una
        self.after_timeout = True
        self.duplicates = 0
        self.sacked = []  # RFC 2018 section 8: the guest may have thrown it away
        self.rto = min(self.rto * 2, RTO_MOST)

    def next_lost(self, una: int, nxt: int) -> tuple[int, int] | None:
        """The next range to send again, at most one segment, or None while the congestion window forbids it."""
        if self.recover < 0:
            return None
        start = max(self.resend_from, una)
        if self.after_timeout:
            end, out = self.recover, start - una
        elif self.sacked:
            # Lost is what lies below the highest selective acknowledgement and is not acknowledged itself.
            end = self.sacked[-1][0]
            held = sum(right - left for left, right in self.sacked)
            behind = sum(min(right, start) - left for left, right in self.sacked if left < start)
            out = nxt - self.sacked[-1][1] + (start - una - behind)
            out = max(0, min(out, nxt - una - held))
        else:
            end, out = min(una + self.mss, self.recover), 0
        for left, right in self.sacked:
            if left <= start < right:
                start = right
            elif left > start:
                end = min(end, left)
                break
        if start >= end or (out >= self.cwnd and start > una):
            return None
        return start, min(end, start + self.mss)

"""How much may be in flight to a guest whose line does not tell what it still holds.

In: octets of TCP that were sent and acknowledged, round-trip times, losses.  Out: `room`, octets that may be added now.

Some lines hide a queue: an emulator's own pseudo-terminal seen from the slave's side, the receive buffer of an
emulator at the other end of a TCP connection.  They take tens of kilobytes, or megabytes, at once, and everything
that comes later waits behind.  What the guest acknowledges is then the only account of the line there is, and the
delay of it is what shows the queue (as in RFC 6817): the window grows while the round trip stays near the shortest one
seen, and shrinks when it does not.

An emulated network card hides another: its emulator takes every frame at once, and the card drops what does not fit
into its ring (13 KB in an NE2000).  There a loss shows how much fits, for all flows together: the window goes below it,
and from then on grows slowly where it overran before.
"""

TARGET = 0.02  # seconds of queue that are worth the throughput
LEAST_FRAMES = 3  # two on the way, since a guest acknowledges every second one, and one being acknowledged
MOST = 128 * 1024  # octets; beyond it nothing gets faster


class Flight:
    """One line's account.

    hidden: the line has such a queue; only then is there a bound.
    flying: octets of TCP sent and not acknowledged, of all flows together, which add and subtract their own; never
      negative.  Whoever makes it less has `Line.offer` tell those who wait for that.
    """

    __slots__ = ("hidden", "flying", "window", "_mtu", "_base", "_overrun")

    def __init__(self, mtu: int) -> None:
        self.flying = 0
        self.reset(mtu, hidden=False)

    def reset(self, mtu: int, *, hidden: bool) -> None:
        """Another line, or another guest on it: nothing is known."""
        self.hidden = hidden
        self._mtu = mtu
        self.window = 2 * LEAST_FRAMES * mtu
        self._base = 0.0  # the shortest round trip; 0.0: none yet
        self._overrun = MOST  # octets: near what was lost last

    def room(self) -> int:
        return max(0, self.window - self.flying)

    def measured(self, rtt: float) -> None:
        """A round trip of a segment that was sent once."""
        if not self.hidden:
            return
        if not self._base or rtt < self._base:
            self._base = rtt
        if rtt > self._base + TARGET:
            self.window = max(LEAST_FRAMES * self._mtu, self.window * 3 // 4)
        elif 2 * self.flying >= self.window:
            step = max(self._mtu, self.window // 4) if self.window < self._overrun else self._mtu // 16
            self.window = min(self.window + step, MOST)

    def lost(self) -> None:
        """Something was lost while `flying` octets were on the way."""
        if self.hidden:
            self._overrun = max(LEAST_FRAMES * self._mtu, min(self.window, self.flying) * 3 // 4)
            self.window = min(self.window, self._overrun)

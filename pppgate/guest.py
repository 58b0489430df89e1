"""One guest on one port: octets from the line become IP packets for the NAT, and the other way round.

In: a Port that is open and a link for it.  Out: octets on the port, frames to the link, packets from a nat Line.
The packet path, top to bottom:

    in   on_readable -> port.read -> Deframer.feed -> PppLink.receive -> Station.receive
    out  Line.take -> Framer.frame -> LineWriter -> port.write, once for all that a wake-up brought

It knows neither what the link negotiates nor what the NAT does with a packet.  `flush` ends every wake-up in which
something is to be sent; `deadline` and `tick` belong to the network's Deadlines.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from lcp.hdlc import Deframer, Framer
from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.line import FLOW_LIMIT, Line
from serialport.port import HangUp, Port, Watcher
from serialport.writer import LineWriter

IP = 0x0021
READ_MOST = 64 * 1024  # octets that one wake-up takes from one guest before others get their turn
PTY_READ = 4095  # octets that a read of a pty brings at the most; a port that brings less has no more for now
DRIBBLE = 128  # octets: a frame that comes in pieces smaller than this is waited for
REST = 0.002  # seconds
CONTROL_MOST = 64  # control frames that may wait for a line that takes nothing


class Link(Protocol):
    """What a guest asks of lcp.link.PppLink."""

    @property
    def deadline(self) -> float: ...
    def receive(self, frame: bytes, now: float) -> None: ...
    def down(self, now: float) -> None: ...
    def tick(self, now: float) -> None: ...


class Guest:
    """Reads, writes and keeps time for one port.

    `link`, `receive` and `frame` are set before `start`; the latter two are the link's and the framer's own methods
    unless something (a capture) wraps them.  `hung_up` is called once, when the port has ended.
    """

    link: Link
    receive: Callable[[bytes, float], None]
    frame: Callable[[int, bytes], bytes]

    def __init__(
        self,
        port: Port,
        watcher: Watcher,
        deadlines: Deadlines,
        mru: int,
        dirty: Dirty,
        hung_up: Callable[["Guest", str, float], None],
    ) -> None:
        self.port = port
        self.deframer = Deframer(mru)
        self.framer = Framer()
        self.frame = self.framer.frame
        self.writer = LineWriter(port, watcher, self._take, self.mark)
        self.line: Line | None = None  # while IP is up
        self.closed = False
        self.deadline = self.queued = math.inf
        self._resting = False  # the port is not watched, but looked at again soon
        self._watcher = watcher
        self._deadlines = deadlines
        self._dirty = dirty
        self._hung_up = hung_up
        self._control: deque[bytes] = deque()  # framed, ahead of all IP

    def start(self) -> None:
        self._watcher.watch_read(self.port.read_fd, self.on_readable)
        self.mark()

    # From the line

    def on_readable(self, now: float) -> None:
        """The port has octets, or its end."""
        read, feed, receive = self.port.read, self.deframer.feed, self.receive
        got = 0
        try:
            while got < READ_MOST:
                data = read()
                for frame in feed(data):
                    receive(frame, now)
                if self.closed:
                    return
                got += len(data)
                if len(data) < PTY_READ:
                    break  # that was all there is
        except HangUp as reason:
            self.hang_up(str(reason), now)
            return
        if self._resting or (self.port.dribbles and 0 < got < DRIBBLE and self.deframer.unfinished):
            self._rest(now, got > 0 and self.deframer.unfinished)
        self.arm()

    def _rest(self, now: float, more: bool) -> None:
        """Let the rest of a frame gather before reading on: an emulated UART hands over its 16 octets one by one or
        all at once, ten thousand times a second, and each wake-up would cost more than the octets are worth."""
        if more:
            if not self._resting:
                self._resting = True
                self._watcher.unwatch_read(self.port.read_fd)
            self._watcher.call_at(now + REST, self._look)
        else:
            self._resting = False
            self._watcher.watch_read(self.port.read_fd, self.on_readable)

    def _look(self, now: float) -> None:
        if not self.closed:
            self.on_readable(now)

    def hang_up(self, reason: str, now: float) -> None:
        """The line is gone."""
        if not self.closed:
            self.link.down(now)
            self.close()
            self._hung_up(self, reason, now)

    # Toward the line

    def emit(self, protocol: int, information: bytes) -> None:
        """A control packet of the link: framed now, under what is agreed now, and sent ahead of all IP."""
        if len(self._control) < CONTROL_MOST:
            self._control.append(self.frame(protocol, information))
            self.mark()
        else:
            self.deframer.count["guest.control_full"] += 1

    def mark(self) -> None:
        """Something is to be sent when this wake-up ends."""
        if not self.closed:
            self._dirty.line(self)

    def flush(self, now: float) -> None:
        """Write what waits, as far as the port and the meter allow."""
        if not self.closed:
            self.writer.flush(now)
            self.arm()

    def _take(self, budget: int) -> bytes:
        """Frames for one write, after one flag: it ends whatever noise the line made meanwhile."""
        frames = [b"~"]
        while self._control and budget > 0:
            frames.append(self._control.popleft())
            budget -= len(frames[-1])
        line = self.line
        if line is not None:
            frame = self.frame
            frames += [frame(IP, packet) for packet in line.take(budget)]
            meter = self.writer.meter
            line.flow_limit = max(4 * line.mtu, 2 * meter.window) if meter.metered else FLOW_LIMIT
            line.delay = meter.delay
        return b"".join(frames) if len(frames) > 1 else b""

    # Time

    def arm(self) -> None:
        when = min(self.link.deadline, self.writer.deadline)
        if when != self.deadline:
            self._deadlines.arm(self, when)

    def tick(self, now: float) -> None:
        if self.link.deadline <= now:
            self.link.tick(now)
        if self.writer.deadline <= now:
            self.mark()  # and `flush` arms
        else:
            self.arm()

    def close(self) -> None:
        """Let go of the port."""
        if not self.closed:
            self.closed = True
            self._deadlines.arm(self, math.inf)
            self._watcher.unwatch_read(self.port.read_fd)
            self.writer.close()
            self.port.close()

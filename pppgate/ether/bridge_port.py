"""One cable of the segment: reads a guest's frames, writes what waits for it.

In: a FramePort, and a segment for its frames.  Out: frames on the port, at the end of each wake-up that brought some.
The packet path, top to bottom:

    in   on_readable -> port.receive -> Segment.receive -> Neighbor.receive (Station.receive before the NAT)
    out  Line.take -> Neighbor's header before each packet -> port.send, once for all that a wake-up brought

It knows neither addresses nor what a frame means.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from nat.dirty import Dirty
from nat.rules import Asked
from nat.wire.ipv4 import dotted
from pppgate.ether.frame import mac_text, pad
from pppgate.ether.links.port import FramePort
from pppgate.ether.tap import FrameTap, Send
from serialport.port import HangUp, Watcher

QUEUE_MOST = 256 * 1024
"""Octets of frames that may wait beside the IP packets in the neighbors' lines: answers, other guests' frames."""
READ_MOST = 8
"""Reads (64 KB each at the most) in one wake-up before others get their turn."""
FRAMES_MOST = 1024
"""Frames after which there is no other read: of the shortest, 64 KB are 3,600."""
TAKE = 16 * 1024
"""Octets that one neighbor's line hands over at a time, so that little waits outside its fair queue."""
TAKE_LOSSLESS = 3 * 1024
"""The same for a card of ours, whose ring holds thirteen kilobytes."""
BUSY_FRAMES = 16
BUSY_WITHIN = 0.002
"""A guest that sends so many frames in so many seconds is busy: 12 Mbit/s of pure acknowledgements, 90 of data."""
PAUSE = 0.001
"""Seconds between two looks at a busy guest's port."""
TURN_MOST = 256 * 1024
"""Octets written in one turn, so that a very fast reader does not keep the others waiting."""


class Queue(Protocol):
    """What a neighbor's packets wait in: nat.line.Line."""

    def take(self, budget: int) -> list[bytes]: ...


class Way(NamedTuple):
    """What a neighbor is to what is beyond: where the packets for it wait, and what takes those that it sends."""

    line: Queue
    receive: Callable[[bytes, float], None]


class Neighbor:
    """An IPv4 host on the segment: its addresses, the port it is on, and its way to what is beyond.

    `arrive(self)` makes that way (segment.Beyond.arrive); `across`: what it may say to other hosts of the segment.
    """

    __slots__ = ("address", "mac", "port", "header", "across", "line", "receive", "heard")

    def __init__(
        self,
        address: bytes,
        mac: bytes,
        port: "BridgePort",
        header: bytes,
        across: Asked,
        arrive: "Callable[[Neighbor], Way]",
        now: float,
    ) -> None:
        self.address = address
        self.mac = mac
        self.port = port
        self.header = header
        """What stands before each IPv4 packet to it: 14 octets."""
        self.across = across
        self.heard = now
        """When it last sent something."""
        self.line, self.receive = arrive(self)

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  Times in seconds."""
        address, mac = dotted(self.address), mac_text(self.mac)
        return {"address": address, "mac": mac, "port": self.port.name, "idle": now - self.heard}

    def kick(self) -> None:
        """The line has packets that it did not have before."""
        self.port.ready[self] = None
        self.port.mark()


class BridgePort:
    """`receive` is the segment's; `hung_up` is called once, when the port has ended. `taps` look at every frame."""

    def __init__(
        self,
        port: FramePort,
        watcher: Watcher,
        dirty: Dirty,
        receive: "Callable[[BridgePort, bytes, float], None]",
        hung_up: "Callable[[BridgePort, str, float], None]",
        taps: Sequence[FrameTap] = (),
    ) -> None:
        self.port = port
        self.name = port.name
        send: Send = port.send
        for tap in taps:
            receive, send = tap.wrap_ethernet(port.name, watcher.now, receive, send)
        self.send = send
        self.receive = receive
        self.closed = False
        self.warned = False
        """Whether a person was told that somebody here uses another cable's MAC address."""
        self.count: Counter[str] = Counter()
        self.ready: dict[Neighbor, None] = {}
        self.neighbors: dict[Neighbor, None] = {}
        """The hosts behind it; the segment's to keep."""
        self._watcher = watcher
        self._dirty = dirty
        self._hung_up = hung_up
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._left_over: list[bytes] = []  # what the port has not taken
        self._blocked = False
        self._since = 0.0
        self._heard = 0  # frames since then
        self._paused = False  # the port is not watched, but looked at again soon
        self._turn = -math.inf  # the wake-up that was written in last
        self._sent = 0  # octets, in that wake-up

    def status(self) -> dict[str, object]:
        """What it is, as plain data.  `counters`: what was dropped, by name."""
        counters = dict(self.count + self.port.count)
        return {"name": self.name, "queued": self._queued, "blocked": self._blocked, "counters": counters}

    def start(self) -> None:
        self._watcher.watch_read(self.port.fd, self.on_readable)

    def on_readable(self, now: float) -> None:
        """The port has frames, or its end."""
        receive = self.receive
        got = 0
        try:
            for _ in range(READ_MOST):
                frames = self.port.receive()
                if not frames:
                    break
                for frame in frames:
                    receive(self, frame, now)
                if self.closed:
                    return
                got += len(frames)
                if got >= FRAMES_MOST:
                    break
        except HangUp as reason:
            self.hang_up(str(reason), now)
            return
        self._pace(got, now)

    def _pace(self, got: int, now: float) -> None:
        """Let the frames of a busy guest gather: an emulator sends each by itself, and to wake us for each costs it
        more than the frame (QEMU's ne2k_pci: 334 Mbit/s out of the guest without, 525 with it)."""
        if now - self._since > BUSY_WITHIN:
            self._since, self._heard = now, 0
        self._heard += got
        if self._heard >= BUSY_FRAMES:
            if not self._paused:
                self._paused = True
                self._watcher.unwatch_read(self.port.fd)
            self._watcher.call_at(now + PAUSE, self._read_again)
        elif self._paused:
            self._paused = False
            self._watcher.watch_read(self.port.fd, self.on_readable)

    def _read_again(self, now: float) -> None:
        if not self.closed:
            self.on_readable(now)

    def hang_up(self, reason: str, now: float) -> None:
        """The guest is gone, or is let go."""
        if self.closed:
            return
        self.closed = True
        self._watcher.unwatch_read(self.port.fd)
        if self._blocked:
            self._watcher.unwatch_write(self.port.fd)
        self._queue.clear()
        self._left_over.clear()
        self.port.close()
        self._hung_up(self, reason, now)

    def emit(self, frame: bytes) -> None:
        """A frame for this cable that is not an IP packet from beyond."""
        if self.closed:
            return
        if self._queued > QUEUE_MOST:
            self.count["ether.queue_full"] += 1
            return
        self._queue.append(frame)
        self._queued += len(frame)
        self.mark()

    def mark(self) -> None:
        """Something is to be sent when this wake-up ends."""
        if not self.closed:
            self._dirty.line(self)

    def flush(self, now: float) -> None:
        """Send what waits, as far as the port takes it."""
        if self.closed or self._blocked:
            return
        if now != self._turn:
            self._turn, self._sent = now, 0
        elif self._sent >= TURN_MOST:
            return  # what its packets have woken brings it here again; `_again` follows
        while self._sent < TURN_MOST:
            frames = self._left_over or self._take()
            if not frames:
                return
            taken = self.send(frames)
            if taken < len(frames):
                self._left_over = frames[taken:]
                self._blocked = True
                self._watcher.watch_write(self.port.fd, self._on_writable)
                return
            self._left_over = []
            self._sent += sum(map(len, frames))
        self._watcher.call_at(now, self._flush_again)

    def _take(self) -> list[bytes]:
        """The frames that go next: what waits beside the lines, then a share of each line."""
        queue = self._queue
        frames: list[bytes] = []
        budget = TAKE_LOSSLESS if self.port.lossless else TAKE
        size = 0
        while queue and size < budget:
            frame = queue.popleft()
            size += len(frame)
            frames.append(pad(frame))
        self._queued -= size
        for neighbor in list(self.ready):
            line = neighbor.line
            packets = line.take(budget)
            if not packets:
                del self.ready[neighbor]  # a kick brings it back
            header = neighbor.header
            frames += [pad(header + packet) for packet in packets]
        return frames

    def _on_writable(self, _now: float) -> None:
        self._blocked = False
        self._watcher.unwatch_write(self.port.fd)
        self.mark()

    def _flush_again(self, _now: float) -> None:
        self._sent = 0
        self.mark()

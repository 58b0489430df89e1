"""A world for the dialer without a kernel: a clock, links whose ports lead to a PPP server, a customer.

In: `run(seconds)`.  Out: what was said, what the customer was told and given, how often the line was opened.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.line import Line
from pppgate.eoppp.call import Agreed, Terms
from pppgate.eoppp.dialer import Dialer, Habits
from pppgate.surroundings import Surroundings
from serialport.port import HangUp, LinkBase, Port, PortError, port_status
from tests.support.ppp_ends import End, server
from tests.support.watching import Watching


class Timer:
    def __init__(self, callback: Callable[[float], None]) -> None:
        self.callback: Callable[[float], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock(Watching):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self.timers, (when, next(self._order), timer))
        return timer

    def next(self) -> float:
        while self.timers and self.timers[0][2].callback is None:
            heapq.heappop(self.timers)
        return self.timers[0][0] if self.timers else float("inf")

    def fire(self) -> bool:
        if self.next() > self.time:
            return False
        callback = heapq.heappop(self.timers)[2].callback
        if callback is not None:
            callback(self.time)
        return True


class Wire:
    """A Port; `to_server` takes what is written, `incoming` is what the server has said."""

    hides_queue = False
    dribbles = False
    name = "line"
    kind = "wire"

    def __init__(self, fd: int, closed: Callable[[], None]) -> None:
        self.read_fd = self.write_fd = fd
        self.incoming: list[bytes] = []
        self.written = b""
        self.gone = ""
        self.closed = False
        self._closed = closed

    def read(self) -> bytes:
        if self.incoming:
            return self.incoming.pop(0)
        if self.gone:
            raise HangUp(self.gone)
        return b""

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def pending(self) -> int:
        return 0

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._closed()


class FarLink(Protocol):
    @property
    def deadline(self) -> float: ...

    def up(self, now: float) -> None: ...
    def tick(self, now: float) -> None: ...


class Far(Protocol):
    """What is at the far end of a port: an End, or something that is no PPP."""

    @property
    def link(self) -> FarLink: ...

    def feed(self, data: bytes, now: float) -> None: ...
    def take(self) -> bytes: ...


class FakeLink(LinkBase):
    def __init__(self, world: "World", scheme: str) -> None:
        super().__init__("fake:", scheme)
        self.world = world
        self.outward = scheme not in ("pty", "stdio")
        self.description = "a fake line"
        self.stopped = False

    def start(self, watcher: object, on_port: Callable[[Port], None]) -> None:
        if self.world.broken:
            raise PortError("/dev/fake does not exist: plug it in.")
        self.on_port = on_port
        self.world.plugged = self
        if self.outward:
            self.come()

    def come(self) -> Wire:
        """A port appears."""
        world = self.world
        wire = Wire(next(world.numbers), lambda: world.lines.append("closed"))
        world.port = wire
        world.lines.append("opened")
        if world.make_server is not None:
            world.far = world.make_server()
            world.far.link.up(world.clock.time)
        self.on_port(wire)
        return wire

    def stop(self) -> None:
        self.stopped = True


class Customer:
    def __init__(self) -> None:
        self.line = Line(bytes(4), 1500, lambda: None, Counter())
        self.line.up = True
        self.told: list[Agreed | None] = []
        self.got: list[bytes] = []

    def link_up(self, agreed: Agreed, now: float) -> None:
        self.told.append(agreed)

    def link_down(self, now: float) -> None:
        if self.told and self.told[-1] is not None:
            self.told.append(None)

    def receive(self, packet: bytes, now: float) -> None:
        self.got.append(packet)


class World:
    """`make_server` makes what is at the far end of each port; None: nobody is."""

    def __init__(
        self,
        habits: Habits | None = None,
        terms: Terms | None = None,
        scheme: str = "tty",
        make_server: Callable[[], Far] | None = server,
    ) -> None:
        self.clock = Clock()
        self.numbers = itertools.count(50)
        self.make_server = make_server
        self.far: Far | None = None
        self.port: Wire | None = None
        self.plugged: FakeLink | None = None
        self.broken = False
        self.lines: list[str] = []
        self.said: list[str] = []
        self.detail: list[str] = []
        self.status: list[int] = []
        self.customer = Customer()
        self.deadlines = Deadlines()
        self.dirty = Dirty()
        around = Surroundings(
            self.clock,
            self.deadlines,
            self.dirty,
            random.Random(5),
            self.said.append,
            self.detail.append,
            self.detail.append,
        )
        self.dialer = Dialer(
            lambda: FakeLink(self, scheme),
            terms or Terms(),
            habits or Habits(),
            self.customer,
            around,
            self.status.append,
        )

    @property
    def server(self) -> End:
        """What is at the far end, where that is an end of PPP."""
        assert isinstance(self.far, End)
        return self.far

    @property
    def wire(self) -> Wire:
        """The port that came last."""
        assert self.port is not None
        return self.port

    @property
    def link(self) -> FakeLink:
        """The link that was started last."""
        assert self.plugged is not None
        return self.plugged

    def start(self) -> None:
        self.dialer.start(self.clock.time)
        self.settle()

    def settle(self) -> None:
        """Everything that happens without time passing."""
        for _ in range(500):
            busy = self.clock.fire()
            self.deadlines.expire(self.clock.time)
            self.dirty.flush(self.clock.time)
            wire, far = self.port, self.far
            if wire is not None:
                busy |= self._carry(wire, far)
                reader = self.clock.readers.get(wire.read_fd)
                if reader is not None and (wire.incoming or wire.gone):
                    reader(self.clock.time)
                    busy = True
            if not busy and not self.dirty:
                return
        raise AssertionError("it never falls silent")

    def _carry(self, wire: Wire, far: Far | None) -> bool:
        if far is None:
            return False
        data, wire.written = wire.written, b""
        if data:
            far.feed(b"~" + data, self.clock.time)
        answer = far.take()
        if answer and not wire.closed:
            wire.incoming.append(b"~" + answer)
        return bool(data or answer)

    def run(self, seconds: float) -> None:
        end = self.clock.time + seconds
        self.settle()
        while True:
            far = self.far.link.deadline if self.far is not None else float("inf")
            due = min(self.clock.next(), self.deadlines.next(), far)
            if due > end:
                break
            self.clock.time = max(self.clock.time, due)
            if self.far is not None:
                self.far.link.tick(self.clock.time)
            self.settle()
        self.clock.time = end

    def hang_up(self, reason: str = "it was cut") -> None:
        self.far = None
        self.wire.gone = reason
        self.settle()

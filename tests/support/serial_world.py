"""A whole gateway in one process and one guest on a virtual serial line: everything between the line's octets and
the host's sockets is the real thing (PppEnd, PppLink, Ipcp, Session, Station, flows), the rest is a model.

The guest is a PPP client of tests/support/ppp_ends.py with the TCP of tests/support/tcp_peer.py.  Time is virtual.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network
from random import Random
from typing import Any

from ipcp.pool import Pool
from lcp.config import LinkConfig
from nat.context import Context, Limits
from nat.deadlines import Deadlines
from nat.dns import Dns
from nat.gateway import Gateway
from nat.rules import Rules
from nat.station import Station
from nat.wire.ipv4 import TCP
from pppgate.notices import Notices
from pppgate.session import Session, Shared
from pppgate.surroundings import Surroundings
from serialport.port import HangUp, Timer, port_status
from tests.support import tcp_peer
from tests.support.fakes import FakeHost
from tests.support.ppp_ends import End, Recorder, client
from tests.support.tcp_peer import GuestTcp, Segment, StreamHost, StreamSocket
from tests.support.watching import Watching

GATEWAY, DNS, GUEST = (bytes((10, 0, 2, last)) for last in (2, 3, 15))
OUTSIDE = bytes((192, 0, 2, 1))

Spoil = Callable[[bytes], bytes]


class VirtualPort:
    """The gateway's side of the line.  `rate`: octets a second that leave it; `capacity`: what it holds meanwhile."""

    kind = "virtual"
    hides_queue = False
    dribbles = True

    def __init__(self, number: int, rate: float, capacity: int) -> None:
        self.name = f"line {number}"
        self.read_fd = self.write_fd = number
        self.rate, self.capacity = rate, capacity
        self.arrived = bytearray()
        self.held = bytearray()
        self.free_at = 0.0
        self.hung = self.closed = self.stuck = False

    def read(self) -> bytes:
        assert not self.closed
        if not self.arrived and self.hung:
            raise HangUp("the guest has gone")
        data = bytes(self.arrived[:65536])
        del self.arrived[: len(data)]
        return data

    def write(self, data: bytes) -> int:
        taken = min(len(data), max(0, self.capacity - len(self.held)))
        self.held += data[:taken]
        return taken

    def pending(self) -> int:
        return len(self.held) if self.rate else -1

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        self.closed = True


class Never:
    """The handle of a timer that nobody cancels."""

    def cancel(self) -> None:
        raise AssertionError("nothing here takes a timer back")


class VirtualWatcher(Watching):
    def __init__(self, world: "SerialWorld") -> None:
        super().__init__()
        self.world = world
        self.soon: list[Callable[[float], None]] = []

    def now(self) -> float:
        return self.world.now

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        """For the milliseconds in which a guest lets a frame gather: here they pass at once."""
        self.soon.append(callback)
        return Never()


class WorldHost(StreamHost):
    """TCP as in StreamHost, datagrams as in FakeHost."""

    def __init__(self) -> None:
        super().__init__()
        self.other = FakeHost()
        self.other.readers, self.other.writers = self.readers, self.writers
        self.numbers = itertools.count(1_000_000)
        self.targets: list[tuple[bytes, int]] = []
        self.forget_closed = False
        for name in ("udp", "ping", "connect_udp", "listen_tcp", "listen_udp", "accept", "read_error", "owns"):
            setattr(self, name, getattr(self.other, name))
        self.resolvers = self.other.resolvers

    def connect_tcp(self, address: bytes, port: int) -> StreamSocket:
        self.targets.append((address, port))
        if self.refuse:
            raise OSError(self.refuse, "refused")
        sock = StreamSocket(next(self.numbers), self)
        self.sockets.append(sock)
        return sock

    def open(self) -> list[object]:
        return [sock for sock in self.sockets if not sock.closed] + list(self.other.open())

    def ready(self, now: float) -> bool:
        self.other.time = now
        if len(self.sockets) > 64:
            self.sockets = [sock for sock in self.sockets if not sock.closed]
        called = super().ready(now)
        for sock in list(self.other.sockets):
            if not sock.closed and sock.incoming and sock.fd in self.readers:
                self.readers[sock.fd](now)
                called = True
        return called


class SerialWorld:
    """`delay` is one way, seconds; `rate` octets a second toward the guest (0: at once); `spoil_out` and `spoil_in`
    turn what goes onto the line toward the guest and toward the gateway into what arrives."""

    def __init__(
        self,
        *,
        seed: int = 1,
        delay: float = 0.0,
        rate: float = 0.0,
        capacity: int = 4096,
        config: LinkConfig | None = None,
        mtu: int = 1500,
        guest_config: LinkConfig | None = None,
        limits: Limits | None = None,
        host_loopback: bool = False,
        host: WorldHost | None = None,
    ) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.delay, self.rate, self.capacity = delay, rate, capacity
        self.spoil_out: Spoil = lambda data: data
        self.spoil_in: Spoil = lambda data: data
        self.cut = False  # nothing gets through, either way
        self.host = host or WorldHost()
        self.said: list[str] = []
        self.guest_config = guest_config or LinkConfig()
        rules = Rules(self.host, (bytes((10, 0, 2, 0)), 24), GATEWAY, dns=DNS, host_loopback=host_loopback)  # type: ignore[arg-type]
        self.context = Context(
            self.host,  # type: ignore[arg-type]
            rules,
            Deadlines(),
            Random(seed + 1),
            Notices(self.said.append, lambda: self.now),
            Counter(),
            limits or Limits(),
        )
        self.gateway = Gateway(self.context, GATEWAY, Dns(self.context, DNS))
        self.watcher = VirtualWatcher(self)
        around = Surroundings(
            watcher=self.watcher,
            deadlines=self.context.deadlines,
            dirty=self.context.dirty,
            random=Random(seed + 2),
            say=self.said.append,
            detail=self.said.append,
            debug=self.said.append,
            taps=(Recorder(self._note_sent),),
        )
        pool = Pool(IPv4Network("10.0.2.0/24"), (GATEWAY, DNS), GUEST)
        self.shared = Shared(self.gateway, pool, config or LinkConfig(), mtu, around)
        self.control_sent: list[tuple[int, bytes]] = []  # protocol and information, by the gateway
        self.ports = itertools.count(10)
        self.ended: list[str] = []
        self.events: list[tuple[float, int, bool, bytes]] = []
        self.serial = itertools.count()
        self.guests: dict[int, GuestTcp] = {}
        self.packets: list[bytes] = []  # what came to the guest and is not TCP for a model
        self.raw_out = 0  # octets toward the guest
        self.guest_seed = itertools.count(seed + 100)
        self.plug()
        self.boot()

    # The two ends

    def _note_sent(self, protocol: int, information: bytes) -> None:
        if protocol >= 0x4000:
            self.control_sent.append((protocol, information))

    def plug(self) -> None:
        """A new port on the gateway, and a session on it."""
        self.port = VirtualPort(next(self.ports), self.rate, self.capacity if self.rate else 1 << 24)
        self.events.clear()
        self.session = Session(
            self.shared, self.port, "line#0", self.port.name, lambda session, reason: self.ended.append(reason)
        )
        self.session.start(self.now)

    def boot(self) -> None:
        """A guest that knows nothing yet begins to dial."""
        self.end: End = client(self.guest_config, seed=next(self.guest_seed))
        self.end.deliver(0x0021, self._guest_packet)
        self.guests.clear()
        self.end.link.up(self.now)

    def hang_up(self) -> None:
        """The carrier drops: both ends hear of it, what was on its way is lost."""
        self.events.clear()
        self.end.link.down(self.now)
        self.end.take()
        self.port.held.clear()
        self.port.hung = True

    def redial(self) -> None:
        """The same guest, its connections alive, on a new line."""
        self.plug()
        self.end.link.up(self.now)

    def up(self, seconds: float = 5.0) -> None:
        self.run(lambda: self.session.station is not None and self.end.ipcp.opened, seconds)

    @property
    def station(self) -> Station:
        assert self.session.station is not None
        return self.session.station

    @property
    def count(self) -> Counter[str]:
        """All counters there are."""
        return self.context.count + self.session.counters

    def transmit(self, packet: bytes, to_guest: bool = False) -> None:
        """An IP packet of the guest (the models of tests/support/tcp_peer.py call this)."""
        assert not to_guest
        self.end.line += b"~" + self.end.framer.frame(0x21, packet)

    def octets(self, data: bytes) -> None:
        """Anything at all from the guest's side of the line."""
        self.end.line += data

    def _guest_packet(self, packet: bytes, now: float) -> None:
        if packet[9] == TCP and not packet[6] & 0x3F and not packet[7]:
            segment = Segment(packet)
            guest = self.guests.get(segment.port)
            far = tcp_peer.OUTSIDE
            if guest is not None and segment.source_port == guest.remote_port and segment.source == far:
                guest.receive(segment)
                return
            self.packets.append(packet)
            if guest is None and not segment.flags & 4:  # it knows no such connection (RFC 9293 section 3.10.7.1)
                self._refuse(packet)
            return
        self.packets.append(packet)

    def _refuse(self, packet: bytes) -> None:
        from nat.wire.tcp import build_reset

        answer = build_reset(packet, 20)
        if answer is not None:
            self.transmit(answer)

    # The clock

    def settle(self) -> None:
        """Everything that happens without time passing."""
        for _ in range(200_000):
            moved = self._move_line()
            moved |= self._move_gateway()
            moved |= self.host.ready(self.now)
            self.context.dirty.flush(self.now)
            if not moved and not self.end.line and not (self.port.held and not self.rate):
                return
        raise AssertionError("it never comes to rest")

    def _put(self, data: bytes, to_guest: bool) -> None:
        if self.cut:
            return
        data = (self.spoil_out if to_guest else self.spoil_in)(data)
        if data:
            heapq.heappush(self.events, (self.now + self.delay, next(self.serial), to_guest, data))

    def _move_line(self) -> bool:
        moved = False
        data = self.end.take()
        if data:
            moved = True
            self._put(data, False)
        held = self.port.held
        if held and not self.port.stuck:
            if not self.rate:
                size = len(held)
            else:
                size = min(len(held), int((self.now - self.port.free_at) * self.rate))
                if size > 0:
                    self.port.free_at += size / self.rate
            if size > 0:
                moved = True
                self.raw_out += size
                self._put(bytes(held[:size]), True)
                del held[:size]
        if not held:
            self.port.free_at = self.now
        while self.events and self.events[0][0] <= self.now:
            _, _, to_guest, data = heapq.heappop(self.events)
            moved = True
            if to_guest:
                self.end.feed(data, self.now)
            else:
                self.port.arrived += data
        return moved

    def _move_gateway(self) -> bool:
        soon, self.watcher.soon = self.watcher.soon, []
        moved = bool(soon)
        for callback in soon:
            callback(self.now)
        port = self.port
        reader = self.watcher.readers.get(port.read_fd)
        if reader and (port.arrived or port.hung):
            reader(self.now)
            moved = True
        writer = self.watcher.writers.get(port.write_fd)
        if writer and len(port.held) < port.capacity:
            writer(self.now)
            moved = True
        return moved

    def next_time(self) -> float:
        times = [self.context.deadlines.next(), self.end.link.deadline]
        times += [self.events[0][0]] if self.events else []
        times += [guest.timer for guest in self.guests.values()]
        if self.port.held and self.rate and not self.port.stuck:
            times.append(self.port.free_at + min(len(self.port.held), 256) / self.rate + 1e-9)
        return min(times)

    def run(self, until: Callable[[], bool], limit: float = 100_000.0) -> None:
        """Let time pass until the condition holds."""
        end = self.now + limit
        self.settle()
        while not until():
            when = self.next_time()
            assert when <= end, f"nothing more happens before {limit} s: {self.said[-3:]} {list(self.guests.values())}"
            self.now = max(self.now, when)
            self.step()

    def step(self) -> None:
        self.context.deadlines.expire(self.now)
        self.end.link.tick(self.now)
        for guest in list(self.guests.values()):
            guest.tick()
        self.settle()

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        self.settle()
        while (when := self.next_time()) <= end:
            self.now = max(self.now, when)
            self.step()
        self.now = end
        self.step()

    # Flows

    def connect(self, **options: Any) -> tuple[GuestTcp, StreamSocket]:
        """A guest's connection, established."""
        guest = GuestTcp(self, **options)
        before = set(map(id, self.host.sockets))
        guest.connect()
        self.run(lambda: guest.established, 100_000)
        (sock,) = [sock for sock in self.host.sockets if id(sock) not in before]
        return guest, sock


class Canary:
    """A connection that has to end with every octet where it belongs, whatever happens beside it."""

    def __init__(self, world: SerialWorld, size: int = 20_000, port: int = 61_234) -> None:
        self.world = world
        self.up, self.down = world.random.randbytes(size), world.random.randbytes(size)
        self.guest, self.sock = world.connect(port=port, remote_port=7, to_send=self.up[: size // 2], close=False)
        self.sock.arriving += self.down[: size // 2]
        world.settle()

    def finish(self, limit: float = 2000.0) -> None:
        half = len(self.down) // 2
        self.guest.to_send = self.up
        self.guest.close_after = True
        self.guest.pump()
        self.sock.arriving += self.down[half:]
        self.sock.remote_closed = True
        self.world.run(lambda: self.guest.remote_fin and self.sock.shut, limit)
        assert bytes(self.guest.received) == self.down, "the canary got other octets than were sent"
        assert bytes(self.sock.delivered) == self.up, "the canary's octets arrived as others"

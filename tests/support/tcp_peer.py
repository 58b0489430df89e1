"""A guest's TCP, a host's socket and a network between them, for tests of nat.tcp.flow: virtual time, seeded faults.

The guest is a model of its own (cumulative ACKs, go-back-N, optional SACK reports), written from RFC 9293 and not
from the code under test.  Segments are parsed with their checksums verified.
"""

import errno
import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Protocol

from nat.context import Context, Limits
from nat.deadlines import Deadlines
from nat.flight import Flight
from nat.icmp import ErrorSender
from nat.tcp.flow import TcpFlow
from nat.tcp.flows import TcpFlows
from nat.wire.checksum import checksum
from nat.wire.ipv4 import IPV4, TCP
from nat.wire.tcp import ACK, FIN, PSH, RST, SYN, build_segment, sack_option, syn_options
from tests.support.watching import Watching

GUEST, OUTSIDE = bytes((10, 0, 2, 15)), bytes((192, 0, 2, 1))
MASK = 0xFFFFFFFF


class StreamSocket:
    """The host's end: `arriving` is what the remote has sent, `delivered` what it has got from the guest."""

    def __init__(self, number: int, host: "StreamHost | None" = None) -> None:
        self.number = number
        self.host = host
        self.reader: Callable[[float], None] | None = None
        self.writer: Callable[[float], None] | None = None
        self.arriving = bytearray()
        self.delivered = bytearray()
        self.remote_closed = self.shut = self.closed = self.was_reset = False
        self.room = 1 << 30  # octets that send takes before it would block
        self.failure: int = 0

    def watch_read(self, callback: Callable[[float], None]) -> None:
        assert not self.closed
        self.reader = callback

    def unwatch_read(self) -> None:
        self.reader = None

    def watch_write(self, callback: Callable[[float], None]) -> None:
        assert not self.closed
        self.writer = callback

    def unwatch_write(self) -> None:
        self.writer = None

    def _check(self) -> None:
        assert not self.closed, "a closed socket was used"
        if self.failure:
            raise OSError(self.failure, "failed")

    def recv(self, size: int) -> bytes:
        data = self.peek(size)
        del self.arriving[:size]
        return data

    def peek(self, size: int) -> bytes:
        self._check()
        assert size > 0
        if not self.arriving and not self.remote_closed:
            raise BlockingIOError
        return bytes(self.arriving[:size])

    def send(self, data: bytes) -> int:
        self._check()
        assert not self.shut, "octets after shutdown"
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.delivered += taken
        return len(taken)

    def gather(self, buffers: list[bytes]) -> int:
        return self.send(b"".join(buffers))

    def shutdown(self) -> None:
        self._check()
        assert not self.shut
        self.shut = True

    def close(self) -> None:
        self.closed = True
        self.reader = self.writer = None

    def reset(self) -> None:
        self.was_reset = True
        self.close()

    def connect_error(self) -> int:
        assert self.host is not None
        self.host.connected.add(self.number)
        return self.host.connect_failure


class StreamHost(Watching):
    """What nat.host offers, for streams."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[StreamSocket] = []
        self.refuse = 0  # errno that connects fail with, at once
        self.connect_failure = 0  # errno that connects fail with, later
        self.connects = True  # whether connects are answered by themselves
        self.connected: set[int] = set()

    def connect_tcp(self, address: bytes, port: int) -> StreamSocket:
        if self.refuse:
            raise OSError(self.refuse, "refused")
        self.sockets.append(StreamSocket(len(self.sockets) + 10, self))
        return self.sockets[-1]

    def ready(self, now: float) -> bool:
        """One round of a level-triggered loop over all sockets; True if anything was called."""
        called = False
        for sock in self.sockets:
            reader = sock.reader
            if reader and (sock.arriving or sock.remote_closed or sock.failure):
                reader(now)
                called = True
            writer = sock.writer
            if writer and (sock.room or sock.failure) and (self.connects or sock.number in self.connected):
                writer(now)
                called = True
        return called


class DirectLine:
    """A nat.line.Line that hands everything over at once, with an adjustable room."""

    def __init__(self, mtu: int = 1500) -> None:
        self.address = GUEST
        self.mtu = mtu
        self.up = True
        self.sent: list[bytes] = []
        self.space = 1 << 20
        self.delay = 0.0
        self.flight = Flight(mtu)
        self.waiters: dict[object, object] = {}
        self.turn = None
        self.queued = 0

    def send(self, packet: bytes, key: object) -> bool:
        assert len(packet) <= self.mtu
        self.sent.append(packet)
        return True

    def room(self, key: object) -> int:
        return self.space

    def offer(self) -> None:
        assert self.flight.flying >= 0

    def waiting(self, key: object) -> bool:
        return False

    def discard(self, key: object) -> None: ...

    def wait(self, key: object, flow: object, need: int) -> None:
        assert 40 < need <= self.mtu
        self.waiters[key] = flow

    def pass_on(self) -> None: ...

    def forget(self, key: object) -> None:
        self.waiters.pop(key, None)


class Segment:
    """A segment that the gateway sent, taken apart and checked."""

    def __init__(self, packet: bytes) -> None:
        first, _, total, _, _, _, protocol, _, self.source, self.destination = IPV4.unpack_from(packet)
        assert first == 0x45 and total == len(packet) and protocol == TCP
        assert checksum(packet[:20]) == 0
        pseudo = packet[12:20] + bytes((0, TCP)) + (total - 20).to_bytes(2, "big")
        assert checksum(pseudo + packet[20:]) == 0
        self.source_port = int.from_bytes(packet[20:22], "big")
        self.port = int.from_bytes(packet[22:24], "big")
        self.sequence = int.from_bytes(packet[24:28], "big")
        self.acknowledgement = int.from_bytes(packet[28:32], "big")
        header = (packet[32] >> 4) * 4
        self.flags = packet[33]
        self.window = int.from_bytes(packet[34:36], "big")
        self.options = packet[40 : 20 + header]
        self.payload = packet[20 + header :]

    def __repr__(self) -> str:
        bits = (("S", SYN), ("A", ACK), ("F", FIN), ("R", RST), ("P", PSH))
        names = [name for name, bit in bits if self.flags & bit]
        return f"<{''.join(names)} seq={self.sequence} ack={self.acknowledgement} len={len(self.payload)}>"


def make_table(
    host: StreamHost,
    line: DirectLine,
    seed: int = 1,
    limits: Limits | None = None,
    route: Callable[..., object] | None = None,
) -> TcpFlows:
    notes: list[str] = []
    context = Context(host, None, Deadlines(), Random(seed), notes.append, Counter(), limits or Limits())  # type: ignore[arg-type]
    errors = ErrorSender(context, line, bytes((10, 0, 2, 2)))  # type: ignore[arg-type]
    return TcpFlows(context, line, route or (lambda line, address, port: (address, port)), errors)  # type: ignore[arg-type]


class World:
    """One guest model, one flow table, one line with faults, a clock."""

    def __init__(
        self,
        *,
        seed: int = 1,
        delay: float = 0.0,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
        mtu: int = 1500,
        limits: Limits | None = None,
    ) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.host = StreamHost()
        self.line = DirectLine(mtu)
        self.table = make_table(self.host, self.line, seed, limits)
        self.delay, self.loss, self.duplication, self.reordering = delay, loss, duplication, reordering
        self.events: list[tuple[float, int, bool, bytes]] = []
        self.serial = 0
        self.guests: dict[int, GuestTcp] = {}

    @property
    def flow(self) -> TcpFlow:
        (flow,) = self.table.flows.values()
        return flow

    def transmit(self, packet: bytes, to_guest: bool) -> None:
        copies = 1 + (self.random.random() < self.duplication)
        for _ in range(copies):
            if self.random.random() < self.loss:
                continue
            late = self.random.random() * 3 * self.delay if self.random.random() < self.reordering else 0.0
            self.serial += 1
            heapq.heappush(self.events, (self.now + self.delay + late, self.serial, to_guest, packet))

    def settle(self) -> None:
        """Everything that happens without time passing."""
        for _ in range(100_000):
            self.table.context.dirty.flush(self.now)
            sent, self.line.sent = self.line.sent, []
            for packet in sent:
                self.transmit(packet, True)
            moved = bool(sent)
            while self.events and self.events[0][0] <= self.now:
                _, _, to_guest, packet = heapq.heappop(self.events)
                moved = True
                if to_guest:
                    segment = Segment(packet)
                    guest = self.guests.get(segment.port)
                    if guest is not None:
                        guest.receive(segment)
                else:
                    self.table.receive(packet, self.now)
            moved |= self.host.ready(self.now)
            if not moved and not self.table.context.dirty:
                return
        raise AssertionError("it never comes to rest")

    def run(self, until: Callable[[], bool], limit: float = 100_000.0) -> None:
        """Let time pass until the condition holds."""
        end = self.now + limit
        self.settle()
        while not until():
            times = [self.table.context.deadlines.next()]
            times += [self.events[0][0]] if self.events else []
            times += [guest.timer for guest in self.guests.values()]
            when = min(times)
            assert when < end, f"nothing more happens before {limit} s: {list(self.guests.values())}"
            self.now = max(self.now, when)
            self.table.context.deadlines.expire(self.now)
            for guest in self.guests.values():
                guest.tick()
            self.settle()


class Outside(Protocol):
    """The world of a GuestTcp: where its segments go, and what the time is."""

    random: Random
    guests: "dict[int, GuestTcp]"

    @property
    def now(self) -> float: ...

    def transmit(self, packet: bytes, to_guest: bool) -> None: ...


class GuestTcp:
    """The guest's end of one connection."""

    def __init__(
        self,
        world: Outside,
        *,
        port: int = 40000,
        remote_port: int = 80,
        to_send: bytes = b"",
        close: bool = True,
        window: int = 32768,
        mss: int = 1460,
        sack: bool = False,
        scale: int | None = None,
    ) -> None:
        self.world, self.port, self.remote_port = world, port, remote_port
        self.iss = world.random.getrandbits(32)
        self.to_send, self.close_after = to_send, close
        self.window, self.mss, self.sack, self.scale = window, mss, sack, scale
        self.una = self.nxt = 0  # relative to the ISS
        self.irs = 0
        self.rcv_nxt = 0  # relative to the IRS
        self.received = bytearray()
        self.ahead: dict[int, bytes] = {}
        self.fin_at = -1
        self.established = self.remote_fin = self.reset = False
        self.remote_window = 0
        self.remote_scale = 0
        self.timer = float("inf")
        self.rto = 1.0
        self.seen: list[Segment] = []
        world.guests[port] = self

    def __repr__(self) -> str:
        return (
            f"<guest {self.port}: una={self.una} nxt={self.nxt} of {len(self.to_send)} rcv={self.rcv_nxt} "
            f"fin={self.remote_fin} reset={self.reset} timer={self.timer}>"
        )

    def send(self, flags: int, sequence: int, payload: bytes = b"", options: bytes = b"") -> None:
        field = self.window
        if self.scale is not None and not flags & SYN:
            field >>= self.scale
        self.world.transmit(
            build_segment(
                GUEST, self.port, OUTSIDE, self.remote_port,
                sequence=self.iss + sequence, acknowledgement=self.irs + self.rcv_nxt if flags & ACK else 0,
                flags=flags, window=min(field, 0xFFFF), options=options, payload=payload,
            ),
            False,
        )  # fmt: skip

    def connect(self) -> None:
        self.nxt = 1
        self.send(SYN, 0, options=syn_options(self.mss, self.scale, self.sack))
        self.timer = self.world.now + self.rto

    def ack(self) -> None:
        blocks: list[tuple[int, int]] = []
        if self.sack:
            for start in sorted(self.ahead):
                end = start + len(self.ahead[start])
                if blocks and blocks[-1][1] >= start:
                    blocks[-1] = (blocks[-1][0], max(end, blocks[-1][1]))
                else:
                    blocks.append((start, end))
        wire = [(self.irs + left, self.irs + right) for left, right in blocks]
        self.send(ACK, self.nxt, options=sack_option(wire[:3]))

    def pump(self) -> None:
        """Send what the other side's window allows."""
        if not self.established or self.reset:
            return
        end = 1 + len(self.to_send)
        while self.nxt < end and self.nxt - self.una < self.remote_window:
            size = min(self.mss, end - self.nxt, self.remote_window - (self.nxt - self.una))
            self.send(ACK | PSH, self.nxt, self.to_send[self.nxt - 1 : self.nxt - 1 + size])
            self.nxt += size
        if self.close_after and self.nxt == end:
            self.send(FIN | ACK, self.nxt)
            self.nxt += 1
        self.timer = self.world.now + self.rto if self.nxt > self.una else float("inf")

    def tick(self) -> None:
        if self.timer > self.world.now or self.reset:
            return
        self.rto = min(self.rto * 2, 8.0)
        if not self.established:
            self.connect()
            return
        self.nxt = self.una  # go back
        before = self.remote_window
        self.remote_window = max(self.remote_window, 1)  # and probe a closed window
        self.pump()
        self.remote_window = before
        self.timer = self.world.now + self.rto

    def receive(self, segment: Segment) -> None:
        self.seen.append(segment)
        if self.reset:
            return
        if segment.flags & RST:
            self.reset = True
            self.timer = float("inf")
            return
        if segment.flags & SYN:
            if not self.established:
                assert (segment.acknowledgement - self.iss) & MASK == 1
                self.irs = segment.sequence
                self.rcv_nxt = 1
                self.una = self.nxt = 1
                self.established = True
                from nat.wire.tcp import parse_syn_options

                options = parse_syn_options(segment.options)
                self.remote_scale = options.window_scale or 0
                if self.scale is None:
                    assert options.window_scale is None
                self.remote_window = segment.window
                self.rto = 1.0
            self.ack()
            self.pump()
            return
        if not self.established:
            self.send(RST, (segment.acknowledgement - self.iss) & MASK)
            return
        acked = (segment.acknowledgement - self.iss) & MASK
        assert acked <= 2 + len(self.to_send), "acknowledged what was never sent"
        self.remote_window = segment.window << self.remote_scale
        if acked > self.una:
            self.una = acked
            self.nxt = max(self.nxt, acked)
            self.rto = 1.0
        start = (segment.sequence - self.irs) & MASK
        if start >> 31:
            start -= 1 << 32
        if segment.flags & FIN:
            self.fin_at = start + len(segment.payload)
        if segment.payload:
            if start <= self.rcv_nxt:
                fresh = segment.payload[self.rcv_nxt - start :]
                self.received += fresh
                self.rcv_nxt += len(fresh)
            elif start - self.rcv_nxt < 1 << 20:
                self.ahead.setdefault(start, segment.payload)
            for at in sorted(self.ahead):
                if at <= self.rcv_nxt:
                    fresh = self.ahead.pop(at)[self.rcv_nxt - at :]
                    self.received += fresh
                    self.rcv_nxt += len(fresh)
        if self.fin_at == self.rcv_nxt:
            self.rcv_nxt += 1
            self.remote_fin = True
        if segment.payload or segment.flags & FIN or start < self.rcv_nxt:
            self.ack()
        self.pump()


__all__ = ["ACK", "FIN", "GUEST", "OUTSIDE", "PSH", "RST", "SYN", "GuestTcp", "Segment", "World", "errno"]

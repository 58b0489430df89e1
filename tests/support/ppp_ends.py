"""Two ends of a PPP link joined by a wire of frames or of octets, on a clock of their own."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from ipcp.pool import Pool
from ipcp.protocol import Ipcp, Lease, LeaseAnswer
from lcp.config import LinkConfig
from lcp.control import ControlProtocol
from lcp.events import Event
from lcp.hdlc import Deframer
from lcp.packet import ControlPacket, build, parse, split_protocol
from nat.deadlines import Deadlines
from nat.dirty import Dirty
from pppgate.ether.tap import Clock, P, Send
from pppgate.ppp_end import PppEnd
from pppgate.tap import Frame, Receive, Tap
from serialport.port import Port, Timer, Watcher, port_status
from tests.support.watching import Watching

GATEWAY = IPv4Address("10.0.2.2").packed
DNS = IPv4Address("10.0.2.3").packed
GUEST = IPv4Address("10.0.2.15").packed
NET = IPv4Network("10.0.2.0/24")

E = TypeVar("E", bound=Event)


def pool() -> Pool:
    return Pool(NET, [GATEWAY, DNS], GUEST)


def parsed(information: bytes) -> ControlPacket:
    """The control packet that an end has sent."""
    packet = parse(information)
    assert packet is not None, information
    return packet


def lender_of(lease: Callable[[bytes | None], bytes | None]) -> Lease:
    """A lender that answers at once."""

    def lend(wanted: bytes | None, answer: LeaseAnswer) -> None:
        assert answer(lease(wanted))

    return lend


class OtherNcp(ControlProtocol):
    """A network protocol that nobody has heard of, with nothing to negotiate."""

    protocol = 0x80F1
    data_protocols = (0x00F1,)
    name = "Other"

    def __init__(self) -> None:
        super().__init__([])


class MemoryPort:
    """A port whose line is two byte strings; it takes everything and tells nothing."""

    name = kind = "memory"
    read_fd = write_fd = -1
    hides_queue = dribbles = False

    def __init__(self) -> None:
        self.arrived = b""
        self.written = b""

    def read(self) -> bytes:
        data, self.arrived = self.arrived, b""
        return data

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def pending(self) -> int:
        return -1

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None: ...


class Clockless(Watching):
    """Nothing here happens later by itself."""

    def now(self) -> float:
        return 0.0

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        raise AssertionError("an end in memory waits for nothing")


class Recorder:
    """The tap that notes what is sent, before it is framed."""

    def __init__(self, sent: Callable[[int, bytes], None]) -> None:
        self._sent = sent

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]:
        def recorded_frame(protocol: int, information: bytes) -> bytes:
            self._sent(protocol, information)
            return frame(protocol, information)

        return receive, recorded_frame

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]:
        return receive, send


class End(PppEnd):
    """A PppEnd in memory; what it sends is in `sent` (protocol, information) and in `line`."""

    def __init__(self, config: LinkConfig, ipcp: Ipcp | None, seed: int, taps: Sequence[Tap] = ()) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.events: list[Event] = []
        self.packets: list[bytes] = []
        self.longest = 0
        self.memory = MemoryPort()
        super().__init__(
            self.memory,
            Clockless(),
            Deadlines(),
            Dirty(),
            config,
            random=random.Random(seed),
            name="memory",
            on_event=self.events.append,
            on_hang_up=lambda reason, now: None,
            taps=(Recorder(self._note_sent), *taps),
        )
        self._ipcp = ipcp
        if ipcp is not None:
            self.attach(ipcp, lambda packet, now: self.packets.append(packet))

    @property
    def ipcp(self) -> Ipcp:
        assert self._ipcp is not None, "this end was made without IPCP"
        return self._ipcp

    def _note_sent(self, protocol: int, information: bytes) -> None:
        self.sent.append((protocol, information))
        self.longest = max(self.longest, len(information))

    @property
    def line(self) -> bytes:
        """The octets that nobody has taken yet."""
        self.writer.flush(0.0)
        return self.memory.written

    @line.setter
    def line(self, octets: bytes) -> None:
        self.memory.written = octets

    def take(self) -> bytes:
        line, self.line = self.line, b""
        return line

    def taken(self, protocol: int = 0xC021) -> list[bytes]:
        """What was sent with this protocol since the last call; the rest is forgotten too."""
        out = [information for number, information in self.sent if number == protocol]
        self.sent.clear()
        self.line = b""
        return out

    def feed(self, data: bytes, now: float) -> None:
        self.memory.arrived += data
        self.on_readable(now)

    def give(self, code: int, identifier: int, data: bytes = b"", now: float = 0.0, protocol: int = 0xC021) -> None:
        """A control packet of the peer."""
        self.link.receive(protocol.to_bytes(2, "big") + build(code, identifier, data), now)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


def server(config: LinkConfig | None = None, seed: int = 1, **changes: Any) -> End:
    lender = pool()
    ipcp = Ipcp.server(GATEWAY, lender_of(lambda wanted: lender.lease("line", wanted)), [DNS])
    return End(replace(config or LinkConfig(), **changes), ipcp, seed)


def client(config: LinkConfig | None = None, seed: int = 2, **changes: Any) -> End:
    return End(replace(config or LinkConfig(), **changes), Ipcp.client(), seed)


def gateway_end(port: Port, watcher: Watcher, dirty: Dirty, gone: list[str]) -> PppEnd:
    """A gateway's end on a real port: its guest is given the address GUEST. `gone` gets why the port ended."""

    def on_hang_up(reason: str, now: float) -> None:
        gone.append(reason)

    end = PppEnd(
        port,
        watcher,
        Deadlines(),
        dirty,
        LinkConfig(),
        random=random.Random(3),
        name=port.name,
        on_event=lambda event: None,
        on_hang_up=on_hang_up,
    )
    end.attach(Ipcp.server(GATEWAY, lender_of(lambda wanted: GUEST), [DNS]))
    return end


class Wire:
    """Carries octets between two ends, each way through `spoil`, and runs their clocks."""

    def __init__(self, a: End, b: End, spoil: Callable[[bytes], bytes] = lambda data: data) -> None:
        self.a, self.b, self.spoil = a, b, spoil
        self.now = 0.0
        self.rounds = 0

    def settle(self, limit: int = 500) -> None:
        """Carry until both are silent."""
        for _ in range(limit):
            to_b, to_a = self.a.take(), self.b.take()
            if not to_b and not to_a:
                return
            self.rounds += 1
            if to_b:
                self.b.feed(self.spoil(b"~" + to_b), self.now)
            if to_a:
                self.a.feed(self.spoil(b"~" + to_a), self.now)
        raise AssertionError("the ends never fall silent")

    def run(self, seconds: float) -> None:
        """Carry, and advance the clock from deadline to deadline, for so long."""
        end = self.now + seconds
        self.settle()
        while True:
            due = min(self.a.link.deadline, self.b.link.deadline)
            if due > end:
                break
            self.now = max(self.now, due)
            self.a.link.tick(self.now)
            self.b.link.tick(self.now)
            self.settle()
        self.now = end

    def up(self) -> None:
        self.a.link.up(self.now)
        self.b.link.up(self.now)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    return [split_protocol(frame) for frame in Deframer().feed(b"~" + data)]

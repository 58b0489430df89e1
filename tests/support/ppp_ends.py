"""Two ends of a PPP link joined by a wire of frames or of octets, on a clock of their own."""

import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from ipcp.pool import Pool
from ipcp.protocol import Ipcp
from lcp.events import Event
from lcp.hdlc import Deframer, Framer
from lcp.link import LinkConfig, LinkParameters, PppLink
from lcp.packet import build, split_protocol

GATEWAY = IPv4Address("10.0.2.2").packed
DNS = IPv4Address("10.0.2.3").packed
GUEST = IPv4Address("10.0.2.15").packed
NET = IPv4Network("10.0.2.0/24")


def pool() -> Pool:
    return Pool(NET, [GATEWAY, DNS], GUEST)


class End:
    """A PppLink with its framing; what it sends is in `sent` (protocol, information) and in `line`."""

    def __init__(self, config: LinkConfig, ipcp: Ipcp | None, seed: int) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.events: list[Event] = []
        self.packets: list[bytes] = []
        self.line = b""
        self.longest = 0
        self.framer = Framer()
        self.deframer = Deframer(config.mru)
        self.link = PppLink(config, self._emit, random=random.Random(seed), events=self.events.append)
        self.link.parameters = self._parameters
        self.link.on_ip = lambda packet, now: self.packets.append(packet)
        self.ipcp = ipcp
        if ipcp is not None:
            self.link.attach(0x8021, ipcp, 0x0021)

    def _emit(self, protocol: int, information: bytes) -> None:
        self.sent.append((protocol, information))
        self.longest = max(self.longest, len(information))
        self.line += self.framer.frame(protocol, information)

    def _parameters(self, parameters: LinkParameters) -> None:
        self.framer.configure(accm=parameters.tx_accm, acfc=parameters.acfc, pfc=parameters.pfc)
        self.deframer.accm = parameters.rx_accm

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
        for frame in self.deframer.feed(data):
            self.link.receive(frame, now)

    def give(self, code: int, identifier: int, data: bytes = b"", now: float = 0.0, protocol: int = 0xC021) -> None:
        """A control packet of the peer."""
        self.link.receive(protocol.to_bytes(2, "big") + build(code, identifier, data), now)

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def server(config: LinkConfig | None = None, seed: int = 1, **changes: object) -> End:
    lender = pool()
    ipcp = Ipcp.server(GATEWAY, lambda wanted: lender.lease("line", wanted), [DNS])
    return End(replace(config or LinkConfig(), **changes), ipcp, seed)  # type: ignore[arg-type]


def client(config: LinkConfig | None = None, seed: int = 2, **changes: object) -> End:
    return End(replace(config or LinkConfig(), **changes), Ipcp.client(), seed)  # type: ignore[arg-type]


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

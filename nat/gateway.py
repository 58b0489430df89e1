"""The network behind one gateway address: which guests are on it, and where a guest's destination leads.

In: lines of guests that come and go, packets through `Station.receive`.  Out: routes and verdicts.
It knows nothing of PPP, of ports or of the event loop; sockets come from `context.host`.
"""

import math
from collections.abc import Callable

from nat.context import Context
from nat.dns import Dns
from nat.forward import Forwards
from nat.line import Line
from nat.rules import DNS_PORT, Action, Direction, Question, deny
from nat.station import Station
from nat.stream import StreamSocket
from nat.tcp.flows import NoRoute
from nat.wire.ipv4 import DESTINATION, TCP, dotted
from nat.wire.udp import destination_port

# A guest that hung up finds its connections again for so long (the classic slirp keeps them as long).
KEEP_AWAY = 600.0


class Gateway:
    """`address`: the gateway's own, 4 octets; `dns`: the relay at its own address."""

    def __init__(self, context: Context, address: bytes, dns: Dns) -> None:
        self.context = context
        self.address = address
        self.dns = dns
        self.stations: dict[bytes, Station] = {}
        self.forwards = Forwards(context, self)

    # Guests

    def arrive(
        self,
        address: bytes,
        mtu: int,
        kick: Callable[[], None],
        now: float,
        who: str = "",
        *,
        hides_queue: bool = False,
    ) -> Station:
        """The guest `who` has this address now.  If the same guest had it before, its flows go on.  The flows of
        another guest are ended.

        Each connection is asked about at once; a guest that was rebooted in between answers with RST.
        """
        station = self.stations.get(address)
        if station is not None and station.who != who:
            self.detach(address, now)
            station = None
        if station is None:
            line = Line(address, mtu, kick, self.context.count)
            station = self.stations[address] = Station(self, self.context, line, who)
        line = station.line
        line.connect(mtu, kick)
        line.flight.reset(mtu, hidden=hides_queue)
        line.up = True
        self.context.deadlines.arm(station, math.inf)
        station.tcp.probe(now)
        return station

    def leave(self, station: Station, now: float) -> None:
        """The guest's link is down; its flows wait for it to come back.  A guest without any is forgotten at once: one
        that changes its address all the time must not fill the memory."""
        if self.stations.get(station.line.address) is not station:
            return  # another guest has the address, and the flows of this one have ended
        if not station.has_flows:
            self.detach(station.line.address, now)
            return
        station.line.up = False
        station.line.clear()
        station.line.disconnect()
        self.context.deadlines.arm(station, now + KEEP_AWAY)

    def detach(self, address: bytes, now: float) -> None:
        """The guest will not come back: end all its flows."""
        station = self.stations.pop(address, None)
        if station is not None:
            station.close(now)

    def line(self, address: bytes) -> Line | None:
        station = self.stations.get(address)
        return None if station is None else station.line

    def open_tcp(self, question: Question, stream: StreamSocket, now: float) -> bool:
        """A forward accepted `stream`, and the rules allowed it: connect it to the guest's port.  False: not possible,
        the caller closes it."""
        station = self.stations.get(question.guest)
        return station is not None and station.tcp.call(stream, self.address, question.port, now, question)

    # Destinations

    def is_own(self, address: bytes) -> bool:
        return address in (self.address, self.dns.address)

    def route_tcp(self, line: Line, destination: bytes, port: int) -> tuple[bytes, int] | NoRoute:
        """Where a guest's connection leads."""
        context = self.context
        to_dns = destination == self.dns.address
        if to_dns and port != DNS_PORT:
            context.count["tcp.refused"] += 1
            return NoRoute.REFUSED
        question = Question(line.address, context.network, Direction.OUT, TCP, destination, port)
        verdict = context.rules.decide(question)
        if verdict.action is not Action.ALLOW:
            deny(question, verdict, context.count, context.notify)
            return NoRoute.SILENT if verdict.action is Action.DROP else NoRoute.REFUSED
        if not to_dns:
            return verdict.address, port
        upstream = self.dns.tcp_upstream()
        if upstream is None:
            context.count["tcp.refused"] += 1
            return NoRoute.REFUSED
        return upstream

    def receive_udp(self, station: Station, packet: bytes, hlen: int, now: float) -> None:
        """A datagram of a guest that is not for another guest."""
        destination = packet[DESTINATION]
        if destination == self.dns.address and destination_port(packet, hlen) == DNS_PORT:
            self.dns.receive(station.line, station.errors, packet, hlen, now)
            return
        if destination == self.address and self.forwards.receive_udp(station.line, packet, hlen, now):
            return
        station.udp.receive(packet, hlen, now)

    def rules_changed(self, now: float) -> None:
        """`rules.revision` is another: the connections that are not allowed any more end now.  Everything else asks
        again by itself when it has a packet."""
        for station in self.stations.values():
            station.tcp.ask_again(now)

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data."""
        return {
            "network": self.context.network,
            "address": dotted(self.address),
            "dns": dotted(self.dns.address),
            "dns_outstanding": len(self.dns),
            "forwards": self.forwards.status(),
            "stations": [station.status(now) for station in self.stations.values()],
        }

    def close(self, now: float) -> None:
        self.forwards.close()
        self.dns.close(now)
        for address in list(self.stations):
            self.detach(address, now)

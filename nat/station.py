"""Everything the NAT keeps for one guest, and the way of a packet that comes from it.

In: IP packets as the line delivers them.  Out: packets on lines, octets in streams and in
the host's sockets.
`receive` checks what RFC 791 and RFC 1122 section 3.2.1 ask for, puts fragments together, and hands the packet to
another guest, to the gateway's own services, or to the flows that lead to the outside.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Protocol

from nat.context import Context
from nat.echo import EchoFlows
from nat.fragment import Reassembler, deliver
from nat.icmp import ErrorSender, echo_reply
from nat.line import Line
from nat.rules import Action, Asked, Direction, Question
from nat.tcp.flows import NoRoute, TcpFlows
from nat.udp import UdpFlows
from nat.wire.icmp import (
    FRAGMENTATION_NEEDED,
    PROTOCOL_UNREACHABLE,
    REASSEMBLY_EXCEEDED,
    TIME_EXCEEDED,
    TTL_EXCEEDED,
    UNREACHABLE,
)
from nat.wire.ipv4 import (
    DONT_FRAGMENT,
    ICMP,
    IPV4,
    MORE_FRAGMENTS,
    OFFSET_MASK,
    TCP,
    UDP,
    dotted,
    fragment_field,
    header_length,
    one_hop_further,
    ports,
    without_options,
)

FLOWS_TOLD_MOST = 1000
"""Flows of a guest that its status lists."""
_FRAGMENT = MORE_FRAGMENTS | OFFSET_MASK


class _Flow(Protocol):
    def status(self, now: float) -> dict[str, object]: ...


class _Gateway(Protocol):
    """What a station asks of the network around it, nat.gateway.Gateway."""

    address: bytes

    @property
    def stations(self) -> Mapping[bytes, "Station"]: ...
    def is_own(self, address: bytes) -> bool: ...
    def route_tcp(self, line: Line, destination: bytes, port: int) -> tuple[bytes, int] | NoRoute: ...
    def receive_udp(self, station: "Station", packet: bytes, hlen: int, now: float) -> None: ...
    def detach(self, address: bytes, now: float) -> None: ...


class Station:
    """One guest: its line, its flows.  Its deadline is the end of its absence."""

    def __init__(self, gateway: _Gateway, context: Context, line: Line, who: str) -> None:
        self.deadline = self.queued = math.inf
        self.line = line
        self.who = who
        self.context = context
        self.errors = ErrorSender(context, line, gateway.address)
        self.tcp = TcpFlows(context, line, gateway.route_tcp, self.errors)
        self.udp = UdpFlows(context, line, gateway.address, self.errors)
        self.echo = EchoFlows(context, line, gateway.address, self.errors)
        self._reassembler = Reassembler(context, self._reassembly_expired)
        self.across = Asked(context.rules)  # what it may say to other guests, by protocol, address and port
        self._gateway = gateway
        self._stations = gateway.stations

    def receive(self, packet: bytes, now: float) -> None:
        """One packet of the guest."""
        size = len(packet)
        if size < 20:
            self.context.count["ip.short"] += 1
            return
        first, _, total, _, fragment, ttl, protocol, _, source, destination = IPV4.unpack_from(packet)
        hlen = 20
        if first != 0x45 or total != size:
            hlen = (first & 0x0F) * 4
            if first >> 4 != 4 or hlen < 20 or total < hlen or total > size:
                self.context.count["ip.bad_header"] += 1
                return
            packet = packet[:total]  # a line may pad
        if int.from_bytes(packet[:hlen], "big") % 0xFFFF:
            self.context.count["ip.bad_checksum"] += 1
            return
        if source != self.line.address or destination == source:
            # Spoofed, or a LAND packet (CVE-1999-0016).
            self.context.count["ip.bad_source" if source != self.line.address else "ip.land"] += 1
            return
        if fragment & _FRAGMENT:
            whole = self._reassembler.feed(packet, hlen, now)
            if whole is None:
                return
            packet, hlen = whole, header_length(whole)
        if destination in self._stations:
            self._to_guest(packet, hlen, protocol, destination, ttl, now)
        elif protocol == TCP:
            if hlen > 20:  # TCP need not step over options, which nothing here acts on (RFC 1122 section 3.2.1.8)
                packet = without_options(packet, hlen)
            if len(packet) < 40:
                self.context.count["tcp.short"] += 1
                return
            self.tcp.receive(packet, now)
        elif protocol == UDP:
            self._gateway.receive_udp(self, packet, hlen, now)
        elif protocol == ICMP:
            self._receive_icmp(packet, hlen, destination, now)
        else:
            self.context.count["ip.unknown_protocol"] += 1
            self.errors.send(packet, hlen, UNREACHABLE, PROTOCOL_UNREACHABLE, now)

    def _receive_icmp(self, packet: bytes, hlen: int, destination: bytes, now: float) -> None:
        if not self._gateway.is_own(destination):
            self.echo.receive(packet, hlen, now)
            return
        answer = echo_reply(packet, hlen)
        if answer is None:
            self.context.count["icmp.not_an_echo"] += 1
        else:
            deliver(self.line, answer, "icmp.echo")

    def _to_guest(self, packet: bytes, hlen: int, protocol: int, destination: bytes, ttl: int, now: float) -> None:
        """Route to another guest (RFC 1812 section 5.3.1: one hop less)."""
        if not self._may_cross(packet, hlen, protocol, destination, now):
            return
        if ttl <= 1:
            self.errors.send(packet, hlen, TIME_EXCEEDED, TTL_EXCEEDED, now)
            return
        line = self._stations[destination].line
        if len(packet) > line.mtu and fragment_field(packet) & DONT_FRAGMENT:
            rest = b"\0\0" + line.mtu.to_bytes(2, "big")  # RFC 1191 section 4
            self.errors.send(packet, hlen, UNREACHABLE, FRAGMENTATION_NEEDED, now, rest=rest)
            return
        deliver(line, one_hop_further(packet, hlen), self.line.address)

    def _may_cross(self, packet: bytes, hlen: int, protocol: int, destination: bytes, now: float) -> bool:
        """Whether the rules let the packet go to another guest; they are asked once a flow, and answers belong to the
        flow of what they answer."""
        kind = bytes((protocol,))
        source_port, port = ports(packet, hlen, protocol)
        key = kind + destination + port
        back = kind + self.line.address + source_port
        verdict = self.across.remembered(key, self._stations[destination].across, back)
        if verdict is not None and verdict.action is Action.ALLOW:
            return True
        me, network = self.line.address, self.context.network
        question = Question(me, network, Direction.ACROSS, protocol, destination, int.from_bytes(port, "big"))
        verdict = verdict or self.across.ask(key, question)
        if verdict.action is Action.ALLOW:
            return True
        self.errors.deny(question, verdict, packet, hlen, now)
        return False

    def _reassembly_expired(self, first_fragment: bytes, now: float) -> None:
        self.errors.send(first_fragment, header_length(first_fragment), TIME_EXCEEDED, REASSEMBLY_EXCEEDED, now)

    @property
    def has_flows(self) -> bool:
        return bool(self.tcp.flows or self.tcp.connecting or len(self.udp) or len(self.echo))

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  Times in seconds, sizes in octets; `more_flows` are not listed."""
        line, tcp = self.line, self.tcp
        flows: Iterable[_Flow] = islice(chain(tcp.flows.values(), self.udp, self.echo), FLOWS_TOLD_MOST)
        return {
            "guest": dotted(line.address),
            "who": self.who,
            "up": line.up,
            "mtu": line.mtu,
            "queued": line.queued,
            "connecting": len(tcp.connecting),
            "flows": [flow.status(now) for flow in flows],
            "more_flows": max(0, len(tcp.flows) + len(self.udp) + len(self.echo) - FLOWS_TOLD_MOST),
        }

    def tick(self, now: float) -> None:
        """The guest has been away for too long."""
        self._gateway.detach(self.line.address, now)

    def close(self, now: float) -> None:
        """The guest is gone for good: let go of every socket."""
        self.tcp.close(now)
        self.udp.close(now)
        self.echo.close(now)
        self._reassembler.close()
        self.line.up = False
        self.line.clear()
        self.context.deadlines.arm(self, math.inf)

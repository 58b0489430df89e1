"""All TCP connections of one guest: which flow a segment belongs to, and how flows begin and end.

In: segments (IPv4 packets without options, at least 40 octets, lengths verified), streams accepted for a forward.
Out: packets on the guest's line; flows put themselves into `context.dirty`.  `route` decides where a destination leads.
Bounds: Limits.tcp_flows and Limits.tcp_connecting; beyond them a SYN is dropped and counted, and the guest tries
again by itself.
"""

import errno
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import NamedTuple

from nat.context import Context
from nat.host import EXHAUSTED
from nat.icmp import ErrorSender
from nat.line import Line
from nat.rules import Action, Question
from nat.stream import StreamSocket
from nat.tcp.flow import TcpFlow
from nat.tcp.state import SYN_RCVD, TIME_WAIT
from nat.wire.checksum import sum16
from nat.wire.icmp import HOST_UNREACHABLE, NETWORK_UNREACHABLE, UNREACHABLE
from nat.wire.ipv4 import TCP
from nat.wire.tcp import (
    ACK,
    FIN,
    FLAGS,
    KEY,
    OPTIONS_AT,
    RST,
    SEGMENT,
    SEGMENT_AT,
    SEQUENCE,
    SEQUENCE_MASK,
    SUMMED,
    SYN,
    build_reset,
    ends,
    headers_length,
    parse_syn_options,
)

# The guest is not told of these: it repeats its SYN, and the host may have recovered by then.
_HOST_IS_SHORT = EXHAUSTED | {errno.EAGAIN, errno.EADDRNOTAVAIL}
_UNREACHABLE = {errno.ENETUNREACH: NETWORK_UNREACHABLE, errno.EHOSTUNREACH: HOST_UNREACHABLE}

# Where a guest's connection to (address, port) leads: the host's address (4 or 16 octets) and port, or the answer
# that there is none.
Route = Callable[[Line, bytes, int], "tuple[bytes, int] | NoRoute"]


class NoRoute(Enum):
    REFUSED = "answered with RST"
    SILENT = "not answered: a broadcast or multicast (RFC 9293 section 3.9.2.3, MUST-57)"


class Connecting(NamedTuple):
    """A connection that the guest asked for and the host has not got yet: only the guest's SYN is kept."""

    stream: StreamSocket
    syn: bytes


class TcpFlows:
    """The connections of the guest on `line`."""

    def __init__(self, context: Context, line: Line, route: Route, errors: ErrorSender) -> None:
        self.context = context
        self.line = line
        self.flows: dict[bytes, TcpFlow] = {}  # by the guest's source, destination and ports as they stand on the wire
        self.connecting: dict[bytes, Connecting] = {}
        self._called: dict[bytes, Question] = {}  # what the rules were asked of the flows that a forward has opened
        self._answered: list[bytes] = []  # keys of flows in SYN-RECEIVED, and of some that were
        self._route = route
        self._errors = errors
        self._next_port = 49152 + context.random.randrange(16384)

    def receive(self, packet: bytes, now: float) -> None:
        """One segment of the guest."""
        if (sum16(packet[SUMMED]) + TCP + len(packet) - 20) % 0xFFFF:
            self.context.count["tcp.bad_checksum"] += 1
            return
        key = packet[KEY]
        flow = self.flows.get(key)
        if flow is not None:
            if flow.state is not TIME_WAIT or not self._begins_anew(flow, packet, now):
                flow.receive(packet, now)
                return
        elif key in self.connecting and not self._restarts(key, packet):
            return
        self._open(packet, now)

    def _begins_anew(self, flow: TcpFlow, packet: bytes, now: float) -> bool:
        """Whether a segment for a flow in TIME-WAIT is a new SYN (RFC 9293 section 3.6.1, MAY-2)."""
        ahead = (SEGMENT.unpack_from(packet, SEGMENT_AT)[0] - flow.receiver.rcv_nxt) & SEQUENCE_MASK
        if packet[FLAGS] & (SYN | ACK | RST) != SYN or not 0 < ahead < 1 << 31:
            return False
        flow.free(now)
        return True

    def _restarts(self, key: bytes, packet: bytes) -> bool:
        """A segment while the host connects.  True: it is a SYN unlike the one before, which it replaces."""
        flags = packet[FLAGS]
        if flags & RST:
            self.context.count["tcp.reset_by_guest"] += 1
        elif flags & (SYN | ACK) != SYN or packet[SEQUENCE] == self.connecting[key].syn[SEQUENCE]:
            return False  # the guest repeats itself; nothing else can be meant
        self._give_up(key)
        return not flags & RST

    def _give_up(self, key: bytes) -> None:
        self.connecting.pop(key).stream.close()

    def _open(self, packet: bytes, now: float) -> None:
        """A segment that belongs to no flow: a SYN opens one, anything else is told that there is none."""
        count, limits = self.context.count, self.context.limits
        if not OPTIONS_AT <= headers_length(packet) <= len(packet):
            count["tcp.bad_offset"] += 1
            return
        key = packet[KEY]
        _, destination, guest_port, port = ends(key)
        if not guest_port or not port:
            count["tcp.port_zero"] += 1
            return
        if packet[FLAGS] & (SYN | ACK | RST | FIN) != SYN:
            count["tcp.stray_reset" if packet[FLAGS] & RST else "tcp.no_flow"] += 1
            self._refuse(packet)
            return
        if len(self.flows) >= limits.tcp_flows or self._half_open() >= limits.tcp_connecting:
            count["tcp.too_many"] += 1
            return
        target = self._route(self.line, destination, port)
        if isinstance(target, NoRoute):
            if target is NoRoute.REFUSED:
                self._refuse(packet)
            return
        try:
            stream = self.context.host.connect_tcp(*target)
        except OSError as error:
            self._not_connected(packet, error.errno or 0, now)
            return
        self.connecting[key] = Connecting(stream, packet)
        stream.watch_write(partial(self._connected, key))

    def _half_open(self) -> int:
        """Connections that the host or the guest has not answered yet; exact only once there are many."""
        number = len(self.connecting) + len(self._answered)
        if number >= self.context.limits.tcp_connecting:
            flows = self.flows
            self._answered = [key for key in self._answered if key in flows and flows[key].state is SYN_RCVD]
        return len(self.connecting) + len(self._answered)

    def _connected(self, key: bytes, now: float) -> None:
        """The host's connection has succeeded or failed."""
        stream, syn = self.connecting[key]
        failure = stream.connect_error()
        if failure == errno.EINPROGRESS:
            return
        del self.connecting[key]
        if failure:
            stream.close()
            self._not_connected(syn, failure, now)
            return
        stream.unwatch_write()
        sequence, _, _, window, _, _ = SEGMENT.unpack_from(syn, SEGMENT_AT)
        flow = self.flows[key] = TcpFlow(self.context, self.line, key, stream, self._ended)
        self._answered.append(key)
        flow.answer(sequence, window, parse_syn_options(syn[OPTIONS_AT : headers_length(syn)]), now)

    def _not_connected(self, packet: bytes, failure: int, now: float) -> None:
        """Tell the guest why: RST for a refusal or a timeout, ICMP and RST where nothing is reachable."""
        if failure in _HOST_IS_SHORT:
            self.context.count["tcp.host_is_short"] += 1
            return
        self.context.count["tcp.not_connected"] += 1
        code = _UNREACHABLE.get(failure)
        if code is not None:
            self._errors.send(packet, 20, UNREACHABLE, code, now)
        self._refuse(packet)

    def _refuse(self, packet: bytes) -> None:
        answer = build_reset(packet, 20)
        if answer is not None:
            self.line.send(answer, "tcp.reset")

    def call(
        self, stream: StreamSocket, local: bytes, guest_port: int, now: float, question: Question | None = None
    ) -> bool:
        """Open a connection to the guest's port for a stream that a forward accepted.  False: no room for it.
        `question`: what the rules allowed, to be asked again when they change."""
        if len(self.flows) >= self.context.limits.tcp_flows:
            self.context.count["tcp.too_many"] += 1
            return False
        guest = self.line.address
        for _ in range(16384):
            self._next_port = 49152 + (self._next_port + 1) % 16384
            ports = guest_port.to_bytes(2, "big") + self._next_port.to_bytes(2, "big")
            key = guest + local + ports
            if key not in self.flows:
                flow = self.flows[key] = TcpFlow(self.context, self.line, key, stream, self._ended)
                if question is not None:
                    self._called[key] = question
                flow.call(now)
                return True
        self.context.count["tcp.too_many"] += 1
        return False

    def ask_again(self, now: float) -> None:
        """The rules have changed: end what they do not allow any more, at both ends."""
        for key in [key for key in self.connecting if not self._is_allowed(key)]:
            self._refuse(self.connecting[key].syn)
            self._give_up(key)
        for flow in [flow for key, flow in self.flows.items() if not self._is_allowed(key)]:
            flow.reset(now)

    def _is_allowed(self, key: bytes) -> bool:
        question = self._called.get(key)
        if question is not None:
            return self.context.rules.decide(question).action is Action.ALLOW
        _, destination, _, port = ends(key)
        return not isinstance(self._route(self.line, destination, port), NoRoute)

    def probe(self, now: float) -> None:
        """The guest's link came up again: ask which of its connections it still knows."""
        for flow in list(self.flows.values()):
            flow.probe(now)

    def _ended(self, flow: TcpFlow) -> None:
        """A flow has let go of everything."""
        if self.flows.get(flow.key) is flow:
            del self.flows[flow.key]
            self._called.pop(flow.key, None)

    def close(self, now: float) -> None:
        """The guest is gone for good: reset every host connection."""
        for key in list(self.connecting):
            self._give_up(key)
        for flow in list(self.flows.values()):
            flow.abort(now)

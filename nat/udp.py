"""UDP through the host: one socket for each source port of the guest, whatever it talks to (RFC 4787 REQ-1).

In: UDP packets from one guest; datagrams and errors from the host's sockets.  Out: datagrams to the host's
sockets; UDP packets and ICMP errors on the guest's line.  It knows nothing of DNS or forwards, which come first.

Filtering is address-dependent (RFC 4787 REQ-8): a datagram reaches the guest if its sender has an address to
which the guest has sent from that port.  Endpoint-independent filtering would let anybody on the host's network,
and any process on the host itself, talk to old guests that never expected it; hole punching, which games use,
works with this one, and for a server there is --forward.
"""

import math
from collections.abc import Iterator
from errno import EAGAIN, EINTR, EMSGSIZE
from itertools import islice
from socket import IPPROTO_IP, inet_aton, inet_ntoa, socket
from typing import Final, NamedTuple

from nat.context import Context
from nat.fragment import deliver
from nat.host import EXHAUSTED, IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_TTL, ORIGIN_LOCAL
from nat.icmp import ErrorSender, unreachable_code
from nat.line import Line
from nat.rules import Action, Direction, Question, Verdict
from nat.wire.icmp import TIME_EXCEEDED, TTL_EXCEEDED, UNREACHABLE
from nat.wire.ipv4 import DESTINATION, DONT_FRAGMENT, TTL, UDP, dotted, fragment_field, header_length, quoted
from nat.wire.udp import DATAGRAM_MOST, build_udp, parse

BATCH: Final = 32  # datagrams read in one wake-up
PEERS_MOST: Final = 64  # for each flow: destinations of which the last header is kept, to quote it in errors
TOLD_MOST: Final = 8  # destinations of a flow that its status names
CONTACTS_MOST: Final = 256  # for each flow: addresses from which answers are let in
ASKED: Final = 1.0
"""Seconds for which a verdict holds: the host's own addresses change without notice, so that the rules are asked again
though they are the same."""
_DNS: Final = 53


class _Peer:
    """A destination of a flow: where its datagrams really go, and the last header for quoting."""

    __slots__ = ("target", "quote", "until")

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.quote = b""
        self.until = -math.inf  # then the rules are asked again


class _Contact(NamedTuple):
    """An address from which answers are let in: what the rules were asked and said last, and until when that holds."""

    question: Question
    verdict: Verdict
    until: float


class UdpFlow:
    """One source port of the guest and its socket."""

    __slots__ = ("flows", "port", "sock", "key", "peers", "contacts", "revision", "ttl", "dont_fragment", "used",
                 "idle", "deadline", "queued")  # fmt: skip

    def __init__(self, flows: "UdpFlows", port: int, sock: socket) -> None:
        self.flows = flows
        self.port = port
        self.sock = sock
        self.key = ("udp", port)
        self.peers: dict[tuple[bytes, int], _Peer] = {}  # by address and port
        self.contacts: dict[bytes, _Contact] = {}  # by address, as the guest knows it
        self.revision = flows.rules.revision  # of the rules that allowed them
        self.ttl = 0
        self.dont_fragment = False
        self.used = 0.0
        self.idle = 0.0
        self.deadline = math.inf
        self.queued = math.inf

    def on_read(self, now: float) -> None:
        """The socket has datagrams, or errors."""
        flows = self.flows
        if self.revision != flows.rules.revision:
            flows.ask_again(self)
        contacts = self.contacts
        for turn in range(BATCH):
            try:
                payload, (host, port) = self.sock.recvfrom(DATAGRAM_MOST)
            except BlockingIOError:
                if turn == 0:  # woken by the error queue alone
                    flows.drain_errors(self, now)
                return
            except OSError:  # an error that is waiting in the queue too
                flows.drain_errors(self, now)
                continue
            address = flows.rules.guest_address(inet_aton(host))
            if address not in contacts:
                flows.count["udp.unsolicited"] += 1
                continue
            self.used = now
            flows.answer(self, address, port, payload)

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  Times in seconds."""
        return {
            "protocol": "udp",
            "guest_port": self.port,
            "outside": [f"{dotted(address)}:{port}" for address, port in islice(self.peers, TOLD_MOST)],
            "more_outside": max(0, len(self.peers) - TOLD_MOST),
            "idle": now - self.used,
        }

    def tick(self, now: float) -> None:
        end = self.used + self.idle
        if now < end:
            self.flows.deadlines.arm(self, end)
        else:
            self.flows.count["udp.idle"] += 1
            self.flows.drop(self)


class UdpFlows:
    """All UDP flows of one guest."""

    def __init__(self, context: Context, line: Line, gateway: bytes, errors: ErrorSender) -> None:
        self.count = context.count
        self.deadlines = context.deadlines
        self._host = context.host
        self.rules = context.rules
        self._network = context.network
        self._limits = context.limits
        self._line = line
        self._gateway = gateway
        self._errors = errors
        self._identification = context.random.getrandbits(16)
        self._flows: dict[int, UdpFlow] = {}  # the least recently used first

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[UdpFlow]:
        return iter(self._flows.values())

    def receive(self, packet: bytes, hlen: int, now: float) -> None:
        """A UDP packet from the guest to the outside."""
        parsed = parse(packet, hlen, self.count)
        if parsed is None:
            return
        port, destination_port, payload = parsed
        destination = packet[DESTINATION]
        flow = self._flows.get(port)
        peer = None if flow is None else flow.peers.get((destination, destination_port))
        if flow is None or peer is None or now >= peer.until or flow.revision != self.rules.revision:
            admitted = self._admit(flow, port, destination, destination_port, packet, hlen, now)
            if admitted is None:
                return
            flow, peer = admitted
        elif flow.used != now:
            self._flows[port] = self._flows.pop(port)
        ttl = packet[TTL]
        if destination != self._gateway:
            if ttl <= 1:
                self.count["udp.ttl_exceeded"] += 1
                self._errors.send(packet, hlen, TIME_EXCEEDED, TTL_EXCEEDED, now)
                return
            ttl -= 1
        flow.used = now
        peer.quote = quoted(packet, hlen)
        self._send(flow, peer, payload, ttl, bool(fragment_field(packet) & DONT_FRAGMENT), now)

    def answer(self, flow: UdpFlow, address: bytes, port: int, payload: bytes) -> None:
        """A datagram that came back: to the guest, in fragments if it is larger than its MTU."""
        self._identification = (self._identification + 1) & 0xFFFF
        packet = build_udp(address, port, self._line.address, flow.port, payload, identification=self._identification)
        deliver(self._line, packet, flow.key)

    def drain_errors(self, flow: UdpFlow, now: float, sending: _Peer | None = None) -> bool:
        """Pass on what the socket's error queue holds.  True if anything was there.

        sending: whom the host's own errors are about; they do not name the port on a socket that is not connected.
        """
        some = False
        for _ in range(BATCH):
            fault = self._host.read_error(flow.sock)
            if fault is None:
                break
            some = True
            address = self.rules.guest_address(fault.destination)
            peer = flow.peers.get((address, fault.port))
            if peer is None and fault.origin == ORIGIN_LOCAL:
                peer = sending
            if peer is None or not peer.quote:
                self.count["udp.error_unmatched"] += 1
                continue
            self.count["udp.error"] += 1
            self._errors.relay(peer.quote, header_length(peer.quote), fault, now)
        return some

    def ask_again(self, flow: UdpFlow) -> None:
        """The rules have changed: whom they do not allow any more is no contact any more."""
        flow.revision = self.rules.revision
        for address, contact in list(flow.contacts.items()):
            if self.rules.decide(contact.question).action is not Action.ALLOW:
                del flow.contacts[address]
        for peer in flow.peers.values():
            peer.until = -math.inf

    def drop(self, flow: UdpFlow) -> None:
        del self._flows[flow.port]
        self.deadlines.arm(flow, math.inf)
        self._host.unwatch_read(flow.sock.fileno())
        flow.sock.close()

    def close(self, now: float) -> None:
        for flow in list(self._flows.values()):
            self.drop(flow)

    def _admit(
        self,
        flow: UdpFlow | None,
        port: int,
        destination: bytes,
        destination_port: int,
        packet: bytes,
        hlen: int,
        now: float,
    ) -> tuple[UdpFlow, _Peer] | None:
        """The flow and the peer for a destination that is new or must be asked about again; None when denied."""
        if flow is not None and flow.revision != self.rules.revision:
            self.ask_again(flow)
        question = Question(self._line.address, self._network, Direction.OUT, UDP, destination, destination_port)
        contact = None if flow is None else flow.contacts.get(destination)
        if flow is None or contact is None or now >= contact.until or contact.question.port != destination_port:
            verdict = self.rules.decide(question)
            if verdict.action is not Action.ALLOW:
                self._errors.deny(question, verdict, packet, hlen, now)
                return None
            if flow is None:
                flow = self._open(port, now)
                if flow is None:
                    return None
            flow.contacts.pop(destination, None)
            if len(flow.contacts) >= CONTACTS_MOST:
                del flow.contacts[next(iter(flow.contacts))]
            contact = flow.contacts[destination] = _Contact(question, verdict, now + ASKED)
        key = destination, destination_port
        peer = flow.peers.pop(key, None) or _Peer((inet_ntoa(contact.verdict.address), destination_port))
        if len(flow.peers) >= PEERS_MOST:
            del flow.peers[next(iter(flow.peers))]
        flow.peers[key] = peer
        peer.until = contact.until
        # Resolvers take a new port for each query: those flows need not be kept for long.
        flow.idle = max(flow.idle, self._limits.dns_idle if destination_port == _DNS else self._limits.udp_idle)
        self._flows[port] = self._flows.pop(port)
        if flow.deadline == math.inf or flow.deadline > now + flow.idle:
            self.deadlines.arm(flow, now + flow.idle)
        return flow, peer

    def _open(self, port: int, now: float) -> UdpFlow | None:
        if len(self._flows) >= self._limits.udp_flows:
            self._evict()
        sock = self._socket()
        if sock is None and self._evict():
            sock = self._socket()
        if sock is None:
            self.count["udp.no_socket"] += 1
            return None
        flow = self._flows[port] = UdpFlow(self, port, sock)
        self._host.watch_read(sock.fileno(), flow.on_read)
        self.count["udp.opened"] += 1
        return flow

    def _socket(self) -> socket | None:
        try:
            return self._host.udp()
        except OSError:
            return None

    def _evict(self) -> bool:
        for flow in self._flows.values():
            self.count["udp.evicted"] += 1
            self.drop(flow)
            return True
        return False

    def _send(self, flow: UdpFlow, peer: _Peer, payload: bytes, ttl: int, dont_fragment: bool, now: float) -> None:
        sock = flow.sock
        for attempt in (0, 1):
            try:
                if ttl != flow.ttl:
                    sock.setsockopt(IPPROTO_IP, IP_TTL, ttl)
                    flow.ttl = ttl
                if dont_fragment != flow.dont_fragment:
                    mode = IP_PMTUDISC_DO if dont_fragment else IP_PMTUDISC_DONT
                    sock.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, mode)
                    flow.dont_fragment = dont_fragment
                sock.sendto(payload, peer.target)
                return
            except OSError as error:
                errno = error.errno or 0
            # Either this datagram failed, or the socket reports an earlier one's error instead of sending it.
            reported = self.drain_errors(flow, now, peer)
            if not reported or errno == EMSGSIZE or attempt:
                self._failed(peer, errno, now, reported=reported)
                return

    def _failed(self, peer: _Peer, errno: int, now: float, *, reported: bool) -> None:
        if errno in EXHAUSTED or errno in (EAGAIN, EINTR):
            self.count["udp.host_busy"] += 1
            return
        self.count["udp.send_failed"] += 1
        code = unreachable_code(errno)
        if code is not None and not reported:
            hlen = header_length(peer.quote)
            self._errors.send(peer.quote, hlen, UNREACHABLE, code, now)

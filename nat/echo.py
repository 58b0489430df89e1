"""Echo requests of one guest, carried by the host's own ICMP sockets (RFC 5508 section 3).

In: ICMP packets from the guest to the outside; replies and errors from the host's sockets.  Out: the same, with
identifiers mapped.  A reply is passed on only if the guest has asked: by address, identifier and sequence number.

A ping socket (the kernel keeps its identifier apart from all others) serves one identifier of the guest; where
only raw sockets are permitted, one of them serves the whole guest.  Where neither is, the guest is told that it
is prohibited, and the person who runs the gateway how to permit it: no reply is ever made up.
"""

import math
from collections.abc import Iterator
from errno import EAGAIN, EINTR, EMSGSIZE
from functools import partial
from itertools import islice
from socket import CMSG_SPACE, IPPROTO_IP, inet_aton, inet_ntoa, socket
from sys import byteorder
from typing import Final, NamedTuple

from nat.context import Context
from nat.fragment import deliver
from nat.host import EXHAUSTED, IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_TTL, ORIGIN_ICMP, Fault
from nat.icmp import ErrorSender, unreachable_code
from nat.line import Line
from nat.rules import Action, Direction, Question
from nat.udp import ASKED, TOLD_MOST
from nat.wire.icmp import (
    CODE,
    ECHO,
    ECHO_REPLY,
    HEADER,
    IDENTIFIER,
    KIND,
    NEXT_MTU,
    PAYLOAD,
    PROHIBITED,
    SEQUENCE,
    TIME_EXCEEDED,
    TTL_EXCEEDED,
    UNREACHABLE,
    build_icmp,
    build_message,
    is_echo,
    is_sound,
)
from nat.wire.ipv4 import (
    DEFAULT_TTL,
    DESTINATION,
    DONT_FRAGMENT,
    ICMP,
    PACKET_MOST,
    PROTOCOL,
    SOURCE,
    TTL,
    dotted,
    fragment_field,
    header_length,
    quoted,
)

BATCH: Final = 32  # messages read in one wake-up
OUTSTANDING_MOST: Final = 256  # for each identifier: requests whose answers are let in
_REFUSED: Final = "icmp.no_ping_socket"
_HOW_TO: Final = (
    "A guest's ping cannot leave this host: neither ping sockets nor raw sockets are permitted to this process. "
    'To permit ping sockets: sysctl -w net.ipv4.ping_group_range="0 2147483647"'
)


class _Contact(NamedTuple):
    """An address that may be asked: which the host's is, and until when and under which rules that holds."""

    target: bytes
    until: float
    revision: int


class EchoFlow:
    """One identifier of the guest."""

    __slots__ = ("flows", "guest_id", "wire_id", "sock", "raw", "asked", "contacts", "used",
                 "deadline", "queued")  # fmt: skip

    def __init__(self, flows: "EchoFlows", guest_id: bytes, wire_id: bytes, sock: socket, *, raw: bool) -> None:
        self.flows = flows
        self.guest_id = guest_id
        self.wire_id = wire_id
        self.sock = sock
        self.raw = raw  # the socket is the guest's, not this flow's
        self.asked: dict[bytes, tuple[bytes, int]] = {}  # address + sequence -> (header for quoting, length)
        self.contacts: dict[bytes, _Contact] = {}  # by address, as the guest knows it
        self.used = 0.0
        self.deadline = math.inf
        self.queued = math.inf

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  Times in seconds."""
        return {
            "protocol": "icmp",
            "identifier": int.from_bytes(self.guest_id, "big"),
            "outside": [dotted(address) for address in islice(self.contacts, TOLD_MOST)],
            "more_outside": max(0, len(self.contacts) - TOLD_MOST),
            "idle": now - self.used,
        }

    def tick(self, now: float) -> None:
        end = self.used + self.flows.idle
        if now < end:
            self.flows.deadlines.arm(self, end)
        else:
            self.flows.drop(self)


class EchoFlows:
    """All echo flows of one guest, by its identifiers."""

    def __init__(self, context: Context, line: Line, gateway: bytes, errors: ErrorSender) -> None:
        self.deadlines = context.deadlines
        self.idle = context.limits.echo_idle
        self._count = context.count
        self._host = context.host
        self._rules = context.rules
        self._network = context.network
        self._limit = context.limits.echo_flows
        self._notify = context.notify
        self._random = context.random
        self._line = line
        self._gateway = gateway
        self._errors = errors
        self._identification = context.random.getrandbits(16)
        self._flows: dict[bytes, EchoFlow] = {}  # by guest_id, the least recently used first
        self._by_wire_id: dict[bytes, EchoFlow] = {}  # those on the raw socket
        self._raw: socket | None = None

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[EchoFlow]:
        return iter(self._flows.values())

    def receive(self, packet: bytes, hlen: int, now: float) -> None:
        """An ICMP packet from the guest to the outside."""
        message = packet[hlen:]
        if len(message) < HEADER:
            self._count["icmp.short"] += 1
            return
        if not is_sound(message):
            self._count["icmp.bad_checksum"] += 1
            return
        if not is_echo(message, ECHO):
            self._count["icmp.not_an_echo"] += 1
            return
        destination = packet[DESTINATION]
        ttl = packet[TTL]
        flow = self._flows.get(message[IDENTIFIER])
        contact = None if flow is None else flow.contacts.get(destination)
        if flow is None or contact is None or now >= contact.until or contact.revision != self._rules.revision:
            admitted = self._admit(flow, packet, hlen, now)
            if admitted is None:
                return
            flow, contact = admitted
        if destination != self._gateway:
            if ttl <= 1:
                self._count["icmp.ttl_exceeded"] += 1
                self._errors.send(packet, hlen, TIME_EXCEEDED, TTL_EXCEEDED, now)
                return
            ttl -= 1
        flow.used = now
        target = contact.target
        asked = flow.asked
        sequence = message[SEQUENCE]
        key = target + sequence
        asked.pop(key, None)
        if len(asked) >= OUTSTANDING_MOST:
            del asked[next(iter(asked))]
        asked[key] = (quoted(packet, hlen), len(message))
        message = build_message(ECHO, 0, flow.wire_id + sequence, message[PAYLOAD])
        self._send(flow, message, target, ttl, packet, hlen, now)

    def close(self, now: float) -> None:
        for flow in list(self._flows.values()):
            self.drop(flow)

    def drop(self, flow: EchoFlow) -> None:
        del self._flows[flow.guest_id]
        self.deadlines.arm(flow, math.inf)
        if flow.raw:
            del self._by_wire_id[flow.wire_id]
            if self._by_wire_id:
                return
            self._raw = None
        self._host.unwatch_read(flow.sock.fileno())
        flow.sock.close()

    # Toward the outside

    def _admit(self, flow: EchoFlow | None, packet: bytes, hlen: int, now: float) -> tuple[EchoFlow, _Contact] | None:
        """The flow and the contact for a destination that is new or must be asked about again; None when it cannot
        be."""
        destination = packet[DESTINATION]
        question = Question(self._line.address, self._network, Direction.OUT, ICMP, destination, 0)
        verdict = self._rules.decide(question)
        if verdict.action is not Action.ALLOW:
            self._errors.deny(question, verdict, packet, hlen, now)
            return None
        if flow is None:
            flow = self._open(packet, hlen, now)
            if flow is None:
                return None
            self._flows[flow.guest_id] = flow
            self._count["icmp.opened"] += 1
            self.deadlines.arm(flow, now + self.idle)
        flow.contacts.pop(destination, None)
        if len(flow.contacts) >= OUTSTANDING_MOST:
            del flow.contacts[next(iter(flow.contacts))]
        contact = flow.contacts[destination] = _Contact(verdict.address, now + ASKED, self._rules.revision)
        self._flows[flow.guest_id] = self._flows.pop(flow.guest_id)
        return flow, contact

    def _open(self, packet: bytes, hlen: int, now: float) -> EchoFlow | None:
        if len(self._flows) >= self._limit:
            self._count["icmp.evicted"] += 1
            self.drop(next(iter(self._flows.values())))
        guest_id = packet[hlen:][IDENTIFIER]
        if self._raw is not None:
            return self._on_raw(guest_id, self._raw)
        try:
            found = self._host.ping()
        except OSError:
            self._count["icmp.no_socket"] += 1
            return None
        if found is None:
            if not self._count[_REFUSED]:
                self._notify(_HOW_TO)
            self._count[_REFUSED] += 1
            self._errors.send(packet, hlen, UNREACHABLE, PROHIBITED, now)
            return None
        sock, kind = found
        if kind == "raw":
            self._raw = sock
            self._host.watch_read(sock.fileno(), self._on_raw_read)
            return self._on_raw(guest_id, sock)
        wire_id = int(sock.getsockname()[1]).to_bytes(2, "big")
        flow = EchoFlow(self, guest_id, wire_id, sock, raw=False)
        self._host.watch_read(sock.fileno(), partial(self._on_ping_read, flow))
        return flow

    def _on_raw(self, guest_id: bytes, sock: socket) -> EchoFlow:
        wire_id = self._random.randbytes(2)
        while wire_id in self._by_wire_id:  # at most `echo_flows` of 65,536 are taken
            wire_id = self._random.randbytes(2)
        flow = self._by_wire_id[wire_id] = EchoFlow(self, guest_id, wire_id, sock, raw=True)
        return flow

    def _send(
        self, flow: EchoFlow, message: bytes, target: bytes, ttl: int, packet: bytes, hlen: int, now: float
    ) -> None:
        dont_fragment = fragment_field(packet) & DONT_FRAGMENT
        errno = 0
        for attempt in (0, 1):
            try:
                flow.sock.setsockopt(IPPROTO_IP, IP_TTL, ttl)
                mode = IP_PMTUDISC_DO if dont_fragment else IP_PMTUDISC_DONT
                flow.sock.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, mode)
                flow.sock.sendto(message, (inet_ntoa(target), 0))
                return
            except OSError as error:
                errno = error.errno or 0
            # Either this message failed, or the socket reports an earlier one's error instead of sending it.
            reported = not flow.raw and self._drain_errors(flow, now)
            if reported and errno == EMSGSIZE:
                return
            if not reported or attempt:
                break
        if errno in EXHAUSTED or errno in (EAGAIN, EINTR):
            self._count["icmp.host_busy"] += 1
            return
        self._count["icmp.send_failed"] += 1
        code = unreachable_code(errno)
        if code is not None:
            self._errors.send(packet, hlen, UNREACHABLE, code, now)

    # From the outside

    def _on_ping_read(self, flow: EchoFlow, now: float) -> None:
        for turn in range(BATCH):
            try:
                message, ancillary, _, name = flow.sock.recvmsg(PACKET_MOST, CMSG_SPACE(4))
            except BlockingIOError:
                if turn == 0:  # woken by the error queue alone
                    self._drain_errors(flow, now)
                return
            except OSError:
                self._drain_errors(flow, now)
                continue
            ttl = DEFAULT_TTL
            for level, kind, data in ancillary:
                if level == IPPROTO_IP and kind == IP_TTL and len(data) >= 4:
                    ttl = int.from_bytes(data[:4], byteorder)
            if message[IDENTIFIER] == flow.wire_id:
                self._answer(flow, inet_aton(name[0]), message, ttl, now)
            else:
                self._count["icmp.unsolicited"] += 1

    def _on_raw_read(self, now: float) -> None:
        for _ in range(BATCH):
            if self._raw is None:
                return
            try:
                packet = self._raw.recv(PACKET_MOST)
            except BlockingIOError:
                return
            except OSError:
                continue
            message = _icmp_in(packet)
            if message is None:
                continue
            if message[KIND] == ECHO_REPLY:
                flow = self._by_wire_id.get(message[IDENTIFIER])
                if flow is not None and is_sound(message):  # the raw socket comes before the kernel's check
                    self._answer(flow, packet[SOURCE], message, packet[TTL], now)
            else:
                self._raw_error(packet[SOURCE], message, now)

    def _answer(self, flow: EchoFlow, address: bytes, message: bytes, ttl: int, now: float) -> None:
        asked = flow.asked.get(address + message[SEQUENCE])
        if asked is None or not is_echo(message, ECHO_REPLY) or len(message) > asked[1]:
            self._count["icmp.unsolicited"] += 1
            return
        flow.used = now
        self._identification = (self._identification + 1) & 0xFFFF
        packet = build_icmp(
            self._rules.guest_address(address),
            self._line.address,
            ECHO_REPLY,
            0,
            flow.guest_id + message[SEQUENCE],
            message[PAYLOAD],
            ttl=max(1, ttl - 1),
            identification=self._identification,
        )
        deliver(self._line, packet, ("echo", flow.guest_id))

    def _drain_errors(self, flow: EchoFlow, now: float) -> bool:
        """Pass on what a ping socket's error queue holds; it quotes the message from its ICMP header on."""
        some = False
        for _ in range(BATCH):
            fault = self._host.read_error(flow.sock)
            if fault is None:
                break
            some = True
            self._relay(flow, fault.destination, fault.payload[SEQUENCE], fault, now)
        return some

    def _raw_error(self, offender: bytes, message: bytes, now: float) -> None:
        """An ICMP error on the raw socket: ours if it quotes an Echo of one of our identifiers."""
        about = message[PAYLOAD]
        asked = _icmp_in(about)
        if asked is None or asked[KIND] != ECHO:
            return
        flow = self._by_wire_id.get(asked[IDENTIFIER])
        if flow is None:
            return
        mtu = int.from_bytes(message[NEXT_MTU], "big")
        fault = Fault(0, ORIGIN_ICMP, message[KIND], message[CODE], mtu, offender, about[DESTINATION], 0, b"")
        self._relay(flow, fault.destination, asked[SEQUENCE], fault, now)

    def _relay(self, flow: EchoFlow, address: bytes, sequence: bytes, fault: Fault, now: float) -> None:
        asked = flow.asked.get(address + sequence)
        if asked is None and not sequence:  # the host's own errors quote nothing: the last one sent there
            asked = next((flow.asked[key] for key in reversed(flow.asked) if key.startswith(address)), None)
        if asked is None:
            self._count["icmp.error_unmatched"] += 1
            return
        self._count["icmp.error"] += 1
        quote = asked[0]
        self._errors.relay(quote, len(quote) - 8, fault, now)


def _icmp_in(packet: bytes) -> bytes | None:
    """The ICMP message in an IPv4 packet, of which more than the ICMP header may be missing; None if it is none."""
    hlen = header_length(packet) if packet else 0
    if hlen < 20 or len(packet) < hlen + HEADER or packet[PROTOCOL] != ICMP:
        return None
    return packet[hlen:]

"""Ports of the host that lead to a guest.

In: callers on listening sockets of the host, IPv4 or IPv6; the guest's answers.  Out: TCP streams for the gateway
to connect to the guest; UDP packets on the guest's line, and datagrams back to the callers.  To the guest every
caller seems to come from the gateway's address: never from a loopback address (CVE-2021-20199), and never from
an address that the guest would have to route.
"""

import math
from socket import AF_INET, AF_INET6, inet_pton, socket
from typing import Final, Literal, Protocol

from nat.context import Context
from nat.fragment import deliver
from nat.icmp import unreachable_code
from nat.line import Line
from nat.rules import Action, Direction, Question, deny
from nat.stream import StreamSocket
from nat.wire.ipv4 import TCP, UDP, dotted
from nat.wire.udp import DATAGRAM_MOST, UDP_HEADER, build_udp, parse

BATCH: Final = 32  # datagrams or callers taken in one wake-up
PEERS_MOST: Final = 512  # callers of one UDP forward that are remembered
AGAIN: Final = 1.0  # seconds for which a listener rests when the host is out of descriptors or memory
_EPHEMERAL: Final = 49152  # RFC 6335 section 6

Transport = Literal["tcp", "udp"]


class _Gateway(Protocol):
    address: bytes

    def line(self, address: bytes) -> Line | None: ...
    def open_tcp(self, question: Question, stream: StreamSocket, now: float) -> bool: ...


class Forwards:
    """All forwards of one network."""

    def __init__(self, context: Context, gateway: _Gateway) -> None:
        self.context = context
        self.gateway = gateway
        self._listeners: list[_TcpForward | _UdpForward] = []
        # (guest, its port, the port on the gateway's address that stands for the caller) -> the caller
        self.callers: dict[tuple[bytes, int, int], _Caller] = {}

    def add(self, protocol: Transport, bind: str, port: int, guest: bytes, guest_port: int) -> None:
        """Listen from now on.  Raises HostError."""
        host = self.context.host
        if protocol == "tcp":
            self._listeners.append(_TcpForward(self, host.listen_tcp(bind, port), guest, guest_port))
        else:
            self._listeners.append(_UdpForward(self, host.listen_udp(bind, port), guest, guest_port))

    def receive_udp(self, line: Line, packet: bytes, hlen: int, now: float) -> bool:
        """A UDP packet from a guest to the gateway's address.  False: it answers no caller of a forward."""
        if len(packet) < hlen + UDP_HEADER.size:
            return False
        port, caller_port, _, _ = UDP_HEADER.unpack_from(packet, hlen)
        caller = self.callers.get((line.address, port, caller_port))
        if caller is None:
            return False
        parsed = parse(packet, hlen, self.context.count)
        if parsed is not None and caller.forward.is_allowed(caller):
            caller.used = now
            caller.forward.answer(caller, parsed[2])
        return True

    def question(self, protocol: int, guest: bytes, guest_port: int, caller: str) -> Question:
        """Whether the caller, whose address is numeric, may speak to the guest."""
        family = AF_INET6 if ":" in caller else AF_INET
        address = inet_pton(family, caller.partition("%")[0])
        return Question(guest, self.context.network, Direction.IN, protocol, address, guest_port)

    def is_allowed(self, question: Question) -> bool:
        """Ask the rules; a denial is counted and said."""
        context = self.context
        verdict = context.rules.decide(question)
        if verdict.action is Action.ALLOW:
            return True
        deny(question, verdict, context.count, context.notify)
        return False

    def status(self) -> list[dict[str, object]]:
        """What each is, as plain data."""
        return [listener.status() for listener in self._listeners]

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()


class _TcpForward:
    """One listening TCP socket."""

    def __init__(self, forwards: Forwards, sock: socket, guest: bytes, guest_port: int) -> None:
        self.deadline = math.inf
        self.queued = math.inf
        self._forwards = forwards
        self._sock = sock
        self._guest = guest
        self._guest_port = guest_port
        forwards.context.host.watch_read(sock.fileno(), self.on_read)

    def on_read(self, now: float) -> None:
        """Somebody calls."""
        context, gateway = self._forwards.context, self._forwards.gateway
        for _ in range(BATCH):
            try:
                stream, name = context.host.accept(self._sock)
            except BlockingIOError:
                return
            except ConnectionError:  # the caller has gone again
                continue
            except OSError:
                # The caller stays in the backlog, so the listener would wake us forever.
                context.count["forward.exhausted"] += 1
                context.host.unwatch_read(self._sock.fileno())
                context.deadlines.arm(self, now + AGAIN)
                return
            line = gateway.line(self._guest)
            if line is not None and line.up:
                question = self._forwards.question(TCP, self._guest, self._guest_port, name[0])
                if self._forwards.is_allowed(question) and gateway.open_tcp(question, stream, now):
                    context.count["forward.tcp_accepted"] += 1
                    continue
            else:
                context.notify(f"A caller for {dotted(self._guest)} was refused: that guest is not connected.")
            context.count["forward.refused"] += 1
            stream.reset()

    def status(self) -> dict[str, object]:
        resting = self.deadline != math.inf
        return {"protocol": "tcp", "guest": dotted(self._guest), "guest_port": self._guest_port, "resting": resting}

    def tick(self, now: float) -> None:
        self._forwards.context.host.watch_read(self._sock.fileno(), self.on_read)
        self.on_read(now)

    def close(self) -> None:
        context = self._forwards.context
        if self.deadline == math.inf:
            context.host.unwatch_read(self._sock.fileno())
        context.deadlines.arm(self, math.inf)
        self._sock.close()


class _Caller:
    """A remote peer of a UDP forward."""

    __slots__ = ("forward", "name", "port", "question", "revision", "used", "deadline", "queued")

    def __init__(
        self, forward: "_UdpForward", name: tuple[str, int], port: int, question: Question, now: float
    ) -> None:
        self.forward = forward
        self.name = name  # with an IPv6 caller two more items follow
        self.port = port  # on the gateway's address, for the guest
        self.question = question  # that the rules were asked
        self.revision = forward.forwards.context.rules.revision
        self.used = now
        self.deadline = math.inf
        self.queued = math.inf

    def tick(self, now: float) -> None:
        context = self.forward.forwards.context
        end = self.used + context.limits.udp_idle
        if now < end:
            context.deadlines.arm(self, end)
        else:
            self.forward.drop(self)


class _UdpForward:
    """One bound UDP socket and its callers."""

    def __init__(self, forwards: Forwards, sock: socket, guest: bytes, guest_port: int) -> None:
        self.forwards = forwards
        self._sock = sock
        self._guest = guest
        self._guest_port = guest_port
        self._callers: dict[tuple[str, int], _Caller] = {}  # the least recently heard first
        self._identification = forwards.context.random.getrandbits(16)
        forwards.context.host.watch_read(sock.fileno(), self.on_read)

    def on_read(self, now: float) -> None:
        """Datagrams from callers."""
        context = self.forwards.context
        for _ in range(BATCH):
            try:
                payload, name = self._sock.recvfrom(DATAGRAM_MOST)
            except BlockingIOError:
                return
            except OSError:
                context.count["forward.udp_error"] += 1
                continue
            line = self.forwards.gateway.line(self._guest)
            if line is None or not line.up:
                context.count["forward.refused"] += 1
                continue
            caller = self._callers.get(name) or self._new_caller(name, now)
            if caller is None or not self.is_allowed(caller):
                continue
            self._callers[name] = self._callers.pop(name, caller)
            caller.used = now
            self._identification = (self._identification + 1) & 0xFFFF
            packet = build_udp(
                self.forwards.gateway.address,
                caller.port,
                self._guest,
                self._guest_port,
                payload,
                identification=self._identification,
            )
            deliver(line, packet, ("forward", caller.port))

    def answer(self, caller: _Caller, payload: bytes) -> None:
        """What the guest says to a caller goes back from the port that was called."""
        try:
            self._sock.sendto(payload, caller.name)
        except OSError as error:
            name = "forward.udp_error" if unreachable_code(error.errno or 0) is not None else "forward.udp_busy"
            self.forwards.context.count[name] += 1

    def status(self) -> dict[str, object]:
        guest, callers = dotted(self._guest), len(self._callers)
        return {"protocol": "udp", "guest": guest, "guest_port": self._guest_port, "callers": callers}

    def drop(self, caller: _Caller) -> None:
        self._callers.pop(caller.name, None)
        self.forwards.callers.pop((self._guest, self._guest_port, caller.port), None)
        self.forwards.context.deadlines.arm(caller, math.inf)

    def close(self) -> None:
        for caller in list(self._callers.values()):
            self.drop(caller)
        self.forwards.context.host.unwatch_read(self._sock.fileno())
        self._sock.close()

    def is_allowed(self, caller: _Caller) -> bool:
        """Whether the caller is still allowed; if not, it is forgotten."""
        revision = self.forwards.context.rules.revision
        if caller.revision != revision:
            if not self.forwards.is_allowed(caller.question):
                self.drop(caller)
                return False
            caller.revision = revision
        return True

    def _new_caller(self, name: tuple[str, int], now: float) -> _Caller | None:
        """The caller's own port stands for it on the gateway's address if that is free: some games look at it."""
        context = self.forwards.context
        question = self.forwards.question(UDP, self._guest, self._guest_port, name[0])
        if not self.forwards.is_allowed(question):
            return None
        if len(self._callers) >= PEERS_MOST:
            context.count["forward.udp_evicted"] += 1
            self.drop(next(iter(self._callers.values())))
        taken = self.forwards.callers
        port = name[1]
        for _ in range(16):
            if port and (self._guest, self._guest_port, port) not in taken:
                break
            port = _EPHEMERAL + context.random.randrange(65536 - _EPHEMERAL)
        else:
            context.count["forward.no_port"] += 1
            return None
        caller = _Caller(self, name, port, question, now)
        taken[self._guest, self._guest_port, port] = caller
        context.deadlines.arm(caller, now + context.limits.udp_idle)
        context.count["forward.udp_callers"] += 1
        return caller

"""What an embedded guest is made of: PPP, IP, ICMP, UDP and TCP on one line, on a pppgate.loop.Loop.

In: calls in the loop's thread.  Out: futures that are done in it.  embedded_guest.py is the side for users.
"""

import random
import socket
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

from ipcp.protocol import Ipcp
from lcp.config import LinkConfig
from lcp.events import Event
from lcp.packet import Protocol
from nat.context import Context
from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.fragment import Reassembler, deliver
from nat.host import Host, HostStream
from nat.icmp import ErrorSender, echo_reply
from nat.line import Line
from nat.rules import Rules
from nat.tcp.flow import TcpFlow
from nat.tcp.flows import NoRoute, TcpFlows
from nat.tcp.state import State
from nat.wire.icmp import ECHO_REPLY, UNREACHABLE
from nat.wire.ipv4 import ICMP, TCP, UDP, dotted
from nat.wire.udp import build_udp
from nat.wire.udp import parse as parse_udp
from pppgate.loop import Loop
from pppgate.ppp_end import PppEnd
from serialport.port import Port
from serialport.url import open_link

NOBODY = bytes(4)
GOODBYE = 2.0
"""Seconds that the gateway gets to answer our Terminate-Request."""


class GuestError(Exception):
    """What was asked for did not happen; the text says why."""


class Stack:
    """`url`: a LINK that makes one port at a time; `config`: what is wanted of PPP; `events` hears what it tells."""

    def __init__(self, loop: Loop, url: str, config: LinkConfig, events: Callable[[Event], None]) -> None:
        self.loop = loop
        self.random = random.SystemRandom()
        self.end: PppEnd | None = None  # when the line has been opened
        self.ipcp = Ipcp.client(on_up=self._ip_up, on_down=self._ip_down)
        self._config = config
        self._events = events
        host = Host(loop, [])
        rules = Rules(host, (NOBODY, 32), NOBODY)
        self.context = Context(
            host, rules, Deadlines(loop.report), self.random, lambda sentence: None, dirty=Dirty(loop.report)
        )
        self.line = Line(NOBODY, 1500, self._mark, self.context.count)
        self.tcp = TcpFlows(self.context, self.line, self._route, ErrorSender(self.context, self.line, NOBODY))
        self.listening: dict[int, tuple[bytes, int]] = {}  # the guest's TCP port -> who listens, on the host
        self.servers: dict[int, Callable[[bytes], bytes | None]] = {}  # UDP port -> answer to a payload
        self._waiting: dict[Hashable, Future[Any]] = {}
        self._calling: dict[TcpFlow, Future[None]] = {}
        self._reassembler = Reassembler(self.context, lambda packet, now: None)
        self._serial = open_link(url)
        loop.drive(self._flush, self.context.deadlines.expire, self.context.deadlines.next)

    # What a user asks for

    def dial(self, now: float) -> None:
        """Open the line and begin.  Raises serialport.port.PortError."""
        self._serial.start(self.loop, self._on_port)

    def ask(self, key: Hashable, packet: bytes) -> Future[bytes]:
        """Send a packet whose answer is known by `key`: ("echo", id and sequence) or ("udp", own port)."""
        waiting = self._waiting[key] = Future()
        deliver(self.line, packet, key)
        return waiting

    def call(self, address: bytes, port: int, inner: socket.socket, now: float) -> Future[None]:
        """Connect `inner` to a TCP port; the future tells how that went."""
        self.line.address = address  # to a flow, the remote end is the guest on the line
        stream = HostStream(inner, self.loop)
        if not self.tcp.call(stream, self.ipcp.local, port, now):
            stream.close()
            raise GuestError("there are too many connections")
        flow = next(reversed(self.tcp.flows.values()))
        calling = self._calling[flow] = Future()
        return calling

    def close(self, now: float) -> None:
        """Close the line without a word, and let go of everything."""
        self.tcp.close(now)
        self._reassembler.close()
        if self.end is not None:
            self.end.hang_up("closed here", now)
        self._serial.stop()
        self.context.host.close()
        for waiting in (*self._waiting.values(), *self._calling.values()):
            waiting.set_exception(GuestError("the guest has hung up"))
        self._waiting.clear()
        self._calling.clear()

    # The line and the link

    def hang_up(self, now: float) -> None:
        """End the link with Terminate-Request; `over` tells when that is done."""
        if self.end is not None:
            self.end.terminate("the user has hung up", now, GOODBYE)

    @property
    def over(self) -> bool:
        return self.end is None or self.end.closed

    def _on_port(self, port: Port) -> None:
        self.end = PppEnd(
            port,
            self.loop,
            self.context.deadlines,
            self.context.dirty,
            self._config,
            random=self.random,
            name=port.name,
            on_event=self._events,
            on_hang_up=lambda reason, now: None,
        )
        self.end.attach(self.ipcp, self._receive)
        self.end.connect(Protocol.IP, self.line)
        self.end.start(self.loop.now())

    def _mark(self) -> None:
        if self.end is not None:
            self.end.mark()

    def _ip_up(self, now: float) -> None:
        if self.end is not None:
            self.line.mtu = min(1500, self.end.link.peer_mru)
        self.line.up = True
        self.tcp.probe(now)

    def _ip_down(self, now: float) -> None:
        self.line.up = False
        self.line.clear()

    def _flush(self, now: float) -> None:
        self.context.dirty.flush(now)
        for flow in [flow for flow in self._calling if flow.state is not State.SYN_SENT]:
            if flow.state is State.ESTABLISHED:
                self._calling.pop(flow).set_result(None)
            elif flow.state is State.CLOSED:
                refused = f"{dotted(flow.guest)} port {flow.guest_port} refuses the connection"
                self._calling.pop(flow).set_exception(ConnectionRefusedError(refused))

    # Packets

    def _route(self, line: Line, destination: bytes, port: int) -> tuple[bytes, int] | NoRoute:
        return self.listening.get(port, NoRoute.REFUSED)

    def _receive(self, packet: bytes, now: float) -> None:
        hlen = (packet[0] & 0x0F) * 4 if packet else 0
        if not 20 <= hlen <= len(packet) or int.from_bytes(packet[:hlen], "big") % 0xFFFF:
            self.context.count["ip.bad"] += 1
            return
        packet = packet[: int.from_bytes(packet[2:4], "big")]
        if int.from_bytes(packet[6:8], "big") & 0x3FFF:  # more fragments, or an offset
            whole = self._reassembler.feed(packet, hlen, now)
            if whole is None:
                return
            packet = whole
        if packet[9] == TCP and hlen == 20 and len(packet) >= 40:
            self.tcp.receive(packet, now)
        elif packet[9] == UDP:
            self._receive_udp(packet, hlen)
        elif packet[9] == ICMP and len(packet) >= hlen + 8:
            self._receive_icmp(packet, hlen)

    def _receive_udp(self, packet: bytes, hlen: int) -> None:
        parsed = parse_udp(packet, hlen, self.context.count)
        if parsed is None:
            return
        port, own_port, payload = parsed
        server = self.servers.get(own_port)
        if server is None:
            self._answered(("udp", own_port), payload)
        elif (answer := server(payload)) is not None:
            identification = self.random.getrandbits(16)
            reply = build_udp(packet[16:20], own_port, packet[12:16], port, answer, identification=identification)
            deliver(self.line, reply, ("udp", own_port))

    def _receive_icmp(self, packet: bytes, hlen: int) -> None:
        reply = echo_reply(packet, hlen)
        quoted = packet[hlen + 8 :]
        if reply is not None:
            deliver(self.line, reply, "echo")
        elif packet[hlen] == ECHO_REPLY:
            self._answered(("echo", packet[hlen + 4 : hlen + 8]), quoted)
        elif packet[hlen] == UNREACHABLE and len(quoted) >= 28:
            start = (quoted[0] & 0x0F) * 4
            own_port = int.from_bytes(quoted[start : start + 2], "big")
            key = ("udp", own_port) if quoted[9] == UDP else ("echo", quoted[start + 4 : start + 8])
            waiting = self._waiting.pop(key, None)
            if waiting is not None:
                what = f"{dotted(quoted[16:20])} is unreachable, says {dotted(packet[12:16])} (code {packet[hlen + 1]})"
                waiting.set_exception(ConnectionRefusedError(what))

    def _answered(self, key: Hashable, payload: bytes) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.set_result(payload)

"""One call to a PPP server on one port: the chat script, then PPP as the end that asks, until the line is let go.

In: a port that is open, the surroundings of the process, and for whom the call is made (a Customer).  Out: while IP is
up, packets both ways for the customer; sentences; and once `ended(Ending)`, when the port has been closed.
The dialer (pppgate.eoppp.dialer) decides when there is a call; this file, how one goes.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from ipcp.protocol import Ipcp
from lcp.config import LinkConfig
from lcp.events import (
    AuthFailed,
    Established,
    Event,
    LinkDown,
    LoopDetected,
    NetworkDown,
    NoAnswer,
    ProtocolRejected,
)
from lcp.link import Phase
from lcp.packet import Code
from lcp.packet import Protocol as Number
from lcp.protocol import AuthenticationProtocol
from nat.line import Line
from nat.wire.ipv4 import is_host
from pppgate.eoppp.chat import Step
from pppgate.eoppp.conversation import Conversation
from pppgate.ppp_end import PppEnd
from pppgate.surroundings import Surroundings
from serialport.port import HangUp, Port, Timer

NEGOTIATION_MOST: Final = 75.0
"""Seconds from the first PPP frame to addresses: LCP, authentication and IPCP may take up to thirty each, and a server
that gets no further in that time never will."""
GOODBYE: Final = 1.0
"""Seconds for the Terminate-Ack to our Terminate-Request."""
ACK_LEAVES: Final = 0.2
"""Seconds for our own Terminate-Ack to get out."""
SETTLE: Final = 0.3
"""Seconds from addresses to the first packet.  pppd drops what comes while it sets its interface up, which begins with
the very Ack that makes the link open for us."""


@dataclass(frozen=True)
class Agreed:
    """What IPCP and LCP have agreed on.  `remote`: the server's own address, None if it has none to speak of."""

    local: bytes
    remote: bytes | None
    dns: tuple[bytes, ...]
    mtu: int


class Customer(Protocol):
    """For whom is called."""

    @property
    def line(self) -> Line:
        """The packets for the server."""

    def link_up(self, agreed: Agreed, now: float) -> None: ...
    def link_down(self, now: float) -> None:
        """It is gone, or the call has ended without it.  May be called twice."""

    def receive(self, packet: bytes, now: float) -> None:
        """A packet from the server."""


@dataclass(frozen=True)
class Terms:
    """What is asked of every server."""

    link: LinkConfig = field(default_factory=lambda: LinkConfig(peer="the server"))
    mtu: int = 1500
    chat: tuple[Step, ...] = ()


class Ending(NamedTuple):
    """`reason`: a clause for people; `lasted`: seconds of IP, None if it never came up; `counters`: of PPP, by name."""

    reason: str
    lasted: float | None
    counters: Counter[str]


class Call:
    """`wanted`: the address that is asked for, or 0.0.0.0; `changed(agreed, now)` tells of IP up and down (None)."""

    def __init__(
        self,
        port: Port,
        terms: Terms,
        wanted: bytes,
        customer: Customer,
        surroundings: Surroundings,
        changed: Callable[[Agreed | None, float], None],
        ended: Callable[[Ending, float], None],
    ) -> None:
        self.name = port.name
        self.port = port
        self.up = False
        self.closed = False
        self.end: PppEnd | None = None  # once the chat script is through
        self._terms = terms
        self._customer = customer
        self._around = surroundings
        self._changed = changed
        self._ended = ended
        self._reason = ""  # the first that was given for the end
        self._up_at = 0.0
        self._lasted: float | None = None
        self._timer: Timer | None = None  # of the conversation, the negotiation, or the goodbye
        self._conversation: Conversation | None = None
        self._unsent = b""
        self._ipcp = Ipcp.client(wanted, on_up=self._ip_up, on_down=self._ip_down, on_finished=self._ip_finished)

    def start(self, heard: bytes, now: float) -> None:
        """`heard`: what the line has said already."""
        if not self._terms.chat:
            self._begin_ppp(heard, now)
            return
        watcher, fd = self._around.watcher, self.port.read_fd
        conversation = Conversation(
            self._terms.chat,
            self._send,
            lambda text: self._around.say(f"{self.name}: {text}"),
            self._chat_done,
            lambda text: self._around.detail(f"{self.name}: chat: {text}"),
        )
        self._conversation = conversation
        watcher.watch_read(fd, self._on_readable)
        conversation.receive(heard, now)
        conversation.start(now)
        self._arm_chat()

    # The chat script

    def _on_readable(self, now: float) -> None:
        conversation = self._conversation
        if conversation is None:
            return
        try:
            data = self.port.read()
        except HangUp as reason:
            conversation.hang_up(str(reason), now)
            return
        conversation.receive(data, now)
        self._arm_chat()

    def _arm_chat(self) -> None:
        conversation = self._conversation
        if conversation is not None and conversation.deadline < math.inf:
            self._set_timer(conversation.deadline, self._chat_tick)

    def _chat_tick(self, now: float) -> None:
        if self._conversation is not None:
            self._conversation.tick(now)
            self._arm_chat()

    def _send(self, data: bytes) -> None:
        self._unsent += data
        self._on_writable(0.0)

    def _on_writable(self, _now: float) -> None:
        self._unsent = self._unsent[self.port.write(self._unsent) :]
        if self._unsent:
            self._around.watcher.watch_write(self.port.write_fd, self._on_writable)
        else:
            self._around.watcher.unwatch_write(self.port.write_fd)

    def _leave_chat(self) -> None:
        if self._conversation is not None:
            self._conversation = None
            self._set_timer(None, None)
            self._around.watcher.unwatch_read(self.port.read_fd)
            self._around.watcher.unwatch_write(self.port.write_fd)

    def _chat_done(self, failure: str, rest: bytes, now: float) -> None:
        self._leave_chat()
        if failure:
            self._reason = f"the chat script failed: {failure}"
            self._close(now)
        else:
            self._begin_ppp(rest, now)

    # PPP

    def _begin_ppp(self, heard: bytes, now: float) -> None:
        around = self._around
        self.end = end = PppEnd(
            self.port,
            around.watcher,
            around.deadlines,
            around.dirty,
            self._terms.link,
            random=around.random,
            name=self.name,
            on_event=self._on_event,
            on_hang_up=self._on_hang_up,
            taps=around.taps,
        )
        end.attach(self._ipcp)
        self._set_timer(now + NEGOTIATION_MOST, self._too_long)
        end.start(now, heard)

    def _ip_up(self, now: float) -> None:
        assert self.end is not None  # of our own making
        local, remote = self._ipcp.local, self._ipcp.remote
        if not is_host(local):
            self._fail("the server gave no address; name the one that it expects with --address", now)
            return
        if remote is not None and (not is_host(remote) or remote == local):
            remote = None
        dns = tuple(address for address in self._ipcp.dns if is_host(address))
        mtu = min(self._terms.mtu, self.end.link.peer_mru)
        self._set_timer(None, None)
        self.up, self._up_at = True, now
        agreed = Agreed(local, remote, dns, mtu)
        self._changed(agreed, now)
        self._customer.link_up(agreed, now)
        self.end.deliver(Number.IP, self._customer.receive)
        self._set_timer(now + SETTLE, self._connect_line)

    def _connect_line(self, now: float) -> None:
        """The packets that have waited may go."""
        if self.up and self.end is not None:
            self.end.connect(Number.IP, self._customer.line)
            line = self._customer.line
            line.connect(line.mtu, self.end.mark)
            self.end.mark()

    def _ip_down(self, now: float) -> None:
        if not self.up:
            return
        self.up = False
        self._lasted = (self._lasted or 0.0) + now - self._up_at
        if self.end is not None:
            self.end.disconnect(Number.IP)
        self._customer.line.disconnect()
        self._changed(None, now)
        self._customer.link_down(now)

    def _ip_finished(self, now: float) -> None:
        if self.end is not None and self.end.link.phase is Phase.NETWORK:
            self._fail("the server agrees on no addresses", now)

    # Ends

    def hang_up(self, reason: str, now: float) -> None:
        """End the call in order: Terminate-Request, and the port is closed when it was answered, or soon."""
        if self.end is None:
            self._reason = self._reason or reason
            self._leave_chat()
            self._close(now)
        else:
            self._fail(reason, now)

    def abandon(self, now: float) -> None:
        """Let go of the port at once."""
        self._leave_chat()
        if self.end is not None:
            self.end.hang_up("closed here", now)
        else:
            self._close(now)

    def _fail(self, reason: str, now: float) -> None:
        """Events may come from the midst of a packet: the link is closed when that is done with."""
        self._reason = self._reason or reason
        self._around.watcher.call_at(now, self._terminate)

    def _terminate(self, now: float) -> None:
        if self.end is not None and not self.closed:
            self.end.terminate(self._reason, now, GOODBYE)

    def _say_goodbye(self, now: float) -> None:
        """The link is ending: see it to its end, but not forever.  A server that begins anew is negotiated with."""
        if self.end is None or self.closed:
            return
        link = self.end.link
        if link.phase not in (Phase.TERMINATE, Phase.DEAD):
            self._around.say(f"{self.name}: link down: {self._reason}; negotiating anew.")
            self._reason = ""
            self._set_timer(now + NEGOTIATION_MOST, self._too_long)
            return
        self._set_timer(None, None)
        theirs = link.lcp.last_code == Code.TERMINATE_REQUEST
        self.end.leave(now, ACK_LEAVES if theirs else GOODBYE)

    def _too_long(self, now: float) -> None:
        self._fail(f"no agreement within {NEGOTIATION_MOST:g} s", now)

    def _on_hang_up(self, reason: str, now: float) -> None:
        """The port is closed, by us or by the other side."""
        self._close(now, reason)

    def _close(self, now: float, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            self._set_timer(None, None)
            self.port.close()
            counters = self.end.counters if self.end is not None else Counter()
            self._ended(Ending(self._reason or reason, self._lasted, counters), now)

    # Words

    def _on_event(self, event: Event) -> None:
        now = self._around.watcher.now()
        match event:
            case Established():
                return
            case AuthFailed():
                self._reason = self._reason or str(event)
            case LoopDetected():
                self._reason = self._reason or (
                    "our own packets come back: no PPP runs at the other end yet (does it want a login, a --chat?)"
                )
            case NoAnswer():
                self._reason = self._reason or "the server does not answer"
                self._around.watcher.call_at(now, self._say_goodbye)
            case LinkDown(reason):
                self._reason = self._reason or self._denied() or reason
                self._around.watcher.call_at(now, self._say_goodbye)
            case ProtocolRejected():
                self._fail("the server carries no IP", now)
            case NetworkDown():
                self._around.say(f"{self.name}: {event}")
                self._set_timer(now + NEGOTIATION_MOST, self._too_long)
            case _:
                self._around.say(f"{self.name}: {event}")

    def _denied(self) -> str:
        """Why a server hangs up that asked for what we cannot show."""
        if self.end is None or self._lasted is not None or (denied := self.end.link.lcp.auth.denied) is None:
            return ""
        method = AuthenticationProtocol.describe(denied).removeprefix("auth ")
        if self._terms.link.credentials is None:
            return f"the server wants a name and password ({method}); give them with --user and --password-file"
        return f"the server wants to be shown the password by {method}, and only pap and chap MD5 are known here"

    def _set_timer(self, when: float | None, callback: Callable[[float], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if when is not None and callback is not None:
            self._timer = self._around.watcher.call_at(when, callback)

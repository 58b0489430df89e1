"""One PPP link: its phases (RFC 1661 section 3), its protocols, who may speak when, and the keepalive.

In: frames as a `Deframer` gives them, the clock, the lower layer's `up` and `down`. Out: packets through
`emit(protocol, information)`, IP packets through `on_ip(packet, now)`, agreed framing parameters through
`parameters(LinkParameters)`, and `events`. It knows no network protocol by name: they are attached.

The link never gives up. Whatever ends it short of `close` leaves LCP in Stopped, where nothing is sent but a
peer's Configure-Request is answered, and `up` begins anew in any case.

`tick(now)` is wanted at `deadline`. What IP packets do moves no deadline, so that it need not be looked at
again after them: the keepalive looks back at what was heard when its time comes.
"""

import math
import random as random_module
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lcp import events
from lcp.auth.chap import ChapClient, ChapServer
from lcp.auth.pap import PapClient, PapServer
from lcp.auth.secrets import Authenticator, Identity
from lcp.auth.side import Failure, Outcome, Side
from lcp.control import ControlProtocol
from lcp.fsm import State, Timing
from lcp.hdlc import DEFAULT_ACCM
from lcp.packet import DEFAULT_MRU, Code, Protocol, build, parse, protocol_name, split_protocol
from lcp.protocol import CHAP_MD5, PAP, Lcp


class Phase(Enum):
    """RFC 1661 section 3.2. Dead: the line is down, or nobody is negotiating on it."""

    DEAD = "dead"
    ESTABLISH = "establish"
    AUTHENTICATE = "authenticate"
    NETWORK = "network"
    TERMINATE = "terminate"


class Kind(Enum):
    LCP = "lcp"
    AUTH = "auth"
    CONTROL = "control"
    DATA = "data"
    UNKNOWN = "unknown"


LEGAL: dict[Kind, frozenset[Phase]] = {
    Kind.LCP: frozenset(Phase),
    Kind.AUTH: frozenset({Phase.AUTHENTICATE, Phase.NETWORK}),
    Kind.CONTROL: frozenset({Phase.NETWORK}),
    Kind.DATA: frozenset({Phase.NETWORK}),
    Kind.UNKNOWN: frozenset({Phase.NETWORK}),
}
"""In which phases a packet of a kind is looked at; in the others it is silently discarded (RFC 1661 sections 3.4 to
3.7). LCP looks after itself. Unknown protocols are looked at to be rejected."""

_PHASES = {
    State.INITIAL: Phase.DEAD,
    State.STARTING: Phase.DEAD,
    State.CLOSED: Phase.DEAD,
    State.STOPPED: Phase.DEAD,
    State.CLOSING: Phase.TERMINATE,
    State.STOPPING: Phase.TERMINATE,
    State.REQ_SENT: Phase.ESTABLISH,
    State.ACK_RCVD: Phase.ESTABLISH,
    State.ACK_SENT: Phase.ESTABLISH,
}


@dataclass(frozen=True)
class Credentials:
    """What we show to a peer that asks who we are; neither may be longer than 255 octets (RFC 1334 section 2.2.1)."""

    user: bytes
    password: bytes

    def __post_init__(self) -> None:
        if max(len(self.user), len(self.password)) > 255:
            raise ValueError("a user name or password is longer than 255 octets")


@dataclass(frozen=True)
class LinkConfig:
    """What we want of a link. A server has `auth` and no `credentials`, a client the other way round."""

    mru: int = DEFAULT_MRU
    accm: int = 0  # control octets the peer has to escape toward us
    pfc: bool = True
    acfc: bool = True
    auth: Authenticator | None = None  # who may dial in; None asks nobody for a name
    credentials: Credentials | None = None
    server_name: str = "pppgate"  # what we call ourselves in CHAP challenges
    peer: str = "the guest"  # what events call the other end; to a client it is the server
    echo_interval: float = 30.0  # seconds of silence before an Echo-Request; 0 is never
    echo_failures: int = 4  # unanswered ones that end the link
    restart: float = 3.0
    max_configure: int = 10
    max_terminate: int = 2
    max_failure: int = 5

    @property
    def timing(self) -> Timing:
        return Timing(self.restart, self.max_configure, self.max_terminate, self.max_failure)


@dataclass(frozen=True)
class LinkParameters:
    """How frames are to be made and read from now on. The defaults are those before any agreement."""

    tx_accm: int = DEFAULT_ACCM
    acfc: bool = False  # leave out address and control when sending
    pfc: bool = False  # shorten the protocol field when sending
    rx_accm: int = DEFAULT_ACCM
    peer_mru: int = DEFAULT_MRU  # the longest information field the peer takes; may be 65535


@dataclass(frozen=True)
class _Network:
    control: ControlProtocol
    data_protocol: int


class PppLink:
    def __init__(
        self,
        config: LinkConfig,
        emit: Callable[[int, bytes], None],
        *,
        random: random_module.Random,
        events: Callable[[events.Event], None],
    ) -> None:
        self.config = config
        self.count: Counter[str] = Counter()
        self.on_ip: Callable[[bytes, float], None] = lambda packet, now: None
        self.parameters: Callable[[LinkParameters], None] = lambda parameters: None
        self.identity: Identity | None = None
        """Who the peer has proved to be, while the link is open."""
        self.peer_mru = DEFAULT_MRU
        self.deadline = math.inf
        self._emit = emit
        self._random = random
        self._tell = events
        self._networks: dict[int, _Network] = {}
        self._sides: list[tuple[int, Side]] = []
        self._own_challenge = b""
        self._ip_open = False
        self._heard = -math.inf
        self._echo_at = math.inf
        self._echoed_at = -math.inf
        self._unanswered = 0
        self._begun: float | None = None
        self._closing = False  # LCP is leaving Opened: its own event says why
        self.lcp = self._make_lcp()

    def _make_lcp(self) -> Lcp:
        config = self.config
        lcp = Lcp(
            self._random,
            mru=config.mru,
            accm=config.accm,
            pfc=config.pfc,
            acfc=config.acfc,
            demand=config.auth.demand if config.auth else (),
            offer=(CHAP_MD5, PAP) if config.credentials else (),
        )
        lcp.bind(self._emit, self._random, self.count, config.timing)
        lcp.on_up = self._lcp_up
        lcp.on_down = self._lcp_down
        lcp.on_finished = self._lcp_finished
        lcp.on_loop = self._looped
        lcp.on_identified = lambda text: self._tell(events.Identified(text))
        lcp.on_protocol_reject = self._protocol_rejected
        return lcp

    def attach(self, protocol: int, control: ControlProtocol, data_protocol: int) -> None:
        """Speak a network protocol: its control protocol, and the number of the packets it lets flow."""
        self._networks[protocol] = _Network(control, data_protocol)

        def layer(up: bool, now: float) -> None:
            self._network_layer(protocol, up, now)

        control.bind(self._emit, self._random, self.count, self.config.timing, layer)
        control.open(0.0)

    @property
    def phase(self) -> Phase:
        phase = _PHASES.get(self.lcp.state)
        if phase is not None:
            return phase
        waiting = any(side.outcome is None for _, side in self._sides)
        return Phase.AUTHENTICATE if waiting else Phase.NETWORK

    # the lower layer, the user and the clock

    def up(self, now: float) -> None:
        """The line is there: begin, at once."""
        self.lcp.open(now)
        self.lcp.up(now)
        self._settle()

    def down(self, now: float, reason: str = "the line was cut") -> None:
        """The line is gone."""
        self.lcp.reason = reason
        self.lcp.down(now)
        self.lcp.reason = ""
        self._settle()

    def close(self, now: float, reason: str = "closed here") -> None:
        """End the link with Terminate-Request; only `down` and `up` begin another."""
        self.lcp.close(now, reason)
        self._settle()

    def tick(self, now: float) -> None:
        self.lcp.tick(now)
        for _, side in list(self._sides):
            side.tick(now)
        for network in self._networks.values():
            network.control.tick(now)
        if now >= self._echo_at:
            self._keepalive(now)
        self._settle()

    def _settle(self) -> None:
        self.deadline = min(
            self.lcp.deadline,
            self._echo_at,
            *[side.deadline for _, side in self._sides],
            *[network.control.deadline for network in self._networks.values()],
        )

    # frames in

    def receive(self, frame: bytes, now: float) -> None:
        """One frame: protocol field, in one octet or two, and information."""
        if not frame:
            return
        self._heard = now
        if frame[0] == 0x21:
            if self._ip_open:
                self.on_ip(frame[1:], now)
            else:
                self.count["link.out_of_phase"] += 1
        elif frame.startswith(b"\x00\x21"):
            if self._ip_open:
                self.on_ip(frame[2:], now)
            else:
                self.count["link.out_of_phase"] += 1
        else:
            self._receive_other(frame, now)
            self._settle()

    def _receive_other(self, frame: bytes, now: float) -> None:
        protocol, information = split_protocol(frame)
        kind = self._kind(protocol)
        if self.phase not in LEGAL[kind]:
            self.count["link.out_of_phase"] += 1
        elif kind is Kind.LCP:
            if self._begun is None and information[:1] == b"\x01":
                self._begun = now
            self.lcp.receive(information, now)
        elif kind is Kind.CONTROL:
            self._networks[protocol].control.receive(information, now)
        elif kind is Kind.AUTH:
            self._receive_auth(protocol, information, now)
        elif kind is Kind.UNKNOWN:
            self.count["link.protocol_rejected"] += 1
            self.lcp.protocol_reject(protocol, information)
        else:
            self.count["link.out_of_phase"] += 1

    def _kind(self, protocol: int) -> Kind:
        if protocol == Protocol.LCP:
            return Kind.LCP
        if protocol in self._networks:
            return Kind.CONTROL
        if any(protocol == number for number, _ in self._sides):
            return Kind.AUTH
        if any(protocol == network.data_protocol for network in self._networks.values()):
            return Kind.DATA
        return Kind.UNKNOWN

    # LCP's layer

    def _lcp_up(self, now: float) -> None:
        lcp = self.lcp
        self.peer_mru = lcp.mru.theirs
        lcp.longest = min(DEFAULT_MRU, self.peer_mru)
        self.parameters(
            LinkParameters(
                tx_accm=lcp.accm.theirs,
                acfc=lcp.acfc.theirs,
                pfc=lcp.pfc.theirs,
                rx_accm=lcp.accm.ours,
                peer_mru=self.peer_mru,
            )
        )
        self._unanswered = 0
        self._echoed_at = -math.inf
        if self.config.echo_interval > 0:
            self._echo_at = now + self.config.echo_interval
        self._tell(events.Established(lcp.agreed(), self._seconds(now)))
        self._authenticate(now)

    def _lcp_down(self, now: float) -> None:
        reason = self.lcp.reason or self._why_down()
        self._ip_open = False
        self._echo_at = math.inf
        self._sides = []
        self._own_challenge = b""
        # negotiating anew begins with the request that ended this link, any other end with one still to come
        self._begun = now if self.lcp.last_code == Code.CONFIGURE_REQUEST else None
        self.lcp.longest = DEFAULT_MRU
        self.peer_mru = DEFAULT_MRU
        self._closing = True
        for network in self._networks.values():
            network.control.down(now)
        self._closing = False
        self.identity = None
        self.parameters(LinkParameters())
        self._tell(events.LinkDown(reason))

    def _why_down(self) -> str:
        code = self.lcp.last_code
        if code == Code.TERMINATE_REQUEST:
            said = self.lcp.peer_reason
            return f"{self.config.peer} hung up ({said})" if said else f"{self.config.peer} hung up"
        if code == Code.CONFIGURE_REQUEST:
            return f"{self.config.peer} has begun to negotiate anew"
        return f"{self.config.peer}'s LCP has lost step"

    def _lcp_finished(self, now: float) -> None:
        state, reason = self.lcp.state, self.lcp.reason
        self._begun = None
        if state in (State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT):
            if reason:
                self._tell(events.LinkDown(reason))
            else:
                self._tell(events.NoAnswer(self.config.max_configure, self.config.peer))
        self.lcp.reason = ""

    def _looped(self, now: float) -> None:
        self._tell(events.LoopDetected())
        self.lcp.fail(now, "the line is looped back")

    def _seconds(self, now: float) -> float:
        return now - self._begun if self._begun is not None else 0.0

    # authentication

    def _authenticate(self, now: float) -> None:
        auth, config = self.lcp.auth, self.config
        if config.auth is not None and auth.refused and not config.auth.refusable:
            self._tell(events.AuthFailed("", "", f"{config.peer} refuses to give a name and password"))
            self.lcp.fail(now, "authentication failed")
            return
        if config.auth is not None and auth.ours is not None:
            self._sides.append(self._server_side(auth.ours, config.auth))
        if config.credentials is not None and auth.theirs is not None:
            self._sides.append(self._client_side(auth.theirs, config.credentials))
        for _, side in list(self._sides):
            side.start(now)
        if not self._sides:
            self._networks_up(now)

    def _server_side(self, method: bytes, authenticator: Authenticator) -> tuple[int, Side]:
        timing = self.config.timing

        def done(outcome: Outcome, now: float) -> None:
            self._authenticated("PAP" if method == PAP else "CHAP", outcome, True, now)

        if method == PAP:
            return Protocol.PAP, PapServer(self._sender(Protocol.PAP), done, timing, authenticator)
        name = self.config.server_name.encode()
        chap = ChapServer(self._sender(Protocol.CHAP), done, timing, authenticator, name, self._random)
        self._own_challenge = chap.challenge
        return Protocol.CHAP, chap

    def _client_side(self, method: bytes, credentials: Credentials) -> tuple[int, Side]:
        user, password = credentials.user, credentials.password
        timing = self.config.timing

        def done(outcome: Outcome, now: float) -> None:
            self._authenticated("PAP" if method == PAP else "CHAP", outcome, False, now)

        if method == PAP:
            return Protocol.PAP, PapClient(self._sender(Protocol.PAP), done, timing, user, password)

        def own_challenge() -> bytes:
            return self._own_challenge

        chap = ChapClient(self._sender(Protocol.CHAP), done, timing, user, password, own_challenge)
        return Protocol.CHAP, chap

    def _sender(self, protocol: int) -> Callable[[int, int, bytes], None]:
        def send(code: int, identifier: int, data: bytes) -> None:
            self._emit(protocol, build(code, identifier, data[: self.lcp.longest - 4]))

        return send

    def _receive_auth(self, protocol: int, information: bytes, now: float) -> None:
        packet = parse(information)
        good = False
        if packet is not None:
            for number, side in list(self._sides):
                if number == protocol and packet.code in side.codes:
                    good = side.receive(packet, now)
        if not good:
            self.count["auth.dropped"] += 1

    def _authenticated(self, protocol: str, outcome: Outcome, of_peer: bool, now: float) -> None:
        if isinstance(outcome, Failure):
            self._tell(events.AuthFailed(outcome.name, protocol, outcome.reason))
            self.lcp.fail(now, "authentication failed")
            return
        if of_peer:
            self.identity = outcome
            self._tell(events.Authenticated(outcome.name, protocol))
        if all(isinstance(side.outcome, Identity) for _, side in self._sides):
            self._networks_up(now)

    # network protocols

    def _networks_up(self, now: float) -> None:
        for network in self._networks.values():
            network.control.longest = self.lcp.longest
            network.control.up(now)

    def _network_layer(self, protocol: int, up: bool, now: float) -> None:
        control = self._networks[protocol].control
        if self._networks[protocol].data_protocol == Protocol.IP:
            self._ip_open = up
        if up:
            name = self.identity.name if self.identity else ""
            addresses, options = control.summary()
            agreed = ", ".join(filter(None, (self.lcp.agreed(), options)))
            self._tell(events.NetworkUp(control.name, addresses, agreed, name, self._seconds(now)))
        elif self.lcp.opened and not self._closing:
            reason = control.reason or control.peer_reason or f"{self.config.peer} negotiates it anew"
            self._tell(events.NetworkDown(control.name, reason))

    def _protocol_rejected(self, protocol: int, now: float) -> None:
        """RFC 1661 section 5.7: stop that protocol at once, and only that one."""
        if protocol in (Protocol.PAP, Protocol.CHAP) and any(protocol == number for number, _ in self._sides):
            self._tell(events.ProtocolRejected(protocol_name(protocol)))
            self.lcp.fail(now, f"{self.config.peer} refuses to authenticate after all")
            return
        for number, network in self._networks.items():
            if protocol in (number, network.data_protocol):
                self._tell(events.ProtocolRejected(protocol_name(protocol)))
                network.control.reason = f"{self.config.peer} does not have it"
                network.control.down(now)
                network.control.reason = ""

    # keepalive

    def _keepalive(self, now: float) -> None:
        """Send an Echo-Request after `echo_interval` without any good frame; too many in vain end the link.

        Any frame is a sign of life, so a busy line carries no echoes (pppd's lcp-echo-adaptive).
        """
        interval = self.config.echo_interval
        if self._heard >= self._echoed_at:
            self._unanswered = 0
        if self.lcp.echo_refused:
            self._echo_at = math.inf
        elif self._heard + interval > now:
            self._echo_at = self._heard + interval
        elif self._unanswered >= self.config.echo_failures:
            self.lcp.fail(now, f"no answer to {self._unanswered} echo requests")
        else:
            self._unanswered += 1
            self._echoed_at = now
            self._echo_at = now + interval
            self.lcp.echo()

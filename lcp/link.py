"""One PPP link: its phases (RFC 1661 section 3), its protocols, who may speak when, and the keepalive.

In: frames as a `Deframer` gives them, the clock, the lower layer's `up` and `down`. Out: packets through
`emit(protocol, information)`, the packets of network protocols to whoever attached these, agreed framing
parameters through `parameters(LinkParameters)`, and `on_event`. It knows no network protocol: each is attached
as a control protocol that says which packets flow while it is open.

The link never gives up. Whatever ends it short of `close` leaves LCP in Stopped, where nothing is sent but a
peer's Configure-Request is answered, and `up` begins anew in any case.

`tick(now)` is wanted at `deadline`. Packets of network protocols move no deadline, so that it need not be
looked at again after them: the keepalive looks back at what was heard when its time comes. `wake()` says that
`deadline` has moved though nothing came in: an answer is there that was waited for.
"""

import math
import random as random_module
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lcp import events
from lcp.auth.authentication import Authentication
from lcp.auth.secrets import Identity
from lcp.auth.side import Failure, Outcome
from lcp.config import LinkConfig, LinkParameters
from lcp.control import ControlProtocol
from lcp.fsm import State
from lcp.keepalive import Act, Keepalive
from lcp.packet import DEFAULT_MRU, Code, Protocol, protocol_name, split_protocol
from lcp.protocol import Lcp

Handler = Callable[[bytes, float], None]
"""Takes the information of one packet of a network protocol, and the time."""


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
class _Attached:
    """A network protocol: its control protocol, and who takes the packets of each number that it lets flow."""

    control: ControlProtocol
    handlers: dict[int, Handler]


def _ignore(parameters: LinkParameters) -> None: ...


def _no_news() -> None: ...


class PppLink:
    def __init__(
        self,
        config: LinkConfig,
        emit: Callable[[int, bytes], None],
        *,
        random: random_module.Random,
        on_event: Callable[[events.Event], None],
        parameters: Callable[[LinkParameters], None] = _ignore,
        wake: Callable[[], None] = _no_news,
    ) -> None:
        self.config = config
        self.count: Counter[str] = Counter()
        self.identity: Identity | None = None
        """Who the peer has proved to be, while the link is open."""
        self.peer_mru = DEFAULT_MRU
        self.deadline = math.inf
        self._emit = emit
        self._random = random
        self._tell = on_event
        self._parameters = parameters
        self._wake = wake
        self._networks: dict[int, _Attached] = {}  # by the number of the control protocol
        self._data: dict[int, Handler] = {}  # by number, of the network protocols that are open now
        self._short: list[Handler | None] = [None] * 256  # the same, by the one octet that may be the whole number
        self._authentication = Authentication(config, emit, random, self._authenticated, self._woken)
        self._heard = -math.inf
        self._keepalive = Keepalive(config.echo_interval, config.echo_failures)
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
            offer=config.offer if config.credentials else (),
            on_up=self._lcp_up,
            on_down=self._lcp_down,
            on_finished=self._lcp_finished,
            on_loop=self._looped,
            on_identified=lambda text: self._tell(events.Identified(text)),
            on_protocol_reject=self._protocol_rejected,
        )
        lcp.bind(self._emit, self._random, self.count, config.timing)
        return lcp

    def attach(self, control: ControlProtocol, on_packet: Handler) -> None:
        """Speak a network protocol, from the next `up` on: `on_packet(information, now)` takes its packets while it
        is open. Raises ValueError when one of its numbers is taken."""
        for number in (control.protocol, *control.data_protocols):
            if self._kind(number) is not Kind.UNKNOWN:
                raise ValueError(f"the link speaks {protocol_name(number)} already")
        network = _Attached(control, dict.fromkeys(control.data_protocols, on_packet))
        self._networks[control.protocol] = network

        def layer(up: bool, now: float) -> None:
            self._network_layer(network, up, now)

        control.bind(self._emit, self._random, self.count, self.config.timing, layer, self._woken)
        control.open(0.0)

    def deliver(self, data_protocol: int, to: Handler) -> None:
        """From now on `to` takes the packets of this number, so that nothing need stand between the link and
        whoever a packet is for. KeyError when no attached protocol has it."""
        network = next((each for each in self._networks.values() if data_protocol in each.handlers), None)
        if network is None:
            raise KeyError(data_protocol)
        network.handlers[data_protocol] = to
        if data_protocol in self._data:
            self._let_flow(data_protocol, to)

    @property
    def phase(self) -> Phase:
        phase = _PHASES.get(self.lcp.state)
        if phase is not None:
            return phase
        return Phase.AUTHENTICATE if self._authentication.waiting else Phase.NETWORK

    def status(self) -> dict[str, object]:
        """For people and programs: plain data."""
        return {
            "phase": self.phase.value,
            "identity": self.identity.name if self.identity is not None else None,
            "options": self.lcp.agreed() if self.lcp.opened else "",
            "peer_mru": self.peer_mru,
            "networks": {network.control.name: network.control.status() for network in self._networks.values()},
            "counters": dict(self.count),
        }

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
        self._authentication.tick(now)
        for network in self._networks.values():
            network.control.tick(now)
        act = self._keepalive.tick(self._heard, now)
        if act is not Act.NOTHING and self.lcp.echo_refused:
            self._keepalive.stop()
        elif act is Act.ECHO:
            self.lcp.echo()
        elif act is Act.GIVE_UP:
            self.lcp.fail(now, f"no answer to {self.config.echo_failures} echo requests")
        self._settle()

    def _settle(self) -> None:
        self.deadline = min(
            self.lcp.deadline,
            self._keepalive.deadline,
            self._authentication.deadline,
            *[network.control.deadline for network in self._networks.values()],
        )

    def _woken(self) -> None:
        """One of the protocols has been given an answer that it waited for."""
        self._settle()
        self._wake()

    # frames in

    def receive(self, frame: bytes, now: float) -> None:
        """One frame: protocol field, in one octet or two, and information."""
        if not frame:
            return
        self._heard = now
        to = self._short[frame[0]]
        if to is not None:
            to(frame[1:], now)
            return
        to = self._data.get(int.from_bytes(frame[:2], "big"))
        if to is not None:
            to(frame[2:], now)
            return
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
            if not self._authentication.receive(protocol, information, now):
                self.count["auth.dropped"] += 1
        elif kind is Kind.UNKNOWN:
            self.count["link.protocol_rejected"] += 1
            self.lcp.protocol_reject(protocol, information)
        else:  # data of a network protocol that is not open
            self.count["link.out_of_phase"] += 1

    def _kind(self, protocol: int) -> Kind:
        if protocol == Protocol.LCP:
            return Kind.LCP
        if protocol in self._networks:
            return Kind.CONTROL
        if self._authentication.speaks(protocol):
            return Kind.AUTH
        if any(protocol in network.handlers for network in self._networks.values()):
            return Kind.DATA
        return Kind.UNKNOWN

    # LCP's layer

    def _lcp_up(self, now: float) -> None:
        lcp = self.lcp
        self.peer_mru = lcp.mru.theirs
        lcp.longest = min(DEFAULT_MRU, self.peer_mru)
        self._parameters(
            LinkParameters(
                tx_accm=lcp.accm.theirs,
                acfc=lcp.acfc.theirs,
                pfc=lcp.pfc.theirs,
                rx_accm=lcp.accm.ours,
                peer_mru=self.peer_mru,
            )
        )
        self._keepalive.start(now)
        self._tell(events.Established(lcp.agreed(), self._seconds(now)))
        self._authenticate(now)

    def _lcp_down(self, now: float) -> None:
        reason = self.lcp.reason or self._why_down()
        for number in list(self._data):
            self._let_flow(number, None)
        self._keepalive.stop()
        self._authentication.clear()
        # negotiating anew begins with the request that ended this link, any other end with one still to come
        self._begun = now if self.lcp.last_code == Code.CONFIGURE_REQUEST else None
        self.lcp.longest = DEFAULT_MRU
        self.peer_mru = DEFAULT_MRU
        self._closing = True
        for network in self._networks.values():
            network.control.down(now)
        self._closing = False
        self.identity = None
        self._parameters(LinkParameters())
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
        elif not self._authentication.start(auth.ours, auth.theirs, self.lcp.longest, now):
            self._networks_up(now)

    def _authenticated(self, method: str, outcome: Outcome, of_peer: bool, now: float) -> None:
        if isinstance(outcome, Failure):
            self._tell(events.AuthFailed(outcome.name, method, outcome.reason))
            self.lcp.fail(now, "authentication failed")
            return
        if of_peer:
            self.identity = outcome
            self._tell(events.Authenticated(outcome.name, method))
        if self._authentication.passed:
            self._networks_up(now)

    # network protocols

    def _networks_up(self, now: float) -> None:
        for network in self._networks.values():
            network.control.longest = self.lcp.longest
            network.control.up(now)

    def _network_layer(self, network: _Attached, up: bool, now: float) -> None:
        control = network.control
        if up:
            for number, to in network.handlers.items():
                self._let_flow(number, to)
            name = self.identity.name if self.identity else ""
            addresses, options = control.summary()
            agreed = ", ".join(filter(None, (self.lcp.agreed(), options)))
            self._tell(events.NetworkUp(control.name, addresses, agreed, name, self._seconds(now)))
            return
        for number in network.handlers:
            self._let_flow(number, None)
        if self.lcp.opened and not self._closing:
            reason = control.reason or control.peer_reason or f"{self.config.peer} negotiates it anew"
            self._tell(events.NetworkDown(control.name, reason))

    def _let_flow(self, number: int, to: Handler | None) -> None:
        """`to` takes the packets of this number from now on; None: they are not looked at."""
        if to is None:
            self._data.pop(number, None)
        else:
            self._data[number] = to
        if number & 1 and number < 0x100:  # it may come in one octet (RFC 1661 section 6.5)
            self._short[number] = to

    def _protocol_rejected(self, protocol: int, now: float) -> None:
        """RFC 1661 section 5.7: stop that protocol at once, and only that one."""
        if self._authentication.speaks(protocol):
            self._tell(events.ProtocolRejected(protocol_name(protocol)))
            self.lcp.fail(now, f"{self.config.peer} refuses to authenticate after all")
            return
        for number, network in self._networks.items():
            if protocol == number or protocol in network.handlers:
                self._tell(events.ProtocolRejected(protocol_name(protocol)))
                network.control.reason = f"{self.config.peer} does not have it"
                network.control.down(now)
                network.control.reason = ""

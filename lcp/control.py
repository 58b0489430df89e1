"""What LCP and every NCP have in common: Configure, Terminate and Code-Reject packets (RFC 1661 sections 5.1 to 5.6).

A `ControlProtocol` joins an `Automaton` and a `Negotiator`: it turns packets into events and actions into
packets. In: `receive(information, now)`, `tick(now)`, and the lower layer's `up`/`down`. Out: packets through
`emit(protocol, information)`, and `on_up(now)`, `on_down(now)`, `on_finished(now)` for the layer above. It
knows no option and no phase. A subclass gives `protocol`, `name`, the options and, for a network protocol, the
numbers of the packets that flow while it is open; it may handle more codes.

An answer to a Configure-Request may have to wait for somebody (`prepare`, `ready`). The request is kept
meanwhile, the peer repeats it, and the latest is answered.

An answer must carry the identifier of our latest Configure-Request, and only the first one counts: a
duplicated Ack on a noisy line is not the crossed connection of RFC 1661's table, and drops no link.
"""

import math
import random as random_module
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

from lcp.fsm import NEGOTIATING, Automaton, Event, State, Timing
from lcp.options import Answer, Negotiator, Option
from lcp.packet import DEFAULT_MRU, Code, ControlPacket, build, parse, printable

Emit = Callable[[int, bytes], None]
Told = Callable[[float], None]
"""Hears the time at which something became of the layer."""


def nothing(now: float) -> None:
    """For whoever need not hear it."""


def _no_news() -> None: ...


class ControlProtocol:
    protocol: ClassVar[int]
    data_protocols: ClassVar[tuple[int, ...]] = ()
    """Numbers of the packets that flow while this protocol is open (RFC 1661 section 2: 0x0000 to 0x7fff)."""
    name: ClassVar[str]

    def __init__(
        self,
        options: Sequence[Option],
        *,
        on_up: Told = nothing,
        on_down: Told = nothing,
        on_finished: Told = nothing,
    ) -> None:
        self.negotiator = Negotiator(options)
        self.automaton = Automaton(self)
        self._on_up = on_up
        self._on_down = on_down
        self._on_finished = on_finished
        self.longest = DEFAULT_MRU
        """No packet is longer than this: 1500, or the peer's MRU when that is less."""
        self.peer_reason = ""
        """Why the peer ended the layer, from its Terminate-Request; printable, often empty."""
        self.reason = ""
        """Why we end it: the text of our Terminate-Request."""
        self._id = 0
        self._request = ControlPacket(0, 0, b"")
        self._answered = True
        self._answer: Answer | None = None
        self._received = ControlPacket(0, 0, b"")
        self.count: Counter[str] = Counter()
        self.random = random_module.Random(0)
        self._emit: Emit = lambda protocol, information: None
        self._layer: Callable[[bool, float], None] = lambda up, now: None
        self._wake: Callable[[], None] = _no_news
        self._kept: ControlPacket | None = None  # a Configure-Request that waits for `ready`
        self._judge_at = math.inf
        self._actions: dict[str, Callable[[float], None]] = {
            "tlu": self._tlu,
            "tld": self._tld,
            "tls": nothing,
            "tlf": self._tlf,
            "scr": self._scr,
            "sca": self._sca,
            "scn": self._sca,
            "str": self._str,
            "sta": self._sta,
            "scj": self._scj,
            "ser": self._ser,
        }

    def bind(
        self,
        emit: Emit,
        random: random_module.Random,
        count: Counter[str],
        timing: Timing,
        layer: Callable[[bool, float], None] | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        """What the link gives to each of its protocols, before the first event.

        `layer(up, now)` is the link's own ear for what `on_up` and `on_down` tell the protocol's user;
        `wake()` tells it that `deadline` has moved though nothing was received.
        """
        self._emit = emit
        if layer is not None:
            self._layer = layer
        if wake is not None:
            self._wake = wake
        self.random = random
        self.count = count
        self.automaton.timing = timing
        self.negotiator.max_failure = timing.max_failure

    @property
    def state(self) -> State:
        return self.automaton.state

    @property
    def last_code(self) -> int:
        """The code of the packet handled last."""
        return self._received.code

    @property
    def opened(self) -> bool:
        return self.automaton.state == State.OPENED

    @property
    def deadline(self) -> float:
        return min(self.automaton.deadline, self._judge_at)

    def open(self, now: float) -> None:
        self.automaton.event(Event.OPEN, now)

    def close(self, now: float, reason: str = "") -> None:
        """End the layer for good (until `open`)."""
        self.reason = reason
        self._forget_request()
        self.automaton.event(Event.CLOSE, now)

    def fail(self, now: float, reason: str = "") -> None:
        """End the layer, but answer the peer when it begins anew: on to Stopped, not Closed."""
        self.reason = reason
        self._forget_request()
        self.automaton.event(Event.RXJ_MINUS, now)

    def up(self, now: float) -> None:
        self.automaton.event(Event.UP, now)

    def down(self, now: float) -> None:
        self._forget_request()
        self.automaton.event(Event.DOWN, now)

    def tick(self, now: float) -> None:
        if now >= self._judge_at:
            self._judge_at = math.inf
            if self._kept is not None:
                self._received = self._kept
                self._on_request(self._kept.data, now)
        self.automaton.tick(now)

    def ready(self) -> None:
        """What `prepare` has asked for is there: the request that waits for it is answered at the next tick."""
        self._judge_at = -math.inf
        self._wake()

    def status(self) -> dict[str, object]:
        """For people and programs: plain data."""
        return {"state": self.state.name.lower(), "addresses": self.summary()[0] if self.opened else ""}

    # packets in

    def receive(self, information: bytes, now: float) -> None:
        packet = parse(information)
        if packet is None:
            self._drop("bad_length")
        elif self.automaton.state <= State.STARTING:
            self._drop("not_up")
        else:
            self._received = packet
            self.handle(packet, now)

    def handle(self, packet: ControlPacket, now: float) -> None:
        """One well-formed packet while the lower layer is up. Subclasses take their own codes first."""
        code, identifier, data = packet
        if code == Code.CONFIGURE_REQUEST:
            self._on_request(data, now)
        elif code in (Code.CONFIGURE_ACK, Code.CONFIGURE_NAK, Code.CONFIGURE_REJECT):
            self._on_answer(packet, now)
        elif code == Code.TERMINATE_REQUEST:
            self.peer_reason = printable(data)
            self._forget_request()
            self.automaton.event(Event.RTR, now)
        elif code == Code.TERMINATE_ACK:
            self.automaton.event(Event.RTA, now)
        elif code == Code.CODE_REJECT:
            self._on_code_reject(data, now)
        else:
            self._drop("unknown_code")
            self.automaton.event(Event.RUC, now)

    def _on_request(self, data: bytes, now: float) -> None:
        self.automaton.expect_anew(now)
        if not self.prepare(data):
            self._kept = self._received
            return
        self._kept = None
        answer = self.negotiator.judge(data, self.longest - 4)
        if answer is None:
            self._drop("bad_options")
            return
        if self.refuse(now):
            return
        self._answer = answer
        good = answer.code == Code.CONFIGURE_ACK
        self.automaton.event(Event.RCR_PLUS if good else Event.RCR_MINUS, now)
        self.automaton.hurry(now)

    def _forget_request(self) -> None:
        self._kept = None
        self._judge_at = math.inf
        self.abandon()

    def prepare(self, data: bytes) -> bool:
        """For a subclass: get what is needed to judge a Configure-Request with `data`; False when that takes
        time, and `ready` will be called."""
        return True

    def abandon(self) -> None:
        """For a subclass: the negotiation is over for which `prepare` has asked something."""

    def refuse(self, now: float) -> bool:
        """For a subclass: judging the request showed that there is nothing to negotiate."""
        return False

    def _on_answer(self, packet: ControlPacket, now: float) -> None:
        code, identifier, data = packet
        if self.automaton.state not in NEGOTIATING and self.automaton.state != State.OPENED:
            self.automaton.event(Event.RCA if code == Code.CONFIGURE_ACK else Event.RCN, now)
            return
        if identifier != self._request.id or self._answered:
            self._drop("wrong_id")
            return
        if code == Code.CONFIGURE_ACK:
            good = data == self._request.data
        elif code == Code.CONFIGURE_NAK:
            good = self.negotiator.take_nak(data)
        else:
            good = self.negotiator.take_reject(data, self._request.data)
        if not good:
            self._drop("bad_answer")
            return
        self._answered = True
        self.automaton.event(Event.RCA if code == Code.CONFIGURE_ACK else Event.RCN, now)

    def _on_code_reject(self, data: bytes, now: float) -> None:
        """The codes every implementation must have make it fatal (RFC 1661 section 4.3: RXJ-)."""
        if not data:
            self._drop("bad_length")
        elif Code.CONFIGURE_REQUEST <= data[0] <= Code.CODE_REJECT:
            self.reason = "the peer rejects a packet that PPP cannot do without"
            self.automaton.event(Event.RXJ_MINUS, now)
        else:
            self.code_rejected(data[0])
            self.automaton.event(Event.RXJ_PLUS, now)

    def summary(self) -> tuple[str, str]:
        """(addresses, options) agreed, in words, for an event."""
        return "", ""

    def code_rejected(self, code: int) -> None:
        """For a subclass: the peer does not know `code`; it must not be sent again."""

    def _drop(self, why: str) -> None:
        self.count[f"{self.name.lower()}.{why}"] += 1

    # packets out

    def send(self, code: int, identifier: int, data: bytes = b"") -> None:
        """One packet, its data cut to what the peer takes."""
        self._emit(self.protocol, build(code, identifier, data[: self.longest - 4]))

    def next_id(self) -> int:
        self._id = self._id + 1 & 0xFF
        return self._id

    def act(self, action: str, now: float) -> None:
        """The automaton's actions (RFC 1661 section 4.4)."""
        self._actions[action](now)

    def _tlu(self, now: float) -> None:
        self.reason = self.peer_reason = ""
        self._on_up(now)
        self._layer(True, now)

    def _tld(self, now: float) -> None:
        self._layer(False, now)
        self._on_down(now)

    def _tlf(self, now: float) -> None:
        self._on_finished(now)

    def _scr(self, now: float) -> None:
        if self.automaton.state not in NEGOTIATING:
            self.negotiator.restart()
            self._answered = True
        data = self.negotiator.request()
        # the same packet again when nobody answered, else a new identifier (RFC 1661 section 5.1)
        identifier = self.next_id() if self._answered or data != self._request.data else self._request.id
        self._request = ControlPacket(Code.CONFIGURE_REQUEST, identifier, data)
        self._answered = False
        self.send(*self._request)

    def _sca(self, now: float) -> None:
        if self._answer is not None:
            self.negotiator.sent(self._answer)
            self.send(self._answer.code, self._received.id, self._answer.data)

    def _str(self, now: float) -> None:
        self.send(Code.TERMINATE_REQUEST, self.next_id(), self.reason.encode("ascii", "replace"))

    def _sta(self, now: float) -> None:
        answering = self._received.code == Code.TERMINATE_REQUEST
        self.send(Code.TERMINATE_ACK, self._received.id if answering else self.next_id())

    def _scj(self, now: float) -> None:
        self.send(Code.CODE_REJECT, self.next_id(), build(*self._received))

    def _ser(self, now: float) -> None:
        """Echo-Reply, for a subclass that has it."""

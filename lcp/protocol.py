"""LCP: the options of RFC 1661 section 6, and the codes that only LCP has (sections 5.7 to 5.9; RFC 1570 section 1.1).

In and out as in `lcp.control`; besides, hooks for what the link has to know: a protocol the peer rejects,
its Identification, a looped line. It knows no phase and does not run the keepalive.
"""

import random as random_module
from collections.abc import Callable, Sequence

from lcp.control import ControlProtocol, Told, nothing
from lcp.fsm import Event, State
from lcp.hdlc import DEFAULT_ACCM
from lcp.options import ACK, REJECT, Option, Verdict, nak
from lcp.packet import DEFAULT_MRU, Code, ControlPacket, Protocol, printable

MRU_LEAST = 68
"""The least MRU agreed to: what IPv4 must pass unfragmented (RFC 791 section 3.2)."""
LOOPS_MOST = 10
"""Our own Magic-Number back this many times in a row means a looped line (as pppd's lcp-max-configure)."""

PAP = b"\xc0\x23"
CHAP_MD5 = b"\xc2\x23\x05"
_AUTH_NAMES = {
    PAP: "pap",
    CHAP_MD5: "chap MD5",
    b"\xc2\x23\x80": "chap MS",
    b"\xc2\x23\x81": "chap MS-v2",
    b"\xc2\x27": "eap",
}
"""RFC 1994 section 3: the algorithm octet after c223; names of those that peers offer."""


class MaximumReceiveUnit(Option):
    """RFC 1661 section 6.1. Ours is left out when it is the default."""

    type, name, length = 1, "mru", 2

    def __init__(self, mru: int = DEFAULT_MRU) -> None:
        self.wanted = self.ours = mru
        self.theirs = DEFAULT_MRU

    def restart(self) -> None:
        self.ours = self.wanted

    def request(self) -> bytes | None:
        return None if self.ours == DEFAULT_MRU else self.ours.to_bytes(2, "big")

    def nak(self, value: bytes) -> None:
        suggested = int.from_bytes(value, "big")
        if MRU_LEAST <= suggested <= max(self.wanted, DEFAULT_MRU):
            self.ours = suggested

    def reject(self) -> None:
        self.ours = DEFAULT_MRU

    def judge(self, value: bytes) -> Verdict:
        return ACK if int.from_bytes(value, "big") >= MRU_LEAST else nak(self.sample())

    def sample(self) -> bytes:
        return MRU_LEAST.to_bytes(2, "big")

    def accept(self, value: bytes | None) -> None:
        self.theirs = DEFAULT_MRU if value is None else int.from_bytes(value, "big")

    @classmethod
    def describe(cls, value: bytes) -> str:
        return f"mru {int.from_bytes(value, 'big')}"


class AsyncControlCharacterMap(Option):
    """RFC 1662 section 7.1: the control octets that have to be escaped toward whoever sends the option."""

    type, name, length = 2, "asyncmap", 4

    def __init__(self, accm: int = 0) -> None:
        self.wanted = self.ours = accm
        self.theirs = DEFAULT_ACCM

    def restart(self) -> None:
        self.ours = self.wanted

    def request(self) -> bytes | None:
        return None if self.ours == DEFAULT_ACCM else self.ours.to_bytes(4, "big")

    def nak(self, value: bytes) -> None:
        self.ours |= int.from_bytes(value, "big")

    def reject(self) -> None:
        self.ours = DEFAULT_ACCM

    def judge(self, value: bytes) -> Verdict:
        return ACK

    def accept(self, value: bytes | None) -> None:
        self.theirs = DEFAULT_ACCM if value is None else int.from_bytes(value, "big")

    @classmethod
    def describe(cls, value: bytes) -> str:
        return f"asyncmap 0x{int.from_bytes(value, 'big'):x}"


class AuthenticationProtocol(Option):
    """RFC 1661 section 6.2. `demand`: what we ask of the peer, best first; `offer`: what we can do ourselves.

    `refused` says that the peer would do none of `demand`. `ours` is what the peer has agreed to show us,
    `theirs` what we have agreed to show it, each with the algorithm octet of CHAP. `denied` is what the peer
    asked for last that we cannot show it: the reason when it hangs up.
    """

    type, name, length = 3, "auth", None

    def __init__(self, demand: Sequence[bytes] = (), offer: Sequence[bytes] = ()) -> None:
        self.demand = tuple(demand)
        self.offer = tuple(offer)
        self.theirs: bytes | None = None
        self.denied: bytes | None = None
        self.restart()

    def restart(self) -> None:
        self._left = list(self.demand)
        self.refused = False

    @property
    def ours(self) -> bytes | None:
        return self._left[0] if self._left else None

    def request(self) -> bytes | None:
        return self.ours

    def nak(self, value: bytes) -> None:
        if not self.demand:
            return
        if value in self._left[1:]:
            self._left.remove(value)
            self._left.insert(0, value)
        elif value != self.ours:
            del self._left[:1]
        self.refused = not self._left

    def reject(self) -> None:
        self._left = []
        self.refused = bool(self.demand)

    def judge(self, value: bytes) -> Verdict:
        if value in self.offer:
            return ACK
        self.denied = value
        return nak(self.offer[0]) if self.offer else REJECT

    def accept(self, value: bytes | None) -> None:
        self.theirs = value
        if value is not None:
            self.denied = None

    @classmethod
    def describe(cls, value: bytes) -> str:
        return f"auth {_AUTH_NAMES.get(value, value.hex())}"


class MagicNumber(Option):
    """RFC 1661 section 6.4. `repeats` counts requests of the peer in a row that carry our own number."""

    type, name, length = 5, "magic", 4

    def __init__(self, random: random_module.Random | None = None) -> None:
        self.random = random or random_module.Random(0)
        self.repeats = 0
        self.theirs = 0
        self._asking = True
        self.ours = 0

    def _draw(self) -> int:
        return self.random.getrandbits(32) or 1

    def restart(self) -> None:
        self._asking = True
        self.ours = self._draw()

    def request(self) -> bytes | None:
        return self.ours.to_bytes(4, "big") if self._asking else None

    def nak(self, value: bytes) -> None:
        self.ours = self._draw()

    def reject(self) -> None:
        self._asking = False
        self.ours = 0

    def judge(self, value: bytes) -> Verdict:
        theirs = int.from_bytes(value, "big")
        looped = theirs == self.ours != 0
        self.repeats = self.repeats + 1 if looped else 0
        if looped or not theirs:
            return nak(self._draw().to_bytes(4, "big"), patient=looped)
        return ACK

    def sample(self) -> bytes:
        return self._draw().to_bytes(4, "big")

    def accept(self, value: bytes | None) -> None:
        self.theirs = int.from_bytes(value or b"", "big")

    @classmethod
    def describe(cls, value: bytes) -> str:
        return f"magic 0x{value.hex()}"


class _Boolean(Option):
    """An option without a value: there or not there."""

    length = 0

    def __init__(self, wanted: bool = True) -> None:
        self.wanted = self.ours = wanted
        self.theirs = False

    def restart(self) -> None:
        self.ours = self.wanted

    def request(self) -> bytes | None:
        return b"" if self.ours else None

    def nak(self, value: bytes) -> None:
        self.ours = False

    def reject(self) -> None:
        self.ours = False

    def judge(self, value: bytes) -> Verdict:
        return ACK

    def accept(self, value: bytes | None) -> None:
        self.theirs = value is not None


class ProtocolFieldCompression(_Boolean):
    """RFC 1661 section 6.5."""

    type, name = 7, "pcomp"


class AddressControlFieldCompression(_Boolean):
    """RFC 1661 section 6.6."""

    type, name = 8, "accomp"


class _Named(Option):
    """An option that we refuse, known to the trace by name only."""


class QualityProtocol(_Named):
    type, name = 4, "quality"


class Callback(_Named):
    type, name = 13, "callback"


class MultilinkMrru(_Named):
    type, name = 17, "mrru"


class EndpointDiscriminator(_Named):
    type, name = 19, "endpoint"


DESCRIBED: dict[int, type[Option]] = {
    option.type: option
    for option in (
        MaximumReceiveUnit,
        AsyncControlCharacterMap,
        AuthenticationProtocol,
        QualityProtocol,
        MagicNumber,
        ProtocolFieldCompression,
        AddressControlFieldCompression,
        Callback,
        MultilinkMrru,
        EndpointDiscriminator,
    )
}
"""The options a trace can put into words."""


class Lcp(ControlProtocol):
    """`on_loop(now)`: the line is looped; `on_identified(text)`: the peer's Identification; `on_protocol_reject(number,
    now)`: the peer does not speak that protocol."""

    protocol = Protocol.LCP
    name = "LCP"

    def __init__(
        self,
        random: random_module.Random,
        *,
        mru: int = DEFAULT_MRU,
        accm: int = 0,
        pfc: bool = True,
        acfc: bool = True,
        demand: Sequence[bytes] = (),
        offer: Sequence[bytes] = (),
        on_up: Told = nothing,
        on_down: Told = nothing,
        on_finished: Told = nothing,
        on_loop: Told = nothing,
        on_identified: Callable[[str], None] = lambda text: None,
        on_protocol_reject: Callable[[int, float], None] = lambda protocol, now: None,
    ) -> None:
        self.mru = MaximumReceiveUnit(mru)
        self.accm = AsyncControlCharacterMap(accm)
        self.auth = AuthenticationProtocol(demand, offer)
        self.magic = MagicNumber(random)
        self.pfc = ProtocolFieldCompression(pfc)
        self.acfc = AddressControlFieldCompression(acfc)
        options = [self.mru, self.accm, self.auth, self.magic, self.pfc, self.acfc]
        super().__init__(options, on_up=on_up, on_down=on_down, on_finished=on_finished)
        self._on_loop = on_loop
        self._on_identified = on_identified
        self._protocol_rejected = on_protocol_reject
        self._echoed = False  # the last Configure-Request was our own
        self.echo_refused = False
        """The peer has said that it does not know Echo-Request: the keepalive must stop."""

    def agreed(self) -> str:
        """The options in force: 'mru 1500 in, 296 out, asyncmap 0 in, 0 out, pcomp both ways, auth chap MD5'."""
        words = [
            f"mru {self.mru.ours} in, {self.mru.theirs} out",
            f"asyncmap {self.accm.ours:x} in, {self.accm.theirs:x} out",
        ]
        words += [
            f"{option.name} {_WAYS[option.ours, option.theirs]}"
            for option in (self.pfc, self.acfc)
            if option.ours or option.theirs
        ]
        auth = self.auth.ours or self.auth.theirs
        if auth is not None:
            words.append(AuthenticationProtocol.describe(auth))
        return ", ".join(words)

    def handle(self, packet: ControlPacket, now: float) -> None:
        code, _, data = packet
        if code == Code.PROTOCOL_REJECT:
            self._on_protocol_reject(data, now)
        elif code in (Code.ECHO_REQUEST, Code.ECHO_REPLY, Code.DISCARD_REQUEST, Code.IDENTIFICATION):
            if len(data) < 4:
                self._drop("bad_length")
            elif code == Code.IDENTIFICATION:
                self._on_identified(printable(data[4:]))
            elif self.opened:
                self._on_echo(code, data, now)
            else:
                self._drop("not_opened")
        else:
            super().handle(packet, now)

    def refuse(self, now: float) -> bool:
        looped = self.magic.repeats > 0
        if self._echoed and not looped:
            # A terminal that was still echoing (a guest whose pppd has just opened its port) took our requests.
            self.automaton.unheard()
        self._echoed = looped
        if self.magic.repeats < LOOPS_MOST:
            return False
        self.magic.repeats = 0
        self._on_loop(now)
        return True

    def _on_echo(self, code: int, data: bytes, now: float) -> None:
        magic = int.from_bytes(data[:4], "big")
        if code != Code.ECHO_REPLY and magic == self.magic.ours != 0:
            # our own packet, or one made to look like it (RFC 1661 sections 5.8 and 6.4)
            self._on_loop(now)
            return
        self.automaton.event(Event.RXR, now)

    def _on_protocol_reject(self, data: bytes, now: float) -> None:
        if len(data) < 2:
            self._drop("bad_length")
        elif not self.opened:
            self._drop("not_opened")
        elif data[:2] == b"\xc0\x21":
            self.fail(now, "the peer rejects LCP itself")
        else:
            self._protocol_rejected(int.from_bytes(data[:2], "big"), now)
            self.automaton.event(Event.RXJ_PLUS, now)

    def code_rejected(self, code: int) -> None:
        if code == Code.ECHO_REQUEST:
            self.echo_refused = True

    # packets out

    def echo(self) -> None:
        """Send an Echo-Request; the caller has seen that LCP is open."""
        self.send(Code.ECHO_REQUEST, self.next_id(), self.magic.ours.to_bytes(4, "big"))

    def protocol_reject(self, protocol: int, information: bytes) -> None:
        self.send(Code.PROTOCOL_REJECT, self.next_id(), protocol.to_bytes(2, "big") + information)

    def _ser(self, now: float) -> None:
        if self._received.code == Code.ECHO_REQUEST:
            data = self.magic.ours.to_bytes(4, "big") + self._received.data[4:]
            self.send(Code.ECHO_REPLY, self._received.id, data)

    def _scr(self, now: float) -> None:
        if self.state in (State.STARTING, State.CLOSED, State.STOPPED):
            self.echo_refused = False
        super()._scr(now)


_WAYS = {(True, True): "both ways", (True, False): "in", (False, True): "out"}

"""The Authenticate phase of one link, in both directions (RFC 1661 section 3.5).

In: which methods LCP has agreed on, packets of PAP and CHAP, the clock. Out: packets through
`emit(protocol, information)`, and `judged(method, outcome, of_peer, now)` once for each side: "PAP" or "CHAP",
the Identity or the Failure, and whether it is the peer's or our own. It knows no phase and no other protocol.
"""

import math
import random as random_module
from collections.abc import Callable

from lcp.auth.chap import ChapClient, ChapServer
from lcp.auth.pap import PapClient, PapServer
from lcp.auth.secrets import Authenticator, Identity
from lcp.auth.side import Done, Outcome, Send, Side
from lcp.config import Credentials, LinkConfig
from lcp.packet import DEFAULT_MRU, Protocol, build, parse
from lcp.protocol import PAP


class Authentication:
    """`wake` is called when a verdict comes that was waited for: `deadline` is due then."""

    def __init__(
        self,
        config: LinkConfig,
        emit: Callable[[int, bytes], None],
        random: random_module.Random,
        judged: Callable[[str, Outcome, bool, float], None],
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._emit = emit
        self._random = random
        self._judged = judged
        self._wake = wake
        self._longest = DEFAULT_MRU
        self._sides: list[tuple[int, Side]] = []
        self._own_challenge = b""

    def start(self, ours: bytes | None, theirs: bytes | None, longest: int, now: float) -> bool:
        """The phase begins; False when nobody has to show anything.

        `ours` is what the peer has agreed to show, `theirs` what we have agreed to show (values of LCP's option),
        `longest` the octets of information that the peer takes.
        """
        self._longest = longest
        authenticator, credentials = self._config.auth, self._config.credentials
        if authenticator is not None and ours is not None:
            self._sides.append(self._verifier(ours, authenticator))
        if credentials is not None and theirs is not None:
            self._sides.append(self._shower(theirs, credentials))
        sides = self._sides
        for _, side in list(sides):
            side.start(now)
        return bool(sides)

    def clear(self) -> None:
        """The link is gone: verdicts that are still to come are nobody's."""
        self._sides = []
        self._own_challenge = b""

    @property
    def deadline(self) -> float:
        return min((side.deadline for _, side in self._sides), default=math.inf)

    @property
    def waiting(self) -> bool:
        """Whether a side has no verdict yet."""
        return any(side.outcome is None for _, side in self._sides)

    @property
    def passed(self) -> bool:
        """Whether nobody has failed and nobody is waited for."""
        return all(isinstance(side.outcome, Identity) for _, side in self._sides)

    def speaks(self, protocol: int) -> bool:
        return any(protocol == number for number, _ in self._sides)

    def receive(self, protocol: int, information: bytes, now: float) -> bool:
        """One packet; False when no side could make anything of it."""
        packet = parse(information)
        good = False
        if packet is not None:
            for number, side in list(self._sides):
                if number == protocol and packet.code in side.codes:
                    good = side.receive(packet, now)
        return good

    def tick(self, now: float) -> None:
        for _, side in list(self._sides):
            side.tick(now)

    def _verifier(self, method: bytes, authenticator: Authenticator) -> tuple[int, Side]:
        timing, done = self._config.timing, self._done(method, True)
        if method == PAP:
            return Protocol.PAP, PapServer(self._sender(Protocol.PAP), done, timing, self._wake, authenticator)
        name = self._config.server_name.encode()
        send = self._sender(Protocol.CHAP)
        chap = ChapServer(send, done, timing, self._wake, authenticator, name, self._random)
        self._own_challenge = chap.challenge
        return Protocol.CHAP, chap

    def _shower(self, method: bytes, credentials: Credentials) -> tuple[int, Side]:
        user, password = credentials.user, credentials.password
        timing, done = self._config.timing, self._done(method, False)
        if method == PAP:
            return Protocol.PAP, PapClient(self._sender(Protocol.PAP), done, timing, user, password)

        def own_challenge() -> bytes:
            return self._own_challenge

        return Protocol.CHAP, ChapClient(self._sender(Protocol.CHAP), done, timing, user, password, own_challenge)

    def _done(self, method: bytes, of_peer: bool) -> Done:
        def done(outcome: Outcome, now: float) -> None:
            self._judged("PAP" if method == PAP else "CHAP", outcome, of_peer, now)

        return done

    def _sender(self, protocol: int) -> Send:
        def send(code: int, identifier: int, data: bytes) -> None:
            self._emit(protocol, build(code, identifier, data[: self._longest - 4]))

        return send

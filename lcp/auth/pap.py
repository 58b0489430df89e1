"""PAP, both sides (RFC 1334 section 2): name and password in the clear, one request and one answer.

In and out as in `lcp.auth.side`.
"""

from collections.abc import Callable
from enum import IntEnum

from lcp.auth.secrets import Answer, Authenticator, Identity, text
from lcp.auth.side import PATIENCE, Done, Failure, Send, Side, Verifier, counted
from lcp.fsm import Timing
from lcp.packet import ControlPacket, printable


class PapCode(IntEnum):
    """RFC 1334 section 2.2."""

    AUTHENTICATE_REQUEST = 1
    AUTHENTICATE_ACK = 2
    AUTHENTICATE_NAK = 3


class PapServer(Verifier):
    """Waits for Authenticate-Requests and judges them.

    A request repeated after the verdict, because our answer was lost, gets the same answer again (section 2.2.1).
    """

    name = "PAP"
    codes = frozenset({PapCode.AUTHENTICATE_REQUEST})

    def __init__(
        self, send: Send, done: Done, timing: Timing, wake: Callable[[], None], authenticator: Authenticator
    ) -> None:
        super().__init__(send, done, timing, wake)
        self._authenticator = authenticator

    def start(self, now: float) -> None:
        self.deadline = now + PATIENCE

    def expire_unasked(self, now: float) -> None:
        self.finish(Failure("", "no name and password came"), now)

    def receive(self, packet: ControlPacket, now: float) -> bool:
        first = counted(packet.data)
        second = counted(first[1]) if first else None
        if first is None or second is None:
            return False
        name, password = first[0], second[0]

        def check(answer: Answer) -> None:
            self._authenticator.check_pap(name, password, answer)

        self.judge(name, packet.id, check, now)
        return True

    def announce(self, identifier: int, good: bool) -> None:
        if good:
            self.send(PapCode.AUTHENTICATE_ACK, identifier, b"\x00")
        else:
            # the peer is not told whether the name or the password was wrong
            self.send(PapCode.AUTHENTICATE_NAK, identifier, b"\x14Authentication error")


class PapClient(Side):
    """Shows our name and password, again every Restart period, until it is answered."""

    name = "PAP"
    codes = frozenset({PapCode.AUTHENTICATE_ACK, PapCode.AUTHENTICATE_NAK})

    def __init__(
        self,
        send: Send,
        done: Done,
        timing: Timing,
        user: bytes,
        password: bytes,
    ) -> None:
        super().__init__(send, done, timing)
        self._user = user
        self._data = bytes((len(user),)) + user + bytes((len(password),)) + password
        self._id = 0

    def start(self, now: float) -> None:
        self.expire(now)

    def expire(self, now: float) -> None:
        if self.again(now):
            self._id = self._id + 1 & 0xFF
            self.send(PapCode.AUTHENTICATE_REQUEST, self._id, self._data)

    def receive(self, packet: ControlPacket, now: float) -> bool:
        if packet.id != self._id or self.outcome is not None:
            return False
        message = counted(packet.data)
        if packet.code == PapCode.AUTHENTICATE_ACK:
            self.finish(Identity(text(self._user)), now)
        else:
            said = printable(message[0]) if message else ""
            self.finish(Failure(text(self._user), said or "the peer refuses it"), now)
        return True

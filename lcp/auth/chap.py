"""CHAP with MD5, both sides (RFC 1994): a challenge, a digest, a verdict.

In and out as in `lcp.auth.side`.
"""

import random as random_module
from collections.abc import Callable
from enum import IntEnum

from lcp.auth.secrets import Answer, Authenticator, Identity, chap_md5, text
from lcp.auth.side import Done, Failure, Send, Side, Verifier, counted
from lcp.fsm import Timing
from lcp.packet import ControlPacket, printable


class ChapCode(IntEnum):
    """RFC 1994 section 4."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


class ChapServer(Verifier):
    """Challenges, again every Restart period, and judges the first Response to it.

    A Response repeated after the verdict gets the same answer (section 4.1); one to another challenge none.
    """

    name = "CHAP"
    codes = frozenset({ChapCode.RESPONSE})

    def __init__(
        self,
        send: Send,
        done: Done,
        timing: Timing,
        wake: Callable[[], None],
        authenticator: Authenticator,
        server: bytes,
        random: random_module.Random,
    ) -> None:
        super().__init__(send, done, timing, wake)
        self._authenticator = authenticator
        self._server = server
        self._id = random.getrandbits(8)
        self.challenge = random.randbytes(16)

    def start(self, now: float) -> None:
        self.expire_unasked(now)

    def expire_unasked(self, now: float) -> None:
        if self.again(now):
            data = bytes((len(self.challenge),)) + self.challenge + self._server
            self.send(ChapCode.CHALLENGE, self._id, data)

    def receive(self, packet: ControlPacket, now: float) -> bool:
        response = counted(packet.data)
        if response is None or packet.id != self._id:
            return False
        value, name = response

        def check(answer: Answer) -> None:
            self._authenticator.check_chap(name, packet.id, self.challenge, value, answer)

        self.judge(name, packet.id, check, now)
        return True

    def announce(self, identifier: int, good: bool) -> None:
        if good:
            self.send(ChapCode.SUCCESS, identifier, b"Welcome")
        else:
            self.send(ChapCode.FAILURE, identifier, b"Authentication error")


class ChapClient(Side):
    """Answers challenges, at any time, except one that we made ourselves (`own_challenge` says which)."""

    name = "CHAP"
    codes = frozenset({ChapCode.CHALLENGE, ChapCode.SUCCESS, ChapCode.FAILURE})

    def __init__(
        self,
        send: Send,
        done: Done,
        timing: Timing,
        user: bytes,
        password: bytes,
        own_challenge: Callable[[], bytes],
    ) -> None:
        super().__init__(send, done, timing)
        self._user = user
        self._password = password
        self._own_challenge = own_challenge
        self._id = -1

    def start(self, now: float) -> None:
        self.deadline = now + self.timing.restart * self.timing.max_configure

    def expire(self, now: float) -> None:
        self.finish(Failure("", "no challenge and no verdict came"), now)

    def receive(self, packet: ControlPacket, now: float) -> bool:
        if packet.code == ChapCode.CHALLENGE:
            challenge = counted(packet.data)
            if challenge is None or not challenge[0] or challenge[0] == self._own_challenge():
                return False
            self._id = packet.id
            value = chap_md5(packet.id, self._password, challenge[0])
            self.send(ChapCode.RESPONSE, packet.id, bytes((len(value),)) + value + self._user)
            return True
        if packet.id != self._id:
            return False
        if packet.code == ChapCode.SUCCESS:
            self.finish(Identity(text(self._user)), now)
        else:
            said = printable(packet.data)
            self.finish(Failure(text(self._user), said or "the peer refuses it"), now)
        return True

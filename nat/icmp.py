"""ICMP messages that the gateway itself sends: errors about a guest's packets, and answers to its echo requests.

In: the packet that caused it, and what went wrong, from a flow or from the error queue of its socket.
Out: ICMP packets on the guest's line.  It knows no sockets.
"""

import math
from errno import (
    EACCES,
    ECONNREFUSED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMSGSIZE,
    ENETDOWN,
    ENETUNREACH,
    ENOPROTOOPT,
    EPERM,
    ETIMEDOUT,
)
from typing import Final

from nat.context import Context
from nat.fragment import deliver
from nat.host import ORIGIN_ICMP, Fault
from nat.line import Line
from nat.rules import Action, Question, Verdict, deny
from nat.wire.icmp import (
    ECHO,
    FRAGMENTATION_NEEDED,
    HOST_UNREACHABLE,
    KIND,
    NETWORK_UNREACHABLE,
    PARAMETER_PROBLEM,
    PORT_UNREACHABLE,
    PROHIBITED,
    PROTOCOL_UNREACHABLE,
    QUERIES,
    TIME_EXCEEDED,
    UNREACHABLE,
    answer,
    build_icmp,
    is_echo,
    is_sound,
)
from nat.wire.ipv4 import DESTINATION, ICMP, OFFSET_MASK, PROTOCOL, SOURCE, build_ipv4, fragment_field, quoted

_NOTHING: Final = b"\0\0\0\0"
_RELAYED: Final = frozenset((UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM))

_CODES: Final = {
    ECONNREFUSED: PORT_UNREACHABLE,
    EHOSTUNREACH: HOST_UNREACHABLE,
    EHOSTDOWN: HOST_UNREACHABLE,
    ETIMEDOUT: HOST_UNREACHABLE,
    ENETUNREACH: NETWORK_UNREACHABLE,
    ENETDOWN: NETWORK_UNREACHABLE,
    ENOPROTOOPT: PROTOCOL_UNREACHABLE,
    EMSGSIZE: FRAGMENTATION_NEEDED,
    EACCES: PROHIBITED,
    EPERM: PROHIBITED,
}

RATE: Final = 50.0
"""Messages a second."""
BURST: Final = 50.0


def unreachable_code(errno: int) -> int | None:
    """The code of Destination Unreachable that says what an errno says; None when there is none."""
    return _CODES.get(errno)


class Budget:
    """How many errors a line may get (RFC 1812 section 4.3.2.8): traceroute's bursts pass, a flood does not."""

    __slots__ = ("_tokens", "_last")

    def __init__(self) -> None:
        self._tokens = BURST
        self._last = -math.inf

    def take(self, now: float) -> bool:
        """False: it is used up."""
        self._tokens = min(BURST, self._tokens + max(0.0, now - self._last) * RATE)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class ErrorSender:
    """ICMP errors toward one guest, within RFC 1122 section 3.2.2 and a rate.  One for each line."""

    def __init__(self, context: Context, line: Line, gateway: bytes) -> None:
        self._count = context.count
        self._host = context.host
        self._notify = context.notify
        self._line = line
        self._gateway = gateway
        self._budget = Budget()
        self._identification = context.random.getrandbits(16)

    def deny(self, question: Question, verdict: Verdict, packet: bytes, hlen: int, now: float) -> None:
        """The rules do not allow what the packet wants: rules.deny, and where the person is told, the guest is too."""
        deny(question, verdict, self._count, self._notify)
        if verdict.action is Action.REFUSE:
            self.send(packet, hlen, UNREACHABLE, PROHIBITED, now)

    def send(
        self,
        packet: bytes,
        hlen: int,
        kind: int,
        code: int,
        now: float,
        *,
        rest: bytes = _NOTHING,
        source: bytes | None = None,
    ) -> bool:
        """Tell the guest about its packet (at least its header and 8 octets), from `source` or the gateway.

        False when it must not be told, or not that often; the reason is counted.
        """
        if not may_answer(packet, hlen):
            self._count["icmp.error_not_due"] += 1
            return False
        if not self._budget.take(now):
            self._count["icmp.error_rate"] += 1
            return False
        self._count["icmp.error_sent"] += 1
        self._identification = (self._identification + 1) & 0xFFFF
        message = build_icmp(
            source or self._gateway,
            packet[SOURCE],
            kind,
            code,
            rest,
            quoted(packet, hlen),
            identification=self._identification,
        )
        return deliver(self._line, message, "icmp.error")  # IP options may make it too long for a small MTU

    def relay(self, quote: bytes, hlen: int, fault: Fault, now: float) -> bool:
        """Pass on what the host's kernel learned about a guest's packet, of which `quote` is the beginning.

        An ICMP message keeps its type, code and sender (traceroute lives on it), unless that was this host.
        """
        if fault.origin == ORIGIN_ICMP and fault.kind in _RELAYED and fault.code < 16:
            kind, code = fault.kind, fault.code
        else:
            found = unreachable_code(fault.errno)
            if found is None:
                self._count["icmp.error_unknown"] += 1
                return False
            kind, code = UNREACHABLE, found
        rest = _NOTHING
        if kind == UNREACHABLE and code == FRAGMENTATION_NEEDED:  # RFC 1191 section 4
            rest = min(fault.info, 0xFFFF).to_bytes(4, "big")
        source = fault.offender
        if len(source) != 4 or source[0] in (0, 127) or source[0] >= 224 or self._host.owns(source):
            source = self._gateway
        return self.send(quote, hlen, kind, code, now, rest=rest, source=source)


def may_answer(packet: bytes, hlen: int) -> bool:
    """Whether RFC 1122 section 3.2.2 allows an ICMP error about the packet."""
    if len(packet) < hlen + 8 or fragment_field(packet) & OFFSET_MASK:
        return False
    source, destination = packet[SOURCE][0], packet[DESTINATION][0]
    if destination >= 224 or source in (0, 127) or source >= 224:
        return False
    return packet[PROTOCOL] != ICMP or packet[hlen + KIND] in QUERIES


def echo_reply(packet: bytes, hlen: int, identification: int = 0) -> bytes | None:
    """The answer of whoever owns the destination of an Echo message; None when the packet is no sound one.

    As long as the request: `fragment.deliver` cuts it to the guest's MTU.
    """
    message = packet[hlen:]
    if packet[PROTOCOL] != ICMP or not is_echo(message, ECHO) or not is_sound(message):
        return None
    return build_ipv4(
        packet[DESTINATION], packet[SOURCE], ICMP, answer(message), flags=0, identification=identification
    )

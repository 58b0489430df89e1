"""Configuration Options (RFC 1661 section 6): one object an option, and the only walker over lists of them.

An `Option` knows one option in both directions: what we ask of the peer (`request`, `nak`, `reject`) and
what the peer asks of us (`judge`, `missing`, `accept`). A `Negotiator` holds the options of one protocol in
the order in which they are requested and turns packets' data into calls on them and back. Neither knows of
packets' codes, identifiers or states. LCP and every NCP use it, in both directions.

A peer may send any octets. A list whose lengths do not add up is not read (None or False comes back, and the
packet is dropped); everything else gets an answer.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from lcp.packet import Code

NAKS_TAKEN_MOST = 20
"""Naks taken from a peer in one negotiation before they count as Rejects: twice what a looped line needs."""


class Verdict(NamedTuple):
    """Our answer to one option: `code` Ack, Nak (with the `value` we would take) or Reject.

    `patient`: this Nak does not become a Reject after Max-Failure (loop detection counts for itself).
    """

    code: Code
    value: bytes = b""
    patient: bool = False


ACK = Verdict(Code.CONFIGURE_ACK)
REJECT = Verdict(Code.CONFIGURE_REJECT)


def nak(value: bytes, *, patient: bool = False) -> Verdict:
    return Verdict(Code.CONFIGURE_NAK, value, patient)


class Option:
    """Base of all options: asks for nothing, rejects what is asked. Values are without type and length."""

    type: ClassVar[int]
    name: ClassVar[str]
    length: ClassVar[int | None] = None
    """Length of a well-formed value; None when it varies."""

    # what we ask of the peer

    def restart(self) -> None:
        """A new negotiation begins: ask for what was wanted at first."""

    def request(self) -> bytes | None:
        """The value for our next Configure-Request, or None to leave the option out."""
        return None

    def nak(self, value: bytes) -> None:
        """The peer would rather have `value` (well-formed; also for an option we did not send)."""

    def reject(self) -> None:
        """The peer does not have this option; `request` must give None from here on."""

    # what the peer asks of us

    def judge(self, value: bytes) -> Verdict:
        """Our answer to `value`, which has the right length; nothing is changed yet."""
        return REJECT

    def missing(self) -> bytes | None:
        """What to append to a Nak when the peer's request lacks the option; None when it may."""
        return None

    def accept(self, value: bytes | None) -> None:
        """The peer's request has been acknowledged, with `value`, or None: without this option."""

    def sample(self) -> bytes:
        """A value of the right length, to Nak one of the wrong length with."""
        return self.missing() or bytes(self.length or 0)

    # words

    @classmethod
    def describe(cls, value: bytes) -> str:
        """'mru 1500': as pppd's debug output has it."""
        return f"{cls.name} {value.hex()}".rstrip()


def walk(data: bytes) -> list[tuple[int, bytes]] | None:
    """(type, value) of every option, in order; None when a length is under two or past the end."""
    options = []
    at = 0
    while at < len(data):
        if at + 2 > len(data) or data[at + 1] < 2 or at + data[at + 1] > len(data):
            return None
        end = at + data[at + 1]
        options.append((data[at], data[at + 2 : end]))
        at = end
    return options


def spell(options: Iterable[tuple[int, bytes]], room: int = 1 << 16) -> bytes:
    """The octets of (type, value) pairs, as many of them as fit into `room` octets."""
    out = b""
    for kind, value in options:
        option = bytes((kind, 2 + len(value))) + value
        if len(out) + len(option) > room:
            break
        out += option
    return out


class Answer(NamedTuple):
    code: Code
    data: bytes
    values: dict[int, bytes]


class Negotiator:
    def __init__(self, options: Sequence[Option], max_failure: int = 5) -> None:
        self.options = {option.type: option for option in options}
        self.max_failure = max_failure
        self._naks_sent = 0
        self._naks_taken = 0

    def restart(self) -> None:
        """A new negotiation begins. What the peer was granted stays until its next request is acked."""
        self._naks_sent = self._naks_taken = 0
        for option in self.options.values():
            option.restart()

    # what we ask

    def request(self) -> bytes:
        """The data of our next Configure-Request."""
        return spell((kind, value) for kind, option in self.options.items() if (value := option.request()) is not None)

    def take_nak(self, data: bytes) -> bool:
        """Obey a Configure-Nak; False when it is no list or names nothing we know: to be dropped.

        After many of them a Nak is taken as a Reject, so that two stubborn ends come to an end.
        """
        named = walk(data)
        if named is None:
            return False
        known = [(self.options[kind], value) for kind, value in named if kind in self.options]
        if not known:
            return False
        self._naks_taken += 1
        for option, value in known:
            if self._naks_taken > NAKS_TAKEN_MOST:
                option.reject()
            elif option.length is None or len(value) == option.length:
                option.nak(value)
        return self._naks_taken <= NAKS_TAKEN_MOST + len(self.options)

    def take_reject(self, data: bytes, requested: bytes) -> bool:
        """Obey a Configure-Reject; False unless it is a part of our request, unchanged and in order."""
        rejected, asked = walk(data), walk(requested)
        if not rejected or asked is None:
            return False
        ours = iter(asked)
        if not all(option in ours for option in rejected):
            return False
        for kind, _ in rejected:
            self.options[kind].reject()
        return True

    # what the peer asks

    def judge(self, data: bytes, room: int) -> Answer | None:
        """Our answer to a Configure-Request with `data`, of at most `room` octets of data.

        None when the list is malformed, or when it could only be acknowledged with more than `room`.
        Rejects go first and alone, then Naks with what is missing, then the Ack (RFC 1661 sections 5.2 to 5.4).
        """
        requested = walk(data)
        if requested is None:
            return None
        rejects: list[tuple[int, bytes]] = []
        naks: list[tuple[int, bytes]] = []
        values: dict[int, bytes] = {}
        stubborn = self._naks_sent >= self.max_failure
        for kind, value in requested:
            option = self.options.get(kind)
            if option is None or kind in values:  # unknown, or listed twice
                rejects.append((kind, value))
                continue
            values[kind] = value
            verdict = self._judge_one(option, value)
            if verdict.code == Code.CONFIGURE_REJECT:
                rejects.append((kind, value))
            elif verdict.code == Code.CONFIGURE_NAK:
                if stubborn and not verdict.patient:
                    rejects.append((kind, value))
                else:
                    naks.append((kind, verdict.value))
        if rejects:
            return Answer(Code.CONFIGURE_REJECT, spell(rejects, room), values)
        if not stubborn:
            naks += [
                (kind, wanted)
                for kind, option in self.options.items()
                if kind not in values and (wanted := option.missing()) is not None
            ]
        if naks:
            return Answer(Code.CONFIGURE_NAK, spell(naks, room), values)
        return Answer(Code.CONFIGURE_ACK, data, values) if len(data) <= room else None

    def _judge_one(self, option: Option, value: bytes) -> Verdict:
        if option.length is not None and len(value) != option.length:
            # "with the desired Option with an appropriate length" (RFC 1661 section 6); an option without a value
            # is never Nak'ed (section 5.3), and one that we would refuse anyway need not be spelled right first
            refused = option.length == 0 or option.judge(option.sample()).code == Code.CONFIGURE_REJECT
            return REJECT if refused else nak(option.sample())
        return option.judge(value)

    def sent(self, answer: Answer) -> None:
        """`answer` goes out: count it, and when it is an Ack, let the options take effect."""
        if answer.code == Code.CONFIGURE_NAK:
            self._naks_sent += 1
        elif answer.code == Code.CONFIGURE_ACK:
            self._naks_sent = 0
            for kind, option in self.options.items():
                option.accept(answer.values.get(kind))

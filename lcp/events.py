"""What a link tells its owner: small frozen objects whose fields are plain words, and `str()` a sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class Established(Event):
    """LCP has opened. `options` in words; `seconds` since the first Configure-Request of the peer."""

    options: str
    seconds: float

    def __str__(self) -> str:
        return f"PPP negotiated in {self.seconds:.2f} s: {self.options}"


@dataclass(frozen=True)
class Authenticated(Event):
    name: str
    protocol: str

    def __str__(self) -> str:
        return f"the peer is {self.name!r} ({self.protocol})"


@dataclass(frozen=True)
class AuthFailed(Event):
    """`name` as the peer gave it, '' when it gave none; `reason` says why, without the password."""

    name: str
    protocol: str
    reason: str

    def __str__(self) -> str:
        who = f" of {self.name!r}" if self.name else ""
        return f"{self.protocol} authentication{who} failed: {self.reason}"


@dataclass(frozen=True)
class NetworkUp(Event):
    """A network protocol has opened. `addresses` in its own words; `seconds` as in Established."""

    protocol: str
    addresses: str
    options: str
    name: str
    seconds: float

    def __str__(self) -> str:
        who = f" for {self.name!r}" if self.name else ""
        return f"link up{who} in {self.seconds:.2f} s: {self.addresses}; {self.options}"


@dataclass(frozen=True)
class NetworkDown(Event):
    """A network protocol has closed while the link may go on."""

    protocol: str
    reason: str

    def __str__(self) -> str:
        return f"{self.protocol} down: {self.reason}"


@dataclass(frozen=True)
class LinkDown(Event):
    """LCP has left the Opened state, or has given up before reaching it."""

    reason: str

    def __str__(self) -> str:
        return f"link down: {self.reason}"


@dataclass(frozen=True)
class NoAnswer(Event):
    """Our requests went unanswered. Nothing is sent from here on, but a peer that begins is answered."""

    requests: int
    peer: str = "the guest"

    def __str__(self) -> str:
        return f"no answer to {self.requests} Configure-Requests; waiting for {self.peer} to begin"


@dataclass(frozen=True)
class LoopDetected(Event):
    """Our own packets come back: the line is looped, or a terminal with echo is at the other end."""

    def __str__(self) -> str:
        return "the line is looped back: our own packets return, so no PPP is running at the other end"


@dataclass(frozen=True)
class Identified(Event):
    """The peer's Identification (RFC 1570 section 1.1), made printable."""

    text: str

    def __str__(self) -> str:
        return f"the peer identifies itself as {self.text!r}"


@dataclass(frozen=True)
class ProtocolRejected(Event):
    """The peer does not have a protocol that we speak."""

    protocol: str

    def __str__(self) -> str:
        return f"the peer does not have {self.protocol}"

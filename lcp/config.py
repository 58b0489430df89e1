"""What is wanted of a PPP link, and what is agreed on: plain data."""

from dataclasses import dataclass

from lcp.auth.secrets import Authenticator
from lcp.fsm import Timing
from lcp.hdlc import DEFAULT_ACCM
from lcp.packet import DEFAULT_MRU
from lcp.protocol import CHAP_MD5, PAP


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
    offer: tuple[bytes, ...] = (CHAP_MD5, PAP)  # how these may be shown, best first: values of LCP's option
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

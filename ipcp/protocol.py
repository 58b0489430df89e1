"""IPCP: addresses for both ends of a link (RFC 1332) and name servers for the guest (RFC 1877).

In and out as in `lcp.control`. `server` builds the end that has the addresses, `client` the end that asks
for them; the difference is only in the options they hold. Addresses are four octets. It knows no pool: a
`lease` callable says which address the guest gets, at once or later; the guest's request waits for it.

The other options a guest may send (IP-Addresses, Van Jacobson compression, NBNS servers) are unknown to
both ends and so rejected.
"""

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import ClassVar

from lcp.control import ControlProtocol, Told, nothing
from lcp.options import ACK, REJECT, Option, Verdict, nak, walk
from lcp.packet import Protocol
from lcp.trace import Words

UNSPECIFIED = bytes(4)

STAND_IN = bytes((192, 0, 0, 1))
"""What a client calls a server that knows no address of its own: the well-known name of the router at the far end of
a tunnel (RFC 6333 section 5.7), which no host has."""
NAMED_MOST = 2
"""Times that a server is told so."""

LeaseAnswer = Callable[[bytes | None], bool]
"""`answer(address)`: the address for the guest, None when there is none left. False says that nobody waits for it
any more, so that the lender has it back."""
Lease = Callable[[bytes | None, LeaseAnswer], None]
"""`lease(wanted, answer)`: `answer` is called once, before this returns or any time later, with `wanted` itself if
the guest may have it (None: no wish). Asked again with the same wish, it gives the same address; what it gives later
replaces what it gave before."""


def dotted(address: bytes) -> str:
    return str(IPv4Address(address))


class _Address(Option):
    length = 4

    @classmethod
    def describe(cls, value: bytes) -> str:
        return f"{cls.name} {dotted(value) if len(value) == 4 else value.hex()}"


class _Question:
    """What a lender was asked, and its answer."""

    __slots__ = ("wish", "address", "answered", "waiting")

    def __init__(self, wish: bytes | None) -> None:
        self.wish = wish
        self.address: bytes | None = None
        self.answered = False
        self.waiting = False  # a request of the guest is kept until the answer comes


class ServerAddress(_Address):
    """IP-Address (RFC 1332 section 3.3) at the end that has the addresses: announces ours, assigns the guest's."""

    type, name = 3, "addr"

    def __init__(self, ours: bytes, lease: Lease) -> None:
        self.ours = ours
        self.theirs: bytes | None = None
        self.granted: bytes | None = None
        """What the guest may have; `prepare` sees to it before a request is judged."""
        self._lease = lease
        self._question: _Question | None = None
        self._asking = True

    def prepare(self, value: bytes | None, ready: Callable[[], None]) -> bool:
        """Ask which address is the guest's, which would have `value` (None: it does not say). False when the
        answer takes time; `ready` is called when it has come. One question is asked at a time."""
        wish = self.theirs if value is None or len(value) != 4 else None if value == UNSPECIFIED else value
        question = self._question
        if question is None or (question.answered and question.wish != wish):
            question = self._question = _Question(wish)
            self._lease(wish, partial(self._take_answer, question, ready))
        if not question.answered:
            question.waiting = True
            return False
        self.granted, self._question = question.address, None
        return True

    def _take_answer(self, question: _Question, ready: Callable[[], None], address: bytes | None) -> bool:
        if question is not self._question or question.answered:
            return False
        question.address, question.answered = address, True
        if question.waiting:
            ready()
        return True

    def abandon(self) -> None:
        """The negotiation is over: an answer that comes now is for nobody."""
        self._question = None

    def restart(self) -> None:
        self._asking = True

    def request(self) -> bytes | None:
        # a guest that would have it otherwise is told again, until it rejects or Naks no more
        return self.ours if self._asking else None

    def reject(self) -> None:
        self._asking = False

    def judge(self, value: bytes) -> Verdict:
        if self.granted is None:
            return REJECT
        return ACK if self.granted == value else nak(self.granted)

    def missing(self) -> bytes | None:
        return self.granted

    def accept(self, value: bytes | None) -> None:
        self.theirs = self.granted if value is None else value


class ClientAddress(_Address):
    """IP-Address at the end that asks: 0.0.0.0, or `wanted`, until the peer Naks with a better one.

    A server that does not know its own address says 0.0.0.0, which asks us for one.  The classic slirp does, and closes
    IPCP as soon as that is acknowledged; so it is given a name that nobody else has.  One that stays with 0.0.0.0 may:
    what we send goes to the only other end there is, whatever it is called.
    """

    type, name = 3, "addr"

    def __init__(self, wanted: bytes = UNSPECIFIED) -> None:
        self.wanted = self.ours = wanted
        self.theirs: bytes | None = None
        self._asking = True
        self._named = 0  # times that we told the peer an address for itself

    def prepare(self, value: bytes | None, ready: Callable[[], None]) -> bool:
        """Nobody has to be asked."""
        return True

    def abandon(self) -> None: ...

    def restart(self) -> None:
        self.ours = self.wanted
        self._asking = True
        self._named = 0

    def request(self) -> bytes | None:
        return self.ours if self._asking else None

    def nak(self, value: bytes) -> None:
        if value != UNSPECIFIED:
            self.ours = value

    def reject(self) -> None:
        self._asking = False

    def judge(self, value: bytes) -> Verdict:
        if value != UNSPECIFIED or self._named >= NAMED_MOST:
            return ACK
        self._named += 1
        return nak(STAND_IN)

    def accept(self, value: bytes | None) -> None:
        self.theirs = None if value == UNSPECIFIED else value


class _ServerDns(_Address):
    """RFC 1877 sections 1.1 and 1.3, at the end that knows the name servers."""

    def __init__(self, address: bytes | None) -> None:
        self.address = address

    def judge(self, value: bytes) -> Verdict:
        if self.address is None:
            return REJECT
        return ACK if value == self.address else nak(self.address)


class _ClientDns(_Address):
    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.address = UNSPECIFIED
        self._asking = True

    def request(self) -> bytes | None:
        return self.address if self._asking else None

    def nak(self, value: bytes) -> None:
        self.address = value

    def reject(self) -> None:
        self.address = UNSPECIFIED
        self._asking = False


class ServerDns1(_ServerDns):
    type, name = 129, "ms-dns1"


class ServerDns2(_ServerDns):
    type, name = 131, "ms-dns2"


class ClientDns1(_ClientDns):
    type, name = 129, "ms-dns1"


class ClientDns2(_ClientDns):
    type, name = 131, "ms-dns2"


class IpAddresses(Option):
    """RFC 1332 section 3.1, deprecated; always rejected."""

    type, name = 1, "addrs"

    @classmethod
    def describe(cls, value: bytes) -> str:
        if len(value) != 8:
            return super().describe(value)
        return f"addrs {dotted(value[:4])} {dotted(value[4:])}"


class IpCompression(Option):
    """RFC 1332 section 3.2; always rejected."""

    type, name = 2, "compress"

    @classmethod
    def describe(cls, value: bytes) -> str:
        if value[:2] != b"\x00\x2d":
            return super().describe(value)
        return " ".join(["compress VJ", *(f"{octet:02x}" for octet in value[2:])])


class Nbns1(_Address):
    type, name = 130, "ms-wins1"


class Nbns2(_Address):
    type, name = 132, "ms-wins2"


DESCRIBED: dict[int, type[Option]] = {
    option.type: option for option in (IpAddresses, IpCompression, ServerAddress, ServerDns1, ServerDns2, Nbns1, Nbns2)
}
"""The options a trace can put into words."""


IPCP_WORDS = Words("IPCP", DESCRIBED)
"""For `lcp.trace.describe`: {**WORDS, Protocol.IPCP: IPCP_WORDS}."""


class Ipcp(ControlProtocol):
    """Either end. `local`, `remote` and `dns` hold while it is open."""

    protocol: ClassVar[int] = Protocol.IPCP
    data_protocols: ClassVar[tuple[int, ...]] = (Protocol.IP,)
    name = "IPCP"

    def __init__(
        self,
        address: ServerAddress | ClientAddress,
        dns: Sequence[_ServerDns | _ClientDns],
        *,
        on_up: Told = nothing,
        on_down: Told = nothing,
        on_finished: Told = nothing,
    ) -> None:
        self._address = address
        self._dns = tuple(dns)
        super().__init__([address, *dns], on_up=on_up, on_down=on_down, on_finished=on_finished)

    @classmethod
    def server(
        cls,
        ours: bytes,
        lease: Lease,
        dns: Sequence[bytes] = (),
        *,
        on_up: Told = nothing,
        on_down: Told = nothing,
        on_finished: Told = nothing,
    ) -> "Ipcp":
        """`ours` is announced at once and never 0.0.0.0; `dns`: up to two, one serves as both."""
        first = dns[0] if dns else None
        second = dns[1] if len(dns) > 1 else first
        address, servers = ServerAddress(ours, lease), [ServerDns1(first), ServerDns2(second)]
        return cls(address, servers, on_up=on_up, on_down=on_down, on_finished=on_finished)

    @classmethod
    def client(
        cls,
        wanted: bytes = UNSPECIFIED,
        *,
        ask_dns: bool = True,
        on_up: Told = nothing,
        on_down: Told = nothing,
        on_finished: Told = nothing,
    ) -> "Ipcp":
        servers = [ClientDns1(), ClientDns2()] if ask_dns else []
        return cls(ClientAddress(wanted), servers, on_up=on_up, on_down=on_down, on_finished=on_finished)

    def prepare(self, data: bytes) -> bool:
        asked = walk(data)
        if asked is None:
            return True
        value = next((value for kind, value in asked if kind == self._address.type), None)
        return self._address.prepare(value, self.ready)

    def abandon(self) -> None:
        self._address.abandon()

    @property
    def local(self) -> bytes:
        return self._address.ours

    @property
    def remote(self) -> bytes | None:
        """The peer's address; None when it has announced none."""
        return self._address.theirs

    @property
    def dns(self) -> list[bytes]:
        """The name servers agreed on (client) or offered (server), without repetition."""
        known = [option.address for option in self._dns]
        return list(dict.fromkeys(address for address in known if address and address != UNSPECIFIED))

    def summary(self) -> tuple[str, str]:
        remote = dotted(self.remote) if self.remote else "no address"
        words = f"local {dotted(self.local)}, remote {remote}"
        if self.dns:
            words += f", DNS {' '.join(map(dotted, self.dns))}"
        return words, ""

"""The one decision, `Rules.decide`: what may leave, come in or cross.  Everything that wants to asks it first.

In: a Question (who, which network, which way, protocol, address, port).  Out: a Verdict: allowed, and which address of
the host that means; or refused or dropped, and why, and which option would allow it.  It judges numbers, at connect and
at sendto, never names.  It is asked once a flow; the verdict is kept with the flow, and the flow asks again when
`revision` is another than it was.

Two sets of rules are here: `Rules` of a network whose uplink is the host's sockets (or that has none), and `PppRules`
of one whose uplink is a PPP server.  IPv4 only: whatever is not 4 octets is refused, and a table for IPv6 has its place
beside the one for IPv4.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Network, ip_address
from typing import Final, NamedTuple, Protocol

from nat.wire.ipv4 import ICMP, TCP, UDP, dotted, is_host

LOOPBACK: Final = bytes((127, 0, 0, 1))
DNS_PORT: Final = 53
ANY: Final = 0
"""As the protocol of a Question: whatever two hosts have to say to each other."""
ASKED_MOST: Final = 1024
"""Verdicts that one Asked remembers; the oldest makes room."""


class Direction(Enum):
    OUT = "from the guest to the outside"
    IN = "from the outside to the guest"
    ACROSS = "from one guest to another"


class Action(Enum):
    ALLOW = "allow"
    REFUSE = "refuse, and say so to the guest and to the person who runs the gateway"
    DROP = "drop in silence: many guests do it all the time (broadcasts)"


class Question(NamedTuple):
    guest: bytes
    """Its address.  ACROSS: of the one that speaks."""
    network: str
    """The network's name; "" where there is only one."""
    direction: Direction
    protocol: int
    """As in the IP header, or ANY."""
    address: bytes
    """The other end, as the guest knows it: 4 octets, or 16 for a caller from outside."""
    port: int
    """That is called: of `address`, or with IN of the guest; 0 where there are none."""


class Verdict(NamedTuple):
    action: Action
    address: bytes
    """What the host is to call; empty unless allowed."""
    rule: str
    """The name of the rule that has decided."""
    counter: str = ""
    """What a denial is counted under."""
    words: str = ""
    """Why it is denied: "127.0.0.1 is the host's own loopback"."""
    option: str = ""
    """What would allow it, in words; empty where nothing would."""


class RuleSet(Protocol):
    """What everybody asks."""

    @property
    def revision(self) -> int:
        """Another number whenever verdicts may be different from before."""

    def decide(self, question: Question) -> Verdict: ...


class Asked:
    """Verdicts for what has no flow of its own to keep them: by a key of the asker's, at most `most`."""

    def __init__(self, rules: RuleSet, most: int = ASKED_MOST) -> None:
        self._rules = rules
        self._most = most
        self._revision = rules.revision
        self._verdicts: dict[bytes, Verdict] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def known(self, key: bytes) -> Verdict | None:
        """None: ask."""
        if self._revision != self._rules.revision:
            self._revision = self._rules.revision
            self._verdicts.clear()
        return self._verdicts.get(key)

    def remembered(self, key: bytes, others: "Asked", back: bytes) -> Verdict | None:
        """What was said of `key`; else ALLOW where `others` were allowed `back`, the flow that this one answers."""
        verdict = self.known(key)
        if verdict is None:
            verdict = others.known(back)
            if verdict is not None and verdict.action is not Action.ALLOW:
                return None
        return verdict

    def ask(self, key: bytes, question: Question) -> Verdict:
        verdicts = self._verdicts
        if len(verdicts) >= self._most:
            del verdicts[next(iter(verdicts))]
        verdict = verdicts[key] = self._rules.decide(question)
        return verdict


def deny(question: Question, verdict: Verdict, count: Counter[str], notify: Callable[[str], None]) -> None:
    """What everybody does with a verdict that is not ALLOW, beside not doing what was wanted: count it, and if it is
    not to be dropped in silence, tell the person who runs the gateway."""
    count[verdict.counter] += 1
    if verdict.action is Action.REFUSE:
        notify(sentence(question, verdict))


def sentence(question: Question, verdict: Verdict) -> str:
    """For the person who runs the gateway."""
    hint = f" To allow it: {verdict.option}." if verdict.option else ""
    return f"Denied {describe(question)}: {verdict.words}.{hint}"


def describe(question: Question) -> str:
    """ "UDP to 127.0.0.1 port 53 from 10.0.2.15", "ping of 127.0.0.1 from 10.0.2.15"."""
    guest, _, direction, protocol, address, port = question
    name = _PROTOCOLS.get(protocol, f"protocol {protocol}")
    if direction is Direction.IN:
        return f"{name} from {_text(address)} to port {port} of {_text(guest)}"
    if protocol == ICMP and direction is Direction.OUT:
        return f"ping of {_text(address)} from {_text(guest)}"
    return f"{name} to {_text(address)}{f' port {port}' if port else ''} from {_text(guest)}"


_PROTOCOLS: Final = {ANY: "IP", ICMP: "ICMP", TCP: "TCP", UDP: "UDP"}


def _text(address: bytes) -> str:
    return str(ip_address(address)) if len(address) in (4, 16) else address.hex(":")


# The table of addresses


class _Rule(NamedTuple):
    name: str
    reason: str
    """ "... is the host's own loopback"."""
    option: str = ""
    action: Action = Action.REFUSE

    def denies(self, address: bytes) -> Verdict:
        words = f"{_text(address)} {self.reason}"
        return Verdict(self.action, b"", self.name, f"policy.{self.name}", words, self.option)


class _Owner(Protocol):
    def owns(self, address: bytes) -> bool: ...


_INTERNET_ONLY: Final = "leave out --internet-only"
_METADATA: Final = _Rule("metadata", "is a cloud provider's metadata service")

# IANA IPv4 Special-Purpose Address Registry (RFC 6890).  Denied whatever the options say.
_ALWAYS: Final = (
    # RFC 1122 section 3.2.1.3; Linux takes 0.0.0.0 for its own loopback.
    ("0.0.0.0/8", _Rule("this_network", "is in 0.0.0.0/8, which means the host itself")),
    ("169.254.0.0/16", _Rule("link_local", "is link-local")),  # RFC 3927
    ("169.254.169.254/32", _METADATA),  # most clouds
    ("168.63.129.16/32", _METADATA),  # Azure
    ("100.100.100.200/32", _METADATA),  # Alibaba
    ("224.0.0.0/4", _Rule("multicast", "is a multicast address", action=Action.DROP)),  # RFC 5771
    ("240.0.0.0/4", _Rule("reserved", "is in 240.0.0.0/4, which is reserved")),  # RFC 1112 section 4
    ("255.255.255.255/32", _Rule("broadcast", "is the broadcast address", action=Action.DROP)),  # RFC 919
)
_PRIVATE: Final = _Rule("private", "is a private address", _INTERNET_ONLY)
_SPECIAL: Final = _Rule("special", "is not an address of the public Internet", _INTERNET_ONLY)
# Denied with --internet-only.
_NOT_INTERNET: Final = (
    ("10.0.0.0/8", _PRIVATE),  # RFC 1918
    ("172.16.0.0/12", _PRIVATE),
    ("192.168.0.0/16", _PRIVATE),
    ("100.64.0.0/10", _PRIVATE),  # RFC 6598
    ("192.0.0.0/24", _SPECIAL),  # RFC 6890
    ("192.0.2.0/24", _SPECIAL),  # RFC 5737
    ("192.88.99.0/24", _SPECIAL),  # RFC 7526
    ("198.18.0.0/15", _SPECIAL),  # RFC 2544
    ("198.51.100.0/24", _SPECIAL),  # RFC 5737
    ("203.0.113.0/24", _SPECIAL),
)
_OWN: Final = _Rule("host_address", "is an address of the host itself or a broadcast to its network")
_FAMILY: Final = _Rule("family", "is not an IPv4 address")
_NO_UPLINK: Final = Verdict(Action.REFUSE, b"", "no_uplink", "policy.no_uplink", "the network has no uplink")
_DNS: Final = "dns"
_OUTSIDE: Final = "outside"
_ACROSS: Final = "across"
_FORWARD: Final = "forward"
_HOST_LOOPBACK: Final = "host_loopback"


class Rules:
    """Of one network whose uplink is the host's sockets.

    network: its first address (4 octets) and prefix length; gateway: the gateway's address, which with
    `host_loopback` stands for the host's 127.0.0.1; dns: the relay's, empty if there is none.  Without `uplink` the
    guests are among themselves: nothing leaves, not even a name to be looked up, and nobody calls.
    """

    def __init__(
        self,
        host: _Owner,
        network: tuple[bytes, int],
        gateway: bytes,
        *,
        dns: bytes = b"",
        host_loopback: bool = False,
        internet_only: bool = False,
        uplink: bool = True,
    ) -> None:
        self.revision = 0
        self._host = host
        self._gateway = gateway
        self._dns = dns
        self._host_loopback = host_loopback
        self._uplink = uplink
        instead = "" if host_loopback else "--host-loopback"
        there = f"--host-loopback, and {dotted(gateway)} in its place" if instead else ""
        rules: list[tuple[IPv4Network, _Rule | None]] = [
            (IPv4Network(text), rule) for text, rule in _ALWAYS + (_NOT_INTERNET if internet_only else ())
        ]
        rules.append((IPv4Network("127.0.0.0/8"), _Rule("loopback", "is the host's own loopback", there)))
        own = IPv4Network(network)
        rules.append((own, _Rule("network", "is an address of this network that no guest has")))
        broadcast = _Rule("broadcast", "is this network's broadcast address", action=Action.DROP)
        rules.append((IPv4Network((own.broadcast_address, 32)), broadcast))
        gateway_rule = _Rule("gateway", "is the gateway, behind which the host's loopback is", instead)
        rules.append((IPv4Network((gateway, 32)), None if host_loopback else gateway_rule))
        self._starts, self._rules = _flatten(rules)

    def decide(self, question: Question) -> Verdict:
        _, _, direction, protocol, address, port = question
        if direction is Direction.ACROSS:
            return Verdict(Action.ALLOW, address, _ACROSS)
        if direction is Direction.IN:
            return Verdict(Action.ALLOW, address, _FORWARD) if self._uplink else _NO_UPLINK
        if len(address) != 4:
            return _FAMILY.denies(address)
        rule = self._rules[bisect_right(self._starts, int.from_bytes(address, "big")) - 1]
        if not self._uplink and not (rule is not None and rule.action is Action.DROP):
            return _NO_UPLINK
        if address == self._dns and port == DNS_PORT and protocol in (UDP, TCP):
            return Verdict(Action.ALLOW, address, _DNS)
        if rule is not None:
            return rule.denies(address)
        if self._host_loopback and address == self._gateway:
            return Verdict(Action.ALLOW, LOOPBACK, _HOST_LOOPBACK)
        if self._host.owns(address):
            return _OWN.denies(address)
        return Verdict(Action.ALLOW, address, _OUTSIDE)

    def guest_address(self, address: bytes) -> bytes:
        """The verdict's address the other way: as what the guest knows a host's address."""
        return self._gateway if self._host_loopback and address == LOOPBACK else address


class PppRules:
    """Of a network whose uplink is a PPP server, which has rules of its own: what no router would pass on stays here
    (RFC 1122 section 3.2.1.3, RFC 3927 section 2.7), everything else goes and comes."""

    revision: Final = 0

    def decide(self, question: Question) -> Verdict:
        address = question.address
        if question.direction is Direction.OUT and not is_host(address):
            words = f"{_text(address)} is not an address that a router passes on"
            return Verdict(Action.DROP, b"", "not_routed", "bridge.stays", words)
        return Verdict(Action.ALLOW, address, _ACROSS if question.direction is Direction.ACROSS else "uplink")


def _flatten(rules: list[tuple[IPv4Network, _Rule | None]]) -> tuple[list[int], list[_Rule | None]]:
    """Overlapping networks as adjoining ranges, each with the rule of the smallest network around it.

    Of networks of the same size the later one wins.
    """
    edges = {0}
    for network, _ in rules:
        first = int(network.network_address)
        edges.update((first, first + network.num_addresses))
    starts = sorted(edge for edge in edges if edge < 1 << 32)
    verdicts: list[_Rule | None] = []
    for start in starts:
        best: _Rule | None = None
        size = (1 << 32) + 1
        for network, rule in rules:
            inside = 0 <= start - int(network.network_address) < network.num_addresses
            if inside and network.num_addresses <= size:
                best, size = rule, network.num_addresses
        verdicts.append(best)
    return starts, verdicts

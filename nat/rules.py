"""Which addresses a guest may reach: judged by the number, at connect and at sendto, never by a name.

In: an IPv4 address as 4 octets, the network's own addresses, two options.  Out: None, or a Denial that says why
and which option would allow it.  Other guests are routed before anything gets here.  IPv4 only: whatever is not
4 octets is denied, and a table for IPv6 has its place beside the one for IPv4.
"""

from bisect import bisect_right
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final, Protocol

from nat.wire.ipv4 import dotted

LOOPBACK: Final = bytes((127, 0, 0, 1))


@dataclass(frozen=True, slots=True)
class Denial:
    counter: str
    words: str  # "127.0.0.1 is the host's own loopback"
    option: str  # what would allow it, in words; empty when nothing would
    silent: bool  # many guests do it all the time (broadcasts): not worth an error or a line


@dataclass(frozen=True, slots=True)
class _Rule:
    counter: str
    reason: str  # "... is the host's own loopback"
    option: str = ""
    silent: bool = False


class _Owner(Protocol):
    def owns(self, address: bytes) -> bool: ...


_INTERNET_ONLY: Final = "leave out --internet-only"
_METADATA: Final = _Rule("policy.metadata", "is a cloud provider's metadata service")

# IANA IPv4 Special-Purpose Address Registry (RFC 6890).  Denied whatever the options say.
_ALWAYS: Final = (
    # RFC 1122 section 3.2.1.3; Linux takes 0.0.0.0 for its own loopback.
    ("0.0.0.0/8", _Rule("policy.this_network", "is in 0.0.0.0/8, which means the host itself")),
    ("169.254.0.0/16", _Rule("policy.link_local", "is link-local")),  # RFC 3927
    ("169.254.169.254/32", _METADATA),  # most clouds
    ("168.63.129.16/32", _METADATA),  # Azure
    ("100.100.100.200/32", _METADATA),  # Alibaba
    ("224.0.0.0/4", _Rule("policy.multicast", "is a multicast address", silent=True)),  # RFC 5771
    ("240.0.0.0/4", _Rule("policy.reserved", "is in 240.0.0.0/4, which is reserved")),  # RFC 1112 section 4
    ("255.255.255.255/32", _Rule("policy.broadcast", "is the broadcast address", silent=True)),  # RFC 919
)
_PRIVATE: Final = _Rule("policy.private", "is a private address", _INTERNET_ONLY)
_SPECIAL: Final = _Rule("policy.special", "is not an address of the public Internet", _INTERNET_ONLY)
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
_OWN: Final = _Rule("policy.host_address", "is an address of the host itself or a broadcast to its network")
_FAMILY: Final = _Rule("policy.family", "is not an IPv4 address")


class Policy:
    """The verdict on addresses for one network.

    network: its first address (4 octets) and prefix length; gateway: the gateway's address, which with
    `host_loopback` stands for the host's 127.0.0.1.
    """

    def __init__(
        self,
        host: _Owner,
        network: tuple[bytes, int],
        gateway: bytes,
        *,
        host_loopback: bool = False,
        internet_only: bool = False,
    ) -> None:
        self._host = host
        self._gateway = gateway
        self._host_loopback = host_loopback
        instead = "" if host_loopback else "--host-loopback"
        there = f"--host-loopback, and {dotted(gateway)} in its place" if instead else ""
        rules: list[tuple[IPv4Network, _Rule | None]] = [
            (IPv4Network(text), rule) for text, rule in _ALWAYS + (_NOT_INTERNET if internet_only else ())
        ]
        rules.append((IPv4Network("127.0.0.0/8"), _Rule("policy.loopback", "is the host's own loopback", there)))
        own = IPv4Network(network)
        rules.append((own, _Rule("policy.network", "is an address of this network that no guest has")))
        broadcast = _Rule("policy.broadcast", "is this network's broadcast address", silent=True)
        rules.append((IPv4Network((own.broadcast_address, 32)), broadcast))
        gateway_rule = _Rule("policy.gateway", "is the gateway, behind which the host's loopback is", instead)
        rules.append((IPv4Network((gateway, 32)), None if host_loopback else gateway_rule))
        self._starts, self._verdicts = _flatten(rules)

    def judge(self, address: bytes) -> Denial | None:
        """None when the guest may send there."""
        if len(address) != 4:
            return Denial(_FAMILY.counter, f"{address.hex(':')} {_FAMILY.reason}", _FAMILY.option, _FAMILY.silent)
        rule = self._verdicts[bisect_right(self._starts, int.from_bytes(address, "big")) - 1]
        if rule is None:
            if self._host_loopback and address == self._gateway:
                return None
            if not self._host.owns(address):
                return None
            rule = _OWN
        return Denial(rule.counter, f"{dotted(address)} {rule.reason}", rule.option, rule.silent)

    def host_address(self, address: bytes) -> bytes:
        """Where a packet for `address` really goes."""
        return LOOPBACK if self._host_loopback and address == self._gateway else address

    def guest_address(self, address: bytes) -> bytes:
        """The same the other way: as what the guest knows a host's address."""
        return self._gateway if self._host_loopback and address == LOOPBACK else address

    @staticmethod
    def denied(denial: Denial, what: str) -> str:
        """The sentence for the person who runs the gateway; `what`: "UDP to 127.0.0.1 port 53 from 10.0.2.15"."""
        hint = f" To allow it: {denial.option}." if denial.option else ""
        return f"Denied {what}: {denial.words}.{hint}"


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

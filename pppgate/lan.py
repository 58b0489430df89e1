"""The NAT behind the segment of the Ethernet guests: who may have which address, and where their packets go.

In: neighbors that come and go on a segment.  Out: stations of the gateway, beside those of the PPP guests and under
the same rules.  Here Ethernet meets the NAT: `ether` knows nothing of stations, and `nat` nothing of frames.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ipcp.pool import Pool
from nat.deadlines import Deadlines
from nat.gateway import Gateway
from nat.line import FLOW_MOST
from nat.station import Station
from nat.wire.ipv4 import dotted
from pppgate.config import ConfigError, NetworkConfig
from pppgate.dhcp.leases import PoolLeases
from pppgate.dhcp.server import DhcpServer, Settings
from pppgate.ether.bridge_port import Neighbor, Way
from pppgate.ether.frame import gateway_mac
from pppgate.ether.segment import Segment
from pppgate.notices import Notices
from pppgate.surroundings import Surroundings

LEASE = 86400.0
"""Seconds.  Nothing is gained by short leases: an address is the guest's as long as its MAC address is known."""


class NatBeyond:
    """segment.Beyond for the NAT.  `expected`: the addresses to which forwards lead."""

    def __init__(self, gateway: Gateway, pool: Pool, deadlines: Deadlines, mtu: int, expected: Iterable[bytes]) -> None:
        self.leases = PoolLeases(pool, self._in_use, deadlines, LEASE)
        self._gateway = gateway
        self._mtu = mtu
        self._expected = tuple(dict.fromkeys(expected))
        self._here: dict[bytes, tuple[Station, tuple[str, ...]]] = {}
        self._by_use: dict[bytes, str] = {}  # addresses that nobody leased, and the key under which they are kept

    def owns(self, address: bytes) -> bool:
        """The router's own addresses, and those of guests that are reached through it (proxy ARP, RFC 1027)."""
        if self._gateway.is_own(address):
            return True
        line = None if address in self._here else self._gateway.line(address)
        return line is not None and line.up

    def admit(self, keys: tuple[str, ...], address: bytes, now: float) -> bool:
        """A host with a fixed address has it by using it first; one that has several has the others by name."""
        holder = self.leases.holder(address)
        if holder is not None:  # what was only offered is a lease from now on, or a guest on a serial line might get it
            return self.holds(keys, address) and self.leases.bind(holder, address, now)
        for key in (keys[-1], _another(keys, address)):
            if self.leases.bind(key, address, now):
                self._by_use[address] = key
                return True
        return False

    def holds(self, keys: tuple[str, ...], address: bytes) -> bool:
        holder = self.leases.holder(address)
        return holder is not None and (holder in keys or holder == _another(keys, address))

    def arrive(self, keys: tuple[str, ...], now: float, neighbor: Neighbor) -> Way:
        station = self._gateway.arrive(neighbor.address, self._mtu, neighbor.kick, now, keys[-1], hides_queue=True)
        station.line.flow_limit = FLOW_MOST
        self._here[neighbor.address] = station, keys
        return Way(station.line, station.receive)

    def leave(self, neighbor: Neighbor, now: float) -> None:
        key = self._by_use.pop(neighbor.address, None)
        if key is not None:
            self.leases.release(key, neighbor.address, now)
        here = self._here.pop(neighbor.address, None)
        if here is not None:
            self._gateway.leave(here[0], now)

    def expected(self) -> Iterable[bytes]:
        return self._expected

    def _in_use(self, address: bytes, key: str) -> bool:
        here = self._here.get(address)
        return here is not None and key not in here[1] and key != _another(here[1], address)


def _another(keys: tuple[str, ...], address: bytes) -> str:
    """The key of an address that a host uses beside its first."""
    return f"{keys[-1]} at {dotted(address)}"


@dataclass(frozen=True, slots=True)
class Lan:
    segment: Segment
    leases: PoolLeases


def build_lan(config: NetworkConfig, gateway: Gateway, pool: Pool, around: Surroundings, count: Counter[str]) -> Lan:
    """The segment of the Ethernet guests, with the network of `config` on it.  Raises ConfigError."""
    address = config.gateway.packed
    try:
        settings = Settings(
            server=address,
            prefix=config.net.prefixlen,
            routers=(address,),
            dns=(config.dns.packed,),
            mtu=config.mtu,
            lease=LEASE,
            domain=config.domain,
            search=config.search,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    expected = [(forward.guest or config.guest).packed for forward in config.forward]
    beyond = NatBeyond(gateway, pool, around.deadlines, config.mtu, expected)
    dhcp = DhcpServer(beyond.leases, lambda: settings, count)
    watcher, context = around.watcher, gateway.context
    notices = Notices(around.say, watcher.now, repeat_after=0.0)  # a guest decides how often it is refused an address
    segment = Segment(
        gateway_mac(address),
        address,
        beyond,
        dhcp,
        watcher,
        around.dirty,
        notices,
        count,
        context.rules,
        context.network,
    )
    return Lan(segment, beyond.leases)

"""The uplink that is a router of our own: a NAT of ordinary sockets behind the guests, or nothing but the guests.

In: guests that dial in, and those on the segment; a NetworkConfig.  Out: their sessions, all behind one gateway with
one pool of addresses.  This is what a network has whose uplink is "nat" or "none".
"""

import math
import socket
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from ipcp.pool import Pool
from lcp.auth.secrets import Anyone, Authenticator, Secrets, SecretsError
from lcp.config import LinkConfig
from nat.context import Context, Limits
from nat.dns import Dns
from nat.gateway import Gateway
from nat.host import Host, HostError, Resolver
from nat.rules import Rules
from pppgate.config import ConfigError, NetworkConfig
from pppgate.notices import Notices
from pppgate.session import Session, Shared
from pppgate.surroundings import Surroundings
from serialport.port import Port

if TYPE_CHECKING:
    from pppgate.ether.segment import Segment
    from pppgate.lan import Lan


class Router:
    """See above.  `on_end(0)` is called when the last session has ended after `end`.
    Raises ConfigError."""

    def __init__(self, config: NetworkConfig, around: Surroundings, on_end: Callable[[int], None]) -> None:
        self.gateway = build_gateway(config, around)
        self.sessions: dict[Session, None] = {}
        self._config = config
        self._around = around
        self._on_end = on_end
        self._ending = False
        self._closed = False
        self._counters: Counter[str] = Counter()  # of the sessions that have ended
        self._numbers: Counter[str] = Counter()  # by URL: how many numbers behind it have ever been taken
        self._free_numbers: dict[str, list[int]] = {}  # and which of them are free again, as heaps
        self._lan: Lan | None = None
        self._pool = Pool(config.net, (config.gateway.packed, config.dns.packed), config.guest.packed)
        link = LinkConfig(mru=config.mru, auth=authenticator(config.auth), echo_interval=config.echo_interval)
        self._shared = Shared(self.gateway, self._pool, link, config.mtu, around)

    # Guests

    def dial_in(self, port: Port, url: str) -> None:
        session = Session(self._shared, port, self._take_key(url), port.name, self._session_ended)
        self.sessions[session] = None
        session.start(self._around.watcher.now())

    def _take_key(self, url: str) -> str:
        """The first free number behind `url`: what the pool knows the guest by, so that one that comes back finds its
        address."""
        free = self._free_numbers.setdefault(url, [])
        if free:
            return f"{url}#{heappop(free)}"
        number = self._numbers[url]
        self._numbers[url] += 1
        return f"{url}#{number}"

    def _free_key(self, key: str) -> None:
        url, _, number = key.rpartition("#")
        heappush(self._free_numbers[url], int(number))

    def _session_ended(self, session: Session, reason: str) -> None:
        self.sessions.pop(session, None)
        self._counters += session.counters
        self._around.debug(f"{session.name}: {reason}")
        self._free_key(session.key)
        self._check_ended()

    @property
    def segment(self) -> "Segment":
        if self._lan is None:
            from pppgate.lan import build_lan

            around, count = self._around, self.gateway.context.count
            self._lan = build_lan(self._config, self.gateway, self._pool, around, count)
        return self._lan.segment

    # Its life

    def start(self, now: float) -> None: ...

    def end(self, now: float) -> None:
        """Terminate-Request on every link."""
        self._ending = True
        for session in list(self.sessions):
            session.close(now, "the gateway is being shut down")
        self._check_ended()

    def _check_ended(self) -> None:
        if self._ending and not self._closed and not self.sessions:
            self._on_end(0)

    def close(self, now: float) -> None:
        self._closed = True
        for session in list(self.sessions):
            session.abandon(now)
        if self._lan is not None:
            self._lan.segment.close(now)
        self.gateway.close(now)

    @property
    def count(self) -> Counter[str]:
        return self._counters + self.gateway.context.count

    def status(self, now: float) -> dict[str, Any]:
        return {
            "uplink": self._config.uplink,
            "net": str(self._config.net),
            "gateway": self.gateway.status(now),
            "sessions": [session.status() for session in self.sessions],
            "segment": None if self._lan is None else self._lan.segment.status(now),
            "leases": None if self._lan is None else self._lan.leases.status(now),
        }


def build_gateway(config: NetworkConfig, around: Surroundings) -> Gateway:
    """The network of the guests, with its forwards listening.  Raises ConfigError."""
    resolvers = [
        Resolver(socket.AF_INET6 if ":" in each.address else socket.AF_INET, each.address, each.port)
        for each in config.resolver
    ]
    host = Host(around.watcher, resolvers or None)
    network = (config.net.network_address.packed, config.net.prefixlen)
    address = config.gateway.packed
    rules = Rules(
        host,
        network,
        address,
        dns=config.dns.packed,
        host_loopback=config.host_loopback,
        internet_only=config.internet_only,
        uplink=config.uplink != "none",
    )
    limits = Limits(tcp_idle=config.tcp_idle, tcp_keepalive=config.keepalive or math.inf)
    notices = Notices(around.say, around.watcher.now)
    context = Context(
        host,
        rules,
        around.deadlines,
        around.random,
        notices,
        limits=limits,
        dirty=around.dirty,
        network=config.name,
    )
    gateway = Gateway(context, address, Dns(context, config.dns.packed))
    try:
        for forward in config.forward:
            guest = (forward.guest or config.guest).packed
            gateway.forwards.add(forward.protocol, forward.bind, forward.port, guest, forward.guest_port)
    except HostError as error:
        gateway.close(around.watcher.now())
        raise ConfigError(str(error)) from None
    return gateway


def authenticator(auth: str) -> Authenticator | None:
    """Who may dial in: `auth` as in NetworkConfig.  Raises ConfigError."""
    if auth == "none":
        return None
    if auth == "any":
        return Anyone()
    try:
        return Secrets.load(auth)
    except SecretsError as error:
        raise ConfigError(f"auth: {error}.") from None

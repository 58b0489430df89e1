"""The one place where everything is built from a Config, joined, run, and taken down.

In: a Config.  Out: the exit status, after SIGINT or SIGTERM has ended every link in order.
"""

import math
import random
import resource
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ipcp.pool import Pool
from lcp.auth.secrets import Anyone, Authenticator, Secrets, SecretsError
from lcp.link import LinkConfig
from nat.context import Context, Limits
from nat.deadlines import Deadlines
from nat.dns import Dns
from nat.forward import Forwards
from nat.gateway import Gateway
from nat.host import Host, HostError, Resolver
from nat.rules import Policy
from pppgate.capture import Capture
from pppgate.config import Config, ConfigError
from pppgate.ether.links.port import EtherLink, FramePort
from pppgate.flusher import Dirty
from pppgate.hints import start_lines
from pppgate.links import Links, open_links
from pppgate.loop import Loop
from pppgate.notices import Notices
from pppgate.say import Say
from pppgate.session import Session, Shared, Tap
from pppgate.trace import Trace
from serialport.port import Link, Port

if TYPE_CHECKING:
    from pppgate.lan import Lan

PATIENCE = 0.8  # seconds that links get to say goodbye
DESCRIPTORS = 1 << 16  # wanted, as far as the host allows


def run(config: Config) -> int:
    """Serve until a signal comes.  Raises ConfigError and PortError for what the user has to mend."""
    _raise_descriptor_limit()
    links = open_links(config.links)
    say = Say(config.log_level, sys.stderr if any(link.scheme == "stdio" for link in links.serial) else sys.stdout)
    say.capture_logging()
    loop = Loop()
    server = Server(config, links, loop, say)
    try:
        return loop.run(server.end, server.start)
    finally:
        server.close()
        loop.close()


def _raise_descriptor_limit() -> None:
    """A flow is a descriptor, and the usual soft limit of 1,024 is there for select(2), which is not used here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def build_gateway(config: Config, loop: Loop, say: Say) -> Gateway:
    """The network of the guests, with its forwards listening."""
    resolvers = [
        Resolver(socket.AF_INET6 if ":" in each.address else socket.AF_INET, each.address, each.port)
        for each in config.resolver
    ]
    host = Host(loop, resolvers or None)
    network = (config.net.network_address.packed, config.net.prefixlen)
    address = config.gateway.packed
    policy = Policy(host, network, address, host_loopback=config.host_loopback, internet_only=config.internet_only)
    notices = Notices(say.event, loop.now)
    limits = Limits(tcp_idle=config.tcp_idle, tcp_keepalive=config.keepalive or math.inf)
    context = Context(host, policy, Deadlines(), random.SystemRandom(), notices, limits=limits)
    gateway = Gateway(context, address, Dns(context, config.dns.packed))
    gateway.forwards = Forwards(context, gateway)
    try:
        for forward in config.forward:
            guest = (forward.guest or config.guest).packed
            gateway.forwards.add(forward.protocol, forward.bind, forward.port, guest, forward.guest_port)
    except HostError as error:
        gateway.close(loop.now())
        raise ConfigError(str(error)) from None
    return gateway


def authenticator(config: Config) -> Authenticator | None:
    if config.auth == "none":
        return None
    if config.auth == "any":
        return Anyone()
    try:
        return Secrets.load(config.auth)
    except SecretsError as error:
        raise ConfigError(f"auth: {error}.") from None


class Server:
    """All links of one process, their sessions, and the network they share."""

    def __init__(self, config: Config, links: Links, loop: Loop, say: Say) -> None:
        self.links = links
        self.loop = loop
        self.say = say
        self.sessions: dict[Session, None] = {}
        self._dirty: Dirty = {}
        self._verbose = config.verbose > 0
        self._counters: Counter[str] = Counter()  # of the sessions that have ended
        self._ending = False
        link_config = LinkConfig(mru=config.mru, auth=authenticator(config), echo_interval=config.echo_interval)
        self.capture = Capture(config.pcap, time.time() - loop.now(), say.warning) if config.pcap else None
        self.gateway = build_gateway(config, loop, say)
        taps: list[Tap] = []
        if self.capture is not None:
            taps.append(self.capture)
        if config.verbose:
            taps.append(Trace(say.event, packets=config.verbose > 1))
        pool = Pool(config.net, (config.gateway.packed, config.dns.packed), config.guest.packed)
        self.shared = Shared(
            gateway=self.gateway,
            pool=pool,
            link=link_config,
            mtu=config.mtu,
            watcher=loop,
            taps=tuple(taps),
            say=say.event,
            random=random.SystemRandom(),
            dirty=self._dirty,
        )
        self._config = config
        self._lan: Lan | None = None
        if links.ether:
            _ = self.lan  # what is wrong with its settings is said now
        loop.flush, loop.tick, loop.deadline = self._flush, self._tick, self._deadline

    # Links and guests

    def start(self) -> None:
        for link in self.links.serial:
            self._prepare(link)
            link.start(self.loop, partial(self.serve, link.url))
            self._say_started(link)
        for cable in self.links.ether:
            self._prepare(cable)
            cable.start(self.loop, self.serve_frames)
            self._say_started(cable)

    def _prepare(self, link: Link | EtherLink) -> None:
        link.note = Notices(self.say.event, self.loop.now, repeat_after=0.0)  # callers decide how often
        link.ended = partial(self._link_ended, link)

    def _say_started(self, link: Link | EtherLink) -> None:
        for line in start_lines(link):
            self.say.event(line)

    def serve(self, url: str, port: Port) -> None:
        """A guest has come on the line that is known as `url`."""
        if self._ending:
            port.close()
            return
        taken = {session.key for session in self.sessions}
        number = 0
        while (key := f"{url}#{number}") in taken:
            number += 1
        session = Session(self.shared, port, key, port.name, self._session_ended)
        self.sessions[session] = None
        session.start(self.loop.now())

    def serve_frames(self, port: FramePort) -> None:
        """A guest with an Ethernet card has come."""
        if self._ending:
            port.close()
            return
        bridge_port = self.lan.segment.attach(port, self.loop.now())
        for tap in self.shared.taps:
            tap.attach_ether(bridge_port, port.name, self.loop.now)
        bridge_port.start()

    def _session_ended(self, session: Session, reason: str) -> None:
        self.sessions.pop(session, None)
        self._counters += session.counters
        self.say.debug(f"{session.name}: {reason}")

    def _link_ended(self, link: Link | EtherLink) -> None:
        self.links.remove(link)
        if not self.links.all:
            self.loop.stop()

    @property
    def lan(self) -> "Lan":
        """Where the guests with Ethernet cards are; made when it is first needed."""
        if self._lan is None:
            from pppgate.lan import build_lan

            count = self.gateway.context.count
            self._lan = build_lan(
                self._config, self.gateway, self.shared.pool, self.loop, self._dirty, self.say.event, count
            )
        return self._lan

    # Wake-ups

    def _flush(self, now: float) -> None:
        """The end of a wake-up: flows first, since what they send goes out with the rest."""
        dirty = self._dirty
        self.gateway.flush(now)
        while dirty:
            flusher, _ = dirty.popitem()
            flusher.flush(now)
            self.gateway.flush(now)

    def _deadline(self) -> float:
        nearest = self.gateway.context.deadlines.next()
        if self.capture is not None:
            nearest = min(nearest, self.capture.deadline)
        return nearest if self._lan is None else min(nearest, self._lan.leases.deadline)

    def _tick(self, now: float) -> None:
        self.gateway.context.deadlines.expire(now)
        if self.capture is not None:
            self.capture.tick(now)
        if self._lan is not None:
            self._lan.leases.tick(now)

    # The end

    def end(self) -> None:
        """The first signal: Terminate-Request on every link, then out, within a second."""
        self._ending = True
        now = self.loop.now()
        self.say.event("Ending the links.")
        for session in list(self.sessions):
            session.close(now, "the gateway is being shut down")
        self._leave_at = now + PATIENCE
        self._check_ended(now)

    def _check_ended(self, now: float) -> None:
        if now >= self._leave_at or all(session.finished for session in self.sessions):
            self.loop.stop()
        else:
            self.loop.call_at(now + 0.02, self._check_ended)

    def close(self) -> None:
        now = self.loop.now()
        for session in list(self.sessions):
            session.abandon(now)
        if self._lan is not None:
            self._lan.segment.close(now)
        for link in self.links.all:
            link.stop()
        self.gateway.close(now)
        if self.capture is not None:
            self.capture.close()
        if self._verbose:
            counters = self._counters + self.gateway.context.count + self.loop.count
            self.say.counted(sum((link.count for link in self.links.all), counters))

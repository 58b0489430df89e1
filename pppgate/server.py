"""The one place where everything is built from a Config, joined, run, and taken down.

In: a Config.  Out: the exit status: 0 after SIGINT or SIGTERM has ended every network in order, or what the last
network asked for when there is nothing left to serve.
"""

import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from pppgate.capture import Capture
from pppgate.config import DEFAULT, Config, ConfigError, NetworkConfig
from pppgate.links import Links, open_links
from pppgate.loop import Loop
from pppgate.network import Network, Uplink
from pppgate.router import Router
from pppgate.say import Say
from pppgate.surroundings import Surroundings
from pppgate.tap import Tap
from pppgate.trace import Trace

PATIENCE = 1.5
"""Seconds that networks get to say goodbye when the program ends: a Terminate-Request and its answer."""
DESCRIPTORS_MOST = 1 << 16
"""Descriptors that are wanted, as far as the host allows."""


def run(config: Config) -> int:
    """Serve until a signal comes or nothing is left to serve.  Raises ConfigError and PortError for what the user has
    to mend."""
    _raise_descriptor_limit()
    links = {network.name: open_network_links(network) for network in config.networks}
    say = Say(config.log_level, sys.stderr if _uses_stdio(config) else sys.stdout)
    say.capture_logging()
    loop = Loop()
    try:
        server = Server(config, links, loop, say)
        try:
            return loop.run(server.end, server.start)
        finally:
            server.close()
    finally:
        loop.close()


def open_network_links(network: NetworkConfig) -> Links:
    """What the user named, not started yet.  Raises ConfigError and PortError."""
    links = open_links(network.links)
    if network.uplink == "ppp" and links.serial:
        option, line = ("--ether", "--ppp") if network.name == DEFAULT else (f"network {network.name}: links", "ppp")
        raise ConfigError(
            f"{option} names a cable, as in ether:unix-listen:/tmp/eth0; the serial line goes after {line}."
        )
    return links


def _uses_stdio(config: Config) -> bool:
    """Whether standard output carries a guest's octets, so that sentences go to standard error."""
    urls = [url for network in config.networks for url in network.links]
    urls += [network.call.ppp for network in config.networks if network.call is not None]
    return any(url.partition(":")[0] == "stdio" for url in urls)


def _raise_descriptor_limit() -> None:
    """A flow is a descriptor, and the usual soft limit of 1,024 is there for select(2), which is not used here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MOST if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Server:
    """All networks of one process.  `links`: by the name of their network, not started yet."""

    def __init__(self, config: Config, links: dict[str, Links], loop: Loop, say: Say) -> None:
        self.loop = loop
        self.say = say
        self._verbose = config.verbose > 0
        self._status = 0
        self._counters: Counter[str] = Counter()  # of the networks that are over
        self._only_calls = all(network.uplink == "ppp" for network in config.networks)
        self._deadlines = Deadlines(loop.report)
        self._dirty = Dirty(loop.report)
        self.capture: Capture | None = None
        taps: list[Tap] = []
        if config.pcap:
            self.capture = Capture(config.pcap, time.time() - loop.now(), self._deadlines, say.warning)
            taps.append(self.capture)
        if config.verbose:
            taps.append(Trace(say.event, packets=config.verbose > 1))
        around = Surroundings(
            watcher=loop,
            deadlines=self._deadlines,
            dirty=self._dirty,
            random=random.SystemRandom(),
            say=say.event,
            detail=say.event if config.verbose else say.debug,
            debug=say.debug,
            taps=tuple(taps),
        )
        self.networks: dict[Network, None] = {}
        try:
            for network in config.networks:
                made = Network(
                    network.name, links[network.name], partial(_make_uplink, network, around), around, self._over
                )
                self.networks[made] = None
        except Exception:
            self.close()
            raise
        loop.drive(self._dirty.flush, self._deadlines.expire, self._deadlines.next)

    def start(self) -> None:
        """Raises PortError for a link that cannot be used."""
        for network in list(self.networks):
            network.start()

    def status(self) -> dict[str, Any]:
        """What is served now, as plain data, from the whole down to each flow; it can be written as JSON."""
        now = self.loop.now()
        return {"networks": [network.status(now) for network in self.networks], "counters": dict(self.loop.count)}

    # The end

    def end(self) -> None:
        """The first signal: a goodbye on every link, and out when it is answered or patience ends."""
        now = self.loop.now()
        self.say.event("Ending the link." if self._only_calls else "Ending the links.")
        self.loop.call_at(now + PATIENCE, lambda _now: self.loop.stop(self._status))
        for network in list(self.networks):
            network.end(now)

    def _over(self, network: Network, status: int) -> None:
        self._status = max(self._status, status)
        self._let_go(network)
        if not self.networks:
            self.loop.stop(self._status)

    def _let_go(self, network: Network) -> None:
        self.networks.pop(network, None)
        network.close(self.loop.now())
        self._counters += network.count

    def close(self) -> None:
        for network in list(self.networks):
            self._let_go(network)
        if self.capture is not None:
            self.capture.close()
        if self._verbose:
            self.say.counted(self._counters + self.loop.count)


def _make_uplink(config: NetworkConfig, around: Surroundings, on_end: Callable[[int], None]) -> Uplink:
    if config.call is None:
        return Router(config, around, on_end)
    from pppgate.eoppp.uplink import CallUplink

    return CallUplink(config, config.call, around, on_end)

"""Ethernet over PPP: guests' cables on one side, a PPP server on the other, and all between them built and joined.

In: an EopppConfig.  Out: the exit status: 0 after SIGINT or SIGTERM has ended the link in order, or a link that was not
to be made again has ended; 1 when no link could be made.
"""

import math
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from ipcp.protocol import UNSPECIFIED
from lcp.link import Credentials, LinkConfig
from nat.deadlines import Deadlines
from pppgate.capture import Capture
from pppgate.config import ConfigError
from pppgate.eoppp.bridge import SERVER, Bridge
from pppgate.eoppp.bridge_dhcp import BridgeDhcp
from pppgate.eoppp.call import Surroundings, Terms
from pppgate.eoppp.chat import Step
from pppgate.eoppp.dialler import Dialler, Habits
from pppgate.ether.frame import gateway_mac
from pppgate.ether.links.port import EtherLink, FramePort
from pppgate.ether.segment import Segment
from pppgate.flusher import Dirty
from pppgate.hints import start_lines
from pppgate.links import open_links
from pppgate.loop import Loop
from pppgate.notices import Notices
from pppgate.say import Say
from pppgate.trace import Trace
from serialport.port import Link

PATIENCE = 1.5
"""Seconds that the link gets to say goodbye when the program ends: a Terminate-Request and its answer."""


@dataclass(frozen=True)
class EopppConfig:
    """The names are those of the options; see `pppgate eoppp --help`.  Times are in seconds."""

    ether: tuple[str, ...]
    ppp: str
    chat: tuple[Step, ...] = ()
    credentials: Credentials | None = None
    address: bytes = UNSPECIFIED
    dns: tuple[bytes, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    lease: float = 60.0
    demand: bool = False
    idle: float = 0.0
    persist: bool = True
    tries: int = 0
    mru: int = 1500
    mtu: int = 1500
    echo_interval: float = 10.0
    pcap: str | None = None
    log_level: str = "info"
    verbose: int = 0


def run(config: EopppConfig) -> int:
    """Serve until a signal comes or there is no more link.  Raises ConfigError and PortError for what the user has to
    mend."""
    cables = open_links(config.ether).ether
    if len(cables) < len(config.ether):
        raise ConfigError("--ether names a cable, as in ether:unix-listen:/tmp/eth0; the serial line goes after --ppp.")
    say = Say(config.log_level, sys.stderr if config.ppp == "stdio:" else sys.stdout)
    say.capture_logging()
    open_ppp(config.ppp)  # a name that is not understood is the user's to mend, even if it is dialled later
    loop = Loop()
    eoppp = Eoppp(config, cables, loop, say)
    try:
        return loop.run(eoppp.end, eoppp.start)
    finally:
        eoppp.close()
        loop.close()


def open_ppp(url: str) -> Link:
    """The serial line to the PPP server, not started yet.  Raises PortError and ConfigError."""
    links = open_links((url,)).serial
    if not links:
        raise ConfigError(f"--ppp names a serial line, such as serial:/dev/ttyUSB0@115200, and not {url}.")
    return links[0]


class Eoppp:
    """One segment, one PPP link."""

    def __init__(self, config: EopppConfig, cables: list[EtherLink], loop: Loop, say: Say) -> None:
        self.cables = cables
        self.loop = loop
        self.say = say
        self.count: Counter[str] = Counter()
        self._verbose = config.verbose > 0
        self._dirty: Dirty = {}
        self._deadlines = Deadlines()
        self._ending = False
        self.capture = Capture(config.pcap, time.time() - loop.now(), say.warning) if config.pcap else None
        self._taps: list[Capture | Trace] = [self.capture] if self.capture is not None else []
        if config.verbose:
            self._taps.append(Trace(say.event, packets=config.verbose > 1))
        notices = Notices(say.event, loop.now, repeat_after=0.0)
        self.bridge = Bridge(
            self.count, loop.call_at, lease=config.lease, dns=config.dns, domain=config.domain, search=config.search
        )
        dhcp = BridgeDhcp(self.bridge, self.count)
        self.segment = Segment(gateway_mac(SERVER), SERVER, self.bridge, dhcp, loop, self._dirty, notices, self.count)
        self.dialler = self._make_dialler(config)
        self.bridge.calls = self.dialler
        loop.flush, loop.tick, loop.deadline = self._flush, self._tick, self._deadline

    def _make_dialler(self, config: EopppConfig) -> Dialler:
        surroundings = Surroundings(
            self.loop,
            self._deadlines,
            self._dirty,
            random.SystemRandom(),
            Notices(self.say.event, self.loop.now, repeat_after=0.0),
            self.say.event if config.verbose else self.say.debug,
            tuple(self._taps),
        )
        link = LinkConfig(
            mru=config.mru,
            credentials=config.credentials,
            echo_interval=config.echo_interval,
            peer="the server",
        )
        habits = Habits(config.demand, config.persist, config.idle, config.tries, config.address)
        terms = Terms(link, config.mtu, config.chat)
        return Dialler(partial(open_ppp, config.ppp), terms, habits, self.bridge, surroundings, self.loop.stop)

    def start(self) -> None:
        for cable in self.cables:
            cable.note = Notices(self.say.event, self.loop.now, repeat_after=0.0)
            cable.ended = partial(self._cable_ended, cable)
            cable.start(self.loop, self._on_frame_port)
            for line in start_lines(cable):
                self.say.event(line)
        self.dialler.start(self.loop.now())

    def _on_frame_port(self, port: FramePort) -> None:
        """A guest has come."""
        if self._ending:
            port.close()
            return
        bridge_port = self.segment.attach(port, self.loop.now())
        for tap in self._taps:
            tap.attach_ether(bridge_port, port.name, self.loop.now)
        bridge_port.start()

    def _cable_ended(self, cable: EtherLink) -> None:
        self.cables.remove(cable)
        if not self.cables:
            self.end()

    # Wake-ups

    def _flush(self, now: float) -> None:
        dirty = self._dirty
        while dirty:
            flusher, _ = dirty.popitem()
            flusher.flush(now)

    def _deadline(self) -> float:
        return min(self._deadlines.next(), self.capture.deadline if self.capture is not None else math.inf)

    def _tick(self, now: float) -> None:
        self._deadlines.expire(now)
        if self.capture is not None:
            self.capture.tick(now)

    # The end

    def end(self) -> None:
        """The first signal: Terminate-Request, and out when it is answered or patience ends."""
        self._ending = True
        now = self.loop.now()
        self.say.event("Ending the link.")
        self.loop.call_at(now + PATIENCE, lambda _now: self.loop.stop())
        self.dialler.end(now)

    def close(self) -> None:
        now = self.loop.now()
        self.dialler.close(now)
        self.segment.close(now)
        for cable in self.cables:
            cable.stop()
        if self.capture is not None:
            self.capture.close()
        if self._verbose:
            self.say.counted(self.count + self.loop.count)

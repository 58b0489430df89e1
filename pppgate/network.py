"""One network of guests: the links that they come from, and the uplink behind them.

In: the links of a NetworkConfig, an uplink for its guests.  Out: guests handed to the uplink, sentences about links,
and once `over(network, status)`, when there is nothing left to serve.  Networks of one process know nothing of each
other; what is behind a network's guests is its Uplink's business.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pppgate.config import DEFAULT
from pppgate.ether.links.port import EtherLink, FramePort
from pppgate.hints import start_lines
from pppgate.links import Links
from pppgate.notices import Notices
from pppgate.surroundings import Surroundings
from serialport.port import Link, Port

if TYPE_CHECKING:
    from pppgate.ether.segment import Segment


class Uplink(Protocol):
    """What is behind the guests of one network: a router of ours, or a call to somebody else's.

    `on_end(status)`, given when it is made, is called when the uplink has come to its end: after `end`, when all that
    had to be said has been said, or before, when it can do no more.  `status` is the exit status that it asks for.
    """

    @property
    def segment(self) -> "Segment":
        """Where the guests with Ethernet cards are; made when it is first needed."""

    @property
    def count(self) -> Counter[str]:
        """All that was counted, by name."""

    def dial_in(self, port: Port, url: str) -> None:
        """A guest has come on the serial line that is known as `url`."""

    def start(self, now: float) -> None:
        """Raises PortError for what the user has to mend."""

    def end(self, now: float) -> None:
        """Say goodbye to everybody; `on_end` is called when that is done."""

    def close(self, now: float) -> None:
        """Let go of everything at once."""

    def status(self, now: float) -> dict[str, Any]:
        """What it is, as plain data."""


class Network:
    """`links` are not started yet; `over` is called once."""

    def __init__(
        self,
        name: str,
        links: Links,
        make_uplink: Callable[[Callable[[int], None]], Uplink],
        around: Surroundings,
        over: Callable[["Network", int], None],
    ) -> None:
        self.name = name
        self.links = links
        self.uplink = make_uplink(self._uplink_ended)
        self._around = around
        self._over = over
        self._count: Counter[str] = Counter()  # of links that are gone
        self._ending = False
        self._ended = False
        if links.ether:
            _ = self.uplink.segment  # what is wrong with its settings is said now

    def start(self) -> None:
        """Raises PortError for a link that cannot be used."""
        for link in self.links.serial:
            self._prepare(link)
            link.start(self._around.watcher, partial(self.dial_in, link.url))
            self._say_started(link)
        for cable in self.links.ether:
            self._prepare(cable)
            cable.start(self._around.watcher, self.plug_in)
            self._say_started(cable)
        self.uplink.start(self._around.watcher.now())

    def _prepare(self, link: Link | EtherLink) -> None:
        # Callers of a link decide how often it has something to say.
        notices = Notices(self._around.say, self._around.watcher.now, repeat_after=0.0)
        link.report_to(notices, partial(self._link_ended, link))

    def _say_started(self, link: Link | EtherLink) -> None:
        for line in start_lines(link, "" if self.name == DEFAULT else self.name):
            self._around.say(line)

    # Guests

    def dial_in(self, url: str, port: Port) -> None:
        """A guest has come on the line that is known as `url`."""
        if self._ending:
            port.close()
        else:
            self.uplink.dial_in(port, url)

    def plug_in(self, port: FramePort) -> None:
        """A guest with an Ethernet card has come."""
        if self._ending:
            port.close()
            return
        around = self._around
        self.uplink.segment.attach(port, around.watcher.now(), around.taps).start()

    # The end

    def _link_ended(self, link: Link | EtherLink) -> None:
        self.links.remove(link)
        self._count += link.count
        if not self.links.all:
            self.end(self._around.watcher.now())

    def end(self, now: float) -> None:
        """Serve nobody any more, and say goodbye to those who are here."""
        if not self._ending:
            self._ending = True
            self.uplink.end(now)

    def _uplink_ended(self, status: int) -> None:
        if not self._ended:
            self._ending = self._ended = True
            self._over(self, status)

    def close(self, now: float) -> None:
        self._ending = self._ended = True
        self.uplink.close(now)
        for link in self.links.all:
            link.stop()

    @property
    def count(self) -> Counter[str]:
        """All that was counted, by name."""
        return sum((link.count for link in self.links.all), self._count + self.uplink.count)

    def status(self, now: float) -> dict[str, Any]:
        """What it is, as plain data: name, links, and what the uplink says of itself."""
        links = [
            {"url": link.url, "scheme": link.scheme, "path": link.path, "counters": dict(link.count)}
            for link in self.links.all
        ]
        counters = dict(self.uplink.count)
        return {"name": self.name, "links": links, "counters": counters, **self.uplink.status(now)}

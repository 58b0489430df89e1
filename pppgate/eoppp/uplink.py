"""The uplink that is a call: an Ethernet guest on one side, a PPP server on the other, and all between them joined.

In: a NetworkConfig whose uplink is "ppp".  Out: the segment of the guests, and behind it a Bridge whose line a Dialer
fills and empties.  `on_end(status)` is called when there will be no more calls: 0 after a link that was not to be made
again or an end that was asked for, 1 when no link could be made.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from lcp.config import LinkConfig
from nat.rules import PppRules
from pppgate.config import CallConfig, ConfigError, NetworkConfig
from pppgate.eoppp.bridge import SERVER, Bridge
from pppgate.eoppp.bridge_dhcp import BridgeDhcp
from pppgate.eoppp.call import Terms
from pppgate.eoppp.dialer import Dialer, Habits
from pppgate.ether.frame import gateway_mac
from pppgate.ether.segment import Segment
from pppgate.links import open_links
from pppgate.notices import Notices
from pppgate.surroundings import Surroundings
from serialport.port import Link, Port


class CallUplink:
    """See above.  Raises ConfigError and PortError for what the user has to mend."""

    def __init__(
        self, config: NetworkConfig, call: CallConfig, around: Surroundings, on_end: Callable[[int], None]
    ) -> None:
        self._count: Counter[str] = Counter()
        open_ppp(call.ppp)  # a name that is not understood is the user's to mend, even if it is dialed later
        watcher = around.watcher
        # The guest decides how often it is refused an address, the line how often it fails.
        notices = Notices(around.say, watcher.now, repeat_after=0.0)
        link = LinkConfig(
            mru=config.mru, credentials=call.credentials, echo_interval=config.echo_interval, peer="the server"
        )
        terms = Terms(link, config.mtu, call.chat)
        habits = Habits(call.demand, call.persist, call.idle, call.tries, call.address)
        open_line = partial(open_ppp, call.ppp)
        rules = PppRules()
        self.bridge = Bridge(
            self._count,
            watcher.call_at,
            rules,
            notices,
            lambda bridge: Dialer(open_line, terms, habits, bridge, around, on_end),
            lease=call.lease,
            dns=call.dns,
            domain=config.domain,
            search=config.search,
        )
        dhcp = BridgeDhcp(self.bridge, self._count)
        self.segment = Segment(
            gateway_mac(SERVER), SERVER, self.bridge, dhcp, watcher, around.dirty, notices, self._count, rules
        )

    def dial_in(self, port: Port, url: str) -> None:
        """Nobody dials in here: the configuration has no serial links but the server's."""
        port.close()

    def start(self, now: float) -> None:
        self.bridge.calls.start(now)

    def end(self, now: float) -> None:
        self.bridge.calls.end(now)

    def close(self, now: float) -> None:
        self.bridge.calls.close(now)
        self.segment.close(now)

    @property
    def count(self) -> Counter[str]:
        return self._count + self.bridge.calls.count

    def status(self, now: float) -> dict[str, Any]:
        return {"uplink": "ppp", "call": self.bridge.calls.status(), "segment": self.segment.status(now)}


def open_ppp(url: str) -> Link:
    """The serial line to the PPP server, not started yet.  Raises PortError and ConfigError."""
    links = open_links((url,)).serial
    if not links:
        raise ConfigError(f"--ppp names a serial line, such as serial:/dev/ttyUSB0@115200, and not {url}.")
    return links[0]

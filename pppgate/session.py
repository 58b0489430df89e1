"""One guest's stay, from its first octet to its last: an end of PPP, and a place in the network.

In: a port, and the network's parts.  Out: a station in the gateway while IP is up, event lines in plain words.
Here PPP meets the NAT: `lcp` and `ipcp` know nothing of stations, and `nat` knows nothing of links.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ipcp.pool import Pool
from ipcp.protocol import Ipcp, LeaseAnswer
from lcp.config import LinkConfig
from lcp.events import Established, Event, LinkDown
from lcp.packet import Protocol
from nat.gateway import Gateway
from nat.station import Station
from nat.wire.ipv4 import dotted
from pppgate.notices import Notices
from pppgate.ppp_end import PppEnd
from pppgate.surroundings import Surroundings
from serialport.port import Port

PATIENCE = 0.8
"""Seconds that a guest gets to answer our Terminate-Request."""


@dataclass(slots=True)
class Shared:
    """What all sessions of one network share."""

    gateway: Gateway
    pool: Pool
    link: LinkConfig
    mtu: int
    around: Surroundings
    holders: dict[str, "Session"] = field(default_factory=dict)  # by the key of the address that each has on loan


class Session:
    """`key`: what the address pool remembers the guest by; `name`: what event lines call it."""

    def __init__(
        self, shared: Shared, port: Port, key: str, name: str, ended: Callable[["Session", str], None]
    ) -> None:
        self.shared = shared
        self.key = key
        self.name = name
        self.station: Station | None = None
        self._ended = ended
        self._loan = ""  # the key of the address on loan
        around = shared.around
        self._say = Notices(around.say, around.watcher.now, repeat_after=0.0)
        self._damage_said = 0  # damaged frames that a line has been spent on
        self.end = PppEnd(
            port,
            around.watcher,
            around.deadlines,
            around.dirty,
            shared.link,
            random=around.random,
            name=name,
            on_event=self._on_event,
            on_hang_up=self._on_hang_up,
            taps=around.taps,
        )
        gateway = shared.gateway
        self.ipcp = Ipcp.server(
            gateway.address, self._lease, [gateway.dns.address], on_up=self._ip_up, on_down=self._ip_down
        )
        self.end.attach(self.ipcp)

    def start(self, now: float) -> None:
        """The port is open: begin to negotiate at once, and answer whoever begins."""
        self.end.start(now)

    def close(self, now: float, reason: str) -> None:
        """End the link with Terminate-Request; the stay is over when the peer agrees, or soon."""
        self.end.terminate(reason, now, PATIENCE)

    def abandon(self, now: float) -> None:
        """Let go of the port, whatever the state of the link."""
        self.end.hang_up("closed here", now)

    @property
    def counters(self) -> Counter[str]:
        """What was dropped, by name, by the framing and the link."""
        return self.end.counters

    def status(self) -> dict[str, object]:
        """For people and programs: plain data."""
        station = self.station
        return {
            "name": self.name,
            "key": self.key,
            "address": dotted(station.line.address) if station is not None else None,
            "end": self.end.status(),
        }

    # PPP to NAT

    def _lease(self, wanted: bytes | None, answer: LeaseAnswer) -> None:
        answer(self._find_address(wanted))

    def _find_address(self, wanted: bytes | None) -> bytes | None:
        """A guest that has proved its name finds its address again on any line, unless the name is on another now."""
        shared, identity = self.shared, self.end.link.identity
        key = f"user {identity.name}" if identity is not None else self.key
        if shared.holders.get(key, self) is not self:
            key = self.key
        if key != self._loan:
            self._release()
            self._loan = key
            shared.holders[key] = self
        allowed = identity.addresses if identity is not None else ()
        if not allowed:
            return shared.pool.lease(key, wanted)
        wishes = sorted(allowed, key=lambda address: address != wanted)
        return next((address for address in wishes if shared.pool.lease(key, address) == address), None)

    def _release(self) -> None:
        self.shared.pool.release(self._loan)
        self.shared.holders.pop(self._loan, None)

    def _ip_up(self, now: float) -> None:
        address = self.ipcp.remote
        if address is None:
            self._say(f"{self.name}: no address of the network is free for this guest")
            self.ipcp.fail(now, "no address is free")
            return
        end = self.end
        mtu = min(self.shared.mtu, end.link.peer_mru)
        station = self.shared.gateway.arrive(address, mtu, end.mark, now, self._loan, hides_queue=end.port.hides_queue)
        self.station = station
        end.connect(Protocol.IP, station.line)
        end.deliver(Protocol.IP, station.receive)

    def _ip_down(self, now: float) -> None:
        station, self.station = self.station, None
        self.end.disconnect(Protocol.IP)
        if station is not None:
            self.shared.gateway.leave(station, now)

    # Ends and words

    def _on_hang_up(self, reason: str, now: float) -> None:
        self._release()
        self._ended(self, reason)

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, Established):  # all that it says stands in NetworkUp, unless that never comes
            self._say(f"{self.name}: {event}")
        if isinstance(event, LinkDown):
            self._say_damage()

    def _say_damage(self) -> None:
        """What nobody sees otherwise, and everybody asks for when a link is slow or dies."""
        count = self.end.deframer.count
        damaged = count["hdlc.fcs"] + count["hdlc.giant"] - self._damage_said
        if damaged:
            self._damage_said += damaged
            whole = count["hdlc.frames"]
            self._say(
                f"{self.name}: {damaged} damaged frames beside {whole} good ones came from the guest; "
                "look at the speed and the flow control of both ends of the line"
            )

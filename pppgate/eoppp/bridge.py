"""The other kind of uplink: an Ethernet guest behind a call to a PPP server, with the very address that was agreed on.

In: what a call has agreed on, packets from the PPP server, packets of the neighbor on the segment.  Out: packets of
the neighbor on `line`, packets for it on the neighbor's own line, and what DHCP is to tell.  Nothing is translated:
packets are handed on as they are, but for those that have to be cut for a server with a small MRU.

There is one address, so there is one guest; a second one on the segment gets none.  The guest must find a router in its
own network, and PPP has no network: `neighborhood` makes the smallest one that holds both ends.  ARP is answered for
every address but the guest's own, so that it matters to nobody how small it is.

While the link is down the guest keeps its address, for the next call asks for it again.  Its packets wait, if the link
is coming up, or they are answered with Host Unreachable.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Final, Protocol

from nat import line as nat_line
from nat.fragment import fragment
from nat.icmp import Budget, may_answer
from nat.line import Line
from nat.rules import Action, Asked, Direction, Question, RuleSet, deny
from nat.wire.icmp import FRAGMENTATION_NEEDED, HOST_UNREACHABLE, PROHIBITED, UNREACHABLE, build_icmp
from nat.wire.ipv4 import (
    ADDRESSES,
    DESTINATION,
    DONT_FRAGMENT,
    PROTOCOL,
    SOURCE,
    fragment_field,
    header_length,
    is_host,
    length,
    ports,
    quoted,
)
from pppgate.dhcp.server import Settings
from pppgate.eoppp.card_line import CardLine
from pppgate.ether.bridge_port import Neighbor, Way

SERVER: Final = bytes((192, 0, 0, 8))
"""What the segment's router calls itself in DHCP and ICMP: the dummy address of RFC 7600 section 4.8.  It stays the
same whatever IPCP brings, so that a guest finds the DHCP server again after a redial."""
FLOW_MOST: Final = 32 * 1024
"""Octets of one flow that may wait for a slow line: enough for the window of any guest that has an NE2000, and ten
seconds of a modem, in which other flows overtake.  A fast line takes as much more as its meter finds right."""
LINE_MOST: Final = 256 * 1024
"""Octets of all flows."""
HELD_MOST: Final = 32 * 1024
"""Octets that may wait while the link is coming up."""


class Addresses(Protocol):
    """What was agreed on: pppgate.eoppp.call.Agreed."""

    @property
    def local(self) -> bytes: ...
    @property
    def remote(self) -> bytes | None: ...
    @property
    def dns(self) -> tuple[bytes, ...]: ...
    @property
    def mtu(self) -> int: ...


class Calls(Protocol):
    """Who makes the link: pppgate.eoppp.dialer.Dialer."""

    count: Counter[str]

    @property
    def hopeful(self) -> bool: ...
    def wake(self, now: float) -> None: ...
    def note_traffic(self, now: float) -> None: ...
    def start(self, now: float) -> None: ...
    def end(self, now: float) -> None: ...
    def close(self, now: float) -> None: ...
    def status(self) -> dict[str, object]: ...


class ServerLine(Line):
    """The packets for the PPP server."""

    def holds(self, key: Hashable) -> int:
        """Octets of one flow that wait."""
        queue = self._queues.get(key)
        return queue.size if queue is not None else 0


class Bridge:
    """segment.Beyond for a Customer of pppgate.eoppp.call: both sides ask about the one address.

    `make_calls(bridge)` gives who makes the link for it.  `later` is the event loop's timer; `lease` in seconds; `dns`:
    what the guest is told instead of the server's (4 octets each).
    """

    def __init__(
        self,
        count: Counter[str],
        later: Callable[[float, Callable[[float], None]], object],
        rules: RuleSet,
        say: Callable[[str], None],
        make_calls: Callable[["Bridge"], Calls],
        *,
        lease: float,
        dns: tuple[bytes, ...] = (),
        domain: str = "",
        search: tuple[str, ...] = (),
    ) -> None:
        self.agreed: Addresses | None = None
        """What holds now, or held when there was a link last."""
        self.up = False
        self._line = ServerLine(bytes(4), 1500, _nothing, count)
        self._line.up = True
        self._count = count
        self._later = later
        self._say = say
        self._asked_out = Asked(rules)  # by protocol, the outside's address and the port that is called
        self._asked_in = Asked(rules)
        self._lease = lease
        self._dns = dns
        self._domain = domain
        self._search = search
        self.settings: Settings | None = None
        """What DHCP tells the guest; None before the first link."""
        # By address; more than one for as long as one has an old address.
        self._neighbors: dict[bytes, tuple[Neighbor, CardLine]] = {}
        self._holder = ""  # the key of the card that has the address, while it is a neighbor or has a lease
        self._leased_until = 0.0
        self._errors = Budget()
        self.calls = make_calls(self)

    @property
    def line(self) -> Line:
        return self._line

    # What the call says

    def link_up(self, agreed: Addresses, now: float) -> None:
        before, self.agreed, self.up = self.agreed, agreed, True
        if before is not None and before.local != agreed.local:
            self.line.clear()
            self._holder = ""
        self.line.mtu = agreed.mtu
        router, prefix = neighborhood(agreed.local, agreed.remote)
        self.settings = Settings(
            server=SERVER,
            prefix=prefix,
            routers=(router,),
            dns=self._dns or agreed.dns,
            mtu=agreed.mtu,
            lease=self._lease,
            domain=self._domain,
            search=self._search,
        )

    def link_down(self, now: float) -> None:
        self.up = False
        self.line.clear()

    def receive(self, packet: bytes, now: float) -> None:
        """A packet from the PPP server."""
        self.calls.note_traffic(now)
        here = self._neighbors.get(packet[DESTINATION])
        total = length(packet)
        if not total:
            self._count["bridge.malformed"] += 1
        elif self.agreed is None or packet[DESTINATION] != self.agreed.local:
            self._count["bridge.not_the_guests"] += 1
        elif packet[SOURCE] == packet[DESTINATION]:
            self._count["bridge.forged"] += 1
        elif here is None:
            self._count["bridge.nobody_there"] += 1
        elif self._denial(Direction.IN, packet) is None:
            here[1].send(packet[:total], _flow(packet))

    # What the guest sends

    def _from_guest(self, line: CardLine, packet: bytes, now: float) -> None:
        total = length(packet)
        agreed = self.agreed
        if not total:
            self._count["bridge.malformed"] += 1
        elif agreed is None or packet[SOURCE] != agreed.local:
            self._count["bridge.old_address"] += 1  # until its lease is renewed
        elif (action := self._denial(Direction.OUT, packet)) is not None:
            if action is Action.REFUSE:
                self._complain(line, packet, PROHIBITED, 0, now)
        elif self.up:
            self.calls.note_traffic(now)
            line.heard(packet, now)
            flow_most = max(FLOW_MOST, self._line.flow_limit)
            self._forward(line, packet[:total], agreed.mtu, flow_most, LINE_MOST, now)
        else:
            self.calls.wake(now)
            if self.calls.hopeful:
                self._forward(line, packet[:total], agreed.mtu, HELD_MOST, HELD_MOST, now)
            else:
                self._count["bridge.link_down"] += 1
                self._complain(line, packet, HOST_UNREACHABLE, 0, now)

    def _denial(self, direction: Direction, packet: bytes) -> Action | None:
        """None: the rules allow it.  They are asked once a flow, and answers belong to the flow of what they answer."""
        out = direction is Direction.OUT
        asked, others = (self._asked_out, self._asked_in) if out else (self._asked_in, self._asked_out)
        source, destination = packet[SOURCE], packet[DESTINATION]
        guest, outside = (source, destination) if out else (destination, source)
        protocol = packet[PROTOCOL]
        kind = bytes((protocol,))
        source_port, port = ports(packet, header_length(packet), protocol)
        key = kind + outside + port
        verdict = asked.remembered(key, others, kind + outside + source_port)
        if verdict is not None and verdict.action is Action.ALLOW:
            return None
        question = Question(guest, "", direction, protocol, outside, int.from_bytes(port, "big"))
        verdict = verdict or asked.ask(key, question)
        if verdict.action is Action.ALLOW:
            return None
        deny(question, verdict, self._count, self._say)
        return verdict.action

    def _forward(self, card: CardLine, packet: bytes, mtu: int, flow_most: int, line_most: int, now: float) -> None:
        line = self._line
        key = _flow(packet)
        if line.queued + len(packet) > line_most or line.holds(key) + len(packet) > flow_most:
            self._count["bridge.queue_full"] += 1
        elif len(packet) <= mtu:
            line.send(packet, key)
        elif fragment_field(packet) & DONT_FRAGMENT:
            self._complain(card, packet, FRAGMENTATION_NEEDED, mtu, now)
        else:
            for piece in fragment(packet, mtu):
                line.send(piece, key)

    def _complain(self, card: CardLine, packet: bytes, code: int, mtu: int, now: float) -> None:
        """Destination Unreachable (RFC 792; `mtu`: RFC 1191 section 4), where it is due and not too often."""
        hlen = header_length(packet)
        if not may_answer(packet, hlen) or not self._errors.take(now):
            self._count["bridge.error_not_sent"] += 1
            return
        self._count["bridge.error_sent"] += 1
        rest = mtu.to_bytes(4, "big")
        message = build_icmp(SERVER, packet[SOURCE], UNREACHABLE, code, rest, quoted(packet, hlen))
        card.send(message, "icmp.error")

    # segment.Beyond

    def owns(self, address: bytes) -> bool:
        agreed = self.agreed
        return agreed is not None and address != agreed.local and is_host(address)

    def admit(self, keys: tuple[str, ...], address: bytes, now: float) -> bool:
        if self.agreed is None:
            self.calls.wake(now)
            return False
        if address != self.agreed.local or not self.is_free(keys[-1], now):
            return False
        self._holder = keys[-1]
        return True

    def holds(self, keys: tuple[str, ...], address: bytes) -> bool:
        return self.agreed is not None and address == self.agreed.local and self._holder == keys[-1]

    def arrive(self, keys: tuple[str, ...], now: float, neighbor: Neighbor) -> Way:
        line = CardLine(neighbor.address, self.line.mtu, neighbor.kick, self._count, self._later)
        line.up = True
        line.flow_limit = nat_line.FLOW_MOST
        self._neighbors[neighbor.address] = neighbor, line
        return Way(line, partial(self._from_guest, line))

    def leave(self, neighbor: Neighbor, now: float) -> None:
        del self._neighbors[neighbor.address]
        if self.agreed is not None and neighbor.address == self.agreed.local:
            self._holder = ""

    def expected(self) -> Iterable[bytes]:
        return () if self.agreed is None else (self.agreed.local,)

    # Who has the address

    def is_free(self, key: str, now: float) -> bool:
        """Whether the card known by `key` may have the address: nobody has it, or it is its own already."""
        if self.agreed is not None and self.agreed.local not in self._neighbors and now >= self._leased_until:
            self._holder = ""
        return self._holder in ("", key)

    def holder(self, address: bytes) -> str | None:
        """The key of the card that has the address."""
        return (self._holder or None) if self.agreed is not None and address == self.agreed.local else None

    def lend(self, key: str, now: float) -> None:
        self._holder, self._leased_until = key, now + self._lease

    def take_back(self, key: str) -> None:
        if key == self._holder:
            self._holder = ""


def neighborhood(local: bytes, remote: bytes | None) -> tuple[bytes, int]:
    """(router, prefix): the smallest network around `local` with a router in it, neither its first or last address.

    The router is the server itself where that lies within the same /16, else the address beside `local`; it is only a
    name to ask the MAC address of, and whoever has it beyond the link is reached all the same.
    """
    ours = int.from_bytes(local, "big")
    candidates = [] if remote is None else [(int.from_bytes(remote, "big"), 16)]
    candidates += [(ours ^ 3, 30), (ours ^ 1, 1)]
    for router, least in candidates:
        for prefix in range(30, least - 1, -1):
            if _both_hosts(ours, router, prefix):
                return router.to_bytes(4, "big"), prefix
    return (ours ^ 1).to_bytes(4, "big"), 1  # 128.0.0.0, which is no host's


def _both_hosts(one: int, other: int, prefix: int) -> bool:
    mask = (1 << 32 - prefix) - 1
    return one & ~mask == other & ~mask and one != other and all(0 < each & mask < mask for each in (one, other))


def _flow(packet: bytes) -> tuple[int, bytes, tuple[bytes, bytes]]:
    """What packets of one connection have in common: protocol, addresses, and ports where they are to be seen."""
    protocol = packet[PROTOCOL]
    return protocol, packet[ADDRESSES], ports(packet, header_length(packet), protocol)


def _nothing() -> None:
    pass

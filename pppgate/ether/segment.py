"""The segment that Ethernet guests share: a switch between their cables, and on it the router's own stack.

In: frames from bridge ports.  Out: IPv4 packets of each neighbor to what is beyond, frames to bridge ports, a sentence
when a neighbor comes.  It answers ARP for what is beyond owns, hands DHCP to the server, switches between the ports
what is for another guest, and believes nobody who speaks for somebody else:

- a MAC address belongs to the port where it was heard first, until that port ends or it was silent for MAC_AGE;
- an IPv4 address belongs to the MAC address that leased it, or that used it first (a guest with a fixed address).

Before IPv4 of one host is switched to another the rules are asked, once for each pair.

It knows neither PPP nor NAT: either may be beyond it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from nat.dirty import Dirty
from nat.rules import ANY, Action, Asked, Direction, Question, RuleSet, deny
from nat.wire import ipv4
from nat.wire.checksum import sum16
from nat.wire.ipv4 import DONT_FRAGMENT, IPV4, UDP, dotted
from nat.wire.udp import build_udp, destination_port, parse
from pppgate.ether import arp
from pppgate.ether.bridge_port import BridgePort, Neighbor, Way
from pppgate.ether.dhcp_service import Answer, DhcpService
from pppgate.ether.frame import (
    ARP,
    BROADCAST,
    DESTINATION,
    IP_DESTINATION,
    IP_PROTOCOL,
    IP_SOURCE,
    NOBODY,
    SOURCE,
    TYPE,
    VLANS,
    header,
    is_group,
    mac_key,
    mac_text,
)
from pppgate.ether.frame import IPV4 as TYPE_IPV4
from pppgate.ether.links.port import HEADER, FramePort
from pppgate.ether.tap import FrameTap
from serialport.port import Watcher

MACS_PER_PORT: Final = 64
"""A port may lead to another switch; beyond so many addresses behind one, the frames of further ones are dropped."""
NEIGHBORS_PER_PORT: Final = 32
"""IPv4 addresses behind one port; one that was not heard for NEIGHBOR_IDLE makes room."""
MAC_AGE: Final = 300.0
"""Seconds of silence after which a MAC address may turn up on another port (IEEE 802.1D section 7.9.2: ageing time)."""
NEIGHBOR_IDLE: Final = 300.0
CROSSING_MOST: Final = 64
"""Hosts of the segment about which a neighbor keeps what the rules have said."""
DHCP_SERVER: Final = 67
DHCP_CLIENT: Final = 68

_IPV4_TYPE: Final = TYPE_IPV4.to_bytes(2, "big")
_ARP_TYPE: Final = ARP.to_bytes(2, "big")
_VLAN_TYPES: Final = frozenset(kind.to_bytes(2, "big") for kind in VLANS)
_NO_ADDRESS: Final = bytes(4)
_LIMITED_BROADCAST: Final = b"\xff\xff\xff\xff"
_FRAGMENT: Final = ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK


class Beyond(Protocol):
    """What lies behind the router of the segment: the NAT, or a PPP server."""

    def owns(self, address: bytes) -> bool:
        """Whether ARP for the address is answered with the router's MAC: it is the router's, or leads through it."""

    def admit(self, keys: tuple[str, ...], address: bytes, now: float) -> bool:
        """Whether the host known by one of `keys` may use the address; if nobody has it, it is its own from now on."""

    def holds(self, keys: tuple[str, ...], address: bytes) -> bool:
        """Whether the address is this host's already."""

    def arrive(self, keys: tuple[str, ...], now: float, neighbor: Neighbor) -> Way:
        """A host is there, known by these keys, its card's address the last.  The neighbor is being made: it has its
        addresses and its port, and may be kicked."""

    def leave(self, neighbor: Neighbor, now: float) -> None:
        """It has gone."""

    def expected(self) -> Iterable[bytes]:
        """Addresses worth asking a new port for, since something waits for them (forwards)."""


class Learned:
    """Where a MAC address is, and by which key its leases are known beside its own."""

    __slots__ = ("port", "heard", "key")

    def __init__(self, port: BridgePort, now: float) -> None:
        self.port = port
        self.heard = now
        self.key = ""


class Segment:
    """`mac` is the router's own; `address` what it calls itself when it asks (4 octets)."""

    def __init__(
        self,
        mac: bytes,
        address: bytes,
        beyond: Beyond,
        dhcp: DhcpService,
        watcher: Watcher,
        dirty: Dirty,
        say: Callable[[str], None],
        count: Counter[str],
        rules: RuleSet,
        network: str = "",
    ) -> None:
        self.mac = mac
        self.address = address
        self.ports: dict[BridgePort, None] = {}
        self.neighbors: dict[bytes, Neighbor] = {}
        self._beyond = beyond
        self._dhcp = dhcp
        self._watcher = watcher
        self._dirty = dirty
        self._say = say
        self._count = count
        self._rules = rules
        self._network = network
        self._learned: dict[bytes, Learned] = {}
        self._full_until: dict[BridgePort, float] = {}  # ports with MACS_PER_PORT, none of which ages before then
        self._closing = False

    # Ports

    def attach(self, port: FramePort, now: float, taps: Sequence[FrameTap] = ()) -> BridgePort:
        """A cable has come; `start` it. `taps` look at its frames."""
        bridge_port = BridgePort(port, self._watcher, self._dirty, self.receive, self._hung_up, taps)
        self.ports[bridge_port] = None
        for address in self._beyond.expected():
            question = arp.request(self.mac, self.address, address)
            bridge_port.emit(header(BROADCAST, self.mac, ARP) + arp.build(question))
        return bridge_port

    def _hung_up(self, port: BridgePort, reason: str, now: float) -> None:
        self.ports.pop(port, None)
        self._full_until.pop(port, None)
        self._learned = {mac: learned for mac, learned in self._learned.items() if learned.port is not port}
        for neighbor in list(port.neighbors):
            self._remove(neighbor, now)
        self._count += port.count + port.port.count
        if not self._closing:
            self._say(f"{port.name} {reason}")

    def close(self, now: float) -> None:
        self._closing = True
        for port in list(self.ports):
            port.hang_up("closed here", now)

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data."""
        return {
            "network": self._network,
            "address": dotted(self.address),
            "mac": mac_text(self.mac),
            "ports": [port.status() for port in self.ports],
            "macs": len(self._learned),
            "neighbors": [neighbor.status(now) for neighbor in self.neighbors.values()],
        }

    # Frames

    def receive(self, port: BridgePort, frame: bytes, now: float) -> None:
        """One frame of a guest.  The first lines are the path of nearly all of them: IPv4 of a known host to us."""
        if frame[DESTINATION] == self.mac and frame[TYPE] == _IPV4_TYPE:
            neighbor = self.neighbors.get(frame[IP_SOURCE])
            if (
                neighbor is not None
                and neighbor.port is port
                and neighbor.mac == frame[SOURCE]
                and not (frame[IP_PROTOCOL] == UDP and frame[IP_DESTINATION] == self.address)  # a lease may be renewed
            ):
                neighbor.heard = now
                neighbor.receive(frame[HEADER:], now)
                return
        self._receive_other(port, frame, now)

    def _receive_other(self, port: BridgePort, frame: bytes, now: float) -> None:
        source = frame[SOURCE]
        learned = self._learn(port, source, now)
        if learned is None:
            return
        kind = frame[TYPE]
        destination = frame[DESTINATION]
        if kind in _VLAN_TYPES:
            self._count["ether.vlan"] += 1
        elif kind == _ARP_TYPE:
            self._receive_arp(port, learned, frame, now)
        elif kind == _IPV4_TYPE:
            self._receive_ip(port, learned, frame, now)
        elif destination == self.mac:
            self._count["ether.unknown_type"] += 1
        else:
            self._switch(port, frame)

    def _learn(self, port: BridgePort, source: bytes, now: float) -> Learned | None:
        """Whose address this is; None, and counted: the frame is not to be looked at."""
        learned = self._learned.get(source)
        if learned is not None and learned.port is port:
            learned.heard = now
            return learned
        if is_group(source) or source in (self.mac, NOBODY):
            self._count["ether.bad_source"] += 1
            return None
        if learned is not None:
            if now - self._last_heard(source) < MAC_AGE:
                self._count["ether.forged_mac"] += 1
                if not port.warned:  # most likely two machines that were started with the same words
                    port.warned = True
                    self._say(
                        f"{port.name}: {mac_text(source)} is on another cable already; "
                        "give one of the two cards another address"
                    )
                return None
            self._forget(source, now)
        elif not self._room_for_mac(port, now):
            self._count["ether.macs_full"] += 1
            return None
        learned = self._learned[source] = Learned(port, now)
        return learned

    def _room_for_mac(self, port: BridgePort, now: float) -> bool:
        if now < self._full_until.get(port, now):  # a flood of made-up addresses must not cost a search each
            return False
        behind = [mac for mac, learned in self._learned.items() if learned.port is port]
        if len(behind) < MACS_PER_PORT:
            return True
        oldest = min(behind, key=self._last_heard)
        until = self._last_heard(oldest) + MAC_AGE
        if now < until:
            self._full_until[port] = until
            return False
        self._forget(oldest, now)
        return True

    def _behind(self, mac: bytes) -> list[Neighbor]:
        return [each for each in self._learned[mac].port.neighbors if each.mac == mac]

    def _last_heard(self, mac: bytes) -> float:
        """The path of most frames moves only the neighbor's time."""
        return max([self._learned[mac].heard, *(each.heard for each in self._behind(mac))])

    def _forget(self, mac: bytes, now: float) -> None:
        for neighbor in self._behind(mac):
            self._remove(neighbor, now)
        self._full_until.pop(self._learned.pop(mac).port, None)

    def _switch(self, port: BridgePort, frame: bytes) -> None:
        """To the port of its destination, or to all others where that is not known (IEEE 802.1D section 7.7)."""
        learned = self._learned.get(frame[DESTINATION])
        if learned is not None:
            if learned.port is not port:
                learned.port.emit(frame)
            return
        for other in self.ports:
            if other is not port:
                other.emit(frame)

    # ARP

    def _receive_arp(self, port: BridgePort, learned: Learned, frame: bytes, now: float) -> None:
        packet = arp.parse(frame[HEADER:], self._count)
        if packet is None:
            return
        source = frame[SOURCE]
        if packet.sender_mac != source:
            self._count["arp.forged"] += 1
            return
        asked = packet.operation == arp.REQUEST and self._beyond.owns(packet.target)
        if packet.sender != _NO_ADDRESS:
            if self._beyond.owns(packet.sender):
                # Somebody takes an address of ours for its own: it is told whose it is, and nobody else hears of it.
                self._count["arp.forged"] += 1
                self._answer(port, packet._replace(target=packet.sender))
                return
            if self._admit(port, learned, source, packet.sender, now) is None:
                self._count["arp.forged"] += 1
                return
        if asked:
            self._answer(port, packet)
        elif frame[DESTINATION] != self.mac:
            self._switch(port, frame)

    def _answer(self, port: BridgePort, request: arp.Arp) -> None:
        port.emit(header(request.sender_mac, self.mac, ARP) + arp.build(arp.reply(request, self.mac)))

    # IPv4

    def _receive_ip(self, port: BridgePort, learned: Learned, frame: bytes, now: float) -> None:
        if len(frame) < HEADER + IPV4.size:
            self._count["ip.short"] += 1
            return
        mac, source, destination = frame[SOURCE], frame[IP_SOURCE], frame[IP_DESTINATION]
        if self._is_dhcp(frame, destination):
            self._receive_dhcp(port, learned, frame, now)
            return
        neighbor = None if source == _NO_ADDRESS else self._admit(port, learned, mac, source, now)
        if neighbor is None:
            self._count["ip.bad_source"] += 1
        elif frame[DESTINATION] == self.mac:
            neighbor.receive(frame[HEADER:], now)
        elif self._may_cross(neighbor, destination):
            self._switch(port, frame)

    def _may_cross(self, neighbor: Neighbor, destination: bytes) -> bool:
        verdict = neighbor.across.known(destination)
        if verdict is not None and verdict.action is Action.ALLOW:
            return True
        question = Question(neighbor.address, self._network, Direction.ACROSS, ANY, destination, 0)
        verdict = verdict or neighbor.across.ask(destination, question)
        if verdict.action is Action.ALLOW:
            return True
        deny(question, verdict, self._count, self._say)
        return False

    def _admit(self, port: BridgePort, learned: Learned, mac: bytes, address: bytes, now: float) -> Neighbor | None:
        """The neighbor with this address if it is this one, made if the address is free for it."""
        neighbor = self.neighbors.get(address)
        if neighbor is not None:
            if neighbor.mac != mac or neighbor.port is not port:
                return None
            neighbor.heard = now
            return neighbor
        if self._beyond.owns(address):
            return None
        oldest = self._one_too_many(port)
        if oldest is not None and now - oldest.heard < NEIGHBOR_IDLE:  # else an address would be lent for nothing
            self._count["ether.neighbours_full"] += 1
            return None
        keys = _keys(mac, learned)
        if not self._beyond.admit(keys, address, now):
            return None
        if oldest is not None:
            self._remove(oldest, now)
        arrive = partial(self._beyond.arrive, keys, now)
        across = Asked(self._rules, CROSSING_MOST)
        neighbor = Neighbor(address, mac, port, header(mac, self.mac, TYPE_IPV4), across, arrive, now)
        self.neighbors[address] = neighbor
        port.neighbors[neighbor] = None
        self._say(f"{port.name}: {mac_text(mac)} has {dotted(address)}")
        return neighbor

    def _one_too_many(self, port: BridgePort) -> Neighbor | None:
        """Who would have to make room for another neighbor, if the port has as many as it may."""
        behind = port.neighbors
        return min(behind, key=lambda each: each.heard) if len(behind) >= NEIGHBORS_PER_PORT else None

    def _remove(self, neighbor: Neighbor, now: float) -> None:
        neighbor.port.neighbors.pop(neighbor, None)
        if self.neighbors.pop(neighbor.address, None) is not None:
            neighbor.port.ready.pop(neighbor, None)
            self._beyond.leave(neighbor, now)

    # DHCP

    def _is_dhcp(self, frame: bytes, destination: bytes) -> bool:
        """A message to the server, whole and in the simplest of forms: broadcast, or to our own address."""
        packet, card = frame[HEADER:], frame[DESTINATION]
        return (
            frame[IP_PROTOCOL] == UDP
            and ipv4.version(packet) == 4
            and not ipv4.fragment_field(packet) & _FRAGMENT
            and destination_port(packet, ipv4.header_length(packet)) == DHCP_SERVER
            and (
                card == self.mac
                and destination == self.address
                or card == BROADCAST
                and (destination == _LIMITED_BROADCAST or destination == self.address)
            )
        )

    def _receive_dhcp(self, port: BridgePort, learned: Learned, frame: bytes, now: float) -> None:
        packet = frame[HEADER:]
        hlen, total = ipv4.header_length(packet), ipv4.length(packet)
        # What is wrong with it is not told apart.
        parsed = parse(packet[:total], hlen, Counter()) if total and not sum16(packet[:hlen]) else None
        if parsed is None:
            self._count["dhcp.malformed"] += 1
            return
        mac = frame[SOURCE]
        self._dhcp.receive(parsed[2], mac, frame[IP_SOURCE], now, partial(self._answer_dhcp, port, mac))
        self._settle(mac, learned, now)

    def _answer_dhcp(self, port: BridgePort, mac: bytes, answer: Answer, now: float) -> None:
        """The server's answer to a card, which may have gone meanwhile."""
        learned = self._learned.get(mac)
        if learned is None or learned.port is not port:
            self._count["dhcp.too_late"] += 1
            return
        learned.key = answer.key
        self._settle(mac, learned, now)
        if answer.said:
            self._say(f"{port.name}: {answer.said}")
        if answer.payload:
            packet = build_udp(
                self.address, DHCP_SERVER, answer.address, DHCP_CLIENT, answer.payload, flags=DONT_FRAGMENT
            )
            port.emit(header(answer.mac, self.mac, TYPE_IPV4) + packet)

    def _settle(self, mac: bytes, learned: Learned, now: float) -> None:
        """The card may have another address now, or have given one back."""
        keys = _keys(mac, learned)
        for neighbor in self._behind(mac):
            if not self._beyond.holds(keys, neighbor.address):
                self._remove(neighbor, now)


def _keys(mac: bytes, learned: Learned) -> tuple[str, ...]:
    """By what the host's leases are known: what it told the DHCP server, and its card's address."""
    own = mac_key(mac)
    return (learned.key, own) if learned.key not in ("", own) else (own,)

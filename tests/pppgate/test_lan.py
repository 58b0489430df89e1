"""The whole LAN in one piece: segment, DHCP server, NAT, with guests that speak through Scapy's eyes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ipcp.pool import Pool
from nat.context import Context
from nat.deadlines import Deadlines
from nat.dns import Dns
from nat.gateway import Gateway
from nat.rules import Rules
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import UDP as UDP_PROTOCOL
from pppgate.config import NetworkConfig, build_network
from pppgate.ether import arp
from pppgate.ether.bridge_port import BridgePort
from pppgate.ether.frame import BROADCAST, IPV4, header
from pppgate.ether.segment import NEIGHBORS_PER_PORT
from pppgate.lan import LEASE, build_lan
from pppgate.surroundings import Surroundings
from tests.nat.test_station import Host, syn
from tests.pppgate.ether.test_segment import FakePort, FakeWatcher, arp_frame, ip_frame, mac, reply_in, who_has


class Lan:
    """A segment with the NAT behind it, as the router makes it; `plug` gives a cable."""

    def __init__(self, **values: object) -> None:
        self.config: NetworkConfig = build_network(values)
        gateway = self.config.gateway.packed
        network = (self.config.net.network_address.packed, self.config.net.prefixlen)
        host = Host()
        rules = Rules(host, network, gateway, dns=self.config.dns.packed)
        self.count: Counter[str] = Counter()
        context = Context(host, rules, Deadlines(), Random(5), lambda sentence: None, self.count)  # type: ignore[arg-type]
        self.gateway = Gateway(context, gateway, Dns(context, self.config.dns.packed))
        self.pool = Pool(self.config.net, (gateway, self.config.dns.packed), self.config.guest.packed)
        self.said: list[str] = []
        around = Surroundings(
            watcher=FakeWatcher(),
            deadlines=context.deadlines,
            dirty=context.dirty,
            random=Random(5),
            say=self.said.append,
            detail=self.said.append,
            debug=self.said.append,
        )
        lan = build_lan(self.config, self.gateway, self.pool, around, self.count)
        self.segment, self.leases = lan.segment, lan.leases
        self.now = 1000.0
        self.cables: list[tuple[FakePort, BridgePort]] = []
        self.router = self.segment.mac

    def plug(self) -> int:
        port = FakePort(len(self.cables))
        self.cables.append((port, self.segment.attach(port, self.now)))
        self.cables[-1][1].start()
        self.flush()
        return len(self.cables) - 1

    def unplug(self, cable: int) -> None:
        self.cables[cable][0].gone = True
        self.say(cable)

    def say(self, cable: int, *frames: bytes) -> list[bytes]:
        """What the guest hears in return."""
        port, bridge_port = self.cables[cable]
        port.sent = []
        port.arrives += frames
        bridge_port.on_readable(self.now)
        self.flush()
        return port.sent

    def flush(self) -> None:
        self.gateway.context.dirty.flush(self.now)

    def dhcp(self, cable: int, source: bytes, kind: str, **fields: object) -> dict[str, object] | None:
        """One message of a client; the options of the answer, with `yiaddr`, or None."""
        options = [("message-type", kind), *fields.pop("options", [])]  # type: ignore[misc]
        ciaddr = str(fields.get("ciaddr", "0.0.0.0"))
        message = BOOTP(chaddr=source, xid=7, ciaddr=ciaddr) / DHCP(options=[*options, "end"])
        to = "255.255.255.255" if ciaddr == "0.0.0.0" else str(self.config.gateway)
        frame = Ether(dst="ff:ff:ff:ff:ff:ff" if ciaddr == "0.0.0.0" else self.router.hex(":"), src=source.hex(":"))
        frame = frame / IP(src=ciaddr, dst=to) / UDP(sport=68, dport=67) / message
        heard = self.say(cable, bytes(frame))
        if not heard:
            return None
        [answer] = [Ether(each) for each in heard]
        assert answer[IP].src == str(self.config.gateway) and (answer[UDP].sport, answer[UDP].dport) == (67, 68)
        words = {option[0]: option[1] for option in answer[DHCP].options if isinstance(option, tuple)}
        return {**words, "yiaddr": answer[BOOTP].yiaddr, "to": answer.dst}

    def lease(self, cable: int, source: bytes, *options: tuple[str, object]) -> str:
        """Discover, request; the address."""
        offer = self.dhcp(cable, source, "discover", options=list(options))
        assert offer is not None and offer["message-type"] == 2
        wanted = [("requested_addr", offer["yiaddr"]), ("server_id", str(self.config.gateway)), *options]
        acknowledgement = self.dhcp(cable, source, "request", options=wanted)
        assert acknowledgement is not None and acknowledgement["message-type"] == 5
        return str(acknowledgement["yiaddr"])


def packed(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def ping(source_mac: bytes, source: str, to_mac: bytes, destination: str) -> bytes:
    echo = build_icmp(packed(source), packed(destination), 8, 0, b"\0\1\0\1", b"x" * 56)
    return header(to_mac, source_mac, IPV4) + echo


@pytest.mark.parametrize(("net", "first"), [("10.0.2.0/24", "10.0.2.15"), ("192.168.16.0/24", "192.168.16.15")])
def test_a_guest_leases_an_address_and_pings_the_gateway(net: str, first: str) -> None:
    lan = Lan(net=net, domain="lan", search=["lan", "example.org"], mtu=1400)
    cable = lan.plug()
    wishes = [("param_req_list", [1, 3, 6, 15, 26, 51, 119])]
    offer = lan.dhcp(cable, mac(1), "discover", options=wishes)
    assert offer is not None
    gateway = str(lan.config.gateway)
    assert (offer["yiaddr"], offer["router"], offer["server_id"]) == (first, gateway, gateway)
    assert (offer["subnet_mask"], offer["name_server"]) == ("255.255.255.0", str(lan.config.dns))
    assert (offer["interface-mtu"], offer["domain"], offer["lease_time"]) == (1400, b"lan", 86400)
    assert lan.lease(cable, mac(1)) == first
    [answer] = [Ether(each) for each in lan.say(cable, ping(mac(1), first, lan.router, gateway))]
    assert (answer.dst, answer[IP].src, answer[IP].dst) == (mac(1).hex(":"), gateway, first)
    assert f"port 0: {mac(1).hex(':')} has leased {first}" in lan.said


def test_two_guests_get_different_addresses_and_reach_each_other_through_the_router_too() -> None:
    lan = Lan()
    first, second = lan.plug(), lan.plug()
    one, two = lan.lease(first, mac(1)), lan.lease(second, mac(2))
    assert one != two
    for cable, number, address in ((first, 1, one), (second, 2, two)):
        assert lan.say(cable, who_has(mac(number), packed(address), lan.config.gateway.packed))
    lan.cables[second][0].sent = []
    lan.say(first, ping(mac(1), one, lan.router, two))
    [routed] = [Ether(each) for each in lan.cables[second][0].sent]
    assert (routed.src, routed[IP].ttl) == (lan.router.hex(":"), 63)
    lan.cables[second][0].sent = []
    lan.say(first, ping(mac(1), one, mac(2), two))
    [switched] = [Ether(each) for each in lan.cables[second][0].sent]
    assert (switched.src, switched[IP].ttl) == (mac(1).hex(":"), 64)


def test_a_guest_of_the_serial_side_is_reached_through_proxy_arp() -> None:
    lan = Lan()
    cable = lan.plug()
    address = lan.lease(cable, mac(1))
    ppp = lan.pool.lease("/dev/pts/4")
    assert ppp is not None
    assert lan.say(cable, who_has(mac(1), packed(address), ppp)) == []
    station = lan.gateway.arrive(ppp, 1500, lambda: None, lan.now, "/dev/pts/4")
    [frame] = lan.say(cable, who_has(mac(1), packed(address), ppp))
    assert reply_in(frame).sender_mac == lan.router
    lan.say(cable, ping(mac(1), address, lan.router, ".".join(map(str, ppp))))
    assert len(station.line.take(9000)) == 1
    lan.gateway.leave(station, lan.now)
    assert lan.say(cable, who_has(mac(1), packed(address), ppp)) == []


def test_a_serial_guest_sends_to_an_ethernet_guest() -> None:
    lan = Lan()
    cable = lan.plug()
    address = lan.lease(cable, mac(1))
    lan.say(cable, who_has(mac(1), packed(address), lan.config.gateway.packed))
    ppp = lan.pool.lease("/dev/pts/4")
    assert ppp is not None
    station = lan.gateway.arrive(ppp, 1500, lambda: None, lan.now, "/dev/pts/4")
    lan.cables[cable][0].sent = []
    station.receive(build_icmp(ppp, packed(address), 8, 0, b"\0\1\0\1", b"x"), lan.now)
    lan.flush()
    [frame] = lan.cables[cable][0].sent
    assert Ether(frame)[IP].dst == address and len(frame) == 60


def test_a_fixed_address_is_the_guests_and_dhcp_gives_it_to_nobody_else() -> None:
    lan = Lan()
    cable, other = lan.plug(), lan.plug()
    lan.say(cable, who_has(mac(1), packed("10.0.2.15"), packed("10.0.2.15")))
    assert lan.lease(other, mac(2)) == "10.0.2.16"
    refused = lan.dhcp(other, mac(2), "request", options=[("requested_addr", "10.0.2.15")])
    assert refused is not None and refused["message-type"] == 6
    lan.unplug(cable)
    accepted = lan.dhcp(other, mac(2), "request", options=[("requested_addr", "10.0.2.15")])
    assert accepted is not None and accepted["message-type"] in (5, 6)


def test_the_router_answers_for_the_gateway_and_the_name_server() -> None:
    lan = Lan()
    cable = lan.plug()
    address = packed(lan.lease(cable, mac(1)))
    for asked in (lan.config.gateway.packed, lan.config.dns.packed):
        [frame] = lan.say(cable, who_has(mac(1), address, asked))
        reply = reply_in(frame)
        assert (reply.sender_mac, reply.sender) == (lan.router, asked)


def test_one_guest_does_not_take_every_address() -> None:
    """It uses them all as if they were its own; what is too many stays free for others."""
    lan = Lan()
    rogue, other = lan.plug(), lan.plug()
    net = [bytes((10, 0, 2, last)) for last in range(256)]
    lan.say(rogue, *(who_has(mac(1), address, lan.config.gateway.packed) for address in net))
    taken = [address for address in net if lan.pool.holder(address) is not None]
    assert sorted(taken) == sorted(lan.segment.neighbors) and len(taken) == NEIGHBORS_PER_PORT
    assert packed(lan.lease(other, mac(2))) not in taken


def test_a_guest_with_several_fixed_addresses_has_them_all() -> None:
    lan = Lan()
    cable = lan.plug()
    for last in (15, 16, 17):
        lan.say(cable, ip_frame(mac(1), packed(f"10.0.2.{last}"), lan.config.gateway.packed, to=lan.router))
    assert sorted(lan.gateway.stations) == [packed(f"10.0.2.{last}") for last in (15, 16, 17)]
    assert lan.say(cable, ip_frame(mac(1), packed("10.0.3.1"), packed("192.0.2.1"), to=lan.router)) == []
    assert lan.count["ip.bad_source"] == 1


@pytest.mark.parametrize("identifier", [(), (("client_id", b"\xff" + bytes(range(12))),)])
def test_a_guest_that_was_static_asks_for_its_own_address_and_gets_it(identifier: tuple[tuple[str, object]]) -> None:
    """The gateway was restarted under a guest with a lease: its packets come before its renewal does."""
    lan = Lan()
    cable = lan.plug()
    lan.say(cable, ping(mac(1), "10.0.2.77", lan.router, "10.0.2.2"))
    assert packed("10.0.2.77") in lan.gateway.stations
    renewed = lan.dhcp(cable, mac(1), "request", ciaddr="10.0.2.77", options=list(identifier))
    assert renewed is not None and (renewed["message-type"], renewed["yiaddr"]) == (5, "10.0.2.77")
    assert renewed["to"] == mac(1).hex(":")
    assert packed("10.0.2.77") in lan.segment.neighbors


def test_what_nobody_renews_is_free_again_but_what_is_used_is_not() -> None:
    lan = Lan()
    silent, busy = lan.plug(), lan.plug()
    leased = packed(lan.lease(silent, mac(1)))
    used = [packed("10.0.2.77"), packed("10.0.2.78")]
    for address in used:
        lan.say(busy, who_has(mac(2), address, lan.config.gateway.packed))
    assert lan.leases.deadline <= lan.now + LEASE + 120
    lan.now += LEASE + 120
    lan.leases.tick(lan.now)
    assert lan.pool.holder(leased) is None
    assert all(lan.pool.holder(address) for address in used)


def test_its_flows_find_a_guest_again_that_was_unplugged() -> None:
    lan = Lan()
    cable = lan.plug()
    address = packed(lan.lease(cable, mac(1)))
    lan.say(cable, who_has(mac(1), address, lan.config.gateway.packed))
    station = lan.gateway.stations[address]
    lan.say(cable, header(lan.router, mac(1), IPV4) + syn(bytes((192, 0, 2, 1))))
    lan.unplug(cable)
    assert not station.line.up
    cable = lan.plug()
    lan.say(cable, who_has(mac(1), address, lan.config.gateway.packed))
    assert lan.gateway.stations[address] is station and station.line.up


def test_a_guest_that_changes_its_address_all_the_time_leaves_nothing_behind() -> None:
    lan = Lan(net="10.0.0.0/16")
    cable = lan.plug()
    for last in range(1, 101):
        address = f"10.0.9.{last}"
        lan.dhcp(cable, mac(1), "request", options=[("requested_addr", address)])
        lan.say(cable, ping(mac(1), address, lan.router, "10.0.2.2"))
        lan.dhcp(cable, mac(1), "release", ciaddr=address)
    assert not lan.gateway.stations and not lan.segment.neighbors and not len(lan.leases)


@pytest.mark.untraced
def test_one_guest_with_many_cards_does_not_empty_the_network() -> None:
    lan = Lan()
    greedy, other = lan.plug(), lan.plug()
    kept = lan.lease(other, mac(1000))
    lan.say(other, ping(mac(1000), kept, lan.router, "10.0.2.2"))
    for card in range(64):
        for number in range(5):
            identity = [("client_id", bytes((0, card, number)))] if number else []
            offer = lan.dhcp(greedy, mac(card), "discover", options=identity)
            assert offer is not None
            lan.dhcp(greedy, mac(card), "request", options=[("requested_addr", offer["yiaddr"]), *identity])
    assert lan.lease(other, mac(1001)) != kept
    assert lan.pool.lease("a guest on a serial line") is not None
    assert lan.lease(other, mac(1000)) == kept


def test_what_was_only_offered_is_nobody_elses_once_it_is_used() -> None:
    lan = Lan()
    cable = lan.plug()
    offer = lan.dhcp(cable, mac(1), "discover")
    assert offer is not None
    offered = packed(str(offer["yiaddr"]))
    for address in (offered, packed("10.0.2.99")):
        lan.say(cable, who_has(mac(1), address, lan.config.gateway.packed))
    assert {offered, packed("10.0.2.99")} == set(lan.segment.neighbors)
    lan.leases.tick(lan.now + 3600)
    assert lan.pool.lease("a guest on a serial line", offered) != offered


def test_a_guest_does_not_fill_the_log() -> None:
    lan = Lan()
    cable = lan.plug()
    for number in range(100):
        lan.dhcp(cable, mac(1), "request", options=[("requested_addr", f"10.9.0.{number}")])
    assert len(lan.said) <= 10


def test_a_released_address_leaves_the_network_at_once() -> None:
    lan = Lan()
    cable = lan.plug()
    address = lan.lease(cable, mac(1))
    lan.say(cable, who_has(mac(1), packed(address), lan.config.gateway.packed))
    assert packed(address) in lan.segment.neighbors
    assert lan.dhcp(cable, mac(1), "release", ciaddr=address, options=[("server_id", "10.0.2.2")]) is None
    assert packed(address) not in lan.segment.neighbors
    assert lan.pool.holder(packed(address)) is None


def test_forwards_find_a_silent_guest_by_asking() -> None:
    lan = Lan(forward=["tcp:8080=80", "udp:5353=10.0.2.40:53"])
    cable = lan.plug()
    asked = [arp.parse(each[14:], Counter()) for each in lan.cables[cable][0].sent]
    assert [each.target for each in asked if each] == [packed("10.0.2.15"), packed("10.0.2.40")]
    reply = arp.Arp(arp.REPLY, mac(1), packed("10.0.2.15"), lan.router, lan.config.gateway.packed)
    lan.say(cable, arp_frame(reply, to=lan.router))
    assert lan.gateway.line(packed("10.0.2.15")) is not None


def test_forged_frames_change_nothing_and_reach_nobody() -> None:
    """A guest speaks as the gateway, as the name server, and as another guest, in ARP and in IP."""
    lan = Lan()
    victim, rogue = lan.plug(), lan.plug()
    address = lan.lease(victim, mac(1))
    lan.say(victim, who_has(mac(1), packed(address), lan.config.gateway.packed))
    lan.lease(rogue, mac(2))
    lan.cables[victim][0].sent = []
    for stolen in (lan.config.gateway.packed, lan.config.dns.packed, packed(address)):
        lan.say(rogue, arp_frame(arp.Arp(arp.REPLY, mac(2), stolen, mac(1), packed(address)), to=mac(1)))
        lan.say(rogue, arp_frame(arp.Arp(arp.REQUEST, mac(2), stolen, bytes(6), stolen)))
        lan.say(rogue, ip_frame(mac(2), stolen, packed(address), to=mac(1)))
        lan.say(rogue, ip_frame(mac(2), stolen, packed("192.0.2.1"), to=lan.router))
        lan.say(rogue, ip_frame(mac(2), stolen, b"\xff" * 4, to=BROADCAST))
    assert lan.cables[victim][0].sent == []
    assert (lan.count["arp.forged"], lan.count["ip.bad_source"]) == (6, 9)
    assert lan.segment.neighbors[packed(address)].mac == mac(1)


@pytest.mark.untraced
def test_a_hundred_thousand_client_addresses_lease_one() -> None:
    """Each message names another card, all come from one."""
    lan = Lan()
    cable = lan.plug()
    address = lan.lease(cable, mac(1))
    template = bytes(
        Ether(dst="ff:ff:ff:ff:ff:ff", src=mac(1).hex(":"))
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67, chksum=0)
        / BOOTP(chaddr=mac(1), xid=7)
        / DHCP(options=[("message-type", "discover"), "end"])
    )
    at = template.index(mac(1), 14)
    assert template[23] == UDP_PROTOCOL
    frames = [
        template[:40] + b"\0\0" + template[42:at] + number.to_bytes(6, "big") + template[at + 6 :]
        for number in range(0, 0x020000000000, 0x020000000000 // 100_000)
    ]
    assert lan.say(cable, *frames) == []
    assert lan.count["dhcp.chaddr"] >= 100_000
    assert [lan.pool.holder(packed(f"10.0.2.{last}")) is not None for last in (15, 16, 17)] == [True, False, False]
    assert lan.lease(cable, mac(1)) == address

"""The segment: who is switched to whom, who is believed, what ARP says.  Ports, uplink and DHCP server are fakes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.dirty import Dirty
from nat.rules import PppRules, RuleSet
from nat.wire.ipv4 import build_ipv4
from nat.wire.udp import build_udp
from pppgate.ether import arp
from pppgate.ether.bridge_port import (
    BUSY_FRAMES,
    BUSY_WITHIN,
    FRAMES_MOST,
    QUEUE_MOST,
    TURN_MOST,
    BridgePort,
    Neighbor,
    Way,
)
from pppgate.ether.dhcp_service import Answer, Reply
from pppgate.ether.frame import ARP, BROADCAST, IPV4, header
from pppgate.ether.segment import MAC_AGE, MACS_PER_PORT, NEIGHBOR_IDLE, NEIGHBORS_PER_PORT, Segment
from serialport.port import HangUp
from tests.support.watching import Watching

ROUTER = b"\x52\x55\x0a\x00\x02\x02"
GATEWAY = bytes((10, 0, 2, 2))
PPP_GUEST = bytes((10, 0, 2, 99))
OUTSIDE = bytes((192, 0, 2, 1))


def mac(number: int) -> bytes:
    return b"\x52\x54\x00\x12" + number.to_bytes(2, "big")


def ip(number: int) -> bytes:
    return bytes((10, 0, 2, number))


class FakePort:
    """`arrives` is what the guest sent, `sent` what it got; `room` is how many frames `send` takes."""

    lossless = False

    def __init__(self, number: int) -> None:
        self.name = f"port {number}"
        self.fd = 100 + number
        self.count: Counter[str] = Counter()
        self.arrives: list[bytes] = []
        self.sent: list[bytes] = []
        self.room = 1 << 20
        self.gone = self.closed = False

    def receive(self) -> list[bytes]:
        if not self.arrives and self.gone:
            raise HangUp("was unplugged")
        frames, self.arrives = self.arrives, []
        return frames

    def send(self, frames: list[bytes]) -> int:
        taken = frames[: self.room]
        self.sent += taken
        self.room -= len(taken)
        return len(taken)

    def close(self) -> None:
        self.closed = True


class FakeTimer:
    def cancel(self) -> None:
        raise AssertionError("nobody cancels a timer here")


class FakeWatcher(Watching):
    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, Callable[[float], None]]] = []

    def call_at(self, when: float, callback: Callable[[float], None]) -> FakeTimer:
        self.timers.append((when, callback))
        return FakeTimer()

    def now(self) -> float:
        return 0.0


class FakeLine:
    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def take(self, budget: int) -> list[bytes]:
        taken: list[bytes] = []
        while self.packets and sum(map(len, taken)) < budget:
            taken.append(self.packets.pop(0))
        return taken


class FakeUplink:
    """Owns the gateway's address and one PPP guest's; lends every other to whoever comes first."""

    def __init__(self) -> None:
        self.holders: dict[bytes, str] = {}
        self.here: dict[bytes, Neighbor] = {}
        self.received: list[tuple[bytes, bytes]] = []
        self.asks: tuple[bytes, ...] = ()

    def owns(self, address: bytes) -> bool:
        return address in (GATEWAY, PPP_GUEST)

    def admit(self, keys: tuple[str, ...], address: bytes, now: float) -> bool:
        return address[:3] == GATEWAY[:3] and self.holders.setdefault(address, keys[0]) in keys

    def holds(self, keys: tuple[str, ...], address: bytes) -> bool:
        return self.holders.get(address) in keys

    def arrive(self, keys: tuple[str, ...], now: float, neighbor: Neighbor) -> Way:
        assert neighbor.address not in self.here
        self.here[neighbor.address] = neighbor
        return Way(FakeLine(), lambda packet, now: self.received.append((neighbor.address, packet)))

    def leave(self, neighbor: Neighbor, now: float) -> None:
        assert self.here.pop(neighbor.address) is neighbor

    def expected(self) -> Iterable[bytes]:
        return self.asks


class FakeDhcp:
    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes, bytes]] = []
        self.answer: Answer | None = None
        self.replies: list[Reply] = []

    def receive(self, payload: bytes, source_mac: bytes, source: bytes, now: float, reply: Reply) -> None:
        self.heard.append((payload, source_mac, source))
        self.replies.append(reply)
        if self.answer is not None:
            reply(self.answer, now)


class World:
    def __init__(self, ports: int = 2, rules: RuleSet | None = None) -> None:
        self.uplink = FakeUplink()
        self.dhcp = FakeDhcp()
        self.watcher = FakeWatcher()
        self.dirty = Dirty()
        self.said: list[str] = []
        self.count: Counter[str] = Counter()
        self.now = 0.0
        self.rules = rules or PppRules()
        self.segment = Segment(
            ROUTER,
            GATEWAY,
            self.uplink,
            self.dhcp,
            self.watcher,
            self.dirty,
            self.said.append,
            self.count,
            self.rules,
        )
        self.ports: list[FakePort] = []
        self.bridge_ports: list[BridgePort] = []
        for _ in range(ports):
            self.plug()

    def plug(self) -> int:
        port = FakePort(len(self.ports))
        self.ports.append(port)
        self.bridge_ports.append(self.segment.attach(port, self.now))
        self.bridge_ports[-1].start()
        self.flush()
        return len(self.ports) - 1

    def say(self, number: int, *frames: bytes) -> None:
        """The guest on port `number` sends frames; everything that follows is sent too."""
        self.ports[number].arrives += frames
        self.bridge_ports[number].on_readable(self.now)
        self.flush()

    def flush(self) -> None:
        self.dirty.flush(self.now)

    def heard(self, number: int) -> list[bytes]:
        """What came to the guest since the last look."""
        frames, self.ports[number].sent = self.ports[number].sent, []
        return frames


def ip_frame(source_mac: bytes, source: bytes, destination: bytes, to: bytes = ROUTER) -> bytes:
    return header(to, source_mac, IPV4) + build_udp(source, 1000, destination, 2000, b"hello")


def arp_frame(packet: arp.Arp, to: bytes = BROADCAST, source_mac: bytes | None = None) -> bytes:
    return header(to, packet.sender_mac if source_mac is None else source_mac, ARP) + arp.build(packet)


def who_has(source_mac: bytes, source: bytes, target: bytes) -> bytes:
    return arp_frame(arp.request(source_mac, source, target))


def reply_in(frame: bytes) -> arp.Arp:
    packet = arp.parse(frame[14:], Counter())
    assert packet is not None and len(frame) == 60
    return packet


@pytest.fixture
def world() -> World:
    return World()


class TestArp:
    def test_the_routers_addresses_are_answered_to_the_asker_alone(self, world: World) -> None:
        for target in (GATEWAY, PPP_GUEST):
            world.say(0, who_has(mac(1), ip(15), target))
            [frame] = world.heard(0)
            assert frame[:12] == mac(1) + ROUTER
            assert reply_in(frame) == arp.Arp(arp.REPLY, ROUTER, target, mac(1), ip(15))
        assert world.heard(1) == []

    def test_a_question_for_another_guest_goes_to_all_others(self, world: World) -> None:
        question = who_has(mac(1), ip(15), ip(16))
        world.say(0, question)
        assert world.heard(0) == []
        assert [frame[: len(question)] for frame in world.heard(1)] == [question]

    def test_a_question_makes_the_asker_known(self, world: World) -> None:
        world.say(0, who_has(mac(1), ip(15), GATEWAY))
        assert world.uplink.here[ip(15)].mac == mac(1)
        assert world.said == ["port 0: 52:54:00:12:00:01 has 10.0.2.15"]

    def test_an_announcement_makes_a_guest_known_that_never_asks(self, world: World) -> None:
        world.say(0, who_has(mac(1), ip(15), ip(15)))
        assert ip(15) in world.uplink.here

    def test_a_probe_claims_nothing(self, world: World) -> None:
        world.say(0, who_has(mac(1), bytes(4), ip(15)))
        assert not world.uplink.here
        assert len(world.heard(1)) == 1

    def test_a_probe_for_the_gateways_address_is_told_that_it_is_taken(self, world: World) -> None:
        world.say(0, who_has(mac(1), bytes(4), GATEWAY))
        assert reply_in(world.heard(0)[0]).sender_mac == ROUTER

    @pytest.mark.parametrize("claimed", [GATEWAY, PPP_GUEST])
    @pytest.mark.parametrize("operation", [arp.REQUEST, arp.REPLY])
    def test_who_claims_the_routers_address_is_told_and_not_passed_on(
        self, world: World, claimed: bytes, operation: int
    ) -> None:
        world.say(1, who_has(mac(2), ip(16), GATEWAY))
        world.heard(1)
        world.say(0, arp_frame(arp.Arp(operation, mac(1), claimed, mac(2), ip(16)), to=mac(2)))
        world.say(0, arp_frame(arp.Arp(operation, mac(1), claimed, BROADCAST, claimed)))
        assert world.heard(1) == []
        assert [reply_in(frame).sender_mac for frame in world.heard(0)] == [ROUTER, ROUTER]
        assert world.count["arp.forged"] == 2
        assert claimed not in world.uplink.here

    def test_a_reply_to_the_routers_question_makes_a_guest_known(self) -> None:
        world = World(0)
        world.uplink.asks = (ip(15),)
        world.plug()
        [frame] = world.heard(0)
        assert frame[:6] == BROADCAST
        assert reply_in(frame)[:3] == (arp.REQUEST, ROUTER, GATEWAY)
        assert reply_in(frame).target == ip(15)
        world.say(0, arp_frame(arp.Arp(arp.REPLY, mac(1), ip(15), ROUTER, GATEWAY), to=ROUTER))
        assert world.uplink.here[ip(15)].mac == mac(1)

    def test_the_sender_has_to_be_who_sent_the_frame(self, world: World) -> None:
        world.say(0, arp_frame(arp.Arp(arp.REPLY, mac(2), ip(15), ROUTER, GATEWAY), source_mac=mac(1)))
        assert world.count["arp.forged"] == 1 and not world.uplink.here

    def test_another_guests_address_cannot_be_taken(self, world: World) -> None:
        world.say(0, who_has(mac(1), ip(15), GATEWAY))
        world.say(1, who_has(mac(2), ip(15), ip(15)))
        assert world.count["arp.forged"] == 1
        assert world.uplink.here[ip(15)].mac == mac(1)
        assert len(world.heard(0)) == 1  # the answer to its own question

    def test_every_truncation_is_counted_and_nothing_else(self, world: World) -> None:
        whole = who_has(mac(1), ip(15), GATEWAY)
        for size in range(14, len(whole)):
            world.say(0, whole[:size])
        assert world.count["arp.malformed"] == len(whole) - 14
        assert world.heard(0) == world.heard(1) == []


class TestRouting:
    def test_a_known_guests_packet_goes_up_without_its_header(self, world: World) -> None:
        for _ in range(2):  # first the way that admits it, then the short one
            world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        packet = ip_frame(mac(1), ip(15), OUTSIDE)[14:]
        assert world.uplink.received == [(ip(15), packet)] * 2

    def test_what_waits_in_its_line_goes_down_with_a_header_and_padding(self, world: World) -> None:
        world.say(0, who_has(mac(1), ip(15), GATEWAY))
        world.heard(0)
        neighbor = world.uplink.here[ip(15)]
        line = neighbor.line
        assert isinstance(line, FakeLine)
        line.packets = [b"E" * 20, b"E" * 1500]
        neighbor.kick()
        world.flush()
        short, long = world.heard(0)
        assert short == mac(1) + ROUTER + b"\x08\x00" + b"E" * 20 + bytes(26)
        assert long == mac(1) + ROUTER + b"\x08\x00" + b"E" * 1500
        assert not neighbor.port.ready

    def test_a_blocked_port_keeps_the_order_and_loses_nothing(self, world: World) -> None:
        world.say(0, who_has(mac(1), ip(15), GATEWAY))
        world.heard(0)
        neighbor = world.uplink.here[ip(15)]
        line = neighbor.line
        assert isinstance(line, FakeLine)
        line.packets = [bytes([0x45, n]) * 30 for n in range(100)]
        world.ports[0].room = 3
        neighbor.kick()
        world.flush()
        while world.ports[0].fd in world.watcher.writers:
            world.ports[0].room = 7
            world.watcher.writers[world.ports[0].fd](0.0)
            world.flush()
        assert [frame[15] for frame in world.heard(0)] == list(range(100))

    def test_source_of_nobody_or_of_another_network_is_dropped(self, world: World) -> None:
        for source in (bytes(4), bytes((192, 168, 7, 7)), GATEWAY, PPP_GUEST):
            world.say(0, ip_frame(mac(1), source, OUTSIDE))
        assert world.count["ip.bad_source"] == 4 and not world.uplink.here and not world.uplink.received

    def test_another_guests_source_is_dropped_from_another_port_and_another_mac(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.say(1, ip_frame(mac(2), ip(15), OUTSIDE), ip_frame(mac(1), ip(15), OUTSIDE))
        world.say(0, ip_frame(mac(3), ip(15), OUTSIDE))
        assert len(world.uplink.received) == 1
        assert world.count["ip.bad_source"] == 2 and world.count["ether.forged_mac"] == 1
        world.say(1, *[ip_frame(mac(1), ip(15), OUTSIDE)] * 10)
        assert [said for said in world.said if "is on another cable already" in said] == [
            "port 1: 52:54:00:12:00:01 is on another cable already; give one of the two cards another address"
        ]

    def test_short_ip_frames_are_counted(self, world: World) -> None:
        whole = ip_frame(mac(1), ip(15), OUTSIDE)
        for size in range(14, 34):
            world.say(0, whole[:size])
        assert world.count["ip.short"] == 20

    def test_an_unknown_type_to_the_router_is_counted(self, world: World) -> None:
        world.say(0, header(ROUTER, mac(1), 0x86DD) + bytes(60))
        assert world.count["ether.unknown_type"] == 1

    @pytest.mark.parametrize("kind", [0x8100, 0x88A8])
    def test_tagged_frames_are_counted_and_dropped(self, world: World, kind: int) -> None:
        for to in (ROUTER, BROADCAST, mac(2)):
            world.say(0, header(to, mac(1), kind) + bytes(60))
        assert world.count["ether.vlan"] == 3 and world.heard(1) == []


class TestSwitching:
    def test_unknown_and_broadcast_go_to_all_others_known_to_one(self) -> None:
        world = World(3)
        ipx = header(BROADCAST, mac(1), 0x8137) + b"ipx" * 20
        world.say(0, ipx)
        assert [world.heard(n) for n in range(3)] == [[], [ipx], [ipx]]
        to_second = header(mac(2), mac(1), 0x8137) + b"ipx" * 20
        world.say(0, to_second)
        assert [world.heard(n) for n in range(3)] == [[], [to_second], [to_second]]
        world.say(1, header(mac(1), mac(2), 0x8137) + b"ipx" * 20)
        assert [len(world.heard(n)) for n in range(3)] == [1, 0, 0]
        world.say(0, to_second)
        assert [world.heard(n) for n in range(3)] == [[], [to_second], []]

    def test_ip_between_guests_is_checked_before_it_is_switched(self, world: World) -> None:
        world.say(1, who_has(mac(2), ip(16), GATEWAY))
        world.say(0, who_has(mac(1), ip(15), GATEWAY))
        world.heard(1)
        good = ip_frame(mac(1), ip(15), ip(16), to=mac(2))
        world.say(0, good, ip_frame(mac(1), ip(17), ip(16), to=mac(2)), ip_frame(mac(1), ip(16), ip(16), to=mac(2)))
        first, second = world.heard(1)
        assert first[: len(good)] == good
        assert second[26:30] == ip(17)  # an address more that this guest took; the other guest's own was refused
        assert world.count["ip.bad_source"] == 1

    def test_frames_behind_the_same_port_are_not_sent_back(self, world: World) -> None:
        world.say(0, header(BROADCAST, mac(1), 0x8137) + bytes(60), header(BROADCAST, mac(2), 0x8137) + bytes(60))
        world.heard(0)
        world.say(0, header(mac(1), mac(2), 0x8137) + bytes(60))
        assert world.heard(0) == []

    def test_bad_sources_are_counted(self, world: World) -> None:
        for source in (BROADCAST, b"\x01\x00\x5e\x00\x00\x01", ROUTER, bytes(6)):
            world.say(0, header(BROADCAST, source, 0x8137) + bytes(60))
        assert world.count["ether.bad_source"] == 4 and world.heard(1) == []

    def test_a_guest_that_joins_two_ports_makes_no_loop(self, world: World) -> None:
        """It passes every frame of one port on to the other; the broadcast comes back once, and no more."""
        third = world.plug()
        broadcast = header(BROADCAST, mac(1), 0x8137) + bytes(60)
        world.say(0, broadcast)
        for _ in range(10):
            for here, there in ((1, third), (third, 1)):
                world.say(there, *world.heard(here))
        assert world.count["ether.forged_mac"] == 2
        assert world.heard(0) == []

    def test_a_queue_that_nobody_reads_is_bounded(self, world: World) -> None:
        world.ports[1].room = 0
        frame = header(BROADCAST, mac(1), 0x8137) + bytes(1500)
        for _ in range(2 * QUEUE_MOST // 1500):
            world.say(0, frame)
        assert world.bridge_ports[1].count["ether.queue_full"] > QUEUE_MOST // 1500 - 30


class TestWhoIsWhere:
    def test_a_mac_moves_when_its_port_has_gone(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.ports[0].gone = True
        world.say(0)
        assert world.ports[0].closed and not world.uplink.here
        assert world.said[-1] == "port 0 was unplugged"
        world.say(1, ip_frame(mac(1), ip(15), OUTSIDE))
        assert world.uplink.here[ip(15)].port is world.bridge_ports[1]

    def test_a_mac_moves_after_a_long_silence_only(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.now = 100.0
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))  # by the short path, which has to count as being heard
        world.now = 99.0 + MAC_AGE
        world.say(1, ip_frame(mac(1), ip(15), OUTSIDE))
        assert world.uplink.here[ip(15)].port is world.bridge_ports[0]
        world.now = 100.0 + MAC_AGE
        world.say(1, ip_frame(mac(1), ip(15), OUTSIDE))
        assert world.uplink.here[ip(15)].port is world.bridge_ports[1]

    def test_whoever_speaks_in_a_guests_name_does_not_keep_it_there(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.now = MAC_AGE
        world.say(1, ip_frame(mac(2), ip(15), OUTSIDE), who_has(mac(2), ip(15), GATEWAY))
        assert world.count["ip.bad_source"] == world.count["arp.forged"] == 1
        world.say(1, ip_frame(mac(1), ip(15), OUTSIDE))  # the guest itself, on another cable now
        assert world.uplink.here[ip(15)].port is world.bridge_ports[1]

    def test_macs_behind_a_port_are_bounded(self, world: World) -> None:
        for number in range(10_000):
            world.say(0, header(ROUTER, mac(number + 1), 0x86DD) + bytes(60))
        assert world.count["ether.macs_full"] == 10_000 - MACS_PER_PORT
        world.now = MAC_AGE
        world.say(0, header(ROUTER, mac(20_000), 0x86DD) + bytes(60))
        assert world.count["ether.macs_full"] == 10_000 - MACS_PER_PORT

    def test_a_flood_of_made_up_macs_is_not_searched_through(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        searched: list[bytes] = []
        last_heard = world.segment._last_heard

        def watched(mac: bytes) -> object:
            searched.append(mac)
            return last_heard(mac)

        monkeypatch.setattr(world.segment, "_last_heard", watched)
        world.say(0, *[header(ROUTER, mac(number + 1), 0x86DD) + bytes(60) for number in range(1000)])
        assert len(searched) <= 2 * MACS_PER_PORT
        world.now = MAC_AGE
        world.say(1, header(ROUTER, mac(1), 0x86DD) + bytes(60))  # it moves, and another may come in its place
        world.say(0, header(ROUTER, mac(5000), 0x86DD) + bytes(60), header(BROADCAST, mac(5000), 0x86DD) + bytes(60))
        assert world.count["ether.macs_full"] == 1000 - MACS_PER_PORT

    def test_a_guest_that_sends_very_many_frames_is_not_read_for_ever(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flood = [header(ROUTER, mac(1), 0x86DD)] * FRAMES_MOST
        reads = 0

        def receive() -> list[bytes]:
            nonlocal reads
            reads += 1
            return flood

        monkeypatch.setattr(world.ports[0], "receive", receive)
        world.bridge_ports[0].on_readable(world.now)
        assert reads == 1

    def test_neighbors_behind_a_port_are_bounded(self, world: World) -> None:
        for number in range(100, 100 + NEIGHBORS_PER_PORT + 5):
            world.say(0, ip_frame(mac(1), ip(number), OUTSIDE))
        assert len(world.uplink.here) == NEIGHBORS_PER_PORT
        assert world.count["ether.neighbours_full"] == 5
        assert len(world.uplink.holders) == NEIGHBORS_PER_PORT  # and no address was lent for nothing
        world.now = NEIGHBOR_IDLE
        world.say(0, ip_frame(mac(1), bytes((192, 168, 7, 7)), OUTSIDE))  # nobody makes room for what cannot be
        assert ip(100) in world.uplink.here
        world.say(0, ip_frame(mac(1), ip(200), OUTSIDE))
        assert ip(200) in world.uplink.here and len(world.uplink.here) == NEIGHBORS_PER_PORT

    def test_closing_lets_go_of_everything(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.segment.close(0.0)
        assert not world.uplink.here and all(port.closed for port in world.ports) and not world.watcher.readers
        assert "unplugged" not in world.said[-1]


class TestPace:
    """A busy guest's frames are let gather, an idle one's are read at once."""

    def busy(self) -> World:
        world = World(1)
        world.say(0, *[ip_frame(mac(1), ip(15), OUTSIDE)] * BUSY_FRAMES)
        return world

    def look(self, world: World) -> None:
        when, callback = world.watcher.timers.pop()
        world.now = when
        callback(when)
        world.flush()

    def test_a_few_frames_change_nothing(self) -> None:
        world = World(1)
        for _ in range(100):
            world.now += BUSY_WITHIN / 4
            world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        assert world.ports[0].fd in world.watcher.readers and not world.watcher.timers

    def test_a_busy_guest_is_looked_at_by_the_clock_and_loses_nothing(self) -> None:
        world = self.busy()
        assert world.ports[0].fd not in world.watcher.readers
        world.ports[0].arrives = [ip_frame(mac(1), ip(15), OUTSIDE)] * 40
        self.look(world)
        assert len(world.uplink.received) == BUSY_FRAMES + 40

    def test_when_it_falls_silent_it_is_watched_again(self) -> None:
        world = self.busy()
        for _ in range(4):
            if world.watcher.timers:
                self.look(world)
        assert world.ports[0].fd in world.watcher.readers and not world.watcher.timers

    def test_one_that_ends_meanwhile_is_not_looked_at_again(self) -> None:
        world = self.busy()
        world.bridge_ports[0].hang_up("was unplugged", world.now)
        self.look(world)
        assert not world.watcher.readers and not world.watcher.timers


class TestDhcp:
    request = build_udp(bytes(4), 68, b"\xff" * 4, 67, b"discover")

    def test_messages_to_the_server_reach_it_and_its_answer_the_guest(self, world: World) -> None:
        world.dhcp.answer = Answer(b"offer" * 60, b"\xff" * 4, BROADCAST, "words", "ether 01aa")
        world.say(0, header(BROADCAST, mac(1), IPV4) + self.request)
        assert world.dhcp.heard == [(b"discover", mac(1), bytes(4))]
        assert world.heard(0) == [
            header(BROADCAST, ROUTER, IPV4) + build_udp(GATEWAY, 67, b"\xff" * 4, 68, b"offer" * 60, flags=0x4000)
        ]
        assert world.heard(1) == []  # and nobody else hears of either
        assert world.said == ["port 0: words"]

    def test_a_renewal_straight_to_the_router_reaches_it(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.say(0, header(ROUTER, mac(1), IPV4) + build_udp(ip(15), 68, GATEWAY, 67, b"request"))
        assert world.dhcp.heard == [(b"request", mac(1), ip(15))]

    def test_other_datagrams_to_the_routers_address_go_up(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), GATEWAY), ip_frame(mac(1), ip(15), GATEWAY))
        assert len(world.uplink.received) == 2

    def test_a_lease_under_a_client_identifier_is_the_macs(self, world: World) -> None:
        world.uplink.holders[ip(15)] = "ether 01aa"
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        assert not world.uplink.here
        world.dhcp.answer = Answer(b"ack" * 100, ip(15), mac(1), "", "ether 01aa")
        world.say(0, header(BROADCAST, mac(1), IPV4) + self.request)
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        assert ip(15) in world.uplink.here

    def test_an_address_that_is_not_its_own_any_more_leaves_with_the_answer(self, world: World) -> None:
        world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
        world.uplink.holders[ip(15)] = "somebody else"
        world.say(0, header(BROADCAST, mac(1), IPV4) + self.request)
        assert not world.uplink.here

    def test_every_truncation_and_a_wrong_checksum_are_dropped(self, world: World) -> None:
        whole = header(BROADCAST, mac(1), IPV4) + self.request
        for size in range(14, len(whole)):
            world.say(0, whole[:size])
        broken = bytearray(whole)
        broken[-1] ^= 1
        world.say(0, bytes(broken))
        assert world.dhcp.heard == []
        assert world.count["dhcp.malformed"] > 5

    def test_a_message_to_a_server_elsewhere_is_none_of_ours(self, world: World) -> None:
        world.say(0, header(BROADCAST, mac(1), IPV4) + build_udp(bytes(4), 68, ip(77), 67, b"discover"))
        assert world.dhcp.heard == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.one_of(
                st.binary(min_size=14, max_size=120),
                st.builds(
                    lambda n, kind, rest: header(ROUTER if n % 2 else BROADCAST, mac(n % 5), kind) + rest,
                    st.integers(0, 20),
                    st.sampled_from([ARP, IPV4, 0x8100, 0x8137]),
                    st.binary(max_size=80),
                ),
                st.builds(
                    lambda n, to, protocol, rest: header(ROUTER, mac(n), IPV4) + build_ipv4(ip(n), to, protocol, rest),
                    st.integers(0, 5),
                    st.sampled_from([GATEWAY, OUTSIDE, ip(3)]),
                    st.sampled_from([1, 6, 17]),
                    st.binary(max_size=40),
                ),
            ),
        ),
        max_size=30,
    )
)
def test_whatever_guests_send_nobody_speaks_for_another(traffic: list[tuple[int, bytes]]) -> None:
    world = World(3)
    for number, frame in traffic:
        before = {address: (each.mac, each.port) for address, each in world.uplink.here.items()}
        world.say(number, frame)
        for address, owner in before.items():
            each = world.uplink.here.get(address)
            assert each is None or (each.mac, each.port) == owner
        for other in range(3):
            for sent in world.heard(other):
                assert len(sent) >= 60
                assert sent[6:12] == ROUTER or other != number
    macs = [each.mac for each in world.uplink.here.values()]
    assert len({(each.mac, each.port) for each in world.uplink.here.values()}) == len(set(macs))


def test_a_line_that_each_write_fills_again_gets_one_turn_a_wake_up() -> None:
    """What is sent may wake who has more of the same: the wake-up has to end, and the rest is sent in the next."""
    world = World(1)
    world.say(0, who_has(mac(1), ip(15), GATEWAY))
    world.heard(0)
    neighbor = world.uplink.here[ip(15)]
    queue = neighbor.line
    assert isinstance(queue, FakeLine)
    line: FakeLine = queue

    class Refill:
        def flush(self, now: float) -> None:
            line.packets = [bytes(1500)] * 8
            neighbor.kick()

    refill = Refill()
    world.watcher.timers.clear()
    for _ in range(100):
        world.dirty.flow(refill)
        world.flush()
    assert TURN_MOST <= sum(map(len, world.heard(0))) < TURN_MOST + 20_000
    ((when, again),) = world.watcher.timers
    assert when == world.now
    world.now += 0.001
    again(world.now)
    world.flush()
    assert world.heard(0)


def discover(number: int, payload: bytes = b"discover") -> bytes:
    return header(BROADCAST, mac(number), IPV4) + build_udp(bytes(4), 68, b"\xff" * 4, 67, payload)


def test_the_answer_to_a_card_may_come_later() -> None:
    world = World()
    world.say(0, discover(1))
    (reply,) = world.dhcp.replies
    reply(Answer(b"offer" * 60, b"\xff" * 4, BROADCAST, "words", "ether 01aa"), 3.0)
    world.flush()
    (frame,) = world.ports[0].sent
    assert frame.endswith(b"offer" * 60) and not world.ports[1].sent and world.said[-1] == "port 0: words"


@pytest.mark.parametrize("again", (False, True), ids=("gone", "on another cable now"))
def test_the_answer_to_a_card_that_has_gone_goes_nowhere(again: bool) -> None:
    world = World()
    world.say(0, discover(1))
    (reply, *_) = world.dhcp.replies
    world.ports[0].gone = True
    world.say(0)
    if again:
        world.say(1, discover(1))
    said = list(world.said)
    reply(Answer(b"offer" * 60, b"\xff" * 4, BROADCAST, "words", "ether 01aa"), 3.0)
    world.flush()
    assert not world.ports[0].sent and not world.ports[1].sent
    assert world.count["dhcp.too_late"] == 1 and world.said == said


def test_what_a_segment_says_that_it_is() -> None:
    world = World()
    world.say(0, ip_frame(mac(1), ip(15), OUTSIDE))
    status = world.segment.status(2.0)
    assert json.loads(json.dumps(status, allow_nan=False)) == status
    assert status == {
        "network": "",
        "address": "10.0.2.2",
        "mac": "52:55:0a:00:02:02",
        "ports": [
            {"name": "port 0", "queued": 0, "blocked": False, "counters": {}},
            {"name": "port 1", "queued": 0, "blocked": False, "counters": {}},
        ],
        "macs": 1,
        "neighbors": [{"address": "10.0.2.15", "mac": "52:54:00:12:00:01", "port": "port 0", "idle": 2.0}],
    }

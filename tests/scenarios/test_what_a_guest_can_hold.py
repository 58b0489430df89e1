"""What one guest can make the gateway hold, and say."""

import errno
from random import Random

import pytest

from lcp.packet import build
from nat.fragment import DATAGRAMS_MOST, OCTETS_MOST
from nat.tcp.receiver import RCV_CAPACITY
from nat.tcp.sender import SND_CAPACITY
from nat.wire.tcp import ACK, SYN, build_segment
from nat.wire.udp import build_udp
from tests.support.fakes import fragment_of
from tests.support.serial_world import GUEST, OUTSIDE, Canary, SerialWorld

pytestmark = pytest.mark.untraced  # they take long, and what they reach has tests of its own


def test_two_thousand_and_forty_eight_flows() -> None:
    world = SerialWorld()
    world.up()
    flows = [world.connect(port=1024 + n, to_send=n.to_bytes(2, "big") * 50, close=False) for n in range(2048)]
    assert len(world.station.tcp.flows) == 2048
    world.run(lambda: all(len(sock.delivered) == 100 for _, sock in flows), 60)
    for _, sock in flows:
        sock.arriving += sock.delivered
    world.run(lambda: all(len(guest.received) == 100 for guest, _ in flows), 60)
    for number, (guest, sock) in enumerate(flows):
        assert bytes(guest.received) == bytes(sock.delivered) == number.to_bytes(2, "big") * 50
        guest.close_after = sock.remote_closed = True
        guest.pump()
    world.wait(70)
    assert not world.host.open() and not world.station.tcp.flows and len(world.context.deadlines) < 200


def test_a_flood_of_syns_into_a_black_hole() -> None:
    """After vpnkit #406: what is half open is bounded, and a connection that stands is not disturbed."""
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    world.host.connects = False
    most = 0
    for n in range(20_000):
        world.transmit(build_segment(GUEST, 1024 + n % 60_000, OUTSIDE, 1 + n % 65_000, sequence=n, flags=SYN))
        if n % 500 == 0:
            world.settle()
            most = max(most, len(world.host.open()))
    world.settle()
    limit = world.context.limits.tcp_connecting
    assert most <= limit + 1 and len(world.station.tcp.connecting) == limit
    assert world.count["tcp.too_many"] == 20_000 - limit
    canary.finish(1.0)
    for sock in list(world.host.open())[:-1]:
        world.host.connected.add(sock.number)  # type: ignore[attr-defined]
    world.host.connects, world.host.connect_failure = True, errno.ETIMEDOUT
    world.wait(1)
    assert not world.station.tcp.connecting
    world.host.connect_failure = 0
    world.connect(port=60_001)


def test_a_flood_of_syns_that_are_answered() -> None:
    """The guest never sends the last ACK: every one would hold a descriptor for three minutes."""
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    limit = world.context.limits.tcp_connecting
    world.end.deliver(0x0021, lambda packet, now: None)
    for n in range(2000):
        world.transmit(build_segment(GUEST, 1024 + n, OUTSIDE, 80, sequence=n, flags=SYN))
        if n % 100 == 0:
            world.settle()
    world.settle()
    assert len(world.host.open()) <= limit + 1
    world.end.deliver(0x0021, world._guest_packet)
    canary.finish()
    world.wait(400)
    assert not world.station.tcp.flows
    for n in range(300):  # handshakes that are completed leave no trace
        world.connect(port=20_000 + n)


def test_a_scan_of_closed_ports() -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    world.host.connect_failure = errno.ECONNREFUSED
    for port in range(1, 5001):
        world.transmit(build_segment(GUEST, 1025, OUTSIDE, port, sequence=port, flags=SYN))
        if port % 100 == 0:
            world.settle()
    world.settle()
    assert len(world.packets) == 5000 and len(world.host.open()) == 1
    canary.finish()


def test_churning_udp_tuples() -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    random = Random(12)
    limit = world.context.limits.udp_flows
    for n in range(10_000):
        source, destination = 1024 + n % 60_000, OUTSIDE[:3] + bytes((1 + n % 250,))
        world.transmit(build_udp(GUEST, source, destination, 1 + random.randrange(65_000), b"x"))
        if n % 200 == 0:
            world.settle()
            assert len(world.station.udp) <= limit and len(world.host.open()) <= limit + 1
            world.host.other.sockets = world.host.other.open()
    canary.finish()
    assert world.count["udp.evicted"] >= 10_000 - limit - 1


def test_hostile_fragments() -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    random = Random(13)
    station = world.station
    reassembler = station._reassembler
    for n in range(20_000):
        piece = bytes(random.randrange(0, 1400))
        offset = random.randrange(0, 8191) * 8
        more, ident = random.random() < 0.9, random.randrange(300)
        packet = fragment_of(piece, offset, more=more, ident=ident, destination=OUTSIDE)
        station.receive(packet, world.now)
        if n % 100 == 0:
            assert len(reassembler._datagrams) <= DATAGRAMS_MOST and reassembler._cost <= OCTETS_MOST
    world.wait(31)
    assert not reassembler._datagrams and reassembler._cost == 0
    canary.finish()


def held(world: SerialWorld) -> int:
    return sum(
        len(flow.sender.unacked) + flow.receiver.delivery.size + flow.receiver.ahead.size
        for flow in world.station.tcp.flows.values()
    )


def test_slow_readers_on_both_sides() -> None:
    """64 flows whose guest closes its window and whose host reads nothing, for a day; then all is exact."""
    world = SerialWorld()
    world.up()
    random = Random(15)
    flows = []
    for port in range(2000, 2064):
        data, back = random.randbytes(150_000), random.randbytes(150_000)
        guest, sock = world.connect(port=port, close=False)
        guest.window = 0
        sock.room = 0
        guest.to_send = back
        guest.ack()
        sock.arriving += data
        flows.append((guest, sock, data, back))
        guest.pump()
    for _ in range(24):
        world.wait(3600)
        assert all(
            len(flow.sender.unacked) <= SND_CAPACITY
            and flow.receiver.delivery.size + flow.receiver.ahead.size <= RCV_CAPACITY
            for flow in world.station.tcp.flows.values()
        )
    assert len(world.station.tcp.flows) == 64
    most = held(world)
    assert most <= 64 * (SND_CAPACITY + RCV_CAPACITY), f"{most:,} octets"
    for guest, sock, _, _ in flows:
        guest.window, sock.room = 32768, 1 << 30
        guest.ack()
    world.run(lambda: all(len(g.received) == len(d) and len(s.delivered) == len(b) for g, s, d, b in flows), 4000)
    assert all(bytes(g.received) == d and bytes(s.delivered) == b for g, s, d, b in flows)


def test_tiny_segments_toward_a_host_that_does_not_read() -> None:
    """After CVE-2018-5390: octets that come two by two must not cost fifty times their number."""
    world = SerialWorld()
    world.up()
    data = bytes(range(256)) * 40
    guest, sock = world.connect(close=False)
    guest.mss = 2
    sock.room = 0
    guest.to_send = data
    guest.pump()
    world.settle()
    (flow,) = world.station.tcp.flows.values()
    assert flow.receiver.delivery.size == len(data)
    assert len(flow.receiver.delivery.chunks) <= 1024, (
        f"{len(flow.receiver.delivery.chunks)} pieces for {len(data)} octets"
    )
    sock.room = 1 << 30
    world.settle()
    assert bytes(sock.delivered) == data


def test_a_guest_that_takes_nothing_but_asks_for_much() -> None:
    """The replies of a guest that never reads its line are bounded too."""
    world = SerialWorld(rate=11_520.0)
    world.up()
    world.port.stuck = True
    for n in range(5000):
        world.session.end.link.receive(b"\xc0\x21" + build(9, n & 255, bytes(1400)), world.now)
        world.station.receive(build_segment(GUEST, 1, OUTSIDE, 2, sequence=n, flags=ACK), world.now)
        world.context.dirty.flush(world.now)
    assert len(world.session.end._control) <= 64
    assert world.station.line.queued <= 640 * 1024
    assert world.count["line.queue_full"] and world.count["guest.control_full"]
    world.port.stuck = False
    world.wait(60)
    assert world.session.end.link.lcp.opened
    Canary(world).finish()


def test_a_flood_of_events_is_a_few_lines() -> None:
    """Whatever a guest does on its line decides how much is said of it: no more than 10 lines a second."""
    world = SerialWorld()
    world.up()
    world.said.clear()
    begun = world.now
    for n in range(2000):
        text = f"guest {n}".encode()
        world.session.end.link.receive(b"\xc0\x21" + build(12, n & 255, bytes(4) + text), world.now)
        world.now += 0.001
    lines = len(world.said)
    assert 1 <= lines <= 10 * (world.now - begun + 1) + 2, f"{lines} lines"
    world.wait(2)
    world.boot()
    world.up()
    assert "link up" in world.said[-1]


def test_links_that_come_up_again_and_again_are_said_each_time() -> None:
    world = SerialWorld()
    world.up()
    for _ in range(5):
        world.wait(3.0)
        world.said.clear()
        world.boot()
        world.up()
        assert len([line for line in world.said if "link up" in line]) == 1

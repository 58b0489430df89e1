"""Hostile peers beyond the corpus of single inputs: what takes a configuration, several guests or several steps."""

import time
from dataclasses import replace

import pytest

from ipcp.protocol import Ipcp
from lcp.auth.secrets import Anyone
from lcp.config import Credentials, LinkConfig
from lcp.events import NetworkUp
from lcp.packet import build, split_protocol
from nat.tcp.state import CLOSED
from nat.wire.checksum import checksum
from nat.wire.ipv4 import build_ipv4
from nat.wire.tcp import build_segment
from pppgate.session import Session
from tests.support.fakes import fragment_of
from tests.support.ppp_ends import End
from tests.support.serial_world import GUEST, OUTSIDE, Canary, SerialWorld
from tests.support.tcp_peer import ACK, GuestTcp


def emitted(world: SerialWorld) -> list[tuple[int, bytes]]:
    """What the gateway's link says from now on."""
    world.control_sent.clear()
    return world.control_sent


def options(size: int) -> bytes:
    """Nothing but options that nobody knows, as many as fit."""
    out = b""
    while len(out) + 200 <= size:
        out += bytes((200, 200)) + bytes(198)
    return out


@pytest.mark.parametrize("peer_mru", (68, 296, 1500, 65535))
@pytest.mark.parametrize("protocol", (0xC021, 0x8021))
def test_no_control_frame_exceeds_1500_or_the_peers_mru(peer_mru: int, protocol: int) -> None:
    """After pppd c82ddc5: full Configure-Requests without IP-Address, large MRUs, then huge codes."""
    world = SerialWorld(guest_config=LinkConfig(mru=peer_mru))
    world.up()
    canary = Canary(world)
    out = emitted(world)
    limit = min(1500, peer_mru)
    for code in (1, 200, 255, 7):
        for size in (40, 200, 1490):
            body = options(size) if code == 1 else bytes(size)
            world.octets(b"~" + world.end.framer.frame(protocol, build(code, 77, body)))
            world.settle()
    assert out and max(len(information) for _, information in out) <= max(limit, 0), limit
    world.up(60)
    canary.finish()


@pytest.mark.parametrize("mru", (0, 1, 63, 67))
def test_cve_2024_26675_an_absurd_mru_is_naked_and_sizes_nothing(mru: int) -> None:
    world = SerialWorld()
    world.up()
    out = emitted(world)
    world.session.end.link.receive(b"\xc0\x21" + build(1, 5, b"\x01\x04" + mru.to_bytes(2, "big")), world.now)
    assert (0xC021, build(3, 5, b"\x01\x04\x00\x44")) in out
    world.up(60)
    assert world.station.line.mtu >= 68


def test_the_largest_mru_is_capped_by_ours() -> None:
    world = SerialWorld(guest_config=LinkConfig(mru=65535))
    world.up()
    assert world.session.end.link.peer_mru == 65535 and world.station.line.mtu == 1500


def with_authentication(user: bytes = b"bob") -> SerialWorld:
    return SerialWorld(
        config=LinkConfig(auth=Anyone()), guest_config=LinkConfig(credentials=Credentials(user, b"secret"))
    )


@pytest.mark.parametrize("size", (0, 15, 17, 255))
@pytest.mark.parametrize("name", (0, 1, 300, 1400))
def test_cve_2020_8597_chap_value_size_and_name(size: int, name: int) -> None:
    world = with_authentication()
    world.up()
    canary = Canary(world)
    before = sum(world.count.values())
    for body in (bytes((size,)) + bytes(size) + b"N" * name, bytes((size,)) + b"N" * min(name, size)):
        for code in (1, 2, 3, 4, 99):
            world.octets(b"~" + world.end.framer.frame(0xC223, build(code, 250, body[:1400])))
    world.settle()
    assert sum(world.count.values()) >= before + 10
    canary.finish()


def test_a_guest_with_many_names_has_one_address() -> None:
    """Every name that `--auth any` lets in once held an address forever: 253 of them were a full network."""
    world = with_authentication()
    world.up()
    for number in range(300):
        world.guest_config = LinkConfig(credentials=Credentials(b"user %d" % number, b"x"))
        world.boot()
        world.up(60)
    assert len(world.shared.pool._held) == 1 and len(world.shared.holders) == 1
    world.hang_up()
    world.settle()
    assert not world.shared.pool._held and not world.shared.holders


class Two:
    """Two guests of one network: the second has a line of its own on the same gateway."""

    def __init__(self, config: LinkConfig, user: bytes | None) -> None:
        credentials = Credentials(user, b"x") if user is not None else None
        guest = LinkConfig(credentials=credentials)
        self.first = SerialWorld(config=config, guest_config=guest)
        self.first.up()
        self.second = SerialWorld(config=config, guest_config=guest, seed=50)
        self.second.shared = self.first.shared
        self.second.context, self.second.gateway = self.first.context, self.first.gateway


def second_session(two: Two) -> None:
    world = two.second
    world.port = world.port.__class__(500, 0.0, 1 << 24)
    shared = two.first.shared
    shared.around = replace(shared.around, watcher=world.watcher)
    world.session = Session(shared, world.port, "line#1", "second", lambda session, reason: None)
    world.session.start(world.now)
    world.boot()
    world.up()


def test_the_same_name_on_two_lines_is_two_guests() -> None:
    two = Two(LinkConfig(auth=Anyone()), b"bob")
    second_session(two)
    first, second = two.first.session.station, two.second.session.station
    assert first is not None and second is not None and first is not second
    assert first.line.address != second.line.address
    assert first.line.up and second.line.up
    two.second.hang_up()
    two.second.settle()
    assert first.line.up
    assert two.first.shared.holders == {"user bob": two.first.session}


def test_a_guest_that_asks_for_anothers_address_does_not_get_its_connections() -> None:
    """The old guest hung up a moment ago and its flows wait for it; whoever gets the address next is somebody else."""
    two = Two(LinkConfig(), None)
    world = two.first
    guest, sock = world.connect(close=False)
    sock.arriving += b"private"
    world.settle()
    address = world.station.line.address
    world.hang_up()
    world.settle()
    assert not sock.closed
    second = two.second
    assert second.end.ipcp is not None
    second_session(two)
    second.end = End(LinkConfig(), Ipcp.client(address), 9)
    second.end.deliver(0x0021, lambda packet, now: second.packets.append(packet))  # it answers nothing, and listens
    second.end.link.up(second.now)
    second.run(lambda: bool(second.end.told(NetworkUp)), 10.0)
    assert second.station.line.address == address
    assert sock.closed and sock.was_reset and not second.station.tcp.flows
    assert not second.packets


def test_a_full_line_loses_nothing() -> None:
    """After passt a469fc3: what the line's queue refuses is sent again: the sequence numbers tell the truth."""
    world = SerialWorld(rate=115_200.0)
    world.up()
    canary = Canary(world, 100_000)
    for n in range(600):
        world.station.line.send(bytes(1000), n)
    world.station.line.send(bytes(1500), "more")
    assert world.count["line.queue_full"]
    canary.finish()


def test_every_packet_fits_a_line_of_68_octets() -> None:
    """SACK blocks and ICMP errors about packets with IP options were up to 28 octets too long."""
    world = SerialWorld(guest_config=LinkConfig(mru=68))
    world.up()
    longest = [0]
    deliver = world._guest_packet

    def measure(packet: bytes, now: float) -> None:
        longest[0] = max(longest[0], len(packet))
        deliver(packet, now)

    world.end.deliver(0x0021, measure)
    guest, sock = world.connect(close=False, sack=True, mss=28)
    for n in (2, 4, 6, 8, 10):
        guest.send(ACK, guest.nxt + 28 * n, b"x" * 28)
        world.settle()
    assert [segment for segment in guest.seen if len(segment.options) == 28]
    head = build_ipv4(GUEST, OUTSIDE, 47, bytes(20))
    head = bytes((0x4F, 0)) + (80).to_bytes(2, "big") + head[4:10] + b"\0\0" + head[12:20] + bytes(40)
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    world.transmit(head + bytes(20))
    world.settle()
    assert longest[0] <= 68 and world.count["icmp.error_sent"] == 1
    assert len(world.packets) == 2, "the error comes in two fragments"


@pytest.mark.parametrize(
    ("port", "payload"),
    (
        (113, b"113 , 6667\r\n"),  # CVE-2019-6778, CVE-2019-9824: ident
        (6667, b"PRIVMSG x :\x01DCC SEND f 167772687 1024 4294967295\x01\r\n" * 20),  # CVE-2020-7039: IRC DCC
        (7070, b"\x50\x4e\x41\x00\x0a\x00\x00\x00\x00\x01\x00\x02\x00\x01\x00\x00"),  # CVE-2020-8608: RealAudio
        (7070, b"\x00\x00\x01\x00\x02\x00"),
        (21, b"PORT 10,0,2,15,4,1\r\n"),  # FTP
        # CVE-2020-28041
        (5060, b"A" * 1440 + b"REGISTER sip:evil.example SIP/2.0\r\nContact: <sip:x@10.0.2.15:445>\r\n\r\n"),
    ),
    ids=("ident", "irc", "realaudio", "two octets missing", "ftp", "slipstreaming"),
)  # fmt: skip
def test_there_are_no_application_gateways(port: int, payload: bytes) -> None:
    world = SerialWorld()
    world.up()
    guest, sock = world.connect(remote_port=port, to_send=payload, close=False)
    sock.arriving += payload
    world.settle()
    assert bytes(sock.delivered) == payload and bytes(guest.received) == payload
    assert len(world.host.open()) == 1 and len(world.station.tcp.flows) == 1
    assert world.host.targets == [(OUTSIDE, port)]


def test_cve_2020_1983_65535_octets_in_pieces_of_8_cost_bounded_time() -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    begun = time.process_time()
    for offset in range(0, 65_504, 8):
        world.station.receive(fragment_of(bytes(8), offset, more=True, destination=OUTSIDE), world.now)
    assert time.process_time() - begun < 2.0
    canary.finish()


def test_rst_then_syn_of_the_same_ports_in_one_write() -> None:
    world = SerialWorld()
    world.up()
    old, sock = world.connect(port=40_001, close=False)
    new = GuestTcp(world, port=40_001, to_send=b"again")
    world.transmit(build_segment(GUEST, 40_001, OUTSIDE, 80, sequence=old.iss + old.nxt, flags=4))
    new.connect()
    world.run(lambda: new.established, 10)
    assert sock.closed and sock.was_reset and old.port == new.port
    world.run(lambda: any(bytes(s.delivered) == b"again" for s in world.host.sockets), 10)


def test_no_reply_is_made_twice_for_one_frame() -> None:
    """All that the gateway says, sent back at it, dies out (RFC 1994 section 4.1; RFC 1122 section 3.2.2)."""
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    out = emitted(world)
    seen = 0
    for _ in range(20):
        world.end.link.receive = lambda frame, now: world.octets(  # type: ignore[method-assign]
            b"~" + world.end.framer.frame(*split_protocol(frame))
        )
        world.wait(0.01)
        seen = max(seen, len(out))
    assert seen < 200 and canary.guest.established


def test_a_flow_that_ended_is_not_flushed_again() -> None:
    world = SerialWorld()
    world.up()
    guest, sock = world.connect(close=False)
    (flow,) = world.station.tcp.flows.values()
    guest.send(4, guest.nxt)
    world.settle()
    assert flow.state is CLOSED and sock.closed and not world.station.tcp.flows
    flow.flush(world.now)

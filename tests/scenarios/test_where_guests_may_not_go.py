"""Where a guest may not go, and what may not come back to it."""

import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from nat.host import Host
from nat.rules import Action, Direction, Question, Rules
from nat.wire.ipv4 import build_ipv4
from nat.wire.tcp import SYN
from nat.wire.udp import build_udp
from tests.support.fake_watcher import EpollWatcher
from tests.support.fakes import FakeSocket, fragment_of
from tests.support.hostile_inputs import echo, mended, query, tcp, udp, with_options
from tests.support.serial_world import DNS, GATEWAY, GUEST, Canary, SerialWorld

pytestmark = pytest.mark.untraced  # they take long, and what they reach has tests of its own

OWN = bytes((198, 51, 100, 7))  # an address of the host
DESTINATIONS = [
    (127, 0, 0, 1), (127, 0, 0, 2), (127, 0, 1, 1), (127, 1, 2, 3), (127, 127, 127, 127), (127, 255, 255, 254),
    (127, 255, 255, 255), (0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 2, 3), (0, 255, 255, 255), (169, 254, 0, 0),
    (169, 254, 0, 1), (169, 254, 1, 1), (169, 254, 169, 253), (169, 254, 169, 254), (169, 254, 170, 2),
    (169, 254, 255, 255), (168, 63, 129, 16), (100, 100, 100, 200), (224, 0, 0, 1), (224, 0, 0, 251),
    (224, 0, 1, 1), (232, 1, 1, 1), (239, 255, 255, 250), (239, 255, 255, 255), (240, 0, 0, 0), (240, 0, 0, 1),
    (250, 1, 2, 3), (255, 0, 0, 1), (255, 255, 255, 254), (255, 255, 255, 255), (10, 0, 2, 0), (10, 0, 2, 1),
    (10, 0, 2, 2), (10, 0, 2, 4), (10, 0, 2, 14), (10, 0, 2, 16), (10, 0, 2, 254), (10, 0, 2, 255),
    (198, 51, 100, 7),
]  # fmt: skip


def with_source_route(packet: bytes, *, to: bytes) -> bytes:
    """A loose source route whose last hop is `to`; the destination of the header is a harmless one."""
    return with_options(packet, b"\x83\x07\x04" + to + b"\x00")


def in_fragments(packet: bytes) -> list[bytes]:
    body, protocol, destination = packet[20:], packet[9], packet[16:20]
    body += bytes(24)
    if protocol == 17:
        body = body[:4] + len(body).to_bytes(2, "big") + b"\0\0" + body[8:]
    cut = 24
    return [
        fragment_of(body[:cut], 0, more=True, protocol=protocol, destination=destination),
        fragment_of(body[cut:], cut, more=False, protocol=protocol, destination=destination),
    ]


def test_at_least_forty_destinations_are_tried() -> None:
    assert len(DESTINATIONS) >= 40


@pytest.mark.parametrize("address", DESTINATIONS, ids=lambda address: ".".join(map(str, address)))
def test_forbidden_destinations_cost_no_system_call(address: tuple[int, ...]) -> None:
    destination = bytes(address)
    world = SerialWorld()
    world.host.other.owned.add(OWN)
    world.up()
    for packet in (tcp(SYN, destination=destination), udp(destination=destination), echo(destination)):
        for encoded in ([packet], [with_options(packet, b"\1\1\1\0")], in_fragments(packet)):
            denied = sum(n for name, n in world.count.items() if name.startswith("policy."))
            for each in encoded:
                world.transmit(each)
            world.settle()
            now_denied = sum(n for name, n in world.count.items() if name.startswith("policy."))
            own = destination == GATEWAY and packet[9] == 1  # the gateway answers echo itself
            lost = packet[9] != 17 and len(encoded) == 2  # the padding spoils the checksum
            assert now_denied == denied + 1 or own or lost, (packet[9], len(encoded))
    assert not world.host.targets and not world.host.open() and not world.host.other.asked
    assert not world.host.other.sockets


def test_a_source_route_leads_nowhere_else() -> None:
    """The destination that is judged is the one that is called: the numeric address, at connect."""
    world = SerialWorld()
    world.up()
    world.transmit(with_source_route(tcp(SYN), to=bytes((127, 0, 0, 1))))
    world.settle()
    assert world.host.targets == [(bytes((192, 0, 2, 1)), 80)]


@pytest.mark.parametrize(
    "address",
    ("::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1", "fd00:ec2::254", "ff02::1", "::"),
)
def test_nothing_of_ipv6_passes(address: str) -> None:
    world = SerialWorld()
    world.up()
    packet = b"\x60\0\0\0\0\x14\x06\x40" + bytes(16) + socket.inet_pton(socket.AF_INET6, address)
    world.octets(b"~" + world.end.framer.frame(0x57, packet + bytes(20)))
    world.transmit(packet + bytes(20))
    world.settle()
    assert not world.host.targets and not world.host.open()
    assert world.count["link.protocol_rejected"] == 1 and world.count["ip.bad_header"] == 1


@pytest.fixture
def visited() -> Iterator[tuple[int, socket.socket, socket.socket]]:
    """Servers on all addresses of this machine that know whether anybody came."""
    stream = socket.create_server(("", 0))
    port = stream.getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    for sock in (stream, datagrams):
        sock.setblocking(False)
    yield port, stream, datagrams
    stream.close()
    datagrams.close()


def test_no_server_of_this_host_is_visited(visited: tuple[int, socket.socket, socket.socket]) -> None:
    """What counts is the server's log.  With real sockets, and this machine's addresses."""
    port, stream, datagrams = visited
    host = Host(EpollWatcher(), [])
    world = SerialWorld()
    world.up()
    rules = Rules(host, (bytes((10, 0, 2, 0)), 24), GATEWAY)
    own = [bytes(map(int, socket.gethostbyname(socket.gethostname()).split(".")))]
    for address in [bytes(each) for each in DESTINATIONS if each != tuple(OWN)] + own:
        question = Question(GUEST, "", Direction.OUT, 6, address, port)
        assert rules.decide(question).action is not Action.ALLOW, address
    host.close()
    world.context.rules = rules
    for address in [*(bytes(each) for each in DESTINATIONS if each != tuple(OWN)), *own]:
        world.transmit(tcp(SYN, destination=address, dport=port))
        world.transmit(udp(destination=address, dport=port))
    world.settle()
    assert not world.host.targets
    for sock in (stream, datagrams):
        with pytest.raises(BlockingIOError):
            sock.recv(1) if sock is datagrams else sock.accept()


def test_amplification_no_error_about_an_error_a_fragment_or_a_bad_source() -> None:
    """RFC 1122 section 3.2.2."""
    world = SerialWorld()
    world.up()
    far = bytes((127, 0, 0, 1))
    for packet in (
        fragment_of(bytes(64), 64, more=True, destination=far),
        build_ipv4(GUEST, bytes((224, 0, 0, 5)), 89, bytes(40)),
        build_ipv4(GUEST, b"\xff" * 4, 89, bytes(40)),
        mended(build_ipv4(bytes(4), far, 47, bytes(40))),
        echo(far, kind=3, payload=udp()),
        echo(far, kind=11, payload=udp()),
    ):
        world.transmit(packet)
    world.settle()
    assert not world.packets


def test_the_errors_of_a_flood_are_held_to_a_rate() -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    for n in range(2000):
        world.transmit(udp(destination=bytes((127, 0, 0, 1)), dport=1 + n))
    world.settle()
    assert len(world.packets) <= 51 and world.count["icmp.error_rate"] >= 1900
    assert len(world.said) < 20  # told by the link, and once for the denied destination of each port in a burst
    canary.finish()


def ask(world: SerialWorld, name: bytes = b"\4host\0") -> tuple[FakeSocket, bytes]:
    """A query of the guest: the socket it went out by, and the message."""
    world.transmit(query(name))
    world.settle()
    sock = world.host.other.open()[-1]
    ((message, _),) = sock.sent
    return sock, message


def test_forged_replies_are_not_let_in() -> None:
    """CVE-2008-1447, CVE-2020-25684 to 25686: all identifiers, then the right one with every kind of wrong question."""
    world = SerialWorld()
    world.up()
    sock, message = ask(world)
    identifier, question = message[:2], message[12:]
    forged = [n.to_bytes(2, "big") for n in range(0, 65536, 8) if n.to_bytes(2, "big") != identifier]
    replies = [each + b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"evil" for each in forged]
    head = identifier + b"\x81\x80\0\1\0\1\0\0\0\0"
    replies += [
        head + b"\4hosu\0\0\1\0\1",
        head + b"\4host\0\0\x1c\0\1",  # another type
        head + b"\4host\0\0\1\0\3",  # another class
        head + b"\xc0\x0c\0\1\0\1",  # a pointer to itself in the place of the name
        head + question[:-1],
        identifier + b"\x01\0\0\1\0\0\0\0\0\0" + question,  # a query
        identifier + b"\xa8\x80\0\1\0\1\0\0\0\0" + question,  # another opcode
        identifier + b"\x81\x80\0\0\0\1\0\0\0\0" + question,  # no question
        identifier + b"\x81\x80\0\2\0\1\0\0\0\0" + question + question,
        b"",
        identifier,
    ]
    for reply in replies:
        sock.incoming.append((reply, ("127.0.0.53", 53)))
    world.settle()
    assert not world.packets and world.count["dns.forged"] == len(replies)
    sock.incoming.append((head + question + b"good", ("127.0.0.53", 53)))
    world.settle()
    (answer,) = world.packets
    assert answer.endswith(b"good") and answer[28:30] == b"\xab\xcd"


def test_one_query_is_outstanding_for_a_question() -> None:
    """CVE-2020-25686: 150 identical queries are one upstream."""
    world = SerialWorld()
    world.up()
    for port in range(2000, 2150):
        world.transmit(build_udp(GUEST, port, DNS, 53, b"\1\2\1\0\0\1\0\0\0\0\0\0\4host\0\0\1\0\1"))
    world.settle()
    assert len(world.host.other.open()) == 1 and world.count["dns.coalesced"] == 149


def test_identifiers_and_sockets_are_fresh() -> None:
    """CVE-2021-3448, CVE-2022-30295, CVE-2024-52616: no fixed port, no sequence."""
    world = SerialWorld()
    world.up()
    identifiers: list[int] = []
    sockets = set()
    for n in range(2000):
        sock, message = ask(world, b"\4%04x\0" % n)
        identifiers.append(int.from_bytes(message[:2], "big"))
        sockets.add(id(sock))
        reply = message[:2] + b"\x81\x80" + message[4:]
        sock.incoming.append((reply, ("127.0.0.53", 53)))
        world.settle()
    buckets = Counter(identifier >> 12 for identifier in identifiers)
    chi = sum((buckets[n] - 125) ** 2 / 125 for n in range(16))
    assert chi < 37.7, f"chi squared is {chi:.1f} at 15 degrees of freedom"  # p = 0.001
    steps = Counter((b - a) & 0xFFFF for a, b in zip(identifiers, identifiers[1:], strict=False))
    assert max(steps.values()) < 6 and len(sockets) == 2000


def test_hostile_counts_and_pointers_of_a_resolver_pass_untouched() -> None:
    """CVE-2017-14491, CVE-2020-11901: the relay follows nothing that a response says."""
    world = SerialWorld()
    world.up()
    sock, message = ask(world)
    reply = message[:2] + b"\x81\x80\0\1" + b"\xff" * 6 + message[12:] + b"\xc0\x0c" * 100
    sock.incoming.append((reply, ("127.0.0.53", 53)))
    world.settle()
    assert world.packets[0].endswith(b"\xc0\x0c" * 100)

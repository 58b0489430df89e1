"""Nothing leaves, comes in or crosses without a verdict: every way there is, against rules that refuse everything, and
against rules that count their questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from nat.context import Context
from nat.deadlines import Deadlines
from nat.dns import Dns
from nat.gateway import Gateway
from nat.rules import Action, Direction, Question, Rules, RuleSet, Verdict
from nat.station import Station
from nat.wire.tcp import SYN, build_segment
from nat.wire.udp import build_udp
from pppgate.eoppp.bridge import Bridge
from pppgate.eoppp.call import Agreed
from pppgate.ether.bridge_port import Neighbor
from pppgate.ether.frame import IPV4, header
from tests.pppgate.eoppp.test_bridge import KEYS, Calls, Port
from tests.pppgate.ether.test_segment import World, ip, ip_frame, mac
from tests.support.fakes import DNS, GATEWAY, GUEST, SERVER, FakeHost, FakeSocket, echo, udp

OTHER = bytes((10, 0, 2, 16))
REFUSED = Verdict(Action.REFUSE, b"", "all", "policy.all", "nothing is allowed")


class Book:
    """Rules that write down what they are asked; `refuses`: and say no to all of it."""

    def __init__(self, rules: RuleSet | None = None) -> None:
        self.revision = 0
        self.refuses = False
        self.questions: list[Question] = []
        self.rules = rules

    def decide(self, question: Question) -> Verdict:
        self.questions.append(question)
        if self.refuses:
            return REFUSED
        if self.rules is None:
            return Verdict(Action.ALLOW, question.address, "all")
        return self.rules.decide(question)

    def guest_address(self, address: bytes) -> bytes:
        return address


class Connecting(FakeSocket):
    """A stream whose connect has begun, and comes to no end."""

    def watch_write(self, callback: Callable[[float], None]) -> None: ...

    def unwatch_write(self) -> None: ...


class Host(FakeHost):
    """One that connects, too."""

    def connect_tcp(self, address: bytes, port: int) -> Connecting:
        stream = Connecting((".".join(map(str, address)), port))
        self.sockets.append(stream)
        return stream


class Net:
    """Two guests of one gateway, with a forward of each kind."""

    def __init__(self) -> None:
        self.host = Host()
        self.notes: list[str] = []
        self.rules = Book(Rules(self.host, (b"\x0a\0\2\0", 24), GATEWAY, dns=DNS))
        self.context = Context(
            self.host,  # type: ignore[arg-type]
            self.rules,  # type: ignore[arg-type]
            Deadlines(),
            Random(5),
            self.notes.append,
            Counter(),
            network="lan",
        )
        self.gateway = Gateway(self.context, GATEWAY, Dns(self.context, DNS))
        self.guest, self.other = (self.arrive(address) for address in (GUEST, OTHER))
        for kind in ("tcp", "udp"):
            self.gateway.forwards.add(kind, "127.0.0.1", 8080, GUEST, 80)
        self.tcp_forward, self.udp_forward = self.host.sockets
        self.before = len(self.host.sockets)

    def arrive(self, address: bytes) -> Station:
        return self.gateway.arrive(address, 1500, lambda: None, 0.0)

    def made(self) -> list[FakeSocket]:
        """Sockets toward the outside."""
        return self.host.sockets[self.before :]

    def sent(self) -> int:
        return sum(len(sock.sent) for sock in self.made())

    def take(self, station: Station) -> list[bytes]:
        self.gateway.context.dirty.flush(0.0)
        return station.line.take(1 << 20)

    # The ways.  Each can be gone several times, with packets of one flow.

    def tcp(self) -> None:
        self.guest.receive(build_segment(GUEST, 4000, SERVER, 80, sequence=1, flags=SYN), 0.0)

    def udp(self) -> None:
        self.guest.receive(udp(), 0.0)

    def ping(self) -> None:
        self.guest.receive(echo(), 0.0)

    def dns(self) -> None:
        message = b"\1\2\1\0\0\1\0\0\0\0\0\0\4host\0\0\1\0\1"
        self.guest.receive(build_udp(GUEST, 5000, DNS, 53, message), 0.0)

    def dns_tcp(self) -> None:
        self.guest.receive(build_segment(GUEST, 4000, DNS, 53, sequence=1, flags=SYN), 0.0)

    def forward_tcp(self) -> None:
        if not any(self.guest.tcp.flows):
            self.tcp_forward.callers.append(FakeSocket())
            self.host.wake(self.tcp_forward)

    def forward_udp(self) -> None:
        self.udp_forward.incoming.append((b"hello", ("192.0.2.77", 5555)))
        self.host.wake(self.udp_forward)

    def across_udp(self) -> None:
        self.guest.receive(udp(destination=OTHER), 0.0)
        self.other.receive(udp(sport=6000, dport=5000, source=OTHER, destination=GUEST), 0.0)

    def across_tcp(self) -> None:
        self.guest.receive(build_segment(GUEST, 4000, OTHER, 80, sequence=1, flags=SYN), 0.0)

    def across_ping(self) -> None:
        self.guest.receive(echo(destination=OTHER), 0.0)
        self.other.receive(echo(source=OTHER, destination=GUEST, kind=0), 0.0)


WAYS: dict[str, tuple[Callable[[Net], None], Direction, int, bytes, int, str]] = {
    "tcp": (Net.tcp, Direction.OUT, 6, SERVER, 80, "TCP to 203.0.113.7 port 80 from 10.0.2.15"),
    "udp": (Net.udp, Direction.OUT, 17, SERVER, 6000, "UDP to 203.0.113.7 port 6000 from 10.0.2.15"),
    "ping": (Net.ping, Direction.OUT, 1, SERVER, 0, "ping of 203.0.113.7 from 10.0.2.15"),
    "dns": (Net.dns, Direction.OUT, 17, DNS, 53, "UDP to 10.0.2.3 port 53 from 10.0.2.15"),
    "dns over tcp": (Net.dns_tcp, Direction.OUT, 6, DNS, 53, "TCP to 10.0.2.3 port 53 from 10.0.2.15"),
    "forward, tcp": (
        Net.forward_tcp, Direction.IN, 6, bytes((192, 0, 2, 77)), 80, "TCP from 192.0.2.77 to port 80 of 10.0.2.15",
    ),
    "forward, udp": (
        Net.forward_udp, Direction.IN, 17, bytes((192, 0, 2, 77)), 80, "UDP from 192.0.2.77 to port 80 of 10.0.2.15",
    ),
    "across, udp": (Net.across_udp, Direction.ACROSS, 17, OTHER, 6000, "UDP to 10.0.2.16 port 6000 from 10.0.2.15"),
    "across, tcp": (Net.across_tcp, Direction.ACROSS, 6, OTHER, 80, "TCP to 10.0.2.16 port 80 from 10.0.2.15"),
    "across, ping": (Net.across_ping, Direction.ACROSS, 1, OTHER, 0, "ICMP to 10.0.2.16 from 10.0.2.15"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_refused_does_not_happen_and_is_said(way: str) -> None:
    net = Net()
    net.rules.refuses = True
    go, *_, words = WAYS[way]
    go(net)
    assert not net.made() and not net.host.asked
    assert not [packet for packet in net.take(net.other) if packet[9] != 1 or packet[20] in (0, 8)]
    to_guest = net.take(net.guest)
    assert all(packet[20:22] == b"\3\x0d" for packet in to_guest if packet[9] == 1)  # prohibited
    assert not [packet for packet in to_guest if packet[9] == 17 or packet[9] == 6 and packet[33] & SYN]
    assert net.notes[0] == f"Denied {words}: nothing is allowed."
    assert net.context.count["policy.all"] == len(net.notes)


@pytest.mark.parametrize("way", WAYS)
def test_one_question_a_flow(way: str) -> None:
    net = Net()
    go, direction, protocol, address, port, _ = WAYS[way]
    for _ in range(5):
        go(net)
    assert net.rules.questions == [Question(GUEST, "lan", direction, protocol, address, port)]


@pytest.mark.parametrize("way", ("udp", "ping", "forward, udp", "across, udp", "across, tcp", "across, ping"))
def test_when_the_rules_change_the_flow_asks_again(way: str) -> None:
    net = Net()
    go, *_ = WAYS[way]
    go(net)
    net.take(net.guest), net.take(net.other)
    sent, asked = net.sent(), len(net.rules.questions)
    net.rules.revision += 1
    go(net)
    assert len(net.rules.questions) == asked + 1
    net.take(net.guest), net.take(net.other)
    sent = net.sent()
    net.rules.revision += 1
    net.rules.refuses = True
    go(net)
    assert len(net.rules.questions) > asked + 1 and net.sent() == sent
    assert not [packet for packet in net.take(net.other) if packet[9] != 1 or packet[20] == 8]


def test_when_the_rules_change_answers_stay_outside_too() -> None:
    net = Net()
    net.udp()
    (sock,) = net.made()
    net.rules.revision += 1
    sock.incoming.append((b"answer", ("203.0.113.7", 6000)))
    net.host.wake(sock)
    assert len(net.take(net.guest)) == 1
    net.rules.revision += 1
    net.rules.refuses = True
    sock.incoming.append((b"answer", ("203.0.113.7", 6000)))
    net.host.wake(sock)
    assert not net.take(net.guest) and net.context.count["udp.unsolicited"] == 1


def test_a_guest_cannot_answer_a_caller_that_is_not_allowed_any_more() -> None:
    net = Net()
    net.forward_udp()
    net.rules.revision += 1
    net.rules.refuses = True
    net.guest.receive(build_udp(GUEST, 80, GATEWAY, 5555, b"answer"), 0.0)
    assert not net.udp_forward.sent and not net.gateway.forwards.callers


@pytest.mark.parametrize("way", ("tcp", "forward, tcp"))
def test_when_the_rules_change_connections_end(way: str) -> None:
    net = Net()
    WAYS[way][0](net)
    net.take(net.guest)
    net.rules.revision += 1
    net.gateway.rules_changed(0.0)
    assert net.guest.has_flows and len(net.rules.questions) == 2
    net.rules.refuses = True
    net.gateway.rules_changed(0.0)
    assert not net.guest.has_flows
    (reset,) = net.take(net.guest)
    assert reset[33] & 4


# On the segment


def test_ip_between_two_cables_asks_once_for_each_pair() -> None:
    rules = Book()
    world = World(rules=rules)
    hello = ip_frame(mac(0), ip(20), ip(21), to=mac(1))
    world.say(1, ip_frame(mac(1), ip(21), ip(20), to=mac(0)))
    before = len(world.ports[1].sent)
    for _ in range(3):
        world.say(0, hello)
    assert len(world.ports[1].sent) == before + 3
    pairs = [(each.guest, each.address) for each in rules.questions]
    assert pairs == [(ip(21), ip(20)), (ip(20), ip(21))]
    assert all(each.direction is Direction.ACROSS for each in rules.questions)
    rules.refuses = True
    world.say(0, hello)
    assert len(world.ports[1].sent) == before + 4
    rules.revision += 1
    world.say(0, hello)
    assert len(world.ports[1].sent) == before + 4 and len(rules.questions) == 3
    assert world.count["policy.all"] == 1
    assert world.said[-1] == "Denied IP to 10.0.2.21 from 10.0.2.20: nothing is allowed."


# Through a PPP server


class Uplinked:
    def __init__(self) -> None:
        self.rules = Book()
        self.said: list[str] = []
        self.count: Counter[str] = Counter()
        self.bridge = Bridge(
            self.count, lambda when, call: None, self.rules, self.said.append, lambda bridge: Calls(), lease=60.0
        )
        self.bridge.link_up(Agreed(GUEST, None, (), 1500), 0.0)

        def arrive(neighbor: Neighbor) -> object:
            return self.bridge.arrive(KEYS, 0.0, neighbor)

        self.host = Neighbor(GUEST, mac(0), Port(), header(mac(0), mac(9), IPV4), None, arrive, 0.0)  # type: ignore[arg-type]

    def out(self) -> list[bytes]:
        self.host.receive(udp(), 0.0)
        return self.bridge.line.take(1 << 20)

    def back(self, sport: int = 6000, dport: int = 5000) -> list[bytes]:
        self.bridge.receive(udp(source=SERVER, destination=GUEST, sport=sport, dport=dport), 0.0)
        return self.host.line.take(1 << 20)


def test_a_ppp_uplink_asks_once_a_flow_whichever_end_begins() -> None:
    it = Uplinked()
    for _ in range(3):
        assert it.out() and it.back()
    assert it.rules.questions == [Question(GUEST, "", Direction.OUT, 17, SERVER, 6000)]
    assert it.back(sport=99, dport=80) and it.back(sport=99, dport=80)
    assert it.rules.questions[1:] == [Question(GUEST, "", Direction.IN, 17, SERVER, 80)]


def test_what_is_refused_passes_no_ppp_uplink() -> None:
    it = Uplinked()
    it.rules.refuses = True
    assert not it.out()
    (told,) = it.host.line.take(1 << 20)
    assert told[20:22] == b"\3\x0d"
    assert not it.back()
    assert it.said == [
        "Denied UDP to 203.0.113.7 port 6000 from 10.0.2.15: nothing is allowed.",
        "Denied UDP from 203.0.113.7 to port 5000 of 10.0.2.15: nothing is allowed.",
    ]
    it.rules.refuses = False
    it.rules.revision += 1
    assert it.out() and it.back()

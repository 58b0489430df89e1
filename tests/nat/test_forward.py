"""nat.forward: callers from outside, TCP and UDP."""

import socket
import time
from collections import deque
from errno import EAGAIN, ECONNABORTED, ECONNREFUSED, EMFILE, ENFILE, ENOBUFS, ENOMEM
from random import Random

import pytest

from nat.context import Context
from nat.deadlines import Deadlines
from nat.forward import AGAIN, BATCH, PEERS_MOST, Forwards
from nat.host import Host
from nat.line import Line
from nat.rules import Question, Rules
from nat.wire.udp import build_udp
from tests.support.fake_watcher import EpollWatcher
from tests.support.fakes import GATEWAY, GUEST, Bench, FakeSocket, udp
from tests.support.oracle import UDP, sound


class FakeGateway:
    address = GATEWAY

    def __init__(self, line: Line) -> None:
        self.lines = {line.address: line}
        self.opened: list[tuple[FakeSocket, int, float]] = []
        self.questions: list[Question] = []
        self.room = True

    def line(self, address: bytes) -> Line | None:
        return self.lines.get(address)

    def open_tcp(self, question: Question, sock: FakeSocket, now: float) -> bool:
        if self.room:
            self.questions.append(question)
            self.opened.append((sock, question.port, now))
        return self.room


class Setup(Bench):
    def __init__(self, protocol: str = "tcp", **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.gateway = FakeGateway(self.line)
        self.forwards = Forwards(self.context, self.gateway)  # type: ignore[arg-type]
        self.forwards.add(protocol, "127.0.0.1", 8080, GUEST, 80)  # type: ignore[arg-type]
        self.listener = self.host.sockets[0]

    def call(self, *callers: FakeSocket | int, now: float = 0.0) -> None:
        self.listener.callers.extend(callers)
        self.host.wake(self.listener, now)

    def datagram(self, payload: bytes, name: tuple[str, int] = ("192.0.2.77", 5555), now: float = 0.0) -> None:
        self.listener.incoming.append((payload, name))
        self.host.wake(self.listener, now)

    def answer(self, payload: bytes, port: int, *, sport: int = 80, source: bytes = GUEST, now: float = 0.0) -> bool:
        packet = build_udp(source, sport, GATEWAY, port, payload)
        line = Line(source, 1500, lambda: None, self.count)
        return self.forwards.receive_udp(line, packet, 20, now)


def test_a_tcp_caller_is_handed_to_the_gateway() -> None:
    setup = Setup()
    caller = FakeSocket()
    setup.call(caller, now=3.0)
    assert setup.gateway.opened == [(caller, 80, 3.0)]
    assert not caller.closed and setup.count["forward.tcp_accepted"] == 1


@pytest.mark.parametrize("reason", ("no guest", "down", "full"))
def test_a_caller_that_comes_too_early_is_reset_at_once(reason: str) -> None:
    setup = Setup()
    if reason == "no guest":
        setup.gateway.lines.clear()
    elif reason == "down":
        setup.line.up = False
    else:
        setup.gateway.room = False
    caller = FakeSocket()
    setup.call(caller)
    assert caller.was_reset
    assert setup.count["forward.refused"] == 1
    assert len(setup.notices) == (0 if reason == "full" else 1)


@pytest.mark.parametrize("number", (EMFILE, ENFILE, ENOBUFS, ENOMEM))
def test_a_listener_rests_for_a_second_when_the_host_is_short(number: int) -> None:
    setup = Setup()
    setup.call(number, now=5.0)
    assert not setup.host.readers  # it would wake us forever
    assert setup.deadlines.next() == 5.0 + AGAIN
    caller = FakeSocket()
    setup.listener.callers.append(caller)
    setup.deadlines.expire(5.0 + AGAIN)
    assert setup.listener.fd in setup.host.readers
    assert [sock for sock, _, _ in setup.gateway.opened] == [caller]
    setup.call(number, now=7.0)
    setup.forwards.close()
    setup.deadlines.expire(100.0)
    assert not setup.host.readers and setup.listener.closed


def test_a_caller_that_went_away_in_the_backlog() -> None:
    setup = Setup()
    caller = FakeSocket()
    setup.call(ECONNABORTED, caller)
    assert len(setup.gateway.opened) == 1


def test_a_wake_up_takes_a_bounded_number_of_callers() -> None:
    setup = Setup()
    setup.call(*(FakeSocket() for _ in range(100)))
    assert len(setup.gateway.opened) == BATCH


def test_udp_callers_come_from_the_gateway_each_by_a_port_of_its_own_cve_2021_20199() -> None:
    setup = Setup("udp")
    setup.datagram(b"one", ("192.0.2.77", 5555))
    setup.datagram(b"two", ("192.0.2.78", 5555))
    setup.datagram(b"three", ("2001:db8::1", 6666))
    reads = [sound(packet) for packet in setup.out()]
    assert {(read.src, read.dst, read.dport) for read in reads} == {("10.0.2.2", "10.0.2.15", 80)}
    assert [bytes(read[UDP].payload) for read in reads] == [b"one", b"two", b"three"]
    ports = [read.sport for read in reads]
    assert ports[0] == 5555 and ports[2] == 6666 and len(set(ports)) == 3
    for port in reversed(ports):
        assert setup.answer(b"answer %d" % port, port)
    assert setup.listener.sent == [
        (b"answer 6666", ("2001:db8::1", 6666)),
        (b"answer %d" % ports[1], ("192.0.2.78", 5555)),
        (b"answer 5555", ("192.0.2.77", 5555)),
    ]


def test_what_answers_no_caller_is_not_a_forwards() -> None:
    setup = Setup("udp")
    setup.datagram(b"one")
    assert not setup.answer(b"x", 5556)
    assert not setup.answer(b"x", 5555, sport=81)
    assert not setup.answer(b"x", 5555, source=bytes((10, 0, 2, 16)))  # another guest
    assert not setup.forwards.receive_udp(setup.line, udp(destination=GATEWAY)[:27], 20, 0.0)
    packet = build_udp(GUEST, 80, GATEWAY, 5555, b"damaged")
    assert setup.forwards.receive_udp(setup.line, packet[:-1] + b"?", 20, 0.0)
    assert setup.listener.sent == [] and setup.count["udp.bad_checksum"] == 1


def test_udp_while_the_guest_is_away_is_dropped() -> None:
    setup = Setup("udp")
    setup.line.up = False
    setup.datagram(b"one")
    setup.gateway.lines.clear()
    setup.datagram(b"two")
    assert setup.count["forward.refused"] == 2 and not setup.forwards.callers


def test_udp_callers_are_bounded_and_forgotten_when_idle() -> None:
    setup = Setup("udp")
    for number in range(PEERS_MOST + 50):
        setup.datagram(b"x", (f"192.0.2.{number % 250}", 1024 + number))
    assert len(setup.forwards.callers) == PEERS_MOST
    assert setup.count["forward.udp_evicted"] == 50
    setup.out()
    setup.datagram(b"x", ("192.0.2.9", 7), now=500.0)
    assert setup.answer(b"y", 7, now=800.0)
    setup.deadlines.expire(700.0)
    assert len(setup.forwards.callers) == 1
    setup.deadlines.expire(1399.0)
    assert len(setup.forwards.callers) == 1
    setup.deadlines.expire(1400.0)
    assert not setup.forwards.callers


@pytest.mark.parametrize(("number", "name"), ((EAGAIN, "busy"), (ENOBUFS, "busy"), (ECONNREFUSED, "error")))
def test_an_answer_that_cannot_be_sent_is_counted(number: int, name: str) -> None:
    setup = Setup("udp")
    setup.datagram(b"one")
    setup.listener.failures = deque([number])
    assert setup.answer(b"x", 5555)
    assert setup.count[f"forward.udp_{name}"] == 1
    setup.listener.incoming.append(ECONNREFUSED)
    setup.datagram(b"two")
    assert len(setup.out()) == 2


def test_large_datagrams_are_fragmented_for_the_guest() -> None:
    setup = Setup("udp", mtu=576)
    setup.datagram(bytes(4000))
    packets = setup.out()
    assert len(packets) > 7 and all(len(packet) <= 576 for packet in packets)


def test_close_leaves_nothing() -> None:
    setup = Setup("udp")
    setup.datagram(b"one")
    setup.forwards.close()
    assert setup.listener.closed and not setup.host.readers and not setup.forwards.callers


@pytest.mark.parametrize("bind", ("127.0.0.1", "::1"))
def test_over_real_sockets(bind: str) -> None:
    watcher = EpollWatcher()
    host = Host(watcher)
    rules = Rules(host, (b"\x0a\0\2\0", 24), GATEWAY)
    context = Context(host, rules, Deadlines(), Random(1), lambda _: None)
    line = Line(GUEST, 1500, lambda: None, context.count)
    gateway = FakeGateway(line)
    forwards = Forwards(context, gateway)  # type: ignore[arg-type]
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((bind, 0))
        port = probe.getsockname()[1]
    forwards.add("tcp", bind, port, GUEST, 80)
    forwards.add("udp", bind, port, GUEST, 80)

    with socket.socket(family, socket.SOCK_STREAM) as early:
        early.settimeout(5)
        early.connect((bind, port))
        watcher.run_once(1.0)
        with pytest.raises(ConnectionResetError):
            early.recv(1)
    line.up = True
    with socket.socket(family, socket.SOCK_STREAM) as caller:
        caller.connect((bind, port))
        watcher.run_once(1.0)
        gateway.opened[0][0].close()
    with socket.socket(family, socket.SOCK_DGRAM) as caller:
        caller.settimeout(5)
        caller.sendto(b"hello", (bind, port))
        end = time.monotonic() + 5
        packets: list[bytes] = []
        while not packets and time.monotonic() < end:
            watcher.run_once(0.1)
            packets = line.take(1 << 20)
        assert packets[0][28:] == b"hello"
        gateway_port = int.from_bytes(packets[0][20:22], "big")
        assert forwards.receive_udp(line, build_udp(GUEST, 80, GATEWAY, gateway_port, b"world"), 20, 0.0)
        data, name = caller.recvfrom(100)
        assert data == b"world" and name[:2] == (bind, port)
    forwards.close()
    host.close()

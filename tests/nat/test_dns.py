"""nat.dns: relaying, forged replies, retries, and that nothing is ever parsed beyond the question."""

import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from errno import ECONNREFUSED, EMFILE, ENETUNREACH
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dns import DNS as ScapyDNS

from nat.context import Context
from nat.deadlines import Deadlines
from nat.dns import HEADER, PENDING_MOST, RETRY, TRIES, WAITING_MOST, Dns, question_end, reply_limit
from nat.host import Host, Resolver
from nat.icmp import ErrorSender
from nat.line import Line
from nat.rules import Rules
from tests.support.fake_watcher import EpollWatcher
from tests.support.fakes import DNS, GATEWAY, GUEST, Bench, FakeSocket, udp
from tests.support.oracle import UDP, sound


def query(ident: int = 0x1111, name: str = "example.com", *, size: int = 0, opcode: int = 0) -> bytes:
    """Recursion desired, type A; with an OPT record if `size` is given."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    head = HEADER.pack(ident, opcode << 11 | 0x0100, 1, 0, 0, bool(size))
    opt = b"\0\0\x29" + size.to_bytes(2, "big") + bytes(6) if size else b""
    return head + labels + b"\0\0\1\0\1" + opt


def reply_to(asked: bytes, *, answers: int = 1) -> bytes:
    flags = 0x8080 | int.from_bytes(asked[2:4], "big")
    records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2" + bytes((number,)) for number in range(answers))
    head = asked[:2] + flags.to_bytes(2, "big") + b"\0\1" + answers.to_bytes(2, "big") + bytes(4)
    return head + asked[12 : question_end(asked)] + records


class Setup(Bench):
    def __init__(self, resolvers: int = 2, **options: object) -> None:
        super().__init__(dns=DNS, **options)  # type: ignore[arg-type]
        self.host.resolver_list = [Resolver(2, f"192.0.2.{53 + number}", 53) for number in range(resolvers)]
        self.dns = Dns(self.context, DNS)

    def ask(self, message: bytes, *, sport: int = 5000, now: float = 0.0, line: Line | None = None) -> None:
        line = line or self.line
        self.dns.receive(
            line,
            ErrorSender(self.context, line, GATEWAY),
            udp(message, sport=sport, dport=53, destination=DNS),
            20,
            now,
        )

    @property
    def sock(self) -> FakeSocket:
        return self.host.sockets[-1]

    def arrive(self, message: bytes) -> None:
        self.sock.incoming.append((message, ("192.0.2.53", 53)))
        self.host.wake(self.sock)

    def answers(self) -> list[tuple[int, bytes]]:
        found = []
        for packet in self.out():
            read = sound(packet)
            assert (read.src, read.dst, read.sport) == ("10.0.2.3", "10.0.2.15", 53)
            found.append((read.dport, bytes(packet[28:])))
        return found


def test_there_and_back() -> None:
    setup = Setup()
    message = query()
    setup.ask(message)
    (sent, _) = setup.sock.sent[0]
    assert sent[2:] == message[2:] and sent[:2] != message[:2]
    reply = reply_to(sent)
    setup.arrive(reply)
    assert setup.answers() == [(5000, message[:2] + reply[2:])]
    assert setup.sock.closed and not setup.host.readers and len(setup.dns) == 0
    setup.deadlines.expire(100.0)
    assert setup.out() == []


def test_each_query_has_a_fresh_socket_and_id() -> None:
    setup = Setup()
    ids = []
    for number in range(200):
        setup.ask(query(name=f"n{number}.example"))
        ids.append(setup.sock.sent[0][0][:2])
        setup.arrive(reply_to(setup.sock.sent[0][0]))
    assert len(setup.host.sockets) == 200
    assert len(set(ids)) > 195


def test_ids_are_evenly_spread() -> None:
    """Chi squared over sixteen buckets."""
    setup = Setup()
    counts: Counter[int] = Counter()
    rounds = 4000
    for _ in range(rounds):
        setup.ask(query())
        counts[setup.sock.sent[0][0][0] >> 4] += 1
        setup.dns.close(0.0)
    chi = sum((counts[high] - rounds / 16) ** 2 / (rounds / 16) for high in range(16))
    assert chi < 37.7  # 15 degrees of freedom, p = 0.001


def test_forged_replies_are_not_let_in_cve_2008_1447() -> None:
    setup = Setup()
    setup.ask(query())
    sent = setup.sock.sent[0][0]
    right = reply_to(sent)
    other = reply_to(sent[:2] + query(name="evil.example")[2:])
    forged = [
        bytes((right[0] ^ 1,)) + right[1:],  # another id
        sent,  # not a response
        right[:2] + bytes((right[2] ^ 0x08,)) + right[3:],  # another opcode
        other,  # another name
        right[: len(sent) - 4] + b"\0\x1c" + right[len(sent) - 2 :],  # another type
        right[:4] + b"\0\2" + right[6:],
        right[:4] + b"\0\0" + right[6:],
        right[:11],
        b"",
    ]
    for message in forged:
        setup.arrive(message)
    assert setup.answers() == [] and setup.count["dns.forged"] == len(forged)
    setup.arrive(right)
    assert len(setup.answers()) == 1


def test_sixty_five_thousand_forged_ids_of_another_question() -> None:
    setup = Setup()
    setup.ask(query())
    other = reply_to(query(name="evil.example"))
    for ident in range(0, 65536, 8):
        setup.sock.incoming.extend([((ident + step).to_bytes(2, "big") + other[2:], ("", 53)) for step in range(8)])
        setup.host.wake(setup.sock)
    assert setup.answers() == [] and setup.count["dns.forged"] == 65536


def test_the_resolver_may_change_the_case_of_the_question() -> None:
    setup = Setup()
    setup.ask(query(name="ExAmPlE.com"))
    sent = setup.sock.sent[0][0]
    setup.arrive(reply_to(sent[:2] + query(name="example.com")[2:]))
    assert len(setup.answers()) == 1


def test_identical_queries_of_a_guest_are_asked_once_cve_2020_25686() -> None:
    setup = Setup()
    for ident in range(150):
        setup.ask(query(ident, name="same.example"), sport=5000 + ident % 5)
    setup.ask(query(0, name="same.example"))  # the guest's own retransmission
    assert len(setup.host.sockets) == 1
    setup.arrive(reply_to(setup.sock.sent[0][0]))
    answers = setup.answers()
    assert len(answers) == WAITING_MOST
    assert {message[:2] for _, message in answers} == {number.to_bytes(2, "big") for number in range(WAITING_MOST)}


def test_two_guests_do_not_share() -> None:
    setup = Setup()
    other = Line(bytes((10, 0, 2, 16)), 1500, lambda: None, setup.count)
    other.up = True
    setup.ask(query())
    errors = ErrorSender(setup.context, other, GATEWAY)
    setup.dns.receive(other, errors, udp(query(), dport=53, source=other.address, destination=DNS, sport=9), 20, 0.0)
    assert len(setup.host.sockets) == 2
    setup.arrive(reply_to(setup.sock.sent[0][0]))
    assert setup.out() == [] and len(other.take(5000)) == 1


def test_the_next_resolver_after_two_seconds_and_servfail_after_six() -> None:
    setup = Setup()
    message = query(ident=0xBEEF)
    setup.ask(message)
    first = setup.sock
    for turn in range(1, TRIES + 1):
        assert len(setup.host.asked) == turn
        assert setup.answers() == []
        setup.deadlines.expire(RETRY * turn)
    assert [one.address for one in setup.host.asked] == ["192.0.2.53", "192.0.2.54", "192.0.2.53"]
    assert first.closed and not setup.host.readers and len(setup.dns) == 0
    ((port, answer),) = setup.answers()
    read = ScapyDNS(answer)
    assert port == 5000
    assert (read.id, read.qr, read.rcode, read.rd, read.ra) == (0xBEEF, 1, 2, 1, 1)
    assert answer[12:] == message[12:]


def test_the_second_resolver_answers() -> None:
    setup = Setup()
    setup.ask(query())
    setup.deadlines.expire(RETRY)
    setup.arrive(reply_to(setup.sock.sent[0][0]))
    assert len(setup.answers()) == 1


@pytest.mark.parametrize("failure", (ECONNREFUSED, ENETUNREACH))
def test_a_resolver_that_is_not_there_is_left_at_once(failure: int) -> None:
    setup = Setup()
    setup.ask(query())
    setup.sock.incoming.append(failure)
    setup.host.wake(setup.sock, 0.1)
    assert len(setup.host.asked) == 2
    setup.arrive(reply_to(setup.sock.sent[0][0]))
    assert len(setup.answers()) == 1


@pytest.mark.parametrize("failures", ([EMFILE] * 3, [ENETUNREACH] * 3))
def test_servfail_when_no_socket_is_to_be_had(failures: list[int]) -> None:
    setup = Setup()
    setup.host.fail["connect_udp"] = deque(failures)
    setup.ask(query())
    ((_, answer),) = setup.answers()
    assert ScapyDNS(answer).rcode == 2
    assert len(setup.dns) == 0


def test_servfail_without_resolvers() -> None:
    setup = Setup(resolvers=0)
    setup.ask(query())
    assert ScapyDNS(setup.answers()[0][1]).rcode == 2


def test_pending_queries_are_bounded_and_the_rest_fail_at_once() -> None:
    setup = Setup()
    for number in range(PENDING_MOST + 20):
        setup.ask(query(name=f"n{number}.example"))
    assert len(setup.dns) == PENDING_MOST == len(setup.host.open())
    assert setup.count["dns.too_many"] == 20
    assert len(setup.answers()) == 20
    setup.dns.close(0.0)
    assert not setup.host.open() and not setup.host.readers
    setup.deadlines.expire(100.0)


@pytest.mark.parametrize(("size", "truncated"), ((0, True), (512, True), (100, True), (1232, False), (4096, False)))
def test_a_reply_longer_than_the_guest_takes_is_truncated(size: int, truncated: bool) -> None:
    setup = Setup()
    message = query(size=size)
    setup.ask(message)
    reply = reply_to(setup.sock.sent[0][0], answers=40)
    assert 512 < len(reply) < 1232
    setup.arrive(reply)
    ((_, answer),) = setup.answers()
    read = ScapyDNS(answer)
    assert bool(read.tc) == truncated
    if truncated:
        assert len(answer) == question_end(message)
        assert (read.qr, read.ancount, read.arcount) == (1, 0, 0)
    else:
        assert answer[2:] == reply[2:]


@pytest.mark.parametrize("opcode", range(16))
def test_every_opcode_is_relayed(opcode: int) -> None:
    setup = Setup()
    setup.ask(query(opcode=opcode))
    assert setup.sock.sent[0][0][2] >> 3 & 15 == opcode
    setup.arrive(reply_to(setup.sock.sent[0][0]))
    assert len(setup.answers()) == 1


HEAD = b"\x11\x11\1\0\0\1\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "message",
    (
        b"",
        HEAD[:11],
        HEAD,
        HEAD + b"\0\0\1\0",  # the class is cut off
        HEAD + b"\3www",
        HEAD + b"\xc0\x0c\0\1\0\1",  # a pointer to itself
        HEAD + b"\1a\xc0\x10\0\1\0\1",  # a pointer forward
        HEAD + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",  # a label of 64
        HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",  # a name of 257
        HEAD[:4] + b"\0\0" + HEAD[6:] + b"\0\0\1\0\1",  # no question
        HEAD[:4] + b"\0\2" + HEAD[6:] + b"\0\0\1\0\1" * 2,  # two
        HEAD[:4] + b"\xff\xff" + HEAD[6:] + b"\0\0\1\0\1",
        HEAD[:2] + b"\x81\0" + HEAD[4:] + b"\0\0\1\0\1",  # a response
    ),
)
def test_malformed_queries_are_dropped_and_counted(message: bytes) -> None:
    setup = Setup()
    setup.ask(message)
    assert setup.count["dns.malformed"] == 1 and not setup.host.sockets and setup.out() == []


def test_the_longest_legal_name() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert len(name) == 255
    assert question_end(HEAD + name + b"\0\1\0\1") == 12 + 255 + 4


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_any_octets_from_the_guest(message: bytes) -> None:
    setup = Setup()
    setup.ask(message)
    setup.ask(HEAD + message)
    end = question_end(message)
    assert 0 <= end <= len(message)
    reply_limit(message, end)


@settings(deadline=None)
@given(st.binary(max_size=600), st.integers(0, 40))
def test_any_octets_from_a_resolver(tail: bytes, kept: int) -> None:
    setup = Setup()
    setup.ask(query())
    sent = setup.sock.sent[0][0]
    setup.arrive((sent[:2] + b"\x81\x80" + sent[4:])[:kept] + tail)
    for _, message in setup.answers():
        assert message[:2] == b"\x11\x11" and len(message) <= 512


def test_hostile_counts_go_through_untouched() -> None:
    """ANCOUNT 65535 and loops of pointers are for the guest to judge: nothing here looks at them."""
    setup = Setup()
    setup.ask(query())
    sent = setup.sock.sent[0][0]
    reply = sent[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + sent[12:] + b"\xc0\x0c" * 50
    setup.arrive(reply)
    assert setup.answers() == [(5000, b"\x11\x11" + reply[2:])]


def test_bad_udp_is_counted() -> None:
    setup = Setup()
    packet = udp(query(), dport=53, destination=DNS)
    errors = ErrorSender(setup.context, setup.line, GATEWAY)
    setup.dns.receive(setup.line, errors, packet[:-1] + b"?", 20, 0.0)
    assert setup.count["udp.bad_checksum"] == 1 and not setup.host.sockets


def test_tcp_goes_to_the_first_resolver_that_can_be_named_by_number() -> None:
    setup = Setup()
    assert setup.dns.tcp_upstream() == (bytes((192, 0, 2, 53)), 53)
    setup.host.resolver_list = [
        Resolver(socket.AF_INET6, "fe80::1%eth0", 53),
        Resolver(socket.AF_INET6, "2001:db8::53", 53),
    ]
    assert setup.dns.tcp_upstream() == (socket.inet_pton(socket.AF_INET6, "2001:db8::53"), 53)
    setup.host.resolver_list = []
    assert setup.dns.tcp_upstream() is None


def test_a_large_reply_is_fragmented_for_a_small_mtu() -> None:
    setup = Setup(mtu=296)
    setup.ask(query(size=4096))
    reply = reply_to(setup.sock.sent[0][0], answers=40)
    setup.arrive(reply)
    packets = setup.out()
    assert all(len(packet) <= 296 for packet in packets)
    assert sum(len(packet) - 20 for packet in packets) == len(reply) + 8


def test_over_real_sockets() -> None:
    watcher = EpollWatcher()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        dead = Resolver(socket.AF_INET, "127.0.0.1", 1)
        live = Resolver(socket.AF_INET, "127.0.0.1", server.getsockname()[1])
        host = Host(watcher, [dead, live])
        rules = Rules(host, (b"\x0a\0\2\0", 24), b"\x0a\0\2\2", dns=DNS)
        context = Context(host, rules, Deadlines(), Random(1), lambda _: None)
        line = Line(GUEST, 1500, lambda: None, context.count)
        line.up = True
        dns = Dns(context, DNS)
        dns.receive(line, ErrorSender(context, line, GATEWAY), udp(query(), dport=53, destination=DNS), 20, 0.0)
        end = time.monotonic() + 5
        while len(dns) and time.monotonic() < end:
            watcher.run_once(0.05)
            server.settimeout(0.01)
            try:
                asked, name = server.recvfrom(1000)
            except TimeoutError:
                continue
            server.sendto(reply_to(asked), name)
        (packet,) = line.take(1 << 20)
        assert bytes(sound(packet)[UDP].payload)[:2] == b"\x11\x11"
        assert context.count["dns.resolver_failed"] == 1
        host.close()


class Known:
    """Somebody who knows names and takes the time for it."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Callable[[bytes | None, float], None]]] = []

    def resolve(self, query: bytes, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        self.asked.append((query, answer))


def test_who_knows_names_is_asked_before_the_resolvers() -> None:
    setup = Setup()
    known = Known()
    setup.dns = Dns(setup.context, DNS, known)
    message = query()
    setup.ask(message)
    setup.ask(message)
    ((asked, answer),) = known.asked
    assert asked == message and not setup.host.sockets
    answer(reply_to(query(0x9999)), 0.5)
    assert setup.answers() == [(5000, reply_to(message))] and len(setup.dns) == 0
    setup.ask(query(name="elsewhere"))
    known.asked[1][1](None, 1.0)
    assert len(setup.host.sockets) == 1


@pytest.mark.parametrize("response", (None, reply_to(query())))
def test_an_answer_that_comes_too_late_is_not_heard(response: bytes | None) -> None:
    setup = Setup()
    known = Known()
    setup.dns = Dns(setup.context, DNS, known)
    setup.ask(query())
    setup.deadlines.expire(RETRY)
    assert len(setup.host.sockets) == 1
    known.asked[0][1](response, 2.0)
    assert len(setup.host.sockets) == 1 and not setup.out()
    setup.arrive(reply_to(setup.sock.sent[0][0]))
    assert len(setup.answers()) == 1
    known.asked[0][1](response, 3.0)
    assert not setup.out() and len(setup.host.sockets) == 1

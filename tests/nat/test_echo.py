"""nat.echo: pings through ping sockets, through a raw socket, and through neither."""

from collections import deque
from errno import EHOSTUNREACH, EMFILE, EMSGSIZE, ENOBUFS, EPERM
from socket import IPPROTO_IP, inet_ntoa
from sys import byteorder

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.context import Limits
from nat.echo import OUTSTANDING_MOST, EchoFlows
from nat.host import IP_MTU_DISCOVER, IP_TTL, ORIGIN_ICMP, ORIGIN_LOCAL, Fault
from nat.icmp import ErrorSender
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import build_ipv4
from tests.support.fakes import GATEWAY, GUEST, ROUTER, SERVER, Bench, FakeSocket, echo
from tests.support.oracle import ICMP, sound

SERVER_NAME = inet_ntoa(SERVER)


class Setup(Bench):
    def __init__(self, kind: str | None = "ping", **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.host.ping_kind = kind
        self.flows = EchoFlows(self.context, self.line, GATEWAY, ErrorSender(self.context, self.line, GATEWAY))

    def receive(self, packet: bytes, now: float = 0.0) -> None:
        self.flows.receive(packet, (packet[0] & 15) * 4, now)

    @property
    def sock(self) -> FakeSocket:
        return self.host.sockets[-1]

    def reply(self, request: bytes, *, source: bytes = SERVER, kind: int = 0, code: int = 0) -> None:
        """The host gets an answer to a message that was sent."""
        packet = build_icmp(source, b"\xc0\0\2\2", kind, code, request[4:8], request[8:], ttl=50)
        if self.host.ping_kind == "raw":
            self.sock.incoming.append((packet, (inet_ntoa(source), 0)))
        else:
            self.sock.ancillary = [(IPPROTO_IP, IP_TTL, (50).to_bytes(4, byteorder))]
            self.sock.incoming.append((packet[20:], (inet_ntoa(source), 0)))
        self.host.wake(self.sock)


@pytest.fixture(params=("ping", "raw"))
def setup(request: pytest.FixtureRequest) -> Setup:
    return Setup(request.param)


@pytest.mark.parametrize("size", (0, 1, 56, 1472, 1473, 65507))
def test_there_and_back(setup: Setup, size: int) -> None:
    payload = (bytes(range(256)) * 256)[:size]
    setup.receive(echo(payload, ident=0x1234, sequence=5, ttl=30))
    (message, name) = setup.sock.sent[0]
    assert name == (SERVER_NAME, 0)
    assert message[0] == 8 and message[6:8] == b"\0\5" and message[8:] == payload
    sound(build_ipv4(GUEST, SERVER, 1, message))
    assert setup.sock.options[IPPROTO_IP, IP_TTL] == 29
    setup.reply(message)
    packets = setup.out()
    assert all(len(packet) <= 1500 for packet in packets)
    assert sum(len(packet) - 20 for packet in packets) == size + 8
    read = sound(packets[0])
    assert (read.src, read.dst, read.ttl) == (SERVER_NAME, "10.0.2.15", 49)
    assert (read[ICMP].type, read[ICMP].id, read[ICMP].seq) == (0, 0x1234, 5)


def test_the_identifier_on_the_wire_is_the_hosts_own() -> None:
    setup = Setup("ping")
    setup.receive(echo(ident=7))
    assert setup.sock.sent[0][0][4:6] == setup.sock.name[1].to_bytes(2, "big")
    setup = Setup("raw")
    for ident in (7, 8):
        setup.receive(echo(ident=ident))
    assert len(setup.host.sockets) == 1
    assert len({message[4:6] for message, _ in setup.sock.sent}) == 2


def test_replies_nobody_asked_for_pa_b6a4e20(setup: Setup) -> None:
    setup.receive(echo(b"12345678", sequence=5))
    request = setup.sock.sent[0][0]
    setup.reply(request, source=ROUTER)  # from somewhere else
    setup.reply(request[:6] + b"\0\6" + request[8:])  # another sequence number
    setup.reply(request[:4] + b"\0\0" + request[6:])  # another identifier
    setup.reply(request + b"more")  # longer than what was sent
    setup.reply(request, kind=8)
    setup.reply(request, kind=13)
    setup.reply(request, code=1)
    setup.sock.incoming.append((b"", (SERVER_NAME, 0)))
    setup.sock.incoming.append((b"\0\0\0", (SERVER_NAME, 0)))
    setup.host.wake(setup.sock)
    assert setup.out() == []
    setup.reply(request)
    assert len(setup.out()) == 1


@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from(("ping", "raw")))
def test_anything_at_all_from_the_socket(data: bytes, kind: str) -> None:
    setup = Setup(kind)
    setup.receive(echo())
    setup.sock.incoming.append((data, (SERVER_NAME, 0)))
    setup.host.wake(setup.sock)
    assert setup.out() == []


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_anything_at_all_from_the_guest(data: bytes) -> None:
    Setup().receive(build_ipv4(GUEST, SERVER, 1, data))


def test_other_messages_of_the_guest_are_counted() -> None:
    setup = Setup()
    setup.receive(echo()[:27])
    setup.receive(echo()[:-1] + b"?")
    setup.receive(echo(kind=13))
    setup.receive(build_icmp(GUEST, SERVER, 3, 3, bytes(4), bytes(28)))
    assert not setup.host.sockets
    assert (setup.count["icmp.short"], setup.count["icmp.bad_checksum"], setup.count["icmp.not_an_echo"]) == (1, 1, 2)


def test_where_nothing_is_permitted_it_says_so_once_and_makes_nothing_up() -> None:
    setup = Setup(None)
    for sequence in range(3):
        setup.receive(echo(sequence=sequence))
    packets = setup.out()
    assert [packet[20:22] for packet in packets] == [b"\x03\x0d"] * 3
    assert packets[2][28:] == echo(sequence=2)[:28]
    assert len(setup.notices) == 1 and "net.ipv4.ping_group_range" in setup.notices[0]
    assert setup.count["icmp.no_ping_socket"] == 3
    setup.host.ping_kind = "ping"  # the sysctl was set meanwhile
    setup.receive(echo(sequence=4))
    assert len(setup.sock.sent) == 1


def test_the_hop_here_is_the_gateways() -> None:
    setup = Setup()
    for ttl in (0, 1):
        setup.receive(echo(ttl=ttl))
    packets = setup.out()
    assert [(packet[12:16], packet[20:22]) for packet in packets] == [(GATEWAY, b"\x0b\0")] * 2
    assert not any(sock.sent for sock in setup.host.sockets)


def test_time_exceeded_comes_back_from_the_router(setup: Setup) -> None:
    """What traceroute -I lives on: by the error queue of a ping socket, or quoted to a raw one."""
    sent = echo(b"x" * 32, ident=3, sequence=9, ttl=4)
    setup.receive(sent)
    message = setup.sock.sent[0][0]
    if setup.host.ping_kind == "ping":
        fault = Fault(EHOSTUNREACH, ORIGIN_ICMP, 11, 0, 0, ROUTER, SERVER, 0, message)
        setup.host.faults.setdefault(setup.sock.fd, deque()).append(fault)
    else:
        quoted = build_ipv4(b"\xc0\0\2\2", SERVER, 1, message)[:28]
        setup.sock.incoming.append((build_icmp(ROUTER, b"\xc0\0\2\2", 11, 0, bytes(4), quoted), ("", 0)))
    setup.host.wake(setup.sock)
    (packet,) = setup.out()
    assert (packet[12:16], packet[20:22]) == (ROUTER, b"\x0b\0")
    assert packet[28:] == sent[:28]


def test_raw_sockets_see_what_others_caused() -> None:
    setup = Setup("raw")
    setup.receive(echo())
    message = setup.sock.sent[0][0]
    for quoted in (
        b"",
        b"\x45",
        build_ipv4(b"\xc0\0\2\2", SERVER, 17, message)[:28],
        build_ipv4(b"\xc0\0\2\2", SERVER, 1, b"\0" + message[1:])[:28],
        build_ipv4(b"\xc0\0\2\2", SERVER, 1, message[:4] + bytes(4))[:28],
        build_ipv4(b"\xc0\0\2\2", ROUTER, 1, message)[:28],
    ):
        setup.sock.incoming.append((build_icmp(ROUTER, b"\xc0\0\2\2", 3, 1, bytes(4), quoted), ("", 0)))
    setup.host.wake(setup.sock)
    assert setup.out() == []


def test_too_big_with_dont_fragment() -> None:
    setup = Setup()
    packet = echo(bytes(1400))
    setup.receive(packet[:6] + b"\x40" + packet[7:])
    assert setup.sock.options[IPPROTO_IP, IP_MTU_DISCOVER] == 2
    setup.sock.failures.append(EMSGSIZE)
    setup.host.faults[setup.sock.fd] = deque([Fault(EMSGSIZE, ORIGIN_LOCAL, 0, 0, 1280, b"", SERVER, 0, b"")])
    setup.receive(packet[:6] + b"\x40" + packet[7:])
    (out,) = setup.out()
    assert out[20:22] == b"\x03\x04" and out[26:28] == (1280).to_bytes(2, "big")


@pytest.mark.parametrize(("errno", "answer"), ((EHOSTUNREACH, b"\x03\x01"), (EPERM, b"\x03\x0d"), (ENOBUFS, None)))
def test_sending_fails(setup: Setup, errno: int, answer: bytes | None) -> None:
    setup.receive(echo())
    setup.sock.failures.extend((errno, errno))
    setup.receive(echo(sequence=2))
    assert [packet[20:22] for packet in setup.out()] == ([answer] if answer else [])
    setup.sock.failures.clear()
    setup.receive(echo(sequence=3))
    assert len(setup.sock.sent) == 2


def test_no_descriptor_left() -> None:
    setup = Setup()
    setup.host.fail["ping"] = deque([EMFILE])
    setup.receive(echo())
    assert setup.count["icmp.no_socket"] == 1 and setup.out() == []
    setup.receive(echo())
    assert setup.sock.sent


def test_flows_are_bounded_and_the_least_recently_used_goes(setup: Setup) -> None:
    for ident in range(Limits().echo_flows + 10):
        setup.receive(echo(ident=ident))
    assert len(setup.flows) == Limits().echo_flows
    assert len(setup.host.open()) == (1 if setup.host.ping_kind == "raw" else Limits().echo_flows)
    for sequence in range(OUTSTANDING_MOST * 2):
        setup.receive(echo(ident=70, sequence=sequence))
    setup.flows.close(0.0)
    assert not setup.host.open() and not setup.host.readers and len(setup.flows) == 0


def test_idle_flows_end_after_a_minute_without_use(setup: Setup) -> None:
    setup.receive(echo(), 0.0)
    setup.receive(echo(sequence=2), 40.0)
    setup.deadlines.expire(61.0)
    assert len(setup.flows) == 1
    setup.deadlines.expire(100.0)
    assert len(setup.flows) == 0 and not setup.host.open() and not setup.host.readers


@pytest.mark.parametrize("destination", ("\x7f\0\0\1", "\xa9\xfe\xa9\xfe", "\0\0\0\0", "\x0a\0\2\2", "\x0a\0\2\x63"))
def test_denied_destinations_open_nothing(destination: str) -> None:
    setup = Setup()
    setup.receive(echo(destination=destination.encode("latin-1")))
    assert not setup.host.sockets and len(setup.notices) == 1
    packets = setup.out()
    if destination[0] not in "\0\x7f":
        assert packets[0][20:22] == b"\x03\x0d"


@pytest.mark.parametrize("destination", (b"\xff\xff\xff\xff", b"\xe0\0\0\1", b"\x0a\0\2\xff"))
def test_broadcasts_are_dropped_in_silence(destination: bytes) -> None:
    setup = Setup()
    setup.receive(echo(destination=destination))
    assert not setup.host.sockets and not setup.notices and setup.out() == []


def test_an_address_that_becomes_the_hosts_own_is_denied_from_then_on() -> None:
    setup = Setup()
    setup.receive(echo(), 0.0)
    setup.host.owned.add(SERVER)
    setup.receive(echo(sequence=2), 1.5)
    assert len(setup.sock.sent) == 1 and setup.count["policy.host_address"] == 1

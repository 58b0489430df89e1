"""nat.udp: mapping, filtering, errors and bounds over a scripted host; then once over real sockets."""

import errno
import socket
import time
from collections import Counter, deque
from random import Random
from socket import IPPROTO_IP, inet_ntoa

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.context import Context, Limits
from nat.deadlines import Deadlines
from nat.host import IP_MTU_DISCOVER, IP_TTL, ORIGIN_ICMP, ORIGIN_LOCAL, Fault, Host
from nat.icmp import ErrorSender
from nat.line import Line
from nat.rules import Rules
from nat.udp import BATCH, CONTACTS_MOST, PEERS_MOST, UdpFlows
from nat.wire.ipv4 import build_ipv4
from nat.wire.udp import parse as parse_udp
from tests.support.fake_watcher import EpollWatcher
from tests.support.fakes import GATEWAY, GUEST, ROUTER, SERVER, Bench, FakeSocket, udp
from tests.support.oracle import UDP, sound

SERVER_NAME = inet_ntoa(SERVER)


class Setup(Bench):
    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.flows = UdpFlows(self.context, self.line, GATEWAY, ErrorSender(self.context, self.line, GATEWAY))

    def receive(self, packet: bytes, now: float = 0.0) -> None:
        self.flows.receive(packet, (packet[0] & 15) * 4, now)

    @property
    def sock(self) -> FakeSocket:
        return self.host.sockets[-1]

    def arrive(self, payload: bytes, source: bytes = SERVER, port: int = 6000, now: float = 0.0) -> None:
        self.sock.incoming.append((payload, (inet_ntoa(source), port)))
        self.host.wake(self.sock, now)

    def fault(self, fault: Fault) -> None:
        self.host.faults.setdefault(self.sock.fd, deque()).append(fault)


def test_there_and_back() -> None:
    setup = Setup()
    setup.receive(udp(b"question", ttl=40))
    assert setup.sock.sent == [(b"question", (SERVER_NAME, 6000))]
    setup.arrive(b"answer")
    (packet,) = setup.out()
    read = sound(packet)
    assert (read.src, read.dst, read.sport, read.dport) == (SERVER_NAME, "10.0.2.15", 6000, 5000)
    assert bytes(read[UDP].payload) == b"answer"


@pytest.mark.parametrize("size", (0, 1, 1472, 1473, 65507))
@pytest.mark.parametrize("mtu", (296, 1500))
def test_large_datagrams_are_fragmented_for_the_guest(size: int, mtu: int) -> None:
    setup = Setup(mtu=mtu)
    setup.receive(udp(bytes(size)))
    assert len(setup.sock.sent[0][0]) == size
    setup.arrive(bytes(size))
    packets = setup.out()
    assert all(len(packet) <= mtu for packet in packets)
    assert sum(len(packet) - 20 for packet in packets) == size + 8
    assert len({packet[4:6] for packet in packets}) == 1


def test_one_socket_for_a_source_port_whatever_it_talks_to() -> None:
    """RFC 4787 REQ-1."""
    setup = Setup()
    for address, port in ((SERVER, 1), (SERVER, 2), (ROUTER, 3)):
        setup.receive(udp(destination=address, dport=port))
    assert len(setup.host.sockets) == 1
    setup.receive(udp(sport=5001))
    assert len(setup.host.sockets) == 2


def test_answers_only_from_addresses_that_were_written_to() -> None:
    setup = Setup()
    setup.receive(udp())
    setup.arrive(b"from another port of it", port=7777)
    assert len(setup.out()) == 1
    setup.arrive(b"from a stranger", source=ROUTER)
    setup.arrive(b"from the host itself", source=b"\x7f\0\0\1")
    assert setup.out() == []
    assert setup.count["udp.unsolicited"] == 2


@pytest.mark.parametrize(
    ("packet", "counter"),
    (
        (udp()[:27], "udp.short"),
        (build_ipv4(GUEST, SERVER, 17, b""), "udp.short"),
        (udp(b"1234")[:24] + b"\0\7" + udp(b"1234")[26:], "udp.bad_length"),
        (udp(b"1234")[:24] + b"\0\xff" + udp(b"1234")[26:], "udp.bad_length"),
        (udp(b"1234")[:-1] + b"!", "udp.bad_checksum"),
        (udp(sport=0), "udp.port_zero"),
        (udp(dport=0), "udp.port_zero"),
    ),
)
def test_unsound_packets_are_dropped_and_counted(packet: bytes, counter: str) -> None:
    setup = Setup()
    setup.receive(packet)
    assert setup.count[counter] == 1 and not setup.host.sockets and setup.out() == []


def test_no_checksum_is_allowed_and_padding_is_not_sent_on() -> None:
    setup = Setup()
    packet = udp(b"1234")
    setup.receive(packet[:26] + b"\0\0" + packet[28:] + b"padding")
    setup.receive(packet + b"padding")
    assert [data for data, _ in setup.sock.sent] == [b"1234", b"1234"]


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(5, 15))
def test_any_octets_parse_or_are_counted(data: bytes, words: int) -> None:
    count: Counter[str] = Counter()
    parsed = parse_udp(build_ipv4(GUEST, SERVER, 17, data), words * 4, count)
    assert (parsed is None) == bool(count)


def test_truncation_at_every_offset_cve_2021_3594() -> None:
    setup = Setup()
    packet = udp(b"x" * 40)
    for size in range(20, len(packet)):
        setup.receive(packet[:size])
    assert not setup.host.sockets


def test_ttl_is_passed_on_one_hop_less_and_set_only_when_it_changes() -> None:
    setup = Setup()
    for ttl in (64, 64, 64, 5, 5):
        setup.receive(udp(ttl=ttl))
    assert setup.sock.option_calls == 2
    assert setup.sock.options[IPPROTO_IP, IP_TTL] == 4


@pytest.mark.parametrize("ttl", (0, 1))
def test_the_first_hop_is_the_gateway(ttl: int) -> None:
    setup = Setup()
    packet = udp(ttl=ttl)
    setup.receive(packet)
    (out,) = setup.out()
    assert (out[12:16], out[20:22], out[28:]) == (GATEWAY, b"\x0b\0", packet[:28])
    assert not any(sock.sent for sock in setup.host.sockets)


def test_traceroute_gets_each_probe_quoted() -> None:
    """Rising destination ports, Time Exceeded from routers on the way, in any order."""
    setup = Setup()
    probes = {33434 + hop: udp(bytes(32), dport=33434 + hop, ttl=hop + 2) for hop in range(30)}
    for probe in probes.values():
        setup.receive(probe)
    for port in reversed(probes):
        router = bytes((198, 51, 100, port - 33434))
        setup.fault(Fault(errno.EHOSTUNREACH, ORIGIN_ICMP, 11, 0, 0, router, SERVER, port, b""))
    setup.host.wake(setup.sock)
    packets = setup.out()
    assert len(packets) == 30
    for packet, port in zip(packets, reversed(probes), strict=True):
        assert packet[12:16] == bytes((198, 51, 100, port - 33434))
        assert packet[20:22] == b"\x0b\0" and packet[28:] == probes[port][:28]


@pytest.mark.parametrize(("code", "number"), ((3, errno.ECONNREFUSED), (1, errno.EHOSTUNREACH), (0, errno.ENETUNREACH)))
def test_icmp_errors_come_back_quoting_the_guest(code: int, number: int) -> None:
    setup = Setup()
    packet = udp(b"payload", ttl=33)
    setup.receive(packet)
    setup.fault(Fault(number, ORIGIN_ICMP, 3, code, 0, SERVER, SERVER, 6000, b"payload"))
    setup.sock.incoming.append(number)  # the socket reports it too
    setup.host.wake(setup.sock)
    (out,) = setup.out()
    assert (out[12:16], out[20], out[21], out[28:]) == (SERVER, 3, code, packet[:28])


def test_errors_about_what_was_forgotten_are_counted() -> None:
    setup = Setup()
    setup.receive(udp())
    setup.fault(Fault(errno.ECONNREFUSED, ORIGIN_ICMP, 3, 3, 0, SERVER, SERVER, 6001, b""))
    setup.fault(Fault(0, 0, 0, 0, 0, b"", b"", 0, b""))
    setup.host.wake(setup.sock)
    assert setup.out() == [] and setup.count["udp.error_unmatched"] == 2


def test_an_earlier_error_does_not_lose_the_datagram() -> None:
    setup = Setup()
    setup.receive(udp())
    setup.fault(Fault(errno.ECONNREFUSED, ORIGIN_ICMP, 3, 3, 0, SERVER, SERVER, 6000, b""))
    setup.sock.failures.append(errno.ECONNREFUSED)
    setup.receive(udp(b"second", destination=ROUTER))
    assert setup.sock.sent[-1] == (b"second", (inet_ntoa(ROUTER), 6000))
    assert len(setup.out()) == 1


def test_dont_fragment_and_the_mtu_that_is_told() -> None:
    setup = Setup()
    setup.receive(udp(flags=0x4000))
    assert setup.sock.options[IPPROTO_IP, IP_MTU_DISCOVER] == 2
    setup.fault(Fault(errno.EMSGSIZE, ORIGIN_LOCAL, 0, 0, 1280, b"", SERVER, 0, b""))
    setup.sock.failures.append(errno.EMSGSIZE)
    setup.receive(udp(bytes(1400), flags=0x4000))
    (out,) = setup.out()
    assert (out[12:16], out[20:22], out[24:28]) == (GATEWAY, b"\x03\x04", b"\0\0\x05\0")
    setup.receive(udp(bytes(1400)))
    assert setup.sock.options[IPPROTO_IP, IP_MTU_DISCOVER] == 0
    assert len(setup.sock.sent) == 2


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_errno_at_sendto(number: int) -> None:
    """After passt ec416fd: the flow stays whole, and goes on when the trouble is over."""
    setup = Setup()
    setup.receive(udp())
    setup.sock.failures.extend((number, number))
    setup.receive(udp())
    told = setup.out()
    assert len(told) <= 1
    assert setup.count["udp.host_busy"] + setup.count["udp.send_failed"] == 1
    setup.sock.failures.clear()
    setup.receive(udp(b"again"))
    assert setup.sock.sent[-1][0] == b"again"


WOULD_BLOCK = {errno.EAGAIN, errno.EALREADY, errno.EINPROGRESS}  # Python makes BlockingIOError of them


@pytest.mark.parametrize("number", sorted(set(errno.errorcode) - WOULD_BLOCK))
def test_every_errno_at_recvfrom(number: int) -> None:
    setup = Setup()
    setup.receive(udp())
    setup.sock.incoming.append(number)
    setup.arrive(b"after it")
    assert len(setup.out()) == 1


@pytest.mark.parametrize("number", (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
def test_no_socket_to_be_had(number: int) -> None:
    setup = Setup()
    setup.host.fail["udp"] = deque([number, number])
    setup.receive(udp())
    assert setup.count["udp.no_socket"] == 1 and len(setup.flows) == 0
    setup.host.fail["udp"].clear()
    setup.receive(udp(), 0.5)
    assert len(setup.sock.sent) == 1  # at once when it is over
    setup.host.fail["udp"] = deque([number])
    setup.receive(udp(sport=5001))
    assert len(setup.flows) == 1 and setup.count["udp.evicted"] == 1  # the oldest made room


def test_churning_tuples_stay_within_the_cap() -> None:
    """After vpnkit #406: ports that are used once and never again must not hold sockets."""
    setup = Setup(limits=Limits(udp_flows=64))
    for number in range(30_000):
        setup.receive(udp(sport=1 + number, dport=1 + number % 7), number / 1e4)
        assert len(setup.flows) <= 64
    assert len(setup.host.open()) == len(setup.flows) == len(setup.host.readers) == 64
    assert len(setup.deadlines) < 1000


def test_the_least_recently_used_makes_room() -> None:
    setup = Setup(limits=Limits(udp_flows=3))
    for step, port in enumerate((1, 2, 3, 1, 4)):
        setup.receive(udp(sport=port), step * 0.1)
    assert [sock.closed for sock in setup.host.sockets] == [False, True, False, False]


def test_peers_and_contacts_of_a_flow_are_bounded() -> None:
    setup = Setup()
    for number in range(1000):
        address = bytes((198, 51, number % 200, 1 + number // 200))
        setup.receive(udp(destination=address, dport=1000 + number))
    (flow,) = setup.flows._flows.values()
    assert len(flow.peers) == PEERS_MOST and len(flow.contacts) == CONTACTS_MOST
    setup.arrive(b"x", source=address)
    assert len(setup.out()) == 1


def test_idle_flows_end_after_ten_minutes_and_queries_after_thirty_seconds() -> None:
    setup = Setup()
    setup.receive(udp(sport=1, dport=53), 0.0)
    setup.receive(udp(sport=2), 0.0)
    setup.deadlines.expire(29.0)
    assert len(setup.flows) == 2
    setup.deadlines.expire(30.0)
    assert len(setup.flows) == 1
    setup.receive(udp(sport=2), 599.0)
    setup.deadlines.expire(1198.0)
    assert len(setup.flows) == 1
    setup.deadlines.expire(1199.0)
    assert len(setup.flows) == 0 and not setup.host.open() and not setup.host.readers


def test_a_flow_that_also_asks_a_resolver_keeps_its_ten_minutes() -> None:
    setup = Setup()
    setup.receive(udp(dport=53), 0.0)
    setup.receive(udp(dport=6000), 1.0)
    setup.deadlines.expire(500.0)
    assert len(setup.flows) == 1


def test_what_comes_in_keeps_the_flow_too() -> None:
    setup = Setup()
    setup.receive(udp(), 0.0)
    setup.arrive(b"x", now=500.0)
    setup.deadlines.expire(1000.0)
    assert len(setup.flows) == 1


DENIED = ("127.0.0.1", "0.0.0.0", "169.254.169.254", "100.100.100.200", "10.0.2.2", "10.0.2.3", "240.0.0.1",
          "203.0.113.99")  # fmt: skip


@pytest.mark.parametrize("address", DENIED)
def test_denied_destinations_make_no_socket(address: str) -> None:
    """They cost no system call."""
    setup = Setup()
    setup.host.owned.add(socket.inet_aton("203.0.113.99"))
    packet = udp(destination=socket.inet_aton(address), dport=53)
    setup.receive(packet)
    assert not setup.host.sockets and len(setup.notices) == 1
    assert f"UDP to {address} port 53 from 10.0.2.15" in setup.notices[0]
    for out in setup.out():
        assert out[20:22] == b"\x03\x0d" and out[28:] == packet[:28]


@pytest.mark.parametrize("address", ("224.0.0.251", "255.255.255.255", "10.0.2.255"))
def test_broadcasts_of_old_guests_are_dropped_in_silence(address: str) -> None:
    setup = Setup()
    setup.receive(udp(destination=socket.inet_aton(address), dport=137))
    assert not setup.host.sockets and not setup.notices and setup.out() == []
    assert sum(setup.count.values()) == 1


def test_an_open_flow_is_judged_for_each_new_destination_and_again_each_second() -> None:
    setup = Setup()
    setup.receive(udp(), 0.0)
    setup.receive(udp(destination=b"\x7f\0\0\1"), 0.0)
    assert len(setup.sock.sent) == 1
    for step in range(100):
        setup.receive(udp(), 0.005 * step)
    assert setup.host.probes == 1
    setup.host.owned.add(SERVER)
    setup.receive(udp(), 1.1)
    assert len(setup.sock.sent) == 101 and setup.count["policy.host_address"] == 1


def test_host_loopback_goes_by_the_gateways_address_both_ways() -> None:
    setup = Setup(host_loopback=True)
    packet = udp(destination=GATEWAY, ttl=1)
    setup.receive(packet)
    assert setup.sock.sent == [(b"x", ("127.0.0.1", 6000))]
    setup.arrive(b"y", source=b"\x7f\0\0\1")
    (out,) = setup.out()
    assert out[12:16] == GATEWAY
    setup.fault(Fault(errno.ECONNREFUSED, ORIGIN_ICMP, 3, 3, 0, b"\x7f\0\0\1", b"\x7f\0\0\1", 6000, b""))
    setup.host.wake(setup.sock)
    (out,) = setup.out()
    assert (out[12:16], out[20:22], out[28:]) == (GATEWAY, b"\x03\x03", packet[:28])


def test_a_wake_up_reads_a_bounded_number() -> None:
    setup = Setup()
    setup.receive(udp())
    setup.sock.incoming.extend([(b"x", (SERVER_NAME, 6000))] * 100)
    setup.host.wake(setup.sock)
    assert len(setup.out()) == BATCH and len(setup.sock.incoming) == 100 - BATCH


def test_a_slow_line_drops_at_the_tail_of_that_flow_only() -> None:
    setup = Setup()
    setup.receive(udp())
    setup.receive(udp(sport=5001, dport=53))
    first, second = setup.host.sockets
    for _ in range(10):
        first.incoming.extend([(bytes(1400), (SERVER_NAME, 6000))] * BATCH)
        setup.host.wake(first)
    assert setup.count["line.queue_full"] > 0
    second.incoming.append((b"answer", (SERVER_NAME, 53)))
    setup.host.wake(second)
    setup.line.take(1500)
    assert any(packet.endswith(b"answer") for packet in setup.line.take(1500))


@pytest.mark.parametrize(
    "payload",
    (
        b"REGISTER sip:x SIP/2.0\r\nContact: <sip:10.0.2.15:5060>\r\n",
        b"\1DCC SEND x 167772687 1025\1",
        b"\0\1..\\x",
    ),
)
def test_no_payload_opens_anything_cve_2020_28041(payload: bytes) -> None:
    setup = Setup()
    setup.receive(udp(payload, dport=5060))
    assert setup.sock.sent == [(payload, (SERVER_NAME, 5060))]
    assert len(setup.host.sockets) == 1


def test_close_leaves_nothing() -> None:
    setup = Setup()
    for port in range(1, 50):
        setup.receive(udp(sport=port))
    setup.flows.close(0.0)
    assert not setup.host.open() and not setup.host.readers
    setup.deadlines.expire(1e6)


def test_over_real_sockets_with_a_refusal_after_an_exchange() -> None:
    watcher = EpollWatcher()
    host = Host(watcher)
    rules = Rules(host, (b"\x0a\0\2\0", 24), GATEWAY, host_loopback=True)
    context = Context(host, rules, Deadlines(), Random(1), lambda _: None)
    line = Line(GUEST, 1500, lambda: None, context.count)
    line.up = True
    flows = UdpFlows(context, line, GATEWAY, ErrorSender(context, line, GATEWAY))

    def answer() -> bytes:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            watcher.run_once(0.05)
            packets = line.take(1 << 30)
            if packets:
                return packets[0]
        pytest.fail("nothing came")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        port = server.getsockname()[1]
        flows.receive(udp(b"ping", destination=GATEWAY, dport=port), 20, 0.0)
        data, name = server.recvfrom(100)
        server.sendto(data + b"-pong", name)
        packet = answer()
        assert packet[12:16] == GATEWAY and packet[28:] == b"ping-pong"
    refused = udp(b"again", destination=GATEWAY, dport=port)
    flows.receive(refused, 20, 0.0)
    packet = answer()
    assert packet[20:22] == b"\x03\x03" and packet[28:] == refused[:28]
    flows.close(0.0)
    host.close()

"""nat.host on real sockets, loopback only; and the behavior of Linux's sockets that the NAT relies on."""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nat.host import (
    EXHAUSTED,
    IP_MTU_DISCOVER,
    IP_PMTUDISC_DO,
    ORIGIN_ICMP,
    ORIGIN_LOCAL,
    Fault,
    Host,
    HostError,
    HostStream,
    Resolver,
    parse_resolv_conf,
)
from tests.support.fake_watcher import EpollWatcher

LOOPBACK = bytes((127, 0, 0, 1))


@pytest.fixture
def host() -> Iterator[Host]:
    one = Host(EpollWatcher())
    yield one
    one.close()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def closed_port(style: int = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, style) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def fault_of(host: Host, sock: socket.socket) -> Fault:
    found: list[Fault] = []

    def look() -> bool:
        fault = host.read_error(sock)
        if fault is not None:
            found.append(fault)
        return bool(found)

    wait_for(look)
    return found[0]


def test_connect_tcp_and_accept(host: Host) -> None:
    listener = host.listen_tcp("127.0.0.1", 0)
    stream = host.connect_tcp(LOOPBACK, listener.getsockname()[1])
    accepted: list[tuple[HostStream, tuple[str, int]]] = []

    def accept() -> bool:
        with suppress(BlockingIOError):
            accepted.append(host.accept(listener))
        return bool(accepted)

    wait_for(accept)
    caller, name = accepted[0]
    assert stream.connect_error() == 0
    for sock in (stream._sock, caller._sock):
        assert not sock.getblocking() and not os.get_inheritable(sock.fileno())
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert name == stream._sock.getsockname()
    caller.reset()
    wait_for(lambda: stream.connect_error() == errno.ECONNRESET)
    stream.close()
    stream.close()
    listener.close()


def test_connect_tcp_refused(host: Host) -> None:
    seen: list[int] = []
    try:
        sock = host.connect_tcp(LOOPBACK, closed_port(socket.SOCK_STREAM))
    except OSError as error:
        seen.append(error.errno or 0)
    else:

        def refused() -> bool:
            seen.append(sock.connect_error())
            return bool(seen[-1])

        wait_for(refused)
        sock.close()
    assert seen[-1] == errno.ECONNREFUSED


def test_connect_error_is_not_fooled_by_a_socket_that_is_still_connecting(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        socks = [host.connect_tcp(LOOPBACK, full.getsockname()[1]) for _ in range(8)]
        time.sleep(0.01)
        found = [sock.connect_error() for sock in socks]
        assert found[0] == 0 and found[-1] == errno.EINPROGRESS
        for sock in socks:
            sock.close()


def test_connect_tcp_over_ipv6(host: Host) -> None:
    listener = host.listen_tcp("::1", 0)
    stream = host.connect_tcp(socket.inet_pton(socket.AF_INET6, "::1"), listener.getsockname()[1])
    assert stream._sock.family == socket.AF_INET6
    stream.close()
    listener.close()


def test_one_udp_socket_talks_to_everybody_and_hears_of_errors(host: Host) -> None:
    """Unconnected and with IP_RECVERR: the refusal names the destination and quotes the payload."""
    sock = host.udp()
    port = closed_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        sock.sendto(b"one", ("127.0.0.1", port))
        fault = fault_of(host, sock)
        assert (fault.errno, fault.origin, fault.kind, fault.code) == (errno.ECONNREFUSED, ORIGIN_ICMP, 3, 3)
        assert (fault.destination, fault.port, fault.payload) == (LOOPBACK, port, b"one")
        assert fault.offender == LOOPBACK
        assert host.read_error(sock) is None
        sock.sendto(b"two", server.getsockname())
        server.settimeout(5)
        assert server.recvfrom(100)[0] == b"two"
    sock.close()


def test_a_pending_error_is_reported_instead_of_sending(host: Host) -> None:
    """Why UdpFlows sends again after it has read the error queue."""
    sock = host.udp()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        sock.sendto(b"one", ("127.0.0.1", closed_port()))
        time.sleep(0.01)
        with pytest.raises(ConnectionRefusedError):
            sock.sendto(b"two", server.getsockname())
        assert host.read_error(sock) is not None
        sock.sendto(b"three", server.getsockname())
        assert server.recvfrom(100)[0] == b"three"
    sock.close()


def test_too_big_is_a_local_error_with_the_mtu(host: Host) -> None:
    mtu = min(int(Path("/sys/class/net/lo/mtu").read_text()), 65535)
    sock = host.udp()
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with pytest.raises(OSError) as caught:
        sock.sendto(bytes(min(65507, mtu - 28) + 1), ("127.0.0.1", 9))
    assert caught.value.errno == errno.EMSGSIZE
    fault = host.read_error(sock)
    if fault is not None:
        assert (fault.errno, fault.origin, fault.info) == (errno.EMSGSIZE, ORIGIN_LOCAL, mtu)
    sock.close()


@pytest.mark.parametrize("address", ("127.0.0.1", "127.1.2.3"))
def test_owns_its_loopback(host: Host, address: str) -> None:
    assert host.owns(socket.inet_aton(address))


@pytest.mark.parametrize("address", ("192.0.2.200", "8.8.8.8", "198.51.100.7"))
def test_owns_nothing_of_others(host: Host, address: str) -> None:
    assert not host.owns(socket.inet_aton(address))


def test_owns_broadcast_and_sends_nothing_to_ask(host: Host) -> None:
    assert host.owns(b"\xff\xff\xff\xff")
    assert host.owns(bytes((127, 255, 255, 255)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.setblocking(False)
        host.owns(LOOPBACK)
        with pytest.raises(BlockingIOError):
            ear.recv(10)


def test_owns_every_address_this_machine_has(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))
        except OSError:
            return  # a machine without a network
        address = probe.getsockname()[0]
    assert host.owns(socket.inet_aton(address))


def test_owns_works_without_a_free_descriptor_and_leaks_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.owns(LOOPBACK)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        host.owns(LOOPBACK)
    assert len(os.listdir("/proc/self/fd")) == before

    def full(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "full")

    monkeypatch.setattr(socket, "socket", full)
    assert not host.owns(socket.inet_aton("192.0.2.200"))  # by the spare one
    assert host.owns(socket.inet_aton("192.0.2.200"))  # nothing to ask with: no


@pytest.mark.parametrize("style", ("listen_tcp", "listen_udp"))
def test_port_in_use(host: Host, style: str) -> None:
    listen = getattr(host, style)
    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(HostError, match=f"port 127.0.0.1:{port} is in use by another program"):
        listen("127.0.0.1", port)
    first.close()


def test_not_an_address_of_this_machine(host: Host) -> None:
    with pytest.raises(HostError, match="192.0.2.200 is not an address of this machine"):
        host.listen_tcp("192.0.2.200", 5000)
    with pytest.raises(HostError, match="'localhost' is not an IPv4 or IPv6 address"):
        host.listen_tcp("localhost", 5000)


def test_not_permitted_below_1024(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(HostError, match=r"UDP port \[::1\]:53 needs privileges"):
        host.listen_udp("::1", 53)


def test_v4_and_v6_wildcards_beside_each_other(host: Host) -> None:
    first = host.listen_tcp("0.0.0.0", 0)
    second = host.listen_tcp("::", first.getsockname()[1])
    first.close()
    second.close()


class Refuser:
    """socket.socket that refuses some kinds with an errno."""

    def __init__(self, refused: dict[int, int]) -> None:
        self.refused = refused
        self.real = socket.socket

    def __call__(self, family: int, style: int, protocol: int = 0) -> socket.socket:
        failure = self.refused.get(style & 0xF)
        if failure:
            raise OSError(failure, os.strerror(failure))
        return self.real(family, socket.SOCK_DGRAM | style & ~0xF)


def test_ping_prefers_ping_sockets_then_raw_then_says_no(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Refuser({})
    monkeypatch.setattr(socket, "socket", refusal)
    found = host.ping()
    assert found is not None and found[1] == "ping"
    assert found[0].getsockname()[1] != 0  # its identifier
    found[0].close()
    refusal.refused = {socket.SOCK_DGRAM: errno.EACCES, socket.SOCK_RAW: errno.EPERM}
    assert host.ping() is None
    refusal.refused = {socket.SOCK_DGRAM: errno.EMFILE}
    with pytest.raises(OSError) as caught:
        host.ping()
    assert caught.value.errno in EXHAUSTED


def test_ping_of_this_machine_is_one_of_the_three(host: Host) -> None:
    found = host.ping()
    if found is not None:
        sock, kind = found
        assert kind in ("ping", "raw")
        sock.close()


PRELUDE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from random import Random
from tests.support.fake_watcher import EpollWatcher
from tests.support.fakes import GATEWAY, GUEST, echo, udp
from nat.context import Context
from nat.echo import EchoFlows
from nat.host import Host
from nat.icmp import ErrorSender
from nat.line import Line
from nat.rules import Rules
from nat.deadlines import Deadlines
from nat.udp import UdpFlows
watcher = EpollWatcher()
host = Host(watcher)
found = host.ping()
assert found is not None and found[1] == sys.argv[2], found
found[0].close()
rules = Rules(host, (GATEWAY[:3] + bytes(1), 24), GATEWAY, host_loopback=True)
context = Context(host, rules, Deadlines(), Random(1), print)
line = Line(GUEST, 1500, lambda: None, context.count)
line.up = True
errors = ErrorSender(context, line, GATEWAY)
flows = EchoFlows(context, line, GATEWAY, errors)
udp_flows = UdpFlows(context, line, GATEWAY, errors)

def ask(receive, packet):
    for _ in range(5):  # the kernel that answers limits its ICMP errors to one a second
        receive(packet, 20, host.now())
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            watcher.run_once(0.1)
            packets = line.take(1 << 30)
            if packets:
                return packets
    raise SystemExit("nothing came: " + repr(context.count))
"""

PING = """
for size in (0, 56, 20000):
    packets = ask(flows.receive, echo(bytes(size), ident=99, sequence=size, destination=GATEWAY))
    head = packets[0]
    assert head[12:16] == GATEWAY and head[20] == 0 and head[24:26] == bytes((0, 99)), head
    assert sum(len(one) - 20 for one in packets) == size + 8
print("fine")
"""

TRACEROUTE = """
import os, subprocess
router = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
router.stdout.readline()
def run(command):
    subprocess.run(command, shell=True, check=True)
inside = f"nsenter -t {router.pid} -n "
try:
    run(f"ip link add v0 type veth peer name v1 netns {router.pid}")
    run("ip addr add 198.18.0.1/24 dev v0 && ip link set v0 up && ip route add default via 198.18.0.2")
    run(inside + "ip addr add 198.18.0.2/24 dev v1")
    run(inside + "ip link set v1 up")
    run(inside + "sh -c 'cd /proc/sys/net/ipv4; echo 1 > ip_forward; echo 0 > conf/v1/send_redirects'")
    run(inside + "sh -c 'echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects'")
    run(inside + "ip route add 203.0.113.0/24 via 198.18.0.1")
    far, near, nowhere = bytes((203, 0, 113, 7)), bytes((198, 18, 0, 2)), bytes((203, 0, 114, 7))
    exceeded, no_route = bytes((11, 0)), bytes((3, 0))
    for receive, make in ((flows.receive, echo), (udp_flows.receive, udp)):
        for to, ttl, sender, what in (
            (far, 1, GATEWAY, exceeded), (far, 2, near, exceeded), (nowhere, 9, near, no_route)
        ):
            probe = make(b"payload!", destination=to, ttl=ttl)
            packet = ask(receive, probe)[0]
            assert (packet[12:16], packet[20:22], packet[28:]) == (sender, what, probe[:28]), (make, ttl, packet)
    probe = udp(destination=near, dport=9)
    packet = ask(udp_flows.receive, probe)[0]
    assert (packet[12:16], packet[20:22], packet[28:]) == (near, bytes((3, 3)), probe[:28])
    big = udp(bytes(1400), destination=near, dport=9, flags=0x4000)
    run("ip link set v0 mtu 1000")
    packet = ask(udp_flows.receive, big)[0]
    assert (packet[12:16], packet[20:22], packet[24:28]) == (GATEWAY, bytes((3, 4)), (1000).to_bytes(4, "big")), packet
    big = echo(bytes(1400), destination=near)
    packet = ask(flows.receive, big[:6] + bytes((0x40,)) + big[7:])[0]
    mtu = 1000 if sys.argv[2] == "ping" else 0  # a raw socket is not told
    assert (packet[12:16], packet[20:22], packet[24:28]) == (GATEWAY, bytes((3, 4)), mtu.to_bytes(4, "big")), packet
    assert host.owns(bytes((198, 18, 0, 1))) and host.owns(bytes((198, 18, 0, 255))) and not host.owns(near)
finally:
    router.kill()
print("fine")
"""


@pytest.mark.parametrize("work", (PING, TRACEROUTE), ids=("echo", "traceroute"))
@pytest.mark.parametrize(
    ("kind", "setup"),
    (("ping", "echo 0 0 > /proc/sys/net/ipv4/ping_group_range && "), ("raw", "")),
    ids=("ping", "raw"),
)
def test_with_real_sockets_in_a_network_of_its_own(tmp_path: Path, kind: str, setup: str, work: str) -> None:
    """A network namespace, in which the sysctl can be set (it begins as "1 0": nobody), and a router behind it."""
    root = str(Path(__file__).resolve().parents[2])
    script = tmp_path / "work.py"
    script.write_text(PRELUDE + work)
    setup = f'ip link set lo up && {setup}exec "$@"'
    command = ["unshare", "-rn", "sh", "-c", setup, "sh", sys.executable, str(script), root, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr:
        pytest.skip("network namespaces are not permitted here")
    assert done.stdout.endswith("fine\n"), done.stderr + done.stdout


def test_resolv_conf_is_parsed() -> None:
    text = "# a comment\nnameserver 192.0.2.53\nnameserver\nnameserver nonsense\nsearch example\n"
    text += "nameserver fe80::1%lo  \nnameserver 127.0.0.53\n"
    assert parse_resolv_conf(text) == [
        Resolver(socket.AF_INET, "192.0.2.53", 53),
        Resolver(socket.AF_INET6, "fe80::1%lo", 53),
        Resolver(socket.AF_INET, "127.0.0.53", 53),
    ]


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    class Clock(EpollWatcher):
        time = 0.0

        def now(self) -> float:
            return self.time

    clock = Clock()
    path = tmp_path / "resolv.conf"
    host = Host(clock, resolv_conf=str(path))
    assert [one.address for one in host.resolvers()] == ["127.0.0.1"]  # resolv.conf(5)
    path.write_text("nameserver 192.0.2.1\n")
    assert [one.address for one in host.resolvers()] == ["127.0.0.1"]  # not looked at within the second
    clock.time = 1.0
    assert [one.address for one in host.resolvers()] == ["192.0.2.1"]
    replacement = tmp_path / "new"
    replacement.write_text("nameserver 192.0.2.2\n")
    replacement.rename(path)
    clock.time = 2.0
    assert [one.address for one in host.resolvers()] == ["192.0.2.2"]
    path.unlink()
    clock.time = 3.0
    assert [one.address for one in host.resolvers()] == ["192.0.2.2"]
    host.close()


def test_resolvers_given_by_name_win() -> None:
    mine = [Resolver(socket.AF_INET, "192.0.2.9", 5353)]
    assert Host(EpollWatcher(), mine).resolvers() == mine


def test_connect_udp_takes_a_fresh_port_and_hears_only_its_resolver(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        resolver = Resolver(socket.AF_INET, "127.0.0.1", server.getsockname()[1])
        socks = [host.connect_udp(resolver) for _ in range(40)]
        ports = [sock.getsockname()[1] for sock in socks]
        assert len(set(ports)) == 40
        assert ports != list(range(ports[0], ports[0] + 40))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.sendto(b"forged", ("127.0.0.1", ports[0]))
        server.sendto(b"genuine", ("127.0.0.1", ports[0]))
        wait_for(lambda: socks[0].recv(100, socket.MSG_PEEK) if readable(socks[0]) else b"")
        assert socks[0].recv(100) == b"genuine"
        for sock in socks:
            sock.close()


def readable(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True

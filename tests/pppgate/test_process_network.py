"""What a guest reaches through `python -m pppgate`, and who reaches it: forwards, DNS, policy, passwords, captures.

Real processes, pseudo-terminals and loopback sockets; the guest is contrib/embedded_guest.py.
"""

import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest

from contrib.embedded_guest import EmbeddedGuest, GuestError
from lcp.config import Credentials
from lcp.events import LinkDown
from lcp.protocol import CHAP_MD5, PAP
from tests.e2e.servers import (
    KNOWN_ADDRESS,
    KNOWN_NAME,
    LONG_COUNT,
    LONG_NAME,
    Servers,
    closed_port,
    content,
    digest,
    servers,
)
from tests.support.gateway_process import ROOT, GatewayProcess, figure, free_port, need_pty, until


@pytest.fixture
def com1(tmp_path: Path) -> str:
    need_pty()
    return str(tmp_path / "com1")


@pytest.fixture
def host() -> Iterator[Servers]:
    with servers() as running:
        yield running


class Listener:
    """A TCP server on loopback that counts callers, echoes what they say first, and keeps them."""

    def __init__(self) -> None:
        self.callers: list[socket.socket] = []
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._sock.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._sock.accept()
                self.callers.append(caller)
                with suppress(OSError):
                    caller.sendall(caller.recv(1000))

    def hang_up(self) -> None:
        for caller in self.callers:
            caller.close()
        self.callers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self.hang_up()


# Policy


def test_the_host_is_reached_only_when_it_is_allowed(com1: str, host: Servers) -> None:
    with Listener() as listener:
        with GatewayProcess(f"pty:{com1}") as gateway, EmbeddedGuest(com1) as guest:
            for address in (guest.gateway, "127.0.0.1"):
                with pytest.raises(ConnectionRefusedError):
                    guest.connect(address, listener.port)
                line = gateway.wait_for(rf"Denied TCP to {address} port {listener.port} from 10\.0\.2\.15: ")
                assert "To allow it: --host-loopback" in line
            with pytest.raises(ConnectionRefusedError, match="code 13"):
                guest.exchange(guest.gateway, host.udp_echo, b"x")
            gateway.wait_for(r"Denied UDP to 10\.0\.2\.2 port .*--host-loopback")
            with pytest.raises(ConnectionRefusedError):
                guest.connect("169.254.169.254", 80)
            assert "To allow" not in gateway.wait_for(r"Denied TCP to 169\.254\.169\.254 port 80")
            assert listener.callers == []
        with GatewayProcess(f"pty:{com1}", "--host-loopback") as gateway, EmbeddedGuest(com1) as guest:
            with guest.connect(guest.gateway, listener.port) as sock:
                sock.sendall(b"hello")
                assert sock.recv(10) == b"hello"
            assert len(listener.callers) == 1
            assert guest.exchange(guest.gateway, host.udp_echo, b"datagram" * 400) == b"datagram" * 400
            with pytest.raises(ConnectionRefusedError):
                guest.connect(guest.gateway, closed_port())
            with pytest.raises(ConnectionRefusedError, match="code 3"):
                guest.exchange(guest.gateway, closed_port(), b"x")
            with pytest.raises(ConnectionRefusedError):
                guest.connect("127.0.0.1", listener.port)
            assert "10.0.2.2 in its place" not in gateway.wait_for("Denied TCP to 127.0.0.1")


def test_private_networks_are_denied_with_internet_only(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}", "--internet-only") as gateway, EmbeddedGuest(com1) as guest:
        with pytest.raises(ConnectionRefusedError):
            guest.connect("192.168.77.1", 80)
        assert "--internet-only" in gateway.wait_for(r"Denied TCP to 192\.168\.77\.1 port 80")


@pytest.mark.parametrize(("words", "mru"), [([], 1500), (["--mru", "296"], 296), (["--mtu", "576"], 1500)])
def test_files_both_ways(com1: str, host: Servers, words: list[str], mru: int) -> None:
    with GatewayProcess(f"pty:{com1}", "--host-loopback", *words), EmbeddedGuest(com1, mru=mru) as guest:
        http = guest.http(guest.gateway, host.http)
        http.request("GET", "/7/3000000")
        assert digest(http.getresponse().read()) == digest(content(7, 3_000_000))
        http.request("PUT", "/", content(8, 2_000_000))
        assert http.getresponse().read().decode().strip() == digest(content(8, 2_000_000))
        http.close()


def test_twenty_files_at_once(com1: str, host: Servers) -> None:
    with GatewayProcess(f"pty:{com1}", "--host-loopback") as gateway, EmbeddedGuest(com1) as guest:
        baseline = gateway.descriptors()

        def transfer(seed: int) -> bool:
            http = guest.http(guest.gateway, host.http)
            if seed % 2:
                http.request("GET", f"/{seed}/300000")
                good = digest(http.getresponse().read()) == digest(content(seed, 300_000))
            else:
                http.request("PUT", "/", content(seed, 300_000))
                good = http.getresponse().read().decode().strip() == digest(content(seed, 300_000))
            http.close()
            return good

        with ThreadPoolExecutor(20) as pool:
            assert all(pool.map(transfer, range(20)))
        assert until(lambda: gateway.descriptors() == baseline)


# DNS


def test_names_by_udp_and_tcp(com1: str, host: Servers) -> None:
    with GatewayProcess(f"pty:{com1}", "--resolver", f"127.0.0.1:{host.dns}"), EmbeddedGuest(com1) as guest:
        assert guest.resolve(KNOWN_NAME) == guest.resolve(KNOWN_NAME, tcp=True) == [KNOWN_ADDRESS]
        assert guest.resolve(LONG_NAME) == []  # truncated
        assert len(guest.resolve(LONG_NAME, tcp=True)) == LONG_COUNT
        with pytest.raises(GuestError, match="NXDOMAIN"):
            guest.resolve("unknown.test")


def test_a_resolver_that_is_not_there(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}", "--resolver", f"127.0.0.1:{closed_port()}"), EmbeddedGuest(com1) as guest:
        begun = time.monotonic()
        with pytest.raises(GuestError, match="SERVFAIL"):
            guest.resolve(KNOWN_NAME)
        assert time.monotonic() - begun < 1
        with pytest.raises(ConnectionRefusedError):
            guest.resolve(KNOWN_NAME, tcp=True)


def test_a_resolver_that_says_nothing(com1: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        resolver = f"127.0.0.1:{mute.getsockname()[1]}"
        with GatewayProcess(f"pty:{com1}", "--resolver", resolver), EmbeddedGuest(com1) as guest:
            begun = time.monotonic()
            with pytest.raises(GuestError, match="SERVFAIL"):
                guest.resolve(KNOWN_NAME)
            figure(f"SERVFAIL for a silent resolver after {time.monotonic() - begun:.1f} s")
            mute.setblocking(False)
            queries = []
            with suppress(BlockingIOError):
                while True:
                    queries.append(mute.recvfrom(1000))
            assert len({data[:2] for data, _ in queries}) == len({peer for _, peer in queries}) == len(queries) == 3


# Forwards


def refused_at_once(host: str, port: int) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionResetError), socket.create_connection((host, port), 5) as caller:
        caller.recv(1)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("bind", ["127.0.0.1", "[::1]"])
def test_forwards_lead_to_the_guest(com1: str, bind: str) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        tcp, udp = free_port(family=family), free_port(socket.SOCK_DGRAM, family)
    except OSError:
        pytest.skip("missing: IPv6 on loopback")
    where = bind.strip("[]")
    words = ("--forward", f"tcp:{bind}:{tcp}=80", "--forward", f"udp:{bind}:{udp}=10.0.2.15:7")
    with GatewayProcess(f"pty:{com1}", *words) as gateway:
        refused_at_once(where, tcp)
        gateway.wait_for(r"A caller for 10\.0\.2\.15 was refused: that guest is not connected\.")
        with EmbeddedGuest(com1) as guest, guest.listen(80) as listener:
            listener.settimeout(5)
            guest.answer_udp(7, lambda payload: payload[::-1])
            with socket.create_connection((where, tcp), 5) as caller:
                accepted, _ = listener.accept()
                with accepted:
                    caller.sendall(b"knock" * 20000)
                    caller.shutdown(socket.SHUT_WR)
                    assert b"".join(iter(lambda: accepted.recv(65536), b"")) == b"knock" * 20000
                    accepted.sendall(b"come in")
                assert caller.recv(100) == b"come in"
                assert caller.recv(100) == b""
            with socket.socket(family, socket.SOCK_DGRAM) as caller:
                caller.settimeout(5)
                for payload in (b"forward", bytes(range(256)) * 20):
                    caller.sendto(payload, (where, udp))
                    answer, peer = caller.recvfrom(65536)
                    assert (answer, peer[:2]) == (payload[::-1], (where, udp))
        gateway.wait_for("link down")
        refused_at_once(where, tcp)


def test_a_forward_to_a_port_where_nobody_listens_is_refused(com1: str) -> None:
    port = free_port()
    with GatewayProcess(f"pty:{com1}", "--forward", f"tcp:{port}=81"), EmbeddedGuest(com1):
        refused_at_once("127.0.0.1", port)


# Who dials in


def dial(com1: str, name: str, password: str, protocol: bytes) -> EmbeddedGuest:
    return EmbeddedGuest(com1, credentials=Credentials(name.encode(), password.encode()), offer=(protocol,))


PROTOCOLS = pytest.mark.parametrize(("protocol", "word"), [(PAP, "PAP"), (CHAP_MD5, "CHAP")], ids=["PAP", "CHAP"])


@PROTOCOLS
def test_passwords_from_a_file(com1: str, tmp_path: Path, protocol: bytes, word: str) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("# who may dial in\nalice * 'open sesame' *\nbob * hunter2\n")
    with GatewayProcess(f"pty:{com1}", "--auth", str(secrets)) as gateway:
        with dial(com1, "alice", "open sesame", protocol) as guest:
            guest.ping(guest.gateway)
            gateway.wait_for(rf"the peer is 'alice' \({word}\)")
            gateway.wait_for("link up for 'alice' in")
        for name, password, why in (
            ("alice", "open says me", "wrong password"),
            ("mallory", "x", "the name is not in the secrets file"),
        ):
            guest = dial(com1, name, password, protocol)
            with pytest.raises(GuestError, match=f"{word} authentication.* failed"), guest:
                pass
            gateway.wait_for(rf"{word} authentication of '{name}' failed: {why}")
        nameless = EmbeddedGuest(com1)
        nameless.dial()
        try:
            gateway.wait_for("the guest refuses to give a name and password")
        finally:
            nameless.cut()
        assert "sesame" not in gateway.output
        assert gateway.output.count("link up") == 1


def test_a_link_is_ended_after_a_wrong_password(com1: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("alice * right\n")
    with GatewayProcess(f"pty:{com1}", "--auth", str(secrets)) as gateway:
        guest = dial(com1, "alice", "wrong", CHAP_MD5)
        guest.dial()
        try:
            gateway.wait_for("link down: authentication failed")
            assert until(lambda: any(isinstance(event, LinkDown) for event in guest.events)), guest.events
            assert "authentication failed" in str(guest.events[-1])
        finally:
            guest.cut()


def test_an_address_goes_with_the_name(com1: str, tmp_path: Path) -> None:
    """On whatever line, unless that name is on another line now; and the one that the file says, if it says one."""
    (tmp_path / "secrets").write_text("alice * a\nbob * b\ncarol * c 10.0.2.77\n")
    com2 = str(tmp_path / "com2")
    with GatewayProcess(f"pty:{com1}", f"pty:{com2}", "--auth", str(tmp_path / "secrets")) as gateway:
        with dial(com1, "alice", "a", CHAP_MD5) as alice, dial(com2, "bob", "b", CHAP_MD5) as bob:
            assert (alice.address, bob.address) == ("10.0.2.15", "10.0.2.16")
        with dial(com2, "alice", "a", CHAP_MD5) as alice:
            assert alice.address == "10.0.2.15"
            with dial(com1, "alice", "a", CHAP_MD5) as other:
                assert other.address != "10.0.2.15"
                assert alice.ping(other.address) < 1
        with dial(com1, "carol", "c", PAP) as carol:
            assert carol.address == "10.0.2.77"
            carol.ping(carol.gateway)
            other = dial(com2, "carol", "c", PAP)
            other.dial()
            try:
                gateway.wait_for(f"{com2}: no address .* is free for this guest")
            finally:
                other.cut()


@PROTOCOLS
def test_any_name_and_password_and_none(com1: str, protocol: bytes, word: str) -> None:
    with GatewayProcess(f"pty:{com1}", "--auth", "any") as gateway:
        with dial(com1, "guest", "whatever", protocol) as guest:
            guest.ping(guest.gateway)
            gateway.wait_for(rf"the peer is 'guest' \({word}\)")
        with EmbeddedGuest(com1) as guest:
            guest.ping(guest.gateway)


# Files


def test_a_configuration_file_under_the_command_line(com1: str, tmp_path: Path) -> None:
    file = tmp_path / "pppgate.toml"
    file.write_text(f'links = ["pty:{com1}"]\nnet = "192.168.16.0/24"\nguest = "192.168.16.50"\nmru = 576\n')
    with GatewayProcess("--config", str(file)) as gateway, EmbeddedGuest(com1) as guest:
        assert (guest.address, guest.gateway, guest.dns) == ("192.168.16.50", "192.168.16.2", "192.168.16.3")
        assert "mru 576 in" in gateway.wait_for("link up")
    words = ("--config", str(file), "--guest", "192.168.16.60", "--mru", "1000")
    with GatewayProcess(*words) as gateway, EmbeddedGuest(com1) as guest:
        assert guest.address == "192.168.16.60"
        assert "mru 1000 in" in gateway.wait_for("link up")


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_capture_is_right_in_both_directions(com1: str, tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"
    begun = time.time()
    with GatewayProcess(f"pty:{com1}", "--pcap", str(file)) as gateway:
        with EmbeddedGuest(com1) as guest:
            guest.ping(guest.gateway)
            guest.hang_up()
        assert gateway.end()[0] == 0
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.ppp import DIR_PPP
    from scapy.utils import rdpcap

    packets = rdpcap(str(file))
    assert all(isinstance(packet, DIR_PPP) for packet in packets)
    assert all(begun - 1 < packet.time < time.time() + 1 for packet in packets)
    pings = [packet for packet in packets if ICMP in packet]
    read = [(packet.getfieldval("direction"), packet[IP].src, packet[ICMP].type) for packet in pings]
    assert read == [(0, "10.0.2.15", 8), (1, "10.0.2.2", 0)]
    raw = [bytes(packet) for packet in packets]
    ends = [octets for octets in raw if octets[1:4] in (b"\xc0\x21\x05", b"\xc0\x21\x06")]
    assert [octets[0] for octets in ends] == [0, 1]  # Terminate-Request from the guest, Terminate-Ack to it


# The guest's own command


def test_trying_a_gateway_without_an_emulator(com1: str, host: Servers) -> None:
    words = [sys.executable, str(ROOT / "contrib" / "embedded_guest.py"), com1, "--resolve", KNOWN_NAME, "--fetch"]

    def attempt(fetch: str) -> tuple[int, str]:
        done = subprocess.run([*words, fetch], capture_output=True, text=True, timeout=20, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    with GatewayProcess(f"pty:{com1}", "--host-loopback", "--resolver", f"127.0.0.1:{host.dns}") as gateway:
        status, said = attempt(f"10.0.2.2:{host.http}/7/5000")
        assert status == 0
        for words_said in ("link up in ", "ping 10.0.2.2: ", f"{KNOWN_NAME}: {KNOWN_ADDRESS}\n", "HTTP 200, 5000"):
            assert words_said in said
        status, said = attempt("10.0.2.2:1/")
        assert status == 1
        assert "fetch 10.0.2.2:1/: failed: 10.0.2.2 port 1 refuses the connection\n" in said
        gateway.end()  # and the symbolic link goes: its pseudo-terminal's number may soon be another process's
    status, said = attempt("example.com/")
    assert (status, said.partition(" does not exist: ")[0]) == (1, f"No link: {com1}")


# Many flows


@pytest.mark.timing
def test_a_thousand_open_flows(com1: str) -> None:
    if not _descriptors(5000):
        pytest.skip("missing: 5,000 descriptors for the test itself (ulimit -n)")
    with ExitStack() as stack:
        listener = stack.enter_context(Listener())
        gateway = stack.enter_context(GatewayProcess(f"pty:{com1}", "--host-loopback", "--echo-interval", "0"))
        guest = stack.enter_context(EmbeddedGuest(com1))
        guest.ping(guest.gateway)
        baseline, one = gateway.descriptors(), gateway.status("VmRSS")
        begun = time.monotonic()
        flows = []
        for number in range(1000):
            sock = guest.connect(guest.gateway, listener.port)
            flows.append(sock)
            sock.sendall(b"%d" % number)
        for number, sock in enumerate(flows):
            assert sock.recv(100) == b"%d" % number
        many = gateway.status("VmRSS")
        figure(f"resident: {one / 1000:.1f} MB with one guest, {many / 1000:.1f} MB with 1,000 flows opened in "
               f"{time.monotonic() - begun:.2f} s")  # fmt: skip
        assert gateway.descriptors() == baseline + 1000
        assert (one < 40_000, many < 100_000) == (True, True)
        for sock in flows:
            sock.close()
        listener.hang_up()
        assert until(lambda: gateway.descriptors() == baseline, 10), gateway.descriptors()
        guest.ping(guest.gateway)


def _descriptors(wanted: int) -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return True
        return False
    return True


def test_as_many_descriptors_as_the_host_allows(com1: str) -> None:
    """The usual soft limit of 1,024 is no limit for the gateway's flows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 1024:
        pytest.skip("missing: a hard limit of more than 1,024 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with GatewayProcess(f"pty:{com1}") as gateway:
            limit, _ = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
            assert limit > 1024
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

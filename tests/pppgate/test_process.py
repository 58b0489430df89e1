"""The life of `python -m pppgate` as a user meets it: start, guests that come and go, signals, several links, noise.

Real processes and pseudo-terminals; the guest is contrib/embedded_guest.py.
"""

import os
import random
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from contrib.embedded_guest import EmbeddedGuest
from lcp.events import LinkDown, NetworkUp
from tests.support.gateway_process import GatewayProcess, figure, free_port, need_pty, running, until


@pytest.fixture
def com1(tmp_path: Path) -> str:
    need_pty()
    return str(tmp_path / "com1")


@pytest.fixture
def gateway(com1: str) -> Iterator[GatewayProcess]:
    with GatewayProcess(f"pty:{com1}") as gateway:
        yield gateway


def deafen(guest: EmbeddedGuest) -> None:
    """From now on the guest neither hears nor answers, but holds its line."""
    port = guest.stack.end.port  # type: ignore[union-attr]
    guest.do(lambda now: guest.stack.loop.unwatch_read(port.read_fd))


# Start and end


@pytest.mark.timing
def test_it_is_ready_at_once_and_says_what_to_paste(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}") as gateway:
        gateway.wait_for("UML")
        figure(f"ready {gateway.ready_after:.3f} s after the start of the interpreter")
        assert gateway.ready_after < 2.0  # 0.5 s is the aim on a quiet machine
        pty = os.readlink(com1)
        assert gateway.lines[0] == f"Waiting for guests on pseudo-terminal {pty} (symbolic link {com1})."
        for emulator in ("QEMU", "Bochs", "86Box", "DOSBox-X", "UML"):
            assert any(emulator in line for line in gateway.lines)
        assert gateway.end()[0] == 0
    assert not os.path.lexists(com1)


def test_a_stale_symbolic_link_is_replaced_and_a_live_one_left_alone(com1: str, tmp_path: Path) -> None:
    os.symlink("/dev/pts/999999", com1)
    with GatewayProcess(f"pty:{com1}") as first:
        assert os.path.exists(os.readlink(com1))
        second = GatewayProcess(f"pty:{com1}")
        assert second.process.wait(5) == 2
        assert until(lambda: bool(second.errors))
        assert "belongs to a pppgate that is running" in second.errors[0]
        with EmbeddedGuest(com1) as guest:
            assert guest.address == "10.0.2.15"
        assert first.end()[0] == 0


def test_no_link_is_one_pseudo_terminal(tmp_path: Path) -> None:
    need_pty()
    with GatewayProcess() as gateway:
        found = re.match(r"Waiting for guests on pseudo-terminal (/dev/pts/\d+)\.$", gateway.lines[0])
        assert found is not None
        with EmbeddedGuest(found[1]) as guest:
            assert guest.ping(guest.gateway) < 1


def test_the_life_of_a_guest_in_plain_words(com1: str, gateway: GatewayProcess) -> None:
    with EmbeddedGuest(com1) as guest:
        assert (guest.address, guest.gateway, guest.dns) == ("10.0.2.15", "10.0.2.2", "10.0.2.3")
        up = gateway.wait_for("link up")
        assert re.match(
            rf"{com1}: link up in \d\.\d\d s: local 10\.0\.2\.2, remote 10\.0\.2\.15, DNS 10\.0\.2\.3; mru 1500 in", up
        )
        guest.hang_up()
    assert gateway.wait_for("link down") == f"{com1}: link down: the guest hung up (the user has hung up)"
    since = len(gateway.lines)
    with EmbeddedGuest(com1):
        gateway.wait_for("link up", since=since)
    assert gateway.wait_for("link down", since=since) == f"{com1}: link down: the line was cut"
    assert len(gateway.lines) == since + 2  # one line an event


def test_every_control_packet_in_words_with_v(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}", "-v") as gateway, EmbeddedGuest(com1) as guest:
        guest.ping(guest.gateway)
        guest.hang_up()
        for words in (
            r"rcvd LCP Configure-Request id \d+ <.*magic",
            r"sent LCP Configure-Ack id \d+ <",
            r"sent IPCP Configure-Nak id \d+ <addr 10\.0\.2\.15> <ms-dns1 10\.0\.2\.3>",
            r"rcvd IPCP Configure-Request id \d+ <addr 10\.0\.2\.15>",
            r'rcvd LCP Terminate-Request id \d+ "?the user has hung up',
            r"sent LCP Terminate-Ack",
        ):
            gateway.wait_for(words)
        assert "ICMP" not in gateway.output  # packets are for -vv


@pytest.mark.timing
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("guests", [0, 1, 3])
def test_a_signal_ends_every_link_in_order(number: signal.Signals, guests: int, tmp_path: Path) -> None:
    need_pty()
    lines = [str(tmp_path / f"com{n}") for n in range(max(guests, 1))]
    with GatewayProcess(*(f"pty:{line}" for line in lines)) as gateway, ExitStack() as stack:
        dialed = [stack.enter_context(EmbeddedGuest(line)) for line in lines[:guests]]
        status, took = gateway.end(number)
        figure(f"{number.name} with {guests} guests: {took:.3f} s")
        assert (status, took < 1.0) == (0, True), took
        for guest in dialed:
            guest.wait_for(LinkDown, "the gateway is being shut down")
        assert not any(os.path.lexists(line) for line in lines)


@pytest.mark.timing
def test_a_guest_that_does_not_answer_is_not_waited_for(com1: str, gateway: GatewayProcess) -> None:
    with EmbeddedGuest(com1) as guest:
        deafen(guest)
        status, took = gateway.end()
        figure(f"SIGTERM with a deaf guest: {took:.3f} s")
        assert (status, took < 1.3) == (0, True), took  # a second, and what a busy test machine adds


@pytest.mark.timing
def test_a_second_signal_ends_it_at_once(com1: str, gateway: GatewayProcess) -> None:
    with EmbeddedGuest(com1) as guest:
        deafen(guest)
        gateway.process.send_signal(signal.SIGINT)
        gateway.wait_for("Ending the links")
        status, took = gateway.end(signal.SIGINT)
        assert (status, took < 0.5) == (128 + signal.SIGINT, True), took
    assert not os.path.lexists(com1)


@pytest.mark.timing
def test_the_end_in_the_middle_of_transfers(com1: str) -> None:
    """The Terminate-Request overtakes what waits for the line."""
    port = free_port()
    with (
        Pouring(port),
        GatewayProcess(f"pty:{com1}", "--host-loopback") as gateway,
        EmbeddedGuest(com1) as guest,
        guest.connect(guest.gateway, port) as sock,
    ):
        for _ in range(20):
            assert sock.recv(100_000)
        status, took = gateway.end()
        figure(f"SIGTERM in the middle of a download: {took:.3f} s")
        assert (status, took < 1.0) == (0, True), took
        guest.wait_for(LinkDown, "the gateway is being shut down")


def test_a_gateway_that_was_killed_is_started_again(com1: str) -> None:
    """The guest's client, which tries again as pppd's persist does, comes up by itself."""
    with GatewayProcess(f"pty:{com1}") as gateway, EmbeddedGuest(com1) as guest:
        gateway.process.kill()
        gateway.process.wait()
        assert os.path.lexists(com1)  # stale
        guest.wait_for(LinkDown)
        with GatewayProcess(f"pty:{com1}") as again:
            again.wait_for("link up", 8)
            assert until(lambda: guest.stack.line.up)
            assert (guest.address, guest.ping(guest.gateway) < 1) == ("10.0.2.15", True)
            assert again.end()[0] == 0


# Guests that come and go


def test_a_guest_comes_back_thirty_times(com1: str, gateway: GatewayProcess) -> None:
    baseline = gateway.descriptors()
    for turn in range(30):
        with EmbeddedGuest(com1) as guest:
            assert guest.address == "10.0.2.15"
            guest.ping(guest.gateway)
            if turn % 2:
                guest.hang_up()
        assert until(lambda: gateway.descriptors() == baseline), (turn, baseline, gateway.descriptors())
    assert len([line for line in gateway.lines if "link up" in line]) == 30


def test_a_guest_is_lost_in_the_middle_of_transfers(com1: str) -> None:
    """Its connections wait for it; a new guest on the same line resets them."""
    port = free_port()
    with GatewayProcess(f"pty:{com1}", "--host-loopback") as gateway, Pouring(port) as server:
        baseline = gateway.descriptors()
        for _ in range(8):
            with EmbeddedGuest(com1) as guest:
                for _ in range(3):
                    sock = guest.connect(guest.gateway, port)
                    assert len(sock.recv(1000)) > 0
                    sock.close()
                sock = guest.connect(guest.gateway, port)
                assert len(sock.recv(1000)) > 0
            sock.close()
        with EmbeddedGuest(com1) as guest:
            guest.ping(guest.gateway)
            assert until(lambda: gateway.descriptors() == baseline, 10), (baseline, gateway.descriptors())
            assert until(lambda: server.ended == server.begun == 32), (server.begun, server.ended)


class Pouring:
    """A TCP server that sends forever to each caller, and counts those that it has lost."""

    def __init__(self, port: int) -> None:
        outer = self
        self.begun = self.ended = 0

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.begun += 1
                try:
                    while True:
                        self.request.sendall(bytes(10000))
                except OSError:
                    outer.ended += 1

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "Pouring":
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_several_links_at_once(com1: str, tmp_path: Path) -> None:
    """Each guest has an address of its own, all reach each other, and a redial finds the same address."""
    port, path = free_port(), tmp_path / "sock"
    tcp, unix = f"tcp:127.0.0.1:{port}", f"unix:{path}"
    with GatewayProcess(f"pty:{com1}", f"tcp-listen:{port}", f"unix-listen:{path}") as gateway, ExitStack() as stack:
        guests = [stack.enter_context(EmbeddedGuest(line)) for line in (com1, tcp, tcp, tcp, unix)]
        addresses = [guest.address for guest in guests]
        assert len(set(addresses)) == 5, addresses
        for guest in guests:
            for other in guests:
                if other is not guest:
                    assert guest.ping(other.address) < 1
        with guests[1].listen(7) as listener, guests[4].connect(addresses[1], 7) as caller:
            accepted, _ = listener.accept()
            with accepted:
                caller.sendall(b"from guest to guest")
                assert accepted.recv(100) == b"from guest to guest"
                accepted.sendall(bytes(300_000))
                accepted.shutdown(1)
                got = b"".join(iter(lambda: caller.recv(65536), b""))
                assert len(got) == 300_000
        with pytest.raises(ConnectionRefusedError):
            guests[0].connect(addresses[2], 7)
        for number, line in ((2, tcp), (0, com1), (4, unix)):
            since = len(gateway.lines)
            guests[number].cut()
            gateway.wait_for("link down", since=since)
            again = stack.enter_context(EmbeddedGuest(line))
            assert again.address == addresses[number]
            assert guests[1].ping(again.address) < 1
        assert gateway.end()[0] == 0
    assert not path.exists()


def test_dialing_an_emulator_that_listens(tmp_path: Path) -> None:
    """The gateway is there first, and again after the emulator has gone."""
    port = free_port()
    with GatewayProcess(f"tcp:127.0.0.1:{port}") as gateway:
        gateway.wait_for(f"127.0.0.1:{port} does not answer .is the emulator running.*; trying again until it does")
        for _ in range(2):
            since = len(gateway.lines)
            with EmbeddedGuest(f"tcp-listen:127.0.0.1:{port}") as guest:
                gateway.wait_for("link up", since=since)
                assert (guest.address, guest.ping(guest.gateway) < 1) == ("10.0.2.15", True)
        assert gateway.output.count("trying again") <= 2  # a note, not a line for each try


def test_the_pseudo_terminal_of_an_emulator(com1: str) -> None:
    """tty: opens what somebody else has made, and opens it again when it comes back."""
    maker = EmbeddedGuest(f"pty:{com1}")
    maker.dial()
    with GatewayProcess(f"tty:{com1}") as gateway:
        maker.wait_for(NetworkUp)
        assert maker.ping(maker.gateway) < 1
        maker.cut()
        gateway.wait_for("link down")
        gateway.wait_for("does not exist: .*; trying again until it does")
        since = len(gateway.lines)
        with EmbeddedGuest(f"pty:{com1}") as guest:
            gateway.wait_for("link up", since=since)
            assert guest.address == "10.0.2.15"
        assert gateway.end()[0] == 0


def test_standard_input_and_output_are_a_line(tmp_path: Path) -> None:
    """As under socat EXEC: or ssh: PPP on standard output, words on standard error, the end with the line."""
    path = str(tmp_path / "sock")
    with socket.create_server(path, family=socket.AF_UNIX) as listener:
        guest = EmbeddedGuest(f"unix:{path}")
        guest.dial()
        line, _ = listener.accept()
    with line, running("stdio:", stdin=line.fileno(), stdout=line.fileno(), stderr=subprocess.PIPE) as process:
        line.close()
        guest.wait_for(NetworkUp)
        assert guest.ping(guest.gateway) < 1
        guest.cut()
        _, said = process.communicate(timeout=5)
        assert process.returncode == 0
    assert "link up" in said and "link down" in said


def test_nobody_reads_what_it_says(com1: str) -> None:
    """pppgate | head -1"""
    with running(f"pty:{com1}", stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("Waiting")
        process.stdout.close()
        with EmbeddedGuest(com1) as guest:
            assert guest.ping(guest.gateway) < 1
            process.terminate()
            assert (process.wait(5), process.stderr.read()) == (0, "")


def test_a_reader_that_stops_holds_no_guest_up(com1: str) -> None:
    """A terminal stopped with Ctrl-S, or pppgate | less: lines are left out."""
    with running(f"pty:{com1}", "-vv") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Waiting")
        with EmbeddedGuest(com1) as guest:
            for _ in range(1000):  # some 130 octets of words for each, and a pipe holds 65,536
                guest.ping(guest.gateway)
            os.set_blocking(process.stdout.fileno(), False)
            with suppress(BlockingIOError):
                while os.read(process.stdout.fileno(), 65536):
                    pass
            os.set_blocking(process.stdout.fileno(), True)
            guest.ping(guest.gateway)
            process.terminate()
            said = process.stdout.read()
            assert process.wait(5) == 0
    assert re.search(r"^\(\d+ lines were left out: nobody read them\)$", said, re.MULTILINE), said


# Noise and silence


def test_noise_before_and_during_ppp(com1: str, gateway: GatewayProcess) -> None:
    noise = random.Random(1).randbytes(100_000)
    line = os.open(com1, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(line)
        for junk in (b"ATZ\r\n", b"ATDT5551234\r\n", b"NO CARRIER\r\n", b"~", noise):
            write_all(line, junk)
        with EmbeddedGuest(com1) as guest:
            guest.ping(guest.gateway)
            for junk in (b"NO CARRIER\r\n", b"+++", noise):
                write_all(line, junk)
            assert any(answers(guest) for _ in range(3))  # the first packet may share its frame with the noise
            assert [event for event in guest.events if isinstance(event, LinkDown)] == []
    finally:
        os.close(line)
    assert gateway.process.poll() is None


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def answers(guest: EmbeddedGuest) -> bool:
    try:
        return guest.ping(guest.gateway, timeout=1) > 0
    except TimeoutError:
        return False


def test_damaged_frames_are_told_when_the_link_ends_and_everything_counted_with_v(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}", "-v") as gateway:
        with EmbeddedGuest(com1) as guest:
            guest.wait_for(NetworkUp)
            line = os.open(com1, os.O_WRONLY | os.O_NOCTTY)
            for _ in range(3):
                os.write(line, b"~not a frame with its FCS~")
            os.close(line)
            assert guest.ping("10.0.2.2") > 0
        gateway.wait_for(r"3 damaged frames beside \d+ good ones .* speed and the flow control")
        gateway.end()
        gateway.wait_for(r"Counted: .*hdlc\.fcs 3")


def test_a_rebooted_guest_is_answered_on_the_open_line(com1: str, gateway: GatewayProcess) -> None:
    """Its line was never closed: the emulator holds it while the guest starts again."""
    line = os.open(com1, os.O_RDWR | os.O_NOCTTY)

    def said() -> int:
        return gateway.output.count("link down")

    try:
        for turn in range(3):
            with EmbeddedGuest(com1) as guest:
                assert guest.address == "10.0.2.15"
                guest.ping(guest.gateway)
            assert until(lambda turn=turn: said() == turn)  # type: ignore[misc]
        gateway.wait_for("link down: the guest has begun to negotiate anew")
    finally:
        os.close(line)


def switches(gateway: GatewayProcess) -> int:
    total = 0
    for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
        found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text(), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total


@pytest.mark.timing
def test_an_idle_link_wakes_nobody(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}", "--echo-interval", "0") as gateway, EmbeddedGuest(com1) as guest:
        guest.ping(guest.gateway)
        time.sleep(1.0)
        before = switches(gateway)
        time.sleep(3.0)
        woken = switches(gateway) - before
        figure(f"wake-ups in 3 s of an idle link: {woken}")
        assert woken <= 1


def test_an_echo_keeps_a_link_and_its_loss_ends_it(com1: str) -> None:
    with GatewayProcess(f"pty:{com1}", "--echo-interval", "0.2") as gateway, EmbeddedGuest(com1) as guest:
        guest.wait_for(NetworkUp)
        time.sleep(1.5)
        assert "link down" not in gateway.output
        deafen(guest)
        gateway.wait_for("link down: no answer to 4 echo requests", 3)

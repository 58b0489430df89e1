"""`python -m pppgate eoppp` as its user starts it: a guest made of a socket, this project's server at the far end."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect.fdpexpect
import pytest

from tests.support.ether_guest import EtherGuest
from tests.support.gateway_process import GatewayProcess, complaint, need_pty

GATEWAY, DNS, GUEST = (bytes((10, 0, 2, n)) for n in (2, 3, 15))


@contextmanager
def bridge(work: Path, *words: str, ppp: str = "") -> Iterator[GatewayProcess]:
    ends = ("--ether", f"ether:unix-listen:{work}/eth", "--ppp", ppp or f"unix:{work}/ppp")
    with GatewayProcess("eoppp", *ends, *words) as process:
        yield process


def server(work: Path, *words: str) -> GatewayProcess:
    return GatewayProcess(f"unix-listen:{work}/ppp", *words)


def leased(work: Path) -> EtherGuest:
    guest = EtherGuest(work / "eth")
    guest.lease()
    mac = guest.who_has(GATEWAY)
    assert mac is not None
    guest.router_mac = mac
    return guest


def is_reply(message: bytes | None) -> bool:
    return message is not None and message[0] == 0 and message[8:] == b"are you there?"


def test_a_guest_gets_what_ppp_negotiated_and_reaches_the_server(tmp_path: Path) -> None:
    with server(tmp_path) as far, bridge(tmp_path, "-v") as process:
        process.wait_for("link up")
        with leased(tmp_path) as guest:
            assert guest.address == GUEST
            assert (guest.options[3], guest.options[6], guest.options[26]) == (GATEWAY, DNS, b"\x05\xdc")
            assert is_reply(guest.ping(GATEWAY))
            assert guest.who_has(bytes((198, 51, 100, 7))) == guest.router_mac
        status, took = process.end(signal.SIGINT)
        assert status == 0 and took < 1.5
        far.wait_for("the guest hung up")
        assert "DHCP Ack 10.0.2.15" in process.output and "Ending the link." in process.output


def test_the_guest_goes_on_when_the_server_is_back(tmp_path: Path) -> None:
    with bridge(tmp_path) as process:
        process.wait_for("does not exist yet .*; trying again")
        with server(tmp_path) as far:
            process.wait_for("link up")
            guest = leased(tmp_path)
            assert is_reply(guest.ping(GATEWAY))
            far.process.kill()
            process.wait_for("link down: the line was cut; trying again in 1 s")
            message = guest.ping(GATEWAY)
            assert message is not None and message[:2] == b"\x03\x01"  # Host Unreachable
        with server(tmp_path), guest:
            process.wait_for("link up", 10, since=len(process.lines) - 1)
            assert any(is_reply(guest.ping(GATEWAY)) for _ in range(5))


def test_on_demand_dhcp_brings_the_link_up_and_idleness_down(tmp_path: Path) -> None:
    with server(tmp_path) as far, bridge(tmp_path, "--demand", "--idle", "1") as process:
        time.sleep(0.3)
        assert "link up" not in far.output
        with leased(tmp_path) as guest:
            process.wait_for("nothing was sent or received for 1 s; it comes up again when it is wanted", 6)
            assert is_reply(guest.ping(GATEWAY, 4))
            assert process.output.count("link up") == 2


def test_without_persist_the_status_tells_whether_there_was_a_link(tmp_path: Path) -> None:
    with server(tmp_path) as far, bridge(tmp_path, "--no-persist") as process:
        process.wait_for("link up")
        far.process.terminate()
        assert process.process.wait(5) == 0
    with server(tmp_path, "--auth", "any") as far, bridge(tmp_path, "--no-persist", "--mtu", "1000") as process:
        process.wait_for("link up")
    secrets = tmp_path / "secrets"
    secrets.write_text("guest * sesame\n")
    with server(tmp_path, "--auth", str(secrets)) as far, bridge(tmp_path, "--no-persist") as process:
        assert process.process.wait(5) == 1
        process.wait_for("give them with --user and --password-file.$")


class Modem:
    """The exchange is `port`'s other end: busy at first, then it puts the caller through to a unix socket."""

    def __init__(self, master: int, exchange: Path) -> None:
        self.master = master
        self.exchange = exchange
        self.dialed: list[bytes] = []
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            line = pexpect.fdpexpect.fdspawn(self.master, timeout=15)
            for answer in (b"BUSY", b"CONNECT 33600"):
                line.expect(rb"ATZ\r")
                line.send(b"ATZ\r\r\nOK\r\n")
                line.expect(rb"ATDT(\d+)\r")
                match = line.match
                assert isinstance(match, re.Match)
                number: object = match[1]
                assert isinstance(number, bytes)
                self.dialed.append(number)
                line.send(b"\r\n" + answer + b"\r\n")
            with socket.socket(socket.AF_UNIX) as far:
                far.connect(str(self.exchange))
                threading.Thread(target=self._outward, args=(far,), daemon=True).start()
                with suppress(OSError):
                    while data := far.recv(4096):
                        os.write(self.master, data)
        except Exception as error:
            self.failure = error

    def _outward(self, far: socket.socket) -> None:
        with suppress(OSError):
            while data := os.read(self.master, 4096):
                far.sendall(data)


def test_a_modem_is_dialed_by_a_chat_script_again_when_it_is_busy(tmp_path: Path) -> None:
    need_pty()
    master, slave = os.openpty()
    try:
        chat = tmp_path / "isp.chat"
        chat.write_text("ABORT BUSY TIMEOUT 5 SAY 'Dialing.'\n'' ATZ OK ATDT5551234 CONNECT \\c\n")
        with server(tmp_path):
            modem = Modem(master, tmp_path / "ppp")
            with bridge(tmp_path, "--chat", str(chat), ppp=f"tty:{os.ttyname(slave)}") as process:
                process.wait_for("the chat script failed: the line said 'BUSY'; trying again in 1 s")
                process.wait_for("link up")
                with leased(tmp_path) as guest:
                    assert is_reply(guest.ping(GATEWAY))
                assert process.output.count("Dialing.") == 2
        assert modem.dialed == [b"5551234"] * 2 and modem.failure is None
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--ppp", "tty:/dev/nothere"), "/dev/nothere does not exist"),
        (("--ppp", "unix-listen:/nothere/ppp"), "/nothere is not a directory"),
        (("--ppp", "pty:", "--pcap", "/nothere/x"), "/nothere/x"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    assert says in complaint("eoppp", "--ether", f"ether:unix-listen:{tmp_path}/eth", *words, cwd=tmp_path)
    assert not (tmp_path / "eth").exists()

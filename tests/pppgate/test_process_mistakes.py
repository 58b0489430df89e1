"""What a user asks for that cannot be done: one sentence that says what to do, exit status 2, nothing left behind."""

import os
import socket
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess, complaint, free_port, need_pty

DO = "end that or choose another port."

# Words of the command line, "{tmp}" for the test's directory, and what the sentence has to say.
MISTAKES = {
    "standard input that nobody is behind": (
        ["stdio:"],
        "stdio: needs a pipe, a socket or a terminal, not a file or device, at both ends.",
    ),
    "unknown option": (["--bogus"], "There is no option --bogus; see pppgate --help."),
    "option without its value": (["--mru"], "Argument --mru: expected one argument"),
    "value for a switch": (["--host-loopback=yes"], "takes no value, but was given 'yes'"),
    "not a link": (["com1"], "'com1' is not a link: one begins with pty:, tty:"),
    "bare path": (["{tmp}/com1"], "alone is not a link: write pty:"),
    "the same link twice": (["pty:{tmp}/a", "pty:{tmp}/a"], "is named twice; name it once"),
    "not a network": (["--net", "10.0.2.0/33"], "is not an IPv4 network; write one such as 10.0.2.0/24"),
    "an address for a network": (["--net", "10.0.2.5/24"], "the network around it is 10.0.2.0/24"),
    "network too small": (["--net", "10.0.2.0/30"], "a /29 or larger"),
    "bad address": (["--guest", "guest"], "guest: guest is not an IPv4 address; write one such as 10.0.2.15"),
    "gateway outside": (["--gateway", "10.0.3.2"], "does not lie in the network 10.0.2.0/24; change it or --net"),
    "gateway is the guest": (["--gateway", "10.0.2.9", "--guest", "10.0.2.9"], "guest and gateway are both 10.0.2.9"),
    "mru too small": (["--mru", "10"], "mru: a whole number from 68 to 9000 is needed, not 10"),
    "mru too large": (["--mru", "70000"], "mru: a whole number from 68 to 9000 is needed, not 70000"),
    "echo interval": (["--echo-interval", "-1"], "a number of seconds from 0"),
    "log level": (["--log-level", "loud"], "is not one of error, warning, info, debug"),
    "forward": (["--forward", "8080"], "write tcp:PORT=PORT or udp:"),
    "forward to no port": (["--forward", "tcp:8080="], "is not a number from 1 to 65535"),
    "forward from elsewhere": (["--forward", "tcp:192.0.2.1:8080=80"], "192.0.2.1 is not an address of this machine"),
    "forward to nobody": (["--forward", "tcp:8080=10.9.9.9:80"], "does not lead to a guest's address in 10.0.2.0/24"),
    "IPv6 without brackets": (["--forward", "tcp:::1:8080=80"], "write [::1]:8080"),
    "resolver": (["--resolver", "dns.example"], "is not an IP address"),
    "missing device": (["tty:{tmp}/ttyS9"], "does not exist: plug it in"),
    "missing adapter": (["serial:{tmp}/ttyUSB9@115200"], "does not exist: plug it in"),
    "a file for a device": (["tty:{tmp}/file"], "is not a terminal or serial device"),
    "speed": (["serial:/dev/ttyS0@fast"], "is a number of baud"),
    "no device": (["tty:"], "names no device"),
    "unknown host": (["tcp:nohost.invalid:1"], "the host nohost.invalid is not known"),
    "no port": (["tcp:localhost"], "write HOST:PORT"),
    "listen elsewhere": (["tcp-listen:192.0.2.1:4000"], "is not one of this host"),
    "symbolic link in no directory": (["pty:{tmp}/no/com1"], "/no is not a directory, so"),
    "symbolic link in /proc": (["pty:/proc/com1"], "/proc cannot be written, so /proc/com1 cannot be made"),
    "a file in the way": (["pty:{tmp}/file"], "is a file, not a symbolic link of an earlier run"),
    "a directory in the way": (["pty:{tmp}"], "is a directory, not a symbolic link"),
    "socket in no directory": (["unix-listen:{tmp}/no/sock"], "/no is not a directory, so"),
    "a file in the socket's way": (["unix-listen:{tmp}/file"], "exists and is not a socket"),
    "capture in no directory": (["--pcap", "{tmp}/no/x.pcap"], "there is no directory"),
    "capture in /proc": (["--pcap", "/proc/x.pcap"], "name a file in a directory of your own"),
    "capture onto a directory": (["--pcap", "{tmp}"], "cannot be written (Is a directory)"),
    "no secrets": (["--auth", "{tmp}/no"], "is neither none, any, nor a file of names and passwords"),
    "bad secrets": (["--auth", "{tmp}/secrets"], "line 2: expected 'client server secret [address ...]'"),
    "no configuration": (["--config", "{tmp}/no"], "cannot be read: No such file or directory"),
    "not TOML": (["--config", "{tmp}/secrets"], "is not valid TOML"),
    "unknown key": (["--config", "{tmp}/misspelt.toml"], "no setting 'host-lopback' (did you mean host-loopback?)"),
    "wrong type": (["--config", "{tmp}/type.toml"], "mru: a whole number from 68 to 9000 is needed, not [1500]"),
}  # fmt: skip


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("keep me")
    (tmp_path / "secrets").write_text("alice * secret\nbob\n")
    (tmp_path / "misspelt.toml").write_text("host-lopback = true\n")
    (tmp_path / "type.toml").write_text("mru = [1500]\n")
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str, tmp: Path) -> None:
    words, expected = MISTAKES[mistake]
    if "symbolic link" in mistake or "in the way" in mistake:
        need_pty()
    before = sorted(os.listdir(tmp))
    sentence = complaint(*(word.replace("{tmp}", str(tmp)) for word in words), cwd=tmp)
    assert expected in sentence, sentence
    assert sorted(os.listdir(tmp)) == before
    assert (tmp / "file").read_text() == "keep me"


def test_ports_in_use(tmp: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = complaint(f"tcp-listen:{port}", cwd=tmp)
        assert sentence == f"The TCP port 127.0.0.1:{port} is in use by another program: {DO}"
        sentence = complaint("--forward", f"tcp:{port}=80", f"tcp-listen:{free_port()}", cwd=tmp)
        assert sentence == f"TCP port 127.0.0.1:{port} is in use by another program: {DO}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        sentence = complaint("--forward", f"udp:{port}=80", f"tcp-listen:{free_port()}", cwd=tmp)
        assert sentence == f"UDP port 127.0.0.1:{port} is in use by another program: {DO}"


def test_a_busy_device_and_socket(tmp: Path) -> None:
    need_pty()
    master, slave = os.openpty()
    try:
        device = os.ttyname(slave)
        with GatewayProcess(f"tty:{device}", f"unix-listen:{tmp}/sock") as gateway:
            sentence = complaint(f"tty:{device}", cwd=tmp)
            assert sentence.startswith(f"{device} is in use by ") and sentence.endswith("end that first.")
            sentence = complaint(f"unix-listen:{tmp}/sock", cwd=tmp)
            assert sentence == f"{tmp}/sock is in use by another program: end that or name another path."
            assert gateway.process.poll() is None
            assert gateway.end()[0] == 0
        assert not (tmp / "sock").exists()
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("words", ["pty:{locked}/com1", "unix-listen:{locked}/s", "--pcap {locked}/x"])
def test_a_directory_that_cannot_be_written(words: str, tmp: Path) -> None:
    if words.startswith("pty:"):
        need_pty()
    locked = tmp / "locked"
    locked.mkdir(0o500)
    if os.geteuid() == 0:
        locked = Path("/sys")  # where even root may not
    sentence = complaint(*words.replace("{locked}", str(locked)).split(), cwd=tmp)
    assert "cannot be" in sentence and "of your own" in sentence, sentence


def test_a_later_link_that_fails_takes_the_earlier_ones_down(tmp: Path) -> None:
    need_pty()
    assert "does not exist" in complaint(f"pty:{tmp}/com1", f"unix-listen:{tmp}/sock", f"tty:{tmp}/none", cwd=tmp)
    assert not os.path.lexists(tmp / "com1") and not (tmp / "sock").exists()

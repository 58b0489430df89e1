"""tty:, serial:, stdio: and pyserial links, with a pty where a device is wanted."""

import errno
import fcntl
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serialport.fdport import outstanding
from serialport.holders import holder_of, lock_holder
from serialport.port import Port, PortError
from serialport.stdio import StdioLink
from serialport.tty import _clause
from serialport.url import open_link
from tests.serialport.test_sockets import Owner
from tests.support.fake_watcher import EpollWatcher


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


def test_a_tty_is_set_raw_and_given_back_as_it_was(watcher: EpollWatcher) -> None:
    """QEMU's `-chardev pty`: the emulator has the master, we open the slave."""
    emulator, slave = pty.openpty()
    path = os.ttyname(slave)
    before = termios.tcgetattr(slave)
    owner = Owner(open_link(f"tty:{path}"), watcher)
    assert owner.ports[0].name == path
    assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    every = bytes(range(256))
    os.write(emulator, every)
    watcher.run_until(lambda: owner.data[0] == every)
    assert owner.ports[0].write(every) == 256
    assert os.read(emulator, 1000) == every
    assert owner.ports[0].pending() == -1
    assert watcher.run(0.05) == 0
    owner.link.stop()
    assert termios.tcgetattr(slave) == before
    os.close(emulator)
    os.close(slave)


def test_an_emulator_that_ends_is_waited_for(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = tmp_path / "com1"
    emulator, slave = pty.openpty()
    path.symlink_to(os.ttyname(slave))
    owner = Owner(open_link(f"tty:{path}"), watcher)
    os.write(emulator, b"last words")
    os.close(slave)
    os.close(emulator)
    watcher.run_until(lambda: owner.hangups == 1)
    assert owner.data == [b"last words"] or owner.data == [b""]  # Linux may drop them with the master
    calls = watcher.run(0.5)
    assert calls <= 4
    assert "does not exist" in owner.notes[0] and len(owner.notes) == 1
    emulator, slave = pty.openpty()
    path.unlink()
    path.symlink_to(os.ttyname(slave))
    watcher.run_until(lambda: len(owner.ports) == 2)
    os.write(emulator, b"back")
    watcher.run_until(lambda: owner.data[1] == b"back")
    owner.link.stop()
    os.close(slave)
    os.close(emulator)


def test_serial_sets_the_speed(watcher: EpollWatcher) -> None:
    emulator, slave = pty.openpty()
    link = open_link(f"serial:{os.ttyname(slave)}@9600")
    link.start(watcher, lambda port: None)
    assert termios.tcgetattr(slave)[4:6] == [termios.B9600, termios.B9600]
    assert "9600 baud" in link.description
    link.stop()
    os.close(emulator)
    os.close(slave)


def test_missing_and_wrong_devices_are_one_sentence(watcher: EpollWatcher, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    plain = tmp_path / "plain"
    plain.write_text("")
    for path, words in (
        (tmp_path / "none", "none does not exist: plug it in"),
        (tmp_path, "is a directory: name a device"),
        (plain, "is not a terminal or serial device"),
        ("/dev/null", "is not a terminal or serial device"),
    ):
        with pytest.raises(PortError, match=words):
            open_link(f"tty:{path}").start(watcher, lambda port: None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_device_in_use_names_the_program(watcher: EpollWatcher) -> None:
    emulator, slave = pty.openpty()
    path = os.ttyname(slave)
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b', buffering=0); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(PortError, match=rf"{path} is in use by python.* \(process {other.pid}\): end that first"):
            open_link(f"tty:{path}").start(watcher, lambda port: None)
        assert holder_of(path).endswith(f"(process {other.pid})")
        other.communicate(b"\n")
    fcntl.flock(slave, fcntl.LOCK_UN)
    os.close(emulator)
    os.close(slave)


def test_lock_files_of_the_living_count(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lock = tmp_path / "LCK..ttyS9"
        lock.write_text(f"{other.pid:10}\n")
        assert lock_holder("/dev/ttyS9", str(tmp_path)).endswith(f"(process {other.pid})")
        other.communicate(b"\n")
    assert lock_holder("/dev/ttyS9", str(tmp_path)) == ""
    lock.write_text(str(os.getpid()))
    assert lock_holder("/dev/ttyS9", str(tmp_path)) == ""
    for text in ("", "x", "9" * 400):
        lock.write_text(text)
        assert lock_holder("/dev/ttyS9", str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "join the group "),
        (errno.EBUSY, "is in use by "),
        (errno.EIO, "is not connected"),
        (errno.ENXIO, "does not exist"),
        (errno.EINVAL, "cannot be opened"),
    ],
)
def test_every_error_says_what_to_do(number: int, words: str) -> None:
    assert words in _clause("/dev/ttyS0", OSError(number, os.strerror(number)))


def test_outstanding_by_kind() -> None:
    reader, writer = os.pipe()
    assert outstanding(writer) == termios.FIONREAD
    ours, theirs = socket.socketpair()
    assert outstanding(ours.fileno()) == termios.TIOCOUTQ
    for fd in (reader, writer):
        os.close(fd)
    ours.close()
    theirs.close()


# -- stdio


def test_stdio_over_pipes(watcher: EpollWatcher) -> None:
    to_us, guest_out = os.pipe()
    guest_in, from_us = os.pipe()
    errors_in, errors = os.pipe()
    ended: list[int] = []
    link = StdioLink("stdio:", stdin=to_us, stdout=from_us, stderr=errors)
    link.ended = lambda: ended.append(1)
    owner = Owner(link, watcher)
    os.write(guest_out, b"~\x7d\xff")
    watcher.run_until(lambda: owner.data[0] == b"~\x7d\xff")
    os.write(from_us, b"a stray print")  # the number that was the output leads to the errors now
    assert os.read(errors_in, 100) == b"a stray print"
    assert owner.ports[0].write(b"frame") == 5
    assert owner.ports[0].pending() == 5
    assert os.read(guest_in, 100) == b"frame"
    os.close(guest_out)
    watcher.run_until(lambda: owner.hangups == 1)
    assert ended == [1]
    assert os.get_blocking(to_us)
    link.stop()
    for fd in (to_us, guest_in, from_us, errors, errors_in):
        os.close(fd)


def test_stdio_refuses_files(watcher: EpollWatcher, tmp_path: Path) -> None:
    with open(tmp_path / "f", "w+b") as file, pytest.raises(PortError, match="not a file"):
        StdioLink("stdio:", stdin=file.fileno(), stdout=file.fileno()).start(watcher, lambda port: None)


# -- pyserial


def test_pyserial_over_a_socket_redials(watcher: EpollWatcher) -> None:
    pytest.importorskip("serial")
    emulator = socket.create_server(("127.0.0.1", 0))
    owner = Owner(open_link(f"socket://127.0.0.1:{emulator.getsockname()[1]}"), watcher)
    for number in range(2):
        watcher.run_until(lambda: len(owner.ports) == number + 1)  # noqa: B023
        guest, _ = emulator.accept()
        guest.sendall(bytes(range(256)))
        watcher.run_until(lambda: len(owner.data[number]) == 256)  # noqa: B023
        assert owner.data[number] == bytes(range(256))
        assert owner.ports[number].write(b"~answer~") == 8
        assert guest.recv(100) == b"~answer~"
        guest.close()
        watcher.run_until(lambda: owner.hangups == number + 1)  # noqa: B023
    emulator.close()
    watcher.run_until(lambda: bool(owner.notes))
    assert "cannot be opened" in owner.notes[0]
    owner.link.stop()
    for thread in threading.enumerate():
        if thread.name.startswith("pyserial"):
            thread.join(5)
            assert not thread.is_alive()


def test_pyserial_errors_are_one_sentence(watcher: EpollWatcher) -> None:
    pytest.importorskip("serial")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # not listening: refused
        with pytest.raises(PortError, match="cannot be opened"):
            open_link(f"socket://127.0.0.1:{sock.getsockname()[1]}").start(watcher, lambda port: None)
    with pytest.raises(PortError):
        open_link("rfc2217://nonsense").start(watcher, lambda port: None)


def test_without_pyserial_it_says_how_to_get_it(watcher: EpollWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(PortError, match="needs pyserial: pip install pyserial"):
        open_link("socket://127.0.0.1:1").start(watcher, lambda port: None)


def test_pyserial_loopback_echoes(watcher: EpollWatcher) -> None:
    pytest.importorskip("serial")
    owner = Owner(open_link("loop://"), watcher)
    ports: list[Port] = owner.ports
    ports[0].write(b"round trip")
    watcher.run_until(lambda: owner.data[0] == b"round trip")
    owner.link.stop()

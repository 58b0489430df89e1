"""Links over TCP and unix sockets, with real sockets."""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from serialport.addresses import host_and_port
from serialport.port import HangUp, Link, Port, PortError
from serialport.sockets import GUESTS_MOST
from serialport.url import open_link
from tests.support.fake_watcher import EpollWatcher
from tests.support.gateway_process import free_port


class Owner:
    """Reads every port to its end."""

    def __init__(self, link: Link, watcher: EpollWatcher) -> None:
        self.link = link
        self.watcher = watcher
        self.ports: list[Port] = []
        self.data: list[bytes] = []
        self.notes: list[str] = []
        self.hangups = 0
        link.note = self.notes.append
        link.start(watcher, self.on_port)

    def on_port(self, port: Port) -> None:
        number = len(self.ports)
        self.ports.append(port)
        self.data.append(b"")

        def readable(_now: float) -> None:
            try:
                self.data[number] += port.read()
            except HangUp:
                self.hangups += 1
                self.watcher.unwatch_read(port.read_fd)
                port.close()

        self.watcher.watch_read(port.read_fd, readable)


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


@pytest.fixture(params=["tcp-listen", "unix-listen"])
def listening(request: pytest.FixtureRequest, watcher: EpollWatcher, tmp_path: Path) -> Iterator[tuple[Owner, object]]:
    if request.param == "tcp-listen":
        number = free_port()
        owner = Owner(open_link(f"tcp-listen:{number}"), watcher)
        yield owner, ("127.0.0.1", number)
    else:
        path = str(tmp_path / "sock")
        owner = Owner(open_link(f"unix-listen:{path}"), watcher)
        yield owner, path
    owner.link.stop()


def connect(address: object) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        sock.connect(address)  # type: ignore[arg-type]
    except OSError:
        sock.close()
        raise
    return sock


def test_a_guest_for_each_connection(listening: tuple[Owner, object], watcher: EpollWatcher) -> None:
    owner, address = listening
    guests = [connect(address) for _ in range(3)]
    watcher.run_until(lambda: len(owner.ports) == 3)
    for number, guest in enumerate(guests):
        guest.sendall(b"guest %d" % number)
    watcher.run_until(lambda: all(owner.data))
    assert owner.data == [b"guest 0", b"guest 1", b"guest 2"]
    assert len({port.name for port in owner.ports}) == 3
    assert owner.ports[1].write(b"only you") == 8
    assert guests[1].recv(100) == b"only you"
    guests[0].close()
    watcher.run_until(lambda: owner.hangups == 1)
    again = connect(address)
    watcher.run_until(lambda: len(owner.ports) == 4)
    for guest in (*guests, again):
        guest.close()
    watcher.run_until(lambda: owner.hangups == 4)
    assert watcher.run(0.05) == 0


def test_what_came_before_the_hangup_is_read_although_writes_fail(
    listening: tuple[Owner, object], watcher: EpollWatcher
) -> None:
    owner, address = listening
    guest = connect(address)
    watcher.run_until(lambda: len(owner.ports) == 1)
    guest.sendall(b"last words")
    guest.shutdown(socket.SHUT_RDWR)
    guest.close()
    for _ in range(5):
        assert owner.ports[0].write(b"hello?") == 6
    watcher.run_until(lambda: owner.hangups == 1)
    assert owner.data == [b"last words"]


def test_a_reset_is_a_hangup(watcher: EpollWatcher) -> None:
    number = free_port()
    owner = Owner(open_link(f"tcp-listen:127.0.0.1:{number}"), watcher)
    guest = connect(("127.0.0.1", number))
    watcher.run_until(lambda: len(owner.ports) == 1)
    guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    guest.close()
    watcher.run_until(lambda: owner.hangups == 1)
    owner.link.stop()


def test_a_full_socket_takes_no_more_and_says_so(listening: tuple[Owner, object], watcher: EpollWatcher) -> None:
    owner, address = listening
    guest = connect(address)
    watcher.run_until(lambda: len(owner.ports) == 1)
    port = owner.ports[0]
    while port.write(bytes(65536)):
        pass
    assert port.pending() > 3000
    guest.close()
    watcher.run_until(lambda: owner.hangups == 1)


def test_a_listener_has_an_end_to_its_guests(
    watcher: EpollWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serialport.sockets.GUESTS_MOST", 2)
    assert GUESTS_MOST == 256
    path = str(tmp_path / "s")
    owner = Owner(open_link(f"unix-listen:{path}"), watcher)
    guests = [connect(path) for _ in range(3)]
    watcher.run_until(lambda: bool(owner.notes))
    assert len(owner.ports) == 2
    assert guests[2].recv(1) == b""
    assert "turned away" in owner.notes[0]
    for guest in guests:
        guest.close()
    owner.link.stop()


def test_running_out_of_descriptors_is_no_busy_loop(
    watcher: EpollWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s")
    owner = Owner(open_link(f"unix-listen:{path}"), watcher)
    real = socket.socket.accept

    def out_of_descriptors(self: socket.socket) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("serialport.sockets.ACCEPT_PAUSE", 0.1)
    monkeypatch.setattr(socket.socket, "accept", out_of_descriptors)
    guest = connect(path)
    assert watcher.run(0.25) <= 6
    monkeypatch.setattr(socket.socket, "accept", real)
    watcher.run_until(lambda: len(owner.ports) == 1)
    guest.close()
    owner.link.stop()


# -- what is in the way


def test_a_port_in_use_is_one_sentence(watcher: EpollWatcher) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        number = sock.getsockname()[1]
        with pytest.raises(PortError, match=f"TCP port 127.0.0.1:{number} is in use by another program: end"):
            open_link(f"tcp-listen:{number}").start(watcher, lambda port: None)


def test_an_address_of_another_host_is_one_sentence(watcher: EpollWatcher) -> None:
    with pytest.raises(PortError, match="is not one of this host"):
        open_link("tcp-listen:192.0.2.1:4000").start(watcher, lambda port: None)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    first = open_link(f"unix-listen:{path}")
    first.start(watcher, lambda port: None)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(PortError, match="is in use by another program"):
        open_link(f"unix-listen:{path}").start(watcher, lambda port: None)
    assert path.exists()
    first.stop()
    assert not path.exists()


def test_a_file_in_the_way_is_left_alone(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("x")
    with pytest.raises(PortError, match="exists and is not a socket"):
        open_link(f"unix-listen:{path}").start(watcher, lambda port: None)
    assert path.read_text() == "x"


def test_a_missing_directory_is_one_sentence(watcher: EpollWatcher, tmp_path: Path) -> None:
    with pytest.raises(PortError, match="is not a directory, so"):
        open_link(f"unix-listen:{tmp_path}/no/s").start(watcher, lambda port: None)


def test_stopping_hangs_up_every_guest(listening: tuple[Owner, object], watcher: EpollWatcher) -> None:
    owner, address = listening
    guest = connect(address)
    watcher.run_until(lambda: len(owner.ports) == 1)
    watcher.unwatch_read(owner.ports[0].read_fd)
    owner.link.stop()
    assert guest.recv(1) == b""
    owner.ports[0].close()
    guest.close()
    with pytest.raises(OSError):
        connect(address)


# -- connecting


def test_a_connecting_link_waits_for_the_emulator_and_redials(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = str(tmp_path / "com1")
    owner = Owner(open_link(f"unix:{path}"), watcher)
    calls = watcher.run(0.5)
    assert calls <= 4
    assert len(owner.notes) == 1
    assert "does not exist yet" in owner.notes[0]
    emulator = socket.socket(socket.AF_UNIX)
    emulator.bind(path)
    emulator.listen()
    emulator.setblocking(True)
    for number in range(2):
        watcher.run_until(lambda: len(owner.ports) == number + 1)  # noqa: B023
        guest, _ = emulator.accept()
        guest.sendall(b"hello")
        guest.close()
        watcher.run_until(lambda: owner.hangups == number + 1)  # noqa: B023
        assert owner.data[number] == b"hello"
    owner.link.stop()
    emulator.close()


def test_tcp_connects_and_says_when_nobody_answers(watcher: EpollWatcher) -> None:
    number = free_port()
    owner = Owner(open_link(f"tcp:localhost:{number}"), watcher)
    watcher.run_until(lambda: bool(owner.notes))
    assert "does not answer (is the emulator running?)" in owner.notes[0]
    emulator = socket.create_server(("127.0.0.1", number))
    watcher.run_until(lambda: len(owner.ports) == 1)
    guest, _ = emulator.accept()
    assert owner.ports[0].write(b"x" * 10) == 10
    assert guest.recv(100) == b"x" * 10
    owner.link.stop()
    assert guest.recv(1) == b""
    guest.close()
    emulator.close()


def test_stopping_while_dialing_leaves_no_timer_and_no_descriptor(watcher: EpollWatcher, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    owner = Owner(open_link(f"unix:{tmp_path}/none"), watcher)
    owner.link.stop()
    assert watcher.run(0.4) == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unknown_host_is_one_sentence(watcher: EpollWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_named: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PortError, match="the host nowhere.invalid is not known"):
        open_link("tcp:nowhere.invalid:4000").start(watcher, lambda port: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1", ("a", 1)),
        ("[::1]:65535", ("::1", 65535)),
        (":4000", ("127.0.0.1", 4000)),
        ("4000", ("127.0.0.1", 4000)),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port("x", text, "127.0.0.1") == expected


@pytest.mark.parametrize("text", ["", "a", "a:", "a:0", "a:65536", "a:-1", "::1:4000", "a:٣", "a:4 0"])
def test_host_and_port_refuses(text: str) -> None:
    with pytest.raises(PortError):
        host_and_port("tcp:" + text, text, "127.0.0.1")


def test_a_name_without_one_of_its_addresses_still_listens(
    watcher: EpollWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = free_port()
    both = [(socket.AF_INET6, ("2001:db8::1", number)), (socket.AF_INET, ("127.0.0.1", number))]
    monkeypatch.setattr("serialport.sockets.resolve", lambda *_: both)
    link = open_link(f"tcp-listen:localhost:{number}")
    link.start(watcher, lambda port: None)
    connect(("127.0.0.1", number)).close()
    link.stop()

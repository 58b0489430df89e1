"""Frames as datagrams, over real unix sockets and UDP."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pppgate.ether.links.dgram import FRAMES_MOST, DgramPort
from pppgate.ether.links.port import EtherLink, FramePort
from pppgate.ether.links.url import open_ether
from serialport.port import HangUp, PortError
from tests.support.fake_watcher import EpollWatcher

FRAME = bytes(range(60))


def free_udp_ports() -> tuple[int, int]:
    """Two that follow each other."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("127.0.0.1", 0))
            number = first.getsockname()[1]
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
                    second.bind(("127.0.0.1", number + 1))
                    return number, number + 1
            except OSError:
                continue


class Emulator:
    """The other end of a link."""

    def __init__(self, family: int, local: Any, remote: Any) -> None:
        self.family, self.local, self.remote = family, local, remote

    def start(self) -> "Emulator":
        if self.family == socket.AF_UNIX:
            Path(self.local).unlink(missing_ok=True)
        self.sock = socket.socket(self.family, socket.SOCK_DGRAM)
        self.sock.bind(self.local)
        self.sock.settimeout(2)
        return self

    def say(self, frame: bytes) -> None:
        self.sock.sendto(frame, self.remote)


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


@pytest.fixture(params=["unix", "inet", "bochs"])
def cable(
    request: pytest.FixtureRequest, watcher: EpollWatcher, tmp_path: Path
) -> Iterator[tuple[EtherLink, FramePort, Emulator]]:
    if request.param == "unix":
        ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
        link = open_ether(f"ether:dgram:{ours}={theirs}")
        emulator = Emulator(socket.AF_UNIX, theirs, ours)
        assert link.path == f"{ours}={theirs}"
    else:
        low, high = free_udp_ports()
        emulator = Emulator(socket.AF_INET, ("127.0.0.1", low), ("127.0.0.1", high))
        link = open_ether(f"ether:dgram:127.0.0.1:{high}={low}" if request.param == "inet" else f"ether:bochs:{low}")
        assert link.path == (f"127.0.0.1:{high}=127.0.0.1:{low}" if request.param == "inet" else str(low))
    ports: list[FramePort] = []
    link.start(watcher, ports.append)
    assert len(ports) == 1  # at once: there is no connection
    emulator.start()
    yield link, ports[0], emulator
    emulator.sock.close()
    link.stop()
    assert watcher.run(0.01) == 0


def receive(watcher: EpollWatcher, port: FramePort, count: int = 1) -> list[bytes]:
    got: list[bytes] = []
    watcher.watch_read(port.fd, lambda now: got.extend(port.receive()))
    watcher.run_until(lambda: len(got) >= count)
    watcher.unwatch_read(port.fd)
    return got


def test_frames_both_ways(cable: tuple[EtherLink, FramePort, Emulator], watcher: EpollWatcher) -> None:
    _, port, emulator = cable
    assert port.receive() == []
    assert port.send([FRAME, FRAME * 25]) == 2
    assert [emulator.sock.recv(9999) for _ in range(2)] == [FRAME, FRAME * 25]
    for frame in (FRAME, FRAME[:14], FRAME * 150):
        emulator.say(frame)
    assert receive(watcher, port, 3) == [FRAME, FRAME[:14], FRAME * 150]
    assert not port.lossless


def test_what_is_no_frame_is_counted(cable: tuple[EtherLink, FramePort, Emulator], watcher: EpollWatcher) -> None:
    _, port, emulator = cable
    for frame in (b"", FRAME[:13], bytes(9019), bytes(20000), FRAME):
        emulator.say(frame)
    assert receive(watcher, port) == [FRAME]
    assert port.count == {"ether.empty": 1, "ether.short": 1, "ether.long": 2}


def test_no_emulator_neither_raises_nor_spins(
    cable: tuple[EtherLink, FramePort, Emulator], watcher: EpollWatcher
) -> None:
    _, port, emulator = cable
    emulator.sock.close()
    if emulator.family == socket.AF_UNIX:
        os.unlink(emulator.local)

    def readable(_now: float) -> None:
        port.receive()

    watcher.watch_read(port.fd, readable)
    for _ in range(10):
        assert port.send([FRAME] * 10) == 10  # lost, as on a cable without a card
        assert watcher.run(0.002) <= 2
    assert port.count["ether.no_peer"] > 10
    watcher.unwatch_read(port.fd)
    emulator.start()  # it comes back, and there is nothing to be done for it
    port.send([FRAME] * 3)
    assert emulator.sock.recv(100) == FRAME
    emulator.say(FRAME * 2)
    assert receive(watcher, port) == [FRAME * 2]


def test_closing_and_stopping(cable: tuple[EtherLink, FramePort, Emulator]) -> None:
    link, port, emulator = cable
    port.close()
    port.close()
    with pytest.raises(HangUp):
        port.receive()
    link.stop()
    assert emulator.family != socket.AF_UNIX or not os.path.exists(emulator.remote)


def test_a_call_takes_a_bounded_number(watcher: EpollWatcher) -> None:
    low, high = free_udp_ports()
    link = open_ether(f"ether:bochs:{low}")
    ports: list[FramePort] = []
    link.start(watcher, ports.append)
    emulator = Emulator(socket.AF_INET, ("127.0.0.1", low), ("127.0.0.1", high)).start()
    for _ in range(FRAMES_MOST + 5):
        emulator.say(FRAME)
    assert len(ports[0].receive()) == FRAMES_MOST
    assert len(ports[0].receive()) == 5
    for _ in range(20):
        emulator.say(bytes(9000))
    assert len(ports[0].receive()) == 8  # 64 KB
    emulator.sock.close()
    link.stop()


@pytest.mark.parametrize("size", [60, 1514, 9018])
def test_a_full_queue_blocks_and_is_told_of(size: int, watcher: EpollWatcher, tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    link = open_ether(f"ether:dgram:{ours}={theirs}")
    ports: list[FramePort] = []
    link.start(watcher, ports.append)
    port = ports[0]
    emulator = Emulator(socket.AF_UNIX, theirs, ours).start()
    frames = [n.to_bytes(4, "big") * (size // 4) + bytes(size % 4) for n in range(300)]
    sent = port.send(frames)
    assert 0 < sent < 60  # little waits ahead of a new packet
    calls = [0]

    def writable(_now: float) -> None:
        nonlocal sent
        calls[0] += 1
        sent += port.send(frames[sent:])

    watcher.watch_write(port.fd, writable)
    assert watcher.run(0.02) == 0  # nobody reads: no busy loop
    got: list[bytes] = []
    while len(got) < len(frames):
        got.append(emulator.sock.recv(9999))
        watcher.run_once(0)
    watcher.unwatch_write(port.fd)
    assert got == frames
    assert not port.count
    assert calls[0] > 3
    emulator.sock.close()
    link.stop()


def test_a_queue_full_of_others_frames_loses_ours_and_does_not_spin() -> None:
    """Refused, although poll(2) says writable."""

    class Refusing:
        def sendto(self, _frame: bytes, _address: str) -> int:
            raise BlockingIOError

    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    port = DgramPort("x", ours, "/tmp/theirs", lambda: None)
    port._sock = Refusing()  # type: ignore[assignment]
    assert port.send([FRAME] * 5) == 5
    assert port.count == {"ether.peer_full": 5}
    ours.close()


def test_only_the_emulators_datagrams_come_in(watcher: EpollWatcher, tmp_path: Path) -> None:
    low, high = free_udp_ports()
    link = open_ether(f"ether:bochs:{low}")
    ports: list[FramePort] = []
    link.start(watcher, ports.append)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(FRAME, ("127.0.0.1", high))
    assert ports[0].receive() == []
    link.stop()


def test_a_unix_socket_is_the_owners_and_a_stale_one_is_replaced(watcher: EpollWatcher, tmp_path: Path) -> None:
    ours = str(tmp_path / "ours")
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(ours)
    dead.close()
    link = open_ether(f"ether:dgram:{ours}={tmp_path}/theirs")
    link.start(watcher, lambda port: None)
    assert stat.S_IMODE(os.stat(ours).st_mode) == 0o600
    with pytest.raises(PortError, match="is in use by another program"):
        open_ether(f"ether:dgram:{ours}={tmp_path}/theirs").start(watcher, lambda port: None)
    link.stop()
    assert not os.path.exists(ours)


# -- what a person may get wrong


def test_a_port_in_use_is_one_sentence(watcher: EpollWatcher) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"The UDP port 127.0.0.1:{number} is in use by another program: end"):
            open_ether(f"ether:bochs:{number - 1}").start(watcher, lambda port: None)
        with pytest.raises(PortError, match="is in use"):
            open_ether(f"ether:dgram:{number}=127.0.0.1:9").start(watcher, lambda port: None)


def test_a_missing_directory_is_one_sentence(watcher: EpollWatcher, tmp_path: Path) -> None:
    with pytest.raises(PortError, match="is not a directory, so"):
        open_ether(f"ether:dgram:{tmp_path}/no/ours={tmp_path}/theirs").start(watcher, lambda port: None)


def test_a_file_in_the_way_is_left_alone(watcher: EpollWatcher, tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("x")
    with pytest.raises(PortError, match="exists and is not a socket"):
        open_ether(f"ether:dgram:{tmp_path}/ours={tmp_path}/theirs").start(watcher, lambda port: None)
    assert (tmp_path / "ours").read_text() == "x"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("/tmp/a", "write ether:dgram:LOCAL=REMOTE"),
        ("/tmp/a=", "write ether:dgram:LOCAL=REMOTE"),
        ("=/tmp/a", "write ether:dgram:LOCAL=REMOTE"),
        ("/tmp/a=/tmp/b=/tmp/c", "write ether:dgram:LOCAL=REMOTE"),
        ("/tmp/a=4000", "of one kind"),
        ("127.0.0.1:4000=/tmp/a", "of one kind"),
        ("/tmp/a=/tmp/../tmp/a", "the two ends are the same"),
        ("4000=127.0.0.1:4000", "the two ends are the same"),
        ("4000=70000", "a port from 1 to 65535"),
        ("127.0.0.1:4000=[::1]:4001", "one end is an IPv4 address"),
        (f"/tmp/a=/{'x' * 120}", "too long for a unix socket"),
    ],
)
def test_ends_that_are_not_understood(where: str, words: str) -> None:
    with pytest.raises(PortError, match=words):
        open_ether(f"ether:dgram:{where}")


@pytest.mark.parametrize("where", ["x", "0", "65535", "65536", "-1", "1.5", "٣", "127.0.0.1:4000", "9" * 30])
def test_ports_for_bochs_that_are_not_understood(where: str) -> None:
    with pytest.raises(PortError, match="write ether:bochs:PORT"):
        open_ether(f"ether:bochs:{where}")

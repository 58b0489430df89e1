"""A plug in a VDE switch, of which there is as much here as a plug sees."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pppgate.ether.links.port import FramePort
from pppgate.ether.links.url import open_ether
from serialport.port import HangUp
from tests.support.fake_watcher import EpollWatcher

FRAME = bytes(range(60))


class Switch:
    """Accepts one plug at a time."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "ctl").unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / "ctl"))
        self.listener.listen()
        self.data_path = str(directory / "data")
        Path(self.data_path).unlink(missing_ok=True)
        self.data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.data.bind(self.data_path)
        self.data.settimeout(2)

    def accept(self) -> bytes:
        """Take a plug's request; returns the path in it."""
        self.plug, _ = self.listener.accept()
        request = self.plug.recv(4096)
        assert len(request) == 12 + 110 + 128
        magic, version, kind, family = struct.unpack_from("=IIIH", request)
        assert (magic, version, kind, family) == (0xFEEDFACE, 3, 0, socket.AF_UNIX)
        return request[14:122].rstrip(b"\0")

    def answer(self) -> None:
        self.plug.sendall(struct.pack("=H108s", socket.AF_UNIX, self.data_path.encode()))

    def close(self) -> None:
        for sock in (self.listener, self.data, self.plug):
            sock.close()


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EpollWatcher]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


def test_frames_both_ways_and_the_end(watcher: EpollWatcher, tmp_path: Path) -> None:
    switch = Switch(tmp_path / "switch")
    link = open_ether(f"ether:vde:{tmp_path}/switch")
    ports: list[FramePort] = []
    notes: list[str] = []
    link.note = notes.append
    link.start(watcher, ports.append)
    path = switch.accept()
    assert path.startswith(os.fsencode(tmp_path) + b"/pppgate-")
    watcher.run(0.01)
    assert ports == []
    switch.answer()
    watcher.run_until(lambda: bool(ports))
    port = ports[0]
    assert port.send([FRAME]) == 1
    assert switch.data.recv(100) == FRAME
    switch.data.sendto(FRAME * 2, path)
    assert port.receive() == [FRAME * 2]
    switch.close()
    gone = []

    def readable(_now: float) -> None:
        try:
            port.receive()
        except HangUp as reason:
            gone.append(str(reason))
            watcher.unwatch_read(port.fd)
            port.close()

    watcher.watch_read(port.fd, readable)
    watcher.run_until(lambda: bool(gone))
    assert gone == ["was unplugged: the switch has gone"]
    assert not os.path.exists(path)
    again = Switch(tmp_path / "switch")  # dialed again
    again.listener.settimeout(2)
    watcher.run(0.3)
    again.accept()
    again.answer()
    watcher.run_until(lambda: len(ports) == 2)
    link.stop()
    assert again.plug.recv(1) == b""
    again.close()
    assert notes == []
    assert not list(tmp_path.glob("*.vde"))
    assert watcher.run(0.02) == 0


def test_no_switch_is_one_note(watcher: EpollWatcher, tmp_path: Path) -> None:
    link = open_ether(f"ether:vde:{tmp_path}/none")
    notes: list[str] = []
    link.note = notes.append
    link.start(watcher, lambda port: None)
    assert watcher.run(0.5) <= 3
    assert notes == [f"{tmp_path}/none is no VDE switch (is vde_switch running?); trying again until it does."]
    link.stop()
    assert watcher.run(0.3) == 0


@pytest.mark.parametrize(
    "answer", [b"", b"\1", b"\0" * 110, b"\1\0", b"HTTP/1.0 400 Bad Request\r\n", b"\1\0" + b"x" * 300]
)
def test_what_is_no_switch_is_given_up_and_tried_again(answer: bytes, watcher: EpollWatcher, tmp_path: Path) -> None:
    switch = Switch(tmp_path / "switch")
    link = open_ether(f"ether:vde:{tmp_path}/switch")
    notes: list[str] = []
    link.note = notes.append
    link.start(watcher, lambda port: pytest.fail("a port"))
    switch.accept()
    switch.plug.sendall(answer)
    switch.plug.shutdown(socket.SHUT_WR)
    watcher.run_until(lambda: bool(notes))
    assert notes[0].startswith(f"{tmp_path}/switch " + ("does not answer as a VDE" if answer else "turns us away"))
    assert not list(tmp_path.glob("*.vde"))
    link.stop()
    switch.close()


def test_silence_is_given_up(watcher: EpollWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pppgate.ether.links.vde.ANSWER_TIMEOUT", 0.05)
    switch = Switch(tmp_path / "switch")
    link = open_ether(f"ether:vde:{tmp_path}/switch")
    notes: list[str] = []
    link.note = notes.append
    link.start(watcher, lambda port: None)
    switch.accept()
    watcher.run_until(lambda: bool(notes))
    assert notes == [f"{tmp_path}/switch does not answer; trying again until it does."]
    link.stop()
    switch.close()

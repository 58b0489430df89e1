"""open_ether, and links over a descriptor that was left open."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pppgate.ether.links.port import FramePort
from pppgate.ether.links.url import FORMS, open_ether
from serialport.port import HangUp, PortError
from tests.support.fake_watcher import EpollWatcher

FRAME = bytes(range(60))


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_form_without_its_rest_is_answered_with_the_form(form: str) -> None:
    kind = form.split(":")[1]
    with pytest.raises(PortError) as raised:
        open_ether(f"ether:{kind}:")
    assert str(raised.value) == f"ether:{kind}: is not complete: write {form}."


@pytest.mark.parametrize("url", ["ether:", "ether:unix-listen", "ether:unix:/tmp/x", "ether:eth0", "ether::/tmp/x"])
def test_what_is_no_form_is_answered_with_all_of_them(url: str) -> None:
    with pytest.raises(PortError) as raised:
        open_ether(url)
    assert all(form in str(raised.value) for form in FORMS)


@pytest.mark.parametrize(
    ("url", "scheme", "path"),
    [
        ("ether:unix-listen:/tmp/e", "ether:unix-listen", "/tmp/e"),
        ("ether:tcp-listen:4000", "ether:tcp-listen", "127.0.0.1:4000"),
        ("ether:tcp-listen:[::1]:4000", "ether:tcp-listen", "[::1]:4000"),
        ("ether:dgram:/tmp/a=/tmp/b", "ether:dgram", "/tmp/a=/tmp/b"),
        ("ether:bochs:40000", "ether:bochs", "40000"),
        ("ether:vde:/tmp/switch", "ether:vde", "/tmp/switch"),
        ("ether:fd:7", "ether:fd", ""),
    ],
)
def test_what_a_link_says_of_itself(url: str, scheme: str, path: str) -> None:
    link = open_ether(url)
    assert (link.url, link.scheme, link.path) == (url, scheme, path)
    assert "Ethernet" in link.description or "VDE" in link.description


@pytest.mark.parametrize(
    "url",
    [
        "ether:tcp-listen:x",
        "ether:tcp-listen:0",
        "ether:fd:x",
        "ether:fd:-1",
        "ether:fd:1",
        "ether:fd:" + "9" * 40,
        "ether:fd:٣",
        "ether:unix-listen:/tmp/" + "x" * 120,
    ],
)
def test_a_rest_that_is_not_understood_is_one_sentence(url: str) -> None:
    with pytest.raises(PortError) as raised:
        open_ether(url)
    assert "\n" not in str(raised.value)


# -- ether:fd:N


class Owner:
    def __init__(self, fd: int, watcher: EpollWatcher) -> None:
        self.link = open_ether(f"ether:fd:{fd}")
        self.ports: list[FramePort] = []
        self.ends = 0
        self.link.ended = self.ended
        self.link.start(watcher, self.ports.append)

    def ended(self) -> None:
        self.ends += 1


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_an_inherited_socket(kind: socket.SocketKind, watcher: EpollWatcher) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    length = struct.pack("!I", 60) if kind == socket.SOCK_STREAM else b""
    owner = Owner(ours.detach(), watcher)
    port = owner.ports[0]
    theirs.send(length + FRAME)
    assert port.receive() == [FRAME]
    assert port.receive() == []
    assert port.send([FRAME]) == 1
    assert theirs.recv(100) == length + FRAME
    theirs.send(length + FRAME)
    theirs.close()
    assert port.receive() == [FRAME]
    if kind == socket.SOCK_DGRAM:
        assert port.receive() == []  # nobody tells
    else:
        with pytest.raises(HangUp, match="closed by the other side"):
            port.receive()
    assert owner.ends == 0
    port.close()
    assert owner.ends == 1
    owner.link.stop()
    assert owner.ends == 1


def test_stopping_closes_it_and_is_no_end(watcher: EpollWatcher) -> None:
    ours, theirs = socket.socketpair()
    owner = Owner(ours.detach(), watcher)
    owner.link.stop()
    assert theirs.recv(1) == b""
    assert owner.ends == 0
    theirs.close()


def test_descriptors_that_carry_no_frames(watcher: EpollWatcher, tmp_path: Path) -> None:
    closed = os.dup(0)
    os.close(closed)
    with pytest.raises(PortError, match=f"descriptor {closed} is not open"):
        Owner(closed, watcher)
    with (tmp_path / "file").open("w") as file, pytest.raises(PortError, match="is not a socket"):
        Owner(file.fileno(), watcher)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(PortError, match="is a listening socket"):
            Owner(listener.fileno(), watcher)
        assert listener.getsockname()  # and is left open
    with socket.socket() as alone, pytest.raises(PortError, match="is not connected"):
        Owner(alone.fileno(), watcher)

"""What ports say of themselves, and which links wait for somebody to come."""

import json
import os
import socket

import pytest

from serialport.fdport import FdPort, SocketPort, outstanding
from serialport.pty import PtyPort
from serialport.url import open_link


def test_a_socket_is_plain_data_also_when_it_is_closed() -> None:
    ours, theirs = socket.socketpair()
    port = SocketPort("/tmp/com1", ours, lambda: None)
    assert json.loads(json.dumps(port.status())) == {
        "name": "/tmp/com1",
        "kind": "socket",
        "hides_queue": False,
        "dribbles": False,
        "pending": 0,
    }
    port.write(b"x" * 100)
    assert port.status()["pending"] == 100
    port.close()
    theirs.close()
    assert port.status()["pending"] == -1


def test_a_terminal_and_a_pipe_are_told_apart() -> None:
    master, slave = os.openpty()
    read, write = os.pipe()
    terminal = FdPort("tty", slave, slave, lambda: None, outstanding(slave))
    pipe = FdPort("stdio", read, write, lambda: None, outstanding(write))
    pty = PtyPort("pty", master, slave, lambda: None)
    assert [port.status()["kind"] for port in (terminal, pipe, pty)] == ["terminal", "pipe", "pty"]
    assert [port.status()["dribbles"] for port in (terminal, pipe, pty)] == [True, False, True]
    for fd in (master, slave, read, write):
        os.close(fd)


@pytest.mark.parametrize(
    ("url", "outward"),
    [
        ("pty:", False),
        ("stdio:", False),
        ("tcp-listen:4000", False),
        ("unix-listen:/tmp/x", False),
        ("tcp:localhost:4000", True),
        ("unix:/tmp/x", True),
        ("tty:/dev/ttyS0", True),
        ("serial:/dev/ttyS0@9600", True),
    ],
)
def test_whether_a_link_goes_out_to_something(url: str, outward: bool) -> None:
    assert open_link(url).outward is outward

"""The lines to paste into an emulator."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pppgate.hints import hints, start_lines
from pppgate.links import open_links
from serialport.port import LinkBase, Port, Watcher
from serialport.url import open_link
from tests.serialport.test_sockets import Owner
from tests.support.fake_watcher import EpollWatcher


class Made(LinkBase):
    """A link that is never started."""

    slave_path = ""

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        raise AssertionError("nobody starts it")

    def stop(self) -> None:
        raise AssertionError("nobody stops it")


def link(url: str, scheme: str, path: str) -> Made:
    made = Made(url, scheme)
    made.path = path
    return made


def test_a_pty_with_a_symlink() -> None:
    made = link("pty:/tmp/com1", "pty", "/tmp/com1")
    made.slave_path = "/dev/pts/7"
    lines = hints(made)
    assert "QEMU      -chardev serial,id=ppp,path=/tmp/com1 -device isa-serial,chardev=ppp" in lines
    assert any("local nocrtscts" in line for line in lines), "QEMU's guest sees no modem lines on a pty"
    assert "Bochs     com1: enabled=1, mode=term, dev=/tmp/com1" in lines
    assert "DOSBox-X  serial1=directserial realport:pts/7" in lines
    assert "UML       ssl0=tty:/tmp/com1" in lines
    assert any("host_serial_path = /tmp/com1" in line for line in lines)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "tcp-listen:4000",
            [
                "QEMU      -chardev socket,id=ppp,host=127.0.0.1,port=4000 -device isa-serial,chardev=ppp",
                "Bochs     com1: enabled=1, mode=socket-client, dev=127.0.0.1:4000",
                "DOSBox-X  serial1=nullmodem server:127.0.0.1 port:4000 transparent:1",
            ],
        ),
        (
            "tcp-listen:0.0.0.0:4000",
            ["Bochs     com1: enabled=1, mode=socket-client, dev=127.0.0.1:4000"],
        ),
        (
            "tcp:127.0.0.1:4000",
            [
                "QEMU      -chardev socket,id=ppp,host=127.0.0.1,port=4000,server=on,wait=off "
                "-device isa-serial,chardev=ppp",
                "Bochs     com1: enabled=1, mode=socket-server, dev=127.0.0.1:4000",
                "DOSBox-X  serial1=nullmodem port:4000 transparent:1",
            ],
        ),
        (
            "unix-listen:/tmp/a,b",
            ["QEMU      -chardev socket,id=ppp,path=/tmp/a,,b -device isa-serial,chardev=ppp"],
        ),
        (
            "unix:/tmp/s",
            ["QEMU      -chardev socket,id=ppp,path=/tmp/s,server=on,wait=off -device isa-serial,chardev=ppp"],
        ),
        (
            "serial:/dev/ttyUSB0@9600",
            ["pppd      on the other end of the cable: pppd ttyS0 9600 crtscts local"],
        ),
        ("tty:/dev/pts/3", ["the emulator that made this pseudo-terminal needs nothing more"]),
        ("stdio:", ["socat     socat /dev/pts/N,raw,echo=0 EXEC:'pppgate stdio:'"]),
    ],
)
def test_each_kind_of_link(url: str, expected: list[str]) -> None:
    text = "\n".join(hints(open_link(url)))
    for line in expected:
        assert line in text


NE2K = "-device ne2k_pci,netdev=net"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "ether:unix-listen:/tmp/a,b",
            f"QEMU      -netdev stream,id=net,addr.type=unix,addr.path=/tmp/a,,b {NE2K}",
        ),
        (
            "ether:tcp-listen:0.0.0.0:4000",
            f"QEMU      -netdev stream,id=net,addr.type=inet,addr.host=127.0.0.1,addr.port=4000 {NE2K}",
        ),
        (
            "ether:dgram:/tmp/ours=/tmp/theirs",
            "QEMU      -netdev dgram,id=net,local.type=unix,local.path=/tmp/theirs,"
            f"remote.type=unix,remote.path=/tmp/ours {NE2K}",
        ),
        (
            "ether:dgram:127.0.0.1:4000=127.0.0.1:4001",
            "QEMU      -netdev dgram,id=net,local.type=inet,local.host=127.0.0.1,local.port=4001,"
            f"remote.type=inet,remote.host=127.0.0.1,remote.port=4000 {NE2K}",
        ),
        ("ether:bochs:4000", "Bochs     ne2k: ioaddr=0x300, irq=10, mac=52:54:00:12:34:56, ethmod=socket, ethdev=4000"),
        (
            "ne2k:vfio-user:/tmp/n",
            """-device '{"driver": "vfio-user-pci", "socket": {"type": "unix", "path": "/tmp/n"}}'""",
        ),
        ("uart:vfio-user:/tmp/u", "memory-backend-memfd"),
    ],
)
def test_each_kind_of_card(url: str, expected: str) -> None:
    links = open_links((url,))
    assert expected in "\n".join(hints(links.all[0]))


def test_the_start_lines_begin_with_what_the_link_is() -> None:
    lines = start_lines(open_link("tcp-listen:4000"))
    assert lines[0] == "Waiting for guests on TCP port 127.0.0.1:4000, a guest for each connection."
    assert all(line.startswith("    ") for line in lines[1:])


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86_64")
def test_qemu_takes_the_line_for_a_unix_socket(tmp_path: Path) -> None:
    """A machine that is never started is enough for QEMU to open its serial port."""
    import socket

    path = tmp_path / "a,b"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        line = hints(open_link(f"unix-listen:{path}"))[0].removeprefix("QEMU").split()
        command = ["qemu-system-x86_64", "-accel", "tcg", "-display", "none", "-nodefaults", "-S", *line]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as qemu:
            try:
                guest, _ = listener.accept()
                guest.close()
            finally:
                qemu.terminate()
                assert qemu.stderr is not None
                errors = qemu.stderr.read()
    assert b"rror" not in errors


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86_64")
@pytest.mark.parametrize(
    "url", ["ether:unix-listen:{0}/a,b", "ether:dgram:{0}/a={0}/b", "ether:dgram:127.0.0.1:40777=127.0.0.1:40778"]
)
def test_qemu_takes_the_line_for_a_card(tmp_path: Path, url: str) -> None:
    """It says so if it does not understand a word; a guest that is never started sends nothing."""
    url = url.format(tmp_path)
    watcher = EpollWatcher()
    link = open_links((url,)).ether[0]
    ports: list[object] = []
    link.start(watcher, ports.append)
    line = hints(link)[0].removeprefix("QEMU").split()
    command = ["qemu-system-x86_64", "-accel", "tcg", "-display", "none", "-nodefaults", "-S", *line]
    with subprocess.Popen(
        [*command, "-monitor", "stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as qemu:
        try:
            watcher.run_until(lambda: bool(ports), 20)
            said, errors = qemu.communicate("info network\nquit\n", timeout=20)
        finally:
            qemu.kill()
    link.stop()
    watcher.close()
    assert "error" not in errors.lower() and "ne2k_pci" in said, errors


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86_64")
def test_qemu_takes_the_line_for_a_pty_and_comes_and_goes(tmp_path: Path) -> None:
    watcher = EpollWatcher()
    owner = Owner(open_link(f"pty:{tmp_path}/com1"), watcher)
    line = hints(owner.link)[0].removeprefix("QEMU").split()
    command = ["qemu-system-x86_64", "-accel", "tcg", "-display", "none", "-nodefaults", "-S", *line]
    for number in range(2):
        with subprocess.Popen(command, stderr=subprocess.PIPE) as qemu:
            try:
                watcher.run_until(lambda: len(owner.ports) == number + 1, 20)  # noqa: B023
                watcher.run(0.2)
                assert owner.hangups == number
            finally:
                qemu.kill()
        watcher.run_until(lambda: owner.hangups == number + 1)  # noqa: B023
    owner.link.stop()
    watcher.close()

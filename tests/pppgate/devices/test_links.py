"""What the user writes, and links with real sockets: several cards, coming back, and what is left behind: nothing."""

import os
import select
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pppgate.devices.links import DeviceLink, open_ne2k, open_uart
from serialport.port import HangUp, PortError
from tests.support import vfio_client as vfio
from tests.support.fake_watcher import EpollWatcher
from tests.support.vfio_client import Answer, answers

DLAB, DTR_RTS_OUT2 = 0x80, 0x0B


class World:
    """A started link, its ports, and clients of it."""

    def __init__(self, link: DeviceLink) -> None:
        self.link = link
        self.watcher = EpollWatcher()
        self.ports: list[Any] = []
        self.notes: list[str] = []
        self.clients: list[socket.socket] = []
        link.note = self.notes.append
        link.start(self.watcher, self.ports.append)

    def plug(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(self.link.path)
        self.clients.append(client)
        self.ask(client, vfio.version())
        return client

    def ask(self, client: socket.socket, data: bytes) -> list[Answer]:
        client.sendall(data)
        self.watcher.run_until(lambda: bool(select.select([client], [], [], 0)[0]))
        return answers(client.recv(65536))

    def open_line(self, client: socket.socket, *sent: int) -> None:
        """As a driver that is opened: 8 data bits, DTR, RTS and OUT2; then what the guest sends."""
        self.ask(client, vfio.write(3, b"\x03") + vfio.write(4, bytes([DTR_RTS_OUT2])))
        if sent:
            self.ask(client, b"".join(vfio.write(0, bytes([octet])) for octet in sent))

    def unplug(self, client: socket.socket) -> None:
        guests = len(self.link._guests)
        client.close()
        self.watcher.run_until(lambda: len(self.link._guests) < guests)

    def register(self, client: socket.socket, offset: int) -> int:
        return self.ask(client, vfio.read(offset))[0].body[16]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.link.stop()
        for port in self.ports:
            port.close()
        self.watcher.close()


@pytest.fixture
def uart(tmp_path: Path) -> Iterator[World]:
    world = World(open_uart(f"uart:vfio-user:{tmp_path}/com"))
    yield world
    world.close()


@pytest.fixture
def ne2k(tmp_path: Path) -> Iterator[World]:
    world = World(open_ne2k(f"ne2k:vfio-user:{tmp_path}/eth,mac=52:54:00:12:34:56"))
    yield world
    world.close()


# What the user writes


@pytest.mark.parametrize("url", ["uart:vfio-user:/tmp/a", "uart:vfio-user:/tmp/a,model=16750,pace=line"])
def test_a_uart_is_understood(url: str) -> None:
    link = open_uart(url)
    assert (link.url, link.scheme, link.path) == (url, "uart:vfio-user", "/tmp/a")
    assert ("16750" if "16750" in url else "16550A") in link.description


@pytest.mark.parametrize("options", ["", ",memory=32k", ",mac=52:54:00:12:34:56,memory=16k", ",mac=52-54-00-aa-bb-cc"])
def test_an_ne2000_is_understood(options: str) -> None:
    link = open_ne2k(f"ne2k:vfio-user:/tmp/a{options}")
    assert (link.scheme, link.path) == ("ne2k:vfio-user", "/tmp/a")


@pytest.mark.parametrize(
    "url, word",
    [
        ("uart:", "uart:vfio-user:"),
        ("uart:vfio-user:", "uart:vfio-user:"),
        ("uart:vfio:/tmp/a", "uart:vfio-user:"),
        ("uart:vfio-user:/tmp/a,model=9999", "16550A"),
        ("uart:vfio-user:/tmp/a,pace=fast", "none, line"),
        ("uart:vfio-user:/tmp/a,modle=16550A", "did you mean model="),
        ("uart:vfio-user:/tmp/a,mac=52:54:00:12:34:56", "model= and pace="),
        ("uart:vfio-user:/tmp/a,model", "model"),
        ("uart:vfio-user:/tmp/a,", "model= and pace="),
        ("uart:vfio-user:/" + "x" * 120, "too long"),
        ("ne2k:vfio-user:/tmp/a,mac=52:54", "52:54"),
        ("ne2k:vfio-user:/tmp/a,mac=01:00:5e:00:00:01", "group"),
        ("ne2k:vfio-user:/tmp/a,mac=00:00:00:00:00:00", "nobody"),
        ("ne2k:vfio-user:/tmp/a,memory=64k", "16k, 32k"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(url: str, word: str) -> None:
    with pytest.raises(PortError) as caught:
        (open_uart if url.startswith("uart") else open_ne2k)(url)
    assert word in str(caught.value)
    assert str(caught.value).endswith(".") or str(caught.value).endswith("?")


def test_an_assigned_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (f"{tmp_path}/file", f"{tmp_path}/nowhere/sock"):
        with pytest.raises(PortError):
            open_uart(f"uart:vfio-user:{path}").start(EpollWatcher(), print)


# The socket


def test_the_socket_is_ours_alone_and_goes_with_us(uart: World) -> None:
    assert stat.S_IMODE(os.stat(uart.link.path).st_mode) == 0o600
    uart.link.stop()
    assert not os.path.exists(uart.link.path)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(f"{tmp_path}/sock")
        old.listen()
    world = World(open_uart(f"uart:vfio-user:{tmp_path}/sock"))
    world.plug()
    world.close()


# A UART


def test_a_port_comes_when_the_guest_opens_its_line_and_carries_octets(uart: World) -> None:
    client = uart.plug()
    assert not uart.ports
    uart.open_line(client, *b"hello")
    (port,) = uart.ports
    assert port.name == f"{uart.link.path}#1"
    assert port.read() == b"hello"
    assert port.write(b"you") == 3
    assert bytes(uart.register(client, 0) for _ in range(3)) == b"you"


def test_the_divisor_is_behind_wide_accesses_too(uart: World) -> None:
    client = uart.plug()
    uart.ask(client, vfio.write(3, bytes([DLAB])))
    uart.ask(client, vfio.write(0, struct.pack("<H", 0x1234)))
    assert uart.ask(client, vfio.read(0, 2))[0].body[16:] == b"\x34\x12"
    assert uart.ask(client, vfio.read(0, 4))[0].body[16:18] == b"\x34\x12"


def test_the_emulator_is_killed_and_started_again(uart: World) -> None:
    client = uart.plug()
    uart.open_line(client, *b"x")
    uart.unplug(client)
    (port,) = uart.ports
    assert port.read() == b"x"
    with pytest.raises(HangUp):
        port.read()
    port.close()
    again = uart.plug()
    assert uart.register(again, 4) == 0  # a new chip
    uart.open_line(again)
    assert [port.name for port in uart.ports] == [f"{uart.link.path}#1", f"{uart.link.path}#2"]


def test_a_reset_of_the_guest_hangs_up_and_the_next_start_makes_a_new_port(uart: World) -> None:
    client = uart.plug()
    uart.open_line(client)
    uart.ask(client, vfio.message(vfio.RESET))
    with pytest.raises(HangUp):
        uart.ports[0].read()
    uart.ports[0].close()
    uart.open_line(client)
    assert len(uart.ports) == 2


def test_several_cards_on_one_socket(uart: World) -> None:
    clients = [uart.plug() for _ in range(3)]
    for number, client in enumerate(clients):
        uart.open_line(client, 0x30 + number)
    assert [port.read() for port in uart.ports] == [b"0", b"1", b"2"]
    assert len(uart.notes) == 2 and "same emulator" in uart.notes[0]  # they are all this process's


def test_the_model_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    for model, enabled in (("8250", 0x01), ("16550A", 0xC1)):
        world = World(open_uart(f"uart:vfio-user:{tmp_path}/{model},model={model}"))
        client = world.plug()
        world.ask(client, vfio.write(2, b"\x01"))
        assert world.register(client, 2) == enabled
        world.close()


@pytest.mark.parametrize(("pace", "status"), [("none", 0x60), ("line", 0x00)])
def test_the_pace_is_the_one_that_was_asked_for(tmp_path: Path, pace: str, status: int) -> None:
    world = World(open_uart(f"uart:vfio-user:{tmp_path}/com,pace={pace}"))
    client = world.plug()
    for register, value in ((3, 0x80), (1, 0xFF), (3, 0x03), (4, 0x03), (0, 0x55), (0, 0x55)):
        world.ask(client, vfio.write(register, bytes((value,))))
    assert world.register(client, 5) == status  # at less than two baud, the second octet waits for the first
    world.close()


@pytest.mark.parametrize(("memory", "last"), [("16k", 0x7FFF), ("32k", 0xBFFF)])
def test_the_memory_is_as_large_as_was_asked_for(tmp_path: Path, memory: str, last: int) -> None:
    world = World(open_ne2k(f"ne2k:vfio-user:{tmp_path}/eth,memory={memory}"))
    client = world.plug()
    read = bytearray()
    for address in (last, last + 1):
        for command in (0x12, 0x0A):  # remote write, remote read
            for register, value in ((14, 0x48), (8, address & 0xFF), (9, address >> 8), (10, 1), (11, 0), (0, command)):
                world.ask(client, vfio.write(register, bytes((value,))))
            if command == 0x12:
                world.ask(client, vfio.write(0x10, b"\xa5"))
        read.append(world.register(client, 0x10))
    assert read == b"\xa5\xff"
    world.close()


def test_nonsense_ends_the_connection_and_is_told(uart: World) -> None:
    client = uart.plug()
    client.sendall(b"Hello? Is anybody there?")
    uart.watcher.run_until(lambda: bool(uart.notes))
    assert client.recv(10) == b""
    assert len(uart.notes) == 1 and uart.notes[0].startswith(f"{uart.link.path}#1 ")
    assert uart.link.count == {"vfio.message_size": 1}
    uart.plug()


def test_stop_hangs_up(uart: World) -> None:
    client = uart.plug()
    uart.open_line(client)
    uart.link.stop()
    with pytest.raises(HangUp):
        uart.ports[0].read()
    assert client.recv(10) == b""


# An NE2000


def mac(world: World, client: socket.socket) -> str:
    """As a driver reads it: remote DMA of the PROM's 12 octets, each of them twice."""
    for offset, value in ((0x00, 0x21), (0x0E, 0x48), (0x0A, 12), (0x0B, 0), (0x08, 0), (0x09, 0), (0x00, 0x0A)):
        world.ask(client, vfio.write(offset, bytes([value])))
    return ":".join(f"{world.register(client, 0x10):02x}" for _ in range(12))


def test_a_card_has_its_address_and_the_next_one_the_next(ne2k: World) -> None:
    first, second = ne2k.plug(), ne2k.plug()
    assert len(ne2k.ports) == 2
    assert mac(ne2k, first) == "52:52:54:54:00:00:12:12:34:34:56:56"
    assert mac(ne2k, second) == "52:52:54:54:00:00:12:12:34:34:57:57"
    ne2k.unplug(first)
    assert mac(ne2k, ne2k.plug()) == "52:52:54:54:00:00:12:12:34:34:56:56"


def test_an_address_of_our_own_is_the_same_each_time_and_differs_by_socket(tmp_path: Path) -> None:
    found = []
    for name in ("a", "a", "b"):
        world = World(open_ne2k(f"ne2k:vfio-user:{tmp_path}/{name}"))
        found.append(mac(world, world.plug()))
        world.close()
    assert found[0] == found[1] != found[2]
    assert found[0].startswith("52:52:54:54:00:00")


def test_the_ports_name_and_its_end(ne2k: World) -> None:
    client = ne2k.plug()
    (port,) = ne2k.ports
    assert port.name == f"{ne2k.link.path}#1"
    assert port.lossless
    assert port.receive() == []
    ne2k.unplug(client)
    with pytest.raises(HangUp):
        port.receive()


def test_what_a_card_is_by_configuration_space(ne2k: World, uart: World) -> None:
    header = ne2k.ask(ne2k.plug(), vfio.read(0, 64, vfio.CONFIG))[0].body[16:]
    assert header[:4] == b"\xec\x10\x29\x80" and header[9:12] == b"\x00\x00\x02"

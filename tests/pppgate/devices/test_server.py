"""Connections to a real socket: answers, interrupts by a real eventfd, back pressure, and that nothing is left open."""

import array
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from pppgate.devices import server
from pppgate.devices.pci import Identity
from pppgate.devices.server import Connection
from serialport.port import Watcher
from tests.support import vfio_client as vfio
from tests.support.fake_watcher import EpollWatcher
from tests.support.vfio_client import Answer, answers


class FakeCard:
    """One register that remembers, and an interrupt that is high while it is not zero."""

    identity = Identity(0x1B36, 0x0002, 0x070002)
    io_size = 8

    def __init__(self, _watcher: Watcher, interrupt: Callable[[bool], None]) -> None:
        self.interrupt = interrupt
        self.value = 0
        self.closed = 0
        self.resets = 0

    def read(self, _offset: int, _size: int) -> int:
        return self.value & 0xFF

    def write(self, _offset: int, value: int, _size: int) -> None:
        self.value = value
        self.interrupt(value != 0)

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed += 1


class Rig:
    def __init__(self) -> None:
        self.watcher = EpollWatcher()
        self.count: Counter[str] = Counter()
        self.ended: list[str] = []
        ours, self.client = socket.socketpair()
        self.client.settimeout(5)
        self.connection = Connection(
            "slot", ours, self.watcher, FakeCard, self.count, lambda _connection, trouble: self.ended.append(trouble)
        )
        card = self.connection.card
        assert isinstance(card, FakeCard)
        self.card = card

    def send(self, data: bytes, *fds: int) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.client.sendmsg([data], ancillary)

    def ask(self, data: bytes, *fds: int) -> list[Answer]:
        self.send(data, *fds)
        self.client.setblocking(False)
        while self.watcher.run_once(0):
            pass
        got = b""
        with suppress(BlockingIOError):
            while piece := self.client.recv(65536):
                got += piece
        return answers(got)

    def close(self) -> None:
        self.connection.close()
        self.client.close()
        self.watcher.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.ask(vfio.version())
    yield rig
    rig.close()


@pytest.fixture
def event() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def events(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_registers_and_the_interrupt(rig: Rig, event: int) -> None:
    assert rig.ask(vfio.set_irqs(0x24), event)[0].flags == vfio.REPLY
    assert rig.ask(vfio.write(0, b"\x55"))[0].flags == vfio.REPLY
    assert events(event) == 1
    assert rig.ask(vfio.read(0))[0].body[16:] == b"\x55"
    assert events(event) == 0
    rig.ask(vfio.set_irqs(0x11))
    assert events(event) == 1
    rig.card.interrupt(False)
    rig.ask(vfio.set_irqs(0x11))
    rig.card.interrupt(True)  # from elsewhere, not by a register: at once
    assert events(event) == 1


def test_a_client_that_lets_writes_to_its_event_wait_stops_nobody(rig: Rig, event: int) -> None:
    rig.ask(vfio.set_irqs(0x24), event)
    os.set_blocking(event, True)
    os.eventfd_write(event, 0xFFFF_FFFF_FFFF_FFFE)
    assert rig.ask(vfio.write(0, b"\x55"))[0].flags == vfio.REPLY


def test_an_interrupt_in_the_middle_of_accesses_waits_until_they_pause(rig: Rig, event: int) -> None:
    rig.ask(vfio.set_irqs(0x24), event)
    rig.ask(vfio.write(0, b"\1") + vfio.write(0, b"\0"))
    assert events(event) == 0
    rig.ask(vfio.write(0, b"\1") + vfio.write(0, b"\0") + vfio.write(0, b"\1"))
    assert events(event) == 1


def test_a_busy_guest_does_not_keep_the_loop(rig: Rig, event: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though more is there at each look, a wake-up ends, and then the interrupt is told."""
    rig.ask(vfio.set_irqs(0x24), event)
    times = iter(range(1000))
    monkeypatch.setattr(rig.watcher, "now", lambda: next(times) * server.BUDGET)
    monkeypatch.setattr(server, "READ_SIZE", 33)
    rig.send(vfio.write(0, b"\1") * 10)
    assert rig.watcher.run_once(1) == 1
    assert events(event) == 1
    assert len(answers(rig.client.recv(65536))) < 10


def test_a_client_that_does_not_read_is_not_read_from(rig: Rig) -> None:
    question = vfio.read(0, 256, vfio.CONFIG)
    rig.client.setblocking(False)
    sent = 0
    for _ in range(20000):
        with suppress(BlockingIOError):
            sent += rig.client.send(question)
        rig.watcher.run_once(0)
    assert sent < 1 << 20
    got = b""
    for _ in range(2000):
        with suppress(BlockingIOError):
            got += rig.client.recv(1 << 20)
        rig.watcher.run_once(0)
    expected = sent // len(question)
    assert len(got) == expected * (16 + 16 + 256)
    assert not rig.ended
    rest = question[sent % len(question) :] if sent % len(question) else b""
    assert len(rig.ask(rest + vfio.read(0))) >= 1  # and it goes on


def test_the_client_leaves(rig: Rig) -> None:
    rig.client.close()
    rig.watcher.run_once(1)
    assert rig.ended == [""]
    assert rig.card.closed == 1
    rig.connection.close()
    assert rig.ended == [""]


def test_the_client_speaks_something_else(rig: Rig) -> None:
    rig.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert len(rig.ended) == 1 and "vfio-user" in rig.ended[0]
    assert rig.count == {"vfio.message_size": 1}
    assert rig.client.recv(100) == b""


def test_a_pipe_is_no_interrupt(rig: Rig) -> None:
    reader, writer = os.pipe()
    try:
        (answer,) = rig.ask(vfio.set_irqs(0x24), writer)
        assert answer.flags & vfio.ERROR
    finally:
        os.close(reader)
        os.close(writer)


def test_a_blocking_eventfd_that_is_full_does_not_stop_us(rig: Rig) -> None:
    fd = os.eventfd(0xFFFFFFFE)
    try:
        os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE - 0xFFFFFFFE)
        rig.ask(vfio.set_irqs(0x24), fd)
        rig.ask(vfio.write(0, b"\1"))
        assert rig.ask(vfio.read(0))
    finally:
        os.close(fd)


def test_every_descriptor_is_closed(event: int) -> None:
    before = open_descriptors()
    rig = Rig()
    rig.ask(vfio.version(), event, event)
    memory = vfio.message(vfio.DMA_MAP, bytes(32))
    rig.ask(memory, event)
    rig.ask(vfio.set_irqs(0x24), event)
    rig.ask(vfio.set_irqs(0x24), event)
    rig.ask(vfio.set_irqs(0x14), event)
    rig.ask(vfio.read(0), *[event] * 8)
    rig.ask(vfio.read(0), *[event] * 30)  # more than are taken: the kernel closes the rest
    rig.ask(vfio.set_irqs(0x24)[:20], event)
    rig.close()
    assert open_descriptors() == before

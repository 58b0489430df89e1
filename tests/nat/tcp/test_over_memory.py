"""Whole flows whose other end is an application in this process: nothing of a host is there."""

import errno
from collections import deque
from random import Random

import pytest

from nat.stream import Callback, MemoryStream, memory_pair
from tests.support.tcp_peer import GuestTcp, World


class MemoryHost:
    """Answers every connect with one end of a pair; `applications` are the others."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.applications: list[MemoryStream] = []
        self.calls: deque[Callback] = deque()

    def connect_tcp(self, address: bytes, port: int) -> MemoryStream:
        ours, theirs = memory_pair(self.calls.append, self.capacity)
        self.applications.append(theirs)
        return ours

    def ready(self, now: float) -> bool:
        number = len(self.calls)
        for _ in range(number):
            self.calls.popleft()(now)
        return number > 0


class Echo:
    """Sends back what it gets, and its end after the guest's."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.rest = bytearray()
        self.ended = False
        stream.watch_read(self.readable)

    def readable(self, now: float) -> None:
        data = self.stream.recv(10_000)
        self.rest += data
        self.ended = not data
        self.stream.unwatch_read()
        self.stream.watch_write(self.writable)

    def writable(self, now: float) -> None:
        if self.rest:
            del self.rest[: self.stream.send(bytes(self.rest))]
            return
        self.stream.unwatch_write()
        if self.ended:
            self.stream.close()
        else:
            self.stream.watch_read(self.readable)


def make(capacity: int = 64 * 1024, **options: float) -> tuple[World, MemoryHost]:
    world = World(**options)  # type: ignore[arg-type]
    host = MemoryHost(capacity)
    world.host = world.table.context.host = host  # type: ignore[assignment]
    return world, host


@pytest.mark.parametrize("capacity", (100, 5000, 64 * 1024))
@pytest.mark.parametrize("loss", (0.0, 0.1))
def test_every_octet_goes_there_and_back(capacity: int, loss: float) -> None:
    data = Random(1).randbytes(capacity // 4 + 30_000)
    world, host = make(capacity, delay=0.01, loss=loss, seed=4)
    guest = GuestTcp(world, to_send=data)
    guest.connect()
    world.run(lambda: bool(host.applications))
    Echo(host.applications[0])
    world.run(lambda: guest.remote_fin)
    assert bytes(guest.received) == data
    world.run(lambda: not world.table.flows)
    assert not world.line.flight.flying


def test_an_application_that_resets_is_a_reset_to_the_guest() -> None:
    world, host = make()
    guest = GuestTcp(world, close=False)
    guest.connect()
    world.run(lambda: guest.established)
    host.applications[0].reset()
    world.run(lambda: guest.reset)
    assert not world.table.flows


def test_a_guest_that_resets_is_an_error_to_the_application() -> None:
    world, host = make()
    guest = GuestTcp(world, to_send=b"hello", close=False)
    guest.connect()
    world.run(lambda: guest.established)
    world.flow.abort(world.now)
    with pytest.raises(OSError) as caught:
        host.applications[0].recv(100)
    assert caught.value.errno == errno.ECONNRESET

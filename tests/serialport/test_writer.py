"""LineWriter: with a fake port under a virtual clock, and over a real pty read slowly and fast."""

import math
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest

from pppgate.loop import Loop
from serialport.fdport import SocketPort
from serialport.port import HangUp, Port, Timer, port_status
from serialport.pty import PtyLink
from serialport.writer import TURN_MOST, LineWriter
from tests.support.watching import Watching


class FakePort:
    name = kind = "fake"
    read_fd = write_fd = 5
    hides_queue = dribbles = False

    def __init__(self, capacity: int = 20_000) -> None:
        self.capacity = capacity
        self.held = b""
        self.asked = 0

    def read(self) -> bytes:
        return b""

    def write(self, data: bytes) -> int:
        taken = data[: self.capacity - len(self.held)]
        self.held += taken
        return len(taken)

    def pending(self) -> int:
        self.asked += 1
        return min(len(self.held), 4095)

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        pass


class FakeWatcher(Watching):
    """Of which only the writing side is used."""

    @property
    def writable(self) -> Callable[[float], None] | None:
        return self.writers.get(FakePort.write_fd)

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        raise AssertionError("a writer has no timers")

    def now(self) -> float:
        raise AssertionError("a writer is told the time")


class Source:
    """Gives its data in frames of 1,000 octets, the last one beyond the budget."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.budgets: list[int] = []

    def take(self, budget: int) -> tuple[bytes, bool]:
        self.budgets.append(budget)
        size = -(-budget // 1000) * 1000
        piece, self.data = self.data[:size], self.data[size:]
        return piece, bool(self.data)


def make(source: Source, port: FakePort | None = None) -> tuple[LineWriter, FakePort, FakeWatcher]:
    port = port or FakePort()
    watcher = FakeWatcher()
    return LineWriter(port, watcher, source.take, lambda: None, lambda: None), port, watcher


def test_a_packet_now_and_then_costs_no_system_call_but_the_write() -> None:
    source = Source(b"")
    writer, port, _ = make(source)
    for second in range(10):
        source.data = b"x" * 80
        writer.flush(float(second))
        port.held = b""
    assert port.asked == 0
    for second in range(10, 30):
        source.data = b"x" * 80
        writer.flush(float(second))
        port.held = b""
    assert port.asked == 1  # what was written without a look might be two frames by now


def test_what_fits_goes_at_once_and_nothing_is_due() -> None:
    writer, port, _ = make(Source(b"x" * 500))
    writer.flush(0.0)
    assert port.held == b"x" * 500
    assert writer.deadline == math.inf
    assert not writer.blocked


def test_more_than_the_window_waits_for_the_line() -> None:
    source = Source(b"x" * 10_000)
    writer, port, _ = make(source)
    writer.flush(0.0)
    assert len(port.held) == 2000
    assert 0 < writer.deadline <= 0.05
    asked = port.asked
    for _ in range(10):
        writer.flush(0.0001)  # other wake-ups meanwhile ask nothing
    assert port.asked == asked
    port.held = port.held[:1000]
    writer.flush(0.03)
    assert len(port.held) == 2000
    assert len(source.data) == 7000


def test_a_short_write_keeps_the_rest_in_order_and_waits_for_writability() -> None:
    source = Source(bytes(range(250)) * 8)
    writer, port, watcher = make(source, FakePort(capacity=700))
    writer.flush(0.0)
    assert writer.blocked
    assert writer.deadline == math.inf
    seen = b""
    for turn in range(10):
        seen += port.held
        port.held = b""
        if watcher.writable is None:
            break
        writer.flush(turn + 0.5)  # not writable: nothing happens
        assert port.held == b""
        watcher.writable(turn + 1.0)
        writer.flush(turn + 1.0)
    assert seen == bytes(range(250)) * 8


def test_close_lets_go_of_the_descriptor() -> None:
    writer, _, watcher = make(Source(b"x" * 2000), FakePort(capacity=10))
    writer.flush(0.0)
    assert watcher.writable is not None
    writer.close()
    assert watcher.writable is None


def _run(rate: float, seconds: float) -> tuple[float, int, LineWriter]:
    """Send over a real pty to a reader of `rate` octets a second (0: as fast as it can)."""
    loop = Loop()
    link = PtyLink("pty:")
    writers: list[LineWriter] = []
    most = 0

    def on_port(port: Port) -> None:
        writer = LineWriter(
            port, loop, lambda budget: (bytes(1510) * (-(-budget // 1510)), True), lambda: None, lambda: None
        )
        writers.append(writer)

        def readable(_now: float) -> None:
            try:
                port.read()
            except HangUp:
                loop.unwatch_read(port.read_fd)
                writer.close()
                port.close()
                loop.stop()

        def flush(now: float) -> None:
            nonlocal most
            writer.flush(now)
            most = max(most, port.pending())

        loop.watch_read(port.read_fd, readable)
        loop.flush = flush
        loop.tick = lambda now: None
        loop.deadline = lambda: writer.deadline

    link.start(loop, on_port)
    got = 0.0

    def reader() -> None:
        nonlocal got
        fd = os.open(link.path, os.O_RDWR | os.O_NOCTTY)
        start = time.monotonic()
        count = 0
        while (elapsed := time.monotonic() - start) < seconds:
            room = int(elapsed * rate) - count if rate else 65536
            if room < 16:
                time.sleep(0.0005)
                continue
            count += len(os.read(fd, room))
        got = count / (time.monotonic() - start)
        os.close(fd)

    thread = threading.Thread(target=reader)
    thread.start()
    loop.run(lambda: loop.stop())
    thread.join()
    link.stop()
    loop.close()
    return got, most, writers[0]


@pytest.mark.timing
def test_a_slow_reader_of_a_real_pty_is_kept_busy_with_two_frames() -> None:
    got, most, writer = _run(100_000, 1.0)
    assert got >= 70_000  # a busy machine wakes us late
    assert most <= 4095
    assert writer.meter.metered


@pytest.mark.timing
def test_a_fast_reader_of_a_real_pty_is_not_held_up() -> None:
    got, _, writer = _run(0, 0.5)
    assert got > 5_000_000
    assert not writer.meter.metered


def _run_socket(rate: float, seconds: float) -> tuple[float, int, bool]:
    """The same over a unix socket, whose reader takes 16 octets at a time, as QEMU's 16550 does."""
    ours, theirs = socket.socketpair()
    port = SocketPort("pair", ours, lambda: None)
    loop = Loop()
    writer = LineWriter(
        port, loop, lambda budget: (bytes(1510) * (-(-budget // 1510)), True), lambda: None, lambda: None
    )
    most = 0

    def flush(now: float) -> None:
        nonlocal most
        writer.flush(now)
        most = max(most, port.pending())

    def readable(_now: float) -> None:
        try:
            port.read()
        except HangUp:
            loop.unwatch_read(port.read_fd)
            writer.close()
            port.close()
            loop.stop()

    loop.watch_read(port.read_fd, readable)
    loop.flush = flush
    loop.deadline = lambda: writer.deadline
    got = 0.0
    metered = True

    def reader() -> None:
        nonlocal got, metered
        start = time.monotonic()
        count = 0
        while (elapsed := time.monotonic() - start) < seconds:
            if not rate:
                count += len(theirs.recv(65536))
            elif int(elapsed * rate) - count < 16:
                time.sleep(0.0005)
            else:
                count += len(theirs.recv(16))
        got = count / (time.monotonic() - start)
        metered = writer.meter.metered  # a peer that has gone takes everything at once
        theirs.close()

    thread = threading.Thread(target=reader)
    thread.start()
    loop.run(lambda: loop.stop())
    thread.join()
    loop.close()
    return got, most, metered


@pytest.mark.timing
def test_a_slow_reader_of_a_unix_socket_is_kept_busy_with_about_two_frames() -> None:
    got, most, metered = _run_socket(100_000, 1.0)
    assert got >= 70_000  # a busy machine wakes us late
    assert most <= 5500
    assert metered


@pytest.mark.timing
def test_a_fast_reader_of_a_unix_socket_is_not_held_up() -> None:
    got, _, metered = _run_socket(0, 0.5)
    assert got > 50_000_000
    assert not metered


def test_a_source_that_each_write_fills_again_gets_one_turn_a_wake_up() -> None:
    """What is written may wake who has more of the same: the wake-up has to end all the same."""
    source = Source(b"x" * 3000)
    writer, port, _ = make(source, FakePort(1 << 30))
    port.pending = lambda: -1  # type: ignore[method-assign]
    flushes = 0
    while writer.deadline == math.inf:
        writer.flush(1.0)
        source.data += b"x" * 3000
        flushes += 1
    assert TURN_MOST <= len(port.held) < TURN_MOST + 3000 and flushes < 100
    writer.flush(1.0)
    assert len(port.held) < TURN_MOST + 3000
    writer.flush(1.01)
    assert len(port.held) >= TURN_MOST + 3000

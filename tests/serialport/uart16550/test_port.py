"""SerialChip: its port under a real event loop's descriptors, guests that come and go, and a guest's PPP on it."""

import errno
import math
import os
import random
import select
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from nat.dirty import Dirty
from serialport.port import HangUp, Port
from serialport.uart16550.chip import BURST_LEAST, BURST_PAUSE
from serialport.uart16550.port import FROM_GUEST_MOST, REOPEN_AFTER, RETRY_AFTER, TOWARD_GUEST_MOST, SerialChip
from serialport.writer import LineWriter
from tests.support.fake_watcher import EpollWatcher
from tests.support.ppp_ends import GUEST, End, client, gateway_end
from tests.support.uart_bench import FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, THR
from tests.support.watching import Watching

DTR_RTS = 0x0B
CARRIER = 0x80


class Timer:
    canceled = False

    def cancel(self) -> None:
        self.canceled = True


class Clock(Watching):
    """A watcher whose time the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 50.0
        self.timers: list[tuple[float, Callable[[float], None], Timer]] = []

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer:
        timer = Timer()
        self.timers.append((when, callback, timer))
        return timer

    def run(self, seconds: float) -> None:
        end = self.time + seconds
        while True:
            due = [entry for entry in self.timers if not entry[2].canceled and entry[0] <= end]
            if not due:
                break
            entry = min(due, key=lambda entry: entry[0])
            self.timers.remove(entry)
            self.time = max(self.time, entry[0])
            entry[1](self.time)
        self.time = end


class Rig:
    """A driver of the old school, and an owner that keeps its ports."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.ports: list[Port] = []
        self.interrupts: list[bool] = []
        self.chip = SerialChip("COM1", self.clock, self.ports.append, self.interrupts.append, **options)

    def up(self, mcr: int = DTR_RTS) -> Port:
        self.chip.write(LCR, 0x80)
        self.chip.write(0, 1)
        self.chip.write(1, 0)
        self.chip.write(LCR, 0x03)
        self.chip.write(FCR, 0x81)
        self.chip.write(MCR, mcr)
        self.chip.write(IER, 0x0D)
        return self.ports[-1]

    def send(self, data: bytes) -> None:
        for octet in data:
            self.chip.write(THR, octet)

    def receive(self, most: int = 1 << 20) -> bytes:
        """What is there, by LSR; and when that is all, whether there is more, by IIR."""
        out = bytearray()
        while len(out) < most:
            if not self.chip.read(LSR) & 1:
                self.chip.read(IIR)
                if not self.chip.read(LSR) & 1:
                    break
            out.append(self.chip.read(RBR))
        return bytes(out)

    @property
    def carrier(self) -> bool:
        return bool(self.chip.read(MSR) & CARRIER)


def ready(port: Port) -> tuple[bool, bool]:
    """(readable, writable)"""
    poll = select.poll()
    poll.register(port.read_fd, select.POLLIN)
    poll.register(port.write_fd, select.POLLOUT)
    found = dict(poll.poll(0))
    return port.read_fd in found, port.write_fd in found


# Coming


def test_the_far_end_is_a_modem_that_is_switched_on_and_has_no_carrier() -> None:
    rig = Rig()
    assert rig.chip.read(MSR) == 0x30
    assert rig.ports == []


def test_raising_dtr_makes_a_port_and_carrier() -> None:
    rig = Rig()
    rig.up()
    assert [port.name for port in rig.ports] == ["COM1"]
    assert rig.chip.read(MSR) == 0xB0 | 0x08
    assert rig.interrupts == [True, False]


def test_a_first_octet_makes_a_port_too_and_is_not_lost() -> None:
    rig = Rig()
    rig.chip.write(LCR, 0x03)
    rig.send(b"~hello")
    assert rig.ports[0].read() == b"~hello"
    assert rig.carrier


def test_a_driver_that_only_looks_for_a_chip_is_no_guest() -> None:
    rig = Rig()
    for mcr in (0x1A, 0x10, 0x00):
        rig.chip.write(MCR, mcr)
        rig.send(b"loop") if mcr & 0x10 else None
    rig.chip.write(FCR, 0x01)
    rig.chip.write(IER, 0x0F)
    assert rig.ports == []


# Octets


def test_octets_both_ways_and_what_the_descriptors_say() -> None:
    rig = Rig()
    port = rig.up()
    assert ready(port) == (False, True)
    rig.send(b"out of the guest")
    assert ready(port) == (True, True)
    assert port.read() == b"out of the guest"
    assert ready(port) == (False, True)
    assert port.read() == b""
    assert port.write(b"into the guest, in more than one FIFO") == 37
    assert rig.interrupts[-1]
    assert rig.receive() == b"into the guest, in more than one FIFO"
    assert rig.chip.read(IIR) == 0xC0  # carrier
    rig.chip.read(MSR)
    assert not rig.interrupts[-1]


def test_pending_is_exact_with_the_fifo_in_it() -> None:
    rig = Rig()
    port = rig.up()
    port.write(bytes(100))
    for left in range(100, 0, -1):
        assert port.pending() == left
        assert len(rig.receive(1)) == 1
    assert port.pending() == 0


def test_what_the_guest_does_not_take_is_bounded_and_the_gate_says_when_there_is_room() -> None:
    rig = Rig()
    port = rig.up()
    data = bytes(range(256)) * 100
    sent = port.write(data)
    assert sent == TOWARD_GUEST_MOST
    assert ready(port) == (False, False)
    got = bytearray()
    got += rig.receive(TOWARD_GUEST_MOST // 2 - 32)
    assert ready(port) == (False, False)
    while sent < len(data):
        while not ready(port)[1]:
            got += rig.receive(64)
        assert TOWARD_GUEST_MOST // 4 < port.pending() <= TOWARD_GUEST_MOST // 2 + 16
        sent += port.write(data[sent:])
    assert bytes(got) + rig.receive() == data
    assert port.pending() == 0


def test_what_nobody_reads_is_bounded_and_the_transmitter_waits() -> None:
    rig = Rig()
    port = rig.up()
    data = bytes(range(256)) * 100
    got, at = bytearray(), 0
    while len(got) < len(data):
        while rig.chip.read(LSR) & 0x20 and at < len(data):
            rig.send(data[at : at + 16])
            at += 16
        piece = port.read()
        assert len(piece) <= FROM_GUEST_MOST
        got += piece
    assert bytes(got) == data


def test_a_break_is_counted() -> None:
    rig = Rig()
    rig.up()
    for lcr in (0x43, 0x03, 0x43, 0x43):
        rig.chip.write(LCR, lcr)
    assert rig.chip.count == {"uart.breaks": 2}


def test_rts_stops_what_comes_once_it_has_been_up() -> None:
    rig = Rig()
    port = rig.up(mcr=0x09)
    port.write(b"no flow control")
    assert rig.receive() == b"no flow control"
    rig.chip.write(MCR, 0x0B)
    rig.chip.write(MCR, 0x09)
    port.write(b"held back")
    assert rig.receive() == b""
    assert port.pending() == 9
    rig.chip.write(MCR, 0x0B)
    assert rig.receive() == b"held back"


# Going


@pytest.mark.parametrize("mcr", [0x00, 0x0A, 0x1B])
def test_dropping_dtr_hangs_up_after_the_last_octet(mcr: int) -> None:
    rig = Rig()
    port = rig.up()
    rig.send(b"bye")
    rig.chip.write(MCR, mcr)
    assert ready(port) == (True, True)
    assert port.read() == b"bye"
    assert ready(port)[0]
    with pytest.raises(HangUp, match="DTR"):
        port.read()
    assert port.write(b"too late") == 8
    assert port.pending() == 0
    rig.chip.write(MCR, 0)
    assert not rig.carrier


@pytest.mark.parametrize(("end", "why"), [("reset", "reset"), ("close", "unplugged")])
def test_reset_and_unplugging_hang_up(end: str, why: str) -> None:
    rig = Rig()
    port = rig.up()
    port.write(b"x")
    getattr(rig.chip, end)()
    assert not rig.interrupts[-1]
    with pytest.raises(HangUp, match=why):
        port.read()
    port.close()
    rig.chip.write(MCR, DTR_RTS)
    assert len(rig.ports) == (2 if end == "reset" else 1)


def test_the_next_guest_gets_its_port_when_the_last_one_is_closed() -> None:
    rig = Rig()
    first = rig.up()
    rig.send(b"old")
    rig.chip.write(MCR, 0)
    rig.chip.write(MCR, DTR_RTS)
    rig.send(b"new")
    assert rig.ports == [first]
    assert first.read() == b"old"
    first.close()
    first.close()
    assert len(rig.ports) == 2
    assert rig.ports[1].read() == b"new"
    assert rig.carrier


def test_what_comes_early_is_bounded() -> None:
    rig = Rig()
    rig.up()
    rig.chip.write(MCR, 0)
    rig.send(bytes(FROM_GUEST_MOST + 1000))
    assert len(rig.chip._early) == FROM_GUEST_MOST
    rig.ports[0].close()
    assert len(rig.ports[1].read()) == FROM_GUEST_MOST
    assert len(rig.ports[1].read()) == 16  # from the FIFO


def test_an_owner_that_closes_cuts_the_carrier_and_a_guest_that_stays_gets_a_new_port() -> None:
    rig = Rig()
    port = rig.up()
    assert rig.carrier
    port.close()
    assert not rig.carrier
    rig.send(b"noise")
    assert rig.chip.count["uart.no_carrier"] == 5
    rig.clock.run(REOPEN_AFTER)
    assert len(rig.ports) == 2
    assert rig.carrier
    with pytest.raises(HangUp):
        port.read()
    assert port.write(b"x") == 1


def test_a_guest_that_drops_dtr_when_the_carrier_goes_comes_back_when_it_likes() -> None:
    rig = Rig()
    rig.up().close()
    rig.chip.write(MCR, 0)
    rig.clock.run(10.0)
    assert len(rig.ports) == 1
    rig.chip.write(MCR, DTR_RTS)
    assert len(rig.ports) == 2


def test_a_guest_that_never_raised_dtr_comes_back_with_its_next_octet() -> None:
    rig = Rig()
    rig.send(b"a")
    rig.ports[0].close()
    rig.clock.run(1.0)
    assert len(rig.ports) == 1
    rig.send(b"b")
    assert len(rig.ports) == 2


def test_no_descriptors_left_is_counted_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    real = os.eventfd
    left = [1]

    def eventfd(*arguments: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*arguments)

    monkeypatch.setattr(os, "eventfd", eventfd)
    rig.chip.write(MCR, DTR_RTS)
    assert rig.ports == []
    assert rig.chip.count["uart.no_descriptor"] == 1
    left[0] = 2
    rig.clock.run(RETRY_AFTER)
    assert len(rig.ports) == 1


def test_no_descriptor_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    rig = Rig()
    for _ in range(20):
        rig.up()
        rig.chip.write(MCR, 0)
        rig.ports[-1].close()
    rig.up()
    rig.chip.close()
    rig.ports[-1].close()
    assert len(os.listdir("/proc/self/fd")) == before


# Time


def test_a_chip_with_time_is_kept_by_the_watchers_timers() -> None:
    rig = Rig(pace="line")
    port = rig.up()
    port.write(b"hello")
    rig.send(b"world")
    assert rig.receive() == b""
    rig.clock.run(0.01)
    assert rig.receive() == b"hello"
    assert port.read() == b"world"
    rig.clock.run(1.0)
    assert [entry for entry in rig.clock.timers if not entry[2].canceled] == []
    assert rig.chip.uart.deadline == math.inf


@pytest.mark.parametrize("model", ["8250", "16550A"])
def test_a_chip_with_time_waits_for_a_guest_that_is_slower_than_its_line(model: str) -> None:
    rig = Rig(pace="line", model=model)
    port = rig.up()
    data = bytes(range(200))
    port.write(data)
    got = bytearray()
    for _ in range(len(data)):
        rig.clock.run(0.0005)
        assert rig.chip.read(LSR) == 0x61
        got.append(rig.chip.read(RBR))
    assert got == data
    rig.clock.run(1.0)
    assert rig.chip.uart.deadline == math.inf


def test_a_full_receiver_that_is_cleared_goes_on() -> None:
    rig = Rig(pace="line")
    port = rig.up()
    port.write(bytes(range(40)))
    rig.clock.run(1.0)
    rig.chip.write(FCR, 0x83)
    rig.clock.run(1.0)
    assert rig.chip.read(RBR) == 16


def test_a_chip_without_time_sets_no_timer() -> None:
    rig = Rig()
    port = rig.up()
    port.write(b"hello")
    rig.send(b"world")
    assert rig.clock.timers == []


def test_a_driver_that_never_looks_gets_the_next_burst_a_little_later() -> None:
    rig = Rig()
    port = rig.up()
    port.write(bytes(range(200)))
    got = bytearray()
    for _ in range(-(-200 // BURST_LEAST)):
        assert rig.interrupts[-1]
        while rig.chip.read(LSR) & 1:
            got.append(rig.chip.read(RBR))
        rig.clock.run(BURST_PAUSE)
    assert got == bytes(range(200))


# In use


def test_under_an_epoll_with_the_writer_of_every_port() -> None:
    """A driver that reads a FIFO each time its interrupt is up, and a sender that meters the line."""
    watcher = EpollWatcher()
    ports: list[Port] = []
    level: list[bool] = [False]
    chip = SerialChip("COM1", watcher, ports.append, lambda up: level.__setitem__(0, up))
    chip.write(LCR, 0x03)
    chip.write(FCR, 0x81)
    chip.write(IER, 0x01)
    chip.write(MCR, DTR_RTS)
    data = random.Random(1).randbytes(60_000)
    frames = [data[at : at + 1500] for at in range(0, len(data), 1500)]

    def take(budget: int) -> tuple[bytes, bool]:
        return (frames.pop(0), bool(frames)) if frames else (b"", False)

    writer = LineWriter(ports[0], watcher, take, lambda: None, lambda: None)
    got = bytearray()
    while len(got) < len(data):
        writer.flush(watcher.now())
        assert level[0] == bool(ports[0].pending())
        for _ in range(30):
            while chip.read(LSR) & 1:
                got.append(chip.read(RBR))
            chip.read(IIR)
        watcher.run_once(0.001)
    assert bytes(got) == data
    ports[0].close()
    watcher.close()


class Driver:
    """A guest's PPP over its serial driver, which fills the FIFO when it is empty and reads what has come."""

    def __init__(self, chip: SerialChip) -> None:
        self.chip = chip
        self.fifo = 16 if chip.uart.model.fifo > 1 else 1
        self.end: End = client()
        self.out = bytearray()

    def turn(self, now: float) -> None:
        chip = self.chip
        got = bytearray()
        while chip.read(LSR) & 1:
            got.append(chip.read(RBR))
        chip.read(IIR)
        if got:
            self.end.feed(bytes(got), now)
        self.out += self.end.take()
        while self.out and chip.read(LSR) & 0x20:
            for octet in self.out[: self.fifo]:
                chip.write(THR, octet)
            del self.out[: self.fifo]


@pytest.mark.parametrize("pace", ["none", "line"])
@pytest.mark.parametrize("model", ["8250", "16550A", "16750"])
def test_ppp_comes_up_through_the_chip(model: str, pace: str) -> None:
    rig = Rig(model=model, pace=pace)
    guest = Driver(rig.chip)
    guest.end.link.up(rig.clock.time)
    port = rig.up()
    gone: list[str] = []
    dirty = Dirty()
    owner = gateway_end(port, rig.clock, dirty, gone)
    owner.start(rig.clock.time)
    for _ in range(4000):
        guest.turn(rig.clock.time)
        if ready(port)[0] and port.read_fd in rig.clock.readers:
            rig.clock.readers[port.read_fd](rig.clock.time)
        dirty.flush(rig.clock.time)
        rig.clock.run(0.00005)  # less than a character
    assert guest.end.ipcp is not None
    assert guest.end.ipcp.local == GUEST
    for end in (owner, guest.end):
        assert end.deframer.count["hdlc.frames"] == sum(end.deframer.count.values()) > 3
    rig.chip.write(MCR, 0)
    rig.clock.readers[port.read_fd](rig.clock.time)
    assert gone
    assert Counter(rig.chip.count) == Counter()

"""UartBridge: a chip on a real pty, on a socket, and on a port with modem lines."""

import array
import fcntl
import os
import random
import socket
import struct
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from nat.dirty import Dirty
from serialport.fdport import SocketPort
from serialport.port import HangUp, Port, port_status
from serialport.pty import PtyLink
from serialport.tty import TtyLink
from serialport.uart16550.bridge import TIOCCBRK, TIOCGICOUNT, TIOCSBRK, ModemInputs, TtyLines, UartBridge, lines_of
from serialport.uart16550.chip import ModemOutputs
from tests.support.fake_watcher import EpollWatcher
from tests.support.ppp_ends import GUEST, client, gateway_end
from tests.support.uart_bench import FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, THR

DTR_RTS = 0x0B
CTS, DSR, RI, DCD = 0x10, 0x20, 0x40, 0x80


class Rig:
    def __init__(self, watcher: EpollWatcher, **options: Any) -> None:
        self.watcher = watcher
        self.level = False
        self.bridge = UartBridge(watcher, self._interrupt, **options)

    def _interrupt(self, level: bool) -> None:
        self.level = level

    def up(self, *, divisor: int = 1) -> None:
        write = self.bridge.write
        write(LCR, 0x80)
        write(0, divisor)
        write(1, 0)
        write(LCR, 0x03)
        write(FCR, 0x81)
        write(MCR, DTR_RTS)
        write(IER, 0x01)

    def send(self, data: bytes) -> int:
        """As much as THRE lets through."""
        for at, octet in enumerate(data):
            if not self.bridge.read(LSR) & 0x20:
                return at
            self.bridge.write(THR, octet)
        return len(data)

    def receive(self) -> bytes:
        """What an interrupt handler reads, called again and again while the interrupt is up."""
        out = bytearray()
        while not self.bridge.read(IIR) & 1 or self.level:
            while self.bridge.read(LSR) & 1:
                out.append(self.bridge.read(RBR))
        return bytes(out)

    def until(self, condition: Callable[[], bool]) -> None:
        self.watcher.run_until(condition)

    @property
    def carrier(self) -> bool:
        return bool(self.bridge.read(MSR) & DCD)


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


class Ports:
    """A port of memory, for the corners."""

    name = kind = "fake"
    hides_queue = dribbles = False

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.incoming: list[bytes] = []
        self.written = bytearray()
        self.room = 1 << 20
        self.closed = False

    def read(self) -> bytes:
        if not self.incoming:
            raise HangUp("gone")
        return self.incoming.pop(0)

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.written += taken
        self.room -= len(taken)
        return len(taken)

    def pending(self) -> int:
        return -1

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        if not self.closed:
            os.close(self.read_fd)
            os.close(self.write_fd)
        self.closed = True


class Lines:
    def __init__(self) -> None:
        self.driven: list[ModemOutputs] = []
        self.inputs: ModemInputs | None = ModemInputs(cts=True, dsr=True, ri=False, dcd=False)
        self.breaks = 0

    def drive(self, outputs: ModemOutputs) -> None:
        self.driven.append(outputs)

    def sense(self) -> ModemInputs | None:
        return self.inputs

    def broken(self) -> bool:
        broken, self.breaks = self.breaks > 0, 0
        return broken


# A pty


@pytest.mark.parametrize("pace", ["none", "line"])
def test_a_pty_carries_octets_both_ways_and_its_slave_is_the_carrier(watcher: EpollWatcher, pace: str) -> None:
    rig = Rig(watcher, pace=pace)
    rig.up()
    link = PtyLink("pty:")
    link.start(watcher, rig.bridge.attach)
    assert not rig.carrier
    slave = os.open(link.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    rig.until(lambda: rig.carrier)
    seen, sent = bytearray(), 0

    def read_slave() -> bool:
        nonlocal sent
        sent += rig.send(b"from the guest"[sent:])
        with suppress(BlockingIOError):
            seen.extend(os.read(slave, 100))
        return seen == b"from the guest"

    rig.until(read_slave)
    os.write(slave, b"to the guest")
    got = bytearray()

    def read_guest() -> bool:
        got.extend(rig.receive())
        return got == b"to the guest"

    rig.until(read_guest)
    os.write(slave, b"last words")
    os.close(slave)
    got.clear()

    def read_to_the_end() -> bool:
        got.extend(rig.receive())
        return not rig.carrier

    rig.until(read_to_the_end)
    assert got == b"last words"
    again = os.open(link.path, os.O_RDWR | os.O_NOCTTY)
    rig.until(lambda: rig.carrier)
    os.close(again)
    rig.bridge.close()
    link.stop()


def test_a_pty_that_nobody_reads_holds_the_transmitter_and_nothing_is_lost(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    link = PtyLink("pty:")
    link.start(watcher, rig.bridge.attach)
    slave = os.open(link.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(slave, termios.TCSANOW)
    rig.until(lambda: rig.carrier)
    data = random.Random(5).randbytes(60_000)
    sent = 0

    def stuck() -> bool:
        nonlocal sent
        before = sent
        sent += rig.send(data[sent : sent + 1000])
        return sent == before

    rig.until(stuck)
    assert 1000 < sent < 40_000
    seen = bytearray()

    def drain() -> bool:
        nonlocal sent
        sent += rig.send(data[sent : sent + 1000])
        with suppress(BlockingIOError):
            seen.extend(os.read(slave, 65536))
        return len(seen) == len(data)

    rig.until(drain)
    assert seen == data
    os.close(slave)
    rig.bridge.close()
    link.stop()


def test_ppp_on_the_pty_ends_in_the_gateway(watcher: EpollWatcher) -> None:
    """An emulator's chip on a pty, whose other end the gateway has as `tty:`."""
    rig = Rig(watcher)
    rig.up()
    line = PtyLink("pty:")
    line.start(watcher, rig.bridge.attach)
    gone: list[str] = []
    dirty = Dirty()

    def on_port(port: Port) -> None:
        gateway_end(port, watcher, dirty, gone).start(watcher.now())

    far = TtyLink(f"tty:{line.path}", line.path)
    far.start(watcher, on_port)
    rig.until(lambda: rig.carrier)
    end = client()
    end.link.up(watcher.now())
    out = bytearray()

    def up() -> bool:
        end.feed(rig.receive(), watcher.now())
        out.extend(end.take())
        del out[: rig.send(bytes(out))]
        dirty.flush(watcher.now())
        return end.ipcp is not None and end.ipcp.local == GUEST

    rig.until(up)
    assert not rig.bridge.count and not gone
    far.stop()
    rig.until(lambda: not rig.carrier)
    line.stop()
    rig.bridge.close()


# A socket


def pair() -> tuple[SocketPort, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return SocketPort("pair", ours, lambda: None), theirs


def test_dropping_dtr_ends_a_connection_and_what_was_sent_is_in_it(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    port, theirs = pair()
    rig.bridge.attach(port)
    rig.send(b"bye")
    rig.bridge.write(MCR, 0)
    assert theirs.recv(10) == b"bye"
    assert theirs.recv(10) == b""
    assert not rig.carrier
    theirs.close()


def test_octets_of_the_guest_are_gathered(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    port, theirs = pair()
    rig.bridge.attach(port)
    rig.send(b"0123456789")
    with pytest.raises(BlockingIOError):
        theirs.recv(10)
    rig.send(bytes(60))
    assert len(theirs.recv(100)) == 64
    watcher.run(0.02)
    assert len(theirs.recv(100)) == 6
    rig.bridge.close()
    theirs.close()


def test_what_the_guest_does_not_read_stays_in_the_kernel(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    port, theirs = pair()
    rig.bridge.attach(port)
    data = random.Random(6).randbytes(300_000)
    sent, got = 0, bytearray()

    def push() -> bool:
        nonlocal sent
        try:
            sent += theirs.send(data[sent : sent + 65536])
        except BlockingIOError:
            return True
        return sent == len(data)

    rig.until(push)
    watcher.run(0.05)
    assert len(rig.bridge._arrived) <= 4096 + 65536

    def take() -> bool:
        push()
        got.extend(rig.receive())
        return len(got) == len(data)

    rig.until(take)
    assert got == data
    rig.bridge.close()
    theirs.close()


def test_rts_holds_back_what_comes(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    port, theirs = pair()
    rig.bridge.attach(port)
    rig.bridge.write(MCR, 0x09)
    theirs.send(b"wait")
    watcher.run(0.02)
    assert not rig.level
    rig.bridge.write(MCR, DTR_RTS)
    assert rig.level
    assert rig.receive() == b"wait"
    theirs.close()
    rig.until(lambda: not rig.carrier)


@pytest.mark.parametrize("pace", ["none", "line"])
def test_automatic_rts_drops_on_the_port_while_the_receiver_is_full(watcher: EpollWatcher, pace: str) -> None:
    lines = Lines()
    rig = Rig(watcher, lines_of=lambda port: lines, model="16750", pace=pace)
    rig.up()
    rig.bridge.write(MCR, DTR_RTS | 0x20)
    port, theirs = pair()
    rig.bridge.attach(port)
    data = random.Random(7).randbytes(200)
    theirs.send(data)
    rig.until(lambda: not lines.driven[-1].rts)
    watcher.run(0.01)
    assert 8 <= rig.bridge.uart.waiting <= 16  # from the trigger level on
    got = bytearray()

    def read_all() -> bool:
        got.extend(rig.receive())
        return len(got) == len(data)

    rig.until(read_all)
    assert got == data
    assert lines.driven[-1].rts
    rig.bridge.close()
    theirs.close()


def test_a_second_caller_is_turned_away(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    first, second = Ports(), Ports()
    rig.bridge.attach(first)
    rig.bridge.attach(second)
    assert (first.closed, second.closed) == (False, True)
    assert rig.bridge.count["uart.busy"] == 1
    rig.bridge.close()
    assert first.closed


def test_nobody_on_the_line(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    assert rig.send(b"hello") == 5
    assert rig.bridge.count["uart.no_carrier"] == 5
    rig.bridge.reset()
    rig.bridge.close()


@pytest.mark.parametrize("end", ["reset", "close"])
def test_reset_and_unplugging_let_go_of_the_port(watcher: EpollWatcher, end: str) -> None:
    rig = Rig(watcher)
    rig.up()
    port, theirs = pair()
    rig.bridge.attach(port)
    getattr(rig.bridge, end)()
    assert theirs.recv(1) == b""
    assert not rig.carrier
    assert watcher.run(0.1) == 0
    theirs.close()


def test_a_hang_up_is_seen_when_what_came_before_it_has_been_read(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    port, theirs = pair()
    rig.bridge.attach(port)
    theirs.send(bytes(100))
    theirs.close()
    watcher.run(0.02)
    assert rig.carrier
    assert len(rig.receive()) == 100
    assert not rig.carrier


def test_a_hang_up_while_the_port_was_full_frees_the_transmitter(watcher: EpollWatcher) -> None:
    rig = Rig(watcher)
    rig.up()
    port = Ports()
    port.room = 10
    rig.bridge.attach(port)
    rig.send(bytes(64))
    assert rig.send(bytes(64)) == 1  # the FIFO has it
    assert len(port.written) == 10
    rig.bridge._on_readable(watcher.now())  # HangUp
    assert port.closed
    assert rig.send(bytes(10)) == 10
    rig.bridge.close()


# Modem lines


def test_modem_lines_and_breaks_are_driven_where_the_port_has_them(watcher: EpollWatcher) -> None:
    lines = Lines()
    rig = Rig(watcher, lines_of=lambda port: lines)
    port = Ports()
    rig.bridge.attach(port)
    assert lines.driven == [ModemOutputs()]
    rig.bridge.write(MCR, 0x03)
    rig.bridge.write(LCR, 0x43)
    rig.bridge.write(LCR, 0x03)
    rig.bridge.write(MCR, 0x00)
    seen = [(outputs.dtr, outputs.rts, outputs.sending_break) for outputs in lines.driven[1:]]
    assert seen == [(True, True, False), (True, True, True), (True, True, False), (False, False, False)]
    assert not port.closed  # its own DTR has told the other side
    rig.bridge.close()
    assert port.closed


def test_modem_lines_are_looked_at_while_the_port_is_there(watcher: EpollWatcher) -> None:
    lines = Lines()
    rig = Rig(watcher, lines_of=lambda port: lines)
    rig.bridge.attach(Ports())
    assert rig.bridge.read(MSR) & 0xF0 == CTS | DSR
    for inputs, bits in (((False, True, True, True), DSR | RI | DCD), ((True, False, False, False), CTS)):
        lines.inputs = ModemInputs(*inputs)
        watcher.run(0.07)
        assert rig.bridge.read(MSR) & 0xF0 == bits
    lines.inputs = None
    watcher.run(0.07)
    assert rig.bridge.read(MSR) & 0xF0 == CTS
    rig.bridge.close()
    assert watcher.run(0.1) == 0


@pytest.mark.parametrize("pace", ["none", "line"])
def test_a_break_that_comes_is_the_guests(watcher: EpollWatcher, pace: str) -> None:
    lines = Lines()
    rig = Rig(watcher, lines_of=lambda port: lines, pace=pace)
    rig.up()
    rig.bridge.write(IER, 0x05)
    rig.bridge.attach(Ports())
    lines.breaks = 2
    watcher.run(0.12)
    assert rig.level and rig.bridge.read(IIR) & 0x0F == 0x06
    assert rig.bridge.read(LSR) & 0x1F == 0x19  # break and framing error, and its one octet
    assert rig.bridge.read(RBR) == 0
    assert rig.bridge.read(LSR) & 0x1F == 0
    rig.bridge.close()


def test_a_pty_and_a_socket_have_no_modem_lines() -> None:
    master, slave = os.openpty()
    port = Ports()
    os.dup2(master, port.write_fd)
    assert lines_of(port) is None
    port.close()
    os.close(master)
    os.close(slave)
    sock, theirs = pair()
    assert lines_of(sock) is None
    sock.close()
    theirs.close()


def test_a_ttys_lines_by_ioctl(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such device is at hand here: what is asked of the kernel, and what is made of its answer."""
    asked: list[tuple[int, object]] = []

    def ioctl(fd: int, request: int, argument: object = 0) -> int:
        assert fd == 9
        if request == termios.TIOCMGET:
            argument[0] = termios.TIOCM_CTS | termios.TIOCM_CD | termios.TIOCM_DTR  # type: ignore[index]
        elif request == TIOCGICOUNT:
            argument[:] = array.array("i", [*range(9), breaks, *range(10)])  # type: ignore[index]
        else:
            asked.append((request, argument))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    breaks = 3
    settings: list[list[int]] = []
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    monkeypatch.setattr(termios, "tcgetattr", lambda fd: [0] * 7)
    monkeypatch.setattr(termios, "tcsetattr", lambda fd, when, attributes: settings.append(attributes))
    port: Port = Ports()
    port.write_fd = 9
    lines = lines_of(port)
    assert isinstance(lines, TtyLines)
    assert lines.sense() == ModemInputs(cts=True, dsr=False, ri=False, dcd=True)
    assert settings == [[termios.IGNBRK, *[0] * 6]]
    assert not lines.broken()
    breaks = 5
    assert lines.broken() and not lines.broken()
    lines.drive(ModemOutputs(dtr=True, rts=False, sending_break=True))
    lines.drive(ModemOutputs(dtr=False, rts=True))
    both = termios.TIOCM_DTR, termios.TIOCM_RTS
    assert asked == [
        (termios.TIOCMBIS, struct.pack("i", both[0])), (termios.TIOCMBIC, struct.pack("i", both[1])), (TIOCSBRK, 0),
        (termios.TIOCMBIS, struct.pack("i", both[1])), (termios.TIOCMBIC, struct.pack("i", both[0])), (TIOCCBRK, 0),
    ]  # fmt: skip

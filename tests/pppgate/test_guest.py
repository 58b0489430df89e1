"""pppgate.guest: its part of a wake-up, on a port and a link that do what a test wants."""

import math
from collections import Counter
from collections.abc import Callable

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.line import Line
from pppgate.guest import Guest
from serialport.port import HangUp
from tests.support.watching import Watching

NOW = 1000.0


class Port:
    name = "fake"
    read_fd = write_fd = 7

    def __init__(self) -> None:
        self.incoming: list[bytes] = []
        self.written = b""
        self.capacity = 1 << 30
        self.held = 0
        self.knows = True
        self.hung_up = self.closed = False
        self.dribbles = True

    def read(self) -> bytes:
        if self.incoming:
            return self.incoming.pop(0)
        if self.hung_up:
            raise HangUp("it was closed")
        return b""

    def write(self, data: bytes) -> int:
        taken = data[: self.capacity]
        self.capacity -= len(taken)
        self.written += taken
        self.held += len(taken)
        return len(taken)

    def pending(self) -> int:
        return self.held if self.knows else -1

    def close(self) -> None:
        self.closed = True


class Watcher(Watching):
    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, Callable[[float], None]]] = []

    def call_at(self, when: float, callback: Callable[[float], None]) -> None:
        self.timers.append((when, callback))


class Link:
    def __init__(self) -> None:
        self.deadline = math.inf
        self.frames: list[bytes] = []
        self.ticks = 0
        self.downs = 0

    def receive(self, frame: bytes, now: float) -> None:
        self.frames.append(frame)

    def down(self, now: float) -> None:
        self.downs += 1

    def tick(self, now: float) -> None:
        self.ticks += 1
        self.deadline = now + 5


class Rig:
    def __init__(self) -> None:
        self.port, self.watcher, self.link, self.deadlines = Port(), Watcher(), Link(), Deadlines()
        self.dirty = Dirty()
        self.ended: list[str] = []

        def hung_up(guest: Guest, reason: str, now: float) -> None:
            self.ended.append(reason)

        self.guest = Guest(self.port, self.watcher, self.deadlines, 1500, self.dirty, hung_up)  # type: ignore[arg-type]
        self.guest.link = self.link
        self.guest.receive = self.link.receive
        self.guest.start()
        self.line = Line(bytes((10, 0, 2, 15)), 1500, self.guest.mark, Counter())
        self.line.up = True
        self.guest.line = self.line
        self.finish(NOW)

    def finish(self, now: float) -> None:
        """The end of a wake-up."""
        self.dirty.flush(now)


def test_what_comes_in_is_deframed_and_handed_on() -> None:
    rig = Rig()
    frame = rig.guest.framer.frame(0xC021, b"\x01\x01\x00\x04")
    rig.port.incoming = [b"~" + frame[:3], frame[3:]]
    rig.watcher.readers[7](NOW)
    rig.watcher.timers.pop()[1](NOW)
    assert rig.link.frames == [b"\xc0\x21\x01\x01\x00\x04"]


def test_control_frames_go_ahead_of_packets_in_one_write_after_one_flag() -> None:
    rig = Rig()
    rig.line.send(b"\x45" + bytes(50), "flow")
    rig.guest.emit(0xC021, b"\x09\x01\x00\x04")
    rig.finish(NOW)
    assert rig.port.written.startswith(b"~" + rig.guest.framer.frame(0xC021, b"\x09\x01\x00\x04"))
    assert rig.port.written.count(b"~") == 3


def test_a_slow_line_is_looked_at_again_until_all_is_sent() -> None:
    rig = Rig()
    for _ in range(10):
        rig.line.send(b"\x45" + bytes(1499), "flow")
    rig.finish(NOW)
    now = NOW
    for _ in range(100):
        if not rig.line.queued:
            break
        now = rig.deadlines.next()
        assert now < math.inf, "nobody will come back for what waits"
        rig.port.held = 0
        rig.deadlines.expire(now)
        rig.finish(now)
    assert not rig.line.queued


def test_what_waits_goes_on_when_a_full_port_turns_out_to_be_slow() -> None:
    """Blocked, then writable, and metered from there on: the deadline has to be armed from the callback too."""
    rig = Rig()
    rig.port.knows = False  # the meter cannot tell, and writes until it blocks
    rig.port.capacity = 10_000
    now = NOW
    for _ in range(100):
        rig.line.send(b"\x45" + bytes(1499), "flow")
    rig.finish(now)
    rig.port.knows = True
    for _ in range(300):
        if not rig.line.queued:
            break
        now += 0.05
        rig.port.held = 0
        if 7 in rig.watcher.writers:
            rig.port.capacity = 5000  # 100 KB/s
            rig.watcher.writers[7](now)
        else:
            assert rig.deadlines.next() < math.inf, "nobody will come back for what waits"
            rig.deadlines.expire(max(now, rig.deadlines.next()))
        rig.finish(now)
    assert not rig.line.queued


def test_the_links_deadline_is_the_guests() -> None:
    rig = Rig()
    rig.link.deadline = NOW + 3
    rig.watcher.readers[7](NOW)
    assert rig.deadlines.next() == NOW + 3
    rig.deadlines.expire(NOW + 3)
    assert rig.link.ticks == 1 and rig.deadlines.next() == NOW + 8


def test_an_idle_guest_asks_for_no_wake_up() -> None:
    rig = Rig()
    rig.line.send(b"\x45" + bytes(50), "flow")
    rig.finish(NOW)
    assert rig.deadlines.next() == math.inf


def test_hang_up_takes_the_link_down_and_lets_go_of_everything_once() -> None:
    rig = Rig()
    rig.port.incoming = [b"~last words~"]
    rig.port.hung_up = True
    rig.watcher.readers[7](NOW)
    rig.watcher.readers[7](NOW) if 7 in rig.watcher.readers else None
    assert rig.ended == ["it was closed"] and rig.link.downs == 1
    assert rig.port.closed and not rig.watcher.readers and not rig.watcher.writers
    rig.guest.hang_up("again", NOW)
    rig.guest.mark()
    assert rig.ended == ["it was closed"] and not rig.dirty


def test_control_frames_for_a_line_that_takes_nothing_are_bounded() -> None:
    rig = Rig()
    rig.port.capacity = 0
    for _ in range(10_000):
        rig.guest.emit(0xC021, b"\x09\x01\x00\x04")
        rig.finish(NOW)
    assert len(rig.guest._control) <= 64


def test_a_frame_that_dribbles_in_is_waited_for() -> None:
    """QEMU's 16550 over a pty: 16 octets a write, which would be ten thousand wake-ups a second."""
    rig = Rig()
    frame = b"~" + rig.guest.framer.frame(0xC021, b"\x09\x01\x00\x54" + bytes(80))
    rig.port.incoming = [frame[:16]]
    rig.watcher.readers[7](NOW)
    assert 7 not in rig.watcher.readers and len(rig.watcher.timers) == 1
    rig.port.incoming = [frame[16:60]]
    when, look = rig.watcher.timers.pop()
    look(when)
    assert 7 not in rig.watcher.readers and len(rig.watcher.timers) == 1
    rig.port.incoming = [frame[60:]]
    when, look = rig.watcher.timers.pop()
    look(when)
    assert len(rig.link.frames) == 1
    assert 7 in rig.watcher.readers and not rig.watcher.timers


def test_a_frame_that_never_ends_is_not_waited_for_without_end() -> None:
    rig = Rig()
    rig.port.incoming = [b"~begun"]
    rig.watcher.readers[7](NOW)
    when, look = rig.watcher.timers.pop()
    look(when)
    assert 7 in rig.watcher.readers and not rig.watcher.timers


def test_a_port_that_ends_while_it_is_waited_for() -> None:
    rig = Rig()
    rig.port.incoming = [b"~begun"]
    rig.watcher.readers[7](NOW)
    rig.port.hung_up = True
    when, look = rig.watcher.timers.pop()
    look(when)
    assert rig.ended == ["it was closed"]
    look(when)
    assert not rig.watcher.readers


def test_a_socket_is_read_at_once() -> None:
    rig = Rig()
    rig.port.dribbles = False
    rig.port.incoming = [b"~begun"]
    rig.watcher.readers[7](NOW)
    assert 7 in rig.watcher.readers and not rig.watcher.timers

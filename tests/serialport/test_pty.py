"""The pty link with real ptys: guests that come, go, come back, and other programs beside them."""

import fcntl
import os
import select
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serialport.port import HangUp, Port, PortError
from serialport.pty import PtyLink
from tests.support.fake_watcher import EpollWatcher

TIOCGEXCL = 0x80045440
SLAVE = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK


class Owner:
    """Reads every port to its end, as a guest's session does."""

    def __init__(self, link: PtyLink, watcher: EpollWatcher) -> None:
        self.link = link
        self.watcher = watcher
        self.ports: list[Port] = []
        self.data: list[bytes] = []
        self.hangups = 0
        link.start(watcher, self.on_port)

    def on_port(self, port: Port) -> None:
        self.ports.append(port)
        self.data.append(b"")
        self.watcher.watch_read(port.read_fd, self.on_readable)

    def on_readable(self, _now: float) -> None:
        port = self.ports[-1]
        try:
            self.data[-1] += port.read()
        except HangUp:
            self.hangups += 1
            self.watcher.unwatch_read(port.read_fd)
            port.close()


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


@pytest.fixture
def owner(watcher: EpollWatcher) -> Iterator[Owner]:
    owner = Owner(PtyLink("pty:"), watcher)
    yield owner
    owner.link.stop()


def dial(owner: Owner) -> int:
    return os.open(owner.link.path, SLAVE)


def test_no_port_and_no_wakeup_before_a_guest_comes(owner: Owner, watcher: EpollWatcher) -> None:
    assert watcher.run(0.05) == 0
    assert owner.ports == []
    assert owner.link.path.startswith("/dev/pts/")
    assert owner.link.path in owner.link.description


def test_octets_go_both_ways_unchanged(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    every = bytes(range(256))
    os.write(guest, every)
    watcher.run_until(lambda: owner.data[0] == every)
    assert owner.ports[0].write(every) == 256
    assert owner.ports[0].pending() == 256
    assert os.read(guest, 1000) == every
    assert owner.ports[0].pending() == 0
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)


def test_idle_with_a_guest_is_no_wakeup(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run(0.05)
    assert watcher.run(0.05) == 0
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)
    watcher.run(0.02)
    assert watcher.run(0.05) == 0


def test_a_hundred_guests_one_after_the_other(owner: Owner, watcher: EpollWatcher) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        guest = dial(owner)
        os.write(guest, b"guest %d" % number)
        if number % 2:
            watcher.run_until(lambda: len(owner.ports) == number + 1)  # noqa: B023
        os.close(guest)
        watcher.run_until(lambda: owner.hangups == number + 1)  # noqa: B023
        assert owner.data[number] == b"guest %d" % number
    assert len(owner.ports) == 100
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_what_was_sent_before_the_hangup_is_read(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    sent = 0
    while True:
        try:
            sent += os.write(guest, b"last words " * 100)
        except BlockingIOError:
            break
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)
    assert len(owner.data[0]) == sent > 4095


def test_another_program_beside_the_guest_resets_nothing(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    for _ in range(5):
        subprocess.run(["stty", "-F", owner.link.path, "-a"], check=True, stdout=subprocess.DEVNULL)
        os.close(os.open(owner.link.path, SLAVE))
        watcher.run(0.01)
    # also when the opening and the closing of both are seen in one go
    second = os.open(owner.link.path, SLAVE)
    third = os.open(owner.link.path, SLAVE)
    os.close(second)
    os.close(third)
    watcher.run(0.02)
    os.write(guest, b"still here")
    watcher.run_until(lambda: owner.data[0] == b"still here")
    assert (len(owner.ports), owner.hangups) == (1, 0)
    assert owner.ports[0].write(b"yes") == 3
    assert owner.ports[0].pending() == 3
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)


def test_the_next_guest_finds_a_clean_line(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    attributes = termios.tcgetattr(guest)
    attributes[3] |= termios.ECHO | termios.ICANON
    termios.tcsetattr(guest, termios.TCSANOW, attributes)
    fcntl.ioctl(guest, termios.TIOCEXCL)
    owner.ports[0].write(b"never read by the first\n")
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)

    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 2)
    assert not termios.tcgetattr(guest)[3] & (termios.ECHO | termios.ICANON)
    exclusive = bytearray(4)
    fcntl.ioctl(guest, TIOCGEXCL, exclusive)
    assert exclusive == bytes(4)
    with pytest.raises(BlockingIOError):
        os.read(guest, 100)
    owner.ports[1].write(b"hello")
    time.sleep(0.01)
    assert os.read(guest, 100) == b"hello"
    os.close(guest)


def test_writes_after_the_guest_left_do_not_block_or_raise(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    watcher.unwatch_read(owner.ports[0].read_fd)
    os.close(guest)
    watcher.run(0.02)
    for _ in range(100):
        assert owner.ports[0].write(bytes(1500)) == 1500
    assert owner.ports[0].pending() == 0
    with pytest.raises(HangUp):
        owner.ports[0].read()
    owner.ports[0].close()
    owner.ports[0].close()


def test_a_guest_that_comes_before_the_old_port_is_closed_uses_it(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    watcher.unwatch_read(owner.ports[0].read_fd)  # the owner is slow
    os.close(guest)
    watcher.run(0.02)
    guest = dial(owner)
    watcher.run(0.02)
    watcher.watch_read(owner.ports[0].read_fd, owner.on_readable)
    os.write(guest, b"second")
    watcher.run_until(lambda: owner.data[0] == b"second")
    owner.ports[0].write(b"xyz")
    assert owner.ports[0].pending() == 3
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)


def test_a_port_closed_by_its_owner_is_offered_again(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    watcher.unwatch_read(owner.ports[0].read_fd)
    owner.ports[0].close()
    assert watcher.run(0.1) <= 1
    watcher.run_until(lambda: len(owner.ports) == 2)
    os.write(guest, b"again")
    watcher.run_until(lambda: owner.data[1] == b"again")
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)


def test_an_owner_that_refuses_every_port_makes_no_busy_loop(watcher: EpollWatcher) -> None:
    link = PtyLink("pty:")
    refused: list[Port] = []

    def refuse(port: Port) -> None:
        refused.append(port)
        port.close()

    link.start(watcher, refuse)
    guest = os.open(link.path, SLAVE)
    os.write(guest, b"x")
    assert watcher.run(0.5) < 12
    assert 2 <= len(refused) <= 4
    os.close(guest)
    watcher.run(0.3)
    assert watcher.run(0.3) == 0
    link.stop()


def test_a_full_line_takes_no_more_and_tells_what_waits(owner: Owner, watcher: EpollWatcher) -> None:
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    port = owner.ports[0]
    total = 0
    while taken := port.write(bytes(1500)):
        total += taken
    assert 8192 < total < 70_000
    assert port.pending() == 4095
    os.close(guest)


def test_exclusive_use_by_the_guest_is_survived(owner: Owner, watcher: EpollWatcher) -> None:
    """pppd sets TIOCEXCL; unless privileged, we cannot open the slave beside it then."""
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    fcntl.ioctl(guest, termios.TIOCEXCL)
    if os.geteuid() == 0:
        owner.link._open_slave = lambda: -1  # type: ignore[method-assign]
        os.close(os.open(owner.link.path, SLAVE))
    else:
        pytest.raises(OSError, os.open, owner.link.path, SLAVE)
    watcher.run(0.02)
    assert owner.ports[0].write(b"abc") == 3
    os.write(guest, b"def")
    watcher.run_until(lambda: owner.data[0] == b"def")
    assert owner.hangups == 0
    os.close(guest)
    watcher.run_until(lambda: owner.hangups == 1)


def test_stop_gives_everything_back(watcher: EpollWatcher, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    link = PtyLink("pty:", str(tmp_path / "com1"))
    owner = Owner(link, watcher)
    guest = dial(owner)
    watcher.run_until(lambda: len(owner.ports) == 1)
    assert (tmp_path / "com1").is_symlink()
    watcher.unwatch_read(owner.ports[0].read_fd)
    link.stop()
    link.stop()
    owner.ports[0].close()
    poll = select.poll()
    poll.register(guest, select.POLLIN)
    assert poll.poll(1000)[0][1] & select.POLLHUP
    os.close(guest)
    assert not (tmp_path / "com1").is_symlink()
    assert len(os.listdir("/proc/self/fd")) == before


# -- the symbolic link


def test_the_symlink_leads_to_the_pty_and_a_stale_one_is_replaced(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = tmp_path / "com1"
    path.symlink_to("/dev/pts/99999")
    link = PtyLink("pty:", str(path))
    link.start(watcher, lambda port: None)
    assert link.path == str(path)
    assert os.readlink(path) == link.slave_path
    assert str(path) in link.description and link.slave_path in link.description
    link.stop()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_text("precious"), "is a file, not a symbolic link"),
        (lambda p: p.mkdir(), "is a directory, not a symbolic link"),
    ],
)
def test_nothing_but_a_symlink_is_replaced(
    watcher: EpollWatcher, tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "com1"
    make(path)
    with pytest.raises(PortError, match=words):
        PtyLink("pty:", str(path)).start(watcher, lambda port: None)
    assert path.exists() and not path.is_symlink()


def test_the_symlink_of_a_running_gateway_is_left_alone(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = tmp_path / "com1"
    first = PtyLink("pty:", str(path))
    first.start(watcher, lambda port: None)
    with pytest.raises(PortError, match="belongs to a pppgate that is running"):
        PtyLink("pty:", str(path)).start(watcher, lambda port: None)
    assert os.readlink(path) == first.slave_path
    first.stop()
    second = PtyLink("pty:", str(path))
    second.start(watcher, lambda port: None)
    second.stop()


def test_a_symlink_that_was_changed_meanwhile_is_not_removed(watcher: EpollWatcher, tmp_path: Path) -> None:
    path = tmp_path / "com1"
    link = PtyLink("pty:", str(path))
    link.start(watcher, lambda port: None)
    path.unlink()
    path.symlink_to("/dev/null")
    link.stop()
    assert os.readlink(path) == "/dev/null"


def test_a_missing_directory_is_one_sentence(watcher: EpollWatcher, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PortError, match="is not a directory, so .*com1 cannot be made"):
        PtyLink("pty:", str(tmp_path / "no" / "com1")).start(watcher, lambda port: None)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc/sys/kernel"), reason="needs /proc")
def test_a_directory_that_cannot_be_written_is_one_sentence(watcher: EpollWatcher) -> None:
    with pytest.raises(PortError, match="cannot be"):
        PtyLink("pty:", "/proc/sys/kernel/com1").start(watcher, lambda port: None)

"""pty: a pseudo-terminal whose slave is the guest's serial line.

In: nothing, or where to put a symbolic link. Out: one port at a time, for whoever has the slave open; when
the last one closes it the port hangs up, and the link waits for the next guest on the same path.

How presence is known. The master polls as hung up while nobody has the slave open, so it may be watched
only while a guest is there. inotify on the slave's node tells that something happened, without polling;
since the kernel merges equal events, what it tells is not counted but checked: with no descriptor of ours
on the slave, POLLHUP on the master says exactly whether anybody else has it open. While a guest is there a
slave descriptor of ours stays open for FIONREAD; it is let go for a moment to make that check whenever
somebody closes the slave, so that a program such as `stty -F` which opens and closes it beside the guest
resets nothing. While nobody is there it is held too: a guest that asks for exclusive use (TIOCEXCL, as pppd
does) would keep us from opening it later, and the next guest too, since the flag outlives who set it.
"""

import array
import errno
import fcntl
import os
import select
import termios
import tty
from collections.abc import Callable
from contextlib import suppress

from serialport.inotify import IN_CLOSE, IN_OPEN, IN_Q_OVERFLOW, Inotify
from serialport.port import READ_SIZE, HangUp, LinkBase, Port, PortError, Timer, Watcher, port_status
from serialport.symlink import Symlink

REOPEN_AFTER = 0.2
"""Seconds after which a guest that is still there gets a new port, when its owner has closed the last one."""
RETRY_AFTER = 1.0
"""Seconds after which a failed look at the slave is tried again."""
PTY_READ = 4096
"""Octets asked for in one read: a pty never gives more than 4,095."""
_SLAVE_FLAGS = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
# asm-generic/ioctls.h; not in Python's termios
TIOCNXCL = 0x540D
TIOCGEXCL = 0x80045440


class PtyPort:
    """The master, for as long as one guest has the slave open."""

    def __init__(self, name: str, master: int, slave: int, closed: Callable[[], None]) -> None:
        self.name = name
        self.kind = "pty"
        self.read_fd = self.write_fd = master
        self.hides_queue = False
        self.dribbles = True
        self._gone = False
        self._closed: Callable[[], None] | None = closed
        self._count = array.array("i", [0])
        self._poll = select.poll()
        self._slave = -1
        self.hold(slave)

    def read(self) -> bytes:
        try:
            return os.read(self.read_fd, PTY_READ)
        except BlockingIOError:
            return b""
        except OSError as error:
            # EIO is how Linux says that nobody has the slave open and all is read
            raise HangUp(f"{self.name} was closed by the guest") from error

    def write(self, data: bytes) -> int:
        if self._gone:
            return len(data)
        try:
            return os.write(self.write_fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def pending(self) -> int:
        """What waits in the slave's line discipline: right up to 4,094; 4,095 means at least that."""
        if self._slave < 0:
            return 0 if self._gone else -1
        try:
            # What was just written gets there by way of a kernel worker; a poll of the slave waits for it.
            self._poll.poll(0)
            fcntl.ioctl(self._slave, termios.FIONREAD, self._count)
        except OSError:
            # a guest that did vhangup(2) has cut off our descriptor too
            return -1
        return self._count[0]

    def hold(self, slave: int, *, gone: bool = False) -> None:
        """Use `slave` for FIONREAD from now on (-1: cannot be had); `gone`: the guest has closed its own."""
        if self._slave >= 0:
            self._poll.unregister(self._slave)
        self._slave = slave
        self._gone = gone
        if slave >= 0:
            self._poll.register(slave, select.POLLIN)

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class PtyLink(LinkBase):
    """`pty:[SYMLINK]`."""

    outward = False

    def __init__(self, url: str, symlink: str = "") -> None:
        super().__init__(url, "pty")
        self._wanted = symlink
        self._symlink: Symlink | None = None
        self._master = -1
        self._slave = -1
        self._present = False
        self._master_poll = select.poll()
        self.slave_path = ""
        self._inotify: Inotify | None = None
        self._port: PtyPort | None = None
        self._timer: Timer | None = None

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._watcher = watcher
        self._on_port = on_port
        try:
            self._master, slave = os.openpty()
        except OSError as error:
            raise PortError(_no_pty(error)) from None
        os.set_blocking(self._master, False)
        self._master_poll.register(self._master, select.POLLIN)
        self._slave = slave
        self.slave_path = os.ttyname(slave)
        self.path = self.slave_path
        try:
            if self._wanted:
                self._symlink = Symlink(self._wanted, self.slave_path)
                self.path = self._symlink.path
            self._inotify = Inotify()
            self._clean()
        except OSError as error:
            self.stop()
            raise PortError(
                f"The pseudo-terminal {self.slave_path} cannot be watched ({error.strerror}): "
                "raise fs.inotify.max_user_instances or end what uses so many."
            ) from None
        except PortError:
            self.stop()
            raise
        self.description = f"pseudo-terminal {self.slave_path}"
        if self._symlink is not None:
            self.description += f" (symbolic link {self.path})"
        watcher.watch_read(self._inotify.fd, self._on_event)
        self._check(watcher.now())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._master >= 0 and self._port is None:
            self._watcher.unwatch_read(self._master)
        if self._inotify is not None:
            self._watcher.unwatch_read(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
        if self._symlink is not None:
            self._symlink.remove()
            self._symlink = None
        if self._port is not None:
            self._port.hold(-1, gone=True)
            self._port = None
        for fd in (self._slave, self._master):
            if fd >= 0:
                os.close(fd)
        self._slave = self._master = -1

    def _on_event(self, now: float) -> None:
        if self._inotify is None:
            return
        bits = self._inotify.drain()
        # A program that came and went at once leaves data: it is read like any guest's, then it hangs up.
        if bits & (IN_CLOSE | IN_Q_OVERFLOW) if self._present else bits & (IN_OPEN | IN_Q_OVERFLOW):
            self._check(now)

    def _check(self, now: float) -> None:
        """Find out whether anybody else has the slave open, and act on a change.

        The watch is off while our own descriptor is closed, so that this makes no event; what happens in
        between shows in the poll, and what happens after it makes an event. Our own opening afterwards
        makes one too, which says nothing new while a guest is there.
        """
        if self._inotify is None:
            return
        if self._port is None:
            self._watcher.unwatch_read(self._master)
        exclusive = self._set_exclusive(False)
        try:
            self._inotify.unwatch()
            self._release()
            self._inotify.watch(self.slave_path, IN_OPEN | IN_CLOSE)
        except OSError as error:
            self.note(f"{self.slave_path} cannot be watched ({error.strerror}); trying again")
            self._later(now + RETRY_AFTER)
            return
        ready = self._master_poll.poll(0)
        bits = ready[0][1] if ready else 0
        gone = bool(bits & select.POLLHUP)
        self._present = not gone
        if gone and self._port is not None:
            # it now reads to the end and hangs up; its close() brings us to _on_closed
            self._port.hold(-1, gone=True)
            return
        if not gone or not bits & select.POLLIN:
            self._slave = self._open_slave()
        if not gone:
            self._set_exclusive(exclusive)
            self._arrive()
        elif bits & select.POLLIN:
            self._arrive()
            if self._port is not None:
                self._port.hold(-1, gone=True)
        else:
            self._await()

    def _await(self) -> None:
        """Nobody is there. Should our own opening and a guest's have been merged into one event, then the
        guest's first octet tells of it."""
        if self._inotify is not None and self._inotify.drain() & IN_CLOSE:
            self._later(self._watcher.now())
        self._watcher.watch_read(self._master, self._check)

    def _arrive(self) -> None:
        if self._port is not None:
            # The next guest may have come before the last one's port was closed: LCP sorts out who speaks.
            self._port.hold(self._slave)
            return
        self._port = PtyPort(self.path, self._master, self._slave, self._on_closed)
        self._on_port(self._port)

    def _open_slave(self) -> int:
        try:
            return os.open(self.slave_path, _SLAVE_FLAGS)
        except OSError:
            # EBUSY: the guest asked for exclusive use between our closing it and here
            return -1

    def _set_exclusive(self, exclusive: bool) -> bool:
        """Whether the slave was in exclusive use; it would keep us from opening it again."""
        if self._slave < 0:
            return False
        before = array.array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(self._slave, TIOCGEXCL, before)
            fcntl.ioctl(self._slave, termios.TIOCEXCL if exclusive else TIOCNXCL)
        return bool(before[0])

    def _release(self) -> None:
        if self._port is not None:
            self._port.hold(-1)
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def _on_closed(self) -> None:
        """The owner has closed the port: after a hang-up, or of its own accord with the guest still there."""
        self._port = None
        if self._inotify is None:
            return
        now = self._watcher.now()
        self._inotify.unwatch()
        if self._present:
            self._later(now + REOPEN_AFTER)
            return
        try:
            self._clean()
        except OSError as error:
            self.note(f"{self.slave_path} cannot be reset ({error.strerror})")
        # Not at once: this may be called from within _check. What happens until then shows in the poll.
        self._later(now)

    def _later(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._watcher.call_at(when, self._again)

    def _again(self, now: float) -> None:
        self._timer = None
        self._check(now)

    def _clean(self) -> None:
        """Leave nothing of the last guest to the next: settings, exclusive use (pppd sets it), data in either
        way. The watch is off meanwhile."""
        if self._slave < 0:
            self._slave = os.open(self.slave_path, _SLAVE_FLAGS)
        try:
            self._set_exclusive(False)
            tty.setraw(self._slave, termios.TCSANOW)
            termios.tcflush(self._slave, termios.TCIFLUSH)
        except termios.error as error:
            raise OSError(*error.args) from None
        with suppress(BlockingIOError):
            for _ in range(64):  # 4,095 octets each: far more than a pty holds
                os.read(self._master, READ_SIZE)


def _no_pty(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "You may not make a pseudo-terminal: have root do chmod 666 /dev/ptmx, "
            "or use a link of another kind, such as unix-listen:PATH."
        )
    return f"No pseudo-terminal is to be had ({error.strerror}): is /dev/pts mounted, or are all in use?"

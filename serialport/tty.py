"""tty: and serial: a terminal that exists already (a UART, a USB adapter, the pty of an emulator).

In: a path, and for serial: a speed. Out: one port at a time; when the device goes away (an adapter pulled
out, an emulator ended) the link tries to open it again, forever. The device is taken for this process
alone (flock, and a look at the lock files of pppd and minicom), set raw, and given its settings back at the
end.

For a pty that an emulator made (QEMU's `-chardev pty`) the kernel does not tell what the emulator has left
unread, so up to 20 KB may wait ahead of a new packet; a `pty:` link of ours, which can tell, is better on
slow guests.
"""

import errno
import fcntl
import os
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from serialport.fdport import FdPort, outstanding
from serialport.holders import holder_of, lock_holder
from serialport.port import Port, PortError, Watcher
from serialport.redial import Redialer, Unreachable

_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
# indices into what termios.tcgetattr gives
_CFLAG, _ISPEED, _OSPEED = 2, 4, 5


class TtyLink(Redialer):
    """`tty:PATH` (speed and flow control as they are) and `serial:PATH[@BAUD]`."""

    def __init__(self, url: str, path: str, baud: int | None = None, scheme: str = "tty") -> None:
        super().__init__(url, scheme)
        if not path:
            raise PortError(f"{url} names no device: write {scheme}:/dev/ttyS0, for example.")
        self.path = os.path.abspath(os.path.expanduser(path))
        self.description = f"serial device {self.path}" + (f" at {baud} baud" if baud else "")
        self._speed = None if baud is None else int(getattr(termios, f"B{baud}"))
        self._fd = -1
        self._before: list[Any] | None = None

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._begin(watcher, on_port)
        try:
            self._dial()
        except Unreachable as error:
            raise PortError(f"{self.path} {error}.") from None

    def stop(self) -> None:
        self._halt()

    def _dial(self) -> None:
        try:
            fd = os.open(self.path, _FLAGS)
        except OSError as error:
            raise Unreachable(_clause(self.path, error)) from None
        try:
            self._take(fd)
        except (OSError, termios.error) as error:
            os.close(fd)
            raise Unreachable(f"cannot be set up as a serial line ({error.args[1]})") from None
        except Unreachable:
            os.close(fd)
            raise
        self._fd = fd
        self._connected(FdPort(self.path, fd, fd, self._on_closed, outstanding(fd)))

    def _take(self, fd: int) -> None:
        if not os.isatty(fd):
            raise Unreachable("is not a terminal or serial device: name one, such as /dev/ttyS0 or /dev/pts/4")
        holder = lock_holder(self.path)
        if holder:
            raise Unreachable(f"is in use by {holder}: end that first")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = holder_of(self.path) or "another program"
            raise Unreachable(f"is in use by {who}: end that first") from None
        self._before = termios.tcgetattr(fd)
        tty.setraw(fd, termios.TCSANOW)
        attributes = termios.tcgetattr(fd)
        attributes[_CFLAG] |= termios.CLOCAL | termios.CREAD
        if self._speed is not None:
            attributes[_ISPEED] = attributes[_OSPEED] = self._speed
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        termios.tcflush(fd, termios.TCOFLUSH)

    def _on_closed(self) -> None:
        with suppress(OSError, termios.error):
            if self._before is not None:
                termios.tcflush(self._fd, termios.TCOFLUSH)  # or a close may wait for what nobody reads
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        os.close(self._fd)
        self._fd = -1
        self._port_closed()


def knows_speed(baud: int) -> bool:
    """Whether the standard library can set this speed; pyserial can set any."""
    return hasattr(termios, f"B{baud}")


def _clause(path: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return "does not exist: plug it in, start the emulator that makes it, or name another"
        case errno.EIO:
            return "is not connected: is there such a port, and does the other side run?"
        case errno.EACCES | errno.EPERM:
            return f"may not be opened by you: join the group {_group(path)} (usermod -aG), or ask its owner"
        case errno.EBUSY:
            return f"is in use by {holder_of(path) or 'another program'}: end that first"
        case errno.EISDIR:
            return "is a directory: name a device, such as /dev/ttyS0"
    return f"cannot be opened ({error.strerror})"


def _group(path: str) -> str:
    import grp

    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"

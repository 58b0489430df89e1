"""FdPort: a port over plain descriptors (a terminal, a pipe, an inherited socket).

In: a descriptor to read and one to write, both non-blocking, and how to ask what is pending. Out: a Port.
What made the descriptors closes them, in the `closed` callback.
"""

import array
import fcntl
import os
import socket
import stat
import termios
from collections.abc import Callable

from serialport.port import READ_SIZE, HangUp

SIOCOUTQ = termios.TIOCOUTQ
"""The same number on Linux: octets not yet taken by the peer (unix), or not yet acknowledged (TCP)."""


class FdPort:
    def __init__(
        self, name: str, read_fd: int, write_fd: int, closed: Callable[[], None], outstanding: int | None
    ) -> None:
        """`outstanding`: the ioctl that tells what `write_fd` still holds, None if there is no such thing."""
        self.name = name
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._closed: Callable[[], None] | None = closed
        self._outstanding = outstanding
        self._count = array.array("i", [0])

    def read(self) -> bytes:
        try:
            data = os.read(self.read_fd, READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise HangUp(f"{self.name}: {error.strerror}") from error
        if not data:
            raise HangUp(f"{self.name} was closed by the other side")
        return data

    def write(self, data: bytes) -> int:
        try:
            return os.write(self.write_fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def pending(self) -> int:
        if self._outstanding is None:
            return -1
        try:
            fcntl.ioctl(self.write_fd, self._outstanding, self._count)
        except OSError:
            return -1
        return self._count[0]

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class SocketPort:
    """A port over a connected stream socket, which it closes itself."""

    def __init__(self, name: str, sock: socket.socket, closed: Callable[[], None]) -> None:
        sock.setblocking(False)
        self.name = name
        self._sock = sock
        self.read_fd = self.write_fd = sock.fileno()
        self._closed: Callable[[], None] | None = closed
        self._count = array.array("i", [0])

    def read(self) -> bytes:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise HangUp(f"{self.name}: {error.strerror}") from error
        if not data:
            raise HangUp(f"{self.name} was closed by the other side")
        return data

    def write(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def pending(self) -> int:
        """Unix: what the peer has not read, with the kernel's own overhead. TCP: what is not acknowledged,
        which leaves out what waits in the peer's receive buffer."""
        try:
            fcntl.ioctl(self._sock, SIOCOUTQ, self._count)
        except (OSError, ValueError):
            return 0
        return self._count[0]

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            self._sock.close()
            closed()


def outstanding(fd: int) -> int | None:
    """The ioctl that tells what was written to `fd` and not yet taken, or None where Linux has none."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return termios.FIONREAD
    if stat.S_ISSOCK(mode):
        return SIOCOUTQ
    if not os.isatty(fd) or os.ttyname(fd).startswith("/dev/pts/"):
        # A pty's slave always says 0, and what its master has not read is not to be seen from here.
        return None
    return termios.TIOCOUTQ

"""FdPort and SocketPort: ports over plain descriptors (a terminal, a pipe, an inherited socket) and sockets.

In: a descriptor to read and one to write, both non-blocking, and how to ask what is pending. Out: a Port.
Who made the descriptors closes them, in the `closed` callback; a SocketPort closes its own.

What is pending on a unix socket. The kernel counts each written piece with its own overhead (768 octets for
50, 2,304 for 1,510) until the last octet of it is read. So that a metered line sees octets and sees them
go, small writes are made in pieces, and the pieces are remembered with what they cost.
"""

import array
import fcntl
import os
import socket
import stat
import termios
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from serialport.port import READ_SIZE, HangUp, port_status

SIOCOUTQ = termios.TIOCOUTQ
"""The same number on Linux: octets not yet taken by the peer (unix), or not yet acknowledged (TCP)."""
SEND_BUFFER = 16384
"""Octets asked for as a socket's send buffer (Linux doubles it): about what a pty takes before it blocks."""
PIECE = 512
PIECES_UP_TO = 8192
"""Octets: larger writes are those of a line that is not metered, and go out whole."""


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
        self._pieces = Pieces() if outstanding == SIOCOUTQ and _is_unix(write_fd) else None
        self.dribbles = os.isatty(read_fd)
        self.kind = "terminal" if self.dribbles else "socket" if outstanding == SIOCOUTQ else "pipe"
        self.hides_queue = outstanding is None or (self._pieces is None and stat.S_ISSOCK(os.fstat(write_fd).st_mode))
        self._count = array.array("i", [0])

    def read(self) -> bytes:
        if self._closed is None:
            raise HangUp(f"{self.name} is closed")
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
        pieces = self._pieces
        if pieces is None:
            return self._write(data)
        if len(data) > PIECES_UP_TO:
            pieces.forget()
            return self._write(data)
        sent = 0
        while sent < len(data):
            taken = self._write(data[sent : sent + PIECE])
            if taken == 0:
                break
            pieces.add(taken)
            sent += taken
        return sent

    def _write(self, data: bytes) -> int:
        if self._closed is None:
            return len(data)
        try:
            return os.write(self.write_fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def pending(self) -> int:
        """Unix: what the peer has not read. TCP: what is not acknowledged, which leaves out what waits in the
        peer's receive buffer. Terminals and pipes: what the kernel says."""
        if self._outstanding is None or self._closed is None:
            return -1
        try:
            fcntl.ioctl(self.write_fd, self._outstanding, self._count)
        except OSError:
            return -1
        return self._count[0] if self._pieces is None else self._pieces.pending(self._count[0])

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class SocketPort(FdPort):
    """A port over a connected stream socket, which it closes itself."""

    def __init__(self, name: str, sock: socket.socket, closed: Callable[[], None]) -> None:
        sock.setblocking(False)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._sock = sock
        super().__init__(name, sock.fileno(), sock.fileno(), closed, SIOCOUTQ)

    def close(self) -> None:
        self._sock.close()
        super().close()


class Pieces:
    """From the kernel's cost of what is outstanding to octets."""

    def __init__(self) -> None:
        self._sizes: deque[int] = deque()
        self._octets = 0
        self._cost = 0

    def add(self, size: int) -> None:
        self._sizes.append(size)
        self._octets += size
        self._cost += _cost(size)

    def forget(self) -> None:
        self._sizes.clear()
        self._octets = self._cost = 0

    def pending(self, cost: int) -> int:
        """Octets outstanding when the kernel says `cost`. A piece begun counts whole."""
        if cost == 0:
            self.forget()
        if cost > self._cost:
            return cost  # there are larger writes among it
        sizes = self._sizes
        while len(sizes) > 1 and self._cost - _cost(sizes[0]) >= cost:
            size = sizes.popleft()
            self._octets -= size
            self._cost -= _cost(size)
        return self._octets


def _cost(size: int) -> int:
    """What an skb with `size` octets is accounted as: a power of two for the data and its shared info, and
    the skb itself. Should a kernel count otherwise, what is pending is off by a piece or two until the line
    is empty."""
    return (1 << (size + 319).bit_length()) + 256


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


def _is_unix(fd: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.family == socket.AF_UNIX

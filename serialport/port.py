"""What the rest of the program sees of a serial line: ports, the links that make them, and the watcher.

A `Link` is what the user named (`pty:`, `tcp-listen:127.0.0.1:4000`). Over its life it hands out `Port`s,
one for each guest that comes: a pty link has one at a time, a listener one for each connection. A port is a
pair of non-blocking descriptors with four small calls. Neither knows what the bytes mean.

The `Watcher` is the event loop as this package needs it. It is structural, so that tests bring their own.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

READ_SIZE = 65536
"""Octets asked of the kernel in one read; above 128 KiB the allocator makes a read several times dearer."""


class PortError(Exception):
    """The device or address cannot be used. The text is one plain sentence for the user, saying what to
    do."""


class HangUp(Exception):
    """The other side has gone, and all that it sent before has been read."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Watcher(Protocol):
    """The event loop: level-triggered descriptors and one-shot timers. Every callback takes `now` in seconds.

    The same stands in nat.host: neither package knows the other, and both ask for the same loop.
    """

    def watch_read(self, fd: int, callback: Callable[[float], None]) -> None: ...
    def unwatch_read(self, fd: int) -> None: ...
    def watch_write(self, fd: int, callback: Callable[[float], None]) -> None: ...
    def unwatch_write(self, fd: int) -> None: ...
    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer: ...
    def now(self) -> float: ...


class Port(Protocol):
    """One guest's line. The owner watches the descriptors, and calls `close()` once after `HangUp`."""

    name: str
    """In words, for event lines: "/dev/pts/4", "127.0.0.1:50112"."""
    kind: str
    """"pty", "terminal", "socket", "pipe", "uart"."""
    read_fd: int
    write_fd: int

    hides_queue: bool
    """Whether more may wait ahead of a new octet than `pending` can tell: an emulator's own pty, seen from the slave's
    side; TCP, where the peer's receive buffer is out of sight."""

    dribbles: bool
    """Whether what comes is worth waiting for: a terminal, onto which an emulated UART writes 16 octets at a time. On a
    socket the same emulators slow down when they are not read at once."""

    def read(self) -> bytes:
        """Up to 64 KiB, `b""` when nothing is there now. Raises HangUp after the last octet of a guest that
        left."""

    def write(self, data: bytes) -> int:
        """Octets taken, 0 when it would block.

        Never raises: what is written to a peer that has gone counts as taken, so that what the peer sent
        before it left is still read. `read` is the one that tells of the hang-up.
        """

    def pending(self) -> int:
        """Octets written that the reader has not taken, as far as the kernel tells; -1 when it cannot
        tell."""

    def status(self) -> dict[str, object]:
        """For people and programs: plain data."""

    def close(self) -> None:
        """Give the port back. The link makes the next one when a guest comes (or redials). May be called
        twice."""


def port_status(port: Port) -> dict[str, object]:
    """What every port can say of itself. `pending`: octets that the reader has not taken, -1 when nobody can tell."""
    return {
        "name": port.name,
        "kind": port.kind,
        "hides_queue": port.hides_queue,
        "dribbles": port.dribbles,
        "pending": port.pending(),
    }


class Link(Protocol):
    """What the user named. `start` may raise PortError; afterwards the link serves guests until `stop`."""

    url: str
    """As the user wrote it."""
    scheme: str
    """"pty", "tty", "serial", "tcp", "tcp-listen", "unix", "unix-listen", "stdio"."""
    outward: bool
    """Whether a port is opened outward (a serial port, a connection), anew each time; if not, somebody has to come."""
    path: str
    """What an emulator opens: the pty's path (the symlink if there is one), a socket's path, "HOST:PORT",
    or ""."""
    description: str
    """In words, for the start line. Final once started."""
    note: Callable[[str], None]
    """Takes one sentence about the link itself ("127.0.0.1:4000 refuses; trying again")."""
    ended: Callable[[], None]
    """Called once when the link will never make another port (stdio after end of file)."""
    count: Counter[str]
    """What the link itself dropped, by name, no port being there for it."""

    def report_to(self, note: Callable[[str], None], ended: Callable[[], None]) -> None:
        """Before `start`: who hears of the link from now on."""

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None: ...
    def stop(self) -> None:
        """Close what is open and remove what was made (symlink, socket). Ports still open are closed too."""


class LinkBase:
    """The attributes every link has."""

    outward = True

    def __init__(self, url: str, scheme: str) -> None:
        self.url = url
        self.scheme = scheme
        self.path = ""
        self.description = url
        self.note: Callable[[str], None] = _ignore
        self.ended: Callable[[], None] = _nothing
        self.count: Counter[str] = Counter()

    def report_to(self, note: Callable[[str], None], ended: Callable[[], None]) -> None:
        """Before `start`: who hears of the link from now on."""
        self.note, self.ended = note, ended


class Backoff:
    """How long to wait before the next try: `first` seconds, then twice as long each time, up to `most`."""

    def __init__(self, first: float = 0.2, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._next = first
        self.tries = 0

    def reset(self) -> None:
        self._next = self._first
        self.tries = 0

    def delay(self) -> float:
        delay = self._next
        self._next = min(delay * 2, self._most)
        self.tries += 1
        return delay


def _ignore(_sentence: str) -> None:
    pass


def _nothing() -> None:
    pass

"""Frames as datagrams: QEMU's `-netdev dgram` over unix sockets or UDP, and Bochs's `ethmod=socket`.

In: two addresses, ours and the emulator's.  Out: one port, at the start and forever: there is no connection, so that
nobody knows whether an emulator is there.  While it is not, what is sent to it is lost, as on a cable without a card.
"""

import errno
import re
import select
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from pppgate.ether.links.port import FRAME_MOST, HEADER, FramePort
from pppgate.ether.links.socket_port import SocketPort
from serialport.addresses import UnixName, bind_sentence, host_and_port, resolve, shown, unix_path
from serialport.port import READ_SIZE, HangUp, LinkBase, PortError, Watcher

FRAMES_MOST: Final = 64
"""Read in one call."""
BOCHS_HOST: Final = "127.0.0.1"

_ABSENT: Final = (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET)
_INET = re.compile(r"(\[[^\]/]*\]|[^/\[\]:]*)?:?\d+")

Address = tuple[str, int] | str
"""With a port (and more behind it, for IPv6), or a path."""


class Ends(NamedTuple):
    """Where we are and where the emulator is."""

    family: int
    local: Address
    remote: Address


class DgramPort(SocketPort):
    """A FramePort over a socket with a frame in each message, which it closes.

    `remote` is None for a socket that is connected.  A unix socket of datagrams refuses more than eleven in its peer's
    queue (net.unix.max_dgram_qlen).  poll(2) does not show that unless the two are connected; but with a send buffer as
    small as SEND_BUFFER, eleven of our frames that nobody has read make it say "not writable" anyway.
    """

    def __init__(self, name: str, sock: socket.socket, remote: str | bytes | None, closed: Callable[[], None]) -> None:
        super().__init__(name, sock, closed)
        self._remote = remote
        self._ends = sock.type == socket.SOCK_SEQPACKET

    def receive(self) -> list[bytes]:
        """See FramePort."""
        if self._closed is None:
            raise HangUp("is closed")
        frames: list[bytes] = []
        size = 0
        for _ in range(FRAMES_MOST):
            try:
                frame = self._sock.recv(FRAME_MOST + 1)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if self._ends:
                    raise HangUp(f"was cut off ({error.strerror})") from error
                continue  # an emulator that was not there when something was sent; the kernel says so once
            if HEADER <= len(frame) <= FRAME_MOST:
                frames.append(frame)
                size += len(frame)
                if size >= READ_SIZE:
                    break
            elif self._ends and not frame:
                if frames:
                    break
                raise HangUp("was closed by the other side")
            else:
                self.count["ether.long" if frame[HEADER:] else "ether.short" if frame else "ether.empty"] += 1
        return frames

    def send(self, frames: list[bytes]) -> int:
        """See FramePort."""
        for number, frame in enumerate(frames):
            try:
                if self._remote is None:
                    self._sock.send(frame)
                else:
                    self._sock.sendto(frame, self._remote)
            except (BlockingIOError, InterruptedError):
                if not self._would_be_told():
                    self.count["ether.peer_full"] += 1
                    continue
                return number
            except OSError as error:
                self.count["ether.no_peer" if error.errno in _ABSENT else "ether.not_sent"] += 1
        return len(frames)

    def _would_be_told(self) -> bool:
        """Whether the socket is seen as not writable, so that a watcher is called when it is again.  Otherwise the
        peer's queue is full with frames of others, and waiting for our end to be writable would be a busy loop."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return not any(events & select.POLLOUT for _, events in poll.poll(0))


class DgramLink(LinkBase):
    """`ether:dgram:LOCAL=REMOTE` and `ether:bochs:PORT`."""

    def __init__(self, url: str, scheme: str, ends: Ends, path: str, description: str) -> None:
        super().__init__(url, scheme)
        self.path = path
        self.description = description
        self._ends = ends
        self._port: DgramPort | None = None
        self._unix_name: UnixName | None = None

    def start(self, watcher: Watcher, on_port: Callable[[FramePort], None]) -> None:
        sock = socket.socket(self._ends.family, socket.SOCK_DGRAM)
        try:
            if isinstance(self._ends.local, str):
                self._unix_name = UnixName(sock, self._ends.local)
            else:
                self._bind(sock, self._ends.local)
        except PortError:
            sock.close()
            raise
        remote = self._ends.remote if isinstance(self._ends.remote, str) else None
        self._port = DgramPort(self.path.rpartition("=")[2], sock, remote, self._on_closed)
        on_port(self._port)

    def _bind(self, sock: socket.socket, local: tuple[str, int]) -> None:
        """Connected, so that only the emulator's frames come in."""
        try:
            sock.bind(local)
        except OSError as error:
            raise PortError(bind_sentence("UDP", text(local), local[1], error)) from None
        try:
            sock.connect(self._ends.remote)
        except OSError as error:
            raise PortError(f"{self.url}: {text(self._ends.remote)} cannot be reached ({error.strerror}).") from None

    def _on_closed(self) -> None:
        self._port = None

    def stop(self) -> None:
        if self._port is not None:
            self._port.close()
        if self._unix_name is not None:
            self._unix_name.remove()
            self._unix_name = None


def text(address: Address) -> str:
    """As a user would write it."""
    return address if isinstance(address, str) else shown(address[0], address[1])


def open_dgram(url: str, where: str) -> DgramLink:
    """`ether:dgram:LOCAL=REMOTE`, two paths or two [HOST:]PORT.  Raises PortError."""
    local, equals, remote = where.partition("=")
    if not equals or not local or not remote or "=" in remote:
        raise PortError(
            f"{url} is not understood: write ether:dgram:LOCAL=REMOTE, as in ether:dgram:/tmp/ours=/tmp/qemus "
            "or ether:dgram:127.0.0.1:4001=127.0.0.1:4000."
        )
    inet = [_INET.fullmatch(end) is not None for end in (local, remote)]
    if inet[0] != inet[1]:
        raise PortError(f"{url}: the two ends are of one kind, both paths or both HOST:PORT.")
    ends = _inet_ends(url, local, remote) if inet[0] else _unix_ends(url, local, remote)
    if ends.local == ends.remote:
        raise PortError(f"{url}: the two ends are the same; ours comes first, then the emulator's.")
    ours, theirs = text(ends.local), text(ends.remote)
    description = f"datagrams from {theirs} to {ours}, each with an Ethernet frame"
    return DgramLink(url, "ether:dgram", ends, f"{ours}={theirs}", description)


def _unix_ends(url: str, local: str, remote: str) -> Ends:
    return Ends(socket.AF_UNIX, unix_path(url, local), unix_path(url, remote))


def _inet_ends(url: str, local: str, remote: str) -> Ends:
    ours = resolve(url, *host_and_port(url, local, "127.0.0.1"))
    theirs = dict(reversed(resolve(url, *host_and_port(url, remote, "127.0.0.1"))))
    for family, address in ours:
        if family in theirs:
            return Ends(family, address, theirs[family])
    raise PortError(f"{url}: one end is an IPv4 address and the other an IPv6 address; write two of one kind.")


def open_bochs(url: str, where: str) -> DgramLink:
    """`ether:bochs:PORT`: Bochs takes frames on this UDP port, and sends its own to the next.  Raises PortError."""
    if not (where.isascii() and where.isdigit() and 0 < int(where[:6]) < 65535):
        raise PortError(f"{url} is not understood: write ether:bochs:PORT, the number that Bochs has as ethdev.")
    port = int(where)
    ends = Ends(socket.AF_INET, (BOCHS_HOST, port + 1), (BOCHS_HOST, port))
    description = f"UDP port {port + 1}, for the Ethernet card of a Bochs with ethdev={port}"
    return DgramLink(url, "ether:bochs", ends, str(port), description)

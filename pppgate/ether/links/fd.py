"""ether:fd:N: a socket that whoever started us left open, with a guest's card at its other end.

In: its number.  Out: one port, at the start; when that has ended, so has the link.  A stream socket carries lengths
before its frames (stream.py), any other one a frame in each message (dgram.py).
"""

import os
import socket
import stat
from collections.abc import Callable

from pppgate.ether.links.dgram import DgramPort
from pppgate.ether.links.port import FramePort
from pppgate.ether.links.stream import StreamPort
from serialport.port import LinkBase, PortError, Watcher

STANDARD = 2
"""Up to here descriptors have a use of their own."""


class FdLink(LinkBase):
    """`ether:fd:N`."""

    def __init__(self, url: str, where: str) -> None:
        super().__init__(url, "ether:fd")
        if not (where.isascii() and where.isdigit() and STANDARD < int(where[:9]) == int(where)):
            raise PortError(f"{url} is not understood: write ether:fd:N, N an open socket's number above {STANDARD}.")
        self._number = int(where)
        self.description = f"descriptor {self._number}, an Ethernet card's frames"
        self._port: FramePort | None = None

    def start(self, watcher: Watcher, on_port: Callable[[FramePort], None]) -> None:
        sock = self._socket()
        name = f"fd {self._number}"
        if sock.type == socket.SOCK_STREAM:
            self._port = StreamPort(name, sock, self._on_closed)
        else:
            self._port = DgramPort(name, sock, None, self._on_closed)
        on_port(self._port)

    def _socket(self) -> socket.socket:
        number = self._number
        try:
            mode = os.fstat(number).st_mode
        except OSError:
            raise PortError(f"{self.url}: descriptor {number} is not open; leave it so to this program.") from None
        if not stat.S_ISSOCK(mode):
            raise PortError(f"{self.url}: descriptor {number} is not a socket, and only sockets carry frames.")
        sock = socket.socket(fileno=number)
        try:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise PortError(f"{self.url}: descriptor {number} is a listening socket; pass one that is connected.")
            sock.getpeername()
        except OSError:
            sock.detach()
            raise PortError(f"{self.url}: descriptor {number} is not connected; pass one that is.") from None
        except PortError:
            sock.detach()
            raise
        return sock

    def _on_closed(self) -> None:
        if self._port is not None:
            self._port = None
            self.ended()

    def stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()

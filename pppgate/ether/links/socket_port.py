"""What every FramePort over a socket has: its name, its descriptor, a short send buffer, its end.

In: a connected or bound socket, which it closes.  Out: the attributes of a FramePort, for those that read and write.
"""

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

SEND_BUFFER: Final = 8192
"""Octets asked for as a socket's send buffer (Linux doubles it): some ten full frames wait there at the most, which is
what the ring of an NE2000 holds.  Into QEMU's, 4096 to 16384 carry the same, and 65536 half of that: the emulator takes
what is there in one go, and the ring overruns.  A datagram of FRAME_MOST has to fit."""


class SocketPort:
    """`closed` is called once, by `close`."""

    lossless = False

    def __init__(self, name: str, sock: socket.socket, closed: Callable[[], None]) -> None:
        sock.setblocking(False)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.name = name
        self.fd = sock.fileno()
        self.count: Counter[str] = Counter()
        self._sock = sock
        self._closed: Callable[[], None] | None = closed

    def close(self) -> None:
        """See FramePort."""
        closed, self._closed = self._closed, None
        self._sock.close()
        if closed is not None:
            closed()

"""ether:vde:DIRECTORY: a plug in a switch of VDE 2, whose other ports are guests' cards.

In: the switch's directory, in which it has a stream socket "ctl".  Out: a port while the switch is there; it is dialed
again when it has gone.

The talk on "ctl", in the host's own byte order: we send a request with the address of a datagram socket of ours, the
switch answers with the address of one of its own, and from then on each datagram is a frame.  Whichever end closes
"ctl" unplugs us.
"""

import errno
import os
import socket
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pppgate.ether.links.dgram import DgramPort
from pppgate.ether.links.port import FramePort
from serialport.addresses import UNIX_PATH_MOST, UnixName, unix_path
from serialport.port import HangUp, PortError, Timer, Watcher
from serialport.redial import Redialer, Unreachable

MAGIC: Final = 0xFEEDFACE
VERSION: Final = 3
NEW_PORT: Final = 0
"""Type of request: any free port of the switch."""
DESCRIPTION: Final = b"pppgate"
REQUEST: Final = struct.Struct("=IIIH108s128s")
"""Magic number, version, type; a sockaddr_un: family and path; a description for the switch's own console."""
ANSWER: Final = struct.Struct("=H108s")
ANSWER_TIMEOUT: Final = 5.0


class VdePort(DgramPort):
    """A DgramPort that ends when the switch has gone."""

    def __init__(self, name: str, sock: socket.socket, remote: bytes, closed: Callable[[], None]) -> None:
        super().__init__(name, sock, remote, closed)
        self._gone = ""

    def hang_up(self, why: str) -> None:
        self._gone = why
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # readable from now on

    def receive(self) -> list[bytes]:
        """See FramePort."""
        frames = super().receive()
        if self._gone and not frames:
            raise HangUp(self._gone)
        return frames


class VdeLink(Redialer):
    """`ether:vde:DIRECTORY`."""

    def __init__(self, url: str, where: str) -> None:
        super().__init__(url, "ether:vde")
        self.path = unix_path(url, where)
        self.description = f"a plug in the VDE switch {self.path}"
        self._control_path = unix_path(url, os.path.join(self.path, "ctl"))
        self._control: socket.socket | None = None
        self._data: socket.socket | None = None
        self._data_name: UnixName | None = None
        self._expiry: Timer | None = None

    def start(self, watcher: Watcher, on_port: Callable[[FramePort], None]) -> None:
        self._begin(watcher, on_port)
        self._try(watcher.now())

    def stop(self) -> None:
        self._stopped = True
        self._unplug()
        self._halt()

    def _dial(self) -> None:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        control.setblocking(False)
        self._control = control
        try:
            control.connect(self._control_path)
            self._data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            name = Path(tempfile.gettempdir(), f"pppgate-{os.getpid()}-{control.fileno()}.vde")
            self._data_name = UnixName(self._data, str(name))
            path = os.fsencode(name)
            control.send(REQUEST.pack(MAGIC, VERSION, NEW_PORT, socket.AF_UNIX, path, DESCRIPTION))
        except OSError as error:
            self._unplug()
            absent = error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
            raise Unreachable(
                "is no VDE switch (is vde_switch running?)" if absent else f"cannot be used ({error.strerror})"
            ) from None
        except PortError as error:
            self._unplug()
            raise Unreachable(f"cannot be used ({error})") from None
        self._watcher.watch_read(control.fileno(), self._on_control)
        self._expiry = self._watcher.call_at(self._watcher.now() + ANSWER_TIMEOUT, self._on_expiry)

    def _on_expiry(self, _now: float) -> None:
        self._expiry = None
        self._unplug()
        self._failed("does not answer")

    def _on_control(self, _now: float) -> None:
        """The answer, or the end."""
        if self._control is None:
            return
        try:
            answer = self._control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if isinstance(self._port, VdePort):
            if not answer:
                self._watcher.unwatch_read(self._control.fileno())
                self._port.hang_up("was unplugged: the switch has gone")
            return
        remote = self._remote(answer)
        data = self._data
        if not remote or data is None:
            self._unplug()
            self._failed("turns us away" if not answer else "does not answer as a VDE switch does")
            return
        self._expire_no_more()
        self._data = None
        self._connected(VdePort(self.path, data, remote, self._on_closed))

    @staticmethod
    def _remote(answer: bytes) -> bytes:
        """The address to send to; b"" if the answer has none."""
        if not 2 < len(answer) <= ANSWER.size:
            return b""
        family, path = ANSWER.unpack(answer.ljust(ANSWER.size, b"\0"))
        return bytes(path).partition(b"\0")[0][:UNIX_PATH_MOST] if family == socket.AF_UNIX else b""

    def _on_closed(self) -> None:
        self._unplug()
        self._port_closed()

    def _expire_no_more(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _unplug(self) -> None:
        """Let go of everything but the port."""
        self._expire_no_more()
        control, self._control = self._control, None
        if control is not None:
            self._watcher.unwatch_read(control.fileno())
            control.close()
        data, self._data = self._data, None
        if data is not None:
            data.close()
        name, self._data_name = self._data_name, None
        if name is not None:
            name.remove()

"""Frames on a stream socket, each with its length before it: QEMU's `-netdev stream` (and `-netdev socket`).

In: octets, however the kernel cuts them, and frames for the other way.  Out: whole frames; gathered writes.  It does
not know what is in a frame.
"""

import socket
from collections import Counter
from collections.abc import Callable
from struct import Struct
from typing import Final

from pppgate.ether.links.port import FRAME_MOST, HEADER, FramePort
from pppgate.ether.links.socket_port import SocketPort
from serialport.port import READ_SIZE, HangUp, Watcher
from serialport.sockets import Listener

LENGTH_MOST: Final = 69632
"""Octets that QEMU's own buffer for a frame has (NET_BUFSIZE).  A peer that announces more speaks something else."""
GATHERED_MOST: Final = 500
"""Frames in one write: each takes two pieces, of which Linux takes 1024."""

_LENGTH: Final = Struct("!I")


class Cutter:
    """From the octets of a stream to the frames in it.

    Frames shorter than a header, longer than FRAME_MOST or of no length are left out, and counted; the long ones are
    not kept while they come.  At most one frame and its length is kept from one call to the next.
    """

    def __init__(self, count: Counter[str]) -> None:
        self.trouble = ""
        """A clause about the peer, once a length was nonsense; nothing more is cut then."""
        self._count = count
        self._begun = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes."""
        if self._begun:
            data = self._begun + data
        at = 0
        if self._skip:
            at = min(self._skip, len(data))
            self._skip -= at
        frames: list[bytes] = []
        last = len(data) - 4
        unpack = _LENGTH.unpack_from
        while at <= last:
            (size,) = unpack(data, at)
            stop = at + 4 + size
            if HEADER <= size <= FRAME_MOST:
                if stop > last + 4:
                    break
                frames.append(data[at + 4 : stop])
            elif not self._leave_out(size):
                at = last + 4
                break
            elif stop > last + 4:
                self._skip = stop - last - 4
                at = last + 4
                break
            at = stop
        self._begun = data[at:]
        return frames

    def _leave_out(self, size: int) -> bool:
        """Count a frame that is not wanted.  False if there can be none of this size."""
        if size > LENGTH_MOST:
            self._count["ether.bad_length"] += 1
            self.trouble = f"sent {size} as the length of a frame: it does not speak QEMU's -netdev stream"
            return False
        self._count["ether.long" if size > FRAME_MOST else "ether.short" if size else "ether.empty"] += 1
        return True


class StreamPort(SocketPort):
    """A FramePort over a connected stream socket, which it closes."""

    def __init__(self, name: str, sock: socket.socket, closed: Callable[[], None]) -> None:
        super().__init__(name, sock, closed)
        self._cutter = Cutter(self.count)
        self._unsent = b""  # of the frame that is partly written

    def receive(self) -> list[bytes]:
        """See FramePort."""
        if self._closed is None:
            raise HangUp("is closed")
        if self._cutter.trouble:
            raise HangUp(self._cutter.trouble)
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise HangUp(f"was cut off ({error.strerror})") from error
        if not data:
            raise HangUp("was closed by the other side")
        frames = self._cutter.feed(data)
        if self._cutter.trouble and not frames:
            raise HangUp(self._cutter.trouble)
        return frames

    def send(self, frames: list[bytes]) -> int:
        """See FramePort.  A frame that is written in part counts as not taken; the next call's first frame is taken for
        it, and what was missing is written."""
        taken = 0
        while taken < len(frames):
            batch = frames[taken : taken + GATHERED_MOST]
            pieces: list[bytes] = []
            for frame in batch:
                pieces.append(_LENGTH.pack(len(frame)))
                pieces.append(frame)
            if self._unsent:
                pieces[:2] = [b"", self._unsent]
            try:
                sent = self._sock.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                return taken
            except OSError:
                self._unsent = b""
                return len(frames)  # `receive` tells of the end
            taken += self._account(pieces, sent)
            if self._unsent:
                return taken
        return taken

    def _account(self, pieces: list[bytes], sent: int) -> int:
        """How many whole frames `sent` octets are, and what is left of the one after them, if it was begun."""
        self._unsent = b""
        for number in range(0, len(pieces), 2):
            size = len(pieces[number]) + len(pieces[number + 1])
            if sent < size:
                if sent:
                    self._unsent = (pieces[number] + pieces[number + 1])[sent:]
                return number // 2
            sent -= size
        return len(pieces) // 2


class StreamListenLink(Listener):
    """`ether:unix-listen:PATH` and `ether:tcp-listen:[HOST:]PORT`: a guest's card for each connection."""

    def __init__(self, url: str, scheme: str, where: str) -> None:
        super().__init__(url, scheme, where, tcp=scheme == "ether:tcp-listen")
        kind = "TCP port" if self._tcp else "unix socket"
        self.description = f"{kind} {self.path}, an Ethernet card's frames on each connection"

    def start(self, watcher: Watcher, on_port: Callable[[FramePort], None]) -> None:
        self._on_port = on_port
        self._listen(watcher)

    def _take(self, name: str, sock: socket.socket) -> None:
        port = StreamPort(name, sock, lambda: self._guests.discard(port))
        self._guests.add(port)
        self.note(f"{name} is connected.")
        self._on_port(port)

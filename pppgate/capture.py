"""Capture: every frame of every guest in one pcapng file, PPP and Ethernet, with its direction and whose it is.

In: frames as the deframer gives them and as they are emitted, frames of bridge ports. Out: a file that Wireshark
reads, an interface in it for each guest. It is a Tap: the protocols know nothing of it.

The format: draft-ietf-opsawg-pcapng, in the octet order of this machine, times in microseconds.
"""

import math
import os
import stat
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO

from nat.deadlines import Deadlines
from pppgate.ether.tap import Clock, P, Send
from pppgate.settings import ConfigError
from pppgate.tap import Frame, Receive

LINKTYPE_ETHERNET = 1
LINKTYPE_PPP_WITH_DIR = 204
"""One octet of direction (0: received by this host, others: sent), then the PPP frame."""
SNAPLEN = 65536
BUFFER_MOST = 1 << 20
"""Octets kept before they are written whatever the time."""
FLUSH_AFTER = 1.0
"""Seconds that a frame may wait for the disk, counted when the next one comes, or by `tick`."""
INTERFACES_MOST = 4096
"""Guests that get an interface of their own; those that come later share the last one of their kind."""

# Section 4.1, Section Header Block: magic, version 1.0, length of the section unknown.
_SECTION = struct.pack("=IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
_INTERFACE = struct.Struct("=IIHHI")  # section 4.2: type, length, link type, reserved, snap length
_PACKET = struct.Struct("=IIIIIII")  # section 4.3: type, length, interface, time in two parts, octets kept, had
_IF_NAME, _EPB_FLAGS = 2, 2
_INBOUND, _OUTBOUND = 1, 2  # section 4.3.1, epb_flags


class Interface:
    """One guest in the capture."""

    def __init__(self, capture: "Capture", number: int, prefixes: tuple[bytes, bytes]) -> None:
        self._capture = capture
        self._number = number
        self._received, self._sent = prefixes

    def received(self, frame: bytes, now: float) -> None:
        self._capture.add(self._number, _INBOUND, self._received + frame, now)

    def sent(self, frame: bytes, now: float) -> None:
        self._capture.add(self._number, _OUTBOUND, self._sent + frame, now)


class Capture:
    """One file for all guests. `clock_offset` is what turns the loop's `now` into Unix time; `deadlines` call `tick` so
    that nothing waits for the disk for long."""

    def __init__(
        self,
        path: str,
        clock_offset: float,
        deadlines: Deadlines,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self.deadline = self.queued = math.inf
        self._deadlines = deadlines
        self._offset = clock_offset
        self._failed = failed
        self._file: BinaryIO | None = _create(path)
        self._buffer: list[bytes] = [_SECTION]
        self._octets = len(_SECTION)
        self._oldest = math.inf
        self._interfaces: dict[int, int] = {}  # link type -> number of its last one
        self._made = 0
        self.flush()

    def tick(self, now: float) -> None:
        """Write what has waited long enough."""
        due = self._oldest + FLUSH_AFTER
        if now >= due:
            self.flush()
        else:
            self._deadlines.arm(self, due)

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]:
        """Capture all that a guest says and is told."""
        interface = self.ppp(name)

        def captured_receive(octets: bytes, now: float) -> None:
            interface.received(octets, now)
            receive(octets, now)

        def captured_frame(protocol: int, information: bytes) -> bytes:
            interface.sent(protocol.to_bytes(2, "big") + information, clock())
            return frame(protocol, information)

        return captured_receive, captured_frame

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]:
        """The same for a guest on the segment."""
        interface = self.ethernet(name)

        def captured_receive(from_port: P, frame: bytes, now: float) -> None:
            interface.received(frame, now)
            receive(from_port, frame, now)

        def captured_send(frames: list[bytes]) -> int:
            taken = send(frames)
            now = clock()
            for frame in frames[:taken]:
                interface.sent(frame, now)
            return taken

        return captured_receive, captured_send

    def ppp(self, name: str) -> Interface:
        """For frames that begin with the protocol field, as it was spelled."""
        return Interface(self, self._interface(LINKTYPE_PPP_WITH_DIR, name), (b"\x00", b"\x01"))

    def ethernet(self, name: str) -> Interface:
        return Interface(self, self._interface(LINKTYPE_ETHERNET, name), (b"", b""))

    def _interface(self, link_type: int, name: str) -> int:
        if self._made >= INTERFACES_MOST and link_type in self._interfaces:
            return self._interfaces[link_type]
        text = name.encode("utf-8", "replace")[:255]
        option = struct.pack("=HH", _IF_NAME, len(text)) + text + bytes(-len(text) % 4) + bytes(4)
        length = _INTERFACE.size + len(option) + 4
        block = _INTERFACE.pack(1, length, link_type, 0, SNAPLEN) + option + length.to_bytes(4, sys.byteorder)
        self._buffer.append(block)
        self._octets += length
        self._interfaces[link_type] = number = self._made
        self._made += 1
        return number

    def add(self, interface: int, direction: int, packet: bytes, now: float) -> None:
        """One packet of an interface."""
        if self._file is None:
            return
        time = round((now + self._offset) * 1e6)
        kept = packet[:SNAPLEN]
        padding = -len(kept) % 4
        length = _PACKET.size + len(kept) + padding + 16
        self._buffer += (
            _PACKET.pack(6, length, interface, time >> 32, time & 0xFFFFFFFF, len(kept), len(packet)),
            kept,
            struct.pack(f"={padding}xHHIII", _EPB_FLAGS, 4, direction, 0, length),
        )
        self._octets += length
        if self._oldest > now:
            self._oldest = now
            self._deadlines.arm(self, now + FLUSH_AFTER)
        if self._octets >= BUFFER_MOST or now - self._oldest >= FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered. A full disk ends the capture, not the program."""
        if self._file is None:
            return
        try:
            self._file.write(b"".join(self._buffer))
        except OSError as error:
            self._close_file()
            if self._failed is not None:
                self._failed(f"The capture {self.path} ends here: {error.strerror}.")
        self._buffer.clear()
        self._octets = 0
        self._oldest = math.inf
        self._deadlines.arm(self, math.inf)

    def close(self) -> None:
        self.flush()
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _create(path: str) -> BinaryIO:
    """A new file for the owner alone (it holds what the guests send); a named pipe is used as it is."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
        return open(fd, "wb", buffering=0)
    except OSError as error:
        directory = os.path.dirname(os.path.abspath(path))
        if isinstance(error, FileNotFoundError) and not os.path.isdir(directory):
            raise ConfigError(f"The capture {path} cannot be made: there is no directory {directory}.") from None
        raise ConfigError(
            f"The capture {path} cannot be written ({error.strerror}): name a file in a directory of your own."
        ) from None

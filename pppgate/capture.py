"""Capture: every PPP frame of every guest in a pcap file, with its direction.

In: frames as the deframer gives them and as they are emitted. Out: a file of LINKTYPE_PPP_WITH_DIR records
that Wireshark reads. It wraps the callables of a guest from outside; the protocols know nothing
of it.
"""

import os
import stat
import struct
from collections.abc import Callable
from typing import BinaryIO

from pppgate.config import ConfigError
from pppgate.guest import Guest

LINKTYPE_PPP_WITH_DIR = 204
"""One octet of direction (0: received by this host, others: sent), then the PPP frame."""
RECEIVED, SENT = b"\x00", b"\x01"
SNAPLEN = 65536
BUFFER_MOST = 1 << 20
"""Octets kept before they are written whatever the time."""
FLUSH_AFTER = 1.0
"""Seconds that a frame may wait for the disk, counted when the next one comes, or by `tick`."""
_HEADER = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")
_MAGIC = 0xA1B2C3D4


class Capture:
    """One file for all guests. `clock_offset` is what turns the loop's `now` into Unix time."""

    def __init__(self, path: str, clock_offset: float, failed: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._offset = clock_offset
        self._failed = failed
        self._file: BinaryIO | None = _create(path)
        self._buffer: list[bytes] = [_HEADER.pack(_MAGIC, 2, 4, 0, 0, SNAPLEN, LINKTYPE_PPP_WITH_DIR)]
        self._octets = _HEADER.size
        self._oldest = float("inf")
        self.flush()

    @property
    def deadline(self) -> float:
        """When `tick` is next wanted; infinite while nothing is buffered."""
        return self._oldest + FLUSH_AFTER

    def tick(self, now: float) -> None:
        if now >= self.deadline:
            self.flush()

    def received(self, frame: bytes, now: float) -> None:
        """A frame from the guest: the protocol field, as it was spelled, and what follows."""
        self._add(RECEIVED, frame, now)

    def sent(self, protocol: int, information: bytes, now: float) -> None:
        self._add(SENT, protocol.to_bytes(2, "big") + information, now)

    def attach(self, guest: Guest, name: str, clock: Callable[[], float]) -> None:
        """Capture all that a guest says and is told; `clock` gives the loop's time."""
        receive, frame = guest.receive, guest.frame

        def captured_receive(octets: bytes, now: float) -> None:
            self.received(octets, now)
            receive(octets, now)

        def captured_frame(protocol: int, information: bytes) -> bytes:
            self.sent(protocol, information, clock())
            return frame(protocol, information)

        guest.receive, guest.frame = captured_receive, captured_frame

    def _add(self, direction: bytes, frame: bytes, now: float) -> None:
        if self._file is None:
            return
        seconds, microseconds = divmod(round((now + self._offset) * 1e6), 1_000_000)
        length = len(frame) + 1
        kept = frame[: SNAPLEN - 1]
        self._buffer += (
            _RECORD.pack(seconds & 0xFFFFFFFF, microseconds, len(kept) + 1, length),
            direction,
            kept,
        )
        self._octets += _RECORD.size + 1 + len(kept)
        if self._oldest > now:
            self._oldest = now
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
        self._oldest = float("inf")

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
            raise ConfigError(
                f"The capture {path} cannot be made: there is no directory {directory}."
            ) from None
        raise ConfigError(
            f"The capture {path} cannot be written ({error.strerror}): name a file in a directory of your own."
        ) from None

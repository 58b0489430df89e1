"""inotify(7) through ctypes, as much of it as watching one device node takes.

In: a path and a mask. Out: the set of event bits since the last drain. It does not tell how many openings
there were: the kernel merges equal neighbors, so that a count made from events is never to be trusted.
"""

import ctypes
import errno
import os
import struct

# linux/inotify.h
IN_CLOSE_WRITE = 0x0008
IN_CLOSE_NOWRITE = 0x0010
IN_OPEN = 0x0020
IN_Q_OVERFLOW = 0x4000
IN_CLOSE = IN_CLOSE_WRITE | IN_CLOSE_NOWRITE

_EVENT = struct.Struct("iIII")


class Inotify:
    """One inotify instance with one watch. Raises OSError as the system calls do."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wd = -1
        self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _error("inotify_init1")

    def watch(self, path: str, mask: int) -> None:
        """Watch `path` for the events of `mask`, in place of what was watched."""
        self.unwatch()
        wd = self._libc.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(mask))
        if wd < 0:
            raise _error("inotify_add_watch")
        self._wd = wd

    def unwatch(self) -> None:
        """Stop watching and forget every event not yet drained."""
        if self._wd >= 0:
            self._libc.inotify_rm_watch(self.fd, self._wd)
            self._wd = -1
        self.drain()

    def drain(self) -> int:
        """All event bits that came since the last call, or-ed together; 0 when nothing happened."""
        bits = 0
        while True:
            try:
                data = os.read(self.fd, 4096)
            except BlockingIOError:
                return bits
            offset = 0
            while offset + _EVENT.size <= len(data):
                wd, mask, _cookie, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                if wd == self._wd or mask & IN_Q_OVERFLOW:
                    bits |= mask

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _error(call: str) -> OSError:
    number = ctypes.get_errno() or errno.EIO
    return OSError(number, f"{call}: {os.strerror(number)}")

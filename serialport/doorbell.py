"""Doorbells: descriptors that an event loop can watch, for ports whose other side lives in this process.

In: `ring`, `hush`, `shut`, `open` from who has or wants something.  Out: a descriptor that is readable or writable
accordingly, level-triggered, as a socket's would be.  No octets pass through it, and nothing here blocks or raises
once it is made.  A system call is made only when the state changes, so `ring` may be called for every octet.

    Doorbell   readable while rung, always writable                 (an eventfd)
    Gate       writable while open                                  (an eventfd)
    TwoWay     both of them on one descriptor                       (a pair of unix sockets)
"""

import os
import socket

from serialport.port import PortError

_FULL = 0xFFFF_FFFF_FFFF_FFFE
"""The most an eventfd counts to (eventfd(2)): one more would block, and so it is not writable."""
_FILLING = bytes(1024)
"""A message of this size uses more than a quarter of the smallest send buffer, which makes a unix socket unwritable."""


class Doorbell:
    """Readable from `ring` to `hush`."""

    def __init__(self) -> None:
        """Raises PortError when the process may open no more files."""
        self.fd = _eventfd()
        self.rung = False

    def ring(self) -> None:
        if not self.rung and self.fd >= 0:
            self.rung = True
            os.eventfd_write(self.fd, 1)

    def hush(self) -> None:
        if self.rung and self.fd >= 0:
            self.rung = False
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """May be called twice; ringing a closed bell does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Gate:
    """Writable from `open` to `shut`; made open."""

    def __init__(self) -> None:
        """Raises PortError when the process may open no more files."""
        self.fd = _eventfd()
        self.is_open = True

    def shut(self) -> None:
        if self.is_open and self.fd >= 0:
            self.is_open = False
            os.eventfd_write(self.fd, _FULL)

    def open(self) -> None:
        if not self.is_open and self.fd >= 0:
            self.is_open = True
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """May be called twice; a closed gate stays as it is."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class TwoWay:
    """One descriptor that is readable from `ring` to `hush`, and writable from `open` to `shut`; made open."""

    def __init__(self) -> None:
        """Raises PortError when the process may open no more files."""
        try:
            self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise PortError(_too_many(error)) from None
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        # The kernel makes this its least, 4,608 octets with their overhead.
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.fd = self._ours.fileno()
        self.rung = False
        self.is_open = True

    def ring(self) -> None:
        if not self.rung and self.fd >= 0:
            self.rung = True
            self._theirs.send(b"!")

    def hush(self) -> None:
        if self.rung and self.fd >= 0:
            self.rung = False
            self._ours.recv(1)

    def shut(self) -> None:
        if self.is_open and self.fd >= 0:
            self.is_open = False
            self._ours.send(_FILLING)

    def open(self) -> None:
        if not self.is_open and self.fd >= 0:
            self.is_open = True
            self._theirs.recv(len(_FILLING))

    def close(self) -> None:
        """May be called twice."""
        self._ours.close()
        self._theirs.close()
        self.fd = -1


def _eventfd() -> int:
    try:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    except OSError as error:
        raise PortError(_too_many(error)) from None


def _too_many(error: OSError) -> str:
    return (
        f"No descriptor is to be had ({error.strerror}): raise the limit on open files (ulimit -n) or end some guests."
    )

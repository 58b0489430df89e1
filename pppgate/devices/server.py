"""A unix socket on which emulators find a card: `uart:vfio-user:PATH`, `ne2k:vfio-user:PATH`.

In:  connections, one for each card that an emulator plugs in.  Out: whatever the card's maker hands to `on_port`.
Each connection has a card and a session of its own, from its first octet to its last; an emulator that is killed and
started again gets a new card.  Everything is done in callbacks of the Watcher.

A guest's register access is a message and an answer, and the guest's CPU stands still in between, so what matters is
how soon a message is answered: hence LINGER.  Out of a TCG guest on two cores 34 KB/s went through a UART with it, and
10 without; what a message costs here is 6 microseconds, of which 4 are the two system calls.  Each interrupt costs the
guest a message more (irq.py), and so it waits until the guest has done what it is at: SETTLED.
"""

import array
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pppgate.devices.irq import IrqLine
from pppgate.devices.pci import Card
from pppgate.devices.vfio_user import FDS_MOST, Broken, Session
from serialport.port import Watcher

READ_SIZE: Final = 8192
"""Octets of one read. A waiting client sends one message of 33; only coalesced writes come in larger pieces."""
LINGER: Final = 0.000_600
"""Seconds to look for the guest's next access after an answer, before the event loop does. A busy guest's comes within
20 to 40 microseconds on a fast machine, and within 200 on one that emulates slowly."""
SETTLED: Final = 0.000_300
"""Seconds after which a guest that asks nothing more has come back from its interrupt handler. Shorter than the pauses
between the accesses of a slow guest, it would hold it in its handler for seconds."""
BUDGET: Final = 0.002
"""Seconds after which the other guests get their turn, however busily this one goes on."""
_ANCILLARY: Final = socket.CMSG_SPACE(4 * FDS_MOST)

MakeCard = Callable[[Watcher, Callable[[bool], None]], Card]
"""(watcher, interrupt) -> a card."""


class Connection:
    """One emulator's slot with our card in it."""

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        watcher: Watcher,
        make: MakeCard,
        count: Counter[str],
        ended: Callable[["Connection", str], None],
    ) -> None:
        """`ended` is called once, with "" or what the client did wrong, from a callback or from `close`."""
        sock.setblocking(False)
        self.name = name
        self._sock = sock
        self._watcher = watcher
        self._ended: Callable[[Connection, str], None] | None = ended
        self._irq = IrqLine(_signal)
        self.card = make(watcher, self._irq.set_level)
        self.session = Session(self.card, self._irq, _is_event, os.close, count)
        self._unsent = b""
        watcher.watch_read(sock.fileno(), self._readable)

    def close(self, trouble: str = "") -> None:
        """Pull the card out; its port hangs up."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._watcher.unwatch_read(self._sock.fileno())
        self._watcher.unwatch_write(self._sock.fileno())
        self.session.end()
        self._sock.close()
        self.card.close()
        ended(self, trouble)

    def _readable(self, now: float) -> None:
        try:
            self._serve(now)
        finally:
            self._irq.release()

    def _serve(self, now: float) -> None:
        """Answer what is there, and what follows within LINGER of each answer."""
        clock, recv, irq = self._watcher.now, self._sock.recvmsg, self._irq
        latest = now + BUDGET
        settled = until = now
        while self._ended is not None:
            try:
                data, ancillary, _, _ = recv(READ_SIZE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                now = clock()
                if now >= until:
                    return
                if irq.held and now >= settled:
                    irq.release()
                continue
            except OSError:
                self.close()
                return
            if not data:
                self.close()
                return
            irq.hold()
            try:
                replies = self.session.receive(data, _descriptors(ancillary) if ancillary else [])
            except Broken as broken:
                self.close(f"{broken}, which is not the vfio-user protocol; it was disconnected")
                return
            if replies and not self._send(replies):
                return
            now = clock()
            if now >= latest:
                return
            settled = now + SETTLED
            until = min(now + LINGER, latest)

    def _send(self, replies: bytes) -> bool:
        """Whether all of it went; otherwise nothing more is read until it has."""
        try:
            sent = self._sock.send(replies)
        except BlockingIOError:
            sent = 0
        except OSError:
            return True  # the next read tells of it
        if sent == len(replies):
            return True
        self._unsent = replies[sent:]
        self._watcher.unwatch_read(self._sock.fileno())
        self._watcher.watch_write(self._sock.fileno(), self._writable)
        return False

    def _writable(self, _now: float) -> None:
        unsent, self._unsent = self._unsent, b""
        if self._send(unsent):
            self._watcher.unwatch_write(self._sock.fileno())
            self._watcher.watch_read(self._sock.fileno(), self._readable)


def _signal(fd: int) -> None:
    """One event. The client's own counter being full means that events wait there already. Whether a write waits is a
    flag of the file and not of the descriptor, so the client may have changed it since `_is_event`."""
    with suppress(OSError):
        os.set_blocking(fd, False)
        os.eventfd_write(fd, 1)


def _is_event(fd: int) -> bool:
    """An eventfd, which from here on does not block: a pipe that is full, or a terminal, would stop every guest."""
    try:
        if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:[eventfd]":
            return False
        os.set_blocking(fd, False)
    except OSError:
        return False
    return True


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()

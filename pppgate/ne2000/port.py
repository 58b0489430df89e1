"""An Ethernet port whose other end is an NE2000 in this process.

In: frames for the guest.  Out: frames from it.  `card` is what a PCI device or an emulator drives.  Nothing is lost on
the way to the card: `send` refuses what its ring has no room for, and `fd` becomes writable when there is.
What it does not know: who drives the card.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from pppgate.ether.links.port import FRAME_MOST, HEADER
from pppgate.ne2000.card import RAM_SIZES, RTL8029, Ne2000
from serialport.doorbell import TwoWay
from serialport.port import READ_SIZE, HangUp

QUEUE_MOST: Final = 4 * READ_SIZE
"""Octets from the guest that wait to be read; what comes then is dropped and counted."""


class Ne2000Port:
    """A FramePort.  Raises PortError when the process may open no more files, ValueError as Ne2000 does."""

    lossless = True

    def __init__(
        self,
        name: str,
        mac: bytes,
        *,
        memory: int = RAM_SIZES[0],
        front: str = RTL8029,
        interrupt: Callable[[bool], None],
    ) -> None:
        self.name = name
        self.card = Ne2000(
            mac, memory=memory, front=front, interrupt=interrupt, transmit=self._from_guest, room=self._room
        )
        self.count = self.card.count
        self._bell = TwoWay()
        self.fd = self._bell.fd
        self._waiting: deque[bytes] = deque()
        self._octets = 0
        self._gone = False

    # -- the gateway's side

    def receive(self) -> list[bytes]:
        frames: list[bytes] = []
        size = 0
        waiting = self._waiting
        while waiting and size < READ_SIZE:
            frames.append(waiting.popleft())
            size += len(frames[-1])
        self._octets -= size
        if not waiting and not self._gone:
            self._bell.hush()
        if not frames and self._gone:
            raise HangUp("was unplugged")
        return frames

    def send(self, frames: list[bytes]) -> int:
        if self._gone:
            return len(frames)
        receive = self.card.receive
        for taken, frame in enumerate(frames):
            if not HEADER <= len(frame) <= FRAME_MOST:
                self.count["ne2k.bad_length"] += 1
            elif not receive(frame):
                self._bell.shut()
                return taken
        return len(frames)

    def close(self) -> None:
        self._gone = True
        self._waiting.clear()
        self._octets = 0
        self._bell.close()
        self.fd = -1

    # -- the card's side

    def unplug(self) -> None:
        """The card has gone: the port ends when what the guest sent has been read."""
        self._gone = True
        self._bell.ring()
        self._bell.open()

    def _from_guest(self, frame: bytes) -> None:
        if self._gone or self._octets > QUEUE_MOST:
            self.count["ne2k.closed" if self._gone else "ne2k.queue_full"] += 1
            return
        self._waiting.append(frame)
        self._octets += len(frame)
        self._bell.ring()

    def _room(self) -> None:
        self._bell.open()

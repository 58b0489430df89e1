"""Octets of the guest, in order, on their way into the other end's stream.

In: payloads as they become contiguous.  Out: one gathering write a wake-up, and `shutdown` after the last.
What the stream does not take stays here: `size` octets, which the receiver subtracts from the window it announces.
`push` and `finish` raise the stream's OSError; a stream that would block is not an error.
"""

from typing import Final

from nat.stream import StreamSocket

GATHER_MOST: Final = 512  # buffers in one gathering write, under IOV_MAX


class Delivery:
    """Toward one stream.  `blocked`: the stream took less than it was given and must become writable first."""

    __slots__ = ("chunks", "size", "blocked", "finished")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0  # octets in chunks
        self.blocked = False
        self.finished = False

    def push(self, stream: StreamSocket) -> None:
        """Hand over as much as the stream takes now."""
        chunks = self.chunks
        try:
            if len(chunks) == 1:
                sent = stream.send(chunks[0])
            elif len(chunks) <= GATHER_MOST:
                sent = stream.gather(chunks)
            else:
                self.join()
                sent = stream.send(chunks[0])
        except BlockingIOError:
            sent = 0
        self.size -= sent
        self.blocked = self.size > 0
        if not self.blocked:
            chunks.clear()
            return
        done = 0
        while sent >= len(chunks[done]):
            sent -= len(chunks[done])
            done += 1
        if sent:
            chunks[done] = chunks[done][sent:]
        del chunks[:done]

    def join(self) -> None:
        """Make one buffer of many."""
        self.chunks[:] = [b"".join(self.chunks)]

    def finish(self, stream: StreamSocket) -> None:
        """The guest has said all: pass its end on, once."""
        if not self.finished:
            self.finished = True
            stream.shutdown()

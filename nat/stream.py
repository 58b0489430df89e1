"""The other end of a TCP flow: a stream of octets each way, that never waits.

`StreamSocket` is all that nat.tcp knows of it.  nat.host.HostStream is a TCP socket of the host; `memory_pair` makes
two ends that are connected to each other in this process, for an application that is the other end itself, and for
tests.

In and out: octets, ends and errors as the socket calls have them: BlockingIOError where a call would block, another
OSError where the connection is broken.  Callbacks get the time.
"""

from collections.abc import Callable, Sequence
from errno import ECONNRESET, ENOTCONN, EPIPE
from typing import Final, Protocol

Callback = Callable[[float], None]

CAPACITY: Final = 64 * 1024
"""Octets that one direction of a pair in memory holds."""


class StreamSocket(Protocol):
    """Non-blocking.  Readiness is a level: a callback is called again for as long as it is switched on and there is
    something to do (an end and an error are), never from within a call of the stream itself."""

    def recv(self, size: int, /) -> bytes:
        """At most `size` octets (1 or more); none: the other end has said all."""

    def peek(self, size: int, /) -> bytes:
        """As `recv`, and what it gives stays."""

    def send(self, data: bytes, /) -> int:
        """How many octets were taken, from the front."""

    def gather(self, buffers: Sequence[bytes], /) -> int:
        """As `send`, of all the buffers one after the other."""

    def shutdown(self) -> None:
        """This end has said all: the other one reads its end after the last octet.  Once."""

    def close(self) -> None:
        """Let go of it; what was sent still arrives.  No callback is called any more."""

    def reset(self) -> None:
        """Close it and have the other end see an error (ECONNRESET) instead of an end."""

    def connect_error(self) -> int:
        """What became of the connection, once the stream is writable: 0, or an errno; EINPROGRESS: nothing yet."""

    def watch_read(self, callback: Callback, /) -> None:
        """Call it when `recv` would not block."""

    def unwatch_read(self) -> None: ...

    def watch_write(self, callback: Callback, /) -> None:
        """Call it when `send` would not block."""

    def unwatch_write(self) -> None: ...


def memory_pair(
    call_soon: Callable[[Callback], object], capacity: int = CAPACITY
) -> "tuple[MemoryStream, MemoryStream]":
    """Two ends, connected.

    call_soon: has a function called with the time, after those before it and not from within this call; what an event
      loop's `call_at(0.0, ...)` does.
    capacity: octets that each direction holds before `send` would block; at least 1.
    """
    one, other = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(one, other, call_soon), MemoryStream(other, one, call_soon)


class _Pipe:
    """One direction.  `on_change`: who is told of it, both its ends."""

    __slots__ = ("octets", "capacity", "ended", "broken", "on_change")

    def __init__(self, capacity: int) -> None:
        self.octets = bytearray()
        self.capacity = capacity
        self.ended = False  # nothing will be added
        self.broken = 0  # errno for both ends; 0: it is not
        self.on_change: list[Callable[[], None]] = []

    def changed(self) -> None:
        for tell in self.on_change:
            tell()


class MemoryStream:
    """One end of a pair: implements StreamSocket.  Made by `memory_pair`."""

    __slots__ = ("_in", "_out", "_call_soon", "_on_readable", "_on_writable", "_call_pending", "_closed")

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, call_soon: Callable[[Callback], object]) -> None:
        self._in = incoming
        self._out = outgoing
        self._call_soon = call_soon
        self._on_readable: Callback | None = None
        self._on_writable: Callback | None = None
        self._call_pending = False  # `_call` is on its way
        self._closed = False
        incoming.on_change.append(self.call_if_ready)
        outgoing.on_change.append(self.call_if_ready)

    # Octets

    def recv(self, size: int, /) -> bytes:
        data = self.peek(size)
        if data:
            del self._in.octets[:size]
            self._in.changed()
        return data

    def peek(self, size: int, /) -> bytes:
        self._check(self._in)
        if not self._in.octets and not self._in.ended:
            raise BlockingIOError
        return bytes(self._in.octets[:size])

    def send(self, data: bytes, /) -> int:
        pipe = self._out
        self._check(pipe)
        if pipe.ended:
            raise OSError(EPIPE, "the end was sent before")
        room = pipe.capacity - len(pipe.octets)
        if not room:
            raise BlockingIOError
        pipe.octets += data[:room]
        pipe.changed()
        return min(len(data), room)

    def gather(self, buffers: Sequence[bytes], /) -> int:
        return self.send(b"".join(buffers))

    def _check(self, pipe: _Pipe) -> None:
        if self._closed:
            raise OSError(ENOTCONN, "it is closed")
        if pipe.broken:
            raise OSError(pipe.broken, "the other end is gone")

    # Ends

    def shutdown(self) -> None:
        self._check(self._out)
        self._out.ended = True
        self._out.changed()

    def close(self) -> None:
        """What was not read is lost, and the other end is told so with a reset (RFC 9293 section 3.6, RFC 1122 section
        4.2.2.13)."""
        if not self._closed:
            if self._in.octets:
                self.reset()
                return
            self._let_go()
            self._out.ended = True
            self._out.changed()
            self._in.broken = self._in.broken or EPIPE  # whoever goes on sending learns that nobody reads
            self._in.changed()

    def reset(self) -> None:
        if not self._closed:
            self._let_go()
            for pipe in (self._in, self._out):
                pipe.octets.clear()
                pipe.broken = ECONNRESET
            self._out.changed()
            self._in.changed()

    def _let_go(self) -> None:
        self._closed = True
        self._on_readable = self._on_writable = None

    def connect_error(self) -> int:
        return 0

    # Readiness

    def watch_read(self, callback: Callback, /) -> None:
        self._on_readable = callback
        self.call_if_ready()

    def unwatch_read(self) -> None:
        self._on_readable = None

    def watch_write(self, callback: Callback, /) -> None:
        self._on_writable = callback
        self.call_if_ready()

    def unwatch_write(self) -> None:
        self._on_writable = None

    @property
    def readable(self) -> bool:
        return bool(self._in.octets or self._in.ended or self._in.broken)

    @property
    def writable(self) -> bool:
        return bool(len(self._out.octets) < self._out.capacity or self._out.ended or self._out.broken)

    def call_if_ready(self) -> None:
        """Something has changed: see to it that whoever can go on is called."""
        if self._call_pending or self._closed:
            return
        if (self._on_readable is not None and self.readable) or (self._on_writable is not None and self.writable):
            self._call_pending = True
            self._call_soon(self._call)

    def _call(self, now: float) -> None:
        self._call_pending = False
        if self._on_readable is not None and self.readable:
            self._on_readable(now)
        if self._on_writable is not None and self.writable:
            self._on_writable(now)
        self.call_if_ready()

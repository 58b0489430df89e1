"""The Python functions that one packet goes through, each way: `python -m contrib.bench.calls`.

In:  nothing. A gateway and a guest in this process, a pty between them, a TCP connection through both.
Out: the calls of the wake-up that one segment makes, in their order, with the files that they stand in.

Only functions of this project are counted: what they call in C is the interpreter's. The event loop is left out, and
what it asks of the deadlines when all is done: it costs the same whether a wake-up brings one packet or fifty.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from contrib.guest_stack import Stack
from lcp.config import LinkConfig
from nat.deadlines import Deadlines
from pppgate.config import build
from pppgate.loop import Loop
from pppgate.say import Say
from pppgate.server import Server, open_network_links

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = ("pppgate/loop.py", "contrib/bench/calls.py")
SEGMENT = bytes(range(256)) * 4
"""What is sent: one segment, too small for an ACK of its own and for a look at what the line still holds."""
SETTLE = 0.01
"""Seconds until octets written at one end of a pty or a connection can surely be read at the other."""
ACKED_AFTER = 0.1
"""Seconds after which no ACK is owed any more, and no timer has been set for one."""
TURNS_MOST = 2000
"""Turns of both loops until something must have happened that is waited for."""


class Call(NamedTuple):
    """One call of a function, as `file` (from the root of the project) and `name`."""

    file: str
    name: str


class Way(NamedTuple):
    """What a wake-up with one packet has called."""

    calls: list[Call]

    def until(self, name: str) -> Way:
        """The way before the function `name` is called."""
        return Way(list(takewhile(lambda call: call.name != name, self.calls)))

    @property
    def files(self) -> list[str]:
        """Those that the calls stand in, in the order of their first one."""
        return list(dict.fromkeys(call.file for call in self.calls))

    def __str__(self) -> str:
        lines = [f"  {call.file}: {call.name}" for call in self.calls]
        return "\n".join([f"{len(self.calls)} calls in {len(self.files)} files", *lines])


@contextmanager
def recorded(calls: list[Call]) -> Iterator[None]:
    """Put the calls of the project's functions in this thread into `calls`, those of the loop left out."""
    root = f"{ROOT}/"

    def profile(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(root):
            file = code.co_filename.removeprefix(root)
            if file not in LEFT_OUT and code is not Deadlines.next.__code__:
                calls.append(Call(file, code.co_qualname))

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


class Bench:
    """A guest with one connection through a gateway, in one thread: whose turn it is decides who works."""

    def __init__(self, directory: str, stack: ExitStack) -> None:
        line = f"{directory}/line"
        self.gateway, self.guest_loop = Loop(), Loop()
        stack.callback(self.gateway.close)
        stack.callback(self.guest_loop.close)
        config = build({"links": [f"pty:{line}"], "host_loopback": True})
        links = {network.name: open_network_links(network) for network in config.networks}
        server = Server(config, links, self.gateway, Say("error"))
        stack.callback(server.close)
        server.start()
        guest = Stack(self.guest_loop, f"tty:{line}", LinkConfig(), lambda event: None)
        guest.dial(self.guest_loop.now())
        stack.callback(lambda: guest.close(self.guest_loop.now()))
        self._until(lambda: guest.line.up)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.inside, inner = socket.socketpair()  # the guest's program
        stack.enter_context(self.inside)
        inner.setblocking(False)
        port = listener.getsockname()[1]
        self._called = guest.call(bytes((10, 0, 2, 2)), port, inner, self.guest_loop.now())
        self._until(self._called.done)
        self.outside = stack.enter_context(listener.accept()[0])
        for _ in range(20):  # segments: as long as every segment is acknowledged at once, none is like the others
            self._carry(self.inside, self.outside)
            self._carry(self.outside, self.inside)

    def _until(self, done: Callable[[], bool]) -> None:
        for _ in range(TURNS_MOST):
            self.guest_loop.turn(0.0005)
            self.gateway.turn(0.0005)
            if done():
                return
        raise RuntimeError("the guest waits in vain")

    def _carry(self, sender: socket.socket, receiver: socket.socket) -> None:
        sender.sendall(SEGMENT)
        octets = bytearray()

        def arrived() -> bool:
            with suppress(BlockingIOError):
                octets.extend(receiver.recv(65536, socket.MSG_DONTWAIT))
            return len(octets) == len(SEGMENT)

        self._until(arrived)
        self.settle()

    def settle(self) -> None:
        """Wait until the ACKs are through."""
        quiet = time.monotonic() + ACKED_AFTER
        self._until(lambda: time.monotonic() > quiet)

    def way_in(self) -> Way:
        """One segment of the guest, until its octets are in the host's socket; its ACK waits for company."""
        self.inside.sendall(SEGMENT)
        self.guest_loop.turn(SETTLE)
        return self._way()

    def way_out(self) -> Way:
        """One segment to the guest, from the host's socket onto the pty."""
        self.outside.sendall(SEGMENT)
        return self._way()

    def _way(self) -> Way:
        """What the next wake-up of the gateway calls."""
        time.sleep(SETTLE)
        calls: list[Call] = []
        with recorded(calls):
            self.gateway.turn()
        # `turn` begins with what its caller may have left to be done, here nothing: that is no part of the way.
        if calls[0].name != "Dirty.flush":
            raise RuntimeError(f"a turn begins with {calls[0].name}")
        return Way(calls[1:])


def measure() -> tuple[Way, Way]:
    """The way in and the way out.

    What follows `Dirty.flush` on the way in is done once for all that came in the same wake-up."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        bench = Bench(directory, stack)
        way_in = bench.way_in()
        bench.settle()
        return way_in, bench.way_out()


def main() -> None:
    for name, way in zip(("in", "out"), measure(), strict=True):
        print(f"The way {name}: {way}")


if __name__ == "__main__":
    main()

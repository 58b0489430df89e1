"""A guest in a few lines: this project's own PPP client on a serial line, with ping, DNS, UDP and TCP of its own.

It needs no emulator and no kernel PPP, so it serves to try a gateway, to test one, and to show one:

    python contrib/embedded_guest.py /tmp/com1            pings, resolves, fetches, and says what happened

    with EmbeddedGuest("/tmp/com1") as guest:             # dials in; GuestError if the link does not come up
        guest.address, guest.gateway, guest.dns           # "10.0.2.15", "10.0.2.2", "10.0.2.3"
        guest.ping("10.0.2.2")                            # seconds
        guest.resolve("example.com")                      # ["192.0.2.80", ...]; tcp=True asks by TCP
        guest.exchange("192.0.2.1", 7, b"x")              # the answer to one UDP datagram
        sock = guest.connect("192.0.2.1", 80)             # a connected socket.socket; ConnectionRefusedError
        http = guest.http("example.com", 80)              # an http.client.HTTPConnection: request("PUT", ...)
        listener = guest.listen(80)                       # a socket to accept() callers of the guest's port 80
        guest.answer_udp(7, lambda payload: payload)      # a UDP server
        guest.hang_up()                                   # Terminate-Request, then the line is closed
        guest.cut()                                       # closed without a word, as `with` does at its end

The line is a path (a gateway's pty, /dev/ttyS0) or a LINK of pppgate that makes one port (tcp:HOST:PORT, unix:PATH).
A thread with a pppgate.loop.Loop carries everything; the methods are for other threads, and wait.
The guest's TCP is nat.tcp.flow with the roles changed: a flow calls the remote end as it would call a guest, and its
"host's socket" is one end of a socketpair whose other end the user gets.
"""

import argparse
import http.client
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contrib import dns_question
from contrib.guest_stack import GuestError, Stack
from lcp.config import Credentials, LinkConfig
from lcp.events import AuthFailed, Event, NetworkUp
from lcp.protocol import CHAP_MD5, PAP
from nat.wire.icmp import ECHO, build_icmp
from nat.wire.ipv4 import dotted
from nat.wire.udp import build_udp
from pppgate.loop import Loop
from serialport.port import PortError

__all__ = ["EmbeddedGuest", "GuestError"]
T = TypeVar("T")


class EmbeddedGuest:
    """See above.  `offer`: how the credentials may be shown, best first (values of LCP's option).  `events`: what the
    link has told so far (lcp.events); `tell` hears each as it comes."""

    def __init__(
        self,
        line: str,
        *,
        credentials: Credentials | None = None,
        mru: int = 1500,
        offer: tuple[bytes, ...] = (CHAP_MD5, PAP),
        tell: Callable[[Event], None] | None = None,
    ) -> None:
        self.events: list[Event] = []
        self._tell = tell
        self._news = threading.Condition()
        self._loop = Loop()
        config = LinkConfig(mru=mru, credentials=credentials, offer=offer, echo_interval=0)
        self.stack = Stack(self._loop, line if ":" in line else f"tty:{line}", config, self._on_event)
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"guest on {line}")

    # The life of the guest

    def __enter__(self) -> Self:
        self.dial()
        try:
            self.wait_for(NetworkUp)
        except BaseException:
            self.cut()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()

    def dial(self) -> None:
        """Open the line and begin to negotiate; raises serialport.port.PortError."""
        self._thread.start()
        try:
            self.do(self.stack.dial)
        except BaseException:
            self.cut()
            raise

    def wait_for(self, kind: type[Event], words: str = "", timeout: float = 5.0) -> Event:
        """The first event of this kind with these words, which may still have to come."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                for event in self.events:
                    if isinstance(event, kind) and words in str(event):
                        return event
                    if isinstance(event, AuthFailed):
                        raise GuestError(str(event))
                left = end - time.monotonic()
                if left <= 0:
                    said = "; ".join(map(str, self.events)) or "nothing was heard"
                    raise GuestError(f"no {kind.__name__} {words!r} in {timeout:g} s: {said}")
                self._news.wait(left)

    def hang_up(self, timeout: float = 3.0) -> None:
        """End the link with Terminate-Request, wait for the answer, and close the line."""
        self.do(self.stack.hang_up)
        end = time.monotonic() + timeout
        while not self.stack.over and time.monotonic() < end:
            time.sleep(0.01)
        self.cut()

    def cut(self) -> None:
        """Close the line without a word, and let go of everything.  May be called twice."""
        if self._thread.is_alive():
            with suppress(GuestError):
                self.do(self._close)
            self._thread.join(5)

    def do(self, action: Callable[[float], T], timeout: float = 5.0) -> T:
        """Run `action(now)` in the guest's thread and give its result."""
        done: Future[T] = Future()

        def run(now: float) -> None:
            try:
                done.set_result(action(now))
            except Exception as error:
                done.set_exception(error)

        try:
            self._loop.loop.call_soon_threadsafe(self._loop.call_at, 0.0, run)
        except RuntimeError:
            raise GuestError("the guest has hung up") from None
        return done.result(timeout)

    def _run(self) -> None:
        self._loop.loop.run_forever()
        self._loop.close()

    def _close(self, now: float) -> None:
        self.stack.close(now)
        self._loop.stop()

    def _on_event(self, event: Event) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()
        if self._tell is not None:
            self._tell(event)

    # What a user asks of it

    @property
    def address(self) -> str:
        return dotted(self.stack.ipcp.local)

    @property
    def gateway(self) -> str:
        return dotted(self.stack.ipcp.remote or bytes(4))

    @property
    def dns(self) -> str:
        return dotted(self.stack.ipcp.dns[0])

    def ping(self, address: str, size: int = 56, timeout: float = 5.0) -> float:
        """Seconds to the echo reply."""
        random = self.stack.random
        rest, payload, begun = random.randbytes(4), random.randbytes(size), time.monotonic()
        packet = build_icmp(self.stack.ipcp.local, socket.inet_aton(address), ECHO, 0, rest, payload)
        if self._answer(address, self.do(lambda now: self.stack.ask(("echo", rest), packet)), timeout) != payload:
            raise GuestError(f"{address} sent other octets back")
        return time.monotonic() - begun

    def exchange(self, address: str, port: int, payload: bytes, timeout: float = 5.0) -> bytes:
        """The payload of the first answer to a datagram; ConnectionRefusedError when nobody listens there."""
        own_port, identification = 32768 + self.stack.random.randrange(16384), self.stack.random.getrandbits(16)
        target = socket.inet_aton(address)
        packet = build_udp(self.stack.ipcp.local, own_port, target, port, payload, identification=identification)
        return self._answer(address, self.do(lambda now: self.stack.ask(("udp", own_port), packet)), timeout)

    def resolve(self, name: str, *, tcp: bool = False, timeout: float = 10.0) -> list[str]:
        """The IPv4 addresses of a name, as the gateway's DNS has them."""
        query = dns_question.query(name, self.stack.random.randbytes(2))
        if tcp:
            with self.connect(self.dns, 53, timeout) as sock, sock.makefile("rb") as stream:
                sock.sendall(len(query).to_bytes(2, "big") + query)
                reply = stream.read(int.from_bytes(stream.read(2), "big"))
        else:
            reply = self.exchange(self.dns, 53, query, timeout)
        try:
            return dns_question.addresses(name, query, reply)
        except dns_question.NoAddress as error:
            raise GuestError(str(error)) from None

    def connect(self, address: str, port: int, timeout: float = 10.0) -> socket.socket:
        """A socket whose octets go to that TCP port; `timeout` stays its own.  A reset reads as the end."""
        inner, outer = socket.socketpair()
        inner.setblocking(False)
        outer.settimeout(timeout)
        try:
            target = socket.inet_aton(address)
            coming = self.do(lambda now: self.stack.call(target, port, inner, now))
            self._answer(f"{address} port {port}", coming, timeout)
        except BaseException:
            outer.close()
            raise
        return outer

    def http(self, host: str, port: int = 80) -> http.client.HTTPConnection:
        """A connection to use as http.client has it; `host` is a name or an address."""
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self.connect(host if host[-1:].isdigit() else self.resolve(host)[0], port)
        return connection

    def listen(self, port: int) -> socket.socket:
        """A listening socket whose callers are those of the guest's TCP port."""
        listener = socket.create_server(("127.0.0.1", 0))
        where = (socket.inet_aton("127.0.0.1"), listener.getsockname()[1])
        self.do(lambda now: self.stack.listening.update({port: where}))
        return listener

    def answer_udp(self, port: int, server: Callable[[bytes], bytes | None]) -> None:
        """`server(payload)` gives the answer to each datagram for this port; None for none."""
        self.do(lambda now: self.stack.servers.update({port: server}))

    @staticmethod
    def _answer(who: str, coming: Future[T], timeout: float) -> T:
        try:
            return coming.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"{who} does not answer") from None


def main() -> int:
    """Try a gateway: the exit status is 0 when everything worked."""
    parser = argparse.ArgumentParser(description="Dial in on a line as a guest, and try the gateway there.")
    parser.add_argument("line", help="a pty that pppgate made, a serial device, tcp:HOST:PORT or unix:PATH")
    parser.add_argument("--user", help="name for PAP or CHAP")
    parser.add_argument("--password", default="")
    parser.add_argument("--ping", metavar="ADDRESS", help="ping this too, not only the gateway")
    parser.add_argument("--resolve", metavar="NAME", default="example.com")
    parser.add_argument("--fetch", metavar="HOST[:PORT]/PATH", default="example.com/")
    given = parser.parse_args()
    credentials = Credentials(given.user.encode(), given.password.encode()) if given.user else None
    failures = 0

    def attempt(what: str, action: Callable[[], str]) -> None:
        nonlocal failures
        try:
            print(f"{what}: {action()}")
        except (OSError, GuestError, http.client.HTTPException) as error:
            failures += 1
            print(f"{what}: failed: {error}")

    def fetch() -> str:
        where, _, path = given.fetch.removeprefix("http://").partition("/")
        host, _, port = where.partition(":")
        connection = guest.http(host, int(port or 80))
        begun = time.monotonic()
        connection.request("GET", f"/{path}")
        with connection.getresponse() as response:
            size = len(response.read())
        connection.close()
        return f"HTTP {response.status}, {size} octets in {time.monotonic() - begun:.2f} s"

    try:
        with EmbeddedGuest(given.line, credentials=credentials, tell=print) as guest:
            for address in filter(None, (guest.gateway, given.ping)):
                attempt(f"ping {address}", lambda address=address: f"{guest.ping(address) * 1000:.2f} ms")  # type: ignore[misc]
            attempt(f"resolve {given.resolve}", lambda: " ".join(guest.resolve(given.resolve)))
            attempt(f"fetch {given.fetch}", fetch)
            guest.hang_up()
    except (GuestError, PortError) as error:
        print(f"No link: {error}")
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

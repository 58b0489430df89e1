"""A host without a network, for tests of the flows: sockets that record what is asked of them."""

import errno
import itertools
from collections import Counter, deque
from random import Random
from typing import Any

from nat.context import Context, Limits
from nat.deadlines import Deadlines
from nat.host import Fault, Resolver
from nat.line import Line
from nat.rules import Rules
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import build_ipv4
from nat.wire.udp import build_udp
from tests.support.watching import Watching

GATEWAY = bytes((10, 0, 2, 2))
DNS = bytes((10, 0, 2, 3))
GUEST = bytes((10, 0, 2, 15))
SERVER = bytes((203, 0, 113, 7))
ROUTER = bytes((198, 51, 100, 1))

_numbers = itertools.count(100)


class FakeSocket:
    """Scripted: `incoming` holds (data, name) or an errno to raise, `failures` errnos for the next sends."""

    def __init__(self, name: tuple[str, int] = ("0.0.0.0", 0)) -> None:
        self.fd = next(_numbers)
        self.name = name
        self.incoming: deque[tuple[bytes, tuple[str, int]] | int] = deque()
        self.ancillary: list[tuple[int, int, bytes]] = []
        self.sent: list[tuple[bytes, tuple[str, int] | None]] = []
        self.failures: deque[int] = deque()
        self.options: dict[tuple[int, int], object] = {}
        self.option_calls = 0
        self.callers: deque[FakeSocket | int] = deque()
        self.closed = self.was_reset = False

    def fileno(self) -> int:
        assert not self.closed
        return self.fd

    def getsockname(self) -> tuple[str, int]:
        return self.name

    def setsockopt(self, level: int, option: int, value: object) -> None:
        assert not self.closed
        self.option_calls += 1
        self.options[level, option] = value

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        assert not self.closed
        if not self.incoming:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        item = self.incoming.popleft()
        if isinstance(item, int):
            raise OSError(item, "scripted")
        return item

    def recv(self, size: int) -> bytes:
        return self.recvfrom(size)[0]

    def recvmsg(self, size: int, ancillary: int = 0) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        data, name = self.recvfrom(size)
        return data, self.ancillary, 0, name

    def sendto(self, data: bytes, name: tuple[str, int] | None) -> int:
        assert not self.closed
        if self.failures:
            failure = self.failures.popleft()
            if failure:
                raise OSError(failure, "scripted")
        self.sent.append((data, name))
        return len(data)

    def send(self, data: bytes) -> int:
        return self.sendto(data, None)

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.closed = self.was_reset = True


class FakeHost(Watching):
    """`fail[method]`: errnos for its next calls (0: succeed).  `wake(sock, now)` is what the event loop does."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.sockets: list[FakeSocket] = []
        self.fail: dict[str, deque[int]] = {}
        self.owned: set[bytes] = set()
        self.probes = 0
        self.faults: dict[int, deque[Fault]] = {}
        self.ping_kind: str | None = "ping"
        self.resolver_list = [Resolver(2, "127.0.0.53", 53)]
        self.asked: list[Resolver] = []

    def now(self) -> float:
        return self.time

    def wake(self, sock: FakeSocket, now: float = 0.0) -> None:
        self.readers[sock.fd](now)

    def open(self) -> list[FakeSocket]:
        return [sock for sock in self.sockets if not sock.closed]

    def _make(self, method: str, name: tuple[str, int] = ("0.0.0.0", 40000)) -> FakeSocket:
        failures = self.fail.get(method)
        if failures:
            failure = failures.popleft()
            if failure:
                raise OSError(failure, "scripted")
        sock = FakeSocket(name)
        self.sockets.append(sock)
        return sock

    def udp(self) -> FakeSocket:
        return self._make("udp")

    def ping(self) -> tuple[FakeSocket, str] | None:
        if self.ping_kind is None:
            return None
        return self._make("ping", ("0.0.0.0", 0x7000 + len(self.sockets))), self.ping_kind

    def connect_udp(self, resolver: Resolver) -> FakeSocket:
        self.asked.append(resolver)
        return self._make("connect_udp")

    def listen_tcp(self, host: str, port: int) -> FakeSocket:
        return self._make("listen_tcp", (host, port))

    def listen_udp(self, host: str, port: int) -> FakeSocket:
        return self._make("listen_udp", (host, port))

    def accept(self, listener: FakeSocket) -> tuple[FakeSocket, tuple[str, int]]:
        if not listener.callers:
            raise BlockingIOError(errno.EAGAIN, "nobody")
        caller = listener.callers.popleft()
        if isinstance(caller, int):
            raise OSError(caller, "scripted") if caller != errno.ECONNABORTED else ConnectionAbortedError()
        return caller, ("192.0.2.77", 5555)

    def read_error(self, sock: FakeSocket) -> Fault | None:
        queue = self.faults.get(sock.fd)
        return queue.popleft() if queue else None

    def owns(self, address: bytes) -> bool:
        self.probes += 1
        return address in self.owned

    def resolvers(self) -> list[Resolver]:
        return self.resolver_list


class Bench:
    """A context over a FakeHost and one guest's line."""

    def __init__(self, *, mtu: int = 1500, host_loopback: bool = False, internet_only: bool = False,
                 limits: Limits | None = None, seed: int = 1, dns: bytes = b"") -> None:  # fmt: skip
        self.host = FakeHost()
        self.notices: list[str] = []
        rules = Rules(
            self.host,
            (b"\x0a\0\2\0", 24),
            GATEWAY,
            dns=dns,
            host_loopback=host_loopback,
            internet_only=internet_only,
        )
        self.deadlines = Deadlines()
        self.context = Context(
            host=self.host,  # type: ignore[arg-type]
            rules=rules,
            deadlines=self.deadlines,
            random=Random(seed),
            notify=self.notices.append,
            limits=limits or Limits(),
        )
        self.count: Counter[str] = self.context.count
        self.line = Line(GUEST, mtu, lambda: None, self.count)
        self.line.up = True

    def out(self) -> list[bytes]:
        """The packets on their way to the guest."""
        return self.line.take(1 << 30)


def udp(payload: bytes = b"x", *, sport: int = 5000, dport: int = 6000, source: bytes = GUEST,
        destination: bytes = SERVER, ttl: int = 64, flags: int = 0) -> bytes:  # fmt: skip
    return build_udp(source, sport, destination, dport, payload, ttl=ttl, flags=flags)


def echo(payload: bytes = b"ping", *, ident: int = 7, sequence: int = 1, destination: bytes = SERVER,
         ttl: int = 64, kind: int = 8, source: bytes = GUEST) -> bytes:  # fmt: skip
    rest = ident.to_bytes(2, "big") + sequence.to_bytes(2, "big")
    return build_icmp(source, destination, kind, 0, rest, payload, ttl=ttl)


def fragment_of(piece: bytes, offset: int, *, more: bool, ident: int = 1, protocol: int = 17,
                source: bytes = GUEST, destination: bytes = SERVER) -> bytes:  # fmt: skip
    """One IPv4 fragment; `offset` in octets."""
    field = offset // 8 | (0x2000 if more else 0)
    return build_ipv4(source, destination, protocol, piece, identification=ident, flags=field)

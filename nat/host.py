"""The host's network: the only file of this package that creates sockets.

In: addresses of 4 (or 16) octets, ports, and a watcher, which is the event loop seen from here.
Out: streams, other non-blocking sockets, what the kernel says went wrong with them, and facts about this host: which
addresses are its own, which resolvers it asks.  It knows nothing of guests, packets or rules.

Every method that makes a socket may raise OSError with one of EXHAUSTED, and every caller expects that.
"""

import math
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EINPROGRESS,
    EMFILE,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPERM,
    EPROTONOSUPPORT,
)
from typing import Final, NamedTuple, Protocol

EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})

# Linux's <linux/in.h>; the socket module of Python 3.11 does not name them all.
IP_TTL: Final = 2
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_RECVTTL: Final = 12
IP_PMTUDISC_DONT: Final = 0
IP_PMTUDISC_DO: Final = 2
MSG_ERRQUEUE: Final = 0x2000
_SOL_RAW: Final = 255
_ICMP_FILTER: Final = 1  # of SOL_RAW: a mask of the ICMP types that are kept away
# Echo Reply, Destination Unreachable, Time Exceeded and Parameter Problem (RFC 792) get through.
_ICMP_WANTED: Final = 0xFFFFFFFF & ~(1 << 0 | 1 << 3 | 1 << 11 | 1 << 12)

# struct sock_extended_err of <linux/errqueue.h>, and the sockaddr_in of the offender after it.
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
_OFFENDER: Final = struct.Struct("=H2x4s")
ORIGIN_LOCAL: Final = 1
ORIGIN_ICMP: Final = 2

_LINGER_NOT: Final = struct.pack("=ii", 1, 0)  # SO_LINGER with a time of 0: close resets
_FLAGS: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_BACKLOG: Final = 128
_RESOLV_CONF: Final = "/etc/resolv.conf"
_DNS_PORT: Final = 53
_RESOLVERS_MOST: Final = 8


class HostError(Exception):
    """One plain sentence for the person who runs the gateway."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Watcher(Protocol):
    """The event loop: level-triggered descriptors and one-shot timers. Every callback takes `now` in seconds.

    The same stands in serialport.port: neither package knows the other, and both ask for the same loop.
    """

    def watch_read(self, fd: int, callback: Callable[[float], None]) -> None: ...
    def unwatch_read(self, fd: int) -> None: ...
    def watch_write(self, fd: int, callback: Callable[[float], None]) -> None: ...
    def unwatch_write(self, fd: int) -> None: ...
    def call_at(self, when: float, callback: Callable[[float], None]) -> Timer: ...
    def now(self) -> float: ...


class Resolver(NamedTuple):
    family: int  # AF_INET or AF_INET6
    address: str  # as people write it, with %scope where it has one
    port: int


class Fault(NamedTuple):
    """One entry of a socket's error queue (IP_RECVERR)."""

    errno: int
    origin: int  # ORIGIN_LOCAL, ORIGIN_ICMP
    kind: int  # ICMP type and code, when it came by ICMP
    code: int
    info: int  # the MTU, when errno is EMSGSIZE
    offender: bytes  # who sent the ICMP message; empty when nobody did
    destination: bytes  # where the datagram was going
    port: int
    payload: bytes  # what was quoted of it, without the headers in front of the socket's own payload


class Host:
    """Sockets and facts of this host."""

    def __init__(
        self, watcher: Watcher, resolvers: Sequence[Resolver] | None = None, resolv_conf: str = _RESOLV_CONF
    ) -> None:
        self._watcher = watcher
        self.now = watcher.now
        self.watch_read = watcher.watch_read
        self.unwatch_read = watcher.unwatch_read
        self.watch_write = watcher.watch_write
        self.unwatch_write = watcher.unwatch_write
        self.call_at = watcher.call_at
        self._resolv_conf = _ResolvConf(resolv_conf) if resolvers is None else None
        self._resolvers = list(resolvers or ())
        self._spare: socket.socket | None = None  # keeps a descriptor free for `owns` when all others are in use

    # Toward the outside

    def connect_tcp(self, address: bytes, port: int) -> "HostStream":
        """A stream whose connect has begun: watch it for writing, then ask `connect_error`.  Raises OSError."""
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM | _FLAGS)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect((socket.inet_ntop(family, address), port))
        except BlockingIOError as error:
            if error.errno != EINPROGRESS:  # EAGAIN: no local port is left
                sock.close()
                raise
        except OSError:
            sock.close()
            raise
        return HostStream(sock, self._watcher)

    def udp(self) -> socket.socket:
        """An unbound UDP socket that collects errors for `read_error` and lets the host fragment (RFC 791)."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | _FLAGS)
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        except OSError:
            sock.close()
            raise
        return sock

    def connect_udp(self, resolver: Resolver) -> socket.socket:
        """A UDP socket on a fresh random port that hears nobody but that resolver.  Raises OSError."""
        sock = socket.socket(resolver.family, socket.SOCK_DGRAM | _FLAGS)
        try:
            # The kernel picks the port at random in its ephemeral range, for each socket anew.
            sock.connect(_sockaddr(resolver))
        except OSError:
            sock.close()
            raise
        return sock

    def ping(self) -> tuple[socket.socket, str] | None:
        """A socket for ICMP echo and its kind: "ping" (the kernel sets the identifier, one socket a flow) or
        "raw" (sees every echo reply of the host).  None: this process may have neither.  Raises OSError."""
        kinds = (("ping", socket.SOCK_DGRAM), ("raw", socket.SOCK_RAW))
        for kind, style in kinds:
            try:
                sock = socket.socket(socket.AF_INET, style | _FLAGS, socket.IPPROTO_ICMP)
            except OSError as error:
                if error.errno in (EACCES, EPERM, EPROTONOSUPPORT):
                    continue
                raise
            try:
                if kind == "ping":
                    sock.bind(("0.0.0.0", 0))  # the kernel chooses the identifier: getsockname()[1]
                    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
                    sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
                else:
                    sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", _ICMP_WANTED))
                sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
            except OSError:
                sock.close()
                raise
            return sock, kind
        return None

    def read_error(self, sock: socket.socket) -> Fault | None:
        """The next error that the kernel queued for a socket with IP_RECVERR; None when there is no more."""
        try:
            payload, ancillary, _, name = sock.recvmsg(2048, 512, MSG_ERRQUEUE)
        except OSError:
            return None
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_RECVERR and len(data) >= _EXTENDED_ERROR.size:
                errno, origin, icmp_type, code, _, info, _ = _EXTENDED_ERROR.unpack_from(data)
                offender = b""
                if origin == ORIGIN_ICMP and len(data) >= _EXTENDED_ERROR.size + _OFFENDER.size:
                    family, address = _OFFENDER.unpack_from(data, _EXTENDED_ERROR.size)
                    if family == socket.AF_INET:
                        offender = address
                destination, port = b"", 0
                if isinstance(name, tuple) and len(name) == 2:
                    destination, port = socket.inet_aton(name[0]), name[1]
                return Fault(errno, origin, icmp_type, code, info, offender, destination, port, payload)
        return Fault(0, 0, 0, 0, 0, b"", b"", 0, payload)

    # From the outside

    def listen_tcp(self, host: str, port: int) -> socket.socket:
        """A listening socket on a numeric IPv4 or IPv6 address.  Raises HostError."""
        sock = self._bound(socket.SOCK_STREAM, "TCP", host, port)
        try:
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise HostError(_cannot_listen("TCP", host, port, error)) from error
        return sock

    def listen_udp(self, host: str, port: int) -> socket.socket:
        """A bound UDP socket on a numeric IPv4 or IPv6 address.  Raises HostError."""
        return self._bound(socket.SOCK_DGRAM, "UDP", host, port)

    def _bound(self, style: int, name: str, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError as error:
            raise HostError(f"{host!r} is not an IPv4 or IPv6 address to listen on.") from error
        try:
            sock = socket.socket(family, style | _FLAGS)
        except OSError as error:
            raise HostError(_cannot_listen(name, host, port, error)) from error
        try:
            if style == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # so that 0.0.0.0 and :: can be given beside each other
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(_sockaddr(Resolver(family, host, port)))
        except OSError as error:
            sock.close()
            raise HostError(_cannot_listen(name, host, port, error)) from error
        return sock

    def accept(self, listener: socket.socket) -> "tuple[HostStream, tuple[str, int]]":
        """The next caller.  Raises BlockingIOError when there is none, OSError when EXHAUSTED."""
        sock, name = listener.accept()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()
            raise
        return HostStream(sock, self._watcher), (name[0], name[1])

    # Facts

    def owns(self, address: bytes) -> bool:
        """Whether an IPv4 address is one of this host's now, or a broadcast address of one of its networks.

        Asks the routing table through a UDP connect, which sends nothing: the source address it chooses for
        an own address is that address; for a broadcast address it refuses with EACCES.  True also when there
        is no descriptor to ask with.
        """
        try:
            probe = self._spare or socket.socket(socket.AF_INET, socket.SOCK_DGRAM | _FLAGS)
        except OSError:
            return True
        self._spare = None
        try:
            probe.connect((socket.inet_ntoa(address), 9))
            source = socket.inet_aton(probe.getsockname()[0])
            return source == address or source[0] == 127
        except OSError as error:
            return error.errno == EACCES
        finally:
            probe.close()
            with suppress(OSError):
                self._spare = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | _FLAGS)

    def resolvers(self) -> list[Resolver]:
        """The host's resolvers as they are now; those given at construction win."""
        if self._resolv_conf is None:
            return self._resolvers
        return self._resolv_conf.read(self.now())

    def close(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None


class HostStream:
    """A non-blocking TCP socket of the host as a nat.stream.StreamSocket.

    The calls that move octets are the socket's own: they cost nothing on their way through here.
    """

    __slots__ = ("recv", "send", "gather", "_sock", "_fd", "_watcher")

    def __init__(self, sock: socket.socket, watcher: Watcher) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._watcher = watcher
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[bytes], int] = sock.send
        self.gather: Callable[[Sequence[bytes]], int] = sock.sendmsg

    def watch_read(self, callback: Callable[[float], None], /) -> None:
        self._watcher.watch_read(self._fd, callback)

    def unwatch_read(self) -> None:
        self._watcher.unwatch_read(self._fd)

    def watch_write(self, callback: Callable[[float], None], /) -> None:
        self._watcher.watch_write(self._fd, callback)

    def unwatch_write(self) -> None:
        self._watcher.unwatch_write(self._fd)

    def peek(self, size: int, /) -> bytes:
        return self._sock.recv(size, socket.MSG_PEEK)

    def shutdown(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self.unwatch_read()
            self.unwatch_write()
            self._sock.close()

    def reset(self) -> None:
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.close()

    def connect_error(self) -> int:
        """EINPROGRESS also where it was woken by an event of the descriptor's previous owner."""
        failure = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not failure:
            try:
                self._sock.getpeername()
            except OSError:
                return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or EINPROGRESS
        return failure


class _ResolvConf:
    """The nameserver lines of resolv.conf(5), read again when the file has changed; looked at once a second."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._next_look = -math.inf
        self._stamp: tuple[int, int, int] | None = None
        self._resolvers = _default_resolvers()

    def read(self, now: float) -> list[Resolver]:
        if now < self._next_look:
            return self._resolvers
        self._next_look = now + 1.0
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    text = file.read(65536)
                self._stamp = stamp
                self._resolvers = parse_resolv_conf(text) or _default_resolvers()
        except OSError:  # it is being replaced, or there is none: what was known stays
            self._stamp = None
        return self._resolvers


def parse_resolv_conf(text: str) -> list[Resolver]:
    """The resolvers in the text of a resolv.conf(5); lines that make no sense are skipped."""
    found: list[Resolver] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        family = socket.AF_INET6 if ":" in words[1] else socket.AF_INET
        try:
            socket.inet_pton(family, words[1].partition("%")[0])
        except OSError:
            continue
        found.append(Resolver(family, words[1], _DNS_PORT))
    return found[:_RESOLVERS_MOST]


def _default_resolvers() -> list[Resolver]:
    """resolv.conf(5): without a nameserver line, the one on the local machine."""
    return [Resolver(socket.AF_INET, "127.0.0.1", _DNS_PORT)]


def _sockaddr(resolver: Resolver) -> tuple[str, int] | tuple[str, int, int, int]:
    family, address, port = resolver
    if family == socket.AF_INET:
        return (address, port)
    address, _, scope = address.partition("%")
    index = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope) if scope else 0
    return (address, port, 0, index)


def _cannot_listen(name: str, host: str, port: int, error: OSError) -> str:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == EADDRINUSE:
        return f"{name} port {shown} is in use by another program: end that or choose another port."
    if error.errno in (EACCES, EPERM):
        return f"{name} port {shown} needs privileges (ports below 1024 do): choose one from 1024 up."
    if error.errno == EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: listen on 127.0.0.1 or on one of its own."
    return f"Cannot listen on {name} {shown}: {os.strerror(error.errno or 0)}."

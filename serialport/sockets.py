"""tcp:, unix: connect to an emulator that listens; tcp-listen:, unix-listen: serve one guest a connection.

In: a host and port, or a path. Out: ports, one at a time from the connecting kinds (which redial forever),
many at once from the listening ones. On TCP what sits in the peer's own receive buffer is out of sight, so
a slow guest is served better over a pty or a unix socket.
"""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from serialport.addresses import UnixName, bind_sentence, host_and_port, resolve, shown, unix_path
from serialport.fdport import SocketPort
from serialport.port import LinkBase, Port, PortError, Timer, Watcher
from serialport.redial import Redialer, Unreachable

GUESTS_MOST = 256
"""Connections a listener serves at once; further ones are closed at once."""
ACCEPT_PAUSE = 1.0
"""Seconds a listener rests when the process has run out of descriptors, instead of spinning."""
CONNECT_TIMEOUT = 15.0


class ConnectLink(Redialer):
    """`tcp:HOST:PORT` and `unix:PATH`. A name is resolved once, at the start."""

    def __init__(self, url: str, scheme: str, where: str) -> None:
        super().__init__(url, scheme)
        self._addresses: list[tuple[int, tuple[str, int] | str]] = []
        self._turn = 0
        self._sock: socket.socket | None = None
        self._expiry: Timer | None = None
        if scheme == "tcp":
            self._host, self._number = host_and_port(url, where)
            self.path = shown(self._host, self._number)
            self.description = f"TCP connection to {self.path}"
        else:
            self.path = unix_path(url, where)
            self._addresses = [(socket.AF_UNIX, self.path)]
            self.description = f"connection to the unix socket {self.path}"

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._begin(watcher, on_port)
        if not self._addresses:
            self._addresses = list(resolve(self.url, self._host, self._number))
        self._try(watcher.now())

    def stop(self) -> None:
        self._abandon()
        self._halt()

    def _dial(self) -> None:
        family, address = self._addresses[self._turn % len(self._addresses)]
        self._turn += 1
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f"cannot be dialed ({error.strerror})") from None
        sock.setblocking(False)
        self._sock = sock
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            self._watcher.watch_write(sock.fileno(), self._on_result)
            self._expiry = self._watcher.call_at(self._watcher.now() + CONNECT_TIMEOUT, self._on_expiry)
            return
        self._finish(number)

    def _on_result(self, _now: float) -> None:
        if self._sock is not None:
            self._finish_or_fail(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _on_expiry(self, _now: float) -> None:
        self._expiry = None
        self._finish_or_fail(errno.ETIMEDOUT)

    def _finish_or_fail(self, number: int) -> None:
        try:
            self._finish(number)
        except Unreachable as error:
            self._failed(str(error))

    def _finish(self, number: int) -> None:
        if number:
            self._abandon()
            raise Unreachable(_refusal(number))
        sock = self._release()
        if sock is None:
            return
        _tune(sock)
        self._connected(SocketPort(self.path, sock, self._port_closed))

    def _release(self) -> socket.socket | None:
        sock, self._sock = self._sock, None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if sock is not None:
            self._watcher.unwatch_write(sock.fileno())
        return sock

    def _abandon(self) -> None:
        sock = self._release()
        if sock is not None:
            sock.close()


class Caller(Protocol):
    """What a listener keeps of a caller."""

    def close(self) -> None: ...


class Listener(LinkBase):
    """Listens on `[HOST:]PORT` (HOST is 127.0.0.1) or a path, and accepts callers, GUESTS_MOST at once.

    A subclass makes of a caller's socket what it likes, in `_take`, and keeps it in `_guests` until its end. It has the
    `start` that fits its ports, which calls `_listen`.
    """

    outward = False

    def __init__(self, url: str, scheme: str, where: str, *, tcp: bool) -> None:
        super().__init__(url, scheme)
        self._tcp = tcp
        self._listeners: list[socket.socket] = []
        self._guests: set[Caller] = set()
        self._timer: Timer | None = None
        self._unix_name: UnixName | None = None
        self._serial = 0
        if tcp:
            self._host, self._number = host_and_port(url, where, "127.0.0.1")
            self.path = shown(self._host, self._number)
            self.description = f"TCP port {self.path}, a guest for each connection"
        else:
            self.path = unix_path(url, where)
            self.description = f"unix socket {self.path}, a guest for each connection"

    def _take(self, name: str, sock: socket.socket) -> None:
        """A caller; `name` is for event lines."""
        raise NotImplementedError

    def _listen(self, watcher: Watcher) -> None:
        self._watcher = watcher
        try:
            if self._tcp:
                self._listen_tcp()
            else:
                self._listen_unix()
        except PortError:
            self.stop()
            raise
        self._watch()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for listener in self._listeners:
            self._watcher.unwatch_read(listener.fileno())
            listener.close()
        self._listeners.clear()
        for guest in list(self._guests):
            guest.close()
        if self._unix_name is not None:
            self._unix_name.remove()
            self._unix_name = None

    def _listen_tcp(self) -> None:
        failure: OSError | None = None
        for family, address in resolve(self.url, self._host, self._number):
            try:
                self._listeners.append(_tcp_listener(family, address))
            except OSError as error:
                failure = error
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise PortError(bind_sentence("TCP", self.path, self._number, error)) from None
        # a name such as localhost may have an IPv6 address on a host without IPv6
        if failure is not None and not self._listeners:
            raise PortError(bind_sentence("TCP", self.path, self._number, failure))

    def _listen_unix(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listeners.append(listener)
        self._unix_name = UnixName(listener, self.path)
        listener.listen(16)

    def _watch(self) -> None:
        for listener in self._listeners:
            listener.setblocking(False)
            self._watcher.watch_read(listener.fileno(), partial(self._accept, listener))

    def _accept(self, listener: socket.socket, now: float) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self.note(f"{self.path} cannot take a caller ({error.strerror}); it rests for a second.")
                for each in self._listeners:
                    self._watcher.unwatch_read(each.fileno())
                self._timer = self._watcher.call_at(now + ACCEPT_PAUSE, lambda _now: self._watch())
            return
        if len(self._guests) >= GUESTS_MOST:
            sock.close()
            self.note(f"{self.path} has {GUESTS_MOST} guests already; another was turned away.")
            return
        _tune(sock)
        self._serial += 1
        self._take(f"{self.path}#{self._serial}" if sock.family == socket.AF_UNIX else shown(*address[:2]), sock)


class ListenLink(Listener):
    """`tcp-listen:[HOST:]PORT` (HOST is 127.0.0.1) and `unix-listen:PATH`."""

    def __init__(self, url: str, scheme: str, where: str) -> None:
        super().__init__(url, scheme, where, tcp=scheme == "tcp-listen")

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._on_port = on_port
        self._listen(watcher)

    def _take(self, name: str, sock: socket.socket) -> None:
        port = SocketPort(name, sock, lambda: self._guests.discard(port))
        self._guests.add(port)
        self._on_port(port)


def _tcp_listener(family: int, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


def _tune(sock: socket.socket) -> None:
    with suppress(OSError):
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _refusal(number: int) -> str:
    match number:
        case errno.ECONNREFUSED:
            return "does not answer (is the emulator running?)"
        case errno.ENOENT:
            return "does not exist yet (is the emulator running?)"
        case errno.EACCES | errno.EPERM:
            return "may not be used by you"
        case errno.EAGAIN:
            return "is busy with another connection"
        case errno.ETIMEDOUT:
            return "does not answer"
    return f"cannot be reached ({os.strerror(number)})"

"""tcp:, unix: connect to an emulator that listens; tcp-listen:, unix-listen: serve one guest a connection.

In: a host and port, or a path. Out: ports, one at a time from the connecting kinds (which redial for ever),
many at once from the listening ones. On TCP what sits in the peer's own receive buffer is out of sight, so
a slow guest is served better over a pty or a unix socket.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from serialport.fdport import SocketPort
from serialport.port import LinkBase, Port, PortError, Timer, Watcher
from serialport.redial import Redialer, Unreachable

GUESTS_MOST = 256
"""Connections a listener serves at once; further ones are closed at once."""
ACCEPT_PAUSE = 1.0
"""Seconds a listener rests when the process has run out of descriptors, instead of spinning."""
CONNECT_TIMEOUT = 15.0
_UNIX_PATH_MOST = 107


def host_and_port(url: str, text: str, default_host: str = "") -> tuple[str, int]:
    """ "HOST:PORT", "[IPv6]:PORT", and ":PORT" or "PORT" where there is a default host. Raises PortError."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise PortError(f"{url}: put an IPv6 address in brackets, as in [::1]:4000.")
    host = host or default_host
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or not host:
        raise PortError(f"{url} is not understood: write HOST:PORT, with a port from 1 to 65535.")
    return host, int(port)


def resolve(url: str, host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Families and addresses to try. Raises PortError when the name is not known."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise PortError(
            f"{url}: the host {host} is not known; check its name or write its address."
        ) from None
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]


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
            self.path = (
                f"[{self._host}]:{self._number}" if ":" in self._host else f"{self._host}:{self._number}"
            )
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
            raise Unreachable(f"cannot be dialled ({error.strerror})") from None
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


class ListenLink(LinkBase):
    """`tcp-listen:[HOST:]PORT` (HOST is 127.0.0.1) and `unix-listen:PATH`."""

    def __init__(self, url: str, scheme: str, where: str) -> None:
        super().__init__(url, scheme)
        self._listeners: list[socket.socket] = []
        self._ports: set[SocketPort] = set()
        self._timer: Timer | None = None
        self._made: tuple[int, int] | None = None
        self._serial = 0
        if scheme == "tcp-listen":
            self._host, self._number = host_and_port(url, where, "127.0.0.1")
            self.path = (
                f"[{self._host}]:{self._number}" if ":" in self._host else f"{self._host}:{self._number}"
            )
            self.description = f"TCP port {self.path}, a guest for each connection"
        else:
            self.path = unix_path(url, where)
            self.description = f"unix socket {self.path}, a guest for each connection"

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._watcher = watcher
        self._on_port = on_port
        try:
            if self.scheme == "tcp-listen":
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
        for port in list(self._ports):
            port.close()
        if self._made is not None:
            # only what we made: another may have taken the place
            with suppress(OSError):
                status = os.lstat(self.path)
                if (status.st_dev, status.st_ino) == self._made:
                    os.unlink(self.path)
            self._made = None

    def _listen_tcp(self) -> None:
        failure: OSError | None = None
        for family, address in resolve(self.url, self._host, self._number):
            try:
                self._listeners.append(_tcp_listener(family, address))
            except OSError as error:
                failure = error
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise PortError(_bind_sentence(self.path, self._number, error)) from None
        # a name such as localhost may have an IPv6 address on a host without IPv6
        if failure is not None and not self._listeners:
            raise PortError(_bind_sentence(self.path, self._number, failure))

    def _listen_unix(self) -> None:
        _clear_stale(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listeners.append(listener)
        umask = os.umask(0o177)
        try:
            listener.bind(self.path)
            status = os.lstat(self.path)
            self._made = (status.st_dev, status.st_ino)
            listener.listen(16)
        except OSError as error:
            raise PortError(_unix_sentence(self.path, error)) from None
        finally:
            os.umask(umask)

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
        if len(self._ports) >= GUESTS_MOST:
            sock.close()
            self.note(f"{self.path} has {GUESTS_MOST} guests already; another was turned away.")
            return
        _tune(sock)
        self._serial += 1
        name = f"{self.path}#{self._serial}"
        if sock.family != socket.AF_UNIX:
            host, number = address[0], address[1]
            name = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        port = SocketPort(name, sock, lambda: self._ports.discard(port))
        self._ports.add(port)
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


def unix_path(url: str, where: str) -> str:
    path = os.path.abspath(os.path.expanduser(where)) if where else ""
    if not path:
        raise PortError(f"{url} names no socket: write unix:/tmp/com1, for example.")
    if len(os.fsencode(path)) > _UNIX_PATH_MOST:
        raise PortError(
            f"{path} is too long for a unix socket ({_UNIX_PATH_MOST} octets at most): use a shorter one."
        )
    return path


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


def _bind_sentence(path: str, number: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"The TCP port {path} is in use by another program: end that or choose another port."
        case errno.EACCES | errno.EPERM:
            return f"The TCP port {number} is reserved for root: choose one above 1023."
        case errno.EADDRNOTAVAIL:
            return f"The address of {path} is not one of this host: use 127.0.0.1 or an address it has."
    return f"The TCP port {path} cannot be listened on ({error.strerror}): choose another."


def _unix_sentence(path: str, error: OSError) -> str:
    directory = os.path.dirname(path)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR if not os.path.isdir(directory):
            return (
                f"{directory} is not a directory, so {path} cannot be made: create it or name another path."
            )
        case errno.ENOENT | errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{directory} cannot be written, so {path} cannot be made: name a path in one of your own."
    return f"{path} cannot be made ({error.strerror}): name another path."


def _clear_stale(path: str) -> None:
    """Remove the socket of a listener that is no more; anything else in the way is a PortError."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise PortError(f"{path} exists and is not a socket: remove it or name another path.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise PortError(f"{path} is in use by another program: end that or name another path.")
    with suppress(OSError):
        os.unlink(path)

"""Addresses that a user writes, host and port or a path; what to say when one cannot be had; unix sockets on disk.

In: text, errors of the kernel. Out: addresses, or a PortError with one sentence. It does not know what will be said
over the sockets, nor whether they are streams or datagrams.
"""

import errno
import os
import socket
import stat
from contextlib import suppress

from serialport.port import PortError

UNIX_PATH_MOST = 107
"""Octets (unix(7))."""


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
        raise PortError(f"{url}: the host {host} is not known; check its name or write its address.") from None
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]


def unix_path(url: str, where: str) -> str:
    path = os.path.abspath(os.path.expanduser(where)) if where else ""
    if not path or "\0" in path:
        raise PortError(f"{url} names no socket: write unix:/tmp/com1, for example.")
    if len(os.fsencode(path)) > UNIX_PATH_MOST:
        raise PortError(f"{path} is too long for a unix socket ({UNIX_PATH_MOST} octets at most): use a shorter one.")
    return path


def shown(host: str, port: int) -> str:
    """As a user would write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_sentence(kind: str, path: str, number: int, error: OSError) -> str:
    """What to tell a person when binding failed; `kind` is TCP or UDP."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"The {kind} port {path} is in use by another program: end that or choose another port."
        case errno.EACCES | errno.EPERM:
            return f"The {kind} port {number} is reserved for root: choose one above 1023."
        case errno.EADDRNOTAVAIL:
            return f"The address of {path} is not one of this host: use 127.0.0.1 or an address it has."
    return f"The {kind} port {path} cannot be listened on ({error.strerror}): choose another."


def _unix_sentence(path: str, error: OSError) -> str:
    directory = os.path.dirname(path)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR if not os.path.isdir(directory):
            return f"{directory} is not a directory, so {path} cannot be made: create it or name another path."
        case errno.ENOENT | errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{directory} cannot be written, so {path} cannot be made: name a path in one of your own."
    return f"{path} cannot be made ({error.strerror}): name another path."


def clear_stale(path: str) -> None:
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


class UnixName:
    """The path of a bound unix socket, for its owner only, removed at the end if it is still ours."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        """Binds. Raises PortError."""
        clear_stale(path)
        umask = os.umask(0o177)
        try:
            sock.bind(path)
            status = os.lstat(path)
        except OSError as error:
            raise PortError(_unix_sentence(path, error)) from None
        finally:
            os.umask(umask)
        self.path = path
        self._made = status.st_dev, status.st_ino

    def remove(self) -> None:
        with suppress(OSError):
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == self._made:  # another may have taken the place
                os.unlink(self.path)

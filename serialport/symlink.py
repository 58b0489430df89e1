"""The symbolic link a pty gets, so that an emulator's configuration can name it once and for all.

In: where the user wants it and the pty it shall lead to. It is made, put in place of a stale one, and
removed at the end if it still leads there. Never replaced: anything that is not a symbolic link, and the
link of a pppgate that still runs. Liveness is told by an abstract unix socket named after the link: the
kernel frees it however its owner dies, and it leaves nothing in the file system. (A pppgate in another
network namespace is not seen.)
"""

import errno
import hashlib
import os
import socket
from contextlib import suppress

from serialport.port import PortError


class Symlink:
    """Made by the constructor, which raises PortError; gone after `remove()`."""

    def __init__(self, path: str, target: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self._target = target
        self._lock = _claim(self.path)
        try:
            self._make()
        except OSError as error:
            self._lock.close()
            raise PortError(_sentence(self.path, error)) from None
        except PortError:
            self._lock.close()
            raise

    def _make(self) -> None:
        if os.path.lexists(self.path) and not os.path.islink(self.path):
            what = "a directory" if os.path.isdir(self.path) else "a file"
            raise PortError(f"{self.path} is {what}, not a symbolic link of an earlier run: remove it or name another.")
        # made beside and moved over, so that there is no moment without it
        beside = f"{self.path}.{os.getpid()}"
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(self._target, beside)
        try:
            os.rename(beside, self.path)
        except OSError:
            os.unlink(beside)
            raise

    def remove(self) -> None:
        with suppress(OSError):
            if os.readlink(self.path) == self._target:
                os.unlink(self.path)
        self._lock.close()


def _claim(path: str) -> socket.socket:
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    name = hashlib.sha256(os.fsencode(real)).hexdigest()
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0pppgate-pty-{name}")
    except OSError:
        lock.close()
        raise PortError(f"{path} belongs to a pppgate that is running: stop that one or name another path.") from None
    return lock


def _sentence(path: str, error: OSError) -> str:
    directory = os.path.dirname(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.isdir(directory):
        return f"{directory} is not a directory, so {path} cannot be made: create it or name another path."
    if isinstance(error, FileNotFoundError | PermissionError) or error.errno == errno.EROFS:
        return f"{directory} cannot be written, so {path} cannot be made: name a path in one of your own."
    return f"{path} cannot be made ({error.strerror}): name another path."

"""stdio: the guest is at our standard input and output (`socat EXEC:`, ssh, an emulator that runs a command).

In: nothing. Out: one port, once; end of file ends the link for good. The two descriptors are moved out of
the way first and the old output number leads to the error stream, so that nothing printed gets among the
guest's octets.
"""

import os
import stat
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from serialport.fdport import FdPort, outstanding
from serialport.port import LinkBase, Port, PortError, Watcher


class StdioLink(LinkBase):
    """`stdio:`."""

    outward = False

    def __init__(self, url: str, *, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        super().__init__(url, "stdio")
        self.description = "standard input and output"
        self._numbers = (stdin, stdout, stderr)
        self._fds: tuple[int, int] | None = None
        self._blocking = (True, True)
        self._terminal: list[Any] | None = None
        self._port: FdPort | None = None

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._watcher = watcher
        stdin, stdout, stderr = self._numbers
        try:
            for fd in (stdin, stdout):
                mode = os.fstat(fd).st_mode
                if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)):
                    raise PortError("stdio: needs a pipe, a socket or a terminal, not a file or device, at both ends.")
            self._fds = (os.dup(stdin), os.dup(stdout))
            self._blocking = (os.get_blocking(stdin), os.get_blocking(stdout))
            os.dup2(stderr, stdout)
        except OSError as error:
            raise PortError(f"stdio: standard input or output is not open ({error.strerror}).") from None
        for fd in self._fds:
            os.set_blocking(fd, False)
        with suppress(OSError, termios.error):
            if os.isatty(self._fds[0]):
                self._terminal = termios.tcgetattr(self._fds[0])
                tty.setraw(self._fds[0], termios.TCSANOW)
        self._port = FdPort("stdio", *self._fds, self._on_closed, outstanding(self._fds[1]))
        on_port(self._port)

    def _on_closed(self) -> None:
        self._port = None
        self._give_back()
        self.ended()

    def stop(self) -> None:
        self._port = None
        self._give_back()

    def _give_back(self) -> None:
        """The files are shared with whoever started us, and so are these settings."""
        if self._fds is None:
            return
        if self._terminal is not None:
            with suppress(OSError, termios.error):
                termios.tcsetattr(self._fds[0], termios.TCSANOW, self._terminal)
        for fd, blocking in zip(self._fds, self._blocking, strict=True):
            with suppress(OSError):
                os.set_blocking(fd, blocking)
            os.close(fd)
        self._fds = None

"""Redialer: the life of a link that has to be opened again and again, one port at a time.

In: `dial()` from the kind of link, which gives a port, or None while it cannot. Out: ports, and one note
when it begins to fail and one when it works again. It knows nothing of what is dialed.
"""

from collections.abc import Callable
from typing import Any, Protocol

from serialport.port import Backoff, LinkBase, Timer, Watcher


class Unreachable(Exception):
    """Dialing failed for now; the text is a clause for the note ("refuses the connection")."""


class Dialed(Protocol):
    """As much of a port as matters here; of octets or of frames."""

    def close(self) -> None: ...


class Redialer(LinkBase):
    """Subclasses have `_dial`, which calls `_connected` now or later, or raises Unreachable."""

    def __init__(self, url: str, scheme: str) -> None:
        super().__init__(url, scheme)
        self._backoff = Backoff()
        self._timer: Timer | None = None
        self._stopped = False
        self._port: Dialed | None = None
        self._note_given = ""

    def _dial(self) -> None:
        raise NotImplementedError

    def _begin(self, watcher: Watcher, on_port: Callable[[Any], None]) -> None:
        self._watcher = watcher
        self._on_port = on_port

    def _try(self, _now: float) -> None:
        self._timer = None
        if self._stopped or self._port is not None:
            return
        try:
            self._dial()
        except Unreachable as error:
            self._failed(str(error))

    def _failed(self, why: str) -> None:
        if why != self._note_given:
            self._note_given = why
            self.note(f"{self.path} {why}; trying again until it does.")
        self._again()

    def _again(self) -> None:
        if not self._stopped and self._timer is None:
            self._timer = self._watcher.call_at(self._watcher.now() + self._backoff.delay(), self._try)

    def _connected(self, port: Dialed) -> None:
        self._port = port
        self._note_given = ""
        self._dialed_at = self._watcher.now()
        self._on_port(port)

    def _port_closed(self) -> None:
        """The owner has given the port back. One that lasted makes the next wait short again."""
        self._port = None
        if self._watcher.now() - self._dialed_at > 5.0:
            self._backoff.reset()
        self._again()

    def _halt(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._port is not None:
            self._port.close()
            self._port = None

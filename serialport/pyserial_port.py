"""serial:PATH@BAUD with a speed the standard library cannot set, and every URL that pyserial understands.

In: rfc2217://HOST:PORT, socket://HOST:PORT, spy://, loop:// and so on. Out: one port at a time, redialed
forever. pyserial is imported when such a link is opened, and in no other file. Its network ports have no
descriptor that could be watched, and block; so two threads carry the octets between the port and a socket
pair of ours, whose other end is an ordinary SocketPort. This costs a hand-over per read, which these links,
slow by nature, do not notice.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from serialport.fdport import SocketPort
from serialport.port import Port, PortError, Timer, Watcher
from serialport.redial import Redialer, Unreachable

READ_TIMEOUT = 0.2
"""Seconds after which a waiting reader looks whether it shall end."""
WRITE_SIZE = 1024


class PyserialLink(Redialer):
    """A URL for pyserial's `serial_for_url`, with the speed after `@` if it is a path."""

    def __init__(self, url: str, target: str, baud: int = 115200) -> None:
        super().__init__(url, "serial")
        self.path = target
        self.description = f"pyserial port {target} at {baud} baud"
        self._baud = baud
        self._pump: Pump | None = None
        self._timer: Timer | None = None

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self._begin(watcher, on_port)
        try:
            self._dial()
        except Unreachable as error:
            raise PortError(f"{self.path} {error}.") from None

    def stop(self) -> None:
        self._halt()

    def _dial(self) -> None:
        self._use(self._open())

    def _try(self, _now: float) -> None:
        """Redial, in a thread: opening a network port may take seconds, and other guests are not to wait
        for it."""
        self._timer = None
        if self._stopped or self._port is not None:
            return
        ours, theirs = socket.socketpair()
        self._result: Any = None

        def dial() -> None:
            try:
                self._result = self._open()
            except Exception as error:
                self._result = error
            theirs.close()  # which wakes the loop

        def on_result(_now: float) -> None:
            self._watcher.unwatch_read(ours.fileno())
            ours.close()
            self._dialed(self._result)

        self._watcher.watch_read(ours.fileno(), on_result)
        threading.Thread(target=dial, name="pyserial-dial", daemon=True).start()

    def _dialed(self, result: Any) -> None:
        if isinstance(result, Exception):
            self._failed(str(result))
        elif self._stopped:
            result.close()
        else:
            self._use(result)

    def _use(self, serial: Any) -> None:
        ours, theirs = socket.socketpair()
        self._pump = Pump(serial, theirs)
        port = SocketPort(self.path, ours, self._on_closed)
        port.hides_queue = True  # behind the pump
        self._connected(port)

    def _open(self) -> Any:
        try:
            import serial
        except ImportError:
            raise PortError(f"{self.url} needs pyserial: pip install pyserial.") from None
        try:
            return serial.serial_for_url(self.path, baudrate=self._baud, timeout=READ_TIMEOUT, write_timeout=None)
        except serial.SerialException as error:
            raise Unreachable(f"cannot be opened ({_first_line(error)})") from None
        except ValueError as error:
            raise PortError(f"{self.url} is not understood by pyserial ({_first_line(error)}).") from None

    def _on_closed(self) -> None:
        if self._pump is not None:
            self._pump.close()
            self._pump = None
        self._port_closed()


class Pump:
    """Two threads between a blocking pyserial port and one end of a socket pair. An error on either ends
    both."""

    def __init__(self, serial: Any, sock: socket.socket) -> None:
        self._serial = serial
        self._sock = sock
        self._open = True
        self._threads = [
            threading.Thread(target=target, name=f"pyserial-{target.__name__.strip('_')}", daemon=True)
            for target in (self._inward, self._outward)
        ]
        for thread in self._threads:
            thread.start()

    def _inward(self) -> None:
        with suppress(Exception):  # pyserial raises whatever its transport does; all of it means hang-up
            while self._open:
                data = self._serial.read(1)
                if data:
                    waiting = self._serial.in_waiting
                    self._sock.sendall(data + self._serial.read(waiting) if waiting else data)
        self._hang_up()

    def _outward(self) -> None:
        with suppress(Exception):
            while data := self._sock.recv(WRITE_SIZE):
                self._serial.write(data)
        self._hang_up()

    def _hang_up(self) -> None:
        self._open = False
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End both threads. A reader is gone within READ_TIMEOUT, and closes what it read from."""
        self._hang_up()
        threading.Thread(target=self._reap, name="pyserial-close", daemon=True).start()

    def _reap(self) -> None:
        for thread in self._threads:
            thread.join(5)
        self._sock.close()
        with suppress(Exception):
            self._serial.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].rstrip(".")

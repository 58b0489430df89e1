"""UartBridge: a UART whose line is a Port: a pty, a socket, a real serial line.

In: register accesses of the guest's driver, ports (`link.start(watcher, bridge.attach)`).  Out: the level of the
interrupt line; on the port, what the guest sends.  It knows nothing of what the octets mean.

    carrier   DCD is up from `attach` until the port hangs up and the guest has been given what came before
    DSR, CTS  up; on a port that has modem lines (a tty), what these say, looked at every LOOK_EVERY
    DTR, RTS, break   on a port that has such lines, as the guest drives them; a break that comes there reaches the
              guest with the next look, by the kernel's count, so its place among the octets is not exact
    DTR drop  closes a port without modem lines, which a socket's peer sees as the end of the connection; nothing of it
              passes through a pty, whose link finds the guest of the slave again
    RTS       holds back what comes (see ChipHost); what a port's own buffer cannot hold stays in the kernel

A port that takes nothing holds the chip's transmitter.
"""

import array
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from serialport.port import HangUp, Port, Timer, Watcher
from serialport.uart16550.chip import PC_CLOCK_HZ, ModemOutputs
from serialport.uart16550.host import ChipHost

ARRIVED_MOST = 4096
"""Octets for the guest beyond which the port is not read: a terminal's worth."""
GATHER = 0.001
"""Seconds that octets of the guest are gathered before they are written."""
GATHER_MOST = 64
"""Octets that are written without waiting for more."""
LOOK_EVERY = 0.05
"""Seconds between looks at a port's modem lines: they make no event that could be waited for."""

# asm-generic/ioctls.h; not in Python's termios
TIOCSBRK = 0x5427
TIOCCBRK = 0x5428
TIOCGICOUNT = 0x545D
# linux/serial.h, struct serial_icounter_struct: twenty ints, of which the tenth counts breaks
_COUNTS, _BREAKS = 20, 9


class ModemInputs(NamedTuple):
    cts: bool
    dsr: bool
    ri: bool
    dcd: bool


class ModemLines(Protocol):
    """A port's modem lines, where it has them. None of these raises."""

    def drive(self, outputs: ModemOutputs) -> None: ...
    def sense(self) -> ModemInputs | None:
        """None when the device has gone, which its port tells in its own way."""

    def broken(self) -> bool:
        """Whether a break has come since this was asked last."""


class TtyLines:
    """Those of a terminal device, by ioctl (tty_ioctl(4))."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._bits = array.array("i", [0])
        self._counts = array.array("i", [0] * _COUNTS)
        self._breaks = self._count_breaks()

    def ignore_breaks(self) -> None:
        """Have no zero among the octets for each, since they are counted."""
        with suppress(OSError, termios.error):
            attributes = termios.tcgetattr(self._fd)
            attributes[0] |= termios.IGNBRK
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)

    def drive(self, outputs: ModemOutputs) -> None:
        up = (termios.TIOCM_DTR if outputs.dtr else 0) | (termios.TIOCM_RTS if outputs.rts else 0)
        down = (termios.TIOCM_DTR | termios.TIOCM_RTS) & ~up
        with suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCMBIS, struct.pack("i", up))
            fcntl.ioctl(self._fd, termios.TIOCMBIC, struct.pack("i", down))
            fcntl.ioctl(self._fd, TIOCSBRK if outputs.sending_break else TIOCCBRK)

    def sense(self) -> ModemInputs | None:
        try:
            fcntl.ioctl(self._fd, termios.TIOCMGET, self._bits)
        except OSError:
            return None
        bits = self._bits[0]
        return ModemInputs(
            cts=bool(bits & termios.TIOCM_CTS),
            dsr=bool(bits & termios.TIOCM_DSR),
            ri=bool(bits & termios.TIOCM_RI),
            dcd=bool(bits & termios.TIOCM_CD),
        )

    def broken(self) -> bool:
        before, self._breaks = self._breaks, self._count_breaks()
        return self._breaks != before

    def _count_breaks(self) -> int:
        with suppress(OSError):  # not every driver counts
            fcntl.ioctl(self._fd, TIOCGICOUNT, self._counts)
        return self._counts[_BREAKS]


def lines_of(port: Port) -> ModemLines | None:
    """The modem lines of a terminal that has them: a pty has none."""
    if not os.isatty(port.write_fd):
        return None
    lines = TtyLines(port.write_fd)
    if lines.sense() is None:
        return None
    lines.ignore_breaks()
    return lines


class UartBridge(ChipHost):
    def __init__(
        self,
        watcher: Watcher,
        interrupt: Callable[[bool], None],
        *,
        model: str = "16550A",
        pace: str = "none",
        clock_hz: float = PC_CLOCK_HZ,
        lines_of: Callable[[Port], ModemLines | None] = lines_of,
    ) -> None:
        """`count` has uart.busy as well: ports turned away because there was one."""
        self._lines_of = lines_of
        self._lines: ModemLines | None = None
        self._port: Port | None = None
        self._ended = False  # the port has hung up, and some of what came is still here
        self._arrived = bytearray()  # for the guest
        self._leaving = bytearray()  # of the guest
        self._reading = self._blocked = False
        self._gathering: Timer | None = None
        self._looking: Timer | None = None
        super().__init__(watcher, interrupt, model=model, pace=pace, clock_hz=clock_hz)

    # For the link

    def attach(self, port: Port) -> None:
        """Somebody is on the line. One at a time: another is turned away."""
        if self._port is not None:
            self.count["uart.busy"] += 1
            port.close()
            return
        self._port = port
        self._ended = False
        self._arrived.clear()
        self._lines = self._lines_of(port)
        if self._lines is not None:
            self._lines.drive(self._outputs)
            self._look(self._now())
        else:
            self.uart.set_modem_inputs(dcd=True, now=self._now())
        self._watch()

    def reset(self) -> None:
        """The machine's reset line: DTR drops with the rest."""
        super().reset()
        if self._lines is None:
            self._detach()

    def close(self) -> None:
        """Unplugged."""
        super().close()
        self._detach()

    # From the port

    def _watch(self) -> None:
        if self._port is not None and not self._reading and not self._ended:
            self._reading = True
            self._watcher.watch_read(self._port.read_fd, self._on_readable)

    def _unwatch(self) -> None:
        if self._port is not None and self._reading:
            self._reading = False
            self._watcher.unwatch_read(self._port.read_fd)

    def _on_readable(self, now: float) -> None:
        if self._port is None:
            return
        try:
            data = self._port.read()
        except HangUp:
            self._ended = True
            self._release()
            if not self._arrived:
                self._carrier_lost(now)
            return
        self._arrived += data
        if len(self._arrived) >= ARRIVED_MOST:
            self._unwatch()
        self._poke()

    def _take(self, most: int, now: float) -> bytes:
        arrived = self._arrived
        data = bytes(arrived[:most])
        del arrived[:most]
        if len(arrived) <= ARRIVED_MOST // 2:
            self._watch()
        if self._ended and not arrived:
            self._carrier_lost(now)
        return data

    # Toward the port

    def _octet(self, octet: int, now: float) -> None:
        if self._port is None:
            self.count["uart.no_carrier"] += 1
            return
        leaving = self._leaving
        leaving.append(octet)
        if len(leaving) >= GATHER_MOST and not self._blocked:
            self._flush(now)
        elif self._gathering is None and not self._blocked:
            self._gathering = self._watcher.call_at(now + GATHER, self._on_gathered)

    def _on_gathered(self, now: float) -> None:
        self._gathering = None
        if not self._blocked:
            self._flush(now)

    def _flush(self, now: float) -> None:
        """Write what the port takes; what it does not take holds the transmitter."""
        port, leaving = self._port, self._leaving
        if port is None:
            return
        del leaving[: port.write(bytes(leaving))]
        blocked = bool(leaving)
        if blocked and not self._blocked:
            self._watcher.watch_write(port.write_fd, self._flush)
        elif self._blocked and not blocked:
            self._watcher.unwatch_write(port.write_fd)
        if blocked != self._blocked:
            self._blocked = blocked
            self._hold(blocked)

    # Modem lines

    def _outputs_changed(self, outputs: ModemOutputs) -> None:
        if self._lines is not None:
            self._lines.drive(outputs)

    def _dtr(self, up: bool, now: float) -> None:
        if not up and self._lines is None:
            self._detach()

    def _look(self, now: float) -> None:
        """See what the port's lines say, again and again while it is there."""
        self._looking = None
        inputs = self._lines.sense() if self._lines is not None else None
        if inputs is not None:
            self.uart.set_modem_inputs(now=now, **inputs._asdict())
        if self._lines is not None:
            if self._lines.broken():
                self.uart.receive_break(now)
                self._arm()
            self._looking = self._watcher.call_at(now + LOOK_EVERY, self._look)

    def _carrier_lost(self, now: float) -> None:
        self._ended = False
        self.uart.set_modem_inputs(dcd=False, cts=True, dsr=True, ri=False, now=now)

    # Ends

    def _detach(self) -> None:
        """Let go of a port that has not hung up, and of what came from it."""
        if self._port is not None:
            if self._leaving and not self._blocked:
                self._port.write(bytes(self._leaving))
            self._release()
        self._arrived.clear()
        self._carrier_lost(self._now())

    def _release(self) -> None:
        port, self._port, self._lines = self._port, None, None
        if port is None:
            return
        if self._reading:
            self._reading = False
            self._watcher.unwatch_read(port.read_fd)
        if self._blocked:
            self._watcher.unwatch_write(port.write_fd)
            self._blocked = False
        for timer in (self._gathering, self._looking):
            if timer is not None:
                timer.cancel()
        self._gathering = self._looking = None
        self._leaving.clear()
        port.close()
        self._hold(False)

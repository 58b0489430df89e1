"""SerialChip: a UART whose line ends in this process, for a card on an emulated bus or an emulator in the same process.

In: register reads and writes of the guest's driver, the machine's reset, unplugging.  Out: the level of the interrupt
line, and a Port for each guest that comes.  It keeps the chip's time by the watcher; it knows no bus and no PPP.

    chip = SerialChip("COM1", loop, on_port, irq4)
    inb:   chip.read(address & 7)        outb:  chip.write(address & 7, value)

The far end of the line is a modem that is always switched on (DSR, CTS).  A port is made when the guest raises DTR, or
sends an octet without having done so; carrier (DCD) is up while it is open.  It hangs up when the guest drops DTR, is
reset or unplugged.  An owner that closes its port cuts the carrier for a moment, as PtyLink does for a guest that
stays.
"""

from collections.abc import Callable

from serialport.doorbell import Doorbell, Gate
from serialport.port import READ_SIZE, HangUp, Port, PortError, Timer, Watcher, port_status
from serialport.uart16550.chip import PC_CLOCK_HZ
from serialport.uart16550.host import ChipHost

TOWARD_GUEST_MOST = 16384
"""Octets that `write` takes before it blocks: about what a pty holds."""
FROM_GUEST_MOST = 16384
"""Octets not yet read at which the line takes no more, and the chip's transmitter waits."""
REOPEN_AFTER = 0.2
"""Seconds without carrier for a guest that is still there, when its owner has closed the port."""
RETRY_AFTER = 1.0
"""Seconds until the next try, when no descriptor was to be had for a port."""


class ChipPort:
    """The far end of the chip's line; made by SerialChip."""

    kind = "uart"
    hides_queue = False
    dribbles = True

    def __init__(self, name: str, chip: "SerialChip", early: bytes) -> None:
        """Raises PortError when the process may open no more files."""
        self.name = name
        self._chip: SerialChip | None = chip
        self._gone = ""
        self._bell = Doorbell()
        try:
            self._gate = Gate()
        except PortError:
            self._bell.close()
            raise
        self.read_fd = self._bell.fd
        self.write_fd = self._gate.fd
        self.arrived = bytearray()
        """What the guest has sent and nobody has read."""
        self.leaving = bytearray()
        """What was written and has not reached the chip."""
        if early:
            self.arrive(early)

    # For the owner

    def read(self) -> bytes:
        arrived = self.arrived
        if not arrived:
            if self._gone or self._chip is None:
                raise HangUp(self._gone or f"{self.name} is closed")
            self._bell.hush()
            return b""
        data = bytes(arrived[:READ_SIZE])
        del arrived[:READ_SIZE]
        if not self._gone and self._chip is not None:
            if not arrived:
                self._bell.hush()
            if len(data) >= FROM_GUEST_MOST:
                self._chip.accept()
        return data

    def write(self, data: bytes) -> int:
        if self._gone or self._chip is None:
            return len(data)
        leaving = self.leaving
        taken = data[: TOWARD_GUEST_MOST - len(leaving)]
        leaving += taken
        self._chip.give()
        if len(taken) < len(data):
            self._gate.shut()
        return len(taken)

    def pending(self) -> int:
        """What the guest's driver has not read, the chip's own FIFO included."""
        if self._gone or self._chip is None:
            return 0
        return len(self.leaving) + self._chip.uart.waiting

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        chip, self._chip = self._chip, None
        if chip is not None:
            self._bell.close()
            self._gate.close()
            self.arrived.clear()
            self.leaving.clear()
            chip.released(self)

    # For the chip

    def arrive(self, octets: bytes) -> None:
        self.arrived += octets
        self._bell.ring()

    def take(self, most: int) -> bytes:
        leaving = self.leaving
        data = bytes(leaving[:most])
        del leaving[:most]
        if not self._gate.is_open and len(leaving) <= TOWARD_GUEST_MOST // 2:
            self._gate.open()
        return data

    def hang_up(self, reason: str) -> None:
        """The guest has gone; what it sent before can still be read."""
        self._gone = reason
        self.leaving.clear()
        self._gate.open()
        self._bell.ring()


class SerialChip(ChipHost):
    def __init__(
        self,
        name: str,
        watcher: Watcher,
        on_port: Callable[[Port], None],
        interrupt: Callable[[bool], None],
        *,
        model: str = "16550A",
        pace: str = "none",
        clock_hz: float = PC_CLOCK_HZ,
    ) -> None:
        """`name`: what event lines call its ports.  `model`: one of models.MODELS; `pace`: one of PACES.

        `count` has uart.no_descriptor as well: ports that could not be made.
        """
        self.name = name
        self._on_port = on_port
        self._port: ChipPort | None = None
        self._ending: ChipPort | None = None  # has hung up, and its owner has not closed it yet
        self._early = bytearray()  # what the next guest sent meanwhile
        self._pause: Timer | None = None
        self._unplugged = False
        super().__init__(watcher, interrupt, model=model, pace=pace, clock_hz=clock_hz)

    # For the bus

    def reset(self) -> None:
        """The machine's reset line: the guest is gone, and the interrupt with it."""
        self._hang_up("was reset by the guest")
        super().reset()
        self._early.clear()

    def close(self) -> None:
        """Unplugged: the port hangs up, and no other is made."""
        self._unplugged = True
        self._hang_up("was unplugged")
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super().close()

    # For the port

    def give(self) -> None:
        """There are octets for the guest."""
        self._poke()

    def accept(self) -> None:
        """The port has been read: the line takes octets again."""
        self._hold(False)

    def released(self, port: ChipPort) -> None:
        """The owner has closed its port."""
        if port is self._ending:
            self._ending = None
            if self._outputs.dtr or self._early:
                self._open(self._now())
        elif port is self._port:
            self._carrier_lost()
            self._wait(REOPEN_AFTER)

    # For the chip

    def _octet(self, octet: int, now: float) -> None:
        port = self._port
        if port is None:
            self._knock(octet, now)
            return
        arrived = port.arrived
        if arrived:
            arrived.append(octet)
            if len(arrived) >= FROM_GUEST_MOST:
                self.uart.hold(True, now)
        else:
            port.arrive(bytes((octet,)))

    def _take(self, most: int, now: float) -> bytes:
        port = self._port
        return b"" if port is None else port.take(most)

    def _dtr(self, up: bool, now: float) -> None:
        if not up:
            self._hang_up("was closed by the guest, which dropped DTR")
        elif self._port is None and self._ending is None and self._pause is None:
            self._open(now)

    # Ports

    def _knock(self, octet: int, now: float) -> None:
        """An octet comes and no port is there for it."""
        if self._ending is not None:
            self._early.append(octet)
            if len(self._early) >= FROM_GUEST_MOST:
                self.uart.hold(True, now)
        elif self._pause is not None or self._unplugged:
            self.count["uart.no_carrier"] += 1
        else:
            self._early.append(octet)
            self._open(now)

    def _open(self, now: float) -> None:
        if self._unplugged:
            return
        try:
            port = ChipPort(self.name, self, bytes(self._early))
        except PortError:
            self.count["uart.no_descriptor"] += 1
            self._early.clear()
            self._wait(RETRY_AFTER)
            return
        self._early.clear()
        self._port = port
        self.uart.hold(len(port.arrived) >= FROM_GUEST_MOST, now)
        self.uart.set_modem_inputs(dcd=True, now=now)
        self._on_port(port)

    def _hang_up(self, reason: str) -> None:
        port = self._port
        if port is not None:
            self._carrier_lost()
            self._ending = port
            port.hang_up(f"{self.name} {reason}")

    def _carrier_lost(self) -> None:
        self._port = None
        now = self._now()
        self.uart.hold(False, now)
        self.uart.set_modem_inputs(dcd=False, now=now)

    def _wait(self, seconds: float) -> None:
        """Look again for a guest that is there."""
        if not self._unplugged:
            self._pause = self._watcher.call_at(self._now() + seconds, self._look)

    def _look(self, now: float) -> None:
        self._pause = None
        if self._outputs.dtr and self._port is None and self._ending is None:
            self._open(now)

"""The network inside an emulator's own process: chips to be driven by calls, and PPP, Ethernet and NAT behind them.

In: register accesses from the emulator's I/O handlers, and a call of `poll` now and then.  Out: interrupts, by a
callable that takes the level of the line.  Everything runs in the thread that calls; nothing here starts another.

    with Embedded(host_loopback=True) as network:
        com1 = network.uart(lambda level: pic.set_irq(4, level))
        card = network.ne2000(lambda level: pic.set_irq(9, level), mac=bytes.fromhex("525400123456"))
        while running:
            cpu.run(10_000)             # its handlers call com1.read(0..7), com1.write(0..7, octet),
            network.poll()              # card.read(0..31, size), card.write(0..31, value, size)

The keywords are the settings of the command (pppgate.config.NetworkConfig and Config): net, forward, dns, pcap, ...
A port is made when the guest raises DTR or sends, as on a cable; what the emulator's machine resets, it resets with the
chip's `reset`.
"""

import io
from collections.abc import Callable
from typing import Any, Self, TextIO

from pppgate.config import build
from pppgate.links import Links
from pppgate.loop import Loop
from pppgate.ne2000.card import ISA, Ne2000
from pppgate.ne2000.port import Ne2000Port
from pppgate.say import Say
from pppgate.server import Server
from serialport.port import Port
from serialport.uart16550.port import SerialChip


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


class Embedded:
    """Raises ConfigError for a setting that is not understood.  Several chips share one network."""

    def __init__(self, *, log: TextIO | io.TextIOBase | None = None, **settings: Any) -> None:
        """`log`: where the lines go that the command prints; None for nowhere."""
        config = build(settings)
        self._loop = Loop()
        try:
            links = {network.name: Links() for network in config.networks}
            self._server = Server(config, links, self._loop, Say(config.log_level, log or _Nowhere()))
        except Exception:
            self._loop.close()
            raise
        (self._network,) = self._server.networks
        self._chips: list[SerialChip] = []
        self._cards: list[Ne2000Port] = []

    def uart(self, interrupt: Callable[[bool], None], *, model: str = "16550A", pace: str = "none") -> SerialChip:
        """A serial port: `read(register)` and `write(register, octet)` for registers 0 to 7, `reset()`.

        `model`: one of serialport.uart16550.models.MODELS; `pace`: "none", or "line" for characters that take as long
        as the divisor says.
        """
        name = f"uart {len(self._chips) + 1}"

        def on_port(port: Port) -> None:
            self._network.dial_in(name, port)

        chip = SerialChip(name, self._loop, on_port, interrupt, model=model, pace=pace)
        self._chips.append(chip)
        return chip

    def ne2000(
        self,
        interrupt: Callable[[bool], None],
        *,
        mac: bytes | None = None,
        memory: int = 16384,
        front: str = ISA,
    ) -> Ne2000:
        """A network card: `read(offset, size)` and `write(offset, value, size)` for offsets 0 to 31 and sizes of 1, 2
        and 4 octets, `reset()`.

        `mac`: 6 octets (52:54:00:70:70:01 and following); `memory`: 16384 or 32768 octets; `front`: ne2000.ISA or
        ne2000.RTL8029.
        """
        number = len(self._cards) + 1
        mac = mac or b"\x52\x54\x00\x70\x70" + number.to_bytes(1, "big")
        port = Ne2000Port(f"ne2000 {number}", mac, memory=memory, front=front, interrupt=interrupt)
        self._cards.append(port)
        self._network.plug_in(port)
        return port.card

    def poll(self, seconds: float = 0.0) -> None:
        """Let packets move; returns at once, or after so many seconds.  At least every few milliseconds while the guest
        runs: what it sends waits in between."""
        self._loop.turn(seconds)

    def close(self) -> None:
        """Hang up, and close every socket."""
        for chip in self._chips:
            chip.close()
        for card in self._cards:
            card.unplug()
        self._server.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""ChipHost: what keeps a UART going, whatever its line leads to: its time, the bus side, and what its outputs mean.

In: register accesses, a watcher for the time.  Out, to the class built on it: octets of the guest, questions for octets
to the guest, DTR and breaks as they change.

What comes waits for room in the receiver, with and without a pace: it is here already, and a guest whose accesses are
slow would lose it for nothing.  RTS holds back what comes, once the guest has raised it: a driver that never does wants
no flow control.
"""

import math
from collections import Counter
from collections.abc import Callable

from serialport.port import Timer, Watcher
from serialport.uart16550.chip import PC_CLOCK_HZ, ModemOutputs, Uart16550


class ChipHost:
    """Subclasses have `_octet`, `_take` and `_dtr`, and may have `_outputs_changed`."""

    def __init__(
        self,
        watcher: Watcher,
        interrupt: Callable[[bool], None],
        *,
        model: str = "16550A",
        pace: str = "none",
        clock_hz: float = PC_CLOCK_HZ,
    ) -> None:
        """`model`: one of models.MODELS; `pace`: one of chip.PACES."""
        self.count: Counter[str] = Counter()
        """uart.no_carrier: octets that the guest sent while nobody was there; uart.breaks: breaks that it sent."""
        self._watcher = watcher
        self._now = watcher.now
        self._timer: Timer | None = None
        self._armed = math.inf
        self._outputs = ModemOutputs()
        self._rts_used = self._stopped = False
        self.uart = Uart16550(
            model=model, pace=pace, clock_hz=clock_hz, overruns=False, interrupt=interrupt, transmit=self._octet,
            pull=self._give, modem=self._modem,
        )  # fmt: skip
        now = self._now()
        self.uart.set_modem_inputs(cts=True, dsr=True, now=now)
        self.uart.reset(now)  # that they came up is no news

    # For the bus

    def read(self, register: int) -> int:
        """What the guest reads from register 0 to 7."""
        uart = self.uart
        value = uart.read(register, self._now())
        if uart.deadline < self._armed:
            self._arm()
        return value

    def write(self, register: int, value: int) -> None:
        uart = self.uart
        uart.write(register, value, self._now())
        if uart.deadline < self._armed:
            self._arm()

    def reset(self) -> None:
        """The machine's reset line."""
        self.uart.reset(self._now())
        self._rts_used = self._stopped = False

    def close(self) -> None:
        """Unplugged: the interrupt is lowered, and no timer is left."""
        self.uart.reset(self._now())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = math.inf

    # For the line

    def _octet(self, octet: int, now: float) -> None:
        """The guest has sent an octet."""
        raise NotImplementedError

    def _take(self, most: int, now: float) -> bytes:
        """Up to so many octets for the guest."""
        raise NotImplementedError

    def _dtr(self, up: bool, now: float) -> None:
        """The guest has raised or dropped DTR."""
        raise NotImplementedError

    def _outputs_changed(self, outputs: ModemOutputs) -> None:
        """Any output has changed, DTR included."""

    def _poke(self) -> None:
        """There are octets for the guest."""
        self.uart.poke(self._now())
        self._arm()

    def _hold(self, held: bool) -> None:
        """The line takes nothing of the guest, or does again."""
        self.uart.hold(held, self._now())
        self._arm()

    # For the chip

    def _give(self, most: int, now: float) -> bytes:
        return b"" if self._stopped else self._take(most, now)

    def _modem(self, outputs: ModemOutputs) -> None:
        before, self._outputs = self._outputs, outputs
        now = self._now()
        if outputs.sending_break and not before.sending_break:
            self.count["uart.breaks"] += 1
        self._outputs_changed(outputs)
        if before.dtr != outputs.dtr:
            self._dtr(outputs.dtr, now)
            if not outputs.dtr:
                self._rts_used = False
        self._rts_used = self._rts_used or outputs.rts
        stopped, self._stopped = self._stopped, self._rts_used and not outputs.rts
        if stopped and not self._stopped:
            self.uart.poke(now)

    # Time

    def _arm(self) -> None:
        deadline = self.uart.deadline
        if deadline < self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = deadline
            self._timer = self._watcher.call_at(deadline, self._on_time)

    def _on_time(self, now: float) -> None:
        self._timer, self._armed = None, math.inf
        self.uart.tick(now)
        self._arm()

"""contrib/examples/unicorn_uart.py: x86 code that drives the chip by port I/O, in the same process as the gateway."""

import importlib.util
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pppgate.loop import Loop
from serialport.port import Port
from serialport.uart16550.port import SerialChip

EXAMPLE = Path(__file__).parents[3] / "contrib" / "examples" / "unicorn_uart.py"
ACK, REQUEST = 2, 1


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unicorn_uart", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_guest_code_exchanges_the_first_packets_of_ppp(example: ModuleType) -> None:
    got = example.dial(identifier=0x77, log=io.StringIO())
    assert (ACK, 0x77) in got
    assert REQUEST in [code for code, _ in got]  # the gateway's own


class Wire:
    """In place of the network: a chip whose port the test has."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.ports: list[Port] = []

    def uart(self, interrupt: Callable[[bool], None]) -> SerialChip:
        return SerialChip("COM1", self.loop, self.ports.append, interrupt)


def test_the_program_takes_its_octets_by_interrupt_and_then_halts(example: ModuleType) -> None:
    wire = Wire()
    machine = example.Machine(wire)
    example.load(machine, b"hello from the guest")
    data = bytes(range(256)) * 4
    deadline = time.monotonic() + 10
    sent = False
    while len(example.received(machine)) < len(data) and time.monotonic() < deadline:
        machine.run()
        wire.loop.turn(0.001)
        if wire.ports and machine._halted and not sent:
            sent = bool(wire.ports[0].write(data))
    assert wire.ports[0].read() == b"hello from the guest"
    assert example.received(machine) == data
    assert 1 <= machine.interrupts <= len(data) / 16
    machine.run()
    assert machine.cpu.mem_read(machine._at - 1, 1)[0] == example.HLT
    machine.chip.close()
    wire.ports[0].close()
    wire.loop.close()


def test_it_runs_as_it_stands() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "acknowledged" in done.stdout

"""A serial port for an emulator in the same process, on the Unicorn CPU emulator: `pip install unicorn`.

    python contrib/examples/unicorn_uart.py

A machine with 64 KB, one x86 in real mode, and COM1 at 0x3F8 with IRQ 4, whose line ends in this project's PPP.  The
program in it sets the chip up, sends LCP's Configure-Request, and reads what the gateway answers, by interrupts.

What an emulator has to bring is in Machine and `dial`:

    chip = network.uart(interrupt)         interrupt(level): the level of the IRQ line has changed
    a guest's  in al, dx                   chip.read(port - 0x3F8)
    a guest's  out dx, al                  chip.write(port - 0x3F8, value)
    a machine's reset                      chip.reset()
    between two slices of the CPU          network.poll()
"""

import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import unicorn
from unicorn import x86_const as x86

from lcp.hdlc import Deframer, Framer
from lcp.packet import Protocol, build
from pppgate.embedded import Embedded

COM1, IRQ4_VECTOR = 0x3F8, 0x0C
CODE, HANDLER, FRAME, BUFFER, STACK = 0x1000, 0x1100, 0x2000, 0x3000, 0xFF00
MEMORY = 0x10000
SLICE = 20_000
"""Instructions between two looks at the network."""
HLT = 0xF4
INTERRUPT_FLAG = 0x200

PROGRAM = bytes.fromhex(
    "fa"  # 1000         cli
    "bafb03 b080 ee"  # 1001         out 3fb, 80      LCR: divisor latch
    "baf803 b001 ee"  # 1007         out 3f8, 01      115,200 baud
    "42     b000 ee"  # 100d         out 3f9, 00
    "bafb03 b003 ee"  # 1011         out 3fb, 03      LCR: 8N1
    "4a     b087 ee"  # 1017         out 3fa, 87      FCR: FIFOs on and empty, trigger level 8
    "bafc03 b00b ee"  # 101b         out 3fc, 0b      MCR: DTR, RTS, OUT2
    "baf903 b001 ee"  # 1021         out 3f9, 01      IER: received data
    "be0020"  # 1027         mov si, 2000
    "bf0030"  # 102a         mov di, 3000
    "ad 91"  # 102d         lodsw; xchg ax, cx
    "fb"  # 102f         sti
    "bafd03 ec a820"  # 1030  wait:  in al, 3fd; test al, 20       LSR: THR empty?
    "74f8"  # 1036         jz wait
    "baf803 ac ee"  # 1038         lodsb; out 3f8, al
    "e2f1"  # 103d         loop wait
    "f4 ebfd"  # 103f  idle:  hlt; jmp idle
)
INTERRUPT_HANDLER = bytes.fromhex(
    "50 52"  # 1100         push ax; push dx
    "bafa03 ec a801"  # 1102  next:  in al, 3fa; test al, 01       IIR: nothing more?
    "750f"  # 1108         jnz done
    "bafd03 ec a801"  # 110a  more:  in al, 3fd; test al, 01       LSR: data ready?
    "74f0"  # 1110         jz next
    "baf803 ec aa"  # 1112         in al, 3f8; stosb
    "ebf1"  # 1117         jmp more
    "5a 58 cf"  # 1119  done:  pop dx; pop ax; iret
)


class Machine:
    """The emulator's part: a CPU with COM1, run in slices."""

    def __init__(self, network: Embedded) -> None:
        self.chip = network.uart(self._interrupt)
        self.interrupts = 0
        self._level = False
        self._halted = False
        self.cpu = cpu = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_16)
        cpu.mem_map(0, MEMORY)
        cpu.hook_add(unicorn.UC_HOOK_INSN, self._in, None, 1, 0, x86.UC_X86_INS_IN)
        cpu.hook_add(unicorn.UC_HOOK_INSN, self._out, None, 1, 0, x86.UC_X86_INS_OUT)
        cpu.mem_write(4 * IRQ4_VECTOR, HANDLER.to_bytes(2, "little") + b"\0\0")
        cpu.reg_write(x86.UC_X86_REG_SP, STACK)
        self._at = CODE

    # The glue

    def _in(self, _cpu: unicorn.Uc, port: int, size: int, _data: Any) -> int:
        return self.chip.read(port - COM1) if COM1 <= port < COM1 + 8 else (1 << 8 * size) - 1

    def _out(self, _cpu: unicorn.Uc, port: int, _size: int, value: int, _data: Any) -> None:
        if COM1 <= port < COM1 + 8:
            self.chip.write(port - COM1, value)

    def _interrupt(self, level: bool) -> None:
        self._level = level

    # The CPU

    def run(self) -> None:
        """A slice of it, if it does not wait for an interrupt."""
        flags = self.cpu.reg_read(x86.UC_X86_REG_EFLAGS)
        if self._level and flags & INTERRUPT_FLAG:
            self._deliver(flags)
        elif self._halted:
            return
        self.cpu.emu_start(self._at, MEMORY, count=SLICE)
        self._at = self.cpu.reg_read(x86.UC_X86_REG_IP)
        self._halted = self.cpu.mem_read(self._at - 1, 1)[0] == HLT

    def _deliver(self, flags: int) -> None:
        """What a CPU does on an interrupt: FLAGS, CS and IP to the stack, and on at the vector."""
        self.interrupts += 1
        sp = self.cpu.reg_read(x86.UC_X86_REG_SP) - 6
        frame = (self._at, self.cpu.reg_read(x86.UC_X86_REG_CS), flags & 0xFFFF)
        self.cpu.mem_write(sp, b"".join(word.to_bytes(2, "little") for word in frame))
        self.cpu.reg_write(x86.UC_X86_REG_SP, sp)
        self.cpu.reg_write(x86.UC_X86_REG_EFLAGS, flags & ~INTERRUPT_FLAG)
        self._at = int.from_bytes(self.cpu.mem_read(4 * IRQ4_VECTOR, 2), "little")
        self._halted = False


def load(machine: Machine, frame: bytes) -> None:
    """The program, its interrupt handler, and the octets that it is to send."""
    machine.cpu.mem_write(CODE, PROGRAM)
    machine.cpu.mem_write(HANDLER, INTERRUPT_HANDLER)
    machine.cpu.mem_write(FRAME, len(frame).to_bytes(2, "little") + frame)


def received(machine: Machine) -> bytes:
    """What the program has in its buffer."""
    end = machine.cpu.reg_read(x86.UC_X86_REG_DI)
    return bytes(machine.cpu.mem_read(BUFFER, end - BUFFER)) if end > BUFFER else b""


def configure_request(identifier: int) -> bytes:
    """LCP's first packet, framed: one option, the magic number (RFC 1661 section 6.4)."""
    return b"~" + Framer().frame(Protocol.LCP, build(1, identifier, b"\x05\x06\x12\x34\x56\x78"))


def packets(line: bytes) -> list[tuple[int, int]]:
    """Code and identifier of each LCP packet in what came from the line."""
    lcp = Protocol.LCP.to_bytes(2, "big")
    return [(frame[2], frame[3]) for frame in Deframer().feed(line) if frame.startswith(lcp) and len(frame) > 3]


def dial(identifier: int = 0x2A, patience: float = 10.0, log: Any = None) -> list[tuple[int, int]]:
    """Run the machine beside a whole gateway until its request is answered; the LCP packets it got."""
    with Embedded(log=log) as network:
        machine = Machine(network)
        load(machine, configure_request(identifier))
        give_up = time.monotonic() + patience
        while (2, identifier) not in packets(received(machine)) and time.monotonic() < give_up:
            machine.run()
            network.poll(0.001)
        return packets(received(machine))


def main() -> int:
    got = dial()
    for code, identifier in got:
        print(f"the guest got LCP code {code}, identifier {identifier}")
    answered = (2, 0x2A) in got
    print("its Configure-Request was acknowledged" if answered else "its Configure-Request was not acknowledged")
    return 0 if answered else 1


if __name__ == "__main__":
    sys.exit(main())

"""QEMU as a guest: an emulated PC (TCG, no KVM needed) whose PPP goes through an emulated 16550A.

In:  Debian's qemu-system-x86 and what initramfs.py needs; a tty or a socket of the host.
Out: a Guest with its console on the first serial port and PPP on the second.
"""

from __future__ import annotations

import os

from e2e.guests import Guest
from e2e.initramfs import build

QEMU = "qemu-system-x86_64"


class QemuGuest(Guest):
    serial = "/dev/ttyS1"

    def __init__(self, *, memory: str = "256M") -> None:
        super().__init__()
        self.memory = memory

    def start(self, tty: str | os.PathLike[str], timeout: float = 90) -> QemuGuest:
        """`tty` is a path of the host, or a whole chardev without its id, such as `socket,path=P,server=off`."""
        vmlinuz, initramfs = build()
        chardev = str(tty) if "," in str(tty) else f"serial,path={tty}"
        backend, _, rest = chardev.partition(",")
        self.spawn([QEMU, "-accel", "tcg", "-m", self.memory, "-nodefaults", "-no-user-config", "-display", "none",
                    "-kernel", str(vmlinuz), "-initrd", str(initramfs), "-no-reboot",
                    "-append", "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on",
                    "-chardev", "stdio,id=c0,signal=off", "-device", "isa-serial,chardev=c0,index=0",
                    "-chardev", f"{backend},id=c1,{rest}", "-device", "isa-serial,chardev=c1,index=1"], timeout)
        return self

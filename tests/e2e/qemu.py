"""QEMU as a guest: an emulated PC (TCG, no KVM needed) whose PPP goes through an emulated 16550A.

In:  Debian's qemu-system-x86 and what initramfs.py needs; a socket of the host, or nothing.
Out: a Guest with its console on the first serial port and PPP on the second.

The second port's other end is a pty that QEMU makes (`pty`), for a gateway that opens it with `tty:`. QEMU can
open a pty that exists too (-chardev serial), but then it asks it for modem lines that a pty does not have, and
its guest sees neither carrier nor clear-to-send: a pppd with Debian's options (modem, crtscts) waits for ever.
"""

from __future__ import annotations

import os
import re
from typing import Self

from e2e.guests import Guest, GuestError
from e2e.initramfs import build

QEMU = "qemu-system-x86_64"
PTY = re.compile(r"char device redirected to (\S+) \(label ppp\)")


class QemuGuest(Guest):
    serial = "/dev/ttyS1"

    def __init__(self, *, memory: str = "256M") -> None:
        super().__init__()
        self.memory = memory
        self.pty = ""
        """With no tty given: the terminal for the gateway."""

    def start(self, tty: str | os.PathLike[str] | None = None, timeout: float = 90) -> Self:
        """`tty` is a unix socket on which a gateway listens; None makes a pty."""
        vmlinuz, initramfs = build()
        chardev = "pty,id=ppp" if tty is None else f"socket,id=ppp,path={tty}"
        self.spawn([QEMU, "-accel", "tcg", "-m", self.memory, "-nodefaults", "-no-user-config", "-display", "none",
                    "-kernel", str(vmlinuz), "-initrd", str(initramfs), "-no-reboot",
                    "-append", "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on",
                    "-chardev", "stdio,id=console,signal=off", "-device", "isa-serial,chardev=console,index=0",
                    "-chardev", chardev, "-device", "isa-serial,chardev=ppp,index=1"], timeout)
        if tty is None:
            match = PTY.search(self.boot_text)
            if match is None:
                raise GuestError(f"QEMU did not say which terminal it made:\n{self.tail()}")
            self.pty = match[1]
        return self

"""QEMU as a guest: an emulated PC (TCG, no KVM needed) with its PPP through an emulated 16550A, or any other devices.

In:  Debian's qemu-system-x86 and what initramfs.py needs; a socket of the host, or nothing; or words for QEMU.
Out: a Guest with its console on the first serial port and PPP on the second.

The second port's other end is a pty that QEMU makes (`pty`), for a gateway that opens it with `tty:`. QEMU can
open a pty that exists too (-chardev serial), but then it asks it for modem lines that a pty does not have, and
its guest sees neither carrier nor clear-to-send: a pppd with Debian's options (modem, crtscts) waits forever.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pexpect

from tests.e2e.guests import READY, Guest, GuestError
from tests.e2e.initramfs import build

QEMU = "qemu-system-x86_64"
PTY = re.compile(r"char device redirected to (\S+) \(label ppp\)")


class QemuGuest(Guest):
    """`qemu` and `environment` are for another QEMU than Debian's, `images` for another guest than initramfs.build's.

    `devices` are words for QEMU that take the place of the PPP port: ("-netdev", ..., "-device", ...).
    """

    serial = "/dev/ttyS1"

    def __init__(
        self,
        *,
        memory: str = "256M",
        devices: Sequence[str] = (),
        qemu: Sequence[str] = (QEMU,),
        environment: Mapping[str, str] | None = None,
        images: Callable[[], tuple[Path, Path]] = build,
    ) -> None:
        super().__init__()
        self.memory = memory
        self.devices = devices
        self.qemu = qemu
        self.environment = environment or {}
        self.images = images
        self.pty = ""
        """With no tty given: the terminal for the gateway."""

    def start(self, tty: str | os.PathLike[str] | None = None, timeout: float = 90) -> Self:
        """`tty` is a unix socket on which a gateway listens; None makes a pty, or no PPP port if there are devices."""
        vmlinuz, initramfs = self.images()
        self.spawn(
            [
                *self.qemu,
                "-accel",
                "tcg",
                "-m",
                self.memory,
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-kernel",
                str(vmlinuz),
                "-initrd",
                str(initramfs),
                "-append",
                "console=ttyS0 quiet loglevel=1 panic=0 random.trust_cpu=on",
                "-chardev",
                "stdio,id=console,signal=off",
                "-device",
                "isa-serial,chardev=console,index=0",
                *self._ppp_port(tty),
                *self.devices,
            ],
            timeout,
            env={**os.environ, **self.environment},
        )
        if tty is None and not self.devices:
            match = PTY.search(self.boot_text)
            if match is None:
                raise GuestError(f"QEMU did not say which terminal it made:\n{self.tail()}")
            self.pty = match[1]
        return self

    def _ppp_port(self, tty: str | os.PathLike[str] | None) -> list[str]:
        if tty is None and self.devices:
            return []
        chardev = "pty,id=ppp" if tty is None else f"socket,id=ppp,path={tty}"
        return ["-chardev", chardev, "-device", "isa-serial,chardev=ppp,index=1"]

    def reboot(self, timeout: float = 90) -> None:
        """As by the reset button, the emulator going on: its devices are reset and its sockets stay open."""
        if self.console is None:
            raise GuestError("the guest is not running")
        self.console.sendline("reboot -f")
        try:
            self.console.expect_exact(READY, timeout=timeout)
        except (pexpect.TIMEOUT, pexpect.EOF):
            raise GuestError(f"the guest did not boot again within {timeout:.0f} s:\n{self.tail()}") from None

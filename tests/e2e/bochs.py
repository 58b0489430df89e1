"""Bochs 2.7 as a guest: an interpreted PC with PPP on its first serial port and an NE2000, no display, nobody at it.

In:  Debian's packages PACKAGES; a kernel and an initramfs as from initramfs.build or i386.build.
Out: a Guest with its console on the second serial port. The lines of its bochsrc that concern a user of pppgate are
     those of contrib/examples/bochsrc.ppp, with other ports.

Bochs has to have a screen. Of Debian's, `term` (curses) is the one that opens no port and no window: it is given a
pty of its own to read keys from and /dev/null to draw on. The guest's console is then Bochs's controlling terminal.
Debian's Bochs has the debugger built in, which waits for a command before it starts: it is told to go on.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.e2e.bootdisk import GENISOIMAGE, ISOLINUX, LDLINUX, make
from tests.e2e.guests import Guest
from tests.e2e.initramfs import build, cpio, regular
from tests.e2e.servers import closed_port

EXAMPLE = Path(__file__).resolve().parents[2] / "contrib/examples/bochsrc.ppp"
BOCHS = "bochs-bin"
BIOS = "/usr/share/bochs/BIOS-bochs-latest"
VIDEO_BIOS = "/usr/share/vgabios/vgabios.bin"
TERM_SCREEN = "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so"
# program or file -> package
PACKAGES = {
    BOCHS: "bochs",
    TERM_SCREEN: "bochs-term",
    BIOS: "bochsbios",
    VIDEO_BIOS: "vgabios",
    GENISOIMAGE: "genisoimage",
    str(ISOLINUX): "isolinux",
    str(LDLINUX): "syslinux-common",
}

BOCHSRC = """display_library: term
romimage: file={bios}, options=fastboot
vgaromimage: file={video_bios}
memory: guest=192, host=192
cpu: model={cpu}, ips=50000000
ata0-master: type=cdrom, path={disk}, status=inserted
boot: cdrom
sound: driver=dummy
panic: action=fatal
log: {log}
com2: enabled=1, mode=term, dev=/dev/tty
"""
# The kernel's self-tests and the check of its certificates take most of a boot on a CPU of 50 MIPS.
COMMAND_LINE = (
    "rdinit=/init-com2 console=ttyS1 quiet loglevel=1 panic=-1 nokaslr mitigations=off rodata=off "
    "cryptomgr.notests=1 initcall_blacklist=load_system_certificate_list random.trust_cpu=on"
)
INIT_COM2 = """#!/bin/busybox sh
/bin/busybox sed s/ttyS0/ttyS1/g /init >/init-here
/bin/busybox chmod +x /init-here
exec /init-here
"""
# What the lines of the example make of the card.
MAC = "52:54:00:12:34:56"
ISA_DRIVER = ("ne", "io=0x300", "irq=10")
PCI_DRIVER = ("ne2k-pci",)


class BochsGuest(Guest):
    """`wide`: a 64-bit processor. `pci`: the NE2000 is an RTL8029 on PCI (ne2k-pci), or else on ISA (ne)."""

    serial = "/dev/ttyS0"

    def __init__(
        self, *, ether: int, wide: bool = True, pci: bool = True, images: Callable[[], tuple[Path, Path]] = build
    ) -> None:
        super().__init__()
        self.ether = ether
        self.wide = wide
        self.pci = pci
        self.images = images
        self.com1 = self.card = ""
        """The lines of its bochsrc for them."""

    def start(self, tty: str | os.PathLike[str], timeout: float = 120) -> Self:
        """`tty` is a pty, or "127.0.0.1:PORT" where somebody listens already: Bochs tries only once."""
        vmlinuz, initramfs = self.images()
        archive = self.work / "initramfs"
        archive.write_bytes(initramfs.read_bytes() + cpio({"init-com2": regular(INIT_COM2.encode())}))
        disk = make(vmlinuz, archive, COMMAND_LINE, self.work)
        lines = BOCHSRC.format(
            bios=BIOS,
            video_bios=VIDEO_BIOS,
            disk=disk,
            log=self.work / "bochs.log",
            cpu="core2_penryn_t9600" if self.wide else "p2_klamath",
        )
        if str(tty).startswith("/"):
            self.com1 = example("com1", "mode=term").replace("/tmp/com1", str(tty))
        else:
            self.com1 = example("com1", "mode=socket-client").replace("127.0.0.1:4000", str(tty))
        self.card = example("ne2k", "ethmod=socket").replace("ethdev=40000", f"ethdev={self.ether}")
        bus = example("pci", "slot1=ne2k") if self.pci else "pci: enabled=1, chipset=i440fx"
        # The slot before the card, which looks there for the bus that it is on.
        bochsrc = self.work / "bochsrc"
        bochsrc.write_text(f"{lines}{self.com1}\n{bus}\n{self.card}\n{example('clock', 'sync=slowdown')}\n")
        go = self.work / "debugger"
        go.write_text("continue\n")
        # /dev/ptmx: every opening of it is a pty of its own.
        self.spawn(
            [
                "/bin/sh",
                "-c",
                'exec "$@" <>/dev/ptmx >/dev/null',
                "sh",
                BOCHS,
                "-q",
                "-f",
                str(bochsrc),
                "-rc",
                str(go),
            ],
            timeout,
            env={**os.environ, "TERM": "vt100"},
            cwd=str(self.work),
        )
        return self


def example(option: str, containing: str) -> str:
    """A line of the example file, of those that are commented out as well."""
    for line in EXAMPLE.read_text().splitlines():
        if re.match(rf"#?{option}: ", line) and containing in line:
            return line.lstrip("#")
    raise ValueError(f"{EXAMPLE} has no line for {option} with {containing}")


def missing_packages() -> list[str]:
    """Those of PACKAGES that are not installed, sorted."""
    places = os.environ.get("PATH", os.defpath).split(":")
    return sorted(
        {
            package
            for name, package in PACKAGES.items()
            if not any(os.path.exists(os.path.join(place, name)) for place in places)
        }
    )


def port_pair() -> int:
    """A UDP port that is free on every address, as the one above it is: Bochs has the lower, pppgate the higher."""
    for _ in range(50):
        port = closed_port()
        with socket.socket(type=socket.SOCK_DGRAM) as low, socket.socket(type=socket.SOCK_DGRAM) as high:
            try:
                low.bind(("", port))
                high.bind(("", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise OSError("no two UDP ports in a row that are free")

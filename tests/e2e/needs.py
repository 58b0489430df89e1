"""What an end-to-end test needs of the host, by the name of the Debian package that has it.

PPPGATE_NO_SKIP=1 turns each skip into a failure: for a machine on which everything is said to be installed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# program or directory -> package
PACKAGES = {
    "linux.uml": "user-mode-linux", "pppd": "ppp", "qemu-system-x86_64": "qemu-system-x86", "curl": "curl",
    "dig": "dnsutils", "ping": "iputils-ping", "busybox": "busybox-static", "setpriv": "util-linux", "insmod": "kmod",
}
UML = ("linux.uml", "pppd", "curl", "dig", "ping", "insmod")
QEMU = ("qemu-system-x86_64", "pppd", "busybox")


def programs_on_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing(programs: tuple[str, ...]) -> list[str]:
    """The packages that are not there, sorted, each once."""
    absent = {PACKAGES[name] for name in programs if shutil.which(name, path=programs_on_path()) is None}
    if "qemu-system-x86_64" in programs:
        from e2e.initramfs import kernel

        if kernel() is None:
            absent.add("linux-image-amd64")
    if "linux.uml" in programs and not Path("/dev/ptmx").exists():
        absent.add("/dev/ptmx")
    return sorted(absent)


def need(*programs: str) -> None:
    """Skip, or fail where no skip is allowed, unless the host has these programs."""
    if absent := missing(programs):
        cannot("missing: " + ", ".join(absent))


def cannot(reason: str) -> None:
    """The test cannot run here, for this reason."""
    if os.environ.get("PPPGATE_NO_SKIP", "") not in ("", "0"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

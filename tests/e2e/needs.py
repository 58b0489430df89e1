"""What an end-to-end test needs of the host, by the name of the Debian package that has it.

A machine on which everything is said to be installed sets PPPGATE_NO_SKIP=1 (tests/conftest.py).
"""

from __future__ import annotations

import os

import pytest

from tests.e2e.initramfs import kernel
from tests.e2e.uml import NO_PPPD, cache_directory, readable_pppd

# program or directory -> package
PACKAGES = {
    "linux.uml": "user-mode-linux",
    "pppd": "ppp",
    "qemu-system-x86_64": "qemu-system-x86",
    "curl": "curl",
    "dig": "dnsutils",
    "ping": "iputils-ping",
    "busybox": "busybox-static",
    "setpriv": "util-linux",
    "insmod": "kmod",
    "iperf3": "iperf3",
    "slirp-fullbolt": "slirp",
}
UML = ("linux.uml", "pppd", "curl", "dig", "ping", "insmod")
QEMU = ("qemu-system-x86_64", "pppd", "busybox")


def programs_on_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _is_there(program: str) -> bool:
    """Installed, even where this user may not run it, as with Debian's pppd: guests only need to read it."""
    return any(os.path.exists(os.path.join(where, program)) for where in programs_on_path().split(":"))


def missing(programs: tuple[str, ...]) -> list[str]:
    """The packages that are not there, sorted, each once."""
    absent = {PACKAGES[name] for name in programs if not _is_there(name)}
    if "qemu-system-x86_64" in programs and kernel() is None:
        absent.add("linux-image-amd64")
    if "pppd" in programs and "ppp" not in absent and readable_pppd(cache_directory() / "ppp") is None:
        absent.add(NO_PPPD)
    return sorted(absent)


def need(*programs: str) -> None:
    """Skip unless the host has these programs, naming the packages."""
    if absent := missing(programs):
        pytest.skip("missing: " + ", ".join(absent))

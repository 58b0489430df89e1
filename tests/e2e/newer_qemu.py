"""A QEMU with a vfio-user client (10.1 or later), and the words that plug a card of ours into its machine.

In:  contrib/newer-qemu, which finds one on the host, or fetches Debian's once into a cache; sockets of a gateway.
Out: a QemuGuest with those cards; a skip, with the reason, where there is no such QEMU and none can be had.
"""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.gateway import ROOT
from tests.e2e.qemu import QemuGuest

SCRIPT = ROOT / "contrib" / "newer-qemu"
MEMORY = "256M"
FETCHING_MOST = 600
"""Seconds: about ten where the network is good."""


@functools.cache
def find() -> tuple[str, str]:
    """The program and "", or "" and why there is none."""
    try:
        done = subprocess.run([SCRIPT], capture_output=True, text=True, timeout=FETCHING_MOST, check=False)
    except subprocess.TimeoutExpired:
        return "", f"contrib/newer-qemu: not done after {FETCHING_MOST} s"
    if done.returncode:
        return "", " ".join(done.stderr.splitlines()[-1:]) or f"contrib/newer-qemu: status {done.returncode}"
    return done.stdout.strip(), ""


def card(path: str | Path) -> list[str]:
    """The words for a card behind this socket."""
    words = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(path)}}
    return ["-device", json.dumps(words)]


def guest_with_cards(*paths: str | Path) -> QemuGuest:
    """A guest that is not started yet. Its memory is shared, as vfio-user has it; our cards do not look into it."""
    program, trouble = find()
    if trouble:
        pytest.skip(trouble)
    memory = ["-object", f"memory-backend-memfd,id=ram,size={MEMORY},share=on", "-machine", "memory-backend=ram"]
    return QemuGuest(memory=MEMORY, qemu=[program], devices=[*memory, *(word for path in paths for word in card(path))])

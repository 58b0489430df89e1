"""A Linux guest for an emulator, made of the host's own Debian packages: its kernel and one initramfs.

In:  linux-image-amd64, busybox-static, ppp, and curl and iperf3 where they are installed.
Out: (vmlinuz, initramfs), the latter an uncompressed cpio archive (an emulated CPU unpacks slowly) kept in a
     cache outside the checkout under a name made of what is in it.
The guest's shell is on ttyS0; every other serial port is left for PPP.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from e2e.guests import READY
from e2e.uml import NO_PPPD, PPP_MODULES, cache_directory, readable_pppd

TOOLS = ("curl", "iperf3")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run/lock /tmp /var /root /usr/bin
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /run/lock /var/lock
ln -s /run /var/run
for module in {modules}; do insmod /modules/$module; done
ip link set lo up
cd /run
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr
echo {ready}
# Not cat: busybox's waits in sendfile until there is more than one line.
dd bs=4096 2>/dev/null | sh
poweroff -f
"""
# Enough of /etc/ppp/options for Debian's pppd to behave as it does on a Debian guest.
FALLBACK_OPTIONS = "asyncmap 0\nauth\ncrtscts\nlock\nhide-password\nmodem\nlcp-echo-interval 30\nlcp-echo-failure 4\n"


def kernel() -> Path | None:
    """The newest readable kernel of the host that has its modules beside it."""
    found = [path for path in Path("/boot").glob("vmlinuz-*")
             if os.access(path, os.R_OK) and Path("/lib/modules", path.name.removeprefix("vmlinuz-")).is_dir()]
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)[:4]], default=None)


def libraries(program: Path) -> list[Path]:
    """The shared objects that a program needs, its loader included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    """One file of a "newc" cpio archive (cpio(5)): 13 fields of 8 hexadecimal digits, each part padded to 4."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive of path -> (mode, content), with the directories above each path."""
    directories = {str(parent) for path in files for parent in Path(path).parents if str(parent) != "."}
    entries = {**{path: (stat.S_IFDIR | 0o755, b"") for path in directories}, **files}
    body = b"".join(_entry(n, path, mode, data) for n, (path, (mode, data)) in enumerate(sorted(entries.items()), 1))
    return body + _entry(0, "TRAILER!!!", 0, b"")


def contents(release: str, scratch: Path) -> dict[str, tuple[int, bytes]]:
    """What goes into the archive, for the kernel `release`."""
    files: dict[str, tuple[int, bytes]] = {}

    def add(name: str, source: Path, mode: int = 0o755) -> None:
        files[name.lstrip("/")] = (stat.S_IFREG | mode, source.read_bytes())

    def add_program(name: str, source: Path) -> None:
        add(name, source)
        for library in libraries(source):
            add(str(library), library)

    add("bin/busybox", Path("/bin/busybox"))
    pppd = readable_pppd(scratch)
    if pppd is None:
        raise FileNotFoundError(NO_PPPD)
    add_program("usr/sbin/pppd", pppd)
    for tool in TOOLS:
        if where := shutil.which(tool):
            add_program(f"usr/bin/{tool}", Path(where))
    modules = {path.name.split(".")[0]: path for path in sorted(Path("/lib/modules", release).rglob("*.ko*"))}
    for name in PPP_MODULES:
        if name in modules:
            add(f"modules/{name}.ko", modules[name], 0o644)
    options = Path("/etc/ppp/options")
    text = options.read_bytes() if os.access(options, os.R_OK) else FALLBACK_OPTIONS.encode()
    files["etc/ppp/options"] = (stat.S_IFREG | 0o644, text)
    for name in ("pap-secrets", "chap-secrets"):
        files[f"etc/ppp/{name}"] = (stat.S_IFREG | 0o600, b"")
    files["etc/passwd"] = (stat.S_IFREG | 0o644, b"root:x:0:0:root:/root:/bin/sh\n")
    files["etc/group"] = (stat.S_IFREG | 0o644, b"root:x:0:\n")
    files["etc/resolv.conf"] = (stat.S_IFREG | 0o644, b"")
    listed = " ".join(f"{name}.ko" for name in PPP_MODULES if name in modules)
    files["init"] = (stat.S_IFREG | 0o755, INIT.format(modules=listed, ready=READY).encode())
    return files


def build() -> tuple[Path, Path]:
    """The kernel and the initramfs, made when the cache has none like it (about a second)."""
    vmlinuz = kernel()
    if vmlinuz is None:
        raise FileNotFoundError("a readable /boot/vmlinuz-* with its modules (package linux-image-amd64)")
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    archive = cpio(contents(vmlinuz.name.removeprefix("vmlinuz-"), cache / "ppp"))
    name = cache / f"guest-{hashlib.sha256(archive).hexdigest()[:16]}.cpio"
    if not name.exists():
        for old in cache.glob("guest-*.cpio"):
            old.unlink(missing_ok=True)
        unfinished = cache / f"unfinished-{os.getpid()}"
        unfinished.write_bytes(archive)
        unfinished.rename(name)
    return vmlinuz, name

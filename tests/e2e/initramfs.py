"""A Linux guest for an emulator, made of the host's own Debian packages: its kernel and one initramfs.

In:  linux-image-amd64, busybox-static, ppp, and curl and iperf3 where they are installed.
Out: (vmlinuz, initramfs), the latter an uncompressed cpio archive (an emulated CPU unpacks slowly) kept in a
     cache outside the checkout under a name made of what is in it.
The guest's shell is on ttyS0; every other serial port is left for PPP. The drivers of network cards are in the
archive, for `modprobe` when a test has the card (ethernet.py): loading them at every boot would take its time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from tests.e2e.guests import READY
from tests.e2e.uml import NO_PPPD, PPP_MODULES, cache_directory, readable_pppd

TOOLS = ("curl", "iperf3")
ETHER_MODULES = ("ne2k-pci", "ne", "e1000", "virtio_net", "virtio_pci")
"""Those that a kernel has: ne, for ISA cards, is in 32-bit ones only."""

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run/lock /tmp /var /root /usr/bin
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /run/lock /var/lock
ln -s /run /var/run
modprobe -a {modules}
ip link set lo up
cd /run
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr
echo {ready}
# Not cat: busybox's waits in sendfile until there is more than one line.
dd bs=4096 2>/dev/null | sh
poweroff -f
"""
# Where Debian's busybox looks for udhcpc's script. What the lease had is left in /run/lease for tests to read.
UDHCPC = """#!/bin/sh
case $1 in
deconfig) ip addr flush dev $interface; ip link set $interface up ;;
bound|renew)
    ip link set $interface mtu ${mtu:-1500} up
    [ $1 = renew ] || ip addr flush dev $interface
    ip addr replace $ip/$mask dev $interface
    for hop in $router; do ip route replace default via $hop dev $interface; break; done
    { for word in ${search:-$domain}; do echo "search $word"; break; done
      for server in $dns; do echo "nameserver $server"; done; } >/etc/resolv.conf
    set >/run/lease ;;
esac
"""
# Enough of /etc/ppp/options for Debian's pppd to behave as it does on a Debian guest.
FALLBACK_OPTIONS = "asyncmap 0\nauth\ncrtscts\nlock\nhide-password\nmodem\nlcp-echo-interval 30\nlcp-echo-failure 4\n"


def kernel() -> Path | None:
    """The newest readable kernel of the host that has its modules beside it."""
    found = [
        path
        for path in Path("/boot").glob("vmlinuz-*")
        if os.access(path, os.R_OK) and Path("/lib/modules", path.name.removeprefix("vmlinuz-")).is_dir()
    ]
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)[:4]], default=None)


def libraries(program: Path) -> list[Path]:
    """The shared objects that a program needs, its loader included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]


Files = dict[str, tuple[int, bytes]]
"""Path in the archive, without the first slash -> mode and content."""


def regular(data: bytes, mode: int = 0o755) -> tuple[int, bytes]:
    return stat.S_IFREG | mode, data


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    """One file of a "newc" cpio archive (cpio(5)): 13 fields of 8 hexadecimal digits, each part padded to 4."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def cpio(files: Files) -> bytes:
    """An archive of path -> (mode, content), with the directories above each path."""
    directories = {str(parent) for path in files for parent in Path(path).parents if str(parent) != "."}
    entries = {**{path: (stat.S_IFDIR | 0o755, b"") for path in directories}, **files}
    body = b"".join(_entry(n, path, mode, data) for n, (path, (mode, data)) in enumerate(sorted(entries.items()), 1))
    return body + _entry(0, "TRAILER!!!", 0, b"")


def module_files(tree: Path, release: str, boot: tuple[str, ...], others: tuple[str, ...]) -> tuple[Files, list[str]]:
    """The modules that the kernel of `tree` has of these, with all that they need, as `modprobe` wants them; and those
    of `boot` by name. Flat, with a modules.dep of our own (modules.dep(5))."""
    base = Path(tree, "lib/modules", release)
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, wanted = line.partition(":")
        needs[Path(path).name.split(".")[0]] = (path, wanted.split())
    there = [name for name in (*boot, *others) if name in needs]
    chosen = {Path(path).name.split(".")[0] for name in there for path in (needs[name][0], *needs[name][1])}
    files = {
        f"lib/modules/{release}/{Path(needs[name][0]).name}": regular((base / needs[name][0]).read_bytes(), 0o644)
        for name in chosen
    }
    lines = [
        " ".join([f"{Path(needs[name][0]).name}:", *(Path(path).name for path in needs[name][1])])
        for name in sorted(chosen)
    ]
    files[f"lib/modules/{release}/modules.dep"] = regular("\n".join(lines).encode() + b"\n", 0o644)
    return files, [name for name in boot if name in there]


def skeleton(boot_modules: list[str], ppp_options: str) -> Files:
    """What every guest has, whatever its processor."""
    return {
        "init": regular(INIT.format(modules=" ".join(boot_modules), ready=READY).encode()),
        "etc/udhcpc/default.script": regular(UDHCPC.encode()),
        "etc/ppp/options": regular(ppp_options.encode(), 0o644),
        "etc/ppp/pap-secrets": regular(b"", 0o600),
        "etc/ppp/chap-secrets": regular(b"", 0o600),
        "etc/passwd": regular(b"root:x:0:0:root:/root:/bin/sh\n", 0o644),
        "etc/group": regular(b"root:x:0:\n", 0o644),
        "etc/resolv.conf": regular(b"", 0o644),
    }


def contents(release: str, scratch: Path) -> Files:
    """What goes into the archive, for the kernel `release`."""
    modules, boot = module_files(Path("/"), release, PPP_MODULES, ETHER_MODULES)
    options = Path("/etc/ppp/options")
    files = modules | skeleton(boot, options.read_text() if os.access(options, os.R_OK) else FALLBACK_OPTIONS)

    def add_program(name: str, source: Path) -> None:
        files[name] = regular(source.read_bytes())
        for library in libraries(source):
            files[str(library).lstrip("/")] = regular(library.read_bytes())

    files["bin/busybox"] = regular(Path("/bin/busybox").read_bytes())
    pppd = readable_pppd(scratch)
    if pppd is None:
        raise FileNotFoundError(NO_PPPD)
    add_program("usr/sbin/pppd", pppd)
    for tool in TOOLS:
        if where := shutil.which(tool):
            add_program(f"usr/bin/{tool}", Path(where))
    return files


def kept(stem: str, archive: bytes) -> Path:
    """The file of the cache with this content, under a name made of it; older ones of the same stem go."""
    cache = cache_directory()
    name = cache / f"{stem}-{hashlib.sha256(archive).hexdigest()[:16]}.cpio"
    if not name.exists():
        for old in cache.glob(f"{stem}-*.cpio"):
            old.unlink(missing_ok=True)
        unfinished = cache / f"unfinished-{os.getpid()}"
        unfinished.write_bytes(archive)
        unfinished.rename(name)
    return name


def build() -> tuple[Path, Path]:
    """The kernel and the initramfs, made when the cache has none like it (about a second)."""
    vmlinuz = kernel()
    if vmlinuz is None:
        raise FileNotFoundError("a readable /boot/vmlinuz-* with its modules (package linux-image-amd64)")
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    return vmlinuz, kept("guest", cpio(contents(vmlinuz.name.removeprefix("vmlinuz-"), cache / "ppp")))

"""The guest of initramfs.py for a 32-bit PC: Debian's own i386 kernel still has drivers for ISA cards (ne), and it runs
on emulators of 32-bit processors.

In:  apt-get, dpkg-deb and depmod, as any user; a Debian repository that the host's apt knows; about 65 MB of download,
     once.  Nothing is installed and nothing of the host's apt is touched: it runs with a configuration of its own.
Out: (vmlinuz, initramfs) as from initramfs.build, kept in the cache: a kernel of 6 MB and an archive of some 15 MB
     with busybox, pppd and the drivers; build(pppd=False) gives one of 3 MB.  FileNotFoundError, saying why, if the
     packages cannot be had.

How it is made by hand: `apt-get -c CONF update` and `apt-get -c CONF download PACKAGES` with the CONF below,
`dpkg-deb -x` each of them into a tree, `depmod -b TREE RELEASE`.  The release is fixed: later ones have no kernel for
i386.  There is no curl (it would bring thirty packages): `curl` is a script over busybox's tools that knows what
transfers.py uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.initramfs import ETHER_MODULES, FALLBACK_OPTIONS, Files, cpio, kept, module_files, regular, skeleton
from tests.e2e.uml import PPP_MODULES, cache_directory

SUITE = "bookworm"
KERNEL = "linux-image-686"
"""The package that needs the one with the kernel. Without PAE, which some emulated processors have not."""
PACKAGES = (
    "busybox-static",
    "ppp",
    "libc6",
    "libpcap0.8",
    "libcrypt1",
    "libpam0g",
    "libssl3",
    "libsystemd0",
    "libaudit1",
    "libcap-ng0",
    "libdbus-1-3",
    "libcap2",
    "libgcrypt20",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libzstd1",
)
"""busybox, and pppd with the libraries that it needs."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT_CONF = """APT::Architecture "i386";
APT::Architectures {{ "i386"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "{place}/state";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "{place}/none";
Dir::Etc::preferencesparts "{place}/none";
"""
CURL = r"""#!/bin/sh
# curl [-sS] [-m SECONDS] [-T FILE] URL, by busybox's wget; and its nc, since that wget sends text only
limit=900
while [ $# -gt 1 ]; do
    case $1 in
    -m) limit=$2; shift ;;
    -T) file=$2; shift ;;
    esac
    shift
done
[ "$file" ] || exec timeout $limit wget -q -O - "$1"
where=${1#http://}
host=${where%%/*}
{
    printf 'PUT /%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n' "${where#*/}" $(stat -c %s "$file")
    cat "$file"
} | timeout $limit nc ${host%:*} ${host##*:} | sed '1,/^\r*$/d'
"""


def build(*, pppd: bool = True) -> tuple[Path, Path]:
    """The kernel and the initramfs; a second when the tree is in the cache."""
    tree = fetched()
    archive = cpio(contents(tree, pppd=pppd))
    return next(tree.glob("boot/vmlinuz-*")), kept("guest32" if pppd else "bare32", archive)


def contents(tree: Path, *, pppd: bool) -> Files:
    release = next(tree.glob("lib/modules/*")).name
    modules, boot = module_files(tree, release, PPP_MODULES if pppd else (), ETHER_MODULES)
    files = modules | skeleton(boot, FALLBACK_OPTIONS)
    names = ["bin/busybox"]
    if pppd:
        libraries = [*tree.glob("lib/i386-linux-gnu/*.so.*"), *tree.glob("usr/lib/i386-linux-gnu/*.so.*")]
        behind_links = {path.resolve() for path in libraries if path.is_symlink()}
        names += [str(path.relative_to(tree)) for path in libraries if path not in behind_links]
        names += ["usr/sbin/pppd", "lib/ld-linux.so.2"]
    for name in names:
        files[name] = regular((tree / name).read_bytes())
    files["usr/bin/curl"] = regular(CURL.encode())
    return files


def fetched() -> Path:
    """The tree with the unpacked packages, less most of the kernel's modules."""
    key = hashlib.sha256(repr((SUITE, KERNEL, PACKAGES, ETHER_MODULES)).encode()).hexdigest()[:16]
    tree = cache_directory() / f"i386-tree-{key}"
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(tree.parent / "i386-lock", "w") as lock,
        tempfile.TemporaryDirectory(dir=tree.parent, prefix="i386-") as scratch,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes may want it at the same time
        if tree.is_dir():
            return tree
        try:
            unpacked = _download(Path(scratch))
        except (OSError, subprocess.SubprocessError) as error:
            raise FileNotFoundError(f"Debian's i386 packages, for a 32-bit guest ({_reason(error)})") from None
        release = next(unpacked.glob("lib/modules/*")).name
        for old in tree.parent.glob("i386-tree-*"):
            shutil.rmtree(old, ignore_errors=True)
        _keep(unpacked, release)
        unpacked.rename(tree)
    return tree


def _download(place: Path) -> Path:
    for directory in ("state/lists/partial", "cache/archives/partial", "none", "debs", "tree"):
        (place / directory).mkdir(parents=True)
    (place / "status").touch()
    (place / "sources.list").write_text(f"deb [arch=i386 signed-by={KEYRING}] {repository()} {SUITE} main\n")
    (place / "apt.conf").write_text(APT_CONF.format(place=place))
    environment = {**os.environ, "APT_CONFIG": str(place / "apt.conf"), "LC_ALL": "C"}

    def run(*words: str) -> str:
        return subprocess.run(
            words, cwd=place / "debs", env=environment, check=True, capture_output=True, text=True, timeout=600
        ).stdout

    run("apt-get", "update", "-q")
    depends = run("apt-cache", "depends", KERNEL)
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if match is None:
        raise OSError(f"{KERNEL} is not in {SUITE}")
    run("apt-get", "download", "-q", match[1], *PACKAGES)
    for package in sorted((place / "debs").glob("*.deb")):
        run("dpkg-deb", "-x", str(package), str(place / "tree"))
    run(shutil.which("depmod") or "/sbin/depmod", "-b", str(place / "tree"), match[1].removeprefix("linux-image-"))
    return place / "tree"


def repository() -> str:
    """The address of the Debian repository that the host's own packages come from."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", SUITE)
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
    for line in listed.splitlines():
        address, _, rest = line.partition(" ")
        if rest == f"{codename} main":
            return address
    raise OSError("apt knows no Debian repository")


def _keep(tree: Path, release: str) -> None:
    """Of 200 MB, the 25 that are wanted."""
    wanted, _ = module_files(tree, release, PPP_MODULES, ETHER_MODULES)
    names = {Path(name).name for name in wanted} | {"modules.dep"}
    for path in Path(tree, "lib/modules", release).rglob("*"):
        if path.is_file() and path.name not in names:
            path.unlink()
    for name in ("usr/share", "usr/lib/modules", "etc", "var"):
        shutil.rmtree(tree / name, ignore_errors=True)


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    lines = [line for line in (said or str(error)).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

"""User-mode-linux as a guest: a whole Linux kernel run as an ordinary process.

In:  Debian's packages user-mode-linux and ppp; a tty of the host for its serial line.
Out: a Guest whose root is the host's own file system, mounted read-only, with a tmpfs over whatever a
     guest may want to write (/run, /tmp, /var, /root, /etc/ppp), so that the host's files stay as they are.
     What the host puts into `share` is under /mnt in the guest.
It can run as another, unprivileged user: then it reads what that user may read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.e2e.guests import READY, Guest, GuestError

KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
# In the order in which they need each other.
PPP_MODULES = ("slhc", "crc-ccitt", "ppp_generic", "ppp_async", "bsd_comp", "ppp_deflate")

NO_PPPD = (
    "package ppp's /usr/sbin/pppd, which only root and group dip may read "
    "(adduser USER dip), and 'apt-get download ppp' gave no other"
)

INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dmesg -n 1
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/etc-ppp /run/network
cp -r /etc/ppp/. /run/etc-ppp/ 2>/dev/null
: >/run/resolv.conf
: >/run/etc-ppp/pap-secrets
: >/run/etc-ppp/chap-secrets
chmod 600 /run/etc-ppp/*-secrets
mount --bind /run/etc-ppp /etc/ppp
mount --bind /run/resolv.conf /etc/resolv.conf
[ -z "{pppd}" ] || mount --bind "{pppd}" /usr/sbin/pppd
for module in {modules}; do insmod "$module" 2>/dev/null; done
mount --bind "{share}" /mnt
for directory in /tmp /var /root; do mount -t tmpfs tmpfs $directory; done
mkdir -p /var/log /var/tmp
ln -s /run /var/run
ln -s /run/lock /var/lock
ip link set lo up
cd /run
stty -echo -onlcr
echo {ready}
cat | sh
poweroff -f
"""


def cache_directory() -> Path:
    """Where what is made once may stay, outside the checkout."""
    home = Path.home()
    default = home / ".cache" if os.access(home, os.W_OK) else Path(tempfile.gettempdir(), f"cache-{os.getuid()}")
    return Path(os.environ.get("XDG_CACHE_HOME") or default) / "pppgate"


def readable_pppd(place: Path) -> Path | None:
    """A pppd that anybody may run, in the directory `place`. None when there is no way to one.

    Debian's is for root and group dip (mode 4754, 4750 elsewhere), and a guest on hostfs has its user's rights.
    The copy is made by who may read it, or taken out of the Debian package, which any user may fetch.
    """
    copy = place / "pppd"
    place.mkdir(parents=True, exist_ok=True)
    source: Path | None = Path("/usr/sbin/pppd")
    if not os.access("/usr/sbin/pppd", os.R_OK):
        if copy.exists():
            return copy
        try:
            subprocess.run(["apt-get", "download", "-q", "ppp"], cwd=place, check=True, capture_output=True, timeout=60)
            package = next(place.glob("ppp_*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, place / "package"], check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError, StopIteration):
            return None
        source = next((place / "package").rglob("pppd"), None)
    if source is None:
        return None
    unfinished = place / f"unfinished-{os.getpid()}"
    shutil.copyfile(source, unfinished)
    unfinished.chmod(0o755)
    return unfinished.rename(copy)


def module_files() -> list[str]:
    """The paths of PPP_MODULES, without those that this kernel has built in."""
    found = {path.name.removesuffix(".ko"): str(path) for path in sorted(MODULES.rglob("*.ko"))}
    return [found[name] for name in PPP_MODULES if name in found]


class UmlGuest(Guest):
    """`uid` runs the guest as that user, without any capability (needs root to begin with)."""

    def __init__(self, *, memory: str = "192M", uid: int | None = None) -> None:
        super().__init__()
        self.memory = memory
        self.uid = uid
        self.share = self.work / "share"
        self.share.mkdir()

    def start(self, tty: str | os.PathLike[str], timeout: float = 60) -> Self:
        pppd = ""
        if self.uid is not None or not os.access("/usr/sbin/pppd", os.R_OK | os.X_OK):
            copy = readable_pppd(self.work / "ppp" if self.uid is not None else cache_directory() / "ppp")
            if copy is None:
                raise GuestError(NO_PPPD)
            pppd = str(copy)
        init = self.work / "init"
        init.write_text(INIT.format(pppd=pppd, share=self.share, modules=" ".join(module_files()), ready=READY))
        init.chmod(0o755)
        self.work.chmod(0o755)
        state = self.work / "state"
        state.mkdir(mode=0o777)
        state.chmod(0o777)
        argv = [
            shutil.which(KERNEL) or KERNEL,
            f"mem={self.memory}",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={init}",
            "con=null",
            "con0=fd:0,fd:1",
            "ssl=null",
            f"ssl0=tty:{tty}",
            f"uml_dir={state}/",
            "umid=guest",
            "quiet",
        ]
        if self.uid is not None:
            argv = [
                "setpriv",
                f"--reuid={self.uid}",
                f"--regid={self.uid}",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
                "--no-new-privs",
                *argv,
            ]
        environment = {**os.environ, "HOME": str(state), "TMPDIR": str(state)}
        self.spawn(argv, timeout, env=environment, cwd=str(state))
        return self

"""The programs that are compared, each behind the same few methods.

In:  where the guest is: a pty to be made for it, or one that an emulator has made already.
Out: the tty for the guest's end, and what the process costs: CPU seconds, memory, wake-ups.
It does not know what is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
# Blocks the extra, so that the same installation shows what the standard library alone does.
WITHOUT_FAST = """import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "fastcrc":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


class Gateway:
    """One run of one program. Start it, use `tty`, read the costs, stop it."""

    name = ""

    def __init__(self) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="bench-"))
        self.tty = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def start(self, tty_path: str | None = None, *, socket_path: str | None = None) -> Gateway:
        """It makes a terminal, to be found in `tty`; or opens the one at `tty_path`; or takes the first guest that
        connects to the unix socket `socket_path` (slirp gets the connection as its standard input and output).
        """
        raise NotImplementedError

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
            self.process.kill()
            self.process.wait()
            self.process = None
        shutil.rmtree(self.work, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def status(self, key: str) -> int:
        """A number from /proc/PID/status: VmHWM and VmRSS in kB, voluntary_ctxt_switches."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        return 0


class Slirp(Gateway):
    """As root it would set the mode of its standard input, a pty's master, to 0600: that is /dev/ptmx, for everybody.
    So root starts it as a user who may not."""

    name = "slirp"

    def start(self, tty_path: str | None = None, *, socket_path: str | None = None) -> Gateway:
        if socket_path is not None:
            # The guest connects when it boots: slirp starts in `accept`.
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(socket_path)
            self._listener.listen(1)
            return self
        if tty_path is None:
            line, slave = os.openpty()
            tty.setraw(slave)
            self.tty = os.ttyname(slave)
            self._slave = slave
        else:
            line = os.open(tty_path, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(line)
        self._run(line)
        return self

    def accept(self) -> None:
        """With a socket: wait for the guest, then start."""
        self._run(self._listener.accept()[0].detach())
        self._listener.close()

    def _run(self, line: int) -> None:
        self.started = time.monotonic()
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        self.process = subprocess.Popen(
            [*words, "slirp-fullbolt", "ppp", "mtu 1500"],
            stdin=line,
            stdout=line,
            stderr=subprocess.DEVNULL,
            cwd=self.work,
            start_new_session=True,
        )
        os.close(line)

    def stop(self) -> None:
        super().stop()
        if hasattr(self, "_slave"):
            with contextlib.suppress(OSError):
                os.close(self._slave)


class Pppgate(Gateway):
    name = "pppgate"
    fast = True

    def start(self, tty_path: str | None = None, *, socket_path: str | None = None) -> Gateway:
        self.tty = str(self.work / "tty")
        if socket_path is not None:
            link, there = f"unix-listen:{socket_path}", socket_path
        elif tty_path is not None:
            link, there = f"tty:{tty_path}", tty_path
        else:
            link = f"pty:{self.tty}"
            there = self.tty
        return self.serve([link], there)

    def serve(self, links: list[str], there: str, *options: str) -> Gateway:
        """Start it with these links and options; it is ready when the path `there` exists."""
        path = [str(ROOT)]
        if not self.fast:
            (self.work / "sitecustomize.py").write_text(WITHOUT_FAST)
            path.insert(0, str(self.work))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        self.started = time.monotonic()
        with (self.work / "log").open("wb") as log:
            words = [python(), "-m", "pppgate", *links, *options, "--host-loopback"]
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.work,  # what `-m` finds in the working directory wins over PYTHONPATH
                start_new_session=True,
            )
        while not os.path.lexists(there):
            if self.process.poll() is not None or time.monotonic() > self.started + 10:
                raise RuntimeError("pppgate did not start: " + (self.work / "log").read_text())
            time.sleep(0.002)
        return self


class Libslirp(Gateway):
    """What QEMU has built in (-netdev user): there is nothing to start."""

    name = "libslirp"


class RawPty(Gateway):
    """What a pty carries when nothing is between its ends: the limit of all that is measured on one."""

    name = "raw pty"


class PlainPppgate(Pppgate):
    name = "pppgate without extras"
    fast = False


def python() -> str:
    """The interpreter that has pppgate's extras: the checkout's own environment, if there is one."""
    ours = ROOT / ".venv" / "bin" / "python"
    return os.environ.get("PPPGATE_PYTHON") or (str(ours) if ours.exists() else sys.executable)

"""A running `python -m pppgate`, as its user starts it: the command, its output, its signals.

In:  links and options. Out: the lines it prints, its open descriptors, its exit status.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pppgate", "serialport", "lcp", "ipcp", "nat")


class GatewayError(Exception):
    """The gateway did not do what was expected; the text ends with its output."""


class Gateway:
    """Use it as a context manager; `tty` is the symbolic link of its first pty.

    `uid` runs it as that user without any capability, from a copy of the packages that the user can read.
    `resolver` is the port on 127.0.0.1 of a resolver to ask instead of the host's own.
    """

    def __init__(
        self,
        *arguments: str,
        link: str | None = None,
        uid: int | None = None,
        resolver: int | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="gateway-"))
        self.tty = str(self.work / "tty")
        self.link = link or f"pty:{self.tty}"
        self.arguments = arguments if resolver is None else (*arguments, "--resolver", f"127.0.0.1:{resolver}")
        self.uid = uid
        self.lines: list[str] = []
        self._on_line = on_line
        self._news = threading.Condition()
        self.process: subprocess.Popen[str] | None = None

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The words to run and the environment."""
        words = [sys.executable, "-m", "pppgate", self.link, *self.arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        environment.pop("COVERAGE_PROCESS_CONFIG", None)  # real guests ask for a gateway at its full speed
        if self.uid is not None:
            words[0] = python_for(self.uid)
            code = self.work / "code"
            for name in PACKAGES:
                shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
            subprocess.run(["chmod", "-R", "a+rX", self.work], check=True)
            os.chown(self.work, self.uid, self.uid)
            environment |= {"PYTHONPATH": str(code), "HOME": str(self.work), "PYTHONDONTWRITEBYTECODE": "1"}
            words = [*as_user(self.uid), *words]
        return words, environment

    def __enter__(self) -> Gateway:
        words, environment = self.command()
        self.process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.work,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("Waiting for guests", 10)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
            if self._on_line is not None:
                self._on_line(line.rstrip("\n"))
        with self._news:
            self._news.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout: float = 10, since: int = 0) -> re.Match[str]:
        """The first match in the lines from number `since` on, which may still have to come."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines[since:]:
                    if match := re.search(pattern, line):
                        return match
                left = deadline - time.monotonic()
                if left <= 0 or (self.process is not None and self.process.poll() is not None):
                    raise GatewayError(f"pppgate did not say {pattern!r}; it said:\n{self.output}")
                self._news.wait(min(left, 0.2))

    def descriptors(self) -> list[str]:
        """What its open descriptors lead to, those of the event loop and standard streams included."""
        assert self.process is not None
        found = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(entry))
        return sorted(found)

    def sockets(self) -> int:
        return sum(target.startswith("socket:") for target in self.descriptors())

    def status(self, key: str) -> str:
        """A line of /proc/PID/status."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(key + ":")), "")

    def signal(self, number: signal.Signals = signal.SIGINT, timeout: float = 5) -> tuple[int, float]:
        """Send it; returns the exit status and the seconds until the process had gone."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            what = f"pppgate still ran {timeout:g} s after {number.name}; it said:\n{self.output}"
            raise GatewayError(what) from None
        took = time.monotonic() - begun
        self._reader.join(2)
        return status, took


def as_user(uid: int) -> list[str]:
    """The words before a command that take away everything but an ordinary user's rights."""
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
    ]


def python_for(uid: int) -> str:
    """An interpreter that this user can run, 3.11 or later: ours may lie in a home that others can't enter."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [*as_user(uid), python, "-c", "import sys; raise SystemExit(sys.version_info < (3, 11))"]
        if os.path.exists(python) and subprocess.run(check, capture_output=True, check=False, cwd="/").returncode == 0:
            return python
    raise FileNotFoundError("a python3 (3.11 or later) that an unprivileged user may run")

"""`python -m pppgate` as its user starts it, and embedded guests that dial in on it.

In: words of the command line.  Out: what it prints, its exit status, its descriptors, memory and wake-ups.
"""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import pytest

ROOT = Path(__file__).parents[2]


class GatewayProcess:
    """A running gateway: a context manager that waits until it is ready, and ends it.

    `lines` and `errors` are what it has printed to standard output and to standard error.
    """

    def __init__(self, *words: str, cwd: Path | None = None) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.ready_after = float("inf")  # seconds until the first line
        self._news = threading.Condition()
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pppgate", *words], env=environment(), cwd=cwd, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into, begun), daemon=True)
            for stream, into in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        self.wait_for("Waiting for guests")
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._join()
        if kind is None:
            assert not self.errors, self.errors

    def _read(self, stream: IO[str], into: list[str], begun: float) -> None:
        for line in stream:
            with self._news:
                self.ready_after = min(self.ready_after, time.monotonic() - begun)
                into.append(line.rstrip("\n"))
                self._news.notify_all()
        stream.close()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(5)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout: float = 5.0, since: int = 0) -> str:
        """The first line from number `since` on in which the pattern is found."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines[since:]:
                    if re.search(pattern, line):
                        return line
                left = end - time.monotonic()
                assert left > 0, f"no {pattern!r} in:\n{self.output}\n{self.errors}"
                self._news.wait(left)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal: the exit status, and the seconds until the process was gone."""
        begun = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(5)
        took = time.monotonic() - begun
        self._join()
        return status, took

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def status(self, key: str) -> int:
        """The number in a line of /proc/PID/status."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{key}:\s*(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])


@contextmanager
def running(*words: str, stdout: int = subprocess.PIPE, **more: Any) -> Iterator["subprocess.Popen[str]"]:
    """The bare process, for tests of its standard streams; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "pppgate", *words], env=environment(), text=True, stdout=stdout, **more
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def complaint(*words: str, cwd: Path) -> str:
    """What a command line that cannot be served is answered with: one sentence, status 2, nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "pppgate", *words], env=environment(), cwd=cwd, text=True, timeout=10,
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert done.stderr.startswith("pppgate: ") and done.stderr.endswith(".\n"), done.stderr
    assert done.stderr.count("\n") == 1 and "Errno" not in done.stderr and "Traceback" not in done.stdout, done
    return done.stderr.removeprefix("pppgate: ").rstrip("\n")


def need_pty() -> None:
    """Skip where no pseudo-terminal can be made."""
    try:
        master, slave = os.openpty()
    except OSError as error:
        pytest.skip(f"missing: a pseudo-terminal ({error.strerror}); /dev/ptmx should be mode 666")
    os.close(master)
    os.close(slave)


PORTS_FIRST, PORTS_FOR_EACH = 12_000, 2_000
"""Below those that the kernel gives out by itself (from 32,768), and a range for each worker of pytest-xdist."""


def free_port(style: int = socket.SOCK_STREAM, family: int = socket.AF_INET) -> int:
    """A port of loopback that nobody has, and that no other test process is given a moment later."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    while True:
        number = PORTS_FIRST + worker * PORTS_FOR_EACH + random.randrange(PORTS_FOR_EACH)
        with socket.socket(family, style) as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", number))
            return number


def until(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def figure(words: str) -> None:
    """A measured figure, shown by pytest -rP or -s."""
    sys.stdout.write(f"{words}\n")

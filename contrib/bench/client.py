"""The programs in C: the fast PPP client (pppclient.c) as the guest, and commands run behind it; many guests at once
(manyguests.c); a pseudo-terminal with nothing on it (rawpty.c).

In:  the tty or the sockets of a gateway. Out: figures of what ran there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HOST = "10.0.2.2"


def compiled(name: str = "pppclient") -> str:
    """The binary of NAME.c beside this file, compiled when there is none of this source yet."""
    source = Path(__file__).with_name(f"{name}.c")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    binary = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}-{digest}"
    if not binary.exists():
        unfinished = f"{binary}.{os.getpid()}"
        subprocess.run(["cc", "-O2", "-o", unfinished, str(source), "-lutil"], check=True)
        os.rename(unfinished, binary)
    return str(binary)


def guest_command(tty: str, *command: str) -> list[str]:
    """The words that run `command` in a network namespace whose only way out is the PPP link."""
    return ["unshare", "-rn", compiled(), tty, "--", *command]


def run(tty: str, *command: str, timeout: float = 120) -> str:
    """Run a command in the guest; returns its standard output. RuntimeError when it fails."""
    done = subprocess.run(guest_command(tty, *command), capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        said = done.stderr[-600:] + done.stdout[-300:]
        raise RuntimeError(f"{command[0]} in the guest: status {done.returncode}\n{said}")
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def raw_pty(seconds: float, into_guest: bool) -> float:
    """Mbit/s that a pty carries between two processes that do nothing else."""
    words = [compiled("rawpty"), f"{seconds:g}", "in" if into_guest else "out"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    return float(said.split()[1])


class Crowd(NamedTuple):
    """What manyguests found."""

    guests: int
    up: int
    all_up: float
    """Seconds from the first connect to the last link."""
    rate: float
    """Round trips a second, of all guests together."""
    median: float
    slowest: float
    """Milliseconds that a round trip took: the median, and what 99 in 100 did not exceed."""


def many_guests(paths: list[str], guests: int, seconds: float, port: int, host: str) -> Crowd:
    """So many guests on these sockets, each with one datagram of 64 octets on its way to `host` and back."""
    words = [compiled("manyguests"), ",".join(paths), str(guests), f"{seconds:g}", "64", host, str(port)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False)
    found = re.findall(r"[\d.]+", done.stdout.replace("p50", "").replace("p99", ""))
    if len(found) < 6:
        raise RuntimeError(f"manyguests: status {done.returncode}: {done.stderr}")
    return Crowd(int(found[0]), int(found[1]), *map(float, found[2:6]))


@contextlib.contextmanager
def udp_echo() -> Iterator[int]:
    """A UDP echo server on loopback, in a process of its own; gives its port."""
    words = [compiled("udpecho")]
    server = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def iperf3_server() -> Iterator[int]:
    """An iperf3 server on loopback; gives its port."""
    port = free_port()
    server = subprocess.Popen(
        ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), open("/proc/net/tcp") as table:
                if f"0100007F:{port:04X} 00000000:0000 0A" in table.read():
                    break
            time.sleep(0.02)
        yield port
    finally:
        server.kill()
        server.wait()


def iperf3_words(port: int, seconds: float, into_guest: bool) -> list[str]:
    return ["iperf3", "-c", HOST, "-p", str(port), "-t", f"{seconds:g}", "-J", *(["-R"] if into_guest else [])]


def received(report: str) -> tuple[float, float]:
    """(Mbit/s, octets) that the receiver got, from iperf3's JSON."""
    start, end = report.find("{"), report.rfind("}") + 1
    total = json.loads(report[start:end])["end"]["sum_received"]
    return total["bits_per_second"] / 1e6, float(total["bytes"])


def ping_times(text: str) -> list[float]:
    """Milliseconds of each answer that ping printed."""
    return [float(ms) for ms in re.findall(r"time=([\d.]+) ms", text)]

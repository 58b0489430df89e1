"""The fast PPP client (pppclient.c) as the guest: commands run behind it, and iperf3's figures read.

In:  the tty of a gateway. Out: figures of what ran in the guest.
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

SOURCE = Path(__file__).with_name("pppclient.c")
HOST = "10.0.2.2"


def compiled() -> str:
    """The client's binary, compiled when there is none of this source yet."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    binary = Path(tempfile.gettempdir()) / f"pppclient-{os.getuid()}-{digest}"
    if not binary.exists():
        unfinished = f"{binary}.{os.getpid()}"
        subprocess.run(["cc", "-O2", "-o", unfinished, str(SOURCE)], check=True)
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

"""What is measured with a real Linux guest and its own pppd: user-mode-linux, and QEMU's emulated 16550A.

Each measure takes a Gateway class and the seconds to spend; returns row name -> figure.
"""

from __future__ import annotations

import shlex
import statistics
import tempfile

from contrib.bench import client
from contrib.bench.gateways import Gateway, Slirp
from tests.e2e.guests import Guest
from tests.e2e.qemu import QemuGuest
from tests.e2e.uml import UmlGuest


def dial(guest: Guest, kind: type[Gateway]) -> None:
    # slirp announces its own address as 0.0.0.0, which a pppd that was given no addresses refuses.
    guest.dial(*(["10.0.2.15:10.0.2.2"] if issubclass(kind, Slirp) else []))


def iperf3(guest: Guest, port: int, seconds: float, into_guest: bool) -> float:
    words = shlex.join(client.iperf3_words(port, seconds, into_guest))
    return client.received(guest.check(words, seconds + 60))[0]


def uml(kind: type[Gateway], seconds: float) -> dict[str, float]:
    with kind().start() as gateway, client.iperf3_server() as port, UmlGuest() as guest:
        guest.start(gateway.tty)
        dial(guest, kind)
        return {
            "user-mode-linux, out of the guest, Mbit/s": iperf3(guest, port, seconds, False),
            "user-mode-linux, into the guest, Mbit/s": iperf3(guest, port, seconds, True),
        }


def qemu(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """The emulated UART on a pty that QEMU made."""
    with QemuGuest() as guest:
        guest.start()
        with kind().start(guest.pty):
            return slow_line(guest, kind, seconds, "QEMU 16550A on its pty")


def qemu_socket(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """The emulated UART on a unix socket."""
    with tempfile.TemporaryDirectory() as directory, QemuGuest() as guest:
        path = f"{directory}/socket"
        with kind().start(socket_path=path) as gateway:
            guest.start(path)
            if isinstance(gateway, Slirp):
                gateway.accept()
            return slow_line(guest, kind, seconds, "QEMU 16550A on a socket")


def slow_line(guest: Guest, kind: type[Gateway], seconds: float, where: str) -> dict[str, float]:
    """What matters on a slow line: its goodput, and who has to wait meanwhile."""
    with client.iperf3_server() as port:
        dial(guest, kind)
        out = iperf3(guest, port, seconds, False)
        into = iperf3(guest, port, seconds, True)
        words = shlex.join(client.iperf3_words(port, seconds + 2, True))
        guest.check(f"{words} >/dev/null &")
        guest.run("sleep 1.5")
        times = client.ping_times(guest.run(f"ping -c {seconds * 2:.0f} -i 0.4 {client.HOST}", seconds + 30)[1])
        if not times:
            raise RuntimeError("no ping was answered while downloading")
        return {
            f"{where}, out of the guest, Mbit/s": out,
            f"{where}, into the guest, Mbit/s": into,
            f"{where}, ping while downloading, mean, ms": statistics.mean(times),
            f"{where}, ping while downloading, max, ms": max(times),
        }

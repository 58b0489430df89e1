"""What is measured with Ethernet cards: QEMU's own NE2000 beside libslirp, and our chips in a newer QEMU.

Each measure takes a Gateway class and the seconds to spend; returns row name -> figure.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import client
from gateways import Gateway, Libslirp, Pppgate
from with_pppd import iperf3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from e2e import ethernet  # noqa: E402
from e2e.newer_qemu import NewerQemuGuest  # noqa: E402
from e2e.qemu import QemuGuest  # noqa: E402

DRIVER = "ne2k-pci"


def ne2k(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """QEMU's ne2k_pci, on its own user network or on ours."""
    with tempfile.TemporaryDirectory() as directory, kind() as gateway, client.iperf3_server() as port:
        netdev = "user,id=net"
        if not issubclass(kind, Libslirp):
            assert isinstance(gateway, Pppgate)
            path = f"{directory}/eth0"
            gateway.serve([f"ether:unix-listen:{path}"], path)
            netdev = f"stream,id=net,addr.type=unix,addr.path={path}"
        with QemuGuest(devices=("-netdev", netdev, "-device", "ne2k_pci,netdev=net")) as guest:
            guest.start()
            ethernet.load(guest, DRIVER)
            ethernet.dhcp(guest)
            out = iperf3(guest, port, seconds, False)
            into = iperf3(guest, port, seconds, True)
            guest.check(f"iperf3 -c {client.HOST} -p {port} -t {seconds + 2:g} -R >/dev/null &")
            guest.run("sleep 1.5")
            words = f"ping -c {seconds * 2:.0f} -i 0.4 {client.HOST}"
            times = client.ping_times(guest.run(words, seconds + 30)[1])
            where = "QEMU ne2k_pci"
            return {f"{where}, out of the guest, Mbit/s": out,
                    f"{where}, into the guest, Mbit/s": into,
                    f"{where}, ping while downloading, mean, ms": statistics.mean(times) if times else float("nan")}

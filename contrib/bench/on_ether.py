"""What is measured with Ethernet cards: QEMU's own NE2000 beside libslirp, and our chips in a newer QEMU.

Each measure takes a Gateway class and the seconds to spend; returns row name -> figure.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import time

from contrib.bench import client
from contrib.bench.gateways import Gateway, Libslirp, Pppgate
from contrib.bench.with_pppd import iperf3
from tests.e2e import ethernet
from tests.e2e.newer_qemu import guest_with_cards
from tests.e2e.qemu import QemuGuest
from tests.support import vfio_client

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
            return {
                f"{where}, out of the guest, Mbit/s": out,
                f"{where}, into the guest, Mbit/s": into,
                f"{where}, ping while downloading, mean, ms": statistics.mean(times) if times else float("nan"),
            }


def devices(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """Our 16550A and NE2000 over vfio-user: bare register accesses, then both in a guest with Linux's own drivers."""
    with tempfile.TemporaryDirectory() as directory, kind() as gateway, client.iperf3_server() as port:
        assert isinstance(gateway, Pppgate)
        uart, card = f"{directory}/uart", f"{directory}/ne2k"
        gateway.serve([f"uart:vfio-user:{uart}", f"ne2k:vfio-user:{card}"], card)
        figures = accesses(gateway, uart, min(seconds, 3))
        with guest_with_cards(uart, card) as guest:
            guest.start()
            guest.dial()
            guest.check(f"ip route replace {client.HOST} dev ppp0")
            figures |= transfers(gateway, guest, port, seconds, "16550A over vfio-user")
            guest.hang_up()
            ethernet.load(guest, DRIVER)
            ethernet.dhcp(guest)
            figures |= transfers(gateway, guest, port, seconds, "RTL8029 over vfio-user")
        return figures


def accesses(gateway: Gateway, path: str, seconds: float) -> dict[str, float]:
    """How many registers a client can read, one after the other, and what each costs the gateway."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(vfio_client.version(0, 0))
        sock.recv(4096)
        question = vfio_client.read(5)  # the line status register
        done, before, begun = 0, gateway.cpu_seconds(), time.monotonic()
        while time.monotonic() < begun + seconds:
            for _ in range(100):
                sock.sendall(question)
                sock.recv(64)
            done += 100
        elapsed = time.monotonic() - begun
        cost = gateway.cpu_seconds() - before
    return {
        "register accesses a second, one client over vfio-user": done / elapsed,
        "processor time of an access, us": cost / done * 1e6,
    }


def transfers(gateway: Gateway, guest: QemuGuest, port: int, seconds: float, where: str) -> dict[str, float]:
    figures = {}
    for into_guest, way in ((False, "out of the guest"), (True, "into the guest")):
        before = gateway.cpu_seconds()
        words = " ".join(client.iperf3_words(port, seconds, into_guest))
        rate, octets = client.received(guest.check(words, seconds + 60))
        figures[f"{where}, {way}, KB/s"] = rate / 8 * 1000
        figures[f"{where}, {way}, processor time of an octet, us"] = (gateway.cpu_seconds() - before) / octets * 1e6
    return figures

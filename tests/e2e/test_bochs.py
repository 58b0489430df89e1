"""Bochs 2.7: PPP on its com1 and Ethernet from its NE2000, at one gateway.

Two machines: a 32-bit one with the card on ISA and com1 on a TCP socket, and a 64-bit one with the card on PCI and
com1 on pppgate's pty. Each is booted once; the link on com1 ends before the card is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import i386, initramfs, transfers
from tests.e2e.bochs import ISA_DRIVER, MAC, PCI_DRIVER, BochsGuest, missing_packages, port_pair
from tests.e2e.ethernet import Lease, dhcp, load
from tests.e2e.gateway import Gateway
from tests.e2e.guests import LinkUp
from tests.e2e.needs import need
from tests.e2e.servers import Servers, closed_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SERIAL_FILE = 20_000  # octets; it carries 5 to 10 KB/s
ETHER_FILE = 300_000


class Machine(NamedTuple):
    gateway: Gateway
    guest: BochsGuest


@pytest.fixture(scope="module", params=["isa", "pci"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    isa = request.param == "isa"
    absent = missing_packages()
    if isa:
        try:
            i386.fetched()
        except FileNotFoundError as error:
            absent.append(str(error))
    elif initramfs.kernel() is None:
        absent.append("linux-image-amd64")
    if absent:
        pytest.skip("missing: " + ", ".join(absent))
    if not isa:
        need("pppd", "busybox", "curl")
    build = i386.build if isa else initramfs.build
    ether, tcp = port_pair(), closed_port()
    with tempfile.TemporaryDirectory() as directory:
        pty = Path(directory, "com1")
        com1 = f"tcp-listen:{tcp}" if isa else f"pty:{pty}"
        with (
            Gateway(f"ether:bochs:{ether}", "--host-loopback", link=com1) as gateway,
            BochsGuest(ether=ether, wide=not isa, pci=not isa, images=build) as guest,
        ):
            guest.start(f"127.0.0.1:{tcp}" if isa else pty)
            yield Machine(gateway, guest)


@pytest.fixture(scope="class")
def link(machine: Machine) -> Iterator[LinkUp]:
    """`local`: Bochs shows clear-to-send but no carrier."""
    yield machine.guest.dial("local", timeout=40)
    machine.guest.hang_up()
    machine.gateway.wait_for("link down")


@pytest.fixture(scope="class")
def lease(machine: Machine) -> Lease:
    mac = load(machine.guest, *(PCI_DRIVER if machine.guest.pci else ISA_DRIVER))
    assert mac == MAC
    return dhcp(machine.guest)


def test_pppgate_says_the_lines_that_work(machine: Machine) -> None:
    """What it prints at its start, to be pasted into bochsrc, is what this guest was started with."""
    for line in (machine.guest.com1, machine.guest.card):
        assert line in machine.gateway.output


class TestSerialPort:
    def test_link_up(self, machine: Machine, link: LinkUp) -> None:
        assert link.seconds < 2
        assert (link.local, link.remote) == ("10.0.2.15", "10.0.2.2")
        machine.gateway.wait_for("link up .* remote 10.0.2.15")

    def test_ping(self, machine: Machine, link: LinkUp) -> None:
        assert "3 packets received" in machine.guest.check("ping -c 3 -i 0.3 10.0.2.2")

    def test_download(self, machine: Machine, link: LinkUp, host: Servers) -> None:
        transfers.download(machine.guest, host.http, SERIAL_FILE)

    def test_upload(self, machine: Machine, link: LinkUp, host: Servers) -> None:
        transfers.upload(machine.guest, host.http, SERIAL_FILE)


class TestCard:
    """After TestSerialPort: its link has ended, or else it would carry what is meant for the card."""

    def test_dhcp(self, machine: Machine, lease: Lease) -> None:
        assert lease.address.startswith("10.0.2.")
        wanted = {"mask": "24", "router": "10.0.2.2", "dns": "10.0.2.3", "mtu": "1500"}
        assert {name: lease.variables.get(name) for name in wanted} == wanted
        machine.gateway.wait_for(f"{MAC} has leased {lease.address}")

    def test_ping(self, machine: Machine, lease: Lease) -> None:
        assert not machine.guest.run("ip -o link show ppp0 2>/dev/null")[1].strip()
        assert "3 packets received" in machine.guest.check("ping -c 3 -i 0.3 10.0.2.2")

    def test_download(self, machine: Machine, lease: Lease, host: Servers) -> None:
        transfers.download(machine.guest, host.http, ETHER_FILE)

    def test_upload(self, machine: Machine, lease: Lease, host: Servers) -> None:
        transfers.upload(machine.guest, host.http, ETHER_FILE)

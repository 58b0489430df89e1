"""Our own chips under Linux's own drivers: a stock QEMU with a 16550A and an NE2000 of ours, over vfio-user."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import ethernet, transfers
from tests.e2e.gateway import Gateway
from tests.e2e.guests import Guest, LinkUp
from tests.e2e.needs import QEMU, need
from tests.e2e.newer_qemu import guest_with_cards
from tests.e2e.qemu import QemuGuest
from tests.e2e.servers import Servers, content, digest

pytestmark = [pytest.mark.e2e, pytest.mark.timing, pytest.mark.timeout(600)]

MBIT_LEAST = 0.08
"""10 KB/s, each way, through the UART."""
TRIES = 3
"""Transfers of which one has to be that fast: QEMU and the gateway want a processor each, and others may be at work."""
MAC = "52:54:00:12:34:56"


class Machine(NamedTuple):
    """A gateway with both kinds of device, and a guest with one card of each."""

    gateway: Gateway
    guest: QemuGuest
    uart: Path
    ne2k: Path


@pytest.fixture(scope="module")
def sockets() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="cards-") as directory:
        yield Path(directory, "uart"), Path(directory, "ne2k")


@pytest.fixture(scope="module")
def gateway(sockets: tuple[Path, Path], host: Servers) -> Iterator[Gateway]:
    need(*QEMU, "curl")
    uart, ne2k = sockets
    links = (f"ne2k:vfio-user:{ne2k},mac={MAC}", "-v", "--host-loopback")
    with Gateway(*links, link=f"uart:vfio-user:{uart}", resolver=host.dns) as running:
        yield running


@pytest.fixture(scope="module")
def machine(gateway: Gateway, sockets: tuple[Path, Path]) -> Iterator[Machine]:
    with guest_with_cards(*sockets) as guest:
        guest.start()
        yield Machine(gateway, guest, *sockets)


@pytest.fixture
def ppp(machine: Machine) -> Iterator[LinkUp]:
    link = machine.guest.dial()
    machine.guest.check("ip route replace 10.0.2.2 dev ppp0")
    yield link
    machine.guest.hang_up()


def with_card(guest: Guest) -> ethernet.Lease:
    """The NE2000's driver loaded, and a lease on its cable."""
    assert ethernet.load(guest, "ne2k-pci") == MAC
    return ethernet.dhcp(guest)


def test_linux_finds_a_16550a_and_an_rtl8029(machine: Machine) -> None:
    machine.guest.check("modprobe ne2k-pci")
    said = machine.guest.check("dmesg | grep -E 'ttyS1 at|RTL-8029'")
    assert "is a 16550A" in said
    assert MAC in said


def test_pppd_through_the_uart_at_ten_kilobytes_a_second(ppp: LinkUp, machine: Machine, host: Servers) -> None:
    assert ppp.seconds < 1
    assert (ppp.local, ppp.remote) == ("10.0.2.15", "10.0.2.2")
    assert "3 packets received" in machine.guest.check("ping -c 3 -i 0.3 10.0.2.2")
    for way in (transfers.download, transfers.upload):
        speeds: list[float] = []
        while len(speeds) < TRIES and max(speeds, default=0.0) < MBIT_LEAST:
            speeds.append(way(machine.guest, host.http, 200_000))
        print(f"UART over vfio-user, {way.__name__}: {', '.join(f'{speed / 8 * 1000:.1f}' for speed in speeds)} KB/s")
        assert max(speeds) >= MBIT_LEAST


def test_the_guest_stays_alive_while_it_receives(ppp: LinkUp, machine: Machine, host: Servers) -> None:
    """A driver that is given more as fast as it reads does not come back from its interrupt for seconds."""
    fetch = f"curl -sS -m 60 http://10.0.2.2:{host.http}/3/100000 | sha256sum"
    machine.guest.check(f"( {fetch} ) >/run/fetched 2>&1 &")
    said = machine.guest.check("ping -c 10 -i 0.3 -W 3 10.0.2.2 | tail -1", 60)
    longest = float(said.split("=")[1].split("/")[2].split()[0])
    machine.guest.check("until [ -s /run/fetched ]; do sleep 0.1; done", 60)
    assert machine.guest.check("cat /run/fetched").split()[0] == digest(content(3, 100_000))
    assert longest < 1500


def test_dhcp_and_transfers_through_the_ne2000(machine: Machine, host: Servers) -> None:
    lease = with_card(machine.guest)
    assert lease.seconds < 2
    assert lease.variables["router"] == "10.0.2.2"
    assert "3 packets received" in machine.guest.check("ping -c 3 -i 0.3 10.0.2.2")
    into = transfers.download(machine.guest, host.http, 500_000)
    out = transfers.upload(machine.guest, host.http, 500_000)
    print(f"NE2000 over vfio-user: {into:.2f} Mbit/s into the guest, {out:.2f} out of it")


def test_both_cards_at_the_same_time(ppp: LinkUp, machine: Machine, host: Servers) -> None:
    with_card(machine.guest)
    script = []
    for interface, seed, size in (("ppp0", 5, 50_000), ("eth0", 6, 200_000)):
        url = f"http://10.0.2.2:{host.http}/{seed}/{size}"
        script.append(f"( curl -sS -m 60 --interface {interface} {url} | sha256sum >/run/{interface} ) 2>&1 &")
    script.append("wait; cat /run/ppp0 /run/eth0")
    commands = "\n".join(script)
    got = machine.guest.check(f"(\n{commands}\n)", 90).split()[::2]
    assert got == [digest(content(5, 50_000)), digest(content(6, 200_000))]


def test_reboot_of_the_guest(machine: Machine, host: Servers) -> None:
    """QEMU goes on and keeps its connections; the cards are reset."""
    guest, gateway = machine.guest, machine.gateway
    guest.dial()
    address = with_card(guest).address
    seen = len(gateway.lines)
    guest.reboot()
    gateway.wait_for("link down", 5, seen)
    assert "is a 16550A" in guest.check("dmesg | grep 'ttyS1 at'")
    guest.dial()
    transfers.download(guest, host.http, 20_000)
    guest.hang_up()
    assert with_card(guest).address == address
    transfers.download(guest, host.http, 100_000)


def test_qemu_is_killed_and_started_again(machine: Machine, host: Servers) -> None:
    """In mid-transfer; the gateway's descriptors do not grow, and the guest gets what it had."""
    guest, gateway = machine.guest, machine.gateway
    guest.dial()
    address = with_card(guest).address
    descriptors = len(gateway.descriptors())
    guest.check(f"curl -sS -m 60 -o /dev/null http://10.0.2.2:{host.http}/9/5000000 >/run/long 2>&1 &")
    time.sleep(0.5)
    seen = len(gateway.lines)
    guest.kill()
    gateway.wait_for("link down", 5, seen)
    with guest_with_cards(machine.uart, machine.ne2k) as again:
        again.start()
        link = again.dial()
        assert with_card(again).address == address
        assert link.local != address
        transfers.download(again, host.http, 50_000)
        assert len(gateway.descriptors()) <= descriptors + 2
    assert not [line for line in gateway.lines if "error" in line.lower()]


def test_several_cards_of_one_machine(gateway: Gateway, sockets: tuple[Path, Path], host: Servers) -> None:
    """On one socket of each kind by two spellings of its name: by the name, QEMU tells the cards' interrupts apart."""
    paths = [f"{path.parent}{slash}{path.name}" for path in sockets for slash in ("/", "//")]
    with guest_with_cards(*paths) as guest:
        guest.start()
        said = guest.check("dmesg | grep -E 'ttyS[12] at'")
        assert said.count("is a 16550A") == 2
        macs = [ethernet.load(guest, "ne2k-pci", interface=interface) for interface in ("eth0", "eth1")]
        assert len(set(macs)) == 2
        addresses = [ethernet.dhcp(guest, interface=interface).address for interface in ("eth0", "eth1")]
        guest.serial = "/dev/ttyS2"
        addresses.append(guest.dial().local)
        assert len(set(addresses)) == 3
        url = f"http://10.0.2.2:{host.http}/4/30000"
        for interface in ("eth0", "eth1", "ppp0"):
            fetch = shlex.join(["curl", "-sS", "-m", "30", "--interface", interface, url])
            assert guest.check(f"{fetch} | sha256sum", 40).split()[0] == digest(content(4, 30_000)), interface

"""Guests with QEMU's own NE2000 cards, PCI and ISA, on `ether:` links: DHCP, transfers, each other, PPP guests.

One gateway has a PCI card on a stream socket, an ISA card in a 32-bit guest on datagrams, and user-mode-linux on a pty.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import ethernet, i386, transfers
from tests.e2e.gateway import Gateway
from tests.e2e.guests import Guest
from tests.e2e.needs import QEMU, UML, need
from tests.e2e.qemu import QemuGuest
from tests.e2e.servers import KNOWN_ADDRESS, KNOWN_NAME, Servers, closed_port
from tests.e2e.uml import UmlGuest

pytestmark = pytest.mark.e2e
PCI_MAC = "52:54:00:00:00:01"
ISA_MAC = "52:54:00:00:00:02"
ISA = "ne2k_isa,netdev=net,iobase=0x300,irq=3"
"""IRQ 9, QEMU's default, is the power management's on its PC."""
ISA_DRIVER = ("ne", "io=0x300", "irq=3")


def stream(path: Path, device: str = "ne2k_pci,netdev=net", mac: str = PCI_MAC) -> list[str]:
    return ["-netdev", f"stream,id=net,addr.type=unix,addr.path={path}", "-device", f"{device},mac={mac}"]


def dgram(ours: Path, theirs: Path, device: str, mac: str) -> list[str]:
    """Words for QEMU, whose local end is the gateway's remote one."""
    ends = f"local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"
    return ["-netdev", f"dgram,id=net,{ends}", "-device", f"{device},mac={mac}"]


def need_i386() -> None:
    try:
        i386.build()
    except FileNotFoundError as error:
        pytest.skip(f"missing: {error}")


class Cables(NamedTuple):
    gateway: Gateway
    pci: QemuGuest
    isa: QemuGuest
    ppp: UmlGuest
    leases: dict[str, ethernet.Lease]
    ppp_address: str
    forward: int
    work: Path


@pytest.fixture(scope="module")
def cables(host: Servers) -> Iterator[Cables]:
    need(*QEMU, *UML)
    need_i386()
    forward = closed_port()
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path, ours, theirs = work / "eth0", work / "ours", work / "theirs"
        gateway = stack.enter_context(
            Gateway(
                "pty:" + str(work / "tty"),
                f"ether:dgram:{ours}={theirs}",
                "--host-loopback",
                "-v",
                f"--forward=tcp:{forward}=80",
                link=f"ether:unix-listen:{path}",
                resolver=host.dns,
            )
        )
        pci = stack.enter_context(QemuGuest(devices=stream(path))).start()
        isa = stack.enter_context(QemuGuest(devices=dgram(ours, theirs, ISA, ISA_MAC), images=i386.build)).start()
        ppp = stack.enter_context(UmlGuest()).start(work / "tty")
        assert ethernet.load(pci, "ne2k-pci") == PCI_MAC
        assert ethernet.load(isa, *ISA_DRIVER) == ISA_MAC
        leases = {"pci": ethernet.dhcp(pci), "isa": ethernet.dhcp(isa)}
        address = ppp.dial().local
        ppp.default_route()
        yield Cables(gateway, pci, isa, ppp, leases, address, forward, work)
        assert "Traceback" not in gateway.output


@pytest.fixture(params=["pci", "isa"])
def guest(request: pytest.FixtureRequest, cables: Cables) -> QemuGuest:
    return cables.pci if request.param == "pci" else cables.isa


def test_a_lease_at_once(cables: Cables) -> None:
    assert [lease.address for lease in cables.leases.values()] == ["10.0.2.15", "10.0.2.16"]
    for lease in cables.leases.values():
        assert lease.seconds < 1.5
        assert {lease.variables[name] for name in ("router", "dns", "mask", "mtu")} == {
            "10.0.2.2",
            "10.0.2.3",
            "24",
            "1500",
        }
    assert cables.ppp_address == "10.0.2.17"


def test_ping_the_gateway(guest: QemuGuest) -> None:
    assert "3 packets received" in guest.check("ping -c 3 -i 0.2 10.0.2.2")


def test_dns_by_what_the_lease_said(guest: QemuGuest) -> None:
    assert KNOWN_ADDRESS in guest.check(f"nslookup {KNOWN_NAME}")


def test_download(guest: QemuGuest, host: Servers) -> None:
    transfers.download(guest, host.http, 2_000_000)


def test_upload(guest: QemuGuest, host: Servers) -> None:
    transfers.upload(guest, host.http, 2_000_000)


def test_parallel_transfers(cables: Cables, host: Servers) -> None:
    need("curl")
    transfers.parallel(cables.pci, host.http, 20, 100_000)


def test_connection_refused_at_once(cables: Cables) -> None:
    need("curl")
    assert transfers.refused(cables.pci, closed_port()) < 1


def test_a_forwarded_port(cables: Cables) -> None:
    serve(cables.pci, "from the guest")
    caller = http.client.HTTPConnection("127.0.0.1", cables.forward, timeout=10)
    caller.request("GET", "/index.html")
    assert caller.getresponse().read() == b"from the guest\n"
    caller.close()


def serve(guest: Guest, text: str) -> None:
    guest.check(f"mkdir -p /run/www; echo {text} >/run/www/index.html; pidof httpd || httpd -p 80 -h /run/www")


def exchange(here: Guest, there: Guest, address: str, size: int) -> None:
    """A file from `there`, where busybox's httpd serves it, to `here`."""
    serve(there, "hello")
    there.check(f"head -c {size} /dev/urandom >/run/www/file")
    wanted = there.check("sha256sum </run/www/file").split()[0]
    got = here.check(f"curl -sS -m 60 http://{address}/file | sha256sum", 70).split()[0]
    assert got == wanted


def test_two_ethernet_guests_reach_each_other(cables: Cables) -> None:
    leases = cables.leases
    for here, there, address in (
        (cables.pci, cables.isa, leases["isa"].address),
        (cables.isa, cables.pci, leases["pci"].address),
    ):
        assert "3 packets received" in here.check(f"ping -c 3 -i 0.2 {address}")
        exchange(here, there, address, 500_000)
    # switched, not routed: each has the other's own address
    assert ISA_MAC in cables.pci.check(f"arp -n {leases['isa'].address}")


def test_an_ethernet_guest_and_a_ppp_guest_reach_each_other(cables: Cables) -> None:
    for guest, lease in ((cables.pci, cables.leases["pci"]), (cables.isa, cables.leases["isa"])):
        assert "2 packets received" in guest.check(f"ping -c 2 -i 0.2 {cables.ppp_address}")
        assert "2 received" in cables.ppp.check(f"ping -c 2 -i 0.2 {lease.address}")
        exchange(cables.ppp, guest, lease.address, 300_000)


def test_a_guest_with_a_fixed_address(cables: Cables, host: Servers) -> None:
    guest = cables.isa
    guest.check("ip addr flush dev eth0; ip addr add 10.0.2.77/24 dev eth0; ip route add default via 10.0.2.2")
    transfers.download(guest, host.http, 100_000)
    exchange(cables.pci, guest, "10.0.2.77", 100_000)
    assert ethernet.dhcp(guest).address == cables.leases["isa"].address


def test_a_guest_reboots(cables: Cables, host: Servers) -> None:
    guest = cables.pci
    guest.reboot()
    ethernet.load(guest, "ne2k-pci")
    assert ethernet.dhcp(guest).address == cables.leases["pci"].address
    transfers.download(guest, host.http, 500_000)


def test_an_emulator_is_ended_and_started_again(cables: Cables, host: Servers) -> None:
    """With another guest in it, which has the same card; the lease is the card's."""
    since = len(cables.gateway.lines)
    cables.pci.kill()
    cables.gateway.wait_for(r"eth0#1 was closed by the other side", 5, since)
    with QemuGuest(devices=stream(cables.work / "eth0")).start() as guest:
        ethernet.load(guest, "ne2k-pci")
        assert ethernet.dhcp(guest).address == cables.leases["pci"].address
        transfers.download(guest, host.http, 500_000)


def test_the_gateway_is_started_again(host: Servers) -> None:
    """Over datagrams there is no connection to lose: the guest goes on with its lease, and renews it."""
    need(*QEMU, "curl")
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = Path(directory) / "ours", Path(directory) / "theirs"
        link = f"ether:dgram:{ours}={theirs}"
        with QemuGuest(devices=dgram(ours, theirs, "ne2k_pci,netdev=net", PCI_MAC)).start() as guest:
            ethernet.load(guest, "ne2k-pci")
            with Gateway("--host-loopback", link=link) as gateway:
                lease = ethernet.dhcp(guest, stay=True)
                transfers.download(guest, host.http, 100_000)
                gateway.signal(signal.SIGKILL)
            guest.check("ping -c 1 -W 1 10.0.2.2 || true")
            with Gateway("--host-loopback", link=link):
                transfers.download(guest, host.http, 100_000)
                guest.check(
                    "rm /run/lease; kill -USR1 $(cat /run/udhcpc.pid); "
                    "timeout 10 sh -c 'until [ -s /run/lease ]; do sleep 0.1; done'",
                    20,
                )
                assert ethernet.lease_variables(guest)["ip"] == lease.address
                transfers.upload(guest, host.http, 100_000)


def test_over_tcp_and_udp(host: Servers) -> None:
    """Two cards in one guest, one after the other."""
    need(*QEMU, "curl")
    tcp, ours, theirs = closed_port(), closed_port(), closed_port()
    ends = (
        f"local.type=inet,local.host=127.0.0.1,local.port={theirs},"
        f"remote.type=inet,remote.host=127.0.0.1,remote.port={ours}"
    )
    devices = [
        "-netdev",
        f"stream,id=one,addr.type=inet,addr.host=127.0.0.1,addr.port={tcp}",
        "-device",
        "ne2k_pci,netdev=one",
        "-netdev",
        f"dgram,id=two,{ends}",
        "-device",
        "ne2k_pci,netdev=two",
    ]
    with (
        Gateway(f"ether:dgram:{ours}={theirs}", "--host-loopback", link=f"ether:tcp-listen:{tcp}") as gateway,
        QemuGuest(devices=devices).start() as guest,
    ):
        macs = {ethernet.load(guest, "ne2k-pci", interface=name) for name in ("eth0", "eth1")}
        addresses = set()
        for name in ("eth0", "eth1"):
            addresses.add(ethernet.dhcp(guest, interface=name).address)
            transfers.download(guest, host.http, 500_000)
            transfers.upload(guest, host.http, 500_000)
            guest.check(f"ip addr flush dev {name}; ip link set {name} down")
        assert (len(macs), len(addresses)) == (2, 2)
        assert "Traceback" not in gateway.output


def test_what_is_no_emulator_is_told_of_and_let_go() -> None:
    port = closed_port()
    with Gateway(link=f"ether:tcp-listen:{port}") as gateway:
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        caller.request("GET", "/")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            caller.getresponse()
        caller.close()
        gateway.wait_for("does not speak QEMU's -netdev stream", 5)

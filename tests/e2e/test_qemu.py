"""PPP over an emulated 16550A: QEMU with Debian's kernel and pppd, less data."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import transfers
from tests.e2e.gateway import Gateway
from tests.e2e.guests import LinkUp
from tests.e2e.needs import QEMU, need
from tests.e2e.qemu import QemuGuest
from tests.e2e.servers import KNOWN_ADDRESS, KNOWN_NAME, Servers, closed_port

pytestmark = [pytest.mark.e2e, pytest.mark.timing]
GUEST_PORT = 80
IPERF3_PORT = 5201


class Dialed(NamedTuple):
    gateway: Gateway
    guest: QemuGuest
    link: LinkUp
    forward: int
    iperf3_forward: int


@pytest.fixture(scope="module")
def line(host: Servers) -> Iterator[Dialed]:
    need(*QEMU, "curl")
    http, iperf3 = closed_port(), closed_port()
    options = [
        "--host-loopback",
        "-v",
        f"--forward=tcp:{http}={GUEST_PORT}",
        f"--forward=tcp:{iperf3}={IPERF3_PORT}",
        f"--forward=udp:{iperf3}={IPERF3_PORT}",
    ]
    with QemuGuest() as guest:
        guest.start()
        with Gateway(*options, link=f"tty:{guest.pty}", resolver=host.dns) as gateway:
            link = guest.dial()
            guest.default_route()
            yield Dialed(gateway, guest, link, http, iperf3)


def test_link_is_up_within_a_second(line: Dialed) -> None:
    assert line.link.seconds < 1
    assert (line.link.local, line.link.remote) == ("10.0.2.15", "10.0.2.2")


def test_ping_the_gateway(line: Dialed) -> None:
    assert "3 packets received" in line.guest.check("ping -c 3 -i 0.3 10.0.2.2")


def test_dns_over_udp(line: Dialed) -> None:
    assert KNOWN_ADDRESS in line.guest.check(f"nslookup {KNOWN_NAME} 10.0.2.3")


def test_dns_over_tcp(line: Dialed) -> None:
    labels = "".join(f"\\{len(label):03o}{label}" for label in KNOWN_NAME.split("."))
    size = 12 + len(KNOWN_NAME) + 2 + 4
    query = rf"\000\{size:03o}\001\002\001\000\000\001\000\000\000\000\000\000{labels}\000\000\001\000\001"
    line.guest.run(f"( printf '{query}'; sleep 1 ) | timeout 5 nc 10.0.2.3 53 | xxd -p | tr -d '\\n' >/run/reply")
    reply = bytes.fromhex(line.guest.check("cat /run/reply").strip())
    assert reply.endswith(socket.inet_aton(KNOWN_ADDRESS))


def test_download(line: Dialed, host: Servers) -> None:
    transfers.download(line.guest, host.http, 500_000)


def test_upload(line: Dialed, host: Servers) -> None:
    transfers.upload(line.guest, host.http, 500_000)


def test_parallel_transfers(line: Dialed, host: Servers) -> None:
    transfers.parallel(line.guest, host.http, 20, 20_000)


def test_connection_refused_at_once(line: Dialed) -> None:
    assert transfers.refused(line.guest, closed_port()) < 1


def test_forwarded_tcp_port(line: Dialed) -> None:
    line.guest.check("mkdir -p /run/www; echo from the guest >/run/www/index.html; httpd -p 80 -h /run/www")
    caller = http.client.HTTPConnection("127.0.0.1", line.forward, timeout=10)
    caller.request("GET", "/index.html")
    assert caller.getresponse().read() == b"from the guest\n"
    caller.close()


def test_forwarded_udp_port(line: Dialed) -> None:
    """iperf3's server in the guest answers the client's first datagram, or the client fails."""
    need("iperf3")
    line.guest.check("iperf3 -s -1 >/run/iperf3.log 2>&1 &")
    line.guest.check(f"until grep -qi ':{IPERF3_PORT:04x} ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done")
    words = f"iperf3 -u -c 127.0.0.1 -p {line.iperf3_forward} -b 100K -l 500 -t 1 -J"
    done = subprocess.run(words.split(), capture_output=True, text=True, timeout=30, check=False)
    total = json.loads(done.stdout)
    assert done.returncode == 0, total.get("error")
    assert total["end"]["sum"]["packets"] > 10
    assert total["end"]["sum"]["lost_packets"] == 0


def test_over_a_unix_socket(host: Servers) -> None:
    """The guest's UART on `-chardev socket`, dialing a gateway that listens."""
    need(*QEMU, "curl")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "socket"
        with Gateway("--host-loopback", link=f"unix-listen:{path}") as gateway, QemuGuest() as guest:
            guest.start(path)
            assert guest.dial().seconds < 1
            transfers.download(guest, host.http, 100_000)
            guest.kill()
            gateway.wait_for("link down", 5)

"""user-mode-linux, Debian's pppd with no addresses and no tuning: `pppd /dev/ttyS0 115200 noauth nodetach`."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import transfers
from tests.e2e.gateway import Gateway
from tests.e2e.guests import LinkUp
from tests.e2e.needs import UML, need
from tests.e2e.servers import KNOWN_ADDRESS, KNOWN_NAME, LONG_COUNT, LONG_NAME, Servers, closed_port, content
from tests.e2e.uml import UmlGuest

pytestmark = [pytest.mark.e2e, pytest.mark.timing]
MEGABYTE = 1_000_000
GUEST_PORT = 7007


class Dialed(NamedTuple):
    gateway: Gateway
    guest: UmlGuest
    link: LinkUp
    forward: int


@pytest.fixture(scope="module")
def line(host: Servers) -> Iterator[Dialed]:
    need(*UML)
    forward = closed_port()
    forwards = [f"--forward={kind}:{forward}={GUEST_PORT}" for kind in ("tcp", "udp")]
    with Gateway("--host-loopback", "-v", *forwards, resolver=host.dns) as gateway, UmlGuest() as guest:
        shutil.copy(Path(__file__).with_name("guest_echo.py"), guest.share)
        guest.start(gateway.tty)
        link = guest.dial_promptly()
        guest.default_route()
        yield Dialed(gateway, guest, link, forward)


def test_link_is_up_within_a_second(line: Dialed) -> None:
    assert line.link.seconds < 1
    line.gateway.wait_for("link up")


def test_addresses_are_assigned(line: Dialed) -> None:
    assert (line.link.local, line.link.remote) == ("10.0.2.15", "10.0.2.2")


def test_ccp_vj_and_ipv6cp_are_each_refused_once(line: Dialed) -> None:
    output = line.gateway.output
    assert len(re.findall(r"sent LCP Protocol-Reject .* of CCP", output)) == 1
    assert len(re.findall(r"sent LCP Protocol-Reject .* of IPV6CP", output)) == 1
    assert len(re.findall(r"sent IPCP Configure-Reject .*VJ", output)) == 1


def test_ping_the_gateway(line: Dialed) -> None:
    output = line.guest.check("ping -c 3 -i 0.2 -W 2 10.0.2.2")
    assert "3 received" in output


def test_dns_over_udp(line: Dialed) -> None:
    output = line.guest.check(f"dig +short +tries=1 @10.0.2.3 {KNOWN_NAME}")
    assert output.split() == [KNOWN_ADDRESS]


def test_dns_over_tcp(line: Dialed) -> None:
    output = line.guest.check(f"dig +short +tcp +tries=1 @10.0.2.3 {KNOWN_NAME}")
    assert output.split() == [KNOWN_ADDRESS]


def test_dns_answer_too_long_for_udp(line: Dialed) -> None:
    output = line.guest.check(f"dig +short +tries=1 @10.0.2.3 {LONG_NAME}")
    assert len(re.findall(r"^192\.0\.2\.", output, re.MULTILINE)) == LONG_COUNT


def test_dns_name_that_does_not_exist(line: Dialed) -> None:
    assert "NXDOMAIN" in line.guest.check("dig +tries=1 @10.0.2.3 nowhere.test")


def test_download_of_8_megabytes(line: Dialed, host: Servers) -> None:
    transfers.download(line.guest, host.http, 8 * MEGABYTE)


def test_upload_of_8_megabytes(line: Dialed, host: Servers) -> None:
    transfers.upload(line.guest, host.http, 8 * MEGABYTE)


def test_twenty_parallel_transfers(line: Dialed, host: Servers) -> None:
    transfers.parallel(line.guest, host.http, 20, 300_000)


def test_connection_refused_at_once(line: Dialed) -> None:
    assert transfers.refused(line.guest, closed_port()) < 1


@pytest.fixture(scope="module")
def echo(line: Dialed) -> int:
    """A server in the guest; the host's port that leads to it."""
    line.guest.check(f"/usr/bin/python3 /mnt/guest_echo.py {GUEST_PORT} >/run/echo.log 2>&1 &")
    line.guest.check("until grep -q listening /run/echo.log; do sleep 0.1; done", 20)
    return line.forward


def test_forwarded_tcp_port(line: Dialed, echo: int) -> None:
    sent = content(3, 50_000)
    with socket.create_connection(("127.0.0.1", echo), 10) as stream:
        stream.sendall(sent)
        stream.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: stream.recv(65536), b""))
    assert received == b"10.0.2.2 " + sent


def test_forwarded_udp_port(line: Dialed, echo: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", echo))
        sock.send(b"x" * 3000)
        assert sock.recv(65536) == b"10.0.2.2 " + b"x" * 3000


def test_denied_address_is_refused_and_said(line: Dialed) -> None:
    begun = time.monotonic()
    status, _ = line.guest.run("curl -sS -m 5 http://169.254.169.254/")
    assert status not in (0, 28)
    assert time.monotonic() - begun < 3
    line.gateway.wait_for(r"169\.254\.169\.254")


def test_hanging_up_and_redialing_gives_the_same_address(line: Dialed, host: Servers) -> None:
    before = len(line.gateway.lines)
    line.guest.hang_up()
    line.gateway.wait_for("link down", since=before)
    assert line.guest.dial().local == "10.0.2.15"
    transfers.download(line.guest, host.http, 100_000)

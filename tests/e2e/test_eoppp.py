"""`pppgate eoppp`: one QEMU guest with an NE2000, behind this project's server, Debian's pppd and the classic slirp.

The guest stays for all tests: its card is on datagrams, so that the bridge can come and go.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import ethernet
from tests.e2e.gateway import Gateway
from tests.e2e.guests import Guest
from tests.e2e.needs import QEMU, UML, need
from tests.e2e.ppp_servers import HTTP_PORT, PppdServer, SlirpServer
from tests.e2e.qemu import QemuGuest
from tests.e2e.servers import KNOWN_ADDRESS, KNOWN_NAME, Servers, content, digest

pytestmark = pytest.mark.e2e
MAC = "52:54:00:11:22:33"
SIZE = 300_000


class Cabled:
    """The guest, and the words with which `pppgate eoppp` is on its cable."""

    def __init__(self, guest: QemuGuest, work: Path) -> None:
        self.guest = guest
        self.work = work
        self.ether = f"ether:dgram:{work}/ours={work}/card"

    def bridge(self, ppp: str, *options: str) -> Gateway:
        return Gateway("--ether", self.ether, "--ppp", ppp, *options, link="eoppp")

    def lease(self, timeout: float = 20) -> ethernet.Lease:
        """As a guest that has just booted, and stays to renew."""
        forget(self.guest)
        return ethernet.dhcp(self.guest, stay=True, timeout=timeout)


def forget(guest: Guest) -> None:
    guest.run("kill $(cat /run/udhcpc.pid) 2>/dev/null; rm -f /run/udhcpc.pid /run/lease; ip addr flush dev eth0")
    guest.run("ip link set eth0 mtu 1500 up; : >/etc/resolv.conf")


@pytest.fixture(scope="module")
def cabled() -> Iterator[Cabled]:
    need(*QEMU, "curl")
    with tempfile.TemporaryDirectory(prefix="eoppp-") as place:
        work = Path(place)
        netdev = f"dgram,id=net,local.type=unix,local.path={work}/card,remote.type=unix,remote.path={work}/ours"
        with QemuGuest(devices=("-netdev", netdev, "-device", f"ne2k_pci,netdev=net,mac={MAC}")) as guest:
            guest.start()
            assert ethernet.load(guest, "ne2k-pci") == MAC
            yield Cabled(guest, work)


@pytest.fixture(scope="module")
def pppd(cabled: Cabled) -> Iterator[PppdServer]:
    need(*UML)
    with PppdServer() as server:
        server.start(cabled.work / "line")
        server.secrets("guest", "sesame")
        yield server


@pytest.fixture
def pppd_line(cabled: Cabled, pppd: PppdServer) -> Iterator[str]:
    yield f"pty:{cabled.work}/line"
    pppd.stop_serving("KILL")


def fetch(guest: Guest, host: str, port: int, *options: str, size: int = SIZE, timeout: float = 60) -> float:
    """A file, byte for byte; Mbit/s."""
    begun = time.monotonic()
    words = shlex.join(["curl", "-sS", "-m", f"{timeout:.0f}", *options, f"http://{host}:{port}/5/{size}"])
    got = guest.check(f"{words} | sha256sum", timeout + 10)
    assert got.split()[0] == digest(content(5, size)), got
    return size * 8 / (time.monotonic() - begun) / 1e6


def give(guest: Guest, host: str, port: int, size: int = SIZE) -> float:
    sent = guest.check(f"head -c {size} /dev/urandom >/run/up; sha256sum </run/up", 60).split()[0]
    begun = time.monotonic()
    got = guest.check(f"curl -sS -m 60 -T /run/up http://{host}:{port}/up", 70)
    assert got.split()[-1] == sent
    return size * 8 / (time.monotonic() - begun) / 1e6


def name_servers(guest: Guest) -> list[str]:
    return [line.split()[1] for line in guest.check("cat /etc/resolv.conf").splitlines() if "nameserver" in line]


def until_answered(guest: Guest, host: str, timeout: float) -> float:
    """Seconds until a ping is answered."""
    begun = time.monotonic()
    guest.check(f"until ping -c 1 -W 1 {host} >/dev/null; do sleep 0.2; done", timeout)
    return time.monotonic() - begun


# (a) this project's own server


@pytest.mark.timing
def test_behind_this_projects_own_server(cabled: Cabled, host: Servers) -> None:
    """And with the cable that README recommends, for this one test: a guest of its own."""
    eth = cabled.work / "eth0"
    with Gateway("--host-loopback", resolver=host.dns) as server:
        words = ("--ether", f"ether:unix-listen:{eth}", "--ppp", f"tty:{server.tty}")
        netdev = f"stream,id=net,addr.type=unix,addr.path={eth}"
        with (
            Gateway(*words, link="eoppp") as bridge,
            QemuGuest(devices=("-netdev", netdev, "-device", "ne2k_pci,netdev=net")) as guest,
        ):
            guest.start()
            ethernet.load(guest, "ne2k-pci")
            lease = ethernet.dhcp(guest)
            assert (lease.address, lease.variables["router"]) == ("10.0.2.15", "10.0.2.2")
            assert name_servers(guest) == ["10.0.2.3"]
            assert "3 packets received" in guest.check("ping -c 3 -i 0.2 10.0.2.2")
            assert KNOWN_ADDRESS in guest.check(f"nslookup {KNOWN_NAME}")
            rates = fetch(guest, "10.0.2.2", host.http, size=2_000_000), give(guest, "10.0.2.2", host.http, 2_000_000)
            print(f"own server: {rates[0]:.1f} Mbit/s into the guest, {rates[1]:.1f} out of it")
            assert min(rates) > 2
            assert bridge.signal(signal.SIGINT)[0] == 0
        server.wait_for("link down: the guest hung up")


def test_the_server_dies_and_is_there_again(cabled: Cabled, host: Servers) -> None:
    guest = cabled.guest
    tty = cabled.work / "own"
    with Gateway(link=f"pty:{tty}", resolver=host.dns) as server, cabled.bridge(f"tty:{tty}") as bridge:
        assert cabled.lease().address == "10.0.2.15"
        assert until_answered(guest, "10.0.2.2", 5) < 2
        server.signal(signal.SIGKILL)
        tty.unlink()  # which a server that is killed cannot do
        bridge.wait_for("does not exist: .*; trying again in 2 s")
        assert "No route to host" in guest.run("nc -w 3 10.0.2.2 80 </dev/null")[1]
        since = len(bridge.lines)
        with Gateway(link=f"pty:{tty}", resolver=host.dns):
            bridge.wait_for("link up", 20, since)
            assert until_answered(guest, "10.0.2.2", 5) < 3  # without a word of DHCP


# (b) Debian's pppd as a server


def test_behind_pppd(cabled: Cabled, pppd: PppdServer, pppd_line: str) -> None:
    guest = cabled.guest
    with cabled.bridge(pppd_line):
        pppd.serve("10.9.0.1", "10.9.0.77", "noauth", dns=("10.9.0.53", "10.9.0.54"))
        lease = cabled.lease()
        assert (lease.address, lease.variables["router"]) == ("10.9.0.77", "10.9.0.1")
        assert name_servers(guest) == ["10.9.0.53", "10.9.0.54"]
        rates = fetch(guest, "10.9.0.1", HTTP_PORT), give(guest, "10.9.0.1", HTTP_PORT)
        print(f"pppd: {rates[0]:.1f} Mbit/s into the guest, {rates[1]:.1f} out of it")


def test_a_transfer_goes_on_after_a_redial(cabled: Cabled, pppd: PppdServer, pppd_line: str) -> None:
    guest = cabled.guest
    with cabled.bridge(pppd_line) as bridge:
        pppd.serve("10.9.0.1", "10.9.0.77", "noauth")
        cabled.lease()
        url = f"http://10.9.0.1:{HTTP_PORT}/5/{SIZE}"
        guest.check(f"( curl -sS -m 60 --limit-rate 60k {url} | sha256sum >/run/got; echo >/run/done ) &")
        time.sleep(1.5)
        pppd.check("kill -HUP $(pidof pppd)")
        bridge.wait_for("link down: the server hung up", 10)
        bridge.wait_for("link up", 10, since=len(bridge.lines))
        guest.check("until [ -e /run/done ]; do sleep 0.1; done; rm /run/done", 60)
        assert guest.check("cat /run/got").split()[0] == digest(content(5, SIZE))


def test_another_address_after_a_redial_comes_with_the_lease(cabled: Cabled, pppd: PppdServer, pppd_line: str) -> None:
    guest = cabled.guest
    with cabled.bridge(pppd_line, "--lease", "10") as bridge:
        pppd.serve("10.9.0.1", "10.9.0.77", "noauth", dns=("10.9.0.53",))
        assert cabled.lease().variables["lease"] == "10"
        until_answered(guest, "10.9.0.1", 5)
        pppd.stop_serving("KILL")
        pppd.serve("172.16.5.1", "172.16.5.9", "noauth", dns=("172.16.5.53",))
        bridge.wait_for(r"link up .*local 172\.16\.5\.9", 10)
        guest.check("until ip addr show eth0 | grep -q 172.16.5.9; do sleep 0.2; done", 20)
        until_answered(guest, "172.16.5.1", 5)
        assert name_servers(guest) == ["172.16.5.53"]
        bridge.wait_for("cannot have, and was told to ask anew")


@pytest.mark.parametrize("method", ["pap", "chap"])
def test_pppd_wants_a_name_and_password(cabled: Cabled, pppd: PppdServer, pppd_line: str, method: str) -> None:
    def serve() -> None:
        pppd.serve("10.9.0.1", "10.9.0.77", "auth", f"require-{method}")

    right, wrong = cabled.work / "right", cabled.work / "wrong"
    for path, password in ((right, "sesame"), (wrong, "open")):
        path.write_text(password + "\n")
        path.chmod(0o600)
    with cabled.bridge(pppd_line) as bridge:
        serve()
        bridge.wait_for(rf"no link: the server wants a name and password \({method}.*--user and --password-file", 15)
        pppd.stop_serving("KILL")
    with cabled.bridge(pppd_line, "--user", "guest", "--password-file", str(wrong)) as bridge:
        serve()
        bridge.wait_for(rf"no link: {method.upper()} authentication of 'guest' failed: .*; trying again in", 15)
        pppd.stop_serving("KILL")
    with cabled.bridge(pppd_line, "--user", "guest", "--password-file", str(right)) as bridge:
        serve()
        bridge.wait_for("link up", 15)
        assert cabled.lease().address == "10.9.0.77"
        assert "sesame" not in bridge.output


def test_behind_a_login_prompt(cabled: Cabled, pppd: PppdServer, pppd_line: str) -> None:
    script = cabled.work / "login.chat"
    script.write_text('TIMEOUT 10 ABORT "incorrect"\nogin:--ogin: guest\nword: \\qsesame\nPPP\\sstarts \\c\n')
    with cabled.bridge(pppd_line, "--chat", str(script), "-v") as bridge:
        pppd.serve("10.9.0.1", "10.9.0.77", "noauth", login=True)
        bridge.wait_for("link up", 20)
        assert cabled.lease().address == "10.9.0.77"
        fetch(cabled.guest, "10.9.0.1", HTTP_PORT, size=30_000)
        assert "got 'ogin:'" in bridge.output and "sesame" not in bridge.output


def test_a_small_mru_makes_a_small_mtu(cabled: Cabled, pppd: PppdServer, pppd_line: str) -> None:
    guest = cabled.guest
    with cabled.bridge(pppd_line):
        pppd.serve("10.9.0.1", "10.9.0.77", "noauth", "mru", "296")
        assert cabled.lease().variables["mtu"] == "296"
        fetch(guest, "10.9.0.1", HTTP_PORT, size=50_000)
        # a guest that does not ask for the MTU: its packets are cut, or it is told
        guest.check("ip link set eth0 mtu 1500")
        give(guest, "10.9.0.1", HTTP_PORT, size=50_000)
        guest.run("ping -c 1 -W 1 -s 1200 10.9.0.1")  # goes out whole, and its sender learns why it must not
        assert "2 packets received" in guest.check("ping -c 2 -s 1200 10.9.0.1")


@pytest.mark.timing
def test_on_demand(cabled: Cabled, pppd: PppdServer, pppd_line: str) -> None:
    guest = cabled.guest
    with cabled.bridge(pppd_line, "--demand", "--idle", "2") as bridge:
        pppd.serve("10.9.0.1", "10.9.0.77", "noauth")
        forget(guest)
        time.sleep(1.0)
        assert "link up" not in bridge.output
        assert cabled.lease().address == "10.9.0.77"  # asking for it is what dials
        for _ in range(2):
            since = len(bridge.lines)
            bridge.wait_for("nothing was sent or received for 2 s; it comes up again", 15, since)
            time.sleep(1.5)
            assert not any("link up" in line for line in bridge.lines[since:])
            answered = guest.run("ping -c 1 -W 8 10.9.0.1", 15)  # the packet waits while the link comes up
            assert "1 packets received" in answered[1], bridge.output


# (c) the classic slirp


def test_behind_slirp(cabled: Cabled, host: Servers) -> None:
    need("slirp-fullbolt")
    guest = cabled.guest
    with SlirpServer() as slirp, cabled.bridge(f"tty:{slirp.tty}", "--echo-interval", "1") as bridge:
        assert cabled.lease().address == "10.0.2.15"
        assert name_servers(guest)
        rates = fetch(guest, "10.0.2.2", host.http), give(guest, "10.0.2.2", host.http)
        print(f"slirp: {rates[0]:.1f} Mbit/s into the guest, {rates[1]:.1f} out of it")
        slirp.stop()
        since = len(bridge.lines)
        slirp.start()
        until_answered(guest, "10.0.2.2", 30)
        assert any("link up" in line for line in bridge.lines[since:])


# What is said of mistakes


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["python3", "-m", "pppgate", "eoppp", "--ether", "ether:fd:0", "--ppp", "tty:/dev/null"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done

"""Three networks in one process, each with a real guest: two behind NATs of their own, one behind a pppd.

The guests that dial in are user-mode-linux; the one behind the call is QEMU with an NE2000, and the server that is
called is Debian's pppd in another user-mode-linux.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e import ethernet
from tests.e2e.gateway import Gateway
from tests.e2e.needs import QEMU, UML, need
from tests.e2e.ppp_servers import HTTP_PORT, PppdServer
from tests.e2e.qemu import QemuGuest
from tests.e2e.servers import Servers, content, digest
from tests.e2e.uml import UmlGuest

pytestmark = pytest.mark.e2e
SIZE = 200_000
PORT = 7070
CONFIG = """
verbose = 1

[network.lab]
links = ["pty:{work}/lab"]
net = "10.1.0.0/24"
host-loopback = true

[network.office]
links = ["pty:{work}/office"]
net = "10.2.0.0/24"
host-loopback = true

[network.isp]
uplink = "ppp"
links = ["ether:unix-listen:{work}/eth"]
ppp = "pty:{work}/isp"
user = "guest"
password-file = "{work}/password"
"""


class Three(NamedTuple):
    gateway: Gateway
    lab: UmlGuest
    office: UmlGuest
    behind_isp: QemuGuest
    isp: PppdServer
    lease: ethernet.Lease


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    need(*UML, *QEMU, "curl")
    with tempfile.TemporaryDirectory(prefix="networks-") as place:
        work = Path(place)
        password = work / "password"
        password.write_text("sesame\n")
        password.chmod(0o600)
        config = work / "pppgate.toml"
        config.write_text(CONFIG.format(work=work))
        card = ("-netdev", f"stream,id=net,addr.type=unix,addr.path={work}/eth", "-device", "ne2k_pci,netdev=net")
        with (
            Gateway(str(config), link="--config") as gateway,
            UmlGuest() as lab,
            UmlGuest() as office,
            PppdServer() as isp,
            QemuGuest(devices=card) as behind_isp,
        ):
            gateway.wait_for("The PPP server is on ")
            for guest, name in ((lab, "lab"), (office, "office")):
                guest.start(work / name)
                guest.dial()
                guest.default_route()
            isp.start(work / "isp")
            isp.secrets("guest", "sesame")
            isp.serve("10.9.0.1", "10.9.0.2", "auth", "require-chap", dns=("10.9.0.1",))
            gateway.wait_for("link up .*local 10.9.0.2", 60)
            behind_isp.start()
            ethernet.load(behind_isp, "ne2k-pci")
            lease = ethernet.dhcp(behind_isp)
            yield Three(gateway, lab, office, behind_isp, isp, lease)


def test_each_guest_has_an_address_of_its_own_network(three: Three) -> None:
    assert "10.1.0.15" in three.lab.check("ip -4 addr show dev ppp0")
    assert "10.2.0.15" in three.office.check("ip -4 addr show dev ppp0")
    assert three.lease.address == "10.9.0.2"


def test_each_guest_reaches_what_is_behind_its_own_uplink(three: Three, host: Servers) -> None:
    wanted = digest(content(7, SIZE))
    for guest, server in ((three.lab, f"10.1.0.2:{host.http}"), (three.office, f"10.2.0.2:{host.http}")):
        assert guest.check(f"curl -sS -m 30 http://{server}/7/{SIZE} | sha256sum", 40).split()[0] == wanted
    got = three.behind_isp.check(f"curl -sS -m 30 http://10.9.0.1:{HTTP_PORT}/7/{SIZE} | sha256sum", 40)
    assert got.split()[0] == wanted


def test_the_networks_are_apart(three: Three) -> None:
    """What one guest offers, none of another network reaches: not by its address, not by a router's.  To which host a
    packet for such an address goes otherwise is the host's affair; it may even answer."""
    server = f"import http.server as h; h.ThreadingHTTPServer(('', {PORT}), h.SimpleHTTPRequestHandler).serve_forever()"
    three.office.check("echo of-the-office >/run/secret")
    three.office.check(f'cd /run && python3 -c "{server}" >/run/served 2>&1 </dev/null &')
    three.office.check(f"until curl -s -m 1 http://10.2.0.15:{PORT}/secret | grep -q office; do sleep 0.1; done", 20)
    asked = three.office.check("wc -l </run/served").strip()
    for guest in (three.lab, three.behind_isp):
        for address in ("10.2.0.15", "10.2.0.2"):
            assert "office" not in guest.run(f"curl -sS -m 2 http://{address}:{PORT}/secret", 15)[1]
    assert three.office.check("wc -l </run/served").strip() == asked


def test_one_signal_ends_them_all_in_order(three: Three) -> None:
    status, took = three.gateway.signal(signal.SIGTERM)
    assert status == 0 and took < 2.5, three.gateway.output
    assert three.gateway.output.count("the gateway is being shut down") >= 2
    assert "the bridge is being shut down" in three.gateway.output

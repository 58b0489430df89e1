"""The gateway and the user-mode-linux guest run as an unprivileged user with no capabilities."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e import transfers
from tests.e2e.gateway import Gateway
from tests.e2e.needs import UML, need
from tests.e2e.servers import KNOWN_ADDRESS, KNOWN_NAME, Servers
from tests.e2e.uml import UmlGuest

pytestmark = [pytest.mark.e2e, pytest.mark.timing]
NOBODY = 65534


def rights(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_gateway_and_guest_without_any_privilege(host: Servers) -> None:
    need(*UML, "setpriv")
    uid = NOBODY if os.getuid() == 0 else None  # an ordinary user runs both as itself
    with Gateway("--host-loopback", uid=uid, resolver=host.dns) as gateway, UmlGuest(uid=uid) as guest:
        guest.start(gateway.tty)
        assert guest.dial_promptly().seconds < 1
        guest.default_route()
        assert "2 received" in guest.check("ping -c 2 -i 0.2 10.0.2.2")
        assert guest.check(f"dig +short @10.0.2.3 {KNOWN_NAME}").split() == [KNOWN_ADDRESS]
        transfers.download(guest, host.http, 500_000)
        transfers.upload(guest, host.http, 500_000)
        assert gateway.process is not None
        assert guest.console is not None
        assert guest.console.pid is not None
        for pid in (gateway.process.pid, guest.console.pid):
            assert set(rights(pid)["Uid"].split()) == {str(uid or os.getuid())}
            assert int(rights(pid)["CapEff"], 16) == int(rights(pid)["CapPrm"], 16) == 0
        status, took = gateway.signal()
        assert status == 0
        assert took < 1


def test_the_guest_leaves_the_host_as_it_was() -> None:
    """Its root is the host's own file system, so it must not be able to write there even as root."""
    need(*UML)
    before = subprocess.run(["ls", "-lR", "/etc/ppp"], capture_output=True, check=False).stdout
    with Gateway() as gateway, UmlGuest() as guest:
        guest.start(gateway.tty)
        guest.dial("usepeerdns")
        assert guest.run("touch /etc/written-by-a-guest /usr/written-by-a-guest")[0] != 0
        assert "nameserver 10.0.2.3" in guest.check("cat /etc/ppp/resolv.conf")
    assert not Path("/etc/written-by-a-guest").exists()
    assert subprocess.run(["ls", "-lR", "/etc/ppp"], capture_output=True, check=False).stdout == before

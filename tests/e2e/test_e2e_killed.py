"""(d) The guest killed in mid-transfer and a new one dialling in on the same link, 20 times."""

from __future__ import annotations

import time

import pytest
from e2e import transfers
from e2e.gateway import Gateway
from e2e.needs import UML, need
from e2e.servers import Servers
from e2e.uml import UmlGuest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TIMES = 20


def settled_descriptors(gateway: Gateway) -> list[str]:
    """What is open once the gateway has seen the guest go and closed what was the guest's."""
    deadline = time.monotonic() + 5
    while gateway.sockets() and time.monotonic() < deadline:
        time.sleep(0.05)
    return gateway.descriptors()


def test_twenty_guests_killed_in_mid_transfer(host: Servers) -> None:
    need(*UML)
    with Gateway("--host-loopback") as gateway:
        baseline: list[str] = []
        for turn in range(TIMES):
            before = len(gateway.lines)
            with UmlGuest(memory="96M") as guest:
                guest.start(gateway.tty)
                assert guest.dial().local == "10.0.2.15"
                transfers.download(guest, host.http, 20_000)
                url = f"http://{transfers.HOST}:{host.http}"
                guest.check(f"curl -sS -o /dev/null {url}/1/50000000 & curl -sS -T /dev/zero {url}/up >/dev/null &")
                guest.run("sleep 0.3")
                guest.kill()
            gateway.wait_for("link down", 5, since=before)
            after = settled_descriptors(gateway)
            if turn == 0:
                baseline = after
            assert len(after) == len(baseline), f"after guest {turn + 1}: {after}"
        assert gateway.signal()[0] == 0

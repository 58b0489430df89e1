"""The guest killed in mid-transfer and a new one dialing in on the same link, 20 times."""

from __future__ import annotations

import time

import pytest

from tests.e2e import transfers
from tests.e2e.gateway import Gateway
from tests.e2e.needs import UML, need
from tests.e2e.servers import Servers
from tests.e2e.uml import UmlGuest

pytestmark = [pytest.mark.e2e, pytest.mark.timing, pytest.mark.timeout(300)]
TIMES = 20


def settled_descriptors(gateway: Gateway, most: int) -> list[str]:
    """What is open, as soon as it is no more than `most`; otherwise what is still open after 5 s."""
    deadline = time.monotonic() + 5
    while len(gateway.descriptors()) > most and time.monotonic() < deadline:
        time.sleep(0.05)
    return gateway.descriptors()


def test_twenty_guests_killed_in_mid_transfer(host: Servers) -> None:
    """Flows may outlive a cut line, for a guest that redials; once the next guest is there, none of the last one's."""
    need(*UML)
    with Gateway("--host-loopback") as gateway:
        baseline = gateway.descriptors()
        for turn in range(TIMES + 1):
            before = len(gateway.lines)
            with UmlGuest(memory="96M") as guest:
                guest.start(gateway.tty)
                assert guest.dial().local == "10.0.2.15"
                transfers.download(guest, host.http, 20_000)
                left = settled_descriptors(gateway, len(baseline))
                assert len(left) <= len(baseline), f"with guest {turn + 1}: {left}, at the start: {baseline}"
                url = f"http://{transfers.HOST}:{host.http}"
                guest.check(f"curl -sS -o /dev/null {url}/1/50000000 & curl -sS -T /dev/zero {url}/up >/dev/null &")
                guest.run("sleep 0.2")
                guest.kill()
            gateway.wait_for("link down", 5, since=before)
        assert gateway.signal()[0] == 0

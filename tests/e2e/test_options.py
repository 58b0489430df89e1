"""pppd with PAP, CHAP and a wrong password; with `asyncmap ffffffff`, `mru 296`, `noaccomp nopcomp`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import transfers
from tests.e2e.gateway import Gateway
from tests.e2e.guests import Guest
from tests.e2e.needs import UML, need
from tests.e2e.servers import Servers
from tests.e2e.uml import UmlGuest

pytestmark = [pytest.mark.e2e, pytest.mark.timing]
AUTH_FAILED = 19  # pppd(8), EXIT STATUS


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="line-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def guest(place: Path) -> Iterator[Guest]:
    """One guest for all of it: its serial line is looked up by name whenever pppd opens it."""
    need(*UML)
    with UmlGuest() as running:
        running.start(place / "tty")
        yield running


@pytest.fixture
def plain(guest: Guest, place: Path) -> Iterator[Gateway]:
    with Gateway("--host-loopback", "-v", link=f"pty:{place / 'tty'}") as gateway:
        yield gateway


@pytest.fixture
def asking(guest: Guest, place: Path) -> Iterator[Gateway]:
    """A gateway that asks for a name and a password."""
    secrets = place / "secrets"
    secrets.write_text('# client server secret addresses\nalice * "open sesame" *\nbob * builder *\n')
    secrets.chmod(0o600)
    with Gateway("--host-loopback", "-v", f"--auth={secrets}", link=f"pty:{place / 'tty'}") as gateway:
        yield gateway


def secrets_of_the_guest(guest: Guest, name: str, secret: str) -> None:
    for file in ("pap-secrets", "chap-secrets"):
        guest.check(f"echo '{name} * \"{secret}\" *' >/etc/ppp/{file}")


@pytest.mark.parametrize(
    "options",
    [
        ("asyncmap", "ffffffff"),
        ("mru", "296"),
        ("noaccomp", "nopcomp"),
        ("mru", "296", "asyncmap", "ffffffff"),
        ("default-asyncmap",),
        ("nomagic",),
        ("novj", "noccp", "noipv6"),
        ("passive",),
    ],
    ids=" ".join,
)
def test_options(plain: Gateway, guest: Guest, host: Servers, options: tuple[str, ...]) -> None:
    assert guest.dial_promptly(*options).seconds < 1
    assert "2 received" in guest.check("ping -c 2 -i 0.2 -s 1000 10.0.2.2")
    transfers.download(guest, host.http, 200_000)
    transfers.upload(guest, host.http, 200_000)
    guest.hang_up()


def test_mru_296_is_kept_to(plain: Gateway, guest: Guest) -> None:
    guest.dial("mru", "296")
    plain.wait_for("link up.*296")
    guest.hang_up()


@pytest.mark.parametrize("refused", ["refuse-chap", "refuse-pap"], ids=["pap", "chap"])
def test_right_password(asking: Gateway, guest: Guest, host: Servers, refused: str) -> None:
    secrets_of_the_guest(guest, "alice", "open sesame")
    assert guest.dial_promptly("user", "alice", refused).seconds < 1
    asking.wait_for("alice")
    transfers.download(guest, host.http, 50_000)
    guest.hang_up()


@pytest.mark.parametrize("refused", ["refuse-chap", "refuse-pap"], ids=["pap", "chap"])
def test_wrong_password(asking: Gateway, guest: Guest, refused: str) -> None:
    secrets_of_the_guest(guest, "alice", "close sesame")
    guest.start_pppd("user", "alice", refused)
    assert f"status {AUTH_FAILED}" in guest.wait_pppd("status [0-9]")
    asking.wait_for("(?i)password|authentication")
    asking.wait_for("link down")
    assert not any("link up" in line for line in asking.lines)


def test_right_password_after_a_wrong_one(asking: Gateway, guest: Guest) -> None:
    secrets_of_the_guest(guest, "bob", "the wrong one")
    guest.start_pppd("user", "bob")
    guest.wait_pppd(f"status {AUTH_FAILED}")
    secrets_of_the_guest(guest, "bob", "builder")
    assert guest.dial("user", "bob").local == "10.0.2.15"
    guest.hang_up()


def test_guest_that_refuses_to_authenticate(asking: Gateway, guest: Guest) -> None:
    guest.start_pppd("refuse-pap", "refuse-chap", "refuse-mschap", "refuse-mschap-v2", "refuse-eap")
    assert "remote IP address" not in guest.wait_pppd("status [0-9]", 30)
    assert not any("link up" in line for line in asking.lines)


def test_any_name_and_password(guest: Guest, place: Path) -> None:
    secrets_of_the_guest(guest, "carol", "whatever")
    with Gateway("--auth=any", link=f"pty:{place / 'tty'}") as gateway:
        guest.dial("user", "carol")
        gateway.wait_for("carol")
        guest.hang_up()

"""Files through a guest's curl, each checked by its digest at the other end, byte for byte.

In:  a Guest with a link and the Servers of the host. Out: nothing, or an AssertionError that names the transfer.
"""

from __future__ import annotations

import time

from tests.e2e.guests import Guest
from tests.e2e.servers import content, digest

HOST = "10.0.2.2"
SEED = 7


def download(guest: Guest, port: int, size: int, timeout: float = 60) -> float:
    """Fetch `size` octets; returns Mbit/s as the host's clock saw it."""
    begun = time.monotonic()
    got = guest.check(f"curl -sS -m {timeout:.0f} http://{HOST}:{port}/{SEED}/{size} | sha256sum", timeout + 10)
    took = time.monotonic() - begun
    assert got.split()[0] == digest(content(SEED, size)), f"a download of {size} octets differs: {got}"
    return size * 8 / took / 1e6


def upload(guest: Guest, port: int, size: int, timeout: float = 60) -> float:
    """Send `size` random octets; returns Mbit/s."""
    sent = guest.check(f"head -c {size} /dev/urandom >/run/upload && sha256sum </run/upload", 60).split()[0]
    begun = time.monotonic()
    got = guest.check(f"curl -sS -m {timeout:.0f} -T /run/upload http://{HOST}:{port}/up", timeout + 10)
    took = time.monotonic() - begun
    assert got.split()[-1] == sent, f"an upload of {size} octets differs: {got}"
    return size * 8 / took / 1e6


def parallel(guest: Guest, port: int, count: int, size: int, timeout: float = 90) -> None:
    """`count` transfers at the same time, half of them in each direction, each of its own content."""
    script = [f"head -c {size} /dev/urandom >/run/upload"]
    for n in range(count):
        url = f"http://{HOST}:{port}/{n}/{size}"
        if n % 2:
            script.append(f"curl -sS -m {timeout:.0f} -T /run/upload {url} >/run/p{n} 2>&1 &")
        else:
            script.append(f"( curl -sS -m {timeout:.0f} {url} | sha256sum >/run/p{n} ) 2>&1 &")
    script.append("wait; sha256sum </run/upload")
    commands = "\n".join(script)
    # A shell of its own: the guest's has pppd among the children that "wait" waits for.
    sent = guest.check(f"(\n{commands}\n)", timeout + 20).split()[0]
    wanted = [sent if n % 2 else digest(content(n, size)) for n in range(count)]
    got = [guest.run(f"cat /run/p{n}")[1].split()[:1] for n in range(count)]
    wrong = [n for n in range(count) if got[n] != [wanted[n]]]
    assert not wrong, f"transfers {wrong} of {count} differ: {[got[n] for n in wrong]}"


def refused(guest: Guest, port: int) -> float:
    """Connect to a closed port; returns the seconds until the guest's curl was told so (its status is 7)."""
    status, output = guest.run(f"curl -sS -m 10 -o /dev/null -w '%{{time_total}}' http://{HOST}:{port}/")
    assert status == 7, f"curl's status is {status}, not 7 (refused): {output}"
    return float(output.split()[-1])

"""The main job, shown: a guest dials in with PPP and has the network, and nobody here is root.

In:  nothing, or --embedded. Out: one line a step, and a last line that says whether all of it worked (status 0).
Run it with contrib/demo, which sets up what it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e import needs, transfers  # noqa: E402
from tests.e2e.gateway import Gateway, GatewayError  # noqa: E402
from tests.e2e.guests import Guest, GuestError  # noqa: E402
from tests.e2e.servers import KNOWN_ADDRESS, KNOWN_NAME, Servers, content, digest, servers  # noqa: E402
from tests.e2e.uml import UmlGuest  # noqa: E402

UML = ("linux.uml", "pppd", "insmod", "curl", "ping")
DOWN, UP = 4_000_000, 16_000_000
EMBEDDED_SIZE = 8_000_000
BEGUN = time.monotonic()


class Failed(Exception):
    """A step did not give what it should; the text is for the user."""


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGUN:6.1f} s  {text}", flush=True)


def step(what: str, action: Callable[[], str]) -> None:
    """Do it and say how it went; Failed, with the name of the step, when it went wrong."""
    try:
        say(f"{what}: {action()}")
    except (AssertionError, GuestError, GatewayError, OSError, TimeoutError) as e:
        raise Failed(f"{what}: {e}") from e


def expect(good: bool, otherwise: str) -> None:
    if not good:
        raise Failed(otherwise)


def with_linux(gateway: Gateway, host: Servers) -> None:
    """A whole Linux as an ordinary process, its own pppd on its own serial port."""
    with UmlGuest() as guest:
        say(f"booting a Linux guest (user-mode-linux, {guest.memory} of memory) on that line ...")
        guest.start(gateway.tty)
        command = "pppd /dev/ttyS0 115200 noauth nodetach defaultroute usepeerdns"
        say(f"in the guest: {command}")
        step("link", lambda: _dial(guest, command))
        step("ping 10.0.2.2", lambda: guest.check("ping -c 3 -i 0.2 10.0.2.2 | tail -1"))
        step(f"resolve {KNOWN_NAME} through the gateway's DNS", lambda: _resolve(guest))
        step(f"download {DOWN / 1e6:g} MB over HTTP", lambda: _download(guest, host))
        step(f"upload {UP / 1e6:g} MB over HTTP", lambda: _upload(guest, host))
        say("in the guest: kill pppd")
        guest.hang_up()


def _dial(guest: Guest, command: str) -> str:
    link = guest.dial(command=command)
    return f"up in {link.seconds:.2f} s, {link.local} at the guest, {link.remote} here"


def _resolve(guest: Guest) -> str:
    guest.check("cp /etc/ppp/resolv.conf /etc/resolv.conf")
    answer = guest.check(f"getent ahostsv4 {KNOWN_NAME}").split()[0]
    expect(answer == KNOWN_ADDRESS, f"the guest got {answer} for {KNOWN_NAME}, not {KNOWN_ADDRESS}")
    return answer


def _download(guest: Guest, host: Servers) -> str:
    rate = transfers.download(guest, host.http, DOWN)
    return f"digests agree, {rate:.1f} Mbit/s (this guest reads its line one byte at a time)"


def _upload(guest: Guest, host: Servers) -> str:
    return f"digests agree, {transfers.upload(guest, host.http, UP):.0f} Mbit/s"


def with_embedded(gateway: Gateway, host: Servers) -> None:
    """This project's own PPP client, with a small TCP/IP of its own."""
    from contrib.embedded_guest import EmbeddedGuest
    from contrib.embedded_guest import GuestError as EmbeddedError

    def download() -> str:
        begun = time.monotonic()
        http = guest.http(guest.gateway, host.http)
        http.request("GET", f"/{transfers.SEED}/{EMBEDDED_SIZE}")
        got = http.getresponse().read()
        http.close()
        expect(digest(got) == digest(content(transfers.SEED, EMBEDDED_SIZE)), "the download's digest differs")
        return f"digests agree, {EMBEDDED_SIZE * 8e-6 / (time.monotonic() - begun):.0f} Mbit/s"

    def upload() -> str:
        sent = os.urandom(EMBEDDED_SIZE)
        begun = time.monotonic()
        http = guest.http(guest.gateway, host.http)
        http.request("PUT", "/up", sent)
        answer = http.getresponse().read().decode().strip()
        http.close()
        expect(answer == digest(sent), "the upload's digest differs")
        return f"digests agree, {EMBEDDED_SIZE * 8e-6 / (time.monotonic() - begun):.0f} Mbit/s"

    def resolve() -> str:
        answers = guest.resolve(KNOWN_NAME)
        expect(answers == [KNOWN_ADDRESS], f"the guest got {answers} for {KNOWN_NAME}, not {KNOWN_ADDRESS}")
        return answers[0]

    say("an embedded guest (a PPP client in Python) dials in on that line ...")
    try:
        with EmbeddedGuest(gateway.tty) as guest:
            step("link", lambda: f"up, {guest.address} at the guest, {guest.gateway} here")
            step(f"ping {guest.gateway}", lambda: f"{guest.ping(guest.gateway) * 1000:.2f} ms")
            step(f"resolve {KNOWN_NAME} through the gateway's DNS", resolve)
            size = f"{EMBEDDED_SIZE / 1e6:g} MB"
            step(f"download {size} over HTTP", download)
            step(f"upload {size} over HTTP", upload)
            guest.hang_up()
    except EmbeddedError as e:
        raise Failed(f"the embedded guest: {e}") from e


def gateway_line(text: str) -> None:
    say(f"    pppgate | {text}")


def attempt(job: Callable[[Gateway, Servers], None]) -> None:
    """One run of the whole: servers, gateway, guest, and an orderly end of the gateway."""
    with servers() as host, Gateway("--host-loopback", resolver=host.dns, on_line=gateway_line) as gateway:
        job(gateway, host)
        status, took = gateway.signal()
        expect(status == 0, f"pppgate ended with status {status}")
        say(f"pppgate ended in order, {took:.2f} s after SIGINT")


def linux_is_there() -> bool:
    if absent := needs.missing(UML):
        say(f"no Linux guest here (missing: {', '.join(absent)}): an embedded guest in Python takes its place")
        return False
    try:
        with UmlGuest() as guest:
            guest.start("/dev/null", 20)
    except GuestError as e:
        say(f"user-mode-linux does not run here ({str(e).splitlines()[-1]}): an embedded guest takes its place")
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="contrib/demo", description="A guest dials in and uses the network.")
    parser.add_argument("--embedded", action="store_true", help="a guest in Python even where a Linux guest could run")
    options = parser.parse_args()
    os.environ["PATH"] = needs.programs_on_path()
    try:
        attempt(with_embedded if options.embedded or not linux_is_there() else with_linux)
    except KeyboardInterrupt:
        print("\ncontrib/demo: interrupted.", flush=True)
        return 130
    except (Failed, GuestError, GatewayError) as e:
        print(f"\ncontrib/demo: FAILED. {e}", flush=True)
        return 1
    print(f"\ncontrib/demo: everything worked, in {time.monotonic() - BEGUN:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

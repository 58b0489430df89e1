"""A guest's network card from inside: its driver, DHCP by busybox's udhcpc, what the lease brought.

In:  a booted Guest of initramfs.py or i386.py with a card. Out: Lease, or GuestError with what udhcpc said.
It does not know which emulator has the card, nor who answers on its cable.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from tests.e2e.guests import Guest, GuestError


@dataclass(frozen=True)
class Lease:
    address: str
    variables: dict[str, str]
    """What udhcpc gives its script: ip, mask, router, dns, mtu, domain, search, lease, serverid, ..."""
    seconds: float
    """From the start of udhcpc to the lease, by the guest's clock."""


def load(guest: Guest, driver: str, *options: str, interface: str = "eth0") -> str:
    """Load the card's driver (ne2k-pci; ne io=0x300 irq=3) and bring it up; returns its MAC address."""
    guest.check(f"modprobe {shlex.join([driver, *options])}")
    guest.check(f"until [ -e /sys/class/net/{interface} ]; do sleep 0.05; done; ip link set {interface} up", 10)
    return guest.check(f"cat /sys/class/net/{interface}/address").strip()


def dhcp(guest: Guest, *options: str, interface: str = "eth0", stay: bool = False, timeout: float = 20) -> Lease:
    """Ask for a lease. `stay` leaves udhcpc running (its process id is in /run/udhcpc.pid) to renew it."""
    words = [
        "udhcpc",
        "-i",
        interface,
        "-n",
        "-S",
        "-O",
        "mtu",
        "-O",
        "search",
        "-t",
        "5",
        "-T",
        "1",
        *(["-p", "/run/udhcpc.pid"] if stay else ["-f", "-q"]),
        *options,
    ]
    guest.run("rm -f /run/lease")
    begun = float(guest.check("cut -d' ' -f1 /proc/uptime"))
    said = guest.run(shlex.join(words), timeout)[1]
    up = float(guest.check("cut -d' ' -f1 /proc/uptime"))
    variables = lease_variables(guest)
    if not variables:
        raise GuestError(f"{shlex.join(words)} got no lease; it said:\n{said}")
    return Lease(variables["ip"], variables, up - begun)


def lease_variables(guest: Guest) -> dict[str, str]:
    """What the last lease had; {} without one."""
    status, text = guest.run("cat /run/lease")
    if status:
        return {}
    lines = [line.partition("=") for line in text.splitlines() if "=" in line]
    return {name: value.strip("'") for name, _, value in lines}


def address(guest: Guest, interface: str = "eth0") -> str:
    """The IPv4 address in use, "" for none."""
    show = f"ip -4 -o addr show dev {interface} | sed -n 's/.* inet \\([0-9.]*\\).*/\\1/p'"
    return guest.run(show)[1].strip()

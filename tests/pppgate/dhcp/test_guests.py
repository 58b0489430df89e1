"""Messages in the form in which real clients send them, from the first question to the release.

Those of busybox's udhcpc 1.35, dhclient 4.4 and dhcpcd 9.4 are as they were heard from them; the others are as their
documentation and the standards have it.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.support.dhcp_bench import (
    ACK,
    BROADCAST,
    DECLINE,
    DISCOVER,
    FIRST,
    GATEWAY,
    INFORM,
    MAC,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    USUAL,
    Bench,
    Options,
    ip,
    message,
)

OWN_ID = (61, b"\x01" + MAC)
DUID = (61, bytes.fromhex("ff12345600000100012c0a1b2c525400123456"))
SETTINGS = replace(USUAL, mtu=1400, domain="lan.example", search=("lan.example", "sub.lan.example"))


@dataclass
class Client:
    name: str
    always: list[tuple[int, bytes]]
    """Options in every message but a release."""
    asks: tuple[int, ...]
    """The parameter request list; empty: it has none."""
    flags: int = 0
    size: int = 300
    """Octets to which messages are padded."""
    only_discover: list[tuple[int, bytes]] = field(default_factory=list)
    told: tuple[int, ...] = ()
    """The codes that it is told after the kind, the server and the lease, in order."""

    def options(self, *more: tuple[int, bytes]) -> Options:
        wishes = [(55, bytes(self.asks))] if self.asks else []
        return [*more, *self.always, *wishes]


CLIENTS = [
    Client(
        "busybox udhcpc",
        [(57, b"\x02\x40"), (12, b"box"), (60, b"udhcp 1.35.0"), OWN_ID],
        (1, 3, 6, 12, 15, 26, 28, 42, 119),
        told=(1, 3, 6, 15, 26, 28, 119, 58, 59, 61),
    ),
    Client(
        "dhclient",
        [(12, b"box")],
        (1, 28, 2, 3, 15, 6, 119, 12, 26),
        told=(1, 28, 3, 15, 6, 119, 26, 58, 59),
    ),
    Client(
        "dhcpcd",
        [(57, b"\x05\xc0"), (60, b"dhcpcd-9.4.1:Linux-6.1.0:x86_64"), (145, b"\1")],
        (1, 3, 26, 28, 33, 51, 58, 59, 119),
        size=323,
        only_discover=[(80, b""), (116, b"\1")],
        told=(1, 3, 26, 28, 58, 59, 119),
    ),
    Client(
        "systemd-networkd",
        [DUID, (57, b"\x05\xc0"), (12, b"box")],
        (1, 3, 6, 12, 15, 26, 42, 51, 54, 58, 59, 119, 120, 121),
        size=320,
        only_discover=[(80, b"")],
        told=(1, 3, 6, 15, 26, 58, 59, 119, 61),
    ),
    Client(
        "Windows 95",  # the host name with its NUL
        [OWN_ID, (12, b"LAB-7\0")],
        (1, 3, 15, 6, 44, 46, 47),
        size=548,
        told=(1, 3, 15, 6, 58, 59, 26, 61),
    ),
    Client(
        "Windows 98",
        [OWN_ID, (12, b"LAB-8"), (60, b"MSFT 98")],
        (1, 15, 3, 6, 44, 46, 47, 43, 77),
        only_discover=[(116, b"\1")],
        told=(1, 15, 3, 6, 58, 59, 26, 61),
    ),
    Client(
        "Windows 2000",
        [OWN_ID, (12, b"LAB-9"), (81, b"\0\0\0LAB-9."), (60, b"MSFT 5.0")],
        (1, 15, 3, 6, 44, 46, 47, 31, 33, 249, 43),
        told=(1, 15, 3, 6, 58, 59, 26, 61),
    ),
    Client("mTCP", [(12, b"DOSBOX")], (1, 3, 6), flags=BROADCAST, told=(1, 3, 6, 58, 59, 26)),
    Client("mTCP, unicast", [], (1, 3, 6), told=(1, 3, 6, 58, 59, 26)),
    Client(
        "EtherBoot",
        [(57, b"\x05\xdc"), (60, b"Etherboot-5.4")],
        (1, 3, 6, 12, 15, 17, 43, 60, 66, 67, 150),
        flags=BROADCAST,
        size=548,
        told=(1, 3, 6, 15, 58, 59, 26),
    ),
    Client("lwIP", [(57, b"\x05\xdc")], (1, 3, 28, 6), size=308, told=(1, 3, 28, 6, 58, 59, 26)),
    Client("a client that says nothing", [], (), size=240, told=(1, 3, 6, 15, 28, 26, 119, 58, 59)),
]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


@every_client
def test_from_nothing_to_a_lease_renewed_and_given_back(client: Client) -> None:
    bench = Bench(SETTINGS)
    fields: dict[str, Any] = {"flags": client.flags, "size": client.size}
    to = (b"\xff" * 4, b"\xff" * 6) if client.flags else (FIRST, MAC)

    offered = bench.ask(DISCOVER, client.options(*client.only_discover), **fields)
    assert (offered.kind, offered.address, offered.answer[1:3]) == (OFFER, FIRST, to)
    assert offered.codes == [53, 54, 51, *client.told]

    reply = bench.ask(REQUEST, client.options((50, FIRST), (54, GATEWAY)), **fields)
    assert (reply.kind, reply.address, reply.codes, reply.answer[1:3]) == (ACK, FIRST, offered.codes, to)
    assert len(reply.answer.payload) <= 548

    renewed = bench.ask(REQUEST, client.options(), ciaddr=FIRST, now=3600.0, source=FIRST, **fields)
    assert (renewed.kind, renewed.address, renewed.answer[1:3]) == (ACK, FIRST, (FIRST, MAC))

    rebooted = bench.ask(REQUEST, client.options((50, FIRST)), now=4000.0, **fields)
    assert (rebooted.kind, rebooted.address) == (ACK, FIRST)

    identity = [each for each in client.always if each[0] == 61]
    assert bench.give(message(RELEASE, [(54, GATEWAY), *identity], ciaddr=FIRST), 4100.0) is None
    assert bench.pool.holder(FIRST) is None and not bench.count

    later = bench.ask(DISCOVER, client.options(), now=1e6, **fields)
    assert later.address == FIRST


@every_client
def test_from_another_network(client: Client) -> None:
    """The guest's disk was made elsewhere: it is told no, and then comes up as if new."""
    bench = Bench(SETTINGS)
    bench.lease(bytes.fromhex("020000000001"))
    elsewhere = bytes((192, 168, 1, 104))
    refused = bench.ask(REQUEST, client.options((50, elsewhere)), flags=client.flags)
    assert refused.kind == NAK and refused.answer[1:3] == (b"\xff" * 4, b"\xff" * 6)
    assert "192.168.1.104" in refused.answer.said
    assert bench.ask(DISCOVER, client.options((50, elsewhere)), flags=client.flags).address == ip(16)


@every_client
def test_somebody_else_answers_for_the_address(client: Client) -> None:
    bench = Bench(SETTINGS)
    bench.ask(REQUEST, client.options((50, FIRST), (54, GATEWAY)))
    identity = [each for each in client.always if each[0] == 61]
    assert bench.give(message(DECLINE, [(50, FIRST), (54, GATEWAY), *identity])) is None
    assert not bench.count
    assert bench.ask(DISCOVER, client.options(), now=10.0).address == ip(16)


def test_windows_with_a_fixed_address_asks_for_the_rest() -> None:
    """Windows 98 and later: DHCPINFORM for the proxy's address (252)."""
    options = [OWN_ID, (12, b"LAB-8"), (60, b"MSFT 5.0"), (55, bytes((1, 15, 3, 6, 44, 46, 47, 31, 33, 43, 252)))]
    reply = Bench(SETTINGS).ask(INFORM, options, ciaddr=ip(77), source=ip(77))
    assert reply.codes == [53, 54, 1, 15, 3, 6, 26, 61]
    assert reply.answer[1:3] == (ip(77), MAC)


def test_a_boot_rom_asks_by_bootp_and_then_the_system_by_dhcp() -> None:
    bench = Bench(SETTINGS)
    rom = bench.ask(None, area=bytes(64), flags=0)
    assert (rom.address, rom.bootp.siaddr) == (FIRST, "10.0.2.2")
    windows = next(client for client in CLIENTS if client.name == "Windows 98")
    assert bench.ask(DISCOVER, windows.options(), now=60.0).address == FIRST
    linux = next(client for client in CLIENTS if client.name == "systemd-networkd")
    assert bench.ask(REQUEST, linux.options((50, FIRST)), now=120.0).kind == ACK


def test_a_names_nul_is_not_shown_and_no_control_characters_are() -> None:
    bench = Bench()
    for name, shown in ((b"LAB-7\0", " (LAB-7)"), (b"a\x1b[2Jb", ""), (b"x" * 33, ""), (b"m\xfcnchen", ""), (b"", "")):
        reply = bench.ask(REQUEST, [(50, FIRST), (12, name)])
        assert reply.answer.said == f"52:54:00:12:34:56{shown} has leased 10.0.2.15"

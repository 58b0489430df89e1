"""The DHCP server in every state of a client (RFC 2131 section 4.3), BOOTP, and what it must not be talked into."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.dhcp.leases import GRACE, PoolLeases
from pppgate.dhcp.server import WAITING_MOST, DhcpServer, Settings
from pppgate.ether.dhcp_service import Answer
from tests.support.dhcp_bench import (
    ACK,
    BROADCAST,
    COOKIE,
    DECLINE,
    DISCOVER,
    DNS,
    FIRST,
    GATEWAY,
    INFORM,
    LEASE,
    MAC,
    NAK,
    NOWHERE,
    OFFER,
    OTHER_MAC,
    RELEASE,
    REQUEST,
    USUAL,
    Bench,
    ip,
    message,
)

EVERYBODY = b"\xff" * 4
EVERY_MAC = b"\xff" * 6
FULL = replace(USUAL, domain="lan.example", search=("lan.example", "example"), mtu=1400, dns=(DNS, ip(4)))


# Asking for an address


def test_from_discover_to_lease() -> None:
    bench = Bench()
    offered = bench.ask(DISCOVER)
    assert (offered.kind, offered.address, offered.bootp.ciaddr) == (OFFER, FIRST, "0.0.0.0")
    reply = bench.ask(REQUEST, [(50, FIRST), (54, GATEWAY), (12, b"lab-7")])
    assert (reply.kind, reply.address, reply.bootp.siaddr) == (ACK, FIRST, "0.0.0.0")
    assert reply.options["server_id"] == "10.0.2.2"
    assert reply.options["lease_time"] == 7200
    assert (reply.options["renewal_time"], reply.options["rebinding_time"]) == (3600, 6300)
    assert reply.answer.said == "52:54:00:12:34:56 (lab-7) has leased 10.0.2.15"
    assert reply.answer.key == bench.pool.holder(FIRST) == "ether 52:54:00:12:34:56"
    assert not bench.count


def test_all_that_there_is_to_tell_when_the_client_does_not_say() -> None:
    reply = Bench(FULL).ask(DISCOVER)
    assert reply.codes == [53, 54, 51, 1, 3, 6, 15, 28, 26, 119, 58, 59]
    assert reply.options["subnet_mask"] == "255.255.255.0" and reply.options["router"] == "10.0.2.2"
    assert reply.options["name_server"] == ["10.0.2.3", "10.0.2.4"]
    assert reply.options["domain"] == b"lan.example"
    assert reply.options["broadcast_address"] == "10.0.2.255" and reply.options["interface-mtu"] == 1400
    assert reply.options[119] == b"\x03lan\x07example\x00\xc0\x04"


def test_what_was_asked_for_in_its_order() -> None:
    reply = Bench(FULL).ask(DISCOVER, [(55, bytes((119, 15, 1, 42, 6, 59, 3, 58, 26, 28, 6)))])
    assert reply.codes == [53, 54, 51, 119, 15, 1, 6, 59, 3, 58, 26, 28]


@given(st.binary(min_size=1, max_size=255))
def test_any_list_of_wishes(wanted: bytes) -> None:
    reply = Bench(FULL).ask(DISCOVER, [(55, wanted), (57, b"\x05\xdc")], size=700)
    known = {1, 3, 6, 15, 26, 28, 119}
    told = reply.codes[3:]
    assert set(told) == (known & set(wanted)) | {1, 26, 58, 59}
    mentioned = [code for code in told if code in wanted and code != 1]
    assert mentioned == [code for code in dict.fromkeys(wanted) if code in mentioned]
    assert 3 not in told or told.index(1) < told.index(3)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [((3, 1), [1, 3, 58, 59]), ((6,), [1, 6, 58, 59]), ((6, 3, 28, 1), [6, 1, 3, 28, 58, 59]), ((200,), [1, 58, 59])],
)
def test_the_mask_is_told_and_comes_before_the_router(wanted: tuple[int, ...], told: list[int]) -> None:
    assert Bench().ask(DISCOVER, [(55, bytes(wanted))]).codes[3:] == told


def test_nothing_empty_is_told() -> None:
    bench = Bench(replace(USUAL, routers=(), dns=()))
    assert bench.ask(DISCOVER, [(55, bytes((1, 3, 6, 15, 119)))]).codes == [53, 54, 51, 1, 58, 59]


def test_a_lease_for_ever_is_never_renewed() -> None:
    reply = Bench(replace(USUAL, lease=math.inf)).ask(DISCOVER)
    assert reply.options["lease_time"] == 0xFFFFFFFF and not {58, 59} & set(reply.codes)


def test_an_address_that_lies_in_the_network_and_is_free_is_offered() -> None:
    bench = Bench()
    assert bench.lease(wanted=ip(99)) == ip(99)
    assert bench.lease(OTHER_MAC, wanted=ip(99)) == FIRST


@pytest.mark.parametrize("wanted", [GATEWAY, DNS, ip(0), ip(255), bytes((192, 168, 0, 9)), NOWHERE, b"\xff" * 4])
def test_another_is_offered_where_a_wish_cannot_be(wanted: bytes) -> None:
    assert Bench().ask(DISCOVER, [(50, wanted)]).address == FIRST


def test_a_bound_client_is_offered_what_it_has() -> None:
    bench = Bench()
    bench.lease()
    assert bench.ask(DISCOVER, [(50, ip(77))]).address == FIRST


def test_a_full_network_is_silent() -> None:
    bench = Bench(replace(USUAL, prefix=29), "10.0.2.0/29", (ip(1), ip(2)), ip(3))
    bench.settings = replace(USUAL, prefix=29)
    macs = [bytes((2, 0, 0, 0, 0, number)) for number in range(5)]
    assert [bench.lease(mac) for mac in macs[:4]] == [ip(3), ip(4), ip(5), ip(6)]
    bench.used = {ip(number): f"ether {mac.hex(':')}" for number, mac in enumerate(macs[:4], 3)}
    bench.silent("dhcp.none_free", DISCOVER, mac=macs[4])
    assert bench.ask(REQUEST, mac=macs[0], ciaddr=ip(3)).options["subnet_mask"] == "255.255.255.248"
    assert bench.ask(REQUEST, mac=macs[0], ciaddr=ip(3)).options["broadcast_address"] == "10.0.2.7"


def test_other_networks() -> None:
    def at(last: int) -> bytes:
        return bytes((192, 168, 16, last))

    settings = replace(USUAL, server=at(1), routers=(at(1),), dns=(at(1),))
    bench = Bench(settings, "192.168.16.0/24", (at(1),), at(10))
    reply = bench.ask(DISCOVER)
    assert reply.address == at(10) and reply.options["broadcast_address"] == "192.168.16.255"
    assert bench.ask(REQUEST, [(50, FIRST)]).kind == NAK  # it comes from another network
    assert bench.ask(REQUEST, [(50, at(200))]).kind == ACK


def test_nothing_can_be_leased_now() -> None:
    bench = Bench(None)
    bench.silent("dhcp.nothing_to_lease", DISCOVER)
    bench.silent("dhcp.nothing_to_lease", None)


# Requesting


def test_another_server_was_chosen() -> None:
    bench = Bench()
    bench.ask(DISCOVER)
    bench.silent("dhcp.other_server", REQUEST, [(50, FIRST), (54, ip(9))])
    assert bench.lease(OTHER_MAC) != FIRST  # what was offered is held for a minute
    assert bench.lease(bytes.fromhex("020000000001"), now=100.0, wanted=FIRST) == FIRST


def test_selecting_what_was_not_offered_but_is_free() -> None:
    bench = Bench()
    bench.ask(DISCOVER)
    assert bench.ask(REQUEST, [(50, ip(40)), (54, GATEWAY)]).kind == ACK
    assert bench.pool.holder(FIRST) is None and bench.pool.holder(ip(40)) is not None


def test_a_reboot_keeps_the_address() -> None:
    bench = Bench()
    bench.lease(wanted=ip(40))
    reply = bench.ask(REQUEST, [(50, ip(40))], now=10.0)
    assert (reply.kind, reply.address) == (ACK, ip(40))
    assert reply.answer.said


def test_a_reboot_after_ours_keeps_it_too() -> None:
    assert Bench().ask(REQUEST, [(50, ip(40))]).address == ip(40)


@pytest.mark.parametrize("state", ["selecting", "rebooting", "renewing"])
def test_somebody_elses_address_is_refused_to_everybodys_hearing(state: str) -> None:
    bench = Bench()
    bench.lease(OTHER_MAC)
    fields: dict[str, dict[str, Any]] = {
        "selecting": {"options": [(50, FIRST), (54, GATEWAY)]},
        "rebooting": {"options": [(50, FIRST)]},
        "renewing": {"options": [], "ciaddr": FIRST},
    }
    reply = bench.ask(REQUEST, **fields[state])
    assert (reply.kind, reply.address, reply.bootp.ciaddr) == (NAK, NOWHERE, "0.0.0.0")
    assert reply.codes == [53, 54, 56]
    assert (reply.answer.address, reply.answer.mac) == (EVERYBODY, EVERY_MAC)
    assert bench.count == {"dhcp.nak": 1}
    assert bench.pool.holder(FIRST) == "ether 52:54:00:ab:cd:ef"


def test_renewing_counts_the_lease_from_now() -> None:
    bench = Bench()
    bench.lease()
    reply = bench.ask(REQUEST, ciaddr=FIRST, now=LEASE - 1, source=FIRST)
    assert (reply.kind, reply.address, reply.bootp.ciaddr) == (ACK, FIRST, "10.0.2.15")
    assert (reply.answer.address, reply.answer.mac, reply.answer.said) == (FIRST, MAC, "")
    bench.leases.tick(2 * LEASE - 2 + GRACE)
    assert bench.pool.holder(FIRST) is not None
    bench.leases.tick(2 * LEASE + GRACE)
    assert bench.pool.holder(FIRST) is None


def test_renewing_tells_what_has_changed_meanwhile() -> None:
    """A redial brought other name servers: the guest learns it when it renews."""
    bench = Bench()
    bench.lease()
    bench.settings = replace(USUAL, dns=(ip(200),))
    assert bench.ask(REQUEST, ciaddr=FIRST).options["name_server"] == "10.0.2.200"


def test_a_request_for_nothing() -> None:
    Bench().silent("dhcp.no_address", REQUEST)
    Bench().silent("dhcp.no_address", REQUEST, [(50, NOWHERE)])


# Where the answer goes (RFC 2131 section 4.1)


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST, None])
def test_to_the_card_or_to_everybody_as_the_client_says(kind: int | None) -> None:
    reply = Bench().ask(kind, [] if kind is None else [(50, FIRST)])
    assert (reply.answer.address, reply.answer.mac) == (FIRST, MAC)
    reply = Bench().ask(kind, [] if kind is None else [(50, FIRST)], flags=BROADCAST)
    assert (reply.answer.address, reply.answer.mac) == (EVERYBODY, EVERY_MAC)


def test_to_the_address_that_the_client_has() -> None:
    bench = Bench()
    reply = bench.ask(REQUEST, ciaddr=ip(30), flags=BROADCAST)
    assert (reply.kind, reply.answer.address, reply.answer.mac) == (ACK, ip(30), MAC)


# Inform, decline, release


def test_inform_leases_nothing() -> None:
    bench = Bench(FULL)
    reply = bench.ask(INFORM, [(55, bytes((15, 6)))], ciaddr=ip(50))
    assert (reply.kind, reply.address, reply.codes) == (ACK, NOWHERE, [53, 54, 1, 15, 6, 26])
    assert (reply.answer.address, reply.answer.mac) == (ip(50), MAC)
    assert bench.pool.holder(ip(50)) is None and len(bench.leases) == 0


def test_inform_from_an_address_that_stands_in_the_ip_header_only() -> None:
    assert Bench().ask(INFORM, source=ip(50)).answer.address == ip(50)
    Bench().silent("dhcp.no_address", INFORM)


def test_a_released_address_is_the_last_to_go_to_somebody_else_and_comes_back() -> None:
    bench = Bench()
    bench.lease()
    answer = bench.hear(message(RELEASE, [(54, GATEWAY)], ciaddr=FIRST), MAC, FIRST, 1.0)
    assert answer is not None and not answer.payload and answer.said == "52:54:00:12:34:56 has given 10.0.2.15 back"
    assert bench.pool.holder(FIRST) is None
    assert bench.lease(OTHER_MAC, now=2.0) == ip(16)
    assert bench.lease(now=1e6) == FIRST


def test_nobody_releases_or_declines_for_another() -> None:
    bench = Bench()
    bench.lease()
    for kind, fields in ((RELEASE, {"ciaddr": FIRST}), (DECLINE, {"options": [(50, FIRST)]})):
        bench.silent("dhcp.not_its_own", kind, mac=OTHER_MAC, **fields)
        bench.silent("dhcp.chaddr", kind, mac=b"\x03" + MAC[1:], **fields)
        forged = message(kind, mac=MAC, **fields)
        assert bench.give(forged, mac=OTHER_MAC) is None
    bench.silent("dhcp.other_server", RELEASE, [(54, ip(9))], ciaddr=FIRST)
    bench.silent("dhcp.other_server", DECLINE, [(54, ip(9)), (50, FIRST)])
    bench.silent("dhcp.no_address", DECLINE)
    bench.silent("dhcp.not_its_own", RELEASE)
    assert bench.pool.holder(FIRST) == "ether 52:54:00:12:34:56"


def test_a_declined_address_is_left_alone_for_a_while() -> None:
    bench = Bench()
    bench.lease()
    assert bench.give(message(DECLINE, [(50, FIRST), (54, GATEWAY)])) is None
    assert bench.lease(wanted=FIRST, now=1.0) == ip(16)
    assert bench.lease(OTHER_MAC, now=1.0) == ip(17)
    assert bench.lease(bytes.fromhex("020000000001"), wanted=FIRST, now=1e4) == FIRST


# Who is who


def test_leases_are_kept_by_client_identifier_over_a_change_of_card() -> None:
    bench = Bench()
    duid = [(61, bytes.fromhex("ff00000001000100011234"))]
    assert bench.lease(MAC, duid, wanted=ip(60)) == ip(60)
    bench.give(message(RELEASE, duid, ciaddr=ip(60)))
    assert bench.lease(OTHER_MAC, duid) == ip(60)
    reply = bench.ask(DISCOVER, duid, mac=OTHER_MAC)
    assert reply.options["client_id"] == duid[0][1] and reply.codes[-1] == 61  # RFC 6842


def test_a_copied_machine_does_not_take_the_address_of_the_one_it_was_copied_from() -> None:
    bench = Bench()
    duid = [(61, bytes.fromhex("ff00000001000100011234"))]
    first = bench.lease(MAC, duid)
    second = bench.lease(OTHER_MAC, duid)
    assert first != second
    for now in (10.0, LEASE, LEASE * 1.9):
        assert bench.ask(REQUEST, duid, mac=OTHER_MAC, ciaddr=second, now=now).kind == ACK
    assert bench.ask(REQUEST, duid, mac=OTHER_MAC, ciaddr=first, now=20.0).kind == NAK
    # the first has gone, the identifier is free, and the second still keeps what it has
    assert bench.ask(REQUEST, duid, mac=OTHER_MAC, ciaddr=second, now=LEASE * 2.8).kind == ACK


def test_giving_one_of_two_addresses_back_keeps_the_other() -> None:
    bench = Bench()
    duid = [(61, bytes.fromhex("ff00000001000100011234"))]
    kept = bench.lease(MAC, duid)
    booted = bench.ask(None).address
    assert booted != kept
    bench.give(message(RELEASE, duid, ciaddr=booted))
    assert bench.pool.holder(booted) is None
    assert bench.ask(DISCOVER, duid, mac=OTHER_MAC).address != kept


def test_what_boots_a_machine_and_what_runs_on_it_share_the_address() -> None:
    bench = Bench()
    address = bench.ask(None, mac=MAC).address
    assert bench.lease(MAC, [(61, b"\x01" + MAC)]) == address
    assert bench.lease(MAC, [(61, bytes.fromhex("ff00000001000100011234"))], wanted=address) == address


def test_relayed_information_goes_back_last() -> None:
    reply = Bench().ask(DISCOVER, [(82, b"\x01\x04ring"), (61, b"\x00me")])
    assert reply.codes[-2:] == [61, 82]


# BOOTP


def test_bootp_is_answered_for_ever_in_300_octets() -> None:
    bench = Bench(FULL)
    reply = bench.ask(None)
    assert (reply.kind, reply.address, reply.bootp.siaddr) == (None, FIRST, "10.0.2.2")
    assert reply.codes == [1, 3, 6, 15] and len(reply.answer.payload) == 300
    assert bench.ask(None, now=5.0).address == FIRST
    assert reply.answer.said == "52:54:00:12:34:56 has got 10.0.2.15 by BOOTP"


def test_bootp_without_the_magic_cookie() -> None:
    for area in (bytes(64), b"CMU\0" + b"\xff" * 60):
        assert Bench().ask(None, area=area).address == FIRST


def test_bootp_of_a_client_that_knows_its_address() -> None:
    bench = Bench()
    reply = bench.ask(None, ciaddr=ip(50), flags=BROADCAST)
    assert (reply.address, reply.bootp.ciaddr, reply.answer.address) == (NOWHERE, "10.0.2.50", ip(50))
    assert bench.pool.holder(ip(50)) is None


def test_what_does_not_fit_in_64_octets_is_left_out() -> None:
    bench = Bench(replace(FULL, domain="a" * 50 + ".example"))
    reply = bench.ask(None)
    assert reply.codes == [1, 3, 6] and len(reply.answer.payload) == 300


def test_bootp_in_a_full_network_or_too_short() -> None:
    bench = Bench(USUAL, "10.0.2.0/30", (ip(1),), ip(2))
    bench.used = {bench.lease(): "ether 52:54:00:12:34:56"}
    bench.silent("dhcp.none_free", None, mac=OTHER_MAC)
    bench.silent("dhcp.short", None, size=299)


def test_a_bootp_guest_that_runs_keeps_its_address() -> None:
    bench = Bench()
    bench.ask(None)
    bench.used[FIRST] = "ether 52:54:00:12:34:56"
    assert bench.lease(OTHER_MAC, now=1e6, wanted=FIRST) == ip(16)
    assert bench.ask(None, now=1e6).address == FIRST


# Messages that are not for us


@pytest.mark.parametrize(
    ("counted", "fields"),
    [
        ("dhcp.op", {"op": 2}),
        ("dhcp.op", {"op": 0}),
        ("dhcp.hardware", {"htype": 6}),
        ("dhcp.hardware", {"hlen": 16}),
        ("dhcp.hardware", {"hlen": 0}),
        ("dhcp.giaddr", {"giaddr": ip(9)}),
        ("dhcp.chaddr", {"mac": EVERY_MAC}),
        ("dhcp.chaddr", {"mac": bytes.fromhex("01005e000001")}),
        ("dhcp.chaddr", {"mac": bytes(6)}),
        ("dhcp.ciaddr", {"ciaddr": EVERYBODY}),
        ("dhcp.ciaddr", {"ciaddr": bytes((127, 0, 0, 1))}),
        ("dhcp.ciaddr", {"ciaddr": bytes((224, 0, 0, 1))}),
        ("dhcp.option_length", {"options": [(50, b"\x0a\0\2")]}),
        ("dhcp.long", {"size": 4097}),
    ],
)
@pytest.mark.parametrize("kind", [DISCOVER, None])
def test_dropped_by_name(kind: int | None, counted: str, fields: dict[str, Any]) -> None:
    bench = Bench()
    bench.silent(counted, kind, **fields)
    assert len(bench.leases) == 0


@pytest.mark.parametrize("kind", [0, OFFER, ACK, NAK, 9, 13, 255])
def test_kinds_that_are_not_a_clients(kind: int) -> None:
    Bench().silent("dhcp.kind", kind)


@pytest.mark.parametrize("kind", [DISCOVER, REQUEST, INFORM, RELEASE, DECLINE, None])
def test_every_truncation(kind: int | None) -> None:
    """Dropped, under one name; but between two options it cannot be told from a message without its end mark."""
    options = [(61, b"\x01" + MAC), (50, FIRST), (55, bytes((1, 3, 6)))]
    whole = message(kind, options, ciaddr=FIRST if kind in (INFORM, RELEASE) else NOWHERE)
    boundaries = [240]
    while whole[boundaries[-1]] != 255:
        boundaries.append(boundaries[-1] + 2 + whole[boundaries[-1] + 1])
    end = boundaries[-1]
    for length in range(len(whole)):
        bench = Bench()
        answer = bench.hear(whole[:length], MAC, NOWHERE, 0.0)
        if length < 240 or kind is None:
            assert answer is None and len(bench.leases) == 0
        inside = 240 < length < end and length not in boundaries
        assert not inside or (answer is None and bench.count == {"dhcp.options": 1})
        assert length < end or kind is None or answer is not None or kind in (RELEASE, DECLINE)
        assert answer is not None or sum(bench.count.values()) == 1


def test_one_card_with_every_client_identifier_has_few_addresses() -> None:
    bench = Bench()
    for number in range(300):
        bench.lease(MAC, [(61, b"\x00" + number.to_bytes(2, "big"))])
    assert len(bench.leases) <= 5
    assert bench.lease(OTHER_MAC) not in (None, FIRST)


def test_a_hundred_thousand_hardware_addresses_from_one_card() -> None:
    bench = Bench()
    bench.lease()
    template = bytearray(message(DISCOVER))
    for number in range(100_000):
        template[30:34] = number.to_bytes(4, "big")
        bench.hear(bytes(template), MAC, NOWHERE, number / 1000)
    assert bench.count == {"dhcp.chaddr": 100_000} and len(bench.leases) == 1


def test_thousands_of_cards_that_only_ask_leave_room_for_one_that_means_it() -> None:
    bench = Bench()
    for number in range(3_000):
        mac = b"\x02\x00" + number.to_bytes(4, "big")
        bench.hear(message(DISCOVER, [(61, b"\0id" + mac)], mac=mac), mac, NOWHERE, number / 1000)
        if number % 1000 == 500:
            bench.lease(b"\x06\x00" + number.to_bytes(4, "big"), now=number / 1000)
    bound = [bench.pool.holder(ip(last)) for last in range(256)]
    assert sum("ether 06:00" in (key or "") for key in bound) == 3
    assert len(bench.leases) <= 252 and not bench.count


def test_overload_is_read_once() -> None:
    kind = bytes((53, 1, DISCOVER))
    wish = bytes((50, 4)) + ip(44)
    cases: list[tuple[int, dict[str, Any]]] = [
        (1, {"file": wish}),
        (2, {"sname": wish}),
        (3, {"file": b"\xff", "sname": wish}),
    ]
    for value, fields in cases:
        area = COOKIE + kind + bytes((52, 1, value, 255))
        assert Bench().ask(None, area=area, **fields).address == ip(44), value
        again = {name: bytes((52, 1, 3)) + octets for name, octets in fields.items()}
        Bench().silent("dhcp.option_length", None, area=area, **again)
    for value in (0, 4, 255):
        Bench().silent("dhcp.overload", None, area=COOKIE + kind + bytes((52, 1, value, 255)))
    for lie in (b"\x34\0\xff", b"\x34\2\3\3\xff"):
        Bench().silent("dhcp.overload", None, area=COOKIE + kind + lie)
    Bench().silent("dhcp.options", None, area=COOKIE + kind + bytes((52, 1, 1, 255)), file=b"\x0c\xff" + b"x" * 126)
    assert Bench().ask(DISCOVER, file=b"vmlinuz", sname=b"boot").address == FIRST  # names, not options


# The size of the reply


@pytest.mark.parametrize(("size", "most"), [(None, 548), (0, 548), (300, 548), (576, 548), (1000, 972), (65535, 1472)])
def test_a_reply_is_no_longer_than_its_reader_takes(size: int | None, most: int) -> None:
    many = tuple(ip(10 + number) for number in range(60))
    settings = replace(USUAL, dns=many, domain="d" * 60 + ".example", search=("s.example",))
    options = [] if size is None else [(57, size.to_bytes(2, "big"))]
    reply = Bench(settings).ask(DISCOVER, options)
    assert 300 <= len(reply.answer.payload) <= most
    assert {1, 3, 6, 51, 53, 54} <= set(reply.codes)
    assert (119 in reply.codes and 15 in reply.codes) or most == 548


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": 33},
        {"routers": (b"\x0a\0\2",)},
        {"dns": (bytes(16),)},
        {"mtu": 67},
        {"mtu": 65536},
        {"lease": 0.5},
        {"lease": math.nan},
        {"domain": "not a name"},
        {"search": ("ok.example", "..")},
    ],
)
def test_settings_that_cannot_be_told(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^[A-Z'].*\.$"):
        replace(USUAL, **wrong)  # type: ignore[arg-type]


# Any octets at all

codes = st.sampled_from((0, 1, 3, 6, 12, 50, 51, 52, 53, 54, 55, 57, 61, 82, 119, 255)) | st.integers(0, 255)
tlvs = st.lists(st.tuples(codes, st.binary(max_size=8), st.none() | st.integers(0, 255)), max_size=12).map(
    lambda each: b"".join(bytes((code, len(value) if lie is None else lie)) + value for code, value, lie in each)
)


@given(tlvs, st.sampled_from((None, *range(10))), tlvs, tlvs, st.sampled_from((NOWHERE, FIRST)), st.integers(0, 0xFFFF))
def test_typed_at_random(area: bytes, kind: int | None, sname: bytes, file: bytes, ciaddr: bytes, flags: int) -> None:
    bench = Bench()
    first = b"" if kind is None else bytes((53, 1, kind))
    whole = message(None, area=COOKIE + first + area, sname=sname[:64], file=file[:128], ciaddr=ciaddr, flags=flags)
    answer = bench.hear(whole, MAC, NOWHERE, 0.0)
    if answer is None:
        assert sum(bench.count.values()) == 1
    elif answer.payload:
        bench.count.clear()
        reply = bench.give(whole)  # read by Scapy
        assert reply is not None and len(reply.answer.payload) <= 1472
    assert len(bench.leases) <= 1


@given(st.binary(max_size=400))
def test_random_octets_lease_nothing_to_a_stranger(payload: bytes) -> None:
    bench = Bench()
    assert bench.hear(payload, MAC, NOWHERE, 0.0) is None
    assert sum(bench.count.values()) == 1 and len(bench.leases) == 0


def test_settings_can_be_imported_from_the_server() -> None:
    assert Settings(GATEWAY, 24, (), (), 1500, 60.0).search == ()


# Leases that take their time


class Slow:
    """Leases that answer when they are told to; what they answer is the pool's."""

    def __init__(self, leases: PoolLeases) -> None:
        self.leases = leases
        self.answers: list[Callable[[float], None]] = []

    def lease(self, key: str, wanted: bytes | None, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        self.answers.append(lambda now: self.leases.lease(key, wanted, now, answer))

    def claim(self, key: str, address: bytes, now: float, answer: Callable[[bool, float], None]) -> None:
        self.answers.append(lambda now: self.leases.claim(key, address, now, answer))

    def release(self, key: str, address: bytes, now: float) -> None:
        self.leases.release(key, address, now)

    def decline(self, key: str, address: bytes, now: float) -> None:
        self.leases.decline(key, address, now)

    def holder(self, address: bytes) -> str | None:
        return self.leases.holder(address)


class SlowBench(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.slow = Slow(self.leases)
        self.server = DhcpServer(self.slow, lambda: self.settings, self.count)
        self.answers: list[tuple[Answer, float]] = []

    def say(self, payload: bytes, now: float = 0.0) -> None:
        self.server.receive(payload, payload[28:34], NOWHERE, now, lambda *answer: self.answers.append(answer))

    def decide(self, now: float) -> None:
        self.slow.answers.pop(0)(now)


def test_an_answer_comes_when_the_leases_have_decided() -> None:
    bench = SlowBench()
    bench.say(message(DISCOVER))
    assert not bench.answers
    bench.decide(3.0)
    ((answer, now),) = bench.answers
    assert now == 3.0 and answer.payload[16:20] == FIRST
    bench.say(message(REQUEST, [(50, FIRST), (54, GATEWAY)]), 4.0)
    assert len(bench.answers) == 1
    bench.decide(9.0)
    assert bench.answers[1][0].said.endswith("has leased 10.0.2.15")
    bench.say(message(None, mac=MAC[:5] + b"\x77"), 10.0)  # BOOTP is two questions
    bench.decide(11.0)
    assert len(bench.answers) == 2
    bench.decide(12.0)
    assert bench.answers[2][1] == 12.0 and not bench.slow.answers


def test_a_client_that_repeats_itself_is_asked_about_once() -> None:
    bench = SlowBench()
    for _ in range(5):
        bench.say(message(DISCOVER))
    assert len(bench.slow.answers) == 1 and bench.count == {"dhcp.repeated": 4}
    bench.decide(1.0)
    assert len(bench.answers) == 1


def test_a_client_that_asks_something_else_meanwhile_hears_that_only() -> None:
    bench = SlowBench()
    bench.say(message(DISCOVER))
    bench.say(message(REQUEST, [(50, FIRST)]))
    bench.decide(1.0)
    assert not bench.answers
    bench.decide(2.0)
    ((answer, _),) = bench.answers
    assert answer.said.endswith("has leased 10.0.2.15")


def test_who_waits_is_bounded() -> None:
    bench = SlowBench()
    for number in range(WAITING_MOST + 3):
        bench.say(message(DISCOVER, mac=MAC[:4] + number.to_bytes(2, "big")))
    assert len(bench.slow.answers) == WAITING_MOST and bench.count == {"dhcp.too_many": 3}

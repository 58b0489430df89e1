"""Octets of DHCP messages: options in parts, lengths that lie, search lists, the room that a reply has."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from pppgate.dhcp import message as wire
from pppgate.dhcp.message import build, domain_labels, encode_search
from tests.support.dhcp_bench import COOKIE, DISCOVER, MAC, message, spell


def options_of(area: bytes, **fields: Any) -> dict[int, bytes]:
    return parse(message(None, area=COOKIE + area, size=0, **fields)).options


def why(payload: bytes) -> str:
    """What a message that is dropped is counted under."""
    count: Counter[str] = Counter()
    assert wire.parse(payload, count) is None
    (name,) = count
    return name


def parse(payload: bytes) -> wire.Message:
    """A message that is sound."""
    count: Counter[str] = Counter()
    read = wire.parse(payload, count)
    assert read is not None and not count
    return read


def test_the_fixed_part() -> None:
    payload = message(DISCOVER, [(12, b"me")], ciaddr=b"\x0a\0\2\x0f", flags=0x8000)
    read = parse(payload)
    assert (read.length, read.xid, read.flags) == (300, payload[4:8], 0x8000)
    assert (read.ciaddr, read.giaddr) == (b"\x0a\0\2\x0f", bytes(4))
    assert (read.mac, read.chaddr) == (MAC, MAC + bytes(10))
    assert read.options == {53: b"\1", 12: b"me"}


@pytest.mark.parametrize(
    ("area", "options"),
    [
        (b"", {}),
        (b"\0\0\0", {}),
        (b"\xff\x0c\x01x", {}),  # nothing after the end
        (b"\0\x0c\x01x\0\0\x37\x00", {12: b"x", 55: b""}),  # an empty one, and no end
        (b"\x0c\x01x\x37\x01\x03\x0c\x02yz\xff", {12: b"xyz", 55: b"\3"}),  # RFC 3396
    ],
)
def test_options(area: bytes, options: dict[int, bytes]) -> None:
    assert options_of(area) == options


@pytest.mark.parametrize("area", [b"\x0c", b"\x0c\x01", b"\x0c\x05abcd", b"\x0c\x01x\x37\xff\xff"])
def test_lengths_beyond_the_end(area: bytes) -> None:
    assert why(message(None, area=COOKIE + area, size=0)) == "dhcp.options"


@given(st.sampled_from((50, 53, 54, 57)), st.integers(0, 255))
def test_every_length_of_an_option_whose_length_is_fixed(code: int, length: int) -> None:
    right = {50: 4, 53: 1, 54: 4, 57: 2}[code]
    payload = message(None, area=COOKIE + spell([(code, bytes(length))]) + b"\xff", size=0)
    if length == right:
        assert parse(payload).options == {code: bytes(length)}
    else:
        assert why(payload) == "dhcp.option_length"


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 30))
def test_a_length_that_lies_in_any_place(code: int, length: int, behind: int) -> None:
    payload = message(None, area=COOKIE + bytes((code, length)) + b"\xff" * behind, size=0)
    if code in (0, 255):
        return
    if length > behind:
        assert why(payload) in ("dhcp.options", "dhcp.overload")
    else:
        read = wire.parse(payload, Counter())
        if read is not None:
            assert read.options == {code: b"\xff" * length}
        else:
            assert why(payload) in ("dhcp.option_length", "dhcp.overload") and code in (50, 52, 53, 54, 57)


def test_file_is_read_before_sname() -> None:
    options = options_of(b"\x34\1\3\x0c\1a", file=b"\x0c\1b\xff", sname=b"\x0c\1c\xff")
    assert options[12] == b"abc"


plain = st.integers(1, 254).filter(lambda code: code not in (50, 52, 53, 54, 57))


@given(st.dictionaries(plain, st.binary(max_size=255), max_size=12), st.integers(300, 1472))
def test_what_does_not_fit_is_left_out(options: dict[int, bytes], most: int) -> None:
    reply = build(parse(message(DISCOVER)), options.items(), most=most)
    assert 300 <= len(reply) <= most
    back = parse(b"\1" + reply[1:]).options
    assert list(back.items()) == [each for each in options.items() if each[0] in back]
    needed = 241 + sum(2 + len(value) for value in back.values())
    assert all(needed + 2 + len(value) > most for code, value in options.items() if code not in back)
    if 241 + sum(2 + len(value) for value in options.values()) <= most:
        assert back == options


def test_a_reply_as_scapy_reads_it() -> None:
    reply = build(parse(message(DISCOVER)), [(53, b"\2"), (12, b"x" * 100), (54, b"\x0a\0\2\2")], most=300)
    assert BOOTP(reply)[DHCP].options[:3] == [("message-type", 2), ("server_id", "10.0.2.2"), "end"]


# Search lists (RFC 3397, RFC 1035 section 4.1.4)


def expand(data: bytes) -> list[str]:
    """As RFC 1035 has it, written for the test; pointers only backwards."""
    names, at = [], 0
    while at < len(data):
        labels, here, jumped = [], at, False
        while data[here]:
            if data[here] >= 0xC0:
                if not jumped:
                    at, jumped = here + 2, True
                target = (data[here] & 0x3F) << 8 | data[here + 1]
                assert target < here
                here = target
            else:
                labels.append(data[here + 1 : here + 1 + data[here]].decode())
                here += 1 + data[here]
        at = at if jumped else here + 1
        names.append(".".join(labels))
    return names


def test_the_example_of_rfc_3397() -> None:
    encoded = encode_search(("eng.apple.com", "marketing.apple.com"))
    assert encoded == b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"
    assert encode_search(()) == b""


labels = st.text("abcxyz-0123456789", min_size=1, max_size=20)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(st.lists(domains, max_size=12))
def test_a_search_list_is_read_back_as_far_as_it_goes(names: list[str]) -> None:
    encoded = encode_search(names)
    got = expand(encoded)
    assert len(encoded) <= 255 and got == names[: len(got)]
    assert len(got) == len(names) or len(encode_search(names[: len(got) + 1])) <= 255


def test_compression_lets_more_in() -> None:
    names = [f"s{number}.a-rather-long-name.example.com" for number in range(100)]
    assert len(expand(encode_search(names))) > 30


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".a", "a" * 64, "a b", "münchen.example", "x" * 60 + ".y" * 100, "a\nb"]
)
def test_what_is_no_domain_name(name: str) -> None:
    with pytest.raises(ValueError, match="is not a domain name; write one as"):
        domain_labels(name)


def test_a_name_may_end_in_a_dot() -> None:
    assert domain_labels("a.example.") == domain_labels("a.example") == (b"a", b"example")


def test_replies_are_read_for_those_who_watch_only() -> None:
    reply = build(parse(message(DISCOVER)), [(53, b"\2")], yiaddr=b"\x0a\0\2\x0f", most=576)
    assert why(reply) == "dhcp.op"
    read = wire.parse(reply, Counter(), replies=True)
    assert read is not None
    assert (read.op, read.yiaddr, read.options) == (wire.BOOTREPLY, b"\x0a\0\2\x0f", {53: b"\2"})
    assert wire.parse(b"\3" + reply[1:], Counter(), replies=True) is None

"""Packets in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcp.protocol import IPCP_WORDS
from lcp.packet import build, parse, printable, protocol_name, split_protocol
from lcp.trace import WORDS, describe, describe_frame

ALL = {**WORDS, 0x8021: IPCP_WORDS}


@pytest.mark.parametrize(
    ("protocol", "packet", "line"),
    [
        (
            0xC021,
            build(1, 1, bytes.fromhex("010405dc0206000000000304c02305061a2b3c4d07020802")),
            "LCP Configure-Request id 1 <mru 1500> <asyncmap 0x0> <auth pap> <magic 0x1a2b3c4d> <pcomp> <accomp>",
        ),
        (
            0xC021,
            build(4, 2, b"\x03\x05\xc2\x23\x05\x0d\x03\x06"),
            "LCP Configure-Reject id 2 <auth chap MD5> <callback 06>",
        ),
        (0xC021, build(3, 2, b"\x63\x04ab"), "LCP Configure-Nak id 2 <option 99 6162>"),
        (0xC021, build(1, 2, b"\x63\x09ab"), "LCP Configure-Request id 2 malformed options 63096162"),
        (0xC021, build(1, 2, b"\x01\x03a"), "LCP Configure-Request id 2 <mru 97>"),
        (0xC021, build(2, 2), "LCP Configure-Ack id 2"),
        (0xC021, build(5, 2, b"bye\x07"), 'LCP Terminate-Request id 2 "bye\\x07"'),
        (0xC021, build(9, 3, bytes.fromhex("11223344")), "LCP Echo-Request id 3 magic 0x11223344"),
        (0xC021, build(12, 3, b"\0\0\0\1MSRASV5"), 'LCP Identification id 3 magic 0x00000001 "MSRASV5"'),
        (0xC021, build(8, 4, b"\x80\xfd" + build(1, 7)), "LCP Protocol-Reject id 4 of CCP Configure-Request id 7"),
        (0xC021, build(7, 4, build(13, 7)), "LCP Code-Reject id 4 of Time-Remaining: 0d070004"),
        (0xC021, build(77, 4, b"a"), "LCP code 77 id 4 61"),
        (0xC021, b"\x01\x01\x00\x09", "LCP malformed: 01010009"),
        (
            0xC023,
            build(1, 1, b"\x05guest\x06sesame"),
            'PAP Authenticate-Request id 1 user="guest" password=<hidden>',
        ),
        (0xC023, b"\x01\x01\x00\xff\x05guest\x06sesame", "PAP malformed, 17 octets"),
        (0xC023, build(2, 1, b"\x00"), "PAP Authenticate-Ack id 1"),
        (0xC223, build(1, 1, b"\x02\xab\xcdgate"), 'CHAP Challenge id 1 <abcd> name="gate"'),
        (0xC223, build(4, 1, b"no"), 'CHAP Failure id 1 "no"'),
        (
            0x8021,
            build(1, 5, bytes.fromhex("0206002d0f0103060a00020f810600000000")),
            "IPCP Configure-Request id 5 <compress VJ 0f 01> <addr 10.0.2.15> <ms-dns1 0.0.0.0>",
        ),
        (0x80FD, build(1, 1, b"\x1a\x04\x78\x00"), "CCP Configure-Request id 1 <option 26 7800>"),
        (0x8057, build(1, 1), "IPV6CP Configure-Request id 1"),
        (0x8888, build(1, 1), "0x8888 Configure-Request id 1"),
        (0x0021, b"E" * 40, "IP packet, 40 octets"),
    ],
)
def test_line(protocol: int, packet: bytes, line: str) -> None:
    assert describe(protocol, packet, ALL) == line
    assert describe_frame(protocol.to_bytes(2, "big") + packet, ALL) == line


PROTOCOLS = [0xC021, 0xC023, 0xC223, 0x8021, 0x80FD, 0x21, 0xFFFF]


@given(st.sampled_from(PROTOCOLS), st.integers(0, 14), st.binary(max_size=600))
def test_any_octets_give_one_printable_bounded_line(protocol: int, code: int, data: bytes) -> None:
    for information in (data, build(code, 1, data)):
        line = describe(protocol, information, ALL)
        assert line.isprintable() and line.isascii() and len(line) < 8000


@given(st.binary(max_size=100))
def test_a_password_is_never_shown(password: bytes) -> None:
    line = describe(0xC023, build(1, 1, b"\x05guest" + bytes((len(password),)) + password))
    assert line == 'PAP Authenticate-Request id 1 user="guest" password=<hidden>'


@given(st.binary(max_size=40))
def test_parse_and_build(data: bytes) -> None:
    packet = parse(data)
    if packet is not None:
        assert data.startswith(build(*packet))


def test_small_things() -> None:
    assert split_protocol(b"") == (0, b"") and split_protocol(b"\x80") == (0, b"")
    assert split_protocol(b"\x21E") == (0x21, b"E") and split_protocol(b"\x80\x21E") == (0x8021, b"E")
    assert protocol_name(0x80FD) == "CCP" and protocol_name(0x1234) == "0x1234"
    assert printable(b"a\x00" * 200, 4) == "a\\x00a\\x00..."

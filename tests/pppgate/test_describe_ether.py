"""Frames in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.wire.udp import build_udp
from pppgate.describe_ether import describe, is_control
from pppgate.ether import arp
from pppgate.ether.frame import ARP, BROADCAST, IPV4, header

A, B = b"\x52\x54\x00\x12\x34\x56", b"\x52\x55\x0a\x00\x02\x02"
GUEST, GATEWAY = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2))
WAY = "52:54:00:12:34:56 > 52:55:0a:00:02:02"


def dhcp(options: bytes, *, op: int = 1, yiaddr: bytes = bytes(4), ciaddr: bytes = bytes(4)) -> bytes:
    message = bytes((op, 1, 6, 0)) + bytes(8) + ciaddr + yiaddr + bytes(236 - 20) + b"\x63\x82\x53\x63" + options
    return header(B, A, IPV4) + build_udp(GUEST, 68, GATEWAY, 67, message)


@pytest.mark.parametrize(
    ("frame", "words", "control"),
    [
        (header(B, A, ARP) + arp.build(arp.request(A, GUEST, GATEWAY)), "ARP who has 10.0.2.2? tell 10.0.2.15", True),
        (
            header(B, A, ARP) + arp.build(arp.Arp(arp.REPLY, A, GUEST, B, GATEWAY)),
            "ARP 10.0.2.15 is at 52:54:00:12:34:56",
            True,
        ),
        (header(B, A, ARP) + b"\0\1", "ARP, malformed", True),
        (dhcp(b"\x35\x01\x01\xff"), "DHCP Discover", True),
        (dhcp(b"\0\x32\x04\x0a\0\2\x0f\x35\x01\x03\xff", ciaddr=GUEST), "DHCP Request from 10.0.2.15", True),
        (dhcp(b"\x35\x01\x05\xff", op=2, yiaddr=GUEST), "DHCP Ack 10.0.2.15", True),
        (dhcp(b"\x35\x01\x63\xff"), "DHCP type 99", True),
        (dhcp(b"\xff"), "BOOTP Request", True),
        (dhcp(b"\x35\x01\x01\xff")[:100], "BOOTP, truncated", True),
        (
            header(B, A, IPV4) + build_udp(GUEST, 1000, GATEWAY, 2000, b"x"),
            "IPv4 10.0.2.15 > 10.0.2.2, 43 octets",
            False,
        ),
        (header(B, A, 0x86DD) + bytes(40), "IPv6, 54 octets", False),
        (header(B, A, 0x0040) + bytes(64), "802.3, 78 octets", False),
        (header(B, A, 0x1234), "type 0x1234, 14 octets", False),
    ],
)
def test_words(frame: bytes, words: str, control: bool) -> None:
    assert describe(frame) == f"{WAY} {words}"
    assert is_control(frame) is control


@given(
    st.one_of(
        st.binary(max_size=80),
        st.builds(lambda rest: header(BROADCAST, A, IPV4) + rest, st.binary(max_size=400)),
        st.integers(14, 290).map(lambda size: dhcp(b"\x35\x01\x01\x32\xff")[:size]),
    )
)
def test_anything_has_words(frame: bytes) -> None:
    assert describe(frame)
    is_control(frame)

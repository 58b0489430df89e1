"""Ethernet II headers, addresses and padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from pppgate.ether.frame import BROADCAST, IPV4, gateway_mac, header, is_group, mac_text, pad, parse_mac
from pppgate.ether.links.port import FRAME_LEAST, HEADER

MAC = bytes.fromhex("525400123456")
macs = st.binary(min_size=6, max_size=6)


@given(macs, macs, st.integers(1536, 0xFFFF))
def test_scapy_reads_the_header(destination: bytes, source: bytes, ethertype: int) -> None:
    made = header(destination, source, ethertype)
    read = Ether(made)
    assert len(made) == HEADER
    assert (read.dst, read.src, read.type) == (mac_text(destination), mac_text(source), ethertype)


@given(st.binary(max_size=100))
def test_short_frames_are_padded_with_zeros_and_long_ones_left(frame: bytes) -> None:
    padded = pad(frame)
    assert len(padded) == max(len(frame), FRAME_LEAST) == len(frame) + padded[len(frame) :].count(0)
    assert padded.startswith(frame)


@given(macs)
def test_an_address_survives_being_written(mac: bytes) -> None:
    mac = bytes((mac[0] & 0xFE,)) + mac[1:]
    if any(mac):
        assert parse_mac(mac_text(mac)) == mac
        assert parse_mac(mac.hex("-").upper()) == mac


def test_as_people_write_them() -> None:
    assert mac_text(MAC) == "52:54:00:12:34:56"
    assert parse_mac("52:54:0:12:34:56") == MAC


@pytest.mark.parametrize(
    "text",
    ["", "52:54:0:12:34", "52:54:0:1:3:5:7", "52:54:0:12:34:5g", "525400123456", "52:54::34:56", "52:54:0:+1:34:56"],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not an Ethernet address; write one as"):
        parse_mac(text)


def test_a_group_and_nobody_cannot_be_a_card() -> None:
    with pytest.raises(ValueError, match="group"):
        parse_mac("ff:ff:ff:ff:ff:ff")
    with pytest.raises(ValueError, match="nobody"):
        parse_mac("0:0:0:0:0:0")


def test_groups() -> None:
    assert is_group(BROADCAST) and is_group(bytes.fromhex("01005e000001"))
    assert not is_group(MAC) and not is_group(bytes(6))


def test_the_gateways_own_is_local_and_nobody_elses() -> None:
    mac = gateway_mac(bytes((10, 0, 2, 2)))
    assert mac_text(mac) == "52:55:0a:00:02:02"
    assert not is_group(mac) and mac[0] & 2  # locally administered
    assert Ether(pad(header(BROADCAST, mac, IPV4))).src == mac_text(mac)

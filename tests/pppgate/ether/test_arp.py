"""ARP packets: Scapy builds and reads them too, and every truncation is refused."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import ARP as ScapyARP

from pppgate.ether.arp import PACKET, REPLY, REQUEST, Arp, build, parse, reply, request
from pppgate.ether.frame import mac_text

MAC = bytes.fromhex("525400123456")
OURS = bytes.fromhex("52550a000202")
GUEST = bytes((10, 0, 2, 15))
GATEWAY = bytes((10, 0, 2, 2))

macs = st.binary(min_size=6, max_size=6)
addresses = st.binary(min_size=4, max_size=4)
packets = st.builds(Arp, st.sampled_from((REQUEST, REPLY)), macs, addresses, macs, addresses)


@given(packets, st.binary(max_size=32))
def test_there_and_back_whatever_the_padding(packet: Arp, padding: bytes) -> None:
    assert parse(build(packet) + padding, Counter()) == packet


@given(packets)
def test_scapy_reads_the_same(packet: Arp) -> None:
    made = build(packet)
    read = ScapyARP(made)
    assert len(made) == 28 and not read.payload
    assert (read.hwtype, read.ptype, read.hwlen, read.plen, read.op) == (1, 0x0800, 6, 4, packet.operation)
    assert (read.hwsrc, read.psrc) == (mac_text(packet.sender_mac), ".".join(map(str, packet.sender)))
    assert (read.hwdst, read.pdst) == (mac_text(packet.target_mac), ".".join(map(str, packet.target)))


def test_scapys_question_is_answered() -> None:
    asked = parse(
        bytes(ScapyARP(op=1, hwsrc=mac_text(MAC), psrc="10.0.2.15", hwdst="0:0:0:0:0:0", pdst="10.0.2.2")), Counter()
    )
    assert asked == request(MAC, GUEST, GATEWAY)
    answer = reply(asked, OURS)
    assert answer == Arp(REPLY, OURS, GATEWAY, MAC, GUEST)
    assert ScapyARP(build(answer)).answers(ScapyARP(build(asked)))


@pytest.mark.parametrize("length", range(PACKET.size))
def test_every_truncation_is_refused(length: int) -> None:
    assert parse(build(request(MAC, GUEST, GATEWAY))[:length], Counter()) is None


@given(st.integers(0, 5), st.integers(1, 255))
def test_other_hardware_protocol_or_lengths_are_refused(place: int, change: int) -> None:
    made = bytearray(build(request(MAC, GUEST, GATEWAY)))
    made[place] ^= change
    assert parse(bytes(made), Counter()) is None


@given(st.integers(0, 0xFFFF))
def test_only_requests_and_replies(operation: int) -> None:
    made = bytearray(build(request(MAC, GUEST, GATEWAY)))
    made[6:8] = operation.to_bytes(2, "big")
    assert (parse(bytes(made), Counter()) is not None) == (operation in (REQUEST, REPLY))


@given(st.binary(max_size=64))
def test_any_octets_at_all(payload: bytes) -> None:
    packet = parse(payload, Counter())
    assert packet is None or build(packet) == payload[:28]

"""The network in an emulator's own process: our own PPP client and a driver's sequences work the chips by register."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable

import pytest

from pppgate.embedded import Embedded
from pppgate.ether import arp
from pppgate.ne2000.card import Ne2000
from pppgate.settings import ConfigError
from serialport.uart16550.port import SerialChip
from tests.pppgate.ether.test_segment import who_has
from tests.support.ppp_ends import client

THR_EMPTY, DATA_READY = 0x20, 0x01


class Wire:
    """A guest's program in a loop: polls the chip, 8N1 at 115,200 baud."""

    def __init__(self, network: Embedded, chip: SerialChip) -> None:
        self.network = network
        self.chip = chip
        for register, value in ((3, 0x80), (0, 1), (1, 0), (3, 3), (1, 1), (2, 7), (4, 11)):
            chip.write(register, value)

    def send(self, octets: bytes) -> None:
        for octet in octets:
            while not self.chip.read(5) & THR_EMPTY:
                self.network.poll(0.001)
            self.chip.write(0, octet)

    def receive(self) -> bytes:
        octets = bytearray()
        while self.chip.read(5) & DATA_READY:
            octets.append(self.chip.read(0))
        return bytes(octets)

    def until(self, done: Callable[[], bool], each: Callable[[bytes], None], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline
            self.network.poll(0.001)
            if octets := self.receive():
                each(octets)


@pytest.mark.parametrize("model", ["8250", "16450", "16550A", "16750"])
def test_a_guest_brings_ppp_up_through_the_chip(model: str) -> None:
    with Embedded() as network:
        levels: list[bool] = []
        wire = Wire(network, network.uart(levels.append, model=model))
        end = client()
        assert end.ipcp is not None
        ipcp = end.ipcp
        end.link.up(0.0)
        wire.send(end.take())

        def take(octets: bytes) -> None:
            end.feed(octets, 0.0)
            wire.send(end.take())

        wire.until(lambda: ipcp.opened, take)
        assert ipcp.local == bytes((10, 0, 2, 15)) and ipcp.dns == [bytes((10, 0, 2, 3))]
        wire.chip.write(4, 0)  # DTR falls: the guest hangs up
        network.poll()
        assert not wire.chip.read(6) & 0x80  # and sees no carrier any more
        assert True in levels and levels[-1] is False


def test_a_card_on_the_same_network_answers_arp() -> None:
    with Embedded(net="192.168.16.0/24") as network:
        levels: list[bool] = []
        mac = bytes.fromhex("525400123456")
        card = network.ne2000(levels.append, mac=mac)
        frame = who_has(mac, bytes((192, 168, 16, 15)), bytes((192, 168, 16, 2)))
        send_frame(card, frame)
        deadline = time.monotonic() + 5
        while not (heard := received_frame(card)):
            assert time.monotonic() < deadline
            network.poll(0.001)
        answer = arp.parse(heard[14:], Counter())
        assert answer is not None and answer.sender == bytes((192, 168, 16, 2)) and heard[:6] == mac
        assert True in levels


def test_a_wrong_setting_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="no setting 'netz'"):
        Embedded(netz="10.0.0.0/8")


def test_closing_gives_every_descriptor_back() -> None:
    import os

    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with Embedded(forward=[f"tcp:{port}=80"]) as network:
            network.uart(lambda level: None).write(4, 1)
            network.ne2000(lambda level: None)
            network.poll()
    assert set(os.listdir("/proc/self/fd")) == before


def send_frame(card: Ne2000, frame: bytes) -> None:
    """As a driver does: remote DMA into page 0x40, then transmit."""
    write = card.write
    begin = ((0, 0x21), (14, 0x49), (12, 0x14), (13, 0), (1, 0x46), (2, 0x80), (3, 0x46), (7, 0xFF), (15, 0x3F))
    for offset, value in begin:
        write(offset, value, 1)
    write(0, 0x61, 1)
    for at, octet in enumerate(bytes.fromhex("525400123456")):
        write(1 + at, octet, 1)
    write(7, 0x47, 1)
    write(0, 0x22, 1)
    write(13, 0, 1)
    for offset, value in ((10, len(frame) & 255), (11, len(frame) >> 8), (8, 0), (9, 0x40), (0, 0x12)):
        write(offset, value, 1)
    for at in range(0, len(frame) + 1, 2):
        write(16, int.from_bytes(frame[at : at + 2], "little"), 2)
    for offset, value in ((4, 0x40), (5, max(len(frame), 60) & 255), (6, 0), (0, 0x26)):
        write(offset, value, 1)


def received_frame(card: Ne2000) -> bytes:
    """The frame at the beginning of the ring, or b""."""
    read, write = card.read, card.write
    if not read(7, 1) & 1:
        return b""
    for offset, value in ((10, 4), (11, 0), (8, 0), (9, 0x47), (0, 0x0A)):
        write(offset, value, 1)
    head = b"".join(read(16, 2).to_bytes(2, "little") for _ in range(2))
    size = int.from_bytes(head[2:4], "little") - 4
    for offset, value in ((10, size & 255), (11, size >> 8), (8, 4), (9, 0x47), (0, 0x0A)):
        write(offset, value, 1)
    return b"".join(read(16, 2).to_bytes(2, "little") for _ in range((size + 1) // 2))[:size]


def test_what_a_handler_does_between_two_polls_is_seen_though_no_descriptor_is_ready() -> None:
    """A guest that raises DTR and only listens gets our first Configure-Request, and its repetition."""
    with Embedded() as network:
        chip = network.uart(lambda level: None)
        chip.write(3, 3)  # LCR: eight data bits
        chip.write(4, 3)  # MCR: DTR and RTS
        heard = b""
        end = time.monotonic() + 5.0
        while len(heard) < 20 and time.monotonic() < end:
            network.poll(0.01)
            while chip.read(5) & 1:  # LSR: data ready
                heard += bytes((chip.read(0),))
        assert heard.startswith(b"~\xff}#\xc0!"), heard

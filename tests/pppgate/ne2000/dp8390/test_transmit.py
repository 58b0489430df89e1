"""The DP8390's transmitter and its loopback (data sheet sections 8 and 12)."""

from zlib import crc32

import pytest

from pppgate.ne2000.dp8390.bits import ISR_PTX, ISR_RDC, ISR_TXE, RSR_CRC, RSR_PRX, TSR_FU, TSR_PTX
from tests.support.ne2000_bench import (
    BYTES,
    CR,
    DCR,
    FIFO,
    IMR,
    ISR,
    PEER,
    RCR,
    RSR,
    TBCR0,
    TBCR1,
    TCR,
    TPSR,
    TRANSMIT,
    TSR,
    Bench,
    frame,
)


def send(bench: Bench, size: int, page: int = 0x40) -> None:
    bench.out((ISR, ISR_RDC), (TPSR, page), (TBCR0, size & 0xFF), (TBCR1, size >> 8), (CR, TRANSMIT))


@pytest.mark.parametrize("size", [14, 15, 60, 256, 1514, 1518])
def test_a_packet_goes_out_as_it_lies_in_memory(size: int) -> None:
    bench = Bench().set_up()
    data = frame(size, to=PEER)
    bench.store(0x4000, data)
    send(bench, size)
    assert bench.sent == [data]
    assert (bench.inb(TSR), bench.inb(ISR), bench.line) == (TSR_PTX, ISR_PTX, True)
    assert bench.inb(CR) & 4 == 0
    bench.out((ISR, ISR_PTX))
    assert not bench.line


def test_two_buffers_as_linux_has_them() -> None:
    bench = Bench().set_up()
    first, second = frame(1514, seed=1), frame(1514, seed=2)
    bench.store(0x4000, first)
    bench.store(0x4600, second)
    send(bench, 1514)
    send(bench, 1514, page=0x46)
    assert bench.sent == [first, second]


@pytest.mark.parametrize(
    ("page", "size"),
    [(0x40, 0), (0x3F, 60), (0x00, 60), (0xFF, 60), (0x80, 60), (0x7F, 257), (0x40, 0xFFFF), (0x40, 9023)],
)
def test_an_absurd_start_or_length_is_an_aborted_transmission(page: int, size: int) -> None:
    bench = Bench().set_up()
    send(bench, size, page)
    assert bench.sent == []
    assert (bench.inb(TSR), bench.inb(ISR), bench.line) == (TSR_FU, ISR_TXE, True)
    assert bench.card.count["ne2k.transmit_outside"] == 1
    send(bench, 60)
    assert bench.inb(TSR) == TSR_PTX
    assert len(bench.sent) == 1


def test_the_end_of_memory_is_still_memory() -> None:
    bench = Bench().set_up()
    send(bench, 256, 0x7F)
    assert bench.inb(TSR) == TSR_PTX


@pytest.mark.parametrize("size", [1, 13])
def test_what_has_no_whole_header_is_sent_into_the_void(size: int) -> None:
    bench = Bench().set_up()
    send(bench, size)
    assert bench.inb(TSR) == TSR_PTX
    assert bench.sent == []
    assert bench.card.count["ne2k.short"] == 1


def test_a_driver_may_make_the_fcs_itself() -> None:
    bench = Bench().set_up()
    data = frame(60, to=PEER)
    bench.store(0x4000, data + crc32(data).to_bytes(4, "little"))
    bench.out((TCR, 1))
    send(bench, 64)
    assert bench.sent == [data]
    bench.store(0x4000, b"\0")
    send(bench, 64)
    assert bench.sent == [data]
    assert bench.card.count["ne2k.bad_fcs"] == 1


def test_the_68000_order_is_undone() -> None:
    bench = Bench().set_up()
    data = frame(61, to=PEER)
    bench.store(0x4000, bytes((data + b"\0")[at ^ 1] for at in range(62)))
    bench.out((DCR, 0x4B))
    send(bench, 61)
    assert bench.sent == [data]


def test_an_answer_that_comes_while_the_command_is_written() -> None:
    bench = Bench().set_up()
    bench.card.chip._transmit = lambda _data: bench.edges.append(bench.card.receive(frame()))
    send(bench, 60)
    assert bench.inb(ISR) == ISR_PTX | 1


# -- loopback


def loop(bench: Bench, mode: int, data: bytes) -> tuple[int, int, int]:
    """TSR, RSR and ISR."""
    bench.store(0x4000, data, 1)
    bench.out((TCR, mode), (IMR, 0))
    send(bench, len(data))
    return bench.inb(TSR), bench.inb(RSR), bench.inb(ISR)


@pytest.mark.parametrize(("mode", "tsr"), [(2, 0x53), (4, 0x43), (6, 0x03)])
def test_the_three_modes_report_as_in_the_data_sheets_table(mode: int, tsr: int) -> None:
    """With the chip's own CRC the receiver cannot check it, and nothing is written to memory: PTX and no PRX."""
    bench = Bench().set_up(dcr=0x40)
    assert loop(bench, mode, frame(64)) == (tsr, RSR_CRC, ISR_PTX)


@pytest.mark.parametrize("mode", [3, 5, 7])
def test_a_made_fcs_is_checked(mode: int) -> None:
    bench = Bench().set_up(dcr=0x40)
    data = frame(60)
    assert loop(bench, mode, data + crc32(data).to_bytes(4, "little"))[1] == RSR_PRX
    assert loop(bench, mode, data + bytes(4))[1] == RSR_CRC


def test_another_address_is_not_recognized() -> None:
    bench = Bench().set_up(dcr=0x40, rcr=0)
    assert loop(bench, 2, frame(64, to=PEER))[1] == 0
    bench.out((RCR, 0x10))
    assert loop(bench, 2, frame(64, to=PEER))[1] == RSR_CRC


def test_only_the_third_mode_reaches_the_network() -> None:
    bench = Bench().set_up(dcr=0x40)
    data = frame(64)
    loop(bench, 2, data)
    loop(bench, 4, data)
    assert bench.sent == []
    loop(bench, 6, data)
    assert bench.sent == [data]


def test_the_fifo_shows_the_end_of_the_packet_and_its_length() -> None:
    """8 n + 5 octets: the last of the data, the CRC, the length low, high, high; then it goes round."""
    bench = Bench().set_up(dcr=0x40)
    data = frame(8 * 9 + 1)
    loop(bench, 2, data)
    fcs = crc32(data).to_bytes(4, "little")
    expected = [data[-1], *fcs, 77, 0, 0]
    assert [bench.inb(FIFO) for _ in range(16 + 3)] == expected * 2 + expected[:3]
    loop(bench, 2, data)
    assert [bench.inb(FIFO) for _ in range(8)] == expected


def test_the_fifo_with_a_length_of_eight_times_n() -> None:
    bench = Bench().set_up(dcr=0x40)
    data = frame(60 + 256)
    loop(bench, 2, data)
    assert [bench.inb(FIFO) for _ in range(8)] == [320 & 255, 1, 1, data[-1], *crc32(data).to_bytes(4, "little")]


@pytest.mark.parametrize(("dcr", "first"), [(0x41, 0), (0x43, 1)])
def test_in_words_one_octet_of_each_goes_round(dcr: int, first: int) -> None:
    bench = Bench().set_up(dcr=BYTES)
    data = frame(73)
    words = bytearray(146)
    words[0::2] = data
    words[1::2] = data
    words[1 - first :: 2] = bytes(73)
    if dcr & 2:  # the memory's words are the other way round then
        words[0::2], words[1::2] = words[1::2], words[0::2]
    bench.store(0x4000, bytes(words), 1)
    bench.out((DCR, dcr), (TCR, 2), (IMR, 0))
    send(bench, 146)
    assert [bench.inb(FIFO) for _ in range(8)] == [data[-1], *crc32(data).to_bytes(4, "little"), 77, 0, 0]


def test_loopback_writes_no_memory() -> None:
    bench = Bench().set_up(dcr=0x40)
    bench.store(0x4000, frame(64), 1)
    before = bytes(bench.card.chip.ring.memory)
    bench.out((TCR, 2))
    send(bench, 64)
    assert bytes(bench.card.chip.ring.memory) == before

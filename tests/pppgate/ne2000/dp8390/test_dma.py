"""The DP8390's remote DMA as the data port shows it (data sheet section 9)."""

import pytest

from pppgate.ne2000.dp8390.bits import ISR_RDC
from tests.support.ne2000_bench import (
    BNRY,
    BYTES,
    CR,
    CRDA0,
    CRDA1,
    DATA,
    DCR,
    ISR,
    PSTART,
    PSTOP,
    RBCR0,
    READ,
    RING,
    RSAR0,
    SEND_PACKET,
    START0,
    START2,
    STOP,
    STOP0,
    WORDS,
    WRITE,
    Bench,
    frame,
)


@pytest.mark.parametrize(("dcr", "size"), [(BYTES, 1), (BYTES, 2), (BYTES, 4), (WORDS, 2), (WORDS, 4)])
def test_what_was_written_is_read_whatever_the_width(dcr: int, size: int) -> None:
    bench = Bench().set_up(dcr=dcr)
    data = frame(1024)
    bench.store(0x4000, data, size)
    assert bench.inb(ISR) == ISR_RDC
    bench.out((ISR, ISR_RDC))
    for other in (1, 2, 4):
        if dcr == BYTES or other > 1:
            assert bench.load(0x4000, 1024, other) == data


def test_an_octet_in_word_mode_is_half_a_word() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, bytes(range(8)))
    bench.remote(READ, 0x4000, 8)
    assert [bench.inb(DATA) for _ in range(4)] == [0, 2, 4, 6]
    assert bench.inb(ISR) & ISR_RDC
    bench.remote(WRITE, 0x4000, 2)
    bench.out((DATA, 0x77))
    assert bench.load(0x4000, 4) == b"\x77\0\x02\x03"


def test_rdc_comes_with_the_last_octet_and_not_before() -> None:
    bench = Bench().set_up(dcr=BYTES)
    bench.remote(READ, 0x4000, 5)
    bench.card.read(DATA, 4)
    assert not bench.inb(ISR) & ISR_RDC
    bench.inb(DATA)
    assert bench.inb(ISR) & ISR_RDC


@pytest.mark.parametrize("size", [2, 4])
def test_crda_counts_along(size: int) -> None:
    bench = Bench().set_up()
    bench.remote(READ, 0x40F0, 100)
    for number in range(1, 20):
        bench.card.read(DATA, size)
        assert bench.inb(CRDA0) | bench.inb(CRDA1) << 8 == 0x40F0 + number * size


def test_nothing_is_moved_beyond_the_count() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, b"\x11" * 8)
    bench.remote(WRITE, 0x4000, 2)
    bench.card.write(DATA, 0x22222222, 4)
    bench.card.write(DATA, 0x22222222, 4)
    assert bench.load(0x4000, 8) == b"\x22\x22" + b"\x11" * 6
    bench.remote(READ, 0x4000, 2)
    assert bench.card.read(DATA, 4) == 0xFFFF2222
    assert bench.card.read(DATA, 4) == 0xFFFFFFFF


def test_an_odd_count_in_words_ends_with_a_whole_one() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, bytes(range(8)))
    bench.out((ISR, ISR_RDC))
    bench.remote(READ, 0x4000, 3)
    assert bench.card.read(DATA, 2) == 0x0100
    assert not bench.inb(ISR) & ISR_RDC
    assert bench.card.read(DATA, 2) == 0x0302
    assert bench.inb(ISR) & ISR_RDC


def test_a_count_of_nothing_is_done_at_once() -> None:
    bench = Bench().set_up()
    bench.remote(READ, 0x4000, 0)
    assert bench.inb(ISR) == ISR_RDC


def test_abort_ends_it() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, b"\x11" * 8)
    bench.out((ISR, ISR_RDC))
    bench.remote(READ, 0x4000, 8)
    bench.out((CR, START0))
    assert bench.card.read(DATA, 2) == 0xFFFF
    assert bench.inb(ISR) == 0


def test_the_wrong_direction_moves_nothing() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, b"\x11" * 8)
    bench.remote(WRITE, 0x4000, 8)
    assert bench.card.read(DATA, 4) == 0xFFFFFFFF
    assert bench.inb(RSAR0) == 0
    bench.remote(READ, 0x4000, 8)
    bench.card.write(DATA, 0, 4)
    assert bench.load(0x4000, 8) == b"\x11" * 8


def test_a_stopped_chip_still_has_its_memory() -> None:
    bench = Bench()
    bench.out((CR, STOP0), (DCR, WORDS), (RBCR0, 4), (9, 0x40), (CR, 0x11))
    bench.card.write(DATA, 0x44332211, 4)
    bench.out((RBCR0, 4), (8, 0), (9, 0x40), (CR, 0x09))
    assert bench.card.read(DATA, 4) == 0x44332211


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("back", [2, 4, 6])
def test_it_wraps_at_pstop(size: int, back: int) -> None:
    bench = Bench().set_up()
    bench.store(STOP * 256 - back, bytes(range(16)), size)
    memory = bench.card.chip.ring.memory
    assert memory[STOP * 256 - back : STOP * 256] == bytes(range(back))
    assert memory[RING * 256 : RING * 256 + 16 - back] == bytes(range(back, 16))
    assert bench.load(STOP * 256 - back, 16, size) == bytes(range(16))


def test_pstop_0_is_the_end_of_the_address_space() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, b"start")
    bench.out((PSTART, 0x40), (PSTOP, 0))
    assert bench.load(0xFFFE, 6) == b"\xff\xffstar"


def test_what_begins_beyond_pstop_does_not_wrap() -> None:
    bench = Bench(memory=32768).set_up()
    bench.store(STOP * 256, bytes(range(16)))
    assert bench.load(STOP * 256, 16) == bytes(range(16))
    assert bench.card.chip.ring.memory[STOP * 256 : STOP * 256 + 16] == bytes(range(16))


@pytest.mark.parametrize("memory", [16384, 32768])
def test_only_ram_can_be_written(memory: int) -> None:
    bench = Bench(memory=memory)
    before = bytes(bench.card.chip.ring.memory)
    bench.out((CR, START0), (DCR, WORDS), (PSTART, 0), (PSTOP, 0))
    for address in range(0, 65536, 0x100):
        bench.store(address, b"\xa5" * 256, 4)
    after = bench.card.chip.ring.memory
    assert after[:0x4000] == before[:0x4000]
    assert after[0x4000 : 0x4000 + memory] == b"\xa5" * memory
    assert after[0x4000 + memory :] == b"\xff" * (49152 - memory)


def test_changing_the_registers_in_the_middle_is_followed() -> None:
    bench = Bench().set_up()
    bench.store(0x4000, bytes(range(256)))
    bench.remote(READ, 0x4000, 200)
    bench.card.read(DATA, 4)
    bench.out((RSAR0, 0x80))
    assert bench.card.read(DATA, 4) == 0x83828180
    bench.out((RBCR0, 2))
    assert bench.card.read(DATA, 4) == 0xFFFF8584
    bench.remote(READ, 0x4000, 200)
    bench.card.read(DATA, 4)
    bench.out((PSTOP, 0x40))
    assert bench.card.read(DATA, 4) == 0x07060504


# -- the send-packet command


def test_send_packet_reads_the_ring_by_itself() -> None:
    bench = Bench().set_up(dcr=WORDS | 0x10, curr=RING)
    packets = [frame(60, seed=1), frame(1514, seed=2), frame(248, seed=3)]
    for packet in packets:
        bench.card.receive(packet)
    for packet in packets:
        bench.out((ISR, ISR_RDC), (CR, SEND_PACKET))
        following = bench.card.chip.ring.memory[bench.inb(BNRY) * 256 + 1]
        data = b""
        while not bench.inb(ISR) & ISR_RDC:
            data += bench.card.read(DATA, 2).to_bytes(2, "little")
        assert data[4:] == packet
        assert bench.inb(BNRY) == following
        bench.out((CR, START2))
        assert bench.inb(3) == following  # the remote next packet pointer
        bench.out((CR, START0))
    bench.out((ISR, ISR_RDC), (CR, SEND_PACKET))
    assert bench.inb(ISR) & ISR_RDC  # nothing is there
    assert bench.inb(BNRY) == bench.current()


def test_send_packet_makes_room() -> None:
    bench = Bench().set_up(dcr=WORDS | 0x10, curr=RING)
    while bench.card.receive(frame(1514)):
        pass
    bench.out((CR, SEND_PACKET))
    while not bench.inb(ISR) & ISR_RDC:
        bench.card.read(DATA, 4)
    assert bench.rooms == 1


def test_send_packet_wants_to_be_armed() -> None:
    bench = Bench().set_up(curr=RING)
    bench.card.receive(frame())
    bench.out((CR, SEND_PACKET))
    assert bench.card.read(DATA, 4) == 0xFFFFFFFF
    assert bench.inb(BNRY) == RING


def test_send_packet_of_rubbish_ends() -> None:
    bench = Bench().set_up(dcr=WORDS | 0x10)
    for page in (0x00, 0x3F, RING, 0x7F, 0x80, 0xFF):  # the PROM, ones, zeros
        bench.out((BNRY, page), (ISR, ISR_RDC), (CR, SEND_PACKET))
        for _ in range(40000):
            if bench.inb(ISR) & ISR_RDC:
                break
            bench.card.read(DATA, 4)
        assert bench.inb(ISR) & ISR_RDC

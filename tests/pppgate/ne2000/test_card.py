"""The NE2000 as its drivers use it: probe, set-up, both ways, overflow; the PROM; what an RTL8029 has besides."""

import pytest

from pppgate.ne2000.card import ISA, RTL8029, Ne2000
from pppgate.ne2000.dp8390.bits import ISR_PRX, ISR_PTX, ISR_RST
from tests.support.ne2000_bench import (
    BYTES,
    CNTR2,
    CR,
    DATA,
    DCR,
    DRIVERS,
    ISR,
    MAC,
    PEER,
    RESET,
    START0,
    START3,
    STOP0,
    Bench,
    BsdDriver,
    LinuxDriver,
    frame,
)

Driver = type[LinuxDriver]
every_driver = pytest.mark.parametrize("driver", DRIVERS)
both_fronts = pytest.mark.parametrize("front", [ISA, RTL8029])


def started(driver: Driver, front: str = RTL8029) -> tuple[Bench, LinuxDriver]:
    bench = Bench(front)
    guest = driver(bench)
    assert guest.probe() == MAC
    guest.initialize()
    assert not bench.line
    return bench, guest


# -- drivers


@both_fronts
@every_driver
def test_every_driver_finds_the_card_and_its_address(driver: Driver, front: str) -> None:
    started(driver, front)


@every_driver
def test_a_driver_finds_it_again_after_a_reboot_without_a_reset(driver: Driver) -> None:
    bench, guest = started(driver)
    for seed in range(20):
        bench.card.receive(frame(1000, seed=seed))
    bench.card.read(DATA, 4)
    again = driver(bench)
    assert again.probe() == MAC
    again.initialize()
    bench.card.receive(frame())
    again.interrupt()
    assert again.received == [frame()]
    assert guest.received == []


@both_fronts
@every_driver
def test_frames_of_every_length_arrive(driver: Driver, front: str) -> None:
    bench, guest = started(driver, front)
    frames = [frame(size, seed=size) for size in range(60, 1515, 7)]
    for data in frames:
        assert bench.card.receive(data)
        guest.interrupt()
    assert guest.received == frames
    assert guest.bad == []


@every_driver
def test_frames_of_every_length_leave(driver: Driver) -> None:
    bench, guest = started(driver)
    frames = [frame(size, to=PEER, seed=size) for size in range(60, 1515, 7)]
    for data in frames:
        guest.transmit(data)
        assert bench.inb(ISR) & ISR_PTX
        guest.interrupt()
    assert bench.sent == frames


@every_driver
@pytest.mark.parametrize("size", [60, 300, 1514])
def test_a_burst_that_fits_the_ring_is_read_to_its_end_without_another_arrival(driver: Driver, size: int) -> None:
    bench, guest = started(driver)
    frames: list[bytes] = []
    while bench.card.receive(frame(size, seed=len(frames))):
        frames.append(frame(size, seed=len(frames)))
    guest.interrupt()
    assert guest.received == frames
    assert bench.rooms == 1


@every_driver
def test_a_long_stream_with_refusals_loses_nothing(driver: Driver) -> None:
    bench, guest = started(driver)
    frames = [frame(60 + seed * 37 % 1455, seed=seed) for seed in range(600)]
    waiting = list(reversed(frames))
    while waiting:
        while waiting and bench.card.receive(waiting[-1]):
            waiting.pop()
        guest.interrupt()
    guest.interrupt()
    assert guest.received == frames
    assert guest.bad == []
    assert guest.overruns == 0
    assert bench.inb(CNTR2) == 0


@every_driver
def test_frames_that_come_in_while_the_driver_reads(driver: Driver) -> None:
    """An emulator in the same process offers the next frame as soon as the boundary moves."""
    bench, guest = started(driver)
    frames = [frame(60 + seed * 37 % 1455, seed=seed) for seed in range(200)]
    waiting = list(reversed(frames))

    def offer() -> None:
        while waiting and bench.card.receive(waiting[-1]):
            waiting.pop()

    bench.card.chip._room = offer
    offer()
    for _ in range(200):
        guest.interrupt()
        offer()
    assert guest.received == frames


@every_driver
def test_the_overflow_sequence_recovers(driver: Driver) -> None:
    """What overruns is counted; everything else arrives, before and after."""
    bench, guest = started(driver)
    sent = [frame(1514, seed=seed) for seed in range(11)]
    for data in sent:
        bench.card.receive(data, force=True)
    guest.interrupt()
    assert guest.overruns == 1
    assert guest.received == sent[:8]
    assert guest.missed + bench.inb(CNTR2) == 3
    assert bench.inb(ISR) == 0
    guest.transmit(frame(60, to=PEER))
    guest.interrupt()
    assert bench.sent == [frame(60, to=PEER)]
    assert bench.card.receive(sent[0])
    guest.interrupt()
    assert guest.received == [*sent[:8], sent[0]]


def test_a_driver_that_sends_through_the_interrupt_of_a_reception() -> None:
    bench, guest = started(LinuxDriver)
    bench.card.receive(frame())
    guest.transmit(frame(60, to=PEER))
    assert bench.inb(ISR) == ISR_PRX | ISR_PTX
    guest.interrupt()
    assert (guest.received, bench.sent) == ([frame()], [frame(60, to=PEER)])


def test_the_ne1000_test_fails_in_octets_at_8_kilobytes() -> None:
    """BSD's ed(4) takes a card for an NE1000 if memory is there."""
    bench = Bench()
    bench.out((CR, START0), (DCR, BYTES))
    bench.store(0x2000, b"memory?", 1)
    assert bench.load(0x2000, 7, 1) == b"\xff" * 7
    BsdDriver(bench).probe()


# -- the card


@both_fronts
def test_the_prom_has_every_octet_twice(front: str) -> None:
    bench = Bench(front)
    bench.out((DCR, BYTES))
    prom = bench.load(0, 32, 1)
    assert prom == bytes(octet for octet in MAC + bytes(8) + b"\x57\x57" for _ in range(2))
    assert bench.load(32, 4, 1) == b"\xff" * 4


def test_the_prom_cannot_be_written() -> None:
    bench = Bench().set_up()
    bench.store(0, bytes(32))
    assert bench.load(0, 32)[::2][:6] == MAC


@pytest.mark.parametrize("port", range(0x10, 0x18))
def test_the_data_port_is_at_eight_addresses(port: int) -> None:
    bench = Bench().set_up()
    bench.remote(0x12, 0x4000, 8)
    bench.card.write(port, 0x3412, 2)
    bench.card.write(port, 0x7856, 2)
    bench.card.write(port, 0xBC9A, 2)
    bench.card.write(port, 0xF0DE, 2)
    bench.remote(0x0A, 0x4000, 8)
    assert bench.card.read(port, 4) == 0x78563412
    assert bench.card.read(port, 4) == 0xF0DEBC9A


@pytest.mark.parametrize("port", range(0x18, 0x20))
def test_the_reset_port_is_at_eight_addresses(port: int) -> None:
    bench = Bench().set_up()
    assert bench.inb(port) == 0xFF
    assert (bench.inb(CR), bench.inb(ISR)) == (STOP0, ISR_RST)
    bench.set_up()
    bench.out((port, 0))
    assert (bench.inb(CR), bench.inb(ISR)) == (STOP0, ISR_RST)


def test_the_bus_reset_makes_it_as_new() -> None:
    bench, guest = started(LinuxDriver)
    bench.store(0x4000, b"old")
    while bench.card.receive(frame(1514)):
        pass
    bench.card.read(RESET, 1)
    dropped = bench.card.count["ne2k.not_listening"]
    bench.card.receive(frame())
    bench.card.reset()
    assert not bench.line
    assert bench.inb(CR) == STOP0
    assert bench.load(0x4000, 3, 1) == bytes(3)
    assert bench.card.count["ne2k.not_listening"] == dropped + 1
    assert guest.probe() == MAC
    guest.initialize()
    bench.card.receive(frame())
    guest.interrupt()
    assert guest.received == [frame()]


def test_the_bus_reset_lowers_the_line_and_asks_for_what_was_refused() -> None:
    bench = Bench().set_up()
    while bench.card.receive(frame(1514)):
        pass
    assert bench.line
    bench.card.reset()
    assert not bench.line
    assert bench.rooms == 1
    assert bench.card.count is bench.card.chip.count


@pytest.mark.parametrize(
    ("mac", "memory", "front"),
    [(b"\x52\x54", 16384, ISA), (MAC, 8192, ISA), (MAC, 65536, RTL8029), (MAC, 16384, "mca")],
)
def test_a_card_that_does_not_exist(mac: bytes, memory: int, front: str) -> None:
    with pytest.raises(ValueError, match="no NE2000 has"):
        Ne2000(mac, memory=memory, front=front, interrupt=print, transmit=print, room=print)


# -- RTL8029


def test_the_rtl8029_says_its_name() -> None:
    bench = Bench()
    assert bytes((bench.inb(10), bench.inb(11))) == b"PC"
    bench.out((CR, START3))
    assert bytes((bench.inb(14), bench.inb(15))) == b"\x29\x80"
    assert bench.inb(CR) == START3


def test_full_duplex_is_set_as_linux_sets_it() -> None:
    bench = Bench().set_up()
    bench.out((CR, 0xE0), (0x06, 0x40))
    assert bench.inb(6) == 0  # the configuration is locked
    bench.out((0x01, 0xC0), (0x06, 0x40), (0x01, 0x00), (0x06, 0x00))
    assert bench.inb(6) == 0x40
    bench.out((CR, 0x20))
    assert bench.inb(CR) == START0


def test_the_medium_can_be_chosen() -> None:
    bench = Bench()
    bench.out((CR, START3), (1, 0xC0), (5, 0xFF), (3, 0xFF), (4, 0xFF))
    assert [bench.inb(offset) for offset in (3, 4, 5)] == [0, 0, 0xE0]


def test_the_eeprom_is_not_there() -> None:
    bench = Bench()
    bench.out((CR, START3))
    for pins in (0x88, 0x8C, 0x8E, 0x80):
        bench.out((1, pins))
        assert bench.inb(1) == pins | 1


def test_an_isa_card_has_no_page_3() -> None:
    bench = Bench(ISA)
    bench.out((CR, START3))
    assert [bench.inb(offset) for offset in range(1, 16)] == [0xFF] * 15

"""Configuration space, bit by bit where a system's firmware and drivers look."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.devices.pci import BAR0, COMMAND, CONFIG_SIZE, INTERRUPT_LINE, STATUS, ConfigSpace, Identity

IDENTITY = Identity(0x1B36, 0x0002, 0x070002, 0x1AF4, 0x1100, 1)


def u32(space: ConfigSpace, offset: int) -> int:
    (value,) = struct.unpack("<I", space.read(offset, 4))
    return int(value)


def test_the_header_says_what_the_card_is() -> None:
    space = ConfigSpace(IDENTITY, 8)
    assert u32(space, 0x00) == 0x0002_1B36
    assert u32(space, 0x08) == 0x0700_0201  # class, sub-class, interface, revision
    assert space.read(0x0E, 1) == b"\0"  # type 0, one function
    assert u32(space, 0x2C) == 0x1100_1AF4
    assert space.read(0x3D, 1) == b"\1"  # INTA#
    assert space.read(0x34, 1) == b"\0"  # no capabilities
    assert not space.read(STATUS, 1)[0] & 0x10


@pytest.mark.parametrize("size", [8, 32, 256])
def test_a_bar_is_sized_by_writing_ones(size: int) -> None:
    space = ConfigSpace(IDENTITY, size)
    assert u32(space, BAR0) == 1
    space.write(BAR0, b"\xff\xff\xff\xff")
    assert -(u32(space, BAR0) & ~3) & 0xFFFFFFFF == size
    assert u32(space, BAR0) & 3 == 1
    space.write(BAR0, struct.pack("<I", 0xC010 + size * 16))
    assert space.bar == (0xC010 + size * 16) & ~(size - 1)
    for other in range(BAR0 + 4, 0x28, 4):
        space.write(other, b"\xff\xff\xff\xff")
        assert u32(space, other) == 0
    space.write(0x30, b"\xff\xff\xff\xff")
    assert u32(space, 0x30) == 0  # no ROM


def test_the_command_register_and_what_a_guest_writes_for_itself() -> None:
    space = ConfigSpace(IDENTITY, 8)
    space.write(COMMAND, b"\xff\xff")
    assert space.read(COMMAND, 2) == b"\x47\x05"
    assert space.intx_disabled
    space.write(COMMAND + 1, b"\0")
    assert not space.intx_disabled
    space.write(INTERRUPT_LINE, b"\x0a\xff")
    assert space.read(INTERRUPT_LINE, 2) == b"\x0a\x01"


def test_interrupt_status_follows_the_pin_even_where_it_is_disabled() -> None:
    space = ConfigSpace(IDENTITY, 8)
    space.write(COMMAND, b"\0\x04")
    space.pending = True
    assert space.read(STATUS, 1)[0] & 8
    space.pending = False
    assert not space.read(STATUS, 1)[0] & 8


@given(st.lists(st.tuples(st.integers(0, CONFIG_SIZE - 1), st.binary(min_size=1, max_size=8))))
def test_nothing_written_changes_what_the_card_is_and_reset_undoes_it(writes: list[tuple[int, bytes]]) -> None:
    space = ConfigSpace(IDENTITY, 32)
    fresh = space.read(0, CONFIG_SIZE)
    for offset, data in writes:
        space.write(offset, data[: CONFIG_SIZE - offset])
    now = space.read(0, CONFIG_SIZE)
    assert len(now) == CONFIG_SIZE
    for fixed in (slice(0, 4), slice(6, 12), slice(0x2C, 0x30), slice(0x3D, 0x40), slice(0x40, CONFIG_SIZE)):
        assert now[fixed] == fresh[fixed]
    assert u32(space, BAR0) & 0x1F == 1
    space.reset()
    assert space.read(0, CONFIG_SIZE) == fresh

"""A client's session: what QEMU asks, what a hostile one sends, and that no descriptor is left open."""

import errno
import itertools
import json
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.devices.irq import IrqLine
from pppgate.devices.pci import Identity
from pppgate.devices.vfio_user import FDS_MOST, MESSAGE_MOST, Broken, Session
from tests.support import vfio_client as vfio
from tests.support.vfio_client import Answer, answers


class FakeCard:
    """Remembers what was asked of it; every register reads as its offset + 0x40."""

    identity = Identity(0x1B36, 0x0002, 0x070002)
    io_size = 8

    def __init__(self) -> None:
        self.written: list[tuple[int, int, int]] = []
        self.read_at: list[tuple[int, int]] = []
        self.resets = 0

    def read(self, offset: int, size: int) -> int:
        assert size in (1, 2, 4) and 0 <= offset <= self.io_size - size
        self.read_at.append((offset, size))
        return int.from_bytes(bytes(range(0x40 + offset, 0x40 + offset + size)), "little")

    def write(self, offset: int, value: int, size: int) -> None:
        assert size in (1, 2, 4) and 0 <= offset <= self.io_size - size and 0 <= value < 1 << 8 * size
        self.written.append((offset, value, size))

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        pass


class Rig:
    """A session with descriptors that are only numbers; those from 900 up are no eventfds."""

    def __init__(self, *, greeted: bool = True) -> None:
        self.card = FakeCard()
        self.events: list[int] = []
        self.closed: list[int] = []
        self.count: Counter[str] = Counter()
        self.irq = IrqLine(self.events.append)
        self.session = Session(self.card, self.irq, lambda fd: fd < 900, self.closed.append, self.count)
        if greeted:
            self.one(vfio.version())

    def __call__(self, data: bytes, *fds: int) -> list[Answer]:
        return answers(self.session.receive(data, list(fds)))

    def one(self, data: bytes, *fds: int) -> Answer:
        (answer,) = self(data, *fds)
        return answer

    def refused(self, data: bytes, *fds: int) -> tuple[int, str]:
        """The errno of the answer, and the name of the one count."""
        before = self.count.copy()
        answer = self.one(data, *fds)
        assert answer.flags == vfio.REPLY | vfio.ERROR and not answer.body
        ((name, times),) = (self.count - before).items()
        assert times == 1
        return answer.error, name


# What is asked once


def test_the_greeting() -> None:
    rig = Rig(greeted=False)
    answer = rig.one(vfio.version(0, 1))
    assert answer.flags == vfio.REPLY
    assert answer.body[:4] == struct.pack("=HH", 0, 0)
    assert answer.body.endswith(b"}\0")
    said = json.loads(answer.body[4:-1])["capabilities"]
    assert said["write_multiple"] is True
    assert said["max_msg_fds"] == FDS_MOST


@pytest.mark.parametrize("data", [b"", b"{}\0", b'{"capabilities":{}}\0', b"{}", b'{"other":1}\0'])
def test_a_capability_that_was_not_offered_is_not_claimed(data: bytes) -> None:
    answer = Rig(greeted=False).one(vfio.version(data=data))
    assert "write_multiple" not in json.loads(answer.body[4:-1])["capabilities"]


@pytest.mark.parametrize(
    "data, name",
    [
        (vfio.read(5), "vfio.no_version"),
        (vfio.message(vfio.GET_INFO, bytes(16)), "vfio.no_version"),
        (vfio.version(1, 0), "vfio.major_version"),
        (vfio.message(vfio.VERSION, b"\0\0"), "vfio.short_version"),
        (vfio.version(data=b"nonsense\0"), "vfio.capabilities"),
        (vfio.version(data=b"[1]\0"), "vfio.capabilities"),
        (vfio.version(data=b'{"capabilities":[]}\0'), "vfio.capabilities"),
        (vfio.version(data=b"[" * 8000), "vfio.capabilities"),
        (vfio.version(data=b"\xff\xfe\0"), "vfio.capabilities"),
        (struct.pack("=HHIII", 1, 1, 15, 0, 0), "vfio.message_size"),
        (struct.pack("=HHIII", 1, 1, MESSAGE_MOST + 1, 0, 0), "vfio.message_size"),
        (struct.pack("=HHIII", 1, 1, 0xFFFFFFFF, 0, 0), "vfio.message_size"),
    ],
)
def test_who_does_not_speak_the_protocol_is_cut_off_with_one_count(data: bytes, name: str) -> None:
    rig = Rig(greeted=False)
    with pytest.raises(Broken):
        rig(data)
    assert rig.count == {name: 1}


def test_a_second_version_is_refused() -> None:
    assert Rig().refused(vfio.version()) == (errno.EINVAL, "vfio.second_version")


def test_what_the_device_is() -> None:
    rig = Rig()
    assert struct.unpack("=IIII", rig.one(vfio.message(vfio.GET_INFO, bytes(16))).body) == (16, 3, 9, 5)
    sizes = []
    for index in range(9):
        body = struct.pack("=IIIIQQ", 32, 0, index, 0, 0, 0)
        argsz, flags, number, cap, size, offset = struct.unpack(
            "=IIIIQQ", rig.one(vfio.message(vfio.GET_REGION_INFO, body)).body
        )
        assert (argsz, number, cap, offset) == (32, index, 0, 0)
        assert flags == (3 if size else 0)
        sizes.append(size)
    assert sizes == [8, 0, 0, 0, 0, 0, 0, 256, 0]
    irqs = [rig.one(vfio.message(vfio.GET_IRQ_INFO, struct.pack("=IIII", 16, 0, n, 0))).body for n in range(5)]
    assert [struct.unpack("=IIII", body) for body in irqs] == [(16, 7, 0, 1), *((16, 0, n, 0) for n in range(1, 5))]


@pytest.mark.parametrize(
    "data, name",
    [
        (vfio.message(vfio.GET_REGION_INFO, struct.pack("=IIIIQQ", 32, 0, 9, 0, 0, 0)), "vfio.no_such_region"),
        (vfio.message(vfio.GET_IRQ_INFO, struct.pack("=IIII", 16, 0, 5, 0)), "vfio.no_such_interrupt"),
        *((vfio.message(command), "vfio.short_message") for command in (2, 3, 4, 5, 7, 8, 9, 10, 15)),
    ],
)
def test_a_bad_question_is_refused(data: bytes, name: str) -> None:
    assert Rig().refused(data) == (errno.EINVAL, name)


@pytest.mark.parametrize("command", [0, 6, 11, 12, 14, 16, 17, 18, 0xFFFF])
def test_a_request_that_is_not_ours_is_refused(command: int) -> None:
    assert Rig().refused(vfio.message(command, bytes(64))) == (errno.ENOTSUP, "vfio.unknown_command")


# Registers


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_register_is_one_bus_cycle_of_its_width(size: int) -> None:
    rig = Rig()
    for offset in range(0, 9 - size):
        answer = rig.one(vfio.read(offset, size, identifier=77))
        assert (answer.identifier, answer.command, answer.flags) == (77, vfio.READ, vfio.REPLY)
        assert answer.body == struct.pack("=QII", offset, 0, size) + bytes(range(0x40 + offset, 0x40 + offset + size))
        assert rig.card.read_at.pop() == (offset, size)
        data = bytes(range(0x90, 0x90 + size))
        answer = rig.one(vfio.write(offset, data, identifier=78))
        assert (answer.identifier, answer.command, answer.flags) == (78, vfio.WRITE, vfio.REPLY)
        assert answer.body == struct.pack("=QII", offset, 0, size)
        assert rig.card.written.pop() == (offset, int.from_bytes(data, "little"), size)


def test_an_odd_width_is_so_many_octets() -> None:
    rig = Rig()
    assert rig.one(vfio.read(1, 3)).body[16:] == b"\x41\x42\x43"
    assert rig.card.read_at == [(1, 1), (2, 1), (3, 1)]
    rig.one(vfio.write(0, bytes(range(8))))
    assert rig.card.written == [(n, n, 1) for n in range(8)]


@pytest.mark.parametrize("region", [vfio.BAR0, vfio.CONFIG, 1, 6, 8, 9, 0xFFFFFFFF])
@pytest.mark.parametrize("offset, count", [(0, 0), (7, 2), (8, 1), (256, 1), (255, 2), (2**64 - 1, 1), (2**64 - 1, 4),
                                           (0, 257), (0, 0xFFFFFFFF), (2**63, 8)])  # fmt: skip
def test_beyond_a_region_is_refused_and_never_reaches_the_card(region: int, offset: int, count: int) -> None:
    rig = Rig()
    if region == vfio.CONFIG and 0 < count <= 256 and offset <= 256 - count:
        assert rig.one(vfio.read(offset, count, region)).flags == vfio.REPLY
        return
    assert rig.refused(vfio.read(offset, count, region)) == (errno.EINVAL, "vfio.out_of_range")
    data = bytes(min(count, 300))
    body = struct.pack("=QII", offset, region, count) + data
    assert rig.refused(vfio.message(vfio.WRITE, body))[0] == errno.EINVAL
    assert not rig.card.read_at and not rig.card.written


def test_a_write_shorter_than_it_says_is_refused() -> None:
    rig = Rig()
    body = struct.pack("=QII", 0, 0, 4) + b"abc"
    assert rig.refused(vfio.message(vfio.WRITE, body)) == (errno.EINVAL, "vfio.short_message")
    assert not rig.card.written


def test_coalesced_writes() -> None:
    rig = Rig()
    answer = rig.one(vfio.write_multi((0, b"a"), (1, b"\x01\x02"), (4, b"\x01\x02\x03\x04")))
    assert answer.body == struct.pack("=Q", 3)
    assert rig.card.written == [(0, 0x61, 1), (1, 0x0201, 2), (4, 0x04030201, 4)]
    assert rig.one(vfio.write_multi()).body == bytes(8)
    assert rig.refused(vfio.write_multi((0, b"a"), count=2))[1] == "vfio.short_message"
    assert rig.refused(vfio.write_multi((0, b"a"), count=2**63))[1] == "vfio.short_message"
    body = struct.pack("=QQII", 1, 0, 0, 9) + bytes(8)
    assert rig.refused(vfio.message(vfio.WRITE_MULTI, body))[1] == "vfio.access_size"


def test_many_messages_of_one_read_are_answered_in_order_in_one_piece() -> None:
    rig = Rig()
    stream = b"".join(vfio.read(n % 8, identifier=n) for n in range(100))
    assert [answer.identifier for answer in rig(stream)] == list(range(100))


def test_no_reply_where_none_is_wanted_not_even_of_an_error() -> None:
    rig = Rig()
    assert rig(vfio.write(3, b"x", flags=vfio.NO_REPLY)) == []
    assert rig.card.written == [(3, 0x78, 1)]
    assert rig(vfio.read(99, flags=vfio.NO_REPLY)) == []
    assert rig(vfio.message(99, flags=vfio.NO_REPLY)) == []
    assert rig.count == {"vfio.out_of_range": 1, "vfio.unknown_command": 1}


def test_a_reply_to_nothing_is_dropped() -> None:
    rig = Rig()
    assert rig(vfio.read(0, flags=vfio.REPLY)) == []
    assert rig.count == {"vfio.not_a_request": 1}
    assert not rig.card.read_at


@given(st.data())
def test_it_does_not_matter_where_the_stream_is_cut(data: st.DataObject) -> None:
    messages = [vfio.version(), vfio.read(2, 2), vfio.write(1, b"hello"), vfio.write_multi((0, b"z")),
                vfio.read(0, 64, vfio.CONFIG), vfio.message(vfio.RESET), vfio.read(5)]  # fmt: skip
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    rig = Rig(greeted=False)
    got: list[Answer] = []
    for begin, end in itertools.pairwise([0, *cuts, len(stream)]):
        got += rig(stream[begin:end])
    assert got == Rig(greeted=False)(stream)
    assert len(got) == len(messages)


# Configuration space and reset


def test_configuration_space_is_region_7() -> None:
    rig = Rig()
    whole = rig.one(vfio.read(0, 256, vfio.CONFIG)).body[16:]
    assert len(whole) == 256 and whole[:4] == b"\x36\x1b\x02\x00"
    rig.one(vfio.write(0x10, b"\xff\xff\xff\xff", vfio.CONFIG))
    assert rig.one(vfio.read(0x10, 4, vfio.CONFIG)).body[16:] == b"\xf9\xff\xff\xff"


def test_the_interrupt_disable_bit_gates_the_pin_and_status_shows_it() -> None:
    rig = Rig()
    rig.one(vfio.set_irqs(0x24), 5)
    rig.one(vfio.write(4, b"\x01\x04", vfio.CONFIG))
    rig.irq.set_level(True)
    assert not rig.events
    assert rig.one(vfio.read(6, 1, vfio.CONFIG)).body[16] & 8
    rig.one(vfio.write(4, b"\x01\x00", vfio.CONFIG))
    assert rig.events == [5]


def test_reset() -> None:
    rig = Rig()
    rig.one(vfio.set_irqs(0x24), 5)
    rig.one(vfio.write(4, b"\x05\x04", vfio.CONFIG))
    assert rig.one(vfio.message(vfio.RESET)).body == b""
    assert rig.card.resets == 1
    assert rig.one(vfio.read(4, 2, vfio.CONFIG)).body[16:] == b"\0\0"
    rig.irq.set_level(True)
    assert rig.events == [5]


# Interrupts


def test_what_qemu_does_with_intx() -> None:
    rig = Rig()
    assert rig.one(vfio.set_irqs(0x24), 5).flags == vfio.REPLY  # here is the eventfd
    rig.irq.set_level(True)
    assert rig.events == [5]
    rig.one(vfio.set_irqs(0x11))  # the guest has looked: unmask
    assert rig.events == [5, 5]
    rig.irq.set_level(False)
    rig.one(vfio.set_irqs(0x11))
    assert rig.events == [5, 5]
    rig.one(vfio.set_irqs(0x21, count=0))  # no interrupts any more
    assert rig.closed == [5]
    rig.irq.set_level(True)
    assert rig.events == [5, 5]


def test_mask_and_booleans_and_a_trigger_of_the_clients_own() -> None:
    rig = Rig()
    rig.one(vfio.set_irqs(0x24), 5)
    rig.one(vfio.set_irqs(0x09))
    rig.irq.set_level(True)
    assert not rig.events
    rig.one(vfio.set_irqs(0x12, data=b"\0"))
    assert not rig.events
    rig.one(vfio.set_irqs(0x12, data=b"\1"))
    assert rig.events == [5]
    rig.one(vfio.set_irqs(0x21))
    rig.one(vfio.set_irqs(0x22, data=b"\1"))
    assert rig.events == [5, 5, 5]
    rig.one(vfio.set_irqs(0x22, data=b"\0"))
    assert rig.events == [5, 5, 5]


def test_a_new_descriptor_takes_the_place_of_the_old_and_none_takes_it_away() -> None:
    rig = Rig()
    rig.one(vfio.set_irqs(0x24), 5)
    rig.one(vfio.set_irqs(0x24), 6)
    assert rig.closed == [5]
    rig.one(vfio.set_irqs(0x24))
    assert rig.closed == [5, 6]


def test_turning_off_interrupts_that_the_card_does_not_have() -> None:
    rig = Rig()
    for index in range(1, 5):
        assert rig.one(vfio.set_irqs(0x21, index=index, count=0)).flags == vfio.REPLY


@pytest.mark.parametrize(
    "data",
    [
        vfio.set_irqs(0x24, index=1),
        vfio.set_irqs(0x24, index=5),
        vfio.set_irqs(0x24, count=2),
        vfio.set_irqs(0x24, start=1),
        vfio.set_irqs(0x24, start=0xFFFFFFFF, count=0xFFFFFFFF),
        vfio.set_irqs(0x14),  # an event for unmasking
        vfio.set_irqs(0x0C),
        vfio.set_irqs(0x27),
        vfio.set_irqs(0x3C),
        vfio.set_irqs(0x64),
        vfio.set_irqs(0x00),
        vfio.set_irqs(0x12),  # no booleans with it
    ],
)
def test_interrupt_requests_that_make_no_sense_close_what_came_with_them(data: bytes) -> None:
    rig = Rig()
    assert rig.refused(data, 5)[0] == errno.EINVAL
    assert rig.closed == [5]
    assert rig.irq.fd == -1


def test_a_descriptor_that_could_block_is_no_event() -> None:
    rig = Rig()
    assert rig.refused(vfio.set_irqs(0x24), 900) == (errno.EINVAL, "vfio.not_an_event")
    assert rig.closed == [900]


def test_more_descriptors_than_interrupts() -> None:
    rig = Rig()
    assert rig.refused(vfio.set_irqs(0x24), 5, 6)[1] == "vfio.descriptor_count"
    assert sorted(rig.closed) == [5, 6]


# Memory and descriptors


def test_memory_is_acknowledged_and_its_descriptor_closed() -> None:
    rig = Rig()
    body = struct.pack("=IIQQQ", 32, 3, 0, 0, 0x10000000)
    assert rig.one(vfio.message(vfio.DMA_MAP, body), 8).body == b""
    assert rig.closed == [8]
    body = struct.pack("=IIQQ", 24, 0, 0, 0x10000000)
    assert rig.one(vfio.message(vfio.DMA_UNMAP, body)).body == body
    assert not rig.count


def test_descriptors_with_a_register_access_are_closed_and_counted() -> None:
    rig = Rig()
    rig(vfio.read(0), 8, 9)
    assert rig.closed == [8, 9]
    assert rig.count == {"vfio.stray_descriptors": 2}


def test_descriptors_belong_to_the_last_message_of_a_read() -> None:
    rig = Rig()
    memory = vfio.message(vfio.DMA_MAP, struct.pack("=IIQQQ", 32, 3, 0, 0, 4096))
    rig(vfio.set_irqs(0x21, count=0) + memory + vfio.set_irqs(0x24), 5)
    assert rig.irq.fd == 5 and not rig.closed


def test_descriptors_wait_for_the_rest_of_their_message_but_not_in_any_number() -> None:
    rig = Rig()
    data = vfio.set_irqs(0x24)
    assert rig(data[:20], 5) == []
    rig.one(data[20:])
    assert rig.irq.fd == 5 and not rig.closed
    with pytest.raises(Broken):
        for fd in range(10, 100):
            rig(vfio.read(0)[:17] if fd == 10 else b"", fd)
    assert rig.count == {"vfio.too_many_descriptors": 1}
    rig.session.end()
    assert sorted(rig.closed) == [5, *range(10, 10 + FDS_MOST + 1)]


HOSTILE = st.one_of(
    st.binary(max_size=64),
    st.builds(
        vfio.message, st.integers(0, 20), st.binary(max_size=64), identifier=st.integers(0, 0xFFFF),
        flags=st.sampled_from([0, 0, 0, 1, 0x10, 0x20, 0xFFFFFFFF]),
    ),
    st.builds(vfio.read, st.integers(0, 300), st.integers(0, 300), st.integers(0, 10)),
    st.builds(vfio.write, st.integers(0, 300), st.binary(max_size=300), st.integers(0, 10)),
    st.builds(
        vfio.set_irqs, st.integers(0, 0x40), index=st.integers(0, 6), start=st.integers(0, 3),
        count=st.integers(0, 3), data=st.binary(max_size=3),
    ),
)  # fmt: skip


@given(st.lists(st.tuples(HOSTILE, st.integers(0, 3)), max_size=30))
def test_whatever_comes_is_answered_or_ends_it_and_every_descriptor_is_closed_once(
    pieces: list[tuple[bytes, int]],
) -> None:
    rig = Rig()
    given_fds: list[int] = []
    try:
        for data, fds in pieces:
            fresh = [len(given_fds) + 10 + n for n in range(fds)]
            given_fds += fresh
            for answer in rig(data, *fresh):
                assert answer.flags & vfio.REPLY
                assert len(answer.body) <= 16 + 256
    except Broken:
        assert sum(rig.count.values()) >= 1
    rig.session.end()
    rig.session.end()
    assert sorted(rig.closed) == given_fds

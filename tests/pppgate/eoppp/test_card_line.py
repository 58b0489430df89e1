"""pppgate.eoppp.card_line: what is on the way to a card, by a sender and a guest that a test plays."""

import struct
from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from nat.wire.ipv4 import TCP, build_ipv4
from nat.wire.udp import build_udp
from pppgate.eoppp.card_line import CARD_MOST, FLOWS_MOST, PAGE, QUIET, CardLine

SERVER, GUEST = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15))
FULL = 1460
PAGES = 6 * PAGE  # of a full frame


def tcp(
    source: bytes, to: bytes, ports: tuple[int, int], sequence: int, ack: int, size: int = 0, flags: int = 0x10
) -> bytes:
    mask = 0xFFFFFFFF
    head = struct.pack("!HHIIBBHHH", *ports, sequence & mask, ack & mask, 0x50, flags, 8192, 0, 0)
    return build_ipv4(source, to, TCP, head + bytes(size))


class Rig:
    def __init__(self) -> None:
        self.kicks = 0
        self.now = 50.0
        self.timers: list[tuple[float, Callable[[float], None]]] = []
        self.line = CardLine(GUEST, 1500, self._kick, Counter(), self._later)
        self.line.up = True

    def _later(self, when: float, call: Callable[[float], None]) -> None:
        if when <= self.now:
            call(self.now)
        else:
            self.timers.append((when, call))

    def _kick(self) -> None:
        self.kicks += 1

    def data(self, sequence: int, size: int = FULL, port: int = 80) -> None:
        self.line.send(tcp(SERVER, GUEST, (port, 4000), sequence, 1, size), port)

    def stream(self, count: int, begin: int = 0, port: int = 80) -> None:
        for n in range(count):
            self.data(begin + n * FULL, port=port)

    def take(self) -> int:
        """As a bridge port does at the end of a wake-up; how many packets went."""
        return len(self.line.take(1 << 20))

    def ack(self, acknowledgement: int, port: int = 80, flags: int = 0x10) -> None:
        self.line.heard(tcp(GUEST, SERVER, (4000, port), 1, acknowledgement, flags=flags), self.now)


def test_no_more_full_frames_than_the_ring_holds() -> None:
    rig = Rig()
    rig.stream(20)
    assert rig.take() == CARD_MOST // PAGES == 7
    assert rig.take() == 0 and rig.line.flying == CARD_MOST


def test_short_frames_count_by_the_page() -> None:
    rig = Rig()
    for n in range(60):
        rig.data(n * 512, 512)
    assert rig.take() == CARD_MOST // (3 * PAGE)


def test_an_acknowledgement_makes_room_and_wakes_the_line() -> None:
    rig = Rig()
    rig.stream(20)
    rig.take()
    rig.kicks = 0
    rig.ack(2 * FULL)
    assert rig.kicks == 1 and rig.take() == 2
    rig.ack(9 * FULL)
    assert rig.line.flying == 0 and rig.take() == 7


def test_repeated_acknowledgements_let_a_retransmission_through() -> None:
    rig = Rig()
    rig.stream(7)
    rig.take()
    rig.data(0)  # again
    assert rig.take() == 0
    rig.ack(0)
    rig.ack(0)
    assert rig.take() == 1


def test_old_strange_and_foreign_acknowledgements_change_nothing() -> None:
    rig = Rig()
    rig.stream(9, begin=100_000)
    rig.take()
    rig.ack(50_000)
    rig.ack(100_000 + FULL, port=81)
    rig.ack(100_000 + FULL, flags=0x02)
    rig.line.heard(build_udp(GUEST, 4000, SERVER, 80, bytes(30)), rig.now)
    rig.line.heard(build_ipv4(GUEST, SERVER, TCP, bytes(8)), rig.now)
    assert rig.line.flying == CARD_MOST and rig.take() == 0


def test_sequence_numbers_wrap() -> None:
    rig = Rig()
    rig.stream(9, begin=-3 * FULL)
    assert rig.take() == 7
    rig.ack(2 * FULL)
    assert rig.line.flying == 2 * PAGES


def test_after_a_silence_the_card_is_empty() -> None:
    rig = Rig()
    rig.stream(20)
    rig.take()
    ((when, look),) = rig.timers
    assert when == rig.now + QUIET
    rig.timers.clear()
    rig.kicks = 0
    rig.now = when
    look(when)
    assert rig.kicks == 1 and rig.line.flying == 0 and rig.take() == 7 and len(rig.timers) == 1


def test_a_guest_that_acknowledges_is_not_silent() -> None:
    rig = Rig()
    rig.stream(30)
    rig.take()
    when, look = rig.timers.pop()
    rig.now += QUIET / 2
    rig.ack(FULL)
    rig.take()
    look(when)
    assert rig.line.flying == CARD_MOST and rig.timers[0][0] == rig.now + QUIET
    assert len(rig.timers) == 1
    rig.ack(40 * FULL)
    look(rig.timers.pop()[0])
    assert rig.timers == []


def test_what_is_not_tcp_waits_for_nobody() -> None:
    rig = Rig()
    for _ in range(40):
        rig.line.send(build_udp(SERVER, 53, GUEST, 4000, bytes(1400)), "dns")
        rig.line.send(tcp(SERVER, GUEST, (80, 4000), 1, 1), "ack")
    assert rig.take() == 80 and rig.line.flying == 0


def test_connections_that_are_counted_are_bounded() -> None:
    rig = Rig()
    for port in range(1, 3 * FLOWS_MOST):
        rig.data(0, 10, port=port)
        rig.take()
        if port % 3:
            rig.ack(10, port=port)
        if rig.line.flying >= CARD_MOST:
            rig.timers.pop()[1](rig.now + 1)
    assert len(rig.line._flows) <= FLOWS_MOST


@given(
    st.lists(
        st.tuples(st.sampled_from("sat"), st.integers(0, 5), st.integers(-3000, 30000), st.integers(0, 1460)),
        max_size=60,
    )
)
def test_whatever_comes_the_account_is_right_and_a_silence_ends_every_wait(
    events: list[tuple[str, int, int, int]],
) -> None:
    rig = Rig()
    for what, port, number, size in events:
        rig.now += 0.001
        match what:
            case "s":
                rig.data(number, size, port=80 + port)
            case "a":
                rig.ack(number, port=80 + port)
            case "t":
                rig.take()
        cost = sum(cost for flow in rig.line._flows.values() for _, cost in flow.segments)
        assert rig.line.flying == cost < CARD_MOST + PAGES
    for _ in range(200):
        rig.take()
        if not rig.line.queued:
            break
        when, look = rig.timers.pop()
        rig.now = max(rig.now, when)
        look(rig.now)
    assert not rig.line.queued

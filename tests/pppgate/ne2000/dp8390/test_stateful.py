"""A driver, a ring and a network against a list: frames come out whole and in order, and none is lost uncounted."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.ne2000_bench import CNTR2, DRIVERS, MAC, PEER, RING, STOP, Bench, LinuxDriver, frame

SIZES = st.integers(60, 1514) | st.sampled_from([60, 248, 249, 504, 505, 1514])


class DriverAndRing(RuleBasedStateMachine):
    """The model: `expected`, what the driver must still get; `waiting`, the frame that was refused; `lost`."""

    bench: Bench
    guest: LinuxDriver

    @initialize(driver=st.sampled_from(DRIVERS))
    def switch_on(self, driver: type[LinuxDriver]) -> None:
        self.bench = Bench()
        self.guest = driver(self.bench)
        assert self.guest.probe() == MAC
        self.guest.initialize()
        self.expected: deque[bytes] = deque()
        self.waiting: bytes | None = None
        self.rooms = 0
        self.lost = 0
        self.seed = 0
        self.sent: list[bytes] = []

    def _frame(self, size: int) -> bytes:
        self.seed += 1
        return frame(size, seed=self.seed)

    @rule(size=SIZES, number=st.integers(1, 12))
    def arrive(self, size: int, number: int) -> None:
        for _ in range(number):
            data = self.waiting or self._frame(size)
            self.waiting = None
            if not self.bench.card.receive(data):
                self.waiting = data
                self.rooms = self.bench.rooms
                return
            self.expected.append(data)

    @rule(size=SIZES)
    def arrive_on_a_network_that_cannot_wait(self, size: int) -> None:
        data = self._frame(size)
        overruns = self.bench.card.count["ne2k.overrun"]
        assert self.bench.card.receive(data, force=True)
        if self.bench.card.count["ne2k.overrun"] == overruns:
            self.expected.append(data)
        else:
            self.lost += 1

    @rule()
    def interrupt(self) -> None:
        self.guest.interrupt()
        self._compare()
        assert not self.expected  # whatever was in the ring is read, without another arrival
        assert not self.bench.line

    @rule(packets=st.integers(1, 8))
    def interrupt_by_a_driver_with_little_time(self, packets: int) -> None:
        """Linux's handler with a smaller batch, which it acknowledges and leaves."""
        if type(self.guest) is LinuxDriver and self.bench.line:
            self.guest.batch = packets
            self.guest._service()
            self.guest.batch = 9
            self._compare()

    @rule(size=SIZES)
    def transmit(self, size: int) -> None:
        data = frame(size, to=PEER, seed=self.seed)
        self.guest.transmit(data)
        self.sent.append(data)

    @rule()
    def reboot(self) -> None:
        self.lost -= self.guest.missed + self.bench.inb(CNTR2)
        self.guest.missed = 0
        assert self.guest.probe() == MAC
        self.guest.initialize()
        self.waiting = None
        self.expected.clear()

    def _compare(self) -> None:
        for data in self.guest.received:
            assert self.expected.popleft() == data
        self.guest.received.clear()

    @invariant()
    def nothing_is_bad_and_every_loss_is_counted(self) -> None:
        if not hasattr(self, "guest"):
            return
        assert self.guest.bad == []
        assert self.bench.sent == self.sent
        assert self.guest.missed + self.bench.card.chip.tally[2] == self.lost

    @invariant()
    def who_was_refused_is_asked_as_soon_as_there_is_room(self) -> None:
        if getattr(self, "waiting", None) is None:
            return
        ring = self.bench.card.chip.ring
        fits = ring.fits(ring.pages(len(self.waiting or b"") + 4))
        assert fits == (self.bench.rooms > self.rooms)
        if fits:
            self.rooms = -1

    @invariant()
    def the_pages_in_use_are_those_of_the_frames(self) -> None:
        if not hasattr(self, "guest"):
            return
        ring = self.bench.card.chip.ring
        used = (ring.current - ring.boundary) % (STOP - RING)
        assert used in (sum(ring.pages(len(data) + 4) for data in self.expected) + extra for extra in (0, 1))


DriverAndRing.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDriverAndRing = DriverAndRing.TestCase

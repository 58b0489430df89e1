"""nat.flight: the account of a line that hides its queue, and what flows make of it."""

from collections import Counter

import pytest

from nat.flight import LEAST_FRAMES, MOST, TARGET, Flight
from nat.line import Line
from tests.support.tcp_peer import GuestTcp, World


def test_without_a_hidden_queue_nothing_is_learnt_and_nothing_bounded() -> None:
    line = Line(bytes(4), 1500, lambda: None, Counter())
    line.up = True
    line.flight.flying = 1 << 20
    line.flight.measured(5.0)
    assert line.room("flow") == line.flow_limit


def test_it_grows_while_the_round_trip_stays_short_and_it_is_used() -> None:
    flight = Flight(1500)
    flight.reset(1500, hidden=True)
    for _ in range(100):
        flight.flying = flight.window
        flight.measured(0.005)
    assert flight.window == MOST
    before = flight.window = 20_000
    flight.flying = 1000
    flight.measured(0.005)
    assert flight.window == before


def test_it_shrinks_to_a_few_frames_when_a_queue_shows() -> None:
    flight = Flight(1500)
    flight.reset(1500, hidden=True)
    flight.measured(0.005)
    for _ in range(50):
        flight.measured(0.005 + TARGET * 2)
    assert flight.window == LEAST_FRAMES * 1500


def test_it_stays_below_what_was_lost_and_probes_slowly() -> None:
    flight = Flight(1500)
    flight.reset(1500, hidden=True)
    for _ in range(100):
        flight.flying = flight.window
        flight.measured(0.005)
    flight.flying = 13_000
    flight.lost()
    assert flight.window == 13_000 * 3 // 4
    for _ in range(10):
        flight.flying = flight.window
        flight.measured(0.005)
    assert 13_000 * 3 // 4 < flight.window < 13_000
    for _ in range(50):
        flight.lost()
        flight.flying = flight.window
    assert flight.window == LEAST_FRAMES * 1500


def test_a_loss_says_nothing_of_a_line_that_hides_no_queue() -> None:
    flight = Flight(1500)
    before = flight.window
    flight.lost()
    assert flight.window == before


def test_another_guest_on_the_line_begins_anew() -> None:
    flight = Flight(1500)
    flight.reset(1500, hidden=True)
    flight.measured(0.001)
    for _ in range(50):
        flight.measured(1.0)
    flight.reset(576, hidden=True)
    assert flight.window == 2 * LEAST_FRAMES * 576
    flight.measured(1.0)
    assert flight.window >= 2 * LEAST_FRAMES * 576


@pytest.mark.parametrize("loss", (0.0, 0.1, 0.3))
def test_what_is_in_flight_adds_up_to_nothing_in_the_end(loss: float) -> None:
    world = World(seed=9, delay=0.01, loss=loss)
    guests = [GuestTcp(world, port=40000 + number, to_send=b"x" * 3000, sack=bool(number % 2)) for number in range(4)]
    for guest in guests:
        guest.connect()
    world.run(lambda: all(guest.established for guest in guests))
    for sock in world.host.sockets:
        sock.arriving += bytes(50_000)
        sock.remote_closed = True
    world.run(lambda: all(guest.remote_fin for guest in guests))
    world.run(lambda: all(not flow.sender.unacked for flow in world.table.flows.values()))
    assert world.line.flight.flying == 0


def test_a_connection_that_is_reset_gives_its_part_back() -> None:
    world = World(delay=0.01)
    guest = GuestTcp(world, close=False)
    guest.connect()
    world.run(lambda: guest.established)
    world.host.sockets[0].arriving += bytes(100_000)
    world.run(lambda: world.line.flight.flying > 0)
    world.flow.abort(world.now)
    assert world.line.flight.flying == 0


def test_a_flow_that_waits_is_woken_when_another_is_acknowledged() -> None:
    line = Line(bytes(4), 1500, lambda: None, Counter())
    line.up = True
    line.flight.reset(1500, hidden=True)
    line.flight.flying += line.flight.window
    assert line.room("other") == 0

    class Waiter:
        woken = 0

        def wake(self) -> None:
            self.woken += 1

    waiter = Waiter()
    line.wait("other", waiter, 1500)
    line.flight.flying -= 1000
    line.offer()
    assert waiter.woken == 0
    line.flight.flying -= 2000
    line.offer()
    assert waiter.woken == 1 and line.room("other") == 3000

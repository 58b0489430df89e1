"""nat.tcp.idle: what is due when nothing happens."""

import math

from nat.context import Limits
from nat.tcp.idle import ALIVE_TRIES, TIME_WAIT_FOR, Due, Idle


def tick(idle: Idle, *, fin_sent: bool = False, up: bool = True) -> Due:
    return idle.tick(idle.timer_at, fin_sent=fin_sent, up=up)


def test_an_idle_flow_ends_after_the_time_that_the_limits_say() -> None:
    idle = Idle(Limits(tcp_idle=100.0))
    assert idle.timer_at == math.inf
    idle.begin(5.0, fin_sent=False)
    assert idle.timer_at == 105.0
    idle.heard_at = 50.0
    assert tick(idle) is Due.NOTHING and idle.timer_at == 150.0
    assert not idle.silent(149.9) and idle.silent(150.0)
    assert tick(idle) is Due.IDLE


def test_one_that_only_waits_for_the_guests_fin_ends_sooner() -> None:
    idle = Idle(Limits(tcp_idle=100.0, tcp_transitory=10.0))
    idle.begin(0.0, fin_sent=True)
    assert idle.timer_at == 10.0 and tick(idle, fin_sent=True) is Due.IDLE


def test_a_guest_that_is_asked_and_does_not_answer_is_dead() -> None:
    idle = Idle(Limits(tcp_keepalive=20.0))
    idle.begin(0.0, fin_sent=False)
    at = []
    while (due := tick(idle)) is Due.ASK:
        at.append(idle.timer_at)
        idle.ask(idle.timer_at)
    assert due is Due.DEAD and idle.asked == ALIVE_TRIES
    assert at == [20.0, 21.0, 23.0, 27.0, 35.0, 51.0] and idle.timer_at == 83.0


def test_a_guest_that_answers_or_is_away_is_let_be() -> None:
    idle = Idle(Limits(tcp_idle=100.0))
    idle.ask(1.0)
    idle.asked = 0
    assert tick(idle) is Due.NOTHING and idle.timer_at == 102.0
    idle.ask(3.0)
    assert tick(idle, up=False) is Due.NOTHING and idle.timer_at == 104.0


def test_time_wait_begins_again_when_the_guest_repeats_itself() -> None:
    idle = Idle(Limits())
    idle.time_wait(1.0)
    idle.time_wait(30.0)
    assert idle.timer_at == 30.0 + TIME_WAIT_FOR and tick(idle) is Due.EXPIRED

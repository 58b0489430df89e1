"""When an Echo-Request is due, on a clock alone."""

import math

from lcp.keepalive import Act, Keepalive


def test_silence_is_asked_about_and_in_vain_it_ends() -> None:
    keepalive = Keepalive(10.0, 3)
    assert keepalive.deadline == math.inf and keepalive.tick(0.0, 1000.0) is Act.NOTHING
    keepalive.start(100.0)
    assert keepalive.deadline == 110.0 and keepalive.tick(100.0, 109.9) is Act.NOTHING
    for now in (110.0, 120.0, 130.0):
        assert keepalive.tick(100.0, now) is Act.ECHO and keepalive.deadline == now + 10
    assert keepalive.tick(100.0, 140.0) is Act.GIVE_UP


def test_any_frame_is_a_sign_of_life_and_puts_the_next_request_off() -> None:
    keepalive = Keepalive(10.0, 3)
    keepalive.start(100.0)
    assert keepalive.tick(107.0, 110.0) is Act.NOTHING and keepalive.deadline == 117.0
    assert keepalive.tick(107.0, 117.0) is Act.ECHO


def test_an_answer_makes_the_count_begin_anew() -> None:
    keepalive = Keepalive(10.0, 1)
    keepalive.start(0.0)
    assert keepalive.tick(0.0, 10.0) is Act.ECHO
    assert keepalive.tick(10.0, 20.0) is Act.ECHO  # it was heard at the very moment
    assert keepalive.tick(10.0, 30.0) is Act.GIVE_UP


def test_an_interval_of_0_is_never() -> None:
    keepalive = Keepalive(0.0, 3)
    keepalive.start(100.0)
    assert keepalive.deadline == math.inf


def test_stop_and_start() -> None:
    keepalive = Keepalive(10.0, 1)
    keepalive.start(0.0)
    assert keepalive.tick(0.0, 10.0) is Act.ECHO
    keepalive.stop()
    assert keepalive.deadline == math.inf
    keepalive.start(50.0)
    assert keepalive.tick(0.0, 60.0) is Act.ECHO  # what was in vain before does not count

"""Doorbells: what poll(2) says of them, in every state and in any order of calls."""

import os
import resource
import select
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialport.doorbell import Doorbell, Gate, TwoWay
from serialport.port import PortError

Bell = Doorbell | Gate | TwoWay


def state(fd: int) -> tuple[bool, bool]:
    """(readable, writable)"""
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLOUT)
    bits = dict(poll.poll(0)).get(fd, 0)
    return bool(bits & select.POLLIN), bool(bits & select.POLLOUT)


@pytest.fixture
def few_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_doorbell_is_readable_while_rung_and_always_writable() -> None:
    bell = Doorbell()
    assert state(bell.fd) == (False, True)
    bell.ring()
    assert state(bell.fd) == (True, True)
    bell.ring()
    bell.hush()
    assert state(bell.fd) == (False, True)
    bell.hush()
    bell.close()


def test_a_gate_is_writable_while_open() -> None:
    gate = Gate()
    assert state(gate.fd)[1]
    gate.shut()
    gate.shut()
    assert not state(gate.fd)[1]
    gate.open()
    gate.open()
    assert state(gate.fd)[1]
    gate.close()


@given(st.lists(st.sampled_from(["ring", "hush", "shut", "open"]), max_size=40))
def test_a_two_way_bell_shows_both_in_any_order(calls: list[str]) -> None:
    bell = TwoWay()
    rung, is_open = False, True
    for call in calls:
        getattr(bell, call)()
        rung = {"ring": True, "hush": False}.get(call, rung)
        is_open = {"open": True, "shut": False}.get(call, is_open)
        assert state(bell.fd) == (rung, is_open)
    bell.close()


def test_level_triggered_in_an_epoll() -> None:
    epoll = select.epoll()
    bell = Doorbell()
    epoll.register(bell.fd, select.EPOLLIN)
    bell.ring()
    assert epoll.poll(0) == epoll.poll(0) == [(bell.fd, select.EPOLLIN)]
    bell.hush()
    assert epoll.poll(0) == []
    bell.close()
    epoll.close()


@pytest.mark.parametrize("kind", [Doorbell, Gate, TwoWay])
def test_a_closed_bell_is_silent_and_its_number_is_not_touched(kind: type[Bell]) -> None:
    bell = kind()
    number = bell.fd
    bell.close()
    again = os.eventfd(0, os.EFD_NONBLOCK)
    assert again <= number  # the lowest free number: the bell's, or one even lower
    for call in ("ring", "hush", "shut", "open", "close"):
        getattr(bell, call, lambda: None)()
    assert state(again) == (False, True)
    os.close(again)


@pytest.mark.parametrize("kind", [Doorbell, Gate, TwoWay])
@pytest.mark.usefixtures("few_files")
def test_out_of_descriptors_is_said_in_a_sentence(kind: type[Bell]) -> None:
    with pytest.raises(PortError, match="ulimit -n"):
        kind()

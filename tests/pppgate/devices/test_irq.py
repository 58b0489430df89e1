"""The interrupt pin: one event for each time that the client may hear of it, and none lost."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pppgate.devices.irq import IrqLine

FD = 7


def line() -> tuple[IrqLine, list[int]]:
    events: list[int] = []
    irq = IrqLine(events.append)
    irq.assign(FD)
    return irq, events


def test_an_edge_is_told_once_and_masks_the_line() -> None:
    irq, events = line()
    irq.set_level(True)
    irq.set_level(True)
    assert events == [FD]
    irq.set_level(False)
    irq.set_level(True)
    assert events == [FD]  # the client has not unmasked yet


def test_unmasking_tells_a_level_that_is_still_high() -> None:
    irq, events = line()
    irq.set_level(True)
    irq.unmask()
    assert events == [FD, FD]
    irq.set_level(False)
    irq.unmask()
    assert events == [FD, FD]


def test_masked_by_the_client() -> None:
    irq, events = line()
    irq.mask()
    irq.set_level(True)
    assert not events
    irq.unmask()
    assert events == [FD]


def test_a_level_from_before_the_descriptor_is_told_when_it_comes() -> None:
    events: list[int] = []
    irq = IrqLine(events.append)
    irq.set_level(True)
    assert irq.assign(FD) == -1
    assert events == [FD]
    assert irq.assign(-1) == FD
    irq.unmask()
    assert events == [FD]


def test_disabled_by_the_guest_in_the_command_register() -> None:
    irq, events = line()
    irq.set_enabled(False)
    irq.set_level(True)
    assert not events
    irq.set_enabled(True)
    assert events == [FD]


def test_held_while_the_guest_is_at_it() -> None:
    irq, events = line()
    irq.hold()
    irq.set_level(True)
    irq.set_level(False)
    irq.set_level(True)
    irq.unmask()
    assert not events
    irq.release()
    assert events == [FD]
    irq.hold()
    irq.unmask()
    irq.set_level(False)
    irq.release()
    assert events == [FD]


def test_triggered_by_the_client() -> None:
    irq, events = line()
    irq.trigger()
    assert events == [FD]
    irq.assign(-1)
    irq.trigger()
    assert events == [FD]


ACTS = st.sampled_from(["up", "down", "mask", "unmask", "hold", "release", "disable", "enable", "assign", "take away"])


@given(st.lists(ACTS, max_size=40))
def test_no_level_is_forgotten_whatever_happens(acts: list[str]) -> None:
    """Once the line is free again, a high level has been told since the last unmasking, and a low one is silent."""
    irq, events = line()
    does: dict[str, Callable[[], object]] = {
        "up": lambda: irq.set_level(True), "down": lambda: irq.set_level(False), "mask": irq.mask,
        "unmask": irq.unmask, "hold": irq.hold, "release": irq.release, "disable": lambda: irq.set_enabled(False),
        "enable": lambda: irq.set_enabled(True), "assign": lambda: irq.assign(FD), "take away": lambda: irq.assign(-1),
    }  # fmt: skip
    for act in acts:
        before = len(events)
        could = irq.level and irq.enabled and not irq.masked and not irq.held and irq.fd >= 0
        assert not could, "a level that could be told waits"
        does[act]()
        assert len(events) - before <= 1
        assert len(events) == before or irq.masked
    irq.release()
    irq.set_enabled(True)
    irq.assign(FD)
    before = len(events)
    irq.unmask()
    assert (len(events) > before) is irq.level

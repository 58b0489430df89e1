"""How many Python functions a packet goes through: what decides the gateway's speed, kept from growing unseen."""

import pytest

from contrib.bench.calls import Way, measure


@pytest.fixture(scope="module")
def ways() -> tuple[Way, Way]:
    return measure()


def test_a_segment_comes_in_with_few_calls(ways: tuple[Way, Way]) -> None:
    """Until its octets wait for the host's socket, which gets all of a wake-up at once."""
    way_in, _ = ways
    each = way_in.until("Dirty.flush")
    assert len(each.calls) <= 12, str(each)
    assert len(each.files) <= 9, str(each)
    assert len(way_in.calls) <= 17, str(way_in)


def test_a_segment_goes_out_with_few_calls(ways: tuple[Way, Way]) -> None:
    """From the host's socket onto the pty, all of it."""
    _, way_out = ways
    assert len(way_out.calls) <= 20, str(way_out)
    assert len(way_out.files) <= 14, str(way_out)

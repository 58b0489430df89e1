"""nat.tcp.recovery by itself: the arithmetic of RFC 6298, 5681, 6582, 2018 and 6675, a rule a test."""

import pytest

from nat.tcp.recovery import INITIAL_SEGMENTS, RANGES_MOST, RTO_INITIAL, RTO_LEAST, RTO_MOST, UNSAMPLED_MOST, Recovery

MSS = 1000
CAPACITY = 128 * 1024


def fresh() -> Recovery:
    return Recovery(MSS, CAPACITY)


def test_the_first_round_trip_and_the_next() -> None:  # RFC 6298 sections 2.2 and 2.3
    recovery = fresh()
    assert recovery.rto == RTO_INITIAL
    recovery.sample(0.4)
    assert (recovery.srtt, recovery.rttvar) == (0.4, 0.2)
    assert recovery.rto == pytest.approx(0.4 + 4 * 0.2)
    recovery.sample(0.8)
    assert recovery.rttvar == pytest.approx(0.2 + (0.4 - 0.2) / 4)
    assert recovery.srtt == pytest.approx(0.4 + 0.4 / 8)
    assert recovery.rto == pytest.approx(0.45 + 4 * 0.25)


def test_the_timer_has_a_least_and_a_most() -> None:
    recovery = fresh()
    recovery.sample(0.001)
    assert recovery.rto == RTO_LEAST
    recovery.sample(500.0)
    assert recovery.rto == RTO_MOST


def test_a_timeout_backs_off_and_an_acknowledgement_undoes_it() -> None:  # sections 5.5 to 5.7
    recovery = fresh()
    for expected in (2, 4, 8, 16, 32, 60, 60):
        recovery.timed_out(0, 10 * MSS)
        assert recovery.rto == expected
    recovery.restore()
    assert recovery.rto == RTO_INITIAL
    recovery.sample(1.0)
    recovery.timed_out(0, 10 * MSS)
    recovery.restore()
    assert recovery.rto == pytest.approx(3.0)


def test_slow_start_then_congestion_avoidance() -> None:  # RFC 5681 section 3.1
    recovery = fresh()
    assert recovery.cwnd == INITIAL_SEGMENTS * MSS
    recovery.acknowledged(MSS, MSS, recovery.cwnd)
    assert recovery.cwnd == 11 * MSS
    recovery.ssthresh = 11 * MSS
    recovery.acknowledged(11 * MSS, 12 * MSS, recovery.cwnd)
    assert recovery.cwnd == 12 * MSS
    recovery.cwnd = CAPACITY - 1
    recovery.acknowledged(MSS, 13 * MSS, CAPACITY)
    assert recovery.cwnd == CAPACITY
    recovery.acknowledged(MSS, 14 * MSS, CAPACITY)
    assert recovery.cwnd == CAPACITY


def test_growth_in_congestion_avoidance_is_an_octet_at_the_least() -> None:
    recovery = Recovery(48, CAPACITY)
    recovery.ssthresh = 100
    recovery.cwnd = 100_000
    recovery.acknowledged(1, 1, 100_000)
    assert recovery.cwnd == 100_001


def test_a_window_that_was_not_used_does_not_grow() -> None:  # RFC 7661
    recovery = fresh()
    recovery.acknowledged(MSS, MSS, 4999)
    assert recovery.cwnd == 10 * MSS
    recovery.acknowledged(MSS, MSS, 5000)
    assert recovery.cwnd == 11 * MSS


def test_three_duplicates_halve_and_name_the_first_segment() -> None:  # RFC 5681 section 3.2
    recovery = fresh()
    assert [recovery.duplicate(0, 10 * MSS) for _ in range(5)] == [False, False, True, False, False]
    assert recovery.ssthresh == recovery.cwnd == 5 * MSS and recovery.recover == 10 * MSS
    assert recovery.next_lost(0, 10 * MSS) == (0, MSS)
    recovery.resend_from = MSS
    assert recovery.next_lost(0, 10 * MSS) is None


def test_new_acknowledgements_begin_the_count_anew() -> None:
    recovery = fresh()
    recovery.duplicate(0, 9 * MSS)
    recovery.duplicate(0, 9 * MSS)
    recovery.acknowledged(MSS, MSS, 9 * MSS)
    assert recovery.duplicates == 0 and not recovery.duplicate(MSS, 9 * MSS)


def test_a_loss_leaves_two_segments_at_the_least() -> None:
    recovery = fresh()
    for _ in range(3):
        recovery.duplicate(0, MSS)
    assert recovery.ssthresh == 2 * MSS
    recovery = fresh()
    recovery.timed_out(0, MSS)
    assert recovery.ssthresh == 2 * MSS and recovery.cwnd == MSS


def test_a_partial_acknowledgement_names_the_next_hole() -> None:  # RFC 6582 section 3.2
    recovery = fresh()
    for _ in range(3):
        recovery.duplicate(0, 10 * MSS)
    recovery.resend_from = MSS
    recovery.acknowledged(3 * MSS, 3 * MSS, 10 * MSS)
    assert recovery.recover == 10 * MSS
    assert recovery.next_lost(3 * MSS, 10 * MSS) == (3 * MSS, 4 * MSS)


def test_a_full_acknowledgement_ends_it() -> None:
    recovery = fresh()
    for _ in range(3):
        recovery.duplicate(0, 10 * MSS)
    recovery.cwnd = 9 * MSS
    recovery.acknowledged(10 * MSS, 10 * MSS, 10 * MSS)
    assert recovery.recover == -1 and recovery.cwnd == recovery.ssthresh == 5 * MSS
    assert recovery.next_lost(10 * MSS, 12 * MSS) is None


def test_after_a_timeout_everything_goes_again_as_the_window_allows() -> None:
    recovery = fresh()
    recovery.timed_out(0, 10 * MSS)
    assert (recovery.cwnd, recovery.ssthresh, recovery.recover) == (MSS, 5 * MSS, 10 * MSS)
    assert recovery.next_lost(0, 10 * MSS) == (0, MSS)
    recovery.resend_from = MSS
    assert recovery.next_lost(0, 10 * MSS) is None
    recovery.acknowledged(MSS, MSS, 10 * MSS)
    assert recovery.cwnd == 2 * MSS
    assert recovery.next_lost(MSS, 10 * MSS) == (MSS, 2 * MSS)
    recovery.resend_from = 2 * MSS
    assert recovery.next_lost(MSS, 10 * MSS) == (2 * MSS, 3 * MSS)
    recovery.resend_from = 3 * MSS
    assert recovery.next_lost(MSS, 10 * MSS) is None


def test_a_second_timeout_of_the_same_loss_lowers_nothing_more() -> None:  # RFC 5681 section 3.1
    recovery = fresh()
    recovery.timed_out(0, 10 * MSS)
    recovery.timed_out(0, 10 * MSS)
    assert recovery.ssthresh == 5 * MSS


def test_a_timeout_in_fast_recovery_does() -> None:
    recovery = fresh()
    for _ in range(3):
        recovery.duplicate(0, 10 * MSS)
    recovery.timed_out(0, 8 * MSS)
    assert recovery.ssthresh == 4 * MSS and recovery.after_timeout


def test_a_timeout_forgets_what_was_selectively_acknowledged() -> None:  # RFC 2018 section 8
    recovery = fresh()
    recovery.selectively_acknowledged(5 * MSS, 6 * MSS)
    recovery.timed_out(0, 10 * MSS)
    assert recovery.sacked == []


def test_ranges_are_merged_in_order_and_bounded() -> None:
    recovery = fresh()
    assert recovery.selectively_acknowledged(5, 6)
    assert recovery.selectively_acknowledged(1, 2)
    assert recovery.sacked == [(1, 2), (5, 6)]
    assert not recovery.selectively_acknowledged(5, 6) and not recovery.selectively_acknowledged(1, 2)
    assert recovery.selectively_acknowledged(2, 3)
    assert recovery.sacked == [(1, 3), (5, 6)]
    assert recovery.selectively_acknowledged(3, 5)
    assert recovery.sacked == [(1, 6)]
    assert recovery.selectively_acknowledged(0, 9)
    assert recovery.sacked == [(0, 9)]
    for n in range(10, 10 + 4 * RANGES_MOST, 2):
        recovery.selectively_acknowledged(n, n + 1)
    assert len(recovery.sacked) == RANGES_MOST


def test_what_is_acknowledged_is_no_longer_a_range() -> None:
    recovery = fresh()
    recovery.selectively_acknowledged(10, 20)
    recovery.selectively_acknowledged(30, 40)
    recovery.acknowledged(15, 15, 100)
    assert recovery.sacked == [(15, 20), (30, 40)]
    recovery.acknowledged(5, 20, 100)
    assert recovery.sacked == [(30, 40)]


def test_enough_selectively_acknowledged_is_a_loss_at_once() -> None:  # RFC 6675 section 5
    recovery = fresh()
    recovery.selectively_acknowledged(2 * MSS, 5 * MSS - 1)
    assert not recovery.duplicate(0, 10 * MSS)
    recovery.selectively_acknowledged(5 * MSS - 1, 5 * MSS)
    assert recovery.duplicate(0, 10 * MSS)


def test_holes_below_the_highest_range_are_lost_and_nothing_else() -> None:
    recovery = fresh()
    recovery.selectively_acknowledged(2 * MSS, 4 * MSS)
    recovery.selectively_acknowledged(5 * MSS, 9 * MSS)
    recovery.duplicate(0, 9 * MSS)
    found = []
    while lost := recovery.next_lost(0, 9 * MSS):
        found.append(lost)
        recovery.resend_from = lost[1]
    assert found == [(0, MSS), (MSS, 2 * MSS), (4 * MSS, 5 * MSS)]


def test_a_hole_is_cut_at_the_next_range() -> None:
    recovery = fresh()
    recovery.selectively_acknowledged(300, 5 * MSS)
    recovery.duplicate(0, 6 * MSS)
    assert recovery.next_lost(0, 6 * MSS) == (0, 300)
    recovery.resend_from = 300
    assert recovery.next_lost(0, 6 * MSS) is None


def test_what_is_out_counts_against_the_window() -> None:
    """RFC 6675's pipe: what was sent beyond the highest range, and what has been sent again."""
    recovery = fresh()
    recovery.selectively_acknowledged(10 * MSS, 13 * MSS)
    recovery.duplicate(0, 14 * MSS)
    assert recovery.cwnd == 7 * MSS
    sent = 0
    while lost := recovery.next_lost(0, 14 * MSS):
        recovery.resend_from = lost[1]
        sent += 1
    assert sent == 6  # and one segment beyond the range makes seven


def test_without_a_loss_nothing_is_sent_again() -> None:
    recovery = fresh()
    recovery.selectively_acknowledged(5 * MSS, 6 * MSS)
    assert recovery.next_lost(0, 10 * MSS) is None


def test_recoveries_restore_the_timer_but_not_for_ever() -> None:  # RFC 6298 section 5; Karn
    recovery = fresh()
    recovery.sample(1.0)
    for _ in range(UNSAMPLED_MOST):
        recovery.timed_out(0, 10 * MSS)
        recovery.recovered()
        assert recovery.rto == pytest.approx(3.0)
    recovery.timed_out(0, 10 * MSS)
    recovery.recovered()
    assert recovery.rto == pytest.approx(6.0)
    recovery.sample(1.0)
    recovery.timed_out(0, 10 * MSS)
    recovery.recovered()
    assert recovery.rto < 5.0


def test_a_hole_between_two_ranges_is_cut_at_the_second() -> None:
    recovery = fresh()
    recovery.selectively_acknowledged(MSS, 2 * MSS)
    recovery.selectively_acknowledged(2 * MSS + 300, 5 * MSS)
    recovery.selectively_acknowledged(7 * MSS, 9 * MSS)
    recovery.duplicate(0, 9 * MSS)
    recovery.resend_from = MSS
    assert recovery.next_lost(0, 9 * MSS) == (2 * MSS, 2 * MSS + 300)
    recovery.resend_from = 2 * MSS + 300
    assert recovery.next_lost(0, 9 * MSS) == (5 * MSS, 6 * MSS)


def test_a_partial_acknowledgement_with_ranges_sends_nothing_twice() -> None:
    recovery = fresh()
    recovery.selectively_acknowledged(4 * MSS, 9 * MSS)
    recovery.duplicate(0, 9 * MSS)
    recovery.resend_from = 4 * MSS
    recovery.acknowledged(MSS, MSS, 9 * MSS)
    assert recovery.next_lost(MSS, 9 * MSS) is None

"""The breaker: when it opens, when it lets one through, when it closes; time and chance are given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.deliver.breaker import (
    FAILURES_IN_A_ROW,
    FIRST_PAUSE_MS,
    JITTER,
    LONGEST_PAUSE_MS,
    WINDOW_MS,
    Breaker,
)

T0 = 1_700_000_000_000


def end(breaker: Breaker, now: int, *, failed: bool | None, chance: float = 0.0, turn: int | None = None):
    """End an attempt that started in ``turn``; now, when that is not given."""
    started = breaker.lets_through(now) if turn is None else turn
    assert started is not None
    return breaker.ended(started, now, failed=failed, chance=chance)


def opened(chance: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_IN_A_ROW):
        change = end(breaker, T0, failed=True, chance=chance)
    assert change is not None
    assert change.state == breaker.state == "open"
    return breaker


def test_ten_failures_in_a_row_open_it_and_nine_do_not():
    breaker = Breaker()
    for _ in range(FAILURES_IN_A_ROW - 1):
        assert end(breaker, T0, failed=True) is None
    assert end(breaker, T0, failed=False) is None
    assert breaker.lets_through(T0) is not None
    opened()


def test_of_many_attempts_in_five_minutes_seven_in_ten_failures_open_it():
    breaker = Breaker()
    for n in range(40):
        end(breaker, T0 + n, failed=n % 10 < 7, turn=0)
    assert breaker.state == "open"
    patient = Breaker()
    assert not any(end(patient, T0 + n, failed=n % 5 < 3) for n in range(200))


def test_failures_older_than_the_window_do_not_count():
    breaker = Breaker()
    for n in range(9):
        end(breaker, T0 + n, failed=n != 8)
    assert end(breaker, T0 + WINDOW_MS + 9, failed=True) is None


def test_what_says_nothing_of_the_receiver_does_not_count():
    breaker = Breaker()
    for _ in range(100):
        assert end(breaker, T0, failed=None) is None
    assert breaker.state == "closed"


def test_open_it_lets_nothing_through_until_its_pause_is_over_and_then_one_probe_alone():
    breaker = opened()
    assert breaker.until == T0 + FIRST_PAUSE_MS
    assert breaker.lets_through(breaker.until - 1) is None
    assert breaker.lets_through(breaker.until) is not None
    assert breaker.lets_through(breaker.until) is None
    assert breaker.state == "half-open"


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_doubles_the_pause_up_to_five_minutes():
    breaker, pauses = opened(), []
    for _ in range(10):
        now = breaker.until
        assert end(breaker, now, failed=True) is not None
        pauses.append(breaker.until - now)
    assert pauses[0] == 2 * FIRST_PAUSE_MS
    assert pauses[-1] == LONGEST_PAUSE_MS
    change = end(breaker, breaker.until, failed=False)
    assert change is not None
    assert change.state == breaker.state == "closed"
    assert opened().until == T0 + FIRST_PAUSE_MS  # it begins anew


def test_a_probe_that_says_nothing_makes_way_for_another():
    breaker = opened()
    assert end(breaker, breaker.until, failed=None) is None
    assert breaker.lets_through(breaker.until) is not None


@pytest.mark.parametrize("failed", [True, False, None])
def test_attempts_that_began_before_it_opened_neither_close_it_nor_prolong_its_pause(failed: bool | None):
    breaker = opened()
    until = breaker.until
    assert end(breaker, T0 + 5, failed=failed, turn=0) is None
    assert (breaker.state, breaker.until) == ("open", until)


@pytest.mark.parametrize("failed", [True, False, None])
def test_attempts_that_began_before_it_opened_are_not_taken_for_its_probe(failed: bool | None):
    breaker = opened()
    probe = breaker.lets_through(breaker.until)
    assert probe is not None
    assert end(breaker, breaker.until, failed=failed, turn=0) is None
    assert breaker.lets_through(breaker.until) is None  # the probe is still under way
    assert end(breaker, breaker.until, failed=False, turn=probe) is not None
    assert breaker.state == "closed"


@given(st.floats(0, 1, exclude_max=True))
def test_chance_only_ever_makes_a_pause_longer_and_by_a_fifth_at_most(chance):
    pause = opened(chance).until - T0
    assert FIRST_PAUSE_MS <= pause <= FIRST_PAUSE_MS * (1 + JITTER)

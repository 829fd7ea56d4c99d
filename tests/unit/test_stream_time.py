"""Stream time goes on with events, and with the clock only for as long as the log is known to be quiet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.consume.ends import LogEnds
from actionmap.stream_time import StreamTime

HOUR = 3_600_000


class Clock:
    def __init__(self) -> None:
        self.seconds, self.wall = 500.0, 10 * HOUR

    def stream(self) -> StreamTime:
        return StreamTime(lambda: self.seconds, lambda: self.wall)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_before_the_first_event_there_is_none(clock):
    stream = clock.stream()
    stream.claimed(-1, -1)
    assert stream.at(clock.seconds + 99) == -1
    assert stream.reached_at(5, clock.seconds) == clock.seconds


def test_it_is_the_events_time_plus_what_has_passed_on_the_clock_since(clock):
    stream = clock.stream()
    stream.claimed(-1, -1)
    stream.stored(2015, stream.reached_at(2015, clock.seconds))
    clock.seconds += 7
    assert stream.at(clock.seconds) == 2015 + 7000
    assert stream.at(clock.seconds - 100) == 2015  # nothing is known of that time


def test_what_passed_while_nobody_owned_the_partition_counts(clock):
    stream = clock.stream()
    stream.claimed(1000, clock.wall - 2 * HOUR)
    assert stream.at(clock.seconds) == 1000 + 2 * HOUR


@pytest.mark.parametrize("reached_at", [-1, 99 * HOUR])
def test_a_wall_clock_that_is_not_known_or_was_set_back_adds_nothing(reached_at, clock):
    stream = clock.stream()
    stream.claimed(1000, reached_at)
    assert stream.at(clock.seconds) == 1000


def test_a_backlog_of_older_events_does_not_take_back_what_the_outage_has_added(clock):
    stream = clock.stream()
    stream.claimed(1000, clock.wall - HOUR)
    stream.stored(2000, stream.reached_at(2000, clock.seconds))
    assert (stream.time, stream.at(clock.seconds)) == (2000, 1000 + HOUR)


def test_setting_the_wall_clock_changes_nothing_while_the_partition_is_owned(clock):
    stream = clock.stream()
    stream.claimed(1000, clock.wall)
    clock.wall += 100 * HOUR
    clock.seconds += 1
    assert stream.at(clock.seconds) == 2000
    assert stream.wall_clock_of(clock.seconds - 3) == clock.wall - 3000


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1000)), min_size=1, max_size=30))
def test_it_never_goes_back(steps):
    clock = Clock()
    stream = clock.stream()
    stream.claimed(-1, -1)
    before = -1
    for asked, passed in steps:
        clock.seconds += passed
        time = max(asked, stream.time)
        stream.stored(time, stream.reached_at(time, clock.seconds))
        assert stream.at(clock.seconds) >= before
        before = stream.at(clock.seconds)


def test_an_end_is_known_only_for_the_time_before_its_fetch_was_asked_for():
    ends = LogEnds()
    assert ends.known_at(0, None, 1.0) is None
    assert ends.known_at(0, 10, 2.0) is None
    assert ends.known_at(0, 20, 3.0) is None  # asked for after the answer before, of which nothing else is known
    assert ends.known_at(0, 30, 4.0) == 2.0
    assert ends.known_at(0, 30, 5.0) == 2.0  # no new answer
    assert ends.known_at(0, 40, 6.0) == 3.0
    assert ends.known_at(1, 40, 6.0) is None
    ends.forget(0)
    assert ends.known_at(0, 50, 7.0) is None


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=40), st.data())
def test_whatever_the_timing_no_record_that_was_there_at_that_time_is_overlooked(gaps, data):
    """Fetches one after the other; each shows the log as it was at some moment between being asked for and answered."""
    ends, now, asked, answers = LogEnds(), 0.0, 0.0, []
    for gap in gaps:
        answered = asked + gap
        answers.append((answered, data.draw(st.floats(asked, answered))))
        asked = answered
    for look in sorted(data.draw(st.lists(st.floats(0.01, asked), min_size=3, max_size=40))):
        now = look
        newest = next(((at, seen) for at, seen in reversed(answers) if at <= now), None)
        known = ends.known_at(0, None if newest is None else round(newest[0] * 1e9), now)
        if known is not None and newest is not None:
            assert known <= newest[1]

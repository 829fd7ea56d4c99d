"""Opening hours: days, hours, time zones and the days on which all stays closed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.catalog.schedule import OpeningHours
from actionmap.event import to_millis, to_rfc3339


def at(text: str) -> int:
    return to_millis(datetime.fromisoformat(text))


def is_open(moment: str, *intervals: str, zone: str = "Europe/Berlin", closed: tuple[str, ...] = ()) -> bool:
    return OpeningHours(zone, intervals, closed).is_open(at(moment))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23T09:00:00+01:00", True),
        ("2026-11-23T08:59:59.999+01:00", False),
        ("2026-11-23T17:59:59.999+01:00", True),
        ("2026-11-23T18:00:00+01:00", False),
        ("2026-11-27T12:00:00+01:00", True),
        ("2026-11-28T12:00:00+01:00", False),
        ("2026-11-23T08:00:00Z", True),
        # In summer the same local hour is another one in UTC.
        ("2026-07-06T07:00:00Z", True),
        ("2026-07-06T06:59:00Z", False),
    ],
)
def test_hours_are_half_open_and_local(moment, expected):
    assert is_open(moment, "mon-fri 09:00-18:00") is expected


def test_intervals_are_alternatives_and_days_may_be_listed():
    shop = ("mon,wed 09:00-12:00", "mon 13:00-24:00", "sat,sun 00:00-01:00")
    times = {"2026-11-23T10:00:00Z": True, "2026-11-23T12:30:00Z": False, "2026-11-23T23:59:59Z": True,
             "2026-11-24T10:00:00Z": False, "2026-11-25T10:00:00Z": True, "2026-11-29T00:30:00Z": True}  # fmt: skip
    assert {moment: is_open(moment, *shop, zone="UTC") for moment in times} == times


def test_exceptions_are_local_days():
    assert not is_open("2026-12-25T10:00:00+01:00", "mon-sun 00:00-24:00", closed=("2026-12-25",))
    assert not is_open("2026-12-24T23:30:00Z", "mon-sun 00:00-24:00", closed=("2026-12-25",))
    assert is_open("2026-12-25T23:30:00Z", "mon-sun 00:00-24:00", closed=("2026-12-25",))


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-23T08:30:00+01:00", "2026-11-23T08:00:00.000Z"),
        ("2026-11-23T10:00:00+01:00", "2026-11-23T09:00:00.000Z"),
        ("2026-11-27T18:00:00+01:00", "2026-12-01T08:00:00.000Z"),
    ],
)
def test_when_it_opens_next(moment, opens):
    hours = OpeningHours("Europe/Berlin", ("mon-fri 09:00-18:00",), ("2026-11-30",))
    assert to_rfc3339(hours.next_open(at(moment))) == opens


def test_an_interval_that_begins_in_the_hour_that_is_skipped_opens_after_it():
    """On 2026-03-29 the clocks of Berlin go from 02:00 to 03:00."""
    hours = OpeningHours("Europe/Berlin", ("sun 02:30-06:00",))
    assert to_rfc3339(hours.next_open(at("2026-03-28T12:00:00Z"))) == "2026-03-29T01:00:00.000Z"


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
    st.sampled_from(("mon-fri 09:00-18:00", "sun 02:00-03:00", "sat,sun 00:00-24:00", "wed 23:59-24:00")),
    st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")),
)
def test_the_next_opening_is_open_and_nothing_before_it_is(moment, interval, zone):
    hours = OpeningHours(zone, (interval,))
    begin = to_millis(moment.replace(second=0, microsecond=0, tzinfo=UTC))
    opens = hours.next_open(begin)
    assert opens is not None
    assert hours.is_open(opens)
    step = int(timedelta(minutes=30).total_seconds() * 1000)
    assert not any(hours.is_open(time) for time in range(begin, opens, step))
    assert opens == begin or not hours.is_open(opens - 1)


def test_what_never_opens_says_so():
    every_day = tuple((datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(days=n)).date().isoformat()
                      for n in range(900))  # fmt: skip
    assert OpeningHours("UTC", ("mon-sun 00:00-24:00",), every_day).next_open(at("2026-01-01T00:00:00Z")) is None


@pytest.mark.parametrize(
    ("zone", "interval", "closed", "said"),
    [
        ("Mars/Base", "mon 09:00-10:00", (), "no time zone"),
        ("../etc/passwd", "mon 09:00-10:00", (), "no time zone"),
        ("UTC", "mon 9-10", (), "no opening hours"),
        ("UTC", "mon 09:00-24:01", (), "from 00:00 to 24:00"),
        ("UTC", "mon 09:60-10:00", (), "from 00:00 to 24:00"),
        ("UTC", "mon 22:00-06:00", (), "write hours over midnight as two"),
        ("UTC", "mon 09:00-09:00", (), "write hours over midnight as two"),
        ("UTC", "monday 09:00-10:00", (), "is no day"),
        ("UTC", "mon- 09:00-10:00", (), "is no day"),
        ("UTC", "fri-mon 09:00-10:00", (), "goes backwards"),
        ("UTC", "mon 09:00-10:00", ("25.12.2026",), "is no day"),
        ("UTC", "mon 09:00-10:00", ("2026-02-30",), "is no day"),
    ],
)
def test_what_cannot_be_read_is_told(zone, interval, closed, said):
    with pytest.raises(ValueError, match=said):
        OpeningHours(zone, (interval,), closed)

"""What becomes of an attempt that failed: every line of the verdict table, and properties of the waits."""

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.deliver.retry import (
    FEW_ATTEMPTS,
    LONGEST_RETRY_AFTER_S,
    Again,
    Dead,
    after_failure,
    meaning,
    parse_retry_after,
)
from actionmap.delivery import Attempt, Delivery, RetryPolicy

NOW = 1_700_000_000_000


def _delivery(made=1, **retry):
    return Delivery(
        id="am1_x",
        integration="crm",
        webhook="w",
        action_map="m",
        visitor_id="v",
        event_id="e",
        at=NOW,
        owed_at=NOW,
        method="POST",
        target="/",
        attempts=made,
        retry=RetryPolicy(**retry),
    )


FAILED = Attempt("retry")


def _wait_s(delivery, attempt=FAILED, chance=0.5):
    what = after_failure(delivery, attempt, now=NOW, chance=chance)
    assert isinstance(what, Again), what
    return (what.at - NOW) / 1000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (408, "retry"),
        (425, "retry"),
        (429, "retry"),
        (500, "retry"),
        (501, "retry"),
        (503, "retry"),
        (599, "retry"),
        (300, "refused"),
        (301, "refused"),
        (304, "refused"),
        (308, "refused"),
        (410, "refused"),
        (400, "few"),
        (401, "few"),
        (403, "few"),
        (404, "few"),
        (409, "few"),
        (422, "few"),
        (101, "few"),
        (999, "few"),
    ],
)
def test_each_status_means_what_the_table_says(status, expected):
    assert meaning(status, ("2xx",)) == expected


def test_a_listed_status_is_a_success_and_an_unlisted_2xx_is_not():
    assert meaning(302, ("200", "3xx")) == "delivered"
    assert meaning(410, ("410",)) == "delivered"
    assert meaning(204, ("200",)) == "few"


def test_the_default_schedule_is_the_documented_one():
    waits = [_wait_s(_delivery(attempts)) for attempts in range(1, 8)]
    assert waits == [5, 20, 80, 320, 1280, 3600, 3600]


def test_chance_moves_an_exponential_wait_by_a_fifth_either_way():
    assert (_wait_s(_delivery(), chance=0.0), _wait_s(_delivery(), chance=1.0)) == (4, 6)


def test_a_written_schedule_is_kept_and_its_last_entry_repeats():
    waits = [_wait_s(_delivery(attempts, schedule=(5, 300)), chance=0.0) for attempts in (1, 2, 3, 7)]
    assert waits == [5, 300, 300, 300]
    assert _wait_s(_delivery(1, schedule=(10,)), chance=0.999) < 11


def test_the_last_try_is_the_last():
    assert isinstance(after_failure(_delivery(7), Attempt("retry"), now=NOW, chance=0), Again)
    assert after_failure(_delivery(8), Attempt("retry"), now=NOW, chance=0) == Dead("attempts-exhausted")
    assert after_failure(_delivery(1, attempts=1), Attempt("retry"), now=NOW, chance=0) == Dead("attempts-exhausted")


def test_a_delivery_whose_next_try_would_be_too_late_is_too_old():
    delivery = _delivery(1, max_age_s=60, schedule=(30,))
    assert isinstance(after_failure(delivery, Attempt("retry"), now=NOW + 29_000, chance=0), Again)
    assert after_failure(delivery, Attempt("retry"), now=NOW + 31_000, chance=0) == Dead("too-old")


@pytest.mark.parametrize("status", [301, 410])
def test_a_terminal_status_is_refused_at_once(status):
    assert after_failure(_delivery(), Attempt("retry", status=status), now=NOW, chance=0) == Dead("refused")


def test_a_terminal_outcome_is_refused_at_once():
    assert after_failure(_delivery(), Attempt("dead"), now=NOW, chance=0) == Dead("refused")


@pytest.mark.parametrize("status", [401, 404, 422])
def test_other_client_errors_are_tried_a_few_times_only(status):
    attempt = Attempt("retry", status=status)
    for attempts in range(1, FEW_ATTEMPTS):
        assert isinstance(after_failure(_delivery(attempts), attempt, now=NOW, chance=0), Again)
    assert after_failure(_delivery(FEW_ATTEMPTS), attempt, now=NOW, chance=0) == Dead("refused")


@given(
    attempts=st.integers(1, 50),
    hint=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    chance=st.floats(0, 1, exclude_max=True),
    schedule=st.lists(st.integers(0, 100_000), max_size=4).map(tuple),
)
def test_retry_after_only_ever_delays(attempts, hint, chance, schedule):
    delivery = _delivery(attempts, attempts=1000, schedule=schedule, max_age_s=10**9)
    plain = _wait_s(delivery, Attempt("retry"), chance)
    hinted = _wait_s(delivery, Attempt("retry", retry_after_s=hint), chance)
    assert hinted >= plain
    assert hinted <= max(plain, LONGEST_RETRY_AFTER_S * 1.1 + 0.001)
    if hint is not None and math.isfinite(hint):
        assert hinted >= min(hint, LONGEST_RETRY_AFTER_S) - 0.001


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("120.5", 120.5),
        (" 7 ", 7),
        ("999999999", LONGEST_RETRY_AFTER_S),
        (formatdate(NOW / 1000 + 90, usegmt=True), 90),
        (formatdate(NOW / 1000 - 90, usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text, seconds):
    assert parse_retry_after(text, now=NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "-1",
        "+1",
        "1e309",
        "1e3",
        "NaN",
        "inf",
        "soon",
        "5, 10",
        "٣",
        "0x10",
        "1" * 10000,
        "x" * 10000,
        "12:30",
        "Fri, 99 Dec 2026 99:99:99 GMT",
        "\x00",
    ],
)
def test_a_retry_after_that_makes_no_sense_is_ignored(text):
    assert parse_retry_after(text, now=NOW) is None


@given(st.text())
def test_no_retry_after_can_make_us_fail(text):
    seconds = parse_retry_after(text, now=NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_S

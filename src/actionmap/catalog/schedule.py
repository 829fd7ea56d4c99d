"""Opening hours: intervals of the week in a time zone, and days on which all stays closed (semantics §5, §9.11)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from actionmap.event import to_millis

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_INTERVAL = re.compile(r"([a-z,-]+) +([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MINUTES_A_DAY = 24 * 60
_MINUTE_MS = 60_000
#: How far ahead `next_open` looks: exceptions may close a whole year.
_DAYS_AHEAD = 800


class OpeningHours:
    """When a schedule is open; intervals are half open, in minutes of the local clock."""

    __slots__ = ("_closed", "_open", "_zone")

    def __init__(self, timezone: str, intervals: tuple[str, ...], closed: tuple[str, ...] = ()) -> None:
        """Read a schedule.

        Args:
            timezone: A name of the IANA database, such as ``Europe/Berlin``.
            intervals: Days and hours, such as ``mon-fri 09:00-18:00`` or ``sat,sun 10:00-24:00``.
            closed: Days without opening hours, such as ``2026-12-25``.

        Raises:
            ValueError: one of them cannot be read; says which and how it is written.
        """
        self._zone = time_zone(timezone)
        #: Weekday, 0 for Monday → (begin, end) in minutes after midnight, ascending.
        self._open: dict[int, list[tuple[int, int]]] = {}
        for interval in intervals:
            days, begin, end = _read_interval(interval)
            for day in days:
                self._open.setdefault(day, []).append((begin, end))
        for of_day in self._open.values():
            of_day.sort()
        self._closed = frozenset(_read_date(day) for day in closed)

    def is_open(self, at: int) -> bool:
        """True when ``at``, in milliseconds since 1970, lies in the opening hours."""
        try:
            local = datetime.fromtimestamp(at / 1000, self._zone)
        except (OverflowError, ValueError):  # after the year 9999
            return False
        if local.date() in self._closed:
            return False
        minute = local.hour * 60 + local.minute
        return any(begin <= minute < end for begin, end in self._open.get(local.weekday(), ()))

    def next_open(self, at: int) -> int | None:
        """The first moment at or after ``at`` that is open, in milliseconds since 1970; None when none is in sight."""
        if self.is_open(at):
            return at
        for day in self._days_from(at):
            if day in self._closed:
                continue
            for begin, _ in self._open.get(day.weekday(), ()):
                moment = self._local(day, begin)
                if moment > at and self.is_open(moment):
                    return self._begin(moment, at)
        return None

    def opens_between(self, begin: int, end: int | None) -> int | None:
        """The first moment from ``begin`` on that is open and before ``end``; None when there is none, or in sight."""
        opens = self.next_open(begin)
        return None if opens is None or (end is not None and end <= opens) else opens

    def _days_from(self, at: int) -> Iterator[date]:
        try:
            today = datetime.fromtimestamp(at / 1000, self._zone).date()
            for ahead in range(_DAYS_AHEAD):
                yield today + timedelta(days=ahead)
        except (OverflowError, ValueError):  # after the year 9999
            return

    def _begin(self, moment: int, at: int) -> int:
        """Where the opening that ``moment`` lies in begins: earlier, when the clock skipped its first hour."""
        while moment - _MINUTE_MS > at and self.is_open(moment - _MINUTE_MS):
            moment -= _MINUTE_MS
        return moment

    def _local(self, day: date, minute: int) -> int:
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self._zone)
        return to_millis(local.astimezone(UTC))


def time_zone(name: str) -> ZoneInfo:
    """The time zone called ``name``.

    Raises:
        ValueError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name!r} is no time zone of the IANA database, such as Europe/Berlin or UTC") from None


def _read_interval(text: str) -> tuple[list[int], int, int]:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no opening hours; write days and hours, such as 'mon-fri 09:00-18:00'")
    begin, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    if int(match[3]) > 59 or int(match[5]) > 59 or end > _MINUTES_A_DAY:
        raise ValueError(f"{text!r}: hours go from 00:00 to 24:00")
    if begin >= end:
        raise ValueError(
            f"{text!r} ends before it begins; write hours over midnight as two: until 24:00, and from 00:00"
        )
    return _read_days(match[1], text), begin, end


def _read_days(written: str, text: str) -> list[int]:
    days: list[int] = []
    for part in written.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS or part.endswith("-"):
            raise ValueError(f"{text!r}: {part!r} is no day; days are {', '.join(_DAYS)}, mon-fri and sat,sun")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        if begin > end:
            raise ValueError(f"{text!r}: {part!r} goes backwards; the week begins with mon")
        days.extend(range(begin, end + 1))
    return sorted(set(days))


def _read_date(text: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day; write it as 2026-12-25, in quotes") from None

"""The filter ``date``: a time as text → that time written as a format says, in a time zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from actionmap.catalog.parse import nearest
from actionmap.catalog.places import BadTemplate
from actionmap.catalog.schedule import time_zone
from actionmap.catalog.values import time_value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
#: Text in square brackets, a run of one letter, anything else.
_PIECE = re.compile(r"\[([^\[\]]*)\]|(([A-Za-z])\3*)|([^A-Za-z])")


def _offset(moment: datetime) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


_TOKENS: dict[str, Callable[[datetime], str]] = {
    "YYYY": lambda moment: f"{moment.year:04}",
    "YY": lambda moment: f"{moment.year % 100:02}",
    "MM": lambda moment: f"{moment.month:02}",
    "M": lambda moment: str(moment.month),
    "DD": lambda moment: f"{moment.day:02}",
    "D": lambda moment: str(moment.day),
    "HH": lambda moment: f"{moment.hour:02}",
    "H": lambda moment: str(moment.hour),
    "hh": lambda moment: f"{moment.hour % 12 or 12:02}",
    "h": lambda moment: str(moment.hour % 12 or 12),
    "A": lambda moment: "AM" if moment.hour < 12 else "PM",
    "mm": lambda moment: f"{moment.minute:02}",
    "ss": lambda moment: f"{moment.second:02}",
    "SSS": lambda moment: f"{moment.microsecond // 1000:03}",
    "Z": _offset,
    "T": lambda _: "T",
}


def compile_date(form: str, timezone: str = "UTC") -> Callable[[str], str | None]:
    """A function from a time (RFC 3339, or a day alone: its midnight in ``timezone``) to ``form``; None for no time.

    Args:
        form: Tokens such as ``YYYY``, ``MM`` and ``HH``, and what stands between them; letters in ``[…]``.
        timezone: A name of the IANA database.

    Raises:
        BadTemplate: one of them cannot be read.
    """
    try:
        zone = time_zone(timezone)
    except ValueError as error:
        raise BadTemplate(str(error)) from None
    pieces = _read(form)

    def write(text: str) -> str | None:
        moment = _moment(text, zone)
        if moment is None:
            return None
        return "".join([piece if isinstance(piece, str) else piece(moment) for piece in pieces])

    return write


def _read(form: str) -> list[str | Callable[[datetime], str]]:
    pieces: list[str | Callable[[datetime], str]] = []
    for bracketed, letters, _, other in _PIECE.findall(form):
        if letters and letters not in _TOKENS:
            hint = nearest(letters, _TOKENS)
            raise BadTemplate(
                f"the date format {form!r}: there is no {letters!r}{hint}; text stands in [square brackets]"
            )
        pieces.append(_TOKENS[letters] if letters else bracketed or other)
    return pieces


def _moment(text: str, zone: tzinfo) -> datetime | None:
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=zone)
        millis = time_value(text)
        return None if millis is None else (_EPOCH + timedelta(milliseconds=millis)).astimezone(zone)
    except (ValueError, OverflowError):  # no such day; before the year 1 or after 9999 in that zone
        return None

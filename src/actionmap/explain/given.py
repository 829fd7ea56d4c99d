"""An event that somebody asks about, which no broker has seen."""

from __future__ import annotations

from typing import Any

import msgspec

from actionmap.consume.parse import Record, parse_record
from actionmap.event import Event


def given_event(written: Any, number: int, now: int) -> Event:
    """The event that ``written``, a JSON value, is.

    Args:
        written: As it would be sent.
        number: Its place among those given; one without an id is ``explain/0/<number>``.
        now: Its time when it has none, in milliseconds since 1970.

    Raises:
        Rejected: it is no event.
    """
    return parse_record(Record("explain", 0, number, now, None, msgspec.json.encode(written))).event

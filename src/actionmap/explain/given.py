"""An event that somebody asks about, which no broker has seen."""

from __future__ import annotations

from typing import Any

import msgspec

from actionmap.consume.parse import Record, event_of, outcome_asked
from actionmap.event import RESERVED_EVENTS, Event
from actionmap.wire import parse_and_count


def given_event(written: Any, number: int, now: int) -> Event:
    """The event that ``written``, a JSON value, is.

    Args:
        written: As it would be sent, or with the name of a reserved event.
        number: Its place among those given; one without an id is ``explain/0/<number>``.
        now: Its time when it has none, in milliseconds since 1970.

    Raises:
        Rejected: it is no event.
    """
    value = msgspec.json.encode(written)
    wire, unknown = parse_and_count(value, reserved=RESERVED_EVENTS)
    return outcome_asked(event_of(Record("explain", 0, number, now, None, value), wire, unknown).event)

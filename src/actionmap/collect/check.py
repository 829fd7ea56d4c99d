"""The body of a request → its events, each accepted for Kafka or rejected with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from actionmap.collect.producer import Outgoing
from actionmap.errors import ActionmapError, Rejected
from actionmap.wire import parse_event

MAX_BODY_BYTES = 512 * 1024
MAX_EVENTS = 1000


class BadBody(ActionmapError):
    """The body of a request holds no events at all: it is no JSON, no object or list, or an empty list."""


class TooManyEvents(ActionmapError):
    """The list in the body of a request is longer than is taken at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptable:
    """An event that Kafka may have."""

    outgoing: Outgoing
    #: None where the sender gave none.
    event_id: str | None


_events = msgspec.json.Decoder(list[msgspec.Raw])


def split_body(body: bytes) -> list[bytes]:
    """The events in ``body``, each as the bytes that were sent.

    Args:
        body: One JSON object, or a list of up to 1,000 values.

    Raises:
        BadBody: it is neither.
        TooManyEvents: the list is longer.
    """
    text = body.strip(b" \t\r\n")
    if text.startswith(b"{"):
        return [text]
    if not text.startswith(b"["):
        raise BadBody("the body is no JSON object and no list of them")
    try:
        events = _events.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadBody(f"the body is no JSON: {error}") from None
    if not events:
        raise BadBody("the list holds no events")
    if len(events) > MAX_EVENTS:
        raise TooManyEvents(f"{len(events):,} events; at most {MAX_EVENTS:,} are taken at once")
    return [bytes(event) for event in events]


def check_event(value: bytes) -> Acceptable | Rejected:
    """Whether Kafka may have the event ``value``; a rejection is returned, because its neighbours go on."""
    try:
        event = parse_event(value)
    except Rejected as rejection:
        return rejection
    return Acceptable(outgoing=Outgoing(event.visitor_id, value), event_id=event.event_id)

"""The event as it travels (design §3.1): bytes → WireEvent, or the reason why it is none.

The collector, `actionmap send` and the consumer read events through this one door.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from actionmap.errors import Rejected
from actionmap.event import (
    EVENT_NAME_PATTERN,
    MAX_EVENT_BYTES,
    MAX_EVENT_DEPTH,
    MAX_ID_CHARACTERS,
    RESERVED_EVENTS,
    Page,
)

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class WireEvent(Struct, frozen=True, rename="camel", gc=False):
    """An event as sent: JSON, UTF-8, camelCase."""

    # Python's $ also matches before a line break at the end.
    event_name: Annotated[str, Meta(pattern=EVENT_NAME_PATTERN.removesuffix("$") + r"\Z")]
    visitor_id: Id
    event_id: Id | None = None
    customer_id: Id | None = None
    timestamp: Annotated[datetime, Meta(tz=True)] | None = None
    page: Page | None = None
    referrer_url: str | None = None
    user_agent: str | None = None
    ip_address: str | None = None
    search_query: str | None = None
    language: str | None = None
    attributes: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


class _KnownFieldsOnly(WireEvent, frozen=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """Nearly all events have no unknown field, and to be told so costs nothing."""


_KNOWN_FIELDS = frozenset(WireEvent.__struct_encode_fields__)
_strict_decoder = msgspec.json.Decoder(_KnownFieldsOnly)
_event_decoder = msgspec.json.Decoder(WireEvent)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EARLIEST, _LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))
_INVALID = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$", re.DOTALL)


def parse_event(value: bytes) -> WireEvent:
    """The event that ``value`` spells.

    Args:
        value: UTF-8 JSON, at most 32 KB, at most 16 levels deep.

    Raises:
        Rejected: it is none. Reasons: ``too-large``, ``not-utf-8``, ``too-deep``, ``malformed-json``,
            ``not-an-object``, ``invalid-field``, ``reserved-event``.
    """
    return parse_and_count(value)[0]


def parse_and_count(value: bytes, *, reserved: Collection[str] = ()) -> tuple[WireEvent, int]:
    """As `parse_event`, with the number of unknown top-level keys: they are kept out of state, and counted.

    Args:
        value: See `parse_event`.
        reserved: Reserved names that the event may have, because actionmap itself gave it, or somebody asks about it.
    """
    if len(value) > MAX_EVENT_BYTES:
        raise Rejected("too-large", f"{len(value):,} bytes; at most {MAX_EVENT_BYTES:,} are taken")
    # More brackets than levels allowed is rare, and the only case in which levels must be counted.
    if value.count(b"{") + value.count(b"[") > MAX_EVENT_DEPTH and _depth(value) > MAX_EVENT_DEPTH:
        raise Rejected("too-deep", f"nested more than {MAX_EVENT_DEPTH} levels deep")
    event: WireEvent
    try:
        event, unknown = _strict_decoder.decode(value), 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        event, unknown = _decoded(value)
    if event.timestamp is not None and not _EARLIEST <= event.timestamp <= _LATEST:
        raise Rejected("invalid-field", "timestamp: its year in UTC is not one of 1 to 9999")
    if event.event_name in RESERVED_EVENTS and event.event_name not in reserved:
        raise Rejected("reserved-event", f"{event.event_name!r} is a name that only actionmap itself gives to an event")
    return event, unknown


def _decoded(value: bytes) -> tuple[WireEvent, int]:
    try:
        value.decode()  # what stands under an unknown key is read by nobody else
        return _event_decoder.decode(value), len(_fields_decoder.decode(value).keys() - _KNOWN_FIELDS)
    except UnicodeDecodeError:
        raise Rejected("not-utf-8", _first_bad_byte(value)) from None
    except msgspec.ValidationError as error:
        raise _invalid(value, error) from None
    except msgspec.DecodeError as error:
        raise Rejected("malformed-json", str(error)) from None


def _first_bad_byte(value: bytes) -> str:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} ({value[error.start]:#04x}) is not UTF-8"
    return "an escaped character is half of a surrogate pair"


def _invalid(value: bytes, error: msgspec.ValidationError) -> Rejected:
    if not value.lstrip().startswith(b"{"):
        return Rejected("not-an-object", "an event is a JSON object")
    match = _INVALID.match(str(error))
    assert match is not None
    return Rejected("invalid-field", f"{match['where'] or 'event'}: {match['what']}")


def _depth(value: bytes) -> int:
    depth = deepest = 0
    for token in _brackets(value):
        depth += 1 if token in b"{[" else -1
        deepest = max(deepest, depth)
    return deepest


# Never gives back what it has matched, and takes a text without its end as one: linear in every input.
_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[{}\[\]]', re.DOTALL)


def _brackets(value: bytes) -> Iterator[bytes]:
    return (token for token in _BRACKET_OR_STRING.findall(value) if token in b"{}[]")

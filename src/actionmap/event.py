"""Event: one parsed fact about one visitor, and the parts of the page it happened on.

Its form on the wire, and `parse_event`, are in `wire.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from msgspec import Struct

#: Names that only actionmap itself may give to an event (semantics §2).
RESERVED_EVENTS = frozenset(
    {"webhook_succeeded", "webhook_failed", "segment_assigned", "segment_unassigned", "visitor_erased"}
)
#: Those by which others assign a visitor to a segment.
ASSIGNMENT_EVENTS = frozenset({"segment_assigned", "segment_unassigned"})
#: The one by which a visitor is forgotten.
VISITOR_ERASED = "visitor_erased"
#: Those that come through the topic, from actionmap itself.
OWN_EVENTS = ASSIGNMENT_EVENTS | {VISITOR_ERASED}
#: Those by which a delivery's end comes back to its visitor.
OUTCOME_EVENTS = frozenset({"webhook_succeeded", "webhook_failed"})
#: What an event may be called.
EVENT_NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_.]{0,99}$"
#: The event that counts as a page view.
PAGE_VIEWED = "page_viewed"

MAX_EVENT_BYTES = 32 * 1024
MAX_EVENT_DEPTH = 16
MAX_ID_CHARACTERS = 200


class UrlParts(Struct, frozen=True, gc=False):
    """The parts of a URL as a browser names them (still percent-encoded); an absent or empty part is None."""

    hostname: str | None = None
    #: The hostname without a leading ``www.``.
    domain: str | None = None
    pathname: str | None = None
    #: Without ``?``.
    query_string: str | None = None
    #: Without ``#``.
    fragment: str | None = None


NO_PARTS = UrlParts()


#: Longer texts are not memoised: they are rare, and visitors could fill the memory with them.
MEMOISED_CHARACTERS = 500
_OfText = TypeVar("_OfText", bound=Callable[..., Any])


def memoised(function: _OfText) -> _OfText:
    """Remember the answers of a pure ``function`` of a text for the 4,096 texts used last, but not for long ones."""
    remembered = lru_cache(maxsize=4096)(function)

    @wraps(function)
    def call(text: str, *rest: Any) -> Any:
        return remembered(text, *rest) if len(text) <= MEMOISED_CHARACTERS else function(text, *rest)

    return cast(_OfText, call)


#: Nearly every URL there is, taken apart as `urlsplit` would, at a fifth of its time.
_PLAIN_URL = re.compile(r"https?://([a-z0-9.-]+)(?::[0-9]{1,5})?(/[!\"$->@-~]*)?(?:\?([!\"$-~]*))?(?:#([!-~]*))?")


def split_url(url: str) -> UrlParts:
    """Split ``url`` into its parts; a text that is no URL has none."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain is None:
        return _split_any_url(url)
    hostname, pathname, query_string, fragment = plain.groups()
    return UrlParts(hostname, hostname.removeprefix("www.") or None, pathname or "/", query_string or None,
                    fragment or None)  # fmt: skip


def _split_any_url(url: str) -> UrlParts:
    try:
        parts = urlsplit(url)
        hostname = parts.hostname
    except ValueError:
        return NO_PARTS
    return UrlParts(
        hostname=hostname or None,
        domain=(hostname or "").removeprefix("www.") or None,
        pathname=parts.path or ("/" if hostname else None),
        query_string=parts.query or None,
        fragment=parts.fragment or None,
    )


#: The same pages come again and again, and their parts are read several times an event.
_remembered_split = lru_cache(maxsize=4096)(split_url)


class Page(Struct, frozen=True, omit_defaults=True, gc=False):
    """The page an event happened on, as sent."""

    url: str | None = None
    title: str | None = None
    lang: str | None = None
    keywords: str | list[str] | None = None

    @property
    def parts(self) -> UrlParts:
        """Hostname, path, query and fragment of ``url``."""
        url = self.url
        if not url:
            return NO_PARTS
        return _remembered_split(url) if len(url) <= MEMOISED_CHARACTERS else split_url(url)


class Event(Struct, frozen=True, omit_defaults=True, gc=False):
    """One fact about one visitor. Times are integers: milliseconds since 1970-01-01T00:00:00Z."""

    #: Unique per visitor; ``topic/partition/offset`` where the sender gave none.
    id: str
    name: str
    visitor_id: str
    #: Event time, already clamped to the record's time when it lay too far ahead.
    time: int
    #: When the broker took the record.
    recorded_at: int
    customer_id: str | None = None
    page: Page | None = None
    referrer_url: str | None = None
    user_agent: str | None = None
    ip_address: str | None = None
    search_query: str | None = None
    language: str | None = None
    attributes: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    #: Bytes of its record, and the record's offset.
    size: int = 0
    offset: int = -1
    #: It was evaluated before, and these maps broke: they alone judge it again.
    only_maps: tuple[str, ...] = ()
    #: Of the outcome of a delivery: what its answer taught us, and how many deliveries led to it, one by the other.
    variables: dict[str, Any] = {}
    depth: int = 0


#: The last moment that can be written: a timer may be due after it.
_LAST_MILLIS = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_millis(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware ``moment``, rounded down."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def to_rfc3339(millis: int) -> str:
    """``millis`` since 1970 as RFC 3339 text in UTC with three decimals, e.g. ``2026-11-21T19:15:00.123Z``."""
    millis = min(millis, _LAST_MILLIS)
    moment = datetime.fromtimestamp(millis // 1000, UTC).replace(microsecond=millis % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

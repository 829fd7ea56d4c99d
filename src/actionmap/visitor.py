"""Visitor: what is remembered of one visitor, and how it is written down.

The fields are JSON-able, and JSON is the stored form, so that a visitor can be read with `redis-cli`.
Values are never changed in place: a transition (``decide/observe.py``) works on copies. They hold no cycles, so the
garbage collector need not look at them (``gc=False``): with a full cache it would be busy with nothing else.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Literal

import msgspec
from msgspec import Struct

from actionmap.event import Event, Page

#: How many event ids a visitor remembers to recognise duplicates.
REMEMBERED_IDS = 64
_HASH_BYTES = 8


class Browser(Struct, frozen=True, omit_defaults=True, gc=False):
    """The visitor's browser."""

    family: str | None = None
    version: str | None = None
    lang: str | None = None


class Device(Struct, frozen=True, omit_defaults=True, gc=False):
    """The visitor's device; ``category`` is desktop, mobile, tablet or other."""

    category: str | None = None
    type: str | None = None
    os_family: str | None = None


class MktCampaign(Struct, frozen=True, omit_defaults=True, gc=False):
    """The marketing campaign that brought the visitor, from the UTM parameters of the page."""

    source: str | None = None
    medium: str | None = None
    name: str | None = None
    term: str | None = None
    content: str | None = None
    click_id: str | None = None
    network: str | None = None


class Referrer(Struct, frozen=True, omit_defaults=True, gc=False):
    """The page the visitor came from; ``medium`` is internal, search, social, email, paid or unknown."""

    url: str | None = None
    hostname: str | None = None
    domain: str | None = None
    medium: str | None = None


class Session(Struct, omit_defaults=True, gc=False):
    """A visit: it ends after 20 minutes (a setting) without an event. Times in milliseconds since 1970."""

    #: Counts the visitor's sessions from 1.
    number: int
    created_at: int
    #: The greatest event time seen in this session.
    last_event_at: int
    event_count: int = 0
    pageview_count: int = 0
    authenticated: bool = False
    browser: Browser | None = None
    device: Device | None = None
    mkt_campaign: MktCampaign | None = None
    referrer: Referrer | None = None
    last_page: Page | None = None
    search_terms: list[str] = []
    attributes: dict[str, Any] = {}
    #: Counter (``windows.Counter.key``) → the smallest times of its events, ascending, as many as any map asks for.
    counts: dict[str, list[int]] = {}
    #: Sequence (``windows.Sequence.key``) → how far its events have come.
    tracks: dict[str, Track] = {}
    #: Action map, or exclusive group, whose firings are capped → how often it fired in this session.
    fired: dict[str, int] = {}
    #: Segment of this session that expires → when its ``when`` was last true.
    held: dict[str, int] = {}


class Track(Struct, frozen=True, omit_defaults=True, gc=False):
    """How far the events of one sequence have come. Times in milliseconds since 1970."""

    #: Step → the latest start of a chain that has come to it, among the events that are not kept; -1 without one.
    reached: list[int]
    #: Time of the newest event that is not kept; -1 without one.
    until: int = -1
    #: The newest events that are steps or break the sequence, by time: an earlier one may still come between.
    times: list[int] = []
    #: What each of them is (``windows.Sequence``).
    marks: list[int] = []


class Wait(Struct, frozen=True, omit_defaults=True, gc=False):
    """What is remembered until its time comes: a match that fires later, or an event that another one should follow."""

    action_map: str
    kind: Literal["delay", "absence", "nextSession"]
    #: Stream time at which it fires, in milliseconds since 1970; None: when the next session begins.
    due: int | None
    #: The event that matched, or that started the wait.
    event: Event
    #: Number of the session of that event.
    session: int
    #: How often the map had matched at this event before.
    occurrence: int = 0


class Visitor(Struct, omit_defaults=True, gc=False):
    """The remembered state of one visitor. Times in milliseconds since 1970."""

    id: str
    first_seen_at: int
    #: The greatest event time seen.
    last_seen_at: int
    customer_id: str | None = None
    session_count: int = 0
    event_count: int = 0
    session: Session | None = None
    traits: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    #: Segments the visitor is a member of, sorted.
    segments: list[str] = []
    #: Segment that expires → when its ``when`` was last true.
    held: dict[str, int] = {}
    #: Segment that others assigned → when.
    assigned: dict[str, int] = {}
    #: When the first membership may end by itself; None when none does. It may look too early, never too late.
    look_at_segments: int | None = None
    #: Counter (``windows.Counter.key``) of a lifetime or a duration → times of its events, ascending.
    counts: dict[str, list[int]] = {}
    #: Sequence (``windows.Sequence.key``) of a lifetime or a duration → how far its events have come.
    tracks: dict[str, Track] = {}
    #: Action map, or exclusive group, whose firings are capped for a lifetime → how often it fired.
    fired: dict[str, int] = {}
    #: Action map, or exclusive group, whose firings are capped for a duration → when it fired, ascending.
    fired_at: dict[str, list[int]] = {}
    #: Offset of the event that was judged last; -1 before there was one.
    latest_offset: int = -1
    #: That event, without what no path leads to, where the end of a membership may have to report it.
    latest: Event | None = None
    #: Action map that may fire more than once for one event → how often it matched at the one judged last.
    matched: dict[str, int] = {}
    #: 64-bit hashes of the last 64 event ids, oldest first.
    recent_event_ids: bytes = b""
    #: In the order in which they began.
    waits: list[Wait] = []
    #: Number of an ended session that a wait began in → action map → how often it fired in that session.
    ended_sessions: dict[int, dict[str, int]] = {}

    @property
    def next_due(self) -> int | None:
        """When the first of its waits is due, or the first membership may end; None when neither is."""
        first = self.look_at_segments
        for wait in self.waits:
            if wait.due is not None and (first is None or wait.due < first):
                first = wait.due
        return first

    def has_seen(self, event_id_hash: bytes) -> bool:
        """True when ``event_id_hash`` (from `hash_event_id`) is among the last 64."""
        recent = self.recent_event_ids
        at = recent.find(event_id_hash)
        while at > 0 and at % _HASH_BYTES:
            at = recent.find(event_id_hash, at + 1)
        return at >= 0

    def remember(self, event_id_hash: bytes) -> None:
        """Add ``event_id_hash`` to the last 64, forgetting the oldest."""
        self.recent_event_ids = (self.recent_event_ids + event_id_hash)[-REMEMBERED_IDS * _HASH_BYTES :]


def hash_event_id(event_id: str) -> bytes:
    """Eight bytes that stand for ``event_id``: two of 64 ids are mistaken for one another once in 10^16 visitors."""
    return blake2b(event_id.encode(), digest_size=_HASH_BYTES).digest()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Visitor)


def encode_visitor(visitor: Visitor) -> bytes:
    """The stored form of ``visitor``: UTF-8 JSON."""
    return _encoder.encode(visitor)


def decode_visitor(stored: bytes) -> Visitor:
    """The visitor that `encode_visitor` wrote.

    Raises:
        msgspec.DecodeError: ``stored`` is not one.
    """
    return _decoder.decode(stored)

"""What people and programs are shown of a visitor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field
from pydantic.alias_generators import to_camel

from actionmap.admin.schemas import Moment, Shown
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide.segments import membership_ends
from actionmap.event import to_rfc3339
from actionmap.store.protocols import Fence
from actionmap.visitor import Session, Visitor, Wait


class ShownSegment(Shown):
    """A segment that the visitor is a member of."""

    name: str
    """The segment."""
    until: Moment | None
    """When the membership ends by itself; null: it does not."""


class ShownSession(Shown):
    """The visitor's latest session."""

    id: Annotated[str, Field(examples=["c-7f3a:2"])]
    """Visitor id and number of the session."""
    created_at: Moment
    """When it began."""
    last_event_at: Moment
    """Its latest event."""
    event_count: int
    """How many events there were in it."""
    pageview_count: int
    """How many of them were of pages."""
    authenticated: bool
    """Whether the visitor had said who it is."""
    browser: dict[str, Any] | None
    """As its user agent tells."""
    device: dict[str, Any] | None
    """As its user agent tells."""
    mkt_campaign: dict[str, Any] | None
    """As the URL of its first page tells."""
    referrer: dict[str, Any] | None
    """Where it came from."""
    last_page: dict[str, Any] | None
    """The page that it saw last."""
    search_terms: list[str]
    """What it searched for."""
    attributes: dict[str, Any]
    """What its events have told."""


class ShownWait(Shown):
    """A match that fires later, or an event that another one should follow."""

    action_map: str
    """The action map that waits."""
    kind: Literal["delay", "absence", "nextSession"]
    """What for."""
    due_at: Moment | None
    """In stream time; null: when the next session begins."""
    event_id: str
    """The event that it began with."""
    event_name: str
    """Its name."""
    event_at: Moment
    """Its time."""


class ShownFirings(Shown):
    """How often an action map, or an exclusive group, has fired, where a cap counts that."""

    counted: str
    """The map's name; of an exclusive group: group/NAME."""
    per: Literal["session", "lifetime", "duration"]
    """In which span."""
    times: int
    """How often."""
    at: list[Moment]
    """When, of those per duration."""


class ShownVisitor(Shown):
    """What is remembered of a visitor."""

    id: str
    """The visitor."""
    customer_id: str | None
    """Who it says it is."""
    first_seen_at: Moment
    """Its first event."""
    last_seen_at: Moment
    """Its latest event."""
    session_count: int
    """How many sessions it had."""
    event_count: int
    """How many events."""
    traits: dict[str, Any]
    """What events and answers of webhooks have told of it."""
    variables: dict[str, Any]
    """What answers of webhooks have taught."""
    segments: list[ShownSegment]
    """The segments that it is a member of."""
    session: ShownSession | None
    """The latest one; it is over 20 minutes (a setting) after its last event."""
    waits: list[ShownWait]
    """What fires later."""
    firings: list[ShownFirings]
    """What has fired, where a cap counts it."""
    partition: int
    """Of the events topic, where the visitor's events are."""
    stream_time: Moment | None
    """How far the partition is, in event time."""


EXAMPLE: dict[str, Any] = {
    "id": "c-7f3a", "customerId": "cust-42", "firstSeenAt": "2026-11-02T08:00:00.000Z",
    "lastSeenAt": "2026-11-21T19:15:00.123Z", "sessionCount": 2, "eventCount": 14,
    "traits": {"email": "a@b.example"}, "variables": {"leadId": "L-1"},
    "segments": [{"name": "returning-visitor", "until": "2026-12-21T19:15:00.123Z"}],
    "session": {
        "id": "c-7f3a:2", "createdAt": "2026-11-21T19:11:00.000Z", "lastEventAt": "2026-11-21T19:15:00.123Z",
        "eventCount": 3, "pageviewCount": 2, "authenticated": True, "browser": {"family": "Firefox", "version": "140"},
        "device": {"category": "desktop", "osFamily": "Linux"}, "mktCampaign": {"source": "ad"}, "referrer": None,
        "lastPage": {"url": "https://shop.example/pricing"}, "searchTerms": ["plans"], "attributes": {"cartValue": 99},
    },
    "waits": [{"actionMap": "abandoned-cart", "kind": "absence", "dueAt": "2026-11-21T19:45:00.123Z",
               "eventId": "e-14", "eventName": "cart_added", "eventAt": "2026-11-21T19:15:00.123Z"}],
    "firings": [{"counted": "pricing-hot-lead", "per": "session", "times": 1, "at": []}],
    "partition": 3, "streamTime": "2026-11-21T19:15:02.000Z",
}  # fmt: skip


def visitor_json(visitor: Visitor, rulebook: Rulebook, partition: int, fence: Fence) -> dict[str, Any]:
    """What is remembered of ``visitor``, by ``rulebook`` (when memberships end), in a partition with that ``fence``."""
    ends = membership_ends(visitor, visitor.session, rulebook)
    shown = ShownVisitor(
        id=visitor.id,
        customer_id=visitor.customer_id,
        first_seen_at=to_rfc3339(visitor.first_seen_at),
        last_seen_at=to_rfc3339(visitor.last_seen_at),
        session_count=visitor.session_count,
        event_count=visitor.event_count,
        traits=visitor.traits,
        variables=visitor.variables,
        segments=[ShownSegment(name=name, until=_moment(ends.get(name))) for name in visitor.segments],
        session=None if visitor.session is None else _session(visitor.id, visitor.session),
        waits=[_wait(wait) for wait in visitor.waits],
        firings=list(_firings(visitor)),
        partition=partition,
        stream_time=_moment(fence.stream_time if fence.stream_time >= 0 else None),
    )
    return shown.model_dump(mode="json", by_alias=True)


def _moment(millis: int | None) -> str | None:
    return None if millis is None else to_rfc3339(millis)


def _session(visitor_id: str, session: Session) -> ShownSession:
    parts = ("browser", "device", "mkt_campaign", "referrer", "last_page")
    return ShownSession(
        id=f"{visitor_id}:{session.number}",
        created_at=to_rfc3339(session.created_at),
        last_event_at=to_rfc3339(session.last_event_at),
        event_count=session.event_count,
        pageview_count=session.pageview_count,
        authenticated=session.authenticated,
        search_terms=session.search_terms,
        attributes=session.attributes,
        **{name: _part(getattr(session, name)) for name in parts},
    )


def _part(part: Any) -> dict[str, Any] | None:
    """A part of a session, in the names of the paths that lead to it."""
    return None if part is None else {to_camel(name): value for name, value in msgspec.to_builtins(part).items()}


def _wait(wait: Wait) -> ShownWait:
    return ShownWait(
        action_map=wait.action_map,
        kind=wait.kind,
        due_at=_moment(wait.due),
        event_id=wait.event.id,
        event_name=wait.event.name,
        event_at=to_rfc3339(wait.event.time),
    )


def _firings(visitor: Visitor) -> Iterator[ShownFirings]:
    of_session = visitor.session.fired if visitor.session else {}
    for counted, times in sorted(of_session.items()):
        yield ShownFirings(counted=counted, per="session", times=times, at=[])
    for counted, times in sorted(visitor.fired.items()):
        yield ShownFirings(counted=counted, per="lifetime", times=times, at=[])
    for counted, moments in sorted(visitor.fired_at.items()):
        yield ShownFirings(counted=counted, per="duration", times=len(moments), at=list(map(to_rfc3339, moments)))

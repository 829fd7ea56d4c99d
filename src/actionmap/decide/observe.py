"""Visitor + Event → the visitor with that event in it: session, counters, traits, segments (semantics §2)."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import replace

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide.enrich import browser_and_device, campaign_of, referrer_of
from actionmap.decide.policy import Policy
from actionmap.decide.segments import judge_segments
from actionmap.event import PAGE_VIEWED, Event
from actionmap.visitor import Browser, Session, Visitor

#: What is kept of traits and of session attributes, each: the newest come in, the oldest go.
MAX_NAMES = 500
MAX_BYTES = 32 * 1024
#: Search terms kept of a session, and characters of each.
MAX_SEARCH_TERMS = 50
MAX_TERM_CHARACTERS = 200
#: What is kept is measured at a visitor's every 16th event, and at each one whose record is larger than this: so it can
#: never be larger than MAX_BYTES and 15 small records, and measuring costs next to nothing.
_SMALL_RECORD_BYTES = 1024
_MEASURED_EVERY = 16


def observe_late(visitor: Visitor | None, event: Event) -> Visitor:
    """The visitor after a late event: it updates traits and customer, and counts in nothing."""
    after = _known(visitor, event)
    _identify(after, event, measured=True)
    return after


def observe(visitor: Visitor | None, event: Event, rulebook: Rulebook, now: int, policy: Policy) -> Scope:
    """The visitor with ``event`` in it, as the scope that maps are judged by; ``visitor`` itself stays as it was.

    Args:
        visitor: The visitor before; None for one never seen.
        event: An event that is neither a duplicate nor late.
        rulebook: Whose counters, sequences and segments are kept.
        now: Stream time with this event.
        policy: Session time-out and lateness.
    """
    after = _known(visitor, event)
    measured = event.size > _SMALL_RECORD_BYTES or after.event_count % _MEASURED_EVERY == _MEASURED_EVERY - 1
    _identify(after, event, measured=measured)
    after.first_seen_at = min(after.first_seen_at, event.time)
    after.last_seen_at = max(after.last_seen_at, event.time)
    after.event_count += 1
    before = after.session
    session = _session(after, event, policy.session_timeout_ms)
    after.session = session
    after.latest_offset = event.offset
    if after.matched:
        after.matched = {}
    _enrich(session, event, measured=measured)
    scope = Scope(event, after, session)
    _note(scope, rulebook, now - policy.allowed_lateness_ms)
    new_session = before is not None and before.number != session.number
    if new_session:
        _forget_unasked(after, rulebook)
    judge_segments(scope, rulebook, now, new_session=new_session)
    if rulebook.reports_expiries:
        after.latest = without_unread(event)
    elif after.latest is not None:
        after.latest = None
    return scope


def learn(visitor: Visitor, event: Event) -> None:
    """Take over what the outcome of a delivery, ``event``, has taught us; ``visitor`` is a copy."""
    if event.variables:
        visitor.variables = _newest(visitor.variables, event.variables, measured=True)
    _identify(visitor, event, measured=True)


def without_unread(event: Event) -> Event:
    """``event`` without what no path leads to, and need not be kept."""
    return replace(event, traits={}, variables={}, user_agent=None, ip_address=None, referrer_url=None)


def _known(visitor: Visitor | None, event: Event) -> Visitor:
    if visitor is None:
        return Visitor(id=event.visitor_id, first_seen_at=event.time, last_seen_at=event.time)
    return replace(visitor)


def _identify(after: Visitor, event: Event, *, measured: bool) -> None:
    if event.traits:
        after.traits = _newest(after.traits, event.traits, measured)
    if event.customer_id is not None:
        after.customer_id = event.customer_id


def _newest(old: dict[str, Any], new: dict[str, Any], measured: bool) -> dict[str, Any]:
    """``old`` with ``new`` over it; where that grows too large, the names that came first are left out."""
    merged = {**old, **new}
    if measured or len(merged) > MAX_NAMES:
        newest_first = [*reversed(new), *(name for name in reversed(old) if name not in new)][:MAX_NAMES]
        sizes = accumulate(len(name) + _size(merged[name]) for name in newest_first)
        kept = [name for name, size in zip(newest_first, sizes, strict=True) if size <= MAX_BYTES]
        merged = {name: merged[name] for name in reversed(kept)}
    return merged


def _size(value: Any) -> int:
    """About the bytes that ``value`` takes."""
    if isinstance(value, str):
        return len(value)
    return len(msgspec.json.encode(value)) if isinstance(value, list | dict) else 8


def _session(after: Visitor, event: Event, timeout_ms: int) -> Session:
    current = after.session
    if current is None or event.time - current.last_event_at > timeout_ms:
        after.session_count += 1
        if current is not None and current.fired and any(wait.session == current.number for wait in after.waits):
            after.ended_sessions = {**after.ended_sessions, current.number: current.fired}
        return Session(number=after.session_count, created_at=event.time, last_event_at=event.time)
    session = replace(current)
    session.created_at = min(session.created_at, event.time)
    session.last_event_at = max(session.last_event_at, event.time)
    return session


def _enrich(session: Session, event: Event, *, measured: bool) -> None:
    session.event_count += 1
    if event.name == PAGE_VIEWED:
        session.pageview_count += 1
    if event.customer_id is not None:
        session.authenticated = True
    if event.attributes:
        session.attributes = _newest(session.attributes, event.attributes, measured)
    term = (event.search_query or "")[:MAX_TERM_CHARACTERS]
    if term and term not in session.search_terms:
        session.search_terms = [*session.search_terms, term][-MAX_SEARCH_TERMS:]
    if event.user_agent and session.device is None:
        browser, session.device = browser_and_device(event.user_agent)
        known = session.browser.lang if session.browser else None
        session.browser = Browser(browser.family, browser.version, known or event.language)
    elif event.language and (session.browser is None or session.browser.lang is None):
        session.browser = replace(session.browser or Browser(), lang=event.language)
    page = event.page
    if page is not None:
        session.last_page = page
        if session.mkt_campaign is None and page.url:
            session.mkt_campaign = campaign_of(page.url)
    if event.referrer_url and session.referrer is None:
        domain = page.parts.domain if page else None
        session.referrer = referrer_of(event.referrer_url, domain, session.mkt_campaign)


def _note(scope: Scope, rulebook: Rulebook, horizon: int) -> None:
    """Take the event into the counters and sequences that it belongs to; none older than ``horizon`` can come."""
    memories = rulebook.memories.get(scope.event.name)
    if not memories:
        return
    for memory in memories.of(scope):
        memory.note(scope, horizon)


def _forget_unasked(after: Visitor, rulebook: Rulebook) -> None:
    """What no definition asks for any more is forgotten when the visitor comes back."""
    known = rulebook.memory_keys
    if not known.issuperset(after.counts):
        after.counts = {key: times for key, times in after.counts.items() if key in known}
    if not known.issuperset(after.tracks):
        after.tracks = {key: track for key, track in after.tracks.items() if key in known}
    # Inactive maps keep their caps.
    capped = rulebook.cap_keys
    if not capped.issuperset(after.fired):
        after.fired = {key: number for key, number in after.fired.items() if key in capped}
    if not capped.issuperset(after.fired_at):
        after.fired_at = {key: times for key, times in after.fired_at.items() if key in capped}

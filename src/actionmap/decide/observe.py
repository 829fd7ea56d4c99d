"""Visitor + Event → the visitor with that event in it: session, counters, traits, segments (semantics §2)."""

from __future__ import annotations

from bisect import insort
from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import replace

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide.enrich import browser_and_device, campaign_of, referrer_of
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


def observe(visitor: Visitor | None, event: Event, rulebook: Rulebook, session_timeout_ms: int) -> Scope:
    """The visitor with ``event`` in it, as the scope that maps are judged by; ``visitor`` itself stays as it was.

    Args:
        visitor: The visitor before; None for one never seen.
        event: An event that is neither a duplicate nor late.
        rulebook: Whose counters and segments are kept.
        session_timeout_ms: A longer gap than this starts a new session.
    """
    after = _known(visitor, event)
    measured = event.size > _SMALL_RECORD_BYTES or after.event_count % _MEASURED_EVERY == _MEASURED_EVERY - 1
    _identify(after, event, measured=measured)
    after.first_seen_at = min(after.first_seen_at, event.time)
    after.last_seen_at = max(after.last_seen_at, event.time)
    after.event_count += 1
    session = _session(after, event, session_timeout_ms)
    after.session = session
    _enrich(session, event, measured=measured)
    scope = Scope(event, after, session)
    _count(scope, rulebook)
    _assign_segments(scope, rulebook)
    return scope


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


def _count(scope: Scope, rulebook: Rulebook) -> None:
    """Note the event's time with each counter it belongs to, keeping as many of the smallest as any map asks for."""
    session, event = scope.session, scope.event
    counters = rulebook.counters.get(event.name)
    if not counters:
        return
    counts = dict(session.counts)
    for counter in counters:
        if counter.where(scope):
            times = list(counts.get(counter.key, ()))
            insort(times, event.time)
            counts[counter.key] = times[: counter.keep]
    session.counts = counts


def _assign_segments(scope: Scope, rulebook: Rulebook) -> None:
    """Judge every segment; each sees the membership of those it asks for."""
    members: list[str] = []
    scope.visitor.segments = members
    for segment in rulebook.segments:
        if segment.test(scope):
            members.append(segment.name)  # noqa: PERF401 - the next segment's test already sees it
    members.sort()

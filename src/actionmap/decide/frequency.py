"""How often a map, or its exclusive group, has fired for a visitor, and whether that is enough (semantics §5, §9.5).

The visitors given here are copies that the decision owns; lists and dicts in them are replaced, never changed.
"""

from __future__ import annotations

from bisect import bisect_right, insort

from actionmap.catalog.rulebook import Cap
from actionmap.catalog.windows import KEPT_FOR_LATE
from actionmap.event import to_rfc3339
from actionmap.visitor import Visitor


def firings(visitor: Visitor, session: int, cap: Cap, at: int) -> int:
    """How many firings count towards ``cap`` at the time ``at``, in the session of that number."""
    match cap.reach.kind:
        case "session":
            return _fired(visitor, session).get(cap.key, 0)
        case "lifetime":
            return visitor.fired.get(cap.key, 0)
        case "recent":
            times = visitor.fired_at.get(cap.key, ())
            return bisect_right(times, at) - bisect_right(times, at - cap.reach.ms)


def note_firing(visitor: Visitor, session: int, cap: Cap, at: int, horizon: int) -> None:
    """Count a firing at ``at`` towards ``cap``; nothing older than ``horizon`` can fire any more."""
    match cap.reach.kind:
        case "session":
            fired = _fired(visitor, session)
            counted = {**fired, cap.key: fired.get(cap.key, 0) + 1}
            if visitor.session is not None and visitor.session.number == session:
                visitor.session.fired = counted
            else:
                visitor.ended_sessions = {**visitor.ended_sessions, session: counted}
        case "lifetime":
            visitor.fired = {**visitor.fired, cap.key: visitor.fired.get(cap.key, 0) + 1}
        case "recent":
            times = list(visitor.fired_at.get(cap.key, ()))
            insort(times, at)
            del times[: max(bisect_right(times, horizon - cap.reach.ms), len(times) - cap.max - KEPT_FOR_LATE)]
            visitor.fired_at = {**visitor.fired_at, cap.key: times}


def words(visitor: Visitor, cap: Cap, at: int) -> str:
    """Why ``cap`` lets nothing through, and until when, for people."""
    whose = "this map" if not cap.group else f"the group {cap.group}"
    times = f"{whose} fired {cap.max:,} time{'s' if cap.max > 1 else ''}"
    if cap.reach.kind != "recent":
        return f"{times} in {'this session' if cap.reach.kind == 'session' else 'the lifetime of the visitor'}"
    inside = [time for time in visitor.fired_at.get(cap.key, ()) if at - cap.reach.ms < time <= at]
    return f"{times} in {cap.per}; it may again at {to_rfc3339(inside[-cap.max] + cap.reach.ms)}"


def _fired(visitor: Visitor, session: int) -> dict[str, int]:
    if visitor.session is not None and visitor.session.number == session:
        return visitor.session.fired
    return visitor.ended_sessions.get(session, {})

"""Which segments a visitor is a member of: at an event, and when a membership ends by itself (semantics §6, §9.2).

The visitors given here are copies that the decision owns; lists and dicts in them are replaced, never changed.
"""

from __future__ import annotations

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledSegment, Rulebook
from actionmap.visitor import Session, Visitor

#: Segments that one visitor may be assigned to from outside.
MAX_ASSIGNED = 500


def judge_segments(scope: Scope, rulebook: Rulebook, now: int, *, new_session: bool) -> None:
    """Judge every segment; each sees the membership of those it asks for.

    Args:
        scope: Event, visitor and session; is told which segments were entered and left.
        rulebook: Its segments.
        now: Stream time with this event.
        new_session: Whether the event is its session's first one.
    """
    visitor = scope.visitor
    before = visitor.segments
    members: list[str] = []
    visitor.segments = members
    for segment in rulebook.segments:
        test = segment.test
        # Most segments are plain; the next one's test already sees who is a member.
        if test(scope) if test is not None and segment.expires_ms is None else _is_member(segment, scope, now):
            members.append(segment.name)
    if len(members) > 1:
        members.sort()
    if members != before or new_session:
        ended = rulebook.session_segments if new_session else ()
        scope.entered = [name for name in members if name not in before or name in ended]
        scope.left = [name for name in before if name not in members or name in ended]
    if visitor.held or scope.session.held or visitor.assigned:
        _forget_ended(visitor, scope.session, rulebook, now)
    else:
        visitor.look_at_segments = None


def _is_member(segment: CompiledSegment, scope: Scope, now: int) -> bool:
    visitor, name, lasts = scope.visitor, segment.name, segment.expires_ms
    if segment.test is None:
        return name in visitor.assigned and (lasts is None or visitor.assigned[name] + lasts > now)
    assert lasts is not None, name
    holds = segment.test(scope)
    owner = scope.session if segment.in_session else visitor
    last = owner.held.get(name, -1)
    if holds and scope.event.time > last:
        last = scope.event.time
        owner.held = {**owner.held, name: last}
    return last >= 0 and last + lasts > now


def membership_ends(visitor: Visitor, session: Session | None, rulebook: Rulebook) -> dict[str, int]:
    """Segment → when the membership that is remembered of it ends by itself."""
    ends, in_session = {}, session.held if session is not None else {}
    for name, since in (*visitor.held.items(), *in_session.items(), *visitor.assigned.items()):
        segment = rulebook.segments_by_name.get(name)
        if segment is not None and segment.expires_ms is not None:
            ends[name] = since + segment.expires_ms
    return ends


def _forget_ended(visitor: Visitor, session: Session, rulebook: Rulebook, now: int) -> None:
    """Forget what has ended, and look again when the first of the others may.

    A look that is planned already stays, though an event may have prolonged the membership since: to plan anew at each
    event would cost more than to look once too often.
    """
    ends = membership_ends(visitor, session, rulebook)
    known = rulebook.segments_by_name
    for owner in (visitor, session):
        if any(name not in known or ends.get(name, now + 1) <= now for name in owner.held):
            owner.held = {name: at for name, at in owner.held.items() if ends.get(name, -1) > now}
    if any(ends.get(name, now + 1) <= now for name in visitor.assigned):
        visitor.assigned = {name: at for name, at in visitor.assigned.items() if ends.get(name, now + 1) > now}
    first = min([end for end in ends.values() if end > now], default=None)
    planned = visitor.look_at_segments
    if first is None or planned is None or planned <= now or planned > first:
        visitor.look_at_segments = first


def end_memberships(visitor: Visitor, session: Session, rulebook: Rulebook, now: int) -> list[str]:
    """End the memberships whose time is over at ``now``; answers their names, sorted."""
    ends = membership_ends(visitor, session, rulebook)
    ended = [name for name in visitor.segments if ends.get(name, now + 1) <= now]
    if ended:
        visitor.segments = [name for name in visitor.segments if name not in ended]
    _forget_ended(visitor, session, rulebook, now)
    return ended


def assign(scope: Scope, rulebook: Rulebook, now: int) -> str:
    """Take over the assignment from outside in ``scope``; answers why it could not be, or "".

    Args:
        scope: Its event is ``segment_assigned`` or ``segment_unassigned``, with the segment's name in its attribute
            ``segment``; is told which segment was entered or left.
        rulebook: Knows the segment.
        now: Stream time with this event.
    """
    visitor, event = scope.visitor, scope.event
    name = event.attributes.get("segment")
    segment = rulebook.segments_by_name.get(name) if isinstance(name, str) else None
    if segment is None or segment.test is not None:
        return f"{name!r} is no active external segment"
    since = {other: at for other, at in visitor.assigned.items() if other != segment.name}
    if event.name == "segment_assigned":
        if len(since) >= MAX_ASSIGNED:
            return f"a visitor is assigned to at most {MAX_ASSIGNED} segments"
        # An older assignment never shortens a membership.
        latest = max(event.time, visitor.assigned.get(segment.name, -1))
        ends = None if segment.expires_ms is None else latest + segment.expires_ms
        if ends is None or ends > now:
            since[segment.name] = latest
            planned = visitor.look_at_segments
            visitor.look_at_segments = ends if planned is None or (ends is not None and ends < planned) else planned
    visitor.assigned = since
    before = visitor.segments
    kept = [other for other in before if other != segment.name]
    visitor.segments = sorted([*kept, segment.name]) if segment.name in since else kept
    scope.entered = [other for other in visitor.segments if other not in before]
    scope.left = [other for other in before if other not in visitor.segments]
    return ""

"""What a visitor waits for: matches that fire later, and events that should follow (semantics §4, §5, §9.3, §9.6).

The visitors given here are copies that the decision owns; lists and dicts in them are replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap
from actionmap.catalog.triggers import Absence
from actionmap.decision import Reason
from actionmap.visitor import Visitor, Wait

#: Waits kept of one visitor, and bytes of the records that their events came in.
MAX_WAITS = 100
MAX_WAIT_BYTES = 64 * 1024

AddVerdict = Callable[[CompiledMap, Reason, str], None]


def remember_match(action_map: CompiledMap, scope: Scope, delay_ms: int, add: AddVerdict) -> None:
    """The map matched and fires ``delay_ms`` later; each match is remembered, also while another one waits."""
    _begin(action_map, "delay", scope.event.time + delay_ms, scope, add)


def watch(action_map: CompiledMap, absence: Absence, scope: Scope, grace_ms: int, add: AddVerdict) -> None:
    """The event may cancel the map's wait, and then may start one."""
    visitor, event = scope.visitor, scope.event
    waiting = next((some for some in visitor.waits if some.action_map == action_map.name), None)
    cancels = waiting is not None and waiting.event.time <= event.time <= waiting.due and absence.of(scope)
    if waiting is not None and cancels:
        without(visitor, waiting)
    if (waiting is None or cancels) and absence.after(scope):
        _begin(action_map, "absence", event.time + absence.for_ms + grace_ms, scope, add)
    elif cancels:
        add(action_map, "cancelled", "")
    else:
        add(action_map, "waiting" if waiting is not None else "condition-false", "")


def _begin(action_map: CompiledMap, kind: str, due: int, scope: Scope, add: AddVerdict) -> None:
    visitor, event = scope.visitor, scope.event
    if len(visitor.waits) >= MAX_WAITS or event.size + sum(wait.event.size for wait in visitor.waits) > MAX_WAIT_BYTES:
        add(action_map, "too-many-waits", f"a visitor has at most {MAX_WAITS}, of {MAX_WAIT_BYTES // 1024} KB in all")
        return
    # What no path leads to need not be kept.
    kept = replace(event, traits={}, user_agent=None, ip_address=None, referrer_url=None)
    wait = Wait(action_map.name, kind, due, kept, scope.session.number)  # type: ignore[arg-type]
    visitor.waits = [*visitor.waits, wait]
    add(action_map, "waiting", "")


def without(visitor: Visitor, wait: Wait) -> None:
    """Take ``wait`` from the visitor, and what was kept of sessions for its sake."""
    visitor.waits = [some for some in visitor.waits if some is not wait]
    if visitor.ended_sessions:
        needed = {some.session for some in visitor.waits}
        visitor.ended_sessions = {number: fired for number, fired in visitor.ended_sessions.items() if number in needed}


def fired_in_session(visitor: Visitor, session: int, action_map: str) -> int:
    """How often the map fired in the visitor's session of that number."""
    return _fired(visitor, session).get(action_map, 0)


def note_fired(visitor: Visitor, session: int, action_map: str) -> None:
    """Count a firing of the map in the visitor's session of that number."""
    fired = _fired(visitor, session)
    counted = {**fired, action_map: fired.get(action_map, 0) + 1}
    if visitor.session is not None and visitor.session.number == session:
        visitor.session.fired = counted
    else:
        visitor.ended_sessions = {**visitor.ended_sessions, session: counted}


def _fired(visitor: Visitor, session: int) -> dict[str, int]:
    if visitor.session is not None and visitor.session.number == session:
        return visitor.session.fired
    return visitor.ended_sessions.get(session, {})

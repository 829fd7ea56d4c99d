"""What a visitor waits for: matches that fire later, and events that should follow (semantics §4, §5, §9.3, §9.6).

The visitors given here are copies that the decision owns; lists and dicts in them are replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Callable

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap
from actionmap.catalog.triggers import Absence
from actionmap.decide.observe import without_unread
from actionmap.decision import Reason
from actionmap.visitor import Visitor, Wait

#: Waits kept of one visitor, and bytes of the records that their events came in.
MAX_WAITS = 100
MAX_WAIT_BYTES = 64 * 1024

AddVerdict = Callable[[CompiledMap, Reason, str], None]


def remember_match(action_map: CompiledMap, scope: Scope, at: int, occurrence: int, add: AddVerdict) -> None:
    """The map matched at ``at`` and fires later; each match is remembered, also while another one waits."""
    if action_map.delay_ms is None:
        _begin(action_map, "nextSession", None, scope, add, occurrence)
    else:
        _begin(action_map, "delay", at + action_map.delay_ms, scope, add, occurrence)


def watch(action_map: CompiledMap, absence: Absence, scope: Scope, grace_ms: int, add: AddVerdict) -> None:
    """The event may cancel the map's wait, and then may start one."""
    visitor, event = scope.visitor, scope.event
    waiting = next((some for some in visitor.waits if some.action_map == action_map.name), None)
    cancels = waiting is not None and _lies_in(waiting, event.time) and absence.of(scope)
    if waiting is not None and cancels:
        without(visitor, waiting)
    if (waiting is None or cancels) and absence.after(scope):
        _begin(action_map, "absence", event.time + absence.for_ms + grace_ms, scope, add)
    elif cancels:
        add(action_map, "cancelled", "")
    else:
        add(action_map, "waiting" if waiting is not None else "condition-false", "")


def _begin(
    action_map: CompiledMap, kind: str, due: int | None, scope: Scope, add: AddVerdict, occurrence: int = 0
) -> None:
    visitor, event = scope.visitor, scope.event
    if len(visitor.waits) >= MAX_WAITS or event.size + sum(wait.event.size for wait in visitor.waits) > MAX_WAIT_BYTES:
        add(action_map, "too-many-waits", f"a visitor has at most {MAX_WAITS}, of {MAX_WAIT_BYTES // 1024} KB in all")
        return
    kept = without_unread(event)
    wait = Wait(action_map.name, kind, due, kept, scope.session.number, occurrence)  # type: ignore[arg-type]
    visitor.waits = [*visitor.waits, wait]
    add(action_map, "waiting", "")


def _lies_in(wait: Wait, time: int) -> bool:
    return wait.due is not None and wait.event.time <= time <= wait.due


def without(visitor: Visitor, wait: Wait) -> None:
    """Take ``wait`` from the visitor, and what was kept of sessions for its sake."""
    visitor.waits = [some for some in visitor.waits if some is not wait]
    if visitor.ended_sessions:
        needed = {some.session for some in visitor.waits}
        visitor.ended_sessions = {number: fired for number, fired in visitor.ended_sessions.items() if number in needed}

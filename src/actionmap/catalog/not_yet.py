"""What the language of definitions knows and this version does not act on: refused by name, never ignored.

Acting on one of these means deleting its line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actionmap.catalog.documents import PathKey
from actionmap.event import ASSIGNMENT_EVENTS, OUTCOME_EVENTS, RESERVED_EVENTS

#: Reserved events that nothing gives yet.
_EVENTS = RESERVED_EVENTS - ASSIGNMENT_EVENTS - OUTCOME_EVENTS


def not_acted_on(kind: str, data: dict[str, Any]) -> Iterator[tuple[PathKey, str]]:
    """Path and name of everything in ``data`` that this version does not act on."""
    for root in ("trigger", "when"):
        yield from _in_trigger(data.get(root), (root,))


def _in_trigger(node: Any, path: PathKey) -> Iterator[tuple[PathKey, str]]:
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _in_trigger(child, (*path, index))
    if not isinstance(node, dict):
        return
    for where in (("event",), ("count", "event"), ("absence", "after", "event"), ("absence", "of", "event")):
        name = _at(node, where)
        if isinstance(name, str) and name in _EVENTS:
            yield (*path, *where), f"event: {name}"
    for inner in ("all", "any", "not"):
        yield from _in_trigger(node.get(inner), (*path, inner))


_ABSENT = object()


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return _ABSENT
        data = data[key]
    return data

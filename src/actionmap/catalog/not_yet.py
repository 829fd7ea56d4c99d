"""What the language of definitions knows and this version does not act on: refused by name, never ignored.

Acting on one of these means deleting its line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actionmap.catalog.documents import PathKey
from actionmap.event import ASSIGNMENT_EVENTS, RESERVED_EVENTS

#: Kind → fields, as dotted paths, whose mere presence is refused.
_FIELDS: dict[str, tuple[str, ...]] = {
    "Integration": ("limits.ratePerSecond",),
    "DataAction": ("response.variables", "response.traits", "response.onFailure"),
    "Webhook": (),
    "Segment": (),
    "ActionMap": (),
}
#: Kind → field → values of it that are refused.
_VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "Integration": {"auth.type": ("oauth2ClientCredentials",)},
    "DataAction": {"request.contentType": ("xml", "formEncoded", "formData")},
    "Webhook": {
        "delivery.order": ("strict",),
        "delivery.mode": ("sync",),
        "delivery.logRequestBody": (True,),
        "delivery.logResponseBody": (True,),
    },
}
#: Reserved events that nothing gives yet.
_EVENTS = RESERVED_EVENTS - ASSIGNMENT_EVENTS


def not_acted_on(kind: str, data: dict[str, Any]) -> Iterator[tuple[PathKey, str]]:
    """Path and name of everything in ``data`` that this version does not act on."""
    for field in _FIELDS.get(kind, ()):
        path = tuple(field.split("."))
        if _at(data, path) is not _ABSENT:
            yield path, path[-1]
    for field, values in _VALUES.get(kind, {}).items():
        path = tuple(field.split("."))
        value = _at(data, path)
        if any(value is refused or (value == refused and type(value) is type(refused)) for refused in values):
            yield path, f"{path[-1]}: {str(value).lower() if isinstance(value, bool) else value}"
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

"""Attributes: what one fact tells the engine of an event, and how each is read from our `Scope`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from actionmap.catalog.models import SegmentLeaf
from actionmap.catalog.models.trigger import Count, SegmentEnteredLeaf, SegmentLeftLeaf, SequenceLeaf
from actionmap.catalog.paths import Getter, Scope, find_path
from actionmap.catalog.triggers import TriggerCompiler
from actionmap.second_opinion.forms import Form, OutsideRange, of_elements, of_single

#: What stays with our own layer, for both engines.
Temporal = Count | SequenceLeaf | SegmentEnteredLeaf | SegmentLeftLeaf

#: Reads as the event's name at that event, and as missing when a timer is judged.
HAPPENS = "(event)"


class Attribute(NamedTuple):
    """One attribute of the facts; ``read`` may raise `OutsideRange`."""

    name: str
    read: Callable[[Scope], Any]


class Facts(NamedTuple):
    """One event as the engine is told it."""

    values: Mapping[str, Any]
    #: Attribute → why its value could not be told.
    untold: Mapping[str, str]


@dataclass(slots=True)
class Attributes:
    """All attributes that rules ask for, each made once."""

    _known: dict[Any, Attribute] = field(default_factory=dict)
    _getters: dict[str, Getter] = field(default_factory=dict)

    def of_path(self, path: str, form: Form, *, elements: bool) -> Attribute:
        """The value at ``path``, or the elements of the list there, in ``form``."""
        return self._attribute(
            (path, form.letter, elements),
            ("l" if elements else "") + form.letter,
            self._reading(path, lambda value: (of_elements if elements else of_single)(form, value)),
        )

    def exists(self, path: str) -> Attribute:
        """1 when there is a value at ``path``, else 0."""
        return self._attribute((path, "exists"), "x", self._reading(path, lambda value: int(value is not None)))

    def no_text(self, path: str, why: str) -> Attribute:
        """1; untold when the value at ``path`` is text, because of ``why``."""

        def make(value: Any) -> int:
            if isinstance(value, str):
                raise OutsideRange(why)
            return 1

        return self._attribute((path, why), "u", self._reading(path, make))

    def member(self, leaf: SegmentLeaf) -> Attribute:
        """1 for a member of the segment, else 0."""
        name = leaf.segment
        return self._attribute(("segment", name), "s", lambda scope: int(name in scope.visitor.segments))

    def told(self, leaf: Temporal) -> Attribute:
        """1 when ``leaf`` holds, as our own layer has it, else 0."""
        segments = [getattr(leaf, part) for part in ("segment_entered", "segment_left") if hasattr(leaf, part)]
        test = TriggerCompiler(segments).compile_part(leaf, "").test
        return self._attribute((type(leaf), leaf.model_dump_json()), "o", lambda scope: int(test(scope)))

    def _reading(self, path: str, make: Callable[[Any], Any]) -> Callable[[Scope], Any]:
        read = self._getters.get(path)
        if read is None:
            read = self._getters[path] = _happening if path == HAPPENS else find_path(path).read
        return lambda scope: make(read(scope))

    def _attribute(self, key: Any, kind: str, read: Callable[[Scope], Any]) -> Attribute:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Attribute(f"{kind}{len(self._known)}", read)
        return known


def _happening(scope: Scope) -> str | None:
    return scope.event.name if scope.happens else None


def facts(attributes: Iterable[Attribute], scope: Scope) -> Facts:
    """What ``attributes`` are at the event in ``scope``."""
    values: dict[str, Any] = {}
    untold: dict[str, str] = {}
    for attribute in attributes:
        try:
            value = attribute.read(scope)
        except OutsideRange as why:
            untold[attribute.name] = str(why)
            continue
        if value is not None:
            values[attribute.name] = value
    return Facts(values, untold)

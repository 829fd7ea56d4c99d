"""The values of one evaluation: each path is read once, and only when something asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from actionmap.catalog.clauses import reader
from actionmap.catalog.index.spans import slot_of
from actionmap.catalog.index.tables import MEMOISED_CHARACTERS
from actionmap.catalog.index.terms import Kind, Term
from actionmap.catalog.paths import Scope
from actionmap.catalog.values import Number

#: Stands for a value that nothing is remembered of.
UNKEYED = object()
#: Stands for a value that nothing has asked for.
UNREAD = object()


class Paths:
    """The paths that an index reads, each at its place, and which of their numbers come to the same."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.readers: list[Callable[[Scope], Any]] = []
        #: By place: the numbers that anything compares with. Between two of them, all are alike.
        self.points: list[list[Number]] = []
        self._collected: list[set[Number]] = []

    def place(self, path: str) -> int:
        """Where ``path`` is kept; a new one is added."""
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = len(self.readers)
            self.readers.append(reader(path))
            self._collected.append(set())
        return place

    def compare(self, place: int, term: Term) -> None:
        """Take into account what ``term`` compares the value at ``place`` with."""
        collected = self._collected[place]
        if term.span is not None:
            collected.update(_bounds(term))
        collected.update(key for kind, key in term.keys if kind in _NUMERIC)

    def finish(self) -> None:
        """Everything has been compared with."""
        self.points = [sorted(collected) for collected in self._collected]
        self._collected.clear()


_NUMERIC = (Kind.NUMBER, Kind.DECIMAL)


def _bounds(term: Term) -> Iterable[Number]:
    span = term.span
    if span is None or span.kind != "number":
        return ()
    return (bound for bound in (span.low, span.high) if bound is not None)


class Reading:
    """The values at `Paths` of one scope."""

    __slots__ = ("_paths", "_scope", "_values", "keys")

    def __init__(self, paths: Paths, scope: Scope) -> None:
        self._paths = paths
        self._scope = scope
        self._values: list[Any] = [UNREAD] * len(paths.readers)
        #: By place: what stands for the value where something is remembered of it, once `key` was called.
        self.keys: list[Any] = [UNREAD] * len(paths.readers)

    def value(self, place: int) -> Any:
        """The value of the path at ``place``; None when it is missing."""
        value = self._values[place]
        if value is UNREAD:
            value = self._values[place] = self._paths.readers[place](self._scope)
        return value

    def key(self, place: int) -> Any:
        """What stands for the value at ``place``: the same for values that compare alike; or `UNKEYED`."""
        key = self.keys[place]
        if key is UNREAD:
            key = self.keys[place] = self._key_of(self.value(place), place)
        return key

    def _key_of(self, value: Any, place: int) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            return value if len(value) <= MEMOISED_CHARACTERS else UNKEYED
        if isinstance(value, bool):
            return (value,)
        return slot_of(self._paths.points[place], value) if isinstance(value, int | float) else UNKEYED

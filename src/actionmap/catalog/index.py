"""From event and visitor to the maps that may match: what an index cannot tell is always a candidate.

Look-ups follow `Anchor`: an event's name, an equality, a prefix, a segment. Lucene Monitor and Le Subscribe
(Fabret et al., SIGMOD 2001) call them access predicates.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from actionmap.catalog.paths import Scope, find_path
from actionmap.catalog.triggers import Anchor
from actionmap.catalog.values import decimal_value

_Positions = list[int]


class _Equalities:
    """Positions of the maps that need one path to equal a value, by the ways in which values can be equal."""

    __slots__ = ("bools", "decimals", "numbers", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, _Positions] = defaultdict(list)
        self.bools: dict[bool, _Positions] = defaultdict(list)
        self.numbers: dict[Any, _Positions] = defaultdict(list)
        self.decimals: dict[Any, _Positions] = defaultdict(list)

    def add(self, values: Iterable[Any], position: int) -> None:
        for value in values:
            if isinstance(value, bool):
                self.bools[value].append(position)
            elif isinstance(value, str):
                self.texts[value].append(position)
                number = decimal_value(value)
                if number is not None:
                    self.decimals[number].append(position)
            else:
                self.numbers[value].append(position)

    def find(self, value: Any, found: set[int]) -> None:
        if isinstance(value, str):
            found.update(self.texts.get(value, ()))
            if self.numbers:
                found.update(self.numbers.get(decimal_value(value), ()))
            if self.bools and value in ("true", "false"):
                found.update(self.bools.get(value == "true", ()))
        elif isinstance(value, bool):
            found.update(self.bools.get(value, ()))
            found.update(self.texts.get("true" if value else "false", ()))
        elif isinstance(value, int | float):
            found.update(self.numbers.get(value, ()))
            found.update(self.decimals.get(value, ()))
        elif isinstance(value, list):
            for element in value:
                if not isinstance(element, list):
                    self.find(element, found)


class _Prefixes:
    """Positions of the maps that need one path to begin with a text.

    The longest stored prefix of a text is its predecessor in sorted order, or one of that one's own prefixes.
    """

    __slots__ = ("_by_prefix", "_parents", "_sorted")

    def __init__(self) -> None:
        self._by_prefix: dict[str, _Positions] = defaultdict(list)
        self._sorted: list[str] = []
        self._parents: dict[str, str | None] = {}

    def add(self, values: Iterable[str], position: int) -> None:
        for value in values:
            self._by_prefix[value].append(position)

    def build(self) -> None:
        self._sorted = sorted(self._by_prefix)
        open_prefixes: list[str] = []
        for prefix in self._sorted:
            while open_prefixes and not prefix.startswith(open_prefixes[-1]):
                open_prefixes.pop()
            self._parents[prefix] = open_prefixes[-1] if open_prefixes else None
            open_prefixes.append(prefix)

    def find(self, value: Any, found: set[int]) -> None:
        if isinstance(value, str):
            at = bisect_right(self._sorted, value) - 1
            prefix = self._sorted[at] if at >= 0 else None
            while prefix is not None:
                if value.startswith(prefix):
                    found.update(self._by_prefix[prefix])
                prefix = self._parents[prefix]
        elif isinstance(value, list):
            for element in value:
                if isinstance(element, str):
                    self.find(element, found)


class Index:
    """Finds candidates; positions are those of the sequence it was built from."""

    def __init__(self, anchors: Sequence[tuple[Anchor, ...] | None]) -> None:
        """Build from the anchors of each map; None stands for a map that no look-up can find."""
        self._always = frozenset(position for position, some in enumerate(anchors) if some is None)
        self._events: dict[str, _Positions] = defaultdict(list)
        self._segments: dict[str, _Positions] = defaultdict(list)
        equalities: dict[str, _Equalities] = defaultdict(_Equalities)
        prefixes: dict[str, _Prefixes] = defaultdict(_Prefixes)
        for position, some in enumerate(anchors):
            for anchor in some or ():
                match anchor.kind:
                    case "event":
                        self._events[anchor.values[0]].append(position)
                    case "segment":
                        self._segments[anchor.values[0]].append(position)
                    case "equal":
                        equalities[anchor.path].add(anchor.values, position)
                    case _:
                        prefixes[anchor.path].add(anchor.values, position)
        for table in prefixes.values():
            table.build()
        # Each path is read once, for all that is looked up by it.
        self._tables = tuple(
            (find_path(path).read, tuple(table for table in (equalities.get(path), prefixes.get(path)) if table))
            for path in dict.fromkeys((*equalities, *prefixes))
        )

    def candidates(self, scope: Scope) -> list[int]:
        """Positions of the maps that may match, ascending; every map that does match is among them."""
        found = set(self._always)
        found.update(self._events.get(scope.event.name, ()))
        if self._segments:
            for segment in scope.visitor.segments:
                found.update(self._segments.get(segment, ()))
        for read, tables in self._tables:
            value = read(scope)
            if value is not None:
                for table in tables:
                    table.find(value, found)
        return sorted(found) if found else []

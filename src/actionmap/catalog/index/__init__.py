"""From event and visitor to the maps that may match: what look-ups cannot tell is always a candidate.

A change costs what it changes: the large layer stays, what it has that is out of date is hidden, and what is new stands
in a small layer beside it, until somebody has the time to merge them (as in a log-structured merge-tree).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from actionmap.catalog.clauses import Clauses
from actionmap.catalog.index.layer import Entry, Finding, Layer, Sizes
from actionmap.catalog.paths import Scope

if TYPE_CHECKING:
    from actionmap.catalog.rulebook import CompiledMap, Order

#: Changes after which the layers are worth merging: to build the small one anew at each change takes milliseconds then.
_MANY_CHANGES = 128


def _order(found: Finding) -> Order:
    return found[0].order


class Index:
    """Finds candidates; immutable."""

    def __init__(self, entries: Sequence[tuple[CompiledMap, Clauses]], sizes: Sizes | None = None) -> None:
        """Build from the maps, by priority and name, and the clauses of their triggers; ``sizes`` are of its parts."""
        self._sizes = sizes or Sizes()
        self._large = Layer(entries, self._sizes)
        #: Names of the maps that the large layer has no say about any more.
        self._hidden: frozenset[str] = frozenset()
        self._small: Layer | None = None

    def find(self, scope: Scope) -> list[Finding]:
        """As `candidates`, each with whether all that one of its clauses asks for holds; False: it may or may not."""
        found = self._large.find(scope)
        if self._hidden:
            found = [one for one in found if one[0].name not in self._hidden]
        if self._small is not None and (new := self._small.find(scope)):
            found = sorted([*found, *new], key=_order)
        return found

    def candidates(self, scope: Scope) -> list[CompiledMap]:
        """The maps that may match, by priority, then name; every map that does match is among them."""
        return [one for one, _ in self.find(scope)]

    @property
    def overgrown(self) -> bool:
        """Whether so much has changed since it was built that `merged` is worth its time."""
        return len(self._hidden) > _MANY_CHANGES

    def with_changes(self, removed: Collection[str], added: Sequence[tuple[CompiledMap, Clauses]]) -> Index:
        """This index after a change, sharing what stays the same with it.

        Args:
            removed: Names of the maps that are gone, or changed.
            added: The maps that are new or changed; each stands for the one that had its name. Those with the very
                clauses they had cost next to nothing.
        """
        in_place: dict[int, Entry] = {}
        new: list[Entry] = []
        for entry in added:
            place = None if entry[0].name in self._hidden else self._large.place(entry)
            if place is None:
                new.append(entry)
            else:
                in_place[place] = entry
        outdated = {*removed, *(one.name for one, _ in new)}.difference(one.name for one, _ in in_place.values())
        small = [entry for entry in self._of_small() if entry[0].name not in outdated]
        index = copy(self)
        index._large = self._large.replacing(in_place) if in_place else self._large
        index._hidden = self._hidden | outdated
        index._small = Layer(_sorted([*small, *new]), self._sizes) if small or new else None
        return index

    def merged(self) -> Index:
        """The same index, built anew: takes seconds at 100,000 maps."""
        return Index(self.entries(), self._sizes)

    def brought_to(self, newer: Index) -> Index:
        """This index with all that is different in ``newer``, as a change to it."""
        mine = {one.name: (one, clauses) for one, clauses in self.entries()}
        added = []
        for one, clauses in newer.entries():
            known = mine.pop(one.name, None)
            if known is None or known[0] is not one or known[1] is not clauses:
                added.append((one, clauses))
        return self.with_changes(mine.keys(), added)

    def entries(self) -> list[tuple[CompiledMap, Clauses]]:
        """The maps by priority and name, each with the clauses of its trigger."""
        kept = (entry for entry in self._large.entries if entry[0].name not in self._hidden)
        return _sorted([*kept, *self._of_small()])

    def _of_small(self) -> Sequence[Entry]:
        return self._small.entries if self._small is not None else ()


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry[0].order)

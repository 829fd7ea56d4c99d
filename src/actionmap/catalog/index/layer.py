"""One layer of the index: built as a whole from maps and their clauses, and never changed.

Each clause stands where its most selective term is looked up, its anchor (Le Subscribe calls it an access predicate:
Fabret et al., SIGMOD 2001). Where many clauses share an anchor, and where there is none, they stand in blocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from actionmap.catalog.clauses import COMPLETED, COUNTED, ENTERED, LEFT, Clauses
from actionmap.catalog.index.blocks import Block
from actionmap.catalog.index.readings import Paths, Reading
from actionmap.catalog.index.tables import Table
from actionmap.catalog.index.terms import Kind, Term, Terms
from actionmap.catalog.paths import Scope, bag_of

if TYPE_CHECKING:
    from actionmap.catalog.rulebook import CompiledMap

Entry = tuple["CompiledMap", Clauses]
_Clause = tuple[int, Sequence[Term]]

#: How much likelier than elsewhere one of a path's keys finds something: there are few names of events, a visitor has
#: several segments, and counters for most of what was ever done.
_LIKELIER = {"event.eventName": 2.0, "visitor.segments": 4.0, COUNTED: 8.0, COMPLETED: 0.1, ENTERED: 0.1, LEFT: 0.1}
#: So many other keys are taken for granted beside those that the maps ask of a path.
_UNSEEN = 8


class Crowd(NamedTuple):
    """Clauses that are found together: maps at once, and those that blocks judge first."""

    positions: tuple[int, ...]
    blocks: tuple[Block, ...]


#: Positions of maps, or too many of them.
_Found = tuple[int, ...] | Crowd


class Sizes(NamedTuple):
    """More clauses than ``crowd`` in one place go into blocks of ``block``, which is 65,536 at most."""

    crowd: int = 16
    block: int = 2048


class _Census:
    """What the maps ask for, and so, as far as can be told, what events will."""

    def __init__(self, clauses: Sequence[_Clause]) -> None:
        asked = Counter(chain.from_iterable(terms for _, terms in clauses))
        keys: Counter[tuple[str, Kind, Any]] = Counter()
        paths: Counter[str] = Counter()
        for term, times in asked.items():
            paths[term.path] += times
            for kind, key in term.anchors:
                keys[term.path, kind, key] += times
        #: How likely an event is to bring up a clause that stands at a term; terms without anchors are left out.
        self.cost = {
            term: sum(keys[term.path, kind, key] for kind, key in term.anchors)
            / (paths[term.path] + _UNSEEN)
            * _LIKELIER.get(term.path, 1.0)
            for term in asked
            if term.anchors
        }
        ranks = {path: rank for rank, (path, _) in enumerate(reversed(paths.most_common()))}
        #: The place of its path among all, the rarest first.
        self.rank = {term: ranks[term.path] for term in asked}

    def anchor(self, terms: Sequence[Term]) -> Term | None:
        """The one of ``terms`` that brings up the fewest in vain; None when none can be looked up."""
        cost = self.cost
        return min((term for term in terms if term in cost), key=cost.__getitem__, default=None)


class Layer:
    """Finds the maps that may match."""

    def __init__(self, entries: Sequence[Entry], sizes: Sizes) -> None:
        """Build from maps, by priority and name, and the clauses of each."""
        self.entries = entries
        self._maps = [one for one, _ in entries]
        self._sizes = sizes
        self._paths = Paths()
        clauses = _clauses(entries)
        census = _Census(clauses)
        places: dict[str, dict[Kind, dict[Any, list[_Clause]]]] = defaultdict(lambda: defaultdict(dict))
        everywhere: list[_Clause] = []
        for position, terms in clauses:
            anchor = census.anchor(terms)
            if anchor is None:
                everywhere.append((position, terms))
                continue
            rest = [term for term in terms if term is not anchor or term.anchors is not term.keys]
            for kind, key in anchor.anchors:
                places[anchor.path][kind].setdefault(key, []).append((position, rest))
        self._everywhere = self._found(everywhere, census)
        tables = {
            path: Table({kind: {key: self._found(some, census) for key, some in by_key.items()}
                         for kind, by_key in by_kind.items()})
            for path, by_kind in places.items()
        }  # fmt: skip
        self._take(tables)
        self._paths.finish()

    def _take(self, tables: dict[str, Table[_Found]]) -> None:
        """Tables of fixed paths are asked one by one; of a bag of free names, those for the names that are in it."""
        fixed: list[tuple[int, Table[_Found]]] = []
        bags: dict[Callable[[Scope], dict[str, Any]], dict[str, list[tuple[int, Table[_Found]]]]] = {}
        for path, table in tables.items():
            placed = self._paths.place(path), table
            bag = bag_of(path)
            if bag is None:
                fixed.append(placed)
            else:
                read, name = bag
                bags.setdefault(read, {}).setdefault(name, []).append(placed)
        self._fixed = tuple(fixed)
        self._bags = tuple(bags.items())

    def _found(self, clauses: list[_Clause], census: _Census) -> _Found:
        if len(clauses) <= self._sizes.crowd:
            return tuple(position for position, _ in clauses)
        at_once = tuple(position for position, terms in clauses if not terms)
        judged = [clause for clause in clauses if clause[1]]
        # Clauses that ask for the same paths stand together, the rarest first: their blocks have fewer paths.
        judged.sort(key=lambda clause: sorted(map(census.rank.__getitem__, clause[1])))
        size = self._sizes.block
        parts = (judged[start : start + size] for start in range(0, len(judged), size))
        return Crowd(at_once, tuple(Block(part, self._paths) for part in parts))

    def find(self, scope: Scope) -> list[CompiledMap]:
        """The maps that may match, by priority, then name."""
        maps = self._maps
        return [maps[position] for position in sorted(self._positions(scope))]

    def place(self, entry: Entry) -> int | None:
        """Where a map stands that comes at the same place as the one of ``entry`` and has the same clauses."""
        place = bisect_left(self._maps, entry[0].order, key=attrgetter("order"))
        same = place < len(self._maps) and self._maps[place].order == entry[0].order
        return place if same and self.entries[place][1] is entry[1] else None

    def replacing(self, entries: Mapping[int, Entry]) -> Layer:
        """This layer with other maps at some places, whose clauses are the same."""
        layer = copy(self)
        layer.entries = [entries.get(place, entry) for place, entry in enumerate(self.entries)]
        layer._maps = [one for one, _ in layer.entries]
        return layer

    def _positions(self, scope: Scope) -> set[int]:
        reading = Reading(self._paths, scope)
        found: set[int] = set()
        _collect((self._everywhere,), reading, found)
        for place, table in self._fixed:
            value = reading.value(place)
            if value is not None:
                _collect(table.find(value), reading, found)
        for bag, by_name in self._bags:
            for name in bag(scope).keys() & by_name.keys():
                for place, table in by_name[name]:
                    _collect(table.find(reading.value(place)), reading, found)
        return found


def _collect(some: Iterable[_Found], reading: Reading, found: set[int]) -> None:
    for one in some:
        if isinstance(one, Crowd):
            found.update(one.positions)
            for block in one.blocks:
                block.find(reading, found)
        else:
            found.update(one)


def _clauses(entries: Sequence[Entry]) -> list[_Clause]:
    """All clauses that can hold, as terms that can be false."""
    terms_of = Terms().of
    found: list[_Clause] = []
    for position, (_, clauses) in enumerate(entries):
        for clause in clauses:
            terms = [term for literal in clause for term in terms_of(literal)]
            if any(term.never for term in terms):
                if any(term.never and not term.negated for term in terms):
                    continue
                terms = [term for term in terms if not term.never]
            found.append((position, terms))
    return found

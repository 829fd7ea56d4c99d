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

from actionmap.catalog.clauses import COMPLETED, COUNTED, ENTERED, LEFT, Clauses, Literal
from actionmap.catalog.conditions import Test
from actionmap.catalog.index.blocks import Block
from actionmap.catalog.index.readings import Paths, Reading
from actionmap.catalog.index.tables import Table
from actionmap.catalog.index.terms import Kind, Term, Terms
from actionmap.catalog.paths import Scope, bag_of

if TYPE_CHECKING:
    from actionmap.catalog.rulebook import CompiledMap

Entry = tuple["CompiledMap", Clauses]
#: A map that may match, and whether all that one of its clauses asks for holds.
Finding = tuple["CompiledMap", bool]


class _Clause(NamedTuple):
    """One clause of the map at a position."""

    position: int
    literals: Sequence[Literal]
    #: What its literals ask for, as far as it can be false.
    terms: Sequence[Term]


#: How much likelier than elsewhere one of a path's keys finds something: there are few names of events, a visitor has
#: several segments, and counters for most of what was ever done.
_LIKELIER = {"event.eventName": 2.0, "visitor.segments": 4.0, COUNTED: 8.0, COMPLETED: 0.1, ENTERED: 0.1, LEFT: 0.1}
#: So many other keys are taken for granted beside those that the maps ask of a path.
_UNSEEN = 8
#: How likely a term without anchors is to hold.
_UNKNOWN = 0.5


class Crowd(NamedTuple):
    """Clauses that are found together: maps at once, and those that blocks judge first."""

    positions: tuple[int, ...]
    blocks: tuple[Block, ...]


#: Where a value is kept, a test of it, and what the test must say.
_Check = tuple[int, Test, bool]
#: Positions of maps, each with what else its clause asks for; or too many of them.
_Found = tuple[tuple[int, tuple[_Check, ...]], ...] | Crowd


class Sizes(NamedTuple):
    """How many clauses in one place are treated how.

    Up to ``few`` are candidates as they are, so that what they lack becomes a verdict; of more, those that fit.
    More than ``crowd`` go into blocks of ``block``, which is 65,536 at most.
    """

    few: int = 2
    crowd: int = 16
    block: int = 2048


class _Census:
    """What the maps ask for, and so, as far as can be told, what events will."""

    def __init__(self, clauses: Sequence[_Clause]) -> None:
        asked = Counter(chain.from_iterable(clause.terms for clause in clauses))
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

    def likelihood(self, terms: Iterable[Term]) -> float:
        """How likely all of ``terms`` are to hold, as far as the maps tell."""
        return min((self.cost.get(term, _UNKNOWN) for term in terms), default=_UNKNOWN)

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
        self._terms = Terms()
        clauses = _clauses(entries, self._terms.of)
        census = _Census(clauses)
        places: dict[str, dict[Kind, dict[Any, list[_Clause]]]] = defaultdict(lambda: defaultdict(dict))
        everywhere: list[_Clause] = []
        for clause in clauses:
            anchor = census.anchor(clause.terms)
            if anchor is None:
                everywhere.append(clause)
                continue
            rest = clause if anchor.anchors is not anchor.keys else self._without(clause, anchor)
            for kind, key in anchor.anchors:
                places[anchor.path][kind].setdefault(key, []).append(rest)
        self._everywhere = self._found(everywhere, census)
        tables = {
            path: Table({kind: {key: self._found(some, census) for key, some in by_key.items()}
                         for kind, by_key in by_kind.items()})
            for path, by_kind in places.items()
        }  # fmt: skip
        self._take(tables)
        self._paths.finish()
        self._terms = Terms()

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
            looked_at = len(clauses) > self._sizes.few
            return tuple((one.position, self._checks(one, census) if looked_at else ()) for one in clauses)
        at_once = tuple(clause.position for clause in clauses if not clause.terms)
        judged = [(clause.position, clause.terms) for clause in clauses if clause.terms]
        # Clauses that ask for the same paths stand together, the rarest first: their blocks have fewer paths.
        judged.sort(key=lambda clause: sorted(map(census.rank.__getitem__, clause[1])))
        size = self._sizes.block
        parts = (judged[start : start + size] for start in range(0, len(judged), size))
        return Crowd(at_once, tuple(Block(part, self._paths) for part in parts))

    def _without(self, clause: _Clause, anchor: Term) -> _Clause:
        """``clause`` without what its ``anchor`` says already."""
        literals = [literal for literal in clause.literals if self._terms.of(literal) != (anchor,)]
        return _Clause(clause.position, literals, [term for term in clause.terms if term is not anchor])

    def _checks(self, clause: _Clause, census: _Census) -> tuple[_Check, ...]:
        """What ``clause`` asks for, the least likely first."""
        literals = sorted(clause.literals, key=lambda literal: census.likelihood(self._terms.of(literal)))
        return tuple(
            (self._paths.place(literal.path), self._terms.test(literal), not literal.negated) for literal in literals
        )

    def find(self, scope: Scope) -> list[Finding]:
        """The maps that may match, by priority, then name."""
        maps, maybe, surely = self._maps, set[int](), set[int]()
        self._collect_all(scope, maybe, surely)
        if not maybe and not surely:
            return []
        return [(maps[position], position in surely) for position in sorted(maybe | surely)]

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

    def _collect_all(self, scope: Scope, maybe: set[int], surely: set[int]) -> None:
        reading = Reading(self._paths, scope)
        if self._everywhere:
            _collect((self._everywhere,), reading, maybe, surely)
        for place, table in self._fixed:
            if found := table.find(reading.value(place)):
                _collect(found, reading, maybe, surely)
        for bag, by_name in self._bags:
            for name in bag(scope).keys() & by_name.keys():
                for place, table in by_name[name]:
                    if found := table.find(reading.value(place)):
                        _collect(found, reading, maybe, surely)


def _collect(some: Iterable[_Found], reading: Reading, maybe: set[int], surely: set[int]) -> None:
    """Take up what was found: ``surely`` where all that its clause asks for holds."""
    for one in some:
        if isinstance(one, Crowd):
            surely.update(one.positions)
            for block in one.blocks:
                block.find(reading, surely)
            continue
        for position, checks in one:
            for place, test, wanted in checks:
                if (not test(reading.value(place))) is wanted:
                    break
            else:
                (surely if checks else maybe).add(position)


def _clauses(entries: Sequence[Entry], terms_of: Callable[[Literal], tuple[Term, ...]]) -> list[_Clause]:
    """All clauses that can hold, with terms that can be false."""
    found: list[_Clause] = []
    for position, (_, clauses) in enumerate(entries):
        for clause in clauses:
            terms = [term for literal in clause for term in terms_of(literal)]
            if any(term.never for term in terms):
                if any(term.never and not term.negated for term in terms):
                    continue
                terms = [term for term in terms if not term.never]
            found.append(_Clause(position, clause, terms))
    return found

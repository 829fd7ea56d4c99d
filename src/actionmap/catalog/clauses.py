"""What must hold whenever a trigger does, for an index to use: alternatives of literals that stand together.

A literal is a comparison of one path. What no literal can say (a count's number) is left out: then clauses are
necessary and not sufficient, the index finds candidates, and the trigger itself decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from actionmap.catalog.models.trigger import Comparison
from actionmap.catalog.paths import Scope, find_path

#: More alternatives than this are not worth their place in an index.
MAX_CLAUSES = 64

#: Paths of what evaluation knows beside the namespace of definitions; for the index alone.
COUNTED = "(counted)"
COMPLETED = "(completed)"
ENTERED = "(entered)"
LEFT = "(left)"
_OWN: dict[str, Callable[[Scope], Any]] = {
    COUNTED: lambda scope: scope.counted,
    COMPLETED: lambda scope: scope.completed,
    ENTERED: lambda scope: scope.entered,
    LEFT: lambda scope: scope.left,
}


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """One path, and what its value must satisfy; ``negated``: must not."""

    path: str
    comparison: Comparison
    negated: bool = False

    def inverted(self) -> Literal:
        """True exactly when this one is false."""
        return Literal(self.path, self.comparison, not self.negated)


#: Literals that stand together.
Clause = tuple[Literal, ...]
#: Alternatives: one of them holds whenever the trigger does. None at all: the trigger never holds.
Clauses = tuple[Clause, ...]
#: Nothing is known of when the trigger holds.
ANYTHING: Clauses = ((),)


def reader(path: str) -> Callable[[Scope], Any]:
    """How the value of a literal's ``path`` is read."""
    own = _OWN.get(path)
    return own if own is not None else find_path(path).read


@lru_cache(maxsize=4096)
def equal(path: str, value: str) -> Literal:
    """The value at ``path`` is ``value``, or a list that holds it."""
    return Literal(path, Comparison(operator="equal", values=(value,)))


def both(parts: Iterable[Clauses]) -> tuple[Clauses, bool]:
    """What holds when all of ``parts`` do, and whether that is all they ask.

    Where there are too many combinations, it is what the fewest of them tell.
    """
    found: Clauses = ANYTHING
    for part in sorted(parts, key=len):
        if len(found) * len(part) > MAX_CLAUSES:
            return found, False
        found = tuple(one + other for one, other in product(found, part))
    return found, True


def either(parts: Iterable[Clauses]) -> tuple[Clauses, bool]:
    """What holds when at least one of ``parts`` does, and whether that is all they ask."""
    found = tuple(clause for part in parts for clause in part)
    if not all(found) or len(found) > MAX_CLAUSES:
        return ANYTHING, False
    return found, True

"""Up to 2,048 clauses judged together: an integer has a bit for each, and each path leaves those standing that fit.

What a value leaves standing is looked up, or put together once and remembered for a while.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from actionmap.catalog.conditions import Test
from actionmap.catalog.index.readings import UNKEYED, UNREAD, Paths, Reading
from actionmap.catalog.index.spans import Spans
from actionmap.catalog.index.tables import Table
from actionmap.catalog.index.terms import Kind, Span, Term
from actionmap.catalog.values import ordinal

#: Values remembered per path of a block.
_REMEMBERED = 256
#: The bits of the clauses that have a term.
_Asked = dict[Term, list[int]]


class _Fits:
    """The bits of those terms, all of one path and none negated, that a value fits; a bit stands for one of them."""

    __slots__ = ("_spans", "_table", "_tests")

    def __init__(self, asked: _Asked) -> None:
        by_kind: dict[Kind, dict[Any, int]] = defaultdict(dict)
        spans: dict[str, list[tuple[Span, int]]] = defaultdict(list)
        tests: list[tuple[Test, int]] = []
        for term, bits in asked.items():
            mask = _mask(bits)
            for kind, key in term.keys:
                by_kind[kind][key] = by_kind[kind].get(key, 0) | mask
            if term.span is not None:
                spans[term.span.kind].extend((term.span, bit) for bit in bits)
            if term.test is not None:
                tests.append((term.test, mask))
        self._table = Table(by_kind) if by_kind else None
        self._spans = {kind: Spans(some) for kind, some in spans.items()}
        self._tests = tuple(tests)

    def find(self, value: Any) -> int:
        mask = 0
        if self._table is not None:
            for found in self._table.find(value):
                mask |= found
        if self._spans:
            for element in value if isinstance(value, list) else (value,):
                place = ordinal(element)
                if place is not None and place[0] in self._spans:
                    mask |= self._spans[place[0]].find(place[1])
        for test, found in self._tests:
            if test(value):
                mask |= found
        return mask


class _PathMasks:
    """What a value of one path leaves standing."""

    __slots__ = ("_excluding", "_requiring", "_whole", "remembered")

    def __init__(self, asked: Sequence[tuple[int, Term]], whole: int) -> None:
        self.remembered: dict[Any, int] = {}
        self._whole = whole
        self._excluding = [_Fits(layer) for layer in _layers(asked, negated=True)]
        self._requiring = [(_mask(chain.from_iterable(layer.values())), _Fits(layer))
                           for layer in _layers(asked, negated=False)]  # fmt: skip

    def mask(self, value: Any, key: Any) -> int:
        """The bits that ``value``, which ``key`` stands for, leaves standing; it is remembered."""
        mask = self._whole
        for required, fits in self._requiring:
            mask &= ~required | fits.find(value)
        for fits in self._excluding:
            mask &= ~fits.find(value)
        if key is not UNKEYED:
            if len(self.remembered) >= _REMEMBERED:
                self.remembered.clear()
            self.remembered[key] = mask
        return mask


def _layers(asked: Sequence[tuple[int, Term]], *, negated: bool) -> list[_Asked]:
    """What is asked, in layers that have each bit once: a clause may ask one path several things."""
    layers: list[_Asked] = []
    depth: dict[int, int] = defaultdict(int)
    for bit, term in asked:
        if term.negated is negated:
            if depth[bit] == len(layers):
                layers.append(defaultdict(list))
            layers[depth[bit]][term].append(bit)
            depth[bit] += 1
    return layers


def _mask(bits: Iterable[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= 1 << bit
    return mask


class Block:
    """Clauses judged together."""

    __slots__ = ("_positions", "_steps", "_whole")

    def __init__(self, clauses: Sequence[tuple[int, Sequence[Term]]], paths: Paths) -> None:
        """Take clauses, as the position of the map of each and its terms; their paths are added to ``paths``."""
        self._positions = array("I", (position for position, _ in clauses))
        self._whole = (1 << len(clauses)) - 1
        by_path: dict[str, list[tuple[int, Term]]] = defaultdict(list)
        for bit, (_, terms) in enumerate(clauses):
            for term in terms:
                by_path[term.path].append((bit, term))
        # What most clauses ask about comes first: nothing may be left after it.
        ordered = sorted(by_path, key=lambda path: -len(by_path[path]))
        steps = []
        for path in ordered:
            place, masks = paths.place(path), _PathMasks(by_path[path], self._whole)
            steps.append((place, masks.remembered.get, masks))
            for term in dict.fromkeys(term for _, term in by_path[path]):
                paths.compare(place, term)
        self._steps = tuple(steps)

    def find(self, reading: Reading, found: set[int]) -> None:
        """Add the positions of the clauses that hold."""
        alive = self._whole
        keys = reading.keys
        for place, recall, masks in self._steps:
            key = keys[place]
            if key is UNREAD:
                key = reading.key(place)
            mask = recall(key)
            if mask is None:
                mask = masks.mask(reading.value(place), key)
            alive &= mask
            if not alive:
                return
        positions = self._positions
        while alive:
            bit = alive.bit_length() - 1
            found.add(positions[bit])
            alive ^= 1 << bit

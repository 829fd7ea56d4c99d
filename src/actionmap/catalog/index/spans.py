"""Which of many spans of an order a number lies in, as bits."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from actionmap.catalog.index.terms import Span
from actionmap.catalog.values import Number

#: Bounds between two masks that are kept: so many bits at most are turned one by one.
_STEP = 32


def slot_of(points: Sequence[Number], number: Number) -> int:
    """Where ``number`` lies among sorted ``points``: 2n + 1 at the n-th one, 2n before it."""
    place = bisect_left(points, number)
    return 2 * place + (place < len(points) and points[place] == number)


class Spans:
    """Spans of one kind, each with its bit; a bit stands for one span only."""

    __slots__ = ("_bits", "_kept", "_passed", "_points")

    def __init__(self, spans: Sequence[tuple[Span, int]]) -> None:
        """Take spans with the number of the bit of each."""
        self._points = sorted({point for span, _ in spans for point in (span.low, span.high) if point is not None})
        turns = sorted(turn for span, bit in spans for turn in self._turns(span, bit))
        #: The bits in the order in which their spans begin or end, and the masks before every so many of them.
        self._bits = array("H", (bit for _, bit in turns))
        self._kept = [0]
        for start in range(0, len(turns), _STEP):
            self._kept.append(self._turned(self._kept[-1], start, min(start + _STEP, len(turns))))
        #: By slot, how many begin or end at it or before.
        self._passed = array("I", bytes(4 * (2 * len(self._points) + 2)))
        for slot, _ in turns:
            self._passed[slot] += 1
        for slot in range(1, len(self._passed)):
            self._passed[slot] += self._passed[slot - 1]

    def _turns(self, span: Span, bit: int) -> list[tuple[int, int]]:
        first = 0 if span.low is None else slot_of(self._points, span.low) + (not span.low_in)
        if span.high is None:
            return [(first, bit)]
        return [(first, bit), (slot_of(self._points, span.high) + span.high_in, bit)]

    def _turned(self, mask: int, start: int, end: int) -> int:
        for bit in self._bits[start:end]:
            mask ^= 1 << bit
        return mask

    def find(self, number: Number) -> int:
        """The bits of the spans that ``number`` lies in."""
        passed = self._passed[slot_of(self._points, number)]
        step = passed // _STEP
        return self._turned(self._kept[step], step * _STEP, passed)

"""Visitors' lines in memory: who waits for whom. Of ``lua/line.lua``, which says what that means, the twin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actionmap.delivery import Delivery


@dataclass(slots=True)
class _Place:
    id: str
    integration: str
    is_sync: bool
    is_strict: bool
    waits: bool = False

    def stands_before(self, other: _Place) -> bool:
        return self.is_sync or (self.is_strict and other.is_strict and self.integration == other.integration)


class Lines:
    """The lines of one partition, by visitor."""

    def __init__(self) -> None:
        self._lines: dict[str, list[_Place]] = {}
        self._visitors: dict[str, str] = {}

    def join(self, delivery: Delivery) -> bool:
        """``delivery`` takes its place, where it needs one; answers whether it has to wait."""
        before = self._lines.get(delivery.visitor_id, [])
        place = _Place(delivery.id, delivery.integration, delivery.is_sync, delivery.is_strict)
        place.waits = any(other.stands_before(place) for other in before)
        if place.waits or delivery.is_ordered:
            self._lines[delivery.visitor_id] = [*before, place]
            self._visitors[delivery.id] = delivery.visitor_id
        return place.waits

    def leave(self, id_: str) -> Sequence[str]:
        """The delivery is settled; answers those whose turn it is now."""
        return self._changed(id_, settled=True)

    def answered(self, id_: str) -> Sequence[str]:
        """The first attempt of the delivery has ended without success; answers those whose turn it is now."""
        return self._changed(id_, settled=False)

    def _changed(self, id_: str, *, settled: bool) -> Sequence[str]:
        visitor_id = self._visitors.get(id_)
        if visitor_id is None:
            return ()
        line = self._lines[visitor_id]
        for place in line:
            if place.id == id_:
                place.is_sync = False
                if settled:
                    place.is_strict = place.waits = False
        ready = list(_ready(line))
        for place in ready:
            place.waits = False
        self._keep(visitor_id, line)
        return [place.id for place in ready]

    def _keep(self, visitor_id: str, line: Iterable[_Place]) -> None:
        kept = []
        for place in line:
            if place.waits or place.is_sync or place.is_strict:
                kept.append(place)
            else:
                del self._visitors[place.id]
        self._lines[visitor_id] = kept
        if not kept:
            del self._lines[visitor_id]


def _ready(line: Sequence[_Place]) -> Iterable[_Place]:
    for number, place in enumerate(line):
        if place.waits and not any(other.stands_before(place) for other in line[:number]):
            yield place

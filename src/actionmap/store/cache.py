"""VisitorCache: visitors a worker has just seen, within one budget over all its partitions.

Only the partition's owner writes its visitors, and every write goes to the store first, so what is here is what the
store holds, as long as the fence holds the owner's token. Whoever loses the token drops the partition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from actionmap.visitor import Visitor


class VisitorCache:
    """Least recently used visitors go first, those of the partition that brings new ones."""

    def __init__(self, capacity: int) -> None:
        """Keep up to ``capacity`` visitors in all."""
        self._capacity = capacity
        self._partitions: dict[int, OrderedDict[str, Visitor]] = {}
        self.size = 0

    def get(self, partition: int, visitor_ids: Iterable[str]) -> dict[str, Visitor]:
        """Those of ``visitor_ids`` that are here."""
        visitors = self._partitions.get(partition)
        if not visitors:
            return {}
        found = {visitor_id: visitors[visitor_id] for visitor_id in visitor_ids if visitor_id in visitors}
        for visitor_id in found:
            visitors.move_to_end(visitor_id)
        return found

    def put(self, partition: int, changed: Iterable[Visitor]) -> None:
        """Keep ``changed``, as they are in the store now."""
        visitors = self._partitions.setdefault(partition, OrderedDict())
        before = len(visitors)
        for visitor in changed:
            visitors[visitor.id] = visitor
            visitors.move_to_end(visitor.id)
        self.size += len(visitors) - before
        while self.size > self._capacity and visitors:
            visitors.popitem(last=False)
            self.size -= 1

    def drop(self, partition: int) -> None:
        """Forget the partition's visitors: the store may hold others now."""
        self.size -= len(self._partitions.pop(partition, ()))

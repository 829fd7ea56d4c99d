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

    def __init__(self, capacity: int, capacity_bytes: int = 64 * 1024 * 1024) -> None:
        """Keep up to ``capacity`` visitors in all, whose stored forms have up to ``capacity_bytes``."""
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._partitions: dict[int, OrderedDict[str, tuple[Visitor, int]]] = {}
        self.size = 0
        self.bytes = 0

    def get(self, partition: int, visitor_ids: Iterable[str]) -> dict[str, Visitor]:
        """Those of ``visitor_ids`` that are here."""
        visitors = self._partitions.get(partition)
        if not visitors:
            return {}
        found = {visitor_id: visitors[visitor_id][0] for visitor_id in visitor_ids if visitor_id in visitors}
        for visitor_id in found:
            visitors.move_to_end(visitor_id)
        return found

    def put(self, partition: int, changed: Iterable[tuple[Visitor, int]]) -> None:
        """Keep the ``changed`` visitors, as they are in the store now, each with the bytes of its stored form."""
        visitors = self._partitions.setdefault(partition, OrderedDict())
        for visitor, size in changed:
            known = visitors.pop(visitor.id, None)
            visitors[visitor.id] = (visitor, size)
            self.size += known is None
            self.bytes += size - (known[1] if known else 0)
        while visitors and (self.size > self._capacity or self.bytes > self._capacity_bytes):
            _, (_, size) = visitors.popitem(last=False)
            self.size -= 1
            self.bytes -= size

    def forget(self, partition: int, visitor_ids: Iterable[str]) -> None:
        """Keep these visitors no longer."""
        visitors = self._partitions.get(partition, OrderedDict())
        for visitor_id in visitor_ids:
            known = visitors.pop(visitor_id, None)
            if known is not None:
                self.size -= 1
                self.bytes -= known[1]

    def drop(self, partition: int) -> None:
        """Forget the partition's visitors: the store may hold others now."""
        dropped = self._partitions.pop(partition, None) or OrderedDict()
        self.size -= len(dropped)
        self.bytes -= sum(size for _, size in dropped.values())

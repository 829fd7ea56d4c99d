"""Journal: the newest accepted deliveries of each partition, for people to see. ``lua/ack.lua`` writes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from actionmap.delivery import Delivery, decode_delivery, for_journal
from actionmap.store.connection import Connection


class JournalStore(Protocol):
    """Deliveries that were accepted, with their attempts, as many as are kept."""

    async def newest(self, partition: int, *, limit: int) -> list[Delivery]:
        """Up to ``limit`` of them, the one accepted last first."""

    async def find(self, partition: int, id_: str) -> Delivery | None:
        """The one with that id; None when it was not accepted, or is not kept any more."""


class RedisJournal:
    """In Redis or Valkey; ``key`` gives the name of a partition's key."""

    def __init__(self, connection: Connection, key: Callable[[int, str], str]) -> None:
        self._connection = connection
        self._key = key

    async def newest(self, partition: int, *, limit: int) -> list[Delivery]:
        redis = self._connection.client
        async with self._connection.translated():
            ids = await redis.zrange(self._key(partition, "jq"), 0, limit - 1, desc=True)
            stored = await redis.hmget(self._key(partition, "j"), ids) if ids else []
        return [decode_delivery(one) for one in stored if one is not None]

    async def find(self, partition: int, id_: str) -> Delivery | None:
        async with self._connection.translated():
            stored = await self._connection.client.hget(self._key(partition, "j"), id_)
        return None if stored is None else decode_delivery(stored)


class MemoryJournal:
    """The in-memory twin; keeps ``most`` of each partition."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[int, dict[str, Delivery]] = defaultdict(dict)

    def note(self, partition: int, accepted: Iterable[Delivery]) -> None:
        """Keep ``accepted``, and forget the oldest beyond ``most``."""
        kept = self._kept[partition]
        for delivery in accepted:
            kept.pop(delivery.id, None)
            kept[delivery.id] = for_journal(delivery)
        for id_ in list(kept)[: max(0, len(kept) - self._most)]:
            del kept[id_]

    def forget(self, partition: int, goes: Callable[[Delivery], bool]) -> None:
        """Keep those no longer that go."""
        self._kept[partition] = {id_: one for id_, one in self._kept[partition].items() if not goes(one)}

    async def newest(self, partition: int, *, limit: int) -> list[Delivery]:
        return list(reversed(self._kept[partition].values()))[:limit]

    async def find(self, partition: int, id_: str) -> Delivery | None:
        return self._kept[partition].get(id_)

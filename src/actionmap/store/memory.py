"""The store's in-memory twin: the same promises as `redis.py` but for survival. For tests and `simulate`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from actionmap.delivery import DeadLetter, Delivery
from actionmap.errors import Conflict
from actionmap.store.protocols import Applied, Commit, Fence, Leased


@dataclass(slots=True)
class _Partition:
    fence: Fence = field(default_factory=Fence)
    visitors: dict[str, bytes] = field(default_factory=dict)
    owed: dict[str, Delivery] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    dead: dict[str, DeadLetter] = field(default_factory=dict)


class MemoryStore:
    """All roles of `protocols.Store`, in one process."""

    def __init__(self, *, outbox_cap: int = 20_000) -> None:
        self._partitions: dict[int, _Partition] = defaultdict(_Partition)
        self._outbox_cap = outbox_cap
        self._revision = 0
        self._definitions: dict[str, bytes] = {}

    async def fence(self, partition: int) -> Fence:
        return self._partitions[partition].fence

    async def claim(self, partition: int, *, owner: str, token: str, cluster: str, partitions: int) -> Fence:
        part = self._partitions[partition]
        part.fence = msgspec.structs.replace(
            part.fence, owner=owner, token=token, cluster=cluster, partitions=partitions
        )
        return part.fence

    async def reset_fence(self, partition: int) -> None:
        part = self._partitions[partition]
        part.fence = Fence(revision=part.fence.revision)

    async def load(self, partition: int, visitor_ids: Sequence[str]) -> list[bytes | None]:
        visitors = self._partitions[partition].visitors
        return [visitors.get(visitor_id) for visitor_id in visitor_ids]

    async def apply(self, partition: int, commit: Commit) -> Applied:
        part = self._partitions[partition]
        if part.fence.token == commit.token:
            return Applied("ok")
        if part.fence.token != commit.expected_token:
            return Applied("mismatch", part.fence.owner)
        if commit.revision < part.fence.revision:
            return Applied("rules-old")
        if commit.deliveries and len(part.owed) >= self._outbox_cap:
            return Applied("full")
        part.visitors.update(commit.visitors)
        for delivery in commit.deliveries:
            if delivery.id not in part.settled and delivery.id not in part.owed and delivery.id not in part.dead:
                part.owed[delivery.id] = delivery
                part.due[delivery.id] = delivery.owed_at
        part.dead.update((letter.id, letter) for letter in commit.dead_letters)
        part.fence = msgspec.structs.replace(
            part.fence,
            offset=commit.offset,
            token=commit.token,
            revision=commit.revision,
            stream_time=commit.stream_time,
        )
        return Applied("ok")

    async def lease(self, partition: int, *, now: int, limit: int, lease_ms: int) -> Leased:
        part = self._partitions[partition]
        ready = sorted((due, id_) for id_, due in part.due.items() if due <= now)[:limit]
        for _, id_ in ready:
            part.due[id_] = now + lease_ms
        return Leased([part.owed[id_] for _, id_ in ready], min(part.due.values(), default=None))

    async def ack(self, partition: int, delivery_ids: Sequence[str], *, now: int) -> None:
        part = self._partitions[partition]
        for id_ in delivery_ids:
            part.owed.pop(id_, None)
            part.due.pop(id_, None)
            part.settled.add(id_)

    async def nack(self, partition: int, retries: Sequence[tuple[Delivery, int]]) -> None:
        part = self._partitions[partition]
        for delivery, due in retries:
            if delivery.id in part.owed:
                part.owed[delivery.id] = delivery
                part.due[delivery.id] = due

    async def bury(self, partition: int, dead_letters: Sequence[DeadLetter]) -> None:
        part = self._partitions[partition]
        for letter in dead_letters:
            part.owed.pop(letter.id, None)
            part.due.pop(letter.id, None)
            part.dead[letter.id] = letter

    async def outbox_size(self, partition: int) -> int:
        return len(self._partitions[partition].owed)

    async def owed(self, partition: int, *, limit: int) -> list[Delivery]:
        part = self._partitions[partition]
        return [part.owed[id_] for id_ in sorted(part.due, key=part.due.__getitem__)[:limit]]

    async def dead_letters(self, partition: int, *, limit: int) -> list[DeadLetter]:
        dead = self._partitions[partition].dead.values()
        return sorted(dead, key=lambda letter: letter.at, reverse=True)[:limit]

    async def revision(self) -> int:
        return self._revision

    async def read(self) -> tuple[int, dict[str, bytes]]:
        return self._revision, dict(self._definitions)

    async def write(self, expected: int, changed: dict[str, bytes], deleted: Sequence[str]) -> int:
        if expected != self._revision:
            raise Conflict(f"the definitions are at revision {self._revision}, not {expected}")
        self._definitions.update(changed)
        for key in deleted:
            self._definitions.pop(key, None)
        self._revision += 1
        return self._revision

    async def ping(self) -> None:
        """Memory always answers."""

    async def durability(self) -> str:
        return "none: the store is in memory"

    async def close(self) -> None:
        """Nothing is open."""

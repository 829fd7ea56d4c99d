"""How often action maps fired and their lookups had no value, counted by day, for people to see.

Workers add what they have counted every few seconds, apart from any commit: so a worker that is killed leaves a few
seconds uncounted, and the way of an event costs nothing for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from actionmap.store.connection import Connection

#: Days that are counted together, today among them.
DAYS = 7
_DAY_MS = 86_400_000
#: Names in one question to the store.
_AT_ONCE = 5_000


class LookupStore(Protocol):
    """The counts: firings by ``map``, and lookups without a value by ``map/field``."""

    async def add(self, counts: Mapping[str, int], *, now: int) -> None:
        """Add ``counts`` to those of the day of ``now`` (milliseconds since 1970, UTC)."""

    async def counts(self, names: Sequence[str], *, now: int) -> dict[str, int]:
        """The counts of ``names`` in the last seven days; those without any are left out."""


def _days(now: int) -> list[str]:
    return [f"{datetime.fromtimestamp((now - back * _DAY_MS) / 1000, UTC):%Y%m%d}" for back in range(DAYS)]


class RedisLookups:
    """In Redis or Valkey: a hash per day, which expires."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def _key(self, day: str) -> str:
        return f"{self._prefix}:{{lookups}}:{day}"

    async def add(self, counts: Mapping[str, int], *, now: int) -> None:
        if not counts:
            return
        key = self._key(_days(now)[0])
        async with self._connection.translated():
            pipeline = self._connection.client.pipeline(transaction=False)
            for name, number in counts.items():
                pipeline.hincrby(key, name, number)
            pipeline.expire(key, (DAYS + 1) * 86_400)
            await pipeline.execute()

    async def counts(self, names: Sequence[str], *, now: int) -> dict[str, int]:
        found = Counter[str]()
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            for day in _days(now):
                async with self._connection.translated():
                    numbers = await self._connection.client.hmget(self._key(day), some)
                found.update({name: int(number) for name, number in zip(some, numbers, strict=True) if number})
        return dict(found)


class MemoryLookups:
    """The in-memory twin."""

    def __init__(self) -> None:
        self._by_day: dict[str, Counter[str]] = defaultdict(Counter)

    async def add(self, counts: Mapping[str, int], *, now: int) -> None:
        self._by_day[_days(now)[0]].update(counts)

    async def counts(self, names: Sequence[str], *, now: int) -> dict[str, int]:
        found = {name: sum(self._by_day[day][name] for day in _days(now)) for name in names}
        return {name: number for name, number in found.items() if number}

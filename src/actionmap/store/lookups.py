"""How often action maps made their lookups, which had no value, and for how many visitors, by day, for people to see.

Workers add what they have counted every few seconds, apart from any commit: so a worker that is killed leaves a few
seconds uncounted, and the way of an event costs nothing for it. Visitors are counted without being kept: by HyperLogLog
(Flajolet et al. 2007), exact to about 1 %, 12 KiB at most for each name and day.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from actionmap.store.connection import Connection
from actionmap.telemetry import LookupCounts

#: Days that are counted together, today among them.
DAYS = 7
_DAY_MS = 86_400_000
_KEPT_S = (DAYS + 1) * 86_400
#: Names in one question to the store.
_AT_ONCE = 1_000


class Count(NamedTuple):
    """How often something was so, and for how many visitors."""

    times: int = 0
    visitors: int = 0


class LookupStore(Protocol):
    """The counts of all workers."""

    async def add(self, counted: LookupCounts, *, now: int) -> None:
        """Add what a worker has counted since it last did, to the day of ``now`` (milliseconds since 1970, UTC)."""

    async def counts(self, names: Sequence[str], *, now: int) -> dict[str, Count]:
        """The counts of ``names`` in the last seven days; those without any are left out."""


def _days(now: int) -> list[str]:
    return [f"{datetime.fromtimestamp((now - back * _DAY_MS) / 1000, UTC):%Y%m%d}" for back in range(DAYS)]


class RedisLookups:
    """In Redis or Valkey: a hash for each day, and a HyperLogLog for each name and day, which expire."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def _times(self, day: str) -> str:
        return f"{self._prefix}:{{lookups}}:{day}"

    def _visitors(self, day: str, name: str) -> str:
        return f"{self._times(day)}:{name}"

    async def add(self, counted: LookupCounts, *, now: int) -> None:
        if not counted.times:
            return
        day = _days(now)[0]
        async with self._connection.translated():
            pipeline = self._connection.client.pipeline(transaction=False)
            for name, number in counted.times.items():
                pipeline.hincrby(self._times(day), name, number)
                pipeline.pfadd(self._visitors(day, name), *counted.visitors[name])
                pipeline.expire(self._visitors(day, name), _KEPT_S)
            pipeline.expire(self._times(day), _KEPT_S)
            await pipeline.execute()

    async def counts(self, names: Sequence[str], *, now: int) -> dict[str, Count]:
        times = await self._sums(names, _days(now))
        visitors = await self._distinct(list(times), _days(now))
        return {name: Count(number, visitors[name]) for name, number in times.items()}

    async def _sums(self, names: Sequence[str], days: Iterable[str]) -> dict[str, int]:
        found = Counter[str]()
        for day in days:
            for some in _parts(names):
                async with self._connection.translated():
                    numbers = await self._connection.client.hmget(self._times(day), some)
                found.update({name: int(number) for name, number in zip(some, numbers, strict=True) if number})
        return dict(found)

    async def _distinct(self, names: Sequence[str], days: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for some in _parts(names):
            async with self._connection.translated():
                pipeline = self._connection.client.pipeline(transaction=False)
                for name in some:
                    pipeline.pfcount(*(self._visitors(day, name) for day in days))
                found.update(zip(some, await pipeline.execute(), strict=True))
        return found


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))


class MemoryLookups:
    """The in-memory twin."""

    def __init__(self) -> None:
        self._by_day: dict[str, Counter[str]] = defaultdict(Counter)
        #: Hashes of the visitors: whom, is nobody's business here either.
        self._visitors: dict[str, Mapping[str, set[int]]] = defaultdict(lambda: defaultdict(set))

    async def add(self, counted: LookupCounts, *, now: int) -> None:
        day = _days(now)[0]
        self._by_day[day].update(counted.times)
        for name, visitors in counted.visitors.items():
            self._visitors[day][name].update(map(hash, visitors))

    async def counts(self, names: Sequence[str], *, now: int) -> dict[str, Count]:
        days = _days(now)
        times = {name: sum(self._by_day[day][name] for day in days) for name in names}
        visitors = {name: set().union(*(self._visitors[day][name] for day in days)) for name in names}
        return {name: Count(number, len(visitors[name])) for name, number in times.items() if number}

"""Erasure: what visitors who were erased have left behind, removed step by step; and who was, for what comes late.

The commit that holds an erasure (``lua/apply.lua``) takes the visitor and its timer, gives the erasure its number and
notes it twice: by the visitor's id until all that it has left is removed, and by a hash of it for as long as its parked
deliveries may come back from Kafka. Both survive whoever was at it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from actionmap.delivery import decode_dead_letter, decode_delivery, decode_outcome, is_erased
from actionmap.errors import FenceMoved
from actionmap.store.connection import Connection

#: How long it is known that a visitor was erased: the seven days that a delivery may be parked, and what Kafka may keep
#: it for beyond that.
NOTED_MS = 30 * 86_400_000
#: Of how many visitors of a partition that is known.
MOST_NOTED = 100_000
#: Entries looked at in one step.
_AT_ONCE = 200

#: What is to be removed: what it is, its id or stored form, and its integration or number where that is asked for.
_Removal = tuple[str, str | bytes, str | int]
#: Where a partition keeps what: hash, what `lua/sweep.lua` calls it, how it is read. What is owed comes first: it may
#: be settled meanwhile, and then is found in one of the others.
_KEPT: tuple[tuple[str, str, Callable[[bytes], Any]], ...] = (
    ("p", "owed", decode_delivery),
    ("j", "journal", decode_delivery),
    ("d", "dead delivery", decode_dead_letter),
    ("r", "dead record", decode_dead_letter),
)


class ErasureStore(Protocol):
    """Erasures of visitors, of each partition."""

    async def sweep(self, partition: int, token: str, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Remove what visitors that were erased have left: what they are owed, its ends, journal and dead letters.

        Nothing else is committed meanwhile. Cut off, it begins anew at the next call; what came after an erasure stays.

        Args:
            partition: The partition.
            token: What its owner's next commit is going to expect.
            stop: Asked between two steps; what is left is done by the next call.

        Raises:
            FenceMoved: the fence holds another token than ``token``.
            Unreachable: the store does not answer.
        """

    async def numbers(self, partition: int, visitor_ids: Sequence[str]) -> Mapping[str, int]:
        """The number of the last erasure of each of the visitors that were erased lately."""


class RedisErasures:
    """In Redis or Valkey; ``key`` gives the name of a partition's key, ``clock`` wall time in milliseconds."""

    def __init__(self, connection: Connection, key: Callable[[int, str], str], clock: Callable[[], int]) -> None:
        self._connection = connection
        self._key = key
        self._clock = clock

    async def sweep(self, partition: int, token: str, *, stop: Callable[[], bool] = lambda: False) -> None:
        async with self._connection.translated():
            found = await self._connection.client.hgetall(self._key(partition, "er"))
        erased = {visitor.decode(): int(number) for visitor, number in found.items()}
        if not erased:
            return
        async for page in self._pages(partition, erased):
            if stop():
                return
            await self._remove(partition, token, page)
        await self._remove(partition, token, [("done", visitor, number) for visitor, number in erased.items()])

    async def _pages(self, partition: int, erased: Mapping[str, int]) -> AsyncIterator[list[_Removal]]:
        client = self._connection.client
        for name, what, decode in _KEPT:
            cursor = None
            while cursor != 0:
                async with self._connection.translated():
                    cursor, page = await client.hscan(self._key(partition, name), cursor or 0, count=_AT_ONCE)
                yield list(_gone(what, page.values(), decode, erased))
        start = 0
        while True:
            async with self._connection.translated():
                stored = await client.lrange(self._key(partition, "o"), start, start + _AT_ONCE - 1)
            outcomes: list[_Removal] = [
                ("outcome", one, "") for one in stored if is_erased(decode_outcome(one), erased)
            ]
            yield outcomes
            start += len(stored) - len(outcomes)
            if not stored:
                return

    async def _remove(self, partition: int, token: str, removals: Sequence[_Removal]) -> None:
        if not removals:
            return
        names = ("f", "q", "p", "n", "l", "lm", "o", "er", "jq", "j", "dq", "d", "rq", "r")
        keys = [self._key(partition, name) for name in names]
        args = [token, self._clock(), *(part for removal in removals for part in removal)]
        status, owner = await self._connection.call("sweep", keys, args)
        if status == b"mismatch":
            raise FenceMoved(owner.decode())

    async def numbers(self, partition: int, visitor_ids: Sequence[str]) -> Mapping[str, int]:
        found = await self._connection.call("erased", [self._key(partition, "e")], visitor_ids) if visitor_ids else []
        return {visitor: int(number) for visitor, number in zip(visitor_ids, found, strict=True) if number}


def _gone(
    what: str, stored: Sequence[bytes], decode: Callable[[bytes], Any], erased: Mapping[str, int]
) -> Iterator[_Removal]:
    for one in map(decode, stored):
        if is_erased(one, erased):
            yield what, one.id, getattr(one, "integration", "")

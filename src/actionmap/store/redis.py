"""The store on Redis ≥ 7.2 or Valkey ≥ 8: every change of a partition is one Lua call on keys of one slot.

Keys, with prefix ``am`` and partition 7 (the tag in braces puts them all into one slot of a Redis Cluster):

    am:{e7}:f    hash    fence: o offset, tok token, own owner, rev revision, st stream time, sta wall clock of it,
                         fp fingerprint of the last record, cid cluster, np partitions, ep number of claims,
                         ers number of erasures, at when it was last applied; halt why it stopped, res what it was told,
                         reb rebuilding
    am:{e7}:v:X  string  visitor X
    am:{e7}:t    zset    timers: when each visitor's next one is due, in stream time
    am:{e7}:q    zset    outbox: when each delivery is due        am:{e7}:p   hash   outbox: the deliveries
    am:{e7}:n    hash    outbox: deliveries owed to each integration
    am:{e7}:k    hash    parked: pos offset to read on from, end offset after the last one
    am:{e7}:kn   hash    parked: deliveries of each integration
    am:{e7}:x    zset    ids accepted in the last day
    am:{e7}:jq   zset    journal: accepted deliveries by time     am:{e7}:j   hash   journal: the deliveries
    am:{e7}:rq   zset    dead records by time (the newest 10,000)  am:{e7}:r  hash   the dead records
    am:{e7}:dq   zset    dead deliveries by time                  am:{e7}:d   hash   the dead deliveries
    am:{e7}:er   hash    visitors that were erased, and have left what is still to be removed: the number of the erasure
    am:{e7}:eq   zset    hashes of visitors that were erased in the last 30 days, by time
    am:{e7}:e    hash    the numbers of these erasures, by hash of the visitor
    am:{e7}:w    string  empty; written so that its being on disk can be waited for
    am:{definitions}:d  hash,  am:{definitions}:rev  string  all definitions, and their revision
    am:{definitions}:tok  string  token of the last write, by which a repeated one is recognised
    am:{definitions}:log  list    the keys that each of the last writes changed
    am:{definitions}:v  hash   former versions, by Kind/name@version
    am:{definitions}:last  hash  the last version of each deleted definition
    am:{definitions}:a  stream  audit: who changed or did what, by revision
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actionmap.delivery import (
    DeadLetter,
    Delivery,
    Outcomes,
    decode_dead_letter,
    decode_delivery,
    encode,
    for_journal,
)
from actionmap.errors import FenceMoved
from actionmap.store.api_keys import RedisApiKeys
from actionmap.store.connection import Connection
from actionmap.store.definitions import RedisDefinitions
from actionmap.store.durability import Guarantees
from actionmap.store.erasure import MOST_NOTED, NOTED_MS, RedisErasures
from actionmap.store.fence_fields import FENCE_FIELDS, read_fence
from actionmap.store.integrations import RedisIntegrations
from actionmap.store.journal import RedisJournal
from actionmap.store.lookups import RedisLookups
from actionmap.store.protocols import (
    NO_OUTCOMES,
    Applied,
    Commit,
    Due,
    Fence,
    Halt,
    Leased,
    Parked,
    Resume,
)

_SCRIPTS = ("claim", "halt", "apply", "resume", "forget", "due", "load", "lease", "ack", "nack", "bury", "revive",
            "park", "parked", "unpark", "outcomes", "reserve", "report", "reports", "hold", "note", "write_definitions",
            "changed_definitions", "tell", "sweep", "erased")  # fmt: skip
_REMEMBERED_MS = 86_400_000
_REMEMBERED_IDS = 100_000
_DEAD_RECORD_CAP = 10_000
#: Keys looked at in one step while visitors are forgotten.
_SCANNED = 1_000


class RedisStore:
    """All roles of `protocols.Store`."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "am",
        visitor_ttl_s: float = 90 * 86_400,
        outbox_cap: int = 20_000,
        ordered_cap: int = 4_000,
        journal: int = 1_000,
        clock: Callable[[], int],
    ) -> None:
        """Connect lazily to ``url`` (see `Connection`); ``clock`` gives wall time in milliseconds, for people.

        ``journal``: how many accepted deliveries of each partition are kept.

        Raises:
            SettingsError: ``url`` is none that Redis clients take.
        """
        self._connection = Connection(url, _SCRIPTS)
        self._redis = self._connection.client
        self._call = self._connection.call
        self._translated = self._connection.translated
        self.api_keys = RedisApiKeys(self._connection, prefix)
        self.definitions = RedisDefinitions(self._connection, prefix)
        self.integrations = RedisIntegrations(self._connection, prefix)
        self.lookups = RedisLookups(self._connection, prefix)
        self.journal = RedisJournal(self._connection, self._key)
        self.erasures = RedisErasures(self._connection, self._key, clock)
        self._prefix = prefix
        self._visitor_ttl_ms = int(visitor_ttl_s * 1000)
        self._outbox_cap = outbox_cap
        self._ordered_cap = ordered_cap
        self._journal_cap = journal
        self._clock = clock

    def _key(self, partition: int, name: str) -> str:
        return f"{self._prefix}:{{e{partition}}}:{name}"

    def _keys(self, partition: int, *names: str) -> list[str]:
        return [self._key(partition, name) for name in names]

    # --- partitions

    async def fence(self, partition: int) -> Fence:
        async with self._translated():
            return read_fence(await self._redis.hmget(self._key(partition, "f"), FENCE_FIELDS))

    async def fences(self, partitions: int) -> list[Fence]:
        async with self._translated():
            asked = self._redis.pipeline(transaction=False)
            for partition in range(partitions):
                asked.hmget(self._key(partition, "f"), FENCE_FIELDS)
            return [read_fence(found) for found in await asked.execute()]

    async def claim(
        self,
        partition: int,
        *,
        owner: str,
        token: str,
        cluster: str,
        partitions: int,
        moved_to: int | None = None,
    ) -> Fence:
        args = [owner, token, cluster, partitions, "" if moved_to is None else moved_to]
        return read_fence(await self._call("claim", self._keys(partition, "f"), args))

    async def halt(self, partition: int, halt: Halt) -> None:
        await self._call("halt", self._keys(partition, "f"), [msgspec.json.encode(halt)])

    async def resume(self, partition: int, policy: Resume) -> bool:
        return bool(await self._call("resume", self._keys(partition, "f"), [policy]))

    async def forget(self, partition: int) -> None:
        await self._call("forget", self._keys(partition, "f", "t"), [secrets.token_hex(16)])
        async with self._translated():
            pattern = self._key(partition, "v:").replace("[", r"\[") + "*"
            found = []
            async for key in self._redis.scan_iter(match=pattern, count=_SCANNED):
                found.append(key)
                if len(found) == _SCANNED:
                    await self._redis.unlink(*found)
                    found.clear()
            if found:
                await self._redis.unlink(*found)

    async def load(self, partition: int, visitor_ids: Sequence[str], token: str | None = None) -> list[bytes | None]:
        if not visitor_ids:
            return []
        prefix = self._key(partition, "v:")
        keys = [prefix + visitor_id for visitor_id in visitor_ids]
        if token is None:
            async with self._translated():
                return list(await self._redis.mget(keys))
        (visitors,) = await self._read("load", [self._key(partition, "f"), *keys], [token])
        return list(visitors)

    async def _read(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        status, *found = list(await self._call(script, keys, args))
        if status == b"mismatch":
            raise FenceMoved(found[0].decode())
        return found

    async def due(self, partition: int, token: str, *, until: int, limit: int) -> Due:
        ready, following = await self._read("due", self._keys(partition, "f", "t"), [token, until, limit])
        pairs = zip(ready[::2], ready[1::2], strict=True)
        return Due([(visitor.decode(), int(float(due))) for visitor, due in pairs], _time(following))

    async def apply(self, partition: int, commit: Commit) -> Applied:
        prefix = self._key(partition, "v:")
        keys = self._keys(partition, "f", "q", "p", "x", "rq", "r", "dq", "d", "t", "n", "o", "l", "lm", "er",
                          "eq", "e")  # fmt: skip
        keys += [prefix + visitor_id for visitor_id, _ in commit.visitors]
        keys += [prefix + visitor_id for visitor_id in commit.erased]
        args: list[Any] = [
            commit.expected_token, commit.token, commit.offset, commit.revision, commit.stream_time,
            commit.stream_time_at, commit.fingerprint, self._outbox_cap, _DEAD_RECORD_CAP, self._visitor_ttl_ms,
            self._clock(), commit.outcomes_taken,
            commit.last_outcome, self._ordered_cap,
            len(commit.visitors), len(commit.timers), len(commit.deliveries), len(commit.dead_letters),
            len(commit.erased), commit.erasures, NOTED_MS, MOST_NOTED,
        ]  # fmt: skip
        args += [state for _, state in commit.visitors]
        for visitor_id, due in commit.timers:
            args += (visitor_id, "" if due is None else due)
        for delivery in commit.deliveries:
            order = "s" * delivery.is_sync + "o" * delivery.is_strict
            args += (delivery.id, delivery.integration, delivery.owed_at, encode(delivery), delivery.visitor_id, order)
        for letter in commit.dead_letters:
            args += (letter.kind, letter.id, letter.at, encode(letter), _encoded(commit.outcomes, letter.id))
        args += commit.erased
        status, owner, next_due, outcomes, given_up = await self._call("apply", keys, args)
        return Applied(status.decode(), owner.decode(), _time(next_due), int(outcomes), int(given_up))

    async def outcomes(self, partition: int, token: str, *, limit: int) -> list[bytes]:
        (found,) = await self._read("outcomes", self._keys(partition, "f", "o"), [token, limit])
        return list(found)

    async def durable_offset(self, partition: int) -> int:
        offset = await self._connection.durable(self._key(partition, "w"), ("HGET", self._key(partition, "f"), "o"))
        return -1 if offset is None else int(offset)

    async def wait_durable(self, partition: int, delivery_ids: Sequence[str]) -> frozenset[str]:
        question = ("ZMSCORE", self._key(partition, "q"), *delivery_ids)
        scores = await self._connection.durable(self._key(partition, "w"), question)
        return frozenset(id_ for id_, score in zip(delivery_ids, scores, strict=True) if score is not None)

    # --- outbox

    async def lease(self, partition: int, *, now: int, limit: int, lease_ms: int) -> Leased:
        keys = self._keys(partition, "q", "p", "n")
        payloads, nearest, owed = await self._call("lease", keys, [now, limit, lease_ms])
        return Leased([decode_delivery(payload) for payload in payloads], _time(nearest), _numbers(owed))

    async def ack(
        self, partition: int, deliveries: Sequence[Delivery], *, now: int, outcomes: Outcomes = NO_OUTCOMES
    ) -> int:
        if not deliveries:
            return 0
        args: list[Any] = [now, _REMEMBERED_MS, _REMEMBERED_IDS, self._journal_cap]
        for one in deliveries:
            kept = encode(for_journal(one)) if self._journal_cap else b""
            args += (one.id, one.integration, _encoded(outcomes, one.id), kept)
        return int(await self._call("ack", self._keys(partition, "q", "p", "x", "n", "l", "lm", "o", "jq", "j"), args))

    async def nack(self, partition: int, retries: Sequence[tuple[Delivery, int]], *, now: int) -> None:
        if retries:
            args = [part for one, due in retries
                    for part in (one.id, due, encode(one), int(not one.is_sync))]  # fmt: skip
            await self._call("nack", self._keys(partition, "q", "p", "l", "lm"), [now, *args])

    async def bury(self, partition: int, dead_letters: Sequence[DeadLetter], outcomes: Outcomes = NO_OUTCOMES) -> int:
        if not dead_letters:
            return 0
        args = [part for letter in dead_letters
                for part in (letter.id, _integration(letter), letter.at, encode(letter),
                             _encoded(outcomes, letter.id), *_life(letter.delivery))]  # fmt: skip
        return int(await self._call("bury", self._keys(partition, "q", "p", "dq", "d", "n", "l", "lm", "o", "e"), args))

    async def revive(self, partition: int, deliveries: Sequence[Delivery], *, now: int) -> int:
        if not deliveries:
            return 0
        args = [part for one in deliveries
                for part in (one.id, one.integration, max(now, one.owed_at), encode(one), *_life(one))]  # fmt: skip
        return int(await self._call("revive", self._keys(partition, "q", "p", "dq", "d", "n", "e"), args))

    async def forget_dead(self, partition: int, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        async with self._translated():
            await self._redis.zrem(self._key(partition, "rq"), *ids)
            return int(await self._redis.hdel(self._key(partition, "r"), *ids))

    async def delivery(self, partition: int, id_: str) -> Delivery | None:
        async with self._translated():
            stored = await self._redis.hget(self._key(partition, "p"), id_)
        return None if stored is None else decode_delivery(stored)

    async def dead_letter(self, partition: int, id_: str) -> DeadLetter | None:
        async with self._translated():
            stored = await self._redis.hget(self._key(partition, "r"), id_)
            stored = stored or await self._redis.hget(self._key(partition, "d"), id_)
        return None if stored is None else decode_dead_letter(stored)

    async def owed_by_integration(self, partition: int) -> dict[str, int]:
        async with self._translated():
            counts = await self._redis.hgetall(self._key(partition, "n"))
        return {integration.decode(): int(number) for integration, number in counts.items()}

    async def outbox_size(self, partition: int) -> int:
        async with self._translated():
            return int(await self._redis.zcard(self._key(partition, "q")))

    async def owed(self, partition: int, *, limit: int, due_from: int = 0) -> list[Delivery]:
        async with self._translated():
            order = self._key(partition, "q")
            ids: Any = await self._redis.zrange(order, due_from, "+inf", byscore=True, offset=0, num=limit)
            stored = await self._redis.hmget(self._key(partition, "p"), ids) if ids else []
        return [decode_delivery(value) for value in stored if value is not None]

    async def due_times(self, partition: int, ids: Sequence[str]) -> list[int | None]:
        async with self._translated():
            found = await self._redis.zmscore(self._key(partition, "q"), list(ids)) if ids else []
        return [None if due is None else int(due) for due in found]

    async def dead_deliveries(self, partition: int, *, start: int, limit: int) -> list[DeadLetter]:
        async with self._translated():
            ids: Any = await self._redis.zrange(self._key(partition, "dq"), start, start + limit - 1)
            stored = await self._redis.hmget(self._key(partition, "d"), ids) if ids else []
        return [decode_dead_letter(value) for value in stored if value is not None]

    async def dead_letters(self, partition: int, *, limit: int) -> list[DeadLetter]:
        stored = await self._newest(partition, "rq", "r", limit)
        stored += await self._newest(partition, "dq", "d", limit)
        letters = sorted(map(decode_dead_letter, stored), key=lambda letter: letter.at, reverse=True)
        return letters[:limit]

    async def _newest(self, partition: int, order: str, values: str, limit: int) -> list[bytes]:
        async with self._translated():
            ids: Any = await self._redis.zrange(self._key(partition, order), 0, limit - 1, desc=True)
            stored = await self._redis.hmget(self._key(partition, values), ids) if ids else []
        return [value for value in stored if value is not None]

    # --- parking

    async def park(self, partition: int, deliveries: Sequence[tuple[Delivery, int]]) -> int:
        if not deliveries:
            return 0
        args = [part for one, offset in deliveries for part in (one.id, one.integration, offset)]
        return int(await self._call("park", self._keys(partition, "q", "p", "n", "k", "kn"), args))

    async def parked(self, partition: int) -> Parked:
        keys = self._keys(partition, "k", "kn", "n", "f")
        position, end, parked, owed, erasures = await self._call("parked", keys, [])
        return Parked(int(position), int(end), _numbers(parked), _numbers(owed), int(erasures))

    async def unpark(
        self,
        partition: int,
        *,
        position: int,
        to: int,
        end: int = -1,
        is_new_log: bool = False,
        owe: Sequence[Delivery] = (),
        bury: Sequence[DeadLetter] = (),
        drop: Sequence[Delivery] = (),
        outcomes: Outcomes = NO_OUTCOMES,
        erasures: int = 0,
    ) -> bool:
        args: list[Any] = [position, to, end, int(is_new_log), erasures]
        for one in owe:
            args += ("owe", one.id, one.integration, one.owed_at, encode(one), "")
        for letter in bury:
            args += ("bury", letter.id, _integration(letter), letter.at, encode(letter), _encoded(outcomes, letter.id))
        for one in drop:
            args += ("drop", one.id, one.integration, "", "", "")
        keys = self._keys(partition, "q", "p", "x", "dq", "d", "n", "k", "kn", "o", "f")
        return bool(await self._call("unpark", keys, args))

    async def ping(self) -> None:
        async with self._translated():
            await self._redis.ping()

    async def guarantees(self) -> Guarantees:
        return await self._connection.guarantees(self._key(0, "w"))

    async def close(self) -> None:
        await self._connection.close()


def _encoded(outcomes: Outcomes, id_: str) -> bytes:
    return encode(outcomes[id_]) if id_ in outcomes else b""


def _life(delivery: Delivery | None) -> tuple[str, int]:
    return (delivery.visitor_id, delivery.survives) if delivery else ("", 0)


def _time(score: bytes) -> int | None:
    return int(float(score)) if score else None


def _numbers(flat: Sequence[bytes]) -> dict[str, int]:
    """Numbers by name, from the names and numbers of a hash in turns."""
    return {name.decode(): int(number) for name, number in zip(flat[::2], flat[1::2], strict=True)}


def _integration(letter: DeadLetter) -> str:
    return letter.delivery.integration if letter.delivery else ""

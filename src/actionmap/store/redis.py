"""The store on Redis ≥ 7.2 or Valkey ≥ 8: every change of a partition is one Lua call on keys of one slot.

Keys, with prefix ``am`` and partition 7 (the tag in braces puts them all into one slot of a Redis Cluster):

    am:{e7}:f    hash    fence: o offset, tok token, own owner, rev revision, st stream time, cid cluster,
                         np partitions, ep number of claims, at when it was last applied
    am:{e7}:v:X  string  visitor X
    am:{e7}:q    zset    outbox: when each delivery is due        am:{e7}:p   hash   outbox: the deliveries
    am:{e7}:x    zset    ids accepted in the last day
    am:{e7}:rq   zset    dead records by time (the newest 10,000)  am:{e7}:r  hash   the dead records
    am:{e7}:dq   zset    dead deliveries by time                  am:{e7}:d   hash   the dead deliveries
    am:{definitions}:d  hash,  am:{definitions}:rev  string  all definitions, and their revision
    am:{definitions}:tok  string  token of the last write, by which a repeated one is recognised
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from actionmap.delivery import DeadLetter, Delivery, decode_dead_letter, decode_delivery, encode
from actionmap.errors import Conflict, SettingsError, Unreachable
from actionmap.store.protocols import Applied, Commit, Fence, Leased

_SCRIPTS = ("claim", "apply", "lease", "ack", "nack", "bury", "write_definitions", "read_definitions")
_FENCE_FIELDS = ("o", "tok", "own", "rev", "st", "cid", "np")
#: Codes of error replies that tell of a state of the server, which passes.
_PASSING = ("MISCONF ", "NOREPLICAS ", "BUSY ")
_REMEMBERED_MS = 86_400_000
_REMEMBERED_IDS = 100_000
_DEAD_RECORD_CAP = 10_000


class RedisStore:
    """All roles of `protocols.Store`."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "am",
        visitor_ttl_s: float = 90 * 86_400,
        outbox_cap: int = 20_000,
        clock: Callable[[], int],
    ) -> None:
        """Connect lazily to ``url``; ``clock`` gives wall time in milliseconds, for people reading the fence.

        Raises:
            SettingsError: ``url`` is none that Redis clients take.
        """
        try:
            self._redis: Redis = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3)
        except ValueError:  # its text may hold a piece of the password
            raise SettingsError("ACTIONMAP_REDIS_URL is not redis://[[user]:password@]host:port/number") from None
        self._prefix = prefix
        self._visitor_ttl_ms = int(visitor_ttl_s * 1000)
        self._outbox_cap = outbox_cap
        self._clock = clock
        self._scripts: dict[str, AsyncScript] = {
            name: self._redis.register_script((files(__package__) / "lua" / f"{name}.lua").read_text())
            for name in _SCRIPTS
        }
        self._address = _address(url)

    def _key(self, partition: int, name: str) -> str:
        return f"{self._prefix}:{{e{partition}}}:{name}"

    def _keys(self, partition: int, *names: str) -> list[str]:
        return [self._key(partition, name) for name in names]

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            trouble = _trouble(error)
            if trouble is None:
                raise
            raise Unreachable(trouble.format(address=self._address, error=type(error).__name__)) from error

    async def _call(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        async with self._translated():
            return await self._scripts[script](keys=keys, args=args)

    async def fence(self, partition: int) -> Fence:
        async with self._translated():
            return _fence(_raw(await self._redis.hmget(self._key(partition, "f"), _FENCE_FIELDS)))

    async def claim(self, partition: int, *, owner: str, token: str, cluster: str, partitions: int) -> Fence:
        return _fence(await self._call("claim", self._keys(partition, "f"), [owner, token, cluster, partitions]))

    async def reset_fence(self, partition: int) -> None:
        async with self._translated():
            await self._redis.hdel(self._key(partition, "f"), "o", "tok", "st", "cid", "np")

    async def load(self, partition: int, visitor_ids: Sequence[str]) -> list[bytes | None]:
        if not visitor_ids:
            return []
        prefix = self._key(partition, "v:")
        async with self._translated():
            return _raw(await self._redis.mget([prefix + visitor_id for visitor_id in visitor_ids]))

    async def apply(self, partition: int, commit: Commit) -> Applied:
        prefix = self._key(partition, "v:")
        keys = self._keys(partition, "f", "q", "p", "x", "rq", "r", "dq", "d")
        keys += [prefix + visitor_id for visitor_id, _ in commit.visitors]
        args: list[Any] = [
            commit.expected_token, commit.token, commit.offset, commit.revision, commit.stream_time,
            self._outbox_cap, _DEAD_RECORD_CAP, self._visitor_ttl_ms, self._clock(),
            len(commit.visitors), len(commit.deliveries), len(commit.dead_letters),
        ]  # fmt: skip
        args += [state for _, state in commit.visitors]
        for delivery in commit.deliveries:
            args += (delivery.id, delivery.owed_at, encode(delivery))
        for letter in commit.dead_letters:
            args += (letter.kind, letter.id, letter.at, encode(letter))
        status, owner = await self._call("apply", keys, args)
        return Applied(status.decode(), owner.decode())

    async def lease(self, partition: int, *, now: int, limit: int, lease_ms: int) -> Leased:
        payloads, nearest = await self._call("lease", self._keys(partition, "q", "p"), [now, limit, lease_ms])
        return Leased([decode_delivery(payload) for payload in payloads], int(float(nearest)) if nearest else None)

    async def ack(self, partition: int, delivery_ids: Sequence[str], *, now: int) -> None:
        if delivery_ids:
            keys = self._keys(partition, "q", "p", "x")
            await self._call("ack", keys, [now, _REMEMBERED_MS, _REMEMBERED_IDS, *delivery_ids])

    async def nack(self, partition: int, retries: Sequence[tuple[Delivery, int]]) -> None:
        if retries:
            args = [part for delivery, due in retries for part in (delivery.id, due, encode(delivery))]
            await self._call("nack", self._keys(partition, "q", "p"), args)

    async def bury(self, partition: int, dead_letters: Sequence[DeadLetter]) -> None:
        if dead_letters:
            args = [part for letter in dead_letters for part in (letter.id, letter.at, encode(letter))]
            await self._call("bury", self._keys(partition, "q", "p", "dq", "d"), args)

    async def outbox_size(self, partition: int) -> int:
        async with self._translated():
            return int(await self._redis.zcard(self._key(partition, "q")))

    async def owed(self, partition: int, *, limit: int) -> list[Delivery]:
        return [decode_delivery(stored) for stored in await self._listed(partition, "q", "p", limit, newest=False)]

    async def dead_letters(self, partition: int, *, limit: int) -> list[DeadLetter]:
        stored = await self._listed(partition, "rq", "r", limit, newest=True)
        stored += await self._listed(partition, "dq", "d", limit, newest=True)
        letters = sorted(map(decode_dead_letter, stored), key=lambda letter: letter.at, reverse=True)
        return letters[:limit]

    async def _listed(self, partition: int, order: str, values: str, limit: int, *, newest: bool) -> list[bytes]:
        async with self._translated():
            ids: Any = await self._redis.zrange(self._key(partition, order), 0, limit - 1, desc=newest)
            stored = _raw(await self._redis.hmget(self._key(partition, values), ids)) if ids else []
        return [value for value in stored if value is not None]

    def _definition_keys(self) -> list[str]:
        return [f"{self._prefix}:{{definitions}}:d", f"{self._prefix}:{{definitions}}:rev"]

    async def revision(self) -> int:
        async with self._translated():
            return int(await self._redis.get(self._definition_keys()[1]) or 0)

    async def read(self) -> tuple[int, dict[str, bytes]]:
        revision, pairs = await self._call("read_definitions", self._definition_keys(), [])
        flat = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
        return int(revision), {key.decode(): value for key, value in flat}

    async def write(self, expected: int, changed: dict[str, bytes], deleted: Sequence[str]) -> int:
        written = [part for pair in changed.items() for part in pair]
        keys = [*self._definition_keys(), f"{self._prefix}:{{definitions}}:tok"]
        args: list[Any] = [expected, secrets.token_hex(16), len(changed), *written, *deleted]
        status, revision = await self._call("write_definitions", keys, args)
        if status == b"conflict":
            raise Conflict(f"the definitions are at revision {revision}, not {expected}")
        return int(revision)

    async def ping(self) -> None:
        async with self._translated():
            await self._redis.ping()

    async def durability(self) -> str:
        """What the server promises to keep: a fact read from it, in words for people."""
        async with self._translated():
            try:
                config = await self._redis.config_get("append*", "maxmemory-policy")
            except ResponseError:
                return "unknown: the server does not show its configuration"
        if config.get("appendonly") != "yes":
            return "weak: appendonly is off, so a crash of the store loses what came after its last snapshot"
        if config.get("maxmemory-policy") not in ("noeviction", None):
            return f"weak: maxmemory-policy is {config['maxmemory-policy']}, so visitors may be evicted; use noeviction"
        if config.get("appendfsync") != "always":
            return "good: appendfsync is everysec, so a crash of the store may lose the last second or two"
        return "full: appendonly with appendfsync always"

    async def close(self) -> None:
        await self._redis.aclose()


def _raw(values: Any) -> list[bytes | None]:
    """Replies as they come without decoding, which is how the client is set up."""
    return list(values)


def _trouble(error: Exception) -> str | None:
    """What to say of an error that goes away without a change of ours; None for one that is a fault of ours."""
    match error:
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return (
                "Redis at {address} refuses us ({error}): user or password is missing or wrong, or the user may not "
                "do this; set them in ACTIONMAP_REDIS_URL as redis://user:password@host:port/0"
            )
        case OutOfMemoryError():
            return "Redis at {address} is out of memory and takes no writes; give it more (maxmemory), or free some"
        case ReadOnlyError():
            return "Redis at {address} is a read-only replica; set ACTIONMAP_REDIS_URL to the primary"
        case BusyLoadingError():
            return "Redis at {address} is still loading its data; wait until it has"
        case RedisConnectionError() | RedisTimeoutError() | OSError():
            return "Redis does not answer at {address} ({error}); start it, or set ACTIONMAP_REDIS_URL"
        case TryAgainError() | ClusterDownError():
            return "Redis at {address} cannot take writes now ({error}); see its log"
        case ResponseError() if str(error).startswith(_PASSING):
            return "Redis at {address} cannot take writes now (" + str(error).partition(" ")[0] + "); see its log"
        case _:
            return None


def _address(url: str) -> str:
    return url.rsplit("@", 1)[-1].removeprefix("redis://").removeprefix("rediss://").partition("?")[0]


def _fence(fields: Sequence[bytes | None]) -> Fence:
    offset, token, owner, revision, stream_time, cluster, partitions = fields
    return Fence(
        offset=int(offset) if offset is not None else -1,
        token=(token or b"").decode(),
        owner=(owner or b"").decode(),
        revision=int(revision or 0),
        stream_time=int(stream_time) if stream_time is not None else -1,
        cluster=(cluster or b"").decode(),
        partitions=int(partitions or 0),
    )

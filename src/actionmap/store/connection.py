"""A client of Redis or Valkey, single or cluster, whose errors are told in words for people."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from actionmap.errors import SettingsError, Unreachable
from actionmap.store.durability import Guarantees, Question, SharedWait, Waits, guarantees_of, worst
from actionmap.store.scripts import script

#: Codes of error replies that tell of a state of the server, which passes.
_PASSING = ("MISCONF ", "NOREPLICAS ", "BUSY ")
#: Milliseconds that one WAITAOF may take, and one that only asks whether it can be waited for.
_WAIT_MS, _PROBE_MS = 4_000, 2_000
_TOO_EARLY_S = 0.5
_MOST_CONNECTIONS, _TURN_S = 100, 20
_CONFIG = ("append*", "maxmemory-policy", "no-appendfsync-on-rewrite")
_MARK = script("mark")
#: The key whose server is asked, and what it is asked.
Asked = tuple[str, Question]


def _client(url: str, *, is_cluster: bool) -> Any:
    timeouts = {"socket_timeout": 5, "socket_connect_timeout": 3}
    if is_cluster:
        return RedisCluster.from_url(url, **timeouts)
    # One request more than there are connections waits its turn, instead of being told that Redis is away.
    pool = BlockingConnectionPool.from_url(url, max_connections=_MOST_CONNECTIONS, timeout=_TURN_S, **timeouts)
    return Redis.from_pool(pool)


class Connection:
    """The client, the scripts it runs, and what is known of the server's durability."""

    def __init__(self, url: str, scripts: Sequence[str]) -> None:
        """Connect lazily to ``url``: ``redis://``, ``rediss://``, or with ``+cluster`` for any node of a cluster.

        Raises:
            SettingsError: ``url`` is none that Redis clients take.
        """
        self._is_cluster = "+cluster://" in url
        plain = url.replace("+cluster://", "://", 1)
        try:
            self.client: Any = _client(plain, is_cluster=self._is_cluster)
        except (ValueError, RedisClusterException):  # its text may hold a piece of the password
            raise SettingsError("ACTIONMAP_REDIS_URL is not redis://[[user]:password@]host:port/number") from None
        self._plain_url = plain
        self._address = plain.rsplit("@", 1)[-1].removeprefix("redis://").removeprefix("rediss://").partition("?")[0]
        self._scripts: Mapping[str, AsyncScript] = {name: self.client.register_script(script(name)) for name in scripts}
        self._waits: dict[str, SharedWait] = {}
        self._waiters: dict[str, Any] = {}
        self._profile: str | None = None
        self._waits_truly: bool | None = None

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Errors of the server that pass become `Unreachable`; faults of ours stay what they are."""
        try:
            yield
        except (RedisError, OSError) as error:
            trouble = _trouble(error)
            if trouble is None:
                raise
            raise Unreachable(trouble.format(address=self._address, error=type(error).__name__)) from error

    async def call(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The answer of the script ``script``."""
        async with self.translated():
            return await self._scripts[script](keys=keys, args=args)

    async def durable(self, key: str, question: Question) -> Any:
        """The answer to ``question``, a command on the server of ``key``, once it is on its disk; writes ``key``.

        Where each answer is durable, or none can be, it is that of now.
        """
        if self._profile is None:
            await self.guarantees(key)
        if self._profile != "everysec":
            async with self.translated():
                return await self.client.execute_command(*question)
        node = self._node_of(key)
        if node not in self._waits:
            self._waits[node] = SharedWait(lambda asked: self._wait(node, asked))
        # The key goes along: a slot, and with it the key of who asked first, may move to another node.
        return await self._waits[node]((key, question))

    def _node_of(self, key: str) -> str:
        if not self._is_cluster:
            return self._plain_url
        found = self.client.get_node_from_key(key)
        return f"{found.host}:{found.port}" if found else ""

    async def _wait(self, node: str, asked: list[Asked]) -> list[Any]:
        answers: list[Any] = []
        key, questions = asked[-1][0], [question for _, question in asked]
        try:
            async with self.translated():
                if not await self._confirms(node, key, _WAIT_MS, questions, answers):
                    raise RedisTimeoutError("WAITAOF")
        except ResponseError:
            # It was configured anew; health and status say what is missing.
            if (await self.guarantees(key)).profile == "everysec":
                raise
        return answers

    async def _confirms(
        self, node: str, key: str, wait_ms: int, questions: Sequence[Question] = (), answers: list[Any] | None = None
    ) -> bool:
        """Whether a write of now is on the node's disk within ``wait_ms``; all acknowledged before it is then, too.

        The ``answers`` are read first, on the same connection: a server that has started anew since may have lost what
        was acknowledged, and would confirm all the same.
        """
        client = self._waiter(node)
        async with client.client() as one:  # WAITAOF waits for the last write of its own connection
            found = [await one.execute_command(*question) for question in questions]
            if answers is not None:
                answers[:] = found
            await one.execute_command("EVAL", _MARK, 1, key)
            local, _ = await one.execute_command("WAITAOF", 1, 0, wait_ms)
        return bool(local >= 1)

    def _waiter(self, node: str) -> Any:
        if not self._is_cluster:
            return self.client
        if node not in self._waiters:
            host, _, port = node.rpartition(":")
            given = dict(self.client.get_connection_kwargs())
            known = {
                name: value
                for name, value in given.items()
                if value is not None and (name in ("username", "password", "socket_timeout") or name.startswith("ssl_"))
            }
            is_tls = self._plain_url.startswith("rediss:")
            self._waiters[node] = Redis(host=host, port=int(port), ssl=is_tls, **known)
        return self._waiters[node]

    async def guarantees(self, key: str) -> Guarantees:
        """What the server keeps, asked anew; writes ``key``."""
        where = {"target_nodes": RedisCluster.PRIMARIES} if self._is_cluster else {}
        async with self.translated():
            infos = _by_node(await self.client.info(**where))
            try:
                configs = _by_node(await self.client.config_get(*_CONFIG, **where))
            except ResponseError:
                configs = {}
            is_everysec = any(config.get("appendfsync") == "everysec" for config in configs.values())
            waits = await self._waits_for_disk(key, is_everysec=is_everysec)
        found = worst({node: guarantees_of(configs.get(node), info, waits=waits) for node, info in infos.items()})
        self._profile = found.profile
        return found

    async def _waits_for_disk(self, key: str, *, is_everysec: bool) -> Waits:
        """Whether WAITAOF confirms a write of now, does not in time, does too early, or cannot be asked."""
        try:
            if not await self._confirms(self._node_of(key), key, _PROBE_MS):
                return "late"
            if is_everysec and self._waits_truly is None:
                self._waits_truly = await self._takes_its_time(key)
        except ResponseError:
            return "no"
        return "early" if is_everysec and self._waits_truly is False else "yes"

    async def _takes_its_time(self, key: str) -> bool:
        """With one write to disk a second, three writes one after the other cannot be confirmed within half of one.

        Valkey 9.1.2 does confirm them: seen with strace, which shows a single fdatasync.
        """
        started = time.monotonic()
        for _ in range(3):
            if not await self._confirms(self._node_of(key), key, _PROBE_MS):
                return True
        return time.monotonic() - started > _TOO_EARLY_S

    async def close(self) -> None:
        """Close all connections."""
        for waiter in self._waiters.values():
            await waiter.aclose()
        await self.client.aclose()


def _by_node(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Answers by node; a single server's, and a single node's of a cluster, is that of the node ""."""
    if answer and all(isinstance(one, dict) for one in answer.values()) and "redis_version" not in answer:
        return answer
    return {"": answer}


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
        case RedisConnectionError() | RedisTimeoutError() | RedisClusterException() | OSError():
            return "Redis does not answer at {address} ({error}); start it, or set ACTIONMAP_REDIS_URL"
        case TryAgainError() | ClusterDownError() | MovedError() | AskError():
            return "Redis at {address} cannot take writes now ({error}); see its log"
        case ResponseError() if str(error).startswith(_PASSING):
            return "Redis at {address} cannot take writes now (" + str(error).partition(" ")[0] + "); see its log"
        case _:
            return None

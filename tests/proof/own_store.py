"""A store of one run alone: it can be killed, and then loses what it had not promised to keep."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from redis.asyncio import Redis

from actionmap.embedded import embedded_store, free_port


class OwnStore:
    """Valkey in the folder ``data``.

    Args:
        data: Its folder.
        fsync: How it writes to its disk; with ``everysec`` a death takes what lies beyond `floor`, or a part of it.
        chance: How much it loses.
        on_restart: Called after a death, before anybody goes on.
    """

    def __init__(
        self, data: Path, fsync: str, chance: random.Random, on_restart: Callable[[], Awaitable[None]]
    ) -> None:
        self._on_restart = on_restart
        self._data, self._fsync, self._chance = data, fsync, chance
        self._port = free_port()
        self._open = AsyncExitStack()
        self._pid = 0
        self.url = ""
        #: Bytes of its files that it has said are on disk.
        self.floor = 0
        #: How often it died, and the bytes that this took.
        self.deaths, self.lost = 0, 0

    async def start(self) -> None:
        self.url = await self._open.enter_async_context(embedded_store(self._data, self._port, fsync=self._fsync))
        async with Redis.from_url(self.url) as redis:
            self._pid = (await redis.info("server"))["process_id"]

    async def die(self) -> None:
        """SIGKILL; with ``everysec`` as if the power had failed; then start again on what is left."""
        os.kill(self._pid, signal.SIGKILL)
        await self._gone()
        await self._open.aclose()
        self.deaths += 1
        if self._fsync == "everysec":
            self._lose_tail()
        await self.start()
        await self._on_restart()

    async def _gone(self) -> None:
        with suppress(ProcessLookupError):
            while True:
                os.kill(self._pid, 0)
                await asyncio.sleep(0.002)

    def _lose_tail(self) -> None:
        files = sorted((self._data / "appendonlydir").glob("*.aof"), key=lambda path: path.name)
        written = {path: path.stat().st_size for path in files}
        newest = next(path for path in reversed(files) if ".incr." in path.name)
        beyond = max(0, min(sum(written.values()) - self.floor, written[newest]))
        lost = beyond if self._chance.random() < 0.6 else self._chance.randint(0, beyond)
        os.truncate(newest, written[newest] - lost)
        self.lost += lost

    async def stop(self) -> None:
        await self._open.aclose()

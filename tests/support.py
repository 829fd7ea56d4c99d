"""What several tests need: a small set of definitions, a scripted log, and a store that tells when it changes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from actionmap.catalog.documents import Document
from actionmap.catalog.lifecycle import Entry
from actionmap.catalog.parse import Definitions, parse_documents
from actionmap.consume.parse import Record
from actionmap.consume.positions import Log
from actionmap.errors import FenceMoved
from actionmap.pipeline import Lane
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Applied, Commit, Due, Fence, Halt

PARTITION = 3
#: When the records of the scripted log came, in milliseconds since 1970.
T0 = 1_700_000_000_000
PATIENCE_S = 20.0


def rules(base_url: str = "https://shop.example.com", **integration: Any) -> list[dict[str, Any]]:
    """Two maps on one webhook: ``each-order`` fires at every ``order``, ``first-visit`` once a session at ``visit``."""
    fields = {"n": {"type": "integer"}, "visitor": {"type": "string"}}
    return [
        {"kind": "Integration", "name": "shop", "baseUrl": base_url, **integration},
        {
            "kind": "DataAction", "name": "tell", "integration": "shop", "state": "published",
            "contract": {"input": {"type": "object", "required": ["visitor"], "properties": fields}},
            "request": {"method": "POST", "path": "/told"},
        },
        {
            "kind": "Webhook", "name": "tell-shop", "dataAction": "tell", "state": "published",
            "mappings": {
                "n": {"lookup": "event.attributes.n", "default": -1},
                "visitor": {"lookup": "visitor.id"},
            },
        },
        {
            "kind": "ActionMap", "name": "each-order", "trigger": {"event": "order"}, "frequency": "every",
            "action": {"webhook": "tell-shop"},
        },
        {
            "kind": "ActionMap", "name": "first-visit", "trigger": {"event": "visit"},
            "action": {"webhook": "tell-shop"},
        },
    ]  # fmt: skip


def definitions(written: Iterable[dict[str, Any]]) -> Definitions:
    """What ``written`` says, parsed."""
    return parse_documents(Document(data=data) for data in written)[0]


def held(some: Definitions) -> dict[str, Entry]:
    """``some`` as a store holds it."""
    return {key: Entry(definition=definition) for key, definition in some.items()}


def event(visitor: str = "v", name: str = "order", **more: Any) -> bytes:
    """One event as it travels."""
    return json.dumps({"eventName": name, "visitorId": visitor, **more}).encode()


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again, until it does."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await holds():
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


class WatchedStore(MemoryStore):
    """A `MemoryStore` whose changes can be waited for."""

    def __init__(self, *, outbox_cap: int = 20_000) -> None:
        super().__init__(outbox_cap=outbox_cap)
        self.changed = asyncio.Condition()
        self.statuses: list[str] = []

    async def apply(self, partition: int, commit: Commit) -> Applied:
        done = await super().apply(partition, commit)
        await self._tell(done.status)
        return done

    async def load(self, partition: int, visitor_ids: Sequence[str], token: str | None = None) -> list[bytes | None]:
        try:
            return await super().load(partition, visitor_ids, token)
        except FenceMoved:
            await self._tell("mismatch")
            raise

    async def due(self, partition: int, token: str, *, until: int, limit: int) -> Due:
        try:
            return await super().due(partition, token, until=until, limit=limit)
        except FenceMoved:
            await self._tell("mismatch")
            raise

    async def halt(self, partition: int, halt: Halt) -> None:
        await super().halt(partition, halt)
        async with self.changed:
            self.changed.notify_all()

    async def _tell(self, status: str) -> None:
        async with self.changed:
            self.statuses.append(status)
            self.changed.notify_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until a commit has made ``reached`` true."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(reached)

    async def evaluated(self, offset: int, partition: int = PARTITION) -> None:
        """Wait until the effects of the record at ``offset`` are here."""
        await self.until(lambda: self._partitions[partition].fence.offset >= offset)

    def set_fence(self, fence: Fence, partition: int = PARTITION) -> None:
        """Put the partition where a test begins."""
        self._partitions[partition].fence = fence


class ScriptedLog:
    """One partition's log as a broker would show it, handed to a lane from where the lane has sought."""

    def __init__(self, partition: int = PARTITION) -> None:
        self.partition = partition
        self.begin = 0
        self.committed: int | None = None
        self.cluster = "cluster-1"
        self.partitions = 8
        self.seeks: list[int] = []
        #: When its first record came; each of the others a millisecond after the one before.
        self.recorded_at = T0
        #: Raised, and taken away, by the next looks at the log.
        self.troubles: list[Exception] = []
        self.lane: Lane | None = None
        #: Whether its records are actionmap's own.
        self.own = False
        self._records: list[Record] = []
        self._sent = 0

    @property
    def end(self) -> int:
        return self.begin + len(self._records)

    async def look_up(self) -> Log:
        if self.troubles:
            raise self.troubles.pop()
        return Log("events", self.partition, self.begin, self.end, self.committed, self.cluster, self.partitions)

    def seek(self, offset: int) -> None:
        self.seeks.append(offset)
        self._sent = offset - self.begin
        asyncio.get_running_loop().call_soon(self._hand_over)

    def append(self, *values: bytes | None, key: bytes | None = None) -> int:
        """Add records, and hand them over; returns the offset of the last one."""
        for value in values:
            self._records.append(Record("events", self.partition, self.end, self.recorded_at + self.end, key, value,
                                        own=self.own))  # fmt: skip
        self._hand_over()
        return self.end - 1

    def record(self, offset: int) -> Record:
        return self._records[offset - self.begin]

    def _hand_over(self) -> None:
        if self.lane is not None and self.lane.position is not None:
            waiting, self._sent = self._records[self._sent :], len(self._records)
            self.lane.offer(waiting)

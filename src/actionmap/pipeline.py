"""The way of a partition's records: load visitors → decide → commit → release.

One lane per partition, one batch after the other, in the order of offsets. Everything a batch changes goes to the
store in one call that only succeeds if the fence is where this lane left it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from actionmap.batch import Batch
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, dead_letter, parse_record
from actionmap.consume.positions import Log, OnGap, start_position
from actionmap.decide import Policy, decide
from actionmap.decision import Decision
from actionmap.delivery import DeadLetter
from actionmap.errors import PartitionHalted, Rejected, Unreachable
from actionmap.event import Event
from actionmap.store.cache import VisitorCache
from actionmap.store.protocols import PartitionStore
from actionmap.telemetry import Metrics, logger
from actionmap.visitor import Visitor, decode_visitor

BATCH_RECORDS = 500
BATCH_BYTES = 256 * 1024
QUEUE_RECORDS = 2_000
QUEUE_BYTES = 8 * 1024 * 1024
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class LaneEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What all lanes of a worker share."""

    store: PartitionStore
    #: The rulebook in use, asked at the edge of each batch.
    rulebook: Callable[[], Rulebook]
    #: Look for a newer rulebook now.
    refresh_rulebook: Callable[[], Awaitable[object]]
    policy: Policy
    #: Name of this worker in the fence.
    owner: str
    #: A fresh random token.
    new_token: Callable[[], str]
    #: A number in [0, 1), to spread retries.
    random: Callable[[], float]
    metrics: Metrics
    on_gap: OnGap = "halt"
    cache: VisitorCache
    #: Called for each decision that is in the store.
    on_decision: Callable[[Event, Decision], None] | None = None
    #: Called when deliveries of a partition are in the outbox.
    on_owed: Callable[[int], None] = lambda _: None
    #: Seconds without records after which a lane looks whether the fence is still where it left it.
    idle_check_s: float = 1.0


class Lane:
    """One partition's way through the engine, from its claim to its release."""

    def __init__(
        self,
        partition: int,
        environment: LaneEnvironment,
        *,
        look_up: Callable[[], Awaitable[Log]],
        seek: Callable[[int], None],
    ) -> None:
        """Args:
        partition: The partition.
        environment: What all lanes share.
        look_up: Shows the partition's log as the broker has it now.
        seek: Makes the next records come from an offset.
        """
        self.partition = partition
        self._env = environment
        self._look_up = look_up
        self._seek = seek
        self._log = logger("pipeline").bind(partition=partition)
        self._queue: deque[Record] = deque()
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._token = ""
        self._stream_time = -1
        self._next = -1
        self._claimed = False
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()
        #: Why the lane stopped; "" while it runs.
        self.halted = ""

    @property
    def position(self) -> int | None:
        """The offset after the last one whose effects are in the store; None before the claim."""
        return self._next if self._claimed else None

    @property
    def wants_records(self) -> bool:
        """False before the claim and while enough records wait; the poll loop then leaves the partition alone."""
        return (
            self._claimed and not self.halted and len(self._queue) < QUEUE_RECORDS and self._queued_bytes < QUEUE_BYTES
        )

    def offer(self, records: Sequence[Record]) -> None:
        """Queue ``records``, which follow each other in offset order; before the claim they are dropped (seek brings
        them again)."""
        if not self._claimed or self._closing.is_set():
            return
        for record in records:
            self._queue.append(record)
            self._queued_bytes += len(record.value or b"")
        self._arrived.set()

    def rewind(self) -> None:
        """Drop what is queued and go on from the fence: what came from the broker may have a hole."""
        self._claimed = False
        self._arrived.set()

    async def close(self) -> None:
        """Take no new batch, and wait until the one in hand is in the store or given up."""
        self._closing.set()
        self._arrived.set()
        await self._idle.wait()
        if self.halted:
            self._env.metrics.halted.dec()

    async def run(self) -> None:
        """Claim the partition and evaluate its records until `close`. Returns when closed or halted."""
        try:
            while not self._closing.is_set():
                try:
                    if not self._claimed:
                        await self._claim()
                    elif self._queue:
                        await self._evaluate(self._take())
                    else:
                        await self._await_records()
                except Unreachable as error:
                    self._log.warning("store.unreachable", reason=str(error))
                    self._claimed = False
                    await self._pause(len(_BACKOFF_S) - 1)
        except PartitionHalted as reason:
            self._halt(str(reason))
        except Exception as error:
            # Nobody awaits a lane: what is not meant to happen must not end it in silence.
            self._log.exception("partition.failed")
            self._halt(f"partition {self.partition}: a fault inside actionmap ({type(error).__name__}: {error}); "
                       "the log says more, a restart goes on from the fence")  # fmt: skip
        finally:
            self._drop_memory()
            self._idle.set()

    def _halt(self, reason: str) -> None:
        self.halted = reason
        self._env.metrics.halted.inc()
        self._log.error("partition.halted", reason=reason)

    async def _await_records(self) -> None:
        """Wait for records. Without any, nothing but a look at the fence would notice that the store lost its tail."""
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._env.idle_check_s):
                await self._arrived.wait()
                return
        with suppress(Unreachable):  # nothing is at stake; the next look follows
            fence = await self._env.store.fence(self.partition)
            if fence.token != self._token:
                await self._lost_fence(fence.owner)

    async def _pause(self, attempt: int) -> None:
        wait = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
        await self._sleep(wait * (0.5 + self._env.random()))

    async def _sleep(self, seconds: float) -> None:
        """Wait ``seconds``, but not longer than until `close`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _claim(self) -> None:
        self._drop_memory()
        store, log = self._env.store, await self._look_up()
        fence = await store.fence(self.partition)
        try:
            start = start_position(fence, log)
        except PartitionHalted as reason:
            if self._env.on_gap == "halt":
                raise
            self._log.info("partition.continues", reason=str(reason), start=log.begin)
            await store.reset_fence(self.partition)
            start = log.begin
        token = self._env.new_token()
        fence = await store.claim(
            self.partition, owner=self._env.owner, token=token, cluster=log.cluster, partitions=log.partitions
        )
        if fence.offset >= 0 and fence.offset + 1 != start:
            return  # Another worker moved the fence between look and claim; look again.
        self._token, self._stream_time, self._next = token, fence.stream_time, start
        self._seek(start)
        self._claimed = True
        self._env.on_owed(self.partition)
        self._log.info("partition.claimed", start=start, end=log.end)

    def _drop_memory(self) -> None:
        self._env.cache.drop(self.partition)
        self._queue.clear()
        self._queued_bytes = 0

    def _take(self) -> list[Record]:
        taken: list[Record] = []
        size = 0
        while self._queue and len(taken) < BATCH_RECORDS and size < BATCH_BYTES:
            record = self._queue.popleft()
            self._queued_bytes -= len(record.value or b"")
            if record.offset >= self._next:
                size += len(record.value or b"")
                taken.append(record)
        return taken

    async def _evaluate(self, records: list[Record]) -> None:
        if not records:
            return
        parsed = [(record, self._parse(record)) for record in records]
        while parsed and self._claimed and not self._closing.is_set():
            rulebook = self._env.rulebook()
            batch = await self._decide(parsed, rulebook)
            offset = parsed[batch.records - 1][0].offset
            if await self._commit(batch, offset, rulebook.revision):
                self._release(batch, offset + 1)
                del parsed[: batch.records]

    def _parse(self, record: Record) -> Event | DeadLetter:
        metrics = self._env.metrics
        try:
            event, clamped, unknown = parse_record(record)
        except Rejected as why:
            return dead_letter(record, why.reason, why.detail)
        except Exception as error:
            return self._unjudged(record, error)
        if clamped:
            metrics.clamped_times.inc()
        if unknown:
            metrics.unknown_fields.inc(unknown)
        return event

    async def _decide(self, parsed: Sequence[tuple[Record, Event | DeadLetter]], rulebook: Rulebook) -> Batch:
        """Decide as many of the ``parsed`` records, at least one, as fit into one commit."""
        batch = Batch(self._stream_time)
        await self._load(batch, {event.visitor_id for _, event in parsed if isinstance(event, Event)})
        for record, event in parsed:
            if isinstance(event, DeadLetter):
                batch.add_dead(event)
            else:
                visitor = batch.visitors.get(event.visitor_id)
                try:
                    decision = decide(event, visitor, rulebook, batch.stream_time, self._env.policy)
                except Exception as error:
                    batch.add_dead(self._unjudged(record, error))
                else:
                    batch.add(event, decision)
            if batch.is_full:
                break
        return batch

    def _unjudged(self, record: Record, error: Exception) -> DeadLetter:
        """One record that this version cannot cope with must not stop all that come after it."""
        self._log.error("event.failed", position=record.position, exc_info=error)
        return dead_letter(record, "evaluation-error", f"{type(error).__name__}: {error}")

    async def _load(self, batch: Batch, visitor_ids: set[str]) -> None:
        batch.visitors = self._env.cache.get(self.partition, visitor_ids)
        unknown = sorted(visitor_ids - batch.visitors.keys())
        for visitor_id, stored in zip(unknown, await self._env.store.load(self.partition, unknown), strict=True):
            if stored is not None:
                batch.visitors[visitor_id] = self._decoded(visitor_id, stored)

    def _decoded(self, visitor_id: str, stored: bytes) -> Visitor:
        try:
            return decode_visitor(stored)
        except msgspec.DecodeError as error:
            self._log.error("visitor.unreadable", visitor=visitor_id)
            raise PartitionHalted(
                f"partition {self.partition}: what the store holds of a visitor cannot be read ({error}); "
                "was it written by a newer version? The log names the visitor"
            ) from error

    async def _commit(self, batch: Batch, offset: int, revision: int) -> bool:
        """Bring ``batch`` into the store; False when it must be decided again."""
        token = self._env.new_token()
        commit = batch.as_commit(expected_token=self._token, token=token, offset=offset, revision=revision)
        attempt = 0
        while not self._closing.is_set() or attempt == 0:
            try:
                applied = await self._env.store.apply(self.partition, commit)
            except Unreachable as error:
                # Whether it was applied is unknown; sent again unchanged, the store recognises it.
                self._log.warning("commit.unknown", reason=str(error), attempt=attempt)
                status = "unreachable"
            else:
                status = applied.status
            self._env.metrics.commits.labels(status).inc()
            if status == "ok":
                self._token = commit.token
                return True
            if status == "mismatch":
                await self._lost_fence(applied.owner)
                return False
            if status == "rules-old":
                await self._env.refresh_rulebook()
                await self._pause(attempt)
                return False
            if status == "full" and attempt == 0:
                self._log.warning("outbox.full", means="the partition waits until deliveries are settled")
            await self._pause(attempt)
            attempt += 1
        return False

    async def _lost_fence(self, owner: str) -> None:
        """The fence holds another token: claimed by somebody else, or the store lost its last writes."""
        self._claimed = False
        mine = owner == self._env.owner
        self._log.warning("fence.mismatch", owner=owner, means="the store lost its tail" if mine else "another worker")
        if not mine:
            await self._sleep(1 + 4 * self._env.random())

    def _release(self, batch: Batch, position: int) -> None:
        self._next = position
        self._stream_time = batch.stream_time
        self._env.cache.put(self.partition, ((batch.visitors[id_], len(stored)) for id_, stored in batch.stored))
        batch.count(self._env.metrics)
        if batch.deliveries:
            self._env.on_owed(self.partition)
        if self._env.on_decision is not None:
            for event, decision in batch.decisions:
                self._env.on_decision(event, decision)

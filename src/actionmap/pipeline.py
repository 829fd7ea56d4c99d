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
from actionmap.claim import Claim, Claimant
from actionmap.consume.parse import Record, fingerprint
from actionmap.consume.positions import Log
from actionmap.environment import LaneEnvironment
from actionmap.errors import FenceMoved, PartitionHalted, Unreachable
from actionmap.evaluation import Evaluation, Parsed
from actionmap.store.protocols import Applied, Commit, Halt, Resume
from actionmap.stream_time import StreamTime
from actionmap.telemetry import logger

BATCH_RECORDS = 500
BATCH_BYTES = 256 * 1024
QUEUE_RECORDS = 2_000
QUEUE_BYTES = 8 * 1024 * 1024
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)


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
        self._evaluation = Evaluation(
            partition, environment.store, environment.cache, environment.policy, environment.metrics
        )
        self._stream = StreamTime(environment.monotonic, environment.wall_clock)
        self._queue: deque[Record] = deque()
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._claimant = Claimant(
            store=environment.store,
            owner=environment.owner,
            new_token=environment.new_token,
            on_gap=environment.on_gap,
        )
        #: None before the claim, and when it turned out to be lost.
        self._claim: Claim | None = None
        #: The offset after the last one that was evaluated here, under whichever claim.
        self._reached = 0
        #: Until when the log is known to have held nothing after `position`, on the monotonic clock.
        self._quiet_until = 0.0
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()
        #: Why the lane stopped; "" while it runs.
        self.halted = ""
        #: What outside of this process it waits for before it goes on; "" while nothing holds it up.
        self.waits_for = ""

    @property
    def position(self) -> int | None:
        """The offset after the last one whose effects are in the store; None before the claim."""
        return self._claim.next if self._claim else None

    @property
    def queued(self) -> tuple[int, int]:
        """Records, and their bytes, that wait here."""
        return len(self._queue), self._queued_bytes

    @property
    def wants_records(self) -> bool:
        """False before the claim and while enough records wait; the poll loop then leaves the partition alone."""
        return self._claim is not None and len(self._queue) < QUEUE_RECORDS and self._queued_bytes < QUEUE_BYTES

    def offer(self, records: Sequence[Record]) -> None:
        """Queue ``records``, which follow each other in offset order; before the claim they are dropped (seek brings
        them again)."""
        if self._claim is None or self._closing.is_set():
            return
        for record in records:
            self._queue.append(record)
            self._queued_bytes += len(record.value or b"")
        self._arrived.set()

    def log_ended(self, end: int, at: float) -> None:
        """The log ended at ``end`` when the monotonic clock showed ``at``: so time passes without records, too."""
        claim = self._claim
        if claim is not None and end == claim.next and claim.is_proven and not self._queue:
            self._quiet_until = at
            if self._time_is_up():
                self._arrived.set()

    def outcomes_arrived(self) -> None:
        """Deliveries ended, and their visitors are to hear of it."""
        self._evaluation.outcomes_wait = True
        self._arrived.set()

    def rewind(self) -> None:
        """Drop what is queued and go on from the fence: what came from the broker may have a hole."""
        self._claim = None
        self._arrived.set()

    async def close(self) -> None:
        """Take no new batch, and wait until the one in hand is in the store or given up."""
        self._closing.set()
        self._arrived.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Claim the partition and evaluate its records until `close`; halted, wait until a person says how to go on."""
        policy: Resume | None = None
        try:
            while not self._closing.is_set():
                try:
                    await self._step(policy)
                except Unreachable as error:
                    self._log.warning("store.unreachable", reason=str(error))
                    self._claim = None
                    self.waits_for = "the store or Kafka does not answer"
                    await self._pause(len(_BACKOFF_S) - 1)
                except FenceMoved as moved:
                    await self._lost_fence(moved.owner)
                except PartitionHalted as reason:
                    policy = await self._stay_halted(reason.reason, str(reason))
                except Exception as error:
                    # Nobody awaits a lane: what is not meant to happen must not end it in silence.
                    self._log.exception("partition.failed")
                    policy = await self._stay_halted("fault", self._fault(error))
                else:
                    policy, self.waits_for = None, ""
        finally:
            self._drop_memory()
            self._idle.set()

    def _fault(self, error: Exception) -> str:
        return (
            f"partition {self.partition}: a fault inside actionmap ({type(error).__name__}: {error}); the log says "
            "more. A restart goes on from the fence, and so does "
            f"actionmap partitions resume {self.partition} --policy continue"
        )

    async def _step(self, policy: Resume | None) -> None:
        claim = self._claim
        if claim is None:
            await self._take_over(policy)
            return
        if self._evaluation.outcomes_wait:
            await self._hear_outcomes(claim)
        if self._claim is not claim:
            pass
        elif self._queue:
            await self._evaluate(claim, self._take(claim))
        elif self._time_is_up():
            await self._pass_time(claim)
        elif not self._evaluation.outcomes_wait:
            await self._await_records(claim)

    # --- waiting

    async def _stay_halted(self, reason: str, detail: str) -> Resume | None:
        """Say why the partition stopped, here and beside its fence, and wait until a person says how to go on."""
        self.halted, self._claim = detail, None
        self._drop_memory()
        self._env.metrics.halted.inc()
        self._log.error("partition.halted", reason=reason, detail=detail)
        try:
            return await self._await_policy(Halt(reason, detail, self._env.wall_clock()))
        finally:
            self.halted = ""
            self._env.metrics.halted.dec()

    async def _await_policy(self, halt: Halt) -> Resume | None:
        told, policy = False, None
        while policy is None and not self._closing.is_set():
            with suppress(Unreachable):
                if not told:
                    await self._env.store.halt(self.partition, halt)
                    told = True
                policy = (await self._env.store.fence(self.partition)).resume
            if policy is None:
                await self._sleep(self._env.idle_check_s)
        return policy

    async def _await_records(self, claim: Claim) -> None:
        """Wait for records. Without any, nothing but a look at the fence would notice that the store lost its tail."""
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._env.idle_check_s):
                await self._arrived.wait()
                return
        # Another worker may have brought outcomes, too: it still settles what it had sent before the partition moved.
        with suppress(Unreachable):  # nothing is at stake; the next look follows
            waiting = await self._env.store.outcomes(self.partition, claim.token, limit=1)
            self._evaluation.outcomes_wait |= bool(waiting)

    async def _pause(self, attempt: int) -> None:
        wait = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
        await self._sleep(wait * (0.5 + self._env.random()))

    async def _sleep(self, seconds: float) -> None:
        """Wait ``seconds``, but not longer than until `close`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    # --- claiming

    async def _take_over(self, policy: Resume | None) -> None:
        self._drop_memory()
        log = await self._look_up()
        if self._reached > (log.committed or 0):
            log = msgspec.structs.replace(log, committed=self._reached)
        claim = await self._claimant.claim(log, policy)
        if claim is None:
            return
        if not claim.fingerprint:
            # Nothing is evaluated before there is a fence that lasts: one that is missing later was lost, for sure.
            await self._env.store.durable_offset(self.partition)
        await self._sweep(claim)
        self._stream.claimed(claim.stream_time, claim.stream_time_at)
        self._evaluation.next_due = -1
        self._evaluation.outcomes_wait = True
        self._evaluation.erasures = claim.erasures
        self._quiet_until = 0.0
        self._seek(claim.fetch_from)
        self._claim = claim
        self._env.on_owed(self.partition)
        self._log.info("partition.claimed", start=claim.next, end=log.end)

    def _drop_memory(self) -> None:
        self._env.cache.drop(self.partition)
        self._queue.clear()
        self._queued_bytes = 0

    # --- evaluating

    def _take(self, claim: Claim) -> list[Record]:
        taken: list[Record] = []
        size = 0
        while self._queue and len(taken) < BATCH_RECORDS and size < BATCH_BYTES:
            record = self._queue.popleft()
            self._queued_bytes -= len(record.value or b"")
            if not claim.is_proven:
                claim.prove(record)
            if record.offset >= claim.next:
                size += len(record.value or b"")
                taken.append(record)
        return taken

    async def _evaluate(self, claim: Claim, records: list[Record]) -> None:
        parsed: list[Parsed] = [self._evaluation.parse(record) for record in records]
        while parsed and self._claim is claim and not self._closing.is_set():
            rulebook = self._env.rulebook()
            batch = await self._evaluation.of_records(parsed, rulebook, self._stream.time, claim.token)
            last = parsed[batch.records - 1][0] if batch.records else None
            if await self._commit(claim, batch, rulebook.revision, last):
                del parsed[: batch.records]

    def _time_is_up(self) -> bool:
        """Whether the clock has made a timer due, or leads what is stored by far."""
        if not self._quiet_until or self._stream.time < 0:
            return False
        now, due = self._stream.at(self._quiet_until), self._evaluation.next_due
        return (due is not None and due <= now) or self._stream.is_worth_storing(now)

    async def _pass_time(self, claim: Claim) -> None:
        """No record waits in the log: stream time goes on with the clock, and fires what it makes due."""
        rulebook, quiet_until = self._env.rulebook(), self._quiet_until
        now, reached_at = self._stream.at(quiet_until), self._stream.wall_clock_of(quiet_until)
        batch = await self._evaluation.of_timers(rulebook, self._stream.time, claim.token, now=now, owed_at=reached_at)
        await self._commit(claim, batch, rulebook.revision, None)

    async def _hear_outcomes(self, claim: Claim) -> None:
        """The visitors of deliveries that ended hear of it."""
        rulebook = self._env.rulebook()
        batch = await self._evaluation.of_outcomes(rulebook, self._stream.time, claim.token)
        if batch.outcomes_taken and not await self._commit(claim, batch, rulebook.revision, None):
            self._evaluation.outcomes_wait = True

    # --- committing

    async def _commit(self, claim: Claim, batch: Batch, revision: int, last: Record | None) -> bool:
        """Bring ``batch``, whose last record is ``last``, into the store; False when it must be decided again."""
        reached_at = self._stream.reached_at(batch.stream_time, self._env.monotonic())
        commit = batch.as_commit(
            expected_token=claim.token,
            token=self._env.new_token(),
            offset=last.offset if last else claim.next - 1,
            revision=revision,
            stream_time_at=self._stream.wall_clock_of(reached_at),
            fingerprint=fingerprint(last) if last else claim.fingerprint,
        )
        applied = await self._apply(commit)
        if applied is None:
            return False
        claim.token, claim.next, claim.fingerprint = commit.token, commit.offset + 1, commit.fingerprint
        self._reached = claim.next
        self._evaluation.next_due = applied.next_due
        self._evaluation.outcomes_wait |= applied.outcomes > 0
        if applied.given_up:
            self._env.metrics.dead_letters.labels("delivery", "line-full").inc(applied.given_up)
            self._log.error("deliveries.line_full", given_up=applied.given_up)
        self._stream.stored(commit.stream_time, reached_at)
        self._release(batch)
        if batch.erased:
            self._evaluation.erasures = batch.erasures
            self._log.info("visitors.erased", number=len(batch.erased))
            await self._sweep(claim)
        return True

    async def _sweep(self, claim: Claim) -> None:
        """Remove what erased visitors have left, before anything else happens; cut off, the next owner does."""
        await self._env.store.erasures.sweep(self.partition, claim.token, stop=self._closing.is_set)

    async def _apply(self, commit: Commit) -> Applied | None:
        """Have the store apply ``commit``, again and again while it cannot; None when it must be decided again."""
        attempt = 0
        while not self._closing.is_set() or attempt == 0:
            status: str = "unreachable"
            try:
                applied = await self._env.store.apply(self.partition, commit)
                status = applied.status
            except Unreachable as error:
                # Whether it was applied is unknown; sent again unchanged, the store recognises it.
                self._log.warning("commit.unknown", reason=str(error), attempt=attempt)
            self._env.metrics.commits.labels(status).inc()
            match status:
                case "ok":
                    return applied
                case "mismatch":
                    await self._lost_fence(applied.owner)
                    return None
                case "rules-old":
                    self.waits_for = "a newer rulebook, by which the partition was judged before"
                    await self._env.refresh_rulebook()
                    await self._pause(attempt)
                    return None
                case "full":
                    self.waits_for = "the outbox is full"
                    if attempt == 0:
                        self._log.warning("outbox.full", means="the partition waits until deliveries are settled")
                case _:
                    self.waits_for = "the store does not answer"
            await self._pause(attempt)
            attempt += 1
        return None

    async def _lost_fence(self, owner: str) -> None:
        """The fence holds another token: claimed by somebody else, or the store lost its last writes."""
        self._claim = None
        mine = owner == self._env.owner
        means = "the store lost its tail" if mine else "another worker" if owner else "the store has lost the fence"
        self._log.warning("fence.mismatch", owner=owner, means=means)
        if not mine:
            await self._sleep(1 + 4 * self._env.random())

    def _release(self, batch: Batch) -> None:
        self._env.cache.put(self.partition, ((batch.visitors[id_], len(stored)) for id_, stored in batch.stored))
        self._env.cache.forget(self.partition, batch.erased)
        batch.count(self._env.metrics)
        if batch.deliveries:
            self._env.on_owed(self.partition)
        if self._env.on_decision is not None:
            for event, decision in batch.decisions:
                self._env.on_decision(event, decision)

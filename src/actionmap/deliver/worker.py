"""DeliveryWorker: deliveries owed by the partitions of this process → attempts → settled in the outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.breaker import FIRST_PAUSE_MS
from actionmap.deliver.consequences import Consequences
from actionmap.deliver.dispatch import Dispatch, Sender
from actionmap.deliver.health import Health
from actionmap.deliver.owned import Owned
from actionmap.deliver.parking import Parker, Parking
from actionmap.deliver.queue import Waiting
from actionmap.deliver.settle import STORE_AWAY, backoff_s
from actionmap.deliver.unparking import Unparker
from actionmap.delivery import Attempt, Delivery
from actionmap.process import cancel
from actionmap.store.integrations import MemoryIntegrations
from actionmap.store.protocols import Leased, Outbox
from actionmap.telemetry import Metrics, logger

#: Deliveries asked of the outbox at once.
BATCH = 128
#: Leases asked for at once, over all partitions; the others wait in turn.
LEASES_AT_ONCE = 4
#: Seconds after which a partition is looked at again in any case.
LOOK_AGAIN_S = 5.0
#: Seconds between two batches when the first one started nothing: so a long backlog of a busy integration is passed
#: over quickly, for the sake of what lies behind it, but not at the cost of everything else.
SWEEP_S = 0.005
#: How long a delivery is ours, in milliseconds: longer than any attempt takes, since nobody else may send it meanwhile.
LEASE_MS = 90_000
#: Seconds that the last results may take to reach the store when the worker stops.
SETTLE_GRACE_S = 5.0


class DeliveryWorker:
    """Sends what the owned partitions owe.

    Args:
        outbox: Where deliveries are owed.
        find_integration: The integration of that name as defined now, or None.
        was_deleted: Whether there is none because it was deleted; one that is only missing is waited for.
        sender: Makes the attempts.
        clock: Milliseconds since 1970.
        monotonic: Seconds of a clock that nobody sets.
        random: Numbers in [0, 1), for jitter.
        metrics: Where attempts are counted.
        on_attempt: Called after each attempt, with the delivery as it stands then; its errors are logged.
        max_in_flight: Requests in flight, over all integrations.
        breaker_pause_ms: How long nothing goes to a receiver that fails, the first time.
        lease_ms: How long a delivery is ours; longer than any attempt takes.
        parking: Where deliveries beyond an integration's share wait; None: they all wait in the outbox.
        listened_to: Names of the outcomes that maps ask for.
        health: How the integrations are doing; kept in memory alone when not given.
        on_outcomes: Called with the partition for whose visitors outcomes are in the store.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        find_integration: Callable[[str], Integration | None],
        was_deleted: Callable[[str], bool] = lambda _: True,
        sender: Sender,
        clock: Callable[[], int],
        health: Health | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float],
        metrics: Metrics,
        on_attempt: Callable[[Delivery, Attempt], None] | None = None,
        max_in_flight: int = 256,
        breaker_pause_ms: int = FIRST_PAUSE_MS,
        lease_ms: int = LEASE_MS,
        parking: Parking | None = None,
        listened_to: Callable[[], Collection[str]] = frozenset,
        on_outcomes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._health = health or Health(MemoryIntegrations(), "")
        self._on_outcomes = on_outcomes
        self._dispatch = Dispatch(
            find_integration=find_integration,
            was_deleted=was_deleted,
            sender=sender,
            consequences=Consequences(clock, random, metrics, on_attempt, listened_to),
            health=self._health,
            start=self._start,
            clock=clock,
            monotonic=monotonic,
            random=random,
            metrics=metrics,
            max_in_flight=max_in_flight,
            breaker_pause_ms=breaker_pause_ms,
        )
        self._health.breakers = self._dispatch.breakers
        self._lease_ms = lease_ms
        self._log = logger("deliver")
        self._parking = parking
        if parking is not None:
            parking.takes_more = self._dispatch.takes_more
        self._owned: dict[int, Owned] = {}
        self._parkers: dict[int, Parker] = {}
        self._turns = asyncio.Semaphore(LEASES_AT_ONCE)
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._attempts: set[asyncio.Task[None]] = set()
        self._loops: set[asyncio.Task[None]] = set()

    def own(self, partition: int) -> None:
        """From now on send what ``partition`` owes."""
        if partition not in self._owned:
            owned = self._owned[partition] = Owned(partition, self._outbox, self._clock, self._on_outcomes)
            if self._parking is not None:
                self._parkers[partition] = Parker(self._parking, owned, Unparker(self._parking, owned))
            self._begin(owned)

    def disown(self, partition: int) -> None:
        """Start no more attempts for ``partition``; those in flight end and are settled, the others are put back."""
        owned = self._owned.pop(partition, None)
        if owned is not None:
            self._release(owned)
        parker = self._parkers.pop(partition, None)
        if parker is not None:
            parker.wake()

    def wake(self, partition: int) -> None:
        """A commit owed deliveries: look now."""
        owned = self._owned.get(partition)
        if owned is not None:
            owned.woken.set()

    async def run(self) -> None:
        """Send until `stop`. A store that is away is asked again; what is not meant to happen is raised."""
        # Not in the group: redis-py may swallow its one cancellation.
        watching = asyncio.create_task(self._health.run(), name="integrations' health")
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for owned in self._owned.values():
                    self._begin(owned)
                await self._stopping.wait()
        finally:
            self._tasks = None
            await cancel(watching)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Start nothing more, let requests in flight end for ``grace_s`` seconds, cut off the rest, settle results.

        Nothing is lost: what was cut off or could not be settled comes back when its lease ends, under the same id.
        """
        self._stopping.set()
        self._dispatch.close()
        for partition in list(self._owned):
            self.disown(partition)
        await _wait_then_cancel(self._attempts, grace_s)
        await _wait_then_cancel(self._loops, SETTLE_GRACE_S)

    # --- leasing

    def _begin(self, owned: Owned) -> None:
        if self._tasks is None or self._stopping.is_set():
            return
        parker = self._parkers.get(owned.number)
        for work in (self._lease_from(owned), owned.settler.run(), *((parker.run(),) if parker else ())):
            task = self._tasks.create_task(work)
            self._loops.add(task)
            task.add_done_callback(self._loops.discard)

    def _release(self, owned: Owned) -> None:
        """Put back what waits, so that the next owner need not wait for the leases to end."""
        owned.ours = False
        owned.woken.set()
        self._dispatch.put_back(owned)
        owned.count(0)

    async def _lease_from(self, owned: Owned) -> None:
        failures = 0
        while owned.ours:
            owned.woken.clear()
            try:
                pause_s = await self._lease(owned)
                failures = 0
            except STORE_AWAY as error:
                failures += 1
                pause_s = backoff_s(failures)
                self._log.warning("outbox.away", partition=owned.number, error=str(error), doing="lease")
            if failures:
                # A wake cannot bring the store back sooner.
                await asyncio.sleep(pause_s)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await owned.woken.wait()

    async def _lease(self, owned: Owned) -> float:
        """Lease one batch and admit it; returns the seconds until the next one."""
        owned.count(1)
        try:
            async with self._turns:
                # All slots taken: nobody leases, what is owed waits in the store.
                await self._dispatch.has_slot.wait()
                if not owned.ours:
                    return 0.0
                now = self._clock()
                leased = await self._outbox.lease(owned.number, now=now, limit=BATCH, lease_ms=self._lease_ms)
            mine = owned.take(leased.deliveries, now + self._lease_ms)
            in_flight = self._dispatch.in_flight
            await self._admit_durable(owned, mine, leased.owed)
            return self._pause_s(leased, started=self._dispatch.in_flight > in_flight)
        finally:
            owned.count(-1)

    async def _admit_durable(self, owned: Owned, leased: list[Waiting[Owned]], owed: Mapping[str, int]) -> None:
        """Admit what was leased once it is durable, that is once the lease is, which was written after the entries."""
        try:
            leased = await self._durable(owned, leased)
        except STORE_AWAY:
            for waiting in leased:
                owned.put_back(waiting, self._clock())
            raise
        if owned.ours and (parker := self._parkers.get(owned.number)):
            leased = parker.set_aside(leased, owed)
        for waiting in leased:
            if owned.ours:
                self._dispatch.admit(waiting)
            else:
                # Disowned meanwhile, and somebody else is waiting for it.
                owned.put_back(waiting, self._clock())

    async def _durable(self, owned: Owned, leased: list[Waiting[Owned]]) -> list[Waiting[Owned]]:
        """Those that are durable. A store that lost the others has lost their events' effects, too: they come again."""
        if not leased:
            return []
        durable = await self._outbox.wait_durable(owned.number, [waiting.delivery.id for waiting in leased])
        lost = {waiting.delivery.id for waiting in leased} - durable
        if lost:
            owned.busy -= lost
            self._log.warning("outbox.lost_tail", partition=owned.number, deliveries=len(lost))
        return [waiting for waiting in leased if waiting.delivery.id in durable]

    def _pause_s(self, leased: Leased, *, started: bool) -> float:
        if leased.next_due is None:
            return LOOK_AGAIN_S
        due_in_s = (leased.next_due - self._clock()) / 1000
        return min(max(due_in_s, 0.0 if started else SWEEP_S), LOOK_AGAIN_S)

    def _start(self, attempt: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        if self._tasks is None:
            attempt.close()
            return None
        task = self._tasks.create_task(attempt)
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)
        return task


async def _wait_then_cancel(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Let ``tasks`` end for ``seconds``, then cancel and await what is left."""
    left = set(tasks)
    if left:
        _, left = await asyncio.wait(left, timeout=seconds)
    await cancel(*left)

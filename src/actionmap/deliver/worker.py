"""DeliveryWorker: deliveries owed by the partitions of this process → attempts → settled in the outbox."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import msgspec

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.outcome import Outcomes
from actionmap.deliver.owned import Owned
from actionmap.deliver.parking import Parker, Parking
from actionmap.deliver.queue import Queue, Waiting
from actionmap.deliver.retry import is_too_old
from actionmap.deliver.settle import STORE_AWAY, backoff_s
from actionmap.deliver.unparking import Unparker
from actionmap.delivery import Attempt, Delivery
from actionmap.process import cancel
from actionmap.store.protocols import Leased, Outbox
from actionmap.telemetry import Metrics, logger

#: Deliveries asked of the outbox at once.
BATCH = 128
#: Leases asked for at once, over all partitions; the others wait in turn.
LEASES_AT_ONCE = 4
#: Deliveries that wait in memory, over all integrations; the others wait in the outbox.
MOST_WAITING = 2048
#: Seconds after which a partition is looked at again in any case.
LOOK_AGAIN_S = 5.0
#: When a delivery whose integration is inactive is looked at again: 5 s later; many, 5 ms apart, at most 5 min later.
HELD_MS, HELD_GAP_MS, HELD_LONGEST_MS = 5_000, 5.0, 300_000
#: When a delivery whose integration is busy is looked at again.
BUSY_MS, BUSY_LONGEST_MS = 250, 10_000
#: Seconds between two batches when the first one started nothing: so a long backlog of a busy integration is passed
#: over quickly, for the sake of what lies behind it, but not at the cost of everything else.
SWEEP_S = 0.005
#: How long a delivery is ours, in milliseconds: longer than any attempt takes, since nobody else may send it meanwhile.
LEASE_MS = 90_000
#: What is left of a lease, beyond the attempt's own timeout, when an attempt starts.
LEASE_MARGIN_MS = 5_000
#: Seconds that the last results may take to reach the store when the worker stops.
SETTLE_GRACE_S = 5.0


class Sender(Protocol):
    """Makes attempts."""

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        """Make one attempt; within the delivery's timeout, and without raising for what a receiver does."""


class DeliveryWorker:
    """Sends what the owned partitions owe.

    Args:
        outbox: Where deliveries are owed.
        find_integration: The integration of that name as defined now, or None.
        sender: Makes the attempts.
        clock: Milliseconds since 1970.
        random: Numbers in [0, 1), for jitter.
        metrics: Where attempts are counted.
        on_attempt: Called after each attempt, with the delivery as it stands then; its errors are logged.
        max_in_flight: Requests in flight, over all integrations.
        lease_ms: How long a delivery is ours; longer than any attempt takes.
        parking: Where deliveries beyond an integration's share wait; None: they all wait in the outbox.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        find_integration: Callable[[str], Integration | None],
        sender: Sender,
        clock: Callable[[], int],
        random: Callable[[], float],
        metrics: Metrics,
        on_attempt: Callable[[Delivery, Attempt], None] | None = None,
        max_in_flight: int = 256,
        lease_ms: int = LEASE_MS,
        parking: Parking | None = None,
    ) -> None:
        self._outbox = outbox
        self._find_integration = find_integration
        self._sender = sender
        self._clock = clock
        self._metrics = metrics
        self._outcomes = Outcomes(clock, random, metrics, on_attempt)
        self._max_in_flight = max_in_flight
        self._lease_ms = lease_ms
        self._log = logger("deliver")
        self._parking = parking
        if parking is not None:
            parking.takes_more = self._takes_more
        self._owned: dict[int, Owned] = {}
        self._parkers: dict[int, Parker] = {}
        self._queues: defaultdict[str, Queue[Owned]] = defaultdict(Queue)
        self._in_flight = 0
        self._waiting = 0
        self._has_slot = asyncio.Event()
        self._has_slot.set()
        self._turns = asyncio.Semaphore(LEASES_AT_ONCE)
        self._stopping = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._attempts: set[asyncio.Task[None]] = set()
        self._loops: set[asyncio.Task[None]] = set()

    def own(self, partition: int) -> None:
        """From now on send what ``partition`` owes."""
        if partition not in self._owned:
            owned = self._owned[partition] = Owned(partition, self._outbox, self._clock)
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
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for owned in self._owned.values():
                    self._begin(owned)
                await self._stopping.wait()
        finally:
            self._tasks = None

    async def stop(self, grace_s: float = 10.0) -> None:
        """Start nothing more, let requests in flight end for ``grace_s`` seconds, cut off the rest, settle results.

        Nothing is lost: what was cut off or could not be settled comes back when its lease ends, under the same id.
        """
        self._stopping.set()
        self._has_slot.set()
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
        now = self._clock()
        for queue in self._queues.values():
            mine = [waiting for waiting in queue.waiting if waiting.owner is owned]
            for waiting in mine:
                queue.waiting.remove(waiting)
                self._waiting -= 1
                owned.put_back(waiting, now)
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
                await self._has_slot.wait()
                if not owned.ours:
                    return 0.0
                now = self._clock()
                leased = await self._outbox.lease(owned.number, now=now, limit=BATCH, lease_ms=self._lease_ms)
            mine = owned.take(leased.deliveries, now + self._lease_ms)
            in_flight = self._in_flight
            await self._admit_durable(owned, mine, leased.owed)
            return self._pause_s(leased, started=self._in_flight > in_flight)
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
                self._admit(waiting)
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

    # --- from leased to in flight

    def _admit(self, waiting: Waiting[Owned]) -> None:
        """Start an attempt, or let the delivery wait here, or put it back, or give it up."""
        delivery, owned = waiting.delivery, waiting.owner
        queue = self._queues[delivery.integration]
        integration = self._find_integration(delivery.integration)
        if integration is None:
            self._outcomes.bury(
                owned, delivery, "integration-gone", f"there is no integration {delivery.integration} any more"
            )
        elif not integration.active:
            self._hold(owned, delivery, queue)
        elif (size := _size(delivery)) > integration.limits.max_body_bytes:
            detail = f"the body has {size} bytes, the integration takes {integration.limits.max_body_bytes}"
            self._outcomes.bury(owned, delivery, "body-too-large", detail)
        elif self._is_free(queue, integration):
            self._start(owned, delivery, integration, queue)
        elif self._waiting < MOST_WAITING and queue.has_room(integration.limits.concurrency):
            queue.waiting.append(waiting)
            self._waiting += 1
        else:
            concurrency = integration.limits.concurrency
            at = queue.later(self._clock(), concurrency=concurrency, soonest_ms=BUSY_MS, longest_ms=BUSY_LONGEST_MS)
            owned.settler.keep(delivery, at)
        if integration is not None and integration.active:
            queue.held = False

    def _is_free(self, queue: Queue[Owned], integration: Integration) -> bool:
        return self._in_flight < self._max_in_flight and queue.in_flight < integration.limits.concurrency

    def _takes_more(self, name: str) -> bool:
        """Whether one more delivery for that integration would be sent at once, and with success, as far as we know."""
        integration, queue = self._find_integration(name), self._queues.get(name)
        return integration is None or (integration.active and (queue is None or queue.is_idle))

    def _hold(self, owned: Owned, delivery: Delivery, queue: Queue[Owned]) -> None:
        now = self._clock()
        if is_too_old(delivery, now):
            self._outcomes.bury(
                owned, delivery, "too-old", f"the integration {delivery.integration} was inactive too long"
            )
            return
        if not queue.held:
            queue.held = True
            self._log.warning("delivery.held", integration=delivery.integration, reason="the integration is inactive")
        at = queue.spread(now, gap_ms=HELD_GAP_MS, soonest_ms=HELD_MS, longest_ms=HELD_LONGEST_MS)
        owned.settler.keep(msgspec.structs.replace(delivery, last_error="held: the integration is inactive"), at)

    def _start_waiting(self, queue: Queue[Owned]) -> None:
        while queue.waiting and not self._stopping.is_set():
            head = queue.waiting[0]
            integration = self._find_integration(head.delivery.integration)
            if integration is not None and integration.active and not self._is_free(queue, integration):
                return
            queue.waiting.popleft()
            self._waiting -= 1
            now = self._clock()
            if now + 1000 * head.delivery.timeout_s + LEASE_MARGIN_MS > head.lease_ends:
                # Its lease could end before the attempt does, and somebody else would send it meanwhile.
                head.owner.put_back(head, now)
            else:
                self._admit(head)

    # --- attempts

    def _start(self, owned: Owned, delivery: Delivery, integration: Integration, queue: Queue[Owned]) -> None:
        if self._tasks is None:
            return  # run() is over; the lease brings the delivery back
        self._count(owned, queue, 1)
        task = self._tasks.create_task(self._attempt(owned, delivery, integration, queue))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    def _count(self, owned: Owned, queue: Queue[Owned], change: int) -> None:
        queue.in_flight += change
        owned.count(change)
        self._in_flight += change
        self._metrics.in_flight.inc(change)
        if self._in_flight < self._max_in_flight or self._stopping.is_set():
            self._has_slot.set()
        else:
            self._has_slot.clear()

    async def _attempt(self, owned: Owned, delivery: Delivery, integration: Integration, queue: Queue[Owned]) -> None:
        try:
            try:
                attempt = await self._sender.send(delivery, integration)
            except Exception as error:
                # A fault of ours costs this delivery an attempt; it must not end the worker.
                self._log.exception("delivery.fault", id=delivery.id, integration=delivery.integration)
                attempt = Attempt("retry", error=f"a fault inside actionmap: {type(error).__name__}")
            queue.finished(attempt.duration_s, failed=attempt.outcome == "retry")
            self._outcomes.settle(owned, delivery, attempt)
        finally:
            was_full = self._in_flight >= self._max_in_flight
            self._count(owned, queue, -1)
        if was_full:
            # The slot belongs to everybody: first to who has the fewest.
            for other in sorted(self._queues.values(), key=lambda one: one.in_flight):
                self._start_waiting(other)
        else:
            self._start_waiting(queue)


def _size(delivery: Delivery) -> int:
    """Bytes of the body. One that is no UTF-8 is refused by the sender, not here, where it would stop the partition."""
    return len((delivery.body or "").encode("utf-8", "surrogatepass"))


async def _wait_then_cancel(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Let ``tasks`` end for ``seconds``, then cancel and await what is left."""
    left = set(tasks)
    if left:
        _, left = await asyncio.wait(left, timeout=seconds)
    await cancel(*left)

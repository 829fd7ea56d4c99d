"""Dispatch: leased deliveries → attempts. Each integration has a queue, a breaker and a pace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Protocol

from msgspec.structs import replace

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.breaker import Breaker, Change
from actionmap.deliver.consequences import Consequences
from actionmap.deliver.health import Health
from actionmap.deliver.owned import Owned
from actionmap.deliver.pace import Pace
from actionmap.deliver.queue import Queue, Waiting
from actionmap.deliver.retry import has_failed, is_too_old
from actionmap.delivery import Attempt, Delivery
from actionmap.telemetry import Metrics, logger

#: Deliveries that wait in memory, over all integrations; the others wait in the outbox.
MOST_WAITING = 2048
#: When a delivery whose integration is held is looked at again: 5 s later; many, 5 ms apart, at most 5 min later.
HELD_MS, HELD_GAP_MS, HELD_LONGEST_MS = 5_000, 5.0, 300_000
#: When a delivery whose integration is busy is looked at again.
BUSY_MS, BUSY_LONGEST_MS = 250, 10_000
#: What is left of a lease, beyond the attempt's own timeout, when an attempt starts.
LEASE_MARGIN_MS = 5_000

#: Starts a task; None: nothing is started any more, and the leases bring the deliveries back.
Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None] | None"]


class Sender(Protocol):
    """Makes attempts."""

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        """Make one attempt; within the delivery's timeout, and without raising for what a receiver does."""


class Dispatch:
    """Decides when each delivery is tried, and what happens to those whose time has not come.

    Args:
        find_integration: The integration of that name as defined now, or None.
        was_deleted: Whether there is none because it was deleted; one that is only missing is waited for.
        sender: Makes the attempts.
        consequences: Told of each attempt that ended.
        health: Which integrations are held, and how they are doing.
        start: Starts the task of an attempt.
        clock: Milliseconds since 1970.
        monotonic: Seconds of a clock that nobody sets.
        random: Numbers in [0, 1), for jitter.
        metrics: Where attempts are counted.
        max_in_flight: Requests in flight, over all integrations.
        breaker_pause_ms: See `Breaker`.
    """

    def __init__(
        self,
        *,
        find_integration: Callable[[str], Integration | None],
        was_deleted: Callable[[str], bool],
        sender: Sender,
        consequences: Consequences,
        health: Health,
        start: Start,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        random: Callable[[], float],
        metrics: Metrics,
        max_in_flight: int,
        breaker_pause_ms: int,
    ) -> None:
        self._find_integration = find_integration
        self._was_deleted = was_deleted
        self._sender = sender
        self._consequences = consequences
        self._health = health
        self._start_task = start
        self._clock = clock
        self._monotonic = monotonic
        self._random = random
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self._breaker_pause_ms = breaker_pause_ms
        self._log = logger("deliver")
        self._queues: dict[str, Queue[Owned]] = {}
        self._waiting = 0
        self._closed = False
        self.in_flight = 0
        #: Set while at least one more request may be in flight.
        self.has_slot = asyncio.Event()
        self.has_slot.set()

    def breakers(self) -> dict[str, str]:
        """The breakers that are not closed, by integration."""
        return {name: queue.breaker.state for name, queue in self._queues.items() if queue.breaker.state != "closed"}

    def takes_more(self, name: str) -> bool:
        """Whether one more delivery for that integration would be sent at once, and with success, as far as we know."""
        integration, queue = self._find_integration(name), self._queues.get(name)
        if integration is None:
            return self._was_deleted(name)
        return self._hold_reason(integration) == "" and (queue is None or queue.is_idle)

    def admit(self, waiting: Waiting[Owned]) -> None:
        """Start an attempt, or let the delivery wait here, or put it back, or give it up."""
        queue = self._queue(waiting.delivery.integration)
        integration = self._ready(waiting, queue)
        if integration is None or self._try_start(waiting, integration, queue):
            return
        limits = integration.limits
        if self._waiting < MOST_WAITING and queue.has_room(limits.concurrency, limits.rate_per_second):
            queue.waiting.append(waiting)
            self._waiting += 1
        else:
            longest_ms = BUSY_LONGEST_MS if limits.rate_per_second is None else HELD_LONGEST_MS
            at = queue.later(self._clock(), concurrency=limits.concurrency, rate=limits.rate_per_second,
                             soonest_ms=BUSY_MS, longest_ms=longest_ms)  # fmt: skip
            waiting.owner.settler.keep(_unless_overdue(waiting.delivery, self._clock()), at)

    def put_back(self, owned: Owned) -> None:
        """What waits here of ``owned`` is due at once, for its next owner."""
        now = self._clock()
        for queue in self._queues.values():
            mine = [waiting for waiting in queue.waiting if waiting.owner is owned]
            for waiting in mine:
                queue.waiting.remove(waiting)
                self._waiting -= 1
                owned.put_back(waiting, now)

    def close(self) -> None:
        """Start nothing more."""
        self._closed = True
        self.has_slot.set()
        for queue in self._queues.values():
            queue.pace.close()

    # --- what must not be tried now

    def _queue(self, name: str) -> Queue[Owned]:
        queue = self._queues.get(name)
        if queue is None:
            pace = Pace(
                lambda number, rate: self._health.store.reserve(name, number, rate),
                self._monotonic,
                lambda: self._start_waiting(self._queues[name]),
            )
            queue = self._queues[name] = Queue(pace, Breaker(self._breaker_pause_ms))
        return queue

    def _ready(self, waiting: Waiting[Owned], queue: Queue[Owned]) -> Integration | None:
        """The integration, where the delivery may be tried; otherwise it is kept for later or given up."""
        delivery, owned, now = waiting.delivery, waiting.owner, self._clock()
        integration = self._find_integration(delivery.integration)
        if integration is None and self._was_deleted(delivery.integration):
            detail = f"the integration {delivery.integration} was deleted"
            self._consequences.bury(owned, delivery, "integration-gone", detail)
        elif integration is None:
            reason = f"there is no integration {delivery.integration}, and nobody has deleted it; apply it again"
            self._hold(owned, delivery, queue, reason, soonest_ms=HELD_MS, gap_ms=HELD_GAP_MS)
        elif reason := self._hold_reason(integration):
            self._hold(owned, delivery, queue, reason, soonest_ms=HELD_MS, gap_ms=HELD_GAP_MS)
        elif (size := _size(delivery)) > integration.limits.max_body_bytes:
            detail = f"the body has {size} bytes, the integration takes {integration.limits.max_body_bytes}"
            self._consequences.bury(owned, delivery, "body-too-large", detail)
        elif queue.breaker.is_shut(now):
            soonest_ms = max(queue.breaker.until - now, BUSY_MS)
            gap_ms = queue.gap_ms(integration.limits.concurrency, integration.limits.rate_per_second)
            self._hold(owned, delivery, queue, "the receiver fails", soonest_ms=soonest_ms, gap_ms=gap_ms)
        else:
            queue.held = ""
            return integration
        return None

    def _hold_reason(self, integration: Integration) -> str:
        return self._health.held(integration.name) if integration.active else "the integration is inactive"

    def _hold(
        self, owned: Owned, delivery: Delivery, queue: Queue[Owned], reason: str, *, soonest_ms: int, gap_ms: float
    ) -> None:
        """Keep the delivery for later, without counting an attempt; too old, it is given up.

        Nobody waits for the answer of one that is held.
        """
        now = self._clock()
        if is_too_old(delivery, now):
            self._consequences.bury(owned, delivery, "too-old", f"it was held too long: {reason}")
            return
        if queue.held != reason:
            queue.held = reason
            self._log.warning("delivery.held", integration=delivery.integration, reason=reason)
        self._metrics.held.labels(delivery.integration).inc()
        at = queue.spread(now, gap_ms=gap_ms, soonest_ms=soonest_ms, longest_ms=soonest_ms + HELD_LONGEST_MS)
        owned.settler.keep(replace(delivery, last_error=f"held: {reason}", is_sync=False), at)

    # --- attempts

    def _try_start(self, waiting: Waiting[Owned], integration: Integration, queue: Queue[Owned]) -> bool:
        """Start an attempt where slot, pace and breaker allow it."""
        limits = integration.limits
        # Nobody takes more than what is left to all others, so that a few that hang cannot take all slots (the dynamic
        # thresholds of Choudhury and Hahne, 1998).
        share = max(1, self._max_in_flight - self.in_flight)
        if self.in_flight >= self._max_in_flight or queue.in_flight >= min(limits.concurrency, share):
            return False
        if not queue.pace.take(limits.rate_per_second):
            return False
        turn = queue.breaker.lets_through(self._clock())
        if turn is None:
            return False
        self._count(waiting.owner, queue, 1)
        if self._start_task(self._attempt(waiting.owner, waiting.delivery, integration, queue, turn)) is None:
            self._count(waiting.owner, queue, -1)
        return True

    def _start_waiting(self, queue: Queue[Owned]) -> None:
        while queue.waiting and not self._closed:
            head = queue.waiting[0]
            now = self._clock()
            if now + 1000 * head.delivery.timeout_s + LEASE_MARGIN_MS > head.lease_ends:
                # Its lease could end before the attempt does, and somebody else would send it meanwhile.
                head.owner.put_back(head, now)
            elif (integration := self._ready(head, queue)) and not self._try_start(head, integration, queue):
                return
            queue.waiting.popleft()
            self._waiting -= 1

    def _count(self, owned: Owned, queue: Queue[Owned], change: int) -> None:
        queue.in_flight += change
        owned.count(change)
        self.in_flight += change
        self._metrics.in_flight.inc(change)
        if self.in_flight < self._max_in_flight or self._closed:
            self.has_slot.set()
        else:
            self.has_slot.clear()

    async def _attempt(
        self, owned: Owned, delivery: Delivery, integration: Integration, queue: Queue[Owned], turn: int
    ) -> None:
        try:
            try:
                attempt = await self._sender.send(delivery, integration)
            except Exception as error:
                # A fault of ours costs this delivery an attempt; it must not end the worker.
                self._log.exception("delivery.fault", id=delivery.id, integration=delivery.integration)
                fault = f"a fault inside actionmap: {type(error).__name__}"
                attempt = Attempt("retry", error=fault, is_ours=True)
            queue.finished(attempt.duration_s, failed=attempt.outcome == "retry")
            self._note(delivery, attempt, queue, turn)
            self._consequences.settle(owned, delivery, attempt)
        finally:
            # Others may have been kept from starting by their share only, which is so from half of the slots on.
            was_tight = 2 * self.in_flight >= self._max_in_flight
            self._count(owned, queue, -1)
        if was_tight:
            # The slot belongs to everybody: first to who has the fewest.
            for other in sorted(self._queues.values(), key=lambda one: one.in_flight):
                self._start_waiting(other)
        else:
            self._start_waiting(queue)

    def _note(self, delivery: Delivery, attempt: Attempt, queue: Queue[Owned], turn: int) -> None:
        """Tell breaker and health how the integration is doing."""
        name, now, failed = delivery.integration, self._clock(), has_failed(attempt)
        self._health.ended(name, now, failed=failed, error=attempt.error or "")
        if attempt.status == HTTPStatus.GONE:
            self._health.warn(name, f"the webhook {delivery.webhook} was answered 410: its target is gone")
        change = queue.breaker.ended(turn, now, failed=failed, chance=self._random())
        if change is not None:
            self._tell(name, change, attempt)

    def _tell(self, name: str, change: Change, attempt: Attempt) -> None:
        self._metrics.breaker_open.labels(name).set(change.state == "open")
        if change.state == "open":
            self._log.warning("breaker.open", integration=name, until=change.until, error=attempt.error)
        else:
            self._log.info("breaker.closed", integration=name)


def _unless_overdue(delivery: Delivery, now: int) -> Delivery:
    """``delivery``; one whose answer should have come by now holds nobody up any more."""
    is_overdue = now >= delivery.owed_at + 1000 * delivery.timeout_s
    return replace(delivery, is_sync=False) if delivery.is_sync and is_overdue else delivery


def _size(delivery: Delivery) -> int:
    """Bytes of the body. One that is no UTF-8 is refused by the sender, not here, where it would stop the partition."""
    return len((delivery.body or "").encode("utf-8", "surrogatepass"))

"""Parking: what one integration is owed beyond its share of a partition's outbox waits in a log, outside of the store.

A delivery is parked by appending it to the log of its partition, waiting until the log has it, and only then taking it
out of the outbox. It is taken back by owing it again and moving the position that reading goes on from, in one step.
So at any time it is in one of the two places, or in both; what is in both is recognised when it is taken back.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from actionmap.deliver.owned import Owned
from actionmap.deliver.queue import Waiting
from actionmap.deliver.settle import STORE_AWAY, backoff_s
from actionmap.delivery import Delivery, encode
from actionmap.store.protocols import ParkingStore
from actionmap.telemetry import Metrics, logger

#: Deliveries in one call to the log.
AT_ONCE = 128
#: Deliveries of one partition that wait for the log, at most; the others stay in the outbox.
MOST_PENDING = 512
#: Seconds after which it is seen whether what was parked has room.
LOOK_AFTER_S = 0.5
#: Ids of deliveries that the log does not take, remembered.
MOST_REFUSED = 10_000
#: The share of its cap that an integration which answers may have above it: new deliveries go out at once although many
#: failed ones wait for their time.
SLACK = 16
#: Seconds that a delivery may be kept in all, to be parked: the log forgets what is older.
LONGEST_AGE_S = 7 * 86_400


class Entry(NamedTuple):
    """One record of the log."""

    offset: int
    value: bytes


class Gap(NamedTuple):
    """The log does not hold the position asked for: it holds from ``begin`` to before ``end``."""

    begin: int
    end: int


class ParkedLog(Protocol):
    """A durable log for each partition."""

    async def append(self, partition: int, records: Sequence[tuple[str, bytes]]) -> list[int | None]:
        """Add records (id, value) and wait until they are safe.

        Returns:
            The offset of each; None for one that the log does not take, or has perhaps not taken.

        Raises:
            Unreachable: the log does not answer.
        """

    async def read(self, partition: int, position: int, limit: int) -> list[Entry] | Gap:
        """Up to ``limit`` records from ``position`` on; none when there are none yet.

        Raises:
            Unreachable: the log does not answer.
        """

    async def close(self) -> None:
        """Release connections."""


@dataclass(slots=True, kw_only=True)
class Parking:
    """What the parkers of all partitions share."""

    store: ParkingStore
    log: ParkedLog
    #: Deliveries owed to one integration per partition that stay in the outbox.
    cap: int
    #: Milliseconds since 1970.
    clock: Callable[[], int]
    #: Seconds of a clock that nobody sets.
    monotonic: Callable[[], float]
    metrics: Metrics
    #: Whether the integration of that name would take one more delivery at once. The worker, which knows, sets it.
    takes_more: Callable[[str], bool] = lambda _: False

    def limit(self, integration: str) -> int:
        """How many deliveries owed to ``integration`` stay in the outbox now."""
        return self.cap + max(1, self.cap // SLACK) if self.takes_more(integration) else self.cap

    def room(self, integration: str, owed: int) -> int:
        """How many deliveries may be taken back for ``integration`` while it is owed ``owed`` in the outbox."""
        half = (self.cap + 1) // 2
        if owed < half:
            return half - owed
        # Failed ones that wait for their time do not hold up a receiver that answers again. Half of the slack is left
        # to what is new.
        return max(0, self.limit(integration) - self.cap // SLACK // 2 - owed) if self.takes_more(integration) else 0


class TakesBack(Protocol):
    """Takes back what is parked; see `unparking.Unparker`."""

    async def step(self) -> float:
        """Take back what there is room for; returns the seconds until the next look."""


class Parker:
    """Parks deliveries of one partition while it is ours."""

    def __init__(self, parking: Parking, owned: Owned, takes_back: TakesBack) -> None:
        self._parking = parking
        self._owned = owned
        self._takes_back = takes_back
        self._log = logger("parking").bind(partition=owned.number)
        self._pending: deque[Waiting[Owned]] = deque()
        #: Set aside and still counted as owed, by integration.
        self._leaving = Counter[str]()
        #: The log does not take them, so they are not offered again.
        self._refused: set[str] = set()
        self._woken = asyncio.Event()
        self._look_at = 0.0
        self._failures = 0

    def wake(self) -> None:
        """The partition is not ours any more: look now."""
        self._woken.set()

    def set_aside(self, leased: Sequence[Waiting[Owned]], owed: Mapping[str, int]) -> list[Waiting[Owned]]:
        """Keep from ``leased`` what is to be parked, the newest first; returns the others, in their order.

        Args:
            leased: Deliveries whose entries are durable.
            owed: How many deliveries are owed to each integration.
        """
        if self._failures:
            return list(leased)
        excess = {name: number - self._leaving[name] - self._parking.limit(name) for name, number in owed.items()}
        staying = []
        for waiting in reversed(leased):
            delivery = waiting.delivery
            if excess.get(delivery.integration, 0) > 0 and self._may_park(delivery):
                excess[delivery.integration] -= 1
                self._leaving[delivery.integration] += 1
                self._pending.append(waiting)
                self._woken.set()
            else:
                staying.append(waiting)
        return staying[::-1]

    def _may_park(self, delivery: Delivery) -> bool:
        # One that was attempted has its time to come back, which a log does not keep.
        fits = len(self._pending) < MOST_PENDING
        # An ordered one has its place in its visitor's line, which is kept beside the outbox.
        is_new = not delivery.attempts and not delivery.is_ordered and delivery.id not in self._refused
        return fits and is_new and delivery.retry.max_age_s <= LONGEST_AGE_S

    async def run(self) -> None:
        """Park and take back until the partition is not ours any more; a store or log that is away is asked again."""
        self._owned.count(1)
        try:
            while self._owned.ours:
                self._woken.clear()
                pause_s = await self._turn()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._woken.wait()
        finally:
            self._put_back(self._pending)
            self._owned.count(-1)

    async def _turn(self) -> float:
        now = self._parking.monotonic
        try:
            while self._pending and self._owned.ours:
                await self._park([self._pending.popleft() for _ in range(min(AT_ONCE, len(self._pending)))])
            if now() >= self._look_at and self._owned.ours:
                self._look_at = now() + await self._takes_back.step()
            self._failures = 0
        except STORE_AWAY as error:
            self._failures += 1
            self._look_at = now() + backoff_s(self._failures)
            self._log.warning("parking.away", error=str(error))
            self._put_back(self._pending)
            self._pending.clear()
        return max(0.0, self._look_at - now())

    async def _park(self, batch: list[Waiting[Owned]]) -> None:
        number, parking = self._owned.number, self._parking
        deliveries = [waiting.delivery for waiting in batch]
        try:
            offsets = await parking.log.append(number, [(one.id, encode(one)) for one in deliveries])
            taken = [(one, offset) for one, offset in zip(deliveries, offsets, strict=True) if offset is not None]
            await parking.store.park(number, taken)
        except STORE_AWAY:
            # In the log or not, in the outbox or not: settled as owed, each is at least in one of them.
            self._put_back(batch)
            raise
        self._leaving.subtract(one.integration for one, _ in taken)
        self._owned.busy.difference_update(one.id for one, _ in taken)
        self._refuse([waiting for waiting, offset in zip(batch, offsets, strict=True) if offset is None])
        self._look_at = min(self._look_at, parking.monotonic() + LOOK_AFTER_S)
        self._log.info(
            "deliveries.parked", number=len(taken), integrations=sorted({one.integration for one, _ in taken})
        )

    def _refuse(self, batch: list[Waiting[Owned]]) -> None:
        if len(self._refused) > MOST_REFUSED:
            self._refused.clear()
        self._refused.update(waiting.delivery.id for waiting in batch)
        self._put_back(batch)

    def _put_back(self, batch: Sequence[Waiting[Owned]]) -> None:
        """They are due now, and admitted as if there were no parking."""
        now = self._parking.clock()
        for waiting in batch:
            self._leaving[waiting.delivery.integration] -= 1
            self._owned.put_back(waiting, now)

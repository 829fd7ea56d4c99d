"""One partition that this process owns: which of its deliveries are in our hands, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from actionmap.deliver.queue import Waiting
from actionmap.deliver.settle import Settled, Settler
from actionmap.delivery import Delivery
from actionmap.store.protocols import Outbox


class Owned:
    """One partition while it is ours, and after that until its last result is settled."""

    def __init__(
        self, number: int, outbox: Outbox, clock: Callable[[], int], on_outcomes: Callable[[int], None]
    ) -> None:
        self.number = number
        self.ours = True
        #: Calls of ours on their way that may still bring results: attempts and leases.
        self.pending = 0
        self.woken = asyncio.Event()
        #: Ids in flight, waiting or unsettled: should a lease end early (the store was away), they are not sent twice.
        self.busy: set[str] = set()
        #: Id → what was leased while it was still in our hands.
        self._twice: dict[str, Waiting[Owned]] = {}
        self._clock = clock
        self.settler = Settler(outbox, number, clock, self._on_settled, lambda: on_outcomes(number))

    def take(self, leased: Iterable[Delivery], lease_ends: int) -> list[Waiting[Owned]]:
        """Those of ``leased`` that are not in our hands already; the lease ends at that time."""
        mine = []
        for delivery in leased:
            waiting = Waiting(self, delivery, lease_ends)
            if delivery.id in self.busy:
                self._twice[delivery.id] = waiting
            else:
                self.busy.add(delivery.id)
                mine.append(waiting)
        return mine

    def _on_settled(self, settled: Iterable[Settled]) -> None:
        for one in settled:
            self.busy.discard(one.id)
            twice = self._twice.pop(one.id, None)
            if one.owed_after is None:
                if one.was_ordered:
                    self.woken.set()
                continue
            if twice is not None and twice.delivery.attempts == one.owed_after:
                # It was leased after the store had put it back, and before we heard that it had: nobody works on it.
                self.busy.add(one.id)
                self.put_back(twice, self._clock())
            # It may be due before the time we would look again.
            self.woken.set()

    def put_back(self, waiting: Waiting[Owned], now: int) -> None:
        """``waiting`` is due at once; unless its lease is over, since then somebody else may have it."""
        if now < waiting.lease_ends:
            self.settler.keep(waiting.delivery, now)
        else:
            self.busy.discard(waiting.delivery.id)

    def count(self, change: int) -> None:
        """Note that ``change`` more calls are on their way; disowned and without any, the settler ends when empty."""
        self.pending += change
        if not self.ours and not self.pending:
            self.settler.close()

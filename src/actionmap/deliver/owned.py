"""One partition that this process owns: which of its deliveries are in our hands, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from actionmap.deliver.queue import Waiting
from actionmap.deliver.settle import Settler
from actionmap.store.protocols import Outbox


class Owned:
    """One partition while it is ours, and after that until its last result is settled."""

    def __init__(self, number: int, outbox: Outbox, clock: Callable[[], int]) -> None:
        self.number = number
        self.ours = True
        #: Calls of ours on their way that may still bring results: attempts and leases.
        self.pending = 0
        self.woken = asyncio.Event()
        #: Ids in flight, waiting or unsettled: should a lease end early (the store was away), they are not sent twice.
        self.busy: set[str] = set()
        self.settler = Settler(outbox, number, clock, self._on_settled)

    def _on_settled(self, ids: Iterable[str], again: bool) -> None:
        self.busy.difference_update(ids)
        if again:
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

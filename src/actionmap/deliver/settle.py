"""Settler: what became of the attempts of one partition → few calls to its outbox; nothing is lost while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from actionmap.delivery import DeadLetter, Delivery
from actionmap.errors import Unreachable
from actionmap.store.protocols import Outbox
from actionmap.telemetry import logger

#: What a store raises when it does not answer: kept, and asked again.
STORE_AWAY = (Unreachable, OSError)
#: Results in one call to the store.
MOST_AT_ONCE = 500


def backoff_s(failures: int) -> float:
    """Seconds to wait before the store is asked again after ``failures`` (at least 1) failures in a row."""
    return float(min(0.1 * 2 ** min(failures - 1, 10), 5.0))


class Settled(NamedTuple):
    """A delivery whose result the store has taken over."""

    id: str
    #: With so many attempts it is owed again; None: it is not owed any more.
    owed_after: int | None = None


class Settler:
    """Collects results while a call to the store is on its way, and sends them with the next one.

    Args:
        outbox: Where the deliveries are owed.
        partition: Its number.
        clock: Milliseconds since 1970.
        on_settled: Called with what the store has taken over.
    """

    def __init__(
        self,
        outbox: Outbox,
        partition: int,
        clock: Callable[[], int],
        on_settled: Callable[[Iterable[Settled]], None],
    ) -> None:
        self._outbox = outbox
        self._partition = partition
        self._clock = clock
        self._on_settled = on_settled
        self._log = logger("deliver")
        self._accepted: list[Delivery] = []
        self._retries: list[tuple[Delivery, int]] = []
        self._dead: list[DeadLetter] = []
        self._ready = asyncio.Event()
        self._closed = False

    def accept(self, delivery: Delivery) -> None:
        """The receiver took it."""
        self._accepted.append(delivery)
        self._ready.set()

    def keep(self, delivery: Delivery, at: int) -> None:
        """It stays owed, in the form given, until ``at`` (milliseconds since 1970)."""
        self._retries.append((delivery, at))
        self._ready.set()

    def bury(self, letter: DeadLetter) -> None:
        """It is given up."""
        self._dead.append(letter)
        self._ready.set()

    def close(self) -> None:
        """No more results come: `run` ends when those it has are settled."""
        self._closed = True
        self._ready.set()

    @property
    def unsettled(self) -> int:
        """Results that the store has not taken yet."""
        return len(self._accepted) + len(self._retries) + len(self._dead)

    async def run(self) -> None:
        """Settle results as they come, until closed and empty. A store that is away is asked again and again."""
        failures = 0
        while self.unsettled or not self._closed:
            await self._ready.wait()
            self._ready.clear()
            try:
                while self.unsettled:
                    await self._settle_some()
                failures = 0
            except STORE_AWAY as error:
                failures += 1
                self._log.warning(
                    "outbox.away", partition=self._partition, unsettled=self.unsettled, error=str(error), doing="settle"
                )
                await asyncio.sleep(backoff_s(failures))
                self._ready.set()

    async def _settle_some(self) -> None:
        # A list is shortened only after the store has answered: what fails is still there, and each call may be
        # repeated, because settling twice is settling once.
        if accepted := self._accepted[:MOST_AT_ONCE]:
            await self._outbox.ack(self._partition, accepted, now=self._clock())
            self._taken(self._accepted, [Settled(delivery.id) for delivery in accepted])
        if dead := self._dead[:MOST_AT_ONCE]:
            await self._outbox.bury(self._partition, dead)
            self._taken(self._dead, [Settled(letter.id) for letter in dead])
        if retries := self._retries[:MOST_AT_ONCE]:
            await self._outbox.nack(self._partition, retries)
            self._taken(self._retries, [Settled(delivery.id, delivery.attempts) for delivery, _ in retries])

    def _taken(self, results: list[Any], settled: list[Settled]) -> None:
        del results[: len(settled)]
        self._on_settled(settled)

"""Settler: what became of the attempts of one partition → few calls to its outbox; nothing is lost while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from actionmap.delivery import DeadLetter, Delivery, Outcome
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
    #: Others may have waited for it.
    was_ordered: bool = False


class Settler:
    """Collects results while a call to the store is on its way, and sends them with the next one.

    Args:
        outbox: Where the deliveries are owed.
        partition: Its number.
        clock: Milliseconds since 1970.
        on_settled: Called with what the store has taken over.
        on_outcomes: Called when the store has outcomes of deliveries for the partition's visitors.
    """

    def __init__(
        self,
        outbox: Outbox,
        partition: int,
        clock: Callable[[], int],
        on_settled: Callable[[Iterable[Settled]], None],
        on_outcomes: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._partition = partition
        self._clock = clock
        self._on_settled = on_settled
        self._on_outcomes = on_outcomes
        self._log = logger("deliver")
        self._accepted: list[Delivery] = []
        self._retries: list[tuple[Delivery, int]] = []
        self._dead: list[DeadLetter] = []
        #: By delivery id, as long as the delivery is among the accepted or dead.
        self._outcomes: dict[str, Outcome] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def accept(self, delivery: Delivery, outcome: Outcome | None = None) -> None:
        """The receiver took it; its visitor is told ``outcome``."""
        self._accepted.append(delivery)
        self._note(delivery.id, outcome)
        self._ready.set()

    def keep(self, delivery: Delivery, at: int) -> None:
        """It stays owed, in the form given, until ``at`` (milliseconds since 1970)."""
        self._retries.append((delivery, at))
        self._ready.set()

    def bury(self, letter: DeadLetter, outcome: Outcome | None = None) -> None:
        """It is given up; its visitor is told ``outcome``."""
        self._dead.append(letter)
        self._note(letter.id, outcome)
        self._ready.set()

    def _note(self, id_: str, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._outcomes[id_] = outcome

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
            outcomes = self._outcomes_of([delivery.id for delivery in accepted])
            queued = await self._outbox.ack(self._partition, accepted, now=self._clock(), outcomes=outcomes)
            self._taken(self._accepted, [Settled(one.id, was_ordered=one.is_ordered) for one in accepted], queued)
        if dead := self._dead[:MOST_AT_ONCE]:
            queued = await self._outbox.bury(self._partition, dead, self._outcomes_of([letter.id for letter in dead]))
            self._taken(self._dead, [Settled(letter.id, was_ordered=_is_ordered(letter)) for letter in dead], queued)
        if retries := self._retries[:MOST_AT_ONCE]:
            await self._outbox.nack(self._partition, retries, now=self._clock())
            self._taken(self._retries, [Settled(delivery.id, delivery.attempts) for delivery, _ in retries], 0)

    def _outcomes_of(self, ids: Iterable[str]) -> dict[str, Outcome]:
        known = self._outcomes
        return {id_: known[id_] for id_ in ids if id_ in known} if known else {}

    def _taken(self, results: list[Any], settled: list[Settled], queued: int) -> None:
        del results[: len(settled)]
        if self._outcomes:
            for one in settled:
                self._outcomes.pop(one.id, None)
        self._on_settled(settled)
        if queued:
            self._on_outcomes()


def _is_ordered(letter: DeadLetter) -> bool:
    return letter.delivery is not None and letter.delivery.is_ordered

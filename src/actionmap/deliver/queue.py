"""Queue: what waits for one integration in this worker, so that a slow one holds up nobody but itself."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

from actionmap.deliver.breaker import Breaker
from actionmap.deliver.pace import Pace
from actionmap.delivery import Delivery

#: Deliveries that wait in memory for one integration, at most.
MOST_WAITING = 256
#: Seconds that a delivery may be expected to wait in memory; beyond, it waits in the outbox.
LONGEST_WAIT_S = 5.0
#: What an attempt is thought to take before one has ended. Rather too little: what comes back too early is put back
#: again, what comes back too late leaves slots empty.
FIRST_GUESS_S = 0.01
#: Weight of the newest duration in the average.
_NEWEST = 0.2

Owner = TypeVar("Owner")


class Waiting(NamedTuple, Generic[Owner]):
    """One leased delivery that waits for a slot."""

    owner: Owner
    delivery: Delivery
    #: When its lease ends, in milliseconds since 1970.
    lease_ends: int


class Queue(Generic[Owner]):
    """In flight and waiting deliveries of one integration."""

    def __init__(self, pace: Pace, breaker: Breaker) -> None:
        self.pace = pace
        self.breaker = breaker
        self.in_flight = 0
        self.waiting: deque[Waiting[Owner]] = deque()
        #: Why the integration was held when last looked at: said once, not per delivery; "" when it was not.
        self.held = ""
        #: The newest attempt that ended is to be repeated.
        self.failing = False
        self._average_s = FIRST_GUESS_S
        self._is_guess = True
        self._next_slot = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether what is leased is sent at once, and taken."""
        return not self.waiting and not self.failing and self.breaker.state == "closed"

    def finished(self, duration_s: float, *, failed: bool) -> None:
        """Count one attempt that took ``duration_s``; ``failed``: it is to be repeated."""
        self.failing = failed
        self._average_s += (1.0 if self._is_guess else _NEWEST) * (duration_s - self._average_s)
        self._is_guess = False

    def gap_ms(self, concurrency: int, rate: float | None) -> float:
        """Milliseconds between two requests that the receiver takes, going by the latest ones and by its limits."""
        gap_ms = 1000 * self._average_s / concurrency
        return gap_ms if rate is None else max(gap_ms, 1000 / rate)

    def has_room(self, concurrency: int, rate: float | None) -> bool:
        """Whether one more may wait in memory: it will have its turn soon, and memory stays bounded."""
        waiting = len(self.waiting)
        if waiting < concurrency and rate is None:
            return waiting < MOST_WAITING
        return waiting < MOST_WAITING and waiting * self.gap_ms(concurrency, rate) <= 1000 * LONGEST_WAIT_S

    def later(self, now: int, *, concurrency: int, rate: float | None, soonest_ms: int, longest_ms: int) -> int:
        """When a delivery that finds no room should come back, in milliseconds since 1970.

        Each call gives a later time, as far apart as the receiver has taken requests lately: what comes back then finds
        a slot, instead of coming back all at once and being sent away again.
        """
        gap_ms = self.gap_ms(concurrency, rate)
        return self.spread(now, gap_ms=gap_ms, soonest_ms=soonest_ms, longest_ms=longest_ms)

    def spread(self, now: int, *, gap_ms: float, soonest_ms: int, longest_ms: int) -> int:
        """A time ``soonest_ms`` to ``longest_ms`` from ``now``, and ``gap_ms`` after the one given before."""
        self._next_slot = min(max(self._next_slot + gap_ms, now + soonest_ms), now + longest_ms)
        return round(self._next_slot)

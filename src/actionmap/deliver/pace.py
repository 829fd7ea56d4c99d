"""Pace: how many requests a second one integration is sent, by all workers together (``limits.ratePerSecond``)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from actionmap.deliver.settle import STORE_AWAY, backoff_s

#: Seconds of the rate that a worker takes from the store at once: others wait so long at the most for a busy one.
_AHEAD_S = 0.25
#: Permits older than this, in seconds, have lapsed: what was saved up (no more than one portion) is not kept for ever.
#: Long enough for a delivery whose lease ended while it waited for its permit to be leased again.
_LAPSE_S = 30.0

#: Takes a number of requests at a rate per second off what all workers may send; answers in how many milliseconds
#: the first of them may go. The others follow at the rate.
Reserve = Callable[[int, float], Awaitable[int]]


class Pace:
    """The permits that one worker has for one integration.

    Args:
        reserve: See `Reserve`.
        monotonic: Seconds of a clock that nobody sets.
        on_permit: Called when a permit has become usable that was waited for.
    """

    def __init__(self, reserve: Reserve, monotonic: Callable[[], float], on_permit: Callable[[], None]) -> None:
        self._reserve = reserve
        self._monotonic = monotonic
        self._on_permit = on_permit
        #: When each may be used, ascending.
        self._permits: deque[float] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def take(self, rate: float | None) -> bool:
        """Whether a request may go now at ``rate`` a second (None: any); if not, `on_permit` is called in time."""
        if rate is None:
            return True
        now = self._monotonic()
        while self._permits and self._permits[0] < now - _LAPSE_S:
            self._permits.popleft()
        if self._permits and self._permits[0] <= now:
            self._permits.popleft()
            return True
        if self._permits:
            self._wake_at(self._permits[0])
        elif self._asking is None:
            self._asking = asyncio.create_task(self._ask(rate))
        return False

    def close(self) -> None:
        """Ask for nothing more."""
        if self._asking is not None:
            self._asking.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _ask(self, rate: float) -> None:
        failures = 0
        number = max(1, int(rate * _AHEAD_S))
        while True:
            try:
                asked_at = self._monotonic()
                first = asked_at + await self._reserve(number, rate) / 1000
                break
            except STORE_AWAY:
                # Nobody knows what the others send: wait.
                failures += 1
                await asyncio.sleep(backoff_s(failures))
        self._permits.extend(first + turn / rate for turn in range(number))
        self._asking = None
        self._wake_at(first)

    def _wake_at(self, time: float) -> None:
        if self._timer is None or self._timer.cancelled():
            self._timer = asyncio.get_running_loop().call_later(max(0.0, time - self._monotonic()), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._on_permit()

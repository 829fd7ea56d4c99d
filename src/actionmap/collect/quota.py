"""How many events one API key may send: a token bucket for each key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Quota:
    """Grants up to ``rate`` events a second to each key, and as many at once after a quiet second.

    A full bucket grants a batch of any size and pays it off afterwards, so a batch larger than one second's worth
    is delayed, never refused for good.

    Args:
        rate: Events a second; more than 0.
        clock: Monotonic seconds.
        keys: How many keys are remembered; the one unused for longest starts afresh.
    """

    def __init__(self, rate: float, clock: Callable[[], float], keys: int = 10_000) -> None:
        self._rate = rate
        self._clock = clock
        self._keys = keys
        #: Key → tokens, and when there were that many; least recently used first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, count: int) -> float:
        """Take ``count`` events from ``key``'s bucket.

        Returns:
            0.0 when they are granted, else the seconds until they would be; then nothing was taken.
        """
        now = self._clock()
        tokens, at = self._buckets.get(key, (self._rate, now))
        tokens = min(self._rate, tokens + (now - at) * self._rate)
        missing = min(count, self._rate) - tokens
        self._buckets[key] = (tokens - count if missing <= 0 else tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return max(0.0, missing / self._rate)

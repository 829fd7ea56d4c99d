"""Stream time of one partition: the greatest event time, and what the clock adds while no record waits."""

from __future__ import annotations

from collections.abc import Callable

#: How far the clock may lead what is stored before it is stored though no timer is due, in milliseconds.
_STORED_EVERY_MS = 60_000


class StreamTime:
    """Stream time (semantics §1): goes on with events, and while the log is known to hold nothing else, with the clock.

    It never goes back.

    The clock that counts is a monotonic one, so that setting the machine's time fires no timer early; the wall clock is
    asked only for what passed while nobody owned the partition.
    """

    __slots__ = ("_monotonic", "_reached_at", "_wall_clock", "time")

    def __init__(self, monotonic: Callable[[], float], wall_clock: Callable[[], int]) -> None:
        """Args:
        monotonic: Seconds of a clock that nobody sets.
        wall_clock: Milliseconds since 1970.
        """
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        #: As it is in the store, in milliseconds since 1970; -1 before the first event.
        self.time = -1
        self._reached_at = 0.0

    def claimed(self, time: int, reached_at: int) -> None:
        """It is ``time``, since the wall clock showed ``reached_at`` (-1: not known); both in milliseconds."""
        passed_ms = max(0, self._wall_clock() - reached_at) if reached_at >= 0 else 0
        self.time = time
        self._reached_at = self._monotonic() - passed_ms / 1000

    def reached_at(self, time: int, now: float) -> float:
        """When it reached ``time``, an event's or a timer's, of which is known ``now``; both on the monotonic clock.

        An event that lies behind what the clock has made of stream time by now, as after an outage, does not hold it
        back: the time that has passed counts once no more records wait.
        """
        return now if self.time < 0 else min(now, self._reached_at + (time - self.time) / 1000)

    def stored(self, time: int, reached_at: float) -> None:
        """It is ``time`` in the store now, and was reached when the monotonic clock showed ``reached_at``."""
        if time > self.time:
            self.time, self._reached_at = time, reached_at

    def at(self, quiet_until: float) -> int:
        """What it is when no record came until the monotonic clock showed ``quiet_until``."""
        if self.time < 0:
            return -1
        return self.time + max(0, int((quiet_until - self._reached_at) * 1000))

    def is_worth_storing(self, time: int) -> bool:
        """Whether ``time`` leads what is stored by so much that it should be stored for its own sake."""
        return 0 <= self.time <= time - _STORED_EVERY_MS

    def wall_clock_of(self, reached_at: float) -> int:
        """What the wall clock showed when the monotonic one showed ``reached_at``, in milliseconds since 1970."""
        return self._wall_clock() - int((self._monotonic() - reached_at) * 1000)

"""Ends a worker that owns a partition, lags, and does not advance: whoever supervises it starts it again.

That is safe, because a worker may die at any time. It must not happen for nothing: not while a lane knows what it waits
for, not while Kafka is away, and not because of offsets that hold no record (marks of transactions, compacted records).
"""

from __future__ import annotations

import asyncio
import faulthandler
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, Protocol

from msgspec import Struct

from actionmap.errors import Stuck, Unreachable
from actionmap.telemetry import logger

#: How often the lanes are looked at while the patience lasts.
_LOOKS = 4
#: Seconds that a stuck worker has for an orderly end.
_END_S = 10.0


class WatchedLane(Protocol):
    """What the watchdog asks of a partition's lane; see `pipeline.Lane`."""

    @property
    def position(self) -> int | None:
        """The offset after the last one whose effects are in the store; None before the claim."""

    @property
    def halted(self) -> str:
        """Why the lane stopped; "" while it runs."""

    @property
    def waits_for(self) -> str:
        """What outside this process holds the lane up; "" when nothing does."""


class Sight(Struct, frozen=True):
    """One lane at one moment."""

    #: Another lane of the same partition, after a rebalance, begins anew.
    lane: int
    position: int | None
    #: It is halted, or waits for something outside.
    is_excused: bool

    @property
    def next(self) -> int:
        """The offset of the next record; the first one before the claim."""
        return self.position or 0


class Watch:
    """Decides who is stuck, from what is seen at each look and when. Pure: the clock is an argument."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._looked = float("-inf")
        self._seen: dict[int, Sight] = {}
        #: Since when each partition is known to lag without advancing.
        self._lags_since: dict[int, float] = {}

    def look(self, now: float, sights: Mapping[int, Sight]) -> set[int]:
        """The partitions that stand still without an excuse: of these the end of the log is of interest."""
        # A process that itself stood still (SIGSTOP, a paused machine) has no right to judge.
        slept = now - self._looked > self._patience_s
        still = {
            partition for partition, sight in sights.items()
            if not sight.is_excused and self._seen.get(partition) == sight and not slept
        }  # fmt: skip
        self._looked, self._seen = now, dict(sights)
        self._lags_since = {partition: at for partition, at in self._lags_since.items() if partition in still}
        return still

    def note_ends(self, now: float, ends: Mapping[int, int]) -> set[int]:
        """The partitions that have lagged and stood still for longer than the patience.

        ``ends`` are the offsets after the last records of those that stand still; without any when Kafka is away.
        """
        lagging = {partition for partition, end in ends.items() if end > self._seen[partition].next}
        self._lags_since = {partition: self._lags_since.get(partition, now) for partition in lagging}
        return {partition for partition, since in self._lags_since.items() if now - since >= self._patience_s}

    def acquit(self, partition: int) -> None:
        """It does not lag after all: begin anew with it."""
        self._lags_since.pop(partition, None)


class Watchdog:
    """Looks at the lanes of one worker until one of them is stuck."""

    def __init__(
        self,
        patience_s: float,
        lanes: Callable[[], Mapping[int, WatchedLane]],
        *,
        log_ends: Callable[[], Awaitable[Mapping[int, int]]],
        has_record: Callable[[int, int], Awaitable[bool]],
        clock: Callable[[], float],
        end_after: Callable[[float | None], None],
    ) -> None:
        """Args:
        patience_s: How long a lane may lag without advancing.
        lanes: The lanes of the partitions that are assigned.
        log_ends: Asks Kafka, with a client of its own, where the logs end.
        has_record: Asks Kafka, with a client of its own, whether a partition has a record at or after an offset.
        clock: Seconds, never going back.
        end_after: Ends the process after so many seconds, come what may, unless called again; None: does not.
        """
        self._patience_s = patience_s
        self._lanes = lanes
        self._log_ends = log_ends
        self._has_record = has_record
        self._clock = clock
        self._end_after = end_after
        self._watch = Watch(patience_s)
        self._log = logger("watchdog")

    async def run(self) -> NoReturn:
        """Look until a lane is stuck.

        Raises:
            Stuck: one is. The process has ten seconds for an orderly end.
        """
        try:
            while True:
                # An event loop that is blocked could not even tell: then the process ends with a traceback.
                self._end_after(2 * self._patience_s)
                await asyncio.sleep(self._patience_s / _LOOKS)
                try:
                    await self._look()
                except Unreachable:  # Kafka is away, so nothing can be said of anybody
                    self._watch.note_ends(self._clock(), {})
        except asyncio.CancelledError:
            self._end_after(None)
            raise

    async def _look(self) -> None:
        lanes = dict(self._lanes())
        sights = {
            partition: Sight(id(lane), lane.position, bool(lane.halted or lane.waits_for))
            for partition, lane in lanes.items()
        }
        still = self._watch.look(self._clock(), sights)
        ends = await self._log_ends() if still else {}
        suspects = self._watch.note_ends(self._clock(), {one: ends[one] for one in still & ends.keys()})
        stuck = [one for one in sorted(suspects) if await self._is_stuck(one, lanes[one], sights[one])]
        if stuck:
            self._give_up({one: f"at {sights[one].next} of {ends[one]}, {_waits(lanes[one])}" for one in stuck})

    async def _is_stuck(self, partition: int, lane: WatchedLane, sight: Sight) -> bool:
        """A last look, with a record in hand that the lane should have taken long ago."""
        if not await self._has_record(partition, sight.next):
            self._watch.acquit(partition)
            return False
        is_ours = self._lanes().get(partition) is lane
        return is_ours and lane.position == sight.position and not (lane.halted or lane.waits_for)

    def _give_up(self, stuck: dict[int, str]) -> NoReturn:
        self._log.error("worker.stuck", partitions=stuck, waited_s=self._patience_s,
                        means="they lag and do not advance, and nothing outside explains it; it ends")  # fmt: skip
        self._end_after(_END_S)
        where = "; ".join(f"partition {partition} {how}" for partition, how in stuck.items())
        raise Stuck(f"no progress for more than {self._patience_s:g} s: {where}. "
                    "Started again, the worker goes on from the fence")  # fmt: skip


def _waits(lane: WatchedLane) -> str:
    return "waiting for its claim" if lane.position is None else "waiting for nothing outside"


def end_after(seconds: float | None) -> None:
    """End this process with code 1 and the traceback of every thread after ``seconds``, unless called again.

    It works while the event loop is blocked; there is one such alarm in a process. None takes it back.
    """
    if seconds is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        faulthandler.dump_traceback_later(seconds, exit=True)

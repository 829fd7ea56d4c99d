"""What is remembered of a visitor's events for the ``count`` and ``sequence`` leaves, and what it tells (semantics §4).

State is bounded whatever the visitor does. A count needs no more times than the greatest number that any leaf asks for;
a sequence needs, of each step, the latest start of a chain that reached it (the latest start serves every window that
an earlier one would). Events may come late, so the newest ones are kept as they are until none can come before them,
`KEPT_FOR_LATE` of them at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from actionmap.catalog.clauses import ANYTHING, Clauses
from actionmap.catalog.conditions import Predicate
from actionmap.catalog.models.base import seconds
from actionmap.catalog.paths import Scope
from actionmap.visitor import Track

#: Events beyond those that a leaf asks for, kept for those that come out of order.
KEPT_FOR_LATE = 16

Kind = Literal["session", "lifetime", "recent"]
_NO_TIMES: list[int] = []


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a window looks: the session, all that is remembered, or ``ms`` milliseconds."""

    kind: Kind
    ms: int = 0

    @classmethod
    def of(cls, window: str) -> Reach:
        """The reach of a ``Window``."""
        if window == "session":
            return cls("session")
        return cls("lifetime") if window == "lifetime" else cls("recent", seconds(window) * 1000)


@dataclass(frozen=True, slots=True)
class Pattern:
    """An event by its name and by conditions; they see the visitor as it is when the event is counted."""

    event: str
    where: tuple[Predicate, ...]

    def matches(self, scope: Scope) -> bool:
        """True when the event in ``scope`` is one."""
        if scope.event.name != self.event or not scope.happens:
            return False
        for test in self.where:  # noqa: SIM110 - a generator for all() costs more than most tests
            if not test(scope):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Counter:
    """The times of the events of one pattern: as many as any ``count`` leaf asks for."""

    #: Leaves with the same pattern share it, whatever their bounds and durations.
    key: str
    pattern: Pattern
    reach: Reach
    keep: int
    #: When the event may be one of them, for the index.
    clauses: Clauses = ANYTHING

    def note(self, scope: Scope, horizon: int) -> None:
        """Take the event in ``scope`` into the visitor's times; none older than ``horizon`` can come any more."""
        if not self.pattern.matches(scope):
            return
        time, kind = scope.event.time, self.reach.kind
        owner = scope.session if kind == "session" else scope.visitor
        times = owner.counts.get(self.key, _NO_TIMES)
        if kind != "recent" and len(times) == self.keep and times and times[-1] <= time:
            return
        times = [*times, time]
        if len(times) > 1 and times[-2] > time:
            times.sort()
        if kind == "recent":
            # Those inside of some window are the newest.
            del times[: max(bisect_right(times, horizon - self.reach.ms), len(times) - self.keep - KEPT_FOR_LATE)]
        else:
            # All events lie inside, so the n-th smallest tells whether there were n at any time.
            del times[self.keep :]
        owner.counts = {**owner.counts, self.key: times}

    def number(self, scope: Scope, reach_ms: int) -> int:
        """How many lie inside the window that ends at the current event, up to ``keep``."""
        counts = scope.session.counts if self.reach.kind == "session" else scope.visitor.counts
        times, time = counts.get(self.key, _NO_TIMES), scope.event.time
        until = len(times) if not times or times[-1] <= time else bisect_right(times, time)
        return until - (bisect_right(times, time - reach_ms) if reach_ms else 0)

    def knows(self, scope: Scope, reach_ms: int) -> bool:
        """Whether `number` is not too small: events that came out of order may lie among those that are not kept."""
        times = scope.visitor.counts.get(self.key, _NO_TIMES) if self.reach.kind == "recent" else _NO_TIMES
        return len(times) < self.keep + KEPT_FOR_LATE or scope.event.time - reach_ms >= times[0]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Steps in order, the first inside the window, and nothing of ``without`` between first and last."""

    key: str
    steps: tuple[Pattern, ...]
    without: tuple[Pattern, ...]
    reach: Reach
    #: When the event may be a step of it or break it, for the index.
    clauses: Clauses = ANYTHING

    def note(self, scope: Scope, horizon: int) -> None:
        """Take the event in ``scope`` into the visitor's track; where it completes the steps, the scope is told so."""
        mark = self._mark(scope)
        if not mark:
            return
        track, time = self._track(scope), scope.event.time
        if time < track.until:
            # It lies among events that are not kept: what came before it can no longer be told.
            return
        at = bisect_right(track.times, time)
        if mark >> len(self.steps) & 1 and self._starts_before(track, at) > self._earliest(time):
            scope.completed = [*scope.completed, self.key]
        track = Track(
            times=[*track.times[:at], time, *track.times[at:]],
            marks=[*track.marks[:at], mark, *track.marks[at:]],
            reached=track.reached,
            until=track.until,
        )
        owner = scope.session if self.reach.kind == "session" else scope.visitor
        owner.tracks = {**owner.tracks, self.key: self._shortened(track, horizon)}

    def completed_by_newest(self, scope: Scope) -> bool:
        """Whether the event in ``scope``, which was noted last, is the last step."""
        track, time = self._track(scope), scope.event.time
        at = bisect_right(track.times, time) - 1
        if at < 0 or track.times[at] != time or not track.marks[at] >> len(self.steps) & 1:
            return False
        return self._starts_before(track, at) > self._earliest(time)

    def steps_reached(self, scope: Scope) -> int:
        """How many steps have been made at the event in ``scope``, for people."""
        if self.key in scope.completed:
            return len(self.steps)
        track, earliest = self._track(scope), self._earliest(scope.event.time)
        starts = self._reached(track, bisect_right(track.times, scope.event.time))
        return max((number for number, start in enumerate(starts, 1) if start > earliest), default=0)

    def _track(self, scope: Scope) -> Track:
        tracks = scope.session.tracks if self.reach.kind == "session" else scope.visitor.tracks
        return tracks.get(self.key) or Track(reached=[-1] * (len(self.steps) - 1))

    def _mark(self, scope: Scope) -> int:
        """Bit 0: the event is one of ``without``; bit n: it is the n-th step."""
        mark = int(any(pattern.matches(scope) for pattern in self.without))
        for number, step in enumerate(self.steps, 1):
            mark |= step.matches(scope) << number
        return mark

    def _earliest(self, time: int) -> int:
        """A chain that ends at ``time`` starts after this."""
        return time - self.reach.ms if self.reach.ms else -1

    def _starts_before(self, track: Track, at: int) -> int:
        """The latest start of a chain that lacks only its last step before the ``at``-th event; -1 without one."""
        return self._reached(track, at)[-1]

    def _reached(self, track: Track, number: int) -> list[int]:
        """Step → the latest start of a chain that has come to it with the first ``number`` events of the track."""
        reached = track.reached
        for index in range(number):
            reached = self._advanced(reached, track.times[index], track.marks[index])
        return reached

    def _advanced(self, reached: list[int], time: int, mark: int) -> list[int]:
        # An event of ``without`` breaks every chain begun before it, and may itself begin one.
        after = [-1] * len(reached) if mark & 1 else list(reached)
        if not mark & 1:
            for step in range(len(reached) - 1, 0, -1):
                if mark >> (step + 1) & 1:
                    after[step] = max(after[step], reached[step - 1])
        if mark >> 1 & 1:
            after[0] = time
        return after

    def _shortened(self, track: Track, horizon: int) -> Track:
        """``track`` with what nothing can come before any more taken into its ``reached``."""
        done = max(bisect_right(track.times, horizon), len(track.times) - KEPT_FOR_LATE)
        if done <= 0:
            return track
        return Track(self._reached(track, done), track.times[done - 1], track.times[done:], track.marks[done:])


Memory = Counter | Sequence


def key_of(*written: Any) -> str:
    """A short text that stands for ``written``: six bytes, hexadecimal."""
    return blake2b(msgspec.json.encode(written), digest_size=6).hexdigest()


def merged(memories: Iterable[Memory]) -> Mapping[str, tuple[Memory, ...]]:
    """What to note, by the name of the event; counters of one key are joined into the one that keeps most."""
    by_key: dict[str, Memory] = {}
    for memory in memories:
        known = by_key.get(memory.key)
        if isinstance(known, Counter) and isinstance(memory, Counter):
            reach = Reach(memory.reach.kind, max(known.reach.ms, memory.reach.ms))
            memory = Counter(memory.key, memory.pattern, reach, max(known.keep, memory.keep), memory.clauses)  # noqa: PLW2901
        by_key[memory.key] = memory
    by_event: dict[str, list[Memory]] = {}
    for memory in by_key.values():
        patterns = (memory.pattern,) if isinstance(memory, Counter) else (*memory.steps, *memory.without)
        for event in dict.fromkeys(pattern.event for pattern in patterns):
            by_event.setdefault(event, []).append(memory)
    return {event: tuple(some) for event, some in by_event.items()}

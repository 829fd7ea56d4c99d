"""Triggers compiled: a function of a scope, what it counts, which segments it asks, and where it can be indexed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from actionmap.catalog.conditions import BadPattern, Predicate, compile_condition
from actionmap.catalog.models.base import seconds
from actionmap.catalog.models.trigger import (
    AbsenceLeaf,
    All,
    Any_,
    Condition,
    Count,
    CountedEvents,
    EventLeaf,
    Not,
    SegmentLeaf,
    Trigger,
)
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Scope, UnknownPath, known_paths


@dataclass(frozen=True, slots=True)
class Counter:
    """What is remembered for the ``count`` leaves of one event pattern: the smallest ``keep`` times in the session."""

    #: Hash of the pattern: leaves with the same pattern share the counter, whatever their bounds.
    key: str
    event: str
    where: Predicate
    keep: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """A necessary condition of a trigger that an index can look up: the event's name, an equality or a prefix."""

    kind: str  # event | equal | prefix | segment
    path: str
    values: tuple[Any, ...]

    @property
    def cost(self) -> int:
        """How many maps a look-up is expected to bring up that do not match; smaller is better."""
        return {"equal": 1, "prefix": 2, "event": 3, "segment": 4}[self.kind]


@dataclass(frozen=True, slots=True)
class Absence:
    """Which event starts a wait, which one cancels it, and how long it lasts."""

    after: Predicate
    of: Predicate
    for_ms: int


@dataclass(slots=True)
class Compiled:
    """A compiled trigger."""

    test: Predicate
    #: At least one of these holds whenever the trigger does; None when no index can tell.
    anchors: tuple[Anchor, ...] | None = None
    counters: tuple[Counter, ...] = ()
    segments: frozenset[str] = frozenset()
    #: Names of the events that its ``event`` leaves ask for.
    events: frozenset[str] = frozenset()
    #: Set when the trigger fires by timer; ``test`` is then made when it is due, ``anchors`` are those of its events.
    absence: Absence | None = None


@dataclass(slots=True)
class TriggerCompiler:
    """Compiles triggers; what is wrong is collected in ``problems`` as (path, message), and compiles to false."""

    #: Names of the segments that exist.
    segments: Sequence[str]
    #: Whether the trigger is a segment's ``when``, in which events and lists of segments have no meaning.
    in_segment: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)

    def compile(self, trigger: Trigger, path: str) -> Compiled:
        """``trigger``, which stands at ``path``, compiled with all it holds."""
        beside = trigger.all if isinstance(trigger, All) else (trigger,)
        for index, part in enumerate(beside):
            if isinstance(part, AbsenceLeaf) and not self.in_segment:
                return self._absence(part, index, trigger, path)
        return self._part(trigger, path)

    def _absence(self, leaf: AbsenceLeaf, at: int, trigger: Trigger, path: str) -> Compiled:
        """An absence, with the conditions and segments beside it, which are judged when it is due."""
        own = f"{path}.all.{at}" if isinstance(trigger, All) else path
        after = self._event(leaf.absence.after, f"{own}.absence.after")
        of = self._event(leaf.absence.of, f"{own}.absence.of")
        beside: list[Compiled] = []
        for index, part in enumerate(trigger.all if isinstance(trigger, All) else ()):
            if index == at:
                continue
            where = f"{path}.all.{index}"
            if isinstance(part, SegmentLeaf) or (isinstance(part, Condition) and not part.key.startswith("event.")):
                beside.append(self._part(part, where))
            else:
                message = "beside an absence stand only segments and conditions on visitor or session"
                self.problems.append((where, message))
        tests = [part.test for part in beside]
        return Compiled(
            lambda scope: all(test(scope) for test in tests),
            (*(after.anchors or ()), *(of.anchors or ())),
            (),
            frozenset[str]().union(*(part.segments for part in beside)),
            after.events | of.events,
            Absence(after.test, of.test, seconds(leaf.absence.for_) * 1000),
        )

    def _part(self, trigger: Trigger, path: str) -> Compiled:
        match trigger:
            case All():
                return self._all(trigger, path)
            case Any_():
                return self._any(trigger, path)
            case Not():
                inner = self._part(trigger.not_, f"{path}.not")
                test = inner.test
                return Compiled(lambda scope: not test(scope), None, inner.counters, inner.segments, inner.events)
            case SegmentLeaf():
                return self._segment(trigger, path)
            case EventLeaf():
                return self._event(trigger, path)
            case Count():
                return self._count(trigger.count, f"{path}.count")
            case AbsenceLeaf():
                message = "an absence stands alone or in one top-level all, not in any, not or a segment"
                self.problems.append((f"{path}.absence", message))
                return Compiled(lambda _: False)
            case Condition():
                return Compiled(self._condition(trigger, path), _anchors_of(trigger))

    def _all(self, trigger: All, path: str) -> Compiled:
        parts = [self._part(part, f"{path}.all.{index}") for index, part in enumerate(trigger.all)]
        tests = [part.test for part in parts]
        anchored = [part.anchors for part in parts if part.anchors is not None]
        best = min(anchored, key=lambda anchors: (max(anchor.cost for anchor in anchors), len(anchors)), default=None)
        return _joined(parts, lambda scope: all(test(scope) for test in tests), best)

    def _any(self, trigger: Any_, path: str) -> Compiled:
        parts = [self._part(part, f"{path}.any.{index}") for index, part in enumerate(trigger.any)]
        tests = [part.test for part in parts]
        every = [part.anchors for part in parts]
        anchors = None if None in every else tuple(anchor for some in every for anchor in some or ())
        return _joined(parts, lambda scope: any(test(scope) for test in tests), anchors)

    def _segment(self, leaf: SegmentLeaf, path: str) -> Compiled:
        name = leaf.segment
        if name not in self.segments:
            message = f"there is no segment {name!r}{nearest(name, self.segments)}"
            self.problems.append((f"{path}.segment", message))
        anchors = (Anchor("segment", "visitor.segments", (name,)),)
        return Compiled(lambda scope: name in scope.visitor.segments, anchors, (), frozenset((name,)))

    def _event(self, leaf: EventLeaf, path: str) -> Compiled:
        name, tests = leaf.event, self._where(leaf.where, path)
        if self.in_segment:
            self.problems.append((f"{path}.event", "a segment has no event leaf; count the events: count: {event: …}"))
        by_where = [anchors for condition in leaf.where if (anchors := _anchors_of(condition)) is not None]
        anchors = min((*by_where, (Anchor("event", "event.eventName", (name,)),)), key=lambda some: some[0].cost)

        def test(scope: Scope) -> bool:
            return scope.event.name == name and all(test(scope) for test in tests)

        return Compiled(test, anchors, (), frozenset(), frozenset((name,)))

    def _count(self, counted: CountedEvents, path: str) -> Compiled:
        where = self._where(counted.where, path)
        at_least, at_most = counted.at_least, counted.at_most
        # The n-th smallest time tells whether n events lie at or before any given time.
        keep = max(at_least or 0, 0 if at_most is None else at_most + 1)
        counter = Counter(_pattern_key(counted), counted.event, lambda scope: all(test(scope) for test in where), keep)
        key = counter.key

        def test(scope: Scope) -> bool:
            number = bisect_right(scope.session.counts.get(key, ()), scope.event.time)
            return (at_least is None or number >= at_least) and (at_most is None or number <= at_most)

        return Compiled(test, None, (counter,))

    def _where(self, conditions: Sequence[Condition], path: str) -> list[Predicate]:
        return [self._condition(condition, f"{path}.where.{index}") for index, condition in enumerate(conditions)]

    def _condition(self, condition: Condition, path: str) -> Predicate:
        if self.in_segment and condition.key == "visitor.segments":
            self.problems.append((f"{path}.key", "a segment asks for another one with segment: NAME"))
        try:
            return compile_condition(condition)
        except UnknownPath:
            message = f"there is no path {condition.key!r}{nearest(condition.key, known_paths())}"
            self.problems.append((f"{path}.key", message))
        except BadPattern as error:
            self.problems.append((f"{path}.values", str(error)))
        return lambda _: False


def _joined(parts: Sequence[Compiled], test: Predicate, anchors: tuple[Anchor, ...] | None) -> Compiled:
    return Compiled(
        test,
        anchors,
        tuple(counter for part in parts for counter in part.counters),
        frozenset[str]().union(*(part.segments for part in parts)),
        frozenset[str]().union(*(part.events for part in parts)),
    )


def _anchors_of(condition: Condition) -> tuple[Anchor, ...] | None:
    values = condition.compared_with
    if condition.ignore_case:
        return None
    if condition.operator in ("equal", "in"):
        return (Anchor("equal", condition.key, values),)
    if condition.operator == "startsWith" and all(isinstance(value, str) and value for value in values):
        return (Anchor("prefix", condition.key, values),)
    return None


def _pattern_key(counted: CountedEvents) -> str:
    pattern = [counted.event, [condition.as_written() for condition in counted.where]]
    return blake2b(msgspec.json.encode(pattern), digest_size=6).hexdigest()


def merged_counters(compiled: Iterator[Compiled]) -> Mapping[str, tuple[Counter, ...]]:
    """The counters of all triggers by event name, those of one pattern joined into the one that keeps most."""
    by_key: dict[str, Counter] = {}
    for trigger in compiled:
        for counter in trigger.counters:
            known = by_key.get(counter.key)
            if known is None or known.keep < counter.keep:
                by_key[counter.key] = counter
    by_event: dict[str, tuple[Counter, ...]] = {}
    for counter in by_key.values():
        by_event[counter.event] = (*by_event.get(counter.event, ()), counter)
    return by_event

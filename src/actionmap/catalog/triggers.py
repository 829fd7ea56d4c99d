"""Triggers compiled: a function of a scope, what it remembers, which segments it asks, its clauses for the index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actionmap.catalog.clauses import (
    ANYTHING,
    COMPLETED,
    COUNTED,
    ENTERED,
    LEFT,
    Clauses,
    Literal,
    both,
    either,
    equal,
)
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
    OrderedEvents,
    SegmentEnteredLeaf,
    SegmentLeaf,
    SegmentLeftLeaf,
    SequenceLeaf,
    Trigger,
)
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Scope, UnknownPath, known_paths
from actionmap.catalog.windows import Counter, Memory, Pattern, Reach, key_of
from actionmap.catalog.windows import Sequence as SequenceMemory
from actionmap.event import RESERVED_EVENTS, VISITOR_ERASED

_NONE: frozenset[str] = frozenset()


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
    #: When it may hold, for the index.
    clauses: Clauses = ANYTHING
    #: When its contrary may hold.
    contrary: Clauses = ANYTHING
    #: Whether one of ``clauses``, and of ``contrary``, says all that it asks.
    exact: bool = False
    contrary_exact: bool = False
    memories: tuple[Memory, ...] = ()
    segments: frozenset[str] = _NONE
    #: Names of the events that its ``event`` and ``sequence`` leaves ask for at the current event.
    events: frozenset[str] = _NONE
    #: Names of the segments that it asks of whether they were just left.
    left: frozenset[str] = _NONE
    #: Set when the trigger fires by timer; ``test`` is then made when it is due, ``clauses`` are those of its events.
    absence: Absence | None = None


@dataclass(slots=True)
class TriggerCompiler:
    """Compiles triggers; what is wrong is collected in ``problems`` as (path, message), and compiles to false."""

    #: Names of the segments that exist.
    segments: Collection[str]
    #: Names of those that others assign.
    external: Collection[str] = ()
    #: Whether the trigger is a segment's ``when``, in which events and lists of segments have no meaning.
    in_segment: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)
    #: Conditions that were compiled before, by what they say: many maps share one.
    conditions: dict[tuple[Any, ...], Predicate] = field(default_factory=dict)

    def compile(self, trigger: Trigger, path: str) -> Compiled:
        """``trigger``, which stands at ``path``, compiled with all it holds."""
        beside = trigger.all if isinstance(trigger, All) else (trigger,)
        for index, part in enumerate(beside):
            if isinstance(part, AbsenceLeaf) and not self.in_segment:
                return self._absence(part, index, trigger, path)
        return self.compile_part(trigger, path)

    def compile_part(self, trigger: Trigger, path: str) -> Compiled:
        """A part of a trigger, whose ``path`` is given, compiled by itself."""
        match trigger:
            case All():
                return self._all(trigger, path)
            case Any_():
                return self._any(trigger, path)
            case Not():
                return _inverted(self.compile_part(trigger.not_, f"{path}.not"))
            case SegmentLeaf():
                return self._segment(trigger, path)
            case SegmentEnteredLeaf() | SegmentLeftLeaf():
                return self._changed(trigger, path)
            case EventLeaf():
                return self._event(trigger, path)
            case Count():
                return self._count(trigger.count, f"{path}.count")
            case SequenceLeaf():
                return self._sequence(trigger.sequence, f"{path}.sequence")
            case AbsenceLeaf():
                message = "an absence stands alone or in one top-level all, not in any, not or a segment"
                self.problems.append((f"{path}.absence", message))
                return Compiled(lambda _: False)
            case Condition():
                return _of_literal(self._condition(trigger, path), Literal(trigger.key, trigger))

    def _absence(self, leaf: AbsenceLeaf, at: int, trigger: Trigger, path: str) -> Compiled:
        """An absence, with the conditions and segments beside it, which are judged when it is due."""
        own = f"{path}.all.{at}" if isinstance(trigger, All) else path
        after = self._event(leaf.absence.after, f"{own}.absence.after")
        of = self._event(leaf.absence.of, f"{own}.absence.of")
        if VISITOR_ERASED in after.events | of.events:
            self.problems.append((f"{own}.absence", f"nothing of a visitor waits beyond {VISITOR_ERASED}"))
        beside: list[Compiled] = []
        for index, part in enumerate(trigger.all if isinstance(trigger, All) else ()):
            if index == at:
                continue
            where = f"{path}.all.{index}"
            if isinstance(part, SegmentLeaf) or (isinstance(part, Condition) and not part.key.startswith("event.")):
                beside.append(self.compile_part(part, where))
            else:
                message = "beside an absence stand only segments and conditions on visitor or session"
                self.problems.append((where, message))
        return Compiled(
            _every([part.test for part in beside]),
            clauses=either((after.clauses, of.clauses))[0],
            segments=_NONE.union(*(part.segments for part in beside)),
            events=after.events | of.events,
            absence=Absence(after.test, of.test, seconds(leaf.absence.for_) * 1000),
        )

    def _all(self, trigger: All, path: str) -> Compiled:
        parts = [self.compile_part(part, f"{path}.all.{index}") for index, part in enumerate(trigger.all)]
        return _joined(parts, _every([part.test for part in parts]), every=True)

    def _any(self, trigger: Any_, path: str) -> Compiled:
        parts = [self.compile_part(part, f"{path}.any.{index}") for index, part in enumerate(trigger.any)]
        tests = [part.test for part in parts]

        def test(scope: Scope) -> bool:
            for one in tests:  # noqa: SIM110 - as in _every
                if one(scope):
                    return True
            return False

        return _joined(parts, test, every=False)

    def _segment(self, leaf: SegmentLeaf, path: str) -> Compiled:
        name = self._known_segment(leaf.segment, f"{path}.segment")
        compiled = _of_literal(lambda scope: name in scope.visitor.segments, equal("visitor.segments", name))
        compiled.segments = frozenset((name,))
        return compiled

    def _changed(self, leaf: SegmentEnteredLeaf | SegmentLeftLeaf, path: str) -> Compiled:
        entered = isinstance(leaf, SegmentEnteredLeaf)
        field_name = "segmentEntered" if entered else "segmentLeft"
        if self.in_segment:
            self.problems.append((f"{path}.{field_name}", "a segment asks for another one with segment: NAME"))
        written = leaf.segment_entered if isinstance(leaf, SegmentEnteredLeaf) else leaf.segment_left
        name = self._known_segment(written, f"{path}.{field_name}")
        test: Predicate = (lambda scope: name in scope.entered) if entered else (lambda scope: name in scope.left)
        compiled = _of_literal(test, equal(ENTERED if entered else LEFT, name))
        compiled.segments = frozenset((name,))
        compiled.left = _NONE if entered else compiled.segments
        if name in self.external:
            # To ask for the change is to name the event that makes it.
            compiled.events = frozenset(("segment_assigned" if entered else "segment_unassigned",))
        return compiled

    def _known_segment(self, name: str, path: str) -> str:
        if name not in self.segments:
            self.problems.append((path, f"there is no segment {name!r}{nearest(name, self.segments)}"))
        return name

    def _event(self, leaf: EventLeaf, path: str) -> Compiled:
        if self.in_segment:
            self.problems.append((f"{path}.event", "a segment has no event leaf; count the events: count: {event: …}"))
        pattern = self._pattern(leaf, path)
        literals = _literals(leaf)
        contrary, contrary_exact = either(((literal.inverted(),),) for literal in literals)
        return Compiled(pattern.matches, (literals,), contrary, exact=True, contrary_exact=contrary_exact,
                        events=frozenset((leaf.event,)))  # fmt: skip

    def _count(self, counted: CountedEvents, path: str) -> Compiled:
        at_least, at_most = counted.at_least, counted.at_most
        # The n-th time tells whether there are n.
        keep = max(at_least or 0, 0 if at_most is None else at_most + 1)
        reach = Reach.of(counted.within)
        key = key_of(reach.kind, _written(counted))
        counter = Counter(key, self._remembered(counted, path), reach, keep, (_literals(counted),))

        def test(scope: Scope) -> bool:
            number = counter.number(scope, reach.ms)
            if at_least is not None and number < at_least:
                return False
            return at_most is None or (number <= at_most and counter.knows(scope, reach.ms))

        some = ((equal(COUNTED, key),),)
        return Compiled(
            test,
            clauses=some if at_least else ANYTHING,
            # Without such an event there are none, and the contrary holds only of more than atMost.
            contrary=ANYTHING if at_least else some,
            memories=(counter,),
        )

    def _sequence(self, ordered: OrderedEvents, path: str) -> Compiled:
        if self.in_segment:
            self.problems.append((path, "a segment has no sequence; a map fires at its last step"))
        steps = tuple(self._remembered(step, f"{path}.steps.{index}") for index, step in enumerate(ordered.steps))
        without = tuple(self._remembered(some, f"{path}.without.{index}") for index, some in enumerate(ordered.without))
        key = key_of(ordered.within, [_written(some) for some in ordered.steps],
                     [_written(some) for some in ordered.without])  # fmt: skip
        noted, _ = either((_literals(some),) for some in (*ordered.steps, *ordered.without))
        memory = SequenceMemory(key, steps, without, Reach.of(ordered.within), noted)
        return Compiled(
            lambda scope: key in scope.completed,
            clauses=((equal(COMPLETED, key),),),
            exact=True,
            memories=(memory,),
            events=frozenset((ordered.steps[-1].event,)),
        )

    def _remembered(self, leaf: EventLeaf | CountedEvents, path: str) -> Pattern:
        if leaf.event in RESERVED_EVENTS:
            self.problems.append((f"{path}.event", f"{leaf.event} is actionmap's own, and touches no counter"))
        return self._pattern(leaf, path)

    def _pattern(self, leaf: EventLeaf | CountedEvents, path: str) -> Pattern:
        where = tuple(self._condition(one, f"{path}.where.{index}") for index, one in enumerate(leaf.where))
        return Pattern(leaf.event, where)

    def _condition(self, condition: Condition, path: str) -> Predicate:
        if self.in_segment and condition.key == "visitor.segments":
            self.problems.append((f"{path}.key", "a segment asks for another one with segment: NAME"))
        said = condition.key, *condition.said
        known = self.conditions.get(said)
        if known is not None:
            return known
        try:
            compiled = compile_condition(condition)
        except UnknownPath:
            message = f"there is no path {condition.key!r}{nearest(condition.key, known_paths())}"
            self.problems.append((f"{path}.key", message))
            return lambda _: False
        except BadPattern as error:
            self.problems.append((f"{path}.values", str(error)))
            return lambda _: False
        self.conditions[said] = compiled
        return compiled


def _of_literal(test: Predicate, literal: Literal) -> Compiled:
    return Compiled(test, ((literal,),), ((literal.inverted(),),), exact=True, contrary_exact=True)


def _literals(leaf: EventLeaf | CountedEvents) -> tuple[Literal, ...]:
    """What an event must satisfy to match ``leaf``."""
    return equal("event.eventName", leaf.event), *(Literal(condition.key, condition) for condition in leaf.where)


def _inverted(inner: Compiled) -> Compiled:
    test = inner.test
    return replace(
        inner,
        test=lambda scope: not test(scope),
        clauses=inner.contrary,
        contrary=inner.clauses,
        exact=inner.contrary_exact,
        contrary_exact=inner.exact,
    )


def _every(tests: Sequence[Predicate]) -> Predicate:
    if len(tests) == 1:
        return tests[0]
    every = tuple(tests)

    def test(scope: Scope) -> bool:
        for one in every:  # noqa: SIM110 - a generator for all() costs more than most tests
            if not one(scope):
                return False
        return True

    return test


def _joined(parts: Sequence[Compiled], test: Predicate, *, every: bool) -> Compiled:
    """``parts`` joined by ``all``, or by ``any``: what makes the one true makes the contrary of the other."""
    joins = (both, either) if every else (either, both)
    (clauses, whole), (contrary, contrary_whole) = (
        join(some) for join, some in zip(
            joins, ([part.clauses for part in parts], [part.contrary for part in parts]), strict=True
        )
    )  # fmt: skip
    return Compiled(
        test,
        clauses,
        contrary,
        whole and all(part.exact for part in parts),
        contrary_whole and all(part.contrary_exact for part in parts),
        tuple(memory for part in parts for memory in part.memories),
        _NONE.union(*(part.segments for part in parts)),
        _NONE.union(*(part.events for part in parts)),
        _NONE.union(*(part.left for part in parts)),
    )


def _written(leaf: EventLeaf | CountedEvents) -> list[Any]:
    return [leaf.event, [condition.as_written() for condition in leaf.where]]

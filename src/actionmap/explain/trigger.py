"""A trigger walked through, part by part: what each expects, and what was seen."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from actionmap.catalog.models.trigger import (
    AbsenceLeaf,
    All,
    Any_,
    Condition,
    Count,
    EventLeaf,
    Not,
    SegmentEnteredLeaf,
    SegmentLeaf,
    SegmentLeftLeaf,
    SequenceLeaf,
    Trigger,
)
from actionmap.catalog.paths import Scope, find_path
from actionmap.catalog.triggers import TriggerCompiler
from actionmap.catalog.windows import Counter, Sequence
from actionmap.event import to_rfc3339
from actionmap.explain.explanation import Step


class TriggerWalk:
    """Walks through the trigger of one map as one event sees it."""

    def __init__(self, action_map: str, segments: Collection[str], scope: Scope) -> None:
        """``segments`` are the names of those that exist."""
        self._name = action_map
        self._segments = segments
        self._scope = scope

    def walk(self, trigger: Trigger, path: str) -> Step:
        """``trigger``, which stands at ``path``, with all it holds."""
        match trigger:
            case All() | Any_():
                kind = "all" if isinstance(trigger, All) else "any"
                inner = trigger.all if isinstance(trigger, All) else trigger.any
                parts = tuple(self.walk(part, f"{path}.{kind}.{n}") for n, part in enumerate(inner))
                passed = all(part.passed for part in parts) if kind == "all" else any(part.passed for part in parts)
                return Step(path=path, kind=kind, passed=passed, expected=f"{kind} of", parts=parts)
            case Not():
                part = self.walk(trigger.not_, f"{path}.not")
                return Step(path=path, kind="not", passed=not part.passed, expected="not", parts=(part,))
            case Condition():
                return self._condition(trigger, path)
            case EventLeaf():
                return self._event(trigger, path)
            case AbsenceLeaf():
                return self._absence(trigger, path)
            case _:
                return self._leaf(trigger, path)

    def _holds(self, trigger: Trigger, path: str) -> bool:
        return TriggerCompiler(self._segments).compile_part(trigger, path).test(self._scope)

    def _condition(self, condition: Condition, path: str) -> Step:
        values = ", ".join(map(repr, condition.compared_with))
        words = [condition.key, condition.operator, values, "(ignoring case)" if condition.ignore_case else ""]
        return Step(path=path, kind="condition", passed=self._holds(condition, path),
                    expected=" ".join(filter(None, words)), seen=self._read(condition.key))  # fmt: skip

    def _read(self, path: str) -> Any:
        return find_path(path).read(self._scope)

    def _event(self, leaf: EventLeaf, path: str) -> Step:
        name = Step(path=f"{path}.event", kind="condition", passed=self._scope.event.name == leaf.event,
                    expected=f"the event is {leaf.event}", seen=self._scope.event.name)  # fmt: skip
        where = (self._condition(one, f"{path}.where.{n}") for n, one in enumerate(leaf.where))
        parts = (name, *where)
        return Step(path=path, kind="event", passed=all(part.passed for part in parts),
                    expected=f"event {leaf.event}", parts=parts)  # fmt: skip

    def _absence(self, leaf: AbsenceLeaf, path: str) -> Step:
        awaited = leaf.absence
        waits = [wait for wait in self._scope.visitor.waits if wait.action_map == self._name]
        parts = (self._event(awaited.after, f"{path}.absence.after"),
                 self._event(awaited.of, f"{path}.absence.of"))  # fmt: skip
        expected = f"{awaited.after.event} without {awaited.of.event} for {awaited.for_}; fires by timer"
        if waits and waits[0].due is not None:
            expected += f"; waiting until {to_rfc3339(waits[0].due)}"
        return Step(path=path, kind="absence", passed=False, expected=expected, parts=parts)

    def _leaf(self, trigger: Trigger, path: str) -> Step:
        expected, seen = self._told(trigger, path)
        kind = next(iter(trigger.as_written()))
        return Step(path=path, kind=kind, passed=self._holds(trigger, path), expected=expected, seen=seen)

    def _told(self, trigger: Trigger, path: str) -> tuple[str, Any]:
        """What a leaf expects, in words, and what was seen of it."""
        match trigger:
            case SegmentLeaf():
                return f"is a member of {trigger.segment}", self._scope.visitor.segments
            case SegmentEnteredLeaf():
                return f"has just become a member of {trigger.segment_entered}", list(self._scope.entered)
            case SegmentLeftLeaf():
                return f"has just ceased to be a member of {trigger.segment_left}", list(self._scope.left)
            case Count():
                counted = trigger.count
                bounds = [f"at least {counted.at_least}" if counted.at_least is not None else "",
                          f"at most {counted.at_most}" if counted.at_most is not None else ""]  # fmt: skip
                [memory] = TriggerCompiler(()).compile_part(trigger, path).memories
                assert isinstance(memory, Counter)
                words = " and ".join(filter(None, bounds))
                return f"{words} {counted.event} within {counted.within}", memory.number(self._scope, memory.reach.ms)
            case SequenceLeaf():
                steps = ", then ".join(step.event for step in trigger.sequence.steps)
                without = ", ".join(some.event for some in trigger.sequence.without)
                [sequence] = TriggerCompiler(()).compile_part(trigger, path).memories
                assert isinstance(sequence, Sequence)
                expected = f"{steps} within {trigger.sequence.within}" + (f", without {without}" if without else "")
                return expected, f"{sequence.steps_reached(self._scope)} of {len(trigger.sequence.steps)} steps"
        raise AssertionError(trigger)

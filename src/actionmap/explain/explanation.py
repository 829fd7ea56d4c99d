"""Explanation: one map's answer for one event, with each condition, check and lookup that led to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actionmap.event import to_rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of a trigger, and whether it holds."""

    #: Where it stands in the definition, such as ``trigger.all.0``.
    path: str
    kind: str
    passed: bool
    expected: str
    #: The value that was seen; None for a missing one, and for what only has parts.
    seen: Any = None
    parts: tuple[Step, ...] = ()

    @property
    def short(self) -> int:
        """How many conditions would have to be otherwise for it to hold."""
        if self.passed:
            return 0
        if self.kind in ("all", "event"):
            return sum(part.short for part in self.parts)
        if self.kind == "any":
            return min(part.short for part in self.parts)
        return 1

    def as_json(self) -> dict[str, Any]:
        """The form that REST and ``--format json`` give."""
        made = {"path": self.path, "kind": self.kind, "passed": self.passed, "expected": self.expected}
        if self.parts:
            return {**made, "parts": [part.as_json() for part in self.parts]}
        return {**made, "seen": self.seen}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check between a match and its firing."""

    #: The field of the definition that is checked.
    name: str
    passed: bool
    #: The verdict that it leads to, "" when it passes; and what stands in the way, and until when.
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One mapping, and what it brings."""

    field: str
    #: The path, or None for a static value.
    lookup: str | None
    value: Any
    #: Why there is no value; "" when there is one.
    missing: str
    #: What is done then; "" of a static value.
    on_missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One map's answer for one event, with all that led to it."""

    action_map: str
    visitor_id: str
    event_id: str
    event_name: str
    #: Event time, in milliseconds since 1970.
    at: int
    #: What it was judged by, in words.
    basis: str
    #: A verdict's reason, or ``late`` or ``duplicate`` for an event that is not judged, or ``matched``.
    reason: str
    detail: str
    trigger: Step
    checks: tuple[Check, ...]
    lookups: tuple[Lookup, ...]

    @property
    def short(self) -> int:
        """How many conditions and checks keep it from firing."""
        return self.trigger.short + sum(not check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The form that REST and ``--format json`` give."""
        return {
            "actionMap": self.action_map,
            "visitorId": self.visitor_id,
            "eventId": self.event_id,
            "eventName": self.event_name,
            "at": to_rfc3339(self.at),
            "basis": self.basis,
            "verdict": {"reason": self.reason, "detail": self.detail},
            "short": self.short,
            "trigger": self.trigger.as_json(),
            "checks": [{"name": one.name, "passed": one.passed, "detail": one.detail} for one in self.checks],
            "lookups": [
                {
                    "field": one.field,
                    "lookup": one.lookup,
                    "value": one.value,
                    "missing": one.missing,
                    "onMissing": one.on_missing,
                }
                for one in self.lookups
            ],
        }

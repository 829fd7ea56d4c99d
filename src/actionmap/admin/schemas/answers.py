"""What REST answers to questions: why a map fires, what a webhook would send, and whether maps are ready."""

from __future__ import annotations

from typing import Any, Literal

from actionmap.admin.schemas import EXAMPLE_TIME, Moment, Shown
from actionmap.admin.schemas.deliveries import FIRING, RenderedRequest
from actionmap.golive.check import Status


class ExplainedStep(Shown):
    """One part of a trigger, and whether it holds."""

    path: str
    """Where it stands in the definition, such as `trigger.all.0`."""
    kind: str
    """What it is: all, any, not, event, a condition …"""
    passed: bool
    """Whether it holds."""
    expected: str
    """What it expects, in words for people."""
    seen: Any = None
    """The value that was seen; not there where it has parts."""
    parts: list[ExplainedStep] = []
    """What it is made of; not there without any."""


class ExplainedCheck(Shown):
    """One check between a match and its firing."""

    name: str
    """The field of the definition that is checked."""
    passed: bool
    """Whether it lets the map fire."""
    detail: str
    """What stands in the way, and until when."""


class ExplainedLookup(Shown):
    """One mapping of the webhook, and what it brings."""

    field: str
    """The field of the input contract."""
    lookup: str | None
    """The path; null for a static value."""
    value: Any
    """The value that it brings."""
    missing: str
    """Why there is none; empty when there is one."""
    on_missing: str
    """What is done then; empty of a static value."""


class Verdict(Shown):
    """What became of the match."""

    reason: str
    """A verdict's reason, such as `fired`, or `late` or `duplicate` for an event that is not judged."""
    detail: str
    """What stands in the way."""


class Explained(Shown):
    """One map's answer for one event, with all that led to it."""

    action_map: str
    """The action map."""
    visitor_id: str
    """The visitor."""
    event_id: str
    """The event."""
    event_name: str
    """Its name."""
    at: Moment
    """Its time."""
    basis: str
    """What it was judged by, in words for people."""
    verdict: Verdict
    """What became of it."""
    short: int
    """How many conditions and checks keep it from firing."""
    trigger: ExplainedStep
    """The trigger, part by part."""
    checks: list[ExplainedCheck]
    """What stands between a match and its firing."""
    lookups: list[ExplainedLookup]
    """What the webhook would be sent."""


EXPLAINED: dict[str, Any] = {
    "actionMap": "hot-lead", "visitorId": "c-7f3a", "eventId": "e-14", "eventName": "pricing_viewed",
    "at": EXAMPLE_TIME, "basis": "the visitor as now", "verdict": {"reason": "frequency", "detail": "1 of 1"},
    "short": 1,
    "trigger": {"path": "trigger", "kind": "event", "passed": True, "expected": "pricing_viewed",
                "seen": "pricing_viewed"},
    "checks": [{"name": "frequency", "passed": False, "detail": "1 of 1"}],
    "lookups": [{"field": "email", "lookup": "visitor.traits.email", "value": "a@b.example", "missing": "",
                 "onMissing": "skip"}],
}  # fmt: skip


class TriedValue(Shown):
    """Where one contract field's value came from."""

    field: str
    """The field of the input contract."""
    lookup: str | None
    """The path; null for a static value."""
    origin: Literal["static", "looked-up", "sample", "missing"]
    """Where it came from."""
    value: Any
    """What is sent; null too where the field is left out."""
    missing: str
    """Why the lookup had no value; empty when it had one."""
    on_missing: str
    """What is done then."""


class TriedResponse(Shown):
    """What sending it led to."""

    outcome: Literal["delivered", "retry", "dead"]
    """What would follow from it."""
    status: int | None
    """The HTTP status; null when no answer came."""
    error: str | None
    """Why it was no success."""
    duration_seconds: float | None
    """How long it took; null when nothing was let out."""
    bytes: int
    """Bytes of the answer's body, as far as it was read."""
    headers: dict[str, str]
    """Some headers of the answer."""
    body: str | None
    """The beginning of its body."""


class Tried(Shown):
    """A webhook or data action that was tried out; nothing is stored."""

    webhook: str
    """The webhook."""
    state: Literal["draft", "published", "archived"]
    """Its state."""
    integration: str
    """Where it would be sent."""
    values: list[TriedValue]
    """A value for each field of the input contract."""
    problem: str
    """Why nothing would be sent; empty when it would."""
    request: RenderedRequest | None
    """What would be sent; null when nothing would."""
    response: TriedResponse | None
    """What was answered; null unless it was sent."""
    variables: dict[str, Any]
    """Visitor variables that the answer would set."""
    traits: dict[str, Any]
    """Visitor traits that the answer would set."""
    on_failure: dict[str, Any]
    """Visitor variables that would be set if it were given up."""


TRIED: dict[str, Any] = {
    "webhook": "tell-crm", "state": "published", "integration": "crm",
    "values": [{"field": "email", "lookup": "visitor.traits.email", "origin": "sample", "value": "a@b.example",
                "missing": "", "onMissing": ""}],
    "problem": "", "request": FIRING["request"], "response": None, "variables": {}, "traits": {}, "onFailure": {},
}  # fmt: skip


class GoLiveCheck(Shown):
    """One named check."""

    name: str
    """Its name."""
    status: Status
    """How it went."""
    message: str
    """What was found."""
    fix: str
    """What to do about it; empty when there is nothing to do."""


class GoLiveAnswer(Shown):
    """Whether one action map would really fire."""

    action_map: str
    """The action map."""
    ready: bool
    """True when no check fails."""
    checks: list[GoLiveCheck]
    """All checks."""


GO_LIVE: dict[str, Any] = {
    "actionMap": "hot-lead", "ready": False,
    "checks": [{"name": "webhook", "status": "fail", "message": "Webhook tell-crm is a draft",
                "fix": "publish it: actionmap publish webhook tell-crm"}],
}  # fmt: skip

"""decide(): the checks of one event in their order, and one verdict per candidate map (semantics §2, §5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap, Rulebook
from actionmap.decide.observe import observe, observe_late
from actionmap.decide.render import LookupMissing, render
from actionmap.decision import Decision, Reason, Verdict
from actionmap.delivery import DeadLetter, Delivery
from actionmap.event import Event, to_rfc3339
from actionmap.visitor import Visitor, hash_event_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decisions depend on beside event, visitor and rulebook."""

    company: str = "default"
    session_timeout_ms: int = 20 * 60 * 1000
    allowed_lateness_ms: int = 24 * 3600 * 1000


@dataclass(slots=True)
class _Judging:
    """What judging one event has brought up so far."""

    verdicts: list[Verdict] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, action_map: CompiledMap, reason: Reason, detail: str = "") -> None:
        self.verdicts.append(Verdict(action_map.name, reason, detail))


def decide(event: Event, visitor: Visitor | None, rulebook: Rulebook, stream_time: int, policy: Policy) -> Decision:
    """What ``event`` leads to: a function of its arguments alone.

    Args:
        event: The event.
        visitor: Its visitor before it; None for one never seen.
        rulebook: The maps to judge.
        stream_time: Greatest event time processed on the partition, in milliseconds since 1970; -1 at its start.
        policy: Session time-out, lateness and company.
    """
    id_hash = hash_event_id(event.id)
    if visitor is not None and visitor.has_seen(id_hash):
        return Decision("duplicate", visitor)
    if event.time < stream_time - policy.allowed_lateness_ms:
        after = observe_late(visitor, event)
        after.remember(id_hash)
        return Decision("late", after)
    scope = observe(visitor, event, rulebook, policy.session_timeout_ms)
    scope.visitor.remember(id_hash)
    candidates = rulebook.index.candidates(scope)
    if not candidates:
        return Decision("judged", scope.visitor)
    judging = _Judging()
    for position in candidates:
        _judge(rulebook.maps[position], scope, policy, judging)
    return Decision(
        "judged",
        scope.visitor,
        tuple(judging.verdicts),
        tuple(judging.deliveries),
        tuple(judging.dead_letters),
        tuple(judging.missing),
    )


def _judge(action_map: CompiledMap, scope: Scope, policy: Policy, judging: _Judging) -> None:
    try:
        if not action_map.test(scope):
            judging.add(action_map, "condition-false")
            return
        obstacle = _obstacle(action_map, scope)
        if obstacle is not None:
            judging.add(action_map, *obstacle)
            return
        owed, missing = render(action_map, scope, policy.company)
    except LookupMissing as why:
        judging.add(action_map, "lookup-missing", str(why))
        return
    except Exception as error:  # a broken map is a verdict that is counted, never silence
        judging.add(action_map, "error", f"{type(error).__name__}: {error}")
        return
    fired = scope.session.fired
    scope.session.fired = {**fired, action_map.name: fired.get(action_map.name, 0) + 1}
    judging.missing.extend(missing)
    if isinstance(owed, DeadLetter):
        judging.dead_letters.append(owed)
        judging.add(action_map, "unrenderable", owed.detail)
    else:
        judging.deliveries.append(owed)
        judging.add(action_map, "fired")


def _obstacle(action_map: CompiledMap, scope: Scope) -> tuple[Reason, str] | None:
    """The first check after the trigger that fails, in the order of semantics §5."""
    if action_map.not_live:
        return "not-live", action_map.not_live
    time = scope.event.time
    if action_map.start is not None and time < action_map.start:
        return "outside-dates", f"starts at {to_rfc3339(action_map.start)}"
    if action_map.end is not None and time >= action_map.end:
        return "outside-dates", f"ended at {to_rfc3339(action_map.end)}"
    url = scope.event.page.url if scope.event.page else None
    if action_map.includes and (url is None or not any(test(url) for test in action_map.includes)):
        return "page-url", "the page is not among pageUrls.include"
    if url is not None and any(test(url) for test in action_map.excludes):
        return "page-url", "the page is among pageUrls.exclude"
    cap = action_map.max_per_session
    if cap is not None and scope.session.fired.get(action_map.name, 0) >= cap:
        return "capped", f"fired {cap} times in this session"
    return None

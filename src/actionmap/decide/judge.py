"""decide() and fire(): the checks of an event or timer in their order, one verdict per candidate map (semantics §5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap, Rulebook
from actionmap.decide.observe import observe, observe_late
from actionmap.decide.render import LookupMissing, render
from actionmap.decide.waits import fired_in_session, note_fired, remember_match, watch, without
from actionmap.decision import Decision, Reason, Verdict
from actionmap.delivery import DeadLetter, Delivery
from actionmap.event import Event, to_rfc3339
from actionmap.visitor import Session, Visitor, Wait, hash_event_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decisions depend on beside event, visitor and rulebook."""

    company: str = "default"
    session_timeout_ms: int = 20 * 60 * 1000
    allowed_lateness_ms: int = 24 * 3600 * 1000
    #: Added to the due time of absences.
    wait_grace_ms: int = 0


@dataclass(slots=True)
class _Judging:
    """What judging one event or timer has brought up so far."""

    scope: Scope
    policy: Policy
    #: Event time, or when the timer was due.
    at: int
    #: When the record that led here entered Kafka.
    owed_at: int
    #: Number of the session that caps per session count in.
    session: int
    verdicts: list[Verdict] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, action_map: CompiledMap, reason: Reason, detail: str = "") -> None:
        self.verdicts.append(Verdict(action_map.name, reason, detail))

    def decision(self, outcome: str) -> Decision:
        return Decision(
            outcome,  # type: ignore[arg-type]
            self.scope.visitor,
            tuple(self.verdicts),
            tuple(self.deliveries),
            tuple(self.dead_letters),
            tuple(self.missing),
        )


def decide(event: Event, visitor: Visitor | None, rulebook: Rulebook, stream_time: int, policy: Policy) -> Decision:
    """What ``event`` leads to: a function of its arguments alone.

    Args:
        event: The event.
        visitor: Its visitor before it; None for one never seen.
        rulebook: The maps to judge.
        stream_time: Greatest event time processed on the partition, in milliseconds since 1970; -1 at its start.
        policy: Session time-out, lateness and company.
    """
    if event.only_maps:
        return _judge_again(event, visitor, rulebook, policy)
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
    judging = _Judging(scope, policy, event.time, event.recorded_at, scope.session.number)
    for position in candidates:
        _judge(rulebook.maps[position], judging)
    return judging.decision("judged")


def _judge_again(event: Event, visitor: Visitor | None, rulebook: Rulebook, policy: Policy) -> Decision:
    """Maps that broke on the event judge it once more, with the visitor as now; it touches no session, no counter."""
    known = visitor or Visitor(event.visitor_id, event.time, event.time)
    session = replace(known.session) if known.session else Session(0, event.time, event.time)
    after = replace(known, session=session)
    judging = _Judging(Scope(event, after, session), policy, event.time, event.recorded_at, session.number)
    for name in event.only_maps:
        action_map = rulebook.by_name.get(name)
        if action_map is not None:
            _judge(action_map, judging)
    return judging.decision("replayed")


def fire(wait: Wait, visitor: Visitor, rulebook: Rulebook, owed_at: int, policy: Policy) -> Decision:
    """What the end of ``wait`` leads to: every check after the trigger is made now, with the visitor as now (§5).

    Args:
        wait: One of the visitor's waits; the decision's visitor has it no more.
        visitor: The visitor.
        rulebook: Where its map is looked up; a map that is gone or inactive fires nothing.
        owed_at: When the record entered Kafka that moved the stream time to here, or the wall clock that did.
        policy: The company.
    """
    # A timer touches no session; a visitor who has a wait has had one.
    session = replace(visitor.session) if visitor.session else Session(0, wait.due, wait.due)
    after = replace(visitor, session=session)
    judging = _Judging(Scope(wait.event, after, session), policy, wait.due, owed_at, wait.session)
    action_map = rulebook.by_name.get(wait.action_map)
    if action_map is None:
        judging.verdicts.append(Verdict(wait.action_map, "not-live", "the action map is not active any more"))
    elif wait.kind == "delay" or _holds(action_map, judging):
        _fire(action_map, judging)
    without(after, wait)
    return judging.decision("timer")


def _judge(action_map: CompiledMap, judging: _Judging) -> None:
    if action_map.absence is not None:
        try:
            watch(action_map, action_map.absence, judging.scope, judging.policy.wait_grace_ms, judging.add)
        except Exception as error:
            judging.add(action_map, "error", f"{type(error).__name__}: {error}")
    elif _holds(action_map, judging):
        if action_map.delay_ms is None:
            _fire(action_map, judging)
        else:
            remember_match(action_map, judging.scope, action_map.delay_ms, judging.add)


def _holds(action_map: CompiledMap, judging: _Judging) -> bool:
    try:
        if action_map.test(judging.scope):
            return True
        judging.add(action_map, "condition-false")
    except Exception as error:  # a broken map is a verdict that is counted, never silence
        judging.add(action_map, "error", f"{type(error).__name__}: {error}")
    return False


def _fire(action_map: CompiledMap, judging: _Judging) -> None:
    """The checks after the trigger, and what the map owes when they all pass."""
    scope = judging.scope
    try:
        obstacle = _obstacle(action_map, judging)
        if obstacle is not None:
            judging.add(action_map, *obstacle)
            return
        owed, missing = render(action_map, scope, judging.policy.company, judging.at, judging.owed_at)
    except LookupMissing as why:
        judging.add(action_map, "lookup-missing", str(why))
        return
    except Exception as error:
        judging.add(action_map, "error", f"{type(error).__name__}: {error}")
        return
    note_fired(scope.visitor, judging.session, action_map.name)
    judging.missing.extend(missing)
    if isinstance(owed, DeadLetter):
        judging.dead_letters.append(owed)
        judging.add(action_map, "unrenderable", owed.detail)
    else:
        judging.deliveries.append(owed)
        judging.add(action_map, "fired")


def _obstacle(action_map: CompiledMap, judging: _Judging) -> tuple[Reason, str] | None:
    """The first check after the trigger that fails, in the order of semantics §5."""
    if action_map.not_live:
        return "not-live", action_map.not_live
    if action_map.start is not None and judging.at < action_map.start:
        return "outside-dates", f"starts at {to_rfc3339(action_map.start)}"
    if action_map.end is not None and judging.at >= action_map.end:
        return "outside-dates", f"ended at {to_rfc3339(action_map.end)}"
    event = judging.scope.event
    url = event.page.url if event.page else None
    if action_map.includes and (url is None or not any(test(url) for test in action_map.includes)):
        return "page-url", "the page is not among pageUrls.include"
    if url is not None and any(test(url) for test in action_map.excludes):
        return "page-url", "the page is among pageUrls.exclude"
    cap = action_map.max_per_session
    if cap is not None and fired_in_session(judging.scope.visitor, judging.session, action_map.name) >= cap:
        return "capped", f"fired {cap} times in this session"
    return None

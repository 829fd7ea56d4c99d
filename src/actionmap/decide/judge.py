"""decide(), fire() and expire(): what an event or a timer leads to, a verdict per candidate map (semantics §2, §5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap, Rulebook
from actionmap.decide.checks import Match, obstacle
from actionmap.decide.frequency import note_firing
from actionmap.decide.observe import learn, observe, observe_late
from actionmap.decide.policy import Policy
from actionmap.decide.render import LookupMissing, render
from actionmap.decide.segments import assign, end_memberships
from actionmap.decide.waits import remember_match, watch, without
from actionmap.decision import Decision, LookedUp, Reason, Verdict
from actionmap.delivery import DeadLetter, Delivery
from actionmap.event import ASSIGNMENT_EVENTS, OUTCOME_EVENTS, RESERVED_EVENTS, VISITOR_ERASED, Event
from actionmap.visitor import Session, Visitor, Wait, hash_event_id

#: Deliveries that may lead to one another, each by its outcome.
LONGEST_CHAIN = 5


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
    #: Stream time.
    now: int
    #: Names of the maps whose triggers hold, as the index has found.
    surely: Collection[str] = ()
    verdicts: list[Verdict] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    shadowed: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    looked_up: list[LookedUp] = field(default_factory=list)

    @property
    def horizon(self) -> int:
        """Nothing older than this can fire any more."""
        return self.now - self.policy.allowed_lateness_ms

    def add(self, action_map: CompiledMap, reason: Reason, detail: str = "") -> None:
        self.verdicts.append(Verdict(action_map.name, reason, detail))

    def decision(self, outcome: str) -> Decision:
        return Decision(
            outcome,  # type: ignore[arg-type]
            self.scope.visitor,
            tuple(self.verdicts),
            tuple(self.deliveries),
            tuple(self.dead_letters),
            tuple(self.looked_up),
            tuple(self.shadowed),
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
    if event.name == VISITOR_ERASED:
        return _judge_erasure(event, visitor, rulebook, policy)
    if event.name in OUTCOME_EVENTS:
        return _judge_outcome(event, visitor, rulebook, max(stream_time, event.time), policy)
    id_hash = hash_event_id(event.id)
    if visitor is not None and visitor.has_seen(id_hash):
        return Decision("duplicate", visitor)
    if event.time < stream_time - policy.allowed_lateness_ms:
        after = observe_late(visitor, event)
        after.remember(id_hash)
        return Decision("late", after)
    now = max(stream_time, event.time)
    if event.name in RESERVED_EVENTS:
        return _judge_reserved(event, visitor, rulebook, now, policy, id_hash)
    scope = observe(visitor, event, rulebook, now, policy)
    scope.visitor.remember(id_hash)
    candidates = rulebook.index.find(scope)
    returned = visitor is not None and visitor.waits and scope.session.number != _number_of(visitor.session)
    if not candidates and not returned:
        return Decision("judged", scope.visitor)
    judging = _Judging(scope, policy, event.time, event.recorded_at, scope.session.number, now)
    if returned:
        _settle_matches(judging, rulebook)
    judging.surely = {action_map.name for action_map, surely in candidates if surely and action_map.exact}
    _judge((action_map for action_map, _ in candidates), judging)
    return judging.decision("judged")


def _number_of(session: Session | None) -> int:
    return session.number if session is not None else 0


def _untouched(visitor: Visitor | None, visitor_id: str, event: Event, at: int, *, happens: bool = True) -> Scope:
    """The visitor as it is, as a scope: what is no event of the website touches no session and no counter."""
    known = visitor or Visitor(visitor_id, at, at)
    session = replace(known.session) if known.session else Session(0, at, at)
    after = replace(known, session=session) if known.session else replace(known)
    scope = Scope(event, after, session)
    scope.happens = happens
    return scope


def _judge_again(event: Event, visitor: Visitor | None, rulebook: Rulebook, policy: Policy) -> Decision:
    """Maps that broke on the event judge it once more, with the visitor as now."""
    scope = _untouched(visitor, event.visitor_id, event, event.time)
    judging = _Judging(scope, policy, event.time, event.recorded_at, scope.session.number, event.time)
    named = (rulebook.by_name.get(name) for name in event.only_maps)
    _judge((action_map for action_map in named if action_map is not None), judging)
    # Whom nobody knows is not made known by hearing again that it was forgotten.
    return judging.decision("erased" if event.name == VISITOR_ERASED and visitor is None else "replayed")


def _judge_reserved(
    event: Event, visitor: Visitor | None, rulebook: Rulebook, now: int, policy: Policy, id_hash: bytes
) -> Decision:
    """An event that actionmap itself gave: the maps that name it are judged, and no others."""
    scope = _untouched(visitor, event.visitor_id, event, event.time)
    scope.visitor.remember(id_hash)
    if event.name in ASSIGNMENT_EVENTS and assign(scope, rulebook, now):
        return Decision("refused", scope.visitor)
    judging = _Judging(scope, policy, event.time, event.recorded_at, scope.session.number, now)
    _judge(_naming(event, scope, rulebook), judging)
    return judging.decision("judged")


def _judge_erasure(event: Event, visitor: Visitor | None, rulebook: Rulebook, policy: Policy) -> Decision:
    """The visitor is forgotten: the maps that name that are judged by it as it was. Never late, and no duplicate."""
    scope = _untouched(visitor, event.visitor_id, event, event.time)
    judging = _Judging(scope, policy, event.time, event.recorded_at, scope.session.number, event.time)
    _judge(_naming(event, scope, rulebook), judging)
    return judging.decision("erased")


def scope_of_reserved(visitor: Visitor | None, event: Event, rulebook: Rulebook, now: int) -> Scope:
    """What lookups read for ``event``, which actionmap gave itself: an outcome is learned, an assignment is made."""
    scope = _untouched(visitor, event.visitor_id, event, event.time)
    if event.name in OUTCOME_EVENTS:
        learn(scope.visitor, event)
    elif event.name in ASSIGNMENT_EVENTS:
        assign(scope, rulebook, now)
    return scope


def _judge_outcome(event: Event, visitor: Visitor | None, rulebook: Rulebook, now: int, policy: Policy) -> Decision:
    """What a delivery ended with. Each is taken by one commit, so none is a duplicate, and no event id is forgotten."""
    scope = scope_of_reserved(visitor, event, rulebook, now)
    judging = _Judging(scope, policy, event.time, event.recorded_at, scope.session.number, now)
    named = _naming(event, scope, rulebook)
    if event.depth > LONGEST_CHAIN:
        for action_map in named:
            judging.add(action_map, "chain-too-long", f"more than {LONGEST_CHAIN} deliveries led to one another")
    else:
        _judge(named, judging)
    return judging.decision("outcome")


def _naming(event: Event, scope: Scope, rulebook: Rulebook) -> list[CompiledMap]:
    """The candidates that ask for the reserved ``event`` by its name."""
    return [one for one in rulebook.index.candidates(scope) if event.name in one.events]


def fire(wait: Wait, visitor: Visitor, rulebook: Rulebook, owed_at: int, policy: Policy) -> Decision:
    """What the end of ``wait`` leads to: every check after the trigger is made now, with the visitor as now (§5).

    Args:
        wait: One of the visitor's waits that has a due time; the decision's visitor has it no more.
        visitor: The visitor.
        rulebook: Where its map is looked up; a map that is gone or inactive fires nothing.
        owed_at: When the record entered Kafka that moved the stream time to here, or the wall clock that did.
        policy: The company.
    """
    assert wait.due is not None, wait
    scope = _untouched(visitor, visitor.id, wait.event, wait.due)
    judging = _Judging(scope, policy, wait.due, owed_at, wait.session, wait.due)
    _settle(wait, judging, rulebook)
    return judging.decision("timer")


def expire(visitor: Visitor, at: int, rulebook: Rulebook, owed_at: int, policy: Policy) -> Decision:
    """What the end of memberships leads to: maps with ``segmentLeft`` are judged, by the visitor's latest event.

    Args:
        visitor: The visitor, whose ``look_at_segments`` is ``at``.
        at: Stream time, in milliseconds since 1970.
        rulebook: The maps and segments.
        owed_at: When the record entered Kafka that moved the stream time to here, or the wall clock that did.
        policy: The company.
    """
    event = visitor.latest or Event(f"expiry/{at}", "", visitor.id, at, owed_at)
    scope = _untouched(visitor, visitor.id, event, at, happens=False)
    scope.left = end_memberships(scope.visitor, scope.session, rulebook, at)
    judging = _Judging(scope, policy, at, owed_at, scope.session.number, at)
    if scope.left:
        _judge(rulebook.judged_when_left(scope.left), judging)
    return judging.decision("expiry")


def _settle_matches(judging: _Judging, rulebook: Rulebook) -> None:
    """The visitor is back: the matches that waited for it are settled one by one, in the order in which they came."""
    scope, session = judging.scope, judging.session
    for wait in [wait for wait in scope.visitor.waits if wait.kind == "nextSession"]:
        judging.scope, judging.session = Scope(wait.event, scope.visitor, scope.session), wait.session
        _settle(wait, judging, rulebook)
    judging.scope, judging.session = scope, session


def _settle(wait: Wait, judging: _Judging, rulebook: Rulebook) -> None:
    """What a wait that is over leads to; it competes in no group."""
    action_map = rulebook.by_name.get(wait.action_map)
    if action_map is None:
        judging.verdicts.append(Verdict(wait.action_map, "not-live", "the action map is not active any more"))
    elif (wait.kind != "absence" or _holds(action_map, judging)) and _stands(action_map, judging):
        _send(action_map, judging, wait.occurrence)
    without(judging.scope.visitor, wait)


def _judge(candidates: Iterable[CompiledMap], judging: _Judging) -> None:
    """Judge maps, given by priority and name; of each exclusive group, the first one that stands fires."""
    maps, begin = list(candidates), len(judging.verdicts)
    standing = [action_map for action_map in maps if _matches(action_map, judging)]
    first: dict[str, str] = {}
    for action_map in standing:
        group = action_map.exclusive_group
        if group is not None and first.setdefault(group, action_map.name) != action_map.name:
            judging.add(action_map, "outranked", f"{first[group]} comes first in the group {group}")
        else:
            _send(action_map, judging, _occurrence(action_map, judging))
    if standing and len(maps) > 1:
        place = {action_map.name: number for number, action_map in enumerate(maps)}
        judging.verdicts[begin:] = sorted(judging.verdicts[begin:], key=lambda verdict: place[verdict.action_map])


def _matches(action_map: CompiledMap, judging: _Judging) -> bool:
    """True when the map fires now, unless another one of its group comes first."""
    if action_map.absence is not None:
        try:
            watch(action_map, action_map.absence, judging.scope, judging.policy.wait_grace_ms, judging.add)
        except Exception as error:
            judging.add(action_map, "error", f"{type(error).__name__}: {error}")
        return False
    if not _holds(action_map, judging):
        return False
    if action_map.waits:
        remember_match(action_map, judging.scope, judging.at, _occurrence(action_map, judging), judging.add)
        return False
    return _stands(action_map, judging)


def _occurrence(action_map: CompiledMap, judging: _Judging) -> int:
    """How often the map matched at this event before; more than never only where memberships end after it."""
    if not action_map.may_recur:
        return 0
    visitor = judging.scope.visitor
    before = visitor.matched.get(action_map.name, 0)
    visitor.matched = {**visitor.matched, action_map.name: before + 1}
    return before


def _holds(action_map: CompiledMap, judging: _Judging) -> bool:
    if action_map.name in judging.surely:
        return True
    try:
        if action_map.test(judging.scope):
            return True
        judging.add(action_map, "condition-false")
    except Exception as error:  # a broken map is a verdict that is counted, never silence
        judging.add(action_map, "error", f"{type(error).__name__}: {error}")
    return False


def _stands(action_map: CompiledMap, judging: _Judging) -> bool:
    """True when all checks between a match and its group pass."""
    try:
        found = obstacle(Match(action_map, judging.scope, judging.at, judging.session))
    except Exception as error:
        found = "error", f"{type(error).__name__}: {error}"
    if found is not None:
        judging.add(action_map, *found)
    return found is None


def _send(action_map: CompiledMap, judging: _Judging, occurrence: int) -> None:
    """The last check, required lookups, and what the map owes when it passes."""
    scope = judging.scope
    try:
        owed, missing = render(action_map, scope, judging.policy.company, judging.at, judging.owed_at, occurrence)
    except LookupMissing as why:
        judging.looked_up.append(LookedUp(action_map.name, action_map.webhook.lookups, why.fields))
        judging.add(action_map, "lookup-missing", str(why))
        return
    except Exception as error:
        judging.add(action_map, "error", f"{type(error).__name__}: {error}")
        return
    for cap in action_map.counted_in:
        note_firing(scope.visitor, judging.session, cap, judging.at, judging.horizon)
    if action_map.webhook.lookups:
        judging.looked_up.append(LookedUp(action_map.name, action_map.webhook.lookups, missing))
    if isinstance(owed, DeadLetter):
        if not action_map.shadow:
            judging.dead_letters.append(owed)
        judging.add(action_map, "unrenderable", owed.detail)
    elif action_map.shadow:
        judging.shadowed.append(owed)
        judging.add(action_map, "shadow")
    else:
        judging.deliveries.append(owed)
        judging.add(action_map, "fired")

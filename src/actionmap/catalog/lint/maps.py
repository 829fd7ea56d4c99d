"""What is suspicious in action maps: those that never fire, fire too often, or are always outranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from actionmap.catalog.clauses import Literal
from actionmap.catalog.compile import why_not_live
from actionmap.catalog.compile.maps import order_of
from actionmap.catalog.lint.contradictions import contradiction
from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.catalog.models import ActionMap, Segment
from actionmap.catalog.models.action_map import Frequency
from actionmap.catalog.models.trigger import All, Any_, Condition, EventLeaf, Not, SegmentLeaf, Trigger
from actionmap.catalog.schedule import OpeningHours
from actionmap.errors import Finding
from actionmap.event import to_millis, to_rfc3339


def not_live(rules: Ruleset) -> Iterator[Finding]:
    """An active map whose webhook would never be sent."""
    for one in rules.maps:
        reason = why_not_live(rules.definitions, rules.webhook_of(one))
        if reason:
            yield finding(one, "action.webhook", f"matches but never fires: {reason}")


def ended(rules: Ruleset) -> Iterator[Finding]:
    """A map whose last day has passed."""
    for one in rules.maps:
        end = one.end_date
        if end is not None and to_millis(end) <= rules.now:
            yield finding(one, "endDate", f"never fires again: it ended at {to_rfc3339(to_millis(end))}")


def never_opens(rules: Ruleset) -> Iterator[Finding]:
    """A schedule without an open minute between start and end."""
    for one in rules.maps:
        if one.schedule is None:
            continue
        begin = max(rules.now, to_millis(one.start_date) if one.start_date else rules.now)
        opens = OpeningHours(one.schedule.timezone, one.schedule.open, one.schedule.except_).next_open(begin)
        end = to_millis(one.end_date) if one.end_date else None
        if opens is None or (end is not None and begin < end <= opens):
            until = f" before it ends at {to_rfc3339(end)}" if end is not None else ""
            yield finding(one, "schedule", f"never fires: it does not open{until}")


def contradictory(rules: Ruleset) -> Iterator[Finding]:
    """A trigger whose conditions cannot hold together."""
    for one in rules.maps:
        problem = contradiction(rules.triggers[one.key].clauses)
        if problem:
            yield finding(one, "trigger", f"never fires: {problem}")


def uncapped_levels(rules: Ruleset) -> Iterator[Finding]:
    """A map of levels alone, without a cap: it fires at each event as long as they hold."""
    for one in rules.maps:
        compiled = rules.triggers[one.key]
        if one.frequency == "every" and not compiled.events and compiled.absence is None and not _changes(one.trigger):
            message = "fires at every event while its conditions hold; add an event leaf, or a cap"
            yield finding(one, "frequency", message)


def _changes(trigger: Trigger) -> bool:
    """Whether the trigger asks for an event or a change, so that it does not hold on and on."""
    inner = trigger.all if isinstance(trigger, All) else trigger.any if isinstance(trigger, Any_) else ()
    if isinstance(trigger, All):
        return any(map(_changes, inner))
    if isinstance(trigger, Any_):
        return all(map(_changes, inner))
    return bool(trigger.as_written().keys() & {"segmentEntered", "segmentLeft", "event", "sequence"})


def asks_inactive_segment(rules: Ruleset) -> Iterator[Finding]:
    """A trigger that asks a segment without members."""
    for one in rules.maps:
        for name in rules.asked_by(one):
            segment = rules.definitions[f"Segment/{name}"]
            if isinstance(segment, Segment) and not segment.active:
                yield finding(one, "trigger", f"asks the segment {name}, which is inactive: it has no members")


def always_outranked(rules: Ruleset) -> Iterator[Finding]:
    """A map of a group whenever it matches, another one comes before it that nothing holds back."""
    #: Group → the maps that nothing holds back, with what their triggers ask.
    free: dict[str, list[tuple[ActionMap, frozenset[Any]]]] = {}
    for one in sorted(rules.maps, key=order_of):
        group = one.exclusive_group
        if group is None or one.activation.type != "immediate":
            continue
        asked = [frozenset(map(_said, clause)) for clause in rules.triggers[one.key].clauses]
        for winner, wanted in free.get(group, ()):
            if winner.trigger == one.trigger or (wanted and all(wanted <= given for given in asked)):
                message = (
                    f"never fires: whenever it matches, {winner.name} does too and comes first in the group {group}"
                )
                yield finding(one, "exclusiveGroup", message)
                break
        if not _held_back(rules, one):
            alone = asked[0] if len(asked) == 1 and _exact(one.trigger) else frozenset()
            free.setdefault(group, []).append((one, alone))


def _held_back(rules: Ruleset, one: ActionMap) -> bool:
    """Whether anything but its trigger and its group may keep the map from firing."""
    return bool(
        one.start_date or one.end_date or one.schedule or one.holdout_percent or one.page_urls.include
        or one.page_urls.exclude or one.frequency != "every"
        or why_not_live(rules.definitions, rules.webhook_of(one))
    )  # fmt: skip


def _exact(trigger: Trigger) -> bool:
    """Whether the one clause of the trigger says all that it asks."""
    if isinstance(trigger, All):
        return all(map(_exact, trigger.all))
    if isinstance(trigger, Not):
        return isinstance(trigger.not_, Condition | SegmentLeaf)
    return isinstance(trigger, Condition | EventLeaf | SegmentLeaf)


def _said(literal: Literal) -> tuple[object, ...]:
    comparison = literal.comparison
    values = frozenset((type(value).__name__, value) for value in comparison.compared_with)
    operator = "in" if comparison.operator == "equal" else comparison.operator
    return literal.path, operator, values, comparison.ignore_case, literal.negated


def cap_of_a_group_of_one(rules: Ruleset) -> Iterator[Finding]:
    """A cap of a group with one map, which is the map's own cap."""
    sizes = Counter(one.exclusive_group for one in rules.maps)
    for one in rules.maps:
        frequency = one.frequency
        if isinstance(frequency, Frequency) and frequency.scope == "group" and sizes[one.exclusive_group] == 1:
            message = f"no other active map is in the group {one.exclusive_group}: the cap is this map's own"
            yield finding(one, "frequency.scope", message)


RULES: tuple[Rule, ...] = (
    not_live,
    ended,
    never_opens,
    contradictory,
    uncapped_levels,
    asks_inactive_segment,
    always_outranked,
    cap_of_a_group_of_one,
)

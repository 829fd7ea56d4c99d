"""What is suspicious in action maps: those that never fire, fire too often, or are always outranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from actionmap.catalog.compile import why_not_live
from actionmap.catalog.lint.contradictions import contradiction
from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.catalog.models import Segment
from actionmap.catalog.models.action_map import Frequency
from actionmap.catalog.models.trigger import All, Any_, Trigger
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
        end = to_millis(one.end_date) if one.end_date else None
        hours = OpeningHours(one.schedule.timezone, one.schedule.open, one.schedule.except_)
        if (end is None or begin < end) and hours.opens_between(begin, end) is None:
            until = f" before it ends at {to_rfc3339(end)}" if end is not None else ""
            yield finding(one, "schedule", f"never fires: it does not open{until}")


def contradictory(rules: Ruleset) -> Iterator[Finding]:
    """A trigger whose conditions cannot hold together."""
    for one in rules.maps:
        problem = contradiction(rules.trigger_of(one).clauses)
        if problem:
            yield finding(one, "trigger", f"never fires: {problem}")


def uncapped_levels(rules: Ruleset) -> Iterator[Finding]:
    """A map of levels alone, without a cap: it fires at each event as long as they hold."""
    for one in rules.maps:
        compiled = rules.trigger_of(one)
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
    cap_of_a_group_of_one,
)

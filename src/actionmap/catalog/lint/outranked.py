"""Maps of an exclusive group that never fire, because another one comes before them whenever they match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, combinations

import msgspec

from actionmap.catalog.clauses import Literal
from actionmap.catalog.compile import why_not_live
from actionmap.catalog.compile.maps import order_of
from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.catalog.models import ActionMap
from actionmap.catalog.models.trigger import All, Condition, EventLeaf, Not, SegmentLeaf, Trigger
from actionmap.errors import Finding

#: What one literal says, and what a clause does.
_Said = tuple[object, ...]
_Asked = frozenset[_Said]
#: Of what a map asks in longer clauses, single literals and pairs are looked at: 2 to the power of this are fast.
_MOST_SUBSETS_OF = 8


def always_outranked(rules: Ruleset) -> Iterator[Finding]:
    """A map of a group whenever it matches, another one comes before it that nothing holds back."""
    for group, maps in rules.groups.items():
        for name, winner in outranked(rules, maps).items():
            message = f"never fires: whenever it matches, {winner} does too and comes first in the group {group}"
            loser = rules.definitions[f"ActionMap/{name}"]
            yield finding(loser, "exclusiveGroup", message)


def outranked(rules: Ruleset, maps: Iterable[ActionMap]) -> dict[str, str]:
    """Of the ``maps`` of one group, those that never come first, each with one that always comes before it."""
    #: The maps that nothing holds back: by their trigger as written, and by all that a trigger of one clause asks.
    by_trigger: dict[bytes, str] = {}
    by_clause: dict[_Asked, str] = {}
    found: dict[str, str] = {}
    for one in sorted(maps, key=order_of):
        if one.activation.type != "immediate":
            continue
        asked = [frozenset(map(_said, clause)) for clause in rules.trigger_of(one).clauses]
        written = msgspec.json.encode(one.trigger.as_written(), order="deterministic")
        winner = by_trigger.get(written) or _implied(asked, by_clause)
        if winner:
            found[one.name] = winner
        if not _held_back(rules, one):
            by_trigger.setdefault(written, one.name)
            if len(asked) == 1 and asked[0] and _exact(one.trigger):
                by_clause.setdefault(asked[0], one.name)
    return found


def _implied(asked: list[_Asked], by_clause: dict[_Asked, str]) -> str:
    """The map whose one clause is in each of the clauses ``asked``; "" when there is none."""
    if not asked or not by_clause:
        return ""
    always = sorted(frozenset.intersection(*asked), key=repr)
    sizes = range(1, len(always) + 1) if len(always) <= _MOST_SUBSETS_OF else (1, 2, len(always))
    subsets = chain.from_iterable(combinations(always, size) for size in sizes)
    return next((winner for subset in subsets if (winner := by_clause.get(frozenset(subset)))), "")


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


RULES: tuple[Rule, ...] = (always_outranked,)

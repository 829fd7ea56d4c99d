"""The meaning of triggers, as slowly and plainly as it can be written: semantics §3 and §4 line by line.

It shares nothing with the compiled conditions, the windows and the index but the reading of fixed paths. What happened
before is found by looking at every event of the visitor again.
"""

import re
from datetime import datetime
from typing import Any
from unicodedata import normalize

from actionmap.catalog.paths import Scope, find_path

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BAGS = {
    "event.attributes": lambda scope: scope.event.attributes,
    "session.attributes": lambda scope: scope.session.attributes,
    "visitor.traits": lambda scope: scope.visitor.traits,
    "visitor.variables": lambda scope: scope.visitor.variables,
}


def holds(trigger: dict[str, Any], history: list[Scope]) -> bool:
    """Whether ``trigger``, as written, is true at the last event of a visitor's ``history``."""
    match trigger:
        case {"all": parts}:
            return all(holds(part, history) for part in parts)
        case {"any": parts}:
            return any(holds(part, history) for part in parts)
        case {"not": part}:
            return not holds(part, history)
        case {"segment": name}:
            return name in history[-1].visitor.segments
        case {"count": count}:
            number = sum(is_event(count, scope) for scope in inside(count["within"], history))
            return count.get("atLeast", 0) <= number <= count.get("atMost", number)
        case {"sequence": sequence}:
            return completes(sequence, history)
        case {"event": _}:
            return is_event(trigger, history[-1])
    return condition(trigger, history[-1])


def is_event(leaf: dict[str, Any], scope: Scope) -> bool:
    return scope.event.name == leaf["event"] and all(condition(one, scope) for one in leaf.get("where", ()))


def inside(window: str, history: list[Scope]) -> list[Scope]:
    now = history[-1]
    if window == "session":
        return [one for one in history if one.session.number == now.session.number and one.event.time <= now.event.time]
    earliest = -1 if window == "lifetime" else now.event.time - int(window[:-1]) * SECONDS[window[-1]] * 1000
    return [one for one in history if earliest < one.event.time <= now.event.time]


def completes(sequence: dict[str, Any], history: list[Scope]) -> bool:
    """Tried from every first step: does some chain of events in order end at the last event, with nothing between?"""
    steps, without = sequence["steps"], sequence.get("without", [])
    excluded = without if isinstance(without, list) else [without]
    events = sorted(inside(sequence["within"], history), key=lambda one: one.event.time)
    last = events.index(history[-1])

    def ends(step: int, at: int) -> bool:
        if step == len(steps) - 1:
            return at == last and is_event(steps[step], events[at])
        return is_event(steps[step], events[at]) and any(ends(step + 1, later) for later in range(at + 1, last + 1))

    return any(
        ends(0, first) and not any(is_event(one, events[at]) for one in excluded for at in range(first + 1, last))
        for first in range(last)
    )


def read(key: str, scope: Scope) -> Any:
    root = ".".join(key.split(".")[:2])
    if root not in BAGS:
        return find_path(key).read(scope)
    value = BAGS[root](scope)
    for part in key.split(".")[2:]:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and re.fullmatch("[0-9]+", part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def condition(written: dict[str, Any], scope: Scope) -> bool:
    operator = written.get("operator", "equal")
    wanted = written["values"] if "values" in written else [written["value"]] if "value" in written else []
    value = read(written["key"], scope)
    if operator.startswith("not"):
        return not positive(operator[3].lower() + operator[4:], value, wanted, written.get("ignoreCase", False))
    return positive(operator, value, wanted, written.get("ignoreCase", False))


def positive(operator: str, value: Any, wanted: list[Any], ignore_case: bool) -> bool:
    if value is None:
        return False
    if operator == "exists":
        return True
    if operator in ("containsAny", "containsAll"):
        some = any if operator == "containsAny" else all
        if isinstance(value, list):
            return some(any(equal(element, one, ignore_case) for element in value) for one in wanted)
        return isinstance(value, str) and some(
            isinstance(one, str) and fold(one, ignore_case) in fold(value, ignore_case) for one in wanted
        )
    if isinstance(value, list):
        return any(single(operator, element, wanted, ignore_case) for element in value)
    return single(operator, value, wanted, ignore_case)


def single(operator: str, value: Any, wanted: list[Any], ignore_case: bool) -> bool:
    match operator:
        case "equal" | "in":
            return any(equal(value, one, ignore_case) for one in wanted)
        case "startsWith" | "endsWith":
            test = str.startswith if operator == "startsWith" else str.endswith
            return isinstance(value, str) and any(
                isinstance(one, str) and test(fold(value, ignore_case), fold(one, ignore_case)) for one in wanted
            )
        case "matches":
            return isinstance(value, str) and any(re.search(str(one), value) for one in wanted)
        case "between":
            return ordered("greaterThanOrEqual", value, wanted[0]) and ordered("lessThanOrEqual", value, wanted[1])
    return ordered(operator, value, wanted[0])


def equal(value: Any, wanted: Any, ignore_case: bool) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        as_bool = {"true": True, "false": False}
        one, other = (as_bool.get(some) if isinstance(some, str) else some for some in (value, wanted))
        return isinstance(one, bool) and isinstance(other, bool) and one == other
    if isinstance(value, str) and isinstance(wanted, str):
        return fold(value, ignore_case) == fold(wanted, ignore_case)
    one, other = number(value), number(wanted)
    return one is not None and other is not None and one == other


def ordered(operator: str, value: Any, bound: Any) -> bool:
    for kind in (number, moment):
        one, other = kind(value), kind(bound)
        if one is not None and other is not None:
            return {
                "greaterThan": one > other, "greaterThanOrEqual": one >= other,
                "lessThan": one < other, "lessThanOrEqual": one <= other,
            }[operator]  # fmt: skip
    return False


def number(value: Any) -> int | float | None:
    if isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
            return None
        whole, _, fraction = value.partition(".")
        return float(value) if fraction.strip("0") else int(whole)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def moment(value: Any) -> datetime | None:
    pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{8}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        return None
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:
        return None


def fold(text: str, ignore_case: bool) -> str:
    return normalize("NFC", normalize("NFC", text).casefold()) if ignore_case else text

"""Conditions: a comparison compiled into a function of one value (semantics §3).

Comparing what cannot be compared is false, never an error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import re2

from actionmap.catalog.models.trigger import Comparison, Condition
from actionmap.catalog.paths import Scope, find_path
from actionmap.catalog.values import Literals, fold, ordinal

#: One value → whether it satisfies the comparison. None stands for a missing value.
Test = Callable[[Any], bool]
Predicate = Callable[[Scope], bool]

#: Operator that begins with not → the one it is the contrary of.
TWINS = {
    "notEqual": "equal",
    "notIn": "in",
    "notContainsAny": "containsAny",
    "notContainsAll": "containsAll",
    "notExists": "exists",
}
_ORDERS = {
    "greaterThan": operator.gt,
    "greaterThanOrEqual": operator.ge,
    "lessThan": operator.lt,
    "lessThanOrEqual": operator.le,
}


_NUMBERS = (int, float)


class BadPattern(ValueError):
    """A regular expression that RE2 does not take."""


def compile_condition(condition: Condition) -> Predicate:
    """``condition`` as a function of a scope.

    Raises:
        UnknownPath: its key is no path.
        BadPattern: a value of ``matches`` is no regular expression.
    """
    read = find_path(condition.key).read
    test = compile_comparison(condition)
    return lambda scope: test(read(scope))


def compile_comparison(comparison: Comparison) -> Test:
    """``comparison`` as a function of one value.

    Raises:
        BadPattern: a value of ``matches`` is no regular expression.
    """
    twin = TWINS.get(comparison.operator)
    if twin is not None:
        positive = _positive(twin, comparison)
        return lambda value: not positive(value)
    return _positive(comparison.operator, comparison)


def _positive(name: str, comparison: Comparison) -> Test:
    literals = comparison.compared_with
    match name:
        case "exists":
            return lambda value: value is not None
        case "equal" | "in":
            return _equal(literals, ignore_case=comparison.ignore_case)
        case "containsAny" | "containsAll":
            return _contains(literals, comparison.ignore_case, any if name == "containsAny" else all)
        case "startsWith":
            return _any_element(_text_test(str.startswith, literals, comparison.ignore_case))
        case "endsWith":
            return _any_element(_text_test(str.endswith, literals, comparison.ignore_case))
        case "between":
            return _any_element(_between(literals))
        case "matches":
            return _any_element(_matches(literals))
        case _:
            return _any_element(_ordered(_ORDERS[name], literals[0]))


def _equal(literals: tuple[Any, ...], *, ignore_case: bool) -> Test:
    known = Literals(literals, ignore_case)
    in_any_way = _any_element(known.equal_any)
    if ignore_case or known.numbers or known.bools:
        return in_any_way
    texts = known.texts
    # Most comparisons are of texts; they need not try the other ways in which values can be equal.
    return lambda value: value in texts if type(value) is str else in_any_way(value)


def _any_element(test: Test) -> Test:
    """A positive operator on a list is true when any element satisfies it."""
    return lambda value: any(map(test, value)) if isinstance(value, list) else test(value)


def _text_test(compare: Callable[[str, tuple[str, ...]], bool], literals: tuple[Any, ...], ignore_case: bool) -> Test:
    texts = tuple(fold(text) if ignore_case else text for text in literals if isinstance(text, str))
    if ignore_case:
        return lambda value: isinstance(value, str) and compare(fold(value), texts)
    return lambda value: isinstance(value, str) and compare(value, texts)


def _contains(literals: tuple[Any, ...], ignore_case: bool, quantifier: Callable[[Any], bool]) -> Test:
    needles = [(fold(text) if ignore_case else text) if isinstance(text, str) else None for text in literals]
    singles = [Literals((literal,), ignore_case) for literal in literals]

    def test(value: Any) -> bool:
        if isinstance(value, str):
            text = fold(value) if ignore_case else value
            return quantifier(needle is not None and needle in text for needle in needles)
        if isinstance(value, list):
            return quantifier(any(map(single.equal_any, value)) for single in singles)
        return False

    return test


def _ordered(compare: Callable[[Any, Any], bool], literal: Any) -> Test:
    bound = ordinal(literal)
    if bound is None:
        return lambda _: False
    kind, limit = bound
    is_number = kind == "number"

    def test(value: Any) -> bool:
        # Most are plain numbers; a boolean is none, and has a type of its own.
        if is_number and type(value) in _NUMBERS:
            return compare(value, limit)
        found = ordinal(value)
        return found is not None and found[0] == kind and compare(found[1], limit)

    return test


def _between(literals: tuple[Any, ...]) -> Test:
    at_least, at_most = _ordered(operator.ge, literals[0]), _ordered(operator.le, literals[1])
    return lambda value: at_least(value) and at_most(value)


def _matches(literals: tuple[Any, ...]) -> Test:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    patterns = []
    for literal in literals:
        try:
            patterns.append(re2.compile(str(literal), options))
        except re2.error as error:
            raise BadPattern(f"{literal!r} is no regular expression of RE2: {error.args[0].decode()}") from None
    return lambda value: isinstance(value, str) and any(pattern.search(value) for pattern in patterns)

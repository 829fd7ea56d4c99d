"""Literals that cannot all hold of one value, and those that can hold of none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from actionmap.catalog.clauses import COMPLETED, COUNTED, ENTERED, LEFT, Clause, Clauses, Literal
from actionmap.catalog.conditions import Test, compile_comparison
from actionmap.catalog.paths import find_path
from actionmap.catalog.values import number_value, ordinal

_OWN = frozenset({COUNTED, COMPLETED, ENTERED, LEFT})
_TEXT = frozenset({"startsWith", "endsWith", "matches", "containsAny", "containsAll"})
_LOWER = {"greaterThan": True, "greaterThanOrEqual": False}
_UPPER = {"lessThan": True, "lessThanOrEqual": False}
_ORDERS = frozenset({*_LOWER, *_UPPER, "between"})


def contradiction(clauses: Clauses) -> str:
    """Why none of ``clauses`` can ever hold, for people; "" when one of them may."""
    reasons = [_in_clause(clause) for clause in clauses]
    return reasons[0] if reasons and all(reasons) else ""


def _in_clause(clause: Clause) -> str:
    on_paths = sorted((literal for literal in clause if literal.path not in _OWN), key=lambda literal: literal.path)
    for path, group in groupby(on_paths, key=lambda literal: literal.path):
        literals = list(group)
        problem = next(_of_type(path, literals), "") or _of_one_value(path, literals)
        if problem:
            return problem
    return ""


def _of_type(path: str, literals: Iterable[Literal]) -> Iterator[str]:
    """A comparison that no value of the path's type can satisfy."""
    kind = find_path(path).type
    for literal in literals:
        operator, values = literal.comparison.operator, literal.comparison.compared_with
        if literal.negated or operator.startswith("not"):
            continue
        written = ", ".join(map(repr, values))
        is_equality, is_number = operator in ("equal", "in"), kind in ("integer", "number")
        if is_number and operator in _TEXT:
            yield f"{path} is a number, of which {operator} is never true"
        if is_number and is_equality and all(number_value(value) is None for value in values):
            yield f"{path} is a number, which {written} is not"
        if kind == "boolean" and is_equality and not any(value in (True, False, "true", "false") for value in values):
            yield f"{path} is true or false, which {written} is not"
        if operator in _ORDERS and (kind == "boolean" or any(ordinal(value) is None for value in values)):
            yield f"{path} {operator} {written} orders what has no order"


def _of_one_value(path: str, literals: list[Literal]) -> str:
    if find_path(path).type == "list":
        return ""
    tests = [_test_of(literal) for literal in literals]
    for literal in literals:
        candidates = _candidates(literal)
        if candidates is not None and not any(all(test(value) for test in tests) for value in candidates):
            return _words(path, literals)
    return _words(path, literals) if _empty_range(literals) else ""


def _candidates(literal: Literal) -> tuple[object, ...] | None:
    """All the values that can satisfy ``literal``, as far as other literals can tell them apart; None: too many."""
    comparison = literal.comparison
    if literal.negated:
        return (None,) if comparison.operator == "exists" else None
    if comparison.operator == "notExists":
        return (None,)
    if comparison.operator in ("equal", "in") and not comparison.ignore_case:
        return comparison.compared_with
    return None


def _test_of(literal: Literal) -> Test:
    test = compile_comparison(literal.comparison)
    return (lambda value: not test(value)) if literal.negated else test


def _empty_range(literals: Iterable[Literal]) -> bool:
    """Whether no number satisfies all orders among ``literals``. A bound is (number, whether it is out itself)."""
    lowest: tuple[float, bool] = (float("-inf"), False)
    highest: tuple[float, bool] = (float("inf"), False)
    for literal in literals:
        operator, values = literal.comparison.operator, literal.comparison.compared_with
        bounds = [ordinal(value) for value in values] if operator in _ORDERS and not literal.negated else []
        numbers = [bound[1] for bound in bounds if bound is not None and bound[0] == "number"]
        if not numbers or len(numbers) < len(bounds):
            continue
        if operator not in _UPPER:
            lowest = max(lowest, (numbers[0], _LOWER.get(operator, False)))
        if operator not in _LOWER:
            out = _UPPER.get(operator, False)
            highest = min(highest, (numbers[-1], out), key=lambda bound: (bound[0], not bound[1]))
    return lowest[0] > highest[0] or (lowest[0] == highest[0] and (lowest[1] or highest[1]))


def _words(path: str, literals: Iterable[Literal]) -> str:
    said = " and ".join(
        f"{'not ' if literal.negated else ''}{literal.comparison.operator} "
        f"{', '.join(map(repr, literal.comparison.compared_with))}".strip()
        for literal in literals
    )
    unless = "" if find_path(path).type != "any" else " unless it is a list"
    return f"{path} cannot be {said} at once{unless}"

"""A literal as look-ups see it: keys that find it, a span of an order that it covers, or a test that tells.

Exactly one of the three says when the comparison holds; they are exact, since what is negated must not lose a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from actionmap.catalog.clauses import Literal
from actionmap.catalog.conditions import TWINS, Test, compile_comparison
from actionmap.catalog.values import Number, decimal_value, fold, ordinal


class Kind(StrEnum):
    """In which table a key is looked up. Kinds keep apart what Python's dicts would not, such as True and 1."""

    TEXT = "text"
    FOLDED = "folded"
    BOOL = "bool"
    #: A number among the values compared with: it equals numbers and decimal strings.
    NUMBER = "number"
    #: A number that a text among them spells: it equals numbers only.
    DECIMAL = "decimal"
    PREFIX = "prefix"
    FOLDED_PREFIX = "folded prefix"
    SUFFIX = "suffix"
    FOLDED_SUFFIX = "folded suffix"
    #: Inside of a text, which is no element of a list.
    KEYWORD = "keyword"
    FOLDED_KEYWORD = "folded keyword"
    #: Equality with an element of a list, where the same comparison asks something else of a text.
    TEXT_IN_LIST = "text in list"
    FOLDED_IN_LIST = "folded in list"
    BOOL_IN_LIST = "bool in list"
    NUMBER_IN_LIST = "number in list"
    DECIMAL_IN_LIST = "decimal in list"
    #: Any value that is not missing; its key is None.
    PRESENT = "present"


Key = tuple[Kind, Any]
EQUALITY = (Kind.TEXT, Kind.FOLDED, Kind.BOOL, Kind.NUMBER, Kind.DECIMAL)
IN_LIST = dict(
    zip(
        EQUALITY,
        (Kind.TEXT_IN_LIST, Kind.FOLDED_IN_LIST, Kind.BOOL_IN_LIST, Kind.NUMBER_IN_LIST, Kind.DECIMAL_IN_LIST),
        strict=True,
    )
)
_PARTS_OF_TEXT = frozenset(
    (Kind.PREFIX, Kind.FOLDED_PREFIX, Kind.SUFFIX, Kind.FOLDED_SUFFIX, Kind.KEYWORD, Kind.FOLDED_KEYWORD)
)
_PRESENT: tuple[Key, ...] = ((Kind.PRESENT, None),)


class Span(NamedTuple):
    """A part of the order of ``kind`` (number or time): from one bound to the other, each taken in or left out."""

    kind: str
    low: Number | None = None
    low_in: bool = False
    high: Number | None = None
    high_in: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One path and when its value fits: when one of ``keys`` finds it, it lies in ``span``, or ``test`` says so.

    None of the three, but an empty ``keys``: it never fits.
    """

    path: str
    negated: bool
    keys: tuple[Key, ...] = ()
    span: Span | None = None
    test: Test | None = None

    @property
    def never(self) -> bool:
        """Whether no value fits."""
        return not self.keys and self.span is None and self.test is None

    @property
    def anchors(self) -> tuple[Key, ...]:
        """Keys one of which finds every value that it holds for; none when it may hold for a missing one."""
        if self.negated or self.never:
            return ()
        if self.keys and not any(key == "" and kind in _PARTS_OF_TEXT for kind, key in self.keys):
            return self.keys
        return _PRESENT


class Terms:
    """Makes terms; of literals that are written alike, the same ones."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[Term, ...]] = {}
        self._tests: dict[tuple[Any, ...], Test] = {}

    def test(self, literal: Literal) -> Test:
        """The test of the literal's comparison, by itself not negated."""
        written = literal.comparison.said
        known = self._tests.get(written)
        if known is None:
            known = self._tests[written] = compile_comparison(literal.comparison)
        return known

    def of(self, literal: Literal) -> tuple[Term, ...]:
        """The terms that all hold when ``literal`` does."""
        written = literal.path, literal.negated, literal.comparison.said
        known = self._known.get(written)
        if known is None:
            known = self._known[written] = tuple(_terms(literal))
        return known


def _terms(literal: Literal) -> Iterator[Term]:
    comparison, path = literal.comparison, literal.path
    twin = TWINS.get(comparison.operator)
    negated = literal.negated is (twin is None)
    operator = twin or comparison.operator
    values, ignore_case = comparison.compared_with, comparison.ignore_case
    match operator:
        case "equal" | "in":
            yield Term(path, negated, tuple(_equality(values, ignore_case)))
        case "startsWith":
            yield Term(path, negated, tuple(_texts(values, ignore_case, Kind.PREFIX, Kind.FOLDED_PREFIX)))
        case "endsWith":
            yield Term(path, negated, tuple(_texts(values, ignore_case, Kind.SUFFIX, Kind.FOLDED_SUFFIX)))
        case "exists":
            yield Term(path, negated, _PRESENT)
        case "containsAny":
            yield Term(path, negated, tuple(_keywords(values, ignore_case)))
        case "containsAll" if not negated:
            for value in values:
                yield Term(path, negated, tuple(_keywords((value,), ignore_case)))
        case "containsAll" | "matches":
            positive = comparison.model_copy(update={"operator": operator})
            yield Term(path, negated, test=compile_comparison(positive))
        case _:
            yield Term(path, negated, span=_span(operator, values))


def _equality(values: Iterable[Any], ignore_case: bool) -> Iterator[Key]:
    for value in values:
        if isinstance(value, bool):
            yield Kind.BOOL, value
        elif isinstance(value, str):
            yield (Kind.FOLDED, fold(value)) if ignore_case else (Kind.TEXT, value)
            if value in ("true", "false"):
                yield Kind.BOOL, value == "true"
            number = decimal_value(value)
            if number is not None:
                yield Kind.DECIMAL, number
        else:
            yield Kind.NUMBER, value


def _texts(values: Iterable[Any], ignore_case: bool, plain: Kind, folded: Kind) -> Iterator[Key]:
    for value in values:
        if isinstance(value, str):
            yield (folded, fold(value)) if ignore_case else (plain, value)


def _keywords(values: Iterable[Any], ignore_case: bool) -> Iterator[Key]:
    values = tuple(values)
    yield from _texts(values, ignore_case, Kind.KEYWORD, Kind.FOLDED_KEYWORD)
    for kind, key in _equality(values, ignore_case):
        yield IN_LIST[kind], key


def _span(operator: str, values: tuple[Any, ...]) -> Span | None:
    """What an order's ``operator`` covers; None when that is nothing."""
    bounds = [ordinal(value) for value in values]
    kinds = {bound[0] if bound is not None and bound[1] == bound[1] else "" for bound in bounds}
    if len(kinds) > 1 or "" in kinds:
        return None
    kind = kinds.pop()
    numbers = [bound[1] for bound in bounds if bound is not None]
    match operator:
        case "greaterThan" | "greaterThanOrEqual":
            return Span(kind, numbers[0], operator == "greaterThanOrEqual")
        case "lessThan" | "lessThanOrEqual":
            return Span(kind, high=numbers[0], high_in=operator == "lessThanOrEqual")
        case _:
            low, high = numbers
            return Span(kind, low, True, high, True) if low <= high else None

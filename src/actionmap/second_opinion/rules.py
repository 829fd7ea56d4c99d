"""A trigger as one durable-rules rule: negations are taken inwards, until each stands at one comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from actionmap.catalog.models import All, Any_, Condition, EventLeaf, Not, SegmentLeaf, Trigger
from actionmap.catalog.models.trigger import AbsenceLeaf
from actionmap.catalog.paths import find_path
from actionmap.second_opinion import forms
from actionmap.second_opinion.attributes import HAPPENS, Attribute, Attributes
from actionmap.second_opinion.forms import Form, OutsideRange

#: Alternatives of one map, and of all the maps of a rule set: the engine holds 64 pending nodes, and loses the event
#: for every map when there are more.
MAX_ALTERNATIVES = 60
#: Attributes of one fact; the engine takes 252 with its own.
MAX_ATTRIBUTES = 200

#: In every fact; each rule asks for it first, so that none holds of the engine's own state.
ALWAYS = "on"
_TRUE: dict[str, Any] = {"$ex": {ALWAYS: 1}}
_FALSE: dict[str, Any] = {ALWAYS: 0}

_INVERTED = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}
_ORDERS = {
    "greaterThan": ("$gt",),
    "greaterThanOrEqual": ("$gte",),
    "lessThan": ("$lt",),
    "lessThanOrEqual": ("$lte",),
    "between": ("$gte", "$lte"),
}
_SPECIAL = frozenset(".|?*+()[]{}%")


@dataclass(slots=True)
class Rule:
    """One map as the engine is told it."""

    condition: dict[str, Any]
    attributes: dict[str, Attribute]
    alternatives: int

    def as_definition(self) -> dict[str, Any]:
        """The rule in the engine's JSON."""
        return {"all": [{"m": {"$and": [_TRUE, self.condition]}}]}


def translate(trigger: Trigger, attributes: Attributes) -> Rule:
    """``trigger`` as a rule over ``attributes``.

    Raises:
        OutsideRange: durable-rules cannot say it.
    """
    translation = _Translation(attributes)
    condition = translation.of(trigger, holds=True)
    rule = Rule(condition, translation.used, _alternatives(condition))
    if rule.alternatives > MAX_ALTERNATIVES:
        raise OutsideRange(f"it has {rule.alternatives} alternatives, more than {MAX_ALTERNATIVES}")
    if len(rule.attributes) > MAX_ATTRIBUTES:
        raise OutsideRange(f"it asks for more than {MAX_ATTRIBUTES} attributes")
    return rule


@dataclass(slots=True)
class _Translation:
    attributes: Attributes
    used: dict[str, Attribute] = field(default_factory=dict)

    def of(self, trigger: Any, holds: bool) -> dict[str, Any]:
        """What says that ``trigger`` holds, or that it does not."""
        match trigger:
            case All():
                return _group([self.of(part, holds) for part in trigger.all], every=holds)
            case Any_():
                return _group([self.of(part, holds) for part in trigger.any], every=not holds)
            case Not():
                return self.of(trigger.not_, not holds)
            case EventLeaf():
                name = self._equal(HAPPENS, (trigger.event,), False, holds)
                return _group([name, *(self._condition(one, holds) for one in trigger.where)], every=holds)
            case Condition():
                return self._condition(trigger, holds)
            case SegmentLeaf():
                return self._flag(self.attributes.member(trigger), holds)
            case AbsenceLeaf():
                raise OutsideRange("an absence fires by timer, which is our own layer's")
            case _:
                return self._flag(self.attributes.told(trigger), holds)

    def _flag(self, attribute: Attribute, holds: bool) -> dict[str, Any]:
        return {self._name(attribute): int(holds)}

    def _name(self, attribute: Attribute) -> str:
        self.used[attribute.name] = attribute
        return attribute.name

    def _condition(self, condition: Condition, holds: bool) -> dict[str, Any]:
        operator, values, key = condition.operator, condition.compared_with, condition.key
        if operator.startswith("not"):
            operator, holds = operator[3].lower() + operator[4:], not holds  # type: ignore[assignment]
        match operator:
            case "exists":
                return self._flag(self.attributes.exists(key), holds)
            case "equal" | "in":
                return self._equal(key, values, condition.ignore_case, holds)
            case "containsAny" | "containsAll":
                return self._contains(condition, operator == "containsAll", holds)
            case "startsWith":
                return self._affix(condition, lambda text: f"{text}.*", holds)
            case "endsWith":
                return self._affix(condition, lambda text: f".*{text}", holds)
            case "matches":
                raise OutsideRange("matches: its regular expressions are another language than RE2")
            case _:
                return self._ordered(key, _ORDERS[operator], values, holds)

    def _equal(self, key: str, values: Sequence[Any], ignore_case: bool, holds: bool) -> dict[str, Any]:
        """The value, or an element of it, is one of ``values``."""
        parts, sign = [], "$eq" if holds else "$neq"
        for form, literals in _by_form(values, ignore_case):
            for elements in _shapes(key):
                name = self._name(self.attributes.of_path(key, form, elements=elements))
                parts += [_compare(name, elements, sign, literal, every=not holds) for literal in literals]
        return _group(parts, every=not holds)

    def _contains(self, condition: Condition, every: bool, holds: bool) -> dict[str, Any]:
        """Substrings of text, elements of a list."""
        shapes = _shapes(condition.key)
        alternatives = []
        if True in shapes:
            elements = [self._element(condition, value, holds) for value in condition.compared_with]
            alternatives.append(_group(elements, every=every is holds))
        if False in shapes:
            alternatives.append(self._in_text(condition, every, holds, or_list=True in shapes))
        return _group(alternatives, every=not holds)

    def _in_text(self, condition: Condition, every: bool, holds: bool, *, or_list: bool) -> dict[str, Any]:
        """Substrings; where they cannot be said and the value may be a list, they are left out until it is text."""
        try:
            found = [self._substring(condition, value, holds) for value in condition.compared_with]
        except OutsideRange as why:
            if not or_list:
                raise
            return self._flag(self.attributes.no_text(condition.key, str(why)), not holds)
        return _group(found, every=every is holds)

    def _element(self, condition: Condition, value: Any, holds: bool) -> dict[str, Any]:
        parts, sign = [], "$eq" if holds else "$neq"
        for form, literals in _by_form((value,), condition.ignore_case):
            name = self._name(self.attributes.of_path(condition.key, form, elements=True))
            parts += [_compare(name, True, sign, literal, every=not holds) for literal in literals]
        return _group(parts, every=not holds)

    def _substring(self, condition: Condition, value: Any, holds: bool) -> dict[str, Any]:
        return self._pattern(condition, value, lambda text: f".*{text}.*", False, holds)

    def _affix(self, condition: Condition, pattern: Callable[[str], str], holds: bool) -> dict[str, Any]:
        parts = [
            self._pattern(condition, value, pattern, elements, holds)
            for elements in _shapes(condition.key)
            for value in condition.compared_with
        ]
        return _group(parts, every=not holds)

    def _pattern(
        self, condition: Condition, value: Any, pattern: Callable[[str], str], elements: bool, holds: bool
    ) -> dict[str, Any]:
        form = forms.FOLDED if condition.ignore_case else forms.TEXT
        text = form.make(value)
        if text is None:
            return _FALSE if holds else _TRUE
        name = self._name(self.attributes.of_path(condition.key, form, elements=elements))
        if not text:
            # Every text holds the empty one.
            return _compare(name, elements, "$neq" if holds else "$eq", form.absent, every=not holds)
        if not holds:
            raise OutsideRange("it cannot say that text does not contain, begin with or end with something")
        made = pattern("".join(f"%{one}" if one in _SPECIAL else one for one in text))
        if made.startswith(".*") and text[0] in text[1:]:
            raise OutsideRange(f"its search misses occurrences of {value!r}, whose first character comes again")
        return _compare(name, elements, "$mt", made)

    def _ordered(self, key: str, signs: Sequence[str], values: Sequence[Any], holds: bool) -> dict[str, Any]:
        """The value, or one element of it, lies on the right side of every bound."""
        kinds = [_ordinal(value) for value in values]
        if None in kinds:
            return _FALSE if holds else _TRUE
        form = kinds[0][0]  # type: ignore[index]
        if any(kind[0] is not form for kind in kinds if kind):
            return _FALSE if holds else _TRUE
        bounds = list(zip(signs, [kind[1] for kind in kinds if kind], strict=True))
        shapes = _shapes(key)
        if len(bounds) > 1 and True in shapes:
            form, shapes = forms.ALONE[form.letter], (False,)
        parts = []
        for elements in shapes:
            name = self._name(self.attributes.of_path(key, form, elements=elements))
            if holds:
                parts.append(_group([_compare(name, elements, *bound) for bound in bounds], every=True))
            else:
                beyond = [_compare(name, elements, _INVERTED[sign], bound, every=True) for sign, bound in bounds]
                parts.append(_group([{"$nex": {name: 1}}, *beyond], every=False))
        return _group(parts, every=not holds)


def _compare(name: str, elements: bool, sign: str, literal: Any, *, every: bool = False) -> dict[str, Any]:
    """One comparison of an attribute: of the value, or of any element of it, or of every one."""
    target = "$i" if elements else name
    inner = {target: literal} if sign == "$eq" else {sign: {target: literal}}
    if not elements:
        return inner
    return {"$iall" if every else "$iany": {name: inner}}


def _shapes(key: str) -> tuple[bool, ...]:
    """Whether what ``key`` leads to may be a single value (False), a list (True), or either."""
    kind = "string" if key == HAPPENS else find_path(key).type
    return {"any": (False, True), "list": (True,)}.get(kind, (False,))


def _by_form(values: Iterable[Any], ignore_case: bool) -> list[tuple[Form, list[Any]]]:
    """What a value must be, in each form, to equal one of ``values``."""
    found: dict[Form, list[Any]] = {}
    for value in values:
        if isinstance(value, str):
            text = forms.FOLDED if ignore_case else forms.TEXT
            found.setdefault(text, []).append(text.make(value))
            for form, literal in ((forms.REAL, forms.number_of(value)), (forms.BOOLEAN, forms.boolean_of(value))):
                if literal is not None:
                    found.setdefault(form, []).append(literal)
        elif isinstance(value, bool):
            found.setdefault(forms.BOOLEAN, []).append(int(value))
        else:
            found.setdefault(forms.NUMBER, []).append(forms.real_of(value))
    return list(found.items())


def _ordinal(value: Any) -> tuple[Form, int | float] | None:
    for form in (forms.AMOUNT, forms.TIME):
        made = form.make(value)
        if made is not None:
            return form, made
    return None


def _group(parts: Sequence[dict[str, Any]], *, every: bool) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"$and" if every else "$or": list(parts)}


def _alternatives(condition: dict[str, Any]) -> int:
    """How many conjunctions the engine makes of ``condition``."""
    [(sign, inner)] = condition.items()
    if sign == "$or":
        return sum(map(_alternatives, inner))
    return prod(map(_alternatives, inner)) if sign == "$and" else 1

"""Triggers: ``all``, ``any``, ``not`` over conditions, events, segments and counts (semantics §3, §4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from actionmap.catalog.models.base import LONGEST_WAIT, Duration, Model, Name, seconds
from actionmap.event import EVENT_NAME_PATTERN

Operator = Literal[
    "equal",
    "notEqual",
    "containsAll",
    "containsAny",
    "notContainsAll",
    "notContainsAny",
    "greaterThan",
    "greaterThanOrEqual",
    "lessThan",
    "lessThanOrEqual",
    "startsWith",
    "endsWith",
    "in",
    "notIn",
    "between",
    "exists",
    "notExists",
    "matches",
]
EventName = Annotated[str, Field(pattern=EVENT_NAME_PATTERN)]
Value = str | int | float | bool


def _check_wait(duration: str) -> str:
    if not 0 < seconds(duration) <= seconds(LONGEST_WAIT):
        raise ValueError(f"{duration} is no wait; one lasts from 1s to {LONGEST_WAIT}")
    return duration


class Comparison(Model):
    """An operator and what it compares with."""

    operator: Operator = "equal"
    values: Annotated[tuple[Value, ...], Field(max_length=1000, strict=False)] = ()
    value: Value | None = None
    ignore_case: bool = False

    @model_validator(mode="after")
    def _right_number_of_values(self) -> Self:
        if self.value is not None and "values" in self.model_fields_set:
            raise ValueError("give value or values, not both")
        count = len(self.compared_with)
        if self.operator in ("exists", "notExists"):
            if count:
                raise ValueError(f"{self.operator} takes no values")
        elif self.operator in ("greaterThan", "greaterThanOrEqual", "lessThan", "lessThanOrEqual"):
            if count != 1:
                raise ValueError(f"{self.operator} takes one value, not {count}")
        elif self.operator == "between":
            if count != 2:
                raise ValueError(f"between takes two values, not {count}")
        elif not count:
            raise ValueError(f"{self.operator} needs values")
        return self

    @property
    def compared_with(self) -> tuple[Value, ...]:
        """``values``, or the one ``value``."""
        return self.values if self.value is None else (self.value,)


class Condition(Comparison):
    """A comparison of one path of event, session or visitor."""

    key: Annotated[str, Field(min_length=1, max_length=300)]


class All(Model):
    """True when all of its triggers are."""

    all: Annotated[tuple[Trigger, ...], Field(min_length=1, strict=False)]


class Any_(Model):  # noqa: N801 - "Any" would hide typing.Any
    """True when at least one of its triggers is."""

    any: Annotated[tuple[Trigger, ...], Field(min_length=1, strict=False)]


class Not(Model):
    """True when its trigger is not."""

    not_: Annotated[Trigger, Field(alias="not")]


class SegmentLeaf(Model):
    """True while the visitor is a member."""

    segment: Name


class EventLeaf(Model):
    """True for the current event only, when it has this name and meets all of ``where``."""

    event: EventName
    where: Annotated[tuple[Condition, ...], Field(strict=False)] = ()


class CountedEvents(Model):
    """Which events are counted, in which window, and how many there must be."""

    event: EventName
    where: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    at_least: Annotated[int, Field(ge=0, le=10_000)] | None = None
    at_most: Annotated[int, Field(ge=0, le=10_000)] | None = None
    within: Literal["session"]

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("count needs atLeast, atMost or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"atLeast: {self.at_least} is more than atMost: {self.at_most}")
        return self


class Count(Model):
    """True as long as the number of events in the window lies within the bounds."""

    count: CountedEvents


class AwaitedEvents(Model):
    """The event that starts the wait, the one that ends it, and how long the wait is."""

    after: EventLeaf
    of: EventLeaf
    for_: Annotated[Duration, AfterValidator(_check_wait), Field(alias="for")]


class AbsenceLeaf(Model):
    """Fires by timer when the second event did not come in time after the first one."""

    absence: AwaitedEvents


_LEAVES = ("all", "any", "not", "segment", "event", "count", "absence", "key")


_TAGS: dict[type, str] = {
    All: "all",
    Any_: "any",
    Not: "not",
    SegmentLeaf: "segment",
    EventLeaf: "event",
    Count: "count",
    AbsenceLeaf: "absence",
    Condition: "key",
}


def _which(written: Any) -> str | None:
    if not isinstance(written, dict):
        return _TAGS.get(type(written))
    return next((leaf for leaf in _LEAVES if leaf in written), None)


Trigger = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[Any_, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[SegmentLeaf, Tag("segment")]
    | Annotated[EventLeaf, Tag("event")]
    | Annotated[Count, Tag("count")]
    | Annotated[AbsenceLeaf, Tag("absence")]
    | Annotated[Condition, Tag("key")],
    Discriminator(
        _which,
        custom_error_type="trigger",
        custom_error_message="a trigger is one of all, any, not, segment, event, count, absence, "
        "or a condition with a key",
    ),
]

for _model in (All, Any_, Not):
    _model.model_rebuild()

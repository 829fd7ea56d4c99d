"""Triggers: ``all``, ``any``, ``not`` over conditions, events, segments and what happened before (semantics §3, §4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from actionmap.catalog.models.base import LONGEST_WAIT, Duration, Model, Name, Window, seconds
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
    """How the value at the path is compared."""
    values: Annotated[tuple[Value, ...], Field(max_length=1000, strict=False)] = ()
    """What it is compared with; how many depends on the operator."""
    value: Value | None = None
    """In place of `values`, where it is one."""
    ignore_case: bool = False
    """Whether A and a are the same."""

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

    @property
    def said(self) -> tuple[Any, ...]:
        """What it says, apart from how it is written; 1, 1.0 and true are three values."""
        values = self.compared_with
        return self.operator, self.ignore_case, values, tuple(map(type, values))


class Condition(Comparison):
    """A comparison of one path of event, session or visitor."""

    key: Annotated[str, Field(min_length=1, max_length=300)]
    """The path, such as `event.attributes.cartValue` or `visitor.traits.email`."""


class All(Model):
    """True when all of its triggers are."""

    all: Annotated[tuple[Trigger, ...], Field(min_length=1, strict=False)]
    """The triggers that all have to hold."""


class Any_(Model):  # noqa: N801 - "Any" would hide typing.Any
    """True when at least one of its triggers is."""

    any: Annotated[tuple[Trigger, ...], Field(min_length=1, strict=False)]
    """The triggers of which one has to hold."""


class Not(Model):
    """True when its trigger is not."""

    not_: Annotated[Trigger, Field(alias="not")]
    """The trigger that must not hold."""


class SegmentLeaf(Model):
    """True while the visitor is a member."""

    segment: Name
    """The segment."""


class SegmentEnteredLeaf(Model):
    """True at the event that makes the visitor a member."""

    segment_entered: Name
    """The segment."""


class SegmentLeftLeaf(Model):
    """True at the event, or the expiry, that ends the membership."""

    segment_left: Name
    """The segment."""


class EventLeaf(Model):
    """True for the current event only, when it has this name and meets all of ``where``."""

    event: EventName
    """Its name."""
    where: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    """What else has to hold for it."""


class CountedEvents(Model):
    """Which events are counted, in which window, and how many there must be."""

    event: EventName
    """The name of those that count."""
    where: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    """What else has to hold for each of them."""
    at_least: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """How many there must be."""
    at_most: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """How many there may be."""
    within: Window
    """In which span they count."""

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
    """What is counted."""


#: One may stand without its list.
_one_or_many = BeforeValidator(
    lambda written: [written] if isinstance(written, dict) else written,
    json_schema_input_type=EventLeaf | tuple[EventLeaf, ...],
)


class OrderedEvents(Model):
    """Events that come one after the other, inside a window, without certain others between the first and the last."""

    steps: Annotated[tuple[EventLeaf, ...], Field(min_length=2, max_length=10, strict=False)]
    """The events, in their order."""
    within: Window
    """In which span all of them lie."""
    without: Annotated[tuple[EventLeaf, ...], Field(max_length=10, strict=False), _one_or_many] = ()
    """Events of which none may come in between; one may stand without its list."""


class SequenceLeaf(Model):
    """True at an event that is the last of its steps."""

    sequence: OrderedEvents
    """Which events, and in which span."""


class AwaitedEvents(Model):
    """The event that starts the wait, the one that ends it, and how long the wait is."""

    after: EventLeaf
    """The event that starts the wait."""
    of: EventLeaf
    """The event that ends it."""
    for_: Annotated[Duration, AfterValidator(_check_wait), Field(alias="for")]
    """How long is waited."""


class AbsenceLeaf(Model):
    """Fires by timer when the second event did not come in time after the first one."""

    absence: AwaitedEvents
    """What is waited for."""


_TAGS: dict[type, str] = {
    All: "all",
    Any_: "any",
    Not: "not",
    SegmentLeaf: "segment",
    SegmentEnteredLeaf: "segmentEntered",
    SegmentLeftLeaf: "segmentLeft",
    EventLeaf: "event",
    Count: "count",
    SequenceLeaf: "sequence",
    AbsenceLeaf: "absence",
    Condition: "key",
}

#: The words by which the kinds of trigger are told apart.
TRIGGER_TAGS = frozenset(_TAGS.values())


def _which(written: Any) -> str | None:
    if not isinstance(written, dict):
        return _TAGS.get(type(written))
    return next((leaf for leaf in _TAGS.values() if leaf in written), None)


Trigger = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[Any_, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[SegmentLeaf, Tag("segment")]
    | Annotated[SegmentEnteredLeaf, Tag("segmentEntered")]
    | Annotated[SegmentLeftLeaf, Tag("segmentLeft")]
    | Annotated[EventLeaf, Tag("event")]
    | Annotated[Count, Tag("count")]
    | Annotated[SequenceLeaf, Tag("sequence")]
    | Annotated[AbsenceLeaf, Tag("absence")]
    | Annotated[Condition, Tag("key")],
    Discriminator(
        _which,
        custom_error_type="trigger",
        custom_error_message=f"a trigger is one of {', '.join(list(_TAGS.values())[:-1])}, or a condition with a key",
    ),
]

for _model in (All, Any_, Not):
    _model.model_rebuild()

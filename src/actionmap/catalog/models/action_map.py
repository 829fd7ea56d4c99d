"""ActionMap: trigger, how and when, and which webhook."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, field_serializer, model_validator

from actionmap.catalog.models.base import (
    DEFAULT_COMPANY,
    LONGEST_WAIT,
    Definition,
    Model,
    Name,
    Window,
    as_object_of,
    seconds,
)
from actionmap.catalog.models.trigger import Comparison, Trigger
from actionmap.catalog.schedule import OpeningHours
from actionmap.event import to_millis, to_rfc3339


def _read_time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if _WITHOUT_ZONE.fullmatch(value):
        raise ValueError(f"{value!r} needs its zone: write Z or an offset at the end, such as 2026-11-01T00:00:00Z")
    try:
        return msgspec.convert(value, _Rfc3339)
    except msgspec.ValidationError:
        raise ValueError(f"{value!r} is no RFC 3339 time, such as 2026-11-01T00:00:00Z") from None


_WITHOUT_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+)?", re.ASCII)
_Rfc3339 = Annotated[datetime, msgspec.Meta(tz=True)]
Moment = Annotated[datetime, BeforeValidator(_read_time)]

_MOST_PER_DURATION = 1000


class PageUrlCondition(Comparison):
    """A comparison of the URL of the event's page."""


class PageUrls(Model):
    """On which pages the map may fire: entries are alternatives; an event without a page fails ``include``."""

    include: Annotated[tuple[PageUrlCondition, ...], Field(strict=False)] = ()
    """Pages where it may fire; none: everywhere."""
    exclude: Annotated[tuple[PageUrlCondition, ...], Field(strict=False)] = ()
    """Pages where it does not fire, whatever `include` says."""


class Activation(Model):
    """When a match fires."""

    type: Literal["immediate", "delay", "onNextSession", "onNextVisit"] = "immediate"
    """At once, after `delaySeconds`, or when the next session begins; `onNextVisit` is another name for that."""
    delay_seconds: Annotated[int, Field(ge=1, le=seconds(LONGEST_WAIT))] | None = None
    """How long after the match, for `delay` alone."""

    @model_validator(mode="after")
    def _seconds_with_delay(self) -> Self:
        if self.type == "delay" and self.delay_seconds is None:
            raise ValueError("type: delay needs delaySeconds, such as {type: delay, delaySeconds: 300}")
        if self.type != "delay" and self.delay_seconds is not None:
            raise ValueError(f"type: {self.type} has no delaySeconds")
        return self


class Frequency(Model):
    """How often the map, or its exclusive group, may fire for one visitor."""

    max: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many times."""
    per: Window = "session"
    """In which span: the session, for ever, or within a duration."""
    scope: Literal["map", "group"] = "map"
    """Whose firings are counted: the map's, or those of its exclusive group."""

    @model_validator(mode="after")
    def _few_enough_to_remember(self) -> Self:
        if self.per not in ("session", "lifetime") and self.max > _MOST_PER_DURATION:
            raise ValueError(f"at most {_MOST_PER_DURATION} per duration: the time of each firing is remembered")
        return self


class Schedule(Model):
    """Opening hours: outside of them the map does not fire."""

    timezone: str
    """An IANA time zone, such as Europe/Berlin."""
    open: Annotated[tuple[str, ...], Field(min_length=1, max_length=50, strict=False)]
    """Days and hours, such as `mon-fri 09:00-17:00`."""
    except_: Annotated[tuple[str, ...], Field(alias="except", max_length=1000, strict=False)] = ()
    """Days on which it is closed, such as `2026-12-24`."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        OpeningHours(self.timezone, self.open, self.except_)
        return self


class Action(Model):
    """What a match does."""

    webhook: Name
    """The webhook that is sent."""


class ActionMap(Definition):
    """Trigger, how and when, and which webhook."""

    kind_name: ClassVar[str] = "ActionMap"

    active: bool = True
    """Whether it fires at all."""
    trigger: Trigger
    """What has to hold, at an event of a visitor."""
    page_urls: PageUrls = PageUrls()
    """On which pages it may fire."""
    activation: Annotated[
        Activation, as_object_of("type", Literal["immediate", "onNextSession", "onNextVisit"] | Activation)
    ] = Activation()
    """When a match fires: `immediate` stands for `{type: immediate}`."""
    start_date: Moment | None = None
    """Before that it does not fire."""
    end_date: Moment | None = None
    """From then on it does not fire."""
    schedule: Schedule | None = None
    """Opening hours outside of which it does not fire."""
    priority: Literal["low", "medium", "high"] = "medium"
    """Which of the maps that stand at one event comes first."""
    exclusive_group: Name | None = None
    """Of the maps of a group that stand at one event, one fires."""
    frequency: Literal["every"] | Frequency = Frequency()
    """How often it may fire for one visitor; `every`: without a cap."""
    holdout_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Share of the visitors for whom it never fires."""
    action: Action
    """Which webhook a match sends."""
    mode: Literal["live", "shadow"] = "live"
    """`shadow`: what it would send is counted and shown, and not sent."""

    @property
    def group(self) -> str | None:
        """Its exclusive group, told apart from that of the same name of another company."""
        is_plain = self.exclusive_group is None or self.company == DEFAULT_COMPANY
        return self.exclusive_group if is_plain else f"{self.company}/{self.exclusive_group}"

    @model_validator(mode="after")
    def _start_before_end(self) -> Self:
        if self.start_date and self.end_date and self.start_date >= self.end_date:
            raise ValueError("endDate lies before startDate, so the map could never fire")
        return self

    @model_validator(mode="after")
    def _group_for_its_cap(self) -> Self:
        if isinstance(self.frequency, Frequency) and self.frequency.scope == "group" and self.exclusive_group is None:
            raise ValueError("frequency.scope: group needs the exclusiveGroup whose firings are counted")
        return self

    @field_serializer("start_date", "end_date")
    def _write_time(self, moment: datetime | None) -> str | None:
        return None if moment is None else to_rfc3339(to_millis(moment))

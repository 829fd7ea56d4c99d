"""ActionMap: trigger, how and when, and which webhook."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, field_serializer, model_validator

from actionmap.catalog.models.base import LONGEST_WAIT, Definition, Model, Name, Window, as_object_of, seconds
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
    exclude: Annotated[tuple[PageUrlCondition, ...], Field(strict=False)] = ()


class Activation(Model):
    """When a match fires."""

    #: ``onNextVisit`` is another name of ``onNextSession``.
    type: Literal["immediate", "delay", "onNextSession", "onNextVisit"] = "immediate"
    delay_seconds: Annotated[int, Field(ge=1, le=seconds(LONGEST_WAIT))] | None = None

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
    per: Window = "session"
    scope: Literal["map", "group"] = "map"

    @model_validator(mode="after")
    def _few_enough_to_remember(self) -> Self:
        if self.per not in ("session", "lifetime") and self.max > _MOST_PER_DURATION:
            raise ValueError(f"at most {_MOST_PER_DURATION} per duration: the time of each firing is remembered")
        return self


class Schedule(Model):
    """Opening hours: outside of them the map does not fire."""

    timezone: str
    open: Annotated[tuple[str, ...], Field(min_length=1, max_length=50, strict=False)]
    except_: Annotated[tuple[str, ...], Field(alias="except", max_length=1000, strict=False)] = ()

    @model_validator(mode="after")
    def _readable(self) -> Self:
        OpeningHours(self.timezone, self.open, self.except_)
        return self


class Action(Model):
    """What a match does."""

    webhook: Name


class ActionMap(Definition):
    """Trigger, how and when, and which webhook."""

    kind_name: ClassVar[str] = "ActionMap"

    active: bool = True
    trigger: Trigger
    page_urls: PageUrls = PageUrls()
    activation: Annotated[Activation, as_object_of("type")] = Activation()
    start_date: Moment | None = None
    end_date: Moment | None = None
    schedule: Schedule | None = None
    priority: Literal["low", "medium", "high"] = "medium"
    #: Of the maps of a group that stand at one event, one fires.
    exclusive_group: Name | None = None
    frequency: Literal["every"] | Frequency = Frequency()
    #: Share of the visitors for whom it never fires.
    holdout_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    action: Action
    mode: Literal["live", "shadow"] = "live"

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

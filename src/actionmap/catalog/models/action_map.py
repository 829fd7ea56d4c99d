"""ActionMap: trigger, how and when, and which webhook."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, field_serializer, model_validator

from actionmap.catalog.models.base import LONGEST_WAIT, Definition, Model, Name, as_object_of, seconds
from actionmap.catalog.models.trigger import Comparison, Trigger
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


class PageUrlCondition(Comparison):
    """A comparison of the URL of the event's page."""


class PageUrls(Model):
    """On which pages the map may fire: entries are alternatives; an event without a page fails ``include``."""

    include: Annotated[tuple[PageUrlCondition, ...], Field(strict=False)] = ()
    exclude: Annotated[tuple[PageUrlCondition, ...], Field(strict=False)] = ()


class Activation(Model):
    """When a match fires."""

    type: Literal["immediate", "delay"] = "immediate"
    delay_seconds: Annotated[int, Field(ge=1, le=seconds(LONGEST_WAIT))] | None = None

    @model_validator(mode="after")
    def _seconds_with_delay(self) -> Self:
        if self.type == "delay" and self.delay_seconds is None:
            raise ValueError("type: delay needs delaySeconds, such as {type: delay, delaySeconds: 300}")
        if self.type != "delay" and self.delay_seconds is not None:
            raise ValueError(f"type: {self.type} has no delaySeconds")
        return self


class Frequency(Model):
    """How often the map may fire for one visitor."""

    max: Annotated[int, Field(ge=1, le=10_000)] = 1
    per: Literal["session"] = "session"
    scope: Literal["map"] = "map"


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
    priority: Literal["low", "medium", "high"] = "medium"
    frequency: Literal["every"] | Frequency = Frequency()
    action: Action
    mode: Literal["live"] = "live"

    @model_validator(mode="after")
    def _start_before_end(self) -> Self:
        if self.start_date and self.end_date and self.start_date >= self.end_date:
            raise ValueError("endDate lies before startDate, so the map could never fire")
        return self

    @field_serializer("start_date", "end_date")
    def _write_time(self, moment: datetime | None) -> str | None:
        return None if moment is None else to_rfc3339(to_millis(moment))

"""Segment: a named condition on visitors, or a name that others assign."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from actionmap.catalog.models.base import LONGEST_WINDOW, Definition, Duration, seconds
from actionmap.catalog.models.trigger import Trigger


def _check_expiry(duration: str) -> str:
    if not 0 < seconds(duration) <= seconds(LONGEST_WINDOW):
        raise ValueError(
            f"{duration}: a membership lasts from 1s to {LONGEST_WINDOW}, or without expiresAfter for ever"
        )
    return duration


class Segment(Definition):
    """A named condition on visitors; a visitor is a member as long as it holds, or until some time after that."""

    kind_name: ClassVar[str] = "Segment"

    external: bool = False
    """Visitors become members by assignment from outside alone."""
    when: Annotated[Trigger | None, Field(validate_default=True)] = None
    """What makes a visitor a member; none of an external one."""
    scope: Literal["visitor", "session"] = "visitor"
    """How long it looks back: as long as the visitor is known, or in its session."""
    expires_after: Annotated[Duration, AfterValidator(_check_expiry)] | None = None
    """How long a membership lasts; without it, as long as `when` holds."""
    active: bool = True
    """Inactive, it has no members."""

    @field_validator("when")
    @classmethod
    def _one_source(cls, when: Trigger | None, info: ValidationInfo) -> Trigger | None:
        external = info.data.get("external", False)
        if when is None and not external:
            raise ValueError("a segment needs its when, or external: true where visitors are assigned from outside")
        if when is not None and external:
            raise ValueError("an external segment has no when: visitors are assigned to it from outside")
        return when

    @model_validator(mode="after")
    def _external_of_the_visitor(self) -> Self:
        if self.external and self.scope == "session":
            raise ValueError("an external segment is of the visitor: assignments are not bound to a session")
        return self

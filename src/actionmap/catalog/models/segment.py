"""Segment: a named condition on visitors."""

from __future__ import annotations

from typing import ClassVar, Literal

from actionmap.catalog.models.base import Definition
from actionmap.catalog.models.trigger import Trigger


class Segment(Definition):
    """A named condition on visitors; a visitor is a member as long as it holds."""

    kind_name: ClassVar[str] = "Segment"

    when: Trigger
    scope: Literal["visitor", "session"] = "visitor"
    active: bool = True

"""Lists of definitions: filtered, searched, sorted, a page at a time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from actionmap.catalog.lifecycle import Entry
from actionmap.collect.problem import Refusal

_MAX_LISTED = 500
Sort = Literal["name", "-name", "updatedAt", "-updatedAt"]


class Listed(BaseModel):
    """Which definitions are asked for; what is left out takes all."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    search: str = Field("", description="A part of name or description, in any case.")
    company: str | None = Field(None, description="Only those of this company.")
    state: Literal["draft", "published", "archived"] | None = Field(
        None, description="Of webhooks and data actions: only those in this state."
    )
    active: bool | None = Field(
        None, description="Of integrations, segments and action maps: only those that are, or are not."
    )
    has_draft: bool | None = Field(None, description="With or without a draft beside what is in force.")
    integration: str | None = Field(None, description="Data actions of this integration.")
    data_action: str | None = Field(None, description="Webhooks of this data action.")
    webhook: str | None = Field(None, description="Action maps of this webhook.")
    sort: Sort = Field("name", description="The order; `-` turns it around.")
    limit: int = Field(100, ge=1, le=_MAX_LISTED, description="How many there are on a page.")
    after: str = Field("", description="`next` of the page before.")

    def takes(self, entry: Entry) -> bool:
        """Whether ``entry`` is one of them."""
        some: Any = entry.definition
        action = getattr(some, "action", None)
        asked = (
            (self.company, some.company),
            (self.state, getattr(some, "state", None)),
            (self.active, getattr(some, "active", None)),
            (self.has_draft, entry.draft is not None),
            (self.integration, getattr(some, "integration", None)),
            (self.data_action, getattr(some, "data_action", None)),
            (self.webhook, getattr(action, "webhook", None)),
        )
        wanted = self.search.lower()
        is_found = wanted in some.name or wanted in some.description.lower()
        return is_found and all(want is None or want == has for want, has in asked)


def page_of(found: Sequence[Entry], asked: Listed) -> tuple[list[Entry], str | None]:
    """The page of ``found`` that is asked for, and where the next one begins; None where there is none.

    Raises:
        Refusal: ``after`` is not what a page before had as ``next``.
    """
    is_reversed = asked.sort.startswith("-")
    by_time = asked.sort.endswith("updatedAt")

    def place(entry: Entry) -> tuple[int, str]:
        return (entry.at if by_time else 0), entry.definition.name

    rows = sorted(found, key=place, reverse=is_reversed)
    if asked.after:
        last = _read_cursor(asked.after, asked.sort)
        rows = [entry for entry in rows if (place(entry) < last if is_reversed else place(entry) > last)]
    page = rows[: asked.limit]
    return page, _cursor(asked.sort, place(page[-1])) if len(rows) > asked.limit else None


def _cursor(sort: Sort, place: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((sort, *place))).decode().rstrip("=")


def _read_cursor(text: str, sort: Sort) -> tuple[int, str]:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        of, at, name = msgspec.json.decode(raw, type=tuple[str, int, str])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise Refusal(400, "`after` is not the `next` of a page", path="query.after") from None
    if of != sort:
        raise Refusal(400, f"`after` is the `next` of a page that was sorted by {of}", path="query.after")
    return at, name

"""Definitions, versions and audit entries as REST answers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.responses import JSONResponse

from actionmap.catalog.lifecycle import Entry
from actionmap.catalog.models import Definition, Integration
from actionmap.event import to_rfc3339

Written = dict[str, Any]
#: What the server adds to a definition; a client that sends it back means no change by it.
READ_ONLY = ("inForceVersion", "draft", "updatedAt", "updatedBy", "intendedState", "reportedState")
#: What says whether a definition is in use; each kind has one of them.
LIFECYCLE_FIELDS = ("state", "active")
#: How each of some integrations is doing, in their order (`admin.integrations.states_of`).
AskStates = Callable[[list[Integration]], Awaitable[list[dict[str, Any]]]]


def plain(definition: Definition) -> Written:
    """``definition`` as its author would write it, with its company; secrets are masked."""
    return {"kind": definition.kind_name, **definition.as_written(), "company": definition.company}


class Shown:
    """Definitions as every answer shows them: of an integration also what it is meant to be, and what it is."""

    def __init__(self, states: AskStates) -> None:
        self._states = states

    async def all(self, entries: Sequence[Entry]) -> list[Written]:
        """``entries``, in their order.

        Raises:
            Unreachable: the store does not answer.
        """
        rows = [_written(entry) for entry in entries]
        integrations = [entry.definition for entry in entries if isinstance(entry.definition, Integration)]
        if integrations:
            # All of one list are of one kind.
            for row, state in zip(rows, await self._states(integrations), strict=True):
                row |= {name: state[name] for name in ("intendedState", "reportedState")}
        return rows

    async def answer(self, entry: Entry, status: int = 200) -> JSONResponse:
        """The answer that shows ``entry``, with its version as ETag; raises as `all`."""
        [found] = await self.all([entry])
        return JSONResponse(found, status, {"ETag": f'"{entry.version}"'})


def _written(entry: Entry) -> Written:
    """What is in force, the draft beside it, and who wrote it when."""
    now = entry.definition
    return {
        **plain(now),
        # Also where its author leaves it to the default: it is what people ask first.
        **{name: getattr(now, name) for name in LIFECYCLE_FIELDS if name in type(now).model_fields},
        "version": entry.version,
        "inForceVersion": entry.in_force,
        "draft": None if entry.draft is None else plain(entry.draft),
        "updatedAt": to_rfc3339(entry.at) if entry.at else None,
        "updatedBy": entry.by or None,
    }

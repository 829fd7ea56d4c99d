"""Simulate over REST: what would fire over events that are given, sending nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.describe import body, operation, refer
from actionmap.admin.requests import body_of
from actionmap.admin.schemas import Shown
from actionmap.admin.schemas.deliveries import FIRING, ShownFiring
from actionmap.admin.writing import Writer
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import parse_documents
from actionmap.catalog.rulebook import Rulebook
from actionmap.collect.openapi import EVENT_EXAMPLE
from actionmap.collect.problem import Refusal, documented
from actionmap.decide import Policy
from actionmap.decision import Decision
from actionmap.delivery import Delivery
from actionmap.errors import DefinitionError, Finding
from actionmap.event import Event
from actionmap.simulate import Simulation, coverage, differences, firing, simulate

#: Events of one request, and firings that they may lead to.
MOST_EVENTS, MOST_FIRINGS = 10_000, 10_000
#: Simulations at a time; the others wait, so that the server goes on answering.
_AT_ONCE = 2


class SimulationRequest(BaseModel):
    """What is to be simulated."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    events: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_EVENTS)]
    """As they would be sent, each with its timestamp, as one partition in this order; one without an id is
    `simulate/0/<its place, from 1>`."""
    definitions: list[dict[str, Any]] | None = None
    """The whole set, each with its kind; without them, what is in force on the server."""
    against: Literal["server"] | None = None
    """With definitions: show what fires differently from what is in force on the server."""


class ShownDifference(ShownFiring):
    """A firing that two sets of definitions do not have in common."""

    change: Literal["appears", "disappears", "changes"]
    """What the given definitions do to it."""


class ShownCoverage(Shown):
    """For how many of a map's firings a lookup had a value."""

    action_map: str
    """The action map."""
    field: str
    """The field of the input contract."""
    lookup: str
    """The path."""
    found: int
    """For how many firings there was a value."""
    firings: int
    """How many firings there were."""


class Simulated(Shown):
    """What a simulation has found."""

    events: int
    """How many events there were."""
    outcomes: dict[str, int]
    """What became of the events: judged, late, duplicate …"""
    firings: list[ShownFiring]
    """By time, then in the order of the events."""
    verdicts: dict[str, dict[str, int]]
    """Action map → reason → how often."""
    coverage: list[ShownCoverage]
    """For each lookup, whether it had values."""
    differences: list[ShownDifference] | None
    """What fires differently; null without `against`."""


_EXAMPLE = {
    "events": 1, "outcomes": {"judged": 1}, "firings": [FIRING], "verdicts": {"hot-lead": {"fired": 1}},
    "coverage": [{"actionMap": "hot-lead", "field": "email", "lookup": "visitor.traits.email", "found": 1,
                  "firings": 1}],
    "differences": [{"change": "appears", **FIRING}],
}  # fmt: skip
_SIMULATE = operation(
    "`read`", refer(Simulated), _EXAMPLE, reads=body(refer(SimulationRequest), {"events": [EVENT_EXAMPLE]}),
    own=[documented(422, "Events or definitions are wrong, each with its path; or they lead to too many firings.",
                    "1 finding(s): no-timestamp: …",
                    errors=[{"subject": "", "path": "body.events.0", "message": "no-timestamp: …"}])],
)  # fmt: skip


def simulate_router(writer: Writer, policy: Policy) -> APIRouter:
    """``/api/v1/simulate``. A key of a company simulates with its own definitions alone."""
    router = APIRouter(tags=["simulate"])
    turns = asyncio.Semaphore(_AT_ONCE)

    @router.post("/api/v1/simulate", summary="Show what would fire over events, sending nothing", **_SIMULATE)
    async def simulated(request: Request) -> JSONResponse:
        """The same decisions as live, in event time; what waits at the end runs out."""
        caller = writer.guard.check_of_company(request, "read")
        asked = await body_of(request, SimulationRequest)
        if asked.against and asked.definitions is None:
            raise Refusal(
                400, "against compares definitions that are given with those of the server", path="body.against"
            )
        for data in asked.definitions or ():
            writer.of_company(caller, data)
        await writer.registry.refresh()
        async with turns:
            # It may take seconds, in which others are answered.
            return JSONResponse(await asyncio.to_thread(_simulated, asked, writer, caller, policy))

    return router


def _simulated(asked: SimulationRequest, writer: Writer, caller: Caller, policy: Policy) -> dict[str, Any]:
    definitions, rulebook = _given(asked) if asked.definitions is not None else _in_force(writer, caller)
    made = _run(asked, rulebook, policy)
    changes = None
    if asked.against:
        _, before = _in_force(writer, caller)
        changes = [
            {"change": one.change, **_shown(one.delivery, before if one.change == "disappears" else rulebook)}
            for one in differences(made, _run(asked, before, policy))
        ]
    return {
        "events": made.events,
        "outcomes": made.outcomes,
        "firings": [_shown(one, rulebook) for one in made.deliveries],
        "verdicts": made.verdicts,
        "coverage": [ShownCoverage(**row._asdict()).model_dump(by_alias=True) for row in coverage(made, definitions)],
        "differences": changes,
    }


def _shown(delivery: Delivery, rulebook: Rulebook) -> dict[str, Any]:
    return firing(delivery, rulebook.integrations.get(delivery.integration))


def _given(asked: SimulationRequest) -> tuple[Mapping[str, Definition], Rulebook]:
    definitions, _ = parse_documents(Document(data=data) for data in asked.definitions or ())
    return definitions, compile_rulebook(definitions)


def _in_force(writer: Writer, caller: Caller) -> tuple[Mapping[str, Definition], Rulebook]:
    """What is in force on the server, as far as ``caller`` may see it."""
    registry = writer.registry
    definitions, rulebook, versions = registry.definitions, registry.rulebook, registry.versions
    if caller.company is None:
        return definitions, rulebook
    seen = {key: some for key, some in definitions.items() if caller.sees(some)}
    return seen, compile_rulebook(seen, versions=versions)


def _run(asked: SimulationRequest, rulebook: Rulebook, policy: Policy) -> Simulation:
    firings = 0

    def count(_: Event, decision: Decision) -> None:
        nonlocal firings
        firings += len(decision.deliveries) + len(decision.shadowed)
        if firings > MOST_FIRINGS:
            raise Refusal(422, f"these events lead to more than {MOST_FIRINGS:,} firings; simulate fewer at a time")

    lines = [(number, msgspec.json.encode(event)) for number, event in enumerate(asked.events, 1)]
    made = simulate(rulebook, lines, source="simulate", policy=policy, on_decision=count)
    if made.bad_lines:
        raise DefinitionError([
            Finding(message=f"{reason}: {detail}", path=f"body.events.{number - 1}")
            for number, reason, detail in made.bad_lines
        ])  # fmt: skip
    return made

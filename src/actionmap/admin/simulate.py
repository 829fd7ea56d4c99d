"""Simulate over REST: what would fire over events that are given, sending nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.requests import body_of
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


_EVENTS = (
    "as they would be sent, each with its timestamp, as one partition in this order; one without an id is "
    "simulate/0/<its place, from 1>"
)
_DEFINITIONS = "the whole set, each with its kind; without them, what is in force on the server"
_AGAINST = "with definitions: show what fires differently from what is in force on the server"


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Asked(_Camel):
    """What is to be simulated."""

    events: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_EVENTS, description=_EVENTS)]
    definitions: Annotated[list[dict[str, Any]] | None, Field(description=_DEFINITIONS)] = None
    against: Annotated[Literal["server"] | None, Field(description=_AGAINST)] = None


class ShownFiring(_Camel):
    """One firing, as `simulate --format jsonl` prints it; secrets are masked."""

    action_map: str
    visitor_id: str
    event_id: str
    at: Annotated[str, Field(description="event time, or the timer's due time")]
    request: dict[str, Any]


class ShownDifference(ShownFiring):
    """A firing that two sets of definitions do not have in common."""

    change: Literal["appears", "disappears", "changes"]


class ShownCoverage(_Camel):
    """For how many of a map's firings a lookup had a value."""

    action_map: str
    field: str
    lookup: str
    found: int
    firings: int


class Simulated(_Camel):
    """What a simulation has found."""

    events: int
    outcomes: Annotated[dict[str, int], Field(description="what became of the events: judged, late, duplicate …")]
    firings: Annotated[list[ShownFiring], Field(description="by time, then in the order of the events")]
    verdicts: Annotated[dict[str, dict[str, int]], Field(description="action map → reason → how often")]
    coverage: list[ShownCoverage]
    differences: Annotated[list[ShownDifference] | None, Field(description="null without `against`")]


_FIRING = {
    "actionMap": "pricing-hot-lead", "visitorId": "c-7f3a", "eventId": "simulate/0/1", "at": "2026-11-21T19:15:00.123Z",
    "request": {"method": "POST", "url": "https://crm.example.com/leads", "headers": {"webhook-id": "am1_…"},
                "body": '{"email":"a@b.example"}'},
}  # fmt: skip
_EXAMPLE = {
    "events": 1, "outcomes": {"judged": 1}, "firings": [_FIRING], "verdicts": {"pricing-hot-lead": {"fired": 1}},
    "coverage": [{"actionMap": "pricing-hot-lead", "field": "email", "lookup": "visitor.traits.email", "found": 1,
                  "firings": 1}],
    "differences": [{"change": "appears", **_FIRING}],
}  # fmt: skip
_BODY = {"required": True, "content": {"application/json": {
    "schema": Asked.model_json_schema(), "example": {"events": [EVENT_EXAMPLE]},
}}}  # fmt: skip
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": _EXAMPLE}}},
    400: documented("The body is no JSON.", title="Bad Request", status=400, detail="the body is no JSON: …"),
    401: documented("No API key, or one that nobody knows.", title="Unauthorized", status=401,
                    detail="send an API key: Authorization: Bearer <key>"),
    403: documented("The key lacks the right `read`.", title="Forbidden", status=403,
                    detail="this key has no right to read"),
    408: documented("The body came too slowly.", title="Request Timeout", status=408,
                    detail="the body did not come within 10 s"),
    413: documented("The body is too large.", title="Request Entity Too Large", status=413,
                    detail="the body is larger than 16,777,216 bytes"),
    415: documented("Not declared as JSON.", title="Unsupported Media Type", status=415,
                    detail="send JSON, as Content-Type: application/json"),
    422: documented("Events or definitions are wrong, each with its path; or they lead to too many firings.",
                    title="Unprocessable Entity", status=422, detail="1 finding(s): no-timestamp: …",
                    errors=[{"subject": "", "path": "events.0", "message": "no-timestamp: …"}]),
    429: documented("Too many requests; see Retry-After.", title="Too Many Requests", status=429,
                    detail="too many requests; wait as Retry-After says"),
    503: documented("The store does not answer.", title="Service Unavailable", status=503,
                    detail="Redis does not answer"),
}  # fmt: skip


def simulate_router(writer: Writer, policy: Policy) -> APIRouter:
    """``/api/v1/simulate``. A key of a company simulates with its own definitions alone."""
    router = APIRouter(tags=["simulate"])
    turns = asyncio.Semaphore(_AT_ONCE)

    @router.post("/api/v1/simulate", summary="Show what would fire over events, sending nothing",
                 response_model=Simulated, responses=_RESPONSES, openapi_extra={"requestBody": _BODY})  # fmt: skip
    async def simulated(request: Request) -> JSONResponse:
        """The same decisions as live, in event time; what waits at the end runs out."""
        caller = writer.guard.check_of_company(request, "read")
        asked = await body_of(request, Asked)
        if asked.against and asked.definitions is None:
            raise Refusal(400, "against compares definitions that are given with those of the server")
        for data in asked.definitions or ():
            writer.of_company(caller, data)
        await writer.registry.refresh()
        async with turns:
            # It may take seconds, in which others are answered.
            return JSONResponse(await asyncio.to_thread(_simulated, asked, writer, caller, policy))

    return router


def _simulated(asked: Asked, writer: Writer, caller: Caller, policy: Policy) -> dict[str, Any]:
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


def _given(asked: Asked) -> tuple[Mapping[str, Definition], Rulebook]:
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


def _run(asked: Asked, rulebook: Rulebook, policy: Policy) -> Simulation:
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
            Finding(message=f"{reason}: {detail}", path=f"events.{number - 1}")
            for number, reason, detail in made.bad_lines
        ])  # fmt: skip
    return made

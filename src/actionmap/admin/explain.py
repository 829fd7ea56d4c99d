"""Explain over REST: why maps fire for a visitor or an event, or do not."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.definitions import Name
from actionmap.admin.describe import body, many, operation, refer
from actionmap.admin.replay import ReadRecord
from actionmap.admin.requests import body_of
from actionmap.admin.schemas import Asked
from actionmap.admin.schemas.answers import EXPLAINED, Explained
from actionmap.admin.writing import Writer
from actionmap.collect.problem import Refusal
from actionmap.consume.ends import partition_of
from actionmap.consume.parse import parse_record
from actionmap.decide import Policy
from actionmap.errors import NotFound, Rejected
from actionmap.event import Event
from actionmap.explain import Explainer, given_event
from actionmap.process import wall_clock
from actionmap.store.protocols import Store
from actionmap.visitor import Visitor, decode_visitor

_ONE_VISITOR = "the events are of one visitor, the last one is explained"
_MAX_EVENTS = 1000
Events = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=_MAX_EVENTS)]

VisitorId = Annotated[str, Query(alias="visitorId", description="The visitor, as now, by its latest event.")]


class GivenEvents(Asked):
    """Events of one visitor, in their order."""

    events: Events
    """As they would be sent; the last one is explained, those before it have made the visitor what it is."""


_ONE: dict[str, Any] = {"answer": refer(Explained), "example": EXPLAINED}
_ALL: dict[str, Any] = {"answer": many(refer(Explained)), "example": [EXPLAINED]}
_EVENTS = body(refer(GivenEvents), {"events": [{"eventName": "pricing_viewed", "visitorId": "c-7f3a"}]})
_ONE_AS_NOW = operation("`read`", **_ONE, problems=(404, 422))
_ALL_AS_NOW = operation("`read`", **_ALL, problems=(404, 422))
_ONE_OF_EVENTS = operation("`read`", **_ONE, reads=_EVENTS, problems=(404, 422))
_ALL_OF_EVENTS = operation("`read`", **_ALL, reads=_EVENTS, problems=(422,))


def explain_router(writer: Writer, policy: Policy, known: Known) -> APIRouter:
    """``/api/v1/explain`` and ``/api/v1/action-maps/{name}/explain``."""
    router = APIRouter(tags=["explain"])

    registry = writer.registry

    async def explainer(request: Request, name: str | None = None, *, asks_visitor: bool = False) -> Explainer:
        # What is remembered of visitors is of no single company.
        check = writer.guard.check if asks_visitor else writer.guard.check_of_company
        caller = check(request, "read")
        await registry.refresh()
        if name is not None:
            writer.find(caller, "ActionMap", name)
        return Explainer(*await asyncio.to_thread(writer.own, caller), policy)

    @router.get("/api/v1/action-maps/{name}/explain", summary="Explain one map by a visitor as now", **_ONE_AS_NOW)
    async def one_of_visitor(request: Request, name: Name, visitor_id: VisitorId) -> JSONResponse:
        """By the visitor's latest event, with what is remembered of it. Nothing is changed or sent."""
        found = await explainer(request, name, asks_visitor=True)
        return _answer(found.of_visitor(name, *await known.visitor(visitor_id)).as_json())

    @router.post(
        "/api/v1/action-maps/{name}/explain", summary="Explain one map for events that are given", **_ONE_OF_EVENTS
    )
    async def one_of_event(request: Request, name: Name) -> JSONResponse:
        """Body: ``{"events": […]}`` of one visitor; the last one is explained. Nothing is changed or sent."""
        found = await explainer(request, name)
        asked = await body_of(request, GivenEvents)
        return _answer(
            found.of_event(name, *await known.event(found, asked.events, writer.guard.caller(request))).as_json()
        )

    @router.get(
        "/api/v1/explain", summary="Explain all active maps by a visitor as now, the nearest first", **_ALL_AS_NOW
    )
    async def all_of_visitor(request: Request, visitor_id: VisitorId) -> JSONResponse:
        """By the visitor's latest event, with what is remembered of it. Nothing is changed or sent."""
        found = await explainer(request, asks_visitor=True)
        asked = await known.visitor(visitor_id)
        return _answer([one.as_json() for one in await asyncio.to_thread(found.all_of_visitor, *asked)])

    @router.post("/api/v1/explain", summary="Explain all active maps for events that are given, the nearest first",
                 **_ALL_OF_EVENTS)  # fmt: skip
    async def all_of_event(request: Request) -> JSONResponse:
        """Body: ``{"events": […]}`` of one visitor; the last one is explained. Nothing is changed or sent."""
        found = await explainer(request)
        asked = await known.event(found, (await body_of(request, GivenEvents)).events, writer.guard.caller(request))
        # Of a hundred thousand maps it takes seconds, in which others are answered.
        return _answer([one.as_json() for one in await asyncio.to_thread(found.all_of_event, *asked)])

    return router


class Known:
    """What is known of visitors and their events."""

    def __init__(self, store: Store, partitions: int, read_record: ReadRecord) -> None:
        self._store = store
        self._partitions = partitions
        self._read_record = read_record

    async def visitor(self, visitor_id: str) -> tuple[Visitor, Event]:
        """The visitor, and the event that it was judged by last, as Kafka still has it."""
        visitor = await self._stored(visitor_id)
        if visitor is None:
            raise NotFound(f"there is no visitor {visitor_id!r}")
        if visitor.latest_offset < 0:
            raise NotFound(f"nothing has happened yet that the visitor {visitor_id!r} could be judged by")
        record = await self._read_record(self._partition(visitor_id), visitor.latest_offset)
        event = parse_record(record).event if record and record.offset == visitor.latest_offset else None
        if event is None or event.visitor_id != visitor_id:
            raise NotFound(
                f"Kafka has the latest event of {visitor_id!r} no more; give an event: POST, or --event FILE"
            )
        return visitor, event

    async def event(
        self, explainer: Explainer, given: list[dict[str, Any]], caller: Caller
    ) -> tuple[Event, Visitor | None, int]:
        """The last of the events, its visitor as the others have made it, and the stream time then.

        What is remembered of the visitor is not for a ``caller`` of a company: for it, nobody knows the visitor yet.

        Raises:
            Refusal: one is no event, or not of the same visitor.
        """
        *earlier, event = _events(given)
        stored = await self._stored(event.visitor_id) if caller.company is None else None
        return event, *explainer.before(event, earlier, stored)

    async def _stored(self, visitor_id: str) -> Visitor | None:
        [found] = await self._store.load(self._partition(visitor_id), [visitor_id])
        return None if found is None else decode_visitor(found)

    def _partition(self, visitor_id: str) -> int:
        return partition_of(visitor_id.encode(), self._partitions)


def _answer(value: Any) -> JSONResponse:
    return JSONResponse(msgspec.to_builtins(value))


def _events(given: list[dict[str, Any]]) -> list[Event]:
    events = []
    for number, one in enumerate(given):
        try:
            events.append(given_event(one, number, wall_clock()))
        except Rejected as why:
            raise Refusal(422, f"{why.reason}: {why.detail}", path=f"body.events.{number}") from None
    if len({event.visitor_id for event in events}) > 1:
        raise Refusal(422, _ONE_VISITOR, path="body.events")
    return events

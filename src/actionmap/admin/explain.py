"""Explain over REST: why maps fire for a visitor or an event, or do not."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from actionmap.admin.replay import ReadRecord
from actionmap.admin.requests import json_body
from actionmap.admin.writing import Writer
from actionmap.collect.problem import Refusal
from actionmap.consume.ends import partition_of
from actionmap.consume.parse import parse_record
from actionmap.decide import Policy
from actionmap.errors import NotFound, Rejected
from actionmap.event import Event
from actionmap.explain import Explainer, Explanation, given_event
from actionmap.process import wall_clock
from actionmap.store.protocols import Store
from actionmap.visitor import Visitor, decode_visitor

_BODY = 'the body is {"events": [{"eventName": …, "visitorId": …, …}, …]}, of one visitor, the last one is explained'
_MAX_EVENTS = 1000

VisitorId = Annotated[str, Query(alias="visitorId", description="the visitor, as now, by its latest event")]


def explain_router(writer: Writer, policy: Policy, known: Known) -> APIRouter:
    """``/api/v1/explain`` and ``/api/v1/action-maps/{name}/explain``."""
    router = APIRouter(tags=["explain"])

    registry = writer.registry

    async def explainer(request: Request, name: str | None = None) -> Explainer:
        caller = writer.guard.check_of_company(request, "read")
        await registry.refresh()
        if name is not None:
            writer.find(caller, "ActionMap", name)
        return Explainer(registry.definitions, registry.rulebook, policy)

    def seen(request: Request, found: list[Explanation]) -> list[dict[str, Any]]:
        caller = writer.guard.caller(request)
        entries = {one.action_map: registry.entries.get(f"ActionMap/{one.action_map}") for one in found}
        names = {name for name, entry in entries.items() if entry is None or caller.sees(entry.definition)}
        return [one.as_json() for one in found if one.action_map in names]

    @router.get("/api/v1/action-maps/{name}/explain", summary="Explain one map by a visitor as now",
                response_model=dict[str, Any])  # fmt: skip
    async def one_of_visitor(request: Request, name: str, visitor_id: VisitorId) -> JSONResponse:
        found = await explainer(request, name)
        return _answer(found.of_visitor(name, *await known.visitor(visitor_id)).as_json())

    @router.post("/api/v1/action-maps/{name}/explain", summary="Explain one map for events that are given",
                 response_model=dict[str, Any])  # fmt: skip
    async def one_of_event(request: Request, name: str) -> JSONResponse:
        """Body: ``{"events": […]}`` of one visitor; the last one is explained. Nothing is changed or sent."""
        found = await explainer(request, name)
        return _answer(found.of_event(name, *await known.event(found, await json_body(request))).as_json())

    @router.get("/api/v1/explain", summary="Explain all active maps by a visitor as now, the nearest first",
                response_model=list[dict[str, Any]])  # fmt: skip
    async def all_of_visitor(request: Request, visitor_id: VisitorId) -> JSONResponse:
        found = await explainer(request)
        asked = await known.visitor(visitor_id)
        return _answer(seen(request, await asyncio.to_thread(found.all_of_visitor, *asked)))

    @router.post("/api/v1/explain", summary="Explain all active maps for events that are given, the nearest first",
                 response_model=list[dict[str, Any]])  # fmt: skip
    async def all_of_event(request: Request) -> JSONResponse:
        """Body: ``{"events": […]}`` of one visitor; the last one is explained. Nothing is changed or sent."""
        found = await explainer(request)
        asked = await known.event(found, await json_body(request))
        # Of a hundred thousand maps it takes seconds, in which others are answered.
        return _answer(seen(request, await asyncio.to_thread(found.all_of_event, *asked)))

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

    async def event(self, explainer: Explainer, body: Any) -> tuple[Event, Visitor | None, int]:
        """The last event of ``body``, its visitor as the others have made it, and the stream time then."""
        *earlier, event = _events(body)
        return event, *explainer.before(event, earlier, await self._stored(event.visitor_id))

    async def _stored(self, visitor_id: str) -> Visitor | None:
        [found] = await self._store.load(self._partition(visitor_id), [visitor_id])
        return None if found is None else decode_visitor(found)

    def _partition(self, visitor_id: str) -> int:
        return partition_of(visitor_id.encode(), self._partitions)


def _answer(value: Any) -> JSONResponse:
    return JSONResponse(msgspec.to_builtins(value))


def _events(body: Any) -> list[Event]:
    given = body.get("events") if isinstance(body, dict) else None
    if not isinstance(given, list) or not 0 < len(given) <= _MAX_EVENTS:
        raise Refusal(400, _BODY)
    events = []
    for number, one in enumerate(given):
        try:
            events.append(given_event(one, number, wall_clock()))
        except Rejected as why:
            raise Refusal(400, f"events.{number}: {why.reason}: {why.detail}") from None
    if len({event.visitor_id for event in events}) > 1:
        raise Refusal(400, _BODY)
    return events

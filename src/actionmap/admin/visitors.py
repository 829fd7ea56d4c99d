"""Visitors: shown; assigned to external segments and erased, through the topic, so that the partition's owner does it
in the order of their events."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse

from actionmap.admin.requests import Guard
from actionmap.admin.visitor_json import EXAMPLE, ShownVisitor, visitor_json
from actionmap.catalog.models import Segment
from actionmap.catalog.parse import nearest
from actionmap.collect.problem import Refusal, documented
from actionmap.collect.producer import EventProducer, Stored
from actionmap.consume.ends import partition_of
from actionmap.consume.parse import OWN_HEADER
from actionmap.errors import NotFound
from actionmap.event import MAX_ID_CHARACTERS, VISITOR_ERASED
from actionmap.registry import Registry
from actionmap.store.protocols import Store
from actionmap.visitor import decode_visitor

_VISITOR = "/api/v1/visitors/{id_:path}"
_SEGMENT = _VISITOR + "/segments/{segment}"


class Told(BaseModel):
    """Kafka has it; the partition's worker does it in the order of the visitor's events."""

    model_config = ConfigDict(alias_generator=to_camel)

    event_id: str
    visitor_id: str


class ToldOfSegment(Told):
    """As `Told`, of a segment."""

    segment: str


_TOLD = {"eventId": "website-events/3/17", "visitorId": "c-7f3a"}
_AWAY = documented(
    "Kafka or the store does not answer.", title="Service Unavailable", status=503, detail="Kafka does not answer"
)
_REFUSED: dict[int | str, dict[str, Any]] = {
    400: documented("No id of a visitor.", title="Bad Request", status=400,
                    detail=f"a visitor's id has 1 to {MAX_ID_CHARACTERS} characters"),
    401: documented("No API key, or one that nobody knows.", title="Unauthorized", status=401,
                    detail="send an API key: Authorization: Bearer <key>"),
    403: documented("The key lacks a right, or is one of a company: visitors are shared by all.", title="Forbidden",
                    status=403, detail="this key has no right to publish"),
    429: documented("Too many requests; see Retry-After.", title="Too Many Requests", status=429,
                    detail="too many requests; wait as Retry-After says"),
    503: _AWAY,
}  # fmt: skip
_UNKNOWN = documented(
    "Nothing is remembered of that visitor.",
    title="Not Found",
    status=404,
    detail="there is no visitor 'c-7f3a'",
)
_OF_SEGMENT: dict[int | str, dict[str, Any]] = {
    **_REFUSED,
    202: {"content": {"application/json": {"example": {**_TOLD, "segment": "vip"}}}},
    404: documented("There is no such segment.", title="Not Found", status=404, detail="there is no Segment 'vip'"),
    409: documented("The segment is inactive, or follows its `when`.", title="Conflict", status=409,
                    detail="Segment 'vip' is inactive, so it has no members; activate it first"),
}  # fmt: skip


def visitors_router(
    registry: Registry, guard: Guard, producer: EventProducer, store: Store, partitions: int
) -> APIRouter:
    """``/api/v1/visitors``."""
    router = APIRouter(tags=["visitors"])

    async def tell(event_name: str, visitor_id: str, **attributes: str) -> JSONResponse:
        event = {"eventName": event_name, "visitorId": visitor_id, "attributes": attributes}
        told = await producer.send_record(None, visitor_id.encode(), msgspec.json.encode(event), [(OWN_HEADER, b"1")])
        if not isinstance(told, Stored):
            raise Refusal(503, told.error)
        return JSONResponse({"eventId": told.position, "visitorId": visitor_id, **attributes}, 202)

    async def tell_of_segment(request: Request, event_name: str, visitor_id: str, segment: str) -> JSONResponse:
        guard.check(request, "edit")
        await registry.refresh()
        _check_id(visitor_id)
        _check_segment(registry, segment)
        return await tell(event_name, visitor_id, segment=segment)

    @router.put(_SEGMENT, summary="Assign a visitor to an external segment", status_code=202,
                response_model=ToldOfSegment, responses=_OF_SEGMENT)  # fmt: skip
    async def assign(request: Request, id_: str, segment: str) -> JSONResponse:
        """Accepted once Kafka has it; the partition's worker assigns it in the order of the visitor's events."""
        return await tell_of_segment(request, "segment_assigned", id_, segment)

    @router.delete(_SEGMENT, summary="Take a visitor out of an external segment", status_code=202,
                   response_model=ToldOfSegment, responses=_OF_SEGMENT)  # fmt: skip
    async def unassign(request: Request, id_: str, segment: str) -> JSONResponse:
        """Accepted once Kafka has it; the partition's worker takes it back in the order of the visitor's events."""
        return await tell_of_segment(request, "segment_unassigned", id_, segment)

    @router.get(_VISITOR, summary="Show what is remembered of a visitor", response_model=ShownVisitor, responses={
        **_REFUSED, 200: {"content": {"application/json": {"example": EXAMPLE}}}, 404: _UNKNOWN,
    })  # fmt: skip
    async def show(request: Request, id_: str) -> JSONResponse:
        """Its state as of the last event that was evaluated."""
        guard.check(request, "read")
        _check_id(id_)
        await registry.refresh()
        partition = partition_of(id_.encode(), partitions)
        [stored] = await store.load(partition, [id_])
        if stored is None:
            raise NotFound(f"there is no visitor {id_!r}")
        fence = await store.fence(partition)
        return JSONResponse(visitor_json(decode_visitor(stored), registry.rulebook, partition, fence))

    @router.delete(_VISITOR, summary="Erase a visitor", status_code=202, response_model=Told, responses={
        **_REFUSED, 202: {"content": {"application/json": {"example": _TOLD}}},
    })  # fmt: skip
    async def erase(request: Request, id_: str) -> JSONResponse:
        """Takes the rights `edit` and `publish`. Accepted once Kafka has it, whether anybody knows the visitor or not:
        the partition's worker then forgets it in the order of its events, with all that it is owed, and maps that
        name `visitor_erased` fire. What comes after that begins anew.
        """
        guard.check(request, "edit", "publish")
        _check_id(id_)
        return await tell(VISITOR_ERASED, id_)

    return router


def _check_id(visitor_id: str) -> None:
    if not 0 < len(visitor_id) <= MAX_ID_CHARACTERS:
        raise Refusal(400, f"a visitor's id has 1 to {MAX_ID_CHARACTERS} characters")


def _check_segment(registry: Registry, name: str) -> None:
    segment = registry.definitions.get(f"Segment/{name}")
    if not isinstance(segment, Segment):
        known = [some.name for some in registry.definitions.values() if isinstance(some, Segment)]
        raise NotFound(f"there is no Segment {name!r}{nearest(name, known)}")
    if not segment.external:
        raise Refusal(409, f"Segment {name!r} follows its when; visitors are assigned only to one with external: true")
    if not segment.active:
        raise Refusal(409, f"Segment {name!r} is inactive, so it has no members; activate it first")

"""Visitors: assigned to external segments, through the topic, so that the partition's owner does it in order."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from actionmap.admin.requests import Guard
from actionmap.catalog.models import Segment
from actionmap.catalog.parse import nearest
from actionmap.collect.problem import Refusal
from actionmap.collect.producer import EventProducer, Stored
from actionmap.consume.parse import OWN_HEADER
from actionmap.errors import NotFound
from actionmap.event import MAX_ID_CHARACTERS
from actionmap.registry import Registry

_ONE = "/api/v1/visitors/{id_:path}/segments/{segment}"


def visitors_router(registry: Registry, guard: Guard, producer: EventProducer) -> APIRouter:
    """``/api/v1/visitors``."""
    router = APIRouter(tags=["visitors"])

    async def tell(request: Request, event_name: str, visitor_id: str, segment: str) -> JSONResponse:
        guard.check(request, "edit")
        await registry.refresh()
        _check(registry, visitor_id, segment)
        event = {"eventName": event_name, "visitorId": visitor_id, "attributes": {"segment": segment}}
        told = await producer.send_record(None, visitor_id.encode(), msgspec.json.encode(event), [(OWN_HEADER, b"1")])
        if not isinstance(told, Stored):
            raise Refusal(503, told.error)
        return JSONResponse({"eventId": told.position, "visitorId": visitor_id, "segment": segment}, 202)

    @router.put(_ONE, summary="Assign a visitor to an external segment", status_code=202,
                response_model=dict[str, Any])  # fmt: skip
    async def assign(request: Request, id_: str, segment: str) -> JSONResponse:
        """Accepted once Kafka has it; the partition's worker assigns it in the order of the visitor's events."""
        return await tell(request, "segment_assigned", id_, segment)

    @router.delete(_ONE, summary="Take a visitor out of an external segment", status_code=202,
                   response_model=dict[str, Any])  # fmt: skip
    async def unassign(request: Request, id_: str, segment: str) -> JSONResponse:
        """Accepted once Kafka has it; the partition's worker takes it back in the order of the visitor's events."""
        return await tell(request, "segment_unassigned", id_, segment)

    return router


def _check(registry: Registry, visitor_id: str, name: str) -> None:
    if not 0 < len(visitor_id) <= MAX_ID_CHARACTERS:
        raise Refusal(400, f"a visitor's id has 1 to {MAX_ID_CHARACTERS} characters")
    segment = registry.definitions.get(f"Segment/{name}")
    if not isinstance(segment, Segment):
        known = [some.name for some in registry.definitions.values() if isinstance(some, Segment)]
        raise NotFound(f"there is no Segment {name!r}{nearest(name, known)}")
    if not segment.external:
        raise Refusal(409, f"Segment {name!r} follows its when; visitors are assigned only to one with external: true")
    if not segment.active:
        raise Refusal(409, f"Segment {name!r} is inactive, so it has no members; activate it first")

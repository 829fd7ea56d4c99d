"""Visitors: shown; assigned to external segments and erased, through the topic, so that the partition's owner does it
in the order of their events."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Scope

from actionmap.admin.describe import operation, refer
from actionmap.admin.requests import Guard
from actionmap.admin.schemas import Shown
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

_VISITOR = "/api/v1/visitors/{id:path}"
_SEGMENT = _VISITOR + "/segments/{segment}"


VisitorId = Annotated[str, Path(alias="id", description="The visitor.", min_length=1, max_length=MAX_ID_CHARACTERS)]
SegmentName = Annotated[str, Path(description="What the segment is called.")]


class Told(Shown):
    """Kafka has it; the partition's worker does it in the order of the visitor's events."""

    event_id: str
    """`topic/partition/offset` of the event that tells it."""
    visitor_id: str
    """The visitor."""


class ToldOfSegment(Told):
    """As `Told`, of a segment."""

    segment: str
    """The segment."""


_TOLD = {"eventId": "website-events/3/17", "visitorId": "c-7f3a"}
_ERASE = operation("`edit` and `publish`", refer(Told), _TOLD, status=202, problems=(422,))
_SHOW = operation("`read`", refer(ShownVisitor), EXAMPLE, problems=(422,), own=[
    documented(404, "Nothing is remembered of that visitor.", "there is no visitor 'c-7f3a'"),
])  # fmt: skip
_OF_SEGMENT = operation("`edit`", refer(ToldOfSegment), {**_TOLD, "segment": "vip"}, status=202, problems=(422,), own=[
    documented(404, "There is no such segment.", "there is no Segment 'vip'"),
    documented(409, "The segment is inactive, or follows its `when`.",
               "Segment 'vip' is inactive, so it has no members; activate it first"),
])  # fmt: skip


class _OfSegment(APIRoute):
    """A route of a visitor's segment; slashes that are escaped are part of the visitor's id."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if b"/segments/" in scope["raw_path"] else (Match.NONE, {})


def visitors_router(
    registry: Registry, guard: Guard, producer: EventProducer, store: Store, partitions: int
) -> APIRouter:
    """``/api/v1/visitors``."""
    router, of_segment = APIRouter(tags=["visitors"]), APIRouter(route_class=_OfSegment)

    async def tell(event_name: str, visitor_id: str, **attributes: str) -> JSONResponse:
        event = {"eventName": event_name, "visitorId": visitor_id, "attributes": attributes}
        told = await producer.send_record(None, visitor_id.encode(), msgspec.json.encode(event), [(OWN_HEADER, b"1")])
        if not isinstance(told, Stored):
            raise Refusal(503, told.error)
        return JSONResponse({"eventId": told.position, "visitorId": visitor_id, **attributes}, 202)

    async def tell_of_segment(request: Request, event_name: str, visitor_id: str, segment: str) -> JSONResponse:
        guard.check(request, "edit")
        await registry.refresh()
        _check_segment(registry, segment)
        return await tell(event_name, visitor_id, segment=segment)

    @of_segment.put(_SEGMENT, summary="Assign a visitor to an external segment", **_OF_SEGMENT)
    async def assign(request: Request, id_: VisitorId, segment: SegmentName) -> JSONResponse:
        """Accepted once Kafka has it; the partition's worker assigns it in the order of the visitor's events."""
        return await tell_of_segment(request, "segment_assigned", id_, segment)

    @of_segment.delete(_SEGMENT, summary="Take a visitor out of an external segment", **_OF_SEGMENT)
    async def unassign(request: Request, id_: VisitorId, segment: SegmentName) -> JSONResponse:
        """Accepted once Kafka has it; the partition's worker takes it back in the order of the visitor's events."""
        return await tell_of_segment(request, "segment_unassigned", id_, segment)

    # Before those of visitors, whose ids take any path.
    router.include_router(of_segment)

    @router.get(_VISITOR, summary="Show what is remembered of a visitor", **_SHOW)
    async def show(request: Request, id_: VisitorId) -> JSONResponse:
        """Its state as of the last event that was evaluated."""
        guard.check(request, "read")
        await registry.refresh()
        partition = partition_of(id_.encode(), partitions)
        [stored] = await store.load(partition, [id_])
        if stored is None:
            raise NotFound(f"there is no visitor {id_!r}")
        fence = await store.fence(partition)
        return JSONResponse(visitor_json(decode_visitor(stored), registry.rulebook, partition, fence))

    @router.delete(_VISITOR, summary="Erase a visitor", **_ERASE)
    async def erase(request: Request, id_: VisitorId) -> JSONResponse:
        """Accepted once Kafka has it, whether anybody knows the visitor or not:
        the partition's worker then forgets it in the order of its events, with all that it is owed, and maps that
        name `visitor_erased` fire. What comes after that begins anew.
        """
        caller = guard.check(request, "edit", "publish")
        answer = await tell(VISITOR_ERASED, id_)
        # Of whom nothing is to be left, nothing is left here, either.
        await registry.tell("erase", "Visitor", hidden(id_), by=caller.name)
        return answer

    return router


def hidden(visitor_id: str) -> str:
    """What the audit calls a visitor: who knows the id can tell that it is meant, nobody else who it is."""
    return f"sha256:{hashlib.sha256(visitor_id.encode()).hexdigest()}"


def _check_segment(registry: Registry, name: str) -> None:
    segment = registry.definitions.get(f"Segment/{name}")
    if not isinstance(segment, Segment):
        known = [some.name for some in registry.definitions.values() if isinstance(some, Segment)]
        raise NotFound(f"there is no Segment {name!r}{nearest(name, known)}")
    if not segment.external:
        raise Refusal(409, f"Segment {name!r} follows its when; visitors are assigned only to one with external: true")
    if not segment.active:
        raise Refusal(409, f"Segment {name!r} is inactive, so it has no members; activate it first")

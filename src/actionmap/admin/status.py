"""Health, metrics and status: what works, what does not, and how far each partition is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from actionmap.admin.describe import refer
from actionmap.admin.schemas.operations import HEALTH, Alive, ShownHealth
from actionmap.errors import Unreachable
from actionmap.event import to_rfc3339
from actionmap.store.durability import Guarantees
from actionmap.store.protocols import Store
from actionmap.telemetry import Metrics


class Health(Struct, frozen=True):
    """How one process is doing."""

    #: What is wrong, in words for people; empty when ready.
    problems: list[str]
    #: What the store promises to keep; None when it does not answer.
    guarantees: Guarantees | None
    #: Revision of the definitions in use, and how many active maps they hold.
    revision: int
    maps: int
    #: Records not yet evaluated, by partition of this process.
    lag: dict[int, int]


AskHealth = Callable[[], Awaitable[Health]]
_Responses = dict[int | str, dict[str, Any]]
_NOT_READY = {**HEALTH, "status": "not ready", "problems": ["Redis does not answer"]}
_LIVE: _Responses = {200: {"content": {"application/json": {"schema": refer(Alive), "example": {"status": "alive"}}}}}
_READY: _Responses = {
    200: {"content": {"application/json": {"schema": refer(ShownHealth), "example": HEALTH}}},
    503: {"description": "It cannot; `problems` says why.",
          "content": {"application/json": {"schema": refer(ShownHealth), "example": _NOT_READY}}},
}  # fmt: skip
_METRICS: _Responses = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "actionmap_definitions_revision 17.0"}}}
}


def ops_router(health: AskHealth, metrics: Metrics) -> APIRouter:
    """``/health/live``, ``/health/ready`` and ``/metrics``."""
    router = APIRouter(tags=["operations"])

    @router.get("/health/live", summary="The process answers", responses=_LIVE)
    async def live() -> JSONResponse:
        """Whatever else does."""
        return JSONResponse({"status": "alive"})

    @router.get("/health/ready", summary="The process can do its work", responses=_READY)
    async def ready() -> JSONResponse:
        """With what the store promises to keep, and how far the process is."""
        found = await health()
        status = 503 if found.problems else 200
        return JSONResponse(_as_json(found), status)

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse, responses=_METRICS)
    async def read_metrics() -> Response:
        """In the text format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _as_json(health: Health) -> dict[str, Any]:
    return {
        "status": "not ready" if health.problems else "ready",
        "problems": health.problems,
        "durability": health.guarantees.words if health.guarantees else "unknown",
        "missingGuarantees": list(health.guarantees.missing) if health.guarantees else [],
        "revision": health.revision,
        "activeMaps": health.maps,
        "lag": {str(partition): lag for partition, lag in health.lag.items()},
    }


#: Asks Kafka where the log of each partition ends.
AskLogEnds = Callable[[], Awaitable[dict[int, int]]]


async def status_of(store: Store, partitions: int, health: Health, log_ends: AskLogEnds) -> dict[str, Any]:
    """Health, and fence, lag and outbox of each partition that was ever claimed."""
    rows, halted = [], []
    try:
        ends = await log_ends()
    except Unreachable as error:
        ends, health = {}, replace(health, problems=[*health.problems, str(error)])
    for partition in range(partitions):
        fence = await store.fence(partition)
        owed = await store.outbox_size(partition)
        parked = await store.parked(partition)
        if fence.token or fence.halted or owed:
            rows.append(
                {
                    "partition": partition,
                    "offset": fence.offset,
                    "owner": fence.owner,
                    "revision": fence.revision,
                    "streamTime": to_rfc3339(fence.stream_time) if fence.stream_time >= 0 else None,
                    "lag": _lag(partition, fence.offset, health, ends),
                    "outbox": owed,
                    "outboxByIntegration": parked.owed,
                    "parkedByIntegration": parked.parked,
                    "halted": None
                    if fence.halted is None
                    else {
                        "reason": fence.halted.reason,
                        "detail": fence.halted.detail,
                        "at": to_rfc3339(fence.halted.at),
                    },
                }
            )
            if fence.halted:
                halted.append(f"partition halted: {fence.halted.detail}")
    problems = list(dict.fromkeys([*health.problems, *halted]))
    return {**_as_json(replace(health, problems=problems)), "partitions": rows}


def _lag(partition: int, offset: int, health: Health, ends: dict[int, int]) -> int | None:
    """Records not yet evaluated: as this process counts them where it consumes, else by the end of the log."""
    if partition in health.lag:
        return health.lag[partition]
    return max(0, ends[partition] - offset - 1) if partition in ends else None

"""The whole API of one server: collector, definitions, go-live, deliveries, status, health and metrics."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from actionmap import __version__
from actionmap.admin.audit import audit_router
from actionmap.admin.auth import ApiKeys
from actionmap.admin.definition_json import Shown
from actionmap.admin.definitions import definitions_router
from actionmap.admin.deliveries import dead_letters_router, deliveries_router
from actionmap.admin.describe import body, complete, operation, refer
from actionmap.admin.errors import install
from actionmap.admin.explain import Known, explain_router
from actionmap.admin.golive import golive_router
from actionmap.admin.integrations import integration_states_router, states_of
from actionmap.admin.keys import keys_router
from actionmap.admin.replay import Replays, replay_router
from actionmap.admin.requests import Guard, body_of, refuse_unknown_parameters
from actionmap.admin.schemas.definitions import definition_schemas
from actionmap.admin.schemas.operations import STATUS, Resumed, ResumePolicy, ShownStatus
from actionmap.admin.sets import sets_router
from actionmap.admin.simulate import simulate_router
from actionmap.admin.status import AskHealth, AskLogEnds, ops_router, status_of
from actionmap.admin.versions import versions_router
from actionmap.admin.visitors import visitors_router
from actionmap.admin.webhooks import webhooks_router
from actionmap.admin.writing import Writer
from actionmap.catalog.models import Integration
from actionmap.collect.openapi import SCHEMAS
from actionmap.collect.problem import Refusal, documented
from actionmap.collect.producer import EventProducer
from actionmap.collect.quota import Quota
from actionmap.decide import Policy
from actionmap.deliver.dispatch import Sender
from actionmap.deliver.reported import Editions
from actionmap.golive.survey import Survey
from actionmap.registry import Registry
from actionmap.store.protocols import Store
from actionmap.telemetry import Metrics

Partition = Annotated[int, Path(ge=0, le=2**31 - 1, description="Its number, counted from 0.")]
_STATUS = operation("`read`", refer(ShownStatus), STATUS)
_RESUME = operation(
    "`publish`", refer(Resumed), {"partition": 3, "policy": "continue"}, problems=(404, 422),
    reads=body(refer(ResumePolicy), {"policy": "continue"}),
    own=[documented(409, "It is not halted.", "partition 3 is not halted")],
)  # fmt: skip


def create_api(
    *,
    collector: APIRouter,
    keys: ApiKeys,
    registry: Registry,
    store: Store,
    partitions: int,
    health: AskHealth,
    log_ends: AskLogEnds,
    replays: Replays,
    producer: EventProducer,
    sender: Sender,
    policy: Policy,
    metrics: Metrics,
    survey: Survey,
    quota: Quota | None = None,
    cors_origins: Collection[str] = (),
    requires_if_match: bool = False,
) -> FastAPI:
    """The application that `serve` and `dev` run."""
    app = _application("Collector, definitions, go-live check, deliveries")
    if cors_origins:
        _allow_origins(app, cors_origins)
    guard = Guard(keys, quota, cors_origins)
    writer = Writer(registry, guard, requires_if_match=requires_if_match)
    shown = Shown(lambda integrations: states_of(store.integrations, integrations, survey.edition))
    known = Known(store, partitions, replays.read_record)
    app.include_router(collector)
    for router in (
        definitions_router(writer, shown),
        versions_router(writer, shown),
        audit_router(writer),
        sets_router(writer),
        keys_router(keys, store.api_keys, guard, registry),
        golive_router(survey, guard),
        deliveries_router(registry, store, guard, partitions),
        dead_letters_router(registry, store, guard, partitions),
        replay_router(registry, store, guard, partitions, replays),
        explain_router(writer, policy, known),
        webhooks_router(writer, policy, known, sender),
        integration_states_router(survey, store.integrations, guard),
        visitors_router(registry, guard, producer, store, partitions),
        simulate_router(writer, policy),
        _status_router(registry, store, guard, partitions, health, log_ends),
    ):
        app.include_router(router, dependencies=[Depends(guard.door), Depends(refuse_unknown_parameters)])
    app.include_router(ops_router(health, metrics))
    return app


def _allow_origins(app: FastAPI, origins: Collection[str]) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "If-Match", "X-API-Key"],
        expose_headers=["ETag", "Retry-After"],
    )


def create_ops(health: AskHealth, metrics: Metrics) -> FastAPI:
    """Health and metrics alone, as `run` serves them."""
    app = _application("Health and metrics")
    app.include_router(ops_router(health, metrics))
    return app


def _application(description: str) -> FastAPI:
    app = FastAPI(title="actionmap", version=__version__, description=description, docs_url=None, redoc_url=None)
    install(app)
    app.add_middleware(_HeadAsGet)
    describe = app.openapi
    app.openapi = cache(lambda: complete(describe(), {**definition_schemas(), **SCHEMAS}))  # type: ignore[method-assign]
    return app


class _HeadAsGet:
    """Answers HEAD as GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def _status_router(
    registry: Registry, store: Store, guard: Guard, partitions: int, health: AskHealth, log_ends: AskLogEnds
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/api/v1/status", summary="How far each partition is", **_STATUS)
    async def status(request: Request) -> JSONResponse:
        """With the health of this process, and how each integration is doing."""
        guard.check(request, "read")
        found = await status_of(store, partitions, await health(), log_ends)
        named = [some for _, some in sorted(registry.definitions.items()) if isinstance(some, Integration)]
        return JSONResponse(found | {"integrations": await states_of(store.integrations, named, Editions(registry))})

    @router.post("/api/v1/partitions/{partition}/resume", summary="Tell a halted partition how to go on", **_RESUME)
    async def resume(request: Request, partition: Partition) -> JSONResponse:
        """Its worker does so within seconds."""
        caller = guard.check(request, "publish")
        policy = (await body_of(request, ResumePolicy)).policy
        if not 0 <= partition < partitions:
            raise Refusal(404, f"there is no partition {partition}; they are counted from 0 to {partitions - 1}")
        if not await store.resume(partition, policy):
            raise Refusal(409, f"partition {partition} is not halted")
        await registry.tell("resume", "Partition", str(partition), by=caller.name, policy=policy)
        return JSONResponse({"partition": partition, "policy": policy})

    return router

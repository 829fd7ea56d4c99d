"""The whole API of one server: collector, definitions, go-live, deliveries, status, health and metrics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from actionmap import __version__
from actionmap.admin.auth import ApiKeys
from actionmap.admin.definitions import definitions_router
from actionmap.admin.deliveries import dead_letters_router, deliveries_router
from actionmap.admin.errors import install
from actionmap.admin.explain import Known, explain_router
from actionmap.admin.golive import golive_router
from actionmap.admin.integrations import integration_states_router, states_of
from actionmap.admin.keys import keys_router
from actionmap.admin.replay import Replays, replay_router
from actionmap.admin.requests import Guard, json_body
from actionmap.admin.sets import sets_router
from actionmap.admin.simulate import simulate_router
from actionmap.admin.status import AskHealth, AskLogEnds, ops_router, status_of
from actionmap.admin.versions import versions_router
from actionmap.admin.visitors import visitors_router
from actionmap.admin.webhooks import webhooks_router
from actionmap.admin.writing import Writer
from actionmap.catalog.models import KINDS, Integration
from actionmap.collect.problem import Refusal
from actionmap.collect.producer import EventProducer
from actionmap.collect.quota import Quota
from actionmap.decide import Policy
from actionmap.deliver.dispatch import Sender
from actionmap.deliver.reported import Editions
from actionmap.golive import Survey
from actionmap.registry import Registry
from actionmap.store.protocols import Store
from actionmap.telemetry import Metrics


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
    known = Known(store, partitions, replays.read_record)
    app.include_router(collector)
    for router in (
        definitions_router(writer),
        versions_router(writer),
        sets_router(writer),
        keys_router(keys, store.api_keys, guard),
        golive_router(survey, guard),
        deliveries_router(registry, store, guard, partitions),
        dead_letters_router(registry, store, guard, partitions),
        replay_router(store, guard, partitions, replays),
        explain_router(writer, policy, known),
        webhooks_router(writer, policy, known, sender),
        integration_states_router(survey, store.integrations, guard),
        visitors_router(registry, guard, producer, store, partitions),
        simulate_router(writer, policy),
        _status_router(registry, store, guard, partitions, health, log_ends),
    ):
        app.include_router(router, dependencies=[Depends(guard.door)])
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
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        _, schemas = models_json_schema(
            [(model, "validation") for model in KINDS.values()], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _status_router(
    registry: Registry, store: Store, guard: Guard, partitions: int, health: AskHealth, log_ends: AskLogEnds
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/api/v1/status", summary="How far each partition is", response_model=dict[str, Any])
    async def status(request: Request) -> JSONResponse:
        guard.check(request, "read")
        found = await status_of(store, partitions, await health(), log_ends)
        named = [some for _, some in sorted(registry.definitions.items()) if isinstance(some, Integration)]
        return JSONResponse(found | {"integrations": await states_of(store.integrations, named, Editions(registry))})

    @router.post(
        "/api/v1/partitions/{partition}/resume",
        summary="Tell a halted partition how to go on",
        responses={409: {"description": "It is not halted"}},
        response_model=dict[str, Any],
    )
    async def resume(request: Request, partition: int) -> JSONResponse:
        """Body: ``{"policy": "continue"}`` or ``{"policy": "rebuild"}``; its worker does so within seconds."""
        guard.check(request, "publish")
        body = await json_body(request)
        policy = body.get("policy") if isinstance(body, dict) else None
        if policy not in ("continue", "rebuild"):
            raise Refusal(400, 'the body is {"policy": "continue"} or {"policy": "rebuild"}')
        if not 0 <= partition < partitions:
            raise Refusal(404, f"there is no partition {partition}; they are counted from 0 to {partitions - 1}")
        if not await store.resume(partition, policy):
            raise Refusal(409, f"partition {partition} is not halted")
        return JSONResponse({"partition": partition, "policy": policy})

    return router

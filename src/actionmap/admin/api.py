"""The whole API of one server: collector, definitions, go-live, deliveries, status, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from pydantic.json_schema import models_json_schema
from starlette.responses import JSONResponse

from actionmap import __version__
from actionmap.admin.auth import ApiKeys, rights_to_change
from actionmap.admin.definitions import definitions_router
from actionmap.admin.deliveries import dead_letters_router, deliveries_router
from actionmap.admin.errors import install
from actionmap.admin.explain import Known, explain_router
from actionmap.admin.integrations import integration_states_router, states_of
from actionmap.admin.replay import Replays, replay_router
from actionmap.admin.requests import MAX_SET_BYTES, Guard, json_body
from actionmap.admin.status import AskHealth, AskLogEnds, ops_router, status_of
from actionmap.admin.visitors import visitors_router
from actionmap.admin.webhooks import webhooks_router
from actionmap.catalog.addresses import Network
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.models import KINDS, Integration
from actionmap.catalog.parse import Definitions, parse_documents
from actionmap.catalog.plan import plan
from actionmap.collect.problem import Refusal
from actionmap.collect.producer import EventProducer
from actionmap.decide import Policy
from actionmap.deliver.dispatch import Sender
from actionmap.golive import Surroundings, active_maps, check_golive, counted_lookups
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.store.protocols import Store
from actionmap.telemetry import Metrics

#: What the go-live check of the action maps with these names has to know of the running system.
AskSurroundings = Callable[[Sequence[str]], Awaitable[Surroundings]]


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
    secret_is_set: Callable[[str], bool],
    egress_hosts: Collection[str],
    egress_networks: tuple[Network, ...],
) -> FastAPI:
    """The application that `serve` and `dev` run."""
    app = _application("Collector, definitions, go-live check, deliveries")
    guard = Guard(keys)
    app.include_router(collector)
    app.include_router(definitions_router(registry, keys))
    app.include_router(_sets_router(registry, guard))

    async def surroundings(names: Sequence[str]) -> Surroundings:
        now = wall_clock()
        return Surroundings(
            now=now,
            egress_hosts=egress_hosts,
            egress_networks=egress_networks,
            secret_is_set=secret_is_set,
            opens_secret=registry.opens_secret,
            guarantees=await store.guarantees(),
            integrations=await store.integrations.states(),
            lookups=await store.lookups.counts(counted_lookups(registry.definitions, names), now=now),
        )

    app.include_router(_golive_router(registry, guard, surroundings))
    app.include_router(deliveries_router(registry, store, guard, partitions))
    app.include_router(dead_letters_router(registry, store, guard, partitions))
    app.include_router(replay_router(store, guard, partitions, replays))
    known = Known(store, partitions, replays.read_record)
    app.include_router(explain_router(registry, guard, policy, known))
    app.include_router(webhooks_router(registry, guard, policy, known, sender))
    app.include_router(integration_states_router(registry, store.integrations, guard))
    app.include_router(visitors_router(registry, guard, producer))
    app.include_router(_status_router(registry, store, guard, partitions, health, log_ends))
    app.include_router(ops_router(health, metrics))
    return app


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


def _sets_router(registry: Registry, guard: Guard) -> APIRouter:
    """All definitions at once: what `plan`, `apply` and `export` speak."""
    router = APIRouter(tags=["definitions as code"])

    @router.get("/api/v1/definitions", summary="Read all definitions", response_model=dict[str, Any])
    async def read_all(request: Request) -> JSONResponse:
        guard.check(request, "read")
        await registry.refresh()
        written = [{"kind": some.kind_name, **some.as_written()} for _, some in sorted(registry.definitions.items())]
        return JSONResponse({"revision": registry.revision, "definitions": written})

    @router.put("/api/v1/definitions", summary="Make the definitions as given, all or nothing",
                response_model=dict[str, Any])  # fmt: skip
    async def put_all(
        request: Request,
        prune: Annotated[bool, Query(description="delete what is not given")] = False,
        dry_run: Annotated[bool, Query(alias="dryRun", description="tell what would change, change nothing")] = False,
    ) -> JSONResponse:
        guard.check(request, "read" if dry_run else "edit")
        body = await json_body(request, MAX_SET_BYTES)
        if not isinstance(body, dict) or not isinstance(body.get("definitions"), list):
            raise Refusal(400, 'the body is {"definitions": [{"kind": …, "name": …, …}, …]}')
        # A large set takes seconds, in which others are answered.
        documents = [Document(data=data) for data in body["definitions"]]
        wanted: Definitions = (await asyncio.to_thread(parse_documents, documents))[0]
        await registry.refresh()
        wanted = await asyncio.to_thread(registry.sealed, wanted)
        changes = await asyncio.to_thread(plan, registry.definitions, wanted, prune=prune)
        changed = {change.key: wanted[change.key] for change in changes if change.action in ("create", "change")}
        deleted = frozenset(change.key for change in changes if change.action == "delete")
        if dry_run:
            kept = {key: value for key, value in registry.definitions.items() if key not in deleted}
            await asyncio.to_thread(compile_rulebook, kept | changed, previous=registry.rulebook)
        elif changed or deleted:
            for key in (*changed, *deleted):
                guard.check(request, *rights_to_change(registry.definitions.get(key), changed.get(key)))
            await registry.write(changed, deleted)
        rows = [
            {"action": change.action, "kind": change.kind, "name": change.name, "diff": list(change.diff)}
            for change in changes
        ]
        return JSONResponse({"revision": registry.revision, "changes": rows})

    @router.post("/api/v1/secrets/rotate", summary="Encrypt stored secrets with the newest key",
                 response_model=dict[str, Any])  # fmt: skip
    async def rotate(request: Request) -> JSONResponse:
        """What is stored with another key than the first of `ACTIONMAP_SECRETS_KEY`; it may be taken out then."""
        guard.check(request, "publish")
        await registry.refresh()
        return JSONResponse({"integrations": await registry.rotate_secrets(), "revision": registry.revision})

    return router


def _golive_router(registry: Registry, guard: Guard, surroundings: AskSurroundings) -> APIRouter:
    router = APIRouter(tags=["go-live"])

    @router.get("/api/v1/action-maps/{name}/go-live", summary="Check one action map", response_model=dict[str, Any])
    async def check_one(request: Request, name: str) -> JSONResponse:
        guard.check(request, "read")
        await registry.refresh()
        return JSONResponse(check_golive(registry.definitions, name, await surroundings([name])).as_json())

    @router.get("/api/v1/go-live", summary="Check all active action maps", response_model=list[dict[str, Any]])
    async def check_all(request: Request) -> JSONResponse:
        guard.check(request, "read")
        await registry.refresh()
        names = active_maps(registry.definitions)
        around = await surroundings(names)
        found = [check_golive(registry.definitions, name, around) for name in names]
        return JSONResponse([result.as_json() for result in found])

    return router


def _status_router(
    registry: Registry, store: Store, guard: Guard, partitions: int, health: AskHealth, log_ends: AskLogEnds
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/api/v1/status", summary="How far each partition is", response_model=dict[str, Any])
    async def status(request: Request) -> JSONResponse:
        guard.check(request, "read")
        found = await status_of(store, partitions, await health(), log_ends)
        named = [some for _, some in sorted(registry.definitions.items()) if isinstance(some, Integration)]
        return JSONResponse(found | {"integrations": await states_of(store.integrations, named)})

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

"""How the integrations are doing: listed, paused and resumed. Their deliveries are held meanwhile, never dropped."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from actionmap.admin.requests import Guard, json_body
from actionmap.catalog.models import Integration
from actionmap.catalog.parse import nearest
from actionmap.collect.problem import Refusal
from actionmap.errors import NotFound
from actionmap.event import to_rfc3339
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.store.integrations import UNKNOWN, Hold, IntegrationState, IntegrationStore

MAX_REASON = 200


def integration_states_router(registry: Registry, store: IntegrationStore, guard: Guard) -> APIRouter:
    """``/api/v1/integration-states``, and ``pause`` and ``resume`` of an integration."""
    router = APIRouter(tags=["operations"])

    @router.get("/api/v1/integration-states", summary="How each integration is doing",
                response_model=list[dict[str, Any]])  # fmt: skip
    async def states(request: Request) -> JSONResponse:
        guard.check(request, "read")
        await registry.refresh()
        named = [some for some in registry.definitions.values() if isinstance(some, Integration)]
        return JSONResponse(await states_of(store, sorted(named, key=lambda some: some.name)))

    @router.post("/api/v1/integrations/{name}/pause", summary="Hold the deliveries of an integration",
                 response_model=dict[str, Any])  # fmt: skip
    async def pause(request: Request, name: str) -> JSONResponse:
        """Action maps go on firing; what they owe waits until `resume`, up to the webhook's `maxAge`."""
        guard.check(request, "publish")
        await _known(registry, name)
        body = await json_body(request)
        reason = body.get("reason", "") if isinstance(body, dict) else None
        if not isinstance(reason, str) or len(reason) > MAX_REASON:
            raise Refusal(400, f'the body is {{"reason": "…"}}, of up to {MAX_REASON} characters')
        await store.hold(name, Hold("paused", wall_clock(), reason))
        return JSONResponse(_as_json(name, (await store.states())[name], {}))

    @router.post("/api/v1/integrations/{name}/resume", summary="Let the deliveries of an integration go out again",
                 response_model=dict[str, Any])  # fmt: skip
    async def resume(request: Request, name: str) -> JSONResponse:
        """Whatever held them: a pause, or that the integration had failed for days."""
        guard.check(request, "publish")
        await _known(registry, name)
        await store.release(name)
        return JSONResponse(_as_json(name, UNKNOWN, {}))

    return router


async def states_of(store: IntegrationStore, integrations: list[Integration]) -> list[dict[str, Any]]:
    """How each of ``integrations`` is doing, as REST answers it."""
    states, breakers = await store.states(), await store.breakers()
    return [
        {"active": one.active}
        | _as_json(one.name, states.get(one.name, UNKNOWN),
                   {worker: found[one.name] for worker, found in breakers.items() if one.name in found})
        for one in integrations
    ]  # fmt: skip


def _as_json(name: str, state: IntegrationState, breakers: dict[str, str]) -> dict[str, Any]:
    hold, health = state
    return {
        "name": name,
        "held": hold.kind if hold else None,
        "heldSince": _time(hold.since if hold else None),
        "reason": (hold.reason if hold else "") or None,
        "failingSince": _time(health.failing_since),
        "lastError": health.last_error or None,
        "warning": health.warning or None,
        "breakers": breakers,
    }


def _time(millis: int | None) -> str | None:
    return None if millis is None else to_rfc3339(millis)


async def _known(registry: Registry, name: str) -> None:
    await registry.refresh()
    if f"Integration/{name}" not in registry.definitions:
        known = [some.name for some in registry.definitions.values() if isinstance(some, Integration)]
        raise NotFound(f"there is no Integration {name!r}{nearest(name, known)}")

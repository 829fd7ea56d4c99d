"""How the integrations are doing: listed, paused, resumed and tested. Held deliveries wait, and are never dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.definitions import Name
from actionmap.admin.describe import body, many, operation, refer
from actionmap.admin.requests import Guard, body_of
from actionmap.admin.schemas.operations import INTEGRATION_STATE, Pause, ShownIntegrationState
from actionmap.catalog.models import Integration
from actionmap.catalog.parse import nearest
from actionmap.catalog.versions import Act
from actionmap.deliver.reported import Reported, reported
from actionmap.errors import NotFound
from actionmap.event import to_rfc3339
from actionmap.golive.survey import Survey
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.store.integrations import UNKNOWN, Hold, IntegrationState, IntegrationStore

_STATE: dict[str, Any] = {"answer": refer(ShownIntegrationState), "example": INTEGRATION_STATE}
_STATES = operation("`read`", many(refer(ShownIntegrationState)), [INTEGRATION_STATE])
_SWITCH = operation("`publish`", **_STATE, problems=(404,))
_PAUSE = operation(
    "`publish`", **_STATE, reads=body(refer(Pause), {"reason": "their maintenance"}), problems=(404, 422)
)
#: Which edition of an integration is in force, by its name.
EditionOf = Callable[[str], str]


def integration_states_router(survey: Survey, store: IntegrationStore, guard: Guard) -> APIRouter:
    """``/api/v1/integration-states``, and ``pause``, ``resume`` and ``test`` of an integration."""
    router = APIRouter(tags=["operations"])
    registry = survey.registry

    @router.get("/api/v1/integration-states", summary="How each integration is doing", **_STATES)
    async def states(request: Request) -> JSONResponse:
        """What each is meant to be (`intendedState`), and what it is (`reportedState`)."""
        caller = guard.check_of_company(request, "read")
        await registry.refresh()
        named = [some for some in registry.definitions.values() if isinstance(some, Integration) and caller.sees(some)]
        return JSONResponse(await states_of(store, sorted(named, key=lambda some: some.name), survey.edition))

    async def done(act: Act, caller: Caller, integration: Integration) -> JSONResponse:
        await registry.tell(act, "Integration", integration.name, by=caller.name, company=integration.company)
        [row] = await states_of(store, [integration], survey.edition)
        return JSONResponse(row)

    @router.post("/api/v1/integrations/{name}/pause", summary="Hold the deliveries of an integration", **_PAUSE)
    async def pause(request: Request, name: Name) -> JSONResponse:
        """Action maps go on firing; what they owe waits until `resume`, up to the webhook's `maxAge`."""
        caller = guard.check_of_company(request, "publish")
        integration = await _known(registry, name, caller)
        asked = await body_of(request, Pause)
        await store.hold(name, Hold("paused", wall_clock(), asked.reason))
        return await done("pause", caller, integration)

    @router.post("/api/v1/integrations/{name}/resume", summary="Let the deliveries of an integration go out again",
                 **_SWITCH)  # fmt: skip
    async def resume(request: Request, name: Name) -> JSONResponse:
        """Whatever held them: a pause, or that the integration had failed for days."""
        caller = guard.check_of_company(request, "publish")
        integration = await _known(registry, name, caller)
        await store.release(name)
        return await done("resume", caller, integration)

    @router.post(
        "/api/v1/integrations/{name}/test", summary="Connect to an integration, sending it no request", **_SWITCH
    )
    async def test(request: Request, name: Name) -> JSONResponse:
        """Asks DNS, connects and shakes hands by TLS from the server, within five seconds; where an access token is
        needed, one is asked for. What came of it is the `reportedState`.
        """
        caller = guard.check_of_company(request, "publish")
        integration = await _known(registry, name, caller)
        await survey.probe(integration)
        return await done("probe", caller, integration)

    return router


async def states_of(
    store: IntegrationStore, integrations: list[Integration], edition: EditionOf
) -> list[dict[str, Any]]:
    """How each of ``integrations`` is doing, as REST answers it."""
    states, breakers = await store.states(), await store.breakers()
    return [_as_json(one, states.get(one.name, UNKNOWN), edition(one.name), _open(breakers, one.name))
            for one in integrations]  # fmt: skip


def _open(breakers: Mapping[str, Mapping[str, str]], name: str) -> dict[str, str]:
    return {worker: found[name] for worker, found in breakers.items() if name in found}


def _as_json(
    integration: Integration, state: IntegrationState, edition: str, breakers: dict[str, str]
) -> dict[str, Any]:
    hold, health, probed = state
    return {
        "name": integration.name,
        "active": integration.active,
        "intendedState": "active" if integration.active else "inactive",
        "reportedState": _reported_json(reported(state, active=integration.active, edition=edition)),
        "held": hold.kind if hold else None,
        "heldSince": _time(hold.since if hold else None),
        "reason": (hold.reason if hold else "") or None,
        "failingSince": _time(health.failing_since),
        "lastError": health.last_error or None,
        "warning": health.warning or None,
        "probedAt": _time(probed.at if probed else None),
        "breakers": breakers,
    }


def _reported_json(found: Reported) -> dict[str, Any]:
    return {"state": found.state, "detail": found.detail or None, "since": _time(found.since)}


def _time(millis: int | None) -> str | None:
    return None if millis is None else to_rfc3339(millis)


async def _known(registry: Registry, name: str, caller: Caller) -> Integration:
    await registry.refresh()
    found = registry.definitions.get(f"Integration/{name}")
    if isinstance(found, Integration) and caller.sees(found):
        return found
    known = [some.name for some in registry.definitions.values()
             if isinstance(some, Integration) and caller.sees(some)]  # fmt: skip
    raise NotFound(f"there is no Integration {name!r}{nearest(name, known)}")

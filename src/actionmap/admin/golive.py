"""The go-live check over REST."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.requests import Guard
from actionmap.catalog.models import ActionMap
from actionmap.catalog.parse import nearest
from actionmap.errors import NotFound
from actionmap.golive import Survey, active_maps
from actionmap.registry import Registry

Probe = Annotated[bool, Query(description="connect to where the maps lead, sending nothing; takes the right `publish`")]


def golive_router(survey: Survey, guard: Guard) -> APIRouter:
    """``/api/v1/go-live``, and ``go-live`` of an action map. A key of a company asks of its own maps alone."""
    router = APIRouter(tags=["go-live"])
    registry = survey.registry

    def caller_of(request: Request, probe: bool) -> Caller:
        return guard.check_of_company(request, *(("read", "publish") if probe else ("read",)))

    @router.get("/api/v1/action-maps/{name}/go-live", summary="Check one action map", response_model=dict[str, Any])
    async def check_one(request: Request, name: str, probe: Probe = False) -> JSONResponse:
        """Would it really fire? Each failing check with its fix."""
        caller = caller_of(request, probe)
        await registry.refresh()
        _check_seen(registry, name, caller)
        [found] = await survey.check([name], probe=probe)
        return JSONResponse(found.as_json())

    @router.get("/api/v1/go-live", summary="Check all active action maps", response_model=list[dict[str, Any]])
    async def check_all(request: Request, probe: Probe = False) -> JSONResponse:
        """As for one, of each active map, by name."""
        caller = caller_of(request, probe)
        await registry.refresh()
        definitions = registry.definitions
        names = [name for name in active_maps(definitions) if caller.sees(definitions[f"ActionMap/{name}"])]
        found = await survey.check(names, probe=probe)
        return JSONResponse(await asyncio.to_thread(lambda: [result.as_json() for result in found]))

    return router


def _check_seen(registry: Registry, name: str, caller: Caller) -> None:
    seen = {some.name for some in registry.definitions.values() if isinstance(some, ActionMap) and caller.sees(some)}
    if name not in seen:
        raise NotFound(f"there is no action map {name!r}{nearest(name, seen)}")

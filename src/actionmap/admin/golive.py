"""The go-live check over REST."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.describe import many, operation, refer
from actionmap.admin.requests import Guard
from actionmap.admin.schemas.answers import GO_LIVE, GoLiveAnswer
from actionmap.catalog.models import ActionMap
from actionmap.catalog.parse import nearest
from actionmap.errors import NotFound
from actionmap.golive import GoLive, active_maps
from actionmap.golive.chain import destinations
from actionmap.golive.survey import Survey
from actionmap.registry import Registry

Probe = Annotated[
    bool, Query(description="Connect to where the maps lead, sending nothing; takes the right `publish`.")
]
MapName = Annotated[str, Path(description="What the action map is called.")]
_RIGHT = "`read`, and with `probe` also `publish`"
_ONE = operation(_RIGHT, refer(GoLiveAnswer), GO_LIVE, problems=(404, 422))
_ALL = operation(_RIGHT, many(refer(GoLiveAnswer)), [GO_LIVE], problems=(422,))


def golive_router(survey: Survey, guard: Guard) -> APIRouter:
    """``/api/v1/go-live``, and ``go-live`` of an action map. A key of a company asks of its own maps alone."""
    router = APIRouter(tags=["go-live"])
    registry = survey.registry

    def caller_of(request: Request, probe: bool) -> Caller:
        return guard.check_of_company(request, *(("read", "publish") if probe else ("read",)))

    async def checked(names: Sequence[str], caller: Caller, probe: bool) -> list[GoLive]:
        places = await asyncio.to_thread(destinations, registry.definitions, names) if probe else {}
        found = await survey.check(names, places if probe else None)
        for name, company in sorted({(one.name, one.company) for one in places.values()}):
            await registry.tell("probe", "Integration", name, by=caller.name, company=company)
        return found

    @router.get("/api/v1/action-maps/{name}/go-live", summary="Check one action map", **_ONE)
    async def check_one(request: Request, name: MapName, probe: Probe = False) -> JSONResponse:
        """Would it really fire? Each failing check with its fix."""
        caller = caller_of(request, probe)
        await registry.refresh()
        _check_seen(registry, name, caller)
        [found] = await checked([name], caller, probe)
        return JSONResponse(found.as_json())

    @router.get("/api/v1/go-live", summary="Check all active action maps", **_ALL)
    async def check_all(request: Request, probe: Probe = False) -> JSONResponse:
        """As for one, of each active map, by name."""
        caller = caller_of(request, probe)
        await registry.refresh()
        definitions = registry.definitions
        names = [name for name in active_maps(definitions) if caller.sees(definitions[f"ActionMap/{name}"])]
        found = await checked(names, caller, probe)
        return JSONResponse(await asyncio.to_thread(lambda: [result.as_json() for result in found]))

    return router


def _check_seen(registry: Registry, name: str, caller: Caller) -> None:
    seen = {some.name for some in registry.definitions.values() if isinstance(some, ActionMap) and caller.sees(some)}
    if name not in seen:
        raise NotFound(f"there is no action map {name!r}{nearest(name, seen)}")

"""Webhooks tried out over REST: rendered, and sent once when asked."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from actionmap.admin.explain import Known
from actionmap.admin.requests import Guard, json_body
from actionmap.catalog.paths import Scope
from actionmap.collect.problem import Refusal
from actionmap.decide import Policy
from actionmap.deliver.dispatch import Sender
from actionmap.explain import Explainer
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.trial import send, try_out

_BODY = 'the body is {}, {"visitorId": "…"} or {"events": […]}, and "send": true to send it'
_NAMES = frozenset({"visitorId", "events", "send"})


def webhooks_router(registry: Registry, guard: Guard, policy: Policy, known: Known, sender: Sender) -> APIRouter:
    """``/api/v1/webhooks/{name}/test``."""
    router = APIRouter(tags=["webhooks"])

    async def scope_of(body: dict[str, Any]) -> Scope | None:
        explainer = Explainer(registry.definitions, registry.rulebook, policy)
        if body.get("visitorId") is not None:
            return explainer.scope_of_visitor(*await known.visitor(body["visitorId"]))
        if body.get("events") is not None:
            return explainer.scope_of_event(*await known.event(explainer, body))
        return None

    @router.post("/api/v1/webhooks/{name}/test", summary="Render a webhook in any state, and send it when asked",
                 response_model=dict[str, Any])  # fmt: skip
    async def test(request: Request, name: str) -> JSONResponse:
        """Body: ``{}`` for sample values, ``{"visitorId": …}`` for those of a visitor as now, ``{"events": […]}`` for
        those of one visitor whose last event is given; ``"send": true`` sends it, which takes the right `publish`.

        Nothing is stored, and no visitor changes.
        """
        guard.check(request, "read")
        body = _checked(await json_body(request))
        if body.get("send"):
            guard.check(request, "publish")
        await registry.refresh()
        now = wall_clock()
        trial = try_out(registry.definitions, registry.rulebook, name, await scope_of(body), id_=new_id(), now=now)
        return JSONResponse(trial.as_json(await send(trial, sender) if body.get("send") else None))

    return router


def new_id() -> str:
    """An id for a delivery that is only tried out."""
    return f"am1_test{uuid4().hex}"


def _checked(body: Any) -> dict[str, Any]:
    if (
        not isinstance(body, dict)
        or body.keys() - _NAMES
        or not isinstance(body.get("visitorId", ""), str)
        or not isinstance(body.get("send", False), bool)
        or ("visitorId" in body and "events" in body)
    ):
        raise Refusal(400, _BODY)
    return body

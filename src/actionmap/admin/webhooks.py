"""Webhooks tried out over REST: rendered, and sent once when asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Self

from fastapi import APIRouter, Request
from pydantic import model_validator
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.definitions import Name
from actionmap.admin.describe import body, operation, refer
from actionmap.admin.explain import Events, Known
from actionmap.admin.requests import body_of
from actionmap.admin.schemas import Asked
from actionmap.admin.schemas.answers import TRIED, Tried
from actionmap.admin.writing import Writer
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.models import Definition, Webhook
from actionmap.catalog.models.webhook import Scalar
from actionmap.catalog.paths import Scope
from actionmap.collect.problem import Refusal
from actionmap.decide import Policy
from actionmap.deliver.dispatch import Sender
from actionmap.delivery import Attempt
from actionmap.errors import DefinitionError, Finding
from actionmap.explain import Explainer
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.trial import Trial, new_id, send, try_out

#: The webhook that a data action is tried out by; no definition has such a name.
TRIED_OUT = "a-data-action-tried-out"


class WebhookTrial(Asked):
    """What a webhook is tried out with."""

    visitor_id: str | None = None
    """Look up the values of this visitor, as now."""
    events: Events | None = None
    """Of one visitor: look up what they lead to."""
    draft: bool = False
    """Try the draft beside what is in force."""
    send: bool = False
    """Send it once; takes the right `publish`."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.visitor_id is not None and self.events is not None:
            raise ValueError("give visitorId or events, not both")
        return self


class ActionTrial(Asked):
    """What a data action is tried out with."""

    input: dict[str, Scalar]
    """The values of its input contract."""
    draft: bool = False
    """Try the draft beside what is in force."""
    send: bool = False
    """Send it once; takes the right `publish`."""


_TRIED: dict[str, Any] = {"answer": refer(Tried), "example": TRIED, "problems": (404, 409, 422)}
_RIGHT = "`read`, and with `send` also `publish`"
_TEST = operation(_RIGHT, **_TRIED, reads=body(refer(WebhookTrial), {"visitorId": "c-7f3a"}))
_TEST_ACTION = operation(_RIGHT, **_TRIED, reads=body(refer(ActionTrial), {"input": {"email": "a@b.example"}}))


def webhooks_router(writer: Writer, policy: Policy, known: Known, sender: Sender) -> APIRouter:
    """``/api/v1/webhooks/{name}/test`` and ``/api/v1/data-actions/{name}/test``."""
    router = APIRouter()
    registry, guard = writer.registry, writer.guard

    async def scope_of(request: Request, asked: WebhookTrial) -> Scope | None:
        if asked.visitor_id is not None:
            # What is remembered of visitors is of no single company.
            guard.check(request, "read")
            explainer = Explainer(registry.definitions, registry.rulebook, policy)
            return explainer.scope_of_visitor(*await known.visitor(asked.visitor_id))
        if asked.events is not None:
            caller = guard.caller(request)
            explainer = Explainer(*await asyncio.to_thread(writer.own, caller), policy)
            return explainer.scope_of_event(*await known.event(explainer, asked.events, caller))
        return None

    async def found(request: Request, kind: str, name: str, *, draft: bool, send: bool) -> Definition:
        caller = guard.check_of_company(request, *(("read", "publish") if send else ("read",)))
        await registry.refresh()
        entry = writer.find(caller, kind, name)
        if draft and entry.draft is None:
            raise Refusal(409, f"{kind} {name!r} has no draft beside what is in force")
        return entry.newest if draft else entry.definition

    async def answer(by: Caller | None, webhook: Webhook, scope: Scope | None, beside: Definition) -> JSONResponse:
        """Sent where somebody, ``by``, asks for it."""
        trial = await asyncio.to_thread(_tried, registry, webhook, scope, beside)
        return JSONResponse(trial.as_json(await _sent(trial, sender, registry, by, beside) if by else None))

    @router.post("/api/v1/webhooks/{name}/test", summary="Render a webhook in any state, and send it when asked",
                 tags=["webhooks"], **_TEST)  # fmt: skip
    async def test(request: Request, name: Name) -> JSONResponse:
        """Body: ``{}`` for sample values, ``{"visitorId": …}`` for those of a visitor as now, ``{"events": […]}`` for
        those of one visitor whose last event is given; ``"send": true`` sends it, which takes the right `publish`.

        Nothing is stored, and no visitor changes.
        """
        caller = guard.check_of_company(request, "read")
        asked = await body_of(request, WebhookTrial)
        webhook = await found(request, "Webhook", name, draft=asked.draft, send=asked.send)
        assert isinstance(webhook, Webhook)
        return await answer(caller if asked.send else None, webhook, await scope_of(request, asked), webhook)

    @router.post("/api/v1/data-actions/{name}/test", summary="Render a data action with values, and send it when asked",
                 tags=["data-actions"], **_TEST_ACTION)  # fmt: skip
    async def test_action(request: Request, name: Name) -> JSONResponse:
        """Body: ``{"input": {…}}``, a value for every field of the input contract; ``"send": true`` sends it, which
        takes the right `publish`. Nothing is stored.
        """
        caller = guard.check_of_company(request, "read")
        asked = await body_of(request, ActionTrial)
        action = await found(request, "DataAction", name, draft=asked.draft, send=asked.send)
        try:
            return await answer(caller if asked.send else None, _carrying(action, asked.input), None, action)
        except DefinitionError as error:
            raise DefinitionError([_as_asked(finding) for finding in error.findings]) from None

    return router


async def _sent(trial: Trial, sender: Sender, registry: Registry, by: Caller, some: Definition) -> Attempt | None:
    """What sending ``trial`` of ``some`` leads to, told in the audit; None when nothing would be sent."""
    attempt = await send(trial, sender)
    if attempt is not None and not attempt.is_blocked:
        await registry.tell("test", some.kind_name, some.name, by=by.name, company=some.company,
                            outcome=attempt.outcome, status=attempt.status)  # fmt: skip
    return attempt


def _carrying(action: Definition, values: dict[str, Scalar]) -> Webhook:
    """A webhook that sends ``action`` with ``values``."""
    mappings = {field: {"value": value} for field, value in values.items()}
    written = {"name": TRIED_OUT, "company": action.company, "dataAction": action.name, "mappings": mappings}
    return Webhook.model_validate(written)


def _as_asked(finding: Finding) -> Finding:
    """``finding`` where it is of the values, with the field of the body."""
    if finding.subject != f"Webhook {TRIED_OUT}":
        return finding
    path = finding.path.removesuffix(".value").replace("mappings", "body.input", 1)
    return replace(finding, subject="", path=path)


def _tried(registry: Registry, webhook: Webhook, scope: Scope | None, beside: Definition) -> Trial:
    """``webhook`` rendered, with ``beside`` in the place of what is in force."""
    definitions, rulebook = registry.definitions, registry.rulebook
    changed = {some.key: some for some in (webhook, beside) if definitions.get(some.key) is not some}
    if changed:
        definitions = {**definitions, **changed}
        rulebook = compile_rulebook(definitions, previous=rulebook)
    return try_out(definitions, rulebook, webhook.name, scope, id_=new_id(), now=wall_clock())

"""A webhook with its data action, compiled into everything that rendering needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from actionmap.catalog.compile.linked import Linked
from actionmap.catalog.mappings import compile_fields, compile_mappings, contract_problems
from actionmap.catalog.models import DataAction, Definition, Integration, Webhook
from actionmap.catalog.models.base import seconds
from actionmap.catalog.models.data_action import Response
from actionmap.catalog.models.webhook import Retry
from actionmap.catalog.rulebook import CompiledWebhook
from actionmap.catalog.templates import (
    BadTemplate,
    BaseUrl,
    MakeBody,
    Values,
    compile_base_url,
    compile_body,
    compile_headers,
    compile_params,
    compile_path,
)
from actionmap.delivery import Capture, RetryPolicy
from actionmap.errors import Unrenderable

Problem = tuple[str, str]

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def check_data_action(linked: Linked, action: DataAction) -> None:
    """Note what is wrong with ``action`` by itself."""
    integration = linked.referred(action, "integration", Integration, action.integration)
    problems = contract_problems(action.contract)
    if not problems:
        problems = _compile_request(action, integration)[1]
    for path, message in problems:
        linked.found(action, path, message)


def compile_webhook(linked: Linked, webhook: Webhook) -> CompiledWebhook | None:
    """``webhook`` compiled; None when something is wrong with it or with what it refers to."""
    action = linked.referred(webhook, "dataAction", DataAction, webhook.data_action)
    if action is None or contract_problems(action.contract):
        return None
    fields, problems = compile_mappings(webhook, action.contract)
    for where, message in problems:
        linked.found(webhook, where, message)
    integration = linked.get(Integration, action.integration)
    if problems or integration is None:
        return None
    own = {name.lower() for name in action.request.headers}
    if webhook.delivery.idempotency_header.lower() in own:
        message = f"the data action {action.name} sets this header too, and would be overwritten"
        linked.found(webhook, "delivery.idempotencyHeader", message)
    request, _ = _compile_request(action, integration)
    if request is None:
        return None
    _check_host(linked, webhook, request.base_url)
    return CompiledWebhook(
        name=webhook.name,
        integration=action.integration,
        resolve=compile_fields(fields),
        method=action.request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        context=request.base_url.context if "{{" in integration.base_url else None,
        timeout_s=float(action.request.timeout_seconds),
        success_statuses=tuple(str(status) for status in action.response.success_statuses),
        idempotency_header=webhook.delivery.idempotency_header,
        retry=_retry_policy(webhook.delivery.retry),
        capture=_capture(action.response),
        is_sync=webhook.delivery.mode == "sync",
        is_strict=webhook.delivery.order == "strict",
        logs_request=webhook.delivery.log_request_body,
        logs_response=webhook.delivery.log_response_body,
        max_body_bytes=integration.limits.max_body_bytes,
    )


def why_not_live(definitions: Mapping[str, Definition], webhook: Webhook) -> str:
    """What keeps ``webhook`` from being sent, in words for people; "" when all is published and active."""
    if webhook.state != "published":
        return f"the webhook {webhook.name} is {webhook.state}"
    action = definitions.get(f"DataAction/{webhook.data_action}")
    if not isinstance(action, DataAction) or action.state != "published":
        return f"the data action {webhook.data_action} is a draft"
    integration = definitions.get(f"Integration/{action.integration}")
    if not isinstance(integration, Integration) or not integration.active:
        return f"the integration {action.integration} is inactive"
    return ""


@dataclass(frozen=True, slots=True)
class _Request:
    """The templates of a data action, compiled."""

    path: Callable[[Values], str]
    query: Callable[[Values], str]
    headers: Callable[[Values], dict[str, str]]
    body: MakeBody | None
    base_url: BaseUrl


def _compile_request(action: DataAction, integration: Integration | None) -> tuple[_Request | None, list[Problem]]:
    """The request of ``action``, and what is wrong with it, as (path, message)."""
    fields = list(action.contract.input.get("properties", {}))
    request, problems = action.request, []

    def compiled(where: str, compile_: Callable[..., Any], *template: Any) -> Any:
        try:
            return compile_(*template, fields)
        except BadTemplate as error:
            problems.append((where, str(error)))

    made = _Request(
        compiled("request.path", compile_path, request.path),
        compiled("request.params", compile_params, request.params),
        compiled("request.headers", compile_headers, request.headers),
        compiled("request.body", _compile_body, action),
        compiled("integration", compile_base_url, integration.base_url if integration else ""),
    )
    return (None if problems else made), problems


def _compile_body(action: DataAction, fields: Collection[str]) -> MakeBody | None:
    request = action.request
    if request.body is None and request.method not in _WITH_BODY:
        return None
    own_type = any(name.lower() == "content-type" for name in request.headers)
    return compile_body(request.content_type, request.body, fields, own_type=own_type)


def _check_host(linked: Linked, webhook: Webhook, base_url: BaseUrl) -> None:
    """Note where a visitor could choose the host that credentials are sent to, and values that make no host."""
    looked_up = sorted(name for name in base_url.host_fields if webhook.mappings[name].lookup is not None)
    for name in looked_up:
        message = "it stands in the host of the integration's baseUrl, so it is a static value: visitors choose no host"
        linked.found(webhook, f"mappings.{name}", message)
    if base_url.host_fields and not looked_up:
        try:
            base_url.host({name: webhook.mappings[name].value for name in base_url.host_fields})
        except Unrenderable as why:
            linked.found(webhook, "mappings", str(why))


def _retry_policy(retry: Retry) -> RetryPolicy:
    schedule = () if retry.schedule == "exponential" else tuple(seconds(wait) for wait in retry.schedule)
    return RetryPolicy(attempts=retry.attempts, schedule=schedule, max_age_s=seconds(retry.max_age))


def _capture(response: Response) -> Capture:
    return Capture(dict(response.variables), dict(response.traits), dict(response.on_failure))

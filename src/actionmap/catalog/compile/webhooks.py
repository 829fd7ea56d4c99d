"""A webhook with its data action, compiled into everything that rendering needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actionmap.catalog.compile.linked import Linked
from actionmap.catalog.mappings import compile_fields, compile_mappings, contract_problems
from actionmap.catalog.models import DataAction, Definition, Integration, Webhook
from actionmap.catalog.models.base import seconds
from actionmap.catalog.models.webhook import Retry
from actionmap.catalog.rulebook import CompiledWebhook
from actionmap.catalog.templates import BadTemplate, Values, compile_body, compile_params, compile_path
from actionmap.delivery import RetryPolicy

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def check_data_action(linked: Linked, action: DataAction) -> None:
    """Note what is wrong with ``action`` by itself."""
    linked.referred(action, "integration", Integration, action.integration)
    for path, message in contract_problems(action.contract):
        linked.found(action, path, message)
    try:
        _request(action)
    except BadTemplate as error:
        linked.found(action, "request", str(error))


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
    try:
        path, query, body = _request(action)
    except BadTemplate:
        return None
    return CompiledWebhook(
        name=webhook.name,
        integration=action.integration,
        resolve=compile_fields(fields),
        method=action.request.method,
        path=path,
        query=query,
        headers=_headers(action, with_body=body is not None),
        body=body,
        timeout_s=float(action.request.timeout_seconds),
        success_statuses=tuple(str(status) for status in action.response.success_statuses),
        idempotency_header=webhook.delivery.idempotency_header,
        retry=_retry_policy(webhook.delivery.retry),
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


def _request(
    action: DataAction,
) -> tuple[Callable[[Values], str], Callable[[Values], str], Callable[[Values], Any] | None]:
    fields: Sequence[str] = list(action.contract.input.get("properties", {}))
    request = action.request
    body: Callable[[Values], Any] | None = None
    if request.body is not None:
        body = compile_body(request.body, fields)
    elif request.method in _WITH_BODY:
        body = dict
    return compile_path(request.path, fields), compile_params(request.params, fields), body


def _headers(action: DataAction, *, with_body: bool) -> dict[str, str]:
    headers = dict(action.request.headers)
    if with_body and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    return headers


def _retry_policy(retry: Retry) -> RetryPolicy:
    schedule = () if retry.schedule == "exponential" else tuple(seconds(wait) for wait in retry.schedule)
    return RetryPolicy(attempts=retry.attempts, schedule=schedule, max_age_s=seconds(retry.max_age))

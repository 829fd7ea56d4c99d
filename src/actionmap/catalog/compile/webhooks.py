"""A webhook with its data action, compiled into everything that rendering needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from actionmap.catalog.compile.linked import Linked
from actionmap.catalog.contracts import Problem, contract_problems, properties_of
from actionmap.catalog.mappings import Field, compile_fields, compile_mappings, key_of_lookups
from actionmap.catalog.models import DataAction, Definition, Integration, Webhook
from actionmap.catalog.models.base import seconds
from actionmap.catalog.models.data_action import Response
from actionmap.catalog.models.webhook import Retry
from actionmap.catalog.places import split_base_url
from actionmap.catalog.rendering import request_of
from actionmap.catalog.rulebook import CompiledWebhook
from actionmap.catalog.samples import DELIVERY, fitting, samples
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
    used_fields,
)
from actionmap.delivery import Capture, RetryPolicy
from actionmap.errors import Unrenderable

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
    if not _check_host(linked, webhook, request.base_url):
        return None
    compiled = _compiled(webhook, action, integration, request, fields)
    for where, message in _unrenderable(compiled, action, integration, fields):
        linked.found(webhook, where, message)
    return compiled


def _compiled(
    webhook: Webhook, action: DataAction, integration: Integration, request: _Request, fields: tuple[Field, ...]
) -> CompiledWebhook:
    return CompiledWebhook(
        name=webhook.name,
        integration=action.integration,
        resolve=compile_fields(fields),
        lookups=key_of_lookups(webhook),
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


def _unrenderable(
    compiled: CompiledWebhook, action: DataAction, integration: Integration, fields: tuple[Field, ...]
) -> list[Problem]:
    """That no request can be made of any sample values; nothing where one can, or where it is not sure."""
    properties, reasons = properties_of(action.contract), []

    def renders(values: Values) -> bool:
        try:
            request_of(compiled, values, DELIVERY)
        except Unrenderable as why:
            reasons.append(str(why))
        except UnicodeEncodeError:
            reasons.append("a value holds half a surrogate pair, which is no UTF-8")
        else:
            return True
        return False

    possible = {field.name: samples(field, properties[field.name]) for field in fields}
    if renders({name: values[0] for name, values in possible.items()}):
        return []
    in_url = fields_in_url(action, integration)
    if fitting(possible, in_url, renders)[1] or _may_be_dialled(action, integration, fields, in_url):
        return []
    static = [field.name for field in fields if field.read is None and field.name in in_url]
    to_blame = [name for name in possible if reasons[0].startswith(repr(name))] or static
    where = f"mappings.{to_blame[0]}" if len(to_blame) == 1 else "mappings"
    return [(where, f"no request can be made of any sample values: {reasons[0]}")]


def _may_be_dialled(
    action: DataAction, integration: Integration, fields: tuple[Field, ...], in_url: Collection[str]
) -> bool:
    """Whether a number that is looked up goes through `e164`: which ones pass depends on the country."""
    has_filter = "e164" in action.request.path or "e164" in integration.base_url
    return has_filter and any(one.read and one.name in in_url and one.type in ("integer", "number") for one in fields)


def fields_in_url(action: DataAction, integration: Integration) -> set[str]:
    """The contract fields that stand in the path: without a value for each of them there is no request."""
    path = split_base_url(integration.base_url)[1]
    return used_fields([action.request.path, path], list(properties_of(action.contract)))


def why_not_live(definitions: Mapping[str, Definition], webhook: Webhook) -> str:
    """What keeps ``webhook`` from being sent, in words for people; "" when all is published and active."""
    if reason := why_unpublished(definitions, webhook):
        return reason
    action = definitions[f"DataAction/{webhook.data_action}"]
    assert isinstance(action, DataAction)
    integration = definitions.get(f"Integration/{action.integration}")
    if not isinstance(integration, Integration) or not integration.active:
        return f"the integration {action.integration} is inactive"
    return ""


def why_unpublished(definitions: Mapping[str, Definition], webhook: Webhook) -> str:
    """Which of ``webhook`` and its data action is not published, in words for people; "" when both are."""
    if webhook.state != "published":
        return f"the webhook {webhook.name} is {webhook.state}"
    action = definitions.get(f"DataAction/{webhook.data_action}")
    if not isinstance(action, DataAction) or action.state != "published":
        return f"the data action {webhook.data_action} is a draft"
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
    fields = list(properties_of(action.contract))
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


def _check_host(linked: Linked, webhook: Webhook, base_url: BaseUrl) -> bool:
    """Note where a visitor could choose the host that credentials are sent to, and values that make no host."""
    looked_up = sorted(name for name in base_url.host_fields if webhook.mappings[name].lookup is not None)
    for name in looked_up:
        message = "it stands in the host of the integration's baseUrl, so it is a static value: visitors choose no host"
        linked.found(webhook, f"mappings.{name}.lookup", message)
    if base_url.host_fields and not looked_up:
        try:
            base_url.host({name: webhook.mappings[name].value for name in base_url.host_fields})
        except Unrenderable as why:
            linked.found(webhook, "mappings", str(why))
            return False
    return not looked_up


def _retry_policy(retry: Retry) -> RetryPolicy:
    schedule = () if retry.schedule == "exponential" else tuple(seconds(wait) for wait in retry.schedule)
    return RetryPolicy(attempts=retry.attempts, schedule=schedule, max_age_s=seconds(retry.max_age))


def _capture(response: Response) -> Capture:
    return Capture(dict(response.variables), dict(response.traits), dict(response.on_failure))

"""Values → the request that a webhook makes of them, without its envelope."""

from __future__ import annotations

from typing import Any

from actionmap.catalog.rulebook import CompiledWebhook
from actionmap.catalog.templates import Values


def request_of(webhook: CompiledWebhook, values: Values, id_: str) -> tuple[dict[str, Any], bytes | None]:
    """What ``values``, by contract field, make of a delivery, and its body.

    Args:
        webhook: What is sent.
        values: Of the contract's fields.
        id_: Of the delivery.

    Raises:
        Unrenderable: they make no request.
        UnicodeEncodeError: one of them is no UTF-8.
    """
    path, query = webhook.path(values), webhook.query(values)
    request: dict[str, Any] = {"target": f"{path}?{query}" if query else path, "headers": webhook.headers(values)}
    if webhook.context is not None:
        request["context"] = webhook.context(values)
    if webhook.body is None:
        return request, None
    data, content_type = webhook.body(values, id_)
    if content_type is not None:
        request["headers"]["Content-Type"] = content_type
    return request, data

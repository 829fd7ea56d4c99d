"""A match → the exact request that is owed. A visitor's text is only ever a value in it."""

from __future__ import annotations

import msgspec

from actionmap.catalog.mappings import LookupMissing
from actionmap.catalog.paths import Scope
from actionmap.catalog.rendering import request_of
from actionmap.catalog.rulebook import CompiledMap, CompiledWebhook
from actionmap.catalog.templates import Values
from actionmap.delivery import DeadLetter, Delivery, delivery_id
from actionmap.errors import Unrenderable

__all__ = ["LookupMissing", "envelope", "render", "with_request"]


def render(
    fired: CompiledMap, scope: Scope, company: str, at: int, owed_at: int, occurrence: int = 0
) -> tuple[Delivery | DeadLetter, tuple[str, ...]]:
    """The delivery that ``fired`` owes for the event in ``scope``, and the fields whose lookups had no value.

    Where the request cannot be built, a dead letter stands in its place.

    Args:
        fired: The map.
        scope: Event, visitor and session that lookups read.
        company: The company the definitions belong to.
        at: Event time, or when the timer was due.
        owed_at: When the record that led to it entered Kafka.
        occurrence: How often the map has fired for this event before.

    Raises:
        LookupMissing: a lookup with ``onMissing: skip`` has no value; nothing is owed.
    """
    webhook, event = fired.webhook, scope.event
    id_ = delivery_id(company, fired.name, webhook.name, event.visitor_id, event.id, occurrence)
    own = scope.for_delivery(fired.name, fired.version, id_)
    values, missing = webhook.resolve(own)
    versions = (fired.version, *webhook.versions)
    delivery = envelope(webhook, id_, fired.name, event.visitor_id, event.id, at, owed_at, event.depth, versions)
    return with_request(delivery, webhook, values), missing


def with_request(delivery: Delivery, webhook: CompiledWebhook, values: Values) -> Delivery | DeadLetter:
    """``delivery`` with the request that ``values`` (by contract field) make of it; a dead letter where they cannot."""
    try:
        request, body = request_of(webhook, values, delivery.id)
    except Unrenderable as why:
        return _dead(delivery, "unrenderable", str(why))
    except UnicodeEncodeError:
        return _dead(delivery, "unrenderable", "a value holds half a surrogate pair, which is no UTF-8")
    if body is not None and len(body) > webhook.max_body_bytes:
        detail = f"the body has {len(body):,} bytes; the integration takes {webhook.max_body_bytes:,}"
        return _dead(msgspec.structs.replace(delivery, **request), "body-too-large", detail)
    return msgspec.structs.replace(delivery, **request, body=None if body is None else body.decode())


def envelope(
    webhook: CompiledWebhook,
    id_: str,
    action_map: str,
    visitor_id: str,
    event_id: str,
    at: int,
    owed_at: int,
    depth: int,
    versions: tuple[int, ...] = (),
) -> Delivery:
    """A delivery of ``webhook`` without its request; see `Delivery` for what the others are."""
    return Delivery(
        id=id_,
        integration=webhook.integration,
        webhook=webhook.name,
        action_map=action_map,
        visitor_id=visitor_id,
        event_id=event_id,
        at=at,
        owed_at=owed_at,
        method=webhook.method,
        target="",
        timeout_s=webhook.timeout_s,
        success_statuses=webhook.success_statuses,
        idempotency_header=webhook.idempotency_header,
        retry=webhook.retry,
        capture=webhook.capture,
        is_sync=webhook.is_sync,
        is_strict=webhook.is_strict,
        logs_request=webhook.logs_request,
        logs_response=webhook.logs_response,
        depth=depth,
        versions=versions,
    )


def _dead(delivery: Delivery, reason: str, detail: str) -> DeadLetter:
    return DeadLetter(
        id=delivery.id, kind="delivery", reason=reason, detail=detail, at=delivery.owed_at, delivery=delivery,
        was_rendered=False,
    )  # fmt: skip

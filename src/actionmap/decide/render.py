"""A match → the exact request that is owed. A visitor's text is only ever a value in it."""

from __future__ import annotations

import msgspec

from actionmap.catalog.mappings import LookupMissing
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap, CompiledWebhook
from actionmap.catalog.templates import Values, without_absent
from actionmap.delivery import DeadLetter, Delivery, delivery_id
from actionmap.errors import Unrenderable
from actionmap.event import Event

__all__ = ["LookupMissing", "render"]


def render(
    fired: CompiledMap, scope: Scope, company: str, at: int, owed_at: int, occurrence: int = 0
) -> tuple[Delivery | DeadLetter, tuple[str, ...]]:
    """The delivery that ``fired`` owes for the event in ``scope``, and the mappings that had no value (``map/field``).

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
    named = tuple(f"{fired.name}/{field}" for field in missing)
    delivery = _envelope(id_, fired, event, at, owed_at)
    try:
        target = _target(webhook, values)
    except Unrenderable as why:
        return _dead(delivery, "unrenderable", str(why)), named
    body = _body(webhook, values)
    if body is not None and len(body) > webhook.max_body_bytes:
        detail = f"the body has {len(body):,} bytes; the integration takes {webhook.max_body_bytes:,}"
        return _dead(msgspec.structs.replace(delivery, target=target), "body-too-large", detail), named
    return msgspec.structs.replace(delivery, target=target, body=None if body is None else body.decode()), named


def _envelope(id_: str, fired: CompiledMap, event: Event, at: int, owed_at: int) -> Delivery:
    webhook = fired.webhook
    return Delivery(
        id=id_,
        integration=webhook.integration,
        webhook=webhook.name,
        action_map=fired.name,
        visitor_id=event.visitor_id,
        event_id=event.id,
        at=at,
        owed_at=owed_at,
        method=webhook.method,
        target="",
        headers=dict(webhook.headers),
        timeout_s=webhook.timeout_s,
        success_statuses=webhook.success_statuses,
        idempotency_header=webhook.idempotency_header,
        retry=webhook.retry,
    )


def _target(webhook: CompiledWebhook, values: Values) -> str:
    path, query = webhook.path(values), webhook.query(values)
    return f"{path}?{query}" if query else path


def _body(webhook: CompiledWebhook, values: Values) -> bytes | None:
    if webhook.body is None:
        return None
    return msgspec.json.encode(without_absent(webhook.body(values)))


def _dead(delivery: Delivery, reason: str, detail: str) -> DeadLetter:
    return DeadLetter(
        id=delivery.id, kind="delivery", reason=reason, detail=detail, at=delivery.owed_at, delivery=delivery
    )

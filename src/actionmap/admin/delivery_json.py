"""Deliveries and dead letters as REST shows them; secrets are masked."""

from __future__ import annotations

from typing import Any, Literal

from actionmap.catalog.models import Integration
from actionmap.delivery import MOST_OF_BODY, AttemptRecord, DeadLetter, Delivery
from actionmap.event import to_rfc3339
from actionmap.simulate import firing
from actionmap.store.protocols import NOT_YET

#: ``owed``: not tried yet; ``waiting``: for another one of its visitor; ``retrying``: tried, and tried again.
State = Literal["owed", "waiting", "retrying", "dead", "delivered"]

#: What `Delivery.versions` are of.
_VERSIONS = ("actionMap", "webhook", "dataAction")


def owed_state(delivery: Delivery, due: int | None) -> State:
    """The state of an owed delivery that is ``due`` then, in milliseconds since 1970."""
    if due is not None and due >= NOT_YET:
        return "waiting"
    return "retrying" if delivery.attempts else "owed"


def delivery_json(
    delivery: Delivery, integration: Integration | None, state: State, due: int | None = None
) -> dict[str, Any]:
    """``delivery`` as `deliveries list --format jsonl` prints it, with its attempts under ``log``.

    Args:
        delivery: What is shown.
        integration: Its integration, as defined now; None when it is gone.
        state: Its state.
        due: When it is tried next, in milliseconds since 1970; None when it is not.
    """
    return {
        **firing(delivery, integration),
        "id": delivery.id,
        "state": state,
        "attempts": delivery.attempts,
        "error": delivery.last_error,
        "integration": delivery.integration,
        "webhook": delivery.webhook,
        "versions": dict(zip(_VERSIONS, delivery.versions, strict=False)),
        "nextTryAt": _time(due) if state in ("owed", "retrying") else None,
        "log": [_record_json(record, delivery) for record in delivery.log],
    }


def letter_json(letter: DeadLetter, integration: Integration | None) -> dict[str, Any]:
    """``letter``, with its delivery where it has one; ``integration`` as in `delivery_json`."""
    return {
        "id": letter.id,
        "kind": letter.kind,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": to_rfc3339(letter.at),
        "key": letter.key,
        "value": letter.value,
        "actionMaps": list(letter.action_maps),
        "delivery": delivery_json(letter.delivery, integration, "dead") if letter.delivery else None,
    }


def _record_json(record: AttemptRecord, delivery: Delivery) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "at": to_rfc3339(record.at),
        "outcome": record.outcome,
        "status": record.status,
        "error": record.error,
        "durationSeconds": record.duration_s,
        "requestBytes": record.request_bytes,
        "responseBytes": record.response_bytes,
        "nextTryAt": _time(record.next_try_at),
    }
    if delivery.logs_request:
        # Every attempt sends the same bytes, so the delivery's own are all there is to keep.
        shown["requestBody"] = None if delivery.body is None else delivery.body[:MOST_OF_BODY]
    if record.response_body is not None:
        shown["responseBody"] = record.response_body
    return shown


def _time(at: int | None) -> str | None:
    return None if at is None else to_rfc3339(at)

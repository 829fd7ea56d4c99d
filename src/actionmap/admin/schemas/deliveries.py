"""Deliveries and dead letters as REST answers them, and replays of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from actionmap.admin.delivery_json import State
from actionmap.admin.schemas import EXAMPLE_TIME, Asked, Moment, Shown

#: Ids taken by one request.
MOST_IDS = 1000
_ID = "am1_01j9z3k4m5n6p7q8r9s0t1v2w3"


class RenderedRequest(Shown):
    """An HTTP request as it is sent; secrets are masked."""

    method: str
    """The HTTP method."""
    url: str
    """Where it goes."""
    headers: dict[str, str]
    """Its headers."""
    body: str | None
    """Its body; null without one."""


class ShownFiring(Shown):
    """One firing, as `simulate --format jsonl` prints it; secrets are masked."""

    action_map: str
    """The action map that fired."""
    visitor_id: str
    """The visitor it fired for."""
    event_id: str
    """The event it fired at."""
    at: Moment
    """Event time, or the timer's due time."""
    request: RenderedRequest
    """What is sent."""


class ShownAttempt(Shown):
    """One attempt to deliver."""

    at: Moment
    """When it began."""
    outcome: Literal["delivered", "retry", "dead"]
    """What followed from it."""
    status: int | None
    """The HTTP status; null when no answer came."""
    error: str | None
    """Why it was no success, in words for people."""
    duration_seconds: float
    """How long it took."""
    request_bytes: int
    """Bytes of the request's body."""
    response_bytes: int
    """Bytes of the answer's body, as far as it was read."""
    next_try_at: Moment | None
    """When the next one follows; null when none does."""
    request_body: str | None = None
    """The beginning of what was sent; there with `logRequestBody` alone."""
    response_body: str | None = None
    """The beginning of what was answered; there with `logResponseBody` alone."""


class DeliveredVersions(Shown):
    """The versions of the definitions that made a delivery."""

    action_map: int | None = None
    """Of the action map."""
    webhook: int | None = None
    """Of the webhook."""
    data_action: int | None = None
    """Of the data action."""


class ShownDelivery(ShownFiring):
    """A delivery; secrets are masked."""

    id: str
    """The same in every attempt; receivers see it as `webhook-id`."""
    state: State
    """`waiting` is for another one of its visitor; `owed` was not tried yet, `retrying` was."""
    attempts: int
    """How many there were since it was owed."""
    error: str | None
    """Why the last one was no success."""
    integration: str
    """Where it is sent."""
    webhook: str
    """What is sent."""
    versions: DeliveredVersions
    """The versions that made it."""
    next_try_at: Moment | None
    """When it is tried next; null when it is not, or waits for another one."""
    log: list[ShownAttempt]
    """Its attempts, the oldest first."""


class DeliveryList(Shown):
    """Deliveries."""

    items: list[ShownDelivery]
    """The newest first."""


class ShownLetter(Shown):
    """A dead letter: a record that was never understood, or a delivery that was given up."""

    id: str
    """`topic/partition/offset` of a record; the id of a delivery."""
    kind: Literal["record", "delivery"]
    """Which of both it is."""
    reason: str
    """A fixed word, such as `malformed-json`."""
    detail: str
    """What was wrong, in words for people."""
    at: Moment
    """When it was given up."""
    key: str | None
    """The record's key."""
    value: str | None
    """The beginning of the record's value."""
    action_maps: list[str]
    """The maps that broke on the record, all others having judged it."""
    delivery: ShownDelivery | None
    """The delivery; null for a record."""


class LetterList(Shown):
    """Dead letters."""

    items: list[ShownLetter]
    """The newest first."""


class ReplayIds(Asked):
    """The dead letters to replay."""

    ids: Annotated[list[str], Field(min_length=1, max_length=MOST_IDS)]
    """Their ids."""


class ReplayedLetter(Shown):
    """What became of one dead letter."""

    id: str
    """Its id."""
    replayed: bool
    """Whether it is back where it fell out."""
    detail: str
    """Why not; empty when it is."""


class ReplayedLetters(Shown):
    """What became of dead letters."""

    items: list[ReplayedLetter]
    """In the order in which they were asked for."""


class ReplayPlace(Shown):
    """How far a replay of many has come."""

    partition: int
    """Of the events topic."""
    passed: int
    """Dead deliveries of it that were looked at, and stay."""
    until: int
    """Those that died later, in milliseconds since 1970, are left."""


class ReplayedDeliveries(Shown):
    """What one step of a replay has done."""

    replayed: int
    """How many deliveries are owed again."""
    due_from: int
    """`dueFrom` of the next step."""
    after: ReplayPlace | None
    """`after` of the next step; null when there are no more."""
    waits: bool
    """Too many are owed to the receiver for more to be added: ask again later."""


class FoundDeliveries(Shown):
    """What a replay would do (`dryRun`)."""

    found: int
    """How many would be owed again."""
    never_rendered: int
    """How many stay dead, because there is nothing to send."""


FIRING: dict[str, Any] = {
    "actionMap": "hot-lead", "visitorId": "c-7f3a", "eventId": "e-14", "at": EXAMPLE_TIME,
    "request": {"method": "POST", "url": "https://crm.example.com/leads", "headers": {"webhook-id": _ID},
                "body": '{"email":"a@b.example"}'},
}  # fmt: skip
DELIVERY: dict[str, Any] = {
    **FIRING, "id": _ID, "state": "retrying", "attempts": 1, "error": "HTTP 503", "integration": "crm",
    "webhook": "tell-crm", "versions": {"actionMap": 1, "webhook": 4, "dataAction": 2}, "nextTryAt": EXAMPLE_TIME,
    "log": [{"at": EXAMPLE_TIME, "outcome": "retry", "status": 503, "error": "HTTP 503", "durationSeconds": 0.12,
             "requestBytes": 23, "responseBytes": 0, "nextTryAt": EXAMPLE_TIME}],
}  # fmt: skip
LETTER: dict[str, Any] = {
    "id": "website-events/3/17", "kind": "record", "reason": "malformed-json", "detail": "JSON is malformed: …",
    "at": EXAMPLE_TIME, "key": "c-7f3a", "value": "{", "actionMaps": [], "delivery": None,
}  # fmt: skip
REPLAYED_LETTERS = {"items": [{"id": "website-events/3/17", "replayed": True, "detail": ""}]}
REPLAYED_DELIVERIES = {
    "replayed": 500, "dueFrom": 1_763_752_500_123, "after": {"partition": 0, "passed": 3, "until": 1_763_752_500_000},
    "waits": False,
}  # fmt: skip

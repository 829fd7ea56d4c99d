"""``POST /v1/events``: website events over HTTP, answered only when Kafka has them on all in-sync replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec
from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from actionmap.collect.check import MAX_BODY_BYTES, Acceptable, BadBody, TooManyEvents, check_event, split_body
from actionmap.collect.openapi import REQUEST_BODY, RESPONSES, SECURITY
from actionmap.collect.problem import Refusal, problem
from actionmap.collect.producer import NotStored, Outgoing, Overloaded, Stored
from actionmap.collect.quota import Quota
from actionmap.collect.requests import beacon_key_of, content_type_of, read_body
from actionmap.errors import Rejected, Unreachable
from actionmap.telemetry import Metrics

#: Key as sent, or None where none was → its rights, or None for a key that nobody knows.
Authenticate = Callable[[str | None], frozenset[str] | None]

#: The right that a key needs here.
INGEST = "ingest"
CONTENT_TYPES = frozenset({"", "application/json", "text/plain"})
RETRY_AFTER_S = 1.0
#: What our own requests begin with, in these headers (`delivery_id`, and `USER_AGENT` of `deliver/request.py`).
_OUR_OWN = (("webhook-id", "am1_"), ("user-agent", "actionmap/"))


class EventSink(Protocol):
    """What the collector needs of `EventProducer`; the methods are described there."""

    def check_room(self, more_bytes: int = 0) -> None:
        """Raise when ``more_bytes`` could not be taken now."""

    async def send_many(self, events: Sequence[Outgoing]) -> list[Stored | NotStored]:
        """Send events and wait until all of them are acknowledged."""


class AcceptedEvent(Struct, frozen=True, rename="camel", tag_field="status", tag="accepted"):
    """Kafka has the event."""

    index: int
    #: The sender's, or ``topic/partition/offset``.
    event_id: str | None
    partition: int
    offset: int | None


class RejectedEvent(Struct, frozen=True, tag_field="status", tag="rejected"):
    """The event is not one; sending it again is no use."""

    index: int
    reason: str
    detail: str


class FailedEvent(Struct, frozen=True, tag_field="status", tag="failed"):
    """Kafka did not acknowledge the event in time: send it again, with the same ``eventId``."""

    index: int
    reason: str
    detail: str


Result = AcceptedEvent | RejectedEvent | FailedEvent


class Answer(Struct, frozen=True):
    """What became of each event of a request."""

    accepted: int
    rejected: int
    results: list[Result]
    failed: int = 0


def collector_router(producer: EventSink, authenticate: Authenticate, quota: Quota, metrics: Metrics) -> APIRouter:
    """The router with ``POST /v1/events``.

    Args:
        producer: Where accepted events go.
        authenticate: The rights of a key. Where no key is wanted, pass one that grants ``ingest`` to everybody.
        quota: How many events each key may send.
        metrics: Counts events by result.
    """
    router = APIRouter(tags=["collector"])

    @router.post(
        "/v1/events",
        summary="Send one website event or a list of them",
        status_code=202,
        response_class=Response,
        responses=RESPONSES,
        openapi_extra={"requestBody": REQUEST_BODY, "security": SECURITY, "x-right": "`ingest`"},
    )
    async def post_events(request: Request) -> Response:
        """Answer 202 when Kafka has acknowledged every event that was not rejected; see ``results`` for each one."""
        key = beacon_key_of(request)
        try:
            _authorize(authenticate(key))
            if _is_our_own(request):
                metrics.collected.labels("looped").inc()
                raise Refusal(508, "a webhook of actionmap leads here, and could fire the map that sent it, for ever")
            producer.check_room()
            events = split_body(await _read_body(request))
            _charge(quota, key, len(events))
            return _respond(await collect(events, producer, metrics))
        except Refusal as refusal:
            return refusal.response()
        except BadBody as error:
            return problem(400, str(error))
        except TooManyEvents as error:
            return problem(413, str(error))
        except (Overloaded, Unreachable) as error:
            return problem(503, str(error), retry_after_s=RETRY_AFTER_S)

    return router


async def collect(events: Sequence[bytes], producer: EventSink, metrics: Metrics) -> Answer:
    """Check each of ``events``, send the good ones to Kafka and wait for its acknowledgement.

    Raises:
        Overloaded: the producer's buffer is full; no event was taken.
        Unreachable: Kafka is silent; no event was taken.
    """
    checked = [check_event(value) for value in events]
    good = [(index, event) for index, event in enumerate(checked) if isinstance(event, Acceptable)]
    outcomes = await producer.send_many([event.outgoing for _, event in good]) if good else []
    results: list[Result] = [
        RejectedEvent(index, event.reason, event.detail)
        for index, event in enumerate(checked)
        if isinstance(event, Rejected)
    ]
    results += [_settled(index, event, outcome) for (index, event), outcome in zip(good, outcomes, strict=True)]
    results.sort(key=lambda result: result.index)
    accepted = sum(isinstance(result, AcceptedEvent) for result in results)
    rejected = len(events) - len(good)
    counts = {"accepted": accepted, "rejected": rejected, "failed": len(good) - accepted}
    for name, count in counts.items():
        metrics.collected.labels(name).inc(count)
    return Answer(results=results, **counts)


def _authorize(rights: frozenset[str] | None) -> None:
    if rights is None:
        raise Refusal(
            401, "no API key, or one that nobody knows; send it as Authorization: Bearer KEY, X-API-Key or ?key="
        )
    if INGEST not in rights:
        raise Refusal(403, f"the API key lacks the right {INGEST!r}")


def _is_our_own(request: Request) -> bool:
    return any(request.headers.get(name, "").startswith(beginning) for name, beginning in _OUR_OWN)


def _charge(quota: Quota, key: str | None, count: int) -> None:
    wait_s = quota.take(key or "", count)
    if wait_s:
        raise Refusal(429, "the API key has used up its events; wait as Retry-After says", retry_after_s=wait_s)


async def _read_body(request: Request) -> bytes:
    content_type = content_type_of(request)
    if content_type not in CONTENT_TYPES:
        raise Refusal(415, f"{content_type} is not taken; send application/json or text/plain")
    return await read_body(request, MAX_BODY_BYTES)


def _settled(index: int, event: Acceptable, outcome: Stored | NotStored) -> AcceptedEvent | FailedEvent:
    if isinstance(outcome, NotStored):
        return FailedEvent(index, "not-acknowledged", outcome.error)
    return AcceptedEvent(index, event.event_id or outcome.position, outcome.partition, outcome.offset)


def _respond(answer: Answer) -> Response:
    if not answer.failed and answer.accepted:
        return Response(msgspec.json.encode(answer), 202, media_type="application/json")
    members = msgspec.to_builtins(answer)
    if answer.failed:
        detail = f"Kafka did not acknowledge {answer.failed} of the events; send those again with the same eventId"
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S, **members)
    match answer.results:
        case [RejectedEvent(reason=reason, detail=detail)]:
            return problem(413 if reason == "too-large" else 400, f"{reason}: {detail}", **members)
    return problem(400, "every event is rejected; see results", **members)

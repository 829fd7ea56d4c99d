"""What OpenAPI says of the collector: the schema of an event, and an example of every answer."""

from __future__ import annotations

from typing import Any

import msgspec

from actionmap.collect.problem import documented
from actionmap.event import EVENT_NAME_PATTERN, RESERVED_EVENTS
from actionmap.wire import WireEvent

EVENT_EXAMPLE: dict[str, Any] = {
    "eventId": "0190f3c2-5a6b-7c3d-8e4f-a1b2c3d4e5f6",
    "eventName": "page_viewed",
    "visitorId": "c-7f3a",
    "timestamp": "2026-11-21T19:15:00.123Z",
    "page": {"url": "https://shop.example/pricing?utm_source=ad#plans", "title": "Pricing", "lang": "en"},
    "referrerUrl": "https://search.example/?q=plans",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "ipAddress": "203.0.113.9",
    "attributes": {"cartValue": 129.9, "skus": ["a", "b"]},
    "traits": {"email": "a@b.example"},
}

_ACCEPTED = {"status": "accepted", "index": 0, "eventId": "website-events/3/17", "partition": 3, "offset": 17}
_REJECTED = {"status": "rejected", "index": 1, "reason": "invalid-field", "detail": "visitorId: Expected `str`"}
_FAILED = {"status": "failed", "index": 0, "reason": "not-acknowledged", "detail": "Kafka did not acknowledge it"}


_SAID = {
    "eventName": "What happened; some names are only given by actionmap itself.",
    "visitorId": "Who it happened to: the website's own id of its visitor.",
    "eventId": "The same when it is sent again, so that it counts once.",
    "customerId": "Who the visitor says it is.",
    "timestamp": "When it happened, with its zone; without one, when Kafka got it.",
    "page": "Where it happened.",
    "referrerUrl": "Where the visitor came from.",
    "userAgent": "The browser, as it calls itself.",
    "ipAddress": "The address that it came from.",
    "searchQuery": "What was searched for.",
    "language": "The browser's language.",
    "attributes": "What else there is to say of the event.",
    "traits": "What it tells of the visitor, which is remembered.",
    "url": "The whole URL.",
    "title": "The title of the page.",
    "lang": "The language of the page.",
    "keywords": "The keywords of the page.",
}


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: {**field, "description": _SAID[name]} for name, field in schema["properties"].items()}


def _event_schema() -> dict[str, Any]:
    """The schema of `WireEvent`, so that it never differs from what is read; its one reference is put in place."""
    (root,), parts = msgspec.json.schema_components([WireEvent])
    schema: dict[str, Any] = parts[root["$ref"].rpartition("/")[2]]
    page = {**parts["Page"], "properties": _described(parts["Page"])}
    properties = _described(schema)
    properties["page"] = {"anyOf": [page, {"type": "null"}], "default": None, "description": _SAID["page"]}
    properties["eventName"] |= {"pattern": EVENT_NAME_PATTERN, "not": {"enum": sorted(RESERVED_EVENTS)}}
    return {**schema, "title": "Event", "properties": properties}


def _results_schema() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0}
    result = {
        "type": "object",
        "required": ["index", "status"],
        "additionalProperties": False,
        "properties": {
            "index": {**count, "description": "Which event of the request, counted from 0."},
            "status": {
                "enum": ["accepted", "rejected", "failed"],
                "description": "Kafka has it; it is none, ever; or Kafka did not acknowledge it: send it again.",
            },
            "eventId": {"type": ["string", "null"], "description": "The sender's, or topic/partition/offset."},
            "partition": {**count, "description": "Where Kafka has it."},
            "offset": {"type": ["integer", "null"], "description": "Where Kafka has it; null where it does not tell."},
            "reason": {"type": "string", "description": "A fixed word, such as invalid-field."},
            "detail": {"type": "string", "description": "In words for people."},
        },
    }
    return {
        "type": "object",
        "description": "What became of each event of a request.",
        "required": ["accepted", "rejected", "failed", "results"],
        "additionalProperties": False,
        "properties": {
            "accepted": {**count, "description": "How many Kafka has."},
            "rejected": {**count, "description": "How many are none; sending them again is no use."},
            "failed": {**count, "description": "How many Kafka did not acknowledge in time."},
            "results": {"type": "array", "items": result, "description": "One for each event, in their order."},
        },
    }


_EVENT = {"$ref": "#/components/schemas/Event"}
#: Name → what `REQUEST_BODY` and `RESPONSES` refer to.
SCHEMAS: dict[str, Any] = {"Event": _event_schema(), "Collected": _results_schema()}
#: How a key may be sent to the collector: a beacon can set no header.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {"basic": []}, {"queryKey": []}]
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "One event or a list of up to 1,000: 32 KB an event, 512 KiB in all; `text/plain` for sendBeacon.",
    "content": {
        "application/json": {
            "schema": {"oneOf": [_EVENT, {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": 1000}]},
            "examples": {
                "one": {"summary": "One event", "value": EVENT_EXAMPLE},
                "list": {"summary": "A list", "value": [{"eventName": "page_viewed", "visitorId": "c-7f3a"}]},
            },
        },
        "text/plain": {"schema": {"type": "string"}, "example": '{"eventName": "page_viewed", "visitorId": "c-7f3a"}'},
    },
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Kafka has every event that is accepted, on all in-sync replicas; others are rejected for good.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Collected"},
                "example": {"accepted": 1, "rejected": 1, "results": [_ACCEPTED, _REJECTED], "failed": 0},
            }
        },
    },
    400: documented(
        400,
        "The body holds no events, or every one of them is rejected (then with `results`).",
        "invalid-field: visitorId: Expected `str`",
        accepted=0,
        rejected=1,
        results=[{**_REJECTED, "index": 0}],
        failed=0,
    ),
    401: documented(401, "No API key, or one that nobody knows.", "no API key, or an unknown one"),
    403: documented(403, "The key lacks the right `ingest`.", "the API key lacks the right 'ingest'"),
    408: documented(408, "The body came too slowly.", "the body did not come within 10 s"),
    413: documented(
        413, "The body, the list or the single event is too large.", "the body is larger than 524,288 bytes"
    ),
    415: documented(
        415,
        "Neither application/json nor text/plain, or compressed.",
        "application/xml is not taken; send application/json or text/plain",
    ),
    429: documented(
        429,
        "The key has used up its events; see Retry-After.",
        "the API key has used up its events; wait as Retry-After says",
    ),
    503: documented(
        503,
        "Kafka is silent or behind; see Retry-After, and `results` where some events were sent.",
        "Kafka did not acknowledge 1 of the events; send those again with the same eventId",
        accepted=0,
        rejected=0,
        results=[_FAILED],
        failed=1,
    ),
    508: documented(
        508,
        "The request is a webhook of actionmap (`webhook-id: am1_…` or `User-Agent: actionmap/…`).",
        "a webhook of actionmap leads here, and could fire the map that sent it, for ever",
    ),
}

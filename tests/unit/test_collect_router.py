"""``POST /v1/events`` with a written producer in place of Kafka's."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actionmap.collect.collector import collector_router
from actionmap.collect.openapi import SCHEMAS
from actionmap.collect.producer import NotStored, Outgoing, Overloaded, Stored
from actionmap.collect.quota import Quota
from actionmap.errors import Unreachable
from actionmap.telemetry import Metrics

GOOD = {"eventName": "page_viewed", "visitorId": "v1"}
BAD = {"eventName": "page_viewed"}
KEYS = {"writer-key": frozenset({"ingest"}), "reader-key": frozenset({"read"})}


class FakeProducer:
    """Stores at partition 3, from offset 17 on; or does what a test wants."""

    def __init__(self) -> None:
        self.stored: list[Outgoing] = []
        self.refusal: Exception | None = None
        self.failing: set[str] = set()

    def check_room(self, more_bytes: int = 0) -> None:
        if self.refusal:
            raise self.refusal

    async def send_many(self, events: Sequence[Outgoing]) -> list[Stored | NotStored]:
        results: list[Stored | NotStored] = []
        for event in events:
            if event.visitor_id in self.failing:
                results.append(NotStored(error="no answer"))
            else:
                results.append(Stored(topic="website-events", partition=3, offset=17 + len(self.stored)))
                self.stored.append(event)
        return results


class Site:
    """A collector and how to post to it."""

    def __init__(self, client: httpx.AsyncClient, producer: FakeProducer, metrics: Metrics) -> None:
        self.client = client
        self.producer = producer
        self.metrics = metrics

    async def post(self, body: Any, **options: Any) -> httpx.Response:
        options.setdefault("headers", {"X-API-Key": "writer-key"})
        content = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body).encode()
        return await self.client.post(options.pop("path", "/v1/events"), content=content, **options)

    def counted(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("actionmap_collected_events_total", {"result": result}) or 0.0


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    producer, metrics, app = FakeProducer(), Metrics(), FastAPI()
    quota = Quota(1000, lambda: 0.0)
    app.include_router(collector_router(producer, lambda key: KEYS.get(key or ""), quota, metrics))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield Site(client, producer, metrics)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    details = response.json()
    assert details["type"] == "about:blank"
    assert details["status"] == status
    assert details["title"]
    assert details["detail"]
    return details


async def test_an_accepted_event_names_its_place_as_its_id(site: Site):
    response = await site.post(GOOD)
    assert response.status_code == 202
    accepted = {"status": "accepted", "index": 0, "eventId": "website-events/3/17", "partition": 3, "offset": 17}
    assert response.json() == {"accepted": 1, "rejected": 0, "failed": 0, "results": [accepted]}
    assert site.producer.stored == [("v1", json.dumps(GOOD).encode())]


async def test_an_event_keeps_the_id_it_came_with(site: Site):
    response = await site.post(GOOD | {"eventId": "e-1"})
    assert response.json()["results"][0]["eventId"] == "e-1"


async def test_each_event_of_a_list_has_its_own_result_in_its_place(site: Site):
    response = await site.post([GOOD, BAD, GOOD | {"visitorId": "v2"}])
    assert response.status_code == 202
    body = response.json()
    assert (body["accepted"], body["rejected"]) == (2, 1)
    assert [(result["index"], result["status"]) for result in body["results"]] == [
        (0, "accepted"),
        (1, "rejected"),
        (2, "accepted"),
    ]
    assert body["results"][1]["reason"] == "invalid-field"
    assert (site.counted("accepted"), site.counted("rejected")) == (2, 1)


async def test_when_every_event_is_rejected_the_request_is_bad_and_says_why(site: Site):
    assert problem(await site.post(BAD), 400)["detail"].startswith("invalid-field: ")
    details = problem(await site.post([BAD, BAD]), 400)
    assert details["rejected"] == 2
    assert [result["index"] for result in details["results"]] == [0, 1]
    assert site.producer.stored == []


async def test_a_single_event_that_is_too_large_is_413(site: Site):
    details = problem(await site.post(GOOD | {"attributes": {"x": "y" * 33_000}}), 413)
    assert details["results"][0]["reason"] == "too-large"


@pytest.mark.parametrize("body", [b"", b"nonsense", b"7", b"[]", b"[{]", b"\xff\xfe"])
async def test_a_body_without_events_is_400(site: Site, body: bytes):
    problem(await site.post(body), 400)


async def test_more_than_a_thousand_events_are_413(site: Site):
    problem(await site.post([GOOD] * 1001), 413)


async def test_a_body_over_the_limit_is_413_by_its_announced_length(site: Site):
    problem(await site.post(b"[" + b" " * 600_000 + b"]"), 413)


async def test_a_body_without_a_length_is_cut_off_at_the_limit(site: Site):
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 64 * 1024
            yield b" " * 64 * 1024

    problem(await site.post(endless()), 413)
    assert read < 700_000


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", "Application/JSON; x=y"])
async def test_json_and_what_beacons_send_are_taken(site: Site, content_type: str):
    response = await site.post(GOOD, headers={"X-API-Key": "writer-key", "Content-Type": content_type})
    assert response.status_code == 202


@pytest.mark.parametrize("header", [{"Content-Type": "application/xml"}, {"Content-Encoding": "gzip"}])
async def test_other_types_and_encodings_are_415(site: Site, header: dict[str, str]):
    problem(await site.post(GOOD, headers={"X-API-Key": "writer-key", **header}), 415)


BASIC = "Basic " + base64.b64encode(b"writer-key:").decode()


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Authorization": "Bearer writer-key"}},
        {"headers": {"Authorization": BASIC}},
        {"headers": {"X-API-Key": "writer-key"}},
        {"headers": {}, "path": "/v1/events?key=writer-key"},
    ],
)
async def test_a_key_may_come_in_four_ways(site: Site, options: dict[str, Any]):
    assert (await site.post(GOOD, **options)).status_code == 202


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Basic !!"}, {"Authorization": "Basic /w=="}]
)
async def test_no_key_or_an_unknown_one_is_401(site: Site, headers: dict[str, str]):
    response = await site.post(GOOD, headers=headers)
    problem(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_that_may_not_send_events_is_403(site: Site):
    problem(await site.post(GOOD, headers={"X-API-Key": "reader-key"}), 403)


async def test_a_used_up_quota_is_429_and_says_when_to_come_back(site: Site):
    assert (await site.post([GOOD] * 1000)).status_code == 202
    response = await site.post(GOOD)
    problem(response, 429)
    assert response.headers["retry-after"] == "1"
    assert len(site.producer.stored) == 1000


@pytest.mark.parametrize("refusal", [Overloaded("full"), Unreachable("silent")])
async def test_a_full_buffer_or_a_silent_kafka_is_503_before_anything_is_read(site: Site, refusal: Exception):
    site.producer.refusal = refusal
    response = await site.post(GOOD)
    problem(response, 503)
    assert response.headers["retry-after"] == "1"


async def test_events_that_kafka_did_not_acknowledge_are_503_and_named(site: Site):
    site.producer.failing = {"v2"}
    response = await site.post([GOOD, GOOD | {"visitorId": "v2"}, BAD])
    details = problem(response, 503)
    assert response.headers["retry-after"] == "1"
    assert [result["status"] for result in details["results"]] == ["accepted", "failed", "rejected"]
    assert (details["accepted"], details["rejected"], details["failed"]) == (1, 1, 1)
    assert site.counted("failed") == 1


async def test_every_status_is_documented_with_an_example(site: Site):
    document = (await site.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/events"]["post"]
    assert set(operation["responses"]) == {"202", "400", "401", "403", "408", "413", "415", "429", "503", "508"}
    for response in operation["responses"].values():
        (content,) = response["content"].values()
        assert content["example"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["oneOf"][0] == {"$ref": "#/components/schemas/Event"}
    assert SCHEMAS["Event"]["required"] == ["eventName", "visitorId"]
    assert "#/$defs" not in json.dumps([document, SCHEMAS])

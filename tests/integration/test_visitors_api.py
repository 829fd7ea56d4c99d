"""Visitors and simulations over REST."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from test_admin import RULES, SEGMENT, Server
from test_replay import Engine

from actionmap.admin import simulate as simulating
from actionmap.admin.auth import ApiKeys
from actionmap.admin.errors import install
from actionmap.admin.requests import Guard
from actionmap.admin.visitors import visitors_router
from actionmap.catalog.compile import compile_rulebook
from actionmap.collect.topic import ensure_topic
from actionmap.consume.ends import partition_of
from actionmap.decide import Policy, Timeline
from actionmap.event import Event
from actionmap.registry import Registry
from actionmap.settings import ApiKey, hash_of_key
from actionmap.store.protocols import Commit
from actionmap.visitor import encode_visitor
from support import T0, definitions, event

DAY_MS = 86_400_000
MAPS: list[dict[str, Any]] = [
    {**RULES[3], "name": "daily", "trigger": {"event": "visit"}, "frequency": {"max": 1, "per": "1d"}},
    {**RULES[3], "name": "once", "trigger": {"event": "visit"}, "frequency": {"max": 1, "per": "lifetime"}},
    {**RULES[3], "name": "later", "trigger": {"event": "visit"}, "activation": {"type": "delay", "delaySeconds": 60}},
    {**SEGMENT, "name": "keen", "when": {"count": {"event": "visit", "atLeast": 1, "within": "1d"}},
     "expiresAfter": "2d"},
    {**SEGMENT, "name": "new", "when": {"key": "visitor.sessionCount", "operator": "equal", "value": 1}},
]  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.registry.change(definitions([*RULES, SEGMENT, *MAPS]))
    yield server


async def remember(server: Server, *events: Event) -> int:
    """Let the store hold the visitor of ``events`` after them; answers the partition."""
    timeline = Timeline(server.registry.rulebook, Policy(), -1, {})
    for one in events:
        timeline.take(one)
    visitor_id = events[0].visitor_id
    partition = partition_of(visitor_id.encode(), 2)
    fence = await server.store.claim(partition, owner="w", token="t", cluster="c", partitions=2)
    visitors = [(visitor_id, encode_visitor(timeline.visitors[visitor_id]))]
    commit = Commit(fence.token, "u", 0, 1, stream_time=timeline.stream_time, visitors=visitors)
    assert (await server.store.apply(partition, commit)).status == "ok"
    return partition


VISIT = Event("e-1", "visit", "a/ä b", T0, T0, customer_id="c-42", traits={"email": "a@b.example"},
              attributes={"cart": 9}, search_query="plans")  # fmt: skip


async def test_all_that_is_remembered_of_a_visitor_is_shown(server: Server) -> None:
    partition = await remember(server, VISIT)
    shown = (await server.ask("GET", "visitors/a%2F%C3%A4%20b", key="key-read")).json()
    assert shown == {
        "id": "a/ä b", "customerId": "c-42", "firstSeenAt": "2023-11-14T22:13:20.000Z",
        "lastSeenAt": "2023-11-14T22:13:20.000Z", "sessionCount": 1, "eventCount": 1,
        "traits": {"email": "a@b.example"}, "variables": {},
        "segments": [{"name": "keen", "until": "2023-11-16T22:13:20.000Z"}, {"name": "new", "until": None}],
        "session": {
            "id": "a/ä b:1", "createdAt": "2023-11-14T22:13:20.000Z", "lastEventAt": "2023-11-14T22:13:20.000Z",
            "eventCount": 1, "pageviewCount": 0, "authenticated": True, "browser": None, "device": None,
            "mktCampaign": None, "referrer": None, "lastPage": None, "searchTerms": ["plans"],
            "attributes": {"cart": 9},
        },
        "waits": [{"actionMap": "later", "kind": "delay", "dueAt": "2023-11-14T22:14:20.000Z", "eventId": "e-1",
                   "eventName": "visit", "eventAt": "2023-11-14T22:13:20.000Z"}],
        "firings": [
            {"counted": "first-visit", "per": "session", "times": 1, "at": []},
            {"counted": "once", "per": "lifetime", "times": 1, "at": []},
            {"counted": "daily", "per": "duration", "times": 1, "at": ["2023-11-14T22:13:20.000Z"]},
        ],
        "partition": partition, "streamTime": "2023-11-14T22:13:20.000Z",
    }  # fmt: skip


async def test_who_is_unknown_and_what_is_no_id_is_said(server: Server) -> None:
    unknown = await server.ask("GET", "visitors/nobody")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "there is no visitor 'nobody'")
    for method in ("GET", "DELETE"):
        answer = await server.ask(method, f"visitors/{'x' * 201}")
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "path.id")


async def test_reading_takes_the_right_to_read_and_erasing_those_to_edit_and_publish(server: Server) -> None:
    for method, key, status in (
        ("GET", "key-ingest", 403), ("GET", None, 401), ("DELETE", "key-edit", 403), ("DELETE", "key-publish", 403),
        ("DELETE", None, 401), ("DELETE", "key-all", 503),
    ):  # fmt: skip
        answer = await server.ask(method, "visitors/ann", key=key)
        assert answer.status_code == status, (method, key, answer.text)


async def test_escaped_slashes_are_part_of_the_visitors_id_whatever_is_asked(server: Server) -> None:
    await server.registry.change(definitions([{"kind": "Segment", "name": "vip", "external": True}]))
    refused = await server.ask("PUT", "visitors/a%2Fsegments%2Fvip")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET")
    unknown = await server.ask("GET", "visitors/a%2Fsegments%2Fvip")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "there is no visitor 'a/segments/vip'")
    for method in ("PUT", "DELETE"):
        assert (await server.ask(method, "visitors/a%2Fsegments%2Fb/segments/vip")).status_code == 503  # no Kafka


async def test_visitors_belong_to_no_company(server: Server) -> None:
    rights = frozenset(("read", "edit", "publish"))
    server.keys.take_over({hash_of_key("key-acme"): ApiKey("acme", rights, "acme")})
    for method in ("GET", "DELETE"):
        assert (await server.ask(method, "visitors/ann", key="key-acme")).status_code == 403


def recorded(name: str = "order", visitor: str = "ann", second: int = 0, **more: Any) -> dict[str, Any]:
    return {"eventName": name, "visitorId": visitor, "timestamp": f"2026-11-01T10:00:{second:02}Z", **more}


async def simulate(server: Server, **body: Any) -> dict[str, Any]:
    answer = await server.ask("POST", "simulate", key="key-read", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_the_definitions_of_the_server_would_fire_is_told_with_the_coverage_of_lookups(
    server: Server,
) -> None:
    found = await simulate(server, events=[recorded(attributes={"n": 7}, eventId="e"), recorded(second=1)])
    assert (found["events"], found["outcomes"], found["differences"]) == (2, {"judged": 2}, None)
    first, second = found["firings"]
    assert (first["actionMap"], first["visitorId"], first["eventId"]) == ("each-order", "ann", "e")
    assert (first["at"], second["eventId"]) == ("2026-11-01T10:00:00.000Z", "simulate/0/2")
    assert first["request"]["url"] == "https://shop.example.com/told"
    assert first["request"]["headers"]["Authorization"] == "Basic ***"
    assert {"actionMap": "each-order", "field": "n", "lookup": "event.attributes.n", "found": 1, "firings": 2} in (
        found["coverage"]
    )
    assert found["verdicts"]["each-order"] == {"fired": 2}
    assert await server.store.owed(0, limit=9) == await server.store.owed(1, limit=9) == []


async def test_definitions_that_are_given_are_compared_with_those_of_the_server(server: Server) -> None:
    others = [*RULES[:3], {**RULES[3], "name": "each-visit", "trigger": {"event": "visit"}}]
    events = [recorded(), recorded("visit", second=1)]
    found = await simulate(server, events=events, definitions=others, against="server")
    assert [one["actionMap"] for one in found["firings"]] == ["each-visit"]
    changes = {(one["change"], one["actionMap"]) for one in found["differences"]}
    assert changes == {
        ("appears", "each-visit"), ("disappears", "each-order"), ("disappears", "first-visit"),
        ("disappears", "daily"), ("disappears", "once"), ("disappears", "later"),
    }  # fmt: skip
    alone = await simulate(server, events=events, definitions=others)
    assert (alone["firings"], alone["differences"]) == (found["firings"], None)


async def test_a_key_of_a_company_simulates_with_its_own_definitions(server: Server) -> None:
    server.keys.take_over({hash_of_key("key-acme"): ApiKey("acme", frozenset(("read",)), "acme")})
    asked = {"events": [recorded()]}
    own = json.loads(json.dumps(RULES).replace("ACTIONMAP_SECRET_", "ACTIONMAP_SECRET_ACME__"))
    mine = await server.ask("POST", "simulate", key="key-acme", json=asked)
    assert mine.json()["firings"] == []
    given = await server.ask("POST", "simulate", key="key-acme", json={**asked, "definitions": own})
    assert [one["actionMap"] for one in given.json()["firings"]] == ["each-order"]


WRONG: list[tuple[dict[str, Any], int, str | None]] = [
    ({}, 422, "body.events"),
    ({"events": []}, 422, "body.events"),
    ({"events": ["a"]}, 422, "body.events.0"),
    ({"events": [recorded(), {"eventName": "a", "visitorId": "v"}]}, 422, "body.events.1"),
    ({"events": [recorded(), recorded(), {"timestamp": "2026-11-01T10:00:00Z"}]}, 422, "body.events.2"),
    ({"events": [recorded()], "definitions": [{**RULES[2], "dataAction": "none"}]}, 422, "dataAction"),
    ({"events": [recorded()], "definitions": [{"kind": "Nothing"}]}, 422, "kind"),
    ({"events": [recorded()], "definitions": "all"}, 422, "body.definitions"),
    ({"events": [recorded()], "against": "client"}, 422, "body.against"),
    ({"events": [recorded()], "more": 1}, 422, "body.more"),
    ({"events": [recorded()], "against": "server"}, 400, "body.against"),
]


async def test_what_is_wrong_with_a_simulation_is_told_with_its_path(server: Server) -> None:
    for body, status, path in WRONG:
        answer = await server.ask("POST", "simulate", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert path in [one["path"] for one in answer.json()["errors"]], (body, answer.text)


async def test_a_simulation_has_a_bound_and_needs_the_right_to_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulating, "MOST_FIRINGS", 3)
    few = {"events": [recorded(second=second) for second in range(3)]}
    assert (await server.ask("POST", "simulate", json=few)).status_code == 200
    many = {"events": [recorded(second=second) for second in range(4)]}
    refused = await server.ask("POST", "simulate", json=many)
    assert (refused.status_code, "more than 3 firings" in refused.json()["detail"]) == (422, True)
    assert (await server.ask("POST", "simulate", key="key-ingest", json=few)).status_code == 403
    assert (await server.ask("POST", "simulate", key=None, json=few)).status_code == 401


async def test_an_erasure_goes_through_the_topic_and_takes_its_place_among_the_events(broker: str, unique: str) -> None:
    """The same name from a producer of the website is a dead letter."""
    await ensure_topic(broker, unique, 1)
    goodbye = {**RULES[3], "name": "goodbye", "trigger": {"event": "visitor_erased"}}
    engine = Engine(broker, unique, compile_rulebook(definitions([*RULES, goodbye]), 1))
    app = FastAPI()
    install(app)
    guard = Guard(ApiKeys({}, open_access=True))
    app.include_router(visitors_router(Registry(engine.store), guard, engine.producer, engine.store, 1))
    async with engine.running(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        await engine.send(event("v"), event("v", "visitor_erased"))
        await engine.store.evaluated(1, 0)
        assert (await client.get("/api/v1/visitors/v")).json()["eventCount"] == 1
        told = await client.delete("/api/v1/visitors/v")
        assert (told.status_code, told.json()) == (202, {"eventId": f"{unique}/0/2", "visitorId": "v"})
        await engine.store.evaluated(2, 0)
        assert (await client.get("/api/v1/visitors/v")).status_code == 404
        assert await engine.owed() == [("goodbye", f"{unique}/0/2")]
        await engine.send(event("v"))
        await engine.store.evaluated(3, 0)
        assert (await client.get("/api/v1/visitors/v")).json()["eventCount"] == 1
        told = await client.delete("/api/v1/visitors/a%2Fsegments%2Fb")
        assert (told.status_code, told.json()["visitorId"]) == (202, "a/segments/b")

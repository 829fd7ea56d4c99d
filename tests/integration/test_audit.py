"""The audit tells who did what with keys, integrations, visitors, dead letters and partitions: once it is done."""

import hashlib
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from test_admin import RULES, SEGMENT, Server, _apply, owed
from test_definition_versions import done, of_company

from actionmap.collect.producer import EventProducer
from actionmap.collect.topic import ensure_topic
from actionmap.consume.ends import partition_of
from actionmap.delivery import DeadLetter
from actionmap.demo.receiver import Receiver
from actionmap.errors import Unreachable
from actionmap.process import wall_clock
from actionmap.store.protocols import Halt
from actionmap.store.redis import RedisStore
from support import definitions, rules

LOOPBACK = [ip_network("127.0.0.0/8")]
ADA = "sha256:" + hashlib.sha256(b"ada").hexdigest()


def dead(id_: str, **more: str) -> DeadLetter:
    delivery = replace(owed(id_), **more)
    return DeadLetter(id=id_, kind="delivery", reason="attempts-exhausted", detail="", at=9, delivery=delivery)


async def told(server: Server, key: str = "key-all", **asked: Any) -> list[tuple[str, str, str]]:
    found = (await done(server, "GET", "audit", key=key, params={"limit": 100, **asked}))["items"]
    return [(one["action"], one["kind"], one["name"]) for one in reversed(found)]


@pytest.fixture
async def store(valkey: str, unique: str) -> AsyncIterator[RedisStore]:
    redis = RedisStore(valkey, prefix=unique, clock=wall_clock)
    yield redis
    await redis.close()


async def test_each_act_is_told_with_who_did_it_to_what_and_how(store: RedisStore, unique: str, broker: str) -> None:
    await ensure_topic(broker, unique, 2)
    server = Server(store=store, egress=LOOPBACK)
    async with server.sender, Receiver() as receiver, EventProducer(broker, unique, idempotent=False) as producer:
        server.app._parts["producer"] = producer
        await server.registry.change(definitions(rules(receiver.url)))
        revision = await server.store.definitions.revision()
        ann = (await done(server, "POST", "api-keys", json={"name": "ann", "rights": ["edit", "publish", "read"]}))[
            "key"
        ]

        await done(server, "POST", "api-keys", ann, json={"name": "bob", "rights": ["read"], "company": "acme"})
        await done(server, "DELETE", "api-keys/bob", ann)
        await done(server, "POST", "integrations/shop/pause", ann, json={"reason": "moved"})
        await done(server, "POST", "integrations/shop/resume", ann)
        await done(server, "POST", "integrations/shop/test", ann)
        await done(server, "GET", "action-maps/each-order/go-live", ann, params={"probe": "true"})
        await done(server, "GET", "go-live", ann, params={"probe": "true"})
        await done(server, "POST", "webhooks/tell-shop/test", ann, json={"send": True})
        await done(
            server, "POST", "data-actions/tell/test", ann, json={"input": {"visitor": "v", "n": 1}, "send": True}
        )
        place = partition_of(b"ada", 2)
        await _apply(server, place, dead_letters=[dead("one"), dead("two", visitor_id="ada"), dead("three")])
        await done(server, "POST", "dead-letters/replay", ann, json={"ids": ["one", "none"]})
        asked = {"integration": "shop", "visitorId": "ada"}
        await done(server, "POST", "deliveries/replay", ann, json=asked)
        await done(server, "DELETE", "visitors/ada", ann)
        await server.store.halt(1, Halt("truncated", "events/1: truncated: …", 1000))
        await done(server, "POST", "partitions/1/resume", ann, json={"policy": "rebuild"})

        found = (await done(server, "GET", "audit", params={"by": "ann"}))["items"]
        assert await server.store.definitions.revision() == revision, "nobody reads definitions anew for it"
    acts = [(one["action"], one["kind"], one["name"], one["company"], one["details"]) for one in reversed(found)]
    sent = {"outcome": "delivered", "status": 200}
    assert acts == [
        ("create", "ApiKey", "bob", "acme", {"rights": ["read"]}),
        ("revoke", "ApiKey", "bob", "acme", None),
        ("pause", "Integration", "shop", "default", None),
        ("resume", "Integration", "shop", "default", None),
        ("probe", "Integration", "shop", "default", None),
        ("probe", "Integration", "shop", "default", None),
        ("probe", "Integration", "shop", "default", None),
        ("test", "Webhook", "tell-shop", "default", sent),
        ("test", "DataAction", "tell", "default", sent),
        ("replay", "DeadLetter", "one", "default", None),
        ("replay", "DeadLetter", "*", "default", {"replayed": 1, "integration": "shop", "visitorId": ADA}),
        ("erase", "Visitor", ADA, None, None),
        ("resume", "Partition", "1", None, {"policy": "rebuild"}),
    ]
    assert all(one["at"] and (one["before"], one["after"]) == (None, None) for one in found)
    assert ann not in str(found)
    assert await told(server, kind="ApiKey", name="ann") == [("create", "ApiKey", "ann")]
    assert await told(server, kind="Visitor", name=ADA, by="ann") == [("erase", "Visitor", ADA)]
    changes = await told(server, kind="Integration", by="key-all")
    assert changes == [], "the definitions of this test were written by nobody's key"


async def test_what_fails_or_sends_nothing_is_not_told() -> None:
    server = Server()
    await server.registry.change(definitions([*RULES, SEGMENT]))
    made = {"name": "ci", "rights": ["read"]}
    await done(server, "POST", "api-keys", json=made)
    await _apply(server, 0, dead_letters=[dead("one")])
    before = await told(server)
    for method, path, body, status in (
        ("POST", "api-keys", made, 409), ("DELETE", "api-keys/none", None, 404),
        ("POST", "integrations/none/pause", {}, 404), ("POST", "partitions/1/resume", {"policy": "rebuild"}, 409),
        ("DELETE", "visitors/ada", None, 503), ("POST", "dead-letters/replay", {"ids": ["none"]}, 200),
        ("POST", "deliveries/replay", {"webhook": "none"}, 200), ("POST", "deliveries/replay", {"dryRun": True}, 200),
        ("POST", "webhooks/tell-shop/test", {}, 200), ("GET", "go-live", None, 200),
    ):  # fmt: skip
        assert (await server.ask(method, path, json=body)).status_code == status, path
    assert await told(server) == before


async def test_a_request_whose_act_the_audit_does_not_take_says_that_it_is_done_and_the_log_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    await server.registry.change(definitions([*RULES, SEGMENT]))

    async def away(_: bytes) -> None:
        raise Unreachable("Redis does not answer")

    monkeypatch.setattr(server.store.definitions, "tell", away)
    with structlog.testing.capture_logs() as lines:
        answer = await server.ask("POST", "integrations/shop/pause", json={})
    assert (answer.status_code, "pause Integration shop is done" in answer.json()["detail"]) == (503, True)
    assert (await server.store.integrations.states())["shop"].hold is not None
    [entry] = [line["entry"] for line in lines if line["event"] == "audit.lost"]
    assert (entry["by"], entry["action"], entry["name"]) == ("key-all", "pause", "shop")


async def test_a_key_of_a_company_sees_what_was_done_with_what_is_the_company_s_alone() -> None:
    server = Server()
    await server.registry.change(definitions([*of_company("acme"), *of_company("globex")]))
    for name, company in (("a", "acme"), ("g", "globex"), ("all", None)):
        await done(server, "POST", "api-keys", json={"name": name, "rights": ["read"], "company": company})
    await done(server, "POST", "integrations/acme-shop/pause", "key-acme", json={})
    await done(server, "POST", "integrations/globex-shop/pause", json={})
    await done(server, "POST", "integrations/acme-shop/resume")
    await server.store.halt(1, Halt("truncated", "events/1: truncated: …", 1000))
    await done(server, "POST", "partitions/1/resume", json={"policy": "continue"})
    mine = dead("mine", action_map="acme-each-order")
    await _apply(server, 0, dead_letters=[mine, dead("of nobody")])
    await done(server, "POST", "dead-letters/replay", json={"ids": ["mine", "of nobody"]})

    own = [
        ("create", "ApiKey", "a"), ("pause", "Integration", "acme-shop"), ("resume", "Integration", "acme-shop"),
        ("replay", "DeadLetter", "mine"),
    ]  # fmt: skip
    written = len(of_company("acme"))
    assert (await told(server, "key-acme"))[written:] == own
    assert await told(server, "key-acme", kind="Partition") == []
    assert {("create", "ApiKey", "all"), ("create", "ApiKey", "g"), ("resume", "Partition", "1"),
            ("replay", "DeadLetter", "of nobody"), *own} < set(await told(server))  # fmt: skip


async def test_a_parameter_that_a_route_has_not_is_refused_by_every_route_and_named() -> None:
    server = Server()
    routes = [
        (method, path.replace("{number}", "1").replace("{partition}", "0"))
        for path, of_path in server.app.openapi()["paths"].items()
        for method, one in of_path.items()
        if path.startswith("/api/")
    ]
    assert {("get", "/api/v1/audit"), ("get", "/api/v1/api-keys"), ("get", "/api/v1/dead-letters")} <= set(routes)
    for method, path in routes:
        answer = await server.ask(method.upper(), path, params={"colour": "red"})
        assert answer.status_code == 422, (method, path, answer.text)
        assert [one["path"] for one in answer.json()["errors"]] == ["query.colour"]
    assert (await server.ask("GET", "audit", key=None, params={"colour": "red"})).status_code == 401
    listed = await server.ask("GET", "deliveries", params={"visitorId": "v", "state": "owed", "limit": 1})
    assert listed.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "audit?limt=3", None, "query.limt: there is no such parameter; did you mean 'limit'?"),
        ("GET", "status?limit=3", None, "query.limit: there is no such parameter; it takes none"),
        ("GET", "audit?kind=integrations", None, "query.kind: Input should be 'Integration', 'DataAction'"),
        (
            "POST",
            "api-keys",
            {"nam": "a", "rights": ["read"]},
            "body.nam: there is no such field; did you mean 'name'?",
        ),
    ],
)
async def test_what_is_misspelt_is_named_with_what_there_is(method: str, path: str, body: Any, said: str) -> None:
    answer = await Server().ask(method, path, json=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text

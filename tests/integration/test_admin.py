"""The API over ASGI, on the in-memory store."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from msgspec.structs import replace

from actionmap.admin.api import create_api
from actionmap.admin.auth import ApiKeys
from actionmap.admin.replay import Replays
from actionmap.admin.requests import MAX_BODY_BYTES
from actionmap.admin.status import Health
from actionmap.catalog.models import KINDS, PLURALS
from actionmap.collect import requests
from actionmap.collect.collector import collector_router
from actionmap.collect.producer import EventProducer
from actionmap.collect.quota import Quota
from actionmap.consume.ends import partition_of
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy, decide
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.delivery import DeadLetter, Delivery
from actionmap.golive.survey import Survey
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.settings import ApiKey, hash_of_key
from actionmap.store.definitions import Revision
from actionmap.store.durability import Guarantees
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Commit, Halt
from actionmap.telemetry import Metrics
from actionmap.vault import Vault, new_key
from actionmap.visitor import encode_visitor
from shared_app import Answering, part_of_each
from support import definitions, rules

KEYS = {
    "key-ingest": {"ingest"},
    "key-read": {"read"},
    "key-edit": {"read", "edit"},
    "key-publish": {"read", "publish"},
    "key-all": {"read", "edit", "publish"},
}
BASIC = {"type": "basic", "username": "actionmap", "password": "${ACTIONMAP_SECRET_SHOP}"}
RULES = rules(auth=BASIC, signing={"scheme": "xHubSignature256", "secret": "${ACTIONMAP_SECRET_SIGN}"})
SECRET = "M0ST-secret-value"
PROBLEM = "application/problem+json"
SEGMENT = {"kind": "Segment", "name": "regular", "when": {"key": "visitor.sessionCount", "operator": "greaterThan",
                                                          "value": 3}}  # fmt: skip
IDLE = {**SEGMENT, "name": "idle", "active": False}
#: Kind in URLs → a definition that may be created beside ``RULES``.
NEW: dict[str, dict[str, Any]] = {
    "integrations": {"name": "new", "baseUrl": "https://new.example.com"},
    "data-actions": {**RULES[1], "name": "new"},
    "webhooks": {**RULES[2], "name": "new"},
    "segments": {**SEGMENT, "name": "new"},
    "action-maps": {**RULES[3], "name": "new"},
}


@cache
def _application(*, has_quota: bool, origins: tuple[str, ...], requires_if_match: bool) -> FastAPI:
    named = ("keys", "registry", "store", "health", "log_ends", "replays", "producer", "sender", "metrics", "survey")
    parts = {name: part_of_each(name) for name in named}
    quota = part_of_each("quota") if has_quota else None
    return create_api(
        **parts, partitions=2, policy=Policy(), quota=quota, cors_origins=origins, requires_if_match=requires_if_match,
        collector=collector_router(parts["producer"], parts["keys"].rights, part_of_each("events"), parts["metrics"]),
    )  # fmt: skip


class Server:
    """The API, its store, and a client for each key."""

    def __init__(
        self, *, open_access: bool = False, egress: Sequence[Any] = (), rate: float | None = None,
        origins: Sequence[str] = (), requires_if_match: bool = False, store: Any = None,
    ) -> None:  # fmt: skip
        self.store = store or MemoryStore()
        self.registry = Registry(self.store, Vault(new_key()))
        self.problems: list[str] = []
        given = {hash_of_key(key): ApiKey(key, frozenset(rights)) for key, rights in KEYS.items()}
        given[hash_of_key("key-acme")] = ApiKey("key-acme", frozenset(KEYS["key-all"]), "acme")
        metrics, keys = Metrics(), ApiKeys(given, open_access=open_access)
        self.keys = keys
        producer = EventProducer("127.0.0.1:1", "events")

        async def health() -> Health:
            return Health(
                self.problems, Guarantees("always"), self.registry.revision, len(self.registry.rulebook.maps), {0: 7}
            )

        async def log_ends() -> dict[int, int]:
            return {0: 99, 1: 12}

        self.sender = HttpSender(EgressGuard((), egress), environment_secrets({"ACTIONMAP_SECRET_SHOP": SECRET}),
                                 clock=wall_clock)  # fmt: skip
        #: What the log still holds.
        self.records: dict[int, Record] = {}

        async def read_record(_: int, offset: int) -> Record | None:
            return self.records.get(offset)

        #: Workers that consume.
        self.members = 1

        async def members() -> int:
            return self.members

        self.survey = Survey(
            registry=self.registry, store=self.store, partitions=2, log_ends=log_ends, members=members,
            prober=self.sender, secret_is_set=lambda name: name == "ACTIONMAP_SECRET_SHOP",
            egress_networks=tuple(egress),
        )  # fmt: skip
        quota = Quota(rate, lambda: 0.0) if rate is not None else None
        app = _application(has_quota=quota is not None, origins=tuple(origins), requires_if_match=requires_if_match)
        self.app = Answering(app, {
            "registry": self.registry, "store": self.store, "keys": keys, "health": health, "log_ends": log_ends,
            "replays": Replays(self.store, producer, read_record), "producer": producer, "sender": self.sender,
            "metrics": metrics, "survey": self.survey, "quota": quota, "events": Quota(100, lambda: 0.0),
        })  # fmt: skip

    async def raw(self, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://actionmap") as client:
            return await client.request(method, path, headers=headers)

    async def ask(self, method: str, path: str, key: str | None = "key-all", **more: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://actionmap") as client:
            path = path if path.startswith("/") else f"/api/v1/{path}"
            response = await client.request(method, path, headers=headers, **more)
        if response.status_code >= 400:
            assert response.headers["content-type"] == PROBLEM
            assert response.json()["status"] == response.status_code
            assert response.json()["title"]
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.registry.change(definitions([*RULES, SEGMENT]))
    yield server


# --- one definition


@pytest.mark.parametrize("plural", NEW)
async def test_each_kind_can_be_created_read_listed_replaced_and_deleted(plural: str, server: Server) -> None:
    new = NEW[plural]
    created = await server.ask("POST", plural, json=new)
    assert created.status_code == 201
    assert created.headers["etag"] == '"1"'
    assert created.json() == (await server.ask("GET", f"{plural}/new")).json()
    assert created.json()["version"] == 1

    listed = (await server.ask("GET", plural)).json()["items"]
    assert created.json() in listed
    assert [one["name"] for one in listed] == sorted(one["name"] for one in listed)
    found = (await server.ask("GET", plural, params={"search": "new"})).json()["items"]
    assert [one["name"] for one in found] == ["new"]

    replaced = await server.ask("PUT", f"{plural}/new", json={**created.json(), "description": "other"})
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    # Of what is published it is the draft beside it.
    assert (replaced.json()["draft"] or replaced.json())["description"] == "other"

    assert (await server.ask("DELETE", f"{plural}/new")).status_code == 204
    assert (await server.ask("GET", f"{plural}/new")).status_code == 404


async def test_a_list_comes_a_page_at_a_time(server: Server) -> None:
    for number in range(5):
        await server.ask("POST", "segments", json={**SEGMENT, "name": f"s{number}"})
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await server.ask("GET", "segments", params={"limit": 2, "after": after})).json()
        assert len(page["items"]) <= 2
        names += [one["name"] for one in page["items"]]
        after = page["next"]
    assert names == ["regular", "s0", "s1", "s2", "s3", "s4"]


async def test_a_name_taken_is_not_created_again(server: Server) -> None:
    answer = await server.ask("POST", "segments", json={**SEGMENT, "description": "mine"})
    assert answer.status_code == 409
    assert "already" in answer.json()["detail"]
    assert "description" not in (await server.ask("GET", "segments/regular")).json()


async def test_a_name_unknown_is_answered_with_the_nearest_known_one(server: Server) -> None:
    for method, path in (("GET", "action-maps/each-ordr"), ("DELETE", "webhooks/tel-shop"),
                         ("GET", "action-maps/each-ordr/go-live"), ("POST", "integrations/shp/activate")):  # fmt: skip
        answer = await server.ask(method, path)
        assert answer.status_code == 404
        assert any(name in answer.json()["detail"] for name in ("each-order", "tell-shop", "'shop'"))


async def test_of_very_many_that_refer_to_it_the_first_are_named_and_how_many_more_there_are() -> None:
    server = Server()
    await server.registry.change(definitions([*RULES[:3], *({**RULES[3], "name": f"map-{n:04}"} for n in range(22))]))
    answer = await server.ask("DELETE", "webhooks/tell-shop")
    first = ", ".join(f"ActionMap map-{n:04}" for n in range(10))
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"Webhook 'tell-shop' is used by {first} and 12 more"


@pytest.mark.parametrize(
    ("path", "user"),
    [
        ("integrations/shop", "DataAction tell"),
        ("data-actions/tell", "Webhook tell-shop"),
        ("webhooks/tell-shop", "ActionMap each-order, ActionMap first-visit"),
    ],
)
async def test_what_others_refer_to_is_not_deleted_and_they_are_named(path: str, user: str, server: Server) -> None:
    answer = await server.ask("DELETE", path)
    assert answer.status_code == 409
    assert user in answer.json()["detail"]
    assert (await server.ask("GET", path)).status_code == 200


async def test_a_version_that_is_no_longer_current_is_not_written_over(server: Server) -> None:
    first = (await server.ask("GET", "segments/regular")).json()
    assert (await server.ask("PUT", "segments/regular", json={**first, "description": "a"})).status_code == 200

    for more in ({"headers": {"If-Match": '"1"'}, "json": SEGMENT}, {"json": first}):
        answer = await server.ask("PUT", "segments/regular", **more)
        assert answer.status_code == 412
        assert "version 2" in answer.json()["detail"]
    for method, path in (("DELETE", "segments/regular"), ("POST", "segments/regular/deactivate")):
        assert (await server.ask(method, path, headers={"If-Match": '"1"'})).status_code == 412

    assert (await server.ask("GET", "segments/regular")).json()["description"] == "a"
    for tag in ('"2"', "*"):
        answer = await server.ask("PUT", "segments/regular", json=SEGMENT, headers={"If-Match": tag})
        assert answer.status_code == 200


async def test_a_definition_that_is_wrong_is_refused_with_every_finding(server: Server) -> None:
    wrong = {**NEW["action-maps"], "trigger": {"all": [{"event": "a"}, {"segment": "regulr"}]}, "colour": "red",
             "action": {"webhook": "tell-shop"}}  # fmt: skip
    answer = await server.ask("POST", "action-maps", json=wrong)
    assert answer.status_code == 422
    assert {error["subject"] for error in answer.json()["errors"]} == {"ActionMap new"}
    assert "colour" in json.dumps(answer.json()["errors"])
    del wrong["colour"]
    answer = await server.ask("POST", "action-maps", json=wrong)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert "regular" in error["message"]
    assert error["path"] == "trigger.all.1.segment"


async def test_a_name_does_not_change(server: Server) -> None:
    answer = await server.ask("PUT", "segments/regular", json={**SEGMENT, "name": "other"})
    assert answer.status_code == 400
    assert "names do not change" in answer.json()["detail"]


# --- states


async def test_webhooks_are_published_and_archived_and_stay_archived(server: Server) -> None:
    await server.ask("POST", "webhooks", json={**NEW["webhooks"], "state": "draft"})
    for verb, state in (("publish", "published"), ("publish", "published"), ("archive", "archived")):
        answer = await server.ask("POST", f"webhooks/new/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    answer = await server.ask("POST", "webhooks/new/publish")
    assert answer.status_code == 409
    assert "archived" in answer.json()["detail"]


@pytest.mark.parametrize("plural", ["integrations", "segments", "action-maps"])
async def test_what_can_be_active_is_activated_and_deactivated(plural: str, server: Server) -> None:
    await server.ask("POST", plural, json=NEW[plural])
    off = await server.ask("POST", f"{plural}/new/deactivate")
    assert (off.status_code, off.json()["active"], off.json()["version"]) == (200, False, 2)
    again = await server.ask("POST", f"{plural}/new/deactivate")
    assert (again.status_code, again.json()["version"]) == (200, 2)
    on = await server.ask("POST", f"{plural}/new/activate")
    assert on.status_code == 200
    assert on.json().get("active", True) is True


async def test_a_data_action_is_published(server: Server) -> None:
    await server.ask("POST", "data-actions", json={**NEW["data-actions"], "state": "draft"})
    assert (await server.ask("POST", "data-actions/new/publish")).json()["state"] == "published"


async def test_go_live_tells_each_check_in_the_fixed_order_and_what_to_do(server: Server) -> None:
    await server.ask("POST", "integrations/shop/deactivate")
    found = (await server.ask("GET", "action-maps/each-order/go-live")).json()
    assert (found["actionMap"], found["ready"]) == ("each-order", False)
    checks = {check["name"]: check for check in found["checks"]}
    assert list(checks)[:4] == ["webhook-published", "action-map-active", "integration-active", "data-action-published"]
    assert [checks[name]["status"] for name in list(checks)[:4]] == ["pass", "pass", "fail", "pass"]
    assert "integrations/shop/activate" in checks["integration-active"]["fix"]
    assert checks["credentials-present"]["status"] == "fail"
    assert "ACTIONMAP_SECRET_SIGN" in checks["credentials-present"]["message"]
    assert "ACTIONMAP_SECRET_SHOP" not in checks["credentials-present"]["message"]
    everything = (await server.ask("GET", "go-live")).json()
    assert [one["actionMap"] for one in everything] == ["each-order", "first-visit"]


# --- all definitions at once


async def test_the_set_that_is_read_can_be_put_back_and_changes_nothing(server: Server) -> None:
    read = (await server.ask("GET", "definitions")).json()
    assert len(read["definitions"]) == 6
    put = await server.ask("PUT", "definitions", json=read)
    assert put.status_code == 200
    assert {change["action"] for change in put.json()["changes"]} == {"unchanged"}
    assert put.json()["revision"] == read["revision"]


async def test_a_dry_run_tells_what_would_change_and_changes_nothing(server: Server) -> None:
    before = await server.store.definitions.changes(Revision(-1))
    wanted = {"definitions": [{**RULES[2], "description": "new text"}, {**SEGMENT, "name": "new"}]}
    answer = await server.ask("PUT", "definitions", key="key-read", json=wanted, params={"dryRun": True})
    changes = {(change["action"], change["name"]): change["diff"] for change in answer.json()["changes"]}
    assert set(changes) == {("version", "tell-shop"), ("create", "new")}
    assert any("+description: new text" in line for line in changes["version", "tell-shop"])
    assert await server.store.definitions.changes(Revision(-1)) == before


async def test_a_dry_run_takes_the_right_to_edit_only_where_a_secret_is_written_out(server: Server) -> None:
    def with_auth(type_: str, **auth: str) -> dict[str, Any]:
        return {**RULES[0], "auth": {"type": type_, **auth}, "signing": {"scheme": "none"}}

    reference = "${ACTIONMAP_SECRET_X}"
    oauth = {"tokenUrl": "https://login.example.com/token", "clientId": "us", "scope": "all"}
    for one, status in (
        (RULES[0], 200), (with_auth("none"), 200), (with_auth("bearer", token=reference), 200),
        (with_auth("bearer", token=SECRET), 403), (with_auth("apiKey", header="x-key", value=reference), 200),
        (with_auth("apiKey", header="x-key", value=SECRET), 403),
        (with_auth("oauth2ClientCredentials", **oauth, clientSecret=reference), 200),
        (with_auth("oauth2ClientCredentials", **oauth, clientSecret=SECRET), 403),
        (with_auth("basic", username=reference, password=SECRET), 403),
        ({**RULES[0], "signing": {"scheme": "xHubSignature256", "secret": SECRET}}, 403),
    ):  # fmt: skip
        wanted = {"definitions": [one, *RULES[1:], SEGMENT]}
        answer = await server.ask("PUT", "definitions", "key-read", json=wanted, params={"dryRun": True})
        assert answer.status_code == status, (one, answer.text)
        edited = await server.ask("PUT", "definitions", "key-edit", json=wanted, params={"dryRun": True})
        assert edited.status_code == 200, (one, edited.text)


async def test_a_name_that_stands_in_a_set_twice_is_said_without_a_place(server: Server) -> None:
    answer = await server.ask("PUT", "definitions", json={"definitions": [IDLE, {**IDLE, "description": "other"}]})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"subject": "Segment idle", "path": "name", "message": "Segment 'idle' stands in this set twice"}
    ]


async def test_only_prune_deletes_what_is_not_given(server: Server) -> None:
    kept = await server.ask("PUT", "definitions", json={"definitions": [SEGMENT]})
    assert [change["action"] for change in kept.json()["changes"]] == ["unchanged"]
    assert len(server.registry.definitions) == 6
    pruned = await server.ask("PUT", "definitions", json={"definitions": [SEGMENT]}, params={"prune": True})
    assert sorted(change["action"] for change in pruned.json()["changes"]) == ["delete"] * 5 + ["unchanged"]
    assert list(server.registry.definitions) == ["Segment/regular"]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_set_with_one_mistake_changes_nothing_at_all(dry_run: bool, server: Server) -> None:
    before = await server.store.definitions.changes(Revision(-1))
    wanted = [{**SEGMENT, "name": "fine"}, {**RULES[3], "action": {"webhook": "nowhere"}}]
    answer = await server.ask("PUT", "definitions", json={"definitions": wanted}, params={"dryRun": dry_run})
    assert answer.status_code == 422
    assert "nowhere" in answer.json()["errors"][0]["message"]
    assert await server.store.definitions.changes(Revision(-1)) == before


# --- who may, and what is taken


RIGHTS: list[tuple[str, str, str]] = [
    ("read", "GET", "segments"),
    ("read", "GET", "segments/regular"),
    ("read", "GET", "definitions"),
    ("read", "GET", "go-live"),
    ("read", "GET", "action-maps/each-order/go-live"),
    ("read", "GET", "deliveries"),
    ("read", "GET", "dead-letters"),
    ("read", "GET", "status"),
    ("read", "PUT", "definitions?dryRun=true"),
    ("edit", "PUT", "definitions"),
    ("edit", "POST", "segments"),
    ("edit", "PUT", "segments/idle"),
    ("edit", "DELETE", "segments/idle"),
    ("publish", "POST", "integrations/shop/deactivate"),
    ("publish", "POST", "segments/regular/deactivate"),
    ("publish", "POST", "segments/regular/activate"),
    ("publish", "POST", "webhooks/tell-shop/publish"),
    ("publish", "POST", "webhooks/tell-shop/archive"),
    ("read", "POST", "webhooks/tell-shop/test"),
    ("publish", "POST", "deliveries/replay"),
    ("ingest", "POST", "/v1/events"),
]


@pytest.mark.parametrize(("right", "method", "path"), RIGHTS)
async def test_without_a_key_or_without_its_right_nothing_is_answered(
    right: str, method: str, path: str, server: Server
) -> None:
    before = await server.store.definitions.changes(Revision(-1))
    body = {"json": {"definitions": []}} if "definitions" in path else {"json": IDLE}
    for key in (None, "key-nobody-knows"):
        answer = await server.ask(method, path, key=key, **body)
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["www-authenticate"]
        assert "key-nobody" not in answer.text
    for key, rights in KEYS.items():
        if right not in rights:
            answer = await server.ask(method, path, key=key, **body)
            assert answer.status_code == 403
            assert right in answer.json()["detail"]
    assert await server.store.definitions.changes(Revision(-1)) == before


@pytest.mark.parametrize(("right", "method", "path"), [row for row in RIGHTS if row[0] != "ingest"])
async def test_with_its_right_every_request_passes_the_door(right: str, method: str, path: str, server: Server) -> None:
    body: dict[str, Any] = {"json": {"definitions": []}} if "definitions" in path else {"json": IDLE}
    if path.endswith(("/test", "/replay")):
        body = {"json": {}}
    await server.registry.change(definitions([IDLE]))
    key = next(key for key, rights in KEYS.items() if right in rights)
    answer = await server.ask(method, path, key=key, **(body if method in ("POST", "PUT") else {}))
    assert answer.status_code in (200, 201, 204, 409)


#: Kind in URLs → what in it makes a definition of that kind live, and what does not; no integration is ever not.
STATES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "integrations": ({"active": True}, None),
    "data-actions": ({"state": "published"}, {"state": "draft"}),
    "webhooks": ({"state": "published"}, {"state": "draft"}),
    "segments": ({"active": True}, {"active": False}),
    "action-maps": ({"active": True}, {"active": False}),
}


async def _changes(server: Server, plural: str, before: dict[str, Any] | None, after: dict[str, Any] | None,
                   key: str) -> list[int]:  # fmt: skip
    """The status of one and the same change, asked for in each way there is."""
    statuses = []
    kind = next(some.kind_name for name, some in KINDS.items() if PLURALS[name] == plural)
    for way in ("alone", "in the set"):
        if before is not None:
            assert (await server.ask("POST", plural, json=before)).status_code == 201
        if way == "in the set":
            rest = (await server.ask("GET", "definitions")).json()["definitions"]
            rest = [one for one in rest if (one["kind"], one["name"]) != (kind, "new")]
            wanted = {"definitions": [*rest, *([{"kind": kind, **after}] if after else [])]}
            answer = await server.ask("PUT", "definitions", key=key, json=wanted, params={"prune": True})
        elif after is None:
            answer = await server.ask("DELETE", f"{plural}/new", key=key)
        elif before is None:
            answer = await server.ask("POST", plural, key=key, json=after)
        else:
            answer = await server.ask("PUT", f"{plural}/new", key=key, json=after)
        statuses.append(answer.status_code)
        if answer.status_code == 403:
            assert answer.json()["detail"] == "this key has no right to publish"
        await server.ask("DELETE", f"{plural}/new")
    return statuses


@pytest.mark.parametrize("plural", NEW)
async def test_what_is_or_becomes_live_is_changed_with_the_right_to_publish_alone(plural: str, server: Server) -> None:
    live, idle = ({**NEW[plural], **state} if state is not None else None for state in STATES[plural])
    assert live is not None
    steps: list[tuple[Any, Any]] = [(None, live), (live, None), (idle, live)]
    if "state" not in live:
        steps.append((live, {**live, "description": "other"}))
    if plural != "action-maps":  # one that is switched off and in no group lets nothing fire
        steps.append((live, idle) if "state" not in live else (None, live))
    for before, after in steps:
        if before or after:
            assert await _changes(server, plural, before, after, "key-edit") == [403, 403]
            assert set(await _changes(server, plural, before, after, "key-all")) <= {200, 201, 204}


@pytest.mark.parametrize("plural", [plural for plural, (_, idle) in STATES.items() if idle])
async def test_what_is_not_live_is_changed_with_the_right_to_edit(plural: str, server: Server) -> None:
    idle = {**NEW[plural], **(STATES[plural][1] or {})}
    for before, after in ((None, idle), (idle, {**idle, "description": "other"}), (idle, None)):
        assert set(await _changes(server, plural, before, after, "key-edit")) <= {200, 201, 204}


@pytest.mark.parametrize("plural", ["webhooks", "data-actions"])
async def test_a_draft_beside_what_is_published_takes_the_right_to_edit_and_to_publish_it_the_other_one(
    plural: str, server: Server
) -> None:
    await server.ask("POST", plural, json=NEW[plural])
    edited = await server.ask("PATCH", f"{plural}/new", key="key-edit", json={"description": "other"})
    assert (edited.status_code, edited.json()["draft"]["description"]) == (200, "other")
    assert "description" not in edited.json()
    for verb, body in (("publish", None), ("patch", {"state": "published"})):
        refused = await (
            server.ask("POST", f"{plural}/new/{verb}", key="key-edit")
            if body is None
            else server.ask("PATCH", f"{plural}/new", key="key-edit", json=body)
        )
        assert (refused.status_code, refused.json()["detail"]) == (403, "this key has no right to publish")
    published = await server.ask("POST", f"{plural}/new/publish", key="key-publish")
    assert (published.json()["description"], published.json()["draft"]) == ("other", None)


async def test_a_published_webhook_is_not_archived_by_replacing_it_without_the_right_to_publish(server: Server) -> None:
    archived = {**RULES[2], "state": "archived"}
    assert (await server.ask("PUT", "webhooks/tell-shop", key="key-edit", json=archived)).status_code == 403


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "http://actionmap:8081"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://actionmap"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
    ],
)
async def test_a_page_of_another_site_changes_nothing_even_where_no_key_is_needed(
    headers: dict[str, str], is_refused: bool
) -> None:
    server = Server(open_access=True)
    await server.registry.change(definitions([*RULES, SEGMENT]))
    text = {"Content-Type": "text/plain", **headers}
    answer = await server.ask("POST", "integrations/shop/deactivate", key=None, headers=text)
    assert answer.status_code == (403 if is_refused else 200)
    assert (await server.ask("DELETE", "action-maps/each-order", key=None, headers=headers)).is_success != is_refused
    assert (await server.ask("GET", "segments", key=None, headers=headers)).status_code == 200
    event = {"eventName": "order", "visitorId": "v"}
    assert (
        await server.ask("POST", "/v1/events", key=None, json=event, headers=headers)
    ).status_code == 503  # no Kafka


async def test_what_a_link_or_a_browser_can_carry_is_no_key_for_definitions(server: Server) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(b"key-all:").decode()}
    assert (await server.ask("GET", "segments", key=None, headers=basic)).status_code == 401
    assert (await server.ask("GET", "segments?key=key-all", key=None)).status_code == 401
    assert (await server.ask("GET", "segments", key=None, headers={"X-API-Key": "key-all"})).status_code == 200


async def test_a_body_that_does_not_come_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_TIMEOUT_S", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await server.ask("POST", "segments", content=slow(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 408


async def test_a_caller_who_hangs_up_is_no_bug(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[Any] = []
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/api/v1/segments",
        "query_string": b"", "headers": [(b"authorization", b"Bearer key-all"), (b"content-type", b"application/json")],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await server.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_is_not_declared_as_json_is_not_taken(content_type: str, server: Server) -> None:
    body = json.dumps({**SEGMENT, "name": "new"})
    answer = await server.ask("POST", "segments", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_is_not_taken(body: bytes, server: Server) -> None:
    for method, path in (("POST", "segments"), ("PUT", "definitions")):
        answer = await server.ask(method, path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400


@pytest.mark.parametrize("body", [[], 1, None, "text", {"definitions": 1}, {"definitions": [1]}, {}])
async def test_json_that_is_no_definition_is_refused_in_words(body: Any, server: Server) -> None:
    for method, path in (("POST", "segments"), ("PUT", "segments/regular"), ("PUT", "definitions")):
        answer = await server.ask(method, path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.json()["detail"]


async def test_a_body_that_is_too_large_is_not_read_to_its_end(server: Server) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1024 * 1024
            yield b" " * (1024 * 1024)

    answer = await server.ask("POST", "segments", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert read <= MAX_BODY_BYTES + 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PATCH", "definitions", 405), ("GET", "segments?limit=0", 422),
     ("GET", "segments?limit=many", 422), ("GET", "deliveries?limit=100000", 422)],
)  # fmt: skip
async def test_every_refusal_is_a_problem_document(method: str, path: str, status: int, server: Server) -> None:
    answer = await server.ask(method, path)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert status != 405 or answer.headers["allow"] == "GET, PUT"


# --- looking in


def owed(id_: str, **more: Any) -> Delivery:
    return Delivery(
        id=id_, integration="shop", webhook="tell-shop", action_map="each-order", visitor_id="v", event_id="e",
        at=more.pop("at", 1_700_000_000_123), owed_at=1, method="POST", target="/told",
        headers={"X-Source": "web"}, body='{"n":1}', **more,
    )  # fmt: skip


async def test_deliveries_and_dead_letters_are_listed_without_secrets(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setenv("ACTIONMAP_SECRET_SHOP", "s3cret-value")
    lost = DeadLetter(id="events/1/5", kind="record", reason="malformed-json", detail="no JSON", at=5, value="{")
    given_up = DeadLetter(id="dead", kind="delivery", reason="attempts-exhausted", detail="503", at=9,
                          delivery=owed("dead", attempts=8, last_error="503"))  # fmt: skip
    await server.store.claim(1, owner="me", token="t0", cluster="c", partitions=2)
    await server.store.apply(1, Commit(expected_token="t0", token="t1", offset=0, revision=1, stream_time=0,
                                       deliveries=[owed("new"), owed("tried", attempts=2, last_error="timeout")],
                                       dead_letters=[lost, given_up]))  # fmt: skip

    listed = await server.ask("GET", "deliveries", key="key-read")
    rows = {row["id"]: row for row in listed.json()["items"]}
    assert {id_: row["state"] for id_, row in rows.items()} == {"new": "owed", "tried": "retrying", "dead": "dead"}
    request = rows["new"]["request"]
    assert (rows["new"]["actionMap"], rows["new"]["visitorId"]) == ("each-order", "v")
    assert rows["new"]["at"] == "2023-11-14T22:13:20.123Z"
    assert (request["method"], request["url"]) == ("POST", "https://shop.example.com/told")
    assert request["headers"]["Authorization"] == "Basic ***"
    assert request["headers"]["webhook-id"] == "new"
    assert rows["tried"]["attempts"] == 2

    letters = await server.ask("GET", "dead-letters", key="key-read")
    assert [letter["id"] for letter in letters.json()["items"]] == ["dead", "events/1/5"]
    assert letters.json()["items"][0]["delivery"]["request"]["headers"]["Authorization"] == "Basic ***"
    for answer in (listed, letters):
        assert "s3cret" not in answer.text
        assert len((await server.ask("GET", answer.url.path, params={"limit": 1})).json()["items"]) == 1


async def _apply(server: Server, partition: int, **more: Any) -> None:
    await server.store.claim(partition, owner="me", token="t0", cluster="c", partitions=2)
    await server.store.apply(partition, Commit(expected_token="t0", token="t1", offset=0, revision=1, stream_time=0,
                                               **more))  # fmt: skip


async def test_deliveries_of_all_partitions_are_listed_newest_first(server: Server) -> None:
    for partition in (0, 1):
        await _apply(server, partition, deliveries=[owed(f"{number}", at=number) for number in range(partition, 20, 2)])
    listed = (await server.ask("GET", "deliveries", params={"limit": 5})).json()["items"]
    assert [row["id"] for row in listed] == ["19", "18", "17", "16", "15"]


async def test_a_dead_delivery_is_not_hidden_behind_newer_dead_records(server: Server) -> None:
    records = [DeadLetter(id=f"events/0/{number}", kind="record", reason="malformed-json", detail="", at=1000 + number)
               for number in range(1500)]  # fmt: skip
    given_up = DeadLetter(id="dead", kind="delivery", reason="attempts-exhausted", detail="", at=9,
                          delivery=owed("dead"))  # fmt: skip
    await _apply(server, 0, dead_letters=[given_up, *records])
    listed = (await server.ask("GET", "deliveries", params={"limit": 10})).json()["items"]
    assert [(row["id"], row["state"]) for row in listed] == [("dead", "dead")]


async def test_status_tells_how_far_each_partition_is(server: Server) -> None:
    await server.store.claim(1, owner="me", token="t0", cluster="c", partitions=2)
    await server.store.apply(1, Commit(expected_token="t0", token="t1", offset=41, revision=1, stream_time=1000,
                                       deliveries=[owed("a")]))  # fmt: skip
    found = (await server.ask("GET", "status")).json()
    assert found["partitions"] == [{"partition": 1, "offset": 41, "owner": "me", "revision": 1,
                                    "streamTime": "1970-01-01T00:00:01.000Z", "lag": 0, "outbox": 1,
                                    "outboxByIntegration": {"shop": 1}, "parkedByIntegration": {},
                                    "halted": None}]  # fmt: skip
    assert (found["status"], found["activeMaps"], found["lag"]) == ("ready", 2, {"0": 7})


async def test_one_delivery_and_one_dead_letter_are_shown_by_their_ids(server: Server) -> None:
    given_up = DeadLetter(
        id="dead", kind="delivery", reason="attempts-exhausted", detail="", at=9, delivery=owed("dead")
    )
    record = DeadLetter(id="events/1/5", kind="record", reason="malformed-json", detail="why", at=8, value="{")
    await _apply(server, 1, deliveries=[owed("a")], dead_letters=[given_up, record])
    for id_, state in (("a", "owed"), ("dead", "dead")):
        shown = await server.ask("GET", f"deliveries/{id_}", key="key-read")
        assert (shown.status_code, shown.json()["state"]) == (200, state)
    shown = await server.ask("GET", "dead-letters/events/1/5", key="key-read")
    assert (shown.json()["reason"], shown.json()["detail"], shown.json()["value"]) == ("malformed-json", "why", "{")
    assert (await server.ask("GET", "deliveries/none")).status_code == 404
    assert (await server.ask("GET", "dead-letters/events/1/6")).status_code == 404
    listed = await server.ask("GET", "dead-letters", params={"reason": "malformed-json"})
    assert [row["id"] for row in listed.json()["items"]] == ["events/1/5"]


async def test_a_dead_delivery_is_owed_again_with_its_id_its_body_and_all_its_attempts(server: Server) -> None:
    tried = replace(owed("dead"), attempts=8, last_error="status 503")
    given_up = DeadLetter(id="dead", kind="delivery", reason="attempts-exhausted", detail="", at=9, delivery=tried)
    await _apply(server, 1, dead_letters=[given_up])
    answer = await server.ask("POST", "dead-letters/replay", key="key-publish", json={"ids": ["dead", "dead", "none"]})
    assert answer.json()["items"] == [
        {"id": "dead", "replayed": True, "detail": ""},
        {"id": "none", "replayed": False, "detail": "there is no dead letter none"},
    ]
    (again,) = await server.store.owed(1, limit=9)
    assert (again.id, again.body, again.attempts, again.last_error) == ("dead", tried.body, 0, None)
    assert await server.store.dead_letters(1, limit=9) == []


async def test_a_record_that_kafka_has_no_more_stays_a_dead_letter(server: Server) -> None:
    record = DeadLetter(id="events/1/5", kind="record", reason="malformed-json", detail="why", at=8, value="{")
    other = replace(record, id="events@former/1/5")
    await _apply(server, 1, dead_letters=[record, other])
    answer = await server.ask("POST", "dead-letters/replay", json={"ids": [record.id, other.id]})
    assert [(row["replayed"], row["detail"].partition(";")[0]) for row in answer.json()["items"]] == [
        (False, "Kafka has the record no more"), (False, "its log events@former is gone"),
    ]  # fmt: skip
    assert len(await server.store.dead_letters(1, limit=9)) == 2


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "a"}, {"ids": [1]}, [], {"ids": ["a"] * 1001}])
async def test_what_to_replay_is_said_by_ids(body: Any, server: Server) -> None:
    assert (await server.ask("POST", "dead-letters/replay", json=body)).status_code == 422


async def test_a_halted_partition_is_told_how_to_go_on(server: Server) -> None:
    async def ask(path: str, body: Any, key: str = "key-publish") -> int:
        return (await server.ask("POST", f"partitions/{path}/resume", key=key, json=body)).status_code

    assert await ask("1", {"policy": "continue"}) == 409
    await server.store.halt(1, Halt("truncated", "events/1: truncated: …", 1000))
    assert await ask("1", {"policy": "ignore"}) == 422
    assert await ask("2", {"policy": "continue"}) == 404
    assert await ask("1", {"policy": "rebuild"}, key="key-edit") == 403
    assert (await server.store.fence(1)).resume is None
    assert await ask("1", {"policy": "rebuild"}) == 200
    assert (await server.store.fence(1)).resume == "rebuild"


async def test_status_tells_which_partitions_halted_why_and_how_to_go_on(server: Server) -> None:
    await server.store.halt(1, Halt("truncated", "events/1: truncated: …", 1000))
    found = (await server.ask("GET", "status")).json()
    assert found["status"] == "not ready"
    assert found["problems"] == ["partition halted: events/1: truncated: …"]
    assert found["partitions"][0]["halted"] == {
        "reason": "truncated", "detail": "events/1: truncated: …", "at": "1970-01-01T00:00:01.000Z",
    }  # fmt: skip


async def test_health_and_metrics_need_no_key_and_tell_what_is_wrong(server: Server) -> None:
    assert (await server.ask("GET", "/health/live", key=None)).status_code == 200
    assert (await server.ask("GET", "/health/ready", key=None)).json()["status"] == "ready"
    assert "actionmap_partition_lag" in (await server.ask("GET", "/metrics", key=None)).text
    server.problems.append("partition halted: recreated")
    app = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=app, base_url="http://actionmap") as client:
        answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["partition halted: recreated"]


# --- the description


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in _references(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in _references(inner)]
    return []


async def test_the_openapi_document_lists_every_route_and_its_references_resolve(server: Server) -> None:
    document = (await server.ask("GET", "/openapi.json", key=None)).json()
    paths = set(document["paths"])
    one: Callable[[str], set[str]] = lambda plural: {f"/api/v1/{plural}", f"/api/v1/{plural}/{{name}}"}  # noqa: E731
    assert set().union(*map(one, NEW)) <= paths
    assert {
        "/v1/events", "/health/live", "/health/ready", "/metrics", "/api/v1/definitions", "/api/v1/go-live",
        "/api/v1/action-maps/{name}/go-live", "/api/v1/deliveries", "/api/v1/dead-letters", "/api/v1/status",
        "/api/v1/webhooks/{name}/publish", "/api/v1/webhooks/{name}/archive", "/api/v1/data-actions/{name}/publish",
        "/api/v1/integrations/{name}/activate", "/api/v1/action-maps/{name}/deactivate",
    } <= paths  # fmt: skip
    served = {route.path for route in server.app.routes if hasattr(route, "methods")}
    assert served - paths <= {"/openapi.json", "/docs", "/docs/oauth2-redirect"}
    for reference in _references(document):
        place: Any = document
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            place = place[part]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation["summary"] and operation["responses"] for operation in operations)
    for plural in NEW:
        for path, method in ((f"/api/v1/{plural}", "post"), (f"/api/v1/{plural}/{{name}}", "put")):
            schema = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
            assert schema["$ref"].startswith("#/components/schemas/")


async def test_status_tells_the_lag_of_partitions_that_others_consume(server: Server) -> None:
    for partition in (0, 1):
        await server.store.claim(partition, owner="w", token=f"t{partition}", cluster="c", partitions=2)

    rows = (await server.ask("GET", "status")).json()["partitions"]

    assert [(row["partition"], row["lag"]) for row in rows] == [(0, 7), (1, 12)]


# --- why, and visitors


async def remember(server: Server, visitor_id: str, *names: str) -> None:
    """Let the store hold a visitor after events with these names."""
    visitor = None
    for number, name in enumerate(names):
        given = {"eventName": name, "visitorId": visitor_id}
        record = Record("events", 0, number, 1_790_000_000_000 + number * 1000, None, json.dumps(given).encode())
        server.records[number] = record
        visitor = decide(parse_record(record).event, visitor, server.registry.rulebook, -1, Policy()).visitor
    assert visitor is not None
    partition = partition_of(visitor_id.encode(), 2)
    await server.store.claim(partition, owner="w", token="t0", cluster="c", partitions=2)
    commit = Commit(expected_token="t0", token="t", offset=0, revision=1, stream_time=0,
                    visitors=[(visitor_id, encode_visitor(visitor))])  # fmt: skip
    assert (await server.store.apply(partition, commit)).status == "ok"


@pytest.mark.parametrize("visitor_id", ["ann", "bob", "käthe"])
async def test_a_visitor_is_explained_by_what_the_store_holds(visitor_id: str, server: Server) -> None:
    await remember(server, visitor_id, "order", "visit")
    found = (await server.ask("GET", "action-maps/each-order/explain", params={"visitorId": visitor_id})).json()
    assert (found["visitorId"], found["eventName"], found["verdict"]["reason"]) == (
        visitor_id,
        "visit",
        "condition-false",
    )
    everything = (await server.ask("GET", "explain", params={"visitorId": visitor_id})).json()
    assert [one["actionMap"] for one in everything] == sorted(server.registry.rulebook.by_name)
    server.records.clear()
    gone = await server.ask("GET", "explain", params={"visitorId": visitor_id})
    assert (gone.status_code, "no more; give an event" in gone.json()["detail"]) == (404, True)


async def test_an_event_is_explained_after_those_before_it_and_changes_nothing(server: Server) -> None:
    await remember(server, "ann", "visit")
    events = [{"eventName": "visit", "visitorId": "ann"}, {"eventName": "order", "visitorId": "ann"}]
    found = (await server.ask("POST", "action-maps/each-order/explain", json={"events": events})).json()
    assert found["verdict"]["reason"] == "fired"
    assert (await server.ask("POST", "explain", json={"events": events})).json()[0]["actionMap"] == "each-order"
    again = (await server.ask("GET", "action-maps/each-order/explain", params={"visitorId": "ann"})).json()
    assert again["eventName"] == "visit"


async def test_the_outcome_of_a_delivery_is_explained_by_what_it_would_teach(server: Server) -> None:
    after = {"all": [{"event": "webhook_succeeded"}, {"key": "visitor.variables.lead", "operator": "exists"}]}
    chained = {**RULES[3], "name": "after-lead", "trigger": after}
    assert (await server.ask("POST", "action-maps", json=chained)).status_code == 201
    for attributes, reason in (({"lead": 7}, "fired"), ({"status": 200}, "condition-false")):
        given = {"eventName": "webhook_succeeded", "visitorId": "ann", "attributes": attributes}
        [found] = (await server.ask("POST", "explain", json={"events": [given]})).json()
        assert (found["actionMap"], found["verdict"]["reason"]) == ("after-lead", reason)
    await remember(server, "ann", "visit")
    now = await server.ask("GET", "action-maps/after-lead/explain", params={"visitorId": "ann"})
    assert "it fires at webhook_succeeded, not at the visitor's latest event" in now.json()["verdict"]["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, ("body.events", "Field required")),
        ({"events": []}, ("body.events", "at least 1 item")),
        ({"events": [{"eventName": "a"}]}, ("body.events.0", "invalid-field")),
        ({"events": [{"eventName": "a", "visitorId": "v"}, {"eventName": "a", "visitorId": "w"}]},
         ("body.events", "of one visitor")),
        ({"events": ["a"]}, ("body.events.0", "valid dictionary")),
    ],
)  # fmt: skip
async def test_what_is_no_event_cannot_be_explained(body: Any, said: tuple[str, str], server: Server) -> None:
    answer = await server.ask("POST", "action-maps/each-order/explain", json=body)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["path"], said[1] in error["message"]) == (422, said[0], True)


async def test_who_and_what_is_unknown_cannot_be_explained(server: Server) -> None:
    nobody = await server.ask("GET", "explain", params={"visitorId": "nobody"})
    assert (nobody.status_code, nobody.json()["detail"]) == (404, "there is no visitor 'nobody'")
    events = {"events": [{"eventName": "a", "visitorId": "v"}]}
    assert (await server.ask("POST", "action-maps/each-ordr/explain", json=events)).status_code == 404
    assert (await server.ask("GET", "explain", key="key-ingest", params={"visitorId": "v"})).status_code == 403


@pytest.mark.parametrize(
    ("segment", "status", "said"),
    [
        ("unknown", 404, "there is no Segment"),
        (SEGMENT["name"], 409, "follows its when"),
        ("off", 409, "inactive"),
        ("vip", 503, "not connected"),
    ],
)
async def test_only_an_active_external_segment_is_assigned(
    segment: str, status: int, said: str, server: Server
) -> None:
    for name, active in (("vip", True), ("off", False)):
        made = {"kind": "Segment", "name": name, "external": True, "active": active}
        assert (await server.ask("POST", "segments", json=made)).status_code == 201
    for method in ("PUT", "DELETE"):
        answer = await server.ask(method, f"visitors/ann/segments/{segment}")
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert (await server.ask("PUT", "visitors/ann/segments/vip", key="key-read")).status_code == 403


# --- secrets written out


async def test_a_secret_that_is_written_out_is_answered_masked_and_kept_by_its_mask(server: Server) -> None:
    auth = {"type": "bearer", "token": "s3cret-value"}
    new = {**NEW["integrations"], "auth": auth}
    created = await server.ask("POST", "integrations", json=new)
    assert created.status_code == 201
    mask = created.json()["auth"]["token"]
    assert mask.startswith("********-")
    for token, description in (("s3cret-value", "b"), (mask, "c"), ("********", "d")):
        body = {**new, "auth": {**auth, "token": token}, "description": description}
        replaced = await server.ask("PUT", "integrations/new", json=body)
        assert replaced.json()["auth"]["token"] == mask
    stored = await server.store.definitions.changes(Revision(-1))
    shown = [(await server.ask("GET", path)).text for path in ("integrations/new", "integrations", "definitions")]
    assert not any("s3cret" in str(text) for text in (*shown, stored.definitions["Integration/new"]))
    assert all(mask in text for text in shown)


async def test_a_mask_of_nothing_is_refused_with_the_place(server: Server) -> None:
    new = {**NEW["integrations"], "auth": {"type": "bearer", "token": "********"}}
    for refused in (
        await server.ask("POST", "integrations", json=new),
        await server.ask("PUT", "definitions?dryRun=true", json={"definitions": [{"kind": "Integration", **new}]}),
    ):
        assert refused.status_code == 422
        (error,) = refused.json()["errors"]
        assert (error["subject"], error["path"]) == ("Integration new", "auth.token")


async def test_only_who_may_publish_rotates_secrets(server: Server) -> None:
    assert (await server.ask("POST", "secrets/rotate", "key-edit")).status_code == 403
    rotated = await server.ask("POST", "secrets/rotate", "key-publish")
    assert rotated.json() == {"integrations": 0, "revision": server.registry.revision}

"""Versions, drafts, lost updates, patches, companies and keys, over REST."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from test_admin import NEW, RULES, SEGMENT, Server, remember

from actionmap.settings import ApiKey, hash_of_key
from support import definitions

EVERYTHING = frozenset({"read", "edit", "publish"})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.registry.change(definitions([*RULES, SEGMENT]))
    yield server


async def done(server: Server, method: str, path: str, key: str = "key-all", **more: Any) -> Any:
    answer = await server.ask(method, path, key, **more)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def as_match(version: Any) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


# --- drafts and versions


async def test_an_edit_of_a_published_webhook_takes_over_when_it_is_published_and_no_map_is_touched(
    server: Server,
) -> None:
    edited = await done(
        server, "PATCH", "webhooks/tell-shop", json={"mappings": {"n": {"lookup": None, "default": None, "value": 7}}}
    )
    assert (edited["state"], edited["version"], edited["inForceVersion"]) == ("published", 2, 1)
    assert edited["mappings"]["n"]["lookup"] == "event.attributes.n"
    assert edited["draft"]["mappings"]["n"] == {"value": 7}
    assert edited["draft"]["state"] == "draft"
    before = server.registry.rulebook.by_name["each-order"]

    published = await done(server, "POST", "webhooks/tell-shop/publish", headers=as_match(2))

    assert (published["version"], published["inForceVersion"], published["draft"]) == (3, 3, None)
    assert published["mappings"]["n"] == {"value": 7}
    assert server.registry.versions["ActionMap/each-order"] == 1
    assert server.registry.rulebook.by_name["each-order"].webhook is not before.webhook


async def test_a_patch_that_publishes_leaves_no_draft_behind(server: Server) -> None:
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "other"})
    published = await done(server, "PATCH", "webhooks/tell-shop", json={"state": "published"})
    assert (published["description"], published["inForceVersion"], published["draft"]) == ("other", 3, None)


@pytest.mark.parametrize("path", ["webhooks/tell-shop", "data-actions/tell"])
@pytest.mark.parametrize("text", ["third", "first"])
async def test_what_a_patch_publishes_is_not_taken_back_by_publishing_the_draft_before_it(
    path: str, text: str, server: Server
) -> None:
    """Also where the patch makes of the draft what is in force."""
    await done(server, "PATCH", path, json={"description": "first", "state": "published"})
    await done(server, "PATCH", path, json={"description": "second"})
    published = await done(server, "PATCH", path, json={"description": text, "state": "published"})
    assert (published["description"], published["draft"]) == (text, None)
    assert (await done(server, "POST", f"{path}/publish"))["description"] == text


async def test_definitions_as_code_leave_a_draft_that_is_another_one(server: Server) -> None:
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "draft"})
    await done(server, "PUT", "definitions", json={"definitions": [{**RULES[2], "description": "applied"}]})
    held = await done(server, "GET", "webhooks/tell-shop")
    assert (held["description"], held["draft"]["description"]) == ("applied", "draft")


async def test_a_draft_compiles_nothing_anew(server: Server) -> None:
    before = server.registry.rulebook.by_name["each-order"]
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "other"})
    assert server.registry.rulebook.by_name["each-order"] is before


async def test_a_draft_that_would_not_work_is_refused_with_every_finding(server: Server) -> None:
    mappings = {"n": {"lookup": "event.nowhere"}, "visitor": None}
    answer = await server.ask("PATCH", "webhooks/tell-shop", json={"mappings": mappings})
    assert answer.status_code == 422
    assert {one["path"].split(".")[0] for one in answer.json()["errors"]} == {"mappings"}
    assert len(answer.json()["errors"]) == 2
    assert server.registry.entries["Webhook/tell-shop"].version == 1


async def test_a_draft_can_be_discarded_and_stays_a_version(server: Server) -> None:
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "tried"})
    assert (await done(server, "DELETE", "webhooks/tell-shop/draft"))["draft"] is None
    assert (await server.ask("DELETE", "webhooks/tell-shop/draft")).status_code == 409
    versions = (await done(server, "GET", "webhooks/tell-shop/versions"))["items"]
    assert [(one["version"], one["action"], one["definition"].get("description")) for one in versions] == [
        (3, "discard", None), (2, "draft", "tried"), (1, "create", None),
    ]  # fmt: skip
    assert [one["isInForce"] for one in versions] == [False, False, True]


async def test_the_contract_of_a_published_data_action_is_frozen_and_its_request_is_not(server: Server) -> None:
    contract = {"input": {**RULES[1]["contract"]["input"], "required": []}}
    refused = await server.ask("PATCH", "data-actions/tell", json={"contract": contract})
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["path"] == "contract"
    put = await server.ask("PUT", "definitions", json={"definitions": [{**RULES[1], "contract": contract}]})
    assert put.status_code == 409
    changed = await done(server, "PATCH", "data-actions/tell", json={"request": {"timeoutSeconds": 9}})
    assert changed["draft"]["request"] == {"method": "POST", "path": "/told", "timeoutSeconds": 9}


async def test_versions_are_listed_shown_compared_and_brought_back(server: Server) -> None:
    for text in ("one", "two", "three"):
        await done(server, "PATCH", "segments/regular", json={"description": text})
    page = await done(server, "GET", "segments/regular/versions", params={"limit": 2})
    assert [one["version"] for one in page["items"]] == [4, 3]
    rest = await done(server, "GET", "segments/regular/versions", params={"limit": 2, "before": page["next"]})
    assert [one["version"] for one in rest["items"]] == [2, 1]
    assert rest["next"] is None
    assert (await done(server, "GET", "segments/regular/versions/2"))["definition"]["description"] == "one"
    diff = await done(server, "GET", "segments/regular/versions/2/diff", params={"to": 3})
    assert {"-description: one", "+description: two"} <= set(diff["diff"])
    assert (await server.ask("GET", "segments/regular/versions/9")).status_code == 404

    restored = await done(server, "POST", "segments/regular/versions/2/restore", headers=as_match(4))
    assert (restored["description"], restored["version"]) == ("one", 5)
    stale = await server.ask("POST", "segments/regular/versions/1/restore", headers=as_match(4))
    assert stale.status_code == 412


async def test_what_was_deleted_keeps_its_versions_counts_on_and_can_be_brought_back(server: Server) -> None:
    await done(server, "POST", "webhooks", json=NEW["webhooks"])
    await done(server, "DELETE", "webhooks/new")
    assert (await server.ask("GET", "webhooks/new")).status_code == 404
    [only] = (await done(server, "GET", "webhooks/new/versions"))["items"]
    assert (only["version"], only["isInForce"]) == (1, False)

    restored = await done(server, "POST", "webhooks/new/versions/1/restore")
    assert (restored["version"], restored["state"]) == (2, "draft")

    await done(server, "DELETE", "webhooks/new")
    again = await server.ask("POST", "webhooks", json=NEW["webhooks"])
    assert again.headers["etag"] == '"3"', "a version that somebody has read before means the same for ever"


async def test_an_archived_webhook_comes_back_as_a_draft_by_restoring_a_version(server: Server) -> None:
    await done(server, "POST", "webhooks", json=NEW["webhooks"])
    await done(server, "POST", "webhooks/new/archive")
    for method, path, body in (("PATCH", "webhooks/new", {"description": "x"}), ("POST", "webhooks/new/publish", None)):
        assert (await server.ask(method, path, json=body)).status_code == 409
    assert (await done(server, "POST", "webhooks/new/versions/1/restore"))["state"] == "draft"


async def test_a_duplicate_is_a_draft_or_inactive_so_that_nothing_happens_twice(server: Server) -> None:
    copied = await server.ask("POST", "action-maps/each-order/duplicate", json={"name": "each-order-2"})
    assert (copied.status_code, copied.json()["active"]) == (201, False)
    assert (await done(server, "POST", "webhooks/tell-shop/duplicate", json={"name": "w2"}))["state"] == "draft"
    assert (await done(server, "POST", "integrations/shop/duplicate", json={"name": "shop-2"}))["active"] is False
    assert (await server.ask("POST", "webhooks/tell-shop/duplicate", json={"name": "w2"})).status_code == 409
    assert (await server.ask("POST", "webhooks/tell-shop/duplicate", json={"name": "No Slug"})).status_code == 422
    assert (await server.ask("POST", "webhooks/tell-shop/duplicate", json={})).status_code == 422


async def test_what_only_a_draft_refers_to_is_not_deleted_either(server: Server) -> None:
    await done(server, "POST", "data-actions/tell/duplicate", json={"name": "tell-2"})
    await done(server, "PATCH", "webhooks/tell-shop", json={"dataAction": "tell-2"})
    refused = await server.ask("DELETE", "data-actions/tell-2")
    assert refused.status_code == 409
    assert "Webhook tell-shop" in refused.json()["detail"]


# --- lost updates


async def test_of_many_editors_who_have_read_the_same_version_one_wins_and_no_update_is_lost(server: Server) -> None:
    async def edit(number: int) -> int:
        body = {"description": f"by {number}"}
        answer = await server.ask("PATCH", "segments/regular", json=body, headers=as_match(1))
        return answer.status_code

    statuses = await asyncio.gather(*(edit(number) for number in range(8)))
    assert sorted(statuses) == [200] + [412] * 7
    assert (await done(server, "GET", "segments/regular"))["version"] == 2


async def test_editors_of_different_fields_without_a_version_lose_nothing_of_each_other(server: Server) -> None:
    await done(server, "POST", "action-maps", json={**NEW["action-maps"], "active": False})
    changes: list[dict[str, Any]] = [
        {"description": "d"}, {"priority": "high"}, {"exclusiveGroup": "g"}, {"holdoutPercent": 5},
    ]  # fmt: skip
    await asyncio.gather(*(done(server, "PATCH", "action-maps/new", json=one) for one in changes))
    after = await done(server, "GET", "action-maps/new")
    assert all(after[name] == value for one in changes for name, value in one.items())
    assert after["version"] == 5


async def test_a_server_can_insist_on_the_version_that_was_read() -> None:
    server = Server(requires_if_match=True)
    await server.registry.change(definitions([SEGMENT]))
    for method, body in (("PUT", SEGMENT), ("PATCH", {"description": "x"}), ("DELETE", None)):
        assert (await server.ask(method, "segments/regular", json=body)).status_code == 428
    assert (await server.ask("DELETE", "segments/regular", headers=as_match(1))).status_code == 204


async def test_an_etag_is_taken_as_it_was_given_also_weak_and_in_lists(server: Server) -> None:
    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        answer = await server.ask("POST", "segments/regular/activate", headers={"If-Match": tag})
        assert answer.status_code == 200
    answer = await server.ask("POST", "segments/regular/activate", headers={"If-Match": '"2"'})
    assert answer.status_code == 412


# --- audit


async def test_the_audit_tells_who_did_what_when_and_what_was_before_and_after(server: Server) -> None:
    await done(server, "PATCH", "segments/regular", json={"description": "mine"})
    await done(server, "PATCH", "webhooks/tell-shop", key="key-edit", json={"description": "tried"})
    await done(server, "DELETE", "segments/regular")
    found = (await done(server, "GET", "audit", params={"limit": 3}))["items"]
    assert [(one["action"], one["kind"], one["name"], one["by"]) for one in found] == [
        ("delete", "Segment", "regular", "key-all"),
        ("draft", "Webhook", "tell-shop", "key-edit"),
        ("change", "Segment", "regular", "key-all"),
    ]
    assert (found[2]["before"].get("description"), found[2]["after"]["description"]) == (None, "mine")
    assert (found[0]["before"]["description"], found[0]["after"]) == ("mine", None)
    assert found[1]["after"]["description"] == "tried"
    assert all(one["at"] for one in found)


async def test_the_audit_is_filtered_and_read_page_by_page(server: Server) -> None:
    for number in range(5):
        await done(server, "PATCH", "segments/regular", json={"description": str(number)})
    seen: list[str] = []
    before = ""
    while before is not None:
        page = await done(server, "GET", "audit", params={"name": "regular", "limit": 2, "before": before})
        seen += [one["after"].get("description") for one in page["items"]]
        before = page["next"]
    assert seen == ["4", "3", "2", "1", "0", None]


# --- lists


async def test_lists_are_filtered_searched_and_sorted_and_a_page_follows_the_other(server: Server) -> None:
    for number in range(7):
        await done(server, "POST", "segments", json={**SEGMENT, "name": f"s{number}", "active": number % 2 == 0})
    names: list[str] = []
    after = ""
    while after is not None:
        asked = {"active": "true", "sort": "-name", "limit": 2, "after": after}
        page = await done(server, "GET", "segments", params=asked)
        names += [one["name"] for one in page["items"]]
        after = page["next"]
    assert names == ["s6", "s4", "s2", "s0", "regular"]
    assert [one["name"] for one in (await done(server, "GET", "webhooks", params={"dataAction": "tell"}))["items"]] == [
        "tell-shop"
    ]
    assert (await done(server, "GET", "action-maps", params={"search": "ORDER"}))["total"] == 1
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "x"})
    assert (await done(server, "GET", "webhooks", params={"hasDraft": "true"}))["total"] == 1
    for wrong in ({"sort": "colour"}, {"colour": "red"}, {"limit": 0}):
        assert (await server.ask("GET", "segments", params=wrong)).status_code == 422
    assert (await server.ask("GET", "segments", params={"after": "made up"})).status_code == 400


# --- patches


async def test_a_patch_follows_rfc_7396_and_null_removes(server: Server) -> None:
    await done(server, "PATCH", "integrations/shop", json={"limits": {"concurrency": 3, "maxBodyBytes": 100}})
    after = await done(
        server, "PATCH", "integrations/shop", json={"limits": {"maxBodyBytes": None}},
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip
    assert after["limits"] == {"concurrency": 3}
    assert after["auth"]["password"] == "${ACTIONMAP_SECRET_SHOP}"
    for wrong in ([], "x", {"nowhere": 1}, {"name": "other"}):
        assert (await server.ask("PATCH", "integrations/shop", json=wrong)).status_code in (400, 422)


async def test_what_was_read_can_be_sent_back_unchanged_and_changes_nothing(server: Server) -> None:
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "draft"})
    for path in ("webhooks/tell-shop", "segments/regular", "integrations/shop", "data-actions/tell"):
        read = await done(server, "GET", path)
        assert await done(server, "PUT", path, json=read) == read


# --- keys and companies


def of_company(company: str) -> list[dict[str, Any]]:
    """The rules as those of ``company``, their names with its name before them."""
    text = json.dumps(RULES).replace("ACTIONMAP_SECRET_", f"ACTIONMAP_SECRET_{company.upper()}__")
    for one in RULES:
        text = text.replace(f'"{one["name"]}"', f'"{company}-{one["name"]}"')
    return [{**one, "company": company} for one in json.loads(text)]


async def two_companies() -> Server:
    server = Server()
    names = ("acme", "globex")
    server.keys.take_over({hash_of_key(f"key-{name}"): ApiKey(name, EVERYTHING, name) for name in names})
    await server.registry.change(definitions([one for name in names for one in of_company(name)]))
    return server


#: Everything that a key can read or try, with what it would name of the other company.
ASKED = [
    ("GET", "integrations", None), ("GET", "data-actions", None), ("GET", "webhooks", None),
    ("GET", "action-maps", None), ("GET", "segments", None), ("GET", "definitions", None), ("GET", "audit", None),
    ("GET", "go-live", None),
    ("GET", "status", None), ("GET", "integration-states", None), ("GET", "deliveries", None),
    ("GET", "dead-letters", None), ("GET", "api-keys", None), ("GET", "visitors/v", None),
    ("GET", "webhooks/globex-tell-shop", None), ("GET", "webhooks/globex-tell-shop/versions", None),
    ("GET", "webhooks/globex-tell-sho", None), ("GET", "action-maps/globex-each-order/go-live", None),
    ("GET", "webhooks/globex-tell-shop/versions/1", None), ("GET", "webhooks/globex-tell-shop/versions/1/diff", None),
    ("POST", "webhooks/globex-tell-shop/versions/1/restore", None), ("POST", "webhooks/globex-tell-shop/archive", None),
    ("POST", "webhooks/globex-tell-shop/duplicate", {"name": "mine"}), ("POST", "webhooks/globex-tell-shop/test", {}),
    ("POST", "data-actions/globex-tell/test", {"input": {}}), ("DELETE", "action-maps/globex-each-order", None),
    ("PATCH", "integrations/globex-shop", {"baseUrl": "https://evil.example.com"}),
    ("PUT", "webhooks/globex-tell-shop", {}), ("DELETE", "integrations/globex-shop", None),
    ("POST", "explain", {"events": [{"eventName": "order", "visitorId": "v"}]}),
    ("POST", "action-maps/globex-each-order/explain", {"events": [{"eventName": "order", "visitorId": "v"}]}),
    ("POST", "integrations/globex-shop/pause", None), ("POST", "secrets/rotate", None),
    ("PUT", "definitions?prune=true&dryRun=true", {"definitions": []}),
    ("POST", "simulate", {"events": []}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), ASKED)
async def test_a_key_of_one_company_never_sees_or_changes_what_is_another_s(method: str, path: str, body: Any) -> None:
    server = await two_companies()
    before = dict(server.registry.entries)
    answer: httpx.Response = await server.ask(method, path, key="key-acme", json=body)
    named = path.partition("?")[0].split("/")
    assert "globex" not in answer.text.replace(named[1] if len(named) > 1 else " ", "").lower()
    assert answer.status_code < 500
    if "globex" in path:
        assert answer.status_code in (403, 404), answer.text
    others = {key: entry for key, entry in before.items() if entry.definition.company == "globex"}
    assert others.items() <= server.registry.entries.items()


async def test_a_key_of_a_company_makes_definitions_of_its_own_and_refers_to_its_own_alone() -> None:
    server = await two_companies()
    made = await done(server, "POST", "segments", key="key-acme", json=SEGMENT)
    assert made["company"] == "acme"
    refused = await server.ask("POST", "segments", key="key-acme", json={**SEGMENT, "name": "x", "company": "globex"})
    assert refused.status_code == 403
    taken = await server.ask("POST", "segments", key="key-globex", json=SEGMENT)
    assert taken.status_code == 409
    foreign = {**RULES[3], "name": "mine", "action": {"webhook": "globex-tell-shop"}}
    answer = await server.ask("POST", "action-maps", key="key-acme", json=foreign)
    assert answer.status_code == 422
    assert "there is no Webhook 'globex-tell-shop'" in answer.json()["detail"]
    asks = {**RULES[3], "name": "mine", "trigger": {"segment": "regular"}, "action": {"webhook": "globex-tell-shop"}}
    assert (await server.ask("POST", "action-maps", key="key-globex", json=asks)).status_code == 422


async def test_pruning_with_a_company_s_key_deletes_its_own_alone() -> None:
    server = await two_companies()
    pruned = await done(
        server, "PUT", "definitions", key="key-acme", json={"definitions": []}, params={"prune": "true"}
    )
    assert {change["name"].split("-")[0] for change in pruned["changes"]} == {"acme"}
    assert {entry.definition.company for entry in server.registry.entries.values()} == {"globex"}


async def test_a_key_that_is_made_works_at_once_is_kept_as_a_hash_and_is_refused_once_revoked(server: Server) -> None:
    made = await server.ask("POST", "api-keys", json={"name": "ci", "rights": ["read"], "company": "acme"})
    key = made.json()["key"]
    assert (made.status_code, len(key) > 40) == (201, True)
    assert (await server.ask("GET", "segments", key=key)).json()["items"] == []
    listed = await server.ask("GET", "api-keys")
    assert [(one["name"], one["rights"], one["company"]) for one in listed.json()["items"]] == [
        ("ci", ["read"], "acme")
    ]
    assert key not in listed.text
    assert key.encode() not in repr(await server.store.api_keys.all()).encode()
    assert (await server.ask("POST", "api-keys", json={"name": "ci", "rights": ["read"]})).status_code == 409
    assert (await server.ask("DELETE", "api-keys/ci")).status_code == 204
    assert (await server.ask("GET", "segments", key=key)).status_code == 401


async def test_a_key_makes_none_that_may_do_more_than_itself(server: Server) -> None:
    for key, body in (
        ("key-publish", {"name": "x", "rights": ["edit"]}),
        ("key-edit", {"name": "x", "rights": ["edit"]}),
    ):
        assert (await server.ask("POST", "api-keys", key=key, json=body)).status_code == 403
    made = await done(server, "POST", "api-keys", json={"name": "a", "rights": ["read", "publish"], "company": "acme"})
    beyond = await server.ask(
        "POST", "api-keys", key=made["key"], json={"name": "y", "rights": ["read"], "company": "b"}
    )
    assert beyond.status_code == 403
    within = await done(server, "POST", "api-keys", key=made["key"], json={"name": "y", "rights": ["read"]})
    assert within["company"] == "acme"


async def test_too_many_requests_of_one_key_are_put_off_and_those_of_others_are_not() -> None:
    server = Server(rate=3)
    statuses = [(await server.ask("GET", "segments")).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert int((await server.ask("GET", "segments")).headers["retry-after"]) >= 1
    assert (await server.ask("GET", "segments", key="key-read")).status_code == 200
    assert [(await server.ask("GET", "segments", key=f"guess-{n}")).status_code for n in range(4)] == [401] * 3 + [429]


async def test_a_page_of_another_site_is_let_in_only_when_it_is_named() -> None:
    origin = "https://admin.example.com"
    ask = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
    closed, opened = Server(), Server(origins=[origin])
    assert "access-control-allow-origin" not in (await closed.raw("OPTIONS", "/api/v1/segments", ask)).headers
    assert (await opened.raw("OPTIONS", "/api/v1/segments", ask)).headers["access-control-allow-origin"] == origin
    evil = await opened.raw("OPTIONS", "/api/v1/segments", {**ask, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in evil.headers
    cross = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    assert (await opened.ask("POST", "segments", json=SEGMENT, headers=cross)).status_code == 201
    assert (await closed.ask("POST", "segments", json=SEGMENT, headers=cross)).status_code == 403


# --- what fresh eyes found


async def test_the_name_of_a_deleted_definition_stays_its_company_s_with_its_versions_and_deliveries() -> None:
    server = await two_companies()
    await done(server, "POST", "segments", key="key-acme", json={**SEGMENT, "description": "ACME secret plan"})
    await done(server, "DELETE", "segments/regular", key="key-acme")
    taken = await server.ask("POST", "segments", key="key-globex", json=SEGMENT)
    assert (taken.status_code, "taken by another company" in taken.text) == (409, True)
    for query in ("", "?dryRun=true"):
        put = await server.ask("PUT", f"definitions{query}", key="key-globex", json={"definitions": [SEGMENT]})
        assert (put.status_code, "taken by another company" in put.text) == (409, True)
    for path in ("versions", "versions/1", "versions/1/diff"):
        assert (await server.ask("GET", f"segments/regular/{path}", key="key-globex")).status_code == 404
    assert (await server.ask("POST", "segments/regular/versions/1/restore", key="key-globex")).status_code == 404
    restored = await done(server, "POST", "segments/regular/versions/1/restore", key="key-acme")
    assert (restored["company"], restored["version"]) == ("acme", 2)


async def test_a_definition_stays_its_company_s_whatever_a_file_or_a_patch_says() -> None:
    server = await two_companies()
    moved = await server.ask("PATCH", "webhooks/acme-tell-shop", json={"company": "globex"})
    assert (moved.status_code, moved.json()["errors"][0]["path"]) == (409, "company")
    plain = [{name: value for name, value in one.items() if name != "company"} for one in of_company("acme")]
    planned = await done(server, "PUT", "definitions", json={"definitions": plain}, params={"dryRun": "true"})
    assert {change["action"] for change in planned["changes"]} == {"unchanged"}
    plain[0]["auth"] = {"type": "bearer", "token": "${ACTIONMAP_SECRET_GLOBEX__SHOP}"}
    foreign = await server.ask("PUT", "definitions", json={"definitions": plain})
    assert (foreign.status_code, "begin with ACTIONMAP_SECRET_ACME__" in foreign.text) == (409, True)
    assert server.registry.refused == ""


async def test_pruning_with_a_key_of_no_company_leaves_the_companies_alone_that_the_set_does_not_name() -> None:
    server = await two_companies()
    kept = of_company("acme")[:3]
    pruned = await done(server, "PUT", "definitions", json={"definitions": kept}, params={"prune": "true"})
    gone = {change["name"] for change in pruned["changes"] if change["action"] == "delete"}
    assert gone == {"acme-each-order", "acme-first-visit"}


async def test_a_company_refers_to_secrets_of_its_own_alone() -> None:
    server = await two_companies()
    auth = {"type": "bearer", "token": "${ACTIONMAP_SECRET_GLOBEX__SHOP}"}
    new = {"name": "i", "baseUrl": "https://acme.example.com", "auth": auth}
    refused = await server.ask("POST", "integrations", key="key-acme", json=new)
    assert (refused.status_code, "begin with ACTIONMAP_SECRET_ACME__" in refused.text) == (422, True)
    auth["token"] = "${ACTIONMAP_SECRET_ACME__SHOP}"
    assert (await server.ask("POST", "integrations", key="key-acme", json=new)).status_code == 201


async def test_what_is_remembered_of_visitors_is_not_for_a_company(server: Server) -> None:
    server = await two_companies()
    await remember(server, "ann", "order")
    for method, path, body in (
        ("GET", "explain?visitorId=ann", None),
        ("GET", "action-maps/acme-each-order/explain?visitorId=ann", None),
        ("POST", "webhooks/acme-tell-shop/test", {"visitorId": "ann"}),
    ):
        assert (await server.ask(method, path, key="key-acme", json=body)).status_code == 403
    given = {"events": [{"eventName": "visit", "visitorId": "ann"}]}
    seen = await done(server, "POST", "explain", key="key-acme", json=given)
    assert {one["actionMap"] for one in seen} == {"acme-each-order", "acme-first-visit"}


async def test_each_answer_shows_what_its_own_request_has_written(server: Server) -> None:
    async def edit(number: int) -> tuple[str, Any, str]:
        answer = await server.ask("PATCH", "segments/regular", json={"description": str(number)})
        return str(number), answer.json()["description"], answer.headers["etag"]

    found = await asyncio.gather(*(edit(number) for number in range(30)))
    assert all(sent == shown for sent, shown, _ in found)
    assert len({etag for _, _, etag in found}) == 30


async def test_many_editors_of_different_definitions_are_all_served(server: Server) -> None:
    names = [f"s{number}" for number in range(40)]
    made = await asyncio.gather(*(server.ask("POST", "segments", json={**SEGMENT, "name": name}) for name in names))
    assert {answer.status_code for answer in made} == {201}


@pytest.mark.parametrize("header", ["", " ", ",", '""'])
async def test_an_if_match_that_names_no_version_is_refused(header: str, server: Server) -> None:
    for method in ("PATCH", "DELETE"):
        answer = await server.ask(method, "segments/regular", json={}, headers={"If-Match": header})
        assert answer.status_code == 400


async def test_switching_off_takes_more_where_it_lets_others_fire(server: Server) -> None:
    assert (await server.ask("POST", "segments/regular/deactivate", key="key-edit")).status_code == 403
    grouped = {**NEW["action-maps"], "exclusiveGroup": "sales"}
    await done(server, "POST", "action-maps", json=grouped)
    for method, path, body in (("POST", "/deactivate", None), ("PATCH", "", {"active": False})):
        assert (await server.ask(method, f"action-maps/new{path}", key="key-edit", json=body)).status_code == 403
        alone = await server.ask(method, f"action-maps/each-order{path}", key="key-edit", json=body)
        assert alone.status_code == 200
        await done(server, "POST", "action-maps/each-order/activate")


@pytest.mark.parametrize(("method", "verb", "body"), [("POST", "/archive", None), ("PATCH", "", {"state": "archived"})])
async def test_archiving_takes_the_right_to_edit_of_a_draft_and_to_publish_of_what_is_sent(
    method: str, verb: str, body: Any, server: Server
) -> None:
    await done(server, "POST", "webhooks", json={**NEW["webhooks"], "state": "draft"})
    live = await server.ask(method, f"webhooks/tell-shop{verb}", "key-edit", json=body)
    assert (live.status_code, live.json()["detail"]) == (403, "this key has no right to publish")
    assert (await server.ask(method, f"webhooks/new{verb}", "key-publish", json=body)).status_code == 403
    assert (await done(server, method, f"webhooks/new{verb}", "key-edit", json=body))["state"] == "archived"


async def test_an_archived_webhook_is_archived_as_it_is(server: Server) -> None:
    both = await server.ask("PATCH", "webhooks/tell-shop", json={"state": "archived", "description": "other"})
    assert both.status_code == 409
    assert (await done(server, "PATCH", "webhooks/tell-shop", json={"state": "archived"}))["state"] == "archived"


async def test_a_webhook_with_a_draft_is_archived_as_it_was_in_force(server: Server) -> None:
    await done(server, "PATCH", "webhooks/tell-shop", json={"description": "other"})
    archived = await done(server, "PATCH", "webhooks/tell-shop", json={"state": "archived"})
    assert (archived["state"], "description" in archived, archived["draft"]) == ("archived", False, None)


async def test_a_page_is_not_gone_on_with_in_another_order(server: Server) -> None:
    page = await done(server, "GET", "action-maps", params={"limit": 1})
    wrong = await server.ask("GET", "action-maps", params={"after": page["next"], "sort": "-updatedAt"})
    assert (wrong.status_code, "sorted by name" in wrong.text) == (400, True)

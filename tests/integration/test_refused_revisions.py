"""A stored revision that this version cannot use, as after a downgrade: said everywhere, and nothing changes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from test_admin import SEGMENT, Server

from actionmap.admin.status import Health
from actionmap.app import Parts, highest_judged
from actionmap.registry import Edit, Registry
from actionmap.settings import load_settings
from actionmap.store.definitions import Revision
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Commit, Store
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics
from support import definitions, rules

RULES = definitions([*rules(), SEGMENT])
KEY, NAMED = "Webhook/tell-shop", "Webhook tell-shop"
WHAT_TO_DO = "run the version of actionmap that wrote it, or restore or delete there"
#: What another version, or something else, may have written there, and what is said of it.
STORED: dict[str, tuple[bytes, str]] = {
    "a field of a newer version": (
        b'{"version": 1, "kind": "Webhook", "definition": {"name": "tell-shop", "new": 1}}', "unknown field 'new'"),
    "a kind of a newer version": (b'{"version": 1, "kind": "Journey", "definition": {}}', "there is no kind 'Journey'"),
    "no name": (b'{"version": 1, "kind": "Webhook", "definition": {}}', "the field 'name' is missing"),
    "another form": (b'{"version": 1, "definition": {}}', "missing required field `kind`"),
    "no JSON": (b"written by something else", "JSON is malformed"),
    "no UTF-8": (b'{"version": 1, "kind": "\xff"}', "can't decode byte"),
    "too deep": (b'{"definition": ' + b'{"a": ' * 3000 + b"1" + b"}" * 3001, "maximum recursion depth"),
}  # fmt: skip


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: str, unique: str) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RedisStore(valkey, prefix=unique, clock=lambda: 7)
    yield made
    await made.close()


async def health(store: Store, registry: Registry) -> Health:
    parts = Parts(settings=load_settings(None), store=store, registry=registry, metrics=Metrics(), partitions=2)
    return await parts.health()


@pytest.mark.parametrize("what", STORED)
async def test_health_and_log_name_the_definition_and_what_to_do_and_the_last_good_set_stays(
    what: str, store: Store
) -> None:
    stored, said = STORED[what]
    registry = Registry(store)
    await registry.change(RULES)
    assert not any("not in use" in problem for problem in (await health(store, registry)).problems)
    good = (await store.definitions.changes(Revision(-1))).definitions[KEY]
    assert good is not None
    await store.definitions.write(1, {KEY: stored})

    with capture_logs() as logs:
        assert not await registry.refresh()
        assert not await registry.refresh()

    [told] = [problem for problem in (await health(store, registry)).problems if "not in use" in problem]
    [line] = [line for line in logs if line["event"] == "rulebook.refused"]
    assert (line["revision"], line["in_use"]) == (2, 1)
    for text in (told, line["reason"]):
        assert all(part in text for part in (NAMED, said, WHAT_TO_DO)), text
        assert "\n" not in text
    assert (registry.revision, registry.definitions, len(registry.rulebook.maps)) == (1, RULES, 2)
    fresh = Registry(store)
    assert not await fresh.refresh()
    assert fresh.refused == registry.refused

    await store.definitions.write(2, {KEY: good})
    assert await registry.refresh()
    assert not any("not in use" in problem for problem in (await health(store, registry)).problems)


async def test_of_many_definitions_that_are_of_no_use_some_are_named_and_the_others_counted() -> None:
    store = MemoryStore()
    registry = Registry(store)
    await store.definitions.write(0, {f"Webhook/w{number}": b"" for number in range(9)})
    await registry.refresh()
    assert [f"Webhook w{number}: what is stored" in registry.refused for number in range(9)] == [True] * 5 + [False] * 4
    assert "; 4 more; " in registry.refused


def changes(server: Server) -> list[tuple[str, str, dict[str, Any]]]:
    """One request of each way to change definitions, among them such as would change nothing."""
    own = [some for some in server.registry.definitions.values() if some.company == "acme"]
    same = {"definitions": [{"kind": some.kind_name, **some.as_written()} for some in own]}
    segment = {key: value for key, value in SEGMENT.items() if key != "kind"}
    return [
        ("POST", "segments", {"json": {**segment, "name": "new"}}),
        ("PUT", "segments/acme-regular", {"json": {**segment, "name": "acme-regular", "description": "other"}}),
        ("PATCH", "segments/acme-regular", {"json": {"description": "other"}}),
        ("PATCH", "segments/acme-regular", {"json": {}}),
        ("POST", "segments/acme-regular/deactivate", {}),
        ("POST", "segments/acme-regular/versions/1/restore", {}),
        ("DELETE", "segments/acme-regular", {}),
        ("PUT", "definitions", {"json": same}),
        ("PUT", "definitions", {"json": same, "params": {"dryRun": "true"}}),
        ("PUT", "definitions", {"json": {"definitions": same["definitions"][1:]}, "params": {"prune": "true"}}),
    ]


async def test_every_change_over_rest_is_answered_503_and_names_nothing_of_another_company(store: Store) -> None:
    server = Server(store=store)
    own = {**SEGMENT, "name": "acme-regular", "company": "acme"}
    await server.registry.change({**RULES, **definitions([own])})
    asked = changes(server)
    before = await store.definitions.changes(Revision(-1))
    await store.definitions.write(1, {KEY: STORED["a field of a newer version"][0]})

    for method, path, more in asked:
        answer = await server.ask(method, path, "key-acme", **more)
        assert answer.status_code == 503, (method, path, answer.text)
        assert "tell-shop" not in answer.text
        assert "'new'" not in answer.text
        assert "run the version that wrote them" in answer.json()["detail"]
        assert "Retry-After" not in answer.headers
    rotated = await server.ask("POST", "secrets/rotate")
    assert rotated.status_code == 503
    assert (await server.ask("GET", "segments/acme-regular", "key-acme")).json()["version"] == 1
    assert (await store.definitions.revision()).number == 2

    await store.definitions.write(2, {KEY: before.definitions[KEY] or b""})
    answers = [(await server.ask(method, path, "key-acme", **more)).status_code for method, path, more in asked]
    assert answers[0] == 201
    assert all(status in (200, 201, 204, 404) for status in answers), answers


async def test_what_is_applied_is_above_every_fence_also_once_the_store_went_back_without_its_fences(
    store: Store,
) -> None:
    async def judged_by() -> int:
        return await highest_judged(store, 2)

    registry = Registry(store, judged_by=judged_by)
    await registry.change(RULES)
    await store.claim(1, owner="me", token="t0", cluster="c", partitions=2)
    judged = Commit(expected_token="t0", token="t1", offset=1, revision=9, stream_time=1)  # by what is lost
    assert (await store.apply(1, judged)).status == "ok"
    lost = "the store has lost definitions: they are at revision 1, and partitions were judged by 9; apply them again"
    assert lost in (await health(store, registry)).problems

    await registry.update(Edit, "somebody")  # the same set again
    assert registry.revision == 10
    assert not any("lost" in problem for problem in (await health(store, registry)).problems)
    later = Commit(expected_token="t1", token="t2", offset=2, revision=registry.revision, stream_time=2)
    assert (await store.apply(1, later)).status == "ok"
    await registry.update(Edit, "somebody")
    assert registry.revision == 10, "nothing was to be done"

"""Definitions in a store: changed as a set, compiled before they are in use."""

import copy

import msgspec
import pytest

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.models import Integration
from actionmap.errors import Conflict, DefinitionError, SettingsError
from actionmap.registry import Registry
from actionmap.store.definitions import Revision
from actionmap.store.memory import MemoryStore
from actionmap.vault import Vault, new_key
from support import definitions, rules

RULES = definitions(rules())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def registry(store: MemoryStore) -> Registry:
    registry = Registry(store)
    await registry.change(RULES)
    return registry


def changed(key: str, **values: object) -> dict:
    return {key: RULES[key].model_copy(update=values)}


async def test_a_change_is_in_use_at_once_and_seen_by_others_at_their_next_look(
    store: MemoryStore, registry: Registry
) -> None:
    other = Registry(store)
    assert await other.refresh()
    assert not await other.refresh()
    assert other.definitions == registry.definitions == RULES
    assert other.revision == registry.revision == 1
    assert other.rulebook.content_hash == compile_rulebook(RULES).content_hash

    await registry.change(changed("ActionMap/each-order", active=False))

    assert [found.name for found in registry.rulebook.maps] == ["first-visit"]
    assert await other.refresh()
    assert [found.name for found in other.rulebook.maps] == ["first-visit"]


async def test_each_definition_counts_its_own_versions(registry: Registry) -> None:
    await registry.change(changed("Webhook/tell-shop", description="new"))
    await registry.change(changed("Webhook/tell-shop", description="newer"))
    assert registry.versions["Webhook/tell-shop"] == 3
    assert registry.versions["Integration/shop"] == 1
    assert registry.revision == 3


async def test_a_change_that_does_not_hang_together_changes_nothing_at_all(
    store: MemoryStore, registry: Registry
) -> None:
    before = await store.definitions.changes(Revision(-1))
    fine = changed("ActionMap/each-order", active=False)

    with pytest.raises(DefinitionError, match="there is no Webhook 'tell-shop'"):
        await registry.change(fine, frozenset({"Webhook/tell-shop"}))

    assert await store.definitions.changes(Revision(-1)) == before
    assert registry.definitions == RULES


async def test_of_two_changes_made_from_the_same_revision_the_second_is_refused(
    store: MemoryStore, registry: Registry
) -> None:
    late = Registry(store)
    await late.refresh()
    await registry.change(changed("Webhook/tell-shop", description="first"))

    with pytest.raises(Conflict, match="at revision 2"):
        await late.change(changed("Webhook/tell-shop", description="second"))

    await late.refresh()
    assert late.definitions["Webhook/tell-shop"].description == "first"
    await late.change(changed("Webhook/tell-shop", description="second"))
    assert late.revision == 3


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("Webhook/tell-shop", b'{"version": 1, "kind": "Webhook", "definition": {"name": "tell-shop", "new": 1}}'),
        ("Webhook/tell-shop", b"written by something else"),
        ("ActionMap/odd", msgspec.json.encode({"version": 1, "kind": "ActionMap", "definition": {
            "name": "odd", "trigger": {"event": "a"}, "action": {"webhook": "nowhere"}}})),
    ],
)  # fmt: skip
async def test_a_revision_that_does_not_compile_is_refused_and_the_last_good_one_stays_until_it_is_mended(
    key: str, stored: bytes, store: MemoryStore, registry: Registry
) -> None:
    _, good, _ = await store.definitions.changes(Revision(-1))
    await store.definitions.write(1, {key: stored}, [])

    assert not await registry.refresh()

    assert registry.refused
    assert registry.revision == 1
    assert registry.definitions == RULES
    assert len(registry.rulebook.maps) == 2

    await store.definitions.write(2, good, [key] if key not in good else [])
    assert await registry.refresh()
    assert registry.refused == ""
    assert registry.revision == 3


async def test_another_write_under_the_number_of_a_lost_one_is_taken_over() -> None:
    store = MemoryStore()
    writer, reader = Registry(store), Registry(store)
    await writer.change(RULES)
    before = copy.deepcopy(vars(store.definitions))
    await writer.change(changed("ActionMap/each-order", priority="high"))
    await reader.refresh()
    vars(store.definitions).update(before)  # it has lost the last write
    other = Registry(store)
    await other.refresh()
    await other.change(changed("ActionMap/each-order", active=False))

    assert await reader.refresh()
    assert reader.revision == other.revision == 2
    assert reader.definitions == other.definitions
    assert "each-order" not in reader.rulebook.by_name


async def test_changes_are_taken_over_one_by_one_and_merged_when_there_are_many(
    store: MemoryStore, registry: Registry
) -> None:
    reader = Registry(store)
    await reader.refresh()
    kept = reader.rulebook.by_name["first-visit"]
    assert not await reader.tidy()
    while not reader.rulebook.index.overgrown:
        for turn in range(4):
            priority = "high" if registry.revision % 2 else "low"
            made = RULES["ActionMap/each-order"].model_copy(update={"name": f"copy-{turn}", "priority": priority})
            await registry.change({made.key: made})
        await reader.refresh()
        extra = RULES["ActionMap/each-order"].model_copy(update={"name": f"copy-{reader.revision}"})
        await registry.change({extra.key: extra})
    await reader.refresh()
    assert reader.rulebook.by_name["first-visit"] is kept
    assert await reader.tidy()
    assert not reader.rulebook.index.overgrown
    assert [one.name for one, _ in reader.rulebook.index.entries()] == [one.name for one in reader.rulebook.maps]


async def test_a_refused_revision_that_the_store_has_lost_is_refused_no_more() -> None:
    store = MemoryStore()
    registry = Registry(store)
    await registry.change(RULES)
    before = copy.deepcopy(vars(store.definitions))
    await store.definitions.write(1, {"Webhook/tell-shop": b"written by something else"}, [])
    assert not await registry.refresh()
    assert registry.refused
    vars(store.definitions).update(before)  # it has lost the last write
    assert not await registry.refresh()
    assert registry.refused == ""
    await registry.change(changed("ActionMap/each-order", priority="high"))
    assert registry.revision == 2


# --- secrets written out

KEY = new_key()
WITH_SECRET = definitions(rules(auth={"type": "bearer", "token": "s3cret-value"}))


def token_of(registry: Registry) -> str:
    integration = registry.definitions["Integration/shop"]
    assert isinstance(integration, Integration)
    (sealed,) = integration.sealed_secrets()
    return sealed


async def test_a_secret_that_is_written_out_is_in_the_store_encrypted_only(store: MemoryStore) -> None:
    registry = Registry(store, Vault(KEY))
    await registry.change(WITH_SECRET)
    (raw,) = [
        raw
        for key, raw in (await store.definitions.changes(Revision(-1))).definitions.items()
        if key == "Integration/shop"
    ]
    assert raw is not None
    assert b"s3cret" not in raw
    assert Vault(KEY).open(token_of(registry)) == "s3cret-value"

    other = Registry(store)  # who has no key reads the same, and can open nothing
    await other.refresh()
    assert token_of(other) == token_of(registry)
    assert not other.opens_secret(token_of(other))


async def test_without_a_key_it_is_refused_and_nothing_is_written(store: MemoryStore) -> None:
    registry = Registry(store)
    with pytest.raises(DefinitionError, match="ACTIONMAP_SECRETS_KEY"):
        await registry.change(WITH_SECRET)
    assert registry.revision == 0


async def test_a_change_of_something_else_keeps_it(store: MemoryStore) -> None:
    registry = Registry(store, Vault(KEY))
    await registry.change(WITH_SECRET)
    before = token_of(registry)
    shown = registry.definitions["Integration/shop"].as_written()
    await registry.change(definitions([{"kind": "Integration", **shown, "description": "new"}]))
    assert token_of(registry) == before


async def test_keys_are_rotated_in_one_change_and_once(store: MemoryStore) -> None:
    await Registry(store, Vault(KEY)).change(WITH_SECRET)
    newer = new_key()
    registry = Registry(store, Vault(f"{newer},{KEY}"))
    await registry.refresh()
    assert [await registry.rotate_secrets() for _ in range(2)] == [1, 0]
    assert registry.revision == 2
    assert Vault(newer).open(token_of(registry)) == "s3cret-value"
    late = Registry(store, Vault(new_key()))
    await late.refresh()
    with pytest.raises(SettingsError, match="not in ACTIONMAP_SECRETS_KEY"):
        await late.rotate_secrets()

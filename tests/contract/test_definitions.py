"""Former versions, audit and API keys: the same on the in-memory store and on a real one."""

import pytest

from actionmap.errors import Conflict
from actionmap.store.api_keys import StoredApiKey
from actionmap.store.definitions import Revision
from actionmap.store.protocols import Store


async def test_what_a_write_replaces_or_deletes_is_kept_as_the_version_it_had(store: Store) -> None:
    some = store.definitions
    await some.write(0, {"Segment/a": b"1", "Segment/b": b"1"})
    await some.write(1, {"Segment/a": b"2"}, ["Segment/b"], versions={"Segment/a": 1, "Segment/b": 1})
    await some.write(2, {"Segment/a": b"3"}, versions={"Segment/a": 2})

    assert await some.former("Segment/a", [1, 2, 3]) == [b"1", b"2", None]
    assert await some.former("Segment/b", [1]) == [b"1"]
    assert await some.former("Segment/b", []) == []
    assert await some.last_versions(["Segment/a", "Segment/b", "Segment/c"]) == {"Segment/b": 1}


async def test_a_definition_that_comes_back_is_deleted_no_more(store: Store) -> None:
    some = store.definitions
    await some.write(0, {"Segment/a": b"1"})
    await some.write(1, {}, ["Segment/a"], versions={"Segment/a": 1})
    await some.write(2, {"Segment/a": b"2"})
    assert await some.last_versions(["Segment/a"]) == {}
    assert await some.former("Segment/a", [1]) == [b"1"]


async def test_a_write_that_is_refused_keeps_and_tells_nothing(store: Store) -> None:
    some = store.definitions
    await some.write(0, {"Segment/a": b"1"}, audit=[b"first"])
    with pytest.raises(Conflict, match="at revision 1, not 0"):
        await some.write(0, {"Segment/a": b"2"}, versions={"Segment/a": 1}, audit=[b"second"])
    assert await some.former("Segment/a", [1]) == [None]
    assert [entry.stored for entry in await some.audit(limit=10)] == [b"first"]


async def test_a_revision_is_above_what_it_is_told_and_readers_behind_it_miss_nothing(store: Store) -> None:
    some = store.definitions
    await some.write(0, {"Segment/a": b"1"})
    first = await some.revision()
    assert await some.write(1, {"Segment/b": b"1"}, above=40) == 41
    assert await some.write(41, {"Segment/a": b"2"}, above=7) == 42

    newest = await some.revision()
    assert newest.number == 42
    changes = await some.changes(first)
    assert {**({} if changes.whole else {"Segment/a": b"1"}), **changes.definitions} == {
        "Segment/a": b"2", "Segment/b": b"1",
    }  # fmt: skip
    assert (await some.changes(Revision())).definitions == {"Segment/a": b"2", "Segment/b": b"1"}


async def test_the_audit_is_read_from_its_newest_entry_on_page_by_page(store: Store) -> None:
    some = store.definitions
    for revision in range(4):
        await some.write(revision, {}, audit=[b"%d-%d" % (revision + 1, number) for number in (1, 2, 3)])
    seen: list[str] = []
    before = ""
    while page := await some.audit(before=before, limit=5):
        assert all(entry.id == entry.stored.decode() for entry in page)
        seen += [entry.id for entry in page]
        before = page[-1].id
    assert seen == [f"{revision}-{number}" for revision in (4, 3, 2, 1) for number in (3, 2, 1)]


async def test_what_is_told_beside_any_write_is_the_newest_entry_and_changes_no_revision(store: Store) -> None:
    some = store.definitions
    await some.tell(b"before any write")
    assert await some.revision() == Revision()
    assert await some.write(0, {}, audit=[b"first", b"second"]) == 1
    revision = await some.revision()
    await some.tell(b"third")
    await some.tell(b"third")
    assert await some.revision() == revision
    assert (await some.changes(revision)).definitions == {}
    assert await some.write(1, {}) == 2
    await some.tell(b"fourth")
    assert await some.write(2, {}, audit=[b"fifth"]) == 3

    found = await some.audit(limit=100)
    assert [(entry.id, entry.stored.decode()) for entry in found] == [
        ("3-1", "fifth"), ("2-0", "fourth"), ("1-4", "third"), ("1-3", "third"), ("1-2", "second"), ("1-1", "first"),
        ("0-1", "before any write"),
    ]  # fmt: skip
    for place, entry in enumerate(found):
        assert await some.audit(before=entry.id, limit=2) == found[place + 1 : place + 3]
    assert await some.audit(before="2-7", limit=2) == found[1:3]
    assert await some.audit(before="0-0", limit=2) == []


async def test_an_api_key_is_found_by_its_hash_until_it_is_removed_and_its_name_is_taken_once(store: Store) -> None:
    key = StoredApiKey("ci", ("read",), "acme", 5, "ann")
    assert await store.api_keys.add("hash-1", key)
    assert not await store.api_keys.add("hash-2", key)
    assert await store.api_keys.all() == {"hash-1": key}
    assert await store.api_keys.remove("ci")
    assert not await store.api_keys.remove("ci")
    assert await store.api_keys.all() == {}

"""What every store promises, asked of the in-memory twin and of real Valkey."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from actionmap.delivery import DeadLetter, Delivery
from actionmap.embedded import embedded_store
from actionmap.errors import ActionmapError, Conflict, FenceMoved, SettingsError, Unreachable
from actionmap.store.definitions import Revision
from actionmap.store.durability import Guarantees
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Applied, Commit, Due, Fence, Halt, Store
from actionmap.store.redis import RedisStore

P = 3


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: str, unique: str) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(outbox_cap=3)
    else:
        redis = RedisStore(valkey, prefix=unique, outbox_cap=3, clock=lambda: 7)
        yield redis
        await redis.close()


def delivery(id_: str, owed_at: int = 10, **given: Any) -> Delivery:
    return Delivery(
        id=id_, integration="crm", webhook="w", action_map="m", visitor_id="v", event_id="e", at=owed_at,
        owed_at=owed_at, method="POST", target="/x", body="{}", **given,
    )  # fmt: skip


async def claimed(store: Store, token: str = "t0") -> None:
    await store.claim(P, owner="me", token=token, cluster="c", partitions=4)


def commit(expected: str, token: str, offset: int = 5, revision: int = 1, **given: Any) -> Commit:
    return Commit(expected_token=expected, token=token, offset=offset, revision=revision, stream_time=99, **given)


async def test_an_unknown_partition_has_an_empty_fence(store: Store) -> None:
    assert await store.fence(P) == Fence()


async def test_a_commit_moves_visitors_outbox_dead_letters_and_fence_together(store: Store) -> None:
    await claimed(store)
    letter = DeadLetter(id="t/3/4", kind="record", reason="malformed-json", detail="d", at=1)

    done = await store.apply(
        P, commit("t0", "t1", visitors=[("v", b"{}")], deliveries=[delivery("a")], dead_letters=[letter])
    )

    assert done == Applied("ok")
    assert await store.load(P, ["v", "other"]) == [b"{}", None]
    assert await store.owed(P, limit=9) == [delivery("a")]
    assert await store.dead_letters(P, limit=9) == [letter]
    fence = await store.fence(P)
    assert (fence.offset, fence.token, fence.revision, fence.stream_time) == (5, "t1", 1, 99)
    assert (fence.owner, fence.cluster, fence.partitions) == ("me", "c", 4)


async def test_a_commit_sent_twice_is_applied_once(store: Store) -> None:
    await claimed(store)
    again = commit("t0", "t1", deliveries=[delivery("a")])
    await store.apply(P, again)
    await store.ack(P, [delivery("a")], now=20)

    assert await store.apply(P, again) == Applied("ok")
    assert await store.outbox_size(P) == 0


async def test_a_commit_that_expects_another_token_changes_nothing(store: Store) -> None:
    await claimed(store)
    await store.claim(P, owner="other", token="t9", cluster="c", partitions=4)

    done = await store.apply(P, commit("t0", "t1", visitors=[("v", b"{}")], deliveries=[delivery("a")]))

    assert done == Applied("mismatch", "other")
    assert await store.load(P, ["v"]) == [None]
    assert await store.outbox_size(P) == 0
    assert (await store.fence(P)).offset == -1


async def test_a_fence_never_goes_back_to_an_older_rulebook(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", revision=7))

    assert await store.apply(P, commit("t1", "t2", revision=6)) == Applied("rules-old")


async def test_an_outbox_at_its_cap_takes_nothing_and_keeps_the_fence(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", deliveries=[delivery("a"), delivery("b"), delivery("c")]))

    refused = commit("t1", "t2", offset=6, visitors=[("v", b"{}")], deliveries=[delivery("d")])

    assert await store.apply(P, refused) == Applied("full")
    assert (await store.fence(P)).offset == 5
    assert await store.load(P, ["v"]) == [None]
    assert await store.apply(P, commit("t1", "t3", offset=6)) == Applied("ok")


async def test_a_batch_larger_than_the_room_left_is_taken_whole_so_that_it_does_not_wait_for_ever(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", deliveries=[delivery("a")]))

    more = [delivery(id_) for id_ in "bcde"]

    assert await store.apply(P, commit("t1", "t2", offset=6, deliveries=more)) == Applied("ok")
    assert await store.outbox_size(P) == 5


async def test_a_lease_hands_out_what_is_due_in_order_and_hides_it_until_it_ends(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", deliveries=[delivery("b", 20), delivery("a", 10), delivery("z", 500)]))

    first = await store.lease(P, now=100, limit=9, lease_ms=50)
    assert [owed.id for owed in first.deliveries] == ["a", "b"]
    assert first.next_due == 150

    assert (await store.lease(P, now=149, limit=9, lease_ms=50)).deliveries == []
    after = await store.lease(P, now=150, limit=1, lease_ms=50)
    assert len(after.deliveries) == 1


async def test_a_settled_delivery_is_never_owed_again(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", deliveries=[delivery("a")]))
    await store.ack(P, [delivery("a")], now=20)

    await store.apply(P, commit("t1", "t2", deliveries=[delivery("a")]))

    assert await store.outbox_size(P) == 0


async def test_a_failed_delivery_comes_back_when_its_wait_is_over_with_its_attempts(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", deliveries=[delivery("a")]))
    await store.lease(P, now=100, limit=9, lease_ms=50)

    await store.nack(P, [(delivery("a", attempts=1), 900), (delivery("gone"), 900)], now=20)

    assert (await store.lease(P, now=899, limit=9, lease_ms=50)).deliveries == []
    back = await store.lease(P, now=900, limit=9, lease_ms=50)
    assert back.deliveries == [delivery("a", attempts=1)]


async def test_a_buried_delivery_is_listed_and_not_owed_again(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", deliveries=[delivery("a")]))
    letter = DeadLetter(
        id="a", kind="delivery", reason="attempts-exhausted", detail="503", at=2, delivery=delivery("a")
    )

    await store.bury(P, [letter])
    await store.apply(P, commit("t1", "t2", deliveries=[delivery("a")]))

    assert await store.outbox_size(P) == 0
    assert await store.dead_letters(P, limit=9) == [letter]


async def test_a_claim_can_move_the_fence_and_keeps_visitors_outbox_and_stream_time(
    store: Store,
) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", visitors=[("v", b"{}")], deliveries=[delivery("a")], fingerprint="f"))

    moved = await store.claim(P, owner="me", token="t2", cluster="d", partitions=5, moved_to=99)
    assert (moved.offset, moved.fingerprint, moved.stream_time, moved.cluster) == (99, "", 99, "d")
    new = await store.claim(P, owner="me", token="t3", cluster="d", partitions=5, moved_to=-1)
    assert (new.offset, new.stream_time) == (-1, 99)

    assert await store.load(P, ["v"]) == [b"{}"]
    assert await store.outbox_size(P) == 1


async def test_forgetting_leaves_outbox_and_dead_letters_and_no_visitor_timer_or_position(store: Store) -> None:
    await claimed(store)
    letter = DeadLetter(id="t/3/4", kind="record", reason="malformed-json", detail="d", at=1)
    visitors = [(f"v{number}", b"{}") for number in range(2500)]
    await store.apply(P, commit("t0", "t1", visitors=visitors, timers=[("v1", 50)], deliveries=[delivery("a")],
                                dead_letters=[letter], revision=4))  # fmt: skip
    other = Commit(expected_token="o", token="o1", offset=1, revision=1, stream_time=1, visitors=[("v", b"{}")])
    await store.claim(P + 30, owner="me", token="o", cluster="c", partitions=4)
    await store.apply(P + 30, other)

    await store.forget(P)

    fence = await store.fence(P)
    assert (fence.offset, fence.rebuilding, fence.revision, fence.stream_time) == (-1, True, 4, -1)
    assert await store.apply(P, commit("t1", "t2")) == Applied("mismatch", "me")
    assert set(await store.load(P, [id_ for id_, _ in visitors])) == {None}
    assert [owed.id for owed in await store.owed(P, limit=9)] == ["a"]
    assert await store.dead_letter(P, "t/3/4") == letter
    assert await store.load(P + 30, ["v"]) == [b"{}"]
    assert not (await store.claim(P, owner="me", token="t3", cluster="c", partitions=4, moved_to=-1)).rebuilding
    assert (await store.due(P, "t3", until=99, limit=9)).visitors == []


async def test_who_lost_the_fence_is_shown_no_visitor_and_no_timer(store: Store) -> None:
    await claimed(store)
    await store.apply(P, commit("t0", "t1", visitors=[("v", b"1")]))
    assert await store.load(P, ["v", "w"], "t1") == [b"1", None]
    await store.claim(P, owner="other", token="t9", cluster="c", partitions=4)
    await store.apply(P, commit("t9", "t10", offset=6, visitors=[("v", b"2")], timers=[("v", 5)]))

    for ask in (store.load(P, ["v"], "t1"), store.due(P, "t1", until=9, limit=9)):
        with pytest.raises(FenceMoved) as moved:
            await ask
        assert moved.value.owner == "other"


async def test_a_halt_is_told_until_the_partition_is_claimed_and_only_a_halted_one_can_be_told_to_go_on(
    store: Store,
) -> None:
    await claimed(store)
    assert not await store.resume(P, "continue")
    assert (await store.fence(P)).resume is None

    await store.halt(P, Halt("truncated", "words for people", 5))
    assert (await store.fence(P)).halted == Halt("truncated", "words for people", 5)
    assert await store.resume(P, "rebuild")
    assert (await store.fence(P)).resume == "rebuild"

    await claimed(store, "t1")
    fence = await store.fence(P)
    assert (fence.halted, fence.resume) == (None, None)


async def test_timers_are_handed_out_in_order_of_due_as_many_as_asked_for(store: Store) -> None:
    await claimed(store)
    done = await store.apply(P, commit("t0", "t1", timers=[("c", 30), ("a", 10), ("b", 20), ("x", 5)]))
    assert done == Applied("ok", "", 5)

    done = await store.apply(P, commit("t1", "t2", timers=[("x", None), ("c", 15)]))
    assert done == Applied("ok", "", 10)
    assert await store.apply(P, commit("t1", "t2")) == Applied("ok", "", 10)  # sent again, its answer was lost

    assert await store.due(P, "t2", until=20, limit=9) == Due([("a", 10), ("c", 15), ("b", 20)], None)
    assert await store.due(P, "t2", until=20, limit=2) == Due([("a", 10), ("c", 15)], 20)
    assert await store.due(P, "t2", until=9, limit=2) == Due([], 10)
    assert await store.due(P, "t2", until=9, limit=0) == Due([], 10)


async def test_what_is_owed_is_counted_by_integration_through_every_way_in_and_out(store: Store) -> None:
    await claimed(store)
    owed = [delivery("a"), delivery("b"), replace(delivery("c"), integration="erp")]
    await store.apply(P, commit("t0", "t1", deliveries=owed))
    assert await store.owed_by_integration(P) == {"crm": 2, "erp": 1}

    await store.ack(P, [owed[0]], now=20)
    await store.ack(P, [owed[0]], now=20)  # its answer was lost
    letter = DeadLetter(id="c", kind="delivery", reason="gone", detail="", at=1, delivery=owed[2])
    await store.bury(P, [letter])
    await store.bury(P, [letter])
    assert await store.owed_by_integration(P) == {"crm": 1}

    assert await store.revive(P, [owed[2]], now=9) == 1
    assert await store.revive(P, [owed[2]], now=9) == 0
    assert await store.owed_by_integration(P) == {"crm": 1, "erp": 1}
    assert await store.dead_letters(P, limit=9) == []
    assert {one.id for one in (await store.lease(P, now=10, limit=9, lease_ms=1)).deliveries} == {"b", "c"}


async def test_a_dead_record_can_be_removed_once(store: Store) -> None:
    await claimed(store)
    letter = DeadLetter(id="t/3/4", kind="record", reason="malformed-json", detail="d", at=1)
    await store.apply(P, commit("t0", "t1", dead_letters=[letter]))
    assert await store.forget_dead(P, ["t/3/4", "t/3/9"]) == 1
    assert await store.forget_dead(P, ["t/3/4"]) == 0
    assert await store.dead_letter(P, "t/3/4") is None


NEVER = Revision(-1)


async def test_definitions_change_only_from_the_revision_they_were_read_at(store: Store) -> None:
    assert await store.definitions.changes(NEVER) == (Revision(), {}, True)
    assert await store.definitions.write(0, {"Segment/a": b"{}", "Segment/b": b"{}"}, []) == 1
    with pytest.raises(Conflict):
        await store.definitions.write(0, {"Segment/c": b"{}"}, [])
    assert await store.definitions.write(1, {}, ["Segment/a"]) == 2

    newest = await store.definitions.revision()
    assert newest.number == 2
    assert await store.definitions.changes(NEVER) == (newest, {"Segment/b": b"{}"}, True)


async def test_a_reader_gets_what_has_changed_since_its_revision(store: Store) -> None:
    seen = []
    for revision, (changed, deleted) in enumerate(
        [({"Segment/a": b"1", "Segment/b": b"1"}, []), ({"Segment/a": b"2"}, []), ({"Segment/c": b"1"}, ["Segment/b"])]
    ):
        await store.definitions.write(revision, changed, deleted)
        seen.append(await store.definitions.revision())
    first, second, third = seen

    assert await store.definitions.changes(third) == (third, {}, False)
    assert await store.definitions.changes(second) == (third, {"Segment/c": b"1", "Segment/b": None}, False)
    everything = {"Segment/a": b"2", "Segment/c": b"1", "Segment/b": None}
    assert await store.definitions.changes(first) == (third, everything, False)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_reader_of_a_revision_that_the_store_has_lost_gets_everything(number: int, store: Store) -> None:
    """The store lost a write, and another one has its number."""
    for revision in range(3):
        await store.definitions.write(revision, {f"Segment/s{revision}": b"1"}, [])
    whole = {f"Segment/s{revision}": b"1" for revision in range(3)}
    assert await store.definitions.changes(Revision(number, "lost")) == (
        await store.definitions.revision(),
        whole,
        True,
    )


async def test_a_reader_that_is_too_far_behind_gets_everything(valkey: str, unique: str) -> None:
    store = RedisStore(valkey, prefix=unique, clock=lambda: 0)
    await store.definitions.write(0, {"Segment/a": b"1"}, [])
    first = await store.definitions.revision()
    many = {f"Segment/s{number}": b"1" for number in range(1001)}
    await store.definitions.write(1, many, [])
    second = await store.definitions.revision()
    assert await store.definitions.changes(first) == (second, {"Segment/a": b"1", **many}, True)
    await store.definitions.write(2, {"Segment/a": b"2"}, [])
    third = await store.definitions.revision()
    assert await store.definitions.changes(second) == (third, {"Segment/a": b"2"}, False)
    for revision in range(3, 1003):
        await store.definitions.write(revision, {"Segment/a": b"%d" % revision}, [])
        if revision == 3:
            fourth = await store.definitions.revision()
    assert (await store.definitions.changes(third)).whole
    assert not (await store.definitions.changes(fourth)).whole
    await store.close()


async def test_a_store_that_does_not_answer_is_named_with_its_address_and_without_its_password() -> None:
    store = RedisStore("redis://:s3cret@127.0.0.1:1/0", clock=lambda: 0)

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as caught:
        await store.ping()

    assert "s3cret" not in str(caught.value)
    await store.close()


async def test_valkey_shows_how_durable_it_is(valkey: str) -> None:
    store = RedisStore(valkey, clock=lambda: 0)
    assert await store.guarantees() == Guarantees("always")
    await store.close()


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[tuple[str, Redis]]:
    """A Valkey that a test may put into any state, and a connection to it."""
    async with embedded_store(tmp_path, fsync="no") as url, Redis.from_url(url) as redis:
        yield url, redis


async def test_a_store_without_memory_is_waited_for_and_takes_nothing_until_it_has_some(
    own_valkey: tuple[str, Redis],
) -> None:
    url, redis = own_valkey
    store = RedisStore(url, clock=lambda: 0)
    await claimed(store)
    await redis.config_set("maxmemory", 1)

    with pytest.raises(Unreachable, match="out of memory"):
        await store.apply(P, commit("t0", "t1", visitors=[("v", b"{}")]))
    assert (await store.fence(P)).offset == -1
    await store.ack(P, [delivery("a")], now=0)  # what frees memory goes on

    await redis.config_set("maxmemory", 0)
    assert await store.apply(P, commit("t0", "t1")) == Applied("ok")
    await store.close()


async def test_a_replica_is_told_from_a_store_that_is_away(own_valkey: tuple[str, Redis]) -> None:
    url, redis = own_valkey
    store = RedisStore(url, clock=lambda: 0)
    await redis.replicaof("127.0.0.1", 1)

    with pytest.raises(Unreachable, match=r"read-only replica.*ACTIONMAP_REDIS_URL"):
        await claimed(store)
    await store.close()


@pytest.mark.parametrize("given", ["", ":wr0ng-one@"])
async def test_a_missing_or_wrong_password_is_told_without_showing_it(
    given: str, own_valkey: tuple[str, Redis]
) -> None:
    url, redis = own_valkey
    await redis.config_set("requirepass", "s3cret")
    store = RedisStore(url.replace("redis://", f"redis://{given}"), clock=lambda: 0)

    for ask in (store.ping, store.guarantees, store.definitions.revision):
        with pytest.raises(Unreachable, match=r"refuses us.*password is missing or wrong") as caught:
            await ask()
        assert "wr0ng-one" not in str(caught.value)
        assert "s3cret" not in str(caught.value)
    await store.close()


async def test_a_key_of_another_type_is_no_store_that_is_away(valkey: str, unique: str) -> None:
    store = RedisStore(valkey, prefix=unique, clock=lambda: 0)
    async with Redis.from_url(valkey) as redis:
        await redis.set(f"{unique}:{{e{P}}}:f", "text")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await store.fence(P)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await store.apply(P, commit("t0", "t1"))
    await store.close()


@pytest.mark.parametrize("url", ["nowhere", "redis://:s3cret@host:notaport/0", "http://:s3cret@host/0"])
def test_a_url_that_is_none_is_told_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="ACTIONMAP_REDIS_URL") as caught:
        RedisStore(url, clock=lambda: 0)
    assert isinstance(caught.value, ActionmapError)
    assert "s3cret" not in str(caught.value)


async def test_an_audit_that_is_older_than_what_is_left_of_the_definitions_goes_on(valkey: str, unique: str) -> None:
    store = RedisStore(valkey, prefix=unique, clock=lambda: 0)
    await store.definitions.write(0, {"Segment/a": b"{}"}, audit=[b"written"], above=6)
    await store._redis.delete(*store.definitions._keys("d", "rev", "tok", "log"))
    await store.definitions.tell(b"told")
    assert await store.definitions.write(0, {"Segment/a": b"{}"}, audit=[b"again"]) == 8
    assert [entry.id for entry in await store.definitions.audit(limit=10)] == ["8-1", "7-2", "7-1"]
    await store.close()


async def test_a_write_whose_answer_was_lost_counts_once_when_it_is_sent_again(valkey: str, unique: str) -> None:
    store = RedisStore(valkey, prefix=unique, clock=lambda: 0)
    keys = store.definitions._keys("d", "rev", "tok", "log", "v", "last", "a")
    again = [0, "token", 0, 100, 1, 0, "Segment/a", "", "{}", "audited"]

    assert await store._call("write_definitions", keys, again) == [b"ok", 1]
    assert await store._call("write_definitions", keys, again) == [b"ok", 1]
    assert await store._call("write_definitions", keys, [0, "other", 0, 100, 0, 0]) == [b"conflict", 1]
    assert len(await store.definitions.audit(limit=10)) == 1

    for _ in range(2):
        assert await store._call("tell", store.definitions._keys("rev", "a"), ["token", 100, "told"]) == b"1-2"
    assert [entry.stored for entry in await store.definitions.audit(limit=10)] == [b"told", b"audited"]
    await store.close()

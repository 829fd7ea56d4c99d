"""What every store promises of erasures: all that a visitor has left goes, what comes after stays, whoever dies."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from actionmap.delivery import SURVIVES_ALL, DeadLetter, Delivery, Outcome, decode_outcome, outcome_of
from actionmap.errors import FenceMoved
from actionmap.store import erasure
from actionmap.store.protocols import NOT_YET, Commit, Fence, Store
from actionmap.store.redis import RedisStore

P = 3


@pytest.fixture
async def store(store: Store) -> Store:
    await store.claim(P, owner="me", token="t", cluster="c", partitions=4)
    return store


def delivery(id_: str, visitor_id: str = "ada", **given: Any) -> Delivery:
    return Delivery(
        id=id_, integration="crm", webhook="w", action_map="m", visitor_id=visitor_id, event_id="e", at=10,
        owed_at=10, method="POST", target="/x", body='{"visitor_id":"ada"}', **given,
    )  # fmt: skip


def dead(id_: str, visitor_id: str = "ada", **given: Any) -> DeadLetter:
    return DeadLetter(id=id_, kind="delivery", reason="refused", detail="", at=1,
                      delivery=delivery(id_, visitor_id, **given))  # fmt: skip


def record(id_: str, key: str = "ada", **given: Any) -> DeadLetter:
    return DeadLetter(id=id_, kind="record", reason="malformed-json", detail="", at=1, key=key, **given)


async def commit(store: Store, **given: Any) -> Commit:
    fence = await store.fence(P)
    made = Commit(fence.token, fence.token + "+", fence.offset + 1, 0, 0, **given)
    assert (await store.apply(P, made)).status == "ok"
    return made


async def erase(store: Store, *visitor_ids: str, **given: Any) -> Commit:
    erasures = (await store.fence(P)).erasures + len(visitor_ids)
    return await commit(store, erased=visitor_ids, erasures=erasures, **given)


async def sweep(store: Store) -> None:
    await store.erasures.sweep(P, (await store.fence(P)).token)


async def owed(store: Store) -> set[str]:
    return {one.id for one in await store.owed(P, limit=999)}


async def told(store: Store) -> list[str]:
    return [decode_outcome(one).delivery_id
            for one in await store.outcomes(P, (await store.fence(P)).token, limit=999)]  # fmt: skip


async def kept(store: Store) -> dict[str, Any]:
    """All that the store knows, as far as it could name a visitor."""
    return {
        "visitors": await store.load(P, ["ada", "bob"]),
        "timers": [id_ for id_, _ in (await store.due(P, (await store.fence(P)).token, until=999, limit=9)).visitors],
        "owed": await owed(store),
        "outcomes": await told(store),
        "dead": {one.id for one in await store.dead_letters(P, limit=99)},
        "journal": {one.id for one in await store.journal.newest(P, limit=99)},
    }


async def lived(store: Store, *visitor_ids: str) -> None:
    """Give each visitor something of all that a visitor can have."""
    for one in visitor_ids:
        accepted, told_of = delivery(f"accepted-{one}", one), delivery(f"told-{one}", one)
        await commit(
            store, visitors=[(one, b"{}")], timers=[(one, 500)],
            deliveries=[delivery(f"owed-{one}", one), accepted, told_of],
            dead_letters=[dead(f"dead-{one}", one), record(f"t/3/{one}", one)],
        )  # fmt: skip
        outcomes = {told_of.id: outcome_of(told_of, "webhook_succeeded", 20, 200)}
        await store.ack(P, [accepted, told_of], now=20, outcomes=outcomes)


def of(visitor_id: str) -> dict[str, Any]:
    return {
        "visitors": [None, b"{}"] if visitor_id == "bob" else [b"{}", None],
        "timers": [visitor_id],
        "owed": {f"owed-{visitor_id}"},
        "outcomes": [f"told-{visitor_id}"],
        "dead": {f"dead-{visitor_id}", f"t/3/{visitor_id}"},
        "journal": {f"accepted-{visitor_id}", f"told-{visitor_id}"},
    }


async def test_all_that_a_visitor_has_left_goes_and_nothing_of_others(store: Store) -> None:
    await lived(store, "ada", "bob")

    await erase(store, "ada")
    await sweep(store)

    assert await kept(store) == of("bob")
    assert await store.owed_by_integration(P) == {"crm": 1}
    assert await store.outbox_size(P) == 1
    assert (await store.fence(P)).erasures == 1


async def test_visitor_and_timer_are_gone_with_the_commit_and_the_rest_after_whoever_sweeps(store: Store) -> None:
    await lived(store, "ada")
    await erase(store, "ada")
    assert await store.load(P, ["ada"]) == [None]
    assert (await kept(store))["timers"] == []

    # Its owner has died; the next one does it, and in two goes.
    await store.claim(P, owner="other", token="u", cluster="c", partitions=4)
    await store.erasures.sweep(P, "u", stop=lambda: True)
    await store.erasures.sweep(P, "u")

    nothing = {"visitors": [None, None], "timers": [], "owed": set(), "outcomes": [], "dead": set(), "journal": set()}
    assert await kept(store) == nothing


async def test_who_does_not_hold_the_fence_sweeps_nothing(store: Store) -> None:
    await lived(store, "ada")
    await erase(store, "ada")
    with pytest.raises(FenceMoved):
        await store.erasures.sweep(P, "another")
    assert await owed(store) == {"owed-ada"}


async def test_what_the_erasure_fired_stays_also_at_the_next_one(store: Store) -> None:
    last = delivery("goodbye", survives=SURVIVES_ALL)
    unsent = dead("unsent", survives=SURVIVES_ALL)
    broken = record("t/3/9", survives=SURVIVES_ALL)
    outcomes = {"unsent": outcome_of(delivery("unsent", survives=SURVIVES_ALL), "webhook_failed", 1)}
    for _ in range(2):
        await erase(store, "ada", deliveries=[last], dead_letters=[unsent, broken], outcomes=outcomes)
        await sweep(store)
        assert await owed(store) == {"goodbye"}
        assert {one.id for one in await store.dead_letters(P, limit=9)} == {"unsent", "t/3/9"}
        assert await told(store) == ["unsent"]


async def test_who_comes_back_begins_anew_and_keeps_what_comes_then(store: Store) -> None:
    await lived(store, "ada")
    await erase(store, "ada")
    await sweep(store)
    new = delivery("new", survives=1)
    await commit(store, visitors=[("ada", b"[]")], deliveries=[new])

    await sweep(store)
    assert await store.load(P, ["ada"]) == [b"[]"]
    assert await owed(store) == {"new"}
    assert await store.erasures.numbers(P, ["ada", "bob"]) == {"ada": 1}

    await erase(store, "bob")  # somebody else's erasure is not hers
    await sweep(store)
    assert await owed(store) == {"new"}
    await erase(store, "ada")
    await sweep(store)
    assert await owed(store) == set()
    assert await store.erasures.numbers(P, ["ada", "bob"]) == {"ada": 3, "bob": 2}


async def test_a_commit_sent_twice_erases_once_and_a_visitor_who_came_back_stays(store: Store) -> None:
    await lived(store, "ada")
    again = await erase(store, "ada")
    await sweep(store)
    assert (await store.apply(P, again)).status == "ok"
    assert (await store.fence(P)).erasures == 1
    await commit(store, visitors=[("ada", b"[]")], deliveries=[delivery("new", survives=1)])
    assert (await store.apply(P, again)).status == "mismatch"
    await sweep(store)
    assert await owed(store) == {"new"}


async def test_several_erasures_of_one_commit_are_numbered_in_their_order(store: Store) -> None:
    await erase(store, "zoe")
    await erase(store, "ada", "bob", "eve")
    assert await store.erasures.numbers(P, ["eve", "bob", "ada", "zoe", "nobody"]) == {
        "eve": 4, "bob": 3, "ada": 2, "zoe": 1,
    }  # fmt: skip
    assert await store.erasures.numbers(P, []) == {}


async def test_what_a_worker_had_in_its_hands_leaves_no_trace_whatever_becomes_of_it(store: Store) -> None:
    late = [delivery(f"d{n}") for n in range(4)]
    await commit(store, deliveries=late)
    await store.lease(P, now=99, limit=9, lease_ms=1000)
    await erase(store, "ada")
    await sweep(store)

    def failed(one: Delivery) -> Outcome:
        return outcome_of(one, "webhook_failed", 30)

    assert await store.ack(P, late[:1], now=30, outcomes={"d0": outcome_of(late[0], "webhook_succeeded", 30, 200)}) == 0
    await store.nack(P, [(replace(late[1], attempts=1), 50)], now=30)
    letters = [DeadLetter(id=one.id, kind="delivery", reason="refused", detail="", at=30, delivery=one)
               for one in late[2:]]  # fmt: skip
    assert await store.bury(P, letters, {"d3": failed(late[3])}) == 0

    assert await kept(store) == {
        "visitors": [None, None], "timers": [], "owed": set(), "outcomes": [], "dead": set(), "journal": set(),
    }  # fmt: skip
    assert await store.owed_by_integration(P) == {}


async def test_a_dead_delivery_of_an_erased_visitor_is_not_owed_again(store: Store) -> None:
    await commit(store, dead_letters=[dead("d"), dead("b", "bob")])
    await erase(store, "ada")
    # Before it is swept, somebody replays it.
    assert await store.revive(P, [delivery("d"), delivery("b", "bob")], now=20) == 1
    await sweep(store)
    assert await owed(store) == {"b"}
    assert await store.dead_letters(P, limit=9) == []


async def test_who_waited_in_the_visitors_line_has_its_turn(store: Store) -> None:
    await commit(store, deliveries=[delivery("first", is_sync=True), delivery("second")])
    await erase(store, "ada", deliveries=[delivery("goodbye", survives=SURVIVES_ALL)])
    assert await store.due_times(P, ["goodbye"]) == [NOT_YET]
    await sweep(store)
    assert await owed(store) == {"goodbye"}
    leased = await store.lease(P, now=10_000, limit=9, lease_ms=1)
    assert [one.id for one in leased.deliveries] == ["goodbye"]


async def test_what_is_taken_back_from_the_log_is_sorted_anew_when_a_visitor_was_erased_meanwhile(store: Store) -> None:
    before, other = delivery("before"), delivery("other", "bob")
    await commit(store, deliveries=[before, other])
    await store.park(P, [(before, 0), (other, 1)])
    found = await store.parked(P)
    await erase(store, "ada")

    assert not await store.unpark(P, position=0, to=2, owe=[before, other], erasures=found.erasures)
    assert await owed(store) == set()

    found = await store.parked(P)
    assert await store.unpark(P, position=0, to=1, drop=[before], erasures=found.erasures)
    assert (await store.parked(P)).parked == {"crm": 1}
    assert await store.unpark(P, position=1, to=2, owe=[other], erasures=found.erasures)
    assert await owed(store) == {"other"}


async def test_a_large_outbox_is_swept_whole_in_steps_while_more_is_settled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_AT_ONCE", 7)
    of_both = [delivery(f"{who}-{n}", who) for n in range(150) for who in ("ada", "bob")]
    await commit(store, deliveries=of_both)
    told_of = of_both[:60]
    outcomes = {one.id: outcome_of(one, "webhook_succeeded", 20, 200) for one in told_of}
    await store.ack(P, told_of, now=20, outcomes=outcomes)
    await erase(store, "ada")
    await sweep(store)
    assert await owed(store) == {one.id for one in of_both[60:] if one.visitor_id == "bob"}
    assert await told(store) == [one.id for one in told_of if one.visitor_id == "bob"]


async def test_forgetting_a_partition_counts_its_erasures_on(store: Store) -> None:
    await erase(store, "ada", "bob")
    await store.forget(P)
    assert (await store.fence(P)).erasures == 2
    again = await store.claim(P, owner="me", token="u", cluster="c", partitions=4)
    assert again.erasures == 2


@pytest.fixture
async def redis(valkey: str, unique: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey, prefix=unique, clock=lambda: store.now)  # type: ignore[attr-defined]
    store.now = 7  # type: ignore[attr-defined]
    await store.claim(P, owner="me", token="t", cluster="c", partitions=4)
    yield store
    await store.close()


async def test_an_erasure_is_known_by_a_hash_alone_and_only_for_so_long(redis: RedisStore) -> None:
    await erase(redis, "ada-lovelace")
    await sweep(redis)
    keys = [key async for key in redis._redis.scan_iter(match=f"{redis._prefix}:*")]
    assert {key.rpartition(b":")[2] for key in keys} == {b"f", b"e", b"eq"}  # the fence, and the two that note it
    assert "lovelace" not in str([await redis._redis.hgetall(redis._key(P, name)) for name in "fe"])
    assert "lovelace" not in str(await redis._redis.zrange(redis._key(P, "eq"), 0, -1))
    assert 0 < await redis._redis.pttl(redis._key(P, "e")) <= erasure.NOTED_MS

    redis.now += erasure.NOTED_MS + 1  # type: ignore[attr-defined]
    await erase(redis, "bob")
    assert await redis.erasures.numbers(P, ["ada-lovelace", "bob"]) == {"bob": 2}


async def test_so_many_erasures_are_known_and_no_more(redis: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actionmap.store.redis.MOST_NOTED", 2)
    for visitor_id in ("a", "b", "c"):
        redis.now += 1  # type: ignore[attr-defined]
        await erase(redis, visitor_id)
    assert await redis.erasures.numbers(P, ["a", "b", "c"]) == {"b": 2, "c": 3}


async def test_without_erasures_nothing_is_swept_and_nothing_noted(store: Store) -> None:
    await lived(store, "bob")
    await sweep(store)
    assert await kept(store) == of("bob")
    assert await store.erasures.numbers(P, ["bob"]) == {}
    assert await store.fence(P + 1) == Fence()

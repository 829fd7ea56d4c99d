"""Whom a visitor's deliveries wait for, and what they end with: asked of the in-memory twin and of real Valkey."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actionmap.delivery import DeadLetter, Delivery, Outcome, decode_outcome, encode, outcome_of
from actionmap.errors import FenceMoved
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Commit, Store
from actionmap.store.redis import RedisStore

P = 2


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: str, unique: str) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
    else:
        redis = RedisStore(valkey, prefix=unique, clock=lambda: 7)
        yield redis
        await redis.close()


def delivery(id_: str, visitor: str = "v", integration: str = "crm", order: str = "") -> Delivery:
    return Delivery(
        id=id_, integration=integration, webhook="w", action_map="m", visitor_id=visitor, event_id="e", at=1,
        owed_at=10, method="POST", target="/x", body="{}", is_sync="s" in order, is_strict="o" in order,
    )  # fmt: skip


async def owe(store: Store, *deliveries: Delivery) -> None:
    token = (await store.fence(P)).token
    if not token:
        token = (await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)).token
    commit = Commit(token, f"{token}+", 1, 0, 0, deliveries=deliveries)
    assert (await store.apply(P, commit)).status == "ok"


async def ready(store: Store, now: int = 100) -> list[str]:
    leased = await store.lease(P, now=now, limit=100, lease_ms=1_000_000)
    return sorted(one.id for one in leased.deliveries)


def letter(one: Delivery) -> DeadLetter:
    return DeadLetter(id=one.id, kind="delivery", reason="refused", detail="d", at=50, delivery=one)


def succeeded(one: Delivery) -> Outcome:
    return outcome_of(one, "webhook_succeeded", 20, 200, {"leadId": "l-1"})


async def heard(store: Store, token: str) -> list[Outcome]:
    return [decode_outcome(one) for one in await store.outcomes(P, token, limit=9)]


# --- strict and sync


async def test_a_strict_delivery_waits_until_the_one_before_is_accepted(store: Store) -> None:
    first, second, third = (delivery(id_, order="o") for id_ in "abc")
    await owe(store, first, second)
    await owe(store, third)
    assert await ready(store) == ["a"]
    await store.nack(P, [(replace(first, attempts=1), 60)], now=50)
    assert await ready(store) == ["a"]
    await store.ack(P, [first], now=70)
    assert await ready(store) == ["b"]
    await store.ack(P, [second], now=80)
    assert await ready(store) == ["c"]


async def test_a_strict_delivery_waits_until_the_one_before_is_given_up(store: Store) -> None:
    first, second = delivery("a", order="o"), delivery("b", order="o")
    await owe(store, first, second)
    await store.bury(P, [letter(first)])
    assert await ready(store) == ["b"]


async def test_strict_holds_up_neither_other_integrations_nor_other_visitors_nor_what_is_not_strict(
    store: Store,
) -> None:
    await owe(store, delivery("a", order="o"), delivery("b", integration="mail", order="o"),
              delivery("c", visitor="other", order="o"), delivery("d"), delivery("e", order="o"))  # fmt: skip
    assert await ready(store) == ["a", "b", "c", "d"]


async def test_all_later_deliveries_of_the_visitor_wait_for_a_sync_one_until_its_first_attempt_has_ended(
    store: Store,
) -> None:
    sync = delivery("b", order="s")
    await owe(store, delivery("a"), sync, delivery("c"), delivery("d", integration="mail"), delivery("e", "other"))
    assert await ready(store) == ["a", "b", "e"]
    await store.nack(P, [(sync, 60)], now=50)  # put back without an attempt
    assert await ready(store) == ["b"]
    await store.nack(P, [(replace(sync, attempts=1, is_sync=False), 900)], now=90)
    assert await ready(store) == ["c", "d"]


async def test_after_a_sync_delivery_is_accepted_the_next_ones_go_as_far_as_the_next_sync_one(store: Store) -> None:
    first, second = delivery("a", order="s"), delivery("c", order="s")
    await owe(store, first, delivery("b"), second, delivery("d"))
    assert await ready(store) == ["a"]
    await store.ack(P, [first], now=20)
    assert await ready(store) == ["b", "c"]
    await store.ack(P, [second], now=30)
    assert await ready(store) == ["d"]


async def test_a_delivery_that_waits_is_owed_and_listed_and_counts_for_the_cap(store: Store) -> None:
    await owe(store, delivery("a", order="s"), delivery("b"))
    assert await store.outbox_size(P) == 2
    assert [one.id for one in await store.owed(P, limit=9)] == ["a", "b"]
    assert await store.wait_durable(P, ["a", "b"]) == {"a", "b"}


async def test_settled_twice_frees_once_and_an_unknown_id_frees_nobody(store: Store) -> None:
    first = delivery("a", order="o")
    await owe(store, first, delivery("b", order="o"), delivery("c", order="o"))
    await store.ack(P, [first, delivery("unknown")], now=20)
    await store.ack(P, [first], now=20)
    assert await ready(store) == ["b"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("owe"), st.sampled_from("vw"), st.sampled_from(("crm", "mail")),
                  st.sampled_from(("", "o", "s", "so"))),
        st.tuples(st.sampled_from(("ack", "bury", "fail")), st.integers(0, 20)),
    ),
    max_size=25,
)  # fmt: skip


async def _run(store: Store, steps: list[tuple[str, ...]]) -> list[list[str]]:
    """What could be sent after each step."""
    made: list[Delivery] = []
    seen, now = [], 100
    for step in steps:
        now += 10
        if step[0] == "owe":
            made.append(delivery(f"d{len(made)}", *step[1:]))
            await owe(store, made[-1])
        elif made:
            one = made[int(step[1]) % len(made)]
            if step[0] == "ack":
                await store.ack(P, [one], now=now)
            elif step[0] == "bury":
                await store.bury(P, [replace(letter(one), at=now)])
            else:
                await store.nack(P, [(replace(one, attempts=1, is_sync=False), now)], now=now)
        leased = await store.lease(P, now=now, limit=100, lease_ms=0)
        seen.append(sorted(one.id for one in leased.deliveries))
    return seen


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_both_stores_let_the_same_deliveries_go(steps: list[tuple[str, ...]], valkey: str) -> None:
    async def both() -> None:
        redis = RedisStore(valkey, prefix=uuid.uuid4().hex, clock=lambda: 7)
        try:
            assert await _run(redis, steps) == await _run(MemoryStore(), steps)
        finally:
            await redis.close()

    asyncio.run(both())


# --- outcomes


async def test_an_outcome_is_queued_once_with_the_delivery_it_ends(store: Store) -> None:
    await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
    one, other = delivery("a"), delivery("b")
    await owe(store, one, other)
    token = (await store.fence(P)).token
    told = {one.id: succeeded(one)}
    assert await store.ack(P, [one, other], now=20, outcomes=told) == 1
    assert await store.ack(P, [one], now=20, outcomes=told) == 0  # the first answer was lost
    assert await heard(store, token) == [succeeded(one)]


async def test_a_delivery_that_the_store_has_lost_is_owed_again_with_its_event_so_that_its_visitor_hears_of_its_end(
    store: Store,
) -> None:
    one = delivery("a")
    told = {one.id: succeeded(one)}
    await owe(store)
    assert await store.ack(P, [one], now=20, outcomes=told) == 0  # it was sent, and accepted, and then lost
    await owe(store, one)
    assert await ready(store) == ["a"]
    assert await store.ack(P, [one], now=30, outcomes=told) == 1
    assert await heard(store, (await store.fence(P)).token) == [succeeded(one)]


async def test_what_is_given_up_tells_its_visitor_once(store: Store) -> None:
    await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
    one = delivery("a")
    await owe(store, one)
    failed = outcome_of(one, "webhook_failed", 50, 500)
    assert await store.bury(P, [letter(one)], {one.id: failed}) == 1
    assert await store.bury(P, [letter(one)], {one.id: failed}) == 0
    assert await heard(store, (await store.fence(P)).token) == [failed]


async def test_outcomes_go_with_the_commit_that_has_their_effects_in_it_and_not_before(store: Store) -> None:
    await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
    made = [delivery(id_) for id_ in "abc"]
    await owe(store, *made)
    token = (await store.fence(P)).token
    await store.ack(P, made, now=20, outcomes={one.id: succeeded(one) for one in made})

    taken = Commit(token, "t9", 1, 0, 0, outcomes_taken=2, last_outcome=encode(succeeded(made[1])))
    assert (await store.apply(P, taken)).outcomes == 1
    assert (await store.apply(P, taken)).outcomes == 1  # its answer was lost
    assert [one.delivery_id for one in await heard(store, "t9")] == ["c"]


async def test_who_does_not_hold_the_fence_hears_no_outcomes(store: Store) -> None:
    await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
    with pytest.raises(FenceMoved):
        await store.outcomes(P, "another", limit=9)


async def test_a_delivery_dead_at_birth_tells_its_visitor_with_the_same_commit_and_only_once(store: Store) -> None:
    await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
    one = delivery("a")
    failed = outcome_of(one, "webhook_failed", 50)
    await store.apply(P, Commit("t0", "t1", 1, 0, 0, dead_letters=[letter(one)], outcomes={"a": failed}))
    await store.apply(P, Commit("t1", "t2", 1, 0, 0, dead_letters=[letter(one)], outcomes={"a": failed}))
    assert await heard(store, "t2") == [failed]


async def test_outcomes_that_a_store_has_lost_and_others_have_taken_the_place_of_are_not_taken(store: Store) -> None:
    """The token stays the same when a store loses the end of its log, so what was read is compared."""
    await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
    made = [delivery(id_) for id_ in "abd"]
    await owe(store, *made)
    token = (await store.fence(P)).token
    await store.ack(P, made, now=20, outcomes={one.id: succeeded(one) for one in made})
    lost = encode(succeeded(delivery("c")))
    for number in (3, 4):
        commit = Commit(token, "t9", 1, 0, 0, outcomes_taken=number, last_outcome=lost)
        assert (await store.apply(P, commit)).status == "mismatch"
    assert [one.delivery_id for one in await heard(store, token)] == ["a", "b", "d"]


async def test_ordered_deliveries_beyond_their_share_are_given_up_loudly_and_leave_the_room_to_others(
    valkey: str, unique: str
) -> None:
    redis = RedisStore(valkey, prefix=unique, ordered_cap=3, clock=lambda: 7)
    try:
        for store in (redis, MemoryStore(ordered_cap=3)):
            await owe(store, *[delivery(f"d{n}", order="o") for n in range(3)])
            token = (await store.fence(P)).token
            more = [
                delivery("d3", order="o"),
                delivery("d4", order="s"),
                delivery("d5"),
                delivery("d6", "w", "mail", "o"),
            ]
            applied = await store.apply(P, Commit(token, "t9", 1, 0, 0, deliveries=more))
            assert applied.given_up == 2
            letters = await store.dead_letters(P, limit=9)
            assert {(one.id, one.reason) for one in letters} == {("d3", "line-full"), ("d4", "line-full")}
            assert {one.id: one.delivery for one in letters} == {"d3": more[0], "d4": more[1]}
            assert await ready(store) == ["d0", "d5", "d6"]
    finally:
        await redis.close()


async def test_a_line_of_thousands_costs_each_that_joins_it_no_more_than_a_line_of_ten(
    valkey: str, unique: str
) -> None:
    """Commands that the server runs for one batch, whose number does not grow with the line."""
    redis = RedisStore(valkey, prefix=unique, ordered_cap=10_000, clock=lambda: 7)
    try:
        counts = []
        for first in range(0, 2000, 200):
            before = await _commands(redis)
            await owe(redis, *[delivery(f"d{n}", order="so") for n in range(first, first + 200)])
            counts.append(await _commands(redis) - before)
        assert max(counts) <= 1.1 * min(counts[1:])
        before = await _commands(redis)
        await redis.ack(P, [delivery("d0", order="so")], now=20)
        assert await _commands(redis) - before < 60
    finally:
        await redis.close()


async def _commands(store: RedisStore) -> int:
    found = await store._redis.info("commandstats")
    return sum(one["calls"] for one in found.values())

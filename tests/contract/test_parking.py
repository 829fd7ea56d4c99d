"""What every store promises of parked deliveries: each is in the outbox or in the log, whoever dies or comes late."""

from typing import Any

import pytest
from msgspec.structs import replace

from actionmap.delivery import DeadLetter, Delivery
from actionmap.store.protocols import Commit, Parked, Store

P = 3


@pytest.fixture
async def store(store: Store) -> Store:
    await store.claim(P, owner="me", token="t", cluster="c", partitions=4)
    return store


def delivery(id_: str, integration: str = "crm", **given: Any) -> Delivery:
    return Delivery(
        id=id_, integration=integration, webhook="w", action_map="m", visitor_id="v", event_id="e", at=10,
        owed_at=10, method="POST", target="/x", body="{}", **given,
    )  # fmt: skip


A, B, C = (delivery(id_) for id_ in "abc")


async def owe(store: Store, *deliveries: Delivery) -> None:
    fence = await store.fence(P)
    commit = Commit(fence.token, fence.token + "+", fence.offset + 1, 0, 0, deliveries=deliveries)
    assert (await store.apply(P, commit)).status == "ok"


async def owed(store: Store) -> set[str]:
    return {one.id for one in await store.owed(P, limit=99)}


async def test_a_parked_delivery_leaves_the_outbox_and_is_counted(store: Store) -> None:
    assert await store.parked(P) == Parked()
    await owe(store, A, B, delivery("x", "erp"))

    assert await store.park(P, [(A, 70), (B, 71)]) == 2

    assert await owed(store) == {"x"}
    assert await store.parked(P) == Parked(70, 72, {"crm": 2}, {"erp": 1})
    assert (await store.lease(P, now=99, limit=9, lease_ms=1)).owed == {"erp": 1}
    assert await store.outbox_size(P) == 1


async def test_it_comes_back_as_it_was_and_due_as_it_was(store: Store) -> None:
    await owe(store, A)
    await store.park(P, [(A, 0)])

    assert await store.unpark(P, position=0, to=1, owe=[A])

    assert (await store.lease(P, now=10, limit=9, lease_ms=1)).deliveries == [A]
    assert await store.parked(P) == Parked(1, 1, {}, {"crm": 1})


async def test_parking_twice_is_parking_once(store: Store) -> None:
    await owe(store, A)
    assert await store.park(P, [(A, 5)]) == 1
    assert await store.park(P, [(A, 5)]) == 0
    assert await store.parked(P) == Parked(5, 6, {"crm": 1}, {})


async def test_of_two_that_read_the_same_position_one_takes_back(store: Store) -> None:
    await owe(store, A, B)
    await store.park(P, [(A, 0), (B, 1)])

    assert await store.unpark(P, position=0, to=1, owe=[A])
    await store.ack(P, [A], now=20)
    assert not await store.unpark(P, position=0, to=2, owe=[A, B])

    assert await owed(store) == set()
    assert await store.parked(P) == Parked(1, 2, {"crm": 1}, {})


async def test_one_that_was_passed_over_because_it_was_still_owed_is_not_taken_out_by_who_comes_late(
    store: Store,
) -> None:
    await owe(store, A, B, C)
    # A lies at 4, appended by a worker that stalled before it could say so; another one has parked B and C since.
    await store.park(P, [(B, 3), (C, 9)])
    assert await store.unpark(P, position=3, to=5, owe=[B, A])

    assert await store.park(P, [(A, 4)]) == 0

    assert await owed(store) == {"a", "b"}
    assert await store.parked(P) == Parked(5, 10, {"crm": 1}, {"crm": 2})


async def test_a_second_copy_in_the_log_is_neither_owed_nor_counted_again(store: Store) -> None:
    await owe(store, A, B)
    # The first attempt to park A got as far as the log.
    await store.park(P, [(B, 0), (A, 2)])

    assert await store.unpark(P, position=0, to=3, owe=[B, A, A])

    assert await store.parked(P) == Parked(3, 3, {}, {"crm": 2})


async def test_what_was_accepted_or_given_up_meanwhile_does_not_come_back(store: Store) -> None:
    await owe(store, A, B, C)
    await store.park(P, [(A, 0), (B, 1), (C, 2)])
    letter = DeadLetter(id="b", kind="delivery", reason="refused", detail="", at=1, delivery=B)
    await store.ack(P, [A], now=20)  # another owner had leased both before they were parked
    await store.bury(P, [letter])
    late = replace(letter, reason="too-old")

    assert await store.unpark(P, position=0, to=3, owe=[A, B, C], bury=[late])

    assert await owed(store) == {"c"}
    assert await store.dead_letters(P, limit=9) == [letter]
    assert (await store.parked(P)).parked == {}


async def test_a_failed_attempt_of_who_comes_late_does_not_bring_a_parked_one_back(store: Store) -> None:
    await owe(store, A)
    await store.park(P, [(A, 0)])
    await store.nack(P, [(replace(A, attempts=1), 50)], now=20)
    assert await owed(store) == set()


async def test_one_that_has_become_too_old_is_buried_in_the_same_step(store: Store) -> None:
    await owe(store, A, B)
    await store.park(P, [(A, 0), (B, 1)])
    letter = DeadLetter(id="a", kind="delivery", reason="too-old", detail="", at=1, delivery=A)

    assert await store.unpark(P, position=0, to=2, owe=[B], bury=[letter])

    assert await store.dead_letters(P, limit=9) == [letter]
    assert await owed(store) == {"b"}
    assert await store.parked(P) == Parked(2, 2, {}, {"crm": 1})


async def test_what_is_put_at_the_tail_again_stays_parked(store: Store) -> None:
    await owe(store, A, delivery("x", "erp"))
    await store.park(P, [(A, 0), (delivery("x", "erp"), 1)])

    assert await store.unpark(P, position=0, to=2, end=8, owe=[delivery("x", "erp")])  # A now lies at 7

    assert await store.parked(P) == Parked(2, 8, {"crm": 1}, {"erp": 1})
    assert await store.unpark(P, position=2, to=8, owe=[A])
    assert await owed(store) == {"a", "x"}


async def test_while_nothing_is_parked_reading_begins_where_parking_does(store: Store) -> None:
    await owe(store, A)
    await store.park(P, [(A, 500)])
    await store.unpark(P, position=500, to=501, owe=[A])

    await store.park(P, [(A, 9_000)])
    assert await store.parked(P) == Parked(9_000, 9_001, {"crm": 1}, {})

    await store.unpark(P, position=9_000, to=9_001, owe=[A])
    assert await store.park(P, [(A, 2)]) == 1  # the topic was deleted and recreated
    assert await store.parked(P) == Parked(2, 3, {"crm": 1}, {})


async def test_a_log_that_lost_what_was_parked_is_gone_on_with(store: Store) -> None:
    await owe(store, A, B)
    await store.park(P, [(A, 40), (B, 41)])

    assert await store.unpark(P, position=40, to=0, end=12, is_new_log=True)

    assert (await store.parked(P)).position == 0
    assert (await store.parked(P)).end == 12

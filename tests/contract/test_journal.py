"""What people are shown of deliveries: the journal, what waits and what is dead; of both stores."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from actionmap.delivery import Attempt, DeadLetter, Delivery, encode, with_attempt
from actionmap.store.lookups import Count
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import NOT_YET, Commit, Store
from actionmap.store.redis import RedisStore
from actionmap.telemetry import LookupCounts

P = 3
KEPT = 3
DAY_MS = 86_400_000
NOW = 1_790_000_000_000


def of(kind: str, valkey: str, unique: str, journal: int) -> Store:
    if kind == "memory":
        return MemoryStore(journal=journal)
    return RedisStore(valkey, prefix=unique, journal=journal, clock=lambda: 7)


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: str, unique: str) -> AsyncIterator[Store]:
    made = of(request.param, valkey, unique, KEPT)
    yield made
    await made.close()


def delivery(id_: str, owed_at: int = 10, **more: object) -> Delivery:
    return Delivery(
        id=id_, integration="crm", webhook="w", action_map="m", visitor_id="ada", event_id="e", at=owed_at,
        owed_at=owed_at, method="POST", target="/x?y=1", headers={"X-A": "b"}, body="Grüße " * 1000, **more,
    )  # type: ignore[arg-type]  # fmt: skip


async def owe(store: Store, *deliveries: Delivery, dead: tuple[DeadLetter, ...] = ()) -> None:
    fence = await store.fence(P)
    if not fence.token:
        fence = await store.claim(P, owner="me", token="t", cluster="c", partitions=4)
    commit = Commit(fence.token, f"{fence.token}+", fence.offset + 1, 0, 0, deliveries=deliveries, dead_letters=dead)
    assert (await store.apply(P, commit)).status == "ok"


def letter(id_: str, at: int) -> DeadLetter:
    return DeadLetter(id=id_, kind="delivery", reason="refused", detail="d", at=at, delivery=delivery(id_))


async def test_the_newest_accepted_deliveries_are_kept_with_their_attempts_and_their_visitor(store: Store) -> None:
    attempt = Attempt("delivered", status=201, duration_s=0.25, response_bytes=9)
    for number in range(5):
        one = delivery(f"d{number}")
        await owe(store, one)
        await store.ack(P, [with_attempt(one, attempt, began_at=100 + number)], now=100 + number)

    newest = await store.journal.newest(P, limit=9)
    assert [one.id for one in newest] == ["d4", "d3", "d2"]
    assert [one.id for one in await store.journal.newest(P, limit=1)] == ["d4"]
    (record,) = newest[0].log
    assert (record.at, record.outcome, record.status, record.duration_s) == (104, "delivered", 201, 0.25)
    assert (record.request_bytes, record.response_bytes) == (len(("Grüße " * 1000).encode()), 9)
    assert (newest[0].visitor_id, newest[0].target, newest[0].headers) == ("ada", "/x?y=1", {"X-A": "b"})
    assert await store.journal.find(P, "d3") == newest[1]
    assert await store.journal.find(P, "d0") is None
    assert await store.journal.newest(P + 1, limit=9) == []


async def test_no_body_is_kept_of_what_was_accepted_unless_the_webhook_logs_it_and_then_its_beginning(
    store: Store,
) -> None:
    silent, logged = delivery("silent"), delivery("logged", logs_request=True)
    await owe(store, silent, logged)
    await store.ack(P, [silent, logged], now=1)
    kept = {one.id: one.body for one in await store.journal.newest(P, limit=9)}
    assert kept == {"silent": None, "logged": ("Grüße " * 1000)[:4096]}


async def test_what_is_accepted_twice_is_in_the_journal_once_and_what_was_not_owed_is_not(store: Store) -> None:
    one = delivery("a")
    await owe(store, one)
    await store.ack(P, [one], now=1)
    await store.ack(P, [replace(one, attempts=9), delivery("never-owed")], now=2)
    (kept,) = await store.journal.newest(P, limit=9)
    assert (kept.id, kept.attempts) == ("a", 0)


@pytest.mark.parametrize("kind", ["memory", "valkey"])
async def test_a_journal_of_none_keeps_none_and_forgets_what_there_was(kind: str, valkey: str, unique: str) -> None:
    before = of(kind, valkey, unique, KEPT)
    await owe(before, delivery("a"))
    await before.ack(P, [delivery("a")], now=1)
    store = of(kind, valkey, unique, 0)
    await owe(store, delivery("b"))
    await store.ack(P, [delivery("b")], now=2)
    assert await store.journal.newest(P, limit=9) == []
    assert await store.journal.find(P, "b") is None
    await before.close()
    await store.close()


async def test_what_waits_for_another_delivery_of_its_visitor_is_told_by_its_time(store: Store) -> None:
    first, second = delivery("first", is_sync=True), delivery("second")
    await owe(store, first)
    await owe(store, second)
    assert await store.due_times(P, ["second", "none", "first"]) == [NOT_YET, None, 10]
    assert await store.due_times(P, []) == []
    assert [one.id for one in await store.owed(P, limit=9, due_from=NOT_YET)] == ["second"]
    assert [one.id for one in await store.owed(P, limit=9)] == ["first", "second"]


async def test_dead_deliveries_are_read_from_the_oldest_on_page_by_page(store: Store) -> None:
    record = DeadLetter(id="t/3/1", kind="record", reason="malformed-json", detail="d", at=2)
    await owe(store, dead=(letter("c", 30), record, letter("a", 10), letter("b", 20)))
    assert [one.id for one in await store.dead_deliveries(P, start=0, limit=2)] == ["a", "b"]
    assert [one.id for one in await store.dead_deliveries(P, start=2, limit=2)] == ["c"]
    assert await store.dead_deliveries(P, start=3, limit=2) == []


async def test_what_is_replayed_is_due_when_it_says_and_not_before_now(store: Store) -> None:
    await owe(store, dead=(letter("late", 1), letter("now", 1)))
    revived = await store.revive(P, [delivery("late", owed_at=900), delivery("now", owed_at=5)], now=100)
    assert revived == 2
    assert await store.due_times(P, ["late", "now"]) == [900, 100]


async def test_a_log_keeps_the_last_twenty_attempts_through_every_wait(store: Store) -> None:
    one = delivery("a")
    await owe(store, one)
    for number in range(25):
        attempt = Attempt("retry", status=503, error=f"status 503, {number}")
        one = with_attempt(one, attempt, began_at=number, next_try_at=number + 5)
        await store.nack(P, [(one, number + 5)], now=number)
    (kept,) = await store.owed(P, limit=9)
    assert kept.attempts == 25
    assert [record.at for record in kept.log] == list(range(5, 25))
    assert (kept.log[-1].error, kept.log[-1].next_try_at) == ("status 503, 24", 29)
    assert len(encode(kept)) < len(encode(delivery("a"))) + 20 * 150


async def test_unresolved_lookups_are_counted_for_seven_days(store: Store) -> None:
    eight_days_ago = counted(("m", "ada"), ("m", "eve"), ("m/email", "ada"), ("n", "ada"))
    await store.lookups.add(eight_days_ago, now=NOW - 7 * DAY_MS)
    await store.lookups.add(counted(("m", "ada"), ("m", "bob"), ("m/email", "bob")), now=NOW - 6 * DAY_MS)
    await store.lookups.add(counted(("m", "ada"), ("m", "cy"), ("m", "cy")), now=NOW)
    await store.lookups.add(counted(("m", "ada")), now=NOW)
    await store.lookups.add(counted(), now=NOW)
    found = await store.lookups.counts(["m", "m/email", "m/name", "n"], now=NOW)
    assert found == {"m": Count(times=6, visitors=3), "m/email": Count(times=1, visitors=1)}
    assert await store.lookups.counts([], now=NOW) == {}


def counted(*noted: tuple[str, str]) -> LookupCounts:
    counts = LookupCounts()
    for name, visitor_id in noted:
        counts.note(name, visitor_id)
    return counts

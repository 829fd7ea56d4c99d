"""Rate, breaker, pause and auto-disable of integrations, by workers that share a real store."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from test_delivery_worker import DELIVERED, Clock, Outbox, P, Sender, delivery, integration, owe, working

from actionmap.deliver.dispatch import HELD_MS
from actionmap.deliver.health import DISABLED_AFTER_MS, Health
from actionmap.deliver.reported import Reported, reported
from actionmap.delivery import Attempt
from actionmap.store.integrations import (
    Hold,
    IntegrationHealth,
    IntegrationState,
    MemoryIntegrations,
    Probed,
    RedisIntegrations,
)
from actionmap.store.redis import RedisStore
from support import until

DOWN = Attempt("retry", status=503, error="status 503")
DAY_MS = 86_400_000


@pytest.fixture
async def integrations(valkey: str, unique: str) -> AsyncIterator[RedisIntegrations]:
    store = RedisStore(valkey, prefix=unique, clock=lambda: 7)
    yield store.integrations
    await store.close()


# --- rate


async def test_the_rate_is_shared_by_all_workers_and_requests_are_evenly_spaced(
    integrations: RedisIntegrations,
) -> None:
    """Two workers, 40 requests at 200 a second: what each reserves begins where the other's ends."""
    first = [await integrations.reserve("crm", 4, 200.0) for _ in range(5)]
    second = [await integrations.reserve("crm", 4, 200.0) for _ in range(5)]
    assert first[0] == 0
    assert await integrations.reserve("other", 4, 200.0) == 0
    # Each reservation moves the next one 20 ms on; what has passed meanwhile is less than all of them.
    assert second[-1] > first[-1] > 0
    assert second[-1] <= 9 * 20


async def test_no_more_requests_start_than_the_rate_allows(integrations: RedisIntegrations) -> None:
    outbox, sender, rate = Outbox(), Sender(), 100.0
    await owe(outbox, [delivery(f"d{n}") for n in range(60)])
    limited = integration("crm", limits={"ratePerSecond": rate, "concurrency": 50})
    started = time.monotonic()
    async with working(outbox, sender, [limited], health=Health(integrations, "me")):
        await outbox.until_empty()
    # 60 requests at 100 a second take 590 ms at least, whatever the machine does.
    assert time.monotonic() - started >= 59 / rate
    assert sorted(sender.ids()) == sorted(f"d{n}" for n in range(60))


async def test_a_rate_limit_holds_up_nobody_else(integrations: RedisIntegrations) -> None:
    outbox, sender = Outbox(), Sender()
    slow = integration("slow", limits={"ratePerSecond": 0.01})
    await owe(outbox, [delivery(f"s{n}", integration="slow") for n in range(300)])
    await owe(outbox, [delivery(f"d{n}") for n in range(300)])
    async with working(outbox, sender, [slow, integration("crm")], health=Health(integrations, "me")):
        await sender.until(lambda: sum(one.integration == "crm" for one in sender.sent) == 300)
    assert sum(one.integration == "slow" for one in sender.sent) <= 1


# --- failing receivers


async def test_a_receiver_that_fails_is_left_alone_but_for_probes_and_gets_everything_when_it_is_well() -> None:
    outbox, sender = Outbox(), Sender(DOWN)
    owed = [delivery(f"d{n}") for n in range(40)]
    await owe(outbox, owed)
    async with working(outbox, sender, breaker_pause_ms=30) as worker:
        await until(lambda: _true(worker._dispatch.breakers() == {"crm": "open"}), "the breaker opens")
        tried = len(sender.sent)
        assert tried <= 10 + 8  # what was in flight when it opened
        sender.answer = DELIVERED
        await outbox.until_empty()
        assert worker._dispatch.breakers() == {}
    dead = await outbox.dead_letters(P, limit=100)
    assert {one.id for one in sender.sent} == {one.id for one in owed}
    assert dead == []


async def test_what_a_breaker_holds_uses_up_no_attempt() -> None:
    outbox, sender, clock = Outbox(), Sender(DOWN), Clock()
    await owe(outbox, [delivery(f"d{n}", owed_at=clock.now) for n in range(30)])
    async with working(outbox, sender, clock=clock, breaker_pause_ms=60_000) as worker:
        await until(lambda: _true(worker._dispatch.breakers() == {"crm": "open"}), "the breaker opens")
        await until(lambda: _all_later(outbox, clock.now), "everything is put off")
    kept = await outbox.owed(P, limit=100)
    held = [one for one in kept if one.last_error == "held: the receiver fails"]
    assert len(kept) == 30
    assert len(held) >= 12
    assert sum(one.attempts for one in kept) == len(sender.sent)


async def test_many_receivers_that_hang_leave_slots_for_the_others() -> None:
    outbox, sender = Outbox(), Sender()
    names = [f"hangs{n}" for n in range(6)]
    sender.gates = {name: asyncio.Event() for name in names}
    for name in names:
        await owe(outbox, [delivery(f"{name}-{n}", integration=name) for n in range(50)])
    await owe(outbox, [delivery(f"d{n}") for n in range(100)])
    table = [integration(name, limits={"concurrency": 1000}) for name in [*names, "crm"]]
    async with working(outbox, sender, table, max_in_flight=256):
        await sender.until(lambda: sum(one.integration == "crm" for one in sender.sent) == 100)


# --- pause and resume


async def test_a_paused_integration_holds_its_deliveries_in_every_worker_until_it_is_resumed(
    integrations: RedisIntegrations,
) -> None:
    outbox, sender, clock = Outbox(), Sender(), Clock()
    await integrations.hold("crm", Hold("paused", 5, "the CRM is moved"))
    health = Health(integrations, "me")
    await health.refresh()
    assert health.held("crm") == "the integration is paused: the CRM is moved"
    await owe(outbox, [delivery("a", owed_at=clock.now)])
    async with working(outbox, sender, clock=clock, health=health) as worker:
        await until(lambda: _all_later(outbox, clock.now), "it is put off")
        assert sender.sent == []
        await integrations.release("crm")
        await health.refresh()
        clock.now += HELD_MS
        worker.wake(P)
        await outbox.until_empty()
    assert sender.ids() == ["a"]


async def test_a_pause_by_a_person_outlasts_what_workers_say_of_failures_meanwhile(
    integrations: RedisIntegrations,
) -> None:
    health = Health(integrations, "me")
    health.ended("crm", 1000, failed=True, error="status 503")
    await integrations.hold("crm", Hold("paused", 5, "why"))
    await health.refresh()
    hold, found, _ = (await integrations.states())["crm"]
    assert hold == Hold("paused", 5, "why")
    assert (found.failing_since, found.last_error) == (1000, "status 503")


async def test_a_worker_disables_neither_what_a_person_paused_nor_what_one_has_just_resumed(
    integrations: RedisIntegrations,
) -> None:
    disabled = Hold("disabled", 9, "it failed")
    await integrations.hold("crm", Hold("paused", 5))
    assert not await integrations.hold("crm", disabled)
    await integrations.release("crm")
    assert not await integrations.hold("crm", disabled)
    assert await integrations.states() == {}
    await integrations.note("crm", IntegrationHealth(failing_since=1, last_failure=2, days=4))
    assert await integrations.hold("crm", disabled)


# --- auto-disable


async def test_only_after_five_days_without_any_success_an_integration_is_disabled_and_says_why(
    integrations: RedisIntegrations,
) -> None:
    health, other = Health(integrations, "me"), Health(integrations, "other")
    for day in range(5):
        health.ended("crm", day * DAY_MS, failed=True, error="status 503")
        await health.refresh()
    assert health.held("crm") == ""
    health.ended("crm", DISABLED_AFTER_MS, failed=True, error="status 500")
    assert "every attempt has failed for 5 days; last: status 500" in health.held("crm")
    await health.refresh()
    await other.refresh()
    assert other.held("crm") == health.held("crm")


async def test_one_success_begins_the_days_anew() -> None:
    health = Health(MemoryIntegrations(), "me")
    for day in range(4):
        health.ended("crm", day * DAY_MS, failed=True, error="e")
    health.ended("crm", 4 * DAY_MS, failed=False, error="")
    for day in range(5, 9):
        health.ended("crm", day * DAY_MS, failed=True, error="e")
    assert health.held("crm") == ""


async def test_two_failures_with_days_between_in_which_nothing_was_sent_disable_nothing() -> None:
    health = Health(MemoryIntegrations(), "me")
    for day in (0, 6, 12):
        health.ended("crm", day * DAY_MS, failed=True, error="e")
    assert health.held("crm") == ""


async def test_failures_that_are_ours_disable_nothing() -> None:
    health = Health(MemoryIntegrations(), "me")
    for day in range(30):
        health.ended("crm", day * DAY_MS, failed=None, error="the secret is not set")
    assert health.held("crm") == ""


# --- what people see


async def test_a_410_warns_of_the_integration_and_disables_nothing(integrations: RedisIntegrations) -> None:
    outbox, health = Outbox(), Health(integrations, "me")
    sender = Sender(lambda one: Attempt("dead", status=410, error="gone") if one.id == "a" else DELIVERED)
    await owe(outbox, [delivery("a"), delivery("b")])
    async with working(outbox, sender, health=health):
        await outbox.until_empty()
    await health.refresh()
    hold, found, _ = (await integrations.states())["crm"]
    assert "410" in found.warning
    assert hold is None


async def test_breakers_of_all_workers_are_seen_and_a_worker_that_is_well_is_not(
    integrations: RedisIntegrations,
) -> None:
    await integrations.report_breakers("one", {"crm": "open"})
    await integrations.report_breakers("two", {})
    assert await integrations.breakers() == {"one": {"crm": "open"}}
    await integrations.report_breakers("one", {})
    assert await integrations.breakers() == {}


async def _true(value: bool) -> bool:
    return value


async def _all_later(outbox: Any, now: int) -> bool:
    return all(due > now for due in outbox._partitions[P].due.values())


@pytest.mark.parametrize("why", ["paused", "failing"])
async def test_a_sync_delivery_that_cannot_be_sent_now_holds_nobody_up(why: str) -> None:
    outbox, clock = Outbox(), Clock()
    sender = Sender(lambda one: DOWN if one.integration == "down" else DELIVERED)
    health = Health(MemoryIntegrations(), "me")
    if why == "paused":
        await health.store.hold("down", Hold("paused", 5))
    owed = []
    for n in range(40):
        owed.append(delivery(f"s{n}", integration="down", visitor_id=f"v{n}", is_sync=True, owed_at=clock.now))
        owed.append(delivery(f"d{n}", visitor_id=f"v{n}", owed_at=clock.now))
    await owe(outbox, owed)
    table = [integration("down"), integration("crm")]
    async with working(outbox, sender, table, clock=clock, health=health, breaker_pause_ms=60_000):
        await sender.until(lambda: sum(one.integration == "crm" for one in sender.sent) == 40)


async def test_a_full_store_still_lets_requests_at_a_rate_go_and_integrations_be_paused(
    unique: str, valkey: str
) -> None:
    store = RedisStore(valkey, prefix=unique, clock=lambda: 7)
    try:
        await store._redis.config_set("maxmemory", "1")
        assert await store.integrations.reserve("crm", 1, 10.0) == 0
        assert await store.integrations.hold("crm", Hold("paused", 5))
        await store.integrations.note("crm", IntegrationHealth(failing_since=1))
        await store.integrations.report_breakers("me", {"crm": "open"})
    finally:
        await store._redis.config_set("maxmemory", "0")
        await store.close()


# --- what is proven, and what was probed


@pytest.mark.parametrize("shared", [True, False], ids=["redis", "memory"])
async def test_a_probe_is_kept_until_the_next_one_or_until_the_integration_is_resumed(
    shared: bool, integrations: RedisIntegrations
) -> None:
    store = integrations if shared else MemoryIntegrations()
    for probed in (Probed(5, "1-a", "refused"), Probed(6, "1-a")):
        await store.note_probe("crm", probed)
        assert await store.states() == {"crm": IntegrationState(probed=probed)}
    await store.release("crm")
    assert await store.states() == {}


async def test_the_first_success_of_an_edition_is_noted_and_the_next_ones_are_not(
    integrations: RedisIntegrations,
) -> None:
    edition = ["1-a"]
    health = Health(integrations, "me", edition=lambda _: edition[0])

    async def ended(now: int, *, failed: bool) -> IntegrationHealth:
        health.ended("crm", now, failed=failed, error="status 503")
        await health.refresh()
        return (await integrations.states())["crm"].health

    assert await ended(10, failed=False) == IntegrationHealth(proven_as="1-a", proven_at=10)
    assert (await ended(20, failed=False)).proven_at == 10
    edition[0] = "2-b"
    assert await ended(30, failed=False) == IntegrationHealth(proven_as="2-b", proven_at=30)
    failing = await ended(40, failed=True)
    assert (failing.failed_as, failing.failing_since, failing.proven_at) == ("2-b", 40, 30)
    assert await ended(50, failed=False) == IntegrationHealth(proven_as="2-b", proven_at=50)


async def test_an_accepted_delivery_outdoes_a_probe_that_failed(integrations: RedisIntegrations) -> None:
    health = Health(integrations, "me", edition=lambda _: "1-a")
    health.ended("crm", 10, failed=False, error="")
    await health.refresh()
    await integrations.note_probe("crm", Probed(20, "1-a", "refused"))
    await health.refresh()
    assert reported((await integrations.states())["crm"], active=True, edition="1-a").state == "error"
    health.ended("crm", 30, failed=False, error="")
    await health.refresh()
    assert reported((await integrations.states())["crm"], active=True, edition="1-a") == Reported("active", "", 30)

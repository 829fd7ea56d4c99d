"""Several who believe that a partition is theirs, with other rules, or with a clock that was set wrongly."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from actionmap import engine
from actionmap.deliver.dispatch import Sender
from actionmap.delivery import Attempt
from actionmap.process import wall_clock
from faults.site import Site, until

HOUR_MS = 3_600_000


async def test_two_owners_of_one_partition_take_turns_and_decide_nothing_twice(
    broker: str, valkey: str, unique: str
) -> None:
    async with (
        Redis.from_url(valkey) as redis,
        Site(broker, valkey, unique) as site,
        site.worker() as one,
        site.worker() as other,
    ):
        await site.open_receiver()

        async def has_changed_hands() -> bool:
            await site.order(3)
            await site.evaluated(site.sent.total() - 1)
            claims = int(await redis.hget(f"{unique}:{{e0}}:f", "ep") or 0)
            return claims >= 4 and min(worker.commits("ok") for worker in (one, other)) >= 2

        await until(has_changed_hands, "both have evaluated, and lost the partition again")
        await site.delivered()
        assert (await site.visitor()).event_count == site.sent["v"]


async def test_a_worker_that_has_missed_a_change_of_the_rules_decides_nothing_by_the_old_ones(
    broker: str, valkey: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Site(broker, valkey, unique) as site:
        monkeypatch.setattr(engine, "_REFRESH_EVERY_S", 3600)
        async with site.worker() as late:
            await site.order(1)
            await site.evaluated(0)
            await site.define(
                lambda written: [one for one in written if one["kind"] != "ActionMap"] + [_renamed(written)]
            )
            await site.registry.change({}, frozenset({"ActionMap/each-order"}))
            async with site.worker() as fresh:
                await _decided_by(site, "each-order-anew", 1)
                assert fresh.commits("ok") >= 1
            await _decided_by(site, "each-order-anew", 2)
            assert late.commits("rules-old") >= 1
            owed = await site.store.owed(0, limit=99)
            assert sorted(one.action_map for one in owed) == ["each-order", "each-order-anew", "each-order-anew"]


def _renamed(written: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [one for one in written if one["name"] == "each-order"]
    return {**found, "name": "each-order-anew"}


async def _decided_by(site: Site, action_map: str, number: int) -> None:
    await site.order(1)
    await site.evaluated(site.sent["v"] - 1)
    owed = await site.store.owed(0, limit=99)
    assert [one.action_map for one in owed].count(action_map) == number


class SlowOnce:
    """A sender whose first attempt ends when it may."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def send(self, delivery: Any, integration: Any) -> Attempt:
        attempt = await self._sender.send(delivery, integration)
        self.began.set()
        await self.may_end.wait()
        return attempt


async def test_a_worker_whose_clock_is_an_hour_ahead_repeats_no_more_than_the_same_ids(
    broker: str, valkey: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    senders: list[SlowOnce] = []

    def slow(sender: Sender) -> Sender:
        senders.append(SlowOnce(sender))
        return senders[-1]

    async with Site(broker, valkey, unique) as site, site.worker(options={"wrap_sender": slow}):
        await site.open_receiver()
        await site.order(1)
        await senders[0].began.wait()
        monkeypatch.setattr(engine, "wall_clock", lambda: wall_clock() + HOUR_MS)
        async with site.worker() as ahead:
            await site.receiver.wait_for(2)
            senders[0].may_end.set()
            await site.delivered()
            await site.order(5)
            await site.delivered()
            assert site.repeats >= 1
            assert ahead.parts.metrics.clamped_times._value.get() == 0


async def test_a_visitor_whom_another_partitioner_puts_into_two_partitions_is_two_and_loses_nothing(
    broker: str, valkey: str, unique: str
) -> None:
    async with Site(broker, valkey, unique, events_topic_partitions=2) as site, site.worker((0, 1)) as worker:
        for _ in range(3):
            await site.order(2, "v", partition=0)
            await site.order(2, "v", partition=1)
        for partition in (0, 1):
            await site.evaluated(5, partition)
            assert (await site.visitor("v", partition)).event_count == 6
        owed = [one.event_id for partition in (0, 1) for one in await site.store.owed(partition, limit=99)]
        assert sorted(owed) == sorted(f"v-{n}" for n in range(1, 13))
        assert worker.parts.metrics.misplaced._value.get() > 0

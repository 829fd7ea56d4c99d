"""The store is slow to answer, full, emptied, or replaced by an older copy: real engines on a real Valkey."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

from actionmap.consume import kafka
from actionmap.deliver import dispatch
from faults.proxy import FaultProxy
from faults.site import Site, Worker, until
from support import definitions
from valkeys import valkey_server

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


async def test_a_commit_that_the_store_made_but_could_not_answer_counts_once(
    broker: str, valkey: str, unique: str
) -> None:
    async with (
        FaultProxy(valkey.removeprefix("redis://").removesuffix("/0")) as proxy,
        Site(broker, valkey, unique) as site,
    ):
        await site.open_receiver()
        async with site.worker(redis_url=f"redis://{proxy.address}/0") as worker:
            await site.order(1)
            await site.evaluated(0)
            proxy.cut_reply_to(f"{unique}:{{e0}}:rq".encode())  # a key of `apply` alone
            await site.order(1)
            await proxy.struck()
            await site.delivered()
            assert worker.commits("mismatch") == 0
            assert (await site.visitor()).event_count == 2


async def test_a_store_without_memory_takes_no_half_a_batch_and_goes_on_draining(
    broker: str, unique: str, tmp_path: Path
) -> None:
    async with (
        valkey_server(tmp_path, *DURABLE, "--maxmemory", "20mb", "--maxmemory-policy", "noeviction") as port,
        Redis(port=port) as redis,
        Site(broker, f"redis://127.0.0.1:{port}/0", unique) as site,
        site.worker() as worker,
    ):
        await site.order(30)
        await site.evaluated(29)
        await _fill(redis)
        await redis.config_set("maxmemory", 10_000_000)  # so that what is settled does not make room for the batch
        await site.order(30)

        async def is_held() -> bool:
            return worker.commits("unreachable") >= 2

        await until(is_held, "the store refuses the batch")
        assert await _picture(site) == (29, 30, 30)
        await site.open_receiver()

        async def is_drained() -> bool:
            return await site.store.outbox_size(0) == 0

        await until(is_drained, "what is owed is sent and settled")
        with pytest.raises(OutOfMemoryError):
            await redis.set("more", "x")
        assert await _picture(site) == (29, 30, 0)
        assert worker.engine.consumer.lag() == {0: 30}

        await redis.delete(*[f"filler{n}" for n in range(40)])
        await site.delivered()


async def _fill(redis: Redis) -> None:
    for size in (1024 * 1024, 1024):
        try:
            for n in range(40):
                await redis.append(f"filler{n}", b"x" * size)
        except OutOfMemoryError:
            continue
    with pytest.raises(OutOfMemoryError):
        await redis.set("more", "x")


async def _picture(site: Site) -> tuple[int, int, int]:
    fence, visitor = await site.store.fence(0), await site.visitor()
    return fence.offset, visitor.event_count, await site.store.outbox_size(0)


@pytest.mark.parametrize("commits", [True, False])
async def test_an_emptied_store_stops_the_partition_until_a_person_says_how_to_go_on(
    commits: bool, broker: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before the group has committed anything, which it does every two seconds."""
    monkeypatch.setattr(kafka, "_COMMIT_EVERY_S", 0.05 if commits else 3600)
    async with (
        valkey_server(tmp_path, *DURABLE) as port,
        Redis(port=port) as redis,
        Site(broker, f"redis://127.0.0.1:{port}/0", unique) as site,
    ):
        await site.open_receiver()
        with structlog.testing.capture_logs() as lines:
            async with site.worker() as worker:
                await site.order(5)
                await site.delivered()
                if commits:
                    await _is_committed(worker, 5)
                await redis.flushall()
                await site.order(3)
                await _is_halted(worker)
                await _says_so(worker)
                assert (await site.store.fence(0)).offset == -1
                assert await site.store.load(0, ["v"]) == [None]
                assert "rulebook.went_back" in {line["event"] for line in lines}

                await site.define()
                assert await site.store.resume(0, "continue")
                await site.told([("v", n, n) for n in range(1, 6)] + [("v", n, n - 5) for n in range(6, 9)])


async def _is_committed(worker: Worker, position: int) -> None:
    async def reached() -> bool:
        return worker.engine.consumer._committed.get(0) == position

    await until(reached, f"the group has committed {position}")


async def _is_halted(worker: Worker) -> None:
    async def reached() -> bool:
        return bool(worker.engine.halted)

    await until(reached, "the partition has stopped")


async def _says_so(worker: Worker) -> None:
    assert (
        "state lost: what comes before offset 5 was evaluated, but the store holds no fence" in worker.engine.halted[0]
    )
    (problem,) = [one for one in (await worker.parts.health()).problems if "halted" in one]
    assert "actionmap partitions resume 0" in problem
    assert worker.parts.metrics.halted._value.get() == 1


async def test_a_store_that_has_lost_its_definitions_alone_decides_nothing_without_them(
    broker: str, valkey: str, unique: str
) -> None:
    async with Redis.from_url(valkey) as redis, Site(broker, valkey, unique) as site, site.worker() as worker:
        await site.open_receiver()
        await site.define()
        await _is_at_revision(worker, 2)
        await site.order(1)
        await site.delivered()
        await redis.delete(*await redis.keys(f"{unique}:{{definitions}}*"))
        await _is_at_revision(worker, 0)
        await site.order(1)

        async def is_held() -> bool:
            return worker.commits("rules-old") >= 2

        await until(is_held, "the fence refuses older rules")
        assert (await site.store.fence(0)).offset == 0
        await site.define()
        await site.define()  # at the revision that the fence knows it goes on
        await site.delivered()


async def test_a_worker_that_starts_with_definitions_that_it_cannot_use_evaluates_and_gives_up_nothing(
    broker: str, valkey: str, unique: str
) -> None:
    async with Site(broker, valkey, unique) as site:
        async with site.worker():
            await site.order(1)
            await site.evaluated(0)
        await site.store.definitions.write(1, {"Segment/odd": b'{"written by": "a newer version"}'})
        with capture_logs() as logs:
            async with site.worker() as worker:

                async def has_decided() -> bool:
                    waits = any(line["event"] == "definitions.awaited" for line in logs)
                    return waits or worker.engine.consumer.assigned.is_set()

                await site.order(1)
                await until(has_decided, "the worker takes part, or waits")
                assert not worker.engine.consumer.assigned.is_set()
                assert any("Segment odd" in problem for problem in (await worker.parts.health()).problems)
                await site.store.definitions.write(2, {}, ["Segment/odd"])
                await site.open_receiver()
                await site.delivered()
                assert await site.store.dead_letters(0, limit=9) == []
                assert (await worker.parts.health()).problems == []
        # One that is told to end while it waits ends.
        await site.store.definitions.write(3, {"Segment/odd": b""})
        async with site.worker() as worker:
            await _is_at_revision(worker, 0)


async def test_what_is_owed_waits_for_definitions_that_the_store_has_lost(
    broker: str, valkey: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a worker that has never seen them, and when others have written theirs anew."""
    monkeypatch.setattr(dispatch, "HELD_MS", 20)
    async with Site(broker, valkey, unique) as site, Redis.from_url(valkey) as redis:
        async with site.worker() as worker:
            await site.order(1)
            await site.evaluated(0)
            await redis.delete(*await redis.keys(f"{unique}:{{definitions}}*"))
            await _is_at_revision(worker, 0)
            await _is_held(worker)
        await site.open_receiver()
        async with site.worker() as worker:
            await _is_held(worker)
            await worker.parts.registry.change(definitions([{"kind": "Segment", "name": "s", "external": True}]))
            await _is_held(worker)
            await site.define()
            await site.delivered()
            assert await site.store.dead_letters(0, limit=9) == []


async def _is_held(worker: Worker) -> None:
    """Until it looks at the delivery anew, and keeps it."""
    held = worker.parts.metrics.held.labels("shop")
    before = held._value.get()

    async def more() -> bool:
        return held._value.get() > before

    await until(more, "the delivery is held")


async def _is_at_revision(worker: Worker, revision: int) -> None:
    async def reached() -> bool:
        return worker.parts.registry.revision == revision

    await until(reached, f"the worker has revision {revision}")


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[int, int, FaultProxy]]:
    """A primary and its replica by their ports, and the line between them."""
    async with AsyncExitStack() as open_:
        primary = await open_.enter_async_context(valkey_server(folder / "primary", *DURABLE))
        replica = await open_.enter_async_context(valkey_server(folder / "replica", *DURABLE))
        line = await open_.enter_async_context(FaultProxy(f"127.0.0.1:{primary}"))
        async with Redis(port=replica) as redis:
            await redis.replicaof("127.0.0.1", int(line.address.rpartition(":")[2]))
        yield primary, replica, line


async def _has_followed(primary: int, replica: int) -> None:
    async with Redis(port=primary) as first, Redis(port=replica) as second:
        assert await first.wait(1, 10_000) == 1
        assert (await second.info("replication"))["master_link_status"] == "up"


@pytest.mark.parametrize("events_come", [True, False])
async def test_a_failover_to_a_replica_that_lags_loses_nothing_and_repeats_only_the_same_ids(
    events_come: bool, broker: str, unique: str, tmp_path: Path
) -> None:
    async with (
        pair(tmp_path) as (primary, replica, line),
        FaultProxy(f"127.0.0.1:{primary}") as address,
        Site(broker, f"redis://{address.address}/0", unique) as site,
        site.worker() as worker,
    ):
        await site.open_receiver()
        await site.order(10)
        await site.delivered()
        await _has_followed(primary, replica)
        await line.cut()
        await site.order(10)
        await site.delivered()

        await address.cut()
        async with Redis(port=replica) as redis:
            await redis.replicaof("NO", "ONE")
        async with FaultProxy(f"127.0.0.1:{replica}", port=int(address.address.rpartition(":")[2])):
            if events_come:
                await site.order(10)
            await site.evaluated(29 if events_come else 19)
            await site.delivered()
            assert site.repeats == 10
            assert (await site.visitor()).event_count == site.sent["v"]
            assert worker.engine.halted == {}
            worker.engine.stop()  # while the address still answers

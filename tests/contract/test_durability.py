"""What a store promises to keep is read from it, told, and waited for before anything follows from it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from actionmap.delivery import Delivery
from actionmap.embedded import free_port
from actionmap.errors import Unreachable
from actionmap.store.definitions import Revision
from actionmap.store.durability import Guarantees, Question, SharedWait, guarantees_of, worst
from actionmap.store.protocols import Commit, Halt, Parked
from actionmap.store.redis import RedisStore
from support import PATIENCE_S
from valkeys import valkey_cluster, valkey_server

GOOD = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
NEW = {"valkey_version": "9.0.1", "redis_version": "7.2.4", "aof_last_write_status": "ok"}


@pytest.mark.parametrize(
    ("config", "info", "waits", "profile", "missing"),
    [
        (GOOD, NEW, "no", "always", ()),
        ({**GOOD, "appendfsync": "everysec"}, NEW, "yes", "everysec", ()),
        ({**GOOD, "appendfsync": "everysec"}, NEW, "late", "everysec", ("not on the store's disk within",)),
        ({**GOOD, "appendfsync": "everysec"}, NEW, "early", "everysec", ("answers before a write is on its disk",)),
        ({**GOOD, "appendfsync": "everysec"}, NEW, "no", "none", ("cannot be waited for",)),
        ({**GOOD, "no-appendfsync-on-rewrite": "yes"}, NEW, "yes", "everysec", ()),
        ({**GOOD, "appendfsync": "no"}, NEW, "yes", "none", ("appendfsync is no",)),
        ({**GOOD, "appendonly": "no"}, NEW, "no", "none", ("appendonly is off",)),
        ({**GOOD, "maxmemory-policy": "allkeys-lru"}, NEW, "no", "always", ("allkeys-lru",)),
        (GOOD, {"redis_version": "7.0.15"}, "no", "always", ("redis 7.0.15; use Redis 7.2",)),
        (GOOD, {**NEW, "aof_last_write_status": "err"}, "no", "always", ("last write of the append-only file failed",)),
        (None, NEW, "yes", "everysec", ("does not show its configuration",)),
        (None, NEW, "no", "none", ("does not show its configuration", "WAITAOF does not confirm")),
    ],
)
def test_what_cannot_be_kept_is_told_with_what_to_do(config, info, waits, profile, missing):
    found = guarantees_of(config, info, waits=waits)
    assert found.profile == profile
    assert len(found.missing) == len(missing)
    for text, part in zip(found.missing, missing, strict=True):
        assert part in text
        assert text in found.words


@pytest.mark.parametrize(
    ("options", "profile", "missing"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), "always", ""),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "everysec", ""),
        (("--appendonly", "no"), "none", "appendonly is off"),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), "everysec", "allkeys-lru"),
        (("--appendonly", "yes", "--rename-command", "CONFIG", ""), "everysec", "does not show its configuration"),
        (("--appendonly", "no", "--rename-command", "CONFIG", ""), "none", "WAITAOF does not confirm"),
    ],
)
async def test_a_real_server_is_asked_for_its_configuration(
    options: tuple[str, ...], profile: str, missing: str, tmp_path: Path
) -> None:
    async with valkey_server(tmp_path, *options) as port:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        found = await store.guarantees()
        assert (found.profile, missing in "; ".join(found.missing)) == (profile, True)
        assert missing or _beside_waitaof(found) == []
        assert await store.durable_offset(0) == -1
        await store.close()


def _beside_waitaof(found: Guarantees) -> list[str]:
    """What is missing, but for a server whose WAITAOF does not wait: the one at hand may be such a server."""
    return [text for text in found.missing if "WAITAOF of this server answers before" not in text]


async def test_a_server_whose_waitaof_does_not_wait_for_the_disk_is_found_out(tmp_path: Path) -> None:
    async with valkey_server(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec") as port:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        said = bool((await store.guarantees()).missing)
        started = time.monotonic()
        async with Redis(port=port) as redis, redis.client() as one:
            for _ in range(3):
                await one.set("x", b"")
                await one.execute_command("WAITAOF", 1, 0, 2000)
        assert said == (time.monotonic() - started < 0.5)
        await store.close()


def _commit(id_: str = "a") -> Commit:
    owed = Delivery(id=id_, integration="crm", webhook="w", action_map="m", visitor_id="v", event_id="e", at=1,
                    owed_at=1, method="POST", target="/x")  # fmt: skip
    return Commit(expected_token="t0", token="t1", offset=5, revision=1, stream_time=9, deliveries=[owed])


async def test_with_everysec_what_was_waited_for_is_in_the_file_when_the_server_is_killed(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "everysec")
    async with valkey_server(tmp_path, *options) as port:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        await store.claim(3, owner="me", token="t0", cluster="c", partitions=4)
        await store.apply(3, _commit())
        assert await store.durable_offset(3) == 5
        assert await store.wait_durable(3, ["a", "lost"]) == {"a"}
        async with Redis(port=port) as redis:
            assert (await redis.info("persistence"))["aof_pending_bio_fsync"] == 0
        await store.close()
    async with valkey_server(tmp_path, *options) as port:  # the first one was killed
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        assert (await store.fence(3)).token == "t1"
        assert [one.id for one in await store.owed(3, limit=9)] == ["a"]
        await store.close()


async def test_a_server_that_is_configured_worse_while_it_runs_is_noticed_and_told(tmp_path: Path) -> None:
    async with valkey_server(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec") as port:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        assert (await store.guarantees()).profile == "everysec"
        async with Redis(port=port) as redis:
            await redis.config_set("appendonly", "no")
        assert await store.durable_offset(0) == -1
        assert "appendonly is off" in (await store.guarantees()).words
        await store.close()


async def test_a_server_that_goes_away_while_it_is_waited_for_is_unreachable(tmp_path: Path) -> None:
    async with valkey_server(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec") as port:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        assert (await store.guarantees()).profile == "everysec"
    with pytest.raises(Unreachable):
        await store.durable_offset(0)
    await store.close()


async def test_what_a_server_lost_when_it_started_anew_is_not_confirmed_by_the_new_one(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "everysec")
    port = free_port()
    store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
    async with valkey_server(tmp_path / "one", *options, port=port):
        await store.claim(3, owner="me", token="t0", cluster="c", partitions=4)
        await store.apply(3, _commit())
        assert [one.id for one in (await store.lease(3, now=9, limit=9, lease_ms=9)).deliveries] == ["a"]
    async with valkey_server(tmp_path / "none-of-it", *options, port=port):
        with contextlib.suppress(Unreachable):
            await store.ping()  # finds out that the connection is gone
        assert await store.durable_offset(3) == -1
        assert await store.wait_durable(3, ["a"]) == frozenset()
    await store.close()


async def test_who_asks_while_a_wait_is_on_its_way_joins_the_next_one() -> None:
    began: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def wait(questions: list[Question]) -> list[Any]:
        gate = asyncio.Event()
        began.put_nowait(gate)
        await gate.wait()
        return [question[0].lower() for question in questions]

    shared = SharedWait(wait)
    async with asyncio.timeout(PATIENCE_S):
        first = asyncio.create_task(shared(("A",)))
        one = await began.get()
        others = [asyncio.create_task(shared((letter,))) for letter in "BCDEF"]
        one.set()
        await first
        two = await began.get()
        assert not any(other.done() for other in others)
        two.set()
        assert (await first, await asyncio.gather(*others)) == ("a", ["b", "c", "d", "e", "f"])
    assert began.empty()


@pytest.fixture(params=["always", "everysec"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisStore]:
    async with valkey_cluster(tmp_path, "--appendfsync", request.param) as url:
        store = RedisStore(url, clock=lambda: 7)
        yield store
        await store.close()


async def test_a_cluster_takes_every_call_of_every_partition_each_in_one_slot(cluster: RedisStore) -> None:
    assert _beside_waitaof(await cluster.guarantees()) == []
    for partition in range(6):  # which lie on all three nodes
        await cluster.claim(partition, owner="me", token="t0", cluster="c", partitions=6)
        done = await cluster.apply(partition, Commit(
            expected_token="t0", token="t1", offset=5, revision=1, stream_time=9, deliveries=_commit().deliveries,
            visitors=[(f"v{number}", b"{}") for number in range(1200)], timers=[("v1", 7)],
        ))  # fmt: skip
        assert (done.status, done.next_due) == ("ok", 7)
        assert await cluster.durable_offset(partition) == 5
        assert await cluster.load(partition, ["v1", "none"], "t1") == [b"{}", None]
        assert (await cluster.due(partition, "t1", until=9, limit=9)).visitors == [("v1", 7)]
        (leased,) = (await cluster.lease(partition, now=10, limit=9, lease_ms=5)).deliveries
        await cluster.nack(partition, [(leased, 50)], now=20)
        await cluster.park(partition, [(leased, 3)])
        assert await cluster.parked(partition) == Parked(3, 4, {leased.integration: 1}, {})
        assert await cluster.unpark(partition, position=3, to=4, owe=[leased])
        await cluster.ack(partition, [leased], now=60)
        assert await cluster.owed_by_integration(partition) == {}
        await cluster.forget(partition)
        assert await cluster.load(partition, ["v1", "v1199"]) == [None, None]
    assert await cluster.definitions.write(0, {"Segment/s": b"{}"}, []) == 1
    assert (await cluster.definitions.changes(Revision(-1))).definitions == {"Segment/s": b"{}"}


def test_words_for_people_say_the_profile_first():
    assert Guarantees("everysec").words.startswith("everysec: ")


def test_nodes_keep_together_what_the_one_keeps_that_keeps_least():
    nodes = {
        "a:1": Guarantees("always"),
        "b:2": Guarantees("none", ("appendonly is off",)),
        "c:3": Guarantees("everysec"),
    }
    assert worst(nodes) == Guarantees("none", ("b:2: appendonly is off",))


async def test_a_full_server_still_tells_what_is_durable_so_that_it_can_be_drained(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
    async with valkey_server(tmp_path, *options) as port:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", clock=lambda: 7)
        await store.claim(3, owner="me", token="t0", cluster="c", partitions=4)
        await store.apply(3, _commit())
        async with Redis(port=port) as redis:
            await redis.config_set("maxmemory", 1)
        assert (await store.guarantees()).profile == "everysec"
        assert await store.wait_durable(3, ["a"]) == {"a"}
        await store.halt(3, Halt("fault", "words", 1))
        assert (await store.fence(3)).halted == Halt("fault", "words", 1)
        await store.close()


async def test_one_badly_configured_node_of_a_cluster_is_noticed(tmp_path: Path) -> None:
    async with valkey_cluster(tmp_path, "--appendfsync", "always") as url:
        store = RedisStore(url, clock=lambda: 7)
        assert await store.guarantees() == Guarantees("always")
        for node in store._redis.get_primaries():
            async with Redis(host=node.host, port=node.port) as redis:
                await redis.config_set("maxmemory-policy", "allkeys-lru")
                assert str(node.port) in "; ".join((await store.guarantees()).missing)
                await redis.config_set("maxmemory-policy", "noeviction")
        await store.close()

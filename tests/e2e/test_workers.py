"""`actionmap run --workers 2`: real worker processes share the partitions, die, are exchanged, and end in order."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from actionmap.app import open_store
from actionmap.collect.producer import EventProducer, Outgoing, Stored
from actionmap.collect.topic import ensure_topic
from actionmap.demo.receiver import Receiver
from actionmap.registry import Registry
from actionmap.settings import Settings
from processes import PATIENCE_S, Process, running, shop_rules
from support import definitions, event

PARTITIONS = 4
VISITORS = [f"v{n}" for n in range(12)]


class Shop:
    """A topic, definitions and a receiver, and the parent of two workers."""

    def __init__(self, settings: Settings, receiver: Receiver, parent: Process) -> None:
        self._settings = settings
        self._receiver = receiver
        self.parent = parent
        self._numbers = count()
        self._sent: list[int] = []

    async def send(self, number: int) -> None:
        """Put so many orders into the topic, in turn of each visitor."""
        settings = self._settings
        async with EventProducer(settings.kafka_bootstrap_servers, settings.events_topic, idempotent=False) as producer:
            batch = []
            for _ in range(number):
                n = next(self._numbers)
                visitor = VISITORS[n % len(VISITORS)]
                batch.append(Outgoing(visitor, event(visitor, attributes={"n": n}, eventId=f"e{n}")))
                self._sent.append(n)
            assert all(isinstance(result, Stored) for result in await producer.send_many(batch))

    async def all_told(self) -> None:
        """Wait until a webhook has come for each order."""
        async with asyncio.timeout(PATIENCE_S):
            received = await self._receiver.wait_for(len(self._sent), PATIENCE_S)
            while len({json.loads(one.body)["n"] for one in received}) < len(self._sent):
                received = await self._receiver.wait_for(len(received) + 1, PATIENCE_S)

    def check_each_once(self, *, repeats: bool = False) -> None:
        """One id and one body for each order; ``repeats``: a killed worker may have sent some of them twice."""
        told = Counter((one.headers["webhook-id"], one.body) for one in self._receiver.requests)
        assert sorted(json.loads(body)["n"] for _, body in told) == sorted(self._sent)
        assert len({id_ for id_, _ in told}) == len(self._sent)
        assert repeats or set(told.values()) == {1}

    def log(self) -> list[dict[str, Any]]:
        lines = self.parent.output().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def pids(self) -> list[int]:
        """Of every worker that became ready."""
        return [line["pid"] for line in self.log() if line["event"] == "worker.ready"]

    async def ready(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self.parent._said:
            await self.parent._said.wait_for(lambda: len(self.pids()) >= number)

    async def owned(self) -> list[set[int]]:
        """The partitions of each worker that answers, by its metrics."""
        urls = [line.partition("health and metrics at ")[2] for line in self.parent.output().splitlines()]
        found = []
        async with httpx.AsyncClient(trust_env=False) as client:
            for url in filter(None, urls):
                try:
                    health = (await client.get(f"{url.strip()}/health/ready")).json()
                except httpx.HTTPError:
                    continue
                found.append({int(partition) for partition in health["lag"]})
        return found


@asynccontextmanager
async def two_workers(broker: str, valkey: str, name: str, folder: Path) -> AsyncIterator[Shop]:
    env = {
        "ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": broker, "ACTIONMAP_REDIS_URL": valkey, "ACTIONMAP_REDIS_PREFIX": name,
        "ACTIONMAP_EVENTS_TOPIC": name, "ACTIONMAP_CONSUMER_GROUP": name, "ACTIONMAP_METRICS_PORT": "0",
        "ACTIONMAP_KAFKA_SESSION_TIMEOUT": "2s", "ACTIONMAP_EGRESS_ALLOW": "127.0.0.1/32",
    }  # fmt: skip
    settings = Settings(kafka_bootstrap_servers=broker, redis_url=valkey, redis_prefix=name, events_topic=name)
    await ensure_topic(broker, name, PARTITIONS)
    async with Receiver() as receiver:
        store = open_store(settings)
        try:
            await Registry(store).change(definitions(shop_rules(receiver.url)))
        finally:
            await store.close()
        async with running("run", "--workers", "2", cwd=folder, env=env) as parent:
            shop = Shop(settings, receiver, parent)
            await shop.ready(2)
            yield shop


async def test_workers_share_the_partitions_are_exchanged_on_sighup_and_end_in_order_on_sigterm(
    broker: str, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with two_workers(broker, valkey, unique, tmp_path) as shop:
        await shop.send(60)
        await shop.all_told()
        first, second = await shop.owned()
        assert (len(first), len(second), first | second) == (2, 2, set(range(PARTITIONS)))
        shop.parent._process.send_signal(signal.SIGHUP)
        await shop.ready(3)
        await shop.send(60)  # while the second one is being exchanged
        await shop.parent.says("roll.ended")
        await shop.all_told()
        shop.check_each_once()
        assert len(set(shop.pids())) == 4
        assert await shop.parent.stop(signal.SIGTERM) == 0, shop.parent.output()
        assert "Traceback" not in shop.parent.output()


async def test_a_killed_worker_is_started_again_and_its_partitions_go_on(
    broker: str, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with two_workers(broker, valkey, unique, tmp_path) as shop:
        await shop.send(24)
        await shop.all_told()
        killed = shop.pids()[0]
        os.kill(killed, signal.SIGKILL)
        await shop.send(60)
        await shop.all_told()
        await shop.ready(3)
        shop.check_each_once(repeats=True)
        ended = [line for line in shop.log() if line["event"] == "worker.ended"]
        assert [(line["pid"], line["code"]) for line in ended] == [(killed, -signal.SIGKILL)]
        assert await shop.parent.stop(signal.SIGTERM) == 0, shop.parent.output()


async def test_a_broker_that_does_not_answer_is_told_by_the_first_worker_and_ends_all_with_2(
    valkey: str, unique: str, tmp_path: Path
) -> None:
    env = {"ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "ACTIONMAP_REDIS_URL": valkey,
           "ACTIONMAP_REDIS_PREFIX": unique, "ACTIONMAP_METRICS_PORT": "0"}  # fmt: skip
    async with running("run", "--workers", "2", cwd=tmp_path, env=env) as parent:
        await parent.says("workers.not_started")
        async with asyncio.timeout(PATIENCE_S):
            assert await parent._process.wait() == 2
            await parent._reading
        assert parent.output().count("error:") == 1
        assert "127.0.0.1:1" in parent.output()


async def test_settings_that_are_wrong_are_told_once_before_any_worker_starts(tmp_path: Path) -> None:
    async with running("run", "--workers", "2", cwd=tmp_path, env={"ACTIONMAP_METRICS_PORT": "65535"}) as parent:
        await parent.says("ACTIONMAP_METRICS_PORT: 2 workers take as many ports")
        async with asyncio.timeout(PATIENCE_S):
            assert await parent._process.wait() == 2
        assert "worker.started" not in parent.output()

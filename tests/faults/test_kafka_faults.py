"""Kafka is away, or its client fails half-way: real engines behind a proxy, or over a client that raises."""

import asyncio
from typing import Any

import httpx
import pytest
from aiokafka.errors import CorruptRecordException, KafkaError, RequestTimedOutError
from fastapi import FastAPI

from actionmap.collect.collector import collector_router
from actionmap.collect.producer import EventProducer
from actionmap.collect.quota import Quota
from actionmap.telemetry import Metrics
from faults.site import Site, Worker, broker_behind_proxy


async def test_while_kafka_is_away_what_is_owed_is_sent_and_the_collector_says_503(valkey: str, unique: str) -> None:
    async with (
        broker_behind_proxy() as kafka,
        Site(kafka.address, valkey, unique) as site,
        site.worker(),
        EventProducer(kafka.address, unique, idempotent=False, ack_timeout_s=3.0) as producer,
    ):
        await site.order(50)
        await site.evaluated(49)
        kafka.hang()
        await site.open_receiver()
        await site.delivered()
        assert await _collect(producer) == 503

        await kafka.heal()
        await site.order(50)
        await site.delivered()
        assert site.repeats == 0


async def _collect(producer: EventProducer) -> int:
    app = FastAPI()
    quota = Quota(1_000_000, lambda: 0.0)
    app.include_router(collector_router(producer, lambda _: frozenset({"ingest"}), quota, Metrics()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site") as client:
        answer = await client.post("/v1/events", json={"eventName": "visit", "visitorId": "w"})
    return answer.status_code


@pytest.mark.parametrize("error", [CorruptRecordException, RequestTimedOutError])
async def test_what_the_client_had_drained_when_it_failed_is_evaluated_all_the_same(
    error: type[KafkaError], broker: str, valkey: str, unique: str
) -> None:
    async with Site(broker, valkey, unique, events_topic_partitions=2) as site, site.worker((0, 1)) as worker:
        for partition in (0, 1):
            await site.order(1, f"v{partition}", partition)
            await site.evaluated(0, partition)
        raised = await _raise_once_drained(worker, error)
        await asyncio.gather(site.order(20, "v0", 0), site.order(20, "v1", 1))
        for partition in (0, 1):
            await site.evaluated(20, partition)
            assert (await site.visitor(f"v{partition}", partition)).event_count == 21
            assert len(await site.store.owed(partition, limit=99)) == 21
        assert raised.is_set()


async def _raise_once_drained(worker: Worker, error: type[KafkaError]) -> asyncio.Event:
    """As aiokafka does when one partition's records are drained and those of the next one cannot be read."""
    client: Any = worker.engine.consumer._consumer
    getmany, in_use, raised = client.getmany, asyncio.Event(), asyncio.Event()

    async def fails(*partitions: Any, timeout_ms: int) -> Any:
        in_use.set()
        drained = await getmany(*partitions, timeout_ms=timeout_ms)
        if drained and not raised.is_set():
            raised.set()
            raise error
        return drained

    client.getmany = fails
    await in_use.wait()
    return raised

"""The collector against a real broker: what is answered is what Kafka has."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI

from actionmap.collect.collector import collector_router
from actionmap.collect.producer import EventProducer, Outgoing, Overloaded, Stored
from actionmap.collect.quota import Quota
from actionmap.collect.topic import ensure_topic
from actionmap.embedded import embedded_broker, free_port
from actionmap.errors import SettingsError, Unreachable
from actionmap.telemetry import Metrics

PARTITIONS = 4


@pytest.fixture
async def topic(broker: str, unique: str) -> str:
    assert await ensure_topic(broker, unique, PARTITIONS) == PARTITIONS
    return unique


@pytest.fixture
async def producer(broker: str, topic: str) -> AsyncIterator[EventProducer]:
    async with EventProducer(broker, topic, idempotent=False) as producer:
        yield producer


def app_with(producer: EventProducer) -> httpx.AsyncClient:
    app = FastAPI()
    quota = Quota(1_000_000, lambda: 0.0)
    app.include_router(collector_router(producer, lambda _: frozenset({"ingest"}), quota, Metrics()))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=30)


async def read_all(broker: str, topic: str) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """Key and value of every record by partition and offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        while len(found) < sum(ends.values()):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found.update({(place.partition, record.offset): (record.key, record.value) for record in records})
        return found
    finally:
        await consumer.stop()


async def test_what_was_accepted_lies_in_kafka_where_the_answer_says(broker: str, topic: str, producer: EventProducer):
    events = [{"eventName": "page_viewed", "visitorId": f"v{number % 7}", "n": number} for number in range(300)]
    events[5] = {"eventName": "page_viewed"}
    async with app_with(producer) as client:
        response = await client.post("/v1/events", json=events)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert (answer["accepted"], answer["rejected"]) == (299, 1)
    records = await read_all(broker, topic)
    assert len(records) == 299
    for result in answer["results"]:
        if result["status"] == "rejected":
            assert result["index"] == 5
            continue
        key, value = records[result["partition"], result["offset"]]
        assert json.loads(value) == events[result["index"]]
        assert key.decode() == events[result["index"]]["visitorId"]
        assert result["eventId"] == f"{topic}/{result['partition']}/{result['offset']}"


async def test_one_visitors_events_stay_in_one_partition_in_order(broker: str, topic: str, producer: EventProducer):
    results = await producer.send_many([Outgoing("v1", b"x" * 3000) for _ in range(500)])
    assert all(isinstance(result, Stored) for result in results)
    assert len({result.partition for result in results if isinstance(result, Stored)}) == 1
    offsets = [result.offset for result in results if isinstance(result, Stored)]
    assert offsets == sorted(offsets)
    assert producer.has_room(51 * 1024 * 1024)


async def test_events_are_refused_while_the_buffer_is_full(broker: str, topic: str):
    async with EventProducer(broker, topic, idempotent=False, buffer_bytes=1000) as producer:
        with pytest.raises(Overloaded, match="nothing was taken"):
            await producer.send_many([Outgoing("v1", b"x" * 900)])
        await producer.send_many([Outgoing("v1", b"{}")])
    assert len(await read_all(broker, topic)) == 1


async def test_when_the_broker_goes_away_the_answer_is_503_and_names_the_events(unique: str):
    async with embedded_broker() as bootstrap:
        await ensure_topic(bootstrap, unique, PARTITIONS)
        producer = EventProducer(bootstrap, unique, idempotent=False, ack_timeout_s=1)
        await producer.start()
        await producer.send_many([Outgoing("v1", b"{}")])
    try:
        async with app_with(producer) as client:
            response = await client.post("/v1/events", json={"eventName": "a", "visitorId": "v1"})
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert response.json()["results"][0]["reason"] == "not-acknowledged"
    finally:
        await producer.stop()
    with pytest.raises(Unreachable, match="not connected"):
        producer.check_room()


async def test_a_broker_that_gives_out_no_producer_id_is_named_as_the_reason(broker: str, topic: str):
    with pytest.raises(Unreachable, match="idempotent=False"):
        await EventProducer(broker, topic, idempotent=True).start()


async def test_a_topic_that_exists_is_left_as_it_is_also_by_many_at_once(broker: str, unique: str):
    assert set(await asyncio.gather(*(ensure_topic(broker, unique, 3) for _ in range(5)))) == {3}
    assert await ensure_topic(broker, unique, 9) == 3


async def test_no_broker_is_said_at_once_with_what_to_do():
    address = f"127.0.0.1:{free_port()}"
    for attempt in (EventProducer(address, "t").start(), ensure_topic(address, "t", 1)):
        with pytest.raises(
            Unreachable, match=f"no Kafka broker answers at {address}; start one, or set ACTIONMAP_KAFKA"
        ):
            await attempt


async def test_something_that_is_no_broker_is_given_up_after_the_timeout():
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(Unreachable, match="no Kafka broker answers"):
            await EventProducer(address, "t", ack_timeout_s=0.3).start()
    finally:
        for connection in connections:
            connection.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("address", ["host:port", "host:99999999"])
async def test_an_address_that_is_none_names_the_setting(address: str):
    with pytest.raises((SettingsError, Unreachable), match="ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS"):
        await EventProducer(address, "t").start()


def test_failing_to_connect_leaves_nothing_on_standard_error():
    script = f"""
import asyncio
from actionmap.collect.producer import EventProducer
from actionmap.errors import Unreachable
try:
    asyncio.run(EventProducer("127.0.0.1:{free_port()}", "t").start())
except Unreachable:
    print("unreachable")
"""
    command = [sys.executable, "-X", "dev", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("unreachable\n", "")

"""Sending a file against a real broker."""

import gzip
import io
import json
from collections import defaultdict

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from actionmap.collect.producer import EventProducer
from actionmap.collect.send import send_file
from actionmap.collect.topic import ensure_topic
from actionmap.demo.sample import generate, packed
from actionmap.embedded import embedded_broker
from actionmap.errors import Unreachable

PARTITIONS = 4


async def read_all(broker: str, topic: str) -> list[tuple[int, bytes]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        wanted = sum((await consumer.end_offsets(places)).values())
        found: list[tuple[int, bytes]] = []
        while len(found) < wanted:
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found += [(place.partition, record.value) for record in records]
        return found
    finally:
        await consumer.stop()


async def test_the_whole_sample_arrives_once_and_each_visitors_events_in_their_order(broker: str, unique: str):
    await ensure_topic(broker, unique, PARTITIONS)
    async with EventProducer(broker, unique, idempotent=False) as producer:
        report = await send_file(io.BytesIO(packed()), producer, in_flight=500)
    assert report.is_clean
    by_visitor: dict[str, list[dict]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    received = await read_all(broker, unique)
    for partition, value in received:
        event = json.loads(value)
        by_visitor[event["visitorId"]].append(event)
        partitions[event["visitorId"]].add(partition)
    expected: dict[str, list[dict]] = defaultdict(list)
    for event in generate():
        expected[event["visitorId"]].append(event)
    assert by_visitor == expected
    assert report.sent == report.lines == len(received)
    assert all(len(places) == 1 for places in partitions.values())


async def test_the_good_lines_of_a_bad_file_arrive(broker: str, unique: str):
    await ensure_topic(broker, unique, PARTITIONS)
    good = b'{"eventName": "a", "visitorId": "v"}'
    source = io.BytesIO(gzip.compress(good + b"\nnonsense\n\n" + good))
    async with EventProducer(broker, unique, idempotent=False) as producer:
        report = await send_file(source, producer)
    assert (report.sent, report.rejected, report.skipped) == (2, {"malformed-json": 1}, {"blank": 1})
    assert [value for _, value in await read_all(broker, unique)] == [good, good]


async def test_when_the_broker_goes_away_sending_ends_with_an_error(unique: str):
    async with embedded_broker() as bootstrap:
        await ensure_topic(bootstrap, unique, PARTITIONS)
        producer = EventProducer(bootstrap, unique, idempotent=False, ack_timeout_s=1)
        await producer.start()
    try:
        with pytest.raises(Unreachable, match=r"of the events up to line \d"):
            await send_file(io.BytesIO(packed()), producer, in_flight=100)
    finally:
        await producer.stop()

"""The main path on Apache Kafka, and the promises that only a real broker can keep for the collector."""

import asyncio
import json
import struct
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from actionmap.app import open_producer
from actionmap.collect.producer import EventProducer, Outgoing, Stored
from actionmap.collect.topic import ensure_topic
from actionmap.settings import load_settings
from faults.proxy import FaultProxy
from kafka.apache import ApacheKafka
from processes import PATIENCE_S, check_main_path
from support import event

#: How each of its requests to produce begins: the client's name, no transaction, acks=all, milliseconds to wait.
ACKS_ALL = b"actionmap-collect" + struct.pack(">hhi", -1, -1, 5000)


async def test_an_event_over_http_becomes_a_webhook_on_apache_kafka(
    apache: ApacheKafka, valkey: str, unique: str, tmp_path: Path
) -> None:
    await check_main_path(apache.bootstrap, valkey, unique, tmp_path)


async def values_of(bootstrap: str, topic: str, number: int) -> list[bytes | None]:
    """What the log holds, ``number`` records at least."""
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await reader.start()
    try:
        found: list[bytes | None] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < number:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    found += [record.value for record in records]
        return found
    finally:
        await reader.stop()


@pytest.mark.parametrize(("idempotent", "copies"), [(True, 1), (False, 2)])
async def test_all_in_sync_replicas_are_waited_for_and_an_event_whose_acknowledgement_is_lost_is_in_the_log_once(
    idempotent: bool, copies: int, apache: ApacheKafka, unique: str
) -> None:
    await ensure_topic(apache.bootstrap, unique, 1)
    async with FaultProxy(apache.behind_proxy, port=apache.proxy_port) as proxy:
        settings = load_settings(kafka_bootstrap_servers=proxy.address, events_topic=unique)
        chosen = await open_producer(settings)
        # Without idempotence the same fault leaves two copies: so this is a fault that a repeat must survive.
        async with chosen if idempotent else EventProducer(proxy.address, unique, idempotent=False) as producer:
            (before,) = await producer.send_many([Outgoing("v", event(attributes={"n": 0}))])
            assert isinstance(before, Stored)
            proxy.cut_reply_to(ACKS_ALL)
            (answer,) = await producer.send_many([Outgoing("v", event(attributes={"n": 1}))])
            await asyncio.wait_for(proxy.struck(), PATIENCE_S)
            assert isinstance(answer, Stored)
            (after,) = await producer.send_many([Outgoing("v", event(attributes={"n": 2}))])
            assert isinstance(after, Stored)
    numbers = [
        json.loads(value or b"")["attributes"]["n"] for value in await values_of(apache.bootstrap, unique, 2 + copies)
    ]
    assert numbers == [0, *[1] * copies, 2]

"""Workers join, leave, die and hang while events stream: partitions move, and nothing is lost or decided twice."""

import os
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from actionmap.collect.topic import ensure_topic
from actionmap.consume.ends import group_members
from kafka.apache import ApacheKafka
from kafka.stream import Stream


async def test_a_worker_that_joins_and_leaves_in_order_takes_nothing_with_it(
    apache: ApacheKafka, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with Stream(apache.bootstrap, valkey, unique, tmp_path) as stream, stream.worker() as first:
        async with stream.flowing():
            await stream.more_webhooks()
            async with stream.worker() as second:
                await stream.owned_by(first, second)
                await stream.more_webhooks()
                assert await second.stop(signal.SIGTERM) == 0, second.output()
            await stream.owned_by(first)
            await stream.more_webhooks()
        assert await stream.check(delivered=True) > 600


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_or_hangs_is_replaced_after_its_session_time_out(
    number: signal.Signals, apache: ApacheKafka, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with Stream(apache.bootstrap, valkey, unique, tmp_path) as stream:
        short = {"kafka_session_timeout": "6s"}
        async with stream.worker(**short) as first, stream.worker(**short) as second:
            async with stream.flowing():
                await stream.owned_by(first, second)
                await stream.more_webhooks()
                os.kill(second.pid, number)
                await stream.owned_by(first)
                if number is signal.SIGSTOP:
                    os.kill(second.pid, signal.SIGCONT)
                    await stream.owned_by(first, second)
                await stream.more_webhooks()
            assert await stream.check() > 400


async def test_how_many_workers_consume_is_told(apache: ApacheKafka, unique: str) -> None:
    await ensure_topic(apache.bootstrap, unique, 1)
    assert not await group_members(apache.bootstrap, unique)
    consumer = AIOKafkaConsumer(unique, bootstrap_servers=apache.bootstrap, group_id=unique)
    await consumer.start()
    assert await group_members(apache.bootstrap, unique) == 1
    await consumer.stop()
    assert await group_members(apache.bootstrap, unique) == 0

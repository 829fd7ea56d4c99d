"""The log is no longer the one that was evaluated: its partition stops and says why, the others go on."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from kafka.apache import ApacheKafka
from kafka.stream import Stream, until
from processes import PATIENCE_S, Process
from support import event

STOPS, GOES_ON = 0, 1


@asynccontextmanager
async def admin_of(stream: Stream) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stream.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def append(stream: Stream, partition: int, number: int, visitor: str = "v") -> None:
    """More records, in a partition that is chosen by hand."""
    producer = AIOKafkaProducer(bootstrap_servers=stream.bootstrap)
    await producer.start()
    try:
        for n in range(number):
            value = event(f"{visitor}{partition}", attributes={"n": n})
            await producer.send_and_wait(stream.name, value, partition=partition)
    finally:
        await producer.stop()


async def recreate(stream: Stream) -> None:
    async with admin_of(stream) as admin:
        await admin.delete_topics([stream.name])

        async def created() -> bool:
            answer = await admin.create_topics([NewTopic(stream.name, stream.partitions, 1)])
            return answer.topic_errors[0][1] == 0

        await until(created, "the topic exists again")


async def stops(stream: Stream, worker: Process, reason: str) -> None:
    """That one partition has stopped for ``reason``, is named, and that the others go on."""
    await worker.says("partition.halted")
    status, health = await stream.ready(worker)
    assert status == 503
    (problem,) = [problem for problem in health["problems"] if "halted" in problem]
    assert f"{stream.name}/{STOPS}" in problem
    assert reason in problem
    before = len(stream.receiver.requests)
    await append(stream, GOES_ON, 2, visitor="new")
    await stream.receiver.wait_for(before + 2, PATIENCE_S)
    assert worker.output().count("partition.halted") == 1


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(("number", "reason"), [(3, "truncated"), (15, "recreated")])
async def test_a_topic_that_was_deleted_and_made_anew_stops_the_partitions_that_were_evaluated(
    number: int, reason: str, running: bool, apache: ApacheKafka, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with Stream(apache.bootstrap, valkey, unique, tmp_path, partitions=2) as stream:
        async with stream.worker() as worker:
            await append(stream, STOPS, 10)
            await stream.receiver.wait_for(10, PATIENCE_S)
            if running:
                await recreate(stream)
                await append(stream, STOPS, number, visitor="new")
                await stops(stream, worker, reason)
                return
            assert await worker.stop(signal.SIGTERM) == 0
        await recreate(stream)
        await append(stream, STOPS, number, visitor="new")
        async with stream.worker() as worker:
            await stops(stream, worker, reason)


async def test_records_that_retention_deleted_before_they_were_evaluated_stop_their_partition(
    apache: ApacheKafka, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with Stream(apache.bootstrap, valkey, unique, tmp_path, partitions=2) as stream:
        async with stream.worker() as worker:
            await append(stream, STOPS, 4)
            await stream.receiver.wait_for(4, PATIENCE_S)
            assert await worker.stop(signal.SIGTERM) == 0
        await append(stream, STOPS, 6)
        async with admin_of(stream) as admin:
            await admin.delete_records({TopicPartition(stream.name, STOPS): RecordsToDelete(before_offset=7)})
        async with stream.worker() as worker:
            await stops(stream, worker, "3 records were deleted before they were evaluated")

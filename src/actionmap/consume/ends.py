"""Asked of the broker anew: which cluster it is, where each log ends; and until when an end is known."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from actionmap.consume.parse import Record
from actionmap.errors import Unreachable

_TIMEOUT_S = 10.0
_READ_MS = 2_000


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own clients choose for ``key`` among so many ``partitions``: by its murmur2."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


async def log_ends(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """The offset after the last record of each partition of ``topic``; asks the broker anew each time.

    Raises:
        Unreachable: no broker answers.
    """
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await reader.start()
            await reader.topics()
            partitions = [TopicPartition(topic, number) for number in reader.partitions_for_topic(topic) or ()]
            ends = await reader.end_offsets(partitions)
        return {tp.partition: end for tp, end in ends.items()}
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(f"Kafka does not show where {topic} ends ({type(error).__name__})") from error
    finally:
        await reader.stop()


async def has_record(bootstrap_servers: str, topic: str, partition: int, offset: int) -> bool:
    """Whether ``partition`` has a record at or after ``offset``; asks the broker anew each time.

    The end of a log alone does not tell: it also counts offsets of transactions' marks and of records compacted away.

    Raises:
        Unreachable: no broker answers.
    """
    return await read_record(bootstrap_servers, topic, partition, offset) is not None


async def read_record(bootstrap_servers: str, topic: str, partition: int, offset: int) -> Record | None:
    """The first record of ``partition`` at or after ``offset``; None when there is none.

    Raises:
        Unreachable: no broker answers.
    """
    place = TopicPartition(topic, partition)
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await reader.start()
            reader.assign([place])
            reader.seek(place, offset)
            found = (await reader.getmany(place, timeout_ms=_READ_MS, max_records=1)).get(place)
        if not found:
            return None
        first = found[0]
        return Record(topic, partition, first.offset, first.timestamp, first.key, first.value)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(f"Kafka does not show what {topic}/{partition} holds ({type(error).__name__})") from error
    finally:
        await reader.stop()


async def cluster_id(bootstrap_servers: str) -> str:
    """The id of the cluster at ``bootstrap_servers``; "" where the broker tells none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        return str((await admin.describe_cluster()).get("cluster_id") or "")
    finally:
        await admin.close()


async def group_members(bootstrap_servers: str, group: str) -> int | None:
    """How many consumers are members of ``group``; None where no broker tells."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await admin.start()
            answers: Any = await admin.describe_consumer_groups([group])
        # Error, name, state, kind, protocol, members; newer brokers add more.
        [(error, _, _, _, _, members, *_)] = answers[0].groups
        return None if error else len(members)
    except (KafkaError, OSError, TimeoutError, ValueError):
        return None
    finally:
        await admin.close()


@dataclass(slots=True)
class _Answer:
    """The newest answer of a broker about one partition."""

    answered_at: int
    #: The last look before it was seen; None: there was none.
    look_before: float | None
    #: Until when the log is known to have been as it says.
    known_at: float | None
    last_look: float


class LogEnds:
    """Until when the end that a fetch has told is known to have been the end.

    aiokafka does not tell when a fetch was asked for, only when it was answered. But it has one on its way per broker:
    each was asked for after the answer before had come, so after the look before that answer was seen.
    """

    def __init__(self) -> None:
        self._answers: dict[int, _Answer] = {}

    def known_at(self, partition: int, answered_at: int | None, now: float) -> float | None:
        """The monotonic time at which the log of ``partition`` surely was as its newest answer says; None: not known.

        Args:
            partition: The partition.
            answered_at: When its newest answer came, on any clock: a changed value is a new answer.
            now: The time of this look, on the monotonic clock.
        """
        if answered_at is None:
            return None
        answer = self._answers.get(partition)
        if answer is None:
            answer = self._answers[partition] = _Answer(answered_at, None, None, now)
        elif answered_at != answer.answered_at:
            answer = self._answers[partition] = _Answer(answered_at, answer.last_look, answer.look_before, now)
        answer.last_look = now
        return answer.known_at

    def forget(self, partition: int) -> None:
        """The partition is consumed no more."""
        self._answers.pop(partition, None)

"""Where the log of each partition ends, for those who do not consume it and still want to tell the lag."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from actionmap.errors import Unreachable

_TIMEOUT_S = 10.0


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

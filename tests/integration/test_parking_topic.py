"""The log of parked deliveries on a real broker of the Kafka protocol, also while it is away."""

import asyncio

import pytest

from actionmap.app import prepare_parking
from actionmap.collect.topic import ensure_topic
from actionmap.deliver.parking_topic import ParkedTopic
from actionmap.embedded import embedded_broker, free_port
from actionmap.errors import SettingsError, Unreachable
from actionmap.settings import load_settings
from support import PATIENCE_S


async def test_what_is_appended_is_read_from_any_position_of_its_partition(broker: str, unique: str) -> None:
    await ensure_topic(broker, unique, 2)
    log = ParkedTopic(broker, unique)
    try:
        first, second, large = await log.append(1, [("a", b"1"), ("b", b"2"), ("large", b"x" * 2_000_000)])
        assert large is None
        assert first is not None
        assert second == first + 1
        assert await log.read(1, first, 9) == [(first, b"1"), (second, b"2")]
        assert await log.read(1, second, 9) == [(second, b"2")]
        assert await log.read(0, 0, 9) == []
        assert await log.read(1, first, 1) == [(first, b"1")]
    finally:
        await log.close()


async def test_a_broker_that_is_away_is_told_in_time_and_used_again_when_it_is_back(unique: str) -> None:
    port = free_port()
    log = ParkedTopic(f"127.0.0.1:{port}", unique, timeout_s=1.0)
    async with embedded_broker(port) as bootstrap:
        await ensure_topic(bootstrap, unique, 1)
        assert await log.append(0, [("a", b"1")]) == [0]
        assert await log.read(0, 0, 9) == [(0, b"1")]
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unreachable, match=unique):
            await log.append(0, [("b", b"2")])
    async with embedded_broker(port) as bootstrap:  # a new one: it has nothing of the one before
        await ensure_topic(bootstrap, unique, 1)
        async with asyncio.timeout(PATIENCE_S):
            assert await log.append(0, [("c", b"3")]) == [0]
            while await log.read(0, 0, 9) != [(0, b"3")]:
                pass
        await log.close()


async def test_a_topic_with_fewer_partitions_than_the_events_is_refused(broker: str, unique: str) -> None:
    await ensure_topic(broker, f"{unique}.parked", 1)
    with pytest.raises(SettingsError, match=rf"{unique}\.parked has 1 partitions, {unique} has 2"):
        await prepare_parking(load_settings(kafka_bootstrap_servers=broker, events_topic=unique), 2)

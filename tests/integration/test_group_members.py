"""How many workers consume, as a broker tells it (of workers: tests/e2e/test_dev.py; of Apache Kafka: tests/kafka)."""

from actionmap.consume.ends import group_members
from actionmap.embedded import free_port


async def test_a_group_that_nobody_is_in_has_no_members(broker: str, unique: str) -> None:
    assert await group_members(broker, unique) == 0


async def test_a_broker_that_is_away_tells_nothing() -> None:
    assert await group_members(f"127.0.0.1:{free_port()}", "any") is None

"""Apache Kafka itself, one node for the whole run, where it is asked for."""

import asyncio
from collections.abc import Iterator

import pytest

from kafka.apache import ApacheKafka

pytest.register_assert_rewrite("kafka.stream")


@pytest.fixture(scope="session")
def apache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One node, with its data on disk; tests that restart it leave it running."""
    if not request.config.getoption("--kafka"):
        pytest.skip("Apache Kafka is fetched and started only when asked for: make test-kafka")
    kafka = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    with asyncio.Runner() as runner:
        runner.run(kafka.__aenter__())
        yield kafka
        runner.run(kafka.__aexit__(None, None, None))

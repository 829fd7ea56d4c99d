"""Real parts for the tests: one embedded broker and one embedded store for the whole run, on loopback."""

import asyncio
import gc
import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import count

import pytest
import structlog

from actionmap.embedded import embedded_broker, embedded_store
from actionmap.telemetry import configure_logging

for name in [name for name in os.environ if name.startswith("ACTIONMAP_")]:
    del os.environ[name]

_numbers = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that `make test-kafka` gives."""
    parser.addoption("--kafka", action="store_true", help="run the tests in tests/kafka, on Apache Kafka itself")


def pytest_collection_finish() -> None:
    """Thousands of tests are no garbage: going through them again and again took seconds, in pauses of half a one."""
    gc.collect()
    gc.freeze()


@contextmanager
def _running(part: AbstractAsyncContextManager[str]) -> Iterator[str]:
    with asyncio.Runner() as runner:
        address = runner.run(part.__aenter__())
        yield address
        runner.run(part.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """Bootstrap address of a real Kafka-protocol broker."""
    with _running(embedded_broker()) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Valkey whose every write is on disk before it answers."""
    with _running(embedded_store(tmp_path_factory.mktemp("valkey"))) as url:
        yield url


@pytest.fixture
def unique() -> str:
    """A name that no other test of this run uses: for topics, groups and key prefixes."""
    return f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nothing but what is critical is logged; afterwards logs are what they were."""
    before = structlog.get_config()
    configure_logging("critical", "text")
    yield
    structlog.configure(**before)

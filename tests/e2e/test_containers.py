"""The main path on Apache Kafka and Valkey in containers, where a Docker engine answers."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from actionmap.embedded import free_port
from processes import check_main_path

KAFKA, VALKEY = "apache/kafka:4.1.0", "valkey/valkey:8.1"


@pytest.fixture(scope="module")
def docker() -> None:
    with warnings.catch_warnings():
        # Where no engine answers, its client forgets to close a socket.
        warnings.simplefilter("ignore", ResourceWarning)
        trouble = _trouble_with_docker()
        gc.collect()
    if trouble:
        pytest.skip(f"no Docker engine answers ({trouble}); the embedded broker and store are tested")


def _trouble_with_docker() -> str:
    try:
        from testcontainers.core.docker_client import DockerClient

        DockerClient().client.ping()
    except Exception as error:  # whatever it is, there is no engine to be used
        return type(error).__name__
    return ""


@pytest.fixture(scope="module")
def kafka(docker: None) -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    port = free_port()
    container = DockerContainer(KAFKA).with_bind_ports(9092, port)
    for name, value in {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }.items():
        container = container.with_env(f"KAFKA_{name}", value)
    with container:
        wait_for_logs(container, "Kafka Server started", timeout=60)
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def redis(docker: None) -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    command = "valkey-server --appendonly yes --appendfsync always --requirepass for-tests"
    with DockerContainer(VALKEY).with_exposed_ports(6379).with_command(command) as container:
        wait_for_logs(container, "Ready to accept connections", timeout=60)
        yield f"redis://:for-tests@{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


async def test_an_event_over_http_becomes_a_webhook_on_real_kafka_and_valkey(
    kafka: str, redis: str, unique: str, tmp_path: Path
) -> None:
    await check_main_path(kafka, redis, unique, tmp_path)

"""Reach Kafka, and create the topic of events where it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from actionmap.errors import SettingsError, Unreachable
from actionmap.process import is_listening

#: Copies of each partition, where there are that many brokers.
REPLICAS = 3


def no_broker(bootstrap: str) -> Unreachable:
    """The error that says which brokers do not answer, and what to do."""
    return Unreachable(f"no Kafka broker answers at {bootstrap}; start one, or set ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS")


@contextmanager
def kafka_errors_translated(bootstrap: str) -> Iterator[None]:
    """Turn what aiokafka raises while connecting into `Unreachable`."""
    try:
        yield
    except (KafkaConnectionError, TimeoutError, OSError):
        raise no_broker(bootstrap) from None
    except KafkaError as error:
        raise Unreachable(f"the Kafka broker at {bootstrap} refuses: {error!r}") from error


async def check_reachable(bootstrap: str, timeout_s: float) -> None:
    """Return as soon as one of the brokers takes a TCP connection.

    Asked before aiokafka is, because aiokafka tries one address after the other, and logs each that is silent.

    Args:
        bootstrap: ``host:port`` of one or more brokers, comma-separated.
        timeout_s: Seconds to wait.

    Raises:
        SettingsError: ``bootstrap`` has not that form.
        Unreachable: none of them does.
    """
    try:
        hosts = [(host, port) for host, port, _ in collect_hosts(bootstrap)]
    except ValueError:
        raise SettingsError(f"ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS: {bootstrap!r} is not host:port[,host:port…]") from None
    knocks = [asyncio.ensure_future(is_listening(host, port)) for host, port in hosts]
    try:
        for answer in asyncio.as_completed(knocks, timeout=timeout_s):
            if await answer:
                return
    except TimeoutError:
        raise no_broker(bootstrap) from None
    finally:
        for knock in knocks:
            knock.cancel()
        await asyncio.gather(*knocks, return_exceptions=True)
    raise no_broker(bootstrap)


async def ensure_topic(
    bootstrap: str,
    topic: str,
    partitions: int,
    *,
    replicas: int | None = None,
    retention_s: float | None = None,
    timeout_s: float = 10.0,
) -> int:
    """Create ``topic`` where it is missing; one that exists is left as it is.

    Args:
        bootstrap: ``host:port`` of one or more brokers, comma-separated.
        topic: Name of the topic.
        partitions: How many partitions a new topic gets.
        replicas: Copies of each partition; by default 3, or as many as there are brokers.
        retention_s: How long a new topic keeps its records; by default as long as the broker says.
        timeout_s: Seconds for the whole of it, and for each answer of the broker.

    Returns:
        How many partitions the topic has.

    Raises:
        SettingsError: ``bootstrap`` is not ``host:port``.
        Unreachable: no broker answers, or the broker refuses to create the topic.
    """
    await check_reachable(bootstrap, timeout_s)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=round(timeout_s * 1000))
    try:
        with kafka_errors_translated(bootstrap):
            await admin.start()
            async with asyncio.timeout(timeout_s):
                return await _find(admin, topic) or await _create(admin, topic, partitions, replicas, retention_s)
    finally:
        await admin.close()


async def _find(admin: AIOKafkaAdminClient, topic: str) -> int:
    """Partitions of ``topic`` that have a leader; 0 while there is no such topic."""
    if topic not in await admin.list_topics():
        return 0
    described = await admin.describe_topics([topic])
    found = next((entry for entry in described if entry["topic"] == topic and not entry["error_code"]), None)
    if found is None or any(partition["leader"] < 0 for partition in found["partitions"]):
        return 0
    return len(found["partitions"])


async def _create(
    admin: AIOKafkaAdminClient, topic: str, partitions: int, replicas: int | None, retention_s: float | None
) -> int:
    brokers = len((await admin.describe_cluster())["brokers"])
    copies = replicas or max(1, min(REPLICAS, brokers))
    config = {} if retention_s is None else {"retention.ms": str(round(retention_s * 1000))}
    answer: Any = await admin.create_topics([NewTopic(topic, partitions, copies, topic_configs=config)])
    for _, code, *rest in answer.topic_errors:
        error = for_code(code)
        # Another process may have been quicker.
        if code and error is not TopicAlreadyExistsError:
            raise error(rest[0] if rest else None)
    while True:  # until every partition has its leader; the caller's timeout ends it
        found = await _find(admin, topic)
        if found:
            return found
        await asyncio.sleep(0.05)

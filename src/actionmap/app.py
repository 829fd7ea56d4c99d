"""The only place that builds and connects things: settings become parts, parts run together and stop in order."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from fastapi import FastAPI

from actionmap.admin.api import create_api, create_ops
from actionmap.admin.auth import ApiKeys
from actionmap.admin.status import Health
from actionmap.collect.collector import collector_router
from actionmap.collect.producer import EventProducer
from actionmap.collect.quota import Quota
from actionmap.collect.topic import check_reachable, ensure_topic
from actionmap.consume.ends import log_ends
from actionmap.consume.kafka import EMBEDDED_CLUSTER, KafkaConsumer, KafkaOptions, cluster_id
from actionmap.consume.positions import Log, OnGap
from actionmap.decide import Policy
from actionmap.decision import Decision
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.request import environment_secrets
from actionmap.deliver.worker import DeliveryWorker, Sender
from actionmap.delivery import Attempt, Delivery
from actionmap.errors import ActionmapError, SettingsError, Unreachable
from actionmap.event import Event
from actionmap.pipeline import Lane, LaneEnvironment
from actionmap.process import (
    address_of,
    first_of,
    listen,
    run_until_signal,
    serve_http,
    tune_garbage_collector,
    wall_clock,
)
from actionmap.registry import Registry
from actionmap.settings import Settings, parse_api_keys
from actionmap.store.cache import VisitorCache
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics, logger

_REFRESH_EVERY_S = 1.0
_MEASURE_EVERY_S = 2.0
#: In turns of measuring.
_TELL_WAITING_EVERY = 15
_REACH_TIMEOUT_S = 5.0


@dataclass(slots=True, kw_only=True)
class Watchers:
    """Called with what the engine does, for people to see it; they must not block."""

    on_decision: Callable[[Event, Decision], None] | None = None
    on_attempt: Callable[[Delivery, Attempt], None] | None = None


@dataclass(slots=True, kw_only=True)
class Options:
    """What the embedded stack has different."""

    #: See `KafkaOptions.log_name`.
    log_name: str = ""
    on_gap: OnGap = "halt"
    #: Makes the sender in use from the one that production uses.
    wrap_sender: Callable[[Sender], Sender] = lambda sender: sender
    watchers: Watchers = field(default_factory=Watchers)


def open_store(settings: Settings) -> RedisStore:
    """The store that ``settings`` name; it connects when it is first used."""
    return RedisStore(
        settings.redis_url,
        prefix=settings.redis_prefix,
        visitor_ttl_s=settings.visitor_ttl,
        outbox_cap=settings.outbox_cap,
        clock=wall_clock,
    )


class Engine:
    """Consumer, pipeline and delivery worker of one process."""

    def __init__(
        self, settings: Settings, options: Options, store: RedisStore, registry: Registry, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._registry = registry
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._log = logger("engine")
        guard = EgressGuard(settings.egress_hosts, settings.egress_networks)
        self._sender = HttpSender(guard, environment_secrets(os.environ), clock=wall_clock)
        self.worker = DeliveryWorker(
            outbox=store,
            find_integration=lambda name: registry.rulebook.integrations.get(name),  # noqa: PLW0108 - asked anew: it is swapped
            sender=options.wrap_sender(self._sender),
            clock=wall_clock,
            random=random.random,
            metrics=metrics,
            on_attempt=options.watchers.on_attempt,
        )
        environment = LaneEnvironment(
            store=store,
            rulebook=lambda: registry.rulebook,
            refresh_rulebook=registry.refresh,
            policy=Policy(
                company=settings.company,
                session_timeout_ms=int(settings.session_timeout * 1000),
                allowed_lateness_ms=int(settings.allowed_lateness * 1000),
            ),
            owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            new_token=lambda: secrets.token_hex(16),
            random=random.random,
            metrics=metrics,
            on_gap=options.on_gap,
            cache=VisitorCache(settings.visitor_cache),
            on_decision=options.watchers.on_decision,
            on_owed=self.worker.wake,
        )

        def open_lane(partition: int, look_up: Callable[[], Awaitable[Log]], seek: Callable[[int], None]) -> Lane:
            return Lane(partition, environment, look_up=look_up, seek=seek)

        kafka = KafkaOptions(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic=settings.events_topic,
            group=settings.consumer_group,
            session_timeout_ms=int(settings.kafka_session_timeout * 1000),
            log_name=options.log_name,
        )
        self.consumer = KafkaConsumer(
            kafka, open_lane, metrics=metrics, on_assigned=self.worker.own, on_revoked=self.worker.disown
        )

    @property
    def halted(self) -> dict[int, str]:
        """Partitions that stopped, and why."""
        lanes = self.consumer.lanes.items()
        return {partition: lane.halted for partition, lane in lanes if isinstance(lane, Lane) and lane.halted}

    async def run(self) -> None:
        """Evaluate and deliver until `stop`.

        Raises:
            Unreachable: Kafka or Redis do not answer at the start.
        """
        await self._registry.refresh()
        tune_garbage_collector()
        async with self._sender:
            worker = asyncio.create_task(self.worker.run(), name="delivery worker")
            refresh = asyncio.create_task(_refresh_regularly(self._registry), name="rulebook refresh")
            measure = asyncio.create_task(self._measure_regularly(), name="measure")
            consumer = asyncio.create_task(self.consumer.run(), name="consumer")
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await first_of(worker, refresh, measure, consumer, stopping)
            finally:
                # Nothing new is owed once the consumer has drained; then what is in flight may end.
                self.consumer.stop()
                await asyncio.gather(consumer, return_exceptions=True)
                await self.worker.stop()
                for task in (refresh, measure, stopping, worker):
                    task.cancel()
                await asyncio.gather(refresh, measure, stopping, worker, return_exceptions=True)

    def stop(self) -> None:
        """Ask `run` to end in order."""
        self._stopping.set()

    async def _measure_regularly(self) -> None:
        """Set the gauges that nothing else brings up to date, and tell of a wait that lasts."""
        waits = count(1)
        while True:
            with suppress(Unreachable):
                owed = {partition: await self._store.outbox_size(partition) for partition in list(self.consumer.lanes)}
                self._metrics.outbox.clear()
                for partition, number in owed.items():
                    self._metrics.outbox.labels(partition).set(number)
            self._metrics.rulebook_revision.set(self._registry.revision)
            if not self.consumer.assigned.is_set() and next(waits) % _TELL_WAITING_EVERY == 0:
                self._log.warning("partitions.awaited", means="the consumer group has not assigned any partition yet")
            await asyncio.sleep(_MEASURE_EVERY_S)


async def _refresh_regularly(registry: Registry) -> None:
    while True:
        await asyncio.sleep(_REFRESH_EVERY_S)
        with suppress(Unreachable):  # the lanes say so, and wait
            await registry.refresh()


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of one process that others look at."""

    settings: Settings
    store: RedisStore
    registry: Registry
    metrics: Metrics
    engine: Engine | None = None
    producer: EventProducer | None = None

    async def health(self) -> Health:
        """What works and what does not, in words for people."""
        problems: list[str] = []
        durability = "unknown"
        try:
            await self.store.ping()
            durability = await self.store.durability()
        except ActionmapError as error:
            problems.append(str(error))
        if self.registry.refused:
            problems.append(f"the newest definitions are not in use: {self.registry.refused}")
        if self.producer is not None:
            try:
                self.producer.check_room()
            except ActionmapError as error:
                problems.append(str(error))
        if self.engine is not None:
            if not self.engine.consumer.assigned.is_set():
                problems.append("the consumer group has not assigned any partition yet")
            problems += [f"partition halted: {reason}" for reason in self.engine.halted.values()]
        lag = self.engine.consumer.lag() if self.engine else {}
        return Health(problems, durability, self.registry.revision, len(self.registry.rulebook.maps), lag)


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Store, registry and metrics, checked and closed in the end.

    Raises:
        Unreachable: Redis does not answer.
    """
    store = open_store(settings)
    try:
        await store.ping()
        registry = Registry(store)
        await registry.refresh()
        yield Parts(settings=settings, store=store, registry=registry, metrics=Metrics())
    finally:
        await store.close()


async def prepare_topic(settings: Settings) -> int:
    """Create the events topic where it is missing; returns its number of partitions.

    Raises:
        Unreachable: no broker answers, or it refuses.
    """
    return await ensure_topic(settings.kafka_bootstrap_servers, settings.events_topic, settings.events_topic_partitions)


async def open_producer(settings: Settings, log_name: str = "") -> EventProducer:
    """A producer for the events topic, not started; idempotent, except where the broker is the embedded one.

    ``log_name`` is what the positions it tells begin with, where that is not the topic.

    Raises:
        Unreachable: no broker answers.
    """
    await check_reachable(settings.kafka_bootstrap_servers, _REACH_TIMEOUT_S)
    cluster = await cluster_id(settings.kafka_bootstrap_servers)
    # The embedded broker gives out no producer ids.
    idempotent = not cluster.startswith(EMBEDDED_CLUSTER)
    topic = settings.events_topic
    return EventProducer(settings.kafka_bootstrap_servers, topic, log_name=log_name, idempotent=idempotent)


def secret_is_set(name: str) -> bool:
    """Whether the environment holds the secret ``name``."""
    return bool(os.environ.get(name))


def build_api(
    parts: Parts,
    producer: EventProducer,
    partitions: int,
    *,
    open_access: bool,
    secret_is_set: Callable[[str], bool] = secret_is_set,
) -> FastAPI:
    """Collector, admin REST, health and metrics in one application; ``open_access``: nobody needs a key."""
    keys = ApiKeys(parse_api_keys(parts.settings.api_keys.get_secret_value()), open_access=open_access)
    return create_api(
        collector=collector_router(
            producer, keys.rights, Quota(parts.settings.ingest_rate, time.monotonic), parts.metrics
        ),
        keys=keys,
        registry=parts.registry,
        store=parts.store,
        partitions=partitions,
        health=parts.health,
        log_ends=partial(log_ends, parts.settings.kafka_bootstrap_servers, parts.settings.events_topic),
        metrics=parts.metrics,
        secret_is_set=secret_is_set,
        egress_hosts=parts.settings.egress_hosts,
        egress_networks=parts.settings.egress_networks,
    )


def describe_api() -> dict[str, Any]:
    """The OpenAPI document of what `serve` serves; nothing is connected for it."""
    settings = Settings()
    store = open_store(settings)
    parts = Parts(settings=settings, store=store, registry=Registry(store), metrics=Metrics())
    producer = EventProducer(settings.kafka_bootstrap_servers, settings.events_topic)
    return build_api(parts, producer, 0, open_access=False).openapi()


async def run_engine(settings: Settings, ready: Callable[[str], None]) -> None:
    """`actionmap run`: evaluate and deliver until a signal; health and metrics on their own port.

    Raises:
        ActionmapError: it cannot start; the message says why and what to do.
    """
    async with open_parts(settings) as parts:
        await prepare_topic(settings)
        parts.engine = Engine(settings, Options(), parts.store, parts.registry, parts.metrics)
        with listen(settings.host, settings.metrics_port) as listener:
            ready(address_of(listener))
            ops = create_ops(parts.health, parts.metrics)
            await run_until_signal(parts.engine.run(), parts.engine.stop, serve_http(ops, listener))


async def run_server(settings: Settings, ready: Callable[[str], None]) -> None:
    """`actionmap serve`: collector and admin REST until a signal.

    Raises:
        ActionmapError: it cannot start; the message says why and what to do.
    """
    if not settings.api_keys.get_secret_value():
        raise SettingsError(
            "ACTIONMAP_API_KEYS is empty, so nobody could use the API; set it, such as "
            "ACTIONMAP_API_KEYS='<a long random key>:read+edit+publish+ingest'"
        )
    stopping = asyncio.Event()
    async with open_parts(settings) as parts:
        partitions = await prepare_topic(settings)
        async with await open_producer(settings) as producer:
            parts.producer = producer
            with listen(settings.host, settings.port) as listener:
                ready(address_of(listener))
                api = build_api(parts, producer, partitions, open_access=False)
                await run_until_signal(stopping.wait(), stopping.set, serve_http(api, listener),
                                       _refresh_regularly(parts.registry))  # fmt: skip

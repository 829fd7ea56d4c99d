"""The only place that builds and connects things: settings become parts, parts run together and stop in order."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI

from actionmap.admin.api import create_api, create_ops
from actionmap.admin.auth import ApiKeys
from actionmap.admin.keys import refresh_keys
from actionmap.admin.replay import Replays
from actionmap.admin.status import Health
from actionmap.collect.collector import collector_router
from actionmap.collect.producer import EventProducer
from actionmap.collect.quota import Quota
from actionmap.collect.topic import check_reachable, ensure_topic
from actionmap.consume.ends import cluster_id, group_members, has_record, log_ends, read_record
from actionmap.consume.kafka import EMBEDDED_CLUSTER
from actionmap.deliver.outward import Outward
from actionmap.deliver.parking import LONGEST_AGE_S
from actionmap.deliver.parking_topic import ParkedTopic
from actionmap.engine import Engine, Options, build_sender, refresh_regularly
from actionmap.errors import ActionmapError, SettingsError, Unreachable
from actionmap.golive.survey import Survey
from actionmap.golive.watch import Watch
from actionmap.pipeline import Lane
from actionmap.policy import policy_of
from actionmap.process import (
    address_of,
    listen,
    run_until_signal,
    tell_ready_after,
    tune_garbage_collector,
    wall_clock,
)
from actionmap.registry import Registry
from actionmap.serving import serve_http
from actionmap.settings import Settings, parse_api_keys
from actionmap.store.durability import Guarantees
from actionmap.store.protocols import Store
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics
from actionmap.watchdog import Watchdog, end_after

_REACH_TIMEOUT_S = 5.0
_KEYS_EVERY_S = 1.0
#: A day more than a delivery may be kept that is parked.
_PARKED_FOR_S = LONGEST_AGE_S + 86_400


def open_store(settings: Settings) -> RedisStore:
    """The store that ``settings`` name; it connects when it is first used."""
    return RedisStore(
        settings.redis_url,
        prefix=settings.redis_prefix,
        visitor_ttl_s=settings.visitor_ttl,
        outbox_cap=settings.outbox_cap,
        ordered_cap=settings.outbox_integration_cap,
        journal=settings.journal,
        clock=wall_clock,
    )


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of one process that others look at."""

    settings: Settings
    store: RedisStore
    registry: Registry
    metrics: Metrics
    engine: Engine | None = None
    producer: EventProducer | None = None
    #: How many there are, for who changes definitions: no revision is as low as one that they were judged by.
    partitions: int = 0
    #: Set by `build_api`.
    api_keys: ApiKeys | None = None
    survey: Survey | None = None

    async def health(self) -> Health:
        """What works and what does not, in words for people."""
        problems: list[str] = []
        guarantees: Guarantees | None = None
        try:
            await self.store.ping()
            guarantees = await self.store.guarantees()
            problems += self._behind(await highest_judged(self.store, self.partitions))
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
            if self.engine.consumer.problem:
                problems.append(self.engine.consumer.problem)
            problems += [f"partition halted: {reason}" for reason in self.engine.halted.values()]
            problems += [f"partition {number} waits: {reason}" for number, reason in self.engine.waiting.items()]
        lag = self.engine.consumer.lag() if self.engine else {}
        return Health(problems, guarantees, self.registry.revision, len(self.registry.rulebook.maps), lag)

    def _behind(self, judged_by: int) -> list[str]:
        """That the store has lost definitions, where it has."""
        if self.registry.refused or self.registry.revision >= judged_by:
            return []
        return [f"the store has lost definitions: they are at revision {self.registry.revision}, and partitions were "
                f"judged by {judged_by}; apply them again"]  # fmt: skip


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Store, registry and metrics, checked and closed in the end.

    Raises:
        Unreachable: Redis does not answer.
    """
    store = open_store(settings)
    try:
        await store.ping()
        registry = Registry(store, settings.vault, judged_by=lambda: highest_judged(store, parts.partitions))
        parts = Parts(settings=settings, store=store, registry=registry, metrics=Metrics())
        await registry.refresh()
        yield parts
    finally:
        await store.close()


async def highest_judged(store: Store, partitions: int) -> int:
    """The highest revision of the definitions that any partition was judged by.

    Raises:
        Unreachable: the store does not answer.
    """
    return max((fence.revision for fence in await store.fences(partitions)), default=0)


async def prepare_topic(settings: Settings) -> int:
    """Create the events topic where it is missing; returns its number of partitions.

    Raises:
        Unreachable: no broker answers, or it refuses.
    """
    return await ensure_topic(settings.kafka_bootstrap_servers, settings.events_topic, settings.events_topic_partitions)


async def prepare_parking(settings: Settings, partitions: int) -> ParkedTopic:
    """The topic that deliveries are parked in, created where it is missing; events have ``partitions`` partitions.

    Raises:
        SettingsError: it exists, with fewer partitions.
        Unreachable: no broker answers, or it refuses.
    """
    topic, brokers = f"{settings.events_topic}.parked", settings.kafka_bootstrap_servers
    found = await ensure_topic(brokers, topic, partitions, retention_s=_PARKED_FOR_S)
    if found < partitions:
        raise SettingsError(
            f"the topic {topic} has {found} partitions, {settings.events_topic} has {partitions}; give it as many"
        )
    return ParkedTopic(brokers, topic)


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


def egress_words(settings: Settings) -> str:
    """Where requests may go, in words for people."""
    if not settings.egress_allow:
        return "https to public addresses alone; ACTIONMAP_EGRESS_ALLOW is empty"
    named = sorted(settings.egress_hosts) + [str(network) for network in settings.egress_networks]
    return f"https to public addresses; ACTIONMAP_EGRESS_ALLOW allows {', '.join(named)} as well, also over http"


def secret_is_set(name: str) -> bool:
    """Whether the environment holds the secret ``name``."""
    return bool(os.environ.get(name))


def build_api(
    parts: Parts,
    producer: EventProducer,
    partitions: int,
    sender: Outward,
    *,
    open_access: bool,
    secret_is_set: Callable[[str], bool] = secret_is_set,
) -> FastAPI:
    """Collector, admin REST, health and metrics in one application.

    ``sender`` sends what people try out; ``open_access``: nobody needs a key.
    """
    where = (parts.settings.kafka_bootstrap_servers, parts.settings.events_topic)
    settings = parts.settings
    keys = ApiKeys(parse_api_keys(settings.api_keys.get_secret_value()), open_access=open_access)
    parts.api_keys = keys
    parts.survey = Survey(
        registry=parts.registry,
        store=parts.store,
        partitions=partitions,
        log_ends=partial(log_ends, *where),
        members=partial(group_members, settings.kafka_bootstrap_servers, settings.consumer_group),
        prober=sender,
        secret_is_set=secret_is_set,
        egress_hosts=settings.egress_hosts,
        egress_networks=settings.egress_networks,
    )
    return create_api(
        collector=collector_router(
            producer, keys.rights, Quota(parts.settings.ingest_rate, time.monotonic), parts.metrics
        ),
        keys=keys,
        registry=parts.registry,
        store=parts.store,
        partitions=partitions,
        health=parts.health,
        log_ends=partial(log_ends, *where),
        replays=Replays(parts.store, producer, partial(read_record, *where)),
        producer=producer,
        sender=sender,
        policy=policy_of(parts.settings),
        metrics=parts.metrics,
        survey=parts.survey,
        quota=Quota(settings.api_rate, time.monotonic),
        cors_origins=settings.cors_origins,
        requires_if_match=settings.require_if_match,
    )


def describe_api() -> dict[str, Any]:
    """The OpenAPI document of what `serve` serves; nothing is connected for it."""
    settings = Settings()
    store = open_store(settings)
    parts = Parts(settings=settings, store=store, registry=Registry(store), metrics=Metrics())
    producer = EventProducer(settings.kafka_bootstrap_servers, settings.events_topic)
    return build_api(parts, producer, 0, build_sender(settings), open_access=False).openapi()


async def run_engine(settings: Settings, ready: Callable[[str], None]) -> None:
    """`actionmap run`: evaluate and deliver until a signal; health and metrics on their own port.

    Raises:
        Stuck: the watchdog ended it.
        ActionmapError: it cannot start; the message says why and what to do.
    """
    async with open_parts(settings) as parts:
        options = Options(parked_log=await prepare_parking(settings, await prepare_topic(settings)))
        parts.engine = Engine(settings, options, parts.store, parts.registry, parts.metrics)
        with listen(settings.host, settings.metrics_port) as listener:
            ready(address_of(listener))
            ops = create_ops(parts.health, parts.metrics)
            await run_until_signal(
                parts.engine.run(), parts.engine.stop, serve_http(ops, listener),
                tell_ready_after(parts.engine.consumer.assigned), _watchdog(parts.engine, settings).run(),
            )  # fmt: skip


async def refresh_keys_regularly(parts: Parts) -> None:
    """Keep the keys of the API of ``parts`` those that the store holds, for ever."""
    while True:
        if parts.api_keys is not None:
            with suppress(Unreachable):
                await refresh_keys(parts.api_keys, parts.store.api_keys)
        await asyncio.sleep(_KEYS_EVERY_S)


async def watch_golive(parts: Parts) -> None:
    """Check all active action maps again and again, for ever; see `Watch`."""
    assert parts.survey is not None
    await Watch(parts.survey, parts.metrics, parts.settings.golive_every).run()


def _watchdog(engine: Engine, settings: Settings) -> Watchdog:
    where = (settings.kafka_bootstrap_servers, settings.events_topic)
    return Watchdog(
        settings.watchdog,
        lambda: {number: lane for number, lane in engine.consumer.lanes.items() if isinstance(lane, Lane)},
        log_ends=partial(log_ends, *where),
        has_record=partial(has_record, *where),
        clock=time.monotonic,
        end_after=end_after,
    )


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
        parts.partitions = await prepare_topic(settings)
        async with await open_producer(settings) as producer, build_sender(settings) as sender:
            parts.producer = producer
            with listen(settings.host, settings.port) as listener:
                ready(address_of(listener))
                api = build_api(parts, producer, parts.partitions, sender, open_access=False)
                tune_garbage_collector()
                await run_until_signal(
                    stopping.wait(), stopping.set, serve_http(api, listener), refresh_regularly(parts.registry),
                    refresh_keys_regularly(parts), watch_golive(parts),
                )  # fmt: skip

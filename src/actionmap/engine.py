"""Engine: consumer, lanes and delivery worker of one process, connected; they run together and stop in order."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from actionmap.consume.kafka import KafkaConsumer, KafkaOptions
from actionmap.consume.positions import Log, OnGap
from actionmap.consume.unawaited import tell_unawaited_errors
from actionmap.decision import Decision
from actionmap.deliver.breaker import FIRST_PAUSE_MS
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.health import Health
from actionmap.deliver.http import HttpSender
from actionmap.deliver.outward import Outward
from actionmap.deliver.parking import ParkedLog, Parking
from actionmap.deliver.reported import Editions
from actionmap.deliver.worker import LEASE_MS, DeliveryWorker
from actionmap.delivery import Attempt, Delivery
from actionmap.environment import LaneEnvironment
from actionmap.errors import Unreachable
from actionmap.event import Event
from actionmap.pipeline import Lane
from actionmap.policy import policy_of
from actionmap.process import cancel, first_of, tune_garbage_collector, wall_clock
from actionmap.registry import Registry
from actionmap.settings import Settings
from actionmap.store.cache import VisitorCache
from actionmap.store.durability import Guarantees
from actionmap.store.redis import RedisStore
from actionmap.telemetry import LookupCounts, Metrics, logger

_REFRESH_EVERY_S = 0.25
_MEASURE_EVERY_S = 2.0
#: In turns of measuring.
_TELL_WAITING_EVERY = 15


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
    #: See `KafkaOptions.partitions`.
    partitions: tuple[int, ...] | None = None
    #: See `DeliveryWorker`.
    lease_ms: int = LEASE_MS
    breaker_pause_ms: int = FIRST_PAUSE_MS
    #: Where deliveries beyond an integration's cap wait; None: they stay in the outbox, up to its own cap.
    parked_log: ParkedLog | None = None
    #: Makes the sender in use from the one that production uses.
    wrap_sender: Callable[[Outward], Outward] = lambda sender: sender
    watchers: Watchers = field(default_factory=Watchers)


def build_sender(settings: Settings) -> HttpSender:
    """The sender of this process, not open: egress guard as set, secrets from the environment."""
    guard = EgressGuard(settings.egress_hosts, settings.egress_networks)
    return HttpSender(guard, environment_secrets(os.environ, settings.vault), clock=wall_clock)


class Engine:
    """Consumer, pipeline and delivery worker of one process."""

    def __init__(
        self, settings: Settings, options: Options, store: RedisStore, registry: Registry, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._registry = registry
        self._metrics = metrics
        self._parked_log = options.parked_log
        self._cache = VisitorCache(settings.visitor_cache)
        self._stopping = asyncio.Event()
        self._guarantees: Guarantees | None = None
        self._log = logger("engine")
        self._sender = build_sender(settings)
        #: Makes the attempts; open while `run` runs.
        self.sender: Outward = options.wrap_sender(self._sender)
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.worker = self._delivery_worker(options, owner)
        environment = LaneEnvironment(
            store=store,
            rulebook=lambda: registry.rulebook,
            refresh_rulebook=registry.refresh,
            policy=policy_of(settings),
            owner=owner,
            new_token=lambda: secrets.token_hex(16),
            random=random.random,
            monotonic=time.monotonic,
            wall_clock=wall_clock,
            metrics=metrics,
            on_gap=options.on_gap,
            cache=self._cache,
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
            partitions=options.partitions,
        )
        self.consumer = KafkaConsumer(
            kafka,
            open_lane,
            metrics=metrics,
            on_assigned=self.worker.own,
            on_revoked=self.worker.disown,
            durable_offset=store.durable_offset,
            monotonic=time.monotonic,
        )

    def _delivery_worker(self, options: Options, name: str) -> DeliveryWorker:
        return DeliveryWorker(
            outbox=self._store,
            find_integration=self._registry.integration,
            was_deleted=self._registry.was_deleted,
            sender=self.sender,
            clock=wall_clock,
            random=random.random,
            metrics=self._metrics,
            on_attempt=options.watchers.on_attempt,
            lease_ms=options.lease_ms,
            breaker_pause_ms=options.breaker_pause_ms,
            parking=self._parking(),
            health=Health(self._store.integrations, name, edition=Editions(self._registry)),
            listened_to=lambda: self._registry.rulebook.outcomes_asked,
            on_outcomes=self._outcomes_arrived,
        )

    def _outcomes_arrived(self, partition: int) -> None:
        lane = self.consumer.lanes.get(partition)
        if isinstance(lane, Lane):
            lane.outcomes_arrived()

    def _parking(self) -> Parking | None:
        if self._parked_log is None:
            return None
        return Parking(
            store=self._store, log=self._parked_log, cap=self._settings.outbox_integration_cap, clock=wall_clock,
            monotonic=time.monotonic, metrics=self._metrics,
        )  # fmt: skip

    @property
    def halted(self) -> dict[int, str]:
        """Partitions that stopped, and why."""
        lanes = self.consumer.lanes.items()
        return {partition: lane.halted for partition, lane in lanes if isinstance(lane, Lane) and lane.halted}

    @property
    def waiting(self) -> dict[int, str]:
        """Partitions that wait for something outside of this process, and for what."""
        lanes = self.consumer.lanes.items()
        return {partition: lane.waits_for for partition, lane in lanes if isinstance(lane, Lane) and lane.waits_for}

    async def run(self) -> None:
        """Evaluate and deliver until `stop`.

        Raises:
            Unreachable: Kafka or Redis do not answer at the start.
        """
        await self._registry.refresh()
        tell_unawaited_errors()
        tune_garbage_collector()
        async with self._sender:
            worker = asyncio.create_task(self.worker.run(), name="delivery worker")
            refresh = asyncio.create_task(refresh_regularly(self._registry), name="rulebook refresh")
            measure = asyncio.create_task(self._measure_regularly(), name="measure")
            consumer = asyncio.create_task(self._consume(), name="consumer")
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await first_of(worker, refresh, measure, consumer, stopping)
            finally:
                # Nothing new is owed once the consumer has drained; then what is in flight may end.
                self.stop()
                self.consumer.stop()
                await asyncio.gather(consumer, return_exceptions=True)
                await self.worker.stop()
                await cancel(refresh, measure, stopping, worker)
                with suppress(Unreachable):
                    await self._tell_lookups()
                if self._parked_log is not None:
                    await self._parked_log.close()

    def stop(self) -> None:
        """Ask `run` to end in order."""
        self._stopping.set()

    async def _consume(self) -> None:
        """Take part once there are definitions that this version can use.

        By none at all, every event would lead to nothing, and what is owed would be given up.
        """
        if self._registry.has_none_to_use:
            self._log.warning("definitions.awaited", means="it takes part once there are some that it can use")
        while self._registry.has_none_to_use and not self._stopping.is_set():  # noqa: ASYNC110 - it is refreshed
            await asyncio.sleep(_REFRESH_EVERY_S)
        if not self._stopping.is_set():
            await self.consumer.run()

    async def _measure_regularly(self) -> None:
        """Set the gauges that nothing else brings up to date, and tell of a wait that lasts."""
        waits = count(1)
        while True:
            with suppress(Unreachable):
                await self._measure_outbox()
                await self._tell_guarantees()
                await self._tell_lookups()
            self._measure_memory()
            self._metrics.rulebook_revision.set(self._registry.revision)
            if not self.consumer.assigned.is_set() and next(waits) % _TELL_WAITING_EVERY == 0:
                self._log.warning("partitions.awaited", means="the consumer group has not assigned any partition yet")
            await asyncio.sleep(_MEASURE_EVERY_S)

    async def _tell_guarantees(self) -> None:
        """Log what the store promises to keep when it is new, so that a change of its configuration is seen, too."""
        found = await self._store.guarantees()
        if found != self._guarantees:
            self._guarantees = found
            say = self._log.warning if found.missing else self._log.info
            say("store.guarantees", profile=found.profile, missing=list(found.missing))

    async def _tell_lookups(self) -> None:
        """Add to the store what was counted of lookups since; what it does not take is kept for the next time."""
        counted, self._metrics.lookups = self._metrics.lookups, LookupCounts()
        try:
            await self._store.lookups.add(counted, now=wall_clock())
        except Unreachable:
            self._metrics.lookups.update(counted)
            raise

    async def _measure_outbox(self) -> None:
        found = {partition: await self._store.parked(partition) for partition in list(self.consumer.lanes)}
        owed, parked = Counter[str](), Counter[str]()
        self._metrics.outbox.clear()
        for partition, counts in found.items():
            self._metrics.outbox.labels(partition).set(sum(counts.owed.values()))
            owed.update(counts.owed)
            parked.update(counts.parked)
        for gauge, numbers in ((self._metrics.outbox_of_integration, owed), (self._metrics.parked, parked)):
            gauge.clear()
            for integration, number in numbers.items():
                gauge.labels(integration).set(number)

    def _measure_memory(self) -> None:
        metrics = self._metrics
        metrics.queued.clear()
        metrics.queued_bytes.clear()
        for partition, lane in self.consumer.lanes.items():
            if isinstance(lane, Lane):
                records, size = lane.queued
                metrics.queued.labels(partition).set(records)
                metrics.queued_bytes.labels(partition).set(size)
        metrics.fetched.set(self.consumer.fetched)
        metrics.cached.set(self._cache.size)
        metrics.cached_bytes.set(self._cache.bytes)


async def refresh_regularly(registry: Registry) -> None:
    """Keep the rulebook of ``registry`` the newest one, for ever."""

    async def tidy() -> None:
        while True:
            await asyncio.sleep(_REFRESH_EVERY_S)
            await registry.tidy()

    async with asyncio.TaskGroup() as group:
        # Merging takes seconds, in which changes are still taken over.
        group.create_task(tidy(), name="rulebook tidy")
        while True:
            await asyncio.sleep(_REFRESH_EVERY_S)
            with suppress(Unreachable):  # the lanes say so, and wait
                await registry.refresh()

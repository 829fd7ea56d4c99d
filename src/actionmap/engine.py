"""Engine: consumer, lanes and delivery worker of one process, connected; they run together and stop in order."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from actionmap.consume.kafka import KafkaConsumer, KafkaOptions
from actionmap.consume.positions import Log, OnGap
from actionmap.decide import Policy
from actionmap.decision import Decision
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.request import environment_secrets
from actionmap.deliver.worker import DeliveryWorker, Sender
from actionmap.delivery import Attempt, Delivery
from actionmap.errors import Unreachable
from actionmap.event import Event
from actionmap.pipeline import Lane, LaneEnvironment
from actionmap.process import first_of, tune_garbage_collector, wall_clock
from actionmap.registry import Registry
from actionmap.settings import Settings
from actionmap.store.cache import VisitorCache
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics, logger

_REFRESH_EVERY_S = 1.0
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
    #: Makes the sender in use from the one that production uses.
    wrap_sender: Callable[[Sender], Sender] = lambda sender: sender
    watchers: Watchers = field(default_factory=Watchers)


def policy_of(settings: Settings) -> Policy:
    """What decisions depend on beside event, visitor and rulebook, as ``settings`` say."""
    return Policy(
        company=settings.company,
        session_timeout_ms=int(settings.session_timeout * 1000),
        allowed_lateness_ms=int(settings.allowed_lateness * 1000),
        wait_grace_ms=int(settings.wait_grace * 1000),
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
            policy=policy_of(settings),
            owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            new_token=lambda: secrets.token_hex(16),
            random=random.random,
            monotonic=time.monotonic,
            wall_clock=wall_clock,
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
            partitions=options.partitions,
        )
        self.consumer = KafkaConsumer(
            kafka,
            open_lane,
            metrics=metrics,
            on_assigned=self.worker.own,
            on_revoked=self.worker.disown,
            wait_durable=store.wait_durable,
            monotonic=time.monotonic,
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
            refresh = asyncio.create_task(refresh_regularly(self._registry), name="rulebook refresh")
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


async def refresh_regularly(registry: Registry) -> None:
    """Keep the rulebook of ``registry`` the newest one, for ever."""
    while True:
        await asyncio.sleep(_REFRESH_EVERY_S)
        with suppress(Unreachable):  # the lanes say so, and wait
            await registry.refresh()

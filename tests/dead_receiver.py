"""One receiver is dead for long, another one lives, on one partition: what must be true, on any broker and store."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actionmap.app import Parts, open_parts, open_producer, prepare_parking, prepare_topic
from actionmap.collect.producer import Outgoing, Stored
from actionmap.demo.receiver import Receiver
from actionmap.embedded import free_port
from actionmap.engine import Engine, Options
from actionmap.settings import Settings, load_settings
from actionmap.store.protocols import Parked
from support import PATIENCE_S, definitions, event, rules, until

CAP = 64
#: Without parking the partition would stop here.
OUTBOX_CAP = 160
EVENTS, AT_ONCE = 256, 32
P = 0
PATIENT_RETRY = {"retry": {"attempts": 100, "schedule": ["1s"]}}


def both_told(live: str, dead: str) -> list[dict[str, Any]]:
    """Each order is told to ``live`` and to ``dead``."""
    written = rules(live)[:-1]
    other = rules(dead)[:-1]
    other[0]["name"] = "dead"
    other[1] |= {"name": "tell-dead", "integration": "dead"}
    other[2] |= {"name": "tell-dead-one", "dataAction": "tell-dead", "delivery": PATIENT_RETRY}
    other[3] |= {"name": "each-order-too", "action": {"webhook": "tell-dead-one"}}
    return written + other


@asynccontextmanager
async def evaluating(parts: Parts) -> AsyncIterator[Engine]:
    """An engine that owns the partition, with parking on."""
    parked_log = await prepare_parking(parts.settings, await prepare_topic(parts.settings))
    options = Options(partitions=(P,), parked_log=parked_log, breaker_pause_ms=200)
    engine = Engine(parts.settings, options, parts.store, parts.registry, parts.metrics)
    running = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        engine.stop()
        await running


class DeadReceiver:
    """The scenario, step by step."""

    def __init__(self, bootstrap: str, redis_url: str, name: str) -> None:
        self.port = free_port()
        self.settings: Settings = load_settings(
            kafka_bootstrap_servers=bootstrap, redis_url=redis_url, redis_prefix=name, events_topic=name,
            consumer_group=name, events_topic_partitions=1, outbox_cap=OUTBOX_CAP, outbox_integration_cap=CAP,
            egress_allow="127.0.0.1/32",
        )  # fmt: skip

    async def check(self) -> None:
        """Events flow on while it is dead; all it was owed comes when it is back, though the worker changed."""
        async with open_parts(self.settings) as parts, Receiver() as live:
            dead = f"http://127.0.0.1:{self.port}"
            await parts.registry.change(definitions(both_told(live.url, dead)))
            async with evaluating(parts):
                await self._flow(parts, live)
                await until(lambda: self._is_parked(parts), f"no more than {CAP} stay in the outbox")
                await until(lambda: self._is_measured(parts), "the gauges say so")
                assert parts.metrics.commits.labels("full")._value.get() == 0
            async with evaluating(parts), Receiver(port=self.port) as back:
                await until(lambda: self._is_settled(parts), "all is taken back and sent")
            _check_received(live)
            _check_received(back)
            assert await parts.store.dead_letters(P, limit=9) == []

    async def _flow(self, parts: Parts, live: Receiver) -> None:
        async with await open_producer(self.settings) as producer:
            for first in range(0, EVENTS, AT_ONCE):
                events = [Outgoing("v", event(attributes={"n": n}, eventId=f"e{n}"))
                          for n in range(first, first + AT_ONCE)]  # fmt: skip
                assert all(isinstance(answer, Stored) for answer in await producer.send_many(events))
                await live.wait_for(first + AT_ONCE, PATIENCE_S)
                assert await parts.store.outbox_size(P) < OUTBOX_CAP

    async def _is_parked(self, parts: Parts) -> bool:
        found: Parked = await parts.store.parked(P)
        owed, parked = found.owed.get("dead", 0), found.parked.get("dead", 0)
        return owed + parked == EVENTS and owed <= CAP

    async def _is_measured(self, parts: Parts) -> bool:
        found, metrics = await parts.store.parked(P), parts.metrics
        return (
            metrics.parked.labels("dead")._value.get() == found.parked.get("dead") > EVENTS - 2 * CAP
            and metrics.outbox_of_integration.labels("dead")._value.get() == found.owed.get("dead")
            and metrics.outbox.labels(P)._value.get() == sum(found.owed.values())
            and metrics.queued.labels(P)._value.get() == metrics.queued_bytes.labels(P)._value.get() == 0
            and metrics.cached._value.get() == 1
            and metrics.cached_bytes._value.get() > 0
        )

    async def _is_settled(self, parts: Parts) -> bool:
        found = await parts.store.parked(P)
        return not found.parked and not found.owed and found.position == found.end


def _check_received(receiver: Receiver) -> None:
    """Each of the events' webhooks came, under one id with one body."""
    bodies = defaultdict[str, set[bytes]](set)
    for request in receiver.requests:
        bodies[request.headers["webhook-id"]].add(request.body)
    assert len(bodies) == EVENTS
    assert all(len(of_one_id) == 1 for of_one_id in bodies.values())

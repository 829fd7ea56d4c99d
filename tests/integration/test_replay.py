"""A dead record goes through Kafka again: judged anew if it never was, else by the maps that broke on it."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from actionmap.admin.replay import Replays
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.rulebook import Rulebook
from actionmap.collect.producer import EventProducer, Outgoing
from actionmap.collect.topic import ensure_topic
from actionmap.consume.ends import read_record
from actionmap.consume.kafka import KafkaConsumer, KafkaOptions
from actionmap.consume.parse import OWN_HEADER
from actionmap.decide import Policy
from actionmap.environment import LaneEnvironment
from actionmap.pipeline import Lane
from actionmap.process import wall_clock
from actionmap.store.cache import VisitorCache
from actionmap.telemetry import Metrics
from actionmap.visitor import decode_visitor
from support import PATIENCE_S, WatchedStore, definitions, event, rules


class Engine:
    """One partition, assigned by hand, whose rulebook a test may swap."""

    def __init__(self, broker: str, topic: str, rulebook: Rulebook) -> None:
        self.store = WatchedStore()
        self.rulebook = rulebook
        self.producer = EventProducer(broker, topic, idempotent=False)
        self.replays = Replays(self.store, self.producer, partial(read_record, broker, topic))
        self.options = KafkaOptions(bootstrap_servers=broker, topic=topic, group=topic, partitions=(0,))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def refresh() -> None:
            pass

        environment = LaneEnvironment(
            store=self.store, rulebook=lambda: self.rulebook, refresh_rulebook=refresh, policy=Policy(), owner="me",
            new_token=lambda: secrets.token_hex(8), random=lambda: 0.0, metrics=Metrics(), cache=VisitorCache(1000),
            monotonic=time.monotonic, wall_clock=wall_clock,
        )  # fmt: skip
        consumer = KafkaConsumer(
            self.options, lambda number, look_up, seek: Lane(number, environment, look_up=look_up, seek=seek),
            metrics=environment.metrics, durable_offset=self.store.durable_offset, monotonic=time.monotonic,
        )  # fmt: skip
        async with self.producer:
            running = asyncio.create_task(consumer.run())
            try:
                yield
            finally:
                consumer.stop()
                async with asyncio.timeout(PATIENCE_S):
                    await running

    async def send(self, *values: bytes) -> None:
        await self.producer.send_many([Outgoing("v", value) for value in values])

    async def dead(self) -> dict[str, str]:
        return {letter.id: letter.reason for letter in await self.store.dead_letters(0, limit=99)}

    async def replay(self, id_: str) -> str:
        letter = await self.store.dead_letter(0, id_)
        assert letter is not None
        return await self.replays.replay(0, letter)

    async def owed(self) -> list[tuple[str, str]]:
        return [(one.action_map, one.event_id) for one in await self.store.owed(0, limit=99)]


@pytest.fixture
async def engine(broker: str, unique: str) -> AsyncIterator[Engine]:
    await ensure_topic(broker, unique, 1)
    engine = Engine(broker, unique, compile_rulebook(definitions(rules()), 1))
    async with engine.running():
        yield engine


def breaking(rulebook: Rulebook, name: str) -> Rulebook:
    """``rulebook`` with a fault in one map."""

    def test(_: Any) -> bool:
        raise TypeError("a fault")

    faulty = compile_rulebook(definitions(rules()), rulebook.revision)
    object.__setattr__(faulty.by_name[name], "test", test)
    # The index is not to answer in its place.
    object.__setattr__(faulty.by_name[name], "exact", False)
    return faulty


async def test_a_record_that_is_still_no_event_becomes_a_dead_letter_again_at_its_new_position(engine: Engine) -> None:
    topic = engine.options.topic
    await engine.send(b'{"eventName":', event())
    await engine.store.evaluated(1, 0)
    assert await engine.dead() == {f"{topic}/0/0": "malformed-json"}

    assert await engine.replay(f"{topic}/0/0") == ""
    await engine.store.evaluated(2, 0)
    assert await engine.dead() == {f"{topic}/0/2": "malformed-json"}


async def test_a_record_that_broke_a_map_blocks_nothing_and_its_replay_is_judged_by_that_map_alone(
    engine: Engine,
) -> None:
    topic, good = engine.options.topic, engine.rulebook
    engine.rulebook = breaking(good, "each-order")
    await engine.send(event(), event(name="visit", eventId="e1"))
    await engine.store.evaluated(1, 0)
    assert await engine.dead() == {f"{topic}/0/0": "action-map-error"}
    letter = await engine.store.dead_letter(0, f"{topic}/0/0")
    assert letter is not None
    assert (letter.action_maps, "a fault" in letter.detail) == (("each-order",), True)
    assert await engine.owed() == [("first-visit", "e1")]

    engine.rulebook = good
    assert await engine.replay(f"{topic}/0/0") == ""
    await engine.store.evaluated(2, 0)
    assert sorted(await engine.owed()) == [("each-order", f"{topic}/0/0"), ("first-visit", "e1")]
    assert await engine.dead() == {}
    (stored,) = await engine.store.load(0, ["v"])
    assert stored is not None
    assert decode_visitor(stored).event_count == 2


async def test_a_record_replayed_twice_owes_once(engine: Engine) -> None:
    topic, good = engine.options.topic, engine.rulebook
    engine.rulebook = breaking(good, "each-order")
    await engine.send(event())
    await engine.store.evaluated(0, 0)
    letter = await engine.store.dead_letter(0, f"{topic}/0/0")
    assert letter is not None
    engine.rulebook = good
    for _ in range(2):
        assert await engine.replays.replay(0, letter) == ""
    await engine.store.evaluated(2, 0)
    assert await engine.owed() == [("each-order", f"{topic}/0/0")]


async def test_an_assignment_goes_through_the_topic_and_takes_its_place_among_the_events(
    broker: str, unique: str
) -> None:
    """As REST sends it; the same name from a producer of the website is a dead letter."""
    await ensure_topic(broker, unique, 1)
    vip = {"kind": "Segment", "name": "vip", "external": True}
    engine = Engine(broker, unique, compile_rulebook(definitions([*rules(), vip]), 1))
    given = {"eventName": "segment_assigned", "visitorId": "v", "attributes": {"segment": "vip"}}
    async with engine.running():
        await engine.send(event("v"), json.dumps(given).encode())
        await engine.producer.send_record(None, b"v", json.dumps(given).encode(), [(OWN_HEADER, b"1")])
        await engine.send(event("v"))
        await engine.store.evaluated(3, 0)
    [stored] = await engine.store.load(0, ["v"])
    assert stored is not None
    visitor = decode_visitor(stored)
    assert (visitor.segments, visitor.event_count) == (["vip"], 2)
    assert await engine.dead() == {f"{unique}/0/1": "reserved-event"}

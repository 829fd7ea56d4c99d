"""Members of a consumer group against a real broker: who owns a partition goes on at its fence, and nowhere else."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from actionmap.catalog.compile import compile_rulebook
from actionmap.collect.producer import EventProducer, Outgoing, Stored
from actionmap.collect.topic import ensure_topic
from actionmap.consume.kafka import KafkaConsumer, KafkaOptions
from actionmap.decide import Policy
from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS, embedded_broker
from actionmap.environment import LaneEnvironment
from actionmap.errors import Unreachable
from actionmap.pipeline import Lane
from actionmap.process import wall_clock
from actionmap.store.cache import VisitorCache
from actionmap.telemetry import Metrics
from actionmap.visitor import decode_visitor
from support import PATIENCE_S, WatchedStore, definitions, event, rules, until

PARTITIONS = 4
VISITORS = [f"v{n}" for n in range(20)]
RULEBOOK = compile_rulebook(definitions(rules()), 1)


class Group:
    """What the members of one group share: topic, store, and what they have evaluated."""

    def __init__(self, broker: str, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self.store = WatchedStore()
        self.evaluated: Counter[str] = Counter()
        self.sent = 0
        self.owners: dict[int, str] = {}

    @asynccontextmanager
    async def member(self, name: str) -> AsyncIterator[KafkaConsumer]:
        async def refresh() -> None:
            pass

        environment = LaneEnvironment(
            store=self.store, rulebook=lambda: RULEBOOK, refresh_rulebook=refresh, policy=Policy(), owner=name,
            new_token=lambda: secrets.token_hex(8), random=lambda: 0.0, metrics=Metrics(), cache=VisitorCache(1000),
            monotonic=time.monotonic, wall_clock=wall_clock,
            on_decision=lambda decided, _: self.evaluated.update([decided.id]),
        )  # fmt: skip
        options = KafkaOptions(
            bootstrap_servers=self.broker, topic=self.topic, group=self.topic,
            session_timeout_ms=EMBEDDED_SESSION_TIMEOUT_MS,
        )  # fmt: skip
        owned: set[int] = set()
        consumer = KafkaConsumer(
            options,
            lambda partition, look_up, seek: Lane(partition, environment, look_up=look_up, seek=seek),
            metrics=environment.metrics,
            on_assigned=lambda partition: self.owners.__setitem__(partition, name) or owned.add(partition),
            on_revoked=owned.discard,
            durable_offset=self.store.durable_offset,
            monotonic=time.monotonic,
        )
        running = asyncio.create_task(consumer.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                done, _ = await asyncio.wait(
                    [running, waiting := asyncio.create_task(consumer.assigned.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                waiting.cancel()
                if running in done:
                    running.result()
            yield consumer
        finally:
            consumer.stop()
            async with asyncio.timeout(PATIENCE_S):
                await running
        assert owned == set()

    async def send(self, number: int) -> None:
        """Put ``number`` events into the topic, in turn of each visitor."""
        async with EventProducer(self.broker, self.topic, idempotent=False) as producer:
            batch = []
            for _ in range(number):
                id_, name = f"e{self.sent}", VISITORS[self.sent % len(VISITORS)]
                batch.append(Outgoing(name, event(name, eventId=id_)))
                self.sent += 1
            assert all(isinstance(result, Stored) for result in await producer.send_many(batch))

    async def all_evaluated(self) -> None:
        """Wait until the effects of everything sent are in the store."""
        await self.store.until(lambda: self._effects() >= self.sent)

    def _effects(self) -> int:
        return sum(self._events_of_visitors())

    def _events_of_visitors(self) -> list[int]:
        partitions = self.store._partitions.values()
        return [decode_visitor(stored).event_count for part in partitions for stored in part.visitors.values()]

    async def check_each_once(self) -> None:
        """Every event sent is in exactly one visitor's state and owed exactly one delivery."""
        assert self._effects() == self.sent
        owed = [one.id for partition in range(PARTITIONS) for one in await self.store.owed(partition, limit=10_000)]
        assert len(owed) == len(set(owed)) == self.sent
        assert self.evaluated == Counter(f"e{n}" for n in range(self.sent))

    async def commit(self, offsets: dict[int, int]) -> None:
        """Write ``offsets`` as those that the group has committed."""
        consumer = AIOKafkaConsumer(
            self.topic, bootstrap_servers=self.broker, group_id=self.topic, enable_auto_commit=False,
            session_timeout_ms=EMBEDDED_SESSION_TIMEOUT_MS, heartbeat_interval_ms=500,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )  # fmt: skip
        await consumer.start()
        try:
            await consumer.commit({place: offsets[place.partition] for place in consumer.assignment()})
        finally:
            await consumer.stop()


@pytest.fixture
async def group(broker: str, unique: str) -> Group:
    await ensure_topic(broker, unique, PARTITIONS)
    return Group(broker, unique)


async def test_two_members_share_the_partitions_and_who_stays_goes_on_where_the_other_left(group: Group) -> None:
    async with group.member("stays") as stays:
        assert len(stays.lanes) == PARTITIONS
        await group.send(100)
        await group.all_evaluated()
        async with group.member("leaves") as leaves:
            await group.send(100)
            await group.all_evaluated()
            assert len(leaves.lanes) == len(stays.lanes) == PARTITIONS // 2
            assert not leaves.lanes.keys() & stays.lanes.keys()
            await group.send(60)  # some of it is on its way while the member leaves
        await group.send(40)
        await group.all_evaluated()
        assert set(group.owners.values()) == {"stays"}
    await group.check_each_once()


async def test_the_fence_counts_and_not_what_the_group_has_committed(group: Group) -> None:
    async with group.member("first"):
        await group.send(60)
        await group.all_evaluated()
    await group.send(40)

    await group.commit({0: 1, 1: 1_000_000, 2: 0, 3: 1_000_000})

    async with group.member("second"):
        await group.all_evaluated()
    await group.check_each_once()


async def test_the_position_that_is_committed_in_the_end_is_the_one_after_the_fence(group: Group) -> None:
    async with group.member("only") as member:
        await group.send(30)
        await group.all_evaluated()
        assert sum(member.lag().values()) == 0
    consumer = AIOKafkaConsumer(bootstrap_servers=group.broker, group_id=group.topic, enable_auto_commit=False)
    await consumer.start()
    try:
        for partition in range(PARTITIONS):
            place = TopicPartition(group.topic, partition)
            fence = await group.store.fence(partition)
            assert (await consumer.committed(place) or 0) == fence.offset + 1
    finally:
        await consumer.stop()


async def test_records_that_are_no_events_go_by_and_are_kept(group: Group) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=group.broker)
    await producer.start()
    try:
        for value in (b"\xff\xfe", b"{", b"", None, event(name="visitor_erased"), b"x" * 40_000):
            await producer.send_and_wait(group.topic, value, key=b"v0")
    finally:
        await producer.stop()
    await group.send(20)

    async with group.member("only") as member:
        await group.all_evaluated()
        assert all(not lane.halted for lane in member.lanes.values() if isinstance(lane, Lane))

    letters = [one for partition in range(PARTITIONS) for one in await group.store.dead_letters(partition, limit=99)]
    assert sorted(letter.reason for letter in letters) == [
        "empty", "malformed-json", "malformed-json", "not-utf-8", "reserved-event", "too-large",
    ]  # fmt: skip
    await group.check_each_once()


async def test_a_broker_that_does_not_answer_at_the_start_is_told_with_its_address_and_what_to_do() -> None:
    group = Group("127.0.0.1:1", "events")
    with pytest.raises(Unreachable, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*ACTIONMAP_KAFKA_BOOTSTRAP"):
        async with group.member("only"):
            pass


async def test_a_member_whose_broker_has_gone_still_ends_when_asked(unique: str) -> None:
    async with embedded_broker() as bootstrap:
        await ensure_topic(bootstrap, unique, PARTITIONS)
        group = Group(bootstrap, unique)
        member = group.member("only")
        await member.__aenter__()
        await group.send(10)
        await group.all_evaluated()
    await member.__aexit__(None, None, None)
    await group.check_each_once()


class FullLane:
    """Takes part and wants no records, as a lane does whose queue is full."""

    wants_records = False
    position: int | None = 0

    def __init__(self, _: int, __: object, seek: Callable[[int], None]) -> None:
        self._seek = seek
        self._closed = asyncio.Event()
        self.offered = 0

    async def run(self) -> None:
        self._seek(0)
        await self._closed.wait()

    async def close(self) -> None:
        self._closed.set()

    def offer(self, records: list[object]) -> None:
        self.offered += len(records)

    def log_ended(self, end: int, at: float) -> None:
        pass

    def rewind(self) -> None:
        pass


async def test_what_full_lanes_leave_in_the_client_is_one_bounded_fetch_for_each_partition(
    broker: str, unique: str
) -> None:
    await ensure_topic(broker, unique, PARTITIONS)
    options = KafkaOptions(bootstrap_servers=broker, topic=unique, group=unique, partitions=tuple(range(PARTITIONS)))
    consumer = KafkaConsumer(
        options, FullLane, metrics=Metrics(), durable_offset=WatchedStore().durable_offset, monotonic=time.monotonic
    )
    async with EventProducer(broker, unique, idempotent=False) as producer, asyncio.timeout(PATIENCE_S):
        for _ in range(3):  # more than one fetch takes
            assert await producer.send_many([Outgoing(name, b"x" * 400_000) for name in VISITORS])
        running = asyncio.create_task(consumer.run())

        async def full() -> bool:
            assert consumer.fetched <= PARTITIONS
            return consumer.fetched == PARTITIONS

        await until(full, "as much is fetched as may be")
        assert all(lane.offered == 0 for lane in consumer.lanes.values() if isinstance(lane, FullLane))
        consumer.stop()
        await running

"""The consumer: polls Kafka on a fixed cadence, hands records to the lanes of its partitions, commits their positions.

What aiokafka 0.14 makes necessary: positions come from the fence by `seek`, never from the group's committed offsets;
`getmany` is never cancelled; any error of it rewinds every lane, because it may have dropped records it had already
drained; revoking waits for batches in hand, never for a commit or a webhook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, UnknownMemberIdError
from msgspec import Struct

from actionmap.consume.ends import LogEnds, cluster_id, partition_of
from actionmap.consume.lane import OpenLane, PartitionLane
from actionmap.consume.parse import Record, with_headers
from actionmap.consume.positions import Log
from actionmap.errors import Unreachable
from actionmap.process import cancel, wall_clock
from actionmap.telemetry import Metrics, logger

_POLL_MS = 200
#: What a partition may have fetched and not yet handed over.
FETCH_BYTES = 1024 * 1024
_COMMIT_EVERY_S = 2.0
_COMMIT_TIMEOUT_S = 3.0
_DRAIN_TIMEOUT_S = 2.0
_STOP_TIMEOUT_S = 5.0
_LOOK_UP_TIMEOUT_S = 10.0
_RESTART_AFTER_S = 1.0
#: Seconds without an answer, which comes every tenth of one otherwise, after which health says so.
_SILENT_S = 15.0
#: What the cluster id of the embedded broker begins with.
EMBEDDED_CLUSTER = "embedded-"


class KafkaOptions(Struct, frozen=True, kw_only=True):
    """How to reach the topic."""

    bootstrap_servers: str
    topic: str
    group: str
    #: Java's and librdkafka's default; aiokafka's 10 s evicts a worker that is only busy.
    session_timeout_ms: int = 45_000
    #: What positions, and with them ids of events without one, begin with instead of the topic's name.
    log_name: str = ""
    #: Partitions assigned by hand, without a group; None: those that the group assigns.
    partitions: tuple[int, ...] | None = None


class KafkaConsumer(ConsumerRebalanceListener):
    """One member of the consumer group."""

    def __init__(
        self,
        options: KafkaOptions,
        open_lane: OpenLane,
        *,
        metrics: Metrics,
        on_assigned: Callable[[int], None] = lambda _: None,
        on_revoked: Callable[[int], None] = lambda _: None,
        durable_offset: Callable[[int], Awaitable[int]],
        monotonic: Callable[[], float],
    ) -> None:
        """Args:
        options: How to reach the topic.
        open_lane: Makes the lane of a partition.
        metrics: Where lag is told.
        on_assigned: Called with each partition that is assigned.
        on_revoked: Called with each partition that was released.
        durable_offset: The last offset of a partition whose effects are in the store, once they are durable.
        monotonic: Seconds of a clock that nobody sets.
        """
        self._options = options
        self._open_lane = open_lane
        self._metrics = metrics
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._durable_offset = durable_offset
        self._monotonic = monotonic
        self._ends = LogEnds()
        self._told_misplaced = False
        self._log = logger("consume")
        self._consumer: Any = None
        self._cluster = ""
        self._stopping = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._committed: dict[int, int] = {}
        #: The lanes of the partitions this member owns.
        self.lanes: dict[int, PartitionLane] = {}
        #: Set once the group has assigned partitions, or told this member to stand by without any.
        self.assigned = asyncio.Event()

    async def run(self) -> None:
        """Poll until `stop`; a broker that goes away is waited for.

        Raises:
            Unreachable: no broker answers at the start.
        """
        await self._connect()
        commits = asyncio.create_task(self._commit_regularly())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                try:
                    await self._poll_until(stopping)
                except (KafkaError, OSError) as error:
                    await self._recover(error)
        finally:
            await cancel(commits, stopping)
            await self._commit(await self._release(set(self.lanes)))
            await self._disconnect()

    def stop(self) -> None:
        """Ask `run` to end: drain, release, leave the group."""
        self._stopping.set()

    @property
    def problem(self) -> str:
        """What keeps this member from having partitions, in words for people; "" when nothing does."""
        if not self.assigned.is_set():
            return "the consumer group has not assigned any partition yet"
        if not self.lanes and not self._consumer.partitions_for_topic(self._options.topic):
            return f"Kafka shows no topic {self._options.topic}: was it deleted?"
        asked = [self._tp(partition) for partition, lane in self.lanes.items() if lane.wants_records]
        answers = [at for tp in asked if (at := self._consumer.last_poll_timestamp(tp)) is not None]
        silent_s = (wall_clock() - max(answers)) / 1000 if answers else 0.0
        return f"Kafka has not answered for {silent_s:.0f} s" if silent_s > _SILENT_S else ""

    @property
    def fetched(self) -> int:
        """Partitions whose fetched records wait in the client, each with up to `FETCH_BYTES` of them."""
        return len(self._consumer._fetcher._records) if self._consumer is not None and self._consumer._fetcher else 0

    def lag(self) -> dict[int, int]:
        """Records not yet evaluated, by partition, as far as the broker's answers so far tell."""
        lags = {}
        for partition, lane in self.lanes.items():
            end = self._high_water(partition)
            if end is not None and lane.position is not None:
                lags[partition] = max(0, end - lane.position)
        return lags

    def _high_water(self, partition: int) -> int | None:
        try:
            return self._consumer.highwater(self._tp(partition))  # type: ignore[no-any-return]
        except (IllegalStateError, AssertionError):
            return None

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._options.topic, partition)

    async def _connect(self) -> None:
        options = self._options
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=options.bootstrap_servers,
            group_id=options.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=options.session_timeout_ms,
            heartbeat_interval_ms=min(3_000, options.session_timeout_ms // 5),
            rebalance_timeout_ms=60_000,
            # While the store is away no partition wants records, and no poll is made; that is no reason to leave.
            max_poll_interval_ms=3_600_000,
            max_poll_records=2_000,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=16 * 1024 * 1024,
            fetch_max_wait_ms=100,
            # How soon a topic that was deleted and recreated is seen again.
            metadata_max_age_ms=10_000,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )  # fmt: skip
        by_hand = [self._tp(partition) for partition in options.partitions or ()]
        if options.partitions is None:
            self._consumer.subscribe([options.topic], listener=self)
        else:
            self._consumer.assign(by_hand)
        try:
            # First of all: partitions are assigned, and claimed under this id, before start() returns.
            self._cluster = await cluster_id(options.bootstrap_servers)
            await self._consumer.start()
            if by_hand:
                await self.on_partitions_assigned(by_hand)
        except (KafkaError, OSError) as error:
            await self._disconnect()
            raise Unreachable(
                f"no Kafka broker answers at {options.bootstrap_servers} ({type(error).__name__}); "
                "start one, or set ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS"
            ) from error

    async def _disconnect(self) -> None:
        """Close the client. While the broker is away, aiokafka lets the cancellation of a task of its own escape."""
        stopping = asyncio.ensure_future(self._consumer.stop())
        done, _ = await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)
        if not done:
            # It waits for a group that does not answer, and would for ever; the group finds out by itself.
            self._log.warning("kafka.left_without_answer", after_s=_STOP_TIMEOUT_S)
            await cancel(stopping)
        if stopping.cancelled() or stopping.exception():
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self._consumer._client.close()

    async def _poll_until(self, stopping: asyncio.Task[Any]) -> None:
        """Poll once. Cut off only when this member stops: a group that assigns nothing can hold a poll up for ever."""
        poll = asyncio.create_task(self._poll())
        await asyncio.wait([poll, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not poll.done():
            await asyncio.wait([poll], timeout=5 * _POLL_MS / 1000)
        if poll.done():
            poll.result()
        else:
            await cancel(poll)

    async def _poll(self) -> None:
        wanted = [self._tp(partition) for partition, lane in self.lanes.items() if lane.wants_records]
        if self.lanes and not wanted:
            # An empty filter would mean all partitions.
            await asyncio.sleep(_POLL_MS / 1000)
            return
        try:
            fetched = await self._consumer.getmany(*wanted, timeout_ms=_POLL_MS)
        except NoOffsetForPartitionError:
            # Asked for before the lane has claimed its partition; its seek follows.
            return
        self._hand_over(fetched)
        self._tell_ends()

    def _hand_over(self, fetched: dict[TopicPartition, Any]) -> None:
        for tp, records in fetched.items():
            lane = self.lanes.get(tp.partition)
            if lane is not None:
                self._look_at_key(tp, records[0].key)
                log = self._options.log_name or tp.topic
                lane.offer([_record(log, record) for record in records])

    def _look_at_key(self, tp: TopicPartition, key: bytes | None) -> None:
        """A producer with another partitioner puts a visitor into two partitions; one record of each fetch tells."""
        count = len(self._consumer.partitions_for_topic(tp.topic) or ())
        if key is not None and count and partition_of(key, count) != tp.partition:
            self._metrics.misplaced.inc()
            if not self._told_misplaced:
                self._told_misplaced = True
                self._log.warning(
                    "record.misplaced",
                    partition=tp.partition,
                    means="a producer does not partition by murmur2 of the key, as Kafka's own clients do "
                    "(librdkafka: partitioner=murmur2_random), so a visitor's events may come in two partitions",
                )

    def _tell_ends(self) -> None:
        """Tell each lane until when its log is known to have held no more than it does."""
        now = self._monotonic()
        for partition, lane in self.lanes.items():
            end = self._high_water(partition)
            if end is not None:
                answered_at = self._consumer.last_poll_timestamp(self._tp(partition))
                known_at = self._ends.known_at(partition, answered_at, now)
                if known_at is not None:
                    lane.log_ended(end, known_at)

    async def _recover(self, error: Exception) -> None:
        """After an error of the client every lane goes back to its fence; after a fatal one a new client starts."""
        self._log.warning("kafka.failed", error=f"{type(error).__name__}: {error}")
        for lane in self.lanes.values():
            lane.rewind()
        await asyncio.sleep(_RESTART_AFTER_S)
        if isinstance(error, KafkaError) and error.retriable:
            return
        await self._release(set(self.lanes))
        await self._disconnect()
        while not self._stopping.is_set():
            try:
                await self._connect()
            except Unreachable as reason:
                self._log.warning("kafka.unreachable", reason=str(reason))
                await asyncio.sleep(_RESTART_AFTER_S)
            else:
                return

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Open a lane for each partition; each claims its partition by itself."""
        for tp in sorted(assigned, key=lambda tp: tp.partition):
            partition = tp.partition
            lane = self._open_lane(partition, self._look_up(partition), self._seek(partition))
            self.lanes[partition] = lane
            self._tasks[partition] = asyncio.create_task(lane.run(), name=f"lane {partition}")
            self._on_assigned(partition)
        self._log.info("partitions.assigned", partitions=sorted(self.lanes))
        self.assigned.set()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Drain, then release: batches in hand are finished, the rest is left to the next owner."""
        await self._release({tp.partition for tp in revoked})

    async def _release(self, partitions: set[int]) -> dict[int, int | None]:
        """Drain the lanes and let go of them; returns their positions. Waits for no webhook, and for no commit."""
        lanes = {partition: self.lanes.pop(partition) for partition in partitions & self.lanes.keys()}
        if not lanes:
            return {}
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await asyncio.gather(*(lane.close() for lane in lanes.values()))
        except TimeoutError:
            self._log.warning("partitions.not_drained", partitions=sorted(lanes))
        positions = {partition: lane.position for partition, lane in lanes.items()}
        for partition in lanes:
            self._tasks.pop(partition).cancel()
            self._ends.forget(partition)
            self._on_revoked(partition)
            with suppress(KeyError):
                self._metrics.lag.remove(partition)
        self._log.info("partitions.released", partitions=sorted(lanes))
        return positions

    def _look_up(self, partition: int) -> Callable[[], Awaitable[Log]]:
        async def look_up() -> Log:
            tp = self._tp(partition)
            try:
                async with asyncio.timeout(_LOOK_UP_TIMEOUT_S):
                    begin = (await self._consumer.beginning_offsets([tp]))[tp]
                    end = await self._end(tp, begin)
                    committed = await self._consumer.committed(tp)
            except (KafkaError, OSError, TimeoutError) as error:
                raise Unreachable(f"Kafka does not show partition {partition} ({type(error).__name__})") from error
            count = len(self._consumer.partitions_for_topic(tp.topic) or ())
            if not count:
                raise Unreachable(f"Kafka does not show how many partitions {tp.topic} has")
            return Log(tp.topic, partition, begin, end, committed, self._cluster, count)

        return look_up

    async def _end(self, tp: TopicPartition, begin: int) -> int:
        """The offset after the last record. Tansu, the embedded broker, tells that of its last batch's first record."""
        end: int = (await self._consumer.end_offsets([tp]))[tp]
        if end <= begin or not self._cluster.startswith(EMBEDDED_CLUSTER):
            return end
        reader = AIOKafkaConsumer(bootstrap_servers=self._options.bootstrap_servers, enable_auto_commit=False)
        await reader.start()
        try:
            reader.assign([tp])
            reader.seek(tp, end - 1)
            await reader.getmany(tp, timeout_ms=1000)
            return reader.highwater(tp) or end
        finally:
            await reader.stop()

    def _seek(self, partition: int) -> Callable[[int], None]:
        def seek(offset: int) -> None:
            try:
                self._consumer.seek(self._tp(partition), offset)
            except IllegalStateError:
                self._log.info("seek.skipped", partition=partition, reason="no longer assigned")

        return seek

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            await self._commit({partition: lane.position for partition, lane in self.lanes.items()})
            for partition, lag in self.lag().items():
                self._metrics.lag.labels(partition).set(lag)

    async def _commit(self, positions: dict[int, int | None]) -> None:
        """Tell Kafka the positions: a hint for people and for lag monitors, so a failure is only noted."""
        moved = {
            partition: position
            for partition, position in positions.items()
            if position is not None and self._committed.get(partition) != position
        }
        if not moved:
            return
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                offsets = await asyncio.gather(*(self._durable_offset(partition) for partition in moved))
                # A store that has lost its tail meanwhile is behind; its lane goes back, and so nothing is told.
                moved = {
                    partition: position
                    for (partition, position), offset in zip(moved.items(), offsets, strict=True)
                    if position <= offset + 1
                }
                if moved:
                    await self._consumer.commit({self._tp(number): position for number, position in moved.items()})
        except (KafkaError, TimeoutError, UnknownMemberIdError, Unreachable) as error:
            self._log.info("commit.failed", error=type(error).__name__)
        else:
            self._committed.update(moved)


def _record(log: str, fetched: Any) -> Record:
    record = Record(log, fetched.partition, fetched.offset, fetched.timestamp, fetched.key, fetched.value)
    return with_headers(record, fetched.headers) if fetched.headers else record

"""The log of parked deliveries as a Kafka topic: partition p of it belongs to partition p of the events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OffsetOutOfRangeError

from actionmap.deliver.parking import Entry, Gap
from actionmap.errors import Unreachable

#: Seconds that Kafka may take to acknowledge, or to show where a log begins and ends.
_TIMEOUT_S = 10.0
#: Seconds that closing may take.
_CLOSE_S = 3.0
#: Milliseconds to wait for records that are surely there.
_READ_MS = 1_000
_AWAY = (KafkaError, OSError, TimeoutError)


class ParkedTopic:
    """A `ParkedLog` in Kafka; it connects when it is first used.

    The producer is not idempotent: a record that is there twice is recognised when it is read, and a client without
    producer id can be thrown away after any failure.

    Args:
        bootstrap: ``host:port`` of one or more brokers, comma-separated.
        topic: Its name; it exists, with as many partitions as the events have.
        timeout_s: Seconds that Kafka may take to acknowledge.
    """

    def __init__(self, bootstrap: str, topic: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s
        self._producer: Any = None
        self._reader: Any = None
        self._starting = asyncio.Lock()
        self._reading = asyncio.Lock()
        #: Where the reader goes on by itself.
        self._next: tuple[int, int] | None = None

    async def append(self, partition: int, records: Sequence[tuple[str, bytes]]) -> list[int | None]:
        """See `ParkedLog.append`."""
        try:
            producer = await self._started()
            async with asyncio.timeout(self._timeout_s):
                answers = [await self._send(producer, partition, key, value) for key, value in records]
            waited_for = [answer for answer in answers if answer is not None]
            if waited_for:
                await asyncio.wait(waited_for, timeout=self._timeout_s)
        except (*_AWAY, AssertionError) as error:  # aiokafka asserts that the topic has the partition
            await self._give_up_producer()
            raise self._unreachable(error) from error
        offsets = [_offset(answer) for answer in answers]
        if waited_for and not any(offset is not None for offset in offsets):
            await self._give_up_producer()
            raise self._unreachable(TimeoutError())
        return offsets

    async def _send(self, producer: Any, partition: int, key: str, value: bytes) -> asyncio.Future[Any] | None:
        try:
            answer: asyncio.Future[Any] = await producer.send(
                self.topic, value=value, key=key.encode(), partition=partition
            )
        except MessageSizeTooLargeError:
            return None
        # An error is looked at here too, because whoever waited may have given up by then.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    async def read(self, partition: int, position: int, limit: int) -> list[Entry] | Gap:
        """See `ParkedLog.read`."""
        place = TopicPartition(self.topic, partition)
        async with self._reading:
            try:
                reader = await self._at(place, position)
                # Never cancelled: what it has taken from the client's buffer would be gone.
                fetched = await reader.getmany(place, timeout_ms=_READ_MS, max_records=limit)
            except OffsetOutOfRangeError:
                self._next = None
                return await self._bounds(place)
            except _AWAY as error:
                await self._give_up_reader()
                raise self._unreachable(error) from error
            entries = [Entry(record.offset, record.value or b"") for record in fetched.get(place, ())]
            self._next = (partition, entries[-1].offset + 1 if entries else position)
            return entries

    async def _at(self, place: TopicPartition, position: int) -> Any:
        """The reader, about to read ``place`` from ``position``."""
        if self._reader is None:
            reader = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, enable_auto_commit=False, auto_offset_reset="none",
                fetch_max_wait_ms=100, client_id="actionmap-parked",
            )  # fmt: skip
            try:
                await reader.start()
            except BaseException:
                await reader.stop()
                raise
            self._reader, self._next = reader, None
        if self._reader.assignment() != {place}:
            self._reader.assign([place])
            self._next = None
        if self._next != (place.partition, position):
            self._reader.seek(place, position)
        return self._reader

    async def _bounds(self, place: TopicPartition) -> Gap:
        try:
            async with asyncio.timeout(self._timeout_s):
                begin = (await self._reader.beginning_offsets([place]))[place]
                return Gap(begin, (await self._reader.end_offsets([place]))[place])
        except _AWAY as error:
            await self._give_up_reader()
            raise self._unreachable(error) from error

    async def close(self) -> None:
        """See `ParkedLog.close`."""
        await self._give_up_producer()
        async with self._reading:
            await self._give_up_reader()

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap, client_id="actionmap-park", acks="all", linger_ms=2,
                    request_timeout_ms=round(self._timeout_s * 1000),
                )  # fmt: skip
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _give_up_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _give_up_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await _stop(reader)

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(f"Kafka at {self._bootstrap} does not answer for {self.topic} ({type(error).__name__})")


def _offset(answer: asyncio.Future[Any] | None) -> int | None:
    if answer is None or not answer.done() or answer.cancelled() or answer.exception() is not None:
        return None
    offset: int = answer.result().offset
    return offset if offset >= 0 else None


async def _stop(client: Any) -> None:
    """Close ``client``; while the broker is away, aiokafka may wait for it, or let an error of its own escape."""
    if await _ends(client.stop()):
        return
    if isinstance(client, AIOKafkaProducer):
        await _ends(client._sender.close())
        await client.client.close()
    else:
        await client._client.close()


async def _ends(closing: Coroutine[Any, Any, None]) -> bool:
    """Whether ``closing`` came to its end in time."""
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=_CLOSE_S)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    return not task.cancelled() and task.exception() is None

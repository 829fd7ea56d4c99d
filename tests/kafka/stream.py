"""Events that flow into Apache Kafka, workers that turn them into webhooks, and what must be true in the end."""

import asyncio
import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from actionmap.app import open_producer, open_store
from actionmap.collect.producer import EventProducer, Outgoing, Stored
from actionmap.collect.topic import ensure_topic
from actionmap.demo.receiver import Receiver
from actionmap.embedded import embedded_store, free_port
from actionmap.errors import ActionmapError
from actionmap.registry import Registry
from actionmap.settings import load_settings
from actionmap.visitor import decode_visitor
from processes import PATIENCE_S, Process, running
from support import definitions, rules, until

PARTITIONS = 4
VISITORS = 20
_BATCH = 10
_PAUSE_S = 0.02


def counting_rules(base_url: str) -> list[dict[str, Any]]:
    """`support.rules`, whose webhook also tells which of its visitor's events it was: it shows order and repeats."""
    written = rules(base_url)
    written[1]["contract"]["input"]["properties"]["count"] = {"type": "integer"}
    written[2]["mappings"]["count"] = {"lookup": "visitor.eventCount"}
    return written


class Store:
    """An embedded store that can be killed and started again, on the same data and port."""

    def __init__(self, data: Path) -> None:
        self._data, self._port = data, free_port()
        self._open = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def start(self) -> None:
        self.url = await self._open.enter_async_context(embedded_store(self._data, self._port))

    async def kill(self) -> None:
        async with Redis.from_url(self.url) as redis:
            pid = (await redis.info("server"))["process_id"]
        os.kill(pid, signal.SIGKILL)
        await self._open.aclose()


class Stream:
    """One topic, one group and one store: events in, webhooks out.

    Args:
        bootstrap: Where Kafka is.
        redis_url: Where the store is.
        name: Of the topic, the group and the store's keys.
        folder: Where the workers run.
    """

    def __init__(
        self, bootstrap: str, redis_url: str, name: str, folder: Path, *, partitions: int = PARTITIONS
    ) -> None:
        self._folder = folder
        self.name, self.bootstrap, self.partitions = name, bootstrap, partitions
        self.settings = load_settings(
            kafka_bootstrap_servers=bootstrap, redis_url=redis_url, redis_prefix=name,
            events_topic=name, consumer_group=name,
        )  # fmt: skip
        self.store = open_store(self.settings)
        self.receiver = Receiver()
        self._sent = Counter[str]()

    async def __aenter__(self) -> Self:
        await self.receiver.__aenter__()
        await ensure_topic(self.bootstrap, self.name, self.partitions)
        registry = Registry(self.store)
        await registry.refresh()
        await registry.change(definitions(counting_rules(self.receiver.url)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.__aexit__(None, None, None)
        await self.store.close()

    def worker(self, **settings: str) -> AbstractAsyncContextManager[Process]:
        """`actionmap run`, with more settings: ``kafka_session_timeout="6s"``."""
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, "REDIS_URL": self.settings.redis_url,
            "REDIS_PREFIX": self.name, "EVENTS_TOPIC": self.name, "CONSUMER_GROUP": self.name,
            "EVENTS_TOPIC_PARTITIONS": str(self.partitions), "METRICS_PORT": "0", "EGRESS_ALLOW": "127.0.0.1/32",
            **{name.upper(): value for name, value in settings.items()},
        }  # fmt: skip
        return running("run", cwd=self._folder, env={f"ACTIONMAP_{name}": value for name, value in env.items()})

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Events stream in while the block runs; each is sent again, under its id, until Kafka has it."""
        end = asyncio.Event()
        async with await open_producer(self.settings) as producer:
            sending = asyncio.create_task(self._send_until(end, producer))
            try:
                yield
            finally:
                end.set()
                await sending

    async def _send_until(self, end: asyncio.Event, producer: EventProducer) -> None:
        turn = 0
        while not end.is_set():
            batch = [self._next(f"v{(turn * _BATCH + n) % VISITORS}") for n in range(_BATCH)]
            while batch:
                with suppress(ActionmapError):
                    answers = await producer.send_many(batch)
                    batch = [event for event, answer in zip(batch, answers, strict=True)
                             if not isinstance(answer, Stored)]  # fmt: skip
                await asyncio.sleep(_PAUSE_S)
            turn += 1

    def _next(self, visitor: str) -> Outgoing:
        self._sent[visitor] += 1
        n = self._sent[visitor]
        event = {"eventId": f"{visitor}-{n}", "eventName": "order", "visitorId": visitor, "attributes": {"n": n}}
        return Outgoing(visitor, json.dumps(event).encode())

    async def more_webhooks(self, number: int = 200) -> None:
        """Wait until so many more have come."""
        await self.receiver.wait_for(len(self.receiver.requests) + number, PATIENCE_S)

    async def owned_by(self, *workers: Process) -> None:
        """Wait until these, and all of these, have claimed what there is."""

        async def reached() -> bool:
            with suppress(ActionmapError):
                fences = [await self.store.fence(n) for n in range(self.partitions)]
                return {fence.owner.split(":")[1] for fence in fences if fence.owner} == {
                    str(worker.pid) for worker in workers
                }
            return False

        await until(reached, "the partitions are claimed")

    async def ends(self) -> dict[int, int]:
        """Where each partition's log ends."""
        async with _reader(self.bootstrap) as reader:
            found = await reader.end_offsets([TopicPartition(self.name, n) for n in range(self.partitions)])
        return {tp.partition: end for tp, end in found.items()}

    async def evaluated(self, *partitions: int) -> None:
        """Wait until the effects of all that is in the log, or in these partitions of it, are in the store."""
        ends = await self.ends()

        async def reached() -> bool:
            with suppress(ActionmapError):
                fences = {n: await self.store.fence(n) for n in partitions or ends}
                return all(fence.offset + 1 == ends[n] for n, fence in fences.items())
            return False

        await until(reached, "all that is in the log is evaluated")

    async def log(self) -> list[ConsumerRecord[bytes, bytes]]:
        """All records, those of each partition in their order."""
        ends, records = await self.ends(), []
        async with _reader(self.bootstrap) as reader:
            reader.assign([TopicPartition(self.name, n) for n, end in ends.items() if end])
            await reader.seek_to_beginning()
            while len(records) < sum(ends.values()):
                for more in (await reader.getmany(timeout_ms=1000)).values():
                    records += more
        return records

    async def check(self, *, delivered: bool = False) -> int:
        """That each event in the log was decided once, in its visitor's order, and its webhook sent or owed, under one
        id with one body; the number of events. ``delivered``: every webhook has been received, too."""
        await self.evaluated()
        expected, partition_of = _by_the_book(await self.log())
        assert {visitor: max(numbers) for visitor, numbers in _numbers(expected).items()} == self._sent, (
            "lost on the way in"
        )
        if delivered:
            await until(lambda: self._has_received(len(expected)), "every webhook has come")
        promised = Counter(await self._promised())
        assert not Counter(expected) - promised, "lost, or another event of its visitor was decided twice"
        assert not promised - Counter(expected), "decided twice, or out of order"
        for visitor, numbers in _numbers(expected).items():
            (stored,) = await self.store.load(partition_of[visitor], [visitor])
            assert stored is not None
            assert decode_visitor(stored).event_count == len(numbers)
        return len(expected)

    async def _has_received(self, number: int) -> bool:
        return len({request.headers["webhook-id"] for request in self.receiver.requests}) >= number

    async def _promised(self) -> list[tuple[str, int, int]]:
        """Visitor, event and place of each webhook that is owed or was received."""
        bodies = defaultdict[str, set[str]](set)
        for partition in range(self.partitions):  # first: what is settled from now on has been received
            for delivery in await self.store.owed(partition, limit=100_000):
                bodies[delivery.id].add(delivery.body or "")
        for request in self.receiver.requests:
            bodies[request.headers["webhook-id"]].add(request.body.decode())
        assert all(len(of_one_id) == 1 for of_one_id in bodies.values()), "one id with two bodies"
        return sorted(_place(json.loads(body)) for (body,) in bodies.values())

    async def ready(self, worker: Process) -> tuple[int, dict[str, Any]]:
        """What the worker says of its health."""
        url = await worker.says("health and metrics at ")
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            answer = await client.get("/health/ready")
        return answer.status_code, answer.json()


def _place(body: Mapping[str, Any]) -> tuple[str, int, int]:
    return body["visitor"], body["n"], body["count"]


def _by_the_book(
    records: list[ConsumerRecord[bytes, bytes]],
) -> tuple[list[tuple[str, int, int]], dict[str, int]]:
    """Visitor, event and place among its visitor's of each event, as one who reads the log from its beginning sees
    it; and the partition of each visitor. Repeats of an event count once."""
    counts, seen = Counter[str](), dict[tuple[str, int], int]()
    partition_of: dict[str, int] = {}
    for record in records:
        assert record.value is not None
        event = json.loads(record.value)
        visitor, key = event["visitorId"], (event["visitorId"], event["attributes"]["n"])
        partition_of[visitor] = record.partition
        if key not in seen:
            counts[visitor] += 1
            seen[key] = counts[visitor]
    return sorted((*key, count) for key, count in seen.items()), partition_of


def _numbers(events: list[tuple[str, int, int]]) -> dict[str, list[int]]:
    numbers = defaultdict[str, list[int]](list)
    for visitor, n, _ in events:
        numbers[visitor].append(n)
    return numbers


@asynccontextmanager
async def _reader(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()

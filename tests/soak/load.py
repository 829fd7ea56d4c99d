"""A shop under overload: the events of many visitors, some of them orders, and the receiver that is told of orders."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from actionmap.delivery import delivery_id
from actionmap.demo.receiver import Receiver
from support import rules

PARTITIONS = 4
VISITORS = 20_000
#: Nine events of ten are theirs, so that what is remembered of a visitor is soon as long as it may become.
_HOT = 4_000
#: One event of so many is an order.
_ORDER_EACH = 50
_CHUNK = 2_000
#: A batch that is longer does not pass the broker.
_BATCH_BYTES = 900_000


def visitor_of(n: int) -> int:
    """Whose the event with number ``n`` is."""
    mixed = (n * 2_654_435_761 % 2**32) >> 4
    return mixed // 10 % _HOT if mixed % 10 else _HOT + mixed // 10 % (VISITORS - _HOT)


def partition_of(visitor: int) -> int:
    return visitor % PARTITIONS


def orders_among(events: int) -> range:
    """The numbers of those of the first ``events`` that are orders."""
    return range(0, events, _ORDER_EACH)


def shop_rules(base_url: str, edition: int) -> list[dict[str, Any]]:
    """`support.rules`, tried again every second; each edition writes its number into the bodies."""
    written = rules(base_url, limits={"concurrency": 64})[:-1]
    written[1]["contract"]["input"]["properties"]["edition"] = {"type": "integer"}
    written[2]["mappings"]["edition"] = {"value": edition}
    written[2]["delivery"] = {"retry": {"attempts": 100, "schedule": ["1s"]}}
    return written


def _record(n: int) -> tuple[bytes, bytes]:
    visitor, name = visitor_of(n), "page_viewed" if n % _ORDER_EACH else "order"
    return f"v{visitor}".encode(), (
        f'{{"eventId":"e{n}","eventName":"{name}","visitorId":"v{visitor}","attributes":{{"n":{n},"shop":"soak"}}}}'
    ).encode()


class Load:
    """Puts events into the log, numbered from 0; each is sent again, under its id, until Kafka has it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._producer: AIOKafkaProducer | None = None
        #: So many are in the log.
        self.sent = 0

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def burst(self, count: int, per_second: float) -> float:
        """Send ``count`` more; how many a second it became."""
        loop = asyncio.get_running_loop()
        begin, first = loop.time(), self.sent
        while self.sent < first + count:
            chunk = range(self.sent, min(self.sent + _CHUNK, first + count))
            await self._send(chunk)
            self.sent = chunk.stop
            await asyncio.sleep(begin + (self.sent - first) / per_second - loop.time())
        return count / (loop.time() - begin)

    async def _send(self, chunk: Iterable[int]) -> None:
        waiting = dict[int, list[int]]()
        for n in chunk:
            waiting.setdefault(partition_of(visitor_of(n)), []).append(n)
        while waiting:
            answers = await asyncio.gather(
                *(self._send_batch(partition, numbers) for partition, numbers in waiting.items())
            )
            waiting = {one: waiting[one] for one, stored in zip(waiting, answers, strict=True) if not stored}
            if waiting:  # a producer that was refused once need not recover
                await self.close()
                await asyncio.sleep(0.5)
                await self._connect()

    async def _connect(self) -> None:
        while self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap, enable_idempotence=True, max_batch_size=_BATCH_BYTES
            )
            try:
                await producer.start()
                self._producer = producer
            except KafkaError:
                await producer.stop()
                await asyncio.sleep(0.5)

    async def _send_batch(self, partition: int, numbers: list[int]) -> bool:
        if self._producer is None:
            return False
        batch = self._producer.create_batch()
        for key, value in map(_record, numbers):
            batch.append(timestamp=None, key=key, value=value)
        with suppress(KafkaError):
            await (await self._producer.send_batch(batch, self._topic, partition=partition))
            return True
        return False


class Shop(Receiver):
    """Checks each webhook by itself, and remembers of each order only a hash of the body."""

    def __init__(self) -> None:
        super().__init__(keep=1)
        #: By number of the order.
        self.bodies: dict[int, int] = {}
        self.repeated = self.other_bodies = self.strangers = 0
        #: Answer 503.
        self.failing = False

    async def _receive(self, request: web.Request) -> web.Response:
        self._check(request.headers["webhook-id"], await request.read())
        return web.Response(status=503) if self.failing else await super()._receive(request)

    def _check(self, id_: str, body: bytes) -> None:
        told = json.loads(body)
        n, visitor = told["n"], f"v{visitor_of(told['n'])}"
        expected = delivery_id("default", "each-order", "tell-shop", visitor, f"e{n}")
        self.strangers += id_ != expected or told["visitor"] != visitor or n % _ORDER_EACH != 0
        if n in self.bodies:
            self.repeated += 1
            self.other_bodies += self.bodies[n] != hash(body)
        elif not self.failing:
            self.bodies[n] = hash(body)

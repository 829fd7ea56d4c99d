"""The parts of a soak: Kafka, store, worker, receiver and the load, and the faults that befall them."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from load import PARTITIONS, Load, Shop, orders_among, shop_rules

from actionmap.app import open_store
from actionmap.errors import ActionmapError
from actionmap.registry import Registry
from actionmap.settings import load_settings
from faults.proxy import FaultProxy
from kafka.apache import ApacheKafka
from kafka.stream import Store
from processes import Process, running
from support import definitions

NAME = "soak"
#: Seconds for anything to come true.
PATIENCE_S = 300.0
_OVERLOAD = 5
_BURST_S = 2.0
_FIRST_EVENTS = 60_000
#: Orders whose webhook may still come when the next burst begins.
_MOST_OPEN = 1_000
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Old segments go, long after they were evaluated: the log stays below 2 GB however long it runs.
_RETENTION = {"segment.bytes": str(32 << 20), "retention.bytes": str(128 << 20)}
#: Low enough that all that is bounded is soon full.
_CAPS = {"VISITOR_CACHE": "5000", "OUTBOX_INTEGRATION_CAP": "250", "LOG_LEVEL": "warning"}

_Kind = Callable[[], Coroutine[Any, Any, None]]


class Site:
    """All parts, and the counts that the faults leave."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kafka, self.valkey, self.shop = ApacheKafka(folder / "kafka"), Store(folder / "store"), Shop()
        self.load = Load(self.kafka.bootstrap, NAME)
        self.faults = Counter[str]()
        self.fault = ""
        self.evaluated = self.lag_max = self._edition = 0
        #: Second and bytes of the worker there is.
        self.memory: list[tuple[float, int]] = []
        self._worker = AsyncExitStack()
        self.process: Process | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        for part in (self.kafka, self.valkey, self.shop):
            await stack.enter_async_context(part)
        self.network = await stack.enter_async_context(FaultProxy(self.shop.url.removeprefix("http://")))
        self.settings = load_settings(kafka_bootstrap_servers=self.kafka.bootstrap, redis_url=self.valkey.url,
                                      redis_prefix=NAME, events_topic=NAME)  # fmt: skip
        self.store = open_store(self.settings)
        stack.push_async_callback(self.store.close)
        await self._create_topic()
        await self.change_rules()
        stack.push_async_callback(self.load.close)
        stack.push_async_callback(self._leave_worker)

    async def _create_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(NAME, PARTITIONS, 1, topic_configs=_RETENTION)])
        await admin.close()

    async def change_rules(self) -> None:
        self._edition += 1
        registry = Registry(self.store)
        await registry.refresh()
        await registry.change(definitions(shop_rules(f"http://{self.network.address}", self._edition)))

    async def start_worker(self) -> None:
        env = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap, "REDIS_URL": self.valkey.url, "REDIS_PREFIX": NAME,
               "EVENTS_TOPIC": NAME, "CONSUMER_GROUP": NAME, "KAFKA_SESSION_TIMEOUT": "6s", "METRICS_PORT": "0",
               "EGRESS_ALLOW": "127.0.0.1/32", **_CAPS}  # fmt: skip
        self.process = await self._worker.enter_async_context(
            running("run", cwd=self._folder, env={f"ACTIONMAP_{name}": value for name, value in env.items()})
        )
        self.memory = []

    async def end_worker(self, number: signal.Signals) -> int:
        """Its exit code."""
        assert self.process is not None
        code = -1
        with suppress(ProcessLookupError):  # it has ended by itself
            code = await self.process.stop(number)
        await self._leave_worker()
        return code

    async def _leave_worker(self) -> None:
        await self._worker.aclose()
        if self.process is not None:
            (self._folder / f"worker-{self.process.pid}.log").write_text(self.process.output())

    @property
    def lag(self) -> int:
        return max(0, self.load.sent - self.evaluated)

    async def look(self) -> None:
        """How far evaluation is; as before while the store is away."""
        with suppress(ActionmapError):
            fences = [await self.store.fence(n) for n in range(PARTITIONS)]
            self.evaluated = sum(fence.offset + 1 for fence in fences)

    async def watch(self, tell: Callable[[], None]) -> None:
        """Each second: how far evaluation is, and the worker's memory."""
        while True:
            await self.look()
            self.lag_max = max(self.lag_max, self.lag)
            if self.process is not None:
                with suppress(OSError, ValueError, IndexError):  # it is being exchanged
                    pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
                    if pages:
                        self.memory.append((time.monotonic(), pages * _PAGE))
            tell()
            await asyncio.sleep(1)

    async def drained(self) -> None:
        """Wait until all that was sent is evaluated, and most webhooks have come; not for ever."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and (
            self.lag or len(orders_among(self.load.sent)) - len(self.shop.bodies) > _MOST_OPEN
        ):
            await asyncio.sleep(0.2)
            await self.look()

    async def first_rate(self) -> float:
        """Events a second that the worker evaluates when nothing else happens."""
        await self.load.burst(_FIRST_EVENTS, float("inf"))
        await self.start_worker()
        while not self.evaluated:
            await asyncio.sleep(0.05)
            await self.look()
        begin, first = time.monotonic(), self.evaluated
        await self.drained()
        return (self.load.sent - first) / (time.monotonic() - begin)

    async def bursts(self, rate: float, until: float) -> list[float]:
        """Overload and time to work it off, in turn; how many events a second came in each burst."""
        came = []
        while time.monotonic() < until:
            came.append(await self.load.burst(round(rate * _OVERLOAD * _BURST_S), rate * _OVERLOAD))
            await self.drained()
        return came


class Faults:
    """One after the other, in an order and at times that the seed decides."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site, self._random, self._warm_at = site, random.Random(seed), 0.0

    @property
    def _is_warm(self) -> bool:
        return time.monotonic() >= self._warm_at

    async def run(self, workers_until: float, warm_at: float, until: float) -> None:
        """Workers are killed only before ``workers_until``. Before ``warm_at`` faults come quicker and last longest,
        so that all that grows to a cap, and the memory for it, has been there once."""
        kinds: list[_Kind] = []
        self._warm_at = warm_at
        while True:
            await asyncio.sleep(self._random.uniform(3, 9) if self._is_warm else 2)
            if time.monotonic() > until:
                return
            kinds = kinds or self._round()
            kind = kinds.pop()
            if kind != self.worker or time.monotonic() < workers_until:
                await self._strike(kind)

    def _round(self) -> list[_Kind]:
        kinds: list[_Kind] = [self.store, self.broker, self.worker, self.receiver_fails, self.receiver_hangs,
                              self.receiver_gone, self.rulebook]  # fmt: skip
        self._random.shuffle(kinds)
        return kinds

    async def _strike(self, kind: _Kind) -> None:
        self._site.fault = kind.__name__.replace("_", " ")
        self._site.faults[self._site.fault] += 1
        await kind()
        self._site.fault = ""

    async def _while(self, longest_s: float) -> None:
        await asyncio.sleep(self._random.uniform(0.2, longest_s) if self._is_warm else longest_s)

    async def store(self) -> None:
        await self._site.valkey.kill()
        await self._while(3)
        await self._site.valkey.start()

    async def broker(self) -> None:
        self._site.kafka.kill()
        await self._while(3)
        await self._site.kafka.start()

    async def worker(self) -> None:
        await self._site.end_worker(signal.SIGKILL)
        await self._site.start_worker()

    async def receiver_fails(self) -> None:
        self._site.shop.failing = True
        await self._while(8)
        self._site.shop.failing = False

    async def receiver_hangs(self) -> None:
        self._site.network.hang(replies_only=True)
        await self._while(8)
        await self._site.network.heal()

    async def receiver_gone(self) -> None:
        await self._site.network.cut()
        await self._while(8)
        await self._site.network.heal()

    async def rulebook(self) -> None:
        await self._site.change_rules()

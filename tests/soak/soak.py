"""`make soak MINUTES=10`: 5 times as many events as one worker evaluates, again and again, and faults, on Apache Kafka.

Nothing may be lost, decided twice or sent with another body, and after warming up the worker's memory stays flat.
"""

import asyncio
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from load import PARTITIONS, VISITORS, Load, Shop, orders_among, partition_of, shop_rules

from actionmap.app import open_store
from actionmap.consume.ends import log_ends
from actionmap.errors import ActionmapError
from actionmap.registry import Registry
from actionmap.settings import load_settings
from actionmap.visitor import decode_visitor
from faults.proxy import FaultProxy
from kafka.apache import ApacheKafka
from kafka.stream import Store
from processes import Process, running
from support import definitions

_NAME = "soak"
_OVERLOAD = 5
_BURST_S = 4.0
_FIRST_EVENTS = 60_000
#: What the worker's memory may grow by.
_FLAT = 1.05
#: Orders whose webhook may still come when the next burst begins.
_MOST_OPEN = 1_000
_PATIENCE_S = 300.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Old segments go, long after they were evaluated: the log stays below 2 GB however long it runs.
_RETENTION = {"segment.bytes": str(32 << 20), "retention.bytes": str(128 << 20)}
_CAPS = {"VISITOR_CACHE": "5000", "OUTBOX_INTEGRATION_CAP": "250"}


class Site:
    """All parts, and the counts that the faults leave."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder, self._console = folder, console
        self.kafka, self.valkey, self.shop = ApacheKafka(folder / "kafka"), Store(folder / "store"), Shop()
        self.load = Load(self.kafka.bootstrap, _NAME)
        self.faults = Counter[str]()
        self.fault = ""
        self.evaluated = self.lag_max = self._edition = 0
        #: Second and bytes of the worker there is.
        self.memory: list[tuple[float, int]] = []
        self._worker: AsyncExitStack | None = None
        self.process: Process | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        for part in (self.kafka, self.valkey, self.shop):
            await stack.enter_async_context(part)
        self.network = await stack.enter_async_context(FaultProxy(self.shop.url.removeprefix("http://")))
        self.settings = load_settings(kafka_bootstrap_servers=self.kafka.bootstrap, redis_url=self.valkey.url,
                                      redis_prefix=_NAME, events_topic=_NAME)  # fmt: skip
        self.store = open_store(self.settings)
        stack.push_async_callback(self.store.close)
        await self._create_topic()
        await self.change_rules()
        stack.push_async_callback(self.load.close)

    async def _create_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(_NAME, PARTITIONS, 1, topic_configs=_RETENTION)])
        await admin.close()

    async def change_rules(self) -> None:
        self._edition += 1
        registry = Registry(self.store)
        await registry.refresh()
        await registry.change(definitions(shop_rules(f"http://{self.network.address}", self._edition)))

    async def start_worker(self) -> None:
        env = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap, "REDIS_URL": self.valkey.url, "REDIS_PREFIX": _NAME,
               "EVENTS_TOPIC": _NAME, "CONSUMER_GROUP": _NAME, "KAFKA_SESSION_TIMEOUT": "6s", "METRICS_PORT": "0",
               "EGRESS_ALLOW": "127.0.0.1/32", **_CAPS}  # fmt: skip
        self._worker = AsyncExitStack()
        self.process = await self._worker.enter_async_context(
            running("run", cwd=self._folder, env={f"ACTIONMAP_{name}": value for name, value in env.items()})
        )
        self.memory = []

    async def end_worker(self, number: signal.Signals) -> int:
        """Its exit code."""
        assert self.process is not None
        assert self._worker is not None
        code = await self.process.stop(number)
        (self._folder / f"worker-{self.process.pid}.log").write_text(self.process.output())
        await self._worker.aclose()
        return code

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
        begin = time.monotonic()
        while True:
            await self.look()
            self.lag_max = max(self.lag_max, self.lag)
            if self.process is not None:
                with suppress(OSError, ValueError, IndexError):  # it is being exchanged
                    pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
                    if pages:
                        self.memory.append((time.monotonic() - begin, pages * _PAGE))
            tell()
            await asyncio.sleep(1)

    async def drained(self) -> None:
        """Wait until all that was sent is evaluated, and most webhooks have come."""
        while self.lag or len(orders_among(self.load.sent)) - len(self.shop.bodies) > _MOST_OPEN:
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
        self._site, self._random = site, random.Random(seed)

    async def run(self, workers_until: float, until: float) -> None:
        """Workers are killed only before ``workers_until``."""
        kinds: list[Callable[[], Awaitable[None]]] = []
        while True:
            await asyncio.sleep(self._random.uniform(3, 9))
            if time.monotonic() > until:
                return
            kinds = kinds or self._round(time.monotonic() < workers_until)
            await self._strike(kinds.pop())

    def _round(self, with_worker: bool) -> list[Callable[[], Awaitable[None]]]:
        kinds = [self.store, self.broker, self.receiver_fails, self.receiver_hangs, self.receiver_gone, self.rulebook]
        kinds += [self.worker] * with_worker
        self._random.shuffle(kinds)
        return kinds

    async def _strike(self, kind: Callable[[], Awaitable[None]]) -> None:
        self._site.fault = kind.__name__.replace("_", " ")
        self._site.faults[self._site.fault] += 1
        await kind()
        self._site.fault = ""

    async def _while(self, longest_s: float) -> None:
        await asyncio.sleep(self._random.uniform(0.2, longest_s))

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


class Verdict:
    """What came of it."""

    def __init__(self, site: Site, warm_at: float) -> None:
        self._site = site
        self.rows: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self._memory(warm_at)

    async def look(self) -> None:
        """Wait until all is evaluated and all is sent, as long as that may take, then count."""
        site, orders = self._site, orders_among(self._site.load.sent)
        await self._settled(self._at_the_end, "all that is in the log is evaluated")
        await self._settled(self._nothing_owed, "nothing is owed any more")
        counted, dead = await self._counted(), sum([len(await site.store.dead_letters(n, limit=100))
                                                    for n in range(PARTITIONS)])  # fmt: skip
        self._row("events", f"{site.load.sent:,}")
        self._row("events that visitors have counted", f"{counted:,}", counted != site.load.sent)
        self._row("webhooks owed", f"{len(orders):,}")
        self._row("webhooks received", f"{len(site.shop.bodies):,}")
        self._row("repeated, with the same id", f"{site.shop.repeated:,}")
        lost = sum(n not in site.shop.bodies for n in orders)
        for what, number in (("lost", lost), ("other bodies", site.shop.other_bodies),
                             ("nobody is owed", site.shop.strangers), ("dead letters", dead)):  # fmt: skip
            self._row(what, f"{number:,}", number != 0)

    def _row(self, what: str, value: str, wrong: bool = False) -> None:
        self.rows.append((what, value))
        self.wrong += [what] * wrong

    async def _settled(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            with suppress(ActionmapError):
                if await holds():
                    return
            await asyncio.sleep(0.5)
        self.wrong.append(f"never came true: {what}")

    async def _at_the_end(self) -> bool:
        ends = await log_ends(self._site.kafka.bootstrap, _NAME)
        return all([(await self._site.store.fence(n)).offset + 1 == end for n, end in ends.items()])

    async def _nothing_owed(self) -> bool:
        return not any([await self._site.store.outbox_size(n) for n in range(PARTITIONS)]) and (
            len(self._site.shop.bodies) >= len(orders_among(self._site.load.sent))
        )

    async def _counted(self) -> int:
        """Each event counts once at its visitor, so an event that was decided twice shows here."""
        total = 0
        for partition in range(PARTITIONS):
            ids = [f"v{number}" for number in range(VISITORS) if partition_of(number) == partition]
            total += sum(decode_visitor(one).event_count for one in await self._site.store.load(partition, ids) if one)
        return total

    def _memory(self, warm_at: float) -> None:
        sizes = [size / 2**20 for second, size in self._site.memory if second >= warm_at]
        fifth = max(1, len(sizes) // 5)
        warm, last, most = (statistics.median(part or [0.0]) for part in (sizes[:fifth], sizes[-fifth:], []))
        most = max(sizes, default=0.0)
        self._row("memory when warm, MiB", f"{warm:.1f}", not warm)
        self._row("memory in the end, MiB", f"{last:.1f} ({last / (warm or 1) - 1:+.1%})", last > warm * _FLAT)
        self._row("memory at most, MiB", f"{most:.1f} ({most / (warm or 1) - 1:+.1%})", most > warm * _FLAT)


async def _soak(given: Namespace, folder: Path, console: Console) -> Verdict:
    async with AsyncExitStack() as stack:
        site = Site(folder, console)
        await site.open(stack)
        progress = stack.enter_context(
            Progress(SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=console)
        )
        task = progress.add_task("starting")
        told = 0

        def tell() -> None:
            nonlocal told
            told += 1
            line = (f"lag {site.lag:,} · evaluated {site.evaluated:,} · webhooks {len(site.shop.bodies):,} · "
                    f"memory {site.memory[-1][1] / 2**20 if site.memory else 0:.1f} MiB · {site.fault}")  # fmt: skip
            progress.update(task, description=line)
            if not console.is_terminal and told % 10 == 0:
                console.print(f"{told:5d} s  {line}", highlight=False, soft_wrap=True)

        watching = asyncio.create_task(site.watch(tell))
        stack.callback(watching.cancel)
        rate, begin, end = await site.first_rate(), time.monotonic(), time.monotonic() + given.minutes * 60
        console.print(f"one worker evaluates {rate:,.0f} events a second; seed {given.seed}")
        warm = max(given.minutes * 20, min(120, given.minutes * 30))
        faults = asyncio.create_task(Faults(site, given.seed).run(begin + warm / 2, end))
        came = await site.bursts(rate, end)
        await faults
        verdict = Verdict(site, warm)
        await verdict.look()
        verdict._row("events a second, alone", f"{rate:,.0f}")
        verdict._row("events a second in bursts", f"{statistics.median(came):,.0f} (median of {len(came)})")
        verdict._row("lag at most", f"{site.lag_max:,}")
        for kind, number in sorted(site.faults.items()):
            verdict._row(f"fault: {kind}", str(number))
        code = await site.end_worker(signal.SIGTERM)
        verdict._row("exit code of the worker", str(code), code != 0)
        return verdict


def main() -> int:
    """Soak as long as asked; 1 when something was lost, sent otherwise, or memory grew."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="decides which faults come when")
    given, console = parser.parse_args(), Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="actionmap-soak-"))
    verdict = asyncio.run(_soak(given, folder, console))
    table = Table("what", "figure")
    for row in verdict.rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"wrong: {', '.join(verdict.wrong)}; logs are in {folder}" if verdict.wrong else "all held")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""One run: a log, a worker that dies where the scenario says, and again, until one finishes; then the verdict."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from cuts import Cut
from forker import Forker, Job, forker
from injection import file_size
from life import Life
from oracle import Expected, Found, expect, inversions, judge_found, judge_sent
from own_store import OwnStore
from receive import Mailbox, Receivers
from redis.asyncio import Redis
from redis.exceptions import RedisError
from scenario import PARTITIONS, Scenario, Written, rules_of

from actionmap.app import open_store
from actionmap.catalog.compile import compile_rulebook
from actionmap.collect.topic import ensure_topic
from actionmap.consume.parse import Record
from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS, embedded_broker, embedded_store
from actionmap.errors import ActionmapError, Unreachable
from actionmap.registry import Registry
from actionmap.settings import Settings
from actionmap.visitor import decode_visitor
from support import definitions

#: Seconds that a run may take.
LIMIT_S = 45.0
_AGAIN_AFTER_S = 0.05
#: Long enough for a ghost to finish what it had in hand.
_WATCHED_S = 0.2
#: How long a delivery of a dead worker stays leased: longer than an attempt takes, with the wait for the disk.
_LEASE_MS = {"always": 300, "everysec": 2_500}


@dataclass
class Outcome:
    """What became of one run."""

    point: str
    seed: int
    violations: list[str] = field(default_factory=list)
    #: Whether the point was passed as often as the cut wanted.
    reached: bool = False
    lives: int = 0
    requests: int = 0
    #: Requests that repeated an id.
    repeats: int = 0
    #: See `oracle.inversions`.
    inversions: int = 0
    #: Times the store died, and bytes that it lost.
    deaths: int = 0
    lost: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Workshop:
    """What all runs share."""

    folder: Path
    bootstrap: str
    redis_url: str
    receivers: Receivers
    producer: AIOKafkaProducer
    forker: Forker
    numbers: "count[int]" = field(default_factory=count)


@asynccontextmanager
async def workshop(*, bootstrap: str = "", redis_url: str = "") -> AsyncIterator[Workshop]:
    """Broker and store, where none are given, receiver, and the program that forks workers."""
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="proof"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bootstrap = bootstrap or await stack.enter_async_context(embedded_broker())
        redis_url = redis_url or await stack.enter_async_context(embedded_store(folder / "store"))
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        receivers = await stack.enter_async_context(Receivers())
        await producer.start()
        stack.push_async_callback(producer.stop)
        yield Workshop(folder, bootstrap, redis_url, receivers, producer, stack.enter_context(forker()))


async def run(shop: Workshop, scenario: Scenario, play: "Play | None" = None) -> Outcome:
    """Try ``scenario``; what is wrong is in the outcome, nothing is raised for it.

    Args:
        shop: What all runs share.
        scenario: What is tried.
        play: What workers do; without it, what the scenario's lives say.
    """
    began, outcome = time.monotonic(), Outcome(scenario.point, scenario.seed)
    async with AsyncExitStack() as stack:
        trial = Trial(shop, scenario, outcome)
        stack.push_async_callback(trial.close)
        try:
            async with asyncio.timeout(LIMIT_S):
                await trial.open()
                await (play or Trial.play)(trial)
                await trial.judge()
        except TimeoutError:
            outcome.violations.append(f"not finished after {LIMIT_S} s: {await trial.state()}")
        except AssertionError as error:
            outcome.violations.append(str(error))
        if outcome.violations:
            outcome.violations.append(trial.log_tail())
    outcome.seconds = time.monotonic() - began
    return outcome


class Trial:
    """One scenario on its way."""

    def __init__(self, shop: Workshop, scenario: Scenario, outcome: Outcome) -> None:
        self._shop, self._scenario, self._outcome = shop, scenario, outcome
        self._name = f"{scenario.name}-{next(shop.numbers)}"
        self._folder = shop.folder / self._name
        self._records: dict[int, list[Record]] = {partition: [] for partition in PARTITIONS}
        self._mailbox = Mailbox(scenario.moods, self._on_received)
        self._tasks: set[asyncio.Task[None]] = set()
        self._own: OwnStore | None = None
        self._lives: list[Life] = []
        self._awaited = 0
        self._many_received = asyncio.Event()

    async def open(self) -> None:
        """Store, topic and rules are there."""
        scenario, shop = self._scenario, self._shop
        self._folder.mkdir()
        url = shop.redis_url
        if scenario.needs_own_store:
            self._own = OwnStore(
                self._folder / "store", scenario.fsync, random.Random(scenario.seed), self._judge_durability
            )
            await self._own.start()
            url = self._own.url
        self._base_url = shop.receivers.open(self._name, self._mailbox)
        self._settings: dict[str, Any] = {
            "kafka_bootstrap_servers": shop.bootstrap, "redis_url": url, "redis_prefix": self._name,
            "events_topic": self._name, "consumer_group": self._name, "visitor_cache": scenario.cache,
            "egress_allow": "127.0.0.1/32", "kafka_session_timeout": EMBEDDED_SESSION_TIMEOUT_MS / 1000,
        }  # fmt: skip
        self._store = open_store(Settings(**self._settings))
        self._registry = Registry(self._store)
        await ensure_topic(shop.bootstrap, self._name, len(PARTITIONS))
        await self._have_rules(changed=False)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for life in self._lives:
            await life.kill()
        if hasattr(self, "_store"):
            await self._store.close()
        if self._own is not None:
            await self._own.stop()
        if not self._outcome.violations:
            shutil.rmtree(self._folder, ignore_errors=True)

    # --- rules and log

    async def _have_rules(self, *, changed: bool) -> None:
        """Write the definitions, again when the store lost them, until they are on its disk."""
        wanted = definitions(rules_of(self._base_url, self._scenario.concurrency, changed=changed))
        while True:
            try:
                await self._registry.refresh()
                if wanted.keys() <= self._registry.definitions.keys():
                    await self._store.durable_offset(0)
                    if self._own is not None:
                        self._own.floor = max(self._own.floor, await file_size(self._store))
                    return
                await self._registry.change(wanted)
            except ActionmapError:
                await asyncio.sleep(_AGAIN_AFTER_S)

    def _on_received(self, number: int) -> None:
        if number > self._awaited > 0:
            self._many_received.set()
        if number == self._scenario.rules_change:
            self._tasks.add(asyncio.create_task(self._have_rules(changed=True)))

    async def produce(self, written: Sequence[Written]) -> None:
        """Put ``written`` into the topic."""
        topic = self._name
        stored = [
            await self._shop.producer.send(topic, one.value, one.key, one.partition, one.timestamp) for one in written
        ]
        for one, told in zip(written, await asyncio.gather(*stored), strict=True):
            record = Record(topic, one.partition, told.offset, one.timestamp, one.key, one.value)
            self._records[one.partition].append(record)

    async def received_more_than(self, number: int) -> None:
        """Wait for so many requests."""
        self._awaited = number
        await self._many_received.wait()

    # --- lives

    async def play(self) -> None:
        """Let one worker after the other do what it can."""
        first, second = self._scenario.log
        await self.produce(first)
        for number, cuts in enumerate((*self._scenario.lives, ())):
            life = await self.begin(cuts)
            if number == 0:
                if cuts[0].when == "frozen":
                    await self._haunt(life, second)
                    return
                await life.over_or(self.is_evaluated)
                await self.produce(second)
                if cuts[0].when == "quiet":
                    await self._quiet_death(life)
            finished = await life.over_or(self.is_finished)
            if finished:
                await life.stop()
            await self._account(life, cuts, is_first=number == 0)
            if finished and not life.was_cut:
                return

    async def _haunt(self, ghost: Life, rest: Sequence[Written]) -> None:
        """Another worker takes over from a frozen one, which then goes on as if nothing had happened."""
        await ghost.over_or(self.is_finished)
        heir = await self.begin(())
        await heir.over_or(self.is_evaluated)
        leaves = self._scenario.seed % 2 == 1
        if leaves:  # so that the ghost has to go on where the other one was
            await heir.stop()
        if ghost.is_frozen:
            reached = await self._offsets()
            ghost.thaw()
            await self._watch_fences(reached)
        await self.produce(rest)
        await (ghost if leaves else heir).over_or(self.is_finished)
        await asyncio.gather(ghost.stop(), heir.stop())
        await self._account(ghost, (), is_first=True)
        await self._account(heir, (), is_first=False)

    async def _offsets(self) -> dict[int, int]:
        return {partition: (await self._store.fence(partition)).offset for partition in PARTITIONS}

    async def _watch_fences(self, reached: dict[int, int]) -> None:
        """Nothing that a ghost does lets a partition go back, not for a moment."""
        until = time.monotonic() + _WATCHED_S
        while time.monotonic() < until:
            for partition, offset in (await self._offsets()).items():
                if offset < reached[partition]:
                    self._outcome.violations.append(f"partition {partition} went back to {offset}")
                    return

    async def _quiet_death(self, life: Life) -> None:
        """The store dies, but no record comes by which its worker could notice."""
        await life.over_or(self.is_evaluated)
        assert self._own is not None
        await self._own.die()
        life.was_faulted = True

    async def begin(self, cuts: Sequence[Cut], *, partitions: tuple[int, ...] | None = PARTITIONS) -> Life:
        """A new worker; ``partitions``: None for those that the group assigns."""
        self._outcome.lives += 1
        own = [cut for cut in cuts if cut.when not in ("received", "answered")]
        self._mailbox.cut = next((cut for cut in cuts if cut not in own), None)
        self._mailbox.was_cut, self._mailbox.pid = False, 0
        job = Job(
            line=str(self._folder / f"line{self._outcome.lives}"), log=str(self._folder / "log"),
            settings=self._settings, partitions=partitions, lease_ms=_LEASE_MS[self._scenario.fsync],
            tells_floor=self._own is not None, cuts=[list(cut) for cut in own],
        )  # fmt: skip
        life = Life(self._shop.forker, job, self._own)
        self._lives.append(life)
        await life.begin()
        self._mailbox.pid = life.pid
        return life

    async def _account(self, life: Life, cuts: Sequence[Cut], *, is_first: bool) -> None:
        life.was_cut |= self._mailbox.was_cut
        if is_first:
            self._outcome.reached = life.was_cut or life.was_faulted
        if not life.was_cut and life.last_word != "ended":
            raise AssertionError(f"the worker ended by itself: {life.last_word}")
        if life.was_cut and self._scenario.store_dies and self._own is not None:
            await self._own.die()

    # --- looking

    async def is_evaluated(self) -> bool:
        """Whether each record that is there was evaluated."""
        for partition, records in self._records.items():
            if (await self._store.fence(partition)).offset < records[-1].offset:
                return False
        return True

    async def is_finished(self) -> bool:
        """Whether nothing is owed any more, either."""
        if not await self.is_evaluated():
            return False
        return not any([await self._unsettled(partition) for partition in PARTITIONS])

    async def _unsettled(self, partition: int) -> int:
        """Deliveries that are owed, and outcomes that their visitors have not heard, at one moment."""
        keys = self._store._keys(partition, "p", "o")
        async with self._store._redis.pipeline(transaction=True) as both:
            try:
                return sum(await both.hlen(keys[0]).llen(keys[1]).execute())
            except RedisError as error:
                raise Unreachable(str(error)) from error

    async def judge(self) -> None:
        """Compare what came and what is there with what the oracle says."""
        scenario, outcome = self._scenario, self._outcome
        is_changed = scenario.rules_change is not None
        written = definitions(rules_of(self._base_url, scenario.concurrency, changed=is_changed))
        rulebook = compile_rulebook(written, 1)
        expected = {partition: expect(records, rulebook) for partition, records in self._records.items()}
        sent = self._mailbox.sent
        outcome.violations += judge_sent(list(expected.values()), sent)
        for partition, one in expected.items():
            found = await self._found(partition, one)
            outcome.violations += judge_found(partition, one, found, rules_change=is_changed)
        outcome.requests = len(sent)
        outcome.repeats = len(sent) - len({request.id for request in sent})
        outcome.inversions = inversions(list(expected.values()), sent)
        if self._own is not None:
            outcome.deaths, outcome.lost = self._own.deaths, self._own.lost

    async def _found(self, partition: int, expected: Expected) -> Found:
        store, ids = self._store, list(expected.visitors)
        keys = [store._key(partition, f"v:{id_}") for id_ in ids]
        visitors = await store._redis.mget(keys)
        return Found(
            fence=(await store.fence(partition)).offset,
            owed=await store.outbox_size(partition),
            owed_by_integration=await store.owed_by_integration(partition),
            timers=await store._redis.zcard(store._key(partition, "t")),
            dead={letter.id: letter.kind for letter in await store.dead_letters(partition, limit=1000)},
            visitors={id_: decode_visitor(raw) if raw else None for id_, raw in zip(ids, visitors, strict=True)},
        )

    async def _judge_durability(self) -> None:
        """What was sent was on the disk before, so a store that lost its tail still knows of it."""
        sent = {request.id for request in self._mailbox.sent}
        async with Redis.from_url(self._settings["redis_url"], decode_responses=True) as redis:
            for partition in PARTITIONS:
                owed, dead, settled = self._store._keys(partition, "p", "d", "x")
                sent.difference_update(await redis.hkeys(owed), await redis.hkeys(dead))
                sent.difference_update(await redis.zrange(settled, 0, -1))
        self._outcome.violations += [f"{id_} was sent before it was on the store's disk" for id_ in sent]

    async def state(self) -> str:
        """Where it stands, for people."""
        told = []
        for partition, records in self._records.items():
            try:
                fence = await self._store.fence(partition)
                owed = await self._store.outbox_size(partition)
            except Unreachable as error:
                return str(error)
            told.append(f"partition {partition}: fence {fence.offset} of {len(records) - 1}, {owed} owed, "
                        f"halted {fence.halted}")  # fmt: skip
        return "; ".join(told)

    def log_tail(self) -> str:
        """The end of what the workers logged."""
        log = self._folder / "log"
        return log.read_text()[-6000:] if log.exists() else "no log"


Play = Callable[[Trial], Awaitable[None]]

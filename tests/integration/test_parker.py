"""Parking by the delivery worker: whatever dies, stalls or is away, each is sent under one id with one body."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from actionmap.catalog.models.integration import Integration
from actionmap.deliver import unparking
from actionmap.deliver.parking import LONGEST_AGE_S, Entry, Gap, Parking
from actionmap.deliver.worker import DeliveryWorker
from actionmap.delivery import Attempt, Delivery, RetryPolicy, decode_delivery, encode
from actionmap.errors import Unreachable
from actionmap.process import wall_clock
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Commit
from actionmap.telemetry import Metrics
from support import PATIENCE_S, until

P, CAP = 3, 16
DELIVERED, REFUSED = Attempt("delivered", status=200), Attempt("retry", error="it is down")
#: A failed one comes back in an hour: what is sent soon was never attempted.
HOURLY = RetryPolicy(attempts=100, schedule=(3600,))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(unparking, "LOOK_S", 0.02)
    monkeypatch.setattr(unparking, "IDLE_S", 0.02)
    with structlog.testing.capture_logs():
        yield


def delivery(id_: str, integration: str = "dead", **given: Any) -> Delivery:
    more = {"owed_at": wall_clock() - 1000, "retry": HOURLY, "visitor_id": "v", **given}
    return Delivery(
        id=id_, integration=integration, webhook="w", action_map="m", event_id="e", at=1,
        method="POST", target="/", body=f'"{id_}"', **more,
    )  # fmt: skip


def some(number: int, integration: str = "dead", **given: Any) -> list[Delivery]:
    return [delivery(f"{integration}-{n}", integration, **given) for n in range(number)]


class Log:
    """A log for each partition, in memory, that can be away, stall once it has appended, or forget its beginning."""

    def __init__(self) -> None:
        self.records: defaultdict[int, list[bytes]] = defaultdict(list)
        self.begin = 0
        self.is_away = False
        self.takes: Callable[[str], bool] = lambda _: True
        self.stalls: asyncio.Event | None = None
        self.has_stalled = asyncio.Event()

    async def append(self, partition: int, records: Sequence[tuple[str, bytes]]) -> list[int | None]:
        if self.is_away:
            raise Unreachable("the log does not answer")
        log, offsets = self.records[partition], list[int | None]()
        for key, value in records:
            offsets.append(len(log) if self.takes(key) else None)
            log += [value] * self.takes(key)
        if self.stalls is not None:
            self.has_stalled.set()
            await self.stalls.wait()
        return offsets

    async def read(self, partition: int, position: int, limit: int) -> list[Entry] | Gap:
        if self.is_away:
            raise Unreachable("the log does not answer")
        log = self.records[partition]
        if not self.begin <= position <= len(log):
            return Gap(self.begin, len(log))
        return [Entry(position + n, value) for n, value in enumerate(log[position : position + limit])]

    async def close(self) -> None:
        pass


class Receivers:
    """All receivers: those in ``down`` take nothing."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.accepted: list[Delivery] = []

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        await asyncio.sleep(0)
        if integration.name in self.down:
            return REFUSED
        self.accepted.append(delivery)
        return DELIVERED

    def ids(self) -> Counter[str]:
        return Counter(one.id for one in self.accepted)


class World:
    """One store and log, and the workers that share them."""

    def __init__(self) -> None:
        self.store, self.log, self.receivers = MemoryStore(), Log(), Receivers()
        self.metrics = Metrics()
        self.workers: set[DeliveryWorker] = set()

    @asynccontextmanager
    async def working(self, grace_s: float = 1.0, **parts: Any) -> AsyncIterator[DeliveryWorker]:
        parking = Parking(store=parts.get("store", self.store), log=parts.get("log", self.log), cap=CAP,
                          clock=wall_clock, monotonic=time.monotonic, metrics=self.metrics)  # fmt: skip
        worker = DeliveryWorker(
            outbox=self.store, find_integration=lambda name: Integration(name=name, baseUrl="https://x.example"),
            sender=self.receivers, clock=wall_clock, random=lambda: 0.0, metrics=self.metrics, parking=parking,
            breaker_pause_ms=50,
        )  # fmt: skip
        worker.own(P)
        running = asyncio.create_task(worker.run())
        self.workers.add(worker)
        try:
            yield worker
        finally:
            self.workers.discard(worker)
            await worker.stop(grace_s)
            await running

    async def owe(self, deliveries: list[Delivery]) -> None:
        fence = await self.store.fence(P)
        commit = Commit(fence.token, fence.token + "+", fence.offset + 1, 0, 0, deliveries=deliveries)
        assert (await self.store.apply(P, commit)).status == "ok"
        self.wake()

    def wake(self) -> None:
        for worker in self.workers:
            worker.wake(P)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        async def asked() -> bool:
            return holds()

        await until(asked, what)

    async def until_parked(self, number: int) -> None:
        await self.until(lambda: self.parked == number, f"{number} are parked")

    @property
    def parked(self) -> int:
        return self.store._partitions[P].parked.total()

    def end_leases(self) -> None:
        """Let time pass for who died with deliveries in hand."""
        due = self.store._partitions[P].due
        due.update(dict.fromkeys(due, 0))
        self.wake()


@pytest.fixture
def world() -> World:
    return World()


async def dead_for_long(world: World, number: int = 5 * CAP) -> list[Delivery]:
    """Owe ``dead``, which is down, its share; then more than that."""
    world.receivers.down.add("dead")
    owed = some(number)
    await world.owe(owed[:CAP])
    async with world.working():
        await world.until(
            lambda: sum(one.attempts for one in world.store._partitions[P].owed.values()) == CAP, "each failed once"
        )
        await world.owe(owed[CAP:])
        await world.until_parked(number - CAP)
    return owed


async def test_what_is_beyond_the_cap_is_parked_and_what_is_below_stays(world: World) -> None:
    await dead_for_long(world)
    assert len(world.store._partitions[P].owed) == CAP
    assert world.receivers.accepted == []


async def test_a_receiver_that_is_back_gets_what_is_parked_although_its_failed_ones_wait_for_their_time(
    world: World,
) -> None:
    owed = await dead_for_long(world)
    world.receivers.down.clear()
    async with world.working():
        await world.until(lambda: len(world.receivers.accepted) == len(owed) - CAP, "all that was parked is sent")
        await world.owe([delivery("new")])
        await world.until(lambda: world.receivers.ids()["new"] == 1, "what is new is not parked behind the failed ones")
    assert set(world.receivers.ids().values()) == {1}
    assert world.parked == 0


async def test_an_hour_later_nothing_is_missing_and_each_is_as_it_was_owed(world: World) -> None:
    owed = await dead_for_long(world)
    world.receivers.down.clear()
    world.end_leases()
    async with world.working():
        await world.until(lambda: not world.store._partitions[P].owed and not world.parked, "all is sent")
    sent = {one.id: one for one in world.receivers.accepted}
    assert world.receivers.ids() == Counter(one.id for one in owed)
    assert all(sent[one.id].body == one.body for one in owed)


async def test_who_dies_between_the_log_and_the_store_has_parked_nothing_and_lost_nothing(world: World) -> None:
    world.receivers.down.add("dead")
    world.log.stalls = asyncio.Event()
    owed = some(3 * CAP)
    await world.owe(owed)
    async with world.working() as worker:
        await world.until(world.log.has_stalled.is_set, "some are in the log")
        # As kill -9 does: nothing that is under way ends.
        for task in list(worker._loops):
            task.cancel()
        await asyncio.wait(worker._loops)
    assert world.log.records[P]
    assert world.parked == 0
    world.log.stalls = None
    world.receivers.down.clear()
    world.end_leases()
    async with world.working():
        await world.until(lambda: not world.store._partitions[P].owed and not world.parked, "all is sent")
    assert world.receivers.ids() == Counter(one.id for one in owed)


async def test_a_zombie_that_wakes_after_the_next_owner_took_all_back_loses_nothing(world: World) -> None:
    world.receivers.down.add("dead")
    owed = some(3 * CAP)
    await world.owe(owed)
    zombies = Log()
    zombies.records, zombies.stalls = world.log.records, asyncio.Event()
    async with world.working(log=zombies) as zombie:
        await world.until(zombies.has_stalled.is_set, "the zombie sleeps with some in the log")
        zombie._turns = asleep = asyncio.Semaphore(0)  # it takes up nothing more
        world.workers.clear()  # it hears of nothing
        world.end_leases()
        async with world.working():
            await world.until(lambda: world.parked > 0, "the next owner has parked what it could")
            world.receivers.down.clear()
            await asyncio.sleep(0)
            zombies.stalls.set()
            asleep.release()
            world.end_leases()
            await world.until(lambda: not world.store._partitions[P].owed and not world.parked, "all is sent")
    assert set(world.receivers.ids()) == {one.id for one in owed}


async def test_a_log_that_is_away_costs_nothing_but_room_in_the_outbox(world: World) -> None:
    world.receivers.down.add("dead")
    world.log.is_away = True
    await world.owe(some(2 * CAP))
    await world.owe(some(50, "live"))
    async with world.working():
        await world.until(lambda: len(world.receivers.accepted) == 50, "the live one gets all of its own")
        assert len(world.store._partitions[P].owed) == 2 * CAP
        world.log.is_away = False
        more = (delivery(f"more-{n}") for n in count())
        async with asyncio.timeout(PATIENCE_S):
            while not world.parked:  # it goes on when the log is back
                await world.owe([next(more)])
                await asyncio.sleep(0.01)


async def test_parked_deliveries_of_a_dead_receiver_do_not_hold_up_those_of_another_behind_them(world: World) -> None:
    world.receivers.down |= {"dead", "ill"}
    owed = some(3 * CAP) + some(3 * CAP, "ill")
    async with world.working():
        for n in range(0, len(owed), CAP):
            await world.owe(owed[n : n + CAP])
            await world.until(lambda: not any(one.attempts == 0 for one in world.store._partitions[P].owed.values()),
                              "each is parked or has failed")  # fmt: skip
        assert world.store._partitions[P].parked["dead"] >= CAP
        ill = world.store._partitions[P].parked["ill"]
        assert ill >= CAP
        world.receivers.down.remove("ill")
        for id_, one in world.store._partitions[P].owed.items():
            if one.integration == "ill":
                world.store._partitions[P].due[id_] = 0
        world.wake()
        await world.until(lambda: len(world.receivers.ids()) == 3 * CAP, "the one that is well again gets all")
    assert {one.integration for one in world.receivers.accepted} == {"ill"}
    assert world.store._partitions[P].parked["dead"] >= CAP

    # Once was enough: nothing is copied from the head to the tail again and again.
    parked = Counter(decode_delivery(value).integration for value in world.log.records[P])
    assert parked["ill"] <= 2 * CAP
    assert parked["dead"] == 2 * world.store._partitions[P].parked["dead"]


async def test_one_that_became_too_old_while_parked_is_a_dead_letter(world: World) -> None:
    owed = await dead_for_long(world)
    old = [replace(one, owed_at=1) for one in owed[CAP:]]
    world.log.records[P] = [encode(one) for one in old]
    world.receivers.down.clear()
    async with world.working():
        await world.until(lambda: not world.parked, "all is taken back")
    letters = await world.store.dead_letters(P, limit=999)
    assert {(letter.reason, letter.kind) for letter in letters} == {("too-old", "delivery")}
    assert len(letters) == len(old)
    assert world.metrics.dead_letters.labels("delivery", "too-old")._value.get() == len(old)


async def test_what_retention_removed_is_counted_and_told_and_the_rest_comes_back(world: World) -> None:
    await dead_for_long(world)
    world.log.begin = CAP
    world.receivers.down.clear()
    with structlog.testing.capture_logs() as lines:
        async with world.working():
            await world.until(lambda: len(world.receivers.ids()) == 3 * CAP, "the rest is taken back and sent")
    assert [line["log_level"] for line in lines if line["event"] == "parked.lost"] == ["error"]
    assert world.metrics.parked_lost._value.get() == CAP
    assert world.parked == 0


async def test_a_topic_that_was_recreated_is_counted_and_told_and_parking_goes_on(world: World) -> None:
    await dead_for_long(world)
    world.store._partitions[P].parked_from += 1000
    world.store._partitions[P].parked_to += 1000
    world.log.records.clear()
    async with world.working():
        await world.until(lambda: not world.parked, "it is known that nothing is parked")
        await world.owe([delivery(f"more-{n}") for n in range(CAP)])
        await world.until(lambda: world.parked > 0, "parking goes on")
    assert world.metrics.parked_lost._value.get() == 4 * CAP


async def test_a_record_that_is_no_delivery_is_passed_over(world: World) -> None:
    await dead_for_long(world)
    world.log.records[P][3] = b"not ours"
    world.receivers.down.clear()
    async with world.working():
        await world.until(lambda: not world.parked, "the others are taken back")
        await world.until(lambda: len(world.receivers.ids()) == 4 * CAP - 1, "and sent")


async def test_what_the_log_does_not_take_or_would_forget_stays_in_the_outbox(world: World) -> None:
    world.receivers.down.add("dead")
    world.log.takes = lambda id_: id_ != "too-large"
    patient = replace(HOURLY, max_age_s=LONGEST_AGE_S + 1)
    await world.owe([*some(4 * CAP), delivery("too-large"), delivery("patient", retry=patient)])
    async with world.working():
        await world.until(lambda: world.parked > 0, "some are parked")
        await world.until(lambda: len(world.store._partitions[P].owed) <= CAP + 2, "all but these are")
    assert {"too-large", "patient"} <= set(world.store._partitions[P].owed)


async def test_a_partition_given_away_leaves_what_was_set_aside_to_the_next_owner_at_once(world: World) -> None:
    world.receivers.down.add("dead")
    world.log.stalls = asyncio.Event()
    await world.owe(some(20 * CAP))
    async with world.working() as worker:
        await world.until(world.log.has_stalled.is_set, "the first are in the log")
        worker.disown(P)
        world.log.stalls.set()
        worker.own(P)
        await world.until(lambda: world.parked >= 19 * CAP - 1, "all beyond the cap is parked")


@pytest.mark.parametrize("seed", range(20))
async def test_two_owners_that_stall_and_fail_at_random_lose_nothing(seed: int, world: World) -> None:
    chance = random.Random(seed)

    async def mischief(name: str) -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(chance.choice((0, 0, 0.003)))
        if chance.random() < 0.15:
            raise Unreachable(name)

    class FaultyParking:
        """The store as a bad network shows it: calls come late, or their answers not at all."""

        async def parked(self, partition: int) -> Any:
            await mischief("parked")
            return await world.store.parked(partition)

        async def park(self, *given: Any) -> int:
            await mischief("park")
            done = await world.store.park(*given)
            await mischief("its answer")
            return done

        async def unpark(self, *given: Any, **more: Any) -> bool:
            await mischief("unpark")
            done = await world.store.unpark(*given, **more)
            await mischief("its answer")
            return done

    class FaultyLog(Log):
        async def append(self, *given: Any) -> list[int | None]:
            await mischief("append")
            done = await super().append(*given)
            await mischief("its answer")
            return done

    world.log = FaultyLog()
    owed = some(8 * CAP) + some(CAP, "live")
    chance.shuffle(owed)
    world.receivers.down.add("dead")
    parts = {"store": FaultyParking()}
    async with world.working(**parts), world.working(**parts):
        for n in range(0, len(owed), CAP):
            await world.owe(owed[n : n + CAP])
            await asyncio.sleep(chance.choice((0, 0.005)))
            if chance.random() < 0.3:
                world.end_leases()
        await world.until(lambda: world.receivers.ids().keys() >= {f"live-{n}" for n in range(CAP)}, "live has its own")
        world.receivers.down.clear()
        deadline = time.monotonic() + PATIENCE_S
        while (world.store._partitions[P].owed or world.parked) and time.monotonic() < deadline:
            world.end_leases()
            await asyncio.sleep(0.01)
    assert set(world.receivers.ids()) == {some_one.id for some_one in owed}

"""DeliveryWorker over a store: what is owed is attempted and settled, and nobody waits for another."""

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from ipaddress import ip_network

import msgspec
import pytest
import structlog

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.worker import BATCH, DeliveryWorker
from actionmap.delivery import Attempt, Delivery, RetryPolicy
from actionmap.demo.receiver import Receiver
from actionmap.errors import Unreachable
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Commit
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics

P = 3


@pytest.fixture(autouse=True)
def _quiet():
    with structlog.testing.capture_logs():
        yield


DELIVERED = Attempt("delivered", status=200)


def wall_clock():
    return time.time_ns() // 1_000_000


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1_700_000_000_000

    def __call__(self):
        return self.now


def integration(name="crm", **given):
    return Integration.model_validate({"name": name, "baseUrl": "https://crm.example", **given})


def delivery(id_, **given):
    return Delivery(**{
        "id": id_, "integration": "crm", "webhook": "w", "action_map": "m", "visitor_id": "visitor-4711",
        "event_id": "e", "at": 1, "owed_at": wall_clock() - 1000, "method": "POST", "target": "/", "body": "{}",
        "retry": RetryPolicy(attempts=3, schedule=(0,)), **given,
    })  # fmt: skip


async def owe(store, deliveries, partition=P):
    fence = await store.fence(partition)
    token = f"{fence.token}+"
    commit = Commit(fence.token, token, fence.offset + 1, 0, 0, deliveries=deliveries)
    assert (await store.apply(partition, commit)).status == "ok"


class Sender:
    """Answers as told; each name can be made to wait."""

    def __init__(self, answer=DELIVERED):
        self.answer = answer
        self.sent = []
        self.now = Counter()
        self.most = Counter()
        self.gates = {}
        self._changed = asyncio.Condition()

    async def send(self, delivery, integration):
        self.sent.append(delivery)
        for name in (integration.name, "all"):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        async with self._changed:
            self._changed.notify_all()
        try:
            # Lets others begin meanwhile, as a request on the network does.
            for _ in range(3):
                await asyncio.sleep(0)
            if integration.name in self.gates:
                await self.gates[integration.name].wait()
            return self.answer(delivery) if callable(self.answer) else self.answer
        finally:
            self.now.subtract((integration.name, "all"))

    async def until(self, fact):
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(fact)

    def ids(self):
        return [one.id for one in self.sent]


class Outbox(MemoryStore):
    """The store in memory, which counts calls and can be away."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()
        self.away = set()
        self._settled = asyncio.Condition()

    async def _call(self, name):
        self.calls[name] += 1
        async with self._settled:
            self._settled.notify_all()
        if name in self.away:
            raise Unreachable("the store does not answer")

    async def lease(self, *args, **given):
        await self._call("lease")
        return await super().lease(*args, **given)

    async def ack(self, *args, **given):
        await self._call("ack")
        await super().ack(*args, **given)
        await self._tell()

    async def nack(self, *args, **given):
        await self._call("nack")
        await super().nack(*args, **given)
        await self._tell()

    async def bury(self, *args, **given):
        await self._call("bury")
        await super().bury(*args, **given)
        await self._tell()

    async def _tell(self):
        async with self._settled:
            self._settled.notify_all()

    async def until(self, fact):
        async with asyncio.timeout(10), self._settled:
            await self._settled.wait_for(fact)

    async def until_empty(self, partition=P):
        await self.until(lambda: not self._partitions[partition].owed)

    def due(self, id_):
        return self._partitions[P].due[id_]


@asynccontextmanager
async def working(outbox, sender, integrations=None, *, clock=wall_clock, partitions=(P,), **given):
    table = {one.name: one for one in (integrations if integrations is not None else [integration()])}
    metrics = Metrics()
    worker = DeliveryWorker(
        outbox=outbox,
        find_integration=table.get,
        sender=sender,
        clock=clock,
        random=lambda: 0.0,
        metrics=metrics,
        **given,
    )
    worker.table, worker.counted = table, metrics
    for partition in partitions:
        worker.own(partition)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        for gate in getattr(sender, "gates", {}).values():
            gate.set()
        await worker.stop(1.0)
        await running


async def dead(outbox):
    return {letter.id: letter for letter in await outbox.dead_letters(P, limit=100)}


async def test_what_is_owed_is_sent_and_settled():
    outbox = Outbox()
    await owe(outbox, [delivery(f"d{n}", body=f'{{"n":{n}}}') for n in range(20)])
    secrets = environment_secrets({})
    async with (
        Receiver() as receiver,
        HttpSender(EgressGuard((), [ip_network("127.0.0.0/8")]), secrets, clock=wall_clock) as sender,
        working(outbox, sender, [integration(baseUrl=receiver.url)]),
    ):
        received = await receiver.wait_for(20)
        await outbox.until_empty()
    assert {one.headers["webhook-id"] for one in received} == {f"d{n}" for n in range(20)}
    assert outbox.calls["ack"] < 20


async def test_over_a_real_store_each_delivery_is_settled_once(valkey, unique):
    store = RedisStore(valkey, prefix=unique, outbox_cap=20_000, clock=wall_clock)
    try:
        fence = await store.claim(P, owner="me", token="t0", cluster="c", partitions=4)
        owed = [delivery(f"d{n}", integration=f"i{n % 3}") for n in range(1500)]
        commit = Commit(fence.token, "t1", 0, 0, 0, deliveries=owed)
        assert (await store.apply(P, commit)).status == "ok"
        left = len(owed) + 500
        done = asyncio.Event()

        def count(*_):
            nonlocal left
            left -= 1
            if not left:
                done.set()

        # Every third is repeated once: 500 more attempts.
        sender = Sender(
            lambda one: (
                Attempt("retry", status=429, error="no") if one.integration == "i1" and not one.attempts else DELIVERED
            )
        )
        integrations = [integration(f"i{n}", limits={"concurrency": 4}) for n in range(3)]
        async with working(store, sender, integrations, on_attempt=count):
            await asyncio.wait_for(done.wait(), 20)
        assert await store.outbox_size(P) == 0
        assert set(Counter(sender.ids()).values()) == {1, 2}
        assert len(sender.sent) == 2000
    finally:
        await store.close()


async def test_a_failed_attempt_is_repeated_with_the_same_id_and_body():
    outbox = Outbox()
    sender = Sender(lambda one: DELIVERED if one.attempts == 2 else Attempt("retry", status=500, error="status 500"))
    await owe(outbox, [delivery("a", body='{"x":1}')])
    async with working(outbox, sender):
        await outbox.until_empty()
    assert [(one.id, one.body, one.attempts) for one in sender.sent] == [("a", '{"x":1}', n) for n in range(3)]
    assert sender.sent[1].last_error == "status 500"


async def test_after_the_last_attempt_a_delivery_is_dead_and_kept():
    outbox, sender = Outbox(), Sender(Attempt("retry", error="no answer"))
    await owe(outbox, [delivery("a")])
    async with working(outbox, sender) as worker:
        await outbox.until_empty()
        counted = worker.counted.registry.get_sample_value
        assert counted("actionmap_dead_letters_total", {"kind": "delivery", "reason": "attempts-exhausted"}) == 1
        assert counted("actionmap_delivery_attempts_total", {"integration": "crm", "outcome": "retry"}) == 2
        assert counted("actionmap_delivery_attempts_total", {"integration": "crm", "outcome": "dead"}) == 1
    letter = (await dead(outbox))["a"]
    assert (letter.kind, letter.reason, letter.detail) == ("delivery", "attempts-exhausted", "no answer")
    assert letter.delivery.attempts == 3


async def test_a_terminal_attempt_is_dead_at_once():
    outbox, sender = Outbox(), Sender(Attempt("dead", status=410, error="gone"))
    await owe(outbox, [delivery("a")])
    async with working(outbox, sender):
        await outbox.until_empty()
    assert ((await dead(outbox))["a"].reason, len(sender.sent)) == ("refused", 1)


async def test_what_cannot_be_sent_is_dead_without_a_request():
    outbox, sender = Outbox(), Sender()
    await owe(outbox, [delivery("gone", integration="nowhere"), delivery("big", body="ü" * 60)])
    async with working(outbox, sender, [integration(limits={"maxBodyBytes": 100})]):
        await outbox.until_empty()
    letters = await dead(outbox)
    assert {id_: letter.reason for id_, letter in letters.items()} == {
        "gone": "integration-gone",
        "big": "body-too-large",
    }
    assert "120 bytes" in letters["big"].detail
    assert sender.sent == []


async def test_an_inactive_integration_holds_its_deliveries_without_counting_attempts():
    outbox, sender, clock = Outbox(), Sender(), Clock()
    await owe(outbox, [delivery("a", owed_at=clock.now)])
    async with working(outbox, sender, [integration(active=False)], clock=clock) as worker:
        await outbox.until(lambda: outbox.calls["nack"] == 1 and outbox.due("a") == clock.now + 5000)
        (held,) = await outbox.owed(P, limit=9)
        assert (held.attempts, "inactive" in held.last_error, sender.sent) == (0, True, [])
        worker.table["crm"] = integration()
        clock.now += 5000
        worker.wake(P)
        await outbox.until_empty()
    assert sender.ids() == ["a"]


async def test_what_is_held_too_long_is_dead():
    outbox, sender, clock = Outbox(), Sender(), Clock()
    await owe(outbox, [delivery("a", owed_at=clock.now - 61_000, retry=RetryPolicy(max_age_s=60))])
    async with working(outbox, sender, [integration(active=False)], clock=clock):
        await outbox.until_empty()
    assert (await dead(outbox))["a"].reason == "too-old"


async def test_many_held_deliveries_are_looked_at_again_apart():
    outbox, clock = Outbox(), Clock()
    await owe(outbox, [delivery(f"d{n}", owed_at=clock.now) for n in range(1000)])
    async with working(outbox, Sender(), [integration(active=False)], clock=clock):
        await outbox.until(lambda: all(outbox.due(f"d{n}") > clock.now for n in range(1000)))
        await outbox.until(lambda: all(outbox.due(f"d{n}") <= clock.now + 10_000 for n in range(1000)))
    assert len({outbox.due(f"d{n}") for n in range(1000)}) > 900


async def test_a_slow_integration_does_not_hold_up_the_others():
    outbox, sender = Outbox(), Sender()
    sender.gates["slow"] = asyncio.Event()
    early = wall_clock() - 10_000
    await owe(outbox, [delivery(f"s{n:04}", integration="slow", owed_at=early) for n in range(3000)])
    await owe(outbox, [delivery("quick", integration="quick")])
    integrations = [integration("slow", limits={"concurrency": 2}), integration("quick")]
    async with working(outbox, sender, integrations) as worker:
        await sender.until(lambda: "quick" in sender.ids())
        assert sender.most["slow"] == 2
        assert worker._dispatch._waiting <= 256
    assert sender.most["slow"] <= 2


async def test_a_busy_integration_gets_everything_exactly_once_and_never_more_than_its_concurrency():
    outbox, sender = Outbox(), Sender()
    await owe(outbox, [delivery(f"d{n}") for n in range(2000)])
    async with working(outbox, sender, [integration(limits={"concurrency": 3})]):
        await outbox.until_empty()
    assert Counter(sender.ids()) == Counter(f"d{n}" for n in range(2000))
    assert sender.most["crm"] == 3


async def test_the_limit_on_requests_in_flight_holds_over_partitions_and_integrations():
    outbox, sender = Outbox(), Sender()
    names = [f"i{n}" for n in range(5)]
    for partition in range(4):
        await owe(outbox, [delivery(f"{partition}-{n}", integration=names[n % 5]) for n in range(200)], partition)
    partitions = range(4)
    async with working(outbox, sender, [integration(name) for name in names], partitions=partitions, max_in_flight=7):
        for partition in partitions:
            await outbox.until_empty(partition)
    assert len(set(sender.ids())) == len(sender.ids()) == 800
    # That all slots are taken where receivers take their time is the next test's.
    assert 1 < sender.most["all"] <= 7


async def test_when_all_slots_are_taken_nothing_more_is_leased():
    outbox, sender = Outbox(), Sender()
    names = ["crm", "mail", "shop"]
    sender.gates = {name: asyncio.Event() for name in names}
    await owe(outbox, [delivery(f"d{n}", integration=names[n % 3]) for n in range(1000)])
    async with working(outbox, sender, [integration(name) for name in names], max_in_flight=4) as worker:
        await sender.until(lambda: len(sender.sent) == 4)
        worker.wake(P)
        await asyncio.sleep(0)
        assert outbox.calls["lease"] == 1
        assert worker._dispatch._waiting + worker._dispatch.in_flight <= BATCH


async def test_a_wake_is_answered_at_once():
    outbox, sender = Outbox(), Sender()
    async with working(outbox, sender) as worker:
        await outbox.until(lambda: outbox.calls["lease"] >= 1)
        started = time.monotonic()
        await owe(outbox, [delivery("a")])
        worker.wake(P)
        await outbox.until_empty()
        assert time.monotonic() - started < 0.5
        # Idle again: it does not ask again and again.
        assert outbox.calls["lease"] <= 3


async def test_a_retry_is_made_when_it_is_due_and_not_before():
    outbox = Outbox()
    times = []

    def answer(one):
        times.append(time.monotonic())
        return DELIVERED if one.attempts else Attempt("retry", error="no")

    await owe(outbox, [delivery("a", retry=RetryPolicy(schedule=(1,)))])
    async with working(outbox, Sender(answer)):
        await outbox.until_empty()
    assert 0.99 <= times[1] - times[0] < 1.5
    assert outbox.calls["lease"] < 10


@pytest.mark.parametrize("away", ["lease", "ack", "nack", "bury"])
async def test_a_store_that_is_away_loses_nothing_and_repeats_nothing(away):
    answers = {"ok": DELIVERED, "again": Attempt("retry", error="no"), "never": Attempt("dead", error="no")}
    outbox = Outbox()
    sender = Sender(lambda one: DELIVERED if one.attempts else answers[one.id])
    await owe(outbox, [delivery(id_) for id_ in answers])
    outbox.away.add(away)
    async with working(outbox, sender) as worker:
        if away != "lease":
            await sender.until(lambda: len(sender.sent) >= 3)
        await outbox.until(lambda: outbox.calls[away] >= 2)
        # The leases end while the store is away: only what the worker remembers keeps it from sending the same again.
        due = outbox._partitions[P].due
        due.update(dict.fromkeys(due, wall_clock()))
        worker.wake(P)
        await outbox.until(lambda: outbox.calls[away] >= 3)
        outbox.away.clear()
        await outbox.until_empty()
    assert Counter(sender.ids()) == {"ok": 1, "again": 2, "never": 1}
    assert set(await dead(outbox)) == {"never"}


async def test_a_disowned_partition_puts_back_what_waits_and_settles_what_is_in_flight():
    outbox, sender = Outbox(), Sender()
    sender.gates["crm"] = asyncio.Event()
    await owe(outbox, [delivery(f"d{n}") for n in range(5)])
    async with working(outbox, sender, [integration(limits={"concurrency": 2})]) as worker:
        await sender.until(lambda: len(sender.sent) == 2)
        worker.disown(P)
        await outbox.until(lambda: sum(due <= wall_clock() for due in outbox._partitions[P].due.values()) == 3)
        sender.gates["crm"].set()
        await outbox.until(lambda: len(outbox._partitions[P].owed) == 3)
        assert len(sender.sent) == 2
        worker.own(P)
        await outbox.until_empty()
    assert Counter(sender.ids()) == Counter(f"d{n}" for n in range(5))


async def test_a_stop_lets_requests_in_flight_end():
    outbox, sender = Outbox(), Sender()
    sender.gates["crm"] = asyncio.Event()
    await owe(outbox, [delivery("a")])
    async with working(outbox, sender) as worker:
        await sender.until(lambda: sender.sent)
        stopping = asyncio.create_task(worker.stop(5.0))
        await asyncio.sleep(0)
        assert await outbox.outbox_size(P) == 1
        sender.gates["crm"].set()
        await stopping
    assert await outbox.outbox_size(P) == 0


async def test_a_stop_cuts_off_what_does_not_end_and_its_lease_brings_it_back():
    outbox, sender, clock = Outbox(), Sender(), Clock()
    sender.gates["crm"] = asyncio.Event()
    await owe(outbox, [delivery("a", owed_at=clock.now)])
    async with working(outbox, sender, clock=clock, lease_ms=90_000) as worker:
        await sender.until(lambda: sender.sent)
        await worker.stop(0.05)
        assert not sender.gates["crm"].is_set()
    assert (await outbox.lease(P, now=clock.now, limit=9, lease_ms=1)).deliveries == []
    (back,) = (await outbox.lease(P, now=clock.now + 90_000, limit=9, lease_ms=1)).deliveries
    assert (back.id, back.attempts) == ("a", 0)


async def test_a_stop_does_not_wait_for_ever_for_a_store_that_is_away(monkeypatch):
    monkeypatch.setattr("actionmap.deliver.worker.SETTLE_GRACE_S", 0.2)
    outbox, sender = Outbox(), Sender()
    outbox.away.add("ack")
    await owe(outbox, [delivery("a")])
    started = time.monotonic()
    async with working(outbox, sender) as worker:
        await outbox.until(lambda: outbox.calls["ack"] >= 1)
        await worker.stop(0.1)
    assert time.monotonic() - started < 3


async def test_a_fault_of_ours_costs_an_attempt_and_not_the_worker():
    outbox = Outbox()

    def answer(one):
        if not one.attempts:
            raise RuntimeError("a bug")
        return DELIVERED

    await owe(outbox, [delivery("a")])
    async with working(outbox, sender := Sender(answer)):
        await outbox.until_empty()
    assert "RuntimeError" in sender.sent[1].last_error


async def test_a_body_that_is_no_utf8_does_not_stop_its_partition():
    outbox = Outbox()
    await owe(outbox, [delivery("broken", body='"\ud800"'), delivery("whole")])
    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    async with (
        Receiver() as receiver,
        HttpSender(guard, environment_secrets({}), clock=wall_clock) as sender,
        working(outbox, sender, [integration(baseUrl=receiver.url)]),
    ):
        await outbox.until_empty()
    assert [one.headers["webhook-id"] for one in receiver.requests] == ["whole"]
    assert (await dead(outbox))["broken"].reason == "refused"


async def test_the_listener_hears_of_each_attempt_and_its_errors_do_no_harm():
    heard = []

    def listen(one, attempt):
        heard.append((one.id, one.attempts, attempt.outcome))
        raise RuntimeError("a bug")

    outbox = Outbox()
    sender = Sender(lambda one: DELIVERED if one.attempts else Attempt("retry", error="no"))
    await owe(outbox, [delivery("a")])
    async with working(outbox, sender, on_attempt=listen):
        await outbox.until_empty()
    assert heard == [("a", 1, "retry"), ("a", 2, "delivered")]


async def test_each_attempt_is_one_wide_log_line_without_the_visitor():
    outbox = Outbox()
    await owe(outbox, [delivery("a")])
    with structlog.testing.capture_logs() as lines:
        async with working(outbox, Sender(msgspec.structs.replace(DELIVERED, duration_s=0.25))):
            await outbox.until_empty()
    (line,) = [line for line in lines if line["event"] == "delivery.attempted"]
    expected = {
        "id": "a", "action_map": "m", "webhook": "w", "integration": "crm", "attempt": 1, "outcome": "delivered",
        "status": 200, "error": None, "duration_s": 0.25, "log_level": "info",
    }  # fmt: skip
    assert expected.items() <= line.items()
    assert "visitor-4711" not in repr(lines)


class AnswersLate(Outbox):
    """Puts back at once, and answers only after the next lease."""

    def __init__(self):
        super().__init__()
        self.worker = None
        self.leased_again = asyncio.Event()

    async def lease(self, *args, **given):
        leased = await super().lease(*args, **given)
        if leased.deliveries and leased.deliveries[0].attempts:
            self.leased_again.set()
        return leased

    async def nack(self, *args, **given):
        await super().nack(*args, **given)
        if not self.leased_again.is_set():
            self.worker.wake(P)
            await self.leased_again.wait()


async def test_what_is_leased_again_before_we_hear_that_it_was_put_back_does_not_wait_for_its_lease_to_end():
    outbox = AnswersLate()
    sender = Sender(lambda one: DELIVERED if one.attempts else Attempt("retry", error="no"))
    await owe(outbox, [delivery("a")])
    async with asyncio.timeout(20), working(outbox, sender) as outbox.worker:
        await outbox.until_empty()
    assert [one.attempts for one in sender.sent] == [0, 1]

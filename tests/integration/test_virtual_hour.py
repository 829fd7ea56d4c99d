"""An hour of a receiver's trouble, in virtual time: nothing is lost, and the others do not notice."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import structlog

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.worker import DeliveryWorker
from actionmap.delivery import Attempt, Delivery, RetryPolicy
from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Commit
from actionmap.telemetry import Metrics
from virtual_time import VirtualLoop

HOUR_S, TIMEOUT_S, P = 3600, 5.0, 0
#: Seconds between two deliveries to each of the two.
EVERY_S = 4
OK = Attempt("delivered", status=200, duration_s=0.05)


async def _fails() -> Attempt:
    return Attempt("retry", status=503, error="status 503", duration_s=0.01)


async def _hangs() -> Attempt:
    await asyncio.sleep(TIMEOUT_S)
    return Attempt("retry", error="no answer in time", duration_s=TIMEOUT_S)


async def _drips() -> Attempt:
    """The status comes, the body never ends: that was accepted, but the slot is taken for the whole time."""
    await asyncio.sleep(TIMEOUT_S)
    return Attempt("delivered", status=200, error="the answer's body did not end in time", duration_s=TIMEOUT_S)


async def _resets() -> Attempt:
    return Attempt("retry", error="the connection broke off before an answer")


async def _floods() -> Attempt:
    await asyncio.sleep(1.0)
    return Attempt("retry", status=429, error="status 429", retry_after_s=30.0, duration_s=1.0)


TROUBLES: dict[str, Callable[[], Awaitable[Attempt]]] = {
    "5xx": _fails, "hangs": _hangs, "drips": _drips, "resets": _resets, "429": _floods,
}  # fmt: skip


class Receivers:
    """``well`` answers; ``odd`` is in trouble for an hour, and well after it."""

    def __init__(self, trouble: Callable[[], Awaitable[Attempt]]) -> None:
        self.trouble = trouble
        self.accepted: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.tried = 0

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        now = asyncio.get_running_loop().time()
        attempt = OK
        if integration.name == "odd" and now < HOUR_S:
            self.tried += 1
            attempt = await self.trouble()
        else:
            await asyncio.sleep(0.05)
        if attempt.outcome == "delivered":
            self.accepted[delivery.id] += 1
        if integration.name == "well":
            self.took_s.append(now - delivery.owed_at / 1000)
        return attempt


def owed(id_: str, name: str, now_ms: int) -> Delivery:
    return Delivery(
        id=id_, integration=name, webhook="w", action_map="m", visitor_id="v", event_id="e", at=now_ms, owed_at=now_ms,
        method="POST", target="/", timeout_s=TIMEOUT_S, retry=RetryPolicy(attempts=100),
    )  # fmt: skip


async def an_hour(receivers: Receivers) -> tuple[MemoryStore, set[str]]:
    loop, store = asyncio.get_running_loop(), MemoryStore(outbox_cap=100_000)
    table = {
        name: Integration.model_validate({"name": name, "baseUrl": "https://x.example"}) for name in ("well", "odd")
    }

    def clock() -> int:
        return round(loop.time() * 1000)

    worker = DeliveryWorker(
        outbox=store, find_integration=table.get, sender=receivers, clock=clock, monotonic=loop.time,
        random=lambda: 0.5, metrics=Metrics(),
    )  # fmt: skip
    worker.own(P)
    running = asyncio.create_task(worker.run())
    ids: set[str] = set()
    token = ""
    for second in range(0, HOUR_S, EVERY_S):
        made = [owed(f"{name}-{second}", name, clock()) for name in table]
        ids |= {one.id for one in made}
        commit = Commit(token, f"t{second}", second, 0, 0, deliveries=made)
        assert (await store.apply(P, commit)).status == "ok"
        token = commit.token
        worker.wake(P)
        await asyncio.sleep(EVERY_S)
    async with asyncio.timeout(4 * HOUR_S):
        while await store.outbox_size(P):  # noqa: ASYNC110 - virtual seconds
            await asyncio.sleep(10)
    await worker.stop()
    await running
    return store, ids


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_hour_of_trouble_loses_nothing_and_delays_nobody_else(trouble: str) -> None:
    receivers = Receivers(TROUBLES[trouble])
    with structlog.testing.capture_logs(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        store, ids = runner.run(an_hour(receivers))
        dead = runner.run(store.dead_letters(P, limit=10))
    assert dead == []
    assert set(receivers.accepted) == ids
    assert set(receivers.accepted.values()) == {1}
    assert max(receivers.took_s) < 0.5  # the others' deliveries start at once, all through the hour


def test_a_receiver_that_fails_for_an_hour_is_tried_now_and_then_and_not_with_all_it_is_owed() -> None:
    receivers = Receivers(_fails)
    with structlog.testing.capture_logs(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(an_hour(receivers))
    # Ten failures open the breaker; then a probe at each pause, which grows to five minutes.
    assert receivers.tried <= 60

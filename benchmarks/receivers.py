"""What one receiver's trouble costs the others: the delivery worker on a real store, against receivers on loopback.

    python benchmarks/receivers.py [--rounds 3] [--deliveries 4000] [--backlog 50000] [--limit 600]

Neighbours: 99 healthy receivers and a hundredth one, healthy in one half of the rounds and hanging in the other; how
long a healthy one's delivery takes from the outbox to its acceptance, and the ratio of both. Backlog: so many
deliveries wait for a receiver that is back, at a rate limit; how fast it drains, whether it ever gets more than the
limit, and what new deliveries of another receiver take meanwhile and without it. Rounds alternate, medians are printed;
nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.health import Health
from actionmap.deliver.http import HttpSender
from actionmap.deliver.worker import DeliveryWorker
from actionmap.delivery import Attempt, Delivery
from actionmap.embedded import embedded_store
from actionmap.process import wall_clock
from actionmap.store.protocols import Commit
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics, configure_logging

HEALTHY = 99
#: New deliveries a second of the healthy ones, all together.
PER_SECOND = 400

RECEIVER = """
import asyncio, sys
from aiohttp import web

async def main():
    gate = asyncio.Event()
    async def receive(request):
        await request.read()
        if request.path.startswith("/hang"):
            await gate.wait()
        return web.Response()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)   # until the benchmark ends, however it ends
    gate.set()
    await runner.cleanup()

asyncio.run(main())
"""


def integration(name: str, url: str, **limits: float) -> Integration:
    """A receiver of that name."""
    return Integration.model_validate({"name": name, "baseUrl": url, "limits": limits})


def delivery(id_: str, name: str, path: str = "/ok") -> Delivery:
    """One that is owed now."""
    now = wall_clock()
    return Delivery(
        id=id_, integration=name, webhook="w", action_map="m", visitor_id=id_, event_id=id_, at=now, owed_at=now,
        method="POST", target=path, headers={"Content-Type": "application/json"}, body="{}", timeout_s=5.0,
    )  # fmt: skip


class Scene:
    """One worker, one partition, and how long each accepted delivery took."""

    def __init__(self, store: RedisStore, worker: DeliveryWorker) -> None:
        self.store, self.worker = store, worker
        self.took_ms: dict[str, list[int]] = {}
        self.accepted_at: dict[str, list[float]] = {}
        self._token = ""
        self._offset = 0
        self._changed = asyncio.Event()

    def on_attempt(self, done: Delivery, attempt: Attempt) -> None:
        """Note an accepted delivery."""
        if attempt.outcome == "delivered":
            self.took_ms.setdefault(done.integration, []).append(wall_clock() - done.owed_at)
            self.accepted_at.setdefault(done.integration, []).append(time.monotonic())
            self._changed.set()

    def accepted(self, names: Sequence[str]) -> int:
        """How many of the integrations ``names`` were accepted."""
        return sum(len(self.took_ms.get(name, ())) for name in names)

    async def until(self, number: int, names: Sequence[str]) -> None:
        """Wait for ``number`` accepted deliveries of ``names``."""
        while self.accepted(names) < number:
            self._changed.clear()
            await self._changed.wait()

    async def owe(self, deliveries: Sequence[Delivery]) -> None:
        """Owe ``deliveries``, as the pipeline does."""
        if not self._token:
            self._token = (await self.store.claim(0, owner="bench", token="t", cluster="c", partitions=1)).token
        self._offset += 1
        commit = Commit(self._token, f"t{self._offset}", self._offset, 0, 0, deliveries=deliveries)
        assert (await self.store.apply(0, commit)).status == "ok"
        self._token = commit.token
        self.worker.wake(0)


@asynccontextmanager
async def scene(url: str, prefix: str, integrations: Sequence[Integration]) -> AsyncIterator[Scene]:
    """A running worker for ``integrations``."""
    store = RedisStore(url, prefix=prefix, outbox_cap=200_000, clock=wall_clock)
    table = {one.name: one for one in integrations}
    async with HttpSender(
        EgressGuard((), [ip_network("127.0.0.0/8")]), environment_secrets({}), clock=wall_clock
    ) as out:
        told: list[Scene] = []
        worker = DeliveryWorker(
            outbox=store, find_integration=table.get, sender=out, clock=wall_clock, random=lambda: 0.5,
            metrics=Metrics(), health=Health(store.integrations, prefix),
            on_attempt=lambda done, attempt: told[0].on_attempt(done, attempt),  # noqa: PLW0108 - it is made below
        )  # fmt: skip
        told.append(Scene(store, worker))
        worker.own(0)
        running = asyncio.create_task(worker.run())
        yield told[0]
        await worker.stop(0.1)
        await running
    await store.close()


async def flow(there: Scene, names: Sequence[str], number: int, path_of: dict[str, str] | None = None) -> None:
    """Owe ``number`` deliveries to ``names`` in turns, in small commits, at the usual pace."""
    started, each = time.monotonic(), 20
    for first in range(0, number, each):
        made = [names[n % len(names)] for n in range(first, first + each)]
        await there.owe([delivery(f"{name}-{first + n}", name, (path_of or {}).get(name, "/ok"))
                         for n, name in enumerate(made)])  # fmt: skip
        await asyncio.sleep(max(0.0, started + (first + each) / PER_SECOND - time.monotonic()))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def neighbours(redis: str, base: str, number: int, prefix: str, *, hanging: bool) -> float:
    """p99 in ms of the healthy ones."""
    healthy = [f"well-{n}" for n in range(HEALTHY)]
    names = [*healthy, "odd"]
    async with scene(redis, prefix, [integration(name, base) for name in names]) as there:
        await flow(there, names, number, {"odd": "/hang"} if hanging else None)
        await there.until(sum(1 for n in range(number) if n % len(names) < HEALTHY), healthy)
        return percentile([took for name in healthy for took in there.took_ms[name]], 0.99)


async def backlog(redis: str, base: str, number: int, limit: int, prefix: str) -> dict[str, float]:
    """How a backlog drains at ``limit`` a second, and what new deliveries of another receiver take meanwhile."""
    table = [integration("back", base, ratePerSecond=limit, concurrency=64), integration("new", base)]
    async with scene(redis, prefix, table) as there:
        for first in range(0, number, 500):
            await there.owe([delivery(f"back-{n}", "back") for n in range(first, min(first + 500, number))])
        started = time.monotonic()
        await flow(there, ["new"], 4000)
        new_ms = list(there.took_ms["new"])
        await there.until(number, ["back"])
        seconds = time.monotonic() - started
        at = there.accepted_at["back"]
        peak = max(bisect_left(at, begin + 1) - number for number, begin in enumerate(at))
        return {"seconds": seconds, "per second": number / seconds, "peak": peak, "new p99": percentile(new_ms, 0.99)}


async def alone(redis: str, base: str, prefix: str) -> float:
    """p99 in ms of the new deliveries without any backlog."""
    async with scene(redis, prefix, [integration("new", base)]) as there:
        await flow(there, ["new"], 4000)
        await there.until(4000, ["new"])
        return percentile(there.took_ms["new"], 0.99)


async def measure(base: str, args: argparse.Namespace) -> None:
    """All scenes, and their figures on the screen."""
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_store(Path(folder)) as redis:
            p99: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(args.rounds):
                for hanging in (False, True):
                    prefix = f"n{turn}{hanging}"
                    p99[hanging].append(await neighbours(redis, base, args.deliveries, prefix, hanging=hanging))
            well, ill = statistics.median(p99[False]), statistics.median(p99[True])
            alone_ms = await alone(redis, base, "alone")
            found = await backlog(redis, base, args.backlog, args.limit, "backlog")
    rounds = f"{args.rounds} rounds of {args.deliveries}"
    print(f"{HEALTHY} receivers, {PER_SECOND} deliveries a second, {rounds}")
    print(f"p99 of the healthy ones: {well:.0f} ms; with one that hangs {ill:.0f} ms: {ill / well:.2f}")
    print(f"backlog of {args.backlog:,}, limit {args.limit} a second: drained in {found['seconds']:.0f} s,")
    print(f"  {found['per second']:.0f} a second, at most {found['peak']:.0f} accepted in one second")
    print(f"p99 of new ones to another receiver: {found['new p99']:.0f} ms, without the backlog {alone_ms:.0f} ms")


def main() -> None:
    """Start the receiver, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deliveries", type=int, default=4_000)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--limit", type=int, default=600)
    args = parser.parse_args()
    configure_logging("critical", "text")
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    try:
        port = int(receiver.stdout.readline())
        asyncio.run(measure(f"http://127.0.0.1:{port}", args))
    finally:
        receiver.stdin.close()
        receiver.wait(10)


if __name__ == "__main__":
    main()

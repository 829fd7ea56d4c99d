"""Engine throughput: events a second per core with 10, 1,000 and 10,000 active maps, beside a floor, in one run.

    python benchmarks/engine.py [--events 40000] [--visitors 20000] [--rounds 3]

The floor consumes the same records with the same client, decodes them, loads the same visitors and commits state of
the same size in the same batches; it decides nothing. `simulate` runs over the same events beside it. Each measurement
is a process of its own, rounds are interleaved, and the medians are printed as ratios, because the machines are noisy.
Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from actionmap.app import open_producer, open_store, prepare_topic
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.parse import parse_definition
from actionmap.collect.producer import Outgoing
from actionmap.decide import Policy
from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS, embedded_broker, embedded_store
from actionmap.engine import Engine, Options
from actionmap.event import to_rfc3339
from actionmap.pipeline import Lane
from actionmap.process import tune_garbage_collector, wall_clock
from actionmap.registry import Registry
from actionmap.settings import Settings
from actionmap.simulate import simulate
from actionmap.store.protocols import Commit
from actionmap.telemetry import Metrics, configure_logging
from actionmap.wire import parse_event

PAGES, PRODUCTS, CAMPAIGNS = 2_000, 500, 50
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)


def events(number: int, visitors: int) -> list[tuple[str, bytes]]:
    """Visitor id and JSON of ``number`` events of ``visitors`` visitors, about 900 bytes each."""
    dice, now = random.Random(1), wall_clock() - 3_600_000
    made = []
    for index in range(number):
        visitor = f"visitor-{index if index < visitors else dice.randrange(visitors):06d}"
        page = min(int(dice.paretovariate(0.7)), PAGES)
        product = dice.randrange(PRODUCTS)
        name = dice.choices(("page_viewed", "product_viewed", "cart_added"), (80, 15, 5))[0]
        event = {
            "eventId": f"{dice.getrandbits(128):032x}",
            "eventName": name,
            "visitorId": visitor,
            "timestamp": to_rfc3339(now + index),
            "page": {
                "url": f"https://shop.example/section-{page % 40}/page-{page}?utm_source=ad&utm_medium=cpc"
                f"&utm_campaign=campaign-{dice.randrange(CAMPAIGNS)}",
                "title": f"Page {page} of a shop with an ordinary title",
                "lang": "en",
            },
            "referrerUrl": "https://www.google.com/search?q=shoes",
            "userAgent": dice.choice(AGENTS),
            "ipAddress": "203.0.113.9",
            "language": "en",
            "attributes": {
                "productId": f"product-{product}", "price": product * 1.5, "currency": "EUR", "inStock": True,
                "category": f"category-{product % 20}", "tags": ["new", "sale"], "position": index % 30,
            },
            "traits": {"plan": "free", "locale": "en-GB"},
        }  # fmt: skip
        made.append((visitor, msgspec.json.encode(event)))
    return made


def definitions(maps: int) -> dict[str, Any]:
    """A set of definitions with ``maps`` active action maps, most of them selective."""
    written: list[dict[str, Any]] = [
        {"kind": "Integration", "name": "sink", "baseUrl": "https://sink.example.com", "active": True},
        {"kind": "DataAction", "name": "send", "integration": "sink", "state": "published",
         "contract": {"input": {"type": "object", "properties": {"visitor": {"type": "string"}}}}},
        {"kind": "Webhook", "name": "hook", "dataAction": "send", "state": "published",
         "mappings": {"visitor": {"lookup": "visitor.id"}}},
        {"kind": "Segment", "name": "engaged",
         "when": {"count": {"event": "page_viewed", "atLeast": 3, "within": "session"}}},
    ]  # fmt: skip
    dice = random.Random(2)
    for index in range(maps):
        trigger = _trigger(dice, index % 10)
        written.append({"kind": "ActionMap", "name": f"map-{index}", "trigger": trigger, "action": {"webhook": "hook"}})
    return parsed(written)


def parsed(written: list[dict[str, Any]]) -> dict[str, Any]:
    """Definitions, as written in JSON, by key."""
    found = [parse_definition(Document(data=data)) for data in written]
    return {definition.key: definition for definition in found}


def _trigger(dice: random.Random, shape: int) -> dict[str, Any]:
    path = f"/section-{dice.randrange(40)}/page-{dice.randrange(200, PAGES)}"
    product = {"key": "event.attributes.productId", "operator": "equal", "value": f"product-{dice.randrange(PRODUCTS)}"}
    price = {"key": "event.attributes.price", "operator": "greaterThan", "value": dice.randrange(400, 740)}
    campaign = {
        "key": "session.mktCampaign.name",
        "operator": "equal",
        "value": f"campaign-{dice.randrange(CAMPAIGNS)}",
    }
    on_page = {"key": "event.page.pathname", "operator": "equal", "value": path}
    in_section = {"key": "event.page.pathname", "operator": "startsWith", "value": path[:-1]}
    if shape < 5:
        return {"event": "page_viewed", "where": [on_page]}
    if shape < 7:
        return {"all": [{"event": "page_viewed", "where": [in_section]}, {"segment": "engaged"}]}
    if shape < 9:
        return {"all": [{"event": "product_viewed", "where": [product, price]}, {"not": {"segment": "engaged"}}]}
    return {"all": [{"event": "cart_added", "where": [product]}, campaign]}


class FloorLane(Lane):
    """A lane that decides nothing: decode, load, commit ready-made state of the usual size."""

    state = b""

    async def _evaluate(self, claim: Any, records: Any) -> None:
        if not records:
            return
        wires = [parse_event(record.value) for record in records]
        visitors = {wire.visitor_id for wire in wires}
        known = self._env.cache.get(self.partition, visitors)
        await self._env.store.load(self.partition, sorted(visitors - known.keys()), claim.token)
        commit = Commit(
            expected_token=claim.token, token=self._env.new_token(), offset=records[-1].offset, revision=0,
            stream_time=0, visitors=[(visitor, self.state) for visitor in visitors],
        )  # fmt: skip
        applied = await self._env.store.apply(self.partition, commit)
        assert applied.status == "ok"
        claim.token, claim.next = commit.token, commit.offset + 1
        self._env.cache.put(self.partition, [(_Known(visitor), 0) for visitor in visitors])


class _Known(msgspec.Struct):
    id: str


async def measure(kind: str, settings: Settings, total: int, state_bytes: int) -> dict[str, float]:
    """Evaluate ``total`` records of the topic once, as ``kind`` says; gives seconds, CPU seconds and memory in MB."""
    store = open_store(settings)
    registry = Registry(store)
    if kind != "floor":
        await registry.change(definitions(int(kind)))
    engine = Engine(settings, Options(), store, registry, Metrics())
    consumer = engine.consumer
    if kind == "floor":
        FloorLane.state = b"x" * state_bytes
        opened = consumer._open_lane
        consumer._open_lane = lambda *given: _as_floor(opened(*given))
    tune_garbage_collector()
    task = asyncio.create_task(consumer.run())
    await consumer.assigned.wait()
    started, cpu = time.perf_counter(), time.process_time()
    while sum(lane.position or 0 for lane in consumer.lanes.values()) < total:
        await asyncio.sleep(0.005)
        assert not engine.halted, engine.halted
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    size = await _mean_state(store, consumer.lanes)
    consumer.stop()
    await task
    await store.close()
    return {"seconds": seconds, "cpu": cpu, "memory": _memory(), "state": size}


def measure_simulate(maps: int, total: int, visitors: int) -> dict[str, float]:
    """Simulate as many events as `measure` evaluates, without any broker or store."""
    rulebook = compile_rulebook(definitions(maps))
    lines = [(line, value) for line, (_, value) in enumerate(events(total, visitors), 1)]
    tune_garbage_collector()
    started, cpu = time.perf_counter(), time.process_time()
    simulate(rulebook, lines, source="bench", policy=Policy())
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "memory": _memory(), "state": 0}


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6 if sys.platform == "linux" else 0


def _as_floor(lane: Any) -> FloorLane:
    lane.__class__ = FloorLane
    return lane  # type: ignore[no-any-return]


async def _mean_state(store: Any, lanes: Any) -> float:
    sizes: list[int] = []
    for partition in lanes:
        ids = [f"visitor-{number:06d}" for number in range(200)]
        sizes += [len(stored) for stored in await store.load(partition, ids) if stored is not None]
    return sum(sizes) / max(1, len(sizes))


async def _child(kind: str, bootstrap: str, url: str, name: str, total: int, state: int) -> None:
    settings = Settings(kafka_bootstrap_servers=bootstrap, redis_url=url, redis_prefix=name, consumer_group=name,
                        kafka_session_timeout=EMBEDDED_SESSION_TIMEOUT_MS / 1000)  # fmt: skip
    print(json.dumps(await measure(kind, settings, total, state)))


async def run_child(kind: str, bootstrap: str, url: str, name: str, total: int, state: int) -> dict[str, float]:
    """What `measure` finds, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--child", kind, bootstrap, url, name, str(total), str(state),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return json.loads(out)  # type: ignore[no-any-return]


async def _main(number: int, visitors: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_broker() as bootstrap, embedded_store(Path(folder)) as url:
            settings = Settings(kafka_bootstrap_servers=bootstrap, redis_url=url, events_topic_partitions=4)
            await prepare_topic(settings)
            made = events(number, visitors)
            size = sum(len(value) for _, value in made) / number
            print(f"{number:,} events of {size:.0f} bytes, {visitors:,} visitors, 4 partitions, {rounds} rounds")
            async with await open_producer(settings) as producer:
                for start in range(0, number, 2000):
                    await producer.send_many([Outgoing(*pair) for pair in made[start : start + 2000]])
            results: dict[str, list[dict[str, float]]] = {
                kind: [] for kind in ("10", "1000", "10000", "floor", "simulate")
            }
            for turn in range(rounds):
                for kind, found in results.items():
                    state = int(results["10"][0]["state"]) if kind == "floor" else 0
                    if kind == "simulate":
                        state = visitors
                    found.append(await run_child(kind, bootstrap, url, f"b{turn}-{kind}", number, state))
            _show(results, number)


def _show(results: dict[str, list[dict[str, float]]], number: int) -> None:
    def of(kind: str, what: str) -> float:
        return median(one[what] for one in results[kind])

    floor = of("floor", "cpu")
    print(f"{'':<22}{'events/s':>10}{'CPU µs/event':>14}{'of the floor':>14}{'memory MB':>11}")
    for kind in ("floor", "10", "1000", "10000", "simulate"):
        name = f"engine, {int(kind):,} maps" if kind.isdecimal() else kind
        ratio = floor / of(kind, "cpu")
        print(f"{name:<22}{number / of(kind, 'seconds'):>10,.0f}{of(kind, 'cpu') / number * 1e6:>14.1f}"
              f"{ratio:>14.2f}{of(kind, 'memory'):>11.0f}")  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run as parent, or as the child that the parent starts."""
    configure_logging("error", "text")
    if arguments[:1] == ["--child"]:
        kind, bootstrap, url, name, total, state = arguments[1:]
        if kind == "simulate":
            print(json.dumps(measure_simulate(1000, int(total), visitors=int(state))))
            return
        asyncio.run(_child(kind, bootstrap, url, name, int(total), int(state)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--visitors", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    asyncio.run(_main(given.events, given.visitors, given.rounds))


if __name__ == "__main__":
    main(sys.argv[1:])

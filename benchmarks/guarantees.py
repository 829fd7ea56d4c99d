"""What the guarantees cost: throughput by durability, latency at half load, and recovery, in one run.

    python benchmarks/guarantees.py [--events 40000] [--rounds 3]

1. Events a second with a store that has each write on disk before it answers (``always``), one that is waited for
   (``everysec``), and one that promises nothing (``none``), beside the floor of `engine.py`; rounds are interleaved.
2. From the event handed to the producer to the first byte at the receiver, while events come at half of that rate and
   one in a hundred fires. Producer and receiver run in processes of their own.
3. From ``kill -9`` of the worker that owns all partitions to the first record that another one has evaluated.
4. From a store that is back without its newest half to the fence being at the end of the log again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import engine as throughput
from actionmap.app import open_producer, open_store, prepare_topic
from actionmap.collect.producer import Outgoing
from actionmap.demo.receiver import Receiver
from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS, embedded_broker, embedded_store, free_port
from actionmap.engine import Engine, Options
from actionmap.errors import Unreachable
from actionmap.registry import Registry
from actionmap.settings import Settings
from actionmap.telemetry import Metrics, configure_logging

FSYNC = {"always": "always", "everysec": "everysec", "none": "no"}
PARTITIONS = (0, 1, 2, 3)
LATENCY_SECONDS = 15


def rules(base_url: str) -> dict[str, Any]:
    """One map that fires at each ``order`` and tells when that was sent."""
    written = [
        {"kind": "Integration", "name": "sink", "baseUrl": base_url, "limits": {"concurrency": 32}},
        {"kind": "DataAction", "name": "send", "integration": "sink", "state": "published",
         "request": {"method": "POST", "path": "/"},
         "contract": {"input": {"type": "object", "properties": {"sentAt": {"type": "number"}}}}},
        {"kind": "Webhook", "name": "hook", "dataAction": "send", "state": "published",
         "mappings": {"sentAt": {"lookup": "event.attributes.sentAt"}}},
        {"kind": "ActionMap", "name": "order", "trigger": {"event": "order"}, "frequency": "every",
         "action": {"webhook": "hook"}},
    ]  # fmt: skip
    return throughput.parsed(written)


def settings_of(bootstrap: str, url: str, name: str) -> Settings:
    """Settings of one measurement: keys, topic and group of its own."""
    return Settings(
        kafka_bootstrap_servers=bootstrap, redis_url=url, redis_prefix=name, consumer_group=name, events_topic=name,
        events_topic_partitions=len(PARTITIONS), egress_allow="127.0.0.1/32",
        kafka_session_timeout=EMBEDDED_SESSION_TIMEOUT_MS / 1000,
    )  # fmt: skip


async def child(*arguments: str) -> Any:
    """What this script, started once more with ``arguments``, prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--child", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return json.loads(out)


# --- throughput


async def measure_throughput(bootstrap: str, folder: Path, number: int, rounds: int) -> float:
    """Print the table; returns events a second with ``always``."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in ("floor", *FSYNC)}
    settings = Settings(kafka_bootstrap_servers=bootstrap, events_topic_partitions=len(PARTITIONS))
    await prepare_topic(settings)
    made = throughput.events(number, 20_000)
    async with await open_producer(settings) as producer:
        for start in range(0, number, 2000):
            await producer.send_many([Outgoing(*pair) for pair in made[start : start + 2000]])
    for turn in range(rounds):
        for kind, fsync in FSYNC.items():
            async with embedded_store(folder / f"{kind}{turn}", fsync=fsync) as url:
                found[kind].append(await throughput.run_child("10", bootstrap, url, f"{kind}{turn}", number, 0))
                if kind == "always":
                    state = int(found[kind][-1]["state"])
                    found["floor"].append(
                        await throughput.run_child("floor", bootstrap, url, f"floor{turn}", number, state)
                    )
    floor = median(one["cpu"] for one in found["floor"])
    print(f"\n{'store':<12}{'events/s':>10}{'CPU µs/event':>14}{'of the floor':>14}")
    for kind, runs in found.items():
        cpu, seconds = (median(one[what] for one in runs) for what in ("cpu", "seconds"))
        print(f"{kind:<12}{number / seconds:>10,.0f}{cpu / number * 1e6:>14.1f}{floor / cpu:>14.2f}")
    return number / median(one["seconds"] for one in found["always"])


# --- latency


async def measure_latency(bootstrap: str, folder: Path, rate: float) -> None:
    """Print p50 and p99 from producer to receiver at ``rate`` events a second."""
    print(f"\nevent → first POST at {rate:,.0f} events/s, {LATENCY_SECONDS} s")
    for kind in ("always", "everysec"):
        async with embedded_store(folder / f"latency-{kind}", fsync=FSYNC[kind]) as url, Receiver() as receiver:
            settings = settings_of(bootstrap, url, f"latency-{kind}")
            await prepare_topic(settings)
            store = open_store(settings)
            await Registry(store).change(rules(receiver.url))
            worker = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--child", "work", bootstrap, url, f"latency-{kind}"
            )
            sent = await child("send", bootstrap, url, f"latency-{kind}", str(rate))
            await receiver.wait_for(sent["orders"], 60)
            worker.send_signal(signal.SIGTERM)
            await worker.wait()
            await store.close()
            # The first fifth is left out: caches are cold.
            times = [one.at - 1000 * json.loads(one.body)["sentAt"] for one in receiver.requests[sent["orders"] // 5 :]]
            cuts = quantiles(times, n=100)
            print(f"{kind:<12}p50 {cuts[49]:6.0f} ms   p99 {cuts[98]:6.0f} ms   "
                  f"({len(times):,} webhooks, {sent['rate']:,.0f} events/s sent)")  # fmt: skip


async def send(bootstrap: str, url: str, name: str, rate: float) -> dict[str, float]:
    """Send at ``rate`` events a second; one in a hundred is an ``order`` and says when it was sent."""
    made = throughput.events(20_000, 20_000)
    orders = number = 0
    async with await open_producer(settings_of(bootstrap, url, name)) as producer:
        started = time.perf_counter()
        while (passed := time.perf_counter() - started) < LATENCY_SECONDS:
            due = int(passed * rate) - number
            for _ in range(due):
                visitor, value = made[number % len(made)]
                number += 1
                if number % 100 == 0:
                    orders += 1
                    value = json.dumps({"eventName": "order", "visitorId": visitor,
                                        "attributes": {"sentAt": time.time()}}).encode()  # fmt: skip
                await producer.hand_over(Outgoing(visitor, value.replace(b'"eventId"', b'"ignored"')))
            await asyncio.sleep(0.005)
    return {"orders": orders, "rate": number / LATENCY_SECONDS}


async def work(bootstrap: str, url: str, name: str, *, by_hand: bool = True) -> None:
    """An engine until SIGTERM; prints how far it is, when it moves."""
    settings = settings_of(bootstrap, url, name)
    store = open_store(settings)
    engine = Engine(settings, Options(partitions=PARTITIONS if by_hand else None), store, Registry(store), Metrics())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, engine.stop)
    await engine.run()
    await store.close()


# --- recovery


async def measure_takeover(bootstrap: str, folder: Path) -> None:
    """Print the time from ``kill -9`` of one worker to the other one's first evaluated record."""
    name, taken = "takeover", []
    async with embedded_store(folder / name) as url:
        settings = settings_of(bootstrap, url, name)
        await prepare_topic(settings)
        store = open_store(settings)
        command = (sys.executable, __file__, "--child", "work-in-group", bootstrap, url, name)
        async with await open_producer(settings) as producer:
            owner = await asyncio.create_subprocess_exec(*command)
            await _evaluated(store, producer)
            for _ in range(3):
                other = await asyncio.create_subprocess_exec(*command)
                await asyncio.sleep(2 * settings.kafka_session_timeout)  # until it has joined
                await _evaluated(store, producer)
                os.kill(owner.pid, signal.SIGKILL)
                killed = time.perf_counter()
                await owner.wait()
                await _evaluated(store, producer)
                taken.append(time.perf_counter() - killed)
                owner = other
            owner.send_signal(signal.SIGTERM)
            await owner.wait()
        await store.close()
    timeout = settings.kafka_session_timeout
    print(f"\nkill -9 → all partitions move again: {median(taken):.1f} s with a session time-out of {timeout:g} s "
          f"(median of {len(taken)}; the group notices a death only after that time)")  # fmt: skip


async def _evaluated(store: Any, producer: Any) -> None:
    """Send one event into each partition, and wait until all are evaluated."""
    goal = {}
    for partition in PARTITIONS:
        told = await producer.send_again(partition, b"v", b'{"eventName": "x", "visitorId": "v%d"}' % partition, [])
        goal[partition] = told.offset
    while goal:
        await asyncio.sleep(0.01)
        goal = {number: offset for number, offset in goal.items() if (await store.fence(number)).offset < offset}


async def measure_replay(bootstrap: str, folder: Path, number: int) -> None:
    """Print how long it takes to evaluate what a store has lost once more."""
    name, port, data = "replay", free_port(), folder / "replay"
    made = throughput.events(number, 20_000)
    halves = made[: number // 2], made[number // 2 :]
    url = f"redis://127.0.0.1:{port}/0"
    settings = settings_of(bootstrap, url, name)
    await prepare_topic(settings)
    store = open_store(settings)
    async with await open_producer(settings) as producer:
        async with embedded_store(data, port):
            await Registry(store).change(throughput.definitions(10))
            worker = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--child", "work", bootstrap, url, name
            )
            await _send_and_wait(store, producer, halves[0], number // 2)
        shutil.copytree(data, folder / "half")
        async with embedded_store(data, port):
            await _send_and_wait(store, producer, halves[1], number)
        shutil.rmtree(data)
        shutil.move(folder / "half", data)
        async with embedded_store(data, port):
            back = time.perf_counter()
            await _reached(store, number)
            seconds = time.perf_counter() - back
            worker.send_signal(signal.SIGTERM)
            await worker.wait()
    await store.close()
    print(f"\nstore back without its newest {number // 2:,} events → evaluated again: {seconds:.1f} s "
          f"({number / 2 / seconds:,.0f} events/s, from its first answer on)")  # fmt: skip


async def _send_and_wait(store: Any, producer: Any, made: Sequence[tuple[str, bytes]], total: int) -> None:
    for start in range(0, len(made), 2000):
        await producer.send_many([Outgoing(*pair) for pair in made[start : start + 2000]])
    await _reached(store, total)


async def _reached(store: Any, total: int) -> None:
    done = 0
    while done < total:
        await asyncio.sleep(0.01)
        with suppress(Unreachable):  # its connection may be one to the former server
            done = sum([(await store.fence(partition)).offset + 1 for partition in PARTITIONS])


async def _main(number: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        async with embedded_broker() as bootstrap:
            rate = await measure_throughput(bootstrap, folder, number, rounds)
            await measure_latency(bootstrap, folder, rate / 2)
            await measure_takeover(bootstrap, folder)
            await measure_replay(bootstrap, folder, number)


def main(arguments: Sequence[str]) -> None:
    """Run as parent, or as one of the processes that it starts."""
    configure_logging("critical", "text")
    match list(arguments):
        case ["--child", "send", bootstrap, url, name, rate]:
            print(json.dumps(asyncio.run(send(bootstrap, url, name, float(rate)))))
        case ["--child", "work", *where]:
            asyncio.run(work(*where))
        case ["--child", "work-in-group", *where]:
            asyncio.run(work(*where, by_hand=False))
        case _:
            parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
            parser.add_argument("--events", type=int, default=40_000)
            parser.add_argument("--rounds", type=int, default=3)
            given = parser.parse_args(arguments)
            asyncio.run(_main(given.events, given.rounds))


if __name__ == "__main__":
    main(sys.argv[1:])

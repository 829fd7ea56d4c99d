"""`actionmap demo`: the main job on real parts, checked against what a simulation of the same events expects."""

from __future__ import annotations

import asyncio
import gzip
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import msgspec

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.parse import Definitions
from actionmap.collect.producer import EventProducer, Outgoing
from actionmap.decide import Policy
from actionmap.decision import Decision
from actionmap.delivery import Attempt, Delivery
from actionmap.demo.receiver import Received
from actionmap.demo.screen import Screen
from actionmap.demo.stack import Stack, open_stack
from actionmap.engine import Watchers
from actionmap.errors import ActionmapError
from actionmap.event import Event, to_millis, to_rfc3339
from actionmap.process import first_of, wall_clock
from actionmap.simulate import Simulation, simulate
from actionmap.wire import parse_event

_PATIENCE_S = 60.0


@dataclass(slots=True)
class Outcome:
    """What a demo has seen, beside what it expected."""

    expected: Simulation
    evaluated: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Map → reason → how often.
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    #: Delivery id → when its record entered Kafka, in milliseconds since 1970.
    owed_at: dict[str, int] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, decision: Decision) -> None:
        """Take over what the engine decided for one event."""
        self.evaluated += 1
        self.outcomes[decision.outcome] += 1
        for verdict in decision.verdicts:
            self.verdicts.setdefault(verdict.action_map, Counter())[verdict.reason] += 1
        for delivery in decision.deliveries:
            self.owed_at[delivery.id] = delivery.owed_at

    @property
    def accepted(self) -> set[str]:
        """Ids of the webhooks that arrived and verified."""
        return {request.headers.get("webhook-id", "") for request in self.received if request.status == 200}

    @property
    def wanted(self) -> set[str]:
        """Ids of the webhooks that should arrive."""
        return {delivery.id for delivery in self.expected.deliveries}

    @property
    def refused(self) -> int:
        """Requests whose signature was missing or wrong."""
        return sum(request.status != 200 for request in self.received)

    @property
    def is_complete(self) -> bool:
        """True when the engine decided as expected, and exactly the expected webhooks arrived, all of them verified."""
        decided = self.outcomes == self.expected.outcomes and self.verdicts == self.expected.verdicts
        return decided and self.accepted == self.wanted and not self.refused

    def latencies_ms(self) -> list[int]:
        """From the event in Kafka to the webhook at the receiver, of each first arrival, sorted."""
        arrived: dict[str, int] = {}
        for request in self.received:
            arrived.setdefault(request.headers.get("webhook-id", ""), request.at)
        return sorted(max(0, at - self.owed_at[id_]) for id_, at in arrived.items() if id_ in self.owed_at)


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest of the sorted ``values`` that at least ``share`` of them do not exceed; 0 without any."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0


def sample_lines(now: int) -> list[bytes]:
    """The bundled sample, moved so that its last event is at ``now`` (milliseconds since 1970)."""
    packed = (files("actionmap.demo") / "events.jsonl.gz").read_bytes()
    events = [msgspec.json.decode(line) for line in gzip.decompress(packed).splitlines()]
    times = [to_millis(datetime.fromisoformat(event["timestamp"])) for event in events]
    shift = now - max(times)
    return [
        msgspec.json.encode({**event, "timestamp": to_rfc3339(time + shift)})
        for event, time in zip(events, times, strict=True)
    ]


async def run_demo(rules: Definitions, screen: Screen, *, rate: float) -> Outcome:
    """Stream the sample through the embedded stack, as fast as ``rate`` events a second, and wait for every webhook.

    Raises:
        ActionmapError: a part does not start, or stops.
    """
    lines = sample_lines(wall_clock())
    expected = simulate(compile_rulebook(rules), enumerate(lines, 1), source="sample", policy=Policy())
    outcome = Outcome(expected)
    done = asyncio.Event()

    def on_decision(event: Event, decision: Decision) -> None:
        outcome.add(decision)
        screen.evaluated(outcome.evaluated)
        if outcome.evaluated >= expected.events:
            done.set()

    def on_attempt(delivery: Delivery, attempt: Attempt) -> None:
        screen.attempted(delivery, attempt)

    with tempfile.TemporaryDirectory(prefix="actionmap-demo-") as folder:
        watchers = Watchers(on_decision=on_decision, on_attempt=on_attempt)
        async with open_stack(Path(folder), rules, watchers, screen.step) as stack:
            engine = asyncio.create_task(stack.engine.run(), name="engine")
            script = asyncio.create_task(_script(stack, lines, outcome, screen, done, rate), name="script")
            try:
                await first_of(engine, script)
                if not script.done():
                    raise ActionmapError("the engine stopped before the demo was over")
            finally:
                script.cancel()
                stack.engine.stop()
                await asyncio.gather(engine, script, return_exceptions=True)
            outcome.received = list(stack.receiver.requests)
    return outcome


async def _script(
    stack: Stack, lines: Sequence[bytes], outcome: Outcome, screen: Screen, done: asyncio.Event, rate: float
) -> None:
    screen.step("waiting for the consumer group to assign its partitions …")
    await stack.engine.consumer.assigned.wait()
    screen.step(f"sample integrations are sent to the demo's own receiver at {stack.receiver.url}")
    started = asyncio.get_running_loop().time()
    with screen.streaming(len(lines)):
        await _stream(stack.producer, lines, rate, screen)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await done.wait()
            await stack.receiver.wait_for(len(outcome.wanted), _PATIENCE_S)
        except TimeoutError:
            screen.step(f"gave up waiting after {_PATIENCE_S:.0f} s")
    outcome.seconds = asyncio.get_running_loop().time() - started


async def _stream(producer: EventProducer, lines: Sequence[bytes], rate: float, screen: Screen) -> None:
    """Send ``lines`` in order, in slices of a twentieth of a second, so that people can follow."""
    loop = asyncio.get_running_loop()
    started, size = loop.time(), max(1, round(rate / 20))
    for start in range(0, len(lines), size):
        slice_ = lines[start : start + size]
        await producer.send_many([Outgoing(parse_event(line).visitor_id, line) for line in slice_])
        screen.sent(start + len(slice_))
        await asyncio.sleep(max(0.0, started + (start + len(slice_)) / rate - loop.time()))

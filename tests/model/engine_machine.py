"""A real lane on the in-memory store, driven at random through every fault, beside a sequential oracle.

    python tests/model/engine_machine.py --steps 100000

Steps: events (also out of order, repeated, late), time that passes while the log is quiet, a crash before or after any
call of the store, a rebalance, a zombie, a store that loses its tail, another rulebook, dispatch with lost
acknowledgements. After each step the lane is let come to rest; then the store must hold exactly what the oracle has.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import sys
from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace
from rich.progress import track

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import parse_record
from actionmap.decide import Policy, Timeline
from actionmap.delivery import Delivery
from actionmap.environment import LaneEnvironment
from actionmap.event import VISITOR_ERASED
from actionmap.pipeline import Lane
from actionmap.store.cache import VisitorCache
from actionmap.store.memory import MemoryErasures
from actionmap.store.protocols import Applied, Commit
from actionmap.telemetry import Metrics, configure_logging
from actionmap.visitor import Visitor, encode_visitor
from support import PARTITION, T0, ScriptedLog, WatchedStore, definitions, event, rules

MINUTE = 60_000
VISITORS = ("a", "b", "c")
NAMES = ("order", "visit", "added", "bought")
GOODBYE = "goodbye"
POLICY = Policy(allowed_lateness_ms=3 * 60 * MINUTE)


def _rulebooks() -> list[list[dict[str, Any]]]:
    written = rules()
    written[4]["activation"] = {"type": "delay", "delaySeconds": 300}
    absence = {"after": {"event": "added"}, "of": {"event": "bought"}, "for": "30m"}
    added = {"count": {"event": "added", "atLeast": 2, "within": "40m"}}
    sequence = {"steps": [{"event": "added"}, {"event": "bought"}], "within": "2h", "without": {"event": "order"}}
    written += [
        {"kind": "Segment", "name": "keen", "when": added, "expiresAfter": "25m"},
        _map("abandoned", {"absence": absence}),
        _map("cooled", {"any": [{"segmentLeft": "keen"}, {"event": "bought"}]}),
        _map("bought-it", {"sequence": sequence}, exclusiveGroup="sale", frequency={"max": 2, "per": "6h"}),
        _map("again", {"event": "bought"}, exclusiveGroup="sale", activation="onNextSession"),
        _map(GOODBYE, {"event": VISITOR_ERASED}),
    ]
    without_orders = [one for one in written if one["name"] != "each-order"]
    return [written, without_orders, written[:4]]


def _map(name: str, trigger: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {"kind": "ActionMap", "name": name, "trigger": trigger, "frequency": "every"}
    return made | {"action": {"webhook": "tell-shop"}} | more


BOOKS = [definitions(written) for written in _rulebooks()]


#: Steps that one run of hypothesis takes.
_PORTION = 5_000


class Killed(BaseException):
    """What a process feels of SIGKILL: no handler sees it."""


class MortalErasures(MemoryErasures):
    """As `MortalStore`."""

    async def sweep(self, partition: int, token: str, *, stop: Callable[[], bool] = lambda: False) -> None:
        assert isinstance(self._store, MortalStore)
        await self._store._mortal(super().sweep(partition, token, stop=stop))


class MortalStore(WatchedStore):
    """Kills who calls it, before or after the call has taken effect."""

    def __init__(self) -> None:
        super().__init__()
        self.calls_left: int | None = None
        self.after = False
        self.erasures = MortalErasures(self)

    async def _mortal(self, call: Coroutine[Any, Any, Any]) -> Any:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                self.calls_left = None
                if self.after:
                    await call
                else:
                    call.close()
                raise Killed
        return await call

    async def fence(self, partition: int) -> Any:
        return await self._mortal(super().fence(partition))

    async def claim(self, partition: int, **given: Any) -> Any:
        return await self._mortal(super().claim(partition, **given))

    async def load(self, partition: int, visitor_ids: Any, token: str | None = None) -> Any:
        return await self._mortal(super().load(partition, visitor_ids, token))

    async def due(self, partition: int, token: str, *, until: int, limit: int) -> Any:
        return await self._mortal(super().due(partition, token, until=until, limit=limit))

    async def apply(self, partition: int, commit: Commit) -> Applied:
        done: Applied = await self._mortal(super().apply(partition, commit))
        return done


class Oracle:
    """One event after the other, and time as it is told."""

    def __init__(self) -> None:
        self.visitors: dict[str, Visitor] = {}
        self.stream_time = -1
        self.next = 0
        self.owed: dict[str, Delivery] = {}
        #: What the receiver has got does not come back.
        self.received: Collection[str] = ()

    def evaluate(self, log: ScriptedLog, rulebook: Rulebook) -> None:
        timeline = Timeline(rulebook, POLICY, self.stream_time, self.visitors)
        for offset in range(self.next, log.end):
            one = parse_record(log.record(offset)).event
            self._take(timeline.run_timers(one.time - 1, 0))
            self._take([(one, timeline.take(one))])
            self._take(timeline.run_timers(timeline.stream_time, 0))
        self.stream_time, self.next = timeline.stream_time, log.end

    def pass_time(self, stream_time: int, rulebook: Rulebook) -> None:
        timeline = Timeline(rulebook, POLICY, self.stream_time, self.visitors)
        self._take(timeline.run_timers(stream_time, 0))
        self.stream_time = max(self.stream_time, stream_time)

    def _take(self, decisions: Any) -> None:
        for happened, decision in decisions:
            if decision.outcome == "erased":
                self._erase(happened.visitor_id)
            for delivery in decision.deliveries:
                self.owed.setdefault(delivery.id, delivery)

    def _erase(self, visitor_id: str) -> None:
        self.owed = {
            id_: one for id_, one in self.owed.items()
            if one.visitor_id != visitor_id or one.action_map == GOODBYE or id_ in self.received
        }  # fmt: skip


class EngineMachine(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.log, self.store, self.oracle = ScriptedLog(PARTITION), MortalStore(), Oracle()
        self.log.recorded_at = T0 + 30 * 24 * 60 * MINUTE
        self.log.own = True
        self.numbers, self.tokens = count(), count()
        self.clock, self.minute = 1000.0, 0.0
        self.revision, self.book = 1, compile_rulebook(BOOKS[0], 1)
        self.sent: list[bytes] = []
        #: What the receiver has got; and store and oracle as they were at each rest that the store may be set back to.
        self.received: dict[str, str | None] = {}
        self.durable: list[Any] = []
        self.lane: Lane | None = None
        self._run(self._start())
        self._rest()

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self._run(self._close())
            self.runner.close()

    # --- driving

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def _environment(self) -> LaneEnvironment:
        async def refresh() -> None:
            pass

        return LaneEnvironment(
            store=self.store, rulebook=lambda: self.book, refresh_rulebook=refresh, policy=POLICY,
            owner=f"worker-{next(self.numbers)}", new_token=lambda: f"token-{next(self.tokens)}",
            random=lambda: -0.2499, monotonic=lambda: self.clock, wall_clock=lambda: int(self.clock * 1000),
            metrics=Metrics(), cache=VisitorCache(2), idle_check_s=0.002,
        )  # fmt: skip

    async def _start(self) -> None:
        self.lane = Lane(PARTITION, self._environment(), look_up=self.log.look_up, seek=self.log.seek)
        self.log.lane = self.lane
        self.task = asyncio.create_task(self._live(self.lane))

    async def _live(self, lane: Lane) -> None:
        try:
            await lane.run()
        except Killed:
            async with self.store.changed:
                self.store.changed.notify_all()

    async def _close(self) -> None:
        assert self.lane is not None
        if not self.task.done():
            await self.lane.close()
        await self.task

    def _rest(self) -> None:
        """Let the lane come to rest, in a new life if it was killed; then compare."""
        self._run(self._come_to_rest())
        self.oracle.received = frozenset(self.received)
        self.oracle.evaluate(self.log, self.book)
        self._compare()
        self.durable.append((copy.deepcopy(self.store._partitions), copy.deepcopy(self.oracle), self.clock))

    async def _come_to_rest(self) -> None:
        async with asyncio.timeout(10):
            while not self._rests():
                if self.task.done():
                    await self._start()
                await asyncio.sleep(0)

    def _rests(self) -> bool:
        fence, claim = self.store._partitions[PARTITION].fence, self.lane._claim if self.lane else None
        if self.task.done() or claim is None or claim.token != fence.token or not claim.is_proven:
            return claim is not None and not self.task.done() and self.log.end == 0 and claim.token == fence.token
        assert self.lane is not None
        return claim.next == self.log.end and not self.lane._queue and not self.lane._time_is_up()

    def _compare(self) -> None:
        part = self.store._partitions[PARTITION]
        assert self.lane is not None
        assert self.lane.halted == ""
        assert part.fence.offset == self.log.end - 1
        assert part.fence.stream_time == self.oracle.stream_time
        assert part.visitors == {id_: encode_visitor(one) for id_, one in self.oracle.visitors.items()}
        waiting = {id_: one.next_due for id_, one in self.oracle.visitors.items() if one.next_due is not None}
        assert part.timers == waiting
        assert not part.to_sweep
        held = {id_: one.body for id_, one in part.owed.items()} | self.received
        assert held == {id_: one.body for id_, one in self.oracle.owed.items()}

    # --- steps

    def _append(self, *values: bytes) -> None:
        self.sent.extend(values)
        self._run(self._hand_in(values))

    async def _hand_in(self, values: tuple[bytes, ...]) -> None:
        self.log.append(*values)

    @rule(data=st.data(), number=st.integers(1, 4))
    def events(self, data: st.DataObject, number: int) -> None:
        values = []
        for _ in range(number):
            self.minute += data.draw(st.sampled_from((0, 0.5, 7, 40)))
            back = data.draw(st.sampled_from((0, 0, 0, 3, 25, 300)))
            moment = datetime.fromtimestamp((T0 + (self.minute - back) * MINUTE) / 1000, UTC).isoformat()
            visitor, name = data.draw(st.sampled_from(VISITORS)), data.draw(st.sampled_from(NAMES))
            values.append(event(visitor, name, timestamp=moment, eventId=f"e{next(self.numbers)}"))
        self._append(*values)
        self._rest()

    @rule(visitor=st.sampled_from(VISITORS), calls=st.integers(0, 6), after=st.booleans())
    def erasure(self, visitor: str, calls: int, after: bool) -> None:
        """Between two events of the visitor, in one batch or not, and whoever dies over it."""
        self.store.calls_left, self.store.after = calls, after
        now = datetime.fromtimestamp((T0 + self.minute * MINUTE) / 1000, UTC).isoformat()
        names = ("order", "added", VISITOR_ERASED, "bought", "order")
        self._append(*[event(visitor, name, timestamp=now, eventId=f"e{next(self.numbers)}") for name in names])
        self._rest()
        self.store.calls_left = None

    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        if self.sent:
            self._append(data.draw(st.sampled_from(self.sent)))
            self._rest()

    @rule(data=st.data(), calls=st.integers(0, 5), after=st.booleans())
    def crash(self, data: st.DataObject, calls: int, after: bool) -> None:
        self.store.calls_left, self.store.after = calls, after
        self.events(data, 2)
        self.store.calls_left = None

    @rule()
    def rebalance(self) -> None:
        self._run(self._close())
        self._run(self._start())
        self._rest()

    @rule(data=st.data())
    def zombie(self, data: st.DataObject) -> None:
        """A worker that was taken for dead goes on with the records that another one has evaluated since."""
        dead, its_task = self.lane, self.task
        assert dead is not None
        end = self.log.end
        self.log.lane = None
        self._run(self._freeze(dead))
        self._run(self._start())
        self._rest()
        self.events(data, 2)
        self._run(self._wake(dead, its_task, end))
        self._rest()

    async def _freeze(self, lane: Lane) -> None:
        """From now on it looks at nothing by itself."""
        lane._env = replace(lane._env, idle_check_s=3600.0)
        lane._arrived.set()
        while lane._arrived.is_set():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)

    async def _wake(self, lane: Lane, task: asyncio.Task[None], end: int) -> None:
        claim = lane._claim
        lane.offer([self.log.record(end)])
        async with asyncio.timeout(10):
            # Until it has found out that it lost the partition, or has taken what it was given for its own.
            while lane._claim is claim and claim is not None and claim.next <= end:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await lane.close()
        await task

    @rule(data=st.data())
    def store_loses_its_tail(self, data: st.DataObject) -> None:
        """Back to how it was at some rest since the last dispatch, which had waited until all was durable."""
        number = data.draw(st.integers(0, len(self.durable) - 1))
        self.store._partitions, self.oracle, _ = copy.deepcopy(self.durable[number])
        del self.durable[number + 1 :]
        self._rest()

    @rule(number=st.integers(0, len(BOOKS) - 1))
    def definitions_change(self, number: int) -> None:
        self.revision += 1
        self.book = compile_rulebook(BOOKS[number], self.revision)

    @rule(minutes=st.sampled_from((0.5, 4, 6, 31)))
    def time_passes(self, minutes: float) -> None:
        """Nothing comes for a while, and the lane is told so."""
        self.clock += minutes * 60
        self._run(self._tell_quiet())
        self._run(self._come_to_rest())
        self.oracle.pass_time(self.store._partitions[PARTITION].fence.stream_time, self.book)
        self._rest()

    async def _tell_quiet(self) -> None:
        assert self.lane is not None
        self.lane.log_ended(self.log.end, self.clock)

    @rule(data=st.data())
    def dispatch(self, data: st.DataObject) -> None:
        """Send what is owed, once all of it is durable; some acknowledgements are lost, some repeat."""
        self._run(self._dispatch(data.draw(st.booleans())))
        self.durable.clear()
        self._rest()

    async def _dispatch(self, is_acknowledged: bool) -> None:
        for owed in await self.store.owed(PARTITION, limit=1000):
            assert self.received.setdefault(owed.id, owed.body) == owed.body
            if is_acknowledged:
                await self.store.ack(PARTITION, [owed], now=0)


def run(steps: int, *, derandomize: bool) -> None:
    """Run about ``steps`` steps.

    Raises:
        AssertionError: the store and the oracle differ; the steps are printed.
    """
    per_run = 50
    run_state_machine_as_test(
        EngineMachine,
        settings=settings(
            max_examples=max(1, steps // per_run), stateful_step_count=per_run, deadline=None, database=None,
            derandomize=derandomize, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    configure_logging("error", "text")
    given = parser.parse_args()
    # In portions: what hypothesis remembers of one run makes its later examples slow.
    for _ in track(range(0, given.steps, _PORTION), "driving the lane"):
        run(min(_PORTION, given.steps), derandomize=False)
    print(f"{given.steps:,} steps, 0 differences")

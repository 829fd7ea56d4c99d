"""Timers move through the same compare-and-set as events; the clock counts only while no record waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from test_pipeline import environment, owed_ids, running, visitor

from actionmap.catalog.compile import compile_rulebook
from actionmap.errors import Unreachable
from actionmap.pipeline import Lane
from actionmap.store.protocols import Applied, Commit
from support import PARTITION, T0, ScriptedLog, WatchedStore, definitions, event, rules

MINUTE = 60_000
ABSENCE = {"after": {"event": "added"}, "of": {"event": "bought"}, "for": "30m"}


def book(**changes: Any) -> Any:
    """Three maps: 30 minutes without ``bought`` after ``added``, five minutes after ``visit``, and each ``order``."""
    written = rules()
    written[3]["name"] = "each-order"
    written[4].update({"activation": {"type": "delay", "delaySeconds": 300}, "frequency": "every"})
    written.append({"kind": "ActionMap", "name": "abandoned", "trigger": {"absence": ABSENCE},
                    "frequency": "every", "action": {"webhook": "tell-shop"}} | changes)  # fmt: skip
    return compile_rulebook(definitions(written), 1)


class Clocks:
    """A monotonic and a wall clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = T0

    def forward(self, minutes: float) -> None:
        self.seconds += minutes * 60
        self.wall += int(minutes * MINUTE)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def log() -> ScriptedLog:
    """Its records came a day later, so that no event time is taken for a wrong clock."""
    log = ScriptedLog()
    log.recorded_at = T0 + 24 * 60 * MINUTE
    return log


def at(minutes: float) -> str:
    return datetime.fromtimestamp((T0 + minutes * MINUTE) / 1000, UTC).isoformat()


@asynccontextmanager
async def lane_of(store: WatchedStore, log: ScriptedLog, clocks: Clocks, **given: Any) -> AsyncIterator[Lane]:
    rulebook = book()
    usual: dict[str, Any] = {"rulebook": lambda: rulebook}
    env = environment(
        store, monotonic=lambda: clocks.seconds, wall_clock=lambda: clocks.wall, **{**usual, **given}
    )  # fmt: skip
    async with running(env, log) as lane:
        yield lane


async def fired(store: WatchedStore) -> list[tuple[str, int]]:
    """Map and minute of what is owed."""
    owed = await store.owed(PARTITION, limit=1000)
    return sorted((one.action_map, (one.at - T0) // MINUTE) for one in owed)


async def timers_run(store: WatchedStore) -> None:
    await store.until(lambda: not store._partitions[PARTITION].timers)


async def test_an_absence_fires_when_an_event_of_another_visitor_moves_stream_time_past_its_due(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks):
        await store.evaluated(log.append(event(name="added", timestamp=at(0)), event("w", "x", timestamp=at(29))))
        assert await fired(store) == []
        await store.evaluated(log.append(event("w", "x", timestamp=at(31)), event(name="bought", timestamp=at(31))))
        assert await fired(store) == [("abandoned", 30)]
        assert store._partitions[PARTITION].timers == {}


async def test_the_cancelling_event_cancels_up_to_the_due_time_and_not_after(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks):
        log.append(event("a", "added", timestamp=at(0)), event("a", "bought", timestamp=at(30)))
        await store.evaluated(log.append(event("w", "x", timestamp=at(60))))
        assert await fired(store) == []
        log.append(event("b", "added", timestamp=at(60)), event("b", "bought", timestamp=at(90.1)))
        await store.evaluated(log.append(event("w", "x", timestamp=at(120))))
        assert await fired(store) == [("abandoned", 90)]


async def test_while_the_log_is_quiet_the_clock_makes_timers_due_and_what_it_did_is_in_the_fence(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks) as lane:
        last = log.append(event(name="visit", timestamp=at(0)))
        await store.evaluated(last)
        clocks.forward(4.9)
        lane.log_ended(log.end, clocks.seconds)
        assert await fired(store) == []
        clocks.forward(0.2)
        lane.log_ended(log.end, clocks.seconds)
        await timers_run(store)
        assert await fired(store) == [("first-visit", 5)]
        fence = await store.fence(PARTITION)
        assert fence.offset == last
        assert fence.stream_time >= T0 + 5 * MINUTE
        assert fence.stream_time_at == pytest.approx(clocks.wall, abs=10)
        assert lane.position == log.end


async def test_the_clock_counts_only_as_long_as_the_log_is_known_to_hold_nothing_else(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks) as lane:
        await store.evaluated(log.append(event(name="added", timestamp=at(0))))
        clocks.forward(45)
        lane.log_ended(log.end + 1, clocks.seconds)  # one more record waits in the log: what if it cancels?
        await store.evaluated(log.append(event(name="bought", timestamp=at(20))))
        lane.log_ended(log.end, clocks.seconds)
        await store.until(lambda: store._partitions[PARTITION].fence.stream_time >= T0 + 45 * MINUTE)
        assert await fired(store) == []


async def test_a_backlog_after_an_outage_never_fires_an_absence_whose_cancelling_event_waits_in_it(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks):
        await store.evaluated(log.append(event(name="added", timestamp=at(0)), event("w", "added", timestamp=at(0))))
    # Nobody works for two hours, in which both visitors did more.
    clocks.forward(120)
    log.append(event("x", "x", timestamp=at(10)), event(name="bought", timestamp=at(20)))
    async with lane_of(store, log, clocks) as lane:
        await store.evaluated(log.end - 1)
        assert await fired(store) == []
        # Caught up, downtime counts: the other one is due by now.
        lane.log_ended(log.end, clocks.seconds + 1)
        await timers_run(store)
        assert await fired(store) == [("abandoned", 30)]


async def test_setting_the_machines_clock_fires_no_timer_early(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks) as lane:
        await store.evaluated(log.append(event(name="added", timestamp=at(0))))
        clocks.wall += 60 * MINUTE
        clocks.seconds += 60
        lane.log_ended(log.end, clocks.seconds)
        # It stores that a minute has passed, and no more.
        await store.until(lambda: store._partitions[PARTITION].fence.stream_time >= T0 + MINUTE)
        assert (await store.fence(PARTITION)).stream_time == T0 + MINUTE
        assert await fired(store) == []
        clocks.wall -= 120 * MINUTE
        clocks.forward(29)
        lane.log_ended(log.end, clocks.seconds)
        await timers_run(store)


async def test_a_timer_whose_answer_was_lost_fires_once(log: ScriptedLog, clocks: Clocks) -> None:
    class LosesAnswers(WatchedStore):
        async def apply(self, partition: int, commit: Commit) -> Applied:
            done = await super().apply(partition, commit)
            if commit.deliveries and len(self.statuses) < 5:
                raise Unreachable("cut off")
            return done

    store = LosesAnswers()
    async with lane_of(store, log, clocks):
        await store.evaluated(log.append(event(name="added", timestamp=at(0)), event("w", "x", timestamp=at(31))))
        await store.evaluated(log.append(event("w", "x", timestamp=at(31))))
    assert await fired(store) == [("abandoned", 30)]
    assert (await visitor(store)).waits == []


async def test_a_worker_whose_fence_was_taken_fires_no_timer(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks, random=lambda: 1000.0) as lane:
        await store.evaluated(log.append(event(name="visit", timestamp=at(0))))
        await store.claim(PARTITION, owner="other", token="theirs", cluster=log.cluster, partitions=log.partitions)
        clocks.forward(10)
        lane.log_ended(log.end, clocks.seconds)
        await store.until(lambda: store.statuses[-1] == "mismatch")
        assert await fired(store) == []
        assert lane.position is None


async def test_more_timers_than_one_batch_takes_up_all_fire_before_the_event_that_came_after_them(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks):
        log.append(*[event(f"v{n}", "added", timestamp=at(n / 1000)) for n in range(1300)])
        await store.evaluated(log.append(event("v7", "bought", timestamp=at(40))))
        assert len(await owed_ids(store)) == 1300 - 300  # the list of owed is cut at 1,000
        assert await store.outbox_size(PARTITION) == 1300
        assert store._partitions[PARTITION].timers == {}
        assert len(set(store.statuses)) == 1


async def test_timers_that_are_all_due_at_once_fire_though_one_batch_cannot_hold_them(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks) as lane:
        await store.evaluated(log.append(*[event(f"v{n}", "visit", timestamp=at(0)) for n in range(1200)]))
        clocks.forward(6)
        lane.log_ended(log.end, clocks.seconds)
        await timers_run(store)
        assert await store.outbox_size(PARTITION) == 1200


async def test_waits_survive_a_restart_and_a_map_that_is_gone_fires_nothing(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    async with lane_of(store, log, clocks):
        await store.evaluated(log.append(event("a", "added", timestamp=at(0)), event("b", "visit", timestamp=at(0))))
    without_delay = compile_rulebook(definitions([*rules()[:4]]), 2)
    async with lane_of(store, log, clocks, rulebook=lambda: without_delay):
        await store.evaluated(log.append(event("w", "x", timestamp=at(60))))
    assert await fired(store) == []
    assert (await visitor(store, "b")).waits == []


async def test_delays_of_one_session_share_its_cap_though_it_has_ended_when_they_fire(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    written = rules()
    written[4]["activation"] = {"type": "delay", "delaySeconds": 3600}
    capped = compile_rulebook(definitions(written), 1)
    async with lane_of(store, log, clocks, rulebook=lambda: capped):
        log.append(*[event(name="visit", timestamp=at(minute)) for minute in (0, 5, 40, 45)])
        await store.evaluated(log.append(event("w", "x", timestamp=at(200))))
    assert await fired(store) == [("first-visit", 60), ("first-visit", 100)]
    after = await visitor(store)
    assert (after.waits, after.ended_sessions) == ([], {})


async def test_two_waits_of_a_visitor_fire_in_the_order_in_which_they_are_due(
    store: WatchedStore, log: ScriptedLog, clocks: Clocks
) -> None:
    told: list[str] = []
    async with lane_of(store, log, clocks, on_decision=lambda one, done: told.append(f"{one.name} {done.outcome}")):
        log.append(event(name="added", timestamp=at(0)), event(name="visit", timestamp=at(1)))
        await store.evaluated(log.append(event("w", "x", timestamp=at(50))))
    assert told == ["added judged", "visit judged", "visit timer", "added timer", "x judged"]

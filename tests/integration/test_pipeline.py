"""A lane from claim to release, on the in-memory store and a scripted log."""

import asyncio
import copy
import dataclasses
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.rulebook import CompiledSegment, Rulebook
from actionmap.decide import Policy
from actionmap.environment import LaneEnvironment
from actionmap.errors import Unreachable
from actionmap.pipeline import QUEUE_RECORDS, Lane
from actionmap.store.cache import VisitorCache
from actionmap.store.protocols import Applied, Commit, Fence
from actionmap.telemetry import Metrics
from actionmap.visitor import Visitor, decode_visitor
from support import PARTITION, PATIENCE_S, T0, ScriptedLog, WatchedStore, definitions, event, rules

_tokens = count()


def rulebook(revision: int = 1, **changes: Any) -> Rulebook:
    return dataclasses.replace(compile_rulebook(definitions(rules()), revision), **changes)


def environment(store: WatchedStore, **given: Any) -> LaneEnvironment:
    book = rulebook()

    async def refresh() -> None:
        pass

    usual: dict[str, Any] = {
        "rulebook": lambda: book,
        "refresh_rulebook": refresh,
        "policy": Policy(),
        "owner": "me",
        "new_token": lambda: f"token-{next(_tokens)}",
        "random": lambda: 0.0,
        "monotonic": lambda: 0.0,
        "wall_clock": lambda: T0,
        "metrics": Metrics(),
        "cache": VisitorCache(1000),
        "idle_check_s": 3600.0,
    }
    return LaneEnvironment(store=store, **{**usual, **given})


@asynccontextmanager
async def running(env: LaneEnvironment, log: ScriptedLog) -> AsyncIterator[Lane]:
    lane = Lane(log.partition, env, look_up=log.look_up, seek=log.seek)
    log.lane = lane
    task = asyncio.create_task(lane.run())
    try:
        yield lane
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await lane.close()
            await task


async def visitor(store: WatchedStore, id_: str = "v") -> Visitor:
    (stored,) = await store.load(PARTITION, [id_])
    assert stored is not None
    return decode_visitor(stored)


async def reasons(store: WatchedStore) -> dict[str, str]:
    return {letter.id: letter.reason for letter in await store.dead_letters(PARTITION, limit=1000)}


async def owed_ids(store: WatchedStore) -> set[str]:
    return {delivery.id for delivery in await store.owed(PARTITION, limit=1000)}


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def log() -> ScriptedLog:
    return ScriptedLog()


async def test_a_batch_moves_visitor_outbox_and_fence_together(store: WatchedStore, log: ScriptedLog) -> None:
    log.append(event(), event(attributes={"n": 7}))
    async with running(environment(store), log) as lane:
        await store.evaluated(1)
        assert store.statuses == ["ok"]
        assert (await visitor(store)).event_count == 2
        assert [json.loads(owed.body or "")["n"] for owed in await store.owed(PARTITION, limit=9)] == [-1, 7]
        fence = await store.fence(PARTITION)
        assert (fence.offset, fence.owner, fence.cluster, fence.partitions) == (1, "me", "cluster-1", 8)
        assert fence.stream_time == log.record(1).timestamp
        assert lane.position == 2


async def test_a_batch_that_owes_too_much_goes_into_the_store_in_parts(store: WatchedStore, log: ScriptedLog) -> None:
    written = rules()
    written[2]["mappings"]["visitor"] = {"lookup": "visitor.traits.long"}
    book = compile_rulebook(definitions(written))
    log.append(event(traits={"long": "x" * 30_000}), *[event(attributes={"n": n}) for n in range(1, 300)])

    async with running(environment(store, rulebook=lambda: book), log):
        await store.evaluated(299)
        owed = await store.owed(PARTITION, limit=1000)
        assert [json.loads(one.body or "")["n"] for one in owed] == [-1, *range(1, 300)]
        assert (await visitor(store)).event_count == 300
        assert len(store.statuses) > 2


POISON: dict[str, bytes | None] = {
    "empty": None,
    "malformed-json": b'{"eventName": "order", ',
    "too-large": event(attributes={"text": "x" * 33_000}),
    "too-deep": b'{"eventName": "order", "visitorId": "v", "attributes": {"a": ' + b"[" * 16 + b"]" * 16 + b"}}",
    "not-utf-8": b'{"eventName": "order", "visitorId": "\xff"}',
    "reserved-event": event(name="webhook_succeeded"),
    "not-an-object": b"[]",
    "invalid-field": b'{"eventName": "order"}',
}


@pytest.mark.parametrize("reason", POISON)
async def test_a_record_that_is_no_event_becomes_a_dead_letter_and_the_partition_goes_on(
    reason: str, store: WatchedStore, log: ScriptedLog
) -> None:
    log.append(event(), POISON[reason], event(), key=b"k")
    env = environment(store)
    async with running(env, log):
        await store.evaluated(2)
    assert await reasons(store) == {"events/3/1": reason}
    (letter,) = await store.dead_letters(PARTITION, limit=9)
    assert (letter.kind, letter.key, letter.at) == ("record", "k", log.record(1).timestamp)
    assert letter.detail
    assert (await visitor(store)).event_count == 2
    labels = {"kind": "record", "reason": reason}
    assert env.metrics.registry.get_sample_value("actionmap_dead_letters_total", labels) == 1


async def test_no_bytes_whatever_stop_a_partition(store: WatchedStore, log: ScriptedLog) -> None:
    dice = random.Random(20261121)
    good = event(attributes={"a": {"b": [1, 2.5, None, "ü"]}}, page={"url": "https://x.example/?a#b"}, unknown=1)
    values: list[bytes | None] = []
    for _ in range(600):
        broken = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            broken[dice.randrange(len(broken))] = dice.choice(b'{}[]",:\\u0dfe\xff\x00\xed19e-')
        values.append(bytes(broken))
    values += [
        b'{"eventName": "order", "visitorId": "v", "\xff": 1}',
        b'{"eventName": "order", "visitorId": "v", "attributes": {"n": 123456789012345678901234567890}}',
        event(timestamp="0001-01-01T00:00:00+14:00"),
        event(timestamp="9999-12-31T23:59:59Z"),
        event(page={"url": "http://[::1"}, referrerUrl="http://[", userAgent="\u0000"),
        event("v\n{e9}\u0000"),
    ]
    log.append(*values, event("last"))
    async with running(environment(store), log) as lane:
        await store.evaluated(log.end - 1)
        assert lane.halted == ""
    assert (await visitor(store, "last")).event_count == 1


async def test_an_event_whose_evaluation_fails_becomes_a_dead_letter(store: WatchedStore, log: ScriptedLog) -> None:
    def fails_for_one(scope: Any) -> bool:
        if scope.visitor.id == "poison":
            raise ZeroDivisionError("what nobody thought of")
        return False

    book = rulebook(segments=(CompiledSegment("odd", fails_for_one, None, in_session=False),))
    log.append(event("poison"), event("v"), event("poison"))
    async with running(environment(store, rulebook=lambda: book), log):
        await store.evaluated(2)
    assert await reasons(store) == {"events/3/0": "evaluation-error", "events/3/2": "evaluation-error"}
    assert "what nobody thought of" in (await store.dead_letters(PARTITION, limit=1))[0].detail
    assert await store.load(PARTITION, ["poison"]) == [None]
    assert (await visitor(store)).event_count == 1


class LosesReplies(WatchedStore):
    """Applies the first ``lost`` commits and then does not answer; or, not ``applies``, does neither."""

    def __init__(self, lost: int, *, applies: bool) -> None:
        super().__init__()
        self.lost, self.applies = lost, applies
        self.sent: list[Commit] = []

    async def apply(self, partition: int, commit: Commit) -> Applied:
        self.sent.append(commit)
        if self.lost:
            self.lost -= 1
            if self.applies:
                await super().apply(partition, commit)
            raise Unreachable("cut off")
        return await super().apply(partition, commit)


@pytest.mark.parametrize("applies", [True, False])
async def test_a_commit_whose_reply_is_lost_is_applied_once(applies: bool, log: ScriptedLog) -> None:
    store = LosesReplies(2, applies=applies)
    log.append(event())
    async with running(environment(store), log) as lane:
        await store.until(lambda: len(store.sent) == 3 and store.statuses[-1:] == ["ok"])
        last = log.append(event())
        await store.evaluated(last)
        assert lane.position == 2
    assert store.sent[0] == store.sent[1] == store.sent[2]
    assert (await visitor(store)).event_count == 2
    assert len(await owed_ids(store)) == 2
    assert len(log.seeks) == 1


async def test_a_store_that_lost_its_tail_is_brought_back_to_the_same_deliveries(
    store: WatchedStore, log: ScriptedLog
) -> None:
    async with running(environment(store), log):
        await store.evaluated(log.append(event(name="visit")))
        before = copy.deepcopy(store._partitions)
        await store.evaluated(log.append(event(), event("w"), event(name="visit")))
        owed, last_fence = await owed_ids(store), await store.fence(PARTITION)

        store._partitions = before
        await store.evaluated(log.append(event()))

        assert log.seeks == [0, 0]  # the record at the fence comes again, to be compared
        assert "mismatch" in store.statuses
        assert owed < await owed_ids(store)
        assert len(await owed_ids(store)) == len(owed) + 1
        assert (await visitor(store)).event_count == 4
        assert (await store.fence(PARTITION)).stream_time > last_fence.stream_time


async def test_a_tail_lost_while_no_events_come_is_noticed_too(store: WatchedStore, log: ScriptedLog) -> None:
    async with running(environment(store, idle_check_s=0.01), log):
        await store.evaluated(log.append(event()))
        before = copy.deepcopy(store._partitions)
        await store.evaluated(log.append(event()))
        owed = await owed_ids(store)

        store._partitions = before
        await store.evaluated(1)

        assert await owed_ids(store) == owed


async def test_a_fence_taken_by_another_worker_is_not_written_to_and_the_next_claim_goes_on_from_it(
    store: WatchedStore, log: ScriptedLog
) -> None:
    theirs = ScriptedLog()
    async with running(environment(store), log):
        theirs.append(event())
        await store.evaluated(log.append(event()))
        async with running(environment(store, owner="other"), theirs):
            await store.evaluated(theirs.append(event()))
            assert (await store.fence(PARTITION)).owner == "other"
        log.append(event())
        await store.until(lambda: store.statuses[-1] == "mismatch")
        assert (await visitor(store)).event_count == 2
        assert (await store.fence(PARTITION)).owner == "other"

        await store.evaluated(log.append(event()))

        assert log.seeks == [0, 1]
        assert (await store.fence(PARTITION)).owner == "me"
    assert (await visitor(store)).event_count == 3
    assert len(await owed_ids(store)) == 3


async def test_a_fence_judged_by_newer_rules_makes_the_lane_read_them_and_decide_again(
    store: WatchedStore, log: ScriptedLog
) -> None:
    store.set_fence(Fence(offset=-1, token="t", revision=7))
    books = [rulebook(6), rulebook(7, maps=(), index=compile_rulebook({}).index)]
    refreshed = 0

    async def refresh() -> None:
        nonlocal refreshed
        refreshed += 1

    log.append(event())
    async with running(environment(store, rulebook=lambda: books[min(refreshed, 1)], refresh_rulebook=refresh), log):
        await store.evaluated(0)
    assert store.statuses == ["rules-old", "ok"]
    assert refreshed == 1
    assert await owed_ids(store) == set()
    assert (await visitor(store)).event_count == 1
    assert (await store.fence(PARTITION)).revision == 7


async def test_rules_that_change_while_a_batch_is_decided_are_those_of_the_next_batch(
    store: WatchedStore, log: ScriptedLog
) -> None:
    seen: list[str] = []

    def sees(scope: Any) -> bool:
        seen.append(scope.visitor.id)  # from the first record of the batch on there are newer rules
        return False

    books = [rulebook(6, segments=(CompiledSegment("odd", sees, None, in_session=False),)),
             rulebook(7, maps=(), index=compile_rulebook({}).index)]  # fmt: skip
    log.append(event(), event(), event())
    async with running(environment(store, rulebook=lambda: books[1 if seen else 0]), log):
        await store.evaluated(2)
        assert (len(seen), store.statuses) == (3, ["ok"])
        assert (len(await owed_ids(store)), (await store.fence(PARTITION)).revision) == (3, 6)
        await store.evaluated(log.append(event()))
    assert (len(await owed_ids(store)), (await store.fence(PARTITION)).revision) == (3, 7)


async def test_a_full_outbox_holds_the_partition_until_there_is_room(log: ScriptedLog) -> None:
    store = WatchedStore(outbox_cap=1)
    async with running(environment(store), log) as lane:
        await store.evaluated(log.append(event()))
        log.append(event())
        await store.until(lambda: store.statuses.count("full") >= 2)
        assert (await store.fence(PARTITION)).offset == 0
        assert (await visitor(store)).event_count == 1
        assert lane.position == 1

        (owed,) = await store.owed(PARTITION, limit=9)
        await store.ack(PARTITION, [owed], now=0)
        await store.evaluated(1)
    assert (await visitor(store)).event_count == 2


async def test_a_batch_that_owes_more_than_the_outbox_takes_does_not_wait_for_ever(log: ScriptedLog) -> None:
    store = WatchedStore(outbox_cap=2)
    log.append(*[event()] * 5)
    async with running(environment(store), log):
        await store.evaluated(4)
    assert len(await owed_ids(store)) == 5


async def test_records_that_come_before_the_claim_are_dropped(store: WatchedStore, log: ScriptedLog) -> None:
    log.append(event(), event())
    looked = asyncio.Event()
    go_on = asyncio.Event()
    look_up = log.look_up

    async def slow_look_up() -> Any:
        looked.set()
        await go_on.wait()
        return await look_up()

    log.look_up = slow_look_up  # type: ignore[method-assign]
    async with running(environment(store), log) as lane:
        await looked.wait()
        assert not lane.wants_records
        assert lane.position is None
        lane.offer([log.record(1)])
        go_on.set()
        await store.evaluated(1)
    assert (await visitor(store)).event_count == 2
    assert log.seeks == [0]


async def test_after_a_rewind_what_is_queued_is_dropped_and_comes_again_from_the_fence(
    store: WatchedStore, log: ScriptedLog
) -> None:
    async with running(environment(store), log) as lane:
        await store.evaluated(log.append(event()))
        log._sent += 1
        log.append(event("v", attributes={"n": 1}), event("v", attributes={"n": 2}))  # the first one never comes
        lane.rewind()
        await store.evaluated(2)
    assert log.seeks == [0, 0]
    assert (await visitor(store)).event_count == 3
    assert len(await owed_ids(store)) == 3


async def test_records_that_come_twice_are_evaluated_once(store: WatchedStore, log: ScriptedLog) -> None:
    async with running(environment(store), log) as lane:
        # More than the event ids that a visitor remembers.
        await store.evaluated(log.append(*[event()] * 100))
        lane.offer([log.record(offset) for offset in range(100)])
        await store.evaluated(log.append(event()))
    assert (await visitor(store)).event_count == 101


def _state_lost(store: WatchedStore, log: ScriptedLog) -> None:
    log.committed = 5


def _truncated(store: WatchedStore, log: ScriptedLog) -> None:
    store.set_fence(Fence(offset=9, token="t", cluster=log.cluster, partitions=log.partitions))


def _retention(store: WatchedStore, log: ScriptedLog) -> None:
    store.set_fence(Fence(offset=9, token="t", cluster=log.cluster, partitions=log.partitions))
    log.begin = 20


def _recreated(store: WatchedStore, log: ScriptedLog) -> None:
    store.set_fence(Fence(offset=0, token="t", cluster="cluster-0", partitions=log.partitions))


def _repartitioned(store: WatchedStore, log: ScriptedLog) -> None:
    store.set_fence(Fence(offset=0, token="t", cluster=log.cluster, partitions=4))


GAPS = {
    "state lost.*5.*no fence": _state_lost,
    "truncated.*offset 9.*ends at": _truncated,
    "retention passed.*next offset is 10.*begins at 20": _retention,
    "recreated.*cluster-0.*cluster-1": _recreated,
    "partition count changed from 4 to 8": _repartitioned,
}


@pytest.mark.parametrize("why", GAPS)
async def test_a_log_that_does_not_go_on_at_the_fence_stops_that_partition_alone_and_says_why(
    why: str, store: WatchedStore, log: ScriptedLog
) -> None:
    GAPS[why](store, log)
    log.append(event(), event())
    before = await store.fence(PARTITION)
    other = ScriptedLog(PARTITION + 1)
    env = environment(store)
    lane = Lane(PARTITION, env, look_up=log.look_up, seek=log.seek)
    async with running(env, other):
        running_lane = asyncio.create_task(lane.run())
        await store.until(lambda: bool(lane.halted))
        await store.evaluated(other.append(event()), PARTITION + 1)
        assert re.search(why, lane.halted)
        assert "events/3" in lane.halted
        assert not lane.wants_records
        assert lane.position is None
        fence = await store.fence(PARTITION)
        assert replace(fence, halted=None) == before
        assert fence.halted is not None
        assert fence.halted.detail == lane.halted
        assert env.metrics.registry.get_sample_value("actionmap_partitions_halted") == 1
        await lane.close()
        await running_lane
        assert env.metrics.registry.get_sample_value("actionmap_partitions_halted") == 0


#: Where a partition goes on after each gap, when it is told to continue; the log holds two records then.
CONTINUED = dict(zip(GAPS, (2, 2, 20, 0, 1), strict=True))


@pytest.mark.parametrize("why", GAPS)
async def test_told_to_go_on_over_a_gap_a_lane_leaves_out_what_cannot_be_had_and_keeps_the_visitors(
    why: str, store: WatchedStore, log: ScriptedLog
) -> None:
    GAPS[why](store, log)
    log.append(event(), event())
    claimed = asyncio.Event()
    async with running(environment(store, on_gap="continue", on_owed=lambda _: claimed.set()), log) as lane:
        await claimed.wait()
        await store.evaluated(log.append(event()))
        assert log.seeks == [CONTINUED[why]]
        assert lane.halted == ""
    assert (await visitor(store)).event_count == log.end - CONTINUED[why]
    fence = await store.fence(PARTITION)
    assert (fence.cluster, fence.partitions) == (log.cluster, log.partitions)


@pytest.mark.parametrize("why", GAPS)
async def test_a_halted_partition_goes_on_as_a_person_says_without_a_restart(
    why: str, store: WatchedStore, log: ScriptedLog
) -> None:
    GAPS[why](store, log)
    log.append(event(), event())
    claimed = asyncio.Event()
    async with running(environment(store, idle_check_s=0.01, on_owed=lambda _: claimed.set()), log) as lane:
        await store.until(lambda: bool(lane.halted))
        assert await store.resume(PARTITION, "continue")
        await claimed.wait()
        await store.evaluated(log.append(event()))
        assert log.seeks == [CONTINUED[why]]
        assert lane.halted == ""
        assert (await store.fence(PARTITION)).halted is None


async def test_told_to_rebuild_a_partition_forgets_its_visitors_and_evaluates_the_log_from_its_beginning(
    store: WatchedStore, log: ScriptedLog
) -> None:
    store._partitions[PARTITION].visitors["v"] = b'{"layout": 99}'
    log.append(event(), event("w"))
    env = environment(store, idle_check_s=0.01)
    async with running(env, log) as lane:
        await store.until(lambda: bool(lane.halted))
        assert "--policy rebuild" in lane.halted
        await store.resume(PARTITION, "rebuild")
        await store.evaluated(1)
    assert (await visitor(store)).event_count == 1


async def test_a_rebuild_that_a_crash_cut_off_is_begun_again_by_the_next_owner(
    store: WatchedStore, log: ScriptedLog
) -> None:
    async with running(environment(store), log):
        await store.evaluated(log.append(event(), event()))
    await store.forget(PARTITION)
    store._partitions[PARTITION].visitors["v"] = b'{"layout": 99}'  # not all of them were forgotten

    async with running(environment(store), log) as lane:
        await store.evaluated(1)
        assert lane.halted == ""
    assert (await visitor(store)).event_count == 2


async def test_a_topic_recreated_with_more_records_than_before_is_noticed_by_the_record_at_the_fence(
    store: WatchedStore, log: ScriptedLog
) -> None:
    async with running(environment(store), log):
        await store.evaluated(log.append(event(), event()))
    recreated = ScriptedLog()
    recreated.append(*[event(eventId=f"new-{n}") for n in range(5)])

    async with running(environment(store, idle_check_s=0.01), recreated) as lane:
        await store.until(lambda: bool(lane.halted))
        assert "recreated: the record at offset 1 is not the one" in lane.halted
        assert (await visitor(store)).event_count == 2
        await store.resume(PARTITION, "continue")
        await store.evaluated(4)
    assert (await visitor(store)).event_count == 7


async def test_a_log_deleted_exactly_up_to_the_fence_is_gone_on_with(store: WatchedStore, log: ScriptedLog) -> None:
    async with running(environment(store), log):
        await store.evaluated(log.append(event(), event()))
    later = ScriptedLog()
    later.begin = 2
    async with running(environment(store), later) as lane:
        await store.evaluated(later.append(event()))
        assert (lane.halted, later.seeks) == ("", [2])


async def test_a_partition_claimed_but_never_evaluated_is_not_taken_for_lost_state(
    store: WatchedStore, log: ScriptedLog
) -> None:
    log.begin = 100
    claimed = asyncio.Event()
    async with running(environment(store, on_owed=lambda _: claimed.set()), log) as lane:
        await claimed.wait()
        log.committed = lane.position
    assert log.committed == 100
    log.append(event())
    async with running(environment(store), log):
        await store.evaluated(100)


async def test_a_stored_visitor_of_a_newer_version_stops_the_partition_instead_of_being_overwritten(
    store: WatchedStore, log: ScriptedLog
) -> None:
    store._partitions[PARTITION].visitors["v"] = b'{"layout": 99}'
    log.append(event())
    async with running(environment(store), log) as lane:
        await store.until(lambda: bool(lane.halted))
        assert "newer version" in lane.halted
    assert await store.load(PARTITION, ["v"]) == [b'{"layout": 99}']


async def test_a_fault_of_the_store_stops_the_partition_and_is_told(log: ScriptedLog) -> None:
    class Faulty(WatchedStore):
        async def load(self, partition: int, visitor_ids: Any, token: Any = None) -> Any:
            raise TypeError("WRONGTYPE a key holds something else")

    store = Faulty()
    env = environment(store)
    log.append(event())
    async with running(env, log) as lane:
        await store.until(lambda: bool(lane.halted))
        assert "WRONGTYPE" in lane.halted
        assert env.metrics.registry.get_sample_value("actionmap_partitions_halted") == 1


async def test_a_log_that_does_not_show_is_asked_again(store: WatchedStore, log: ScriptedLog) -> None:
    log.troubles.append(Unreachable("away"))
    log.append(event())
    async with running(environment(store), log) as lane:
        await store.evaluated(0)
        assert lane.halted == ""


async def test_events_of_one_visitor_are_decided_in_their_order_over_many_batches(
    store: WatchedStore, log: ScriptedLog
) -> None:
    async with running(environment(store), log):
        for start in range(0, 60, 20):
            numbers = range(start, start + 20)
            last = log.append(*(event(f"v{n % 3}", attributes={"n": n}, traits={"n": n}) for n in numbers))
            await store.evaluated(last)
    owed = await store.owed(PARTITION, limit=100)
    for name in ("v0", "v1", "v2"):
        numbers = [json.loads(delivery.body or "")["n"] for delivery in owed if delivery.visitor_id == name]
        assert numbers == [n for n in range(60) if f"v{n % 3}" == name]
        assert (await visitor(store, name)).traits == {"n": max(numbers)}


async def test_an_event_id_seen_before_changes_nothing(store: WatchedStore, log: ScriptedLog) -> None:
    env = environment(store)
    async with running(env, log):
        await store.evaluated(log.append(event(eventId="a"), event(eventId="a")))
        await store.evaluated(log.append(event(eventId="a"), event(eventId="b")))
    assert (await visitor(store)).event_count == 2
    assert len(await owed_ids(store)) == 2
    assert env.metrics.registry.get_sample_value("actionmap_events_total", {"outcome": "duplicate"}) == 2


class Gated(WatchedStore):
    """Its commits wait for ``gate``."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = asyncio.Event(), asyncio.Event()

    async def apply(self, partition: int, commit: Commit) -> Applied:
        self.entered.set()
        await self.gate.wait()
        return await super().apply(partition, commit)


async def test_closing_waits_for_the_batch_in_hand_and_takes_no_other(log: ScriptedLog) -> None:
    store = Gated()
    told: list[str] = []
    log.append(event(eventId="a"))
    env = environment(store, on_decision=lambda decided, _: told.append(decided.id))
    async with asyncio.timeout(PATIENCE_S), running(env, log) as lane:
        await store.entered.wait()
        log.append(event(eventId="b"))
        closing = asyncio.create_task(lane.close())
        await asyncio.wait([closing], timeout=0)
        assert not closing.done()
        assert told == []
        store.gate.set()
        await closing
        assert lane.position == 1
    assert told == ["a"]
    assert (await store.fence(PARTITION)).offset == 0


async def test_closing_gives_a_batch_up_that_the_store_does_not_take(log: ScriptedLog) -> None:
    store = LosesReplies(10_000, applies=False)
    first = asyncio.Event()
    log.append(event())

    def random_() -> float:
        first.set()
        return 1000.0

    async with running(environment(store, random=random_), log) as lane:
        async with asyncio.timeout(PATIENCE_S):
            await first.wait()
            await lane.close()
        assert lane.position == 0


async def test_a_lane_wants_no_more_records_while_enough_wait(log: ScriptedLog) -> None:
    store = Gated()
    log.append(event())
    async with running(environment(store), log) as lane:
        await store.entered.wait()
        assert lane.wants_records
        log.append(*[event()] * QUEUE_RECORDS)
        assert not lane.wants_records
        store.gate.set()
        await store.evaluated(log.end - 1)
        assert lane.wants_records


async def test_a_claim_asks_for_the_outbox_and_a_batch_without_deliveries_does_not(
    store: WatchedStore, log: ScriptedLog
) -> None:
    asked: list[int] = []
    async with running(environment(store, on_owed=asked.append), log):
        await store.evaluated(log.append(event(name="nothing")))
        assert asked == [PARTITION]
        await store.evaluated(log.append(event()))
    assert asked == [PARTITION, PARTITION]

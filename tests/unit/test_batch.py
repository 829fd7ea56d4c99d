"""A batch ends where its commit would grow too large, and a cache where its visitors would."""

from actionmap.batch import MAX_OWED_BYTES, Batch
from actionmap.decision import Decision, LookedUp, Verdict
from actionmap.delivery import DeadLetter, Delivery
from actionmap.event import MEMOISED_CHARACTERS, Event, Page
from actionmap.store.cache import VisitorCache
from actionmap.telemetry import Metrics
from actionmap.visitor import Visitor

EVENT = Event(id="e", name="a", visitor_id="v", time=5, recorded_at=6)
VISITOR = Visitor("v", 1, 1)


def delivery(body: str) -> Delivery:
    return Delivery(
        id="d", integration="i", webhook="w", action_map="m", visitor_id="v", event_id="e", at=1, owed_at=1,
        method="POST", target="", body=body,
    )  # fmt: skip


def test_a_batch_takes_no_more_records_once_it_owes_too_many_bytes():
    batch = Batch(-1)
    batch.add(EVENT, Decision("judged", VISITOR, deliveries=(delivery("x" * 30_000),)))
    assert not batch.is_full

    while not batch.is_full:
        batch.add(EVENT, Decision("judged", VISITOR, deliveries=(delivery("x" * 30_000),)))

    assert batch.records < MAX_OWED_BYTES // 30_000 + 2


def test_dead_letters_count_as_records_and_as_bytes():
    batch = Batch(-1)
    batch.add_dead(DeadLetter("t/0/1", "record", "malformed-json", "", 1, value="x" * 4096))
    assert (batch.records, batch.owed_bytes > 4096, batch.stream_time) == (1, True, -1)


def test_a_duplicate_counts_as_a_record_and_changes_no_visitor():
    batch = Batch(-1)
    batch.add(EVENT, Decision("duplicate", VISITOR))
    commit = batch.as_commit(expected_token="a", token="b", offset=3, revision=1, stream_time_at=9, fingerprint="f")
    assert (batch.records, list(commit.visitors), list(commit.timers), commit.offset) == (1, [], [], 3)


def test_a_cache_stays_within_visitors_and_within_bytes():
    cache = VisitorCache(2, capacity_bytes=100)
    cache.put(0, [(Visitor("a", 1, 1), 10), (Visitor("b", 1, 1), 10), (Visitor("c", 1, 1), 10)])
    assert (set(cache.get(0, "abc")), cache.size, cache.bytes) == ({"b", "c"}, 2, 20)

    cache.put(0, [(Visitor("b", 1, 1), 95)])
    assert (set(cache.get(0, "abc")), cache.size, cache.bytes) == ({"b"}, 1, 95)

    cache.drop(0)
    assert (cache.size, cache.bytes, cache.get(0, "abc")) == (0, 0, {})


def test_long_texts_are_not_remembered():
    long = Page(url="https://a.example/" + "x" * MEMOISED_CHARACTERS)
    short = Page(url="https://a.example/x")

    assert long.parts == long.parts
    assert long.parts is not long.parts
    assert short.parts is short.parts


def test_lookups_without_a_value_are_counted_by_map_and_field_beside_the_matches_that_made_them():
    batch, metrics = Batch(-1), Metrics()
    fired = Decision("judged", VISITOR, (Verdict("m", "fired"), Verdict("n", "condition-false")),
                     looked_up=(LookedUp("m", "k", ("email", "name")),))  # fmt: skip
    kept_back = Decision(
        "judged", VISITOR, (Verdict("m", "lookup-missing"),), looked_up=(LookedUp("m", "k", ("email",)),)
    )
    for decision in (fired, kept_back, kept_back):
        batch.add(EVENT, decision)
    batch.count(metrics)
    assert metrics.lookups.times == {"m@k": 3, "m@k/email": 3, "m@k/name": 1}
    assert metrics.lookups.visitors == {key: {VISITOR.id} for key in ("m@k", "m@k/email", "m@k/name")}
    assert metrics.registry.get_sample_value("actionmap_missing_lookups_total", {"mapping": "m/email"}) == 3

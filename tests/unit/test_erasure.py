"""An erasure: who hears of it, and that nothing of the visitor goes on."""

import msgspec
import pytest
from msgspec.structs import replace

from actionmap.catalog.compile import compile_rulebook
from actionmap.consume.parse import OWN_HEADER, REPLAY_HEADER, Record, Replay, parse_record, with_headers
from actionmap.decide import Policy, Timeline
from actionmap.errors import Rejected
from actionmap.event import Event
from actionmap.simulate import simulate
from actionmap.store.cache import VisitorCache
from actionmap.visitor import Visitor
from support import T0, definitions, event, rules

MINUTE = 60_000


def book():
    known = {"key": "visitor.traits.crmId", "operator": "exists"}
    absence = {"after": {"event": "added"}, "of": {"event": "bought"}, "for": "30m"}

    def action_map(name, trigger):
        return {"kind": "ActionMap", "name": name, "trigger": trigger, "frequency": "every",
                "action": {"webhook": "tell-shop"}}  # fmt: skip

    return compile_rulebook(definitions([
        *rules(),
        action_map("goodbye", {"event": "visitor_erased"}),
        action_map("forget-lead", {"all": [{"event": "visitor_erased"}, known]}),
        action_map("always", {"key": "visitor.id", "operator": "exists"}),
        action_map("abandoned", {"absence": absence}),
    ]), 1)  # fmt: skip


def happened(name, minute=0, visitor_id="v", **given):
    return Event(f"{name}-{minute}", name, visitor_id, T0 + minute * MINUTE, T0 + minute * MINUTE, **given)


@pytest.fixture
def timeline():
    return Timeline(book(), Policy(), -1, {})


def fired(decision):
    return [one.action_map for one in decision.deliveries]


def test_the_maps_that_name_it_are_judged_by_the_visitor_as_it_was_and_then_it_is_gone(timeline):
    timeline.take(happened("visit", traits={"crmId": 7}))
    decision = timeline.take(happened("visitor_erased", 1))
    assert (decision.outcome, fired(decision)) == ("erased", ["forget-lead", "goodbye"])
    assert timeline.visitors == {}

    again = timeline.take(happened("visit", 2))
    assert (again.visitor.event_count, again.visitor.traits, again.visitor.session_count) == (1, {}, 1)


def test_who_is_not_known_is_erased_all_the_same_and_stays_unknown(timeline):
    assert fired(timeline.take(happened("visitor_erased"))) == ["goodbye"]
    assert timeline.visitors == {}


def test_what_waited_for_the_visitor_never_comes(timeline):
    timeline.take(happened("added"))
    timeline.take(happened("visitor_erased", 1))
    timeline.take(happened("order", 99, "another"))
    assert list(timeline.run_timers(T0 + 100 * MINUTE, T0)) == []


def test_it_is_neither_late_nor_a_duplicate(timeline):
    timeline.take(happened("order", 9_999, "another"))
    known = timeline.take(replace(happened("visit", 9_999), id="same"))
    assert known.outcome == "judged"
    assert timeline.take(replace(happened("visitor_erased"), id="same")).outcome == "erased"
    assert "v" not in timeline.visitors


def test_replayed_for_a_map_that_broke_it_is_judged_by_that_one_and_makes_nobody_known(timeline):
    replayed = replace(happened("visitor_erased"), only_maps=("goodbye",))
    assert fired(timeline.take(replayed)) == ["goodbye"]
    assert timeline.visitors == {}
    # Who has come back since is not erased again.
    timeline.take(happened("visit", 2))
    decision = timeline.take(replayed)
    assert (decision.outcome, fired(decision)) == ("replayed", ["goodbye"])
    assert timeline.visitors["v"].event_count == 1


@pytest.mark.parametrize("header", [(OWN_HEADER, b"1"), (REPLAY_HEADER, msgspec.json.encode(Replay("t/0/1")))])
def test_only_actionmap_itself_erases(header):
    record = Record("t", 0, 1, T0, b"v", event("v", "visitor_erased"))
    assert parse_record(with_headers(record, [header])).event.name == "visitor_erased"
    with pytest.raises(Rejected, match="only actionmap itself"):
        parse_record(record)


def test_a_simulation_takes_it_too():
    lines = [event("v", name, timestamp=f"2026-11-01T10:0{n}:00Z")
             for n, name in enumerate(("added", "visitor_erased", "visit"))]  # fmt: skip
    found = simulate(book(), enumerate(lines, 1), source="f", policy=Policy())
    assert [one.action_map for one in found.deliveries] == ["always", "goodbye", "always", "first-visit"]
    assert found.outcomes == {"judged": 2, "erased": 1}


def test_the_cache_forgets_it_and_knows_its_size():
    cache = VisitorCache(10)
    cache.put(3, [(Visitor("a", 1, 1), 100), (Visitor("b", 1, 1), 50)])
    cache.forget(3, ["a", "nobody"])
    cache.forget(4, ["b"])
    assert (cache.get(3, ["a", "b"]).keys(), cache.size, cache.bytes) == ({"b"}, 1, 50)

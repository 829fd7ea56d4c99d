"""Why a map fired, or did not: what is told is what the decision did, with the value seen and the value expected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import BASE, MINUTE, TEN, after, definitions, event, live, page, reasons

from actionmap.catalog.compile import compile_rulebook
from actionmap.decide import Policy
from actionmap.errors import NotFound, Rejected
from actionmap.event import Event
from actionmap.explain import Explainer, given_event
from trigger_strategies import nested


def explainer(*maps: str) -> Explainer:
    found = definitions(BASE, *maps)
    return Explainer(found, compile_rulebook(found), Policy())


def one(trigger: dict, **rest: object) -> str:
    made = {"kind": "ActionMap", "name": "m", "trigger": trigger, "action": {"webhook": "hello"}} | rest
    return json.dumps(made)


HOT = one({"all": [
    {"event": "page_viewed", "where": [{"key": "event.page.pathname", "operator": "startsWith", "value": "/pricing"}]},
    {"any": [{"key": "visitor.traits.plan", "value": "gold"}, {"key": "session.pageviewCount", "operator": "greaterThan", "value": 9}]},  # noqa: E501
    {"not": {"segment": "staff"}},
]})  # fmt: skip
STAFF = "{kind: Segment, name: staff, when: {key: visitor.traits.staff, value: true}}"


def leaves(step) -> list:
    return [leaf for part in step.parts for leaf in leaves(part)] if step.parts else [step]


def test_each_condition_shows_what_was_seen_and_expected():
    told = explainer(HOT, STAFF).of_event("m", page("https://x.example/about", traits={"staff": True}), None)
    assert [(leaf.path, leaf.passed, leaf.expected, leaf.seen) for leaf in leaves(told.trigger)] == [
        ("trigger.all.0.event", True, "the event is page_viewed", "page_viewed"),
        ("trigger.all.0.where.0", False, "event.page.pathname startsWith '/pricing'", "/about"),
        ("trigger.all.1.any.0", False, "visitor.traits.plan equal 'gold'", None),
        ("trigger.all.1.any.1", False, "session.pageviewCount greaterThan 9", 1),
        ("trigger.all.2.not", True, "is a member of staff", ["staff"]),
    ]
    assert (told.reason, told.short) == ("condition-false", 3)


def test_a_match_shows_every_check_and_every_lookup():
    base = BASE.replace("{lookup: visitor.id}", "{lookup: visitor.traits.name, onMissing: skip}")
    found = definitions(
        base, one({"event": "e"}, endDate="2026-11-21T00:00:00Z", pageUrls={"include": [{"value": "x"}]})
    )
    told = Explainer(found, compile_rulebook(found), Policy()).of_event("m", event("e"), None)
    assert (told.reason, told.detail) == ("outside-dates", "ended at 2026-11-21T00:00:00.000Z")
    assert [check.name for check in told.checks if not check.passed] == ["dates", "pageUrls"]
    [lookup] = told.lookups
    assert (lookup.lookup, lookup.value, lookup.missing, lookup.on_missing) == (
        "visitor.traits.name", None, "is missing", "skip",
    )  # fmt: skip


def test_a_cap_says_when_it_opens_again():
    capped = one({"event": "e"}, frequency={"max": 1, "per": "1h"})
    asked = explainer(capped)
    visitor = after(compile_rulebook(definitions(BASE, capped)), event("e"))
    told = asked.of_event("m", event("e", 10), visitor)
    assert (told.reason, told.detail) == (
        "capped", "this map fired 1 time in 1h; it may again at 2026-11-21T11:00:00.000Z",
    )  # fmt: skip


def test_counts_sequences_and_absences_show_how_far_they_have_come():
    temporal = one({"all": [
        {"count": {"event": "a", "atLeast": 3, "within": "1h"}},
        {"sequence": {"steps": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "1h",
                      "without": {"event": "x"}}},
    ]})  # fmt: skip
    visitor = after(compile_rulebook(definitions(BASE, temporal)), event("a"), event("a", 1))
    told = explainer(temporal).of_event("m", event("b", 2), visitor)
    assert [(leaf.expected, leaf.seen) for leaf in leaves(told.trigger)] == [
        ("at least 3 a within 1h", 2),
        ("a, then b, then c within 1h, without x", "2 of 3 steps"),
    ]
    absence = one({"absence": {"after": {"event": "a"}, "of": {"event": "b"}, "for": "10m"}})
    told = explainer(absence).of_event("m", event("a"), None)
    assert (told.reason, told.trigger.passed) == ("waiting", False)


def test_a_visitor_is_explained_by_its_present_state_and_latest_event():
    sequence = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "within": "1h"}}
    asked = explainer(one(sequence))
    last = event("b", 1, eventId="last")
    visitor = after(compile_rulebook(definitions(BASE, one(sequence))), event("a"), last)
    told = asked.of_visitor("m", visitor, last)
    assert (told.event_id, told.trigger.passed) == ("last", True)
    assert "present state" in told.basis
    # It has fired, so it would not fire again.
    assert told.reason == "capped"


def test_what_is_not_judged_says_so():
    asked = explainer(one({"event": "e"}))
    known = after(compile_rulebook(definitions(BASE)), event("e", 2000, eventId="seen"))
    assert asked.of_event("m", event("e", 2000, eventId="seen"), known).reason == "duplicate"
    assert asked.of_event("m", event("e", 0), known, stream_time=known.last_seen_at).reason == "late"
    assert explainer(one({"event": "e"}, active=False)).of_event("m", event("e"), None).reason == "not-live"
    with pytest.raises(NotFound, match="did you mean 'm'"):
        asked.of_event("mm", event("e"), None)


def test_the_nearest_come_first():
    maps = [one({"all": [{"event": "e"}, *({"key": f"visitor.traits.t{i}", "operator": "exists"} for i in range(n))]},
                name=f"short-{n}") for n in (3, 0, 1)]  # fmt: skip
    found = explainer(*maps).all_of_event(event("e"), None)
    assert [(told.action_map, told.short, told.reason) for told in found] == [
        ("short-0", 0, "fired"), ("short-1", 1, "condition-false"), ("short-3", 3, "condition-false"),
    ]  # fmt: skip


LEAVES = st.sampled_from([
    {"event": "a"}, {"event": "b", "where": [{"key": "event.attributes.n", "operator": "greaterThan", "value": 1}]},
    {"key": "session.eventCount", "operator": "lessThan", "value": 3}, {"segment": "staff"},
    {"segmentEntered": "staff"},
    {"count": {"event": "a", "atLeast": 2, "within": "10m"}},
    {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "within": "session"}},
])  # fmt: skip
TRIGGERS = nested(LEAVES, 5)
EVENTS = st.lists(
    st.builds(lambda name, n, staff: event(name, n, attributes={"n": n}, traits={"staff": staff}),
              st.sampled_from("abc"), st.integers(0, 4), st.booleans()), min_size=1, max_size=4,
)  # fmt: skip


@given(TRIGGERS, EVENTS)
def test_what_is_told_of_an_event_is_what_was_decided(trigger, events):
    asked = explainer(one(trigger, frequency="every"), STAFF)
    *before, last = live(asked._rulebook, *events)
    told = asked.of_event("m", events[-1], before[-1].visitor if before else None)
    fired = reasons(last).get("m") == "fired"
    assert (told.trigger.passed, told.reason == "fired", told.short == 0) == (fired, fired, fired)


def test_what_came_before_goes_by_timers_and_stream_time_as_it_does_live():
    of_group = {"exclusiveGroup": "g", "frequency": {"max": 1, "per": "24h", "scope": "group"}}
    maps = [one({"event": "a"}, name="first", activation={"type": "delay", "delaySeconds": 60}, **of_group),
            one({"event": "b"}, name="second", **of_group)]  # fmt: skip
    asked = explainer(*maps)
    last = event("b", 5)
    assert asked.of_event("second", last, *asked.before(last, [event("a")], None)).reason == "capped"
    late = event("b", -4 * 24 * 60)
    assert asked.of_event("second", late, *asked.before(late, [event("b")], None)).reason == "late"


def test_a_visitor_who_is_waited_for_says_so():
    for activation, until in (
        ({"type": "delay", "delaySeconds": 300}, "10:05:00"),
        ("onNextSession", "the next session"),
    ):
        waits = one({"event": "a"}, activation=activation)
        last = event("a")
        told = explainer(waits).of_visitor("m", after(compile_rulebook(definitions(BASE, waits)), last), last)
        assert (told.reason, until in told.detail) == ("waiting", True)


# --- what a delivery's outcome leads to

AFTER_FIND = one({"all": [
    {"event": "webhook_succeeded", "where": [{"key": "event.attributes.webhook", "value": "find"}]},
    {"key": "visitor.variables.subscriber", "operator": "notExists"},
]}, name="after-find", frequency="every")  # fmt: skip


def outcome(name: str = "webhook_succeeded", **attributes: object) -> Event:
    return given_event({"eventName": name, "visitorId": "v1", "attributes": attributes}, 0, TEN + MINUTE)


def test_a_map_is_explained_for_the_outcome_of_a_delivery_that_is_given():
    asked = explainer(AFTER_FIND)
    visitor = after(asked._rulebook, event("e"))
    told = asked.of_event("after-find", outcome(webhook="find", status=200, subscriber=None), visitor)
    assert (told.reason, told.trigger.passed) == ("fired", True)
    told = asked.of_event("after-find", outcome(webhook="find", status=200, subscriber="s-1"), visitor)
    assert told.reason == "condition-false"
    assert [(leaf.expected, leaf.seen) for leaf in leaves(told.trigger) if not leaf.passed] == [
        ("visitor.variables.subscriber notExists", "s-1")
    ]
    assert asked.of_event("after-find", outcome(webhook="other"), visitor).reason == "condition-false"


def test_an_outcome_among_the_events_before_teaches_its_variables_and_counts_in_nothing():
    asks = one({"all": [{"event": "e"}, {"key": "visitor.variables.subscriber", "value": "s-1"},
                        {"key": "visitor.eventCount", "value": 2}]})  # fmt: skip
    asked, last = explainer(asks), event("e", 2)
    told = asked.of_event("m", last, *asked.before(last, [event("e"), outcome(subscriber="s-1", status=200)], None))
    assert (told.reason, sorted(asked.before(last, [outcome(status=200, a=1)], None)[0].variables)) == ("fired", ["a"])


def test_at_an_outcome_only_maps_that_name_it_are_explained():
    level = one({"key": "visitor.id", "operator": "exists"}, frequency="every")
    asked = explainer(AFTER_FIND, level)
    told = asked.all_of_event(outcome(webhook="find"), None)
    assert [(found.action_map, found.reason) for found in told] == [("after-find", "fired")]
    told = asked.of_event("m", outcome(webhook="find"), None)
    assert (told.reason, told.detail) == (
        "condition-false", "only maps that name webhook_succeeded are judged at it",
    )  # fmt: skip


def test_a_map_of_an_outcome_says_that_the_latest_event_is_none():
    asked, last = explainer(AFTER_FIND), event("e")
    told = asked.of_visitor("after-find", after(asked._rulebook, last), last)
    assert (told.reason, told.detail) == (
        "condition-false",
        "it fires at webhook_succeeded, not at the visitor's latest event; give one as the event to see it",
    )


def test_an_outcome_that_happens_on_a_page_is_none():
    with pytest.raises(Rejected, match="it happens on no page"):
        given_event({"eventName": "webhook_failed", "visitorId": "v1", "page": {"url": "https://x.example"}}, 0, TEN)


# --- what actionmap gives itself

VIP = "{kind: Segment, name: vip, external: true}"
ENTERED = one({"segmentEntered": "vip"}, frequency="every")


@pytest.mark.parametrize(
    ("segment", "reason", "said"),
    [("vip", "fired", ""), ("staff", "condition-false", "the assignment is refused"), ("gold", "condition-false", "")],
)
def test_a_map_is_explained_for_the_assignment_to_a_segment_that_is_given(segment, reason, said):
    asked = explainer(ENTERED, VIP, VIP.replace("vip", "gold"), STAFF)
    given_ = {"eventName": "segment_assigned", "visitorId": "v1", "attributes": {"segment": segment}}
    told = asked.of_event("m", given_event(given_, 0, TEN), None)
    assert (told.reason, told.trigger.passed, said in told.detail) == (reason, reason == "fired", True)


def test_a_map_is_explained_for_the_erasure_of_a_visitor_by_what_was_known_of_it():
    asked = explainer(one({"all": [{"event": "visitor_erased"}, {"key": "visitor.eventCount", "value": 2}]}))
    visitor = after(asked._rulebook, event("e"), event("e", 1))
    erased = given_event({"eventName": "visitor_erased", "visitorId": "v1"}, 0, TEN + MINUTE)
    assert asked.of_event("m", erased, visitor).reason == "fired"
    assert asked.of_event("m", erased, None).reason == "condition-false"

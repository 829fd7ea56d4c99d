"""Segments: membership at events, its end by time or with the session, and assignments from outside."""

import json
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import BASE, MINUTE, TEN, after, definitions, event, fired, live, played, reasons, rulebook, sent

from actionmap.catalog.compile import compile_rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy
from actionmap.errors import DefinitionError

HOT = "{kind: Segment, name: hot, when: {key: session.attributes.hot, value: true}, expiresAfter: 30m}"
ENTERED = "{kind: ActionMap, name: entered, frequency: every, trigger: {segmentEntered: hot}, action: {webhook: hello}}"
LEFT = "{kind: ActionMap, name: left, frequency: every, trigger: {segmentLeft: hot}, action: {webhook: hello}}"
VIP = "{kind: Segment, name: vip, external: true}"

_offsets = count(1_000_000)


def hot(minute: float, value: bool = True, **fields: object):
    return event("e", minute, attributes={"hot": value}, **fields)


def assigned(minute: float, segment: object = "vip", name: str = "segment_assigned"):
    given = {"eventName": name, "visitorId": "v1", "attributes": {"segment": segment}}
    at = int(TEN + minute * MINUTE)
    return parse_record(Record("events", 0, next(_offsets), at, None, json.dumps(given).encode(), own=True)).event


def members(rules, *events) -> list[list[str]]:
    return [decision.visitor.segments for decision in live(rules, *events)]


def test_membership_lasts_that_long_after_its_condition_was_last_true():
    rules = rulebook(HOT)
    stream = [hot(0), hot(5), hot(10, False), event("e", 34.9), event("e", 35)]
    assert members(rules, *stream) == [["hot"]] * 4 + [[]]


def test_an_older_event_never_shortens_a_membership_and_may_prolong_it():
    rules = rulebook(HOT)
    assert members(rules, hot(10), hot(0), hot(12, False), event("e", 39.9), event("e", 40)) == [["hot"]] * 4 + [[]]
    assert members(rules, hot(0), hot(10, False), hot(5), hot(11, False), event("e", 34.9), event("e", 35)) == [
        *[["hot"]] * 5,
        [],
    ]


def test_what_was_true_too_long_ago_makes_no_member():
    assert members(rulebook(HOT), event("e", 40), hot(5), hot(40, False)) == [[], [], []]


def test_entering_and_leaving_are_true_at_the_event_that_changes_the_membership():
    rules = rulebook(HOT.replace(", expiresAfter: 30m", ""), ENTERED, LEFT)
    decisions = live(rules, hot(0), hot(1), hot(2, False), hot(3, False), hot(4))
    assert [fired(decision) for decision in decisions] == [["entered"], [], ["left"], [], ["entered"]]


def test_an_expiry_is_left_by_a_timer_that_reports_the_latest_event():
    rules = rulebook(HOT, LEFT)
    latest = event("e", 20)
    decisions = played(rules, hot(0), hot(10), hot(11, False), latest, event("other", 100, visitor="v2"))
    assert sent(decisions) == [(40, "left")]
    [owed] = [delivery for _, decision in decisions for delivery in decision.deliveries]
    assert (owed.event_id, owed.at) == (latest.id, TEN + 40 * MINUTE)


def test_an_expiry_at_the_time_of_an_event_is_left_at_that_event():
    rules = rulebook(HOT, LEFT)
    event_at_the_end = event("e", 30)
    decisions = played(rules, hot(0), hot(5, False, eventId="late"), event_at_the_end)
    # The attribute was last true at 0, so the membership ends at 30 exactly.
    assert sent(decisions) == [(30, "left")]
    assert decisions[-1][1].deliveries[0].event_id == event_at_the_end.id


def test_an_event_of_a_later_time_finds_the_membership_ended():
    rules = rulebook(
        HOT,
        LEFT,
        "{kind: ActionMap, name: while, frequency: every, trigger: {all: [{event: e}, {segment: hot}]}, action: {webhook: hello}}",  # noqa: E501
    )
    assert sent(played(rules, hot(0), hot(1, False), event("e", 31))) == [(0, "while"), (1, "while"), (30, "left")]


def test_at_an_expiry_an_event_leaf_is_false_and_only_maps_that_ask_for_it_are_judged():
    rules = rulebook(
        HOT,
        "{kind: ActionMap, name: both, trigger: {all: [{segmentLeft: hot}, {event: e}]}, action: {webhook: hello}}",
        "{kind: ActionMap, name: level, frequency: every, trigger: {not: {segment: hot}}, action: {webhook: hello}}",
    )
    decisions = played(rules, hot(0), hot(1, False))
    assert [minute for minute, decision in decisions if decision.outcome == "expiry"] == [30]
    assert reasons(decisions[-1][1]) == {"both": "condition-false"}


def test_the_second_expiry_after_one_event_owes_another_delivery():
    warm = HOT.replace("name: hot", "name: warm").replace("30m", "40m")
    either = "{kind: ActionMap, name: m, frequency: every, action: {webhook: hello}, trigger: {any: [{segmentLeft: hot}, {segmentLeft: warm}, {event: e}]}}"  # noqa: E501
    decisions = played(rulebook(HOT, warm, either), hot(0, eventId="only"))
    owed = [delivery for _, decision in decisions for delivery in decision.deliveries]
    assert [(delivery.event_id, (delivery.at - TEN) / MINUTE) for delivery in owed] == [
        ("only", m) for m in (0, 30, 40)
    ]
    assert len({delivery.id for delivery in owed}) == 3


def test_a_segment_of_the_session_is_left_at_the_first_event_of_the_next_one():
    bought = "{kind: Segment, name: hot, scope: session, when: {count: {event: buy, atLeast: 1, within: session}}}"
    rules = rulebook(bought, ENTERED, LEFT)
    decisions = live(rules, event("buy"), event("e", 10), event("e", 31), event("e", 32))
    assert [fired(decision) for decision in decisions] == [["entered"], [], ["left"], []]
    again = live(rules, event("buy"), event("buy", 21), event("e", 22))
    assert [fired(decision) for decision in again] == [["entered"], ["entered", "left"], []]


def test_a_segment_of_the_session_that_expires_ends_with_whichever_is_first():
    rules = rulebook(HOT.replace("expiresAfter", "scope: session, expiresAfter"), LEFT)
    assert sent(played(rules, hot(0), hot(10, False), event("e", 21, visitor="x"), hot(31, False))) == [(30, "left")]
    assert sent(played(rules, hot(0), hot(10), hot(31, False))) == [(31, "left")]


def test_segments_ask_for_each_other_in_whatever_order_they_are_written():
    rules = rulebook(
        "{kind: Segment, name: a-second, when: {segment: z-first}}",
        "{kind: Segment, name: z-first, when: {key: event.attributes.hot, value: true}}",
    )
    assert members(rules, hot(0), hot(1, False)) == [["a-second", "z-first"], []]


def test_an_inactive_segment_has_no_members():
    assert members(rulebook(HOT.replace("kind: Segment", "kind: Segment, active: false")), hot(0)) == [[]]


def test_a_shorter_expiry_applies_to_memberships_that_began_before():
    longer, shorter = rulebook(HOT), rulebook(HOT.replace("30m", "5m"))
    visitor = after(longer, hot(0))
    [decision] = live(shorter, hot(6, False), visitor=visitor)
    assert decision.visitor.segments == []


# --- from outside


ON_ASSIGNMENT = (
    "{kind: ActionMap, name: greeted, frequency: every, action: {webhook: hello}, trigger: "
    "{event: segment_assigned, where: [{key: event.attributes.segment, value: vip}]}}"
)


def test_an_assignment_from_outside_lasts_until_it_is_taken_back():
    rules = rulebook(VIP)
    stream = [event("e"), assigned(1), event("e", 2), assigned(3, name="segment_unassigned"), event("e", 4)]
    assert members(rules, *stream) == [[], ["vip"], ["vip"], [], []]


def test_an_assignment_expires():
    rules = rulebook(VIP.replace("}", ", expiresAfter: 10m}"), LEFT.replace("hot", "vip"))
    assert sent(played(rules, event("e"), assigned(1), event("e", 5))) == [(11, "left")]


def test_only_the_maps_that_name_an_assignment_are_judged_at_it():
    level = "{kind: ActionMap, name: level, frequency: every, trigger: {segment: vip}, action: {webhook: hello}}"
    rules = rulebook(VIP, ON_ASSIGNMENT, level)
    first, second = live(rules, assigned(0), event("e", 1))
    assert (reasons(first), reasons(second)) == ({"greeted": "fired"}, {"level": "fired"})


def test_to_ask_whether_an_external_segment_was_entered_or_left_is_to_name_its_assignment():
    rules = rulebook(VIP, ENTERED.replace("hot", "vip"), LEFT.replace("hot", "vip"))
    stream = [assigned(0), assigned(1), event("e", 2), assigned(3, name="segment_unassigned"), assigned(4)]
    assert [fired(decision) for decision in live(rules, *stream)] == [["entered"], [], [], ["left"], ["entered"]]


def test_an_older_assignment_never_shortens_a_membership():
    rules = rulebook(VIP.replace("}", ", expiresAfter: 30m}"))
    stream = [assigned(20), assigned(0), event("e", 49.9), event("e", 50)]
    assert members(rules, *stream) == [["vip"], ["vip"], ["vip"], []]


def test_an_expiry_at_the_time_of_an_assignment_is_left_all_the_same():
    rules = rulebook(HOT, VIP, LEFT)
    assert sent(played(rules, hot(0), assigned(30))) == [(30, "left")]


def test_the_end_of_an_assignment_reports_the_latest_event_of_the_website():
    rules = rulebook(VIP.replace("}", ", expiresAfter: 30m}"), LEFT.replace("hot", "vip"))
    decisions = played(rules, event("e", eventId="seen"), assigned(5))
    assert [(one.event_id, (one.at - TEN) / MINUTE) for _, decision in decisions for one in decision.deliveries] == [
        ("seen", 35)
    ]


def test_an_assignment_touches_no_session_and_no_counter():
    rules = rulebook(VIP, ON_ASSIGNMENT)
    before = after(rules, event("e"))
    [decision] = live(rules, assigned(60), visitor=before)
    after_it = decision.visitor
    assert (after_it.session, after_it.event_count, after_it.last_seen_at) == (
        before.session, before.event_count, before.last_seen_at,
    )  # fmt: skip


@pytest.mark.parametrize("segment", ["hot", "unknown", None, 7, ["vip"]])
def test_nobody_is_assigned_to_what_is_no_external_segment(segment):
    rules = rulebook(VIP, HOT, ON_ASSIGNMENT.replace("value: vip", "operator: exists"))
    [decision] = live(rules, assigned(0, segment))
    assert (decision.outcome, decision.visitor.segments, decision.verdicts) == ("refused", [], ())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{kind: Segment, name: s}", "needs its when, or external: true"),
        ("{kind: Segment, name: s, external: true, when: {key: visitor.id, operator: exists}}", "has no when"),
        ("{kind: Segment, name: s, external: true, scope: session}", "is of the visitor"),
        ("{kind: Segment, name: s, when: {event: x}}", "count the events"),
        ("{kind: Segment, name: s, when: {segmentLeft: s}}", "with segment: NAME"),
        ("{kind: Segment, name: s, when: {sequence: {steps: [{event: a}, {event: b}], within: 1h}}}", "no sequence"),
        ("{kind: Segment, name: s, when: {key: visitor.id, operator: exists}, expiresAfter: 0s}", "0s"),
    ],
)
def test_segments_that_mean_nothing_are_refused(written, said):
    with pytest.raises(DefinitionError, match=said):
        compile_rulebook(definitions(BASE, written))


# --- beside a reference


@st.composite
def streams(draw):
    at, made = 0.0, []
    for _ in range(draw(st.integers(1, 12))):
        at += draw(st.sampled_from((0, 1, 4, 9, 15, 40)))
        made.append((max(0, at - draw(st.sampled_from((0, 0, 0, 3, 12)))), draw(st.booleans())))
    return made


@given(streams(), st.sampled_from((1, 5, 10, 30)))
def test_membership_is_that_of_the_whole_history(stream, lasts):
    rules = rulebook(HOT.replace("session.attributes", "event.attributes").replace("30m", f"{lasts}m"), ENTERED, LEFT)
    events = [hot(at, value) for at, value in stream]
    decisions = played(rules, *events, policy=Policy())
    now, last, at_events = -1.0, -1e9, []
    for at, value in stream:
        now = max(now, at)
        last = max(last, at) if value else last
        at_events.append(["hot"] if last + lasts > now else [])
    judged = [decision for _, decision in decisions if decision.outcome == "judged"]
    assert [decision.visitor.segments for decision in judged] == at_events
    changes = [name for _, name in sent(decisions)]
    # Whoever enters leaves again, in turn, the last time by the clock.
    assert changes == ["entered", "left"] * (len(changes) // 2)
    assert decisions[-1][1].visitor.segments == []

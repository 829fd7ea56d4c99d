"""What triggers mean: the current event, levels, counts in a session, and how they nest."""

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import after, event, fired, live, one_map, page, rulebook

from actionmap.decide import Policy
from actionmap.decide.observe import observe


def firings(trigger: str, *events) -> list[bool]:
    """For each event, whether a map with this trigger and without a cap fires."""
    return [fired(decision) == ["m"] for decision in live(one_map(trigger), *events)]


def test_an_event_leaf_is_true_for_the_current_event_only():
    assert firings("{event: cart_added}", event("cart_added"), event("page_viewed", 1)) == [True, False]


def test_an_event_name_is_compared_exactly():
    assert firings("{event: cart_added}", event("Cart_added"), event("cart_added2")) == [False, False]


def test_where_asks_all_of_its_conditions():
    trigger = "{event: cart_added, where: [{key: event.attributes.a, value: 1}, {key: event.attributes.b, value: 2}]}"
    seen = [event("cart_added", attributes=attributes) for attributes in ({"a": 1, "b": 2}, {"a": 1}, {"b": 2}, {})]
    assert firings(trigger, *seen) == [True, False, False, False]


def test_a_condition_is_a_level_it_holds_at_every_event():
    trigger = "{key: visitor.traits.plan, value: pro}"
    assert firings(trigger, event(), event(minute=1, traits={"plan": "pro"}), event("x", 2), event("y", 3)) == [
        False,
        True,
        True,
        True,
    ]


def test_conditions_see_the_current_event_already_counted():
    assert firings("{key: session.pageviewCount, value: 2}", event(), event(minute=1), event(minute=2)) == [
        False,
        True,
        False,
    ]


TWICE = "{count: {event: page_viewed, atLeast: 2, within: session}}"


def test_at_least_is_reached_with_the_current_event():
    assert firings(TWICE, event(), event(minute=1), event(minute=2)) == [False, True, True]


def test_a_count_is_a_level_it_holds_at_other_events_too():
    assert firings(TWICE, event(), event(minute=1), event("cart_added", 2)) == [False, True, True]


def test_at_most_holds_until_one_too_many():
    trigger = "{count: {event: page_viewed, atMost: 2, within: session}}"
    assert firings(trigger, *[event(minute=number) for number in range(4)]) == [True, True, False, False]


def test_both_bounds_make_a_range():
    trigger = "{count: {event: page_viewed, atLeast: 2, atMost: 3, within: session}}"
    assert firings(trigger, *[event(minute=number) for number in range(5)]) == [False, True, True, False, False]


def test_at_most_zero_means_never_seen():
    trigger = "{all: [{event: page_viewed}, {count: {event: order_completed, atMost: 0, within: session}}]}"
    assert firings(trigger, event(), event("order_completed", 1), event(minute=2)) == [True, False, False]


def test_at_least_zero_always_holds():
    assert firings("{count: {event: x, atLeast: 0, within: session}}", event("x"), event("y")) == [True, True]


def test_a_count_takes_only_events_that_meet_where():
    trigger = (
        "{count: {event: page_viewed, atLeast: 2, within: session, "
        "where: [{key: event.page.pathname, operator: startsWith, value: /pricing}]}}"
    )
    pages = [page(f"https://shop.example/{path}", number) for number, path in enumerate(["pricing", "a", "pricing/x"])]
    assert firings(trigger, *pages) == [False, False, True]


def test_a_count_begins_anew_with_each_session():
    assert firings(TWICE, event(), event(minute=1), event(minute=22), event(minute=23)) == [False, True, False, True]


def test_a_count_holds_only_events_up_to_the_current_ones_time():
    # The second arrives with an earlier time: at its time there was only one.
    assert firings(TWICE, event(minute=5), event(minute=3), event(minute=4)) == [False, False, True]


def test_events_of_the_same_time_are_counted_in_order_of_arrival():
    assert firings(TWICE, event(minute=1), event(minute=1)) == [False, True]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_in_whatever_order_events_arrive_the_last_one_sees_all_that_lie_before_it(order):
    seen = [event(minute=minute) for minute in order]
    trigger = "{all: [{event: end}, {count: {event: page_viewed, atLeast: 4, atMost: 4, within: session}}]}"
    assert firings(trigger, *seen, event("end", 9))[-1]


def test_counts_of_one_pattern_with_other_bounds_do_not_disturb_each_other():
    maps = [
        f"{{kind: ActionMap, name: m{number}, action: {{webhook: hello}}, frequency: every, "
        f"trigger: {{count: {{event: page_viewed, atLeast: {number}, within: session}}}}}}"
        for number in (1, 3, 5)
    ]
    found = [fired(decision) for decision in live(rulebook(*maps), *[event(minute=number) for number in range(5)])]
    assert found == [["m1"], ["m1"], ["m1", "m3"], ["m1", "m3"], ["m1", "m3", "m5"]]


@given(st.lists(st.integers(0, 19), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 4))
def test_a_count_is_the_number_of_events_at_or_before_the_current_time(minutes, at_least, spread):
    at_most = at_least + spread
    trigger = f"{{count: {{event: page_viewed, atLeast: {at_least}, atMost: {at_most}, within: session}}}}"
    numbers = [sum(other <= minute for other in minutes[: index + 1]) for index, minute in enumerate(minutes)]
    expected = [at_least <= number <= at_most for number in numbers]
    assert firings(trigger, *[event(minute=minute) for minute in minutes]) == expected


# --- segments

KNOWN = "{kind: Segment, name: known, when: {key: visitor.traits.email, operator: exists}}"


def _with_segments(trigger: str, *segments: str):
    return rulebook(
        *segments, f"{{kind: ActionMap, name: m, trigger: {trigger}, action: {{webhook: hello}}, frequency: every}}"
    )


def test_a_segment_leaf_holds_while_its_condition_does():
    rules = _with_segments("{segment: known}", KNOWN)
    seen = [
        event(),
        event(minute=1, traits={"email": "a@b.example"}),
        event(minute=2),
        event(minute=3, traits={"email": None}),
    ]
    assert [fired(decision) == ["m"] for decision in live(rules, *seen)] == [False, True, True, False]
    assert after(rules, *seen[:2]).segments == ["known"]
    assert after(rules, *seen).segments == []


def test_a_segment_sees_those_it_asks_for_whatever_their_names():
    a_asks_z = "{kind: Segment, name: a, when: {all: [{segment: z}, {key: visitor.id, value: v1}]}}"
    z = "{kind: Segment, name: z, when: {key: visitor.id, operator: exists}}"
    assert after(_with_segments("{segment: a}", a_asks_z, z), event()).segments == ["a", "z"]


def test_a_segment_may_ask_for_non_members():
    other = "{kind: Segment, name: other, when: {not: {segment: known}}}"
    rules = _with_segments("{segment: other}", KNOWN, other)
    assert after(rules, event()).segments == ["other"]
    assert after(rules, event(traits={"email": "a@b.example"})).segments == ["known"]


def test_a_segment_may_count():
    often = (
        "{kind: Segment, name: often, scope: session, when: {count: {event: page_viewed, atLeast: 2, within: session}}}"
    )
    rules = _with_segments("{segment: often}", often)
    seen = [event(), event(minute=1), event("x", 2), event(minute=30)]
    assert [fired(decision) == ["m"] for decision in live(rules, *seen)] == [False, True, True, False]


def test_an_inactive_segment_has_no_members():
    asleep = "{kind: Segment, name: asleep, active: false, when: {key: visitor.id, operator: exists}}"
    assert [
        fired(live(_with_segments(trigger, asleep), event())[0])
        for trigger in ("{segment: asleep}", "{not: {segment: asleep}}")
    ] == [
        [],
        ["m"],
    ]


def test_segments_can_be_asked_for_as_a_list_too():
    rules = _with_segments("{key: visitor.segments, operator: containsAny, values: [known]}", KNOWN)
    assert fired(live(rules, event(traits={"email": "a@b.example"}))[0]) == ["m"]


# --- nesting

TRUE, FALSE = "{key: visitor.id, operator: exists}", "{key: visitor.id, operator: notExists}"


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (f"{{all: [{TRUE}, {TRUE}]}}", True),
        (f"{{all: [{TRUE}, {FALSE}]}}", False),
        (f"{{any: [{FALSE}, {TRUE}]}}", True),
        (f"{{any: [{FALSE}, {FALSE}]}}", False),
        (f"{{not: {FALSE}}}", True),
        (f"{{not: {TRUE}}}", False),
        (f"{{not: {{not: {TRUE}}}}}", True),
        (f"{{all: [{{any: [{FALSE}, {{not: {FALSE}}}]}}, {{not: {{all: [{TRUE}, {FALSE}]}}}}]}}", True),
        (f"{{not: {{any: [{FALSE}, {{all: [{TRUE}, {TRUE}]}}]}}}}", False),
        (f"{{all: [{TRUE}]}}", True),
        (f"{{any: [{FALSE}]}}", False),
        ("{not: {event: cart_added}}", True),
        ("{not: {event: page_viewed}}", False),
        ("{any: [{event: cart_added}, {event: page_viewed}]}", True),
        ("{all: [{event: cart_added}, {event: page_viewed}]}", False),
    ],
)
def test_all_any_and_not_nest_freely(trigger, expected):
    assert firings(trigger, event()) == [expected]


@given(
    st.recursive(
        st.booleans(),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: ("all", parts))
            | st.lists(inner, min_size=1, max_size=3).map(lambda parts: ("any", parts))
            | inner.map(lambda part: ("not", part))
        ),
        max_leaves=8,
    )
)
def test_nesting_is_boolean_algebra(tree):
    def written(node):
        if isinstance(node, bool):
            return {"key": "visitor.id", "operator": "exists" if node else "notExists"}
        word, parts = node
        return {word: written(parts) if word == "not" else [written(part) for part in parts]}

    def value(node):
        if isinstance(node, bool):
            return node
        word, parts = node
        return not value(parts) if word == "not" else {"all": all, "any": any}[word](map(value, parts))

    assert firings(json.dumps(written(tree)), event()) == [value(tree)]


def test_a_trigger_nested_as_deep_as_a_file_may_be_is_judged():
    trigger = "{not: " * 36 + TRUE + "}" * 36
    assert firings(trigger, event()) == [True]


def test_observing_is_enough_to_judge_a_trigger():
    rules = one_map(TWICE)
    first = observe(None, event(), rules, event().time, Policy())
    assert not rules.maps[0].test(first)
    second = event(minute=1)
    assert rules.maps[0].test(observe(first.visitor, second, rules, second.time, Policy()))

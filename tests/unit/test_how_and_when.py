"""Between a match and its firing: schedules, caps, groups, holdout, shadow, and matches that wait for a session."""

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import BASE, MINUTE, TEN, definitions, event, fired, live, page, played, reasons, rulebook, sent

from actionmap.catalog.compile import compile_rulebook
from actionmap.decide.checks import holdout_place
from actionmap.errors import DefinitionError

EVENT = {"event": "e"}


def action_map(name: str = "m", **fields: object) -> str:
    made = {"kind": "ActionMap", "name": name, "trigger": EVENT, "frequency": "every", "action": {"webhook": "hello"}}
    return json.dumps(made | fields)


def fires(rules, *minutes: float) -> list[bool]:
    return [bool(fired(decision)) for decision in live(rules, *(event("e", minute) for minute in minutes))]


# --- caps


@pytest.mark.parametrize(
    ("frequency", "minutes", "expected"),
    [
        ({"max": 1, "per": "lifetime"}, (0, 60, 600), (1, 0, 0)),
        ({"max": 2, "per": "lifetime"}, (0, 60, 600), (1, 1, 0)),
        ({"max": 1, "per": "10m"}, (0, 9.99, 10, 15, 20), (1, 0, 1, 0, 1)),
        ({"max": 2, "per": "10m"}, (0, 5, 9, 10, 14, 15), (1, 1, 0, 1, 0, 1)),
        # A firing later than the event does not count for it.
        ({"max": 1, "per": "10m"}, (12, 5, 6), (1, 1, 0)),
    ],
)
def test_caps(frequency, minutes, expected):
    assert fires(rulebook(action_map(frequency=frequency)), *minutes) == [bool(one) for one in expected]


def test_a_cap_of_a_duration_says_when_it_opens_again():
    *_, last = live(rulebook(action_map(frequency={"max": 1, "per": "10m"})), event("e"), event("e", 5))
    assert last.verdicts[0].detail == "this map fired 1 time in 10m; it may again at 2026-11-21T10:10:00.000Z"


@given(st.lists(st.integers(0, 40), min_size=1, max_size=15), st.integers(1, 3), st.integers(1, 15))
def test_a_sliding_cap_is_that_of_the_whole_history(minutes, most, per):
    fired_at: list[int] = []
    expected = []
    for minute in minutes:
        expected.append(sum(minute - per < time <= minute for time in fired_at) < most)
        if expected[-1]:
            fired_at.append(minute)
    assert fires(rulebook(action_map(frequency={"max": most, "per": f"{per}m"})), *minutes) == expected


@pytest.mark.parametrize("per", ["session", "lifetime", "1h"])
def test_a_cap_of_the_group_counts_the_firings_of_all_its_maps(per):
    of_group = {"max": 2, "per": per, "scope": "group"}
    rules = rulebook(
        action_map("a", exclusiveGroup="g", trigger={"event": "a"}, frequency=of_group),
        action_map("b", exclusiveGroup="g", trigger={"event": "b"}),
        action_map("c", trigger={"event": "b"}),
    )
    decisions = live(rules, event("b"), event("b", 1), event("a", 2), event("b", 3))
    assert [fired(decision) for decision in decisions] == [["b", "c"], ["b", "c"], [], ["b", "c"]]
    assert "the group g fired 2 times" in decisions[2].verdicts[0].detail


def test_a_cap_of_the_group_needs_a_group():
    with pytest.raises(DefinitionError, match="needs the exclusiveGroup"):
        rulebook(action_map(frequency={"scope": "group"}))


# --- exclusive groups


def test_of_a_group_the_highest_priority_fires_then_the_name_that_sorts_first():
    rules = rulebook(
        action_map("a", exclusiveGroup="g", priority="low"),
        action_map("c", exclusiveGroup="g", priority="high"),
        action_map("b", exclusiveGroup="g", priority="high"),
        action_map("z"),
    )
    [decision] = live(rules, event("e"))
    assert reasons(decision) == {"b": "fired", "c": "outranked", "z": "fired", "a": "outranked"}
    assert [verdict.action_map for verdict in decision.verdicts] == ["b", "c", "z", "a"]
    assert decision.verdicts[1].detail == "b comes first in the group g"


def test_what_fails_an_earlier_check_outranks_nobody():
    rules = rulebook(
        action_map("a", exclusiveGroup="g", priority="high", pageUrls={"include": [{"value": "https://x/"}]}),
        action_map("b", exclusiveGroup="g", priority="high", frequency={"max": 1, "per": "lifetime"}),
        action_map("c", exclusiveGroup="g"),
    )
    first, second = live(rules, event("e"), event("e", 1))
    assert reasons(first) == {"a": "page-url", "b": "fired", "c": "outranked"}
    assert reasons(second) == {"a": "page-url", "b": "capped", "c": "fired"}


def test_whoever_comes_first_keeps_its_place_though_a_required_lookup_is_missing():
    webhook = BASE.split("---")[2].replace("hello", "needs").replace(
        "{lookup: visitor.id}", "{lookup: visitor.traits.email, onMissing: skip}"
    )  # fmt: skip
    rules = rulebook(
        webhook,
        action_map("a", exclusiveGroup="g", action={"webhook": "needs"}, frequency={"max": 1, "per": "lifetime"}),
        action_map("b", exclusiveGroup="g"),
    )
    first, second = live(rules, event("e"), event("e", 1, traits={"email": "a@b.example"}))
    assert reasons(first) == {"a": "lookup-missing", "b": "outranked"}
    assert reasons(second) == {"a": "fired", "b": "outranked"}


def test_the_caps_of_one_event_are_those_before_it():
    """The cap of the group comes before the group: the second map is outranked, not capped by the first."""
    of_group = {"max": 1, "per": "lifetime", "scope": "group"}
    rules = rulebook(*(action_map(name, exclusiveGroup="g", frequency=of_group) for name in "ab"))
    first, second = live(rules, event("e"), event("e", 1))
    assert reasons(first) == {"a": "fired", "b": "outranked"}
    assert reasons(second) == {"a": "capped", "b": "capped"}


# --- schedule, holdout, shadow


def test_outside_its_hours_a_map_does_not_fire_and_says_when_it_opens():
    rules = rulebook(action_map(schedule={"timezone": "UTC", "open": ["sat 10:05-10:10"], "except": ["2026-11-28"]}))
    decisions = live(rules, *(event("e", minute) for minute in (0, 5, 9.99, 10)))
    assert [fired(decision) == ["m"] for decision in decisions] == [False, True, True, False]
    assert [decision.verdicts[0].detail for decision in (decisions[0], decisions[3])] == [
        "opens at 2026-11-21T10:05:00.000Z", "opens at 2026-12-05T10:05:00.000Z",
    ]  # fmt: skip


def test_a_holdout_is_the_same_for_a_visitor_and_about_as_large_as_it_says():
    places = [holdout_place("m", f"visitor-{n}") for n in range(4000)]
    assert 0 <= min(places) < max(places) < 100
    assert 340 < sum(place < 10 for place in places) < 460
    assert holdout_place("m", "visitor-1") == places[1] != holdout_place("other", "visitor-1")
    rules = rulebook(action_map(holdoutPercent=50))
    found = Counter()
    for n in range(200):
        visitor = f"visitor-{n}"
        verdicts = {live(rules, event("e", minute, visitor=visitor))[0].verdicts[0].reason for minute in (0, 1)}
        assert verdicts == {"holdout" if places[n] < 50 else "fired"}
        found.update(verdicts)
    assert set(found) == {"holdout", "fired"}


def test_a_shadow_map_does_all_but_send():
    rules = rulebook(
        action_map("a", mode="shadow", exclusiveGroup="g", frequency={"max": 1, "per": "lifetime"}),
        action_map("b", exclusiveGroup="g"),
    )
    first, second = live(rules, event("e"), event("e", 1))
    assert (reasons(first), reasons(second)) == (
        {"a": "shadow", "b": "outranked"},
        {"a": "capped", "b": "fired"},
    )
    assert ([one.action_map for one in first.shadowed], first.deliveries) == (["a"], ())


# --- the next session


def test_a_match_that_waits_fires_at_the_first_event_of_the_next_session():
    for activation in ("onNextSession", {"type": "onNextVisit"}):
        rules = rulebook(action_map(activation=activation))
        matched = event("e", eventId="matched")
        decisions = played(rules, matched, event("x", 10), event("x", 31), event("x", 32))
        assert sent(decisions) == [(31, "m")]
        [owed] = [delivery for _, decision in decisions for delivery in decision.deliveries]
        assert (owed.event_id, owed.at) == ("matched", TEN + 31 * MINUTE)


def test_matches_that_wait_are_settled_in_their_order_before_the_maps_of_the_new_session():
    rules = rulebook(
        action_map("late", activation="onNextSession", priority="low", trigger={"event": "a"}),
        action_map("early", activation="onNextSession", trigger={"event": "b"}),
        action_map("now", priority="high", trigger={"event": "x"}),
    )
    decisions = live(rules, event("a"), event("b", 1), event("a", 2), event("x", 40))
    assert fired(decisions[-1]) == ["late", "early", "late", "now"]


def test_a_match_that_waits_is_checked_when_the_visitor_is_back():
    rules = rulebook(action_map(activation="onNextSession", frequency={"max": 1, "per": "session"},
                                endDate="2026-11-21T12:00:00Z"))  # fmt: skip
    back = live(rules, event("e"), event("e", 1), event("x", 40))[-1]
    assert [verdict.reason for verdict in back.verdicts] == ["fired", "capped"]
    too_late = live(rules, event("e"), event("x", 121))[-1]
    assert [verdict.reason for verdict in too_late.verdicts] == ["outside-dates"]


def test_the_page_is_that_of_the_event_that_matched_and_the_session_that_of_now():
    base = BASE.replace("visitor.id}", "session.id}")
    rules = compile_rulebook(definitions(base, action_map(
        activation="onNextSession", pageUrls={"include": [{"operator": "endsWith", "value": "/first"}]},
    )))  # fmt: skip
    back = live(rules, event("e", page={"url": "https://x.example/first"}), page("https://x.example/other", 40))[-1]
    assert json.loads(back.deliveries[0].body) == {"who": "v1:2"}


def test_later_activations_of_an_absence_are_refused():
    absence = {"absence": {"after": EVENT, "of": {"event": "x"}, "for": "10m"}}
    for activation in ("onNextSession", {"type": "delay", "delaySeconds": 60}):
        with pytest.raises(DefinitionError, match="make the absence longer"):
            rulebook(action_map(trigger=absence, activation=activation))


# --- the order of the checks


CHECKS = [
    ("not-live", {"action": {"webhook": "draft"}}),
    ("outside-dates", {"endDate": "2026-11-20T00:00:00Z"}),
    ("outside-schedule", {"schedule": {"timezone": "UTC", "open": ["mon 00:00-01:00"]}}),
    ("page-url", {"pageUrls": {"include": [{"value": "https://x/"}]}}),
    ("capped", {"frequency": {"max": 1, "per": "lifetime"}}),
    ("holdout", {"holdoutPercent": 100}),
    ("outranked", {"exclusiveGroup": "g"}),
    ("lookup-missing", {"action": {"webhook": "needs"}}),
]


@pytest.mark.parametrize(("before", "after"), list(pairwise(CHECKS)), ids=lambda one: one[0])
def test_the_first_check_that_fails_is_the_verdict(before, after):
    hello = BASE.split("---")[2]
    draft = hello.replace("hello", "draft").replace("published", "draft")
    needs = hello.replace("hello", "needs").replace("visitor.id}", "visitor.traits.email, onMissing: skip}")
    winner = action_map("0", exclusiveGroup="g", priority="high")
    both = before[1] | after[1]
    rules = compile_rulebook(definitions(BASE, draft, needs, winner, action_map("m", **both)))
    counting = rulebook(action_map("m", frequency={"max": 9, "per": "lifetime"}))
    spent = live(counting, event("e"))[-1].visitor
    [decision] = live(rules, event("e", 1), visitor=spent)
    assert reasons(decision)["m"] == before[0]


def test_the_firings_of_maps_that_are_gone_are_forgotten_and_of_inactive_ones_kept():
    old = [action_map(name, frequency={"max": 1, "per": per}) for name, per in (("a", "1h"), ("b", "lifetime"))]
    visitor = live(rulebook(*old), event("e"))[-1].visitor
    assert (list(visitor.fired_at), list(visitor.fired)) == (["a"], ["b"])
    inactive = rulebook(*(action_map(name, active=False) for name in "ab"))
    kept = live(inactive, event("e", 60), visitor=visitor)[-1].visitor
    assert (list(kept.fired_at), list(kept.fired)) == (["a"], ["b"])
    gone = live(rulebook(action_map("c")), event("e", 120), visitor=kept)[-1].visitor
    assert (gone.fired_at, gone.fired) == ({}, {})

"""Delays and absences: what starts, cancels and ends a wait, and what is judged when it is over (semantics §4, §9)."""

from collections.abc import Sequence

import pytest
from shop import BASE, TEN, definitions, event, one_map, reasons, rulebook

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide import Policy, Timeline
from actionmap.decide.waits import MAX_WAITS
from actionmap.decision import Decision
from actionmap.errors import DefinitionError
from actionmap.event import Event
from actionmap.visitor import decode_visitor, encode_visitor

MINUTE = 60_000
ABSENCE = "absence: {after: {event: added}, of: {event: bought}, for: 30m}"
DELAY = "activation: {type: delay, delaySeconds: 300}"


def run(rules: Rulebook, *events: Event, until: float = 24 * 60, policy: Policy | None = None) -> list[Decision]:
    """All decisions on ``events``, with the timers due before, between and after them."""
    timeline = Timeline(rules, policy or Policy(), -1, {})
    found: list[Decision] = []
    for one in events:
        found += [decision for _, decision in timeline.run_timers(one.time - 1, 0)]
        found.append(timeline.take(one))
        found += [decision for _, decision in timeline.run_timers(timeline.stream_time, 0)]
    found += [decision for _, decision in timeline.run_timers(int(TEN + until * MINUTE), 0)]
    for visitor in timeline.visitors.values():
        assert decode_visitor(encode_visitor(visitor)) == visitor
    return found


def firings(decisions: Sequence[Decision]) -> list[tuple[float, str]]:
    """Minute, and id of the event that is reported."""
    owed = [delivery for decision in decisions for delivery in decision.deliveries]
    return [((one.at - TEN) / MINUTE, one.event_id) for one in owed]


def absence(rest: str = "", trigger: str = ABSENCE) -> Rulebook:
    return one_map(f"{{{trigger}}}", f"frequency: every{rest}")


def test_an_absence_fires_when_due_and_reports_the_event_that_started_it():
    assert firings(run(absence(), event("added", 0, eventId="a"))) == [(30, "a")]


@pytest.mark.parametrize(("minute", "expected"), [(0, []), (10, []), (30, []), (30.01, [(30, "a")])])
def test_the_second_event_cancels_up_to_the_due_time(minute, expected):
    assert firings(run(absence(), event("added", 0, eventId="a"), event("bought", minute))) == expected


def test_an_event_before_the_start_cancels_nothing():
    late = event("bought", -1)
    assert firings(run(absence(), event("added", 0, eventId="a"), late)) == [(30, "a")]


def test_there_is_one_wait_at_a_time_and_after_it_another_may_begin():
    found = run(absence(), *[event("added", minute, eventId=f"a{minute}") for minute in (0, 10, 29, 31)])
    assert firings(found) == [(30, "a0"), (61, "a31")]


def test_an_event_that_is_both_first_cancels_and_then_starts():
    both = "absence: {after: {event: page_viewed}, of: {event: page_viewed}, for: 30m}"
    found = run(absence(trigger=both), *[event(minute=minute, eventId=f"p{minute}") for minute in (0, 20, 60)])
    assert firings(found) == [(50, "p20"), (90, "p60")]


def test_patterns_have_conditions():
    where = "where: [{key: event.attributes.sku, operator: equal, value: x}]"
    rules = absence(trigger=f"absence: {{after: {{event: added, {where}}}, of: {{event: bought, {where}}}, for: 30m}}")
    x, y = {"attributes": {"sku": "x"}}, {"attributes": {"sku": "y"}}
    assert firings(run(rules, event("added", 0, **y))) == []
    assert firings(run(rules, event("added", 0, eventId="a", **x), event("bought", 5, **y))) == [(30, "a")]
    assert firings(run(rules, event("added", 0, **x), event("bought", 5, **x))) == []


def test_conditions_and_segments_beside_an_absence_are_judged_when_it_is_due():
    segment = """
    kind: Segment
    name: known
    when: {key: visitor.customerId, operator: exists}
    """
    written = f"kind: ActionMap\nname: m\nfrequency: every\naction: {{webhook: hello}}\n" \
              f"trigger: {{all: [{{{ABSENCE}}}, {{segment: known}}, " \
              f"{{key: visitor.traits.plan, operator: equal, value: pro}}]}}"  # fmt: skip
    rules = rulebook(segment, written)
    added = event("added", 0, eventId="a")
    assert firings(run(rules, added)) == []
    assert firings(run(rules, added, event("x", 9, customerId="c", traits={"plan": "pro"}))) == [(30, "a")]
    found = run(rules, event("added", 0, customerId="c", traits={"plan": "pro"}), event("x", 9, traits={"plan": "no"}))
    assert (firings(found), reasons(found[-1])) == ([], {"m": "condition-false"})


def test_the_wait_grace_is_added_to_the_due_time():
    policy = Policy(wait_grace_ms=5 * MINUTE)
    assert firings(run(absence(), event("added", 0, eventId="a"), policy=policy)) == [(35, "a")]
    assert firings(run(absence(), event("added", 0), event("bought", 34), policy=policy)) == []


def test_a_late_event_starts_and_cancels_no_wait():
    day = 24 * 60
    found = run(absence(), event("x", 2 * day), event("added", 0), event("added", 2 * day), until=5 * day)
    assert len(firings(found)) == 1


def test_a_delayed_match_fires_later_with_the_event_that_matched_and_the_visitor_as_then():
    rules = compile_rulebook(definitions(
        BASE.replace("{lookup: visitor.id}", "{lookup: visitor.traits.email, onMissing: skip}"),
        f"kind: ActionMap\nname: m\ntrigger: {{event: added}}\naction: {{webhook: hello}}\n{DELAY}",
    ))  # fmt: skip
    found = run(rules, event("added", 0, eventId="a"))
    assert (firings(found), reasons(found[-1])) == ([], {"m": "lookup-missing"})
    found = run(rules, event("added", 0, eventId="a"), event("x", 1, traits={"email": "a@b.example"}))
    assert firings(found) == [(5, "a")]
    assert reasons(found[0]) == {"m": "waiting"}


def test_every_match_of_a_delayed_map_is_remembered_and_each_check_made_when_it_would_fire():
    rules = one_map("{event: added}", f"frequency: every, {DELAY}")
    assert firings(run(rules, event("added", 0, eventId="a"), event("added", 3, eventId="b"))) == [(5, "a"), (8, "b")]
    capped = one_map("{event: added}", DELAY)
    assert firings(run(capped, event("added", 0, eventId="a"), event("added", 3))) == [(5, "a")]
    ends = one_map("{event: added}", f"endDate: 2026-11-21T10:06:00Z, frequency: every, {DELAY}")
    found = run(ends, event("added", 0, eventId="a"), event("added", 1, eventId="b"))
    assert firings(found) == [(5, "a")]
    assert reasons(found[-1]) == {"m": "outside-dates"}


def test_the_page_of_the_event_that_matched_counts_and_not_the_last_one():
    rules = one_map("{event: page_viewed}", f"pageUrls: {{include: [{{operator: endsWith, value: /a}}]}}, {DELAY}")
    a, b = ({"page": {"url": f"https://shop.example/{name}"}} for name in "ab")
    assert firings(run(rules, event(minute=0, eventId="1", **a), event(minute=1, eventId="2", **b))) == [(5, "1")]


def test_a_visitor_has_no_more_than_so_many_waits():
    rules = one_map("{event: added}", f"frequency: every, {DELAY}")
    found = run(rules, *[event("added", n / 1000) for n in range(MAX_WAITS + 7)])
    assert len(firings(found)) == MAX_WAITS
    assert reasons(found[MAX_WAITS + 1]) == {"m": "too-many-waits"}


def test_what_a_visitor_waits_for_is_bounded_in_bytes_too():
    rules = one_map("{event: added}", f"frequency: every, {DELAY}")
    found = run(rules, *[event("added", n, attributes={"x": "y" * 25_000}) for n in range(4)], until=4)
    assert [reasons(one)["m"] for one in found] == ["waiting", "waiting", "too-many-waits", "too-many-waits"]


def test_the_id_of_a_delayed_delivery_is_that_of_its_map_and_event():
    at_once = run(one_map("{event: added}"), event("added", 0, eventId="a"))[0].deliveries[0]
    later = run(one_map("{event: added}", DELAY), event("added", 0, eventId="a"))[-1].deliveries[0]
    assert (later.id, later.body) == (at_once.id, at_once.body)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (f"{{any: [{{{ABSENCE}}}, {{event: x}}]}}", "not in any"),
        (f"{{not: {{{ABSENCE}}}}}", "not in any, not"),
        (f"{{all: [{{all: [{{{ABSENCE}}}]}}]}}", "one top-level all"),
        (f"{{all: [{{{ABSENCE}}}, {{event: x}}]}}", "beside an absence stand only"),
        (f"{{all: [{{{ABSENCE}}}, {{{ABSENCE}}}]}}", "beside an absence stand only"),
        (f"{{all: [{{{ABSENCE}}}, {{key: event.eventName, operator: exists}}]}}", "beside an absence stand only"),
        ("{absence: {after: {event: a}, of: {event: b}, for: 0s}}", "from 1s to 30d"),
        ("{absence: {after: {event: a}, of: {event: b}, for: 31d}}", "from 1s to 30d"),
        ("{absence: {after: {event: a}, of: {event: b}}}", "for"),
        ("{absence: {after: {event: visitor_erased}, of: {event: b}, for: 1m}}", "waits beyond"),
        ("{absence: {after: {event: a}, of: {event: visitor_erased}, for: 1m}}", "waits beyond"),
    ],
)
def test_an_absence_that_could_not_be_meant_is_refused_with_its_place(trigger, said):
    with pytest.raises(DefinitionError, match="trigger") as error:
        one_map(trigger)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("activation: delay", "needs delaySeconds"),
        ("activation: {type: immediate, delaySeconds: 5}", "has no delaySeconds"),
        ("activation: {type: delay, delaySeconds: 0}", "delaySeconds"),
        ("activation: {type: delay, delaySeconds: 99999999}", "delaySeconds"),
    ],
)
def test_a_delay_says_how_long(rest, said):
    with pytest.raises(DefinitionError) as error:
        one_map("{event: added}", rest)
    assert said in str(error.value)


@pytest.mark.parametrize("rest", [DELAY, "activation: onNextSession"])
def test_nothing_waits_beyond_an_erasure(rest):
    with pytest.raises(DefinitionError, match="fires at once"):
        one_map("{any: [{event: added}, {event: visitor_erased}]}", rest)


def test_a_delay_on_an_absence_is_refused():
    with pytest.raises(DefinitionError, match="make the absence longer"):
        one_map(f"{{{ABSENCE}}}", DELAY)

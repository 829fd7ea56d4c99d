"""Counts and sequences, beside a reference that keeps the whole history of a visitor and looks through it each time."""

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import BASE, MINUTE, TEN, after, definitions, event, fired, live, one_map, rulebook

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.paths import Scope
from actionmap.catalog.windows import KEPT_FOR_LATE
from actionmap.decide import Policy
from actionmap.visitor import Session, Visitor, encode_visitor

NAMES = "abcd"
_NOBODY = Visitor("v", 0, 0), Session(1, 0, 0)
TIMEOUT = Policy().session_timeout_ms


def firings(trigger: dict, events: list) -> list[bool]:
    """For each of the events of one visitor: whether a map with the trigger fires at it."""
    return [bool(fired(decision)) for decision in live(one_map(json.dumps(trigger)), *events)]


class History:
    """All that came, in order of arrival, each with the number of its session."""

    def __init__(self, events: list) -> None:
        self.seen: list[tuple[int, int, str, int]] = []
        session, latest = 0, 0
        for arrival, one in enumerate(events):
            if not session or one.time - latest > TIMEOUT:
                session, latest = session + 1, one.time
            latest = max(latest, one.time)
            self.seen.append((one.time, arrival, one.name, session))

    def window(self, arrival: int, window: str) -> list[tuple[int, int, str]]:
        """What has arrived and lies in the window that ends at that event, by event time, equal ones as they came."""
        at, _, _, session = self.seen[arrival]
        return sorted(
            (time, number, name)
            for time, number, name, of in self.seen[: arrival + 1]
            if time <= at
            and (window != "session" or of == session)
            and (window in ("session", "lifetime") or time > at - int(window[:-1]) * MINUTE)
        )


def counted(events: list, name: str, window: str, at_least: int | None, at_most: int | None) -> list[bool]:
    history = History(events)
    numbers = [sum(other == name for _, _, other in history.window(n, window)) for n in range(len(events))]
    return [(at_least is None or n >= at_least) and (at_most is None or n <= at_most) for n in numbers]


def sequenced(events: list, steps: str, without: str, window: str) -> list[bool]:
    history, found = History(events), []
    for n, one in enumerate(events):
        seen = [item for item in history.window(n, window) if item[1] == n or item[:2] < (one.time, n)]
        chains = (
            chain
            for chain in combinations(range(len(seen)), len(steps))
            if seen[chain[-1]][1] == n
            and all(seen[place][2] == step for place, step in zip(chain, steps, strict=True))
            and not any(seen[between][2] in without for between in range(chain[0] + 1, chain[-1]))
        )
        found.append(any(chains))
    return found


@st.composite
def streams(draw):
    """Events that mostly come in order, some far too late, with gaps that end sessions."""
    at, made = 0.0, []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12)):
        at += draw(st.sampled_from((0, 0, 1, 3, 7, 25)))
        back = draw(st.sampled_from((0, 0, 0, 0, 2, 10, 60)))
        made.append(event(name, max(0, at - back)))
    return made


windows = st.sampled_from(("1m", "5m", "30m", "session", "lifetime"))


@given(streams(), st.sampled_from(NAMES), windows, st.none() | st.integers(0, 4), st.none() | st.integers(0, 4))
def test_a_count_is_that_of_the_whole_history(events, name, window, at_least, at_most):
    if (at_least is None and at_most is None) or (at_least or 0) > (10 if at_most is None else at_most):
        return
    bounds = {"atLeast": at_least, "atMost": at_most}
    trigger = {"count": {"event": name, "within": window} | {k: v for k, v in bounds.items() if v is not None}}
    assert firings(trigger, events) == counted(events, name, window, at_least, at_most)


@given(streams(), st.text(NAMES, min_size=2, max_size=3), st.text("cd", max_size=2), windows)
def test_a_sequence_is_one_of_the_whole_history(events, steps, without, window):
    sequence = {"steps": [{"event": step} for step in steps], "within": window}
    sequence |= {"without": [{"event": name} for name in without]} if without else {}
    assert firings({"sequence": sequence}, events) == sequenced(events, steps, without, window)


@given(streams(), st.text(NAMES, min_size=2, max_size=3), windows)
def test_what_is_kept_in_short_form_tells_the_same_of_events_in_order(events, steps, window):
    """Long after `KEPT_FOR_LATE`: the chain's start must survive being folded."""
    events = sorted(events, key=lambda one: one.time)
    many = [event("d", events[-1].time / MINUTE - TEN / MINUTE + n * 0.001) for n in range(KEPT_FOR_LATE + 5)]
    stream = [*events, *many, event(steps[-1], many[-1].time / MINUTE - TEN / MINUTE + 0.5)]
    sequence = {"steps": [{"event": step} for step in steps], "without": {"event": "never"}, "within": window}
    assert firings({"sequence": sequence}, stream) == sequenced(stream, steps, "", window)


def test_a_window_is_half_open():
    count = {"count": {"event": "a", "atLeast": 2, "within": "10m"}}
    assert firings(count, [event("a"), event("a", 10)]) == [False, False]
    assert firings(count, [event("a"), event("a", 9.99)]) == [False, True]
    sequence = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "within": "10m"}}
    assert firings(sequence, [event("a"), event("b", 10)]) == [False, False]
    assert firings(sequence, [event("a"), event("b", 9.99)]) == [False, True]


def test_an_earlier_event_that_comes_after_the_last_step_completes_nothing():
    sequence = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "within": "10m"}}
    assert firings(sequence, [event("b", 5), event("a", 3), event("b", 6)]) == [False, False, True]


def test_one_event_is_one_step_only():
    twice = {"sequence": {"steps": [{"event": "a"}, {"event": "a"}], "within": "10m"}}
    assert firings(twice, [event("a"), event("a", 1)]) == [False, True]


def test_what_breaks_a_sequence_may_itself_be_its_first_or_last_step():
    around = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "without": {"event": "a"}, "within": "1h"}}
    assert firings(around, [event("a"), event("a", 1), event("b", 2)]) == [False, False, True]
    last = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "without": {"event": "b"}, "within": "1h"}}
    assert firings(last, [event("a"), event("b", 1), event("b", 2)]) == [False, True, False]


def test_a_late_event_counts_in_no_window():
    count = {"count": {"event": "a", "atLeast": 2, "within": "lifetime"}}
    day = 24 * 60
    assert firings(count, [event("a", day + 1), event("a"), event("x", day + 2), event("a", day + 3)]) == [
        False, False, False, True,
    ]  # fmt: skip


def test_leaves_of_one_pattern_share_what_is_remembered():
    maps = [
        f"{{kind: ActionMap, name: m{n}, frequency: every, action: {{webhook: hello}}, "
        f"trigger: {{count: {{event: a, atLeast: {n}, within: {n}m}}}}}}"
        for n in (2, 5)
    ]
    rules = rulebook(*maps)
    visitor = after(rules, *(event("a", n / 10) for n in range(8)))
    assert len(visitor.counts) == 1
    assert fired(live(rules, event("a", 0.9), visitor=visitor)[0]) == ["m2", "m5"]


def test_what_no_definition_asks_for_any_more_is_forgotten():
    asked = rulebook(
        "{kind: ActionMap, name: m, action: {webhook: hello}, trigger: {all: ["
        "{count: {event: a, atLeast: 1, within: 5m}}, {count: {event: a, atLeast: 1, within: session}},"
        "{sequence: {steps: [{event: a}, {event: b}], within: 5m}}]}}"
    )
    visitor = after(asked, event("a"))
    assert (len(visitor.counts), len(visitor.session.counts), len(visitor.tracks)) == (1, 1, 1)
    other = one_map("{count: {event: b, atLeast: 1, within: 5m}}")
    [later] = live(other, event("b", 60), visitor=visitor)
    assert (len(later.visitor.counts), later.visitor.session.counts, later.visitor.tracks) == (1, {}, {})


@pytest.mark.parametrize("gap", [0.001, 1, 60, 600])
def test_what_is_remembered_stays_bounded_whatever_the_visitor_does(gap):
    temporal = [
        *({"count": {"event": "a", "atLeast": n, "within": within}} for n, within in
          ((2, "10m"), (3, "1h"), (5, "7d"), (3, "session"), (4, "lifetime"))),
        *({"sequence": {"steps": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": within,
                        "without": {"event": "d"}}} for within in ("10m", "1h", "7d", "session", "lifetime")),
    ]  # fmt: skip
    rules = rulebook(*(json.dumps({"kind": "ActionMap", "name": f"m{n}", "trigger": trigger,
                                   "action": {"webhook": "hello"}}) for n, trigger in enumerate(temporal)))  # fmt: skip
    names = "aabac"
    sizes = [
        len(encode_visitor(after(rules, *(event(names[n % 5], n * gap) for n in range(number)))))
        for number in (200, 600)
    ]
    assert sizes[1] < sizes[0] * 1.1
    assert sizes[1] < 8_000


def test_actionmaps_own_events_are_counted_by_nobody():
    with pytest.raises(Exception, match="touches no counter"):
        one_map("{count: {event: segment_assigned, atLeast: 1, within: session}}")


def test_an_event_that_comes_too_late_to_be_told_completes_no_sequence_and_proves_no_lack():
    """Overtaken by more events than are kept as they are, it may be missed, and never makes a map fire wrongly."""
    later = [event("a", 10 + n) for n in range(KEPT_FOR_LATE + 3)]
    sequence = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "within": "60m"}}
    assert firings(sequence, [*later, event("b", 5)])[-1] is False
    assert firings(sequence, [*later, event("b", 9), event("b", 40)])[-1] is True
    none = {"all": [{"event": "b"}, {"count": {"event": "a", "atMost": 0, "within": "5m"}}]}
    assert firings(none, [*later, event("b", 12)])[-1] is False
    assert firings(none, [*later, event("b", 60)])[-1] is True


MANY = [
    {"count": {"event": "a", "where": [{"key": "event.attributes.n", "value": n}], "atLeast": 2, "within": "30m"}}
    if n % 2
    else {"sequence": {"steps": [{"event": "a", "where": [{"key": "event.attributes.n", "value": n}]}, {"event": "b"}],
                       "without": {"event": "a", "where": [{"key": "event.attributes.n", "value": n + 1}]},
                       "within": "1h"}}
    for n in range(40)
]  # fmt: skip


def a_map(number: int) -> str:
    made = {"kind": "ActionMap", "name": f"m{number:02}", "trigger": MANY[number], "frequency": "every"}
    return json.dumps(made | {"action": {"webhook": "hello"}})


ALONE = [rulebook(a_map(number)) for number in range(len(MANY))]
TOGETHER = rulebook(*map(a_map, range(len(MANY))))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 41), st.integers(0, 5)), min_size=1, max_size=10))
def test_where_much_is_remembered_of_one_name_the_index_finds_what_an_event_belongs_to(stream):
    events = [event(name, minute, attributes={"n": n}) for minute, (name, n, _) in enumerate(stream)]
    assert TOGETHER.memories["a"].index is not None
    alone = [live(one, *events) for one in ALONE]
    expected = [
        [f"m{number:02}" for number, one in enumerate(alone) if fired(one[place])] for place in range(len(events))
    ]
    assert [fired(decision) for decision in live(TOGETHER, *events)] == expected


def test_a_change_of_what_is_remembered_changes_the_index_by_it():
    base = definitions(BASE)
    before = compile_rulebook(base | definitions(*map(a_map, range(30))))
    after_it = compile_rulebook(base | definitions(*map(a_map, range(5, 35))), 2, None, before)
    anew = compile_rulebook(base | definitions(*map(a_map, range(5, 35))))
    for n in range(40):
        keys = [[memory.key for memory in rules.memories["a"].of(Scope(event("a", attributes={"n": n}), *_NOBODY))]
                for rules in (after_it, anew)]  # fmt: skip
        assert keys[0] == keys[1]

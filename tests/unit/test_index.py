"""The index brings up every map that matches: whatever it leaves out would have been false."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shop import BASE, definitions, event, live, page, rulebook

from actionmap.catalog.documents import Document
from actionmap.catalog.parse import parse_definition
from actionmap.catalog.rulebook import Rulebook, compile_rulebook
from actionmap.decide.observe import observe

BASIS = definitions(
    BASE,
    "{kind: Segment, name: known, when: {key: visitor.traits.a, operator: exists}}",
    "{kind: Segment, name: pro, when: {key: visitor.traits.b, value: pro}}",
)
# Few values, in all their spellings, so that many conditions match; prefixes that are prefixes of each other.
TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "abd",
    "b",
    "10",
    "10.0",
    "1",
    "true",
    "false",
    "True",
    "\u00e9",
    "e\u0301",
    "\U0001f600",
    "\uffff",
    "ab\x00",
]
literals = st.sampled_from([*TEXTS, 10, 10.0, 1, 0, 1.5, -1, 10**20, True, False])
keys = st.sampled_from(
    [
        "event.attributes.a",
        "event.attributes.b",
        "session.attributes.a",
        "visitor.traits.a",
        "visitor.traits.b",
        "event.attributes.a.x",
        "event.attributes.a.0",
        "event.page.pathname",
        "visitor.segments",
        "event.eventName",
        "session.searchTerms",
    ]
)
names = st.sampled_from(["page_viewed", "cart_added", "x"])


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(
        st.sampled_from(["equal", "in", "startsWith", "notEqual", "containsAny", "endsWith", "greaterThan", "exists"])
    )
    sizes = {"greaterThan": (1, 1), "exists": (0, 0)}
    low, high = sizes.get(operator, (1, 3))
    made = {"key": draw(keys), "operator": operator, "values": draw(st.lists(literals, min_size=low, max_size=high))}
    return made | ({"ignoreCase": True} if draw(st.integers(0, 4)) == 0 else {})


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    where = st.lists(conditions(), max_size=2)
    return (
        conditions()
        | st.builds(lambda name, where: {"event": name, "where": where}, names, where)
        | st.sampled_from([{"segment": "known"}, {"segment": "pro"}])
        | st.builds(
            lambda name, where, least: {
                "count": {"event": name, "where": where, "atLeast": least, "within": "session"}
            },
            names,
            where,
            st.integers(0, 2),
        )
    )


triggers = st.recursive(
    leaves(),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
        | inner.map(lambda part: {"not": part})
    ),
    max_leaves=6,
)
values = st.recursive(
    st.none() | literals | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "0"]), inner, max_size=2),
    max_leaves=4,
)
bags = st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)
events = st.builds(
    lambda name, attributes, traits, path, search: event(
        name, attributes=attributes, traits=traits, page={"url": f"https://shop.example/{path}"}, searchQuery=search
    ),
    names,
    bags,
    bags,
    st.sampled_from(["", "a", "ab", "abc"]),
    st.sampled_from(["", "a", "ab"]),
)


def compiled(written: list[dict[str, Any]]) -> Rulebook:
    maps = [
        {"kind": "ActionMap", "name": f"m{number}", "trigger": trigger, "action": {"webhook": "hello"}}
        for number, trigger in enumerate(written)
    ]
    return compile_rulebook(BASIS | {f"ActionMap/{one['name']}": parse_definition(Document(data=one)) for one in maps})


def found_and_matching(rules: Rulebook, seen: list) -> list[tuple[list[int], list[int]]]:
    """For each event: the candidates of the index, and the maps whose test is true."""
    visitor, pairs = None, []
    for one in seen:
        scope = observe(visitor, one, rules, 1_200_000)
        visitor = scope.visitor
        matching = [position for position, some in enumerate(rules.maps) if some.test(scope)]
        pairs.append((rules.index.candidates(scope), matching))
    return pairs


@settings(max_examples=400, deadline=None)
@given(st.lists(triggers, min_size=1, max_size=8), st.lists(events, min_size=1, max_size=3))
def test_the_index_never_loses_a_match(written, seen):
    for candidates, matching in found_and_matching(compiled(written), seen):
        assert set(matching) <= set(candidates)
        assert candidates == sorted(set(candidates))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.text("ab\U0001f600", min_size=1, max_size=6), min_size=1, max_size=2), min_size=1, max_size=12
    ),
    st.text("ab\U0001f600c", max_size=9),
)
@example([["a"], ["ab"], ["abc"], ["b"]], "abcd")
def test_prefixes_of_prefixes_are_all_found_and_nothing_else(prefixes, text):
    rules = compiled([{"key": "event.attributes.a", "operator": "startsWith", "values": some} for some in prefixes])
    [(candidates, matching)] = found_and_matching(rules, [event(attributes={"a": text})])
    assert candidates == matching
    assert len(matching) == sum(text.startswith(tuple(some)) for some in prefixes)


@settings(deadline=None)
@given(st.lists(st.lists(literals, min_size=1, max_size=3), min_size=1, max_size=6), values)
def test_equalities_bring_up_exactly_the_maps_that_match(wanted, value):
    rules = compiled([{"key": "event.attributes.a", "values": some} for some in wanted])
    [(candidates, matching)] = found_and_matching(rules, [event(attributes={"a": value})])
    assert candidates == matching


@pytest.mark.parametrize(
    ("trigger", "looked_at"),
    [
        ({"event": "page_viewed"}, False),
        ({"event": "page_viewed", "where": [{"key": "event.attributes.a", "value": 1}]}, False),
        (
            {"all": [{"not": {"event": "x"}}, {"key": "event.page.pathname", "operator": "startsWith", "value": "/q"}]},
            False,
        ),
        ({"segment": "known"}, False),
        ({"any": [{"event": "page_viewed"}, {"segment": "known"}]}, False),
        ({"not": {"event": "cart_added"}}, True),
        ({"any": [{"event": "page_viewed"}, {"not": {"segment": "known"}}]}, True),
        ({"key": "event.attributes.a", "value": "X", "ignoreCase": True}, True),
    ],
)
def test_a_map_that_an_event_cannot_match_is_not_even_looked_at(trigger, looked_at):
    [(candidates, _)] = found_and_matching(compiled([trigger]), [event("cart_added")])
    assert bool(candidates) is looked_at


def test_among_a_thousand_maps_only_those_of_the_page_are_looked_at():
    maps = [
        f"{{kind: ActionMap, name: m{number:04}, action: {{webhook: hello}}, trigger: {{event: page_viewed, "
        f"where: [{{key: event.page.pathname, operator: startsWith, value: /p{number:04}}}]}}}}"
        for number in range(1000)
    ]
    [decision] = live(rulebook(*maps), page("https://shop.example/p0042/x"))
    assert [(verdict.action_map, verdict.reason) for verdict in decision.verdicts] == [("m0042", "fired")]


def test_a_map_that_is_looked_at_and_does_not_match_gets_its_verdict():
    rules = rulebook(
        "{kind: ActionMap, name: m, action: {webhook: hello}, trigger: {event: page_viewed, where: "
        f"[{json.dumps({'key': 'visitor.id', 'operator': 'notEqual', 'value': 'v1'})}]}}}}"
    )
    assert [verdict.reason for verdict in live(rules, event())[0].verdicts] == ["condition-false"]


SPELLINGS = [
    "10",
    "10.0",
    "010",
    10,
    10.0,
    "1",
    1,
    1.0,
    True,
    "true",
    "True",
    False,
    "false",
    0,
    "0",
    "",
    "a",
    1.5,
    "1.50",
    10**20,
]


@pytest.mark.parametrize("value", [*SPELLINGS, SPELLINGS, [["a"]], {"a": "a"}, None], ids=repr)
def test_whatever_equals_a_value_is_found_in_any_spelling(value):
    rules = compiled([{"key": "event.attributes.a", "values": [literal]} for literal in SPELLINGS])
    [(candidates, matching)] = found_and_matching(rules, [event(attributes={"a": value})])
    assert candidates == matching

"""The index brings up every map that matches: whatever it leaves out would have been false."""

import dataclasses
import json
import os
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from shop import BASE, definitions, event, live, page, rulebook

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.index import Index, Sizes
from actionmap.catalog.parse import parse_definition
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide import Policy
from actionmap.decide.observe import observe
from actionmap.event import Event
from trigger_strategies import nested

#: A long run: EXAMPLES=5000.
EXAMPLES = int(os.environ.get("EXAMPLES", "100"))

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
    "AB",
    "10",
    "10.0",
    "1",
    "-1.50",
    "true",
    "false",
    "True",
    "\u00e9",
    "e\u0301",
    "\u1e9e",
    "\U0001f600",
    "\uffff",
    "ab\x00",
    "2026-11-21T10:00:00Z",
    "2026-11-21T11:30:00+01:00",
]
literals = st.sampled_from([*TEXTS, 10, 10.0, 1, 0, 1.5, -1, -1.5, 10**20, 1e300, True, False])
KEYS = [
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
    "session.eventCount",
]
names = st.sampled_from(["page_viewed", "cart_added", "x"])
OPERATORS = {
    "equal": (1, 3),
    "in": (1, 3),
    "startsWith": (1, 3),
    "endsWith": (1, 3),
    "containsAny": (1, 3),
    "containsAll": (1, 3),
    "matches": (1, 2),
    "exists": (0, 0),
    "greaterThan": (1, 1),
    "greaterThanOrEqual": (1, 1),
    "lessThan": (1, 1),
    "lessThanOrEqual": (1, 1),
    "between": (2, 2),
    "notEqual": (1, 3),
    "notIn": (1, 3),
    "notContainsAny": (1, 3),
    "notContainsAll": (1, 3),
    "notExists": (0, 0),
}
#: How a large index is built, and ways in which a few maps already fill all of its parts.
SIZES = [Sizes(), Sizes(crowd=0, block=3), Sizes(crowd=1, block=1), Sizes(crowd=0, block=2048)]


@st.composite
def conditions(draw: st.DrawFn, keys: tuple[str, ...] = tuple(KEYS)) -> dict[str, Any]:
    operator = draw(st.sampled_from(sorted(OPERATORS)))
    low, high = OPERATORS[operator]
    values = draw(st.lists(literals, min_size=low, max_size=high))
    made = {"key": draw(st.sampled_from(keys)), "operator": operator, "values": values}
    return made | ({"ignoreCase": True} if draw(st.integers(0, 4)) == 0 else {})


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    where = st.lists(conditions(), max_size=2)
    return (
        conditions()
        | st.builds(lambda name, where: {"event": name, "where": where}, names, where)
        | st.sampled_from([{"segment": "known"}, {"segment": "pro"}])
        | st.sampled_from([{"segmentEntered": "known"}, {"segmentLeft": "pro"}])
        | st.builds(
            lambda name, where, least: {
                "count": {"event": name, "where": where, "atLeast": least, "within": "session"}
            },
            names,
            where,
            st.integers(0, 2),
        )
        | st.builds(
            lambda first, last: {"sequence": {"steps": [{"event": first}, {"event": last}], "within": "1d"}},
            names,
            names,
        )
    )


triggers = nested(leaves())
values = st.recursive(
    st.none() | literals | st.text(max_size=3) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "0"]), inner, max_size=2),
    max_leaves=4,
)
bags = st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)


def happened(name: str, attributes: dict, traits: dict, path: str, search: str) -> Event:
    sent = event(name, page={"url": f"https://shop.example/{path}"}, searchQuery=search)
    return replace(sent, attributes=attributes, traits=traits)


events = st.builds(
    happened, names, bags, bags, st.sampled_from(["", "a", "ab", "abc"]), st.sampled_from(["", "a", "ab"])
)


def compiled(written: Sequence[dict[str, Any]], first: int = 0) -> Rulebook:
    maps = [
        {"kind": "ActionMap", "name": f"m{number}", "trigger": trigger, "action": {"webhook": "hello"}}
        for number, trigger in enumerate(written, first)
    ]
    return compile_rulebook(BASIS | {f"ActionMap/{one['name']}": parse_definition(Document(data=one)) for one in maps})


def scopes(rules: Rulebook, seen: Sequence[Event]) -> list[Scope]:
    """What the index is asked at each event of one visitor."""
    visitor, found = None, []
    for one in seen:
        scope = observe(visitor, one, rules, one.time, Policy())
        visitor = scope.visitor
        found.append(scope)
    return found


def matching(rules: Rulebook, scope: Scope) -> list[str]:
    return [one.name for one in rules.maps if one.test(scope)]


def candidates(index: Index, scope: Scope) -> list[str]:
    """Names of the candidates, which come by priority, then name, each once."""
    found = index.candidates(scope)
    orders = [one.order for one in found]
    assert orders == sorted(set(orders))
    return [one.name for one in found]


@settings(max_examples=EXAMPLES * 4)
@given(st.lists(triggers, min_size=1, max_size=8), st.lists(events, min_size=1, max_size=3), st.sampled_from(SIZES))
def test_the_index_never_loses_a_match(written, seen, sizes):
    rules = compiled(written)
    index = Index(rules.index.entries(), sizes)
    for scope in scopes(rules, seen):
        true = set(matching(rules, scope))
        assert true <= set(candidates(index, scope))
        assert {one.name for one, surely in index.find(scope) if surely and one.exact} <= true


@settings(max_examples=EXAMPLES * 4)
@given(
    st.lists(nested(conditions(("event.attributes.a", "event.attributes.b"))), min_size=1, max_size=6),
    st.lists(events, min_size=1, max_size=4),
)
def test_what_is_judged_in_blocks_is_judged_as_the_operators_say(written, seen):
    rules = compiled(written)
    index = Index(rules.index.entries(), Sizes(crowd=0, block=4))
    for scope in scopes(rules, seen):
        assert candidates(index, scope) == matching(rules, scope)


LITERALS = [*TEXTS, 10, 1, 1.5, -1, 10**20, True, False]
ALONE = [
    {"key": "event.attributes.a", "operator": operator, "values": some, "ignoreCase": ignore_case}
    for operator, (least, most) in OPERATORS.items()
    for ignore_case in (False, True)
    for some in [[], *([one] for one in LITERALS), ["a", 10], [1, "10"], [-1, 10], ["b", "ab"]]
    if least <= len(some) <= most
]
VALUES = [
    *LITERALS,
    -1.5,
    -2,
    10.0,
    0,
    9.99,
    11,
    1.0,
    "xabx",
    "\u0130",
    "e\u0301x",
    "2026-11-21T10:00:00.5Z",
    "2027-01-01T00:00:00Z",
]


@pytest.fixture(scope="module")
def every_operator() -> Rulebook:
    return compiled(ALONE)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    "values", [[*VALUES, None, {"a": 1}, [], *([one] for one in VALUES), VALUES], VALUES[::-1]], ids=["forth", "back"]
)
def test_every_operator_meets_every_value_in_blocks_and_beside_them(every_operator, sizes, values):
    [scope] = scopes(every_operator, [event()])
    entries = every_operator.index.entries()
    for operator in (*OPERATORS, "all of them"):
        wanted = {f"m{number}" for number, one in enumerate(ALONE) if operator in (one["operator"], "all of them")}
        index = Index([entry for entry in entries if entry[0].name in wanted], sizes)
        for value in values:
            scope.event = replace(scope.event, attributes={"a": value})
            found = candidates(index, scope)
            true = [one.name for one, _ in entries if one.name in wanted and one.test(scope)]
            assert found == true if sizes.crowd == 0 else set(found) >= set(true), (operator, value)


@settings(max_examples=EXAMPLES * 2)
@given(
    st.lists(triggers, min_size=1, max_size=6),
    st.lists(st.dictionaries(st.integers(0, 8), st.none() | triggers, max_size=3), min_size=1, max_size=4),
    st.lists(events, min_size=1, max_size=2),
    st.sampled_from(SIZES),
)
def test_after_changes_it_finds_what_one_built_anew_would(written, changes, seen, sizes):
    at_hand = dict(enumerate(written))
    first = index = Index(compiled(written).index.entries(), sizes)
    for change in changes:
        at_hand = {number: one for number, one in (at_hand | change).items() if one is not None}
        entries = [entry for number in at_hand for entry in compiled([at_hand[number]], number).index.entries()]
        changed = {f"m{number}" for number in change}
        rules = dataclasses.replace(
            compiled([]), maps=tuple(sorted((one for one, _ in entries), key=lambda one: one.order))
        )
        index = index.with_changes(
            changed, sorted([one for one in entries if one[0].name in changed], key=lambda one: one[0].order)
        )
        for scope in scopes(compiled([*at_hand.values()]), seen):
            for some in (index, index.merged(), first.brought_to(index)):
                found = candidates(some, scope)
                assert {one.name for one in rules.maps if one.test(scope)} <= set(found) <= {f"m{n}" for n in at_hand}


@pytest.mark.parametrize("removed", [(), ("m0000",)])
def test_a_map_whose_clauses_stay_is_replaced_where_it_stands(removed):
    index = rulebook(*(NUMBERED.format(number=number) for number in range(20))).index
    (old, clauses), *_ = index.entries()
    new = dataclasses.replace(old, version=7)
    after = index.with_changes(removed, [(new, clauses)])
    scope = scopes(rulebook(), [page("https://shop.example/p0000/x")])[0]
    assert [one.version for one in after.candidates(scope)] == [7]
    assert [one.version for one in index.candidates(scope)] == [1]
    assert not after.overgrown


def test_a_change_that_is_taken_back_leaves_nothing_behind():
    index = rulebook(*(NUMBERED.format(number=number) for number in range(20))).index
    [entry] = [entry for entry in index.entries() if entry[0].name == "m0003"]
    [other] = rulebook(NUMBERED.format(number=3).replace("value: /p0003", "value: /q")).index.entries()
    after = index.with_changes(("m0003",), [other]).with_changes(("m0003",), [entry])
    for path, found in (("p0003", ["m0003"]), ("q", []), ("p0004", ["m0004"])):
        [scope] = scopes(rulebook(), [page(f"https://shop.example/{path}")])
        assert candidates(after, scope) == candidates(after.merged(), scope) == found


def test_an_index_says_when_it_is_worth_building_anew():
    entries = rulebook(*(NUMBERED.format(number=number) for number in range(600))).index.entries()
    index = Index(entries[:300]).with_changes((), entries[300:])
    assert index.overgrown
    assert not index.merged().overgrown
    assert len(index.merged().entries()) == 600


@settings(max_examples=EXAMPLES * 2)
@given(
    st.lists(
        st.lists(st.text("ab\U0001f600", min_size=1, max_size=6), min_size=1, max_size=2), min_size=1, max_size=12
    ),
    st.text("ab\U0001f600c", max_size=9),
    st.sampled_from(["startsWith", "endsWith", "containsAny"]),
)
@example([["a"], ["ab"], ["abc"], ["b"]], "abcd", "startsWith")
def test_parts_of_parts_of_texts_are_all_found_and_nothing_else(parts, text, operator):
    rules = compiled([{"key": "event.attributes.a", "operator": operator, "values": some} for some in parts])
    [scope] = scopes(rules, [event(attributes={"a": text})])
    assert candidates(rules.index, scope) == matching(rules, scope)


@given(st.lists(st.lists(literals, min_size=1, max_size=3), min_size=1, max_size=6), values)
def test_equalities_bring_up_exactly_the_maps_that_match(wanted, value):
    rules = compiled([{"key": "event.attributes.a", "values": some} for some in wanted])
    [scope] = scopes(rules, [event(attributes={"a": value})])
    assert candidates(rules.index, scope) == matching(rules, scope)


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
        ({"key": "event.attributes.a", "value": "X", "ignoreCase": True}, False),
        ({"key": "event.attributes.a", "operator": "endsWith", "value": "x"}, False),
        ({"key": "event.attributes.a", "operator": "containsAll", "values": ["x", "y"]}, False),
        ({"key": "event.attributes.a", "operator": "greaterThan", "value": 5}, False),
        ({"key": "event.attributes.a", "operator": "matches", "value": "x"}, False),
        ({"not": {"event": "cart_added"}}, True),
        ({"any": [{"event": "page_viewed"}, {"not": {"segment": "known"}}]}, True),
    ],
)
def test_a_map_that_an_event_cannot_match_is_not_even_looked_at(trigger, looked_at):
    rules = compiled([trigger])
    [scope] = scopes(rules, [event("cart_added")])
    assert bool(candidates(rules.index, scope)) is looked_at


NUMBERED = (
    "{{kind: ActionMap, name: m{number:04}, action: {{webhook: hello}}, trigger: {{event: page_viewed, "
    "where: [{{key: event.page.pathname, operator: startsWith, value: /p{number:04}}}]}}}}"
)


def test_among_a_thousand_maps_only_those_of_the_page_are_looked_at():
    maps = [NUMBERED.format(number=number) for number in range(1000)]
    [decision] = live(rulebook(*maps), page("https://shop.example/p0042/x"))
    assert [(verdict.action_map, verdict.reason) for verdict in decision.verdicts] == [("m0042", "fired")]


@pytest.mark.parametrize(
    "crowded",
    [
        [{"key": "event.page.pathname", "value": "/"}],
        [{"key": "event.page.pathname", "operator": "notEqual", "value": "/other"}],
        [],
    ],
    ids=["one hot page", "nothing to look up but ranges", "ranges alone"],
)
def test_among_a_thousand_maps_that_share_what_they_ask_only_those_that_match_are_looked_at(crowded):
    ranges = [
        [
            {"key": "event.attributes.value", "operator": "between", "values": [number, number + 3]},
            {"key": "session.eventCount", "operator": "lessThan", "value": 100},
        ]
        for number in range(1000)
    ]
    rules = compiled([{"all": [*crowded, *some]} for some in ranges])
    [scope] = scopes(rules, [page("https://shop.example/", attributes={"value": 500.5})])
    assert candidates(rules.index, scope) == matching(rules, scope) == ["m498", "m499", "m500"]


def test_a_map_that_is_looked_at_and_does_not_match_gets_its_verdict():
    rules = rulebook(
        "{kind: ActionMap, name: m, action: {webhook: hello}, trigger: {event: page_viewed, where: "
        f"[{json.dumps({'key': 'visitor.id', 'operator': 'notEqual', 'value': 'v1'})}]}}}}"
    )
    assert [verdict.reason for verdict in live(rules, event())[0].verdicts] == ["condition-false"]


class Counted(dict):
    """Attributes that count how often one of them is read."""

    reads = 0

    def get(self, name: str, default: Any = None) -> Any:
        self.reads += 1
        return super().get(name, default)


def test_of_thousands_of_attributes_that_maps_ask_for_only_those_of_the_event_are_read():
    rules = compiled(
        [{"key": f"event.attributes.a{number}", "operator": "greaterThan", "value": 1} for number in range(2000)]
    )
    [scope] = scopes(rules, [event()])
    attributes = Counted({"a7": 2, "a8": 1, "other": 1})
    scope.event = replace(scope.event, attributes=attributes)
    assert "m7" in candidates(rules.index, scope)
    assert attributes.reads <= len(attributes)


def test_whatever_values_come_what_is_remembered_of_them_is_bounded():
    rules = compiled(
        [{"key": "event.attributes.a", "operator": "notContainsAny", "value": f"x{number}"} for number in range(100)]
    )
    [scope] = scopes(rules, [event()])

    def ask(first: int) -> None:
        for number in range(first, first + 2000):
            scope.event = replace(scope.event, attributes={"a": f"text {number}"})
            rules.index.candidates(scope)

    ask(0)
    tracemalloc.start()
    try:
        ask(2000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000


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
    [scope] = scopes(rules, [event(attributes={"a": value})])
    assert candidates(rules.index, scope) == matching(rules, scope)

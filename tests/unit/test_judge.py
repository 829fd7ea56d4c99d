"""From matched to fired: the order of the checks, the verdict of the first that fails, and what is owed."""

import json
from copy import deepcopy
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import BASE, TEN, after, definitions, event, fired, live, one_map, page, reasons, rulebook

from actionmap.catalog.clauses import ANYTHING
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.index import Index
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide import Policy, decide
from actionmap.delivery import decode_dead_letter, delivery_id, encode

PAGE = "https://shop.example/pricing"
#: What must hold for a map to fire, each with what breaks it, in the order in which it is checked.
LADDER = {
    "condition-false": ("trigger: {event: page_viewed}", "trigger: {event: other}"),
    "not-live": ("action: {webhook: hello}", "action: {webhook: draft}"),
    "outside-dates": ("endDate: 2027-01-01T00:00:00Z", "endDate: 2020-01-01T00:00:00Z"),
    "page-url": ("pageUrls: {}", "pageUrls: {exclude: [{operator: containsAny, value: /pricing}]}"),
    "capped": ("frequency: {max: 2}", "frequency: {max: 1}"),
}
DRAFT = """
kind: Webhook
name: draft
dataAction: greet
mappings: {who: {lookup: visitor.traits.email, onMissing: skip}}
"""
#: The same webhook, but its lookup finds nothing.
EMPTY_HANDED = BASE.replace("{lookup: visitor.id}", "{lookup: visitor.traits.email, onMissing: skip}")


def verdict_when(broken: set[str], base: str = EMPTY_HANDED) -> str:
    """The verdict on a second matching event, with some checks failing."""
    lines = [bad if reason in broken else good for reason, (good, bad) in LADDER.items()]
    rules = compile_rulebook(definitions(base, DRAFT, "kind: ActionMap\nname: m\n" + "\n".join(lines)))
    visitor = live(rules, page(PAGE))[0].visitor
    visitor.session.fired = {"m": 1}
    return reasons(live(rules, page(PAGE, 1), visitor=visitor)[0]).get("m", "condition-false")


@pytest.mark.parametrize("first", range(len(LADDER) + 1))
def test_the_first_check_that_fails_is_the_verdict(first):
    names = list(LADDER)
    expected = [*names, "lookup-missing"][first]
    assert verdict_when(set(names[first:])) == expected


def test_with_nothing_in_the_way_it_fires():
    assert verdict_when(set(), BASE) == "fired"


@pytest.mark.parametrize("reason", LADDER)
def test_each_check_alone_keeps_it_from_firing(reason):
    assert verdict_when({reason}, BASE) == reason


# --- live


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: hello\ndataAction: greet\nstate: published", "name: hello\ndataAction: greet\nstate: draft", "webhook"),
        (
            "name: hello\ndataAction: greet\nstate: published",
            "name: hello\ndataAction: greet\nstate: archived",
            "archived",
        ),
        ("integration: crm\nstate: published", "integration: crm\nstate: draft", "data action greet"),
        ("baseUrl: https://crm.example.com", "baseUrl: https://crm.example.com\nactive: false", "integration crm"),
    ],
)
def test_a_chain_that_is_not_all_live_fires_nothing_and_says_why(old, new, said):
    assert old in BASE
    text = "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}"
    [decision] = live(compile_rulebook(definitions(BASE.replace(old, new), text)), event())
    [verdict] = decision.verdicts
    assert verdict.reason == "not-live"
    assert said in verdict.detail
    assert decision.deliveries == ()


def test_an_inactive_map_gets_no_verdict_at_all():
    assert live(one_map("{event: page_viewed}", "active: false"), event())[0].verdicts == ()


# --- dates


def test_the_start_is_inclusive_and_the_end_exclusive():
    rules = one_map(
        "{event: page_viewed}", "startDate: 2026-11-21T10:00:00Z, endDate: 2026-11-21T10:01:00Z, frequency: every"
    )
    millisecond = 1 / 60_000
    minutes = [-millisecond, 0, 1 - millisecond, 1]
    assert [reasons(live(rules, event(minute=minute))[0])["m"] for minute in minutes] == [
        "outside-dates",
        "fired",
        "fired",
        "outside-dates",
    ]


def test_dates_are_read_with_their_offset():
    rules = one_map("{event: page_viewed}", "startDate: 2026-11-21T12:00:00+02:00")
    assert fired(live(rules, event())[0]) == ["m"]


# --- pages


@pytest.mark.parametrize(
    ("urls", "url", "expected"),
    [
        ("include: [{operator: startsWith, value: 'https://shop.example/'}]", PAGE, "fired"),
        ("include: [{operator: endsWith, value: /nothing}]", PAGE, "page-url"),
        ("include: [{operator: endsWith, value: /nothing}, {operator: endsWith, value: /pricing}]", PAGE, "fired"),
        ("include: [{operator: startsWith, value: https}]", None, "page-url"),
        ("include: [{operator: notContainsAny, value: careers}]", None, "page-url"),
        ("exclude: [{operator: containsAny, values: [/careers, /pricing]}]", PAGE, "page-url"),
        (
            "exclude: [{operator: containsAny, values: [/careers]}, {operator: endsWith, value: /pricing}]",
            PAGE,
            "page-url",
        ),
        ("exclude: [{operator: containsAny, values: [/careers]}]", PAGE, "fired"),
        ("exclude: [{operator: containsAny, values: [/careers]}]", None, "fired"),
        (
            "include: [{operator: startsWith, value: https}], exclude: [{operator: endsWith, value: /pricing}]",
            PAGE,
            "page-url",
        ),
        ("include: [{operator: matches, value: 'pri.ing$'}]", PAGE, "fired"),
        ("include: [{operator: equal, value: 'HTTPS://SHOP.example/pricing', ignoreCase: true}]", PAGE, "fired"),
    ],
)
def test_page_urls_are_alternatives_and_an_event_without_a_page_fails_include(urls, url, expected):
    rules = one_map("{event: page_viewed}", f"pageUrls: {{{urls}}}")
    for fields in [{"page": {"url": url}}] if url else [{}, {"page": {"title": "no url"}}]:
        assert reasons(live(rules, event(**fields))[0]) == {"m": expected}


# --- frequency


def test_once_a_session_is_the_default():
    seen = [event(minute=minute) for minute in (0, 1, 2, 30, 31)]
    assert [reasons(one)["m"] for one in live(one_map("{event: page_viewed}", "mode: live"), *seen)] == [
        "fired",
        "capped",
        "capped",
        "fired",
        "capped",
    ]


def test_a_cap_counts_firings_of_its_own_map_in_its_session():
    a = "{kind: ActionMap, name: a, trigger: {event: page_viewed}, action: {webhook: hello}, frequency: {max: 2}}"
    b = "{kind: ActionMap, name: b, trigger: {event: page_viewed}, action: {webhook: hello}, frequency: {max: 3, per: session}}"  # noqa: E501
    decisions = live(rulebook(a, b), *[event(minute=number) for number in range(4)])
    assert [fired(decision) for decision in decisions] == [["a", "b"], ["a", "b"], ["b"], []]


def test_every_match_fires_without_a_cap():
    decisions = live(one_map("{event: page_viewed}"), *[event(minute=number) for number in range(5)])
    assert [fired(decision) for decision in decisions] == [["m"]] * 5


def test_a_duplicate_uses_no_cap_and_fires_nothing():
    decisions = live(one_map("{event: page_viewed}", "frequency: {max: 2}"), *[event(eventId="e")] * 3, event(minute=1))
    assert [fired(decision) for decision in decisions] == [["m"], [], [], ["m"]]


def test_a_missing_required_lookup_uses_no_cap():
    rules = compile_rulebook(
        definitions(EMPTY_HANDED, "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}")
    )
    decisions = live(rules, event(), event(minute=1, traits={"email": "a@b.example"}), event(minute=2))
    assert [reasons(decision)["m"] for decision in decisions] == ["lookup-missing", "fired", "capped"]
    assert decisions[0].deliveries == ()
    assert "visitor.traits.email" in decisions[0].verdicts[0].detail


# --- order


def test_maps_fire_by_priority_then_name():
    maps = [
        f"{{kind: ActionMap, name: {name}, priority: {priority}, trigger: {{event: page_viewed}}, action: {{webhook: hello}}}}"  # noqa: E501
        for name, priority in [("b", "low"), ("a", "low"), ("z", "high"), ("y", "high"), ("k", "medium")]
    ]
    medium = "{kind: ActionMap, name: j, trigger: {event: page_viewed}, action: {webhook: hello}}"
    [decision] = live(rulebook(*maps, medium), event())
    assert fired(decision) == ["y", "z", "j", "k", "a", "b"]
    assert [delivery.action_map for delivery in decision.deliveries] == ["y", "z", "j", "k", "a", "b"]


def test_every_map_that_stands_fires_there_is_no_first_match_only():
    maps = [
        f"{{kind: ActionMap, name: m{number:02}, trigger: {{event: page_viewed}}, action: {{webhook: hello}}}}"
        for number in range(30)
    ]
    assert len(live(rulebook(*maps), event())[0].deliveries) == 30


# --- what is owed


def test_a_delivery_holds_the_whole_request_and_what_caused_it():
    [decision] = live(one_map("{event: page_viewed}"), event(eventId="e-1"))
    [delivery] = decision.deliveries
    assert (delivery.action_map, delivery.webhook, delivery.integration) == ("m", "hello", "crm")
    assert (delivery.visitor_id, delivery.event_id, delivery.at, delivery.owed_at) == ("v1", "e-1", TEN, TEN)
    assert (delivery.method, delivery.target, json.loads(delivery.body)) == ("POST", "", {"who": "v1"})
    assert delivery.headers == {"Content-Type": "application/json"}
    assert delivery.attempts == 0


def test_the_id_of_a_delivery_is_a_hash_of_its_causes_not_of_versions():
    rules = {version: compile_rulebook(definitions(BASE, ONE), 1, {"ActionMap/m": version}) for version in (1, 2)}
    ids = {live(some, event(eventId="e-1"))[0].deliveries[0].id for some in rules.values()}
    assert ids == {delivery_id("default", "m", "hello", "v1", "e-1")}
    assert len(ids.pop().removeprefix("am1_")) == 32


ONE = "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}"
CAUSES = ("company", "map", "webhook", "visitor", "event", 0)


@pytest.mark.parametrize("changed", range(len(CAUSES)))
def test_every_cause_counts_in_the_id(changed):
    other = list(CAUSES)
    other[changed] = 1 if changed == 5 else "x"
    assert delivery_id(*CAUSES) != delivery_id(*other)


def test_ids_do_not_run_together():
    assert delivery_id("a", "b", "c", "de", "f") != delivery_id("a", "b", "c", "d", "ef")


UNRENDERABLE = BASE.replace(
    "state: published\ncontract:", "state: published\nrequest: {path: '/x/{{ who }}'}\ncontract:"
).replace("{lookup: visitor.id}", "{lookup: visitor.traits.email}")


@pytest.mark.parametrize("traits", [{}, {"email": None}, {"email": ""}, {"email": "."}, {"email": ".."}])
def test_a_null_or_empty_value_in_the_path_makes_the_delivery_dead(traits):
    assert "request" in UNRENDERABLE
    [decision] = live(compile_rulebook(definitions(UNRENDERABLE, ONE)), event(traits=traits))
    assert decision.deliveries == ()
    [letter] = decision.dead_letters
    assert (letter.kind, letter.reason, letter.delivery.action_map) == ("delivery", "unrenderable", "m")
    assert letter.id == letter.delivery.id
    assert not letter.was_rendered
    assert reasons(decision) == {"m": "unrenderable"}


def test_a_body_larger_than_the_integration_takes_makes_the_delivery_dead():
    base = BASE.replace(
        "baseUrl: https://crm.example.com", "baseUrl: https://crm.example.com\nlimits: {maxBodyBytes: 20}"
    )
    rules = compile_rulebook(definitions(base, ONE))
    [fits] = live(rules, event(visitor="v123456789"))
    assert len(fits.deliveries[0].body) == 20
    [too_large] = live(rules, event(visitor="v1234567890"))
    assert (too_large.deliveries, [letter.reason for letter in too_large.dead_letters]) == ((), ["body-too-large"])
    assert not decode_dead_letter(encode(too_large.dead_letters[0])).was_rendered
    assert reasons(too_large) == {"m": "unrenderable"}


def test_lookups_without_a_value_are_named_for_people():
    base = BASE.replace("{lookup: visitor.id}", "{lookup: visitor.traits.name}")
    [decision] = live(compile_rulebook(definitions(base, ONE)), event())
    assert [(one.action_map, one.missing) for one in decision.looked_up] == [("m", ("who",))]
    assert json.loads(decision.deliveries[0].body) == {"who": None}


def test_all_lookups_without_a_value_are_named_also_where_one_of_them_keeps_the_map_from_firing():
    three = BASE.replace("{who: {type: string}}", "{who: {type: string}, plan: {type: string}, tier: {type: string}}")
    mappings = "{who: {lookup: visitor.traits.a, onMissing: skip}, plan: {lookup: visitor.traits.b, onMissing: skip}, "
    base = three.replace("{who: {lookup: visitor.id}}", mappings + "tier: {lookup: visitor.traits.c}}")
    [decision] = live(compile_rulebook(definitions(base, ONE)), event())
    assert [one.missing for one in decision.looked_up] == [("who", "plan", "tier")]
    assert [one.detail for one in decision.verdicts] == ["who: visitor.traits.a is missing"]


def test_a_map_that_looks_nothing_up_is_not_counted_among_those_that_do():
    base = BASE.replace("{lookup: visitor.id}", "{value: anybody}")
    [decision] = live(compile_rulebook(definitions(base, ONE)), event())
    assert (reasons(decision), decision.looked_up) == ({"m": "fired"}, ())


# --- a map that breaks


def broken(rules: Rulebook, name: str) -> Rulebook:
    """``rules`` with one map whose evaluation raises."""

    def explode(_):
        raise ZeroDivisionError("boom")

    maps = tuple(replace(one, test=explode) if one.name == name else one for one in rules.maps)
    return replace(rules, maps=maps, index=Index([(one, ANYTHING) for one in maps]))


def test_a_map_that_breaks_is_a_verdict_and_the_others_still_fire():
    maps = [ONE.replace("name: m", f"name: {name}") for name in ("a", "b", "c")]
    [decision] = live(broken(rulebook(*maps), "b"), event())
    assert reasons(decision) == {"a": "fired", "b": "error", "c": "fired"}
    assert decision.verdicts[1].detail == "ZeroDivisionError: boom"
    assert "b" not in decision.visitor.session.fired


# --- a decision is a function of its arguments

RULES = rulebook(
    """
    {kind: Segment, name: known, when: {key: visitor.traits.email, operator: exists}}
    ---
    {kind: ActionMap, name: a, trigger: {segment: known}, action: {webhook: hello}, frequency: every}
    ---
    {kind: ActionMap, name: b, trigger: {count: {event: page_viewed, atLeast: 2, within: session}}, action: {webhook: hello}}
    """  # noqa: E501
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from([{}, {"email": "a"}, {"email": None}])), max_size=5))
def test_the_same_arguments_give_the_same_decision(story):
    before = after(RULES, event(), *[event(minute=minute, traits=traits) for minute, traits in story])
    one = event(minute=30, traits={"email": "b"})
    arguments = (one, before, RULES, TEN, Policy())
    first = decide(*arguments)
    assert msgspec.json.encode(first) == msgspec.json.encode(decide(one, deepcopy(before), RULES, TEN, Policy()))
    assert first == decide(*arguments)

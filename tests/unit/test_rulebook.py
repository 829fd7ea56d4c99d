"""Definitions compiled together: content hash, order, circles, what is inactive."""

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from shop import BASE, after, definitions, event, live, reasons, rulebook

from actionmap.catalog.compile import compile_rulebook, content_hash, why_not_live
from actionmap.delivery import RetryPolicy
from actionmap.errors import DefinitionError

MAP = "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}"


def circle(*texts: str) -> str:
    with pytest.raises(DefinitionError) as error:
        rulebook(*texts)
    return str(error.value)


def segment(name: str, *asks: str) -> str:
    when = [f"{{segment: {other}}}" for other in asks] or ["{key: visitor.id, operator: exists}"]
    return f"{{kind: Segment, name: {name}, when: {{all: [{', '.join(when)}]}}}}"


# --- content hash


def test_the_hash_is_the_same_whatever_the_order_and_the_spelling():
    one = definitions(BASE, MAP)
    other = definitions(MAP.replace("event: page_viewed", '"event": "page_viewed"'), BASE)
    assert list(one) != list(other)
    assert content_hash(one) == content_hash(other)
    assert compile_rulebook(one).content_hash == content_hash(one)


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ("page_viewed", "page_viewed2"),
        ("name: m", "name: n"),
        ("{event: page_viewed}", "{key: visitor.traits.a, value: 1}"),
    ],
)
def test_the_hash_changes_with_the_content(before, then):
    assert content_hash(definitions(BASE, MAP)) != content_hash(definitions(BASE, MAP.replace(before, then)))


def test_the_hash_tells_number_boolean_and_text_apart():
    hashes = {
        content_hash(
            definitions(BASE, MAP.replace("{event: page_viewed}", f"{{key: visitor.traits.a, value: {value}}}"))
        )
        for value in ("1", "1.0", "true", "'1'", "'true'")
    }
    assert len(hashes) == 5


def test_the_hash_does_not_depend_on_revision_or_versions():
    found = definitions(BASE, MAP)
    assert (
        compile_rulebook(found, 1, {"ActionMap/m": 1}).content_hash
        == compile_rulebook(found, 2, {"ActionMap/m": 9}).content_hash
    )


# --- order


@given(st.permutations([("m1", "low"), ("m2", "high"), ("a", "medium"), ("b", "medium"), ("m3", "high")]))
def test_maps_stand_by_priority_then_name_in_whatever_order_they_came(order):
    maps = [
        f"{{kind: ActionMap, name: {name}, priority: {priority}, trigger: {{event: x}}, action: {{webhook: hello}}}}"
        for name, priority in order
    ]
    assert [one.name for one in rulebook(*maps).maps] == ["m2", "m3", "a", "b", "m1"]


@given(st.permutations(["a", "b", "c", "d", "e"]))
def test_a_segment_comes_after_those_it_asks_for(names):
    a, b, c, d, e = names
    rules = rulebook(segment(a, b, c), segment(b, d), segment(c, d), segment(d, e), segment(e))
    order = [one.name for one in rules.segments]
    assert sorted(order) == sorted(names)
    for first, then in ((b, a), (c, a), (d, b), (d, c), (e, d)):
        assert order.index(first) < order.index(then)
    assert after(rules, event()).segments == sorted(names)


def test_a_chain_of_two_hundred_segments_compiles():
    chain = [segment(f"s{number:03}", f"s{number + 1:03}") for number in range(200)] + [segment("s200")]
    assert len(after(rulebook(*chain), event()).segments) == 201


# --- circles


def test_segments_that_ask_for_each_other_are_named():
    assert "segments ask for each other: a → b → c → a" in circle(
        segment("a", "b"), segment("b", "c"), segment("c", "a")
    )


def test_a_segment_that_asks_for_itself_is_a_circle():
    assert "a → a" in circle(segment("a", "a"))


def test_a_circle_is_found_behind_other_segments_and_when_inactive():
    asleep = segment("z", "y").replace("{kind", "{active: false, kind")
    assert "y → z → y" in circle(segment("a", "b"), segment("b", "y"), segment("y", "z"), asleep)


def test_two_ways_to_one_segment_are_no_circle():
    rulebook(segment("a", "b", "c"), segment("b", "d"), segment("c", "d"), segment("d"))


# --- what is inactive


def test_inactive_maps_and_segments_are_left_out_but_still_checked():
    inactive = MAP.replace("{kind", "{active: false, kind")
    rules = rulebook(inactive, segment("s").replace("{kind", "{active: false, kind"))
    assert (rules.maps, rules.segments) == ((), ())
    with pytest.raises(DefinitionError, match="there is no Webhook"):
        rulebook(inactive.replace("hello", "nothing"))


def test_an_inactive_maps_counters_are_not_kept():
    counting = "{kind: ActionMap, name: m, trigger: {count: {event: x, atLeast: 1, within: session}}, action: {webhook: hello}}"  # noqa: E501
    assert "x" in rulebook(counting).memories
    assert rulebook(counting.replace("{kind", "{active: false, kind")).memories == {}


def test_definitions_in_any_state_load():
    for state in ("draft", "published", "archived"):
        text = BASE.replace("dataAction: greet\nstate: published", f"dataAction: greet\nstate: {state}")
        rules = compile_rulebook(definitions(text, MAP))
        assert bool(rules.maps[0].not_live) is (state != "published")


def test_why_a_webhook_would_not_be_sent():
    found = definitions(BASE)
    assert why_not_live(found, found["Webhook/hello"]) == ""


def test_an_empty_set_compiles():
    rules = compile_rulebook({})
    assert (rules.maps, rules.segments, rules.revision) == ((), (), 0)
    assert live(rules, event())[0].verdicts == ()


# --- what a webhook compiles to


def test_the_webhook_carries_what_its_chain_says():
    text = """
    {kind: Integration, name: i, baseUrl: "https://crm.example.com", limits: {maxBodyBytes: 99}}
    ---
    kind: DataAction
    name: d
    integration: i
    state: published
    contract: {input: {type: object}}
    request: {method: PUT, headers: {content-type: application/vnd.x+json, X-A: b}, timeoutSeconds: 7}
    response: {successStatuses: [2xx, 404]}
    ---
    kind: Webhook
    name: w
    dataAction: d
    state: published
    delivery: {retry: {attempts: 3, schedule: [5s, 2m], maxAge: 1d}, idempotencyHeader: X-Id}
    ---
    {kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: w}}
    """
    [delivery] = live(compile_rulebook(definitions(text)), event())[0].deliveries
    assert delivery.headers == {"content-type": "application/vnd.x+json", "X-A": "b"}
    assert (delivery.method, delivery.timeout_s, delivery.success_statuses) == ("PUT", 7.0, ("2xx", "404"))
    assert delivery.retry == RetryPolicy(attempts=3, schedule=(5, 120), max_age_s=86_400)
    assert delivery.idempotency_header == "X-Id"


def test_all_findings_come_at_once():
    texts = [MAP.replace("name: m", f"name: m{number}").replace("hello", "nothing") for number in range(3)]
    with pytest.raises(DefinitionError) as error:
        rulebook(*texts)
    assert [finding.subject for finding in error.value.findings] == ["ActionMap m0", "ActionMap m1", "ActionMap m2"]


def test_the_pattern_library_is_the_linear_one():
    assert re2.compile("(a+)+$").search("a" * 10_000 + "b") is None


def test_changing_the_rules_keeps_what_a_session_has_fired():
    visitor = live(rulebook(MAP), event())[0].visitor
    second = MAP.replace("name: m", "name: n")
    assert reasons(live(rulebook(MAP, second), event(minute=1), visitor=visitor)[0]) == {"m": "capped", "n": "fired"}

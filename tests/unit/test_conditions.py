"""Every operator against every kind of value: a table, one line a promise.

To add a case, add a line: operator, values of the condition, value of the visitor, whether it holds.
"""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import event, fired, live, one_map

from actionmap.catalog.conditions import BadPattern, compile_comparison
from actionmap.catalog.models.trigger import Comparison

MISSING = None
E_COMPOSED, E_DECOMPOSED = "\u00e9", "e\u0301"

TABLE = [
    # equal: text with text exactly
    ("equal", ["a"], "a", True),
    ("equal", ["a"], "A", False),
    ("equal", ["a", "b"], "b", True),
    ("equal", ["a", "b"], "c", False),
    ("equal", [""], "", True),
    ("equal", ["a"], MISSING, False),
    ("equal", ["None"], MISSING, False),
    ("equal", ["null"], MISSING, False),
    # equal: numbers with numbers, and with decimal strings
    ("equal", [10], 10, True),
    ("equal", [10], 10.0, True),
    ("equal", [10.0], 10, True),
    ("equal", [10], "10", True),
    ("equal", [10], "10.0", True),
    ("equal", [10], "10.00", True),
    ("equal", ["10"], 10, True),
    ("equal", ["10.0"], 10, True),
    ("equal", ["10"], 10.0, True),
    ("equal", ["10"], "10", True),
    ("equal", ["10"], "10.0", False),
    ("equal", [10.5], "10.5", True),
    ("equal", [-3], "-3", True),
    ("equal", [7], "007", True),
    # equal: what looks like a number and is no decimal string
    ("equal", [10], "+10", False),
    ("equal", [10], " 10", False),
    ("equal", [10], "10 ", False),
    ("equal", [10], "10\n", False),
    ("equal", [10], "1e1", False),
    ("equal", [10], "10.", False),
    ("equal", [0.5], ".5", False),
    ("equal", [16], "0x10", False),
    ("equal", [10], "\u0661\u0660", False),  # Arabic digits
    ("equal", [1000], "1,000", False),
    ("equal", [1000], "1_000", False),
    ("equal", [0], "", False),
    ("equal", [0], MISSING, False),
    # equal: booleans with booleans and with "true" and "false", never with numbers
    ("equal", [True], True, True),
    ("equal", [True], False, False),
    ("equal", [True], "true", True),
    ("equal", [False], "false", True),
    ("equal", ["true"], True, True),
    ("equal", ["false"], False, True),
    ("equal", [True], "True", False),
    ("equal", [True], "TRUE", False),
    ("equal", [True], "yes", False),
    ("equal", ["TRUE"], True, False),
    ("equal", [True], 1, False),
    ("equal", [1], True, False),
    ("equal", [0], False, False),
    ("equal", [False], 0, False),
    ("equal", [1.0], True, False),
    ("equal", ["1"], True, False),
    ("equal", [False], MISSING, False),
    # equal: a list, when any element does; an object equals nothing
    ("equal", ["a"], ["x", "a"], True),
    ("equal", ["a"], ["x", "y"], False),
    ("equal", ["a"], [], False),
    ("equal", [10], ["10.0"], True),
    ("equal", ["a"], [["a"]], False),
    ("equal", ["a"], {"a": 1}, False),
    ("equal", ["a"], [None, {"b": 1}, "a"], True),
    # notEqual: exactly when equal is false
    ("notEqual", ["a"], "a", False),
    ("notEqual", ["a"], "b", True),
    ("notEqual", ["a", "b"], "b", False),
    ("notEqual", ["a"], MISSING, True),
    ("notEqual", ["a"], ["x", "a"], False),
    ("notEqual", ["a"], [], True),
    ("notEqual", ["10"], "10.0", True),
    ("notEqual", [1], True, True),
    # in, notIn: other names of equal, notEqual
    ("in", ["a", 10], "10.0", True),
    ("in", ["a", 10], "b", False),
    ("in", ["a"], MISSING, False),
    ("notIn", ["a", 10], "b", True),
    ("notIn", ["a", 10], 10, False),
    ("notIn", ["a"], MISSING, True),
    # containsAny, containsAll: substrings of a text
    ("containsAny", ["care"], "/careers", True),
    ("containsAny", ["x", "care"], "/careers", True),
    ("containsAny", ["x", "y"], "/careers", False),
    ("containsAny", ["Care"], "/careers", False),
    ("containsAll", ["care", "s"], "/careers", True),
    ("containsAll", ["care", "x"], "/careers", False),
    ("containsAny", [1], "a1", False),
    ("containsAny", [True], "true", False),
    ("containsAll", ["a", 1], "a1", False),
    ("containsAny", ["a"], MISSING, False),
    ("containsAll", ["a"], MISSING, False),
    ("containsAny", ["1"], 10, False),
    ("containsAny", ["a"], {"a": 1}, False),
    # containsAny, containsAll: elements of a list
    ("containsAny", ["a", "b"], ["b", "c"], True),
    ("containsAny", ["a"], ["ab"], False),
    ("containsAll", ["a", "b"], ["b", "a", "c"], True),
    ("containsAll", ["a", "b"], ["b"], False),
    ("containsAny", [10], ["10.0"], True),
    ("containsAny", ["10"], ["10.0"], False),
    ("containsAny", [1], [True], False),
    ("containsAny", ["a"], [], False),
    ("notContainsAny", ["a"], ["b"], True),
    ("notContainsAny", ["a", "b"], ["b"], False),
    ("notContainsAny", ["a"], MISSING, True),
    ("notContainsAll", ["a", "b"], ["b"], True),
    ("notContainsAll", ["a", "b"], ["a", "b"], False),
    ("notContainsAll", ["care"], "/careers", False),
    ("notContainsAll", ["a"], MISSING, True),
    # startsWith, endsWith
    ("startsWith", ["/pricing"], "/pricing/pro", True),
    ("startsWith", ["/pricing"], "/Pricing", False),
    ("startsWith", ["x", "/p"], "/pricing", True),
    ("startsWith", [""], "anything", True),
    ("startsWith", ["a"], MISSING, False),
    ("startsWith", [1], "10", False),
    ("startsWith", ["1"], 10, False),
    ("startsWith", ["a"], ["xa", "ax"], True),
    ("endsWith", [".pdf"], "/a.pdf", True),
    ("endsWith", [".pdf"], "/a.pdf?x", False),
    ("endsWith", ["a", "f"], "/a.pdf", True),
    ("endsWith", ["a"], ["xa", "x"], True),
    ("endsWith", ["a"], MISSING, False),
    # greaterThan and its kin: numbers, decimal strings, times; else false
    ("greaterThan", [10], 10.5, True),
    ("greaterThan", [10], 10, False),
    ("greaterThan", [10], "10.01", True),
    ("greaterThan", ["10"], "9", False),
    ("greaterThan", ["9"], "10", True),
    ("greaterThan", [10], "abc", False),
    ("greaterThan", ["a"], "b", False),
    ("greaterThan", [0], True, False),
    ("greaterThan", [False], True, False),
    ("greaterThan", [0], MISSING, False),
    ("greaterThan", [10], [1, 11], True),
    ("greaterThan", [10], [], False),
    ("greaterThan", [10], {"a": 11}, False),
    ("greaterThanOrEqual", [10], "10.0", True),
    ("greaterThanOrEqual", [10], 9.99, False),
    ("lessThan", [10], 9, True),
    ("lessThan", [10], "9.99", True),
    ("lessThan", [10], 10, False),
    ("lessThan", [10], MISSING, False),
    ("lessThan", [-1], -2, True),
    ("lessThanOrEqual", [10], 10, True),
    ("lessThanOrEqual", [10], "x", False),
    ("greaterThan", ["2026-01-01T00:00:00Z"], "2026-01-01T00:00:01Z", True),
    ("greaterThan", ["2026-01-01T00:00:00Z"], "2026-01-01T00:30:00+01:00", False),
    ("lessThan", ["2026-01-01T00:00:00Z"], "2026-01-01T00:30:00+01:00", True),
    ("greaterThanOrEqual", ["2026-01-01T00:00:00Z"], "2026-01-01t01:00:00+01:00", True),
    ("greaterThan", ["2026-01-01T00:00:00Z"], "2026-01-01T00:00:00.001z", True),
    ("greaterThan", ["2026-01-01T00:00:00Z"], "2026-01-02", False),
    ("greaterThan", ["2026-01-01"], "2026-01-02", False),
    ("greaterThan", ["2026-01-01T00:00:00Z"], "2026-13-01T00:00:00Z", False),
    ("greaterThan", ["2026-01-01T00:00:00Z"], "2026-01-02T00:00:00", False),
    ("greaterThan", ["2026-01-01T00:00:00Z"], 9_999_999_999_999, False),
    ("lessThan", [10], "2026-01-01T00:00:00Z", False),
    # equal knows no times: text with text exactly
    ("equal", ["2026-01-01T00:00:00Z"], "2026-01-01T01:00:00+01:00", False),
    # between: both ends included
    ("between", [10, 20], 10, True),
    ("between", [10, 20], 20, True),
    ("between", [10, 20], "15.5", True),
    ("between", [10, 20], 9.99, False),
    ("between", [10, 20], 20.01, False),
    ("between", [20, 10], 15, False),
    ("between", [10, 20], MISSING, False),
    ("between", [10, 20], "a", False),
    ("between", [10, 20], True, False),
    ("between", [10, 20], [9, 21], False),
    ("between", [10, 20], [9, 15], True),
    ("between", ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"], "2026-01-31T23:59:59Z", True),
    ("between", ["2026-01-01T00:00:00Z", 20], 15, False),
    # matches: RE2, found anywhere
    ("matches", ["ric"], "/pricing", True),
    ("matches", ["^/p"], "/pricing", True),
    ("matches", ["^ric"], "/pricing", False),
    ("matches", ["x", "g$"], "/pricing", True),
    ("matches", ["(?i)PRIC"], "/pricing", True),
    ("matches", ["PRIC"], "/pricing", False),
    ("matches", [r"\d{2}"], 10, False),
    ("matches", [r"^a$"], ["b", "a"], True),
    ("matches", [""], MISSING, False),
    ("matches", ["^.$"], "\U0001f600", True),
    ("matches", ["(a+)+$"], "a" * 5000 + "b", False),
    # exists: neither absent nor null; any list does, even an empty one
    ("exists", [], "a", True),
    ("exists", [], "", True),
    ("exists", [], 0, True),
    ("exists", [], False, True),
    ("exists", [], [], True),
    ("exists", [], {}, True),
    ("exists", [], MISSING, False),
    ("notExists", [], MISSING, True),
    ("notExists", [], "", False),
    ("notExists", [], [], False),
]

IGNORE_CASE = [
    ("equal", ["pricing"], "PriCing", True),
    ("equal", ["STRASSE"], "stra\u00dfe", True),
    ("equal", [E_COMPOSED], E_DECOMPOSED.upper(), True),
    ("equal", [E_DECOMPOSED.upper()], E_COMPOSED, True),
    ("equal", ["\u03a3"], "\u03c2", True),  # both sigmas
    ("equal", ["a"], "b", False),
    ("equal", [True], "TRUE", False),
    ("equal", ["TRUE"], True, False),
    ("equal", [10], "10.0", True),
    ("notEqual", ["a"], "A", False),
    ("in", ["x", "B"], ["b"], True),
    ("containsAny", ["CARE"], "/careers", True),
    ("containsAll", ["CARE", "S"], "/careers", True),
    ("containsAny", ["A"], ["a"], True),
    ("containsAny", ["A"], ["ab"], False),
    ("notContainsAny", ["A"], "a", False),
    ("startsWith", ["/PRICING"], "/pricing/pro", True),
    ("endsWith", [".PDF"], "a.pdf", True),
    ("endsWith", [E_COMPOSED.upper()], "caf" + E_DECOMPOSED, True),
    ("matches", ["PRIC"], "/pricing", False),
]


def holds(operator: str, values: list, value: object, *, ignore_case: bool = False) -> bool:
    comparison = Comparison.model_validate({"operator": operator, "values": values, "ignoreCase": ignore_case})
    return compile_comparison(comparison)(value)


def _label(value: object) -> str:
    return repr(value)[:40]


@pytest.mark.parametrize(("operator", "values", "value", "expected"), TABLE, ids=_label)
def test_an_operator_holds_as_the_table_says(operator, values, value, expected):
    assert holds(operator, values, value) is expected


@pytest.mark.parametrize(("operator", "values", "value", "expected"), IGNORE_CASE, ids=_label)
def test_ignore_case_compares_both_sides_folded(operator, values, value, expected):
    assert holds(operator, values, value, ignore_case=True) is expected


def test_without_ignore_case_composed_and_decomposed_differ():
    assert not holds("equal", [E_COMPOSED], E_DECOMPOSED)


def test_text_ten_is_not_text_ten_point_zero_but_the_number_is_both():
    assert not holds("equal", ["10"], "10.0")
    assert holds("equal", [10], "10")
    assert holds("equal", [10], "10.0")


HUGE = 10**30


@pytest.mark.parametrize(
    ("operator", "values", "value", "expected"),
    [
        ("equal", [HUGE], HUGE, True),
        ("equal", [HUGE], str(HUGE), True),
        ("equal", [HUGE], HUGE + 1, False),
        ("equal", [2**53 + 1], str(2**53 + 1) + ".0", True),
        ("equal", [2**53], str(2**53 + 1) + ".0", False),
        ("equal", [1e300], 10**300, False),
        ("greaterThan", [HUGE], HUGE + 1, True),
        ("greaterThan", [1.5], 10**399, True),
        ("greaterThan", [1], "9" * 399, True),
        ("greaterThan", [1], "9" * 5000, False),
        ("equal", [1], "9" * 5000, False),
        ("lessThan", [1], "-" + "9" * 399, True),
    ],
    ids=_label,
)
def test_huge_numbers_compare_exactly_and_never_fail(operator, values, value, expected):
    assert holds(operator, values, value) is expected


@pytest.mark.parametrize("pattern", ["(", "[a", "(?<=a)b", r"(a)\1", "a{100000}"])
def test_what_re2_does_not_take_is_refused_when_compiled(pattern):
    with pytest.raises(BadPattern) as caught:
        holds("matches", [pattern], "a")
    assert ": b'" not in str(caught.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
numbers_as_text = st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{1,3})?", fullmatch=True)
values_of_visitors = st.recursive(
    scalars | numbers_as_text | st.sampled_from(["true", "false", "10", "10.0", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
literals = st.lists(
    st.booleans()
    | st.integers(-20, 20)
    | st.floats(-20, 20)
    | numbers_as_text
    | st.sampled_from(["true", "10", "a", ""]),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("name", ["Equal", "In", "ContainsAny", "ContainsAll", "Exists"])
@given(values=literals, value=values_of_visitors, ignore_case=st.booleans())
def test_a_not_operator_is_true_exactly_when_its_twin_is_false(name, values, value, ignore_case):
    twin, given_values = name[0].lower() + name[1:], [] if name == "Exists" else values
    positive = holds(twin, given_values, value, ignore_case=ignore_case)
    assert holds(f"not{name}", given_values, value, ignore_case=ignore_case) is not positive


SINGLE = ("greaterThan", "greaterThanOrEqual", "lessThan", "lessThanOrEqual")
ALL = ("equal", "in", "containsAny", "containsAll", "startsWith", "endsWith", *SINGLE, "between", "matches", "exists")


@pytest.mark.parametrize("operator", ALL)
@given(values=literals, value=values_of_visitors, ignore_case=st.booleans())
def test_comparing_what_cannot_be_compared_is_false_never_an_error(operator, values, value, ignore_case):
    if operator in SINGLE:
        values = values[:1]
    elif operator == "between":
        values = [values[0], values[-1]]
    elif operator == "exists":
        values = []
    assert holds(operator, values, value, ignore_case=ignore_case) in (True, False)
    if value is None:
        assert not holds(operator, values, value, ignore_case=ignore_case)


@given(st.text(max_size=6), st.sampled_from([str.upper, str.lower, str.swapcase, str.casefold]))
def test_ignore_case_sees_no_difference_between_normal_forms(text, change):
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    for form in ("NFC", "NFD"):
        assert holds("equal", [text], unicodedata.normalize(form, text), ignore_case=True)
        assert holds("equal", [folded], unicodedata.normalize(form, text), ignore_case=True)


# --- paths: where a condition finds its value

ATTRIBUTES = {
    "conversation": {"state": "closed", "tags": [{"label": "refund"}, {"label": "vip"}]},
    "skus": ["a", "b"],
    "0": "zero",
    "empty": None,
    "nested": [["x"]],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event.attributes.conversation.state", "closed"),
        ("event.attributes.conversation.tags.0.label", "refund"),
        ("event.attributes.conversation.tags.1.label", "vip"),
        ("event.attributes.skus.0", "a"),
        ("event.attributes.skus", "b"),
        ("event.attributes.0", "zero"),
        ("event.attributes.nested.0.0", "x"),
        ("session.attributes.skus.1", "b"),
        ("visitor.traits.address.city", "Ulm"),
    ],
)
def test_a_dotted_path_reaches_into_objects_and_lists(key, value):
    seen = event(attributes=ATTRIBUTES, traits={"address": {"city": "Ulm"}})
    assert fired(live(one_map(f"{{key: {key}, value: '{value}'}}"), seen)[0]) == ["m"]


@pytest.mark.parametrize(
    "key",
    [
        "event.attributes.skus.2",
        "event.attributes.skus.-1",
        "event.attributes.skus.x",
        "event.attributes.skus." + "9" * 200,
        "event.attributes.skus.\u0660",
        "event.attributes.skus.0.label",
        "event.attributes.conversation.tags.label",
        "event.attributes.empty",
        "event.attributes.empty.x",
        "event.attributes.nothing",
        "event.attributes.nothing.x",
        "visitor.traits.nothing",
        "visitor.variables.leadId",
        "session.mktCampaign.name",
        "session.geolocation.country",
        "event.page.url",
        "session.lastPage.pathname",
    ],
)
def test_a_path_that_leads_nowhere_is_missing(key):
    seen = event(attributes=ATTRIBUTES)
    assert fired(live(one_map(f"{{key: {json.dumps(key)}, operator: exists}}"), seen)[0]) == []
    assert fired(live(one_map(f"{{key: {json.dumps(key)}, operator: notExists}}"), seen)[0]) == ["m"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event.eventId", "e-1"),
        ("event.eventName", "page_viewed"),
        ("event.timestamp", "2026-11-21T10:00:00.000Z"),
        ("event.searchQuery", "tents"),
        ("event.page.url", "https://www.shop.example/pricing/pro?a=b#plans"),
        ("event.page.title", "Pricing"),
        ("event.page.lang", "en"),
        ("event.page.keywords", "k"),
        ("event.page.hostname", "www.shop.example"),
        ("event.page.domain", "shop.example"),
        ("event.page.pathname", "/pricing/pro"),
        ("event.page.queryString", "a=b"),
        ("event.page.fragment", "plans"),
        ("session.id", "v1:1"),
        ("session.createdAt", "2026-11-21T10:00:00.000Z"),
        ("session.durationInSeconds", 0),
        ("session.eventCount", 1),
        ("session.pageviewCount", 1),
        ("session.searchTerms", "tents"),
        ("session.authenticated", True),
        ("session.lastPage.title", "Pricing"),
        ("session.lastPage.pathname", "/pricing/pro"),
        ("visitor.id", "v1"),
        ("visitor.customerId", "cust-1"),
        ("visitor.firstSeenAt", "2026-11-21T10:00:00.000Z"),
        ("visitor.lastSeenAt", "2026-11-21T10:00:00.000Z"),
        ("visitor.sessionCount", 1),
        ("visitor.eventCount", 1),
    ],
)
def test_every_fixed_path_reads_what_its_name_says(key, value):
    seen = event(
        eventId="e-1",
        customerId="cust-1",
        searchQuery="tents",
        page={
            "url": "https://www.shop.example/pricing/pro?a=b#plans",
            "title": "Pricing",
            "lang": "en",
            "keywords": ["k", "l"],
        },
    )
    assert fired(live(one_map(f"{{key: {key}, value: {json.dumps(value)}}}"), seen)[0]) == ["m"]


def test_empty_parts_of_a_url_are_missing():
    seen = event(page={"url": "https://shop.example?#"})
    for part in ("queryString", "fragment"):
        assert fired(live(one_map(f"{{key: event.page.{part}, operator: notExists}}"), seen)[0]) == ["m"]
    assert fired(live(one_map("{key: event.page.pathname, value: /}"), seen)[0]) == ["m"]


@pytest.mark.parametrize(
    "url", ["", "https://[::1", "not a url", "mailto:a@b.example", "https://", "\x00", "http://\u2100"]
)
def test_a_url_that_is_none_has_no_hostname_and_breaks_nothing(url):
    assert fired(live(one_map("{key: event.page.hostname, operator: notExists}"), event(page={"url": url}))[0]) == ["m"]


def test_value_is_short_for_a_list_of_one():
    assert fired(live(one_map("{key: visitor.id, value: v1}"), event())[0]) == ["m"]
    assert fired(live(one_map("{key: visitor.id, values: [v1]}"), event())[0]) == ["m"]

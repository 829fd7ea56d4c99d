"""Random maps and visitors for the differential tests, and how they are run: each event as maps are judged by it."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.models import ActionMap, Definition
from actionmap.catalog.parse import parse_documents
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy
from actionmap.decide.observe import observe
from actionmap.event import Event
from actionmap.visitor import hash_event_id
from trigger_strategies import nested

T0 = 1_790_000_000_000
BASE: list[dict[str, Any]] = [
    {"kind": "Integration", "name": "crm", "baseUrl": "https://crm.example.com"},
    {"kind": "DataAction", "name": "tell", "integration": "crm", "state": "published",
     "contract": {"input": {"type": "object", "properties": {"who": {"type": "string"}}}}},
    {"kind": "Webhook", "name": "tell", "dataAction": "tell", "state": "published",
     "mappings": {"who": {"lookup": "visitor.id"}}},
    {"kind": "Segment", "name": "known", "when": {"key": "visitor.traits.a", "operator": "exists"}},
    {"kind": "Segment", "name": "busy", "when": {"key": "session.eventCount", "operator": "greaterThan", "value": 2}},
]  # fmt: skip

# Few values in many spellings, so that much is equal, and what is alike is told apart.
TEXTS = [
    "", "a", "A", "ab", "abc", "bab", "b", "ß", "SS", "e\u0301", "\u00e9", "É", "😀", "\ufb01", "日本", "x%y", "a.b",
    "(a|b)", 'say "a"', "a\\b", "a\nb", "\x00", "10", "10.0", "010", "1", "-1", "1.50", "true", "false", "True", "null",
    "2026-11-21T10:00:00Z", "2026-11-21T11:00:00+01:00", "2026-11-21t10:00:00.5z", "/a/b?c=d&e#f", "9" * 30,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 10, 10.0, 1.5, -0.0, 2**53, 2**53 + 1, 2**63, 10**30, 1e22, 1e-7, 0.1]
literals = st.sampled_from([*TEXTS, *NUMBERS, True, False])
KEYS = [
    "event.attributes.a", "event.attributes.b", "event.attributes.a.x", "event.attributes.a.0", "session.attributes.b",
    "visitor.traits.a", "event.page.pathname", "event.page.keywords", "event.searchQuery", "session.searchTerms",
    "event.eventName", "event.timestamp", "session.pageviewCount", "session.authenticated", "visitor.segments",
    "visitor.customerId",
]  # fmt: skip
EVENTS = ["page_viewed", "cart_added", "x"]
SIZES = {
    "greaterThan": 1, "greaterThanOrEqual": 1, "lessThan": 1, "lessThanOrEqual": 1, "between": 2, "exists": 0,
    "notExists": 0,
}  # fmt: skip
OPERATORS = [
    "equal", "notEqual", "in", "notIn", "containsAny", "containsAll", "notContainsAny", "notContainsAll", "startsWith",
    "endsWith", "matches", *SIZES,
]  # fmt: skip
patterns = st.sampled_from(["^a", "a.c", "[0-9]+", "b|é", "(a|b)", ""])


any_key = st.sampled_from(KEYS)


@st.composite
def conditions(draw: st.DrawFn, keys: Any = any_key, wanted: Any = literals) -> dict[str, Any]:
    operator = draw(st.sampled_from(OPERATORS))
    low, high = (SIZES[operator],) * 2 if operator in SIZES else (1, 3)
    values = st.lists(patterns if operator == "matches" else wanted, min_size=low, max_size=high)
    made = {"key": draw(keys), "operator": operator, "values": draw(values)}
    return made | draw(st.sampled_from([{}, {}, {"ignoreCase": True}]))


def event_leaves(where: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda name, where: {"event": name, "where": where}, st.sampled_from(EVENTS), where)


def temporal(leaves: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Counts and sequences of ``leaves``."""
    windows = st.sampled_from(["session", "lifetime", "2m", "1h"])
    return st.builds(
        lambda leaf, low, more, window: {"count": {**leaf, "atLeast": low, "atMost": low + more, "within": window}},
        leaves,
        st.integers(0, 3),
        st.integers(0, 1),
        windows,
    ) | st.builds(
        lambda steps, without, window: {"sequence": {"steps": steps, "without": without, "within": window}},
        st.lists(leaves, min_size=2, max_size=3),
        st.lists(leaves, max_size=1),
        windows,
    )


some_events = event_leaves(st.lists(conditions(), max_size=2))
leaves = conditions() | conditions() | some_events | temporal(some_events)
leaves |= st.sampled_from([{"segment": "known"}, {"segment": "busy"}])
triggers = nested(leaves)
values = st.recursive(
    st.none() | literals | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "0"]), inner, max_size=2),
    max_leaves=4,
)
bags = st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)
sent = st.fixed_dictionaries(
    {"eventName": st.sampled_from(EVENTS), "minute": st.sampled_from([0, 0.5, 1, 1, 2, 30])},
    optional={
        "attributes": bags,
        "traits": bags,
        "customerId": st.sampled_from(["a", "10"]),
        "searchQuery": st.sampled_from(TEXTS[:12]),
        "page": st.fixed_dictionaries(
            {"url": st.sampled_from(["", "a", "ab", "bab", "a?b"]).map(lambda path: f"https://shop.example/{path}")},
            optional={"keywords": st.sampled_from(["a", "10", ["a", "10"], []])},
        ),
    },
)
#: Triggers, and the events of one visitor: all kinds of both, ...
worlds = st.tuples(st.lists(triggers, min_size=1, max_size=8), st.lists(sent, min_size=1, max_size=5))


#: What is easily taken for one another.
ALIKE = [
    [1, True, "1", "true", "True", 1.0],
    [0, False, "0", "false", "", -0.0],
    [10, "10", "10.0", "010", 10.0],
    [2**53, 2**53 + 1, str(2**53 + 1), 2.0**53],
    ["ß", "SS", "ss", "ẞ"],
    ["\u00e9", "e\u0301", "É", "e"],
    ["a", "A", "ab", "bab", "b"],
    ["2026-11-21T10:00:00Z", "2026-11-21T11:00:00+01:00", "2026-11-21t10:00:00.5z", "2026-11-21"],
]


@st.composite
def compared(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    pool = st.sampled_from([*draw(st.sampled_from(ALIKE)), draw(literals)])
    value = draw(pool | pool | values | st.lists(pool, max_size=3))
    one = conditions(st.just("event.attributes.a"), pool)
    written = draw(st.lists(one | one.map(lambda part: {"not": part}), min_size=10, max_size=20))
    return written, [{"eventName": "x", "minute": 0, "attributes": {"a": value}}]


#: ... many comparisons of few values with one another, ...
comparisons = compared()
#: ... and many orders of events that are otherwise alike.
orders = st.tuples(
    st.lists(temporal(event_leaves(st.just([]))), min_size=10, max_size=20),
    st.lists(
        st.fixed_dictionaries({"eventName": st.sampled_from(EVENTS), "minute": st.sampled_from([0, 0.5, 1, 1, 2, 30])}),
        min_size=2,
        max_size=7,
    ),
)


def definitions(written: list[dict[str, Any]]) -> dict[str, Definition]:
    """A map for each trigger, called m0, m1 and so on, and what they refer to."""
    maps = [
        {"kind": "ActionMap", "name": f"m{number}", "trigger": trigger, "action": {"webhook": "tell"}}
        for number, trigger in enumerate(written)
    ]
    return parse_documents(Document(data=data) for data in [*BASE, *maps])[0]


def written_triggers(definitions: dict[str, Definition]) -> dict[str, Any]:
    """Name of each map → its trigger as written."""
    return {one.name: one.as_written()["trigger"] for one in definitions.values() if isinstance(one, ActionMap)}


def visits(seen: list[dict[str, Any]]) -> Iterator[Event]:
    """The events of one visitor, some minutes after one another."""
    at = float(T0)
    for number, fields in enumerate(seen):
        at += fields["minute"] * 60_000
        wire = {"visitorId": "v", **{name: value for name, value in fields.items() if name != "minute"}}
        yield parse_record(Record("events", 0, number, int(at), None, msgspec.json.encode(wire))).event


def histories(events: Iterable[Event], rulebook: Rulebook) -> Iterator[list[Scope]]:
    """Each event that is no duplicate, as the last of its visitor's events up to there."""
    known: dict[str, list[Scope]] = {}
    for event in events:
        history = known.setdefault(event.visitor_id, [])
        before = history[-1].visitor if history else None
        mark = hash_event_id(event.id)
        if before is not None and before.has_seen(mark):
            continue
        scope = observe(before, event, rulebook, event.time, Policy())
        scope.visitor.remember(mark)
        history.append(scope)
        yield history


def ours(rulebook: Rulebook, scope: Scope) -> set[str]:
    """The maps that our index brings up and whose trigger holds."""
    return {one.name for one in rulebook.index.candidates(scope) if one.test(scope)}


def compiled(defined: dict[str, Definition]) -> Rulebook:
    return compile_rulebook(defined)

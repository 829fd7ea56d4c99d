"""A rulebook that takes over from a former one what has not changed is the one that is compiled from nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import BASE, definitions, event, live

from actionmap.catalog.compile import compile_rulebook
from actionmap.errors import DefinitionError

_ABOUT = {
    "ActionMap/a": [{"trigger": {"event": "e"}}, {"trigger": {"event": "e"}, "priority": "high"},
                    {"trigger": {"segment": "s"}}, {"trigger": {"event": "e"}, "active": False},
                    {"trigger": {"segmentLeft": "s"}}],
    "ActionMap/b": [{"trigger": {"event": "e"}, "exclusiveGroup": "g",
                     "frequency": {"max": n, "per": per, "scope": "group"}}
                    for n, per in ((1, "session"), (3, "1h"), (2, "2h"))],
    "ActionMap/c": [{"trigger": {"event": "e"}, "exclusiveGroup": "g"},
                    {"trigger": {"count": {"event": "e", "atLeast": 2, "within": "1h"}}}],
    "Segment/s": [{"when": {"key": "event.attributes.n", "operator": "greaterThan", "value": 1}},
                  {"when": {"key": "event.attributes.n", "operator": "greaterThan", "value": 3}, "expiresAfter": "1h"},
                  {"when": {"segment": "t"}}, {"external": True}],
    "Segment/t": [{"when": {"key": "visitor.id", "operator": "exists"}, "active": active} for active in (True, False)],
    "Webhook/hello": [{"dataAction": "greet", "state": state, "mappings": {"who": {"value": who}}}
                      for state in ("published", "draft") for who in ("x", "y")],
    "DataAction/greet": [{"integration": "crm", "state": "published", "request": {"path": path},
                          "contract": {"input": {"type": "object", "properties": {"who": {"type": "string"}}}}}
                         for path in ("/a", "/b")],
    "Integration/crm": [{"baseUrl": "https://crm.example.com", "active": active} for active in (True, False)],
}  # fmt: skip


def written(key: str, choice: int) -> str:
    kind, name = key.split("/")
    made = {"kind": kind, "name": name, **_ABOUT[key][choice % len(_ABOUT[key])]}
    return json.dumps(made | ({"action": {"webhook": "hello"}} if kind == "ActionMap" else {}))


def shown(rules) -> tuple:
    """What can be told of a rulebook from outside: what it decides, in which order, and why not."""
    stream = [event("e", minute, eventId=f"{minute}", attributes={"n": minute}) for minute in (0, 2, 4, 70)]
    decisions = [(one.verdicts, one.deliveries, one.visitor.segments) for one in live(rules, *stream)]
    counted = [(one.name, one.version, one.counted_in, one.not_live) for one in rules.maps]
    segments = [(one.name, one.expires_ms, one.in_session) for one in rules.segments]
    return (
        counted, segments, decisions, rules.content_hash, sorted(rules.by_name), rules.reports_expiries,
        {name: [one.name for one in some] for name, some in rules.asked_when_left.items()},
        sorted(rules.memory_keys), sorted(rules.integrations.items()),
    )  # fmt: skip


changes = st.lists(
    st.dictionaries(st.sampled_from(sorted(_ABOUT)), st.none() | st.integers(0, 4), min_size=1, max_size=3),
    min_size=1, max_size=6,
)  # fmt: skip


@given(changes)
def test_taking_over_changes_nothing_that_can_be_told(steps):
    now = {**definitions(BASE), **definitions(*(written(key, 0) for key in _ABOUT))}
    versions = dict.fromkeys(now, 1)
    rules = compile_rulebook(now, 1, versions)
    for revision, step in enumerate(steps, 2):
        after = {key: some for key, some in now.items() if step.get(key, 0) is not None}
        after |= definitions(*(written(key, choice) for key, choice in step.items() if choice is not None))
        numbered = {key: versions.get(key, 0) + (key in step) for key in after}
        try:
            fresh = compile_rulebook(after, revision, numbered)
        except DefinitionError as refused:
            with pytest.raises(DefinitionError) as again:
                compile_rulebook(after, revision, numbered, rules)
            # What is wrong may hang on what has not changed; it is found all the same, if only once.
            assert set(map(str, again.value.findings)) <= set(map(str, refused.findings))
            continue
        rules = compile_rulebook(after, revision, numbered, rules)
        now, versions = after, numbered
        assert shown(rules) == shown(fresh)


def test_what_has_not_changed_is_the_same_object():
    now = {**definitions(BASE), **definitions(*(written(key, 0) for key in _ABOUT))}
    rules = compile_rulebook(now)
    after = now | definitions(written("ActionMap/c", 1))
    later = compile_rulebook(after, 2, None, rules)
    assert [one is rules.by_name[name] for name, one in later.by_name.items()] == [
        name != "c" for name in later.by_name
    ]
    assert later.by_name["a"].webhook is rules.by_name["a"].webhook
    paused = after | {"Integration/crm": definitions(written("Integration/crm", 1))["Integration/crm"]}
    assert {one.not_live for one in compile_rulebook(paused, 3, None, later).maps} == {
        "the integration crm is inactive"
    }

"""Inside its safe range, durable-rules finds what our index and a plain tree walk find; outside, maps are named."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from naive import holds
from worlds import comparisons, compiled, definitions, histories, ours, visits, worlds, written_triggers

from actionmap.catalog.documents import read_folder
from actionmap.catalog.parse import parse_documents
from actionmap.consume.parse import Record, parse_record
from actionmap.demo.sample import generate
from actionmap.event import to_millis
from actionmap.second_opinion import Referee, SecondOpinion
from actionmap.wire import parse_event

RULES = Path(__file__).parents[2] / "rules"


def missing() -> str:
    """Why durable-rules is not here; "" when it is, and in CI, where it must be."""
    if sys.version_info >= (3, 13):
        return "durable-rules does not import on Python 3.13"
    if os.environ.get("CI") or find_spec("durable_rules_engine"):
        return ""
    return "extra durable not installed" if which("cc") else "no C compiler"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


differential = settings.get_profile("differential")


def agree(world: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    written, seen = world
    defined = definitions(written)
    rulebook = compiled(defined)
    triggers = written_triggers(defined)
    with SecondOpinion([one for one in defined.values() if one.kind_name == "ActionMap"]) as opinion:
        for history in histories(visits(seen), rulebook):
            answer = opinion.matching(opinion.facts(history[-1]))
            judged = triggers.keys() - opinion.outside.keys() - answer.undecided.keys()
            expected = {name for name in judged if holds(triggers[name], history)}
            assert answer.matching & judged == expected
            assert ours(rulebook, history[-1]) & judged == expected


@settings(differential)
@given(worlds)
def test_all_three_agree_on_every_map_that_durable_rules_can_judge(world):
    agree(world)


@settings(differential)
@given(comparisons)
def test_all_three_agree_on_every_comparison_that_durable_rules_can_make(world):
    agree(world)


def test_all_three_agree_on_every_event_of_the_sample_day():
    defined = parse_documents(read_folder(RULES))[0]
    rulebook = compiled(defined)
    triggers = {
        name: trigger for name, trigger in written_triggers(defined).items() if defined[f"ActionMap/{name}"].active
    }
    with Referee(defined, rulebook) as referee:
        for history in histories(sample(), rulebook):
            assert referee.judge(history[-1]) == []
            assert ours(rulebook, history[-1]) == {name for name, one in triggers.items() if holds(one, history)}
        assert referee.events > 500
        assert referee.decisions > 5 * referee.events
        assert not referee.undecided
        assert set(referee.outside) == {name for name, one in triggers.items() if "matches" in str(one)}


def sample():
    for number, event in enumerate(generate(visitors=80)):
        line = msgspec.json.encode(event)
        yield parse_record(Record("day", 0, number, to_millis(parse_event(line).timestamp), None, line)).event


def judged_by(trigger: dict, *seen: dict) -> list[tuple[bool | str, bool]]:
    """For each event: what durable-rules says of one map, or why it says nothing; and what we say."""
    defined = definitions([trigger])
    rulebook = compiled(defined)
    said = []
    with SecondOpinion([defined["ActionMap/m0"]]) as opinion:
        assert not opinion.outside
        for history in histories(visits([{"eventName": "x", "minute": 1, **one} for one in seen]), rulebook):
            answer = opinion.matching(opinion.facts(history[-1]))
            said.append((answer.undecided.get("m0") or "m0" in answer.matching, "m0" in ours(rulebook, history[-1])))
    return said


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        ({"key": "event.searchQuery", "operator": "matches", "values": ["a"]}, "regular expressions"),
        ({"key": "event.searchQuery", "operator": "notContainsAny", "values": ["a"]}, "does not contain"),
        ({"not": {"key": "event.searchQuery", "operator": "startsWith", "values": ["a"]}}, "begin with"),
        ({"key": "event.searchQuery", "operator": "containsAny", "values": ["pripricing"]}, "first character"),
        ({"key": "event.attributes.a", "value": 2**63}, "2^53"),
        ({"key": "event.searchQuery", "value": "\ue000"}, "private use"),
        ({"any": [{"key": "event.searchQuery", "value": f"v{n}"} for n in range(61)]}, "alternatives"),
        (
            {"absence": {"after": {"event": "a"}, "of": {"event": "b"}, "for": "1h"}},
            "timer",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_cannot_say_is_named_with_the_reason(trigger, why):
    defined = definitions([trigger, {"event": "x"}])
    with SecondOpinion([defined["ActionMap/m0"], defined["ActionMap/m1"]]) as opinion:
        assert list(opinion.outside) == ["m0"]
        assert why in opinion.outside["m0"]


@pytest.mark.parametrize(
    ("value", "why"),
    [(2**63, "2^53"), (1e-7, "exponent"), ("\ue001", "private use"), ([1, 10**30], "2^53")],
    ids=["beyond int64", "an exponent", "private", "in a list"],
)
def test_an_event_whose_value_it_cannot_hold_is_left_undecided_and_the_next_one_is_judged(value, why):
    trigger = {"any": [{"key": "event.attributes.a", "value": 1}, {"key": "event.attributes.a", "value": "b"}]}
    [(said, _), after] = judged_by(trigger, {"attributes": {"a": value}}, {"attributes": {"a": "b"}})
    assert why in said
    assert after == (True, True)


def test_one_event_fires_all_maps_that_match_and_never_starves_one():
    defined = definitions([{"event": "x"}] * 150)
    maps = [one for one in defined.values() if one.kind_name == "ActionMap"]
    [history] = histories(visits([{"eventName": "x", "minute": 0}]), compiled(defined))
    with SecondOpinion(maps) as opinion:
        for _ in range(3):
            assert len(opinion.matching(opinion.facts(history[-1])).matching) == 150


def test_many_thousand_visitors_pass_through_its_one_session():
    defined = definitions([{"key": "visitor.traits.a", "value": 7}, {"event": "x"}])
    rulebook = compiled(defined)
    maps = [defined["ActionMap/m0"], defined["ActionMap/m1"]]
    seen = [{"eventName": "x", "minute": 0, "traits": {"a": number % 10}} for number in range(3000)]
    with SecondOpinion(maps) as opinion:
        answers = [
            opinion.matching(opinion.facts(history[-1])).matching for history in histories(visits(seen), rulebook)
        ]
    assert sum("m0" in one for one in answers) == 300
    assert sum("m1" in one for one in answers) == 3000


def test_a_false_answer_is_found_out():
    """The referee is no rubber stamp: another trigger of the same name is noticed at the first event that shows it."""
    defined = definitions([{"key": "event.attributes.a", "value": 1}])
    other = compiled(definitions([{"key": "event.attributes.a", "value": 2}]))
    seen = [{"eventName": "x", "minute": 0, "attributes": {"a": value}} for value in (0, 1, 2)]
    with Referee(defined, other) as referee:
        found = [referee.judge(history[-1]) for history in histories(visits(seen), other)]
    assert found == [[], [(2, "m0", False, True)], [(3, "m0", True, False)]]

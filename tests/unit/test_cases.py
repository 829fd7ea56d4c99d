"""Test cases beside the rules: events in, exactly these firings out, failures by file and line."""

import pytest
from shop import BASE, rulebook

from actionmap.cases import read_cases, run_case
from actionmap.decide import Policy
from actionmap.errors import DefinitionError

RULES = rulebook(
    "{kind: ActionMap, name: m, trigger: {event: e}, action: {webhook: hello}}",
    "{kind: ActionMap, name: draft, active: false, trigger: {event: e}, action: {webhook: hello}}",
)
EVENT = '{eventName: e, visitorId: v, timestamp: "2026-11-21T10:00:00Z", eventId: first}'
LATER = '{eventName: e, visitorId: v, timestamp: "2026-11-21T10:01:00Z", eventId: second}'
FIRST = "{actionMap: m, visitorId: v, eventId: first}"


def findings(tmp_path, text: str) -> list[str]:
    (tmp_path / "shop.cases.yaml").write_text(text)
    found = [finding for case in read_cases(tmp_path) for finding in run_case(case, RULES, Policy())]
    return [str(finding).removeprefix(f"{tmp_path}/") for finding in found]


def test_exactly_the_firings_that_are_expected_pass(tmp_path):
    assert findings(tmp_path, f"- name: n\n  events: [{EVENT}, {LATER}]\n  fires: [{FIRST}]\n") == []
    assert findings(tmp_path, "- name: n\n  events: []\n  fires: []\n") == []


def test_what_did_not_fire_says_why_by_file_and_line(tmp_path):
    text = f"- name: n\n  events:\n    - {EVENT}\n    - {LATER}\n  fires:\n    - {FIRST}\n    - {FIRST.replace('first', 'second')}\n"  # noqa: E501
    assert findings(tmp_path, text) == [
        "shop.cases.yaml:7: error: n: m for v at second did not fire: capped · this map fired 1 time in this session"
    ]
    text = f"- name: n\n  events: [{EVENT.replace('eventName: e', 'eventName: x')}]\n  fires: [{FIRST}]\n"
    assert findings(tmp_path, text) == [
        "shop.cases.yaml:3: error: n: m for v at first did not fire: its conditions do not hold there"
    ]


def test_what_fired_and_is_not_expected_is_told(tmp_path):
    text = f"- name: n\n  events: [{EVENT}]\n  fires: []\n"
    assert findings(tmp_path, text) == ["shop.cases.yaml:3: error: n: m for v at first fired, and is not expected"]
    twice = f"- name: n\n  events: [{EVENT}]\n  fires: [{FIRST}, {FIRST}]\n"
    assert findings(tmp_path, twice) == [
        "shop.cases.yaml:3: error: n: m for v at first fired 1 times, and is expected more often"
    ]


def test_an_event_without_an_id_is_the_case_and_its_number(tmp_path):
    nameless, expected = EVENT.replace(", eventId: first", ""), FIRST.replace("first", "n/0/1")
    text = f"- name: n\n  events: [{nameless}]\n  fires: [{expected}]\n"
    assert findings(tmp_path, text) == []


CHAINED = rulebook(
    "{kind: ActionMap, name: find, trigger: {event: e}, action: {webhook: hello}}",
    """
    kind: ActionMap
    name: write
    trigger: {all: [{event: webhook_succeeded, where: [{key: event.attributes.webhook, value: hello}]},
                    {key: visitor.variables.subscriber, operator: notExists}]}
    action: {webhook: hello}
    """,
)


@pytest.mark.parametrize(("subscriber", "fires"), [("null", [("find", "first"), ("write", "answer")]),
                                                   ("s-1", [("find", "first")])])  # fmt: skip
def test_a_case_gives_the_outcome_of_a_delivery_and_expects_what_it_leads_to(tmp_path, subscriber, fires):
    said = f"{{webhook: hello, actionMap: find, status: 200, deliveryId: d, subscriber: {subscriber}}}"
    answer = f'{{eventName: webhook_succeeded, visitorId: v, timestamp: "2026-11-21T10:00:01Z", eventId: answer, attributes: {said}}}'  # noqa: E501
    expected = ", ".join(f"{{actionMap: {name}, visitorId: v, eventId: {id_}}}" for name, id_ in fires)
    (tmp_path / "a.cases.yaml").write_text(f"- name: n\n  events: [{EVENT}, {answer}]\n  fires: [{expected}]\n")
    [case] = read_cases(tmp_path)
    assert run_case(case, CHAINED, Policy()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: n", "1: error: a file of cases is a list"),
        ("- just text", "1: error: a case has name, events and fires"),
        ("- name: n\n  events: []\n  fire: []", "3: error: unknown field 'fire'"),
        ("- events: []\n  fires: []", "1: error: a case has a name"),
        ("- name: n\n  events: {}\n  fires: []", "2: error: events is a list of events"),
        ("- name: n\n  events: []\n  fires: [{actionMap: m}]", "3: error: a firing is"),
        (
            "- name: n\n  events: []\n  fires: [{actionMap: m, visitorId: 1, eventId: a}]",
            "3: error: actionMap, visitorId",
        ),
        ("- name: [", "2: error: no YAML"),
    ],
)
def test_what_is_no_case_is_told_by_file_and_line(tmp_path, text, said):
    with pytest.raises(DefinitionError) as refused:
        findings(tmp_path, text)
    assert f"shop.cases.yaml:{said}" in str(refused.value)


@pytest.mark.parametrize(
    ("event", "fires", "said"),
    [
        (EVENT.replace("v, timestamp", "v, x"), "", "no-timestamp"),
        (EVENT, FIRST.replace(": m", ": mm"), "there is no active action map 'mm'"),
        (EVENT, FIRST.replace(": m", ": draft"), "there is no active action map 'draft'"),
    ],
)
def test_a_case_that_cannot_hold_is_told(tmp_path, event, fires, said):
    assert said in findings(tmp_path, f"- name: n\n  events: [{event}]\n  fires: [{fires}]\n")[0]


def test_definitions_do_not_see_the_cases_beside_them(tmp_path):
    from actionmap.catalog.folder import read_rules

    (tmp_path / "rules.yaml").write_text(BASE)
    (tmp_path / "rules.cases.yaml").write_text("- {name: n, events: [], fires: []}")
    assert len(read_rules(tmp_path)) == 3

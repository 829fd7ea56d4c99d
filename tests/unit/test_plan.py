"""What has to change, and YAML that reads back as the same."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shop import BASE, definitions

from actionmap.catalog.documents import Document, read_documents
from actionmap.catalog.models import KINDS
from actionmap.catalog.parse import parse_definition, parse_documents
from actionmap.catalog.plan import Change, plan, to_yaml, to_yaml_documents
from support import held

TRICKY = [
    "yes",
    "no",
    "on",
    "off",
    "true",
    "True",
    "FALSE",
    "null",
    "NULL",
    "Null",
    "~",
    "",
    " ",
    "1",
    "10",
    "1.0",
    "+1",
    "-1",
    "08",
    "010",
    "0o14",
    "0x1F",
    "1e5",
    "1E-3",
    "1.5e3",
    "1.",
    ".5",
    "-.5",
    ".inf",
    "-.inf",
    ".nan",
    "1_000",
    "0b1",
    "12:30",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "<<",
    "=",
    "-",
    "- a",
    "? a",
    "a: b",
    "a #b",
    "#a",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "{a}",
    "[a]",
    "{{ email }}",
    "'",
    '"',
    "''",
    "a\nb",
    "a\n",
    "\na",
    "a\n\n\nb",
    " a ",
    "\ta",
    "a\t",
    "a\r\nb",
    "\u0085",
    "\u2028",
    "\ufeff",
    "\x00",
    "\x07",
    "\x7f",
    "\u00e9",
    "e\u0301",
    "\U0001f600",
    "\ud7ff",
    "a" * 300,
    "word " * 60,
    "---",
    "...",
    "--- a",
    "${SOMETHING}",
    "\\n",
    "9" * 500,
]
texts = st.sampled_from(TRICKY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def written(data: dict[str, Any]):
    return parse_definition(Document(data=data))


def again(definition):
    [document] = read_documents(to_yaml(definition), "written.yaml")
    return parse_definition(document)


def assert_round_trip(data: dict[str, Any]) -> None:
    definition = written(data)
    read = again(definition)
    assert read == definition
    assert repr(read.as_written()) == repr(definition.as_written()), "1, 1.0 and true are equal in Python, not in YAML"


@pytest.mark.parametrize("text", TRICKY)
def test_every_tricky_text_reads_back_as_the_same_text(text):
    assert_round_trip(
        {"kind": "Webhook", "name": "w", "description": text, "dataAction": "d", "mappings": {text: {"value": text}}}
    )


@given(texts, values)
@example("x", [1, 1.0, True, "1", "1.0", "true", None, "null"])
def test_any_request_reads_back_as_the_same(text, body):
    assert_round_trip(
        {
            "kind": "DataAction",
            "name": "d",
            "description": text,
            "integration": "i",
            "contract": {"input": {"type": "object", "description": text}, "output": {"x": body}},
            "request": {"params": {text: text}, "body": body},
        }
    )


@given(
    st.lists(
        st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts, min_size=1, max_size=4
    )
)
def test_any_condition_reads_back_as_the_same(literals):
    condition = {"key": "visitor.id", "operator": "in", "values": literals}
    assert_round_trip(
        {
            "kind": "ActionMap",
            "name": "m",
            "action": {"webhook": "w"},
            "startDate": "2026-11-01T00:00:00.000Z",
            "trigger": {"all": [condition, {"not": {"event": "x", "where": [condition]}}]},
        }
    )


@pytest.mark.parametrize("moment", ["2026-11-01T00:00:00Z", "2026-11-01T02:00:00+02:00", "0999-01-01T00:00:00Z"])
def test_dates_are_written_in_utc_and_stay_the_same_moment(moment):
    definition = written(
        {"kind": "ActionMap", "name": "m", "action": {"webhook": "w"}, "trigger": {"event": "x"}, "endDate": moment}
    )
    assert again(definition).end_date == definition.end_date
    assert to_yaml(again(definition)) == to_yaml(definition)


def test_a_set_is_written_as_the_documents_of_one_file():
    found = definitions(BASE)
    read, _ = parse_documents(read_documents(to_yaml_documents(found.values())))
    assert read == found


def test_a_field_that_was_not_given_is_not_written():
    text = to_yaml(written({"kind": "Webhook", "name": "w", "dataAction": "d"}))
    assert text == "kind: Webhook\nname: w\ndataAction: d\n"


# --- plan


def planned(now: dict, wanted: dict, *, prune: bool = True) -> list[Change]:
    return plan(held(now), wanted, prune=prune)


def changes(now: dict, wanted: dict, *, prune: bool = True) -> list[tuple[str, str]]:
    return [(change.action, change.key) for change in planned(now, wanted, prune=prune)]


def test_the_same_set_changes_nothing():
    assert {action for action, _ in changes(definitions(BASE), definitions(BASE))} == {"unchanged"}
    assert all(change.diff == () for change in planned(definitions(BASE), definitions(BASE)))


def test_what_is_new_is_created_in_the_order_in_which_definitions_depend_on_each_other():
    everything = definitions(
        "{kind: ActionMap, name: m, trigger: {event: x}, action: {webhook: hello}}",
        "{kind: Segment, name: s, when: {key: visitor.id, operator: exists}}",
        BASE,
    )
    found = changes({}, everything)
    assert found == [
        ("create", f"{kind}/{name}") for kind, name in zip(KINDS, ["crm", "greet", "hello", "s", "m"], strict=True)
    ]


def test_what_is_gone_is_deleted_only_when_pruning():
    assert ("delete", "Webhook/hello") in changes(definitions(BASE), {})
    assert changes(definitions(BASE), {}, prune=False) == []


def test_what_differs_is_changed_with_a_readable_difference():
    [change] = [
        one
        for one in planned(definitions(BASE), definitions(BASE.replace("visitor.id", "visitor.customerId")))
        if one.action == "version"
    ]
    assert change.key == "Webhook/hello"
    assert "-    lookup: visitor.id" in change.diff
    assert "+    lookup: visitor.customerId" in change.diff


def test_a_default_written_out_is_no_change():
    wanted = BASE.replace("baseUrl: https://crm.example.com", "baseUrl: https://crm.example.com\nactive: true")
    assert {action for action, _ in changes(definitions(BASE), definitions(wanted))} == {"unchanged"}


def test_the_order_of_keys_is_no_change():
    wanted = BASE.replace("name: crm\nbaseUrl: https://crm.example.com", "baseUrl: https://crm.example.com\nname: crm")
    assert {action for action, _ in changes(definitions(BASE), definitions(wanted))} == {"unchanged"}


@pytest.mark.parametrize(
    ("now", "then"), [("1", "true"), ("1", "1.0"), ("1", "'1'"), ("0", "false"), ("true", "'true'")]
)
def test_values_that_only_python_takes_for_the_same_are_a_change(now, then):
    def mapped(value: str):
        return definitions(f"{{kind: Webhook, name: w, dataAction: d, mappings: {{f: {{value: {value}}}}}}}")

    assert changes(mapped(now), mapped(then)) == [("change", "Webhook/w")]

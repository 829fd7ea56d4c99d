"""What a contract may be: a flat object of scalars, with names that templates can write, and an output without nested
arrays (Genesys's rules); all that is wrong is told at once, each with its place."""

import pytest

from actionmap.catalog.contracts import contract_problems
from actionmap.catalog.models import Contract


def found(input_: object = None, output: object = None) -> dict[str, str]:
    given = {"type": "object"} if input_ is None else input_
    return dict(contract_problems(Contract(input=given, output=output or {})))


def fields(**schemas: object) -> dict[str, object]:
    return {"type": "object", "properties": schemas}


@pytest.mark.parametrize("name", ["a", "email", "lead_Id-2", "A1"])
def test_a_name_begins_with_a_letter_and_has_letters_digits_and_both_dashes(name: str) -> None:
    assert found(fields(**{name: {"type": "string"}})) == {}


@pytest.mark.parametrize("name", ["", "1a", "_a", "-a", "a b", "a.b", "ä", "a\n", "a/b"])
def test_any_other_name_is_refused_at_its_place(name: str) -> None:
    [(path, message)] = found(fields(**{name: {"type": "string"}})).items()
    assert (path, "begins with a letter" in message) == (f"contract.input.properties.{name}", True)


@pytest.mark.parametrize("name", ["orgId", "integrationId", "rawRequest"])
def test_reserved_names_are_refused_in_the_input_alone(name: str) -> None:
    schema = fields(**{name: {"type": "string"}})
    assert "reserved" in found(schema)[f"contract.input.properties.{name}"]
    assert found(output=schema) == {}


def test_what_refers_elsewhere_is_told_where_it_stands_on_both_sides() -> None:
    refers = {"$ref": "https://example.com/x"}
    assert list(found(fields(a={"type": "string"}, b=refers), {"items": [{"not": refers}]})) == [
        "contract.input.properties.b", "contract.output.items.0.not",
    ]  # fmt: skip


ARRAY = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        ({"type": "object", "properties": {"tags": ARRAY}}, []),
        ({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}}, []),
        ({"type": "array", "items": ARRAY}, ["contract.output.items"]),
        (
            {"type": "object", "properties": {"a": {"type": ["array", "null"], "items": fields(tags=ARRAY)}}},
            ["contract.output.properties.a.items.properties.tags"],
        ),
        ({"type": "string"}, ["contract.output.type"]),
    ],
)
def test_an_output_is_an_object_or_an_array_of_them_and_nests_no_arrays(output: object, paths: list[str]) -> None:
    assert list(found(output=output)) == paths


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = {"properties": {"orgId": {"type": "string"}, "b": {"type": "object"}}, "required": ["c"]}
    assert list(found(wrong, {"type": "array", "items": ARRAY})) == [
        "contract.input.type", "contract.input.properties.orgId", "contract.input.properties.b",
        "contract.input.required", "contract.output.items",
    ]  # fmt: skip

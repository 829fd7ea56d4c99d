"""Where a contract's fields get their values, and what a value may become without loss (semantics §7, §9.10)."""

import json
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import definitions, event, live

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.contracts import contract_problems
from actionmap.catalog.mappings import NoValue, converted
from actionmap.catalog.models import Contract
from actionmap.errors import DefinitionError

LOST = object()
CONVERSIONS = [
    # to string: numbers and booleans lose nothing
    ("string", "abc", "abc"),
    ("string", "", ""),
    ("string", 10, "10"),
    ("string", 10.5, "10.5"),
    ("string", 10.0, "10"),
    ("string", -0.5, "-0.5"),
    ("string", 1e22, "10000000000000000000000"),
    ("string", 1e-7, "0.0000001"),
    ("string", True, "true"),
    ("string", False, "false"),
    ("string", "007", "007"),
    # to integer
    ("integer", 10, 10),
    ("integer", 10.0, 10),
    ("integer", "10", 10),
    ("integer", "10.0", 10),
    ("integer", "-10", -10),
    ("integer", "0", 0),
    ("integer", "12345678901234567890", 12345678901234567890),
    ("integer", "12345678901234567890.0", 12345678901234567890),
    ("integer", 10.5, LOST),
    ("integer", "10.5", LOST),
    ("integer", "007", LOST),
    ("integer", "+10", LOST),
    ("integer", " 10", LOST),
    ("integer", "10\n", LOST),
    ("integer", "1e3", LOST),
    ("integer", "", LOST),
    ("integer", "ten", LOST),
    ("integer", "9" * 5000, LOST),
    ("integer", True, LOST),
    ("integer", "true", LOST),
    # to number
    ("number", 10, 10),
    ("number", 10.5, 10.5),
    ("number", "10", 10),
    ("number", "10.5", 10.5),
    ("number", "0.10", 0.1),
    ("number", "-0.5", -0.5),
    ("number", "007", LOST),
    ("number", "00.5", LOST),
    (".5", ".5", LOST),
    ("number", "0.1000000000000000055511151231257827", LOST),
    ("number", "9" * 399 + ".5", LOST),
    ("number", False, LOST),
    ("number", "", LOST),
    # to boolean
    ("boolean", True, True),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("boolean", "TRUE", LOST),
    ("boolean", "yes", LOST),
    ("boolean", 1, LOST),
    ("boolean", 0, LOST),
    ("boolean", "1", LOST),
    # what is no scalar becomes none
    ("string", None, LOST),
    ("string", [], LOST),
    ("string", ["a"], LOST),
    ("string", {"a": 1}, LOST),
    ("integer", [10], LOST),
]


@pytest.mark.parametrize(("type_", "value", "expected"), CONVERSIONS, ids=lambda value: repr(value)[:30])
def test_a_value_becomes_the_contracts_type_only_where_nothing_is_lost(type_, value, expected):
    if expected is LOST:
        with pytest.raises(NoValue):
            converted(value, type_)
    else:
        made = converted(value, type_)
        assert (made, type(made)) == (expected, type(expected))


@given(st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_became_text_becomes_the_same_number_again(number):
    assert type(number)(converted(converted(number, "string"), "number")) == number


def chain(properties: str, mappings: str, required: str = "[]") -> str:
    return f"""
    kind: Integration
    name: crm
    baseUrl: https://crm.example.com
    ---
    kind: DataAction
    name: act
    integration: crm
    state: published
    contract: {{input: {{type: object, required: {required}, properties: {properties}}}}}
    ---
    kind: Webhook
    name: hook
    dataAction: act
    state: published
    mappings: {mappings}
    ---
    kind: ActionMap
    name: m
    trigger: {{event: page_viewed}}
    action: {{webhook: hook}}
    """


def sent(properties: str, mappings: str, **fields: object):
    """The body that is owed for one event, or the reason why none is."""
    [decision] = live(compile_rulebook(definitions(chain(properties, mappings))), event(eventId="e", **fields))
    [verdict] = decision.verdicts
    return json.loads(decision.deliveries[0].body) if decision.deliveries else verdict.reason


def refused(properties: str, mappings: str, **more: str) -> str:
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(definitions(chain(properties, mappings, **more)))
    return str(error.value)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("{lookup: visitor.traits.a}", {"f": None}),
        ("{lookup: visitor.traits.a, onMissing: sendNull}", {"f": None}),
        ("{lookup: visitor.traits.a, onMissing: omit}", {}),
        ("{lookup: visitor.traits.a, onMissing: skip}", "lookup-missing"),
        ("{lookup: visitor.traits.a, onMissing: default, default: x}", {"f": "x"}),
        ("{lookup: visitor.traits.a, default: x}", {"f": "x"}),
        ("{lookup: visitor.traits.a, default: ''}", {"f": ""}),
        ("{value: x}", {"f": "x"}),
    ],
)
def test_what_is_missing_is_handled_as_the_mapping_says(mapping, expected):
    for traits in ({}, {"a": None}, {"a": ["a list"]}):
        assert sent("{f: {type: string}}", f"{{f: {mapping}}}", traits=traits) == expected


def test_a_value_that_would_lose_something_counts_as_missing():
    assert sent("{f: {type: integer}}", "{f: {lookup: visitor.traits.a, default: 0}}", traits={"a": "10.5"}) == {"f": 0}
    assert sent("{f: {type: integer}}", "{f: {lookup: visitor.traits.a}}", traits={"a": "007"}) == {"f": None}


def test_what_is_there_is_sent_even_when_it_is_empty_zero_or_false():
    for type_, value in (("string", ""), ("integer", 0), ("boolean", False)):
        mapping = "{f: {lookup: visitor.traits.a, onMissing: skip}}"
        assert sent(f"{{f: {{type: {type_}}}}}", mapping, traits={"a": value}) == {"f": value}


def test_every_field_is_sent_in_the_contracts_order():
    body = sent("{b: {type: string}, a: {type: integer}}", "{a: {value: 1}, b: {lookup: visitor.id}}")
    assert list(body.items()) == [("b", "v1"), ("a", 1)]


def test_lookups_know_the_map_and_the_delivery():
    body = sent(
        "{m: {type: string}, v: {type: integer}, d: {type: string}}",
        "{m: {lookup: actionMap.name}, v: {lookup: actionMap.version}, d: {lookup: delivery.id}}",
    )
    assert (body["m"], body["v"], body["d"][:4]) == ("m", 1, "am1_")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("{type: integer}", "ten"),
        ("{type: integer}", "'10'"),
        ("{type: integer}", "10.5"),
        ("{type: string}", "10"),
        ("{type: string}", "true"),
        ("{type: string}", "null"),
        ("{type: boolean}", "1"),
        ("{type: number}", "'1.0'"),
        ("{type: string, enum: [a, b]}", "c"),
        ("{type: string, maxLength: 2}", "abc"),
        ("{type: string, pattern: '^a'}", "ba"),
        ("{type: integer, minimum: 5}", "4"),
        ("{type: string, const: a}", "b"),
        ("{type: string, minLength: 2}", "a"),
        ("{type: string, format: email}", "nobody"),
        ("{type: string, format: date}", "'21.11.2026'"),
        ("{type: string, format: date-time}", "'2026-11-21'"),
        ("{type: string, format: uri}", "crm"),
        ("{type: string, format: uuid}", "'1'"),
    ],
)
def test_static_values_and_defaults_are_checked_against_the_contract(schema, value):
    assert "mappings.f.value: " in refused(f"{{f: {schema}}}", f"{{f: {{value: {value}}}}}")
    assert "mappings.f.default: " in refused(
        f"{{f: {schema}}}", f"{{f: {{lookup: visitor.traits.a, default: {value}}}}}"
    )


def test_a_static_null_is_fine_where_the_contract_takes_null():
    assert sent("{f: {type: [string, 'null']}}", "{f: {value: null}}") == {"f": None}


@pytest.mark.parametrize(
    ("type_", "lookup", "fits"),
    [
        ("string", "session.pageviewCount", True),
        ("number", "session.pageviewCount", True),
        ("boolean", "session.pageviewCount", False),
        ("string", "session.searchTerms", False),
        ("string", "visitor.segments", False),
        ("string", "event.timestamp", True),
        ("integer", "event.timestamp", False),
        ("boolean", "session.authenticated", True),
        ("string", "session.authenticated", True),
        ("integer", "session.authenticated", False),
        ("integer", "visitor.id", True),
        ("integer", "event.attributes.anything", True),
    ],
)
def test_a_lookup_that_never_becomes_the_contracts_type_is_refused(type_, lookup, fits):
    arguments = f"{{f: {{type: {type_}}}}}", f"{{f: {{lookup: {lookup}}}}}"
    if fits:
        sent(*arguments)
    else:
        assert f"mappings.f.lookup: {lookup} is a" in refused(*arguments)


NEVER = [
    ("{type: string, enum: [yes, no]}", "session.authenticated", True),
    ("{type: string, enum: ['true', no]}", "session.authenticated", False),
    ("{type: boolean, const: true}", "session.authenticated", False),
    ("{type: string, maxLength: 3}", "session.authenticated", True),
    ("{type: string, maxLength: 4}", "session.authenticated", False),
    ("{type: string, format: email}", "session.authenticated", True),
    ("{type: string, enum: [low, high]}", "session.pageviewCount", True),
    ("{type: string, enum: [low, '3']}", "session.pageviewCount", False),
    ("{type: string, enum: ['-1', '007']}", "session.pageviewCount", True),
    ("{type: integer, enum: [1, 2]}", "session.pageviewCount", False),
    ("{type: number, const: 0.5}", "session.pageviewCount", True),
    ("{type: integer, maximum: -1}", "session.pageviewCount", True),
    ("{type: integer, maximum: 0}", "session.pageviewCount", False),
    ("{type: string, format: date}", "session.pageviewCount", True),
    ("{type: string, format: hostname}", "session.pageviewCount", False),
    ("{type: string, format: date-time}", "event.timestamp", False),
    ("{type: string, format: date}", "event.timestamp", True),
    ("{type: string, maxLength: 23}", "event.timestamp", True),
    ("{type: string, maxLength: 24}", "event.timestamp", False),
    ("{type: string, enum: [soon]}", "event.timestamp", True),
    ("{type: string, enum: ['2026-11-21T10:00:00.000Z']}", "event.timestamp", False),
    ("{type: string, pattern: '^1999'}", "event.timestamp", False),
    ("{type: string, enum: [a]}", "visitor.traits.x", False),
    ("{type: string, format: email}", "visitor.id", False),
]


@pytest.mark.parametrize(("schema", "lookup", "never"), NEVER)
def test_a_lookup_whose_values_never_satisfy_enum_format_or_length_is_refused(schema, lookup, never):
    arguments = f"{{f: {schema}}}", f"{{f: {{lookup: {lookup}}}}}"
    if never:
        assert f"mappings.f.lookup: {lookup} is a" in (message := refused(*arguments))
        assert "which never satisfies the contract: " in message
    else:
        sent(*arguments)


def test_what_a_path_becomes_is_said_when_it_does_not_fit():
    assert "event.timestamp is a time, which becomes: string; never an integer" in refused(
        "{f: {type: integer}}", "{f: {lookup: event.timestamp}}"
    )


def test_all_findings_of_a_webhook_come_at_once_each_with_its_place():
    message = refused(
        "{a: {type: integer}, b: {type: boolean}, c: {type: string, maxLength: 1}, d: {type: string}}",
        "{a: {value: x}, b: {lookup: session.pageviewCount}, "
        "c: {lookup: visitor.trait.x, default: long}, e: {value: 1}}",
    )
    for place in ("mappings.a.value: ", "mappings.b.lookup: ", "mappings.c.lookup: ", "mappings.c.default: ",
                  "mappings.e: ", "mappings: the contract field 'd'"):  # fmt: skip
        assert place in message


PATH = "\n    request: {path: '/leads/%s'}"


@pytest.mark.parametrize(
    ("schema", "mapping", "place", "renders"),
    [
        ("{type: string}", "{value: ''}", "{{ f }}", False),
        ("{type: string}", "{value: '..'}", "{{ f }}", False),
        ("{type: [string, 'null']}", "{value: null}", "{{ f }}", False),
        ("{type: string}", "{value: tomorrow}", '{{ f | date("YYYY") }}', False),
        ("{type: integer}", "{lookup: event.attributes.x}", '{{ f | date("YYYY") }}', False),
        ("{type: string}", "{lookup: event.attributes.x}", '{{ f | date("YYYY") | e164 }}', False),
        ("{type: string}", "{lookup: event.attributes.x}", "{{ f }}", True),
        ("{type: string}", "{lookup: event.attributes.x}", '{{ f | date("YYYY") }}', True),
        ("{type: string}", "{lookup: event.attributes.x}", "{{ f | e164 }}", True),
        ("{type: integer}", "{lookup: event.attributes.x}", '{{ f | e164("US") }}', True),
        ("{type: string, enum: ['', a]}", "{lookup: event.attributes.x}", "{{ f }}", True),
    ],
)
def test_a_request_that_no_sample_makes_is_refused_when_it_is_saved(schema, mapping, place, renders):
    text = chain(f"{{f: {schema}}}", f"{{f: {mapping}}}").replace("}}}\n", "}}}" + PATH % place + "\n", 1)
    assert "/leads/" in text
    if renders:
        compile_rulebook(definitions(text))
        return
    with pytest.raises(
        DefinitionError, match=r"Webhook hook: mappings\.f: no request can be made of any sample values"
    ):
        compile_rulebook(definitions(text))


def test_two_fields_of_a_path_may_need_different_samples():
    text = chain("{f: {type: string}, g: {type: string}}",
                 "{f: {lookup: visitor.traits.at}, g: {lookup: visitor.traits.phone}}")  # fmt: skip
    place = '{{ f | date("YYYY") }}/{{ g | e164 }}'
    compile_rulebook(definitions(text.replace("}}}\n", "}}}" + PATH % place + "\n", 1)))


def test_an_unknown_lookup_is_refused_with_the_nearest_one():
    assert "did you mean 'session.mktCampaign.name'?" in refused(
        "{f: {type: string}}", "{f: {lookup: session.mktCampain.name}}"
    )
    assert "there is no path 'visitor.traits'" in refused("{f: {type: string}}", "{f: {lookup: visitor.traits}}")


def test_a_field_that_the_contract_does_not_have_is_refused_with_the_nearest_one():
    message = refused("{email: {type: string}}", "{email: {value: a}, emial: {value: b}}")
    assert "the input contract has no field 'emial'; did you mean 'email'?" in message


@pytest.mark.parametrize("required", ["[]", "[f]"])
def test_every_field_of_the_contract_is_mapped_required_or_not(required):
    assert "the contract field 'f' is not mapped" in refused("{f: {type: string}}", "{}", required=required)


# --- what a contract may be

FLAT = {"type": "object", "properties": {"f": {"type": "string"}}}


def problems(input_: dict, output: dict | None = None) -> str:
    return "; ".join(
        f"{path}: {message}" for path, message in contract_problems(Contract(input=input_, output=output or {}))
    )


@pytest.mark.parametrize("type_", ["string", "integer", "number", "boolean", ["string", "null"]])
def test_a_contract_is_a_flat_object_of_scalars(type_):
    assert problems({"type": "object", "properties": {"f": {"type": type_}}}) == ""
    assert problems({"type": "object"}) == ""


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "array"},
        {"type": "null"},
        {"type": ["string", "integer"]},
        {},
        True,
        {"enum": ["a"]},
    ],
)
def test_a_contracts_field_is_a_scalar(schema):
    assert "contract.input.properties.f: its type is one of" in problems(
        {"type": "object", "properties": {"f": schema}}
    )


@pytest.mark.parametrize("word", ["$ref", "$dynamicRef", "$recursiveRef"])
def test_a_contract_refers_to_nothing(word):
    assert "$ref is not taken" in problems(FLAT | {"allOf": [{word: "#/x"}]})
    assert "$ref is not taken" in problems(FLAT, {"properties": {"a": {word: "https://example.com/x"}}})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strng"},
        {"properties": 5},
        {"type": "object", "properties": {"f": {"type": "string", "pattern": "("}}},
        {"type": "object", "required": "f"},
        {"$schema": "https://example.com/own-dialect"},
    ],
)
def test_what_is_no_json_schema_is_refused_on_both_sides(schema):
    assert "contract.input: is no JSON Schema" in problems(schema)
    assert "contract.output: is no JSON Schema" in problems(FLAT, schema)


@pytest.mark.parametrize(
    "dialect",
    [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2020-12/schema",
    ],
)
def test_a_contract_may_name_its_dialect(dialect):
    assert problems(FLAT | {"$schema": dialect}) == ""


def test_static_values_are_checked_in_the_contracts_own_dialect():
    text = chain("{f: {type: integer, minimum: 5, exclusiveMinimum: true}}", "{f: {value: 5}}", "[f]").replace(
        "input: {", "input: {$schema: 'http://json-schema.org/draft-04/schema#', "
    )
    with pytest.raises(DefinitionError, match="does not satisfy"):
        compile_rulebook(definitions(text))
    compile_rulebook(definitions(text.replace("value: 5", "value: 6")))


@pytest.mark.parametrize("place", ["top", "property"])
def test_no_contract_makes_us_fetch_anything(place):
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        threading.Thread(target=lambda: _accept(server) and asked.set(), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        field = {"type": "string", "$id": url} | ({"$schema": url} if place == "property" else {})
        contract = {"type": "object", "properties": {"f": field}} | ({"$schema": url} if place == "top" else {})
        problems(contract, contract)
        text = chain(json.dumps(contract["properties"]), "{f: {value: a}}")
        compile_rulebook(definitions(text))
    assert not asked.is_set()


def _accept(server: socket.socket) -> bool:
    try:
        server.accept()
    except OSError:
        return False
    return True


def test_a_required_field_is_one_of_the_properties():
    assert "contract.input.required: there is no property 'g'" in problems(FLAT | {"required": ["f", "g"]})


def test_an_input_contract_is_an_object():
    assert "contract.input.type" in problems({"properties": {}})

"""Contracts: what input and output of a data action may be, and which values a field takes.

The rules are those of Genesys: the input is a flat object of scalars, a property has a name that templates can write,
three names are the service's own, nothing is referred to, and the output nests no arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jsonschema_rs

from actionmap.catalog.models import Contract

SCALARS = ("string", "integer", "number", "boolean")
#: Words of Genesys's own: an action whose contract has one of them fails there.
RESERVED = frozenset({"orgId", "integrationId", "rawRequest"})
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

#: Where something is wrong, and what.
Problem = tuple[str, str]


def contract_problems(contract: Contract) -> list[Problem]:
    """All that is wrong with ``contract``, as (path, message)."""
    sides = (("contract.input", contract.input), ("contract.output", contract.output))
    general = [problem for path, schema in sides for problem in _no_schema(path, schema)]
    return [*general, *_input_problems(contract), *_output_problems(contract.output)]


def _no_schema(path: str, schema: dict[str, Any]) -> Iterator[Problem]:
    """Why ``schema`` is none that can be used; what it refers to is never fetched."""
    referring = list(_referring(path, schema))
    yield from ((place, "$ref is not taken; write the schema out") for place in referring)
    if not referring:
        try:
            jsonschema_rs.validator_for(schema)
        except ValueError as error:
            yield path, f"is no JSON Schema: {str(error).splitlines()[0]}"


def _referring(path: str, schema: Any) -> Iterator[str]:
    """Where in ``schema`` something stands that refers elsewhere."""
    inner = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    if isinstance(schema, dict) and not _REFERENCES.isdisjoint(schema):
        yield path
    for key, one in inner:
        yield from _referring(f"{path}.{key}", one)


def _input_problems(contract: Contract) -> Iterator[Problem]:
    path = "contract.input"
    if contract.input.get("type") != "object":
        yield f"{path}.type", "an input contract has type: object"
    for name, schema in properties_of(contract).items():
        place = f"{path}.properties.{name}"
        if name in RESERVED:
            yield place, f"{', '.join(sorted(RESERVED))} are reserved; call it otherwise"
        elif not _NAME.fullmatch(name):
            yield place, "a name begins with a letter, and letters, digits, '_' and '-' follow"
        if scalar_of(schema) not in SCALARS:
            yield place, f"its type is one of {', '.join(SCALARS)}, alone or as [{SCALARS[0]}, 'null']"
    required = contract.input.get("required", ())
    for name in required if isinstance(required, list) else ():
        if name not in properties_of(contract):
            yield f"{path}.required", f"there is no property {name!r}"


def _output_problems(output: dict[str, Any]) -> Iterator[Problem]:
    type_ = output.get("type", "object")
    if isinstance(type_, str) and type_ in (*SCALARS, "null"):
        yield "contract.output.type", "an output contract is an object, or an array of them"
    for path in _nested_arrays("contract.output", output):
        yield path, "an array in an array's items; an output contract nests none"


def _nested_arrays(path: str, schema: Any, *, in_array: bool = False) -> Iterator[str]:
    """Where in ``schema`` an array stands below the items of another one."""
    if not isinstance(schema, dict):
        return
    type_ = schema.get("type")
    is_array = type_ == "array" or (isinstance(type_, list) and "array" in type_)
    if is_array and in_array:
        yield path
        return
    properties, items = schema.get("properties"), schema.get("items")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        yield from _nested_arrays(f"{path}.properties.{name}", inner, in_array=in_array)
    yield from _nested_arrays(f"{path}.items", items, in_array=in_array or is_array)


def properties_of(contract: Contract) -> dict[str, Any]:
    """The schema of each field of the input, by name."""
    properties = contract.input.get("properties", {})
    return properties if isinstance(properties, dict) else {}


def required_of(contract: Contract) -> frozenset[str]:
    """The fields of the input that have to be there."""
    return frozenset(contract.input.get("required", ()))


def scalar_of(schema: Any) -> str:
    """The scalar type of a property; ``[string, "null"]`` is a string that may be null. "" where it has none."""
    type_ = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(type_, list):
        others = [name for name in type_ if name != "null"]
        type_ = others[0] if len(others) == 1 else None
    return type_ if isinstance(type_, str) else ""


#: Says why a value does not satisfy a field, in words for people; "" when it does.
Refusal = Callable[[Any], str]


def refusal_of(contract: Contract, name: str) -> Refusal:
    """What says why a value is not valid for the field ``name`` alone: formats count, in the contract's own dialect."""
    dialect = {key: contract.input[key] for key in ("$schema",) if key in contract.input}
    schema = {**dialect, "properties": {name: properties_of(contract)[name]}}

    @cache
    def validator() -> Any:
        return jsonschema_rs.validator_for(schema, validate_formats=True)

    def refused(value: Any) -> str:
        error = next(validator().iter_errors({name: value}), None)
        return "" if error is None else str(error.message)

    return refused

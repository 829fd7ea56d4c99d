"""Mappings compiled: where each field of an input contract gets its value, turned into the contract's type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import jsonschema_rs

from actionmap.catalog.models import Contract, Mapping, Webhook
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Getter, PathType, Scope, UnknownPath, find_path, known_paths
from actionmap.catalog.templates import to_text
from actionmap.errors import ActionmapError

SCALARS = ("string", "integer", "number", "boolean")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_MAX_DIGITS = 400
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


class LookupMissing(ActionmapError):
    """A lookup with ``onMissing: skip`` has no value: there is no delivery."""


class NoValue(Exception):
    """A looked-up value counts as missing; the message says why."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an input contract and where its value comes from."""

    name: str
    #: Reads the looked-up value; None for a static one.
    read: Getter | None
    lookup: str
    #: JSON Schema type the value is turned into.
    type: str
    when_missing: str
    #: The static value, or the default.
    value: Any


Resolved = tuple[dict[str, Any], tuple[str, ...]]


def compile_fields(fields: tuple[Field, ...]) -> Callable[[Scope], Resolved]:
    """A function that resolves ``fields``: their values by name, and the names of those that had none.

    The function raises LookupMissing for a field with ``onMissing: skip`` that has no value.
    """

    def resolve(scope: Scope) -> Resolved:
        values: dict[str, Any] = {}
        missing: list[str] = []
        for field in fields:
            if field.read is None:
                values[field.name] = field.value
                continue
            try:
                values[field.name] = converted(field.read(scope), field.type)
            except NoValue as why:
                if field.when_missing == "skip":
                    raise LookupMissing(f"{field.name}: {field.lookup} {why}") from None
                missing.append(field.name)
                if field.when_missing != "omit":
                    values[field.name] = field.value
        return values, tuple(missing)

    return resolve


def converted(value: Any, type_: str) -> Any:
    """``value`` as JSON Schema type ``type_`` where nothing is lost by it (semantics §7, §9.10).

    Raises:
        NoValue: it is missing, or something would be lost.
    """
    if value is None:
        raise NoValue("is missing")
    if isinstance(value, list | dict):
        raise NoValue(f"is {'a list' if isinstance(value, list) else 'an object'}, not a {type_}")
    match type_:
        case "string":
            return value if isinstance(value, str) else to_text(value)
        case "boolean":
            made = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
            if isinstance(made, bool):
                return made
        case "number" | "integer":
            number = _number(value)
            if number is not None and type_ == "number":
                return number
            if number is not None and number == int(number):
                return int(number)
    raise NoValue(f"cannot become a {type_} without loss")


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    if not _DECIMAL.fullmatch(value) or len(value) > _MAX_DIGITS:
        return None
    if "." not in value:
        return int(value)
    exact = Decimal(value)
    if exact == exact.to_integral_value():
        return int(exact)
    number = float(value)
    return number if Decimal(repr(number)) == exact else None


def contract_problems(contract: Contract) -> list[tuple[str, str]]:
    """What is wrong with ``contract``, as (path, message): its input is a flat object of scalars, without ``$ref``."""
    problems = []
    for side, schema in (("input", contract.input), ("output", contract.output)):
        if _holds_ref(schema):
            problems.append((f"contract.{side}", "$ref is not taken; write the schema out"))
        else:
            try:
                jsonschema_rs.validator_for(schema)
            except ValueError as error:
                problems.append((f"contract.{side}", f"is no JSON Schema: {str(error).splitlines()[0]}"))
    if problems:
        return problems
    if contract.input.get("type") != "object":
        problems.append(("contract.input.type", "an input contract has type: object"))
    for name, schema in _properties(contract).items():
        if _type_of(schema) not in SCALARS:
            message = f"its type is one of {', '.join(SCALARS)}"
            problems.append((f"contract.input.properties.{name}", message))
    absent = [name for name in contract.input.get("required", ()) if name not in _properties(contract)]
    problems += [("contract.input.required", f"there is no property {name!r}") for name in absent]
    return problems


def _holds_ref(schema: Any) -> bool:
    if isinstance(schema, dict):
        return not _REFERENCES.isdisjoint(schema) or any(map(_holds_ref, schema.values()))
    return isinstance(schema, list) and any(map(_holds_ref, schema))


def _properties(contract: Contract) -> dict[str, Any]:
    properties = contract.input.get("properties", {})
    return properties if isinstance(properties, dict) else {}


def _type_of(schema: Any) -> str:
    """The scalar type of a property; ``[string, "null"]`` is a string that may be null."""
    type_ = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(type_, list):
        others = [name for name in type_ if name != "null"]
        type_ = others[0] if len(others) == 1 else None
    return type_ if isinstance(type_, str) else ""


def compile_mappings(webhook: Webhook, contract: Contract) -> tuple[tuple[Field, ...], list[tuple[str, str]]]:
    """The fields of ``contract`` with their sources in ``webhook``, and what is wrong, as (path, message)."""
    properties = _properties(contract)
    fields: list[Field] = []
    problems: list[tuple[str, str]] = []
    for name in webhook.mappings.keys() - properties.keys():
        hint = nearest(name, properties)
        problems.append((f"mappings.{name}", f"the input contract has no field {name!r}{hint}"))
    problems += [
        ("mappings", f"the contract field {name!r} is not mapped; every field is, required or not")
        for name in sorted(properties.keys() - webhook.mappings.keys())
    ]
    for name in properties:
        mapping = webhook.mappings.get(name)
        if mapping is not None:
            problem, field = _compile_mapping(name, mapping, contract)
            if problem:
                problems.append((f"mappings.{name}", problem))
            fields.append(field)
    return tuple(fields), problems


def _compile_mapping(name: str, mapping: Mapping, contract: Contract) -> tuple[str, Field]:
    type_ = _type_of(_properties(contract)[name])
    static = mapping.value if mapping.lookup is None else mapping.default
    field = Field(name, None, "", type_, mapping.when_missing, static)
    problem = ""
    if mapping.lookup is not None:
        try:
            path = find_path(mapping.lookup, for_lookup=True)
        except UnknownPath:
            hint = nearest(mapping.lookup, known_paths(for_lookup=True))
            return f"lookup: there is no path {mapping.lookup!r}{hint}", field
        field = Field(name, path.read, path.name, type_, mapping.when_missing, static)
        if not _may_become(path.type, type_):
            problem = f"lookup: {path.name} is a {path.type}, which never becomes a {type_}"
    if mapping.lookup is None or mapping.when_missing == "default":
        word = "value" if mapping.lookup is None else "default"
        if not _satisfies(static, name, contract):
            problem = f"{word}: {static!r} does not satisfy the contract ({type_})"
    return problem, field


def _satisfies(value: Any, name: str, contract: Contract) -> bool:
    """Whether ``value`` is valid for the field ``name`` alone, in the contract's dialect of JSON Schema."""
    dialect = {key: contract.input[key] for key in ("$schema",) if key in contract.input}
    validator = jsonschema_rs.validator_for({**dialect, "properties": {name: _properties(contract)[name]}})
    return validator.is_valid({name: value})


def _may_become(path_type: PathType, type_: str) -> bool:
    """Whether any value of a path of that type can become a ``type_`` without loss."""
    possible = {
        "list": (),
        "time": ("string",),
        "integer": ("integer", "number", "string"),
        "number": ("integer", "number", "string"),
        "boolean": ("boolean", "string"),
    }
    return type_ in possible.get(path_type, SCALARS)

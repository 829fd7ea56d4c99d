"""Mappings compiled: where each field of an input contract gets its value, turned into the contract's type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2s
from typing import Any

import msgspec

from actionmap.catalog.contracts import Problem, properties_of, refusal_of, scalar_of
from actionmap.catalog.fits import misfit
from actionmap.catalog.models import Contract, Mapping, Webhook
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Getter, Scope, UnknownPath, find_path, known_paths
from actionmap.catalog.templates import to_text
from actionmap.errors import ActionmapError

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_MAX_DIGITS = 400


class LookupMissing(ActionmapError):
    """A lookup with ``onMissing: skip`` has no value: there is no delivery."""

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        """``fields``: all that have no value, whatever they do about it."""
        super().__init__(message)
        self.fields = fields


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
        skipped = ""
        for field in fields:
            if field.read is None:
                values[field.name] = field.value
                continue
            try:
                values[field.name] = converted(field.read(scope), field.type)
            except NoValue as why:
                missing.append(field.name)
                if field.when_missing == "skip":
                    skipped = skipped or f"{field.name}: {field.lookup} {why}"
                elif field.when_missing != "omit":
                    values[field.name] = field.value
        if skipped:
            raise LookupMissing(skipped, tuple(missing))
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


def looked_up(webhook: Webhook) -> dict[str, str]:
    """The paths that are looked up, by contract field."""
    return {field: some.lookup for field, some in webhook.mappings.items() if some.lookup is not None}


def key_of_lookups(webhook: Webhook) -> str:
    """What tells the lookups of ``webhook`` from others, so that what is counted of them is; "" where it has none."""
    paths = looked_up(webhook)
    told = msgspec.json.encode([webhook.data_action, sorted(paths.items())])
    return blake2s(told, digest_size=6).hexdigest() if paths else ""


def counted_as(action_map: str, lookups: str, field: str = "") -> str:
    """What matches of a map that made ``lookups`` are counted as; with ``field``, those in which it had no value."""
    return f"{action_map}@{lookups}/{field}" if field else f"{action_map}@{lookups}"


def compile_mappings(webhook: Webhook, contract: Contract) -> tuple[tuple[Field, ...], list[Problem]]:
    """The fields of ``contract`` with their sources in ``webhook``, and all that is wrong, as (path, message)."""
    properties = properties_of(contract)
    problems = [
        (f"mappings.{name}", f"the input contract has no field {name!r}{nearest(name, properties)}")
        for name in sorted(webhook.mappings.keys() - properties.keys())
    ]
    problems += [
        ("mappings", f"the contract field {name!r} is not mapped; every field is, required or not")
        for name in sorted(properties.keys() - webhook.mappings.keys())
    ]
    fields = []
    for name in properties:
        if name in webhook.mappings:
            field, found = _compile_mapping(name, webhook.mappings[name], contract)
            fields.append(field)
            problems += [(f"mappings.{name}.{word}", message) for word, message in found]
    return tuple(fields), problems


def _compile_mapping(name: str, mapping: Mapping, contract: Contract) -> tuple[Field, list[Problem]]:
    schema, refused = properties_of(contract)[name], refusal_of(contract, name)
    type_ = scalar_of(schema)
    static = mapping.value if mapping.lookup is None else mapping.default
    field = Field(name, None, "", type_, mapping.when_missing, static)
    problems: list[Problem] = []
    if mapping.lookup is not None:
        try:
            path = find_path(mapping.lookup, for_lookup=True)
        except UnknownPath:
            hint = nearest(mapping.lookup, known_paths(for_lookup=True))
            problems.append(("lookup", f"there is no path {mapping.lookup!r}{hint}"))
        else:
            field = Field(name, path.read, path.name, type_, mapping.when_missing, static)
            reason = misfit(path, type_, schema, refused)
            problems += [("lookup", reason)] if reason else []
    if mapping.lookup is None or mapping.when_missing == "default":
        reason = refused(static)
        word = "value" if mapping.lookup is None else "default"
        problems += [(word, f"{static!r} does not satisfy the contract ({type_}): {reason}")] if reason else []
    return field, problems

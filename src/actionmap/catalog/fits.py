"""Whether what a path looks up can ever be what a contract's field takes, told from the types alone.

Only what is sure is refused: of a path whose values are free, such as a trait, nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from actionmap.catalog.contracts import SCALARS, Refusal
from actionmap.catalog.paths import Path, PathType

#: What the values of a path become without loss (semantics §7, §9.10).
_BECOMES: Mapping[PathType, tuple[str, ...]] = {
    "list": (),
    "time": ("string",),
    "integer": ("integer", "number", "string"),
    "number": ("number", "integer", "string"),
    "boolean": ("boolean", "string"),
}
#: A time as paths write it; all are so long.
_TIME = "2026-11-21T19:15:00.123Z"
_TIME_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", re.ASCII)
_WHOLE = re.compile(r"0|[1-9][0-9]*", re.ASCII)
#: Formats of texts that no whole number is written in.
_NO_NUMBER = frozenset(
    {"date", "date-time", "time", "duration", "email", "idn-email", "uri", "iri", "uuid", "ipv4", "ipv6"}
)


def misfit(path: Path, type_: str, schema: Mapping[str, Any], refused: Refusal) -> str:
    """Why no value of ``path`` ever satisfies a field, in words for people; "" when one may.

    Args:
        path: What is looked up.
        type_: The field's scalar type.
        schema: The field's schema.
        refused: Says why a value does not satisfy it.
    """
    becomes = _BECOMES.get(path.type, SCALARS)
    if type_ not in becomes:
        told = f"becomes: {', '.join(becomes)}" if becomes else "becomes no scalar"
        return f"{path.name} is {_kind(path.type)}, which {told}; never {_kind(type_)}"
    reason = _never(path.type, type_, schema, refused)
    return f"{path.name} is {_kind(path.type)}, which never satisfies the contract: {reason}" if reason else ""


def _kind(type_: str) -> str:
    return f"{'an' if type_ == 'integer' else 'a'} {type_}"


def _never(kind: PathType, type_: str, schema: Mapping[str, Any], refused: Refusal) -> str:
    """Why none of the values of a path of that kind, turned into ``type_``, is taken; "" when one may be."""
    if kind == "boolean":
        both = [True, False] if type_ == "boolean" else ["true", "false"]
        reasons = [refused(value) for value in both]
        return reasons[0] if all(reasons) else ""
    allowed = _allowed(schema)
    if allowed is not None and kind in ("time", "integer"):
        taken = [value for value in allowed if _is_one(kind, type_, value) and not refused(value)]
        return "" if taken else f"it takes {', '.join(map(repr, allowed)) or 'nothing'}"
    if kind == "time":
        return _never_a_time(schema, refused)
    return _never_a_count(type_, schema) if kind == "integer" else ""


def _allowed(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values that a field may have where they are listed; None where they are not."""
    if "const" in schema:
        return [schema["const"]]
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else None


def _is_one(kind: PathType, type_: str, value: Any) -> bool:
    """Whether a path of that kind may have ``value``, once it is turned into ``type_``. Counts are not negative."""
    if type_ == "string":
        return isinstance(value, str) and (_TIME_FORM if kind == "time" else _WHOLE).fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == int(value)


def _never_a_time(schema: Mapping[str, Any], refused: Refusal) -> str:
    """Times differ in their digits alone, so length and format are those of any; a pattern may ask for digits."""
    return "" if "pattern" in schema else refused(_TIME)


def _never_a_count(type_: str, schema: Mapping[str, Any]) -> str:
    if type_ == "string":
        if schema.get("format") in _NO_NUMBER:
            return f"its format is {schema['format']}"
        return "it has no character" if schema.get("maxLength") == 0 else ""
    highest = schema.get("maximum")
    return f"it is at most {highest}, and a count is not negative" if _is_negative(highest) else ""


def _is_negative(value: Any) -> bool:
    return isinstance(value, int | float) and value < 0

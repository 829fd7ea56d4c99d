"""Request templates: ``{{ field }}`` over the fields of the input contract, and nothing else.

A visitor's text is only ever a value here: it is put into a finished structure and escaped for its place, so it can
add neither a field, nor a parameter, nor a path segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote, urlencode

from actionmap.catalog.parse import nearest
from actionmap.errors import Unrenderable

#: The values of the contract's fields; a field left out by ``onMissing: omit`` is absent.
Values = Mapping[str, Any]

_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ABSENT = object()


class BadTemplate(ValueError):
    """A template that names no field of the contract, or uses what is not acted on yet."""


def to_text(value: Any) -> str:
    """``value`` as text without loss: 10.0 is ``10``, true is ``true``, null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def _parts(template: str, fields: Collection[str]) -> list[str | tuple[str]]:
    """Literal texts, and one-tuples of field names."""
    parts: list[str | tuple[str]] = []
    end = 0
    for place in _PLACE.finditer(template):
        inside = place[1].strip()
        if "|" in inside:
            raise BadTemplate(f"the filter in {place[0]!r} is not acted on yet in this version; remove it")
        if not _FIELD.fullmatch(inside) or inside not in fields:
            raise BadTemplate(f"{place[0]!r} names no field of the input contract{nearest(inside, fields)}")
        parts += [template[end : place.start()], (inside,)]
        end = place.end()
    parts.append(template[end:])
    if any(isinstance(part, str) and ("{{" in part or "}}" in part) for part in parts):
        raise BadTemplate(f"{template!r} has an opening or closing {{{{ }}}} without its other half")
    return [part for part in parts if part != ""]


def compile_text(template: str, fields: Collection[str]) -> Callable[[Values], Any]:
    """``template`` as a function of values: a ``{{ field }}`` alone keeps the field's type, else the result is text.

    Raises:
        BadTemplate: it names no field of ``fields``.
    """
    parts = _parts(template, fields)
    if len(parts) == 1 and isinstance(parts[0], tuple):
        name = parts[0][0]
        return lambda values: values.get(name, _ABSENT)
    if all(isinstance(part, str) for part in parts):
        return lambda _: template
    return lambda values: "".join(part if isinstance(part, str) else to_text(values.get(part[0])) for part in parts)


def compile_body(template: Any, fields: Collection[str]) -> Callable[[Values], Any]:
    """A JSON ``template`` as a function of values; a field left out takes its key, or its place in a list, along.

    Raises:
        BadTemplate: it names no field of ``fields``.
    """
    if isinstance(template, str):
        return compile_text(template, fields)
    if isinstance(template, list):
        items = [compile_body(item, fields) for item in template]
        return lambda values: [made for item in items if (made := item(values)) is not _ABSENT]
    if isinstance(template, dict):
        _refuse_keys(template)
        entries = [(key, compile_body(value, fields)) for key, value in template.items()]
        return lambda values: {key: made for key, value in entries if (made := value(values)) is not _ABSENT}
    return lambda _: template


def _refuse_keys(template: Mapping[str, Any]) -> None:
    for key in template:
        if "{{" in key:
            raise BadTemplate(f"a template in the key {key!r} is not acted on yet in this version; write it out")


def without_absent(body: Any) -> Any:
    """``body`` as `compile_body` made it; None where the whole body was one field that is left out."""
    return None if body is _ABSENT else body


def compile_path(template: str, fields: Collection[str]) -> Callable[[Values], str]:
    """A URL path ``template`` as a function of values, each escaped so that it stays within its segment.

    Raises:
        BadTemplate: it names no field of ``fields``. The function raises Unrenderable where a value is null or empty,
        or makes a segment that a URL reads as a step (``.`` or ``..``).
    """
    parts = _parts(template, fields)

    def render(values: Values) -> str:
        path = "".join(part if isinstance(part, str) else _segment(part[0], values) for part in parts)
        if any(unquote(segment) in (".", "..") for segment in path.split("/")):
            raise Unrenderable("a value in the path would be read as a step to another path")
        return path if path.startswith("/") or not path else f"/{path}"

    return render


def _segment(name: str, values: Values) -> str:
    text = to_text(values.get(name))
    if not text:
        raise Unrenderable(f"{name!r} stands in the path and is null or empty")
    return quote(text, safe="")


def compile_params(templates: Mapping[str, str], fields: Collection[str]) -> Callable[[Values], str]:
    """Query parameters as a function of values: an encoded query, without those whose value is null or left out.

    Raises:
        BadTemplate: one names no field of ``fields``.
    """
    _refuse_keys(templates)
    params = [(key, compile_text(value, fields)) for key, value in templates.items()]

    def render(values: Values) -> str:
        made = [(key, value(values)) for key, value in params]
        return urlencode([(key, to_text(value)) for key, value in made if value is not None and value is not _ABSENT])

    return render

"""A template of one text: literal parts, and places that name a field and the filters it goes through."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from actionmap.catalog.parse import nearest
from actionmap.catalog.places import BadTemplate, places, shortened
from actionmap.catalog.templates.filters import Argument, Filter, compile_filter
from actionmap.catalog.templates.values import ABSENT, Values, to_text

_FIELD = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*")
_ARGUMENT = r"""(?:"[^"]*"|'[^']*'|[A-Za-z][A-Za-z0-9_-]*)\s*"""
_FILTER = re.compile(rf"\|\s*([A-Za-z][A-Za-z0-9]*)\s*(?:\(\s*((?:{_ARGUMENT}(?:,\s*{_ARGUMENT})*)?)\)\s*)?")
_ARGUMENTS = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([A-Za-z][A-Za-z0-9_-]*))\s*,?\s*""")


class Place(NamedTuple):
    """One ``{{ … }}``, read."""

    #: The field that stands first, which messages name.
    name: str
    #: All fields that its value is made of.
    fields: tuple[str, ...]
    #: Its value; `ABSENT` for a field that is left out.
    value: Callable[[Values], Any]


#: Literal texts, none of them empty, and places.
Parts = list[str | Place]


def read_template(template: str, fields: Collection[str]) -> Parts:
    """The parts of ``template``.

    Raises:
        BadTemplate: it names no field of ``fields``, or a filter that there is not or that takes other arguments.
    """
    parts: Parts = []
    end = 0
    for place in places(template):
        parts += [template[end : place.start()], _read_place(place[0], place[1], fields)]
        end = place.end()
    return [part for part in (*parts, template[end:]) if part != ""]


def _read_place(written: str, inside: str, fields: Collection[str]) -> Place:
    field = _FIELD.match(inside)
    if field is None or inside[field.end() : field.end() + 1] not in ("", "|") or field[1] not in fields:
        known = nearest(inside.partition("|")[0].strip()[:100], fields)
        raise BadTemplate(f"{shortened(written)} names no field of the input contract{known}")
    name, end, filters, named = field[1], field.end(), [], [field[1]]
    while end < len(inside):
        call = _FILTER.match(inside, end)
        if call is None:
            raise BadTemplate(f'{shortened(written)}: a filter is written as | name or | name("text", …)')
        arguments = _arguments(call[2] or "")
        filters.append(compile_filter(call[1], arguments))
        named += [argument.text for argument in arguments if argument.is_field]
        end = call.end()
    for other in named:
        if other not in fields:
            hint = nearest(other, fields)
            raise BadTemplate(f"{shortened(written)}: {other!r} is no field of the input contract{hint}")
    return Place(name, tuple(dict.fromkeys(named)), _filtered(name, filters))


def _arguments(written: str) -> tuple[Argument, ...]:
    return tuple(
        Argument(found[3] or found[1] or found[2] or "", found[3] is not None) for found in _ARGUMENTS.finditer(written)
    )


def _filtered(name: str, filters: list[Filter]) -> Callable[[Values], Any]:
    if not filters:
        return lambda values: values.get(name, ABSENT)

    def value(values: Values) -> Any:
        made = values.get(name, ABSENT)
        for change in filters:
            made = change(made, values)
        return made

    return value


def compile_text(template: str, fields: Collection[str]) -> Callable[[Values], Any]:
    """``template`` as a function of values: a ``{{ field }}`` alone keeps the field's type, else the result is text.

    Raises:
        BadTemplate: see `read_template`.
    """
    parts = read_template(template, fields)
    if len(parts) == 1 and isinstance(parts[0], Place):
        return parts[0].value
    if all(isinstance(part, str) for part in parts):
        return lambda _: template
    pieces = [part if isinstance(part, str) else part.value for part in parts]
    return lambda values: "".join([piece if isinstance(piece, str) else to_text(piece(values)) for piece in pieces])


def compile_joined(parts: Iterable[str | Place], write: Callable[[str, Any], str]) -> Callable[[Values], str]:
    """``parts`` as one text, in which ``write`` makes of a place's name and value what stands there."""
    pieces = list(parts)
    return lambda values: "".join(
        [piece if isinstance(piece, str) else write(piece.name, piece.value(values)) for piece in pieces]
    )


def used_fields(template: Any, fields: Collection[str]) -> set[str]:
    """The fields that the texts anywhere in ``template`` name.

    Raises:
        BadTemplate: see `read_template`.
    """
    if isinstance(template, str):
        return {name for part in read_template(template, fields) if isinstance(part, Place) for name in part.fields}
    inner = template.values() if isinstance(template, dict) else template if isinstance(template, list) else ()
    return {name for one in inner for name in used_fields(one, fields)}

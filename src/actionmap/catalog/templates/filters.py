"""Filters: ``{{ field | name("text") }}``. Each makes one value of one value; none runs an expression or repeats one.

What a filter makes is at most as long as the texts that go into it, except that a letter such as ``ß`` has more than
one upper-case letter, and that a digest, a time and a phone number are as long as these are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import phonenumbers

from actionmap.catalog.parse import nearest
from actionmap.catalog.places import BadTemplate
from actionmap.catalog.templates.dates import compile_date
from actionmap.catalog.templates.values import ABSENT, Values, to_text

#: From a value (`ABSENT` for a field that is left out), and the values of all fields, to another value.
Filter = Callable[[Any, Values], Any]
Texts = tuple[str, ...]


class Argument(NamedTuple):
    """What stands in the brackets of a filter: a quoted text, or the name of a field."""

    text: str
    is_field: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    """A filter as it is written, and what makes one of its quoted texts and its fields."""

    usage: str
    #: How many quoted texts it takes; they come first.
    texts: range
    make: Callable[[Texts, Texts], Filter]
    takes_fields: bool = False


def compile_filter(name: str, arguments: tuple[Argument, ...]) -> Filter:
    """The filter called ``name``.

    Raises:
        BadTemplate: there is none, or it takes other arguments.
    """
    kind = _FILTERS.get(name)
    if kind is None:
        raise BadTemplate(f"there is no filter {name!r}{nearest(name, _FILTERS)}; there are {', '.join(_FILTERS)}")
    texts = tuple(argument.text for argument in arguments if not argument.is_field)
    fields = tuple(argument.text for argument in arguments if argument.is_field)
    in_order = not any(argument.is_field for argument in arguments[: len(texts)])
    if not in_order or len(texts) not in kind.texts or bool(fields) != kind.takes_fields:
        raise BadTemplate(f"the filter {name} is written as {kind.usage}")
    return kind.make(texts, fields)


def _on_text(change: Callable[[str], str | None]) -> Filter:
    """A filter that makes text of text; what is null or left out stays so."""
    return lambda value, _: value if value is None or value is ABSENT else change(to_text(value))


def _default(texts: Texts, _: Texts) -> Filter:
    [instead] = texts
    return lambda value, _: instead if value is None or value is ABSENT else value


def _join(texts: Texts, fields: Texts) -> Filter:
    [separator] = texts

    def joined(value: Any, values: Values) -> Any:
        found = [text for text in (to_text(value), *(to_text(values.get(name)) for name in fields)) if text]
        return separator.join(found) if found else value

    return joined


def _e164(texts: Texts, _: Texts) -> Filter:
    region = texts[0] if texts else None
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise BadTemplate(f'e164 takes a country such as "DE" or "US", in capitals; {region!r} is none')

    def number(text: str) -> str | None:
        try:
            parsed = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(parsed):
            return None
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)

    return _on_text(number)


_NONE, _ONE = range(1), range(1, 2)
_FILTERS: dict[str, _Kind] = {
    "date": _Kind(
        '| date("MM/DD/YYYY HH:mm") or | date("DD.MM.YYYY", "Europe/Berlin")', range(1, 3),
        lambda texts, _: _on_text(compile_date(*texts)),
    ),
    "upper": _Kind("| upper", _NONE, lambda *_: _on_text(str.upper)),
    "lower": _Kind("| lower", _NONE, lambda *_: _on_text(str.lower)),
    "trim": _Kind("| trim", _NONE, lambda *_: _on_text(str.strip)),
    "join": _Kind('| join(" ", otherField, …)', _ONE, _join, takes_fields=True),
    "default": _Kind('| default("text")', _ONE, _default),
    "sha256": _Kind("| sha256", _NONE, lambda *_: _on_text(lambda text: sha256(text.encode()).hexdigest())),
    "e164": _Kind('| e164 or | e164("DE")', range(2), _e164),
}  # fmt: skip

"""Forms: names and values, form-encoded or as multipart/form-data."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

from actionmap.catalog.places import BadTemplate, shortened
from actionmap.catalog.templates.text import compile_text
from actionmap.catalog.templates.values import ABSENT, Values, to_text

Pairs = list[tuple[str, str]]
_NO_FIELD_NAME = re.compile(r'["\x00-\x1f\x7f]')


def compile_pairs(template: Mapping[str, Any], fields: Collection[str]) -> Callable[[Values], Pairs]:
    """Names and values as a function of values; a list repeats its name, what is null or left out is no pair.

    Raises:
        BadTemplate: ``template`` is nested, has a place in a name, or cannot be read.
    """
    refuse_places_in_keys(template)
    places = [(key, _compile_item(key, item, fields)) for key, value in template.items() for item in _items(value)]

    def pairs(values: Values) -> Pairs:
        made = [(key, value(values)) for key, value in places]
        return [(key, to_text(value)) for key, value in made if value is not None and value is not ABSENT]

    return pairs


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _compile_item(key: str, item: Any, fields: Collection[str]) -> Callable[[Values], Any]:
    if isinstance(item, list | dict):
        raise BadTemplate(f"{key!r} is nested; a form holds texts, numbers, true and false, or lists of them")
    return compile_text(item, fields) if isinstance(item, str) else lambda _: item


def refuse_places_in_keys(template: Mapping[str, Any]) -> None:
    """Raise BadTemplate for a ``{{ }}`` in a name: names are the author's alone."""
    for key in template:
        if "{{" in key:
            raise BadTemplate(f"a template in the key {shortened(key)}: only values are filled in; write it out")


def check_part_names(names: Iterable[str]) -> None:
    """Raise BadTemplate for a name that multipart/form-data cannot write as it is."""
    for name in names:
        if _NO_FIELD_NAME.search(name):
            raise BadTemplate(f"{shortened(name)}: a name in formData has no quotes and no control characters")


def multipart(pairs: Pairs, delivery_id: str) -> tuple[bytes, str]:
    """``pairs`` as multipart/form-data (RFC 7578), and the boundary: made of ``delivery_id``, and part of no value."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs]
    boundary = f"actionmap-{delivery_id}"
    # Who knows names and ids could write down a boundary; it is passed over then.
    while any(boundary in part for part in parts):
        boundary = "actionmap-" + sha256(boundary.encode()).hexdigest()[:32]
    text = "".join(f"--{boundary}\r\n{part}" for part in parts) + f"--{boundary}--\r\n"
    return text.encode(), boundary

"""Headers: a value can neither end its header nor add another one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from actionmap.catalog.templates.forms import compile_pairs
from actionmap.catalog.templates.values import Values
from actionmap.errors import Unrenderable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def compile_headers(templates: Mapping[str, str], fields: Collection[str]) -> Callable[[Values], dict[str, str]]:
    """Headers as a function of values, without those whose value is null or left out.

    Raises:
        BadTemplate: one cannot be read. The function raises Unrenderable where a value holds a line end or another
        control character.
    """
    pairs = compile_pairs(templates, fields)
    if not any("{{" in template for template in templates.values()):
        return lambda _: dict(templates)

    def render(values: Values) -> dict[str, str]:
        headers = dict(pairs(values))
        for name, text in headers.items():
            if _CONTROL.search(text):
                raise Unrenderable(f"a value in the header {name} holds a line end or another control character")
            text.encode()  # half a surrogate pair is no UTF-8
        return headers

    return render

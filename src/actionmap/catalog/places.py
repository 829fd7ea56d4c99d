"""Places: where ``{{ … }}`` stands in a text. What is inside is read in `templates`."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Alternatives begin with different characters, so it is linear. Python 3.11.2 gets possessive quantifiers wrong.
_PLACE = re.compile(r"""\{\{((?:[^"'{}]|"[^"]*"|'[^']*'|\{(?!\{)|\}(?!\}))*)\}\}""")


class BadTemplate(ValueError):
    """A template that cannot be read, or names no field of the contract; the message is for its author."""


def places(text: str) -> Iterator[re.Match[str]]:
    """The places in ``text`` from left to right; group 1 is what stands inside.

    Raises:
        BadTemplate: an opening or closing half stands alone.
    """
    end = 0
    while (begin := text.find("{{", end)) >= 0:
        place = _PLACE.match(text, begin)
        if place is None or "}}" in text[end:begin]:
            break
        yield place
        end = place.end()
    if "{{" in text[end:] or "}}" in text[end:]:
        raise BadTemplate(f"{shortened(text)} has an opening or closing {{{{ }}}} without its other half")


def without_places(text: str, fill: str = "x", *, same_length: bool = False) -> str:
    """``text`` with ``fill`` in each place; with ``same_length`` as often as the place is long, so that indices stay.

    Raises:
        BadTemplate: see `places`.
    """
    pieces, end = [], 0
    for place in places(text):
        pieces += [text[end : place.start()], fill * len(place[0]) if same_length else fill]
        end = place.end()
    return "".join([*pieces, text[end:]])


def split_base_url(url: str) -> tuple[str, str]:
    """Scheme and host of a base URL, and its path, both with their places."""
    masked = without_places(url, same_length=True)
    path = masked.find("/", masked.find("://") + 3)
    return (url, "") if path < 0 else (url[:path], url[path:])


def shortened(text: str) -> str:
    """``text`` in quotes, as messages show it."""
    return repr(text if len(text) <= 100 else text[:100] + "…")

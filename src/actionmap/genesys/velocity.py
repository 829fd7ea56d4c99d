"""Velocity templates of data actions → templates of ours, where they only put values of the input in.

Known are ``${input.x}``, ``$input.x``, their quiet forms with ``!``, and the escaping helpers around them (``esc.url``,
``esc.jsonString`` …): here every place escapes by itself. Directives (``#if``) and other helpers are not.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_plus

_INPUT = r"\$?!?\{?\s*input\.([A-Za-z][A-Za-z0-9_-]*)\s*\}?"
_PLACE = re.compile(
    rf"\$!?\{{\s*esc\.\w+\(\s*\"?{_INPUT}\"?\s*\)\s*\}}"
    rf"|\$!?esc\.\w+\(\s*\"?{_INPUT}\"?\s*\)"
    r"|\$!?\{\s*input\.([A-Za-z][A-Za-z0-9_-]*)\s*\}"
    r"|\$!?input\.([A-Za-z][A-Za-z0-9_-]*)"
)
#: What is left of Velocity once the places are out.
_DIRECTIVE = re.compile(r"\$!?[{A-Za-z]|#\{?(if|else|elseif|end|set|foreach|macro|include|parse|break|stop)\b|##|#\*")
#: Stand around a field's name while the text is taken apart; private characters, which no template has.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
#: The whole input, as the service sends it without a template.
RAW = frozenset({"${input.rawRequest}", "$input.rawRequest", "$!{input.rawRequest}", "$!input.rawRequest"})


class Untranslatable(ValueError):
    """A template that does more than putting values in; the message says what."""


def marked(template: str) -> str:
    """``template`` with its places between marks, which `finished` turns into ours.

    Raises:
        Untranslatable: it does more.
    """
    if _OPEN in template or _CLOSE in template:
        raise Untranslatable("it holds private characters")
    text = _PLACE.sub(lambda found: f"{_OPEN}{next(filter(None, found.groups()))}{_CLOSE}", template)
    if f"{_OPEN}rawRequest{_CLOSE}" in text:
        raise Untranslatable("it puts the whole input (rawRequest) inside something else")
    if left := _DIRECTIVE.search(text):
        raise Untranslatable(f"it holds {text[left.start() : left.start() + 40]!r}")
    return text


def finished(text: str) -> str:
    """A marked text with places of ours.

    Raises:
        Untranslatable: it holds braces that would be places here.
    """
    if "{{" in text or "}}" in text:
        raise Untranslatable("it holds {{ or }}, which are places here")
    return _MARKED.sub(r"{{ \1 }}", text)


def has_places(text: str) -> bool:
    """Whether a marked text has places."""
    return _OPEN in text


def translated(template: str) -> str:
    """A plain text, such as a header's value.

    Raises:
        Untranslatable: it does more than putting values in.
    """
    return finished(marked(template))


def json_body(template: str) -> Any:
    """The structure that a template of JSON makes.

    Raises:
        Untranslatable: it does more than putting values in, or makes no JSON.
    """
    pieces, end = [], 0
    text = marked(template)
    for string in _JSON_STRING.finditer(text):
        pieces += [_quoted(text[end : string.start()]), string[0]]
        end = string.end()
    pieces.append(_quoted(text[end:]))
    try:
        return _finished_in("".join(pieces))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Untranslatable):
            raise
        raise Untranslatable(f"it makes no JSON: {error}") from None


def _quoted(outside: str) -> str:
    return _MARKED.sub(r'"\g<0>"', outside)


def _finished_in(text: str) -> Any:
    def through(value: Any) -> Any:
        if isinstance(value, dict):
            return {finished_key(key): through(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [through(inner) for inner in value]
        return finished(value) if isinstance(value, str) else value

    return through(json.loads(text, strict=False))


def finished_key(key: str) -> str:
    """A name in a body or a query, in which nothing may be put.

    Raises:
        Untranslatable: something is.
    """
    if has_places(key):
        raise Untranslatable("it puts a value into a name")
    return key


def pairs(text: str) -> dict[str, str]:
    """Names and values of a marked query or form.

    Raises:
        Untranslatable: a name comes twice, or holds a place.
    """
    made: dict[str, str] = {}
    for pair in filter(None, text.split("&")):
        name, _, value = pair.partition("=")
        name = finished_key(unquote_plus(name.strip()))
        if name in made or not name:
            raise Untranslatable(f"the name {name!r} comes twice" if name else "a value has no name")
        made[name] = finished(unquote_plus(value.strip()))
    return made


def quoted_fields(template: str) -> set[str]:
    """Fields that stand alone in quotes in a template of JSON: whatever they are, they were sent as texts.

    Raises:
        Untranslatable: it does more than putting values in.
    """
    return set(re.findall(f'"{_OPEN}([^{_CLOSE}]*){_CLOSE}"', marked(template)))

"""Paths and queries: a value stays within its segment, or is one parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

from actionmap.catalog.templates.forms import compile_pairs
from actionmap.catalog.templates.text import compile_joined, read_template
from actionmap.catalog.templates.values import Values, to_text
from actionmap.errors import Unrenderable


def compile_path(template: str, fields: Collection[str]) -> Callable[[Values], str]:
    """A URL path ``template`` as a function of values, each escaped so that it stays within its segment.

    Raises:
        BadTemplate: it cannot be read. The function raises Unrenderable where a value is null or empty, or makes a
        segment that a URL reads as a step (``.`` or ``..``).
    """
    joined = compile_joined(read_template(template, fields), _segment)

    def render(values: Values) -> str:
        path = joined(values)
        if any(unquote(segment) in (".", "..") for segment in path.split("/")):
            raise Unrenderable("a value in the path would be read as a step to another path")
        return path if path.startswith("/") or not path else f"/{path}"

    return render


def _segment(name: str, value: Any) -> str:
    text = to_text(value)
    if not text:
        raise Unrenderable(f"{name!r} stands in the path and is null or empty")
    return quote(text, safe="")


def compile_params(templates: Mapping[str, str], fields: Collection[str]) -> Callable[[Values], str]:
    """Query parameters as a function of values: an encoded query, without those whose value is null or left out.

    Raises:
        BadTemplate: one cannot be read.
    """
    pairs = compile_pairs(templates, fields)
    return lambda values: urlencode(pairs(values))

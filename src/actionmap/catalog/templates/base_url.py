"""Base URLs with places: tenants and environments. Scheme, port and the end of the host are the author's alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from actionmap.catalog.places import split_base_url
from actionmap.catalog.templates.text import compile_joined, read_template, used_fields
from actionmap.catalog.templates.urls import compile_path
from actionmap.catalog.templates.values import Values, to_text
from actionmap.errors import Unrenderable

_PIECE = re.compile(r"[a-z0-9-]{1,63}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
#: Marks the values in a delivery's context that its host may be made of.
_FOR_HOST = "@"


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A base URL, read: what it needs of a delivery, and how it is filled."""

    host_fields: frozenset[str]
    path_fields: frozenset[str]
    #: Scheme, host and port, and the path. Both raise Unrenderable.
    host: Callable[[Values], str]
    path: Callable[[Values], str]

    def context(self, values: Values) -> dict[str, str]:
        """What a delivery with ``values`` keeps, for `fill_base_url` at each attempt.

        Values for the host are kept apart: a base URL that is changed later cannot make a host of what was a visitor's.

        Raises:
            Unrenderable: they make no URL.
        """
        self.host(values), self.path(values)
        needed = [(_FOR_HOST + name, values.get(name)) for name in sorted(self.host_fields)]
        needed += [(name, values.get(name)) for name in sorted(self.path_fields)]
        return {key: to_text(value) for key, value in needed if value is not None}


def compile_base_url(url: str, fields: Collection[str]) -> BaseUrl:
    """``url``, which `models.Integration` has taken.

    Raises:
        BadTemplate: it names no field of ``fields``, or cannot be read.
    """
    origin, path = split_base_url(url)
    host_fields, path_fields = used_fields(origin, fields), used_fields(path, fields)
    joined = compile_joined(read_template(origin, fields), _host_piece)

    def host(values: Values) -> str:
        made = joined(values)
        if host_fields and not _is_host(made):
            raise Unrenderable("the values in baseUrl's host make no host name")
        return made

    return BaseUrl(frozenset(host_fields), frozenset(path_fields), host, compile_path(path, fields))


def _host_piece(name: str, value: Any) -> str:
    text = to_text(value)
    if not _PIECE.fullmatch(text):
        raise Unrenderable(f"{name!r} stands in baseUrl's host, and is not 1 to 63 of a-z, 0-9 and '-'")
    return text


def _is_host(origin: str) -> bool:
    name = origin.partition("://")[2].partition(":")[0]
    return len(name) <= 253 and all(map(_LABEL.fullmatch, name.split(".")))


class _AnyField(Collection[str]):
    """Takes every name for a field: which ones there are was checked when the definitions were compiled."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def fill_base_url(url: str, context: Mapping[str, str]) -> str:
    """``url`` filled with what `BaseUrl.context` kept; without places, as it is.

    Raises:
        Unrenderable: the context lacks a value: the base URL has been changed since.
    """
    if "{{" not in url:
        return url
    for_host = {name.removeprefix(_FOR_HOST): value for name, value in context.items() if name.startswith(_FOR_HOST)}
    base_url = compile_base_url(url, _AnyField())
    return base_url.host(for_host) + base_url.path(context)


def shown_base_url(url: str, context: Mapping[str, str]) -> str:
    """As `fill_base_url`, for people: as it is written where the context lacks a value."""
    try:
        return fill_base_url(url, context)
    except Unrenderable:
        return url

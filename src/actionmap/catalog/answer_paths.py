"""Paths into a receiver's answer: JSONPath (``$.lead.id``), or names and numbers with dots (``users.0.title``).

JSONPath is what ``jsonpath-ng`` reads without its extensions: names, indices, slices, ``*`` and ``..``, but no filters
and no regular expressions, which a hostile answer could make run for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jsonpath_ng import parse  # type: ignore[attr-defined]  # it exports by position
from jsonpath_ng.exceptions import JSONPathError

#: Longer paths are refused, and such with more ``..``: each multiplies the work.
MAX_CHARACTERS = 200
_MOST_DESCENTS = 1

#: From an answer to the value at a path; None where there is none.
ReadAnswer = Callable[[Any], Any]


class BadAnswerPath(ValueError):
    """A path that cannot be read."""


@lru_cache(maxsize=1024)
def compile_answer_path(path: str) -> ReadAnswer:
    """A function that reads the value at ``path`` of an answer: of several values the first, None without one.

    Raises:
        BadAnswerPath: it is neither a JSONPath nor a dot path.
    """
    if not path or len(path) > MAX_CHARACTERS:
        raise BadAnswerPath(f"a path has 1 to {MAX_CHARACTERS} characters")
    if not path.startswith("$"):
        return _dotted(path)
    if path.count("..") > _MOST_DESCENTS:
        raise BadAnswerPath(f"{path!r} has more than one '..'")
    try:
        parsed = parse(path)
    except JSONPathError as error:
        raise BadAnswerPath(
            f"{path!r} is no JSONPath that is read here (names, indices, slices, * and ..): {error}"
        ) from None
    return lambda answer: next((found.value for found in parsed.find(answer)), None)


def _dotted(path: str) -> ReadAnswer:
    keys = path.split(".")
    if "" in keys or any(character.isspace() for character in path):
        raise BadAnswerPath(f"{path!r} is no path: write names and numbers with dots between, or a JSONPath with '$'")

    def read(answer: Any) -> Any:
        for key in keys:
            answer = _step(answer, key)
        return answer

    return read


def _step(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isascii() and key.isdecimal() and len(key) <= 6:
        index = int(key)
        return value[index] if index < len(value) else None
    return None

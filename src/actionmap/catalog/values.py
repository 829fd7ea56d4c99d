"""How values compare (semantics §3, §9): numbers with decimal strings, text with text, times with times."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from unicodedata import normalize

from actionmap.event import memoised, to_millis

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FIRST_OF_DECIMAL = "-0123456789"
#: Python refuses to read longer integers, and no visitor has a number like that.
_MAX_DIGITS = 400

Number = int | float


def decimal_value(text: str) -> Number | None:
    """The number that ``text`` spells as a decimal string (``-?\\d+(\\.\\d+)?``), or None."""
    # Most texts spell no number, and their first character tells.
    if text[:1] not in _FIRST_OF_DECIMAL or not _DECIMAL.fullmatch(text) or len(text) > _MAX_DIGITS:
        return None
    whole, _, fraction = text.partition(".")
    return float(text) if fraction.strip("0") else int(whole)


def number_value(value: Any) -> Number | None:
    """``value`` as a number if it is one or spells one; a boolean is none."""
    if isinstance(value, str):
        return decimal_value(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@memoised
def time_value(text: str) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 time, or None. Memoised: literals are compared again and again."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return to_millis(datetime.fromisoformat(text.upper()))
    except ValueError:
        return None


def fold(text: str) -> str:
    """``text`` as ``ignoreCase`` compares it: NFC, then case-folded, then NFC again (folding may undo it)."""
    if text.isascii():
        return text.lower()
    return normalize("NFC", normalize("NFC", text).casefold())


def ordinal(value: Any) -> tuple[str, Number] | None:
    """What ``value`` is ordered by: a kind (``number`` or ``time``) and a number; None if it has no order."""
    number = number_value(value)
    if number is not None:
        return "number", number
    if isinstance(value, str):
        millis = time_value(value)
        if millis is not None:
            return "time", millis
    return None


class Literals:
    """The values a condition compares with, sorted by how they can be equal to something."""

    __slots__ = ("bools", "decimals", "ignore_case", "numbers", "texts")

    def __init__(self, values: tuple[Any, ...], ignore_case: bool = False) -> None:
        texts = [value for value in values if isinstance(value, str)]
        self.ignore_case = ignore_case
        self.texts = frozenset(fold(text) if ignore_case else text for text in texts)
        self.bools = frozenset(value for value in values if isinstance(value, bool)) | {
            text == "true" for text in texts if text in ("true", "false")
        }
        #: Numbers among the literals: equal to numbers and to decimal strings.
        self.numbers = frozenset(
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        )
        #: Numbers that text literals spell: equal to numbers only ("10" is not "10.0").
        self.decimals = frozenset(number for text in texts if (number := decimal_value(text)) is not None)

    def equal_any(self, value: Any) -> bool:
        """True when ``value``, which is no list, equals any of the literals."""
        if isinstance(value, str):
            if (fold(value) if self.ignore_case else value) in self.texts:
                return True
            if self.numbers and decimal_value(value) in self.numbers:
                return True
            return value in ("true", "false") and (value == "true") in self.bools
        if isinstance(value, bool):
            return value in self.bools
        if isinstance(value, int | float):
            return value in self.numbers or value in self.decimals
        return False

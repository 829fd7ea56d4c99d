"""Forms: one value as typed JSON that durable-rules compares as `semantics` says, or the reason why there is none.

The engine compares ``false`` with 0 and text with numbers, so no attribute ever holds two types. A value that has no
such form is given by an ``ABSENT`` that equals nothing; then a negation needs no second alternative for "or missing".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from unicodedata import normalize

#: Beyond it, integers and floats of the engine are not told apart.
MAX_NUMBER = 2**53
#: Bytes; its regular expressions silently match nothing in text from 64 KB on.
MAX_TEXT_BYTES = 32 * 1024
MAX_ELEMENTS = 1000

#: What JSON would escape, as one character each: the engine compares raw bytes. So text that holds these is refused.
_PRIVATE = 0xE000
_ESCAPED = {code: _PRIVATE + code for code in (*range(32), ord('"'), ord("\\"), 127)}
_RESERVED = re.compile("[\ue000-\ue0ff\ud800-\udfff]")
_ABSENT_TEXT = "\ue0ff"
_ABSENT_NUMBER = 2**60
_ABSENT_BOOLEAN = 2

_NUMBER = re.compile(r"(-?)0*([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class OutsideRange(Exception):
    """durable-rules cannot say this, or would say it wrongly; the message says why."""


class Form(NamedTuple):
    """How a value is told to the engine: a letter for the attribute's name, how it is made, what stands for none."""

    letter: str
    make: Callable[[Any], Any]
    #: None: the attribute is left out.
    absent: Any


def text_of(value: Any) -> str | None:
    """``value``, when it is text, in characters that JSON leaves as they are; None for anything else.

    Raises:
        OutsideRange: it is too long, or holds characters that stand for others here.
    """
    if not isinstance(value, str):
        return None
    if _RESERVED.search(value):
        raise OutsideRange("text with characters for private use")
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise OutsideRange(f"text of more than {MAX_TEXT_BYTES} bytes")
    return value.translate(_ESCAPED)


def folded_of(value: Any) -> str | None:
    """`text_of` as ``ignoreCase`` compares it.

    Raises:
        OutsideRange: as `text_of`.
    """
    if not isinstance(value, str):
        return None
    return text_of(normalize("NFC", normalize("NFC", value).casefold()))


def real_of(value: Any) -> int | float | None:
    """``value``, when it is a number; None for anything else.

    Raises:
        OutsideRange: the engine would mistake it for another number, or not read it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise OutsideRange("a number beyond 2^53")
    if isinstance(value, float) and "e" in repr(value):
        raise OutsideRange("a number that is written with an exponent")
    return value


def number_of(value: Any) -> int | float | None:
    """``value``, when it is a number or spells one as a decimal string.

    Raises:
        OutsideRange: as `real_of`.
    """
    if not isinstance(value, str):
        return real_of(value)
    spelled = _NUMBER.fullmatch(value)
    if spelled is None:
        return None
    sign, whole, fraction = spelled.groups()
    if len(whole) > 16:
        raise OutsideRange("a number beyond 2^53")
    return real_of(float(value) if fraction and fraction.strip("0") else int(sign + whole))


def boolean_of(value: Any) -> int | None:
    """1 or 0, when ``value`` is a boolean or the word for one."""
    if isinstance(value, bool):
        return int(value)
    return {"true": 1, "false": 0}.get(value) if isinstance(value, str) else None


def time_of(value: Any) -> int | None:
    """Milliseconds since 1970, when ``value`` is an RFC 3339 time."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        return None
    since = moment - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


TEXT = Form("t", text_of, _ABSENT_TEXT)
FOLDED = Form("f", folded_of, _ABSENT_TEXT)
#: Numbers, and text that spells one: what a number among a condition's values equals.
NUMBER = Form("e", number_of, _ABSENT_NUMBER)
#: Numbers alone: what "10" among a condition's values equals beside itself.
REAL = Form("r", real_of, _ABSENT_NUMBER)
BOOLEAN = Form("b", boolean_of, _ABSENT_BOOLEAN)
#: For order there is no number that stands for none.
AMOUNT = Form("n", number_of, None)
TIME = Form("m", time_of, None)


def _alone(form: Form) -> Form:
    """``form`` for what cannot be asked of elements."""

    def make(value: Any) -> Any:
        if isinstance(value, list) and value:
            raise OutsideRange("between on a list: of two comparisons of an element it may forget one")
        return form.make(value)

    return Form(f"{form.letter}a", make, form.absent)


#: Letter of a form → that form, of single values alone.
ALONE = {form.letter: _alone(form) for form in (AMOUNT, TIME)}


def of_single(form: Form, value: Any) -> Any:
    """``value`` in ``form``; a list is none.

    Raises:
        OutsideRange: it cannot be said.
    """
    made = form.make(value)
    return form.absent if made is None else made


def of_elements(form: Form, value: Any) -> list[Any] | None:
    """The elements of a list in ``form``; without any, one that stands for none.

    Raises:
        OutsideRange: one of them cannot be said, or there are too many.
    """
    elements = value if isinstance(value, list) else []
    if len(elements) > MAX_ELEMENTS:
        raise OutsideRange(f"a list of more than {MAX_ELEMENTS} elements")
    made = [one for one in map(form.make, elements) if one is not None]
    if made or form.absent is None:
        return made or None
    return [form.absent]

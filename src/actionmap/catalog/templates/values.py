"""The values that templates are filled with, and how they read as text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

#: The values of the contract's fields; a field left out by ``onMissing: omit`` is absent.
Values = Mapping[str, Any]

#: Stands for a field that is left out.
ABSENT: Any = object()


def to_text(value: Any) -> str:
    """``value`` as text without loss: 10.0 is ``10``, true is ``true``, what is null or left out is empty."""
    if isinstance(value, str):
        return value
    if value is None or value is ABSENT:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)

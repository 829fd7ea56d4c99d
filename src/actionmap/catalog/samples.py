"""Values that the fields of a contract might have: to show what would be sent, and to find what never could be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from actionmap.catalog.mappings import Field, NoValue, converted
from actionmap.catalog.templates import Values

#: Stands for the action map that would fire, and for its delivery.
ACTION_MAP, DELIVERY = "webhooks-test", "am1_test"
_BY_FORMAT = {
    "email": "visitor@example.com", "date": "2026-11-21", "date-time": "2026-11-21T19:15:00Z", "time": "19:15:00Z",
    "uri": "https://example.com/", "uuid": "0190f3c2-5a00-7000-8000-000000000000", "hostname": "example.com",
    "ipv4": "203.0.113.9",
}  # fmt: skip
_BY_TYPE: dict[str, tuple[Any, ...]] = {
    "string": ("sample", "2026-11-21T19:15:00Z", "+4930901820", "visitor@example.com", "1"),
    "integer": (1, 4930901820), "number": (1.5,), "boolean": (True, False),
}  # fmt: skip
#: So many combinations are tried.
_MOST = 2_000


def samples(field: Field, schema: Mapping[str, Any], id_: str = DELIVERY) -> list[Any]:
    """Values that ``field`` might have, the likeliest first: as its contract or its mapping says, then of its type.

    A static value is the only one. ``id_``: of the delivery.
    """
    if field.read is None:
        return [field.value]
    own = {"actionMap.name": ACTION_MAP, "actionMap.version": 1, "delivery.id": id_}
    examples, listed = schema.get("examples"), schema.get("enum")
    told = [
        own.get(field.lookup), *(examples if isinstance(examples, list) else ()), schema.get("default"),
        schema.get("const"), *(listed if isinstance(listed, list) else ()),
        field.value if field.when_missing == "default" else None, _BY_FORMAT.get(str(schema.get("format"))),
        schema.get("minimum"), *_BY_TYPE[field.type],
    ]  # fmt: skip
    return list(_of_type(told, field.type))


def _of_type(values: Iterable[Any], type_: str) -> Iterator[Any]:
    for value in values:
        try:
            yield converted(value, type_)
        except NoValue:
            continue


def fitting(
    possible: Mapping[str, list[Any]], varied: Collection[str], renders: Callable[[Values], bool]
) -> tuple[dict[str, Any], bool]:
    """The first combination that a request can be made of; else the likeliest, and False when there surely is none.

    Args:
        possible: The values of each field, the likeliest first.
        varied: The fields on whose values it depends whether there is a request.
        renders: Whether a request can be made of some values.
    """
    likeliest = {name: values[0] for name, values in possible.items()}
    names = [name for name in possible if name in varied]
    tried = 0
    for chosen in islice(product(*(possible[name] for name in names)), _MOST):
        values = likeliest | dict(zip(names, chosen, strict=True))
        if renders(values):
            return values, True
        tried += 1
    return likeliest, tried == _MOST

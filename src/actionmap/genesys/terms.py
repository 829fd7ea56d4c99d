"""Words of Genesys → ours: names, keys of conditions, operators, types.

Keys and operators are those that the provider's schemas list (``entityTypeCriteriaResource``, ``criteriaResource``,
``eventConditionResource``); all twelve operators are called the same here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from actionmap.catalog.conditions import TWINS
from actionmap.catalog.paths import GEOLOCATION, UnknownPath, find_path
from actionmap.genesys.report import Draft, NotImported
from actionmap.genesys.shape import unknown_in_blocks

OPERATORS = frozenset(
    {
        "containsAll",
        "containsAny",
        "notContainsAll",
        "notContainsAny",
        "equal",
        "notEqual",
        "greaterThan",
        "greaterThanOrEqual",
        "lessThan",
        "lessThanOrEqual",
        "startsWith",
        "endsWith",
    }
)
_LONGEST_NAME = 100
_ATTRIBUTE = re.compile(r"attributes\.(.+)\.value")
_TYPES = {"String": "string", "Number": "number", "Integer": "integer", "Boolean": "boolean"}
#: Fields that Terraform itself has on every resource, without a meaning for what it is.
OF_TERRAFORM = frozenset({"depends_on", "lifecycle", "provider", "id"})


class Names:
    """Slugs, unique per kind."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def take(self, kind: str, text: str) -> tuple[str, str]:
        """A free slug for ``text``, and what to tell people where it is not the obvious one."""
        wanted = slug(text) or kind.lower()
        name, number = wanted, 1
        while (kind, name) in self._taken:
            number += 1
            name = f"{wanted[: _LONGEST_NAME - 5]}-{number}"
        self._taken.add((kind, name))
        return name, "" if number == 1 else f"is called {name}, because another {kind} is called {wanted}"


def slug(text: str) -> str:
    """``text`` as a name: small letters of ASCII, digits, dots, dashes; "" when nothing is left of it."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", folded).strip("-._")[:_LONGEST_NAME].strip("-._")


def variable(name: str) -> str:
    """``name`` as the name of a variable."""
    made = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:63]
    return made if re.match(r"[A-Za-z_]", made) else f"_{made}"


def host_label(name: str) -> str:
    """``name`` as one label of a host name."""
    return re.sub(r"[^a-z0-9-]", "-", name)[:60].strip("-") or "unknown"


def event_path(key: str) -> str:
    """The path of a key of a journey's criterion or of an event condition.

    Raises:
        NotImported: there is none.
    """
    found = _ATTRIBUTE.fullmatch(key)
    return _known(f"event.attributes.{found[1]}" if found else f"event.{key}", key)


def session_path(key: str) -> str:
    """The path of a key of a context's criterion.

    Raises:
        NotImported: there is none.
    """
    return _known(f"session.{key}", key)


def _known(path: str, key: str) -> str:
    try:
        return find_path(path).name
    except UnknownPath:
        raise NotImported(f"there is no path for the key {key!r}") from None


def lookup_path(value: str) -> str:
    """The path of a lookup: rooted at ``session`` as in the provider's tests, or a bare key of an event or a session.

    Raises:
        NotImported: there is none.
    """
    bare = re.sub(r"\.value\Z", "", value)
    for candidate in (bare, f"session.{bare}", f"event.{bare}"):
        try:
            return find_path(candidate, for_lookup=True).name
        except UnknownPath:
            continue
    raise NotImported(f"there is no path for the lookup {value!r}")


def condition(written: dict[str, Any], path: str) -> dict[str, Any]:
    """A criterion as a condition on ``path``.

    Raises:
        NotImported: its operator is unknown, or its values are computed.
    """
    made = {"key": path, **comparison(written)}
    return made | {"ignoreCase": True} if written.get("should_ignore_case") is True else made


def comparison(written: dict[str, Any]) -> dict[str, Any]:
    """Operator and values of a criterion or of a URL condition.

    Raises:
        NotImported: the operator is unknown, or the values are computed.
    """
    operator = written.get("operator", "equal")
    if operator not in OPERATORS:
        raise NotImported(f"there is no operator {operator!r}")
    return {"operator": operator, "values": texts(written.get("values"), "values")}


def positive(operator: str) -> str | None:
    """The operator that one beginning with ``not`` is the contrary of; None for others."""
    return TWINS.get(operator)


def texts(written: Any, name: str) -> list[str]:
    """A list of literal texts.

    Raises:
        NotImported: it is none.
    """
    several = written if isinstance(written, list) else [written]
    if not several or not all(isinstance(one, str | int | float) for one in several):
        raise NotImported(f"{name} is no list of texts that are written out, and nothing is computed here")
    return [one if isinstance(one, str) else str(one).lower() for one in several]


def text(body: dict[str, Any], name: str) -> str:
    """The literal text of a field, "" when it is not there.

    Raises:
        NotImported: it is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise NotImported(f"{name} is no text that is written out, and nothing is computed here")
    return value or ""


def title(body: dict[str, Any], name: str) -> str:
    """A field for people to read; "" where it is computed, since nothing depends on it."""
    value = body.get(name)
    return value[:2000] if isinstance(value, str) else ""


def whole_number(value: Any, name: str) -> int:
    """A literal whole number.

    Raises:
        NotImported: it is something else.
    """
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value[:18])
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotImported(f"{name} is {str(value)[:100]!r}, no whole number that is written out")
    return value


def json_type(attribute_type: Any) -> str:
    """The JSON Schema type of an ``attribute_type``.

    Raises:
        NotImported: it is none.
    """
    found = _TYPES.get(str(attribute_type))
    if found is None:
        raise NotImported(f"there is no attribute_type {attribute_type!r}; it is one of {', '.join(_TYPES)}")
    return found


def several(written: Any) -> list[Any]:
    """What a list holds, or the one value alone; nothing for null."""
    if isinstance(written, list):
        return written
    return [] if written is None else [written]


def all_of(triggers: list[dict[str, Any]]) -> dict[str, Any]:
    """One trigger that is true when all are."""
    return triggers[0] if len(triggers) == 1 else {"all": triggers}


def any_of(triggers: list[dict[str, Any]]) -> dict[str, Any]:
    """One trigger that is true when at least one is."""
    return triggers[0] if len(triggers) == 1 else {"any": triggers}


def decide_geolocation(draft: Draft, paths: Iterable[str], where: str) -> None:
    """Leave open what asks for a place, which is never known."""
    for path in dict.fromkeys(path for path in paths if path in GEOLOCATION):
        draft.decide(
            where, f"{path} is never set, because no GeoIP database is read; take it out or ask something else"
        )


def tell_left_out(draft: Draft, body: dict[str, Any], known: Iterable[str], meaningless: Iterable[str] = ()) -> None:
    """Tell of fields that were not carried over: as a note what means nothing here, else as a decision."""
    if gone := sorted(set(meaningless) & {name for name, value in body.items() if value not in (None, "", False)}):
        draft.notes.append(f"left out, because it has no meaning here: {', '.join(gone)}")
    unknown = set(body) - set(known) - set(meaningless) - OF_TERRAFORM
    for name in sorted({*unknown, *unknown_in_blocks(body)}):
        draft.decide("", f"the field {name} is not known and was left out; see {draft.source.file}")

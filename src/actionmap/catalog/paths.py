"""The one namespace of paths (design §3.2), for conditions and for dynamic lookups.

A path is compiled once, when a definition is, into a function that reads its value from a `Scope`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from actionmap.event import Event, Page, to_rfc3339
from actionmap.visitor import Session, Visitor

PathType = Literal["string", "integer", "number", "boolean", "time", "list", "any"]


class Scope:
    """What the paths of one evaluation are read from: an event, the visitor with that event in it, and the session."""

    #: Keys of the sequences whose last step the event is.
    completed: Sequence[str] = ()
    #: Names of the segments that the visitor has become a member of, and ceased to be one of.
    entered: Sequence[str] = ()
    left: Sequence[str] = ()
    #: Whether the event is what is judged; not so when a timer is, and the event only what it reports.
    happens = True
    #: Name and version of the map that fires, and id of its delivery; for lookups only.
    action_map = ""
    action_map_version = 0
    delivery = ""

    def __init__(self, event: Event, visitor: Visitor, session: Session) -> None:
        self.event = event
        self.visitor = visitor
        self.session = session

    @property
    def counted(self) -> list[str]:
        """Keys of the counters that have counted an event of the visitor."""
        return [*self.session.counts, *self.visitor.counts]

    def for_delivery(self, action_map: str, version: int, delivery: str) -> Scope:
        """This scope, as the lookups of one delivery see it."""
        own = Scope(self.event, self.visitor, self.session)
        own.action_map, own.action_map_version, own.delivery = action_map, version, delivery
        return own


Getter = Callable[[Scope], Any]


class Path(NamedTuple):
    """A known path: its type, and how to read it; a missing value reads as None."""

    name: str
    type: PathType
    read: Getter


class UnknownPath(ValueError):
    """A path that is not in the namespace."""


def _of(part: Callable[[Scope], Any], name: str) -> Getter:
    get = attrgetter(name)

    def read(scope: Scope) -> Any:
        whole = part(scope)
        return None if whole is None else get(whole)

    return read


def _page(part: Callable[[Scope], Page | None], root: str) -> dict[str, tuple[PathType, Getter]]:
    own: dict[str, tuple[PathType, Getter]] = {
        f"{root}.{name}": ("string", _of(part, name)) for name in ("url", "title", "lang")
    }
    own[f"{root}.keywords"] = ("any", _of(part, "keywords"))
    parts = {"hostname": "hostname", "domain": "domain", "pathname": "pathname", "queryString": "query_string",
             "fragment": "fragment"}  # fmt: skip
    return own | {f"{root}.{name}": ("string", _of(part, f"parts.{field}")) for name, field in parts.items()}


def _fields(part: Callable[[Scope], Any], root: str, names: dict[str, str]) -> dict[str, tuple[PathType, Getter]]:
    return {f"{root}.{name}": ("string", _of(part, field)) for name, field in names.items()}


def _never(_: Scope) -> None:
    return None


#: Paths that are set only where a GeoIP database is named, which this version does not read.
GEOLOCATION = tuple(
    f"session.geolocation.{name}" for name in ("country", "countryName", "region", "locality", "postalCode", "timezone")
)

_KNOWN: dict[str, tuple[PathType, Getter]] = {
    "event.eventId": ("string", lambda scope: scope.event.id),
    "event.eventName": ("string", lambda scope: scope.event.name),
    "event.timestamp": ("time", lambda scope: to_rfc3339(scope.event.time)),
    "event.searchQuery": ("string", lambda scope: scope.event.search_query),
    **_page(lambda scope: scope.event.page, "event.page"),
    "session.id": ("string", lambda scope: f"{scope.visitor.id}:{scope.session.number}"),
    "session.createdAt": ("time", lambda scope: to_rfc3339(scope.session.created_at)),
    "session.durationInSeconds": (
        "integer", lambda scope: (scope.session.last_event_at - scope.session.created_at) // 1000
    ),
    "session.eventCount": ("integer", lambda scope: scope.session.event_count),
    "session.pageviewCount": ("integer", lambda scope: scope.session.pageview_count),
    "session.searchTerms": ("list", lambda scope: scope.session.search_terms),
    "session.authenticated": ("boolean", lambda scope: scope.session.authenticated),
    **_fields(lambda scope: scope.session.browser, "session.browser",
              {"family": "family", "version": "version", "lang": "lang"}),
    **_fields(lambda scope: scope.session.device, "session.device",
              {"category": "category", "type": "type", "osFamily": "os_family"}),
    **_fields(lambda scope: scope.session.mkt_campaign, "session.mktCampaign",
              {"source": "source", "medium": "medium", "name": "name", "term": "term", "content": "content",
               "clickId": "click_id", "network": "network"}),
    **_fields(lambda scope: scope.session.referrer, "session.referrer",
              {"url": "url", "hostname": "hostname", "domain": "domain", "medium": "medium"}),
    **_page(lambda scope: scope.session.last_page, "session.lastPage"),
    **dict.fromkeys(GEOLOCATION, ("string", _never)),
    "visitor.id": ("string", lambda scope: scope.visitor.id),
    "visitor.customerId": ("string", lambda scope: scope.visitor.customer_id),
    "visitor.firstSeenAt": ("time", lambda scope: to_rfc3339(scope.visitor.first_seen_at)),
    "visitor.lastSeenAt": ("time", lambda scope: to_rfc3339(scope.visitor.last_seen_at)),
    "visitor.sessionCount": ("integer", lambda scope: scope.visitor.session_count),
    "visitor.eventCount": ("integer", lambda scope: scope.visitor.event_count),
    "visitor.segments": ("list", lambda scope: scope.visitor.segments),
}  # fmt: skip

_FOR_LOOKUPS: dict[str, tuple[PathType, Getter]] = {
    "actionMap.name": ("string", lambda scope: scope.action_map),
    "actionMap.version": ("integer", lambda scope: scope.action_map_version),
    "delivery.id": ("string", lambda scope: scope.delivery),
}

#: Roots under which every name is known; what follows the name reaches into nested objects and lists.
_OPEN: dict[str, Callable[[Scope], dict[str, Any]]] = {
    "event.attributes": lambda scope: scope.event.attributes,
    "session.attributes": lambda scope: scope.session.attributes,
    "visitor.traits": lambda scope: scope.visitor.traits,
    "visitor.variables": lambda scope: scope.visitor.variables,
}


def known_paths(*, for_lookup: bool = False) -> tuple[str, ...]:
    """Every path there is, those with a free name ending in ``<name>``."""
    fixed = (*_KNOWN, *_FOR_LOOKUPS) if for_lookup else tuple(_KNOWN)
    return (*fixed, *(f"{root}.<name>" for root in _OPEN))


def find_path(name: str, *, for_lookup: bool = False) -> Path:
    """The path called ``name``.

    Raises:
        UnknownPath: there is none.
    """
    known = _KNOWN.get(name) or (_FOR_LOOKUPS.get(name) if for_lookup else None)
    if known:
        return Path(name, *known)
    root, _, rest = name.partition(".")
    second, _, rest = rest.partition(".")
    part = _OPEN.get(f"{root}.{second}")
    if part is None or not rest or "" in rest.split("."):
        raise UnknownPath(name)
    return Path(name, "any", _nested(part, tuple(rest.split("."))))


def bag_of(name: str) -> tuple[Callable[[Scope], dict[str, Any]], str] | None:
    """Where a path's free name is looked up, and that name; None for a path that has none."""
    root, _, rest = name.partition(".")
    second, _, rest = rest.partition(".")
    part = _OPEN.get(f"{root}.{second}")
    return None if part is None else (part, rest.partition(".")[0])


def _nested(part: Callable[[Scope], dict[str, Any]], keys: tuple[str, ...]) -> Getter:
    first, rest = keys[0], keys[1:]
    if not rest:
        return lambda scope: part(scope).get(first)

    def read(scope: Scope) -> Any:
        value = part(scope).get(first)
        for key in rest:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list):
                value = value[int(key)] if key.isdecimal() and key.isascii() and int(key) < len(value) else None
            else:
                return None
        return value

    return read

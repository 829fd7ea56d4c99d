"""Rulebook: all active definitions compiled: immutable, with a revision and a content hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actionmap.catalog.conditions import Predicate, Test
from actionmap.catalog.index import Index
from actionmap.catalog.mappings import Resolved
from actionmap.catalog.models import ActionMap, Definition, Integration
from actionmap.catalog.paths import Scope
from actionmap.catalog.schedule import OpeningHours
from actionmap.catalog.templates import MakeBody, Values
from actionmap.catalog.triggers import Absence, Compiled
from actionmap.catalog.windows import Memory, Reach
from actionmap.delivery import Capture, RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWebhook:
    """A webhook with its data action: everything that rendering needs."""

    name: str
    integration: str
    resolve: Callable[[Scope], Resolved]
    #: `key_of_lookups`.
    lookups: str
    method: str
    path: Callable[[Values], str]
    query: Callable[[Values], str]
    headers: Callable[[Values], dict[str, str]]
    #: None for a request without one.
    body: MakeBody | None
    #: What a delivery keeps for the integration's base URL; None where that has no places.
    context: Callable[[Values], dict[str, str]] | None
    timeout_s: float
    success_statuses: tuple[str, ...]
    idempotency_header: str
    retry: RetryPolicy
    capture: Capture
    is_sync: bool
    is_strict: bool
    logs_request: bool
    logs_response: bool
    max_body_bytes: int
    #: Those of the webhook and of its data action.
    versions: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Cap:
    """How many firings there may be for one visitor."""

    #: What is counted: an action map by its name, or a group.
    key: str
    max: int
    #: As written: session, lifetime or a duration.
    per: str
    reach: Reach
    #: Name of the exclusive group whose firings count; "" for those of the map alone.
    group: str = ""


#: A map's place among all: by priority, then name.
Order = tuple[int, str]
#: After every map.
LAST: Order = (3, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledMap:
    """An active action map: trigger, how and when, and its webhook."""

    name: str
    order: Order
    version: int
    test: Callable[[Scope], bool]
    #: Whether the trigger holds whenever one of its clauses does, so that the index can tell.
    exact: bool
    #: Why the webhook would not be sent; "" when all is published and active.
    not_live: str
    #: Milliseconds since 1970; the start is inclusive, the end exclusive.
    start: int | None
    end: int | None
    includes: tuple[Test, ...]
    excludes: tuple[Test, ...]
    schedule: OpeningHours | None
    #: None for every match.
    cap: Cap | None
    holdout_percent: float | None
    exclusive_group: str | None
    #: Whether a match fires later: ``delay_ms`` later, or without one when the visitor comes back.
    waits: bool
    delay_ms: int | None
    #: Set when it fires by timer; ``test`` is then made when the timer is due.
    absence: Absence | None
    #: Names of the events that its trigger asks for.
    events: frozenset[str]
    #: Names of the segments whose end its trigger asks for.
    left: frozenset[str]
    webhook: CompiledWebhook
    #: Decides and records, and sends nothing.
    shadow: bool
    #: Its own cap, and those of its group: what a firing counts towards.
    counted_in: tuple[Cap, ...] = ()

    @property
    def may_recur(self) -> bool:
        """Whether it may match more than once for one event: at the event, and when memberships end after it."""
        return bool(self.left)


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """A segment: its name and when a visitor is a member."""

    name: str
    #: None: a visitor is a member by assignment from outside.
    test: Callable[[Scope], bool] | None
    #: How long a membership outlasts it.
    expires_ms: int | None
    in_session: bool


@dataclass(frozen=True, slots=True)
class Memories:
    """What is remembered of the events of one name."""

    all: tuple[Memory, ...]
    #: Finds those that an event may belong to; None where there are few.
    index: Index | None = None

    def of(self, scope: Scope) -> Iterable[Memory]:
        """Those that the event in ``scope`` may belong to."""
        if self.index is None:
            return self.all
        found: Any = self.index.candidates(scope)
        return [one.memory for one in found]


NO_MEMORIES = Memories(())


@dataclass(frozen=True, slots=True)
class MapPart:
    """An action map, active or not, and what was compiled of it."""

    action_map: ActionMap
    trigger: Compiled
    compiled: CompiledMap | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a rulebook was compiled of, for the next one to take over what has not changed."""

    definitions: Mapping[str, Definition] = field(default_factory=dict)
    maps: Mapping[str, MapPart] = field(default_factory=dict)
    webhooks: Mapping[str, CompiledWebhook | None] = field(default_factory=dict)
    #: The compiled ``when`` of each segment, by its name.
    segments: Mapping[str, Compiled] = field(default_factory=dict)
    #: Conditions by what they say: many maps share one.
    conditions: dict[tuple[Any, ...], Predicate] = field(default_factory=dict)
    #: See `content_hash`.
    digest: int = 0
    #: Names of the external segments.
    external: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """All active definitions compiled."""

    revision: int
    #: The same for the same definitions, hexadecimal.
    content_hash: str
    #: Active maps by priority, then name.
    maps: tuple[CompiledMap, ...]
    index: Index
    #: Active segments, each after those it asks for.
    segments: tuple[CompiledSegment, ...]
    segments_by_name: Mapping[str, CompiledSegment]
    #: Names of the active segments that end with the session.
    session_segments: frozenset[str]
    #: Segment → the maps that ask for the end of its membership, by priority, then name.
    asked_when_left: Mapping[str, tuple[CompiledMap, ...]]
    #: Whether any map asks for the end of a membership that ends by itself.
    reports_expiries: bool
    #: Names of the outcomes of deliveries that any map asks for.
    outcomes_asked: frozenset[str]
    #: What to remember of an event, by its name, and the keys of all that is remembered.
    memories: Mapping[str, Memories]
    memory_keys: frozenset[str]
    #: Whose firings may be counted: all maps, inactive ones too, and groups.
    cap_keys: frozenset[str]
    integrations: Mapping[str, Integration]
    #: The active maps by name.
    by_name: Mapping[str, CompiledMap]
    parts: Parts

    def judged_when_left(self, segments: Sequence[str]) -> list[CompiledMap]:
        """The maps that ask whether one of ``segments`` was left, by priority, then name."""
        found = {one.name: one for name in segments for one in self.asked_when_left.get(name, ())}
        return sorted(found.values(), key=lambda one: one.order)

"""Rulebook: all active definitions compiled: immutable, with a revision and a content hash. Validating is compiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from actionmap.catalog.conditions import BadPattern, Test, compile_comparison
from actionmap.catalog.index import Index
from actionmap.catalog.mappings import Resolved, compile_fields, compile_mappings, contract_problems
from actionmap.catalog.models import ActionMap, DataAction, Definition, Integration, Segment, Webhook
from actionmap.catalog.models.base import seconds
from actionmap.catalog.models.webhook import Retry
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Scope
from actionmap.catalog.templates import (
    BadTemplate,
    Values,
    compile_body,
    compile_params,
    compile_path,
)
from actionmap.catalog.triggers import Absence, Compiled, Counter, TriggerCompiler, merged_counters
from actionmap.delivery import RetryPolicy
from actionmap.errors import DefinitionError, Finding
from actionmap.event import to_millis

_RANK = {"high": 0, "medium": 1, "low": 2}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
Some = TypeVar("Some", bound=Definition)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWebhook:
    """A webhook with its data action: everything that rendering needs."""

    name: str
    integration: str
    resolve: Callable[[Scope], Resolved]
    method: str
    path: Callable[[Values], str]
    query: Callable[[Values], str]
    headers: Mapping[str, str]
    #: Makes the JSON body; None for a request without one.
    body: Callable[[Values], Any] | None
    timeout_s: float
    success_statuses: tuple[str, ...]
    idempotency_header: str
    retry: RetryPolicy
    max_body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledMap:
    """An active action map: trigger, how and when, and its webhook."""

    name: str
    version: int
    test: Callable[[Scope], bool]
    #: Why the webhook would not be sent; "" when all is published and active.
    not_live: str
    #: Milliseconds since 1970; the start is inclusive, the end exclusive.
    start: int | None
    end: int | None
    includes: tuple[Test, ...]
    excludes: tuple[Test, ...]
    #: Firings per session at most; None for every match.
    max_per_session: int | None
    #: How long a match waits before it fires; None when it fires at once.
    delay_ms: int | None
    #: Set when it fires by timer; ``test`` is then made when the timer is due.
    absence: Absence | None
    webhook: CompiledWebhook


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """A segment: its name and when a visitor is a member."""

    name: str
    test: Callable[[Scope], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """All active definitions compiled."""

    revision: int
    #: SHA-256 of the definitions, hexadecimal.
    content_hash: str
    #: Active maps by priority, then name.
    maps: tuple[CompiledMap, ...]
    index: Index
    #: Active segments, each after those it asks for.
    segments: tuple[CompiledSegment, ...]
    counters: Mapping[str, tuple[Counter, ...]]
    integrations: Mapping[str, Integration]
    #: The active maps by name, and the place of each in ``maps``.
    by_name: Mapping[str, CompiledMap]
    rank: Mapping[str, int]


def compile_rulebook(
    definitions: Mapping[str, Definition], revision: int = 0, versions: Mapping[str, int] | None = None
) -> Rulebook:
    """Compile ``definitions``, a set by key ``Kind/name``.

    Args:
        definitions: All definitions, in any state.
        revision: The revision of the set in the store.
        versions: The version of each definition by key; 1 where none is given.

    Raises:
        DefinitionError: definitions are wrong, each by itself or together; all findings at once.
    """
    return _Compilation(definitions, revision, versions or {}).run()


class _Compilation:
    """One run over a set of definitions, collecting what is wrong."""

    def __init__(self, definitions: Mapping[str, Definition], revision: int, versions: Mapping[str, int]) -> None:
        self._definitions = definitions
        self._revision = revision
        self._versions = versions
        self._findings: list[Finding] = []

    def run(self) -> Rulebook:
        webhooks = {webhook.name: self._webhook(webhook) for webhook in self._all(Webhook)}
        for action in self._all(DataAction):
            self._data_action(action)
        segments = {segment.name: self._trigger(segment, segment.when, "when") for segment in self._all(Segment)}
        order = self._segment_order(segments)
        maps = [
            (action_map, self._trigger(action_map, action_map.trigger, "trigger"))
            for action_map in sorted(self._all(ActionMap), key=lambda some: (_RANK[some.priority], some.name))
        ]
        compiled = [self._map(action_map, trigger, webhooks) for action_map, trigger in maps]
        if self._findings:
            raise DefinitionError(self._findings)
        active = [(made, trigger) for made, (action_map, trigger) in zip(compiled, maps, strict=True)
                  if action_map.active and made is not None]  # fmt: skip
        live = tuple(made for made, _ in active if made is not None)
        used = [trigger for _, trigger in active] + [segments[name] for name in order]
        return Rulebook(
            revision=self._revision,
            content_hash=content_hash(self._definitions),
            maps=live,
            index=Index([trigger.anchors for _, trigger in active]),
            segments=tuple(CompiledSegment(name, segments[name].test) for name in order),
            counters=merged_counters(iter(used)),
            integrations={integration.name: integration for integration in self._all(Integration)},
            by_name={made.name: made for made in live},
            rank={made.name: place for place, made in enumerate(live)},
        )

    def _all(self, kind: type[Some]) -> list[Some]:
        return [definition for definition in self._definitions.values() if isinstance(definition, kind)]

    def _found(self, definition: Definition, path: str, message: str) -> None:
        subject = f"{definition.kind_name} {definition.name}"
        self._findings.append(Finding(message=message, path=path, subject=subject))

    def _referred(self, definition: Definition, path: str, kind: type[Some], name: str) -> Some | None:
        found = self._definitions.get(f"{kind.kind_name}/{name}")
        if isinstance(found, kind):
            return found
        hint = nearest(name, [known.name for known in self._all(kind)])
        self._found(definition, path, f"there is no {kind.kind_name} {name!r}{hint}")
        return None

    def _data_action(self, action: DataAction) -> None:
        self._referred(action, "integration", Integration, action.integration)
        for path, message in contract_problems(action.contract):
            self._found(action, path, message)
        try:
            _request(action)
        except BadTemplate as error:
            self._found(action, "request", str(error))

    def _webhook(self, webhook: Webhook) -> CompiledWebhook | None:
        action = self._referred(webhook, "dataAction", DataAction, webhook.data_action)
        if action is None or contract_problems(action.contract):
            return None
        fields, problems = compile_mappings(webhook, action.contract)
        for where, message in problems:
            self._found(webhook, where, message)
        integration = self._definitions.get(f"Integration/{action.integration}")
        if problems or not isinstance(integration, Integration):
            return None
        own = {name.lower() for name in action.request.headers}
        if webhook.delivery.idempotency_header.lower() in own:
            message = f"the data action {action.name} sets this header too, and would be overwritten"
            self._found(webhook, "delivery.idempotencyHeader", message)
        try:
            path, query, body = _request(action)
        except BadTemplate:
            return None
        return CompiledWebhook(
            name=webhook.name,
            integration=action.integration,
            resolve=compile_fields(fields),
            method=action.request.method,
            path=path,
            query=query,
            headers=_headers(action, with_body=body is not None),
            body=body,
            timeout_s=float(action.request.timeout_seconds),
            success_statuses=tuple(str(status) for status in action.response.success_statuses),
            idempotency_header=webhook.delivery.idempotency_header,
            retry=_retry_policy(webhook.delivery.retry),
            max_body_bytes=integration.limits.max_body_bytes,
        )

    def _trigger(self, definition: ActionMap | Segment, trigger: Any, path: str) -> Compiled:
        names = [segment.name for segment in self._all(Segment)]
        compiler = TriggerCompiler(names, in_segment=isinstance(definition, Segment))
        compiled = compiler.compile(trigger, path)
        for where, message in compiler.problems:
            self._found(definition, where, message)
        return compiled

    def _segment_order(self, segments: Mapping[str, Compiled]) -> list[str]:
        """The active segments, each after those it asks for; a circle is found and named."""
        order: list[str] = []
        state: dict[str, str] = {}

        def visit(name: str, way: tuple[str, ...]) -> None:
            if state.get(name) == "done" or name not in segments:
                return
            if state.get(name) == "open":
                circle = " → ".join((*way[way.index(name) :], name))
                self._found(self._definitions[f"Segment/{name}"], "when", f"segments ask for each other: {circle}")
                return
            state[name] = "open"
            for asked in sorted(segments[name].segments):
                visit(asked, (*way, name))
            state[name] = "done"
            order.append(name)

        for name in sorted(segments):
            visit(name, ())
        active = {segment.name for segment in self._all(Segment) if segment.active}
        return [name for name in order if name in active]

    def _map(
        self, action_map: ActionMap, trigger: Compiled, webhooks: Mapping[str, CompiledWebhook | None]
    ) -> CompiledMap | None:
        webhook = self._referred(action_map, "action.webhook", Webhook, action_map.action.webhook)
        includes = self._urls(action_map, "include")
        excludes = self._urls(action_map, "exclude")
        compiled = webhooks.get(action_map.action.webhook)
        if webhook is None or compiled is None:
            return None
        frequency, delay = action_map.frequency, action_map.activation.delay_seconds
        if delay is not None and trigger.absence is not None:
            self._found(action_map, "activation", "a delay on an absence is refused: make the absence longer")
        return CompiledMap(
            name=action_map.name,
            version=self._versions.get(action_map.key, 1),
            test=trigger.test,
            not_live=why_not_live(self._definitions, webhook),
            start=to_millis(action_map.start_date) if action_map.start_date else None,
            end=to_millis(action_map.end_date) if action_map.end_date else None,
            includes=includes,
            excludes=excludes,
            max_per_session=None if frequency == "every" else frequency.max,
            delay_ms=None if delay is None else delay * 1000,
            absence=trigger.absence,
            webhook=compiled,
        )

    def _urls(self, action_map: ActionMap, side: str) -> tuple[Test, ...]:
        tests = []
        for index, condition in enumerate(getattr(action_map.page_urls, side)):
            try:
                tests.append(compile_comparison(condition))
            except BadPattern as error:
                self._found(action_map, f"pageUrls.{side}.{index}.values", str(error))
        return tuple(tests)


def why_not_live(definitions: Mapping[str, Definition], webhook: Webhook) -> str:
    """What keeps ``webhook`` from being sent, in words for people; "" when all is published and active."""
    if webhook.state != "published":
        return f"the webhook {webhook.name} is {webhook.state}"
    action = definitions.get(f"DataAction/{webhook.data_action}")
    if not isinstance(action, DataAction) or action.state != "published":
        return f"the data action {webhook.data_action} is a draft"
    integration = definitions.get(f"Integration/{action.integration}")
    if not isinstance(integration, Integration) or not integration.active:
        return f"the integration {action.integration} is inactive"
    return ""


def asked_segments(definitions: Mapping[str, Definition], action_map: ActionMap) -> list[str]:
    """Names of the segments that the trigger of ``action_map`` asks, and of those that they ask, sorted."""
    compiler = TriggerCompiler([some.name for some in definitions.values() if isinstance(some, Segment)])
    asked: set[str] = set()
    waiting = set(compiler.compile(action_map.trigger, "trigger").segments)
    while waiting:
        name = waiting.pop()
        asked.add(name)
        segment = definitions[f"Segment/{name}"]
        if isinstance(segment, Segment):
            waiting |= compiler.compile(segment.when, "when").segments - asked
    return sorted(asked)


def content_hash(definitions: Mapping[str, Definition]) -> str:
    """SHA-256 of ``definitions``, hexadecimal: the same for the same content, in whatever order it was given."""
    written = [(key, definitions[key].as_written()) for key in sorted(definitions)]
    return sha256(msgspec.json.encode(written, order="deterministic")).hexdigest()


def _request(
    action: DataAction,
) -> tuple[Callable[[Values], str], Callable[[Values], str], Callable[[Values], Any] | None]:
    fields: Sequence[str] = list(action.contract.input.get("properties", {}))
    request = action.request
    body: Callable[[Values], Any] | None = None
    if request.body is not None:
        body = compile_body(request.body, fields)
    elif request.method in _WITH_BODY:
        body = dict
    return compile_path(request.path, fields), compile_params(request.params, fields), body


def _headers(action: DataAction, *, with_body: bool) -> dict[str, str]:
    headers = dict(action.request.headers)
    if with_body and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    return headers


def _retry_policy(retry: Retry) -> RetryPolicy:
    schedule = () if retry.schedule == "exponential" else tuple(seconds(wait) for wait in retry.schedule)
    return RetryPolicy(attempts=retry.attempts, schedule=schedule, max_age_s=seconds(retry.max_age))

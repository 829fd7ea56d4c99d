"""Explainer: why the maps of one set of definitions fire for an event, or do not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from actionmap.catalog.mappings import Field, NoValue, compile_mappings, converted
from actionmap.catalog.models import ActionMap, DataAction, Definition, Segment, Webhook
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import NO_MEMORIES, CompiledMap, Rulebook
from actionmap.catalog.windows import Sequence
from actionmap.decide import Policy, Timeline, decide
from actionmap.decide.checks import CHECKS, Match
from actionmap.decide.judge import scope_of_reserved
from actionmap.decide.observe import observe
from actionmap.errors import NotFound
from actionmap.event import RESERVED_EVENTS, Event, to_rfc3339
from actionmap.explain.explanation import Check, Explanation, Lookup
from actionmap.explain.trigger import TriggerWalk
from actionmap.visitor import Visitor


class Explainer:
    """Explains by one set of definitions."""

    def __init__(self, definitions: Mapping[str, Definition], rulebook: Rulebook, policy: Policy) -> None:
        """``rulebook`` is what ``definitions`` compile to."""
        self._definitions = definitions
        self._rulebook = rulebook
        self._policy = policy
        self._segments = frozenset(some.name for some in definitions.values() if isinstance(some, Segment))

    def before(self, event: Event, earlier: Iterable[Event], visitor: Visitor | None) -> tuple[Visitor | None, int]:
        """The visitor of ``event`` just before it, and the stream time then.

        Args:
            event: The event to be explained.
            earlier: Events to be taken before it, with the timers between them; those of other visitors move the time.
            visitor: The visitor as it was before all of them.
        """
        known = {} if visitor is None else {visitor.id: visitor}
        timeline = Timeline(self._rulebook, self._policy, visitor.last_seen_at if visitor else -1, known)
        for one in earlier:
            _run(timeline, one.time - 1)
            timeline.take(one)
            _run(timeline, timeline.stream_time)
        _run(timeline, event.time - 1)
        return timeline.visitors.get(event.visitor_id), timeline.stream_time

    def scope_of_event(self, event: Event, before: Visitor | None, stream_time: int) -> Scope:
        """What lookups read for ``event``, whose visitor was as ``before``."""
        now = max(stream_time, event.time)
        if event.name in RESERVED_EVENTS:
            return scope_of_reserved(before, event, self._rulebook, now)
        return observe(before, event, self._rulebook, now, self._policy)

    def scope_of_visitor(self, visitor: Visitor, latest: Event) -> Scope:
        """What lookups read of the present state of ``visitor``, whose ``latest`` event is given.

        Raises:
            NotFound: the visitor has had no session.
        """
        if visitor.session is None:
            raise NotFound(f"nothing has happened yet that the visitor {visitor.id!r} could be judged by")
        return Scope(latest, visitor, visitor.session)

    def of_event(self, name: str, event: Event, before: Visitor | None, stream_time: int = -1) -> Explanation:
        """Why the map fires for ``event`` or does not, for its visitor as it was ``before``.

        Raises:
            NotFound: there is no such map.
        """
        return self._of_event([name], event, before, stream_time)[0]

    def all_of_event(self, event: Event, before: Visitor | None, stream_time: int = -1) -> list[Explanation]:
        """All active maps for ``event``, those that fire first, then by how little keeps them from it.

        Of a reserved event, those that ask for it by its name: no others are judged.
        """
        names = [one.name for one in self._rulebook.maps if _is_judged(one, event)]
        return _ranked(self._of_event(names, event, before, stream_time))

    def _of_event(
        self, names: Iterable[str], event: Event, before: Visitor | None, stream_time: int
    ) -> list[Explanation]:
        decision = decide(event, before, self._rulebook, stream_time, self._policy)
        scope = self.scope_of_event(event, before, stream_time)
        basis = "this event" if before is not None else "this event, the first of its visitor"
        told = {verdict.action_map: verdict for verdict in decision.verdicts}
        found = []
        for name in names:
            made = self._explain(name, scope, basis)
            if decision.outcome in ("late", "duplicate"):
                made = _with(made, decision.outcome, "")
            elif decision.outcome == "refused":
                made = _with(made, "condition-false", "the assignment is refused: there is no such active segment with "
                             "external: true, or the visitor is in too many")  # fmt: skip
            elif name in told:
                made = _with(made, told[name].reason, told[name].detail)
            action_map = self._rulebook.by_name.get(name)
            if action_map is not None and not _is_judged(action_map, event):
                made = _with(made, "condition-false", f"only maps that name {event.name} are judged at it")
            found.append(made)
        return found

    def of_visitor(self, name: str, visitor: Visitor, latest: Event) -> Explanation:
        """Why the map would fire now or would not, by the visitor's present state and its ``latest`` event.

        Raises:
            NotFound: there is no such map, or the visitor has had no session.
        """
        return self._of_visitor([name], visitor, latest)[0]

    def all_of_visitor(self, visitor: Visitor, latest: Event) -> list[Explanation]:
        """All active maps for the present state of ``visitor``, ranked as in `all_of_event`."""
        return _ranked(self._of_visitor([one.name for one in self._rulebook.maps], visitor, latest))

    def _of_visitor(self, names: Iterable[str], visitor: Visitor, latest: Event) -> list[Explanation]:
        scope = self.scope_of_visitor(visitor, latest)
        scope.completed = [
            memory.key for memory in self._rulebook.memories.get(latest.name, NO_MEMORIES).all
            if isinstance(memory, Sequence) and memory.completed_by_newest(scope)
        ]  # fmt: skip
        basis = "the visitor's present state and its latest event; what has fired has fired"
        waits = {wait.action_map: wait for wait in visitor.waits}
        found = []
        for name in names:
            made, wait = self._at_latest(self._explain(name, scope, basis)), waits.get(name)
            if wait is not None:
                until = "until the next session" if wait.due is None else f"until {to_rfc3339(wait.due)}"
                made = _with(made, "waiting", f"for what happened at {to_rfc3339(wait.event.time)}, {until}")
            found.append(made)
        return found

    def _at_latest(self, made: Explanation) -> Explanation:
        """What the visitor's latest event cannot be is said: no event of the website has a reserved name."""
        action_map = self._rulebook.by_name.get(made.action_map)
        reserved = action_map.events & RESERVED_EVENTS if action_map is not None else frozenset()
        if not reserved or made.reason != "condition-false":
            return made
        names = " and ".join(sorted(reserved))
        detail = f"it fires at {names}, not at the visitor's latest event; give one as the event to see it"
        return _with(made, made.reason, detail)

    def _explain(self, name: str, scope: Scope, basis: str) -> Explanation:
        definition = self._definitions.get(f"ActionMap/{name}")
        if not isinstance(definition, ActionMap):
            known = [key.removeprefix("ActionMap/") for key in self._definitions if key.startswith("ActionMap/")]
            raise NotFound(f"there is no action map {name!r}{nearest(name, known)}")
        trigger = TriggerWalk(name, self._segments, scope).walk(definition.trigger, "trigger")
        action_map = self._rulebook.by_name.get(name)
        checks = [Check(name="active", passed=True)]
        if action_map is None:
            checks = [Check(name="active", passed=False, reason="not-live", detail="the action map is inactive")]
        if action_map is not None:
            checks += _checks(action_map, scope)
        failed = next((check for check in checks if not check.passed), None)
        reason = "condition-false" if not trigger.passed else "matched"
        if trigger.passed and failed is not None:
            reason = failed.reason
        return Explanation(
            action_map=name,
            visitor_id=scope.visitor.id,
            event_id=scope.event.id,
            event_name=scope.event.name,
            at=scope.event.time,
            basis=basis,
            reason=reason,
            detail=failed.detail if trigger.passed and failed is not None else "",
            trigger=trigger,
            checks=tuple(checks),
            lookups=self._lookups(definition, scope),
        )

    def _lookups(self, action_map: ActionMap, scope: Scope) -> tuple[Lookup, ...]:
        webhook = self._definitions[f"Webhook/{action_map.action.webhook}"]
        assert isinstance(webhook, Webhook)
        data_action = self._definitions[f"DataAction/{webhook.data_action}"]
        assert isinstance(data_action, DataAction)
        fields, _ = compile_mappings(webhook, data_action.contract)
        own = scope.for_delivery(action_map.name, 1, "")
        return tuple(_looked_up(field, own) for field in fields)


def _with(made: Explanation, reason: str, detail: str) -> Explanation:
    return replace(made, reason=reason, detail=detail)


def _is_judged(action_map: CompiledMap, event: Event) -> bool:
    """Whether ``event`` may lead to a verdict of the map: reserved ones are judged by those alone that name them."""
    return event.name not in RESERVED_EVENTS or event.name in action_map.events


def _ranked(found: list[Explanation]) -> list[Explanation]:
    return sorted(found, key=lambda one: (one.reason not in ("fired", "shadow"), one.short, one.action_map))


def _run(timeline: Timeline, until: int) -> None:
    for _ in timeline.run_timers(until, until):
        """What a timer leads to is in its visitor."""


def _checks(action_map: CompiledMap, scope: Scope) -> list[Check]:
    match = Match(action_map, scope, scope.event.time, scope.session.number)
    found = {name: check(match) for name, check in CHECKS.items()}
    return [Check(name=name, passed=not obstacle, reason=obstacle[0] if obstacle else "",
                  detail=obstacle[1] if obstacle else "") for name, obstacle in found.items()]  # fmt: skip


def _looked_up(field: Field, scope: Scope) -> Lookup:
    if field.read is None:
        return Lookup(field=field.name, lookup=None, value=field.value, missing="", on_missing="")
    value, missing = field.read(scope), ""
    try:
        value = converted(value, field.type)
    except NoValue as why:
        missing = str(why)
    return Lookup(field=field.name, lookup=field.lookup, value=value, missing=missing, on_missing=field.when_missing)

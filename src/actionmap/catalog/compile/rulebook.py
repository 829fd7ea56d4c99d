"""compile_rulebook(): a set of definitions → a rulebook, taking over from a former one what has not changed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec

from actionmap.catalog.compile.linked import Linked
from actionmap.catalog.compile.maps import cap_keys, compile_map, counted_together
from actionmap.catalog.compile.memories import compile_memories
from actionmap.catalog.compile.segments import compile_segments
from actionmap.catalog.compile.webhooks import check_data_action, compile_webhook
from actionmap.catalog.index import Index
from actionmap.catalog.models import ActionMap, DataAction, Definition, Integration, Segment, Webhook
from actionmap.catalog.rulebook import CompiledMap, CompiledWebhook, MapPart, Parts, Rulebook
from actionmap.catalog.triggers import Compiled, TriggerCompiler
from actionmap.errors import DefinitionError
from actionmap.event import OUTCOME_EVENTS

#: More changes than this are sorted in as a whole.
_FEW = 200
_DIGEST_BITS = 256


def compile_rulebook(
    definitions: Mapping[str, Definition],
    revision: int = 0,
    versions: Mapping[str, int] | None = None,
    previous: Rulebook | None = None,
) -> Rulebook:
    """Compile ``definitions``, a set by key ``Kind/name``.

    Args:
        definitions: All definitions, in any state.
        revision: The revision of the set in the store.
        versions: The version of each definition by key; 1 where none is given.
        previous: A rulebook to take over from what was compiled of the very same objects: a change to one of a
            hundred thousand maps costs milliseconds then.

    Raises:
        DefinitionError: definitions are wrong, each by itself or together; all findings at once.
    """
    return _Compilation(definitions, revision, versions or {}, previous).run()


class _Compilation:
    """One run over a set of definitions, collecting what is wrong."""

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        revision: int,
        versions: Mapping[str, int],
        previous: Rulebook | None,
    ) -> None:
        self._linked = Linked(definitions)
        self._definitions = definitions
        self._revision = revision
        self._versions = versions
        self._previous = previous
        self._known = previous.parts if previous is not None else Parts()
        old = self._known.definitions
        self._gone = [key for key in old if key not in definitions]
        #: Keys of what is new, changed or gone.
        self._changed = {key for key, some in definitions.items() if old.get(key) is not some}.union(self._gone)
        self._segments = frozenset(segment.name for segment in self._linked.all(Segment))
        self._external = frozenset(segment.name for segment in self._linked.all(Segment) if segment.external)
        self._own_segments: dict[str, frozenset[str]] = {}
        handed_over = {some.name for some in self._linked.all(Segment) if _company_of(old, some) != some.company}
        #: Segments that are gone, another company's, or assigned by others as they were not: who asks them is compiled
        #: anew.
        self._turned = (
            (self._known.segments.keys() - self._segments) | (self._external ^ self._known.external) | handed_over
        )

    def run(self) -> Rulebook:
        webhooks = self._webhooks()
        triggers = {segment.name: self._when(segment) for segment in self._linked.all(Segment)}
        segments = compile_segments(self._linked, triggers)
        maps = self._maps(webhooks)
        if self._linked.findings:
            raise DefinitionError(self._linked.findings)
        live = counted_together(self._ordered(maps))
        for one in live:
            part = maps[one.name]
            if part.compiled is not one:
                maps[one.name] = MapPart(part.action_map, part.trigger, one)
        used = [maps[one.name].trigger for one in live] + [triggers[segment.name] for segment in segments]
        before = self._previous.memories if self._previous is not None else {}
        memories = compile_memories((memory for trigger in used for memory in trigger.memories), before)
        digest, when_left = self._digest(), _asked_when_left(live)
        return Rulebook(
            revision=self._revision,
            content_hash=_written_hash(digest),
            maps=live,
            index=self._index(live, maps),
            segments=segments,
            segments_by_name={segment.name: segment for segment in segments},
            session_segments=frozenset(segment.name for segment in segments if segment.in_session),
            asked_when_left=when_left,
            reports_expiries=any(some.expires_ms is not None and some.name in when_left for some in segments),
            outcomes_asked=_outcomes_asked(live),
            memories=memories,
            memory_keys=frozenset(memory.key for some in memories.values() for memory in some.all),
            cap_keys=frozenset(key for part in maps.values() for key in cap_keys(part.action_map)),
            integrations={integration.name: integration for integration in self._linked.all(Integration)},
            by_name={one.name: one for one in live},
            parts=Parts(self._definitions, maps, webhooks, triggers, self._known.conditions, digest, self._external),
        )

    def _webhooks(self) -> dict[str, CompiledWebhook | None]:
        for action in self._linked.all(DataAction):
            if action.key in self._changed or f"Integration/{action.integration}" in self._changed:
                check_data_action(self._linked, action)
        compiled = {}
        for webhook in self._linked.all(Webhook):
            known = self._known.webhooks.get(webhook.name)
            same = known is not None and not self._is_touched(webhook)
            compiled[webhook.name] = known if same else self._numbered(webhook, compile_webhook(self._linked, webhook))
        return compiled

    def _numbered(self, webhook: Webhook, compiled: CompiledWebhook | None) -> CompiledWebhook | None:
        if compiled is None:
            return None
        keys = (webhook.key, f"DataAction/{webhook.data_action}")
        own, action = (self._versions.get(key, 1) for key in keys)
        return replace(compiled, versions=(own, action))

    def _is_touched(self, webhook: Webhook) -> bool:
        """Whether ``webhook``, or anything that it leads to, has changed."""
        action = self._linked.get(DataAction, webhook.data_action)
        integration = f"Integration/{action.integration}" if action else ""
        return not self._changed.isdisjoint((webhook.key, f"DataAction/{webhook.data_action}", integration))

    def _when(self, segment: Segment) -> Compiled:
        known = self._known.segments.get(segment.name)
        if known is not None and segment.key not in self._changed and known.segments <= self._segments:
            return known
        return Compiled(lambda _: False) if segment.when is None else self._trigger(segment, segment.when, "when")

    def _trigger(self, definition: ActionMap | Segment, trigger: Any, path: str) -> Compiled:
        in_segment, conditions = isinstance(definition, Segment), self._known.conditions
        segments = self._segments_of(definition.company)
        compiler = TriggerCompiler(segments, self._external, in_segment, conditions=conditions)
        compiled = compiler.compile(trigger, path)
        for where, message in compiler.problems:
            self._linked.found(definition, where, message)
        return compiled

    def _segments_of(self, company: str) -> frozenset[str]:
        """Names of the segments that definitions of ``company`` may ask."""
        if company not in self._own_segments:
            self._own_segments[company] = self._linked.names(Segment, company)
        return self._own_segments[company]

    def _maps(self, webhooks: Mapping[str, CompiledWebhook | None]) -> dict[str, MapPart]:
        parts: dict[str, MapPart] = {}
        known_webhooks = self._known.webhooks
        touched = {webhook.name for webhook in self._linked.all(Webhook) if self._is_touched(webhook)}
        same = {name for name, some in webhooks.items() if known_webhooks.get(name) is some} - touched
        for action_map in self._linked.all(ActionMap):
            known = self._known.maps.get(action_map.name)
            if known is None or known.action_map is not action_map or self._asks_anew(known.trigger):
                trigger = self._trigger(action_map, action_map.trigger, "trigger")
            elif action_map.action.webhook in same:
                parts[action_map.name] = known
                continue
            else:
                trigger = known.trigger
            version, webhook = self._versions.get(action_map.key, 1), webhooks.get(action_map.action.webhook)
            compiled = compile_map(self._linked, action_map, version, trigger, webhook)
            parts[action_map.name] = MapPart(action_map, trigger, compiled)
        return parts

    def _asks_anew(self, trigger: Compiled) -> bool:
        return bool(self._turned) and not trigger.segments.isdisjoint(self._turned)

    def _ordered(self, parts: Mapping[str, MapPart]) -> list[CompiledMap]:
        """The active maps by priority, then name."""
        live = {name: part.compiled for name, part in parts.items() if part.action_map.active and part.compiled}
        before = self._previous.maps if self._previous is not None else ()
        kept = [one for one in before if live.get(one.name) is one]
        names = {one.name for one in kept}
        new = [one for name, one in live.items() if name not in names]
        if len(new) > _FEW:
            return sorted([*kept, *new], key=attrgetter("order"))
        for one in new:
            kept.insert(bisect_left(kept, one.order, key=attrgetter("order")), one)
        return kept

    def _index(self, live: Iterable[CompiledMap], parts: Mapping[str, MapPart]) -> Index:
        if self._previous is None:
            return Index([(one, parts[one.name].trigger.clauses) for one in live])
        before = self._previous.by_name
        added = [(one, parts[one.name].trigger.clauses) for one in live if before.get(one.name) is not one]
        if len(added) > len(before):
            return Index([(one, parts[one.name].trigger.clauses) for one in live])
        names = {one.name for one in live}
        return self._previous.index.with_changes([name for name in before if name not in names], added)

    def _digest(self) -> int:
        """The sum of the hashes of all definitions: it changes by what changes, in whatever order."""
        total, old = self._known.digest, self._known.definitions
        for key in self._changed:
            if key in old:
                total -= _hash_of(key, old[key])
            if key in self._definitions:
                total += _hash_of(key, self._definitions[key])
        return total % (1 << _DIGEST_BITS)


def _company_of(old: Mapping[str, Definition], some: Definition) -> str:
    """The company that ``some`` was of."""
    return old.get(some.key, some).company


def _asked_when_left(live: Iterable[CompiledMap]) -> dict[str, tuple[CompiledMap, ...]]:
    asked: dict[str, list[CompiledMap]] = {}
    for one in live:
        for name in one.left:
            asked.setdefault(name, []).append(one)
    return {name: tuple(some) for name, some in asked.items()}


def _outcomes_asked(live: Iterable[CompiledMap]) -> frozenset[str]:
    return frozenset(name for name in OUTCOME_EVENTS if any(name in one.events for one in live))


def content_hash(definitions: Mapping[str, Definition]) -> str:
    """A hash of ``definitions``, hexadecimal: the same for the same content, in whatever order it was given."""
    total = sum(_hash_of(key, definition) for key, definition in definitions.items())
    return _written_hash(total % (1 << _DIGEST_BITS))


def _hash_of(key: str, definition: Definition) -> int:
    written = msgspec.json.encode((key, definition.as_written()), order="deterministic")
    return int.from_bytes(sha256(written).digest(), "big")


def _written_hash(digest: int) -> str:
    return f"{digest:0{_DIGEST_BITS // 4}x}"

"""Ruleset: a set of definitions that hangs together, as the findings look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Literal

from actionmap.catalog.models import ActionMap, DataAction, Definition, Segment, Webhook
from actionmap.catalog.rulebook import Parts
from actionmap.catalog.triggers import Compiled, TriggerCompiler
from actionmap.errors import Finding


class Ruleset:
    """Definitions that compile, with their triggers compiled when they are asked for.

    Args:
        definitions: The set, by key ``Kind/name``.
        now: Milliseconds since 1970.
        parts: What a rulebook of the very same objects has compiled already.
    """

    def __init__(self, definitions: Mapping[str, Definition], now: int, parts: Parts | None = None) -> None:
        self.definitions = definitions
        self.now = now
        self._parts = parts or Parts()
        self._triggers: dict[str, Compiled] = {}

    @cached_property
    def maps(self) -> list[ActionMap]:
        """The active maps."""
        return [some for some in self.definitions.values() if isinstance(some, ActionMap) and some.active]

    @cached_property
    def segments(self) -> list[Segment]:
        """All segments, inactive ones too."""
        return [some for some in self.definitions.values() if isinstance(some, Segment)]

    @cached_property
    def webhooks(self) -> list[Webhook]:
        """All webhooks, in any state."""
        return [some for some in self.definitions.values() if isinstance(some, Webhook)]

    @cached_property
    def groups(self) -> Mapping[str, list[ActionMap]]:
        """The active maps of each exclusive group."""
        found: dict[str, list[ActionMap]] = {}
        for one in self.maps:
            if one.exclusive_group is not None:
                found.setdefault(one.exclusive_group, []).append(one)
        return found

    @cached_property
    def _compilers(self) -> tuple[TriggerCompiler, TriggerCompiler]:
        """For maps, and for segments."""
        names = frozenset(segment.name for segment in self.segments)
        return TriggerCompiler(names), TriggerCompiler(names, in_segment=True)

    def trigger_of(self, definition: ActionMap | Segment) -> Compiled:
        """The trigger of a map, or the ``when`` of a segment that has one."""
        known = self._known(definition) or self._triggers.get(definition.key)
        if known is None:
            for_maps, for_segments = self._compilers
            if isinstance(definition, ActionMap):
                known = for_maps.compile(definition.trigger, "trigger")
            else:
                assert definition.when is not None
                known = for_segments.compile(definition.when, "when")
            self._triggers[definition.key] = known
        return known

    def _known(self, definition: ActionMap | Segment) -> Compiled | None:
        if self._parts.definitions.get(definition.key) is not definition:
            return None
        if isinstance(definition, Segment):
            return self._parts.segments.get(definition.name)
        part = self._parts.maps.get(definition.name)
        return part.trigger if part is not None else None

    def asked_by(self, action_map: ActionMap) -> list[str]:
        """Names of the segments that ``action_map`` asks, and of those that they ask, sorted."""
        asked: set[str] = set()
        waiting = set(self.trigger_of(action_map).segments)
        while waiting:
            name = waiting.pop()
            asked.add(name)
            segment = self.definitions[f"Segment/{name}"]
            if isinstance(segment, Segment) and segment.when is not None:
                waiting |= self.trigger_of(segment).segments - asked
        return sorted(asked)

    def webhook_of(self, action_map: ActionMap) -> Webhook:
        """The webhook that ``action_map`` fires."""
        webhook = self.definitions[f"Webhook/{action_map.action.webhook}"]
        assert isinstance(webhook, Webhook)
        return webhook

    def data_action_of(self, webhook: Webhook) -> DataAction:
        """The data action of ``webhook``."""
        data_action = self.definitions[f"DataAction/{webhook.data_action}"]
        assert isinstance(data_action, DataAction)
        return data_action


#: A rule looks at a set and finds what nobody can want.
Rule = Callable[[Ruleset], Iterator[Finding]]


def finding(
    definition: Definition, path: str, message: str, severity: Literal["error", "warning"] = "warning"
) -> Finding:
    """What was found at ``path`` of ``definition``."""
    return Finding(message=message, path=path, subject=f"{definition.kind_name} {definition.name}", severity=severity)

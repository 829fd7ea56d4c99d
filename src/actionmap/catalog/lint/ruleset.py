"""Ruleset: a set of definitions that hangs together, as the findings look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

from actionmap.catalog.models import ActionMap, DataAction, Definition, Segment, Webhook
from actionmap.catalog.parse import Definitions
from actionmap.catalog.triggers import Compiled, TriggerCompiler
from actionmap.errors import Finding


class Ruleset:
    """Definitions that compile, with their triggers compiled."""

    def __init__(self, definitions: Definitions, now: int) -> None:
        """``now`` in milliseconds since 1970."""
        self.definitions = definitions
        self.now = now

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
    def triggers(self) -> dict[str, Compiled]:
        """The triggers of the active maps, and of the segments with a ``when``, by the key of their definition."""
        compiler = TriggerCompiler(frozenset(segment.name for segment in self.segments))
        of_maps = {one.key: compiler.compile(one.trigger, "trigger") for one in self.maps}
        in_segments = TriggerCompiler(compiler.segments, in_segment=True)
        return of_maps | {one.key: in_segments.compile(one.when, "when") for one in self.segments if one.when}

    def asked_by(self, action_map: ActionMap) -> list[str]:
        """Names of the segments that ``action_map`` asks, and of those that they ask, sorted."""
        asked: set[str] = set()
        waiting = set(self.triggers[action_map.key].segments)
        while waiting:
            name = waiting.pop()
            asked.add(name)
            inner = self.triggers.get(f"Segment/{name}")
            waiting |= inner.segments - asked if inner is not None else set()
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

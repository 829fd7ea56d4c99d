"""SecondOpinion: action maps compiled to durable-rules, and which of them match an event."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Self

from actionmap.catalog.models import ActionMap
from actionmap.catalog.paths import Scope
from actionmap.second_opinion.attributes import Attribute, Attributes, Facts, facts
from actionmap.second_opinion.forms import OutsideRange
from actionmap.second_opinion.process import Child, Died
from actionmap.second_opinion.rules import ALWAYS, MAX_ALTERNATIVES, MAX_ATTRIBUTES, Rule, translate

#: Maps of one rule set: its nodes, predicates and rules all have limits past which it crashes.
MAX_MAPS = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What durable-rules says of one event."""

    #: Names of the maps that match.
    matching: frozenset[str]
    #: Name of each map of which it says nothing here → why.
    undecided: dict[str, str]


@dataclass(slots=True)
class Shard:
    """The maps of one rule set, by name."""

    rules: dict[str, Rule] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    alternatives: int = 0

    def takes(self, rule: Rule) -> bool:
        """Whether there is room for one more."""
        return (
            len(self.rules) < MAX_MAPS
            and self.alternatives + rule.alternatives <= MAX_ALTERNATIVES
            and len(self.attributes.keys() | rule.attributes.keys()) <= MAX_ATTRIBUTES
        )

    def add(self, name: str, rule: Rule) -> None:
        """Take one more in."""
        self.rules[name] = rule
        self.attributes |= rule.attributes
        self.alternatives += rule.alternatives

    def as_ruleset(self) -> str:
        """The rule set in the engine's JSON; rules are called after the maps."""
        return _written({name: rule.as_definition() for name, rule in self.rules.items()})


def shards_of(rules: dict[str, Rule]) -> Iterator[Shard]:
    """Spread rules over as few rule sets as is safe."""
    shard = Shard()
    for name, rule in rules.items():
        if shard.rules and not shard.takes(rule):
            yield shard
            shard = Shard()
        shard.add(name, rule)
    if shard.rules:
        yield shard


class SecondOpinion:
    """durable-rules in a child process, with the maps that it can say. A context manager: leaving it ends the child."""

    def __init__(self, maps: Sequence[ActionMap]) -> None:
        """Compile ``maps``, which have been through `compile_rulebook`, each by itself at first.

        Raises:
            ActionmapError: durable-rules is not installed.
        """
        #: Name of each map that durable-rules cannot say, or not rightly → why.
        self.outside: dict[str, str] = {}
        self._attributes = Attributes()
        self._ids = count()
        self._shards: list[Shard] = []
        self._child = Child()
        try:
            for shard in shards_of(dict(self._translated(maps))):
                self._take_up(shard)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process."""
        self._child.close()

    def facts(self, scope: Scope) -> Facts:
        """The event in ``scope`` as durable-rules is told it; what happened before is told as our own layer has it."""
        asked = {name: one for shard in self._shards for name, one in shard.attributes.items()}
        return facts(asked.values(), scope)

    def matching(self, event: Facts) -> Answer:
        """Which maps match one event."""
        texts = [self._fact(shard, event) for shard in self._shards]
        try:
            answers = self._child.fired(texts)
        except Died as why:
            answers = [str(why)] * len(texts)
        matching: set[str] = set()
        undecided: dict[str, str] = {}
        for shard, answer in zip(self._shards, answers, strict=True):
            if isinstance(answer, str):
                undecided |= dict.fromkeys(shard.rules, f"durable-rules: {answer}")
                continue
            unsure = _unsure(shard, event)
            undecided |= unsure
            matching.update(name for name in answer if name not in unsure)
        return Answer(frozenset(matching), undecided)

    def _translated(self, maps: Sequence[ActionMap]) -> Iterator[tuple[str, Rule]]:
        for one in maps:
            try:
                rule = translate(one.trigger, self._attributes)
            except OutsideRange as why:
                self.outside[one.name] = str(why)
                continue
            wrong = self._child.attempt(_written({one.name: rule.as_definition()}))
            if wrong is None:
                yield one.name, rule
            else:
                self.outside[one.name] = f"durable-rules cannot make a rule of it: {wrong}"

    def _take_up(self, shard: Shard) -> None:
        """Load ``shard``; where its maps do not stand together, each half of them."""
        ruleset = shard.as_ruleset()
        if self._child.attempt(ruleset) is None:
            self._child.load(ruleset)
            self._shards.append(shard)
            return
        names = list(shard.rules)
        if len(names) == 1:
            self.outside[names[0]] = "durable-rules cannot make a rule set of it, though a rule"
            return
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            smaller = Shard()
            for name in half:
                smaller.add(name, shard.rules[name])
            self._take_up(smaller)

    def _fact(self, shard: Shard, event: Facts) -> str:
        own = {name: event.values[name] for name in shard.attributes if name in event.values}
        return _written({"id": f"e{next(self._ids)}", "sid": "1", ALWAYS: 1, **own})


def _unsure(shard: Shard, event: Facts) -> dict[str, str]:
    """The maps that ask for what could not be told."""
    if event.untold.keys().isdisjoint(shard.attributes):
        return {}
    return {
        name: event.untold[attribute]
        for name, rule in shard.rules.items()
        for attribute in rule.attributes
        if attribute in event.untold
    }


def _written(value: Any) -> str:
    """JSON as the engine reads it: it compares raw bytes, so nothing is escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""actionmap's own index as one of the engines of `matching.py`: real definitions, compiled, and real scopes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

import msgspec
from pydantic import BaseModel

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.models import ActionMap, Definition
from actionmap.catalog.parse import parse_definition
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap
from actionmap.catalog.triggers import TriggerCompiler
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy
from actionmap.decide.observe import observe
from matching_workload import PATHS, SEGMENTS, Tree

_BASE: list[dict[str, Any]] = [
    {"kind": "Integration", "name": "sink", "baseUrl": "https://sink.example.com"},
    {"kind": "DataAction", "name": "send", "integration": "sink", "state": "published",
     "contract": {"input": {"type": "object", "properties": {"visitor": {"type": "string"}}}}},
    {"kind": "Webhook", "name": "hook", "dataAction": "send", "state": "published",
     "mappings": {"visitor": {"lookup": "visitor.id"}}},
    *({"kind": "Segment", "name": name,
       "when": {"key": "visitor.traits.members", "operator": "containsAny", "value": name}} for name in SEGMENTS),
]  # fmt: skip


def definitions(triggers: list[dict[str, Any]]) -> dict[str, Definition]:
    """A map for each trigger, and what they refer to."""
    maps = [
        {"kind": "ActionMap", "name": f"m{position:06}", "trigger": trigger, "action": {"webhook": "hook"}}
        for position, trigger in enumerate(triggers)
    ]
    found = [parse_definition(Document(data=data)) for data in [*_BASE, *maps]]
    return {definition.key: definition for definition in found}


def written(tree: Tree) -> dict[str, Any]:
    """``tree`` as a trigger is written."""
    match tree:
        case ("all" | "any" as kind, parts):
            return {kind: [written(part) for part in parts]}
        case ("not", part):
            return {"not": written(part)}
        case ("segment", name, _):
            return {"segment": name}
    operator, field, value = tree
    if operator == "contains":
        return {"key": PATHS[field], "operator": "containsAny", "value": value, "ignoreCase": True}
    values = list(value) if isinstance(value, tuple) else [value]
    return {"key": PATHS[field], "operator": operator, "values": values}


class Ours:
    """The index and the tests of its candidates; the scopes are made by `observe` before."""

    def __init__(self, trees: list[Tree]) -> None:
        at_page = [{"all": [{"event": "page_viewed"}, written(tree)]} for tree in trees]
        self.rulebook = compile_rulebook(definitions(at_page))
        self.index = self.rulebook.index

    def prepare(self, event: dict[str, Any]) -> Scope:
        own = {name: event[name] for name in ("device", "country", "price", "position", "hour")}
        wire = {
            "eventName": "page_viewed", "visitorId": "v", "searchQuery": event["search"],
            "page": {"url": event["url"], "title": "A page", "lang": event["lang"]},
            "attributes": {**own, "productId": event["product"], "from": event["referrer"], "cartValue": event["cart"]},
            "traits": {"score": event["score"], "members": event["members"]},
        }  # fmt: skip
        parsed = parse_record(Record("events", 0, 0, 1_790_000_000_000, None, msgspec.json.encode(wire))).event
        return observe(None, parsed, self.rulebook, parsed.time, Policy())

    def matching(self, scope: Scope) -> list[CompiledMap]:
        """What is timed: as the engine does it, the trigger is asked only where the index cannot tell."""
        return [one for one, surely in self.index.find(scope) if (surely and one.exact) or one.test(scope)]

    def match(self, scope: Scope) -> list[int]:
        return [int(one.name[1:]) for one in self.matching(scope)]

    def change(self, position: int, tree: Tree) -> None:
        """Parse one map, compile its trigger, and put it into the index."""
        name = f"m{position:06}"
        trigger = {"all": [{"event": "page_viewed"}, written(tree)]}
        data = {"kind": "ActionMap", "name": name, "trigger": trigger, "action": {"webhook": "hook"}}
        changed = parse_definition(Document(data=data))
        assert isinstance(changed, ActionMap)
        compiled = TriggerCompiler(SEGMENTS).compile(changed.trigger, "trigger")
        made = replace(self.rulebook.by_name[name], test=compiled.test, exact=compiled.exact, events=compiled.events)
        self.index = self.index.with_changes((), [(made, compiled.clauses)])

    def index_bytes(self) -> int:
        """What the index alone takes: all that it leads to, but for maps and definitions, which are there anyway."""
        return sum(sys.getsizeof(one) for one in _reached(self.index))


def _reached(root: Any) -> Iterator[Any]:
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, CompiledMap | BaseModel | type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        yield one
        waiting.extend(gc.get_referents(one))

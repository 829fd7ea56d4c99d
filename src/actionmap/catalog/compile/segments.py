"""Segments compiled, in an order in which each comes after those that it asks for."""

from __future__ import annotations

from collections.abc import Mapping

from actionmap.catalog.compile.linked import Linked
from actionmap.catalog.models import ActionMap, Definition, Segment
from actionmap.catalog.models.base import seconds
from actionmap.catalog.rulebook import CompiledSegment
from actionmap.catalog.triggers import Compiled, TriggerCompiler


def compile_segments(linked: Linked, triggers: Mapping[str, Compiled]) -> tuple[CompiledSegment, ...]:
    """The active segments, each after those it asks for; a circle is found and named.

    Args:
        linked: All definitions.
        triggers: The compiled ``when`` of each segment, by its name.
    """
    active = [linked.get(Segment, name) for name in _ordered(linked, triggers)]
    return tuple(_compiled(segment, triggers[segment.name]) for segment in active if segment and segment.active)


def _compiled(segment: Segment, trigger: Compiled) -> CompiledSegment:
    lasts = seconds(segment.expires_after) * 1000 if segment.expires_after else None
    test = trigger.test if segment.when is not None else None
    return CompiledSegment(segment.name, test, lasts, segment.scope == "session")


def _ordered(linked: Linked, triggers: Mapping[str, Compiled]) -> list[str]:
    order: list[str] = []
    state: dict[str, str] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        if state.get(name) == "done" or name not in triggers:
            return
        if state.get(name) == "open":
            circle = " → ".join((*way[way.index(name) :], name))
            linked.found(linked.definitions[f"Segment/{name}"], "when", f"segments ask for each other: {circle}")
            return
        state[name] = "open"
        for asked in sorted(triggers[name].segments):
            visit(asked, (*way, name))
        state[name] = "done"
        order.append(name)

    for name in sorted(triggers):
        visit(name, ())
    return order


def asked_segments(definitions: Mapping[str, Definition], action_map: ActionMap) -> list[str]:
    """Names of the segments that the trigger of ``action_map`` asks, and of those that they ask, sorted."""
    compiler = TriggerCompiler([some.name for some in definitions.values() if isinstance(some, Segment)])
    asked: set[str] = set()
    waiting = set(compiler.compile(action_map.trigger, "trigger").segments)
    while waiting:
        name = waiting.pop()
        asked.add(name)
        segment = definitions[f"Segment/{name}"]
        if isinstance(segment, Segment) and segment.when is not None:
            waiting |= compiler.compile(segment.when, "when").segments - asked
    return sorted(asked)

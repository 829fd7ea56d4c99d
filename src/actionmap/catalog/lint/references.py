"""What is suspicious in segments, webhooks and paths: those that nobody asks, and those that never have a value."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from actionmap.catalog.lint.contradictions import contradiction
from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.catalog.models import DataAction
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import GEOLOCATION
from actionmap.errors import Finding


def segment_never_true(rules: Ruleset) -> Iterator[Finding]:
    """A segment whose conditions cannot hold together."""
    for segment in rules.segments:
        problem = contradiction(rules.trigger_of(segment).clauses) if segment.when else ""
        if segment.active and problem:
            yield finding(segment, "when", f"never has members: {problem}")


def segment_nobody_asks(rules: Ruleset) -> Iterator[Finding]:
    """An active segment that no active map asks, directly or through another one, and no lookup sends."""
    if any(value == "visitor.segments" for one in rules.definitions.values() for _, value in _texts(one.as_written())):
        return
    asked = {name for one in rules.maps for name in rules.asked_by(one)}
    for segment in rules.segments:
        if segment.active and segment.name not in asked:
            yield finding(segment, "name", "no active action map asks it")


def webhook_without_map(rules: Ruleset) -> Iterator[Finding]:
    """A published webhook that no map fires."""
    used = {one.action.webhook for one in rules.maps}
    for webhook in rules.webhooks:
        if webhook.state == "published" and webhook.name not in used:
            yield finding(webhook, "name", "no active action map fires it")


def path_never_set(rules: Ruleset) -> Iterator[Finding]:
    """A path that nothing sets in this installation."""
    answers = [one.response for one in rules.definitions.values() if isinstance(one, DataAction)]
    variables = {name for answer in answers for name in (*answer.variables, *answer.on_failure)}
    for definition in rules.definitions.values():
        for path, value in _texts(definition.as_written()):
            why = _why_never_set(value, variables) if path[-1] in ("key", "lookup") else ""
            if why:
                yield finding(definition, ".".join(map(str, path)), f"{value} is never set: {why}")


def _why_never_set(path: str, variables: Collection[str]) -> str:
    if path in GEOLOCATION:
        return "this version reads no GeoIP database"
    root, _, rest = path.partition("visitor.variables.")
    name = rest.partition(".")[0]
    if root or not name or name in variables:
        return ""
    return f"no data action's response sets the variable {name!r}{nearest(name, variables)}"


def _texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


RULES: tuple[Rule, ...] = (
    segment_never_true,
    segment_nobody_asks,
    webhook_without_map,
    path_never_set,
)

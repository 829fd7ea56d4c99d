"""What a set of definitions compiles to but nobody can want: one small function per finding.

Errors are what compiling finds, and inward base URLs; the rest are warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from actionmap.catalog.addresses import Network, static_findings
from actionmap.catalog.models import ActionMap, Definition, Integration, Segment, Webhook
from actionmap.catalog.parse import Definitions
from actionmap.catalog.paths import GEOLOCATION
from actionmap.catalog.rulebook import asked_segments, compile_rulebook, why_not_live
from actionmap.catalog.triggers import TriggerCompiler
from actionmap.errors import DefinitionError, Finding
from actionmap.event import to_millis, to_rfc3339


def lint(
    definitions: Definitions, *, now: int, allow_hosts: Collection[str] = (), allow_networks: tuple[Network, ...] = ()
) -> list[Finding]:
    """All findings on ``definitions``; ``now`` in milliseconds since 1970."""
    findings = list(_inward_base_url(definitions, allow_hosts, allow_networks))
    try:
        compile_rulebook(definitions)
    except DefinitionError as error:
        # What warns about a set needs one that hangs together.
        return [*error.findings, *findings]
    for rule in _RULES:
        findings.extend(rule(definitions))
    findings.extend(_ended(definitions, now))
    return findings


def _finding(definition: Definition, path: str, message: str, severity: Any = "warning") -> Finding:
    return Finding(message=message, path=path, subject=f"{definition.kind_name} {definition.name}", severity=severity)


def _inward_base_url(
    definitions: Definitions, hosts: Collection[str], networks: tuple[Network, ...]
) -> Iterator[Finding]:
    for integration in definitions.values():
        if isinstance(integration, Integration):
            problem = static_findings(integration.base_url, hosts, networks)
            if problem:
                yield _finding(integration, "baseUrl", problem, "error")


def _not_live(definitions: Definitions) -> Iterator[Finding]:
    """An active map whose webhook would never be sent."""
    for action_map in _maps(definitions):
        webhook = definitions[f"Webhook/{action_map.action.webhook}"]
        assert isinstance(webhook, Webhook)
        reason = why_not_live(definitions, webhook)
        if reason:
            yield _finding(action_map, "action.webhook", f"matches but never fires: {reason}")


def _fires_at_every_event(definitions: Definitions) -> Iterator[Finding]:
    """A map of levels alone, without a cap: it fires at each event as long as they hold."""
    for action_map in _maps(definitions):
        compiled = TriggerCompiler(_segment_names(definitions)).compile(action_map.trigger, "trigger")
        if action_map.frequency == "every" and not compiled.events:
            message = "fires at every event while its conditions hold; add an event leaf, or a cap"
            yield _finding(action_map, "frequency", message)


def _asks_inactive_segment(definitions: Definitions) -> Iterator[Finding]:
    """A trigger that asks a segment without members."""
    for action_map in _maps(definitions):
        for name in asked_segments(definitions, action_map):
            segment = definitions[f"Segment/{name}"]
            if isinstance(segment, Segment) and not segment.active:
                yield _finding(action_map, "trigger", f"asks the segment {name}, which is inactive: it has no members")


def _path_never_set(definitions: Definitions) -> Iterator[Finding]:
    """A path that nothing sets in this installation."""
    for definition in definitions.values():
        for path, value in _texts(definition.as_written()):
            why = _why_never_set(value) if path[-1] in ("key", "lookup") else ""
            if why:
                yield _finding(definition, ".".join(map(str, path)), f"{value} is never set: {why}")


def _why_never_set(path: str) -> str:
    if path in GEOLOCATION:
        return "this version reads no GeoIP database"
    return "no response sets variables in this version" if path.startswith("visitor.variables.") else ""


def _webhook_without_map(definitions: Definitions) -> Iterator[Finding]:
    """A published webhook that no map fires."""
    used = {action_map.action.webhook for action_map in _maps(definitions)}
    for webhook in definitions.values():
        if isinstance(webhook, Webhook) and webhook.state == "published" and webhook.name not in used:
            yield _finding(webhook, "name", "no active action map fires it")


def _ended(definitions: Definitions, now: int) -> Iterator[Finding]:
    """A map whose last day has passed."""
    for action_map in _maps(definitions):
        end = action_map.end_date
        if end is not None and to_millis(end) <= now:
            yield _finding(action_map, "endDate", f"never fires again: it ended at {to_rfc3339(to_millis(end))}")


def _maps(definitions: Definitions) -> list[ActionMap]:
    return [some for some in definitions.values() if isinstance(some, ActionMap) and some.active]


def _segment_names(definitions: Definitions) -> list[str]:
    return [some.name for some in definitions.values() if isinstance(some, Segment)]


def _texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


_RULES: tuple[Callable[[Definitions], Iterator[Finding]], ...] = (
    _not_live,
    _fires_at_every_event,
    _asks_inactive_segment,
    _path_never_set,
    _webhook_without_map,
)

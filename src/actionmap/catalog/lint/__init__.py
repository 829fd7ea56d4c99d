"""What a set of definitions compiles to but nobody can want: one small function per finding.

Errors are what compiling finds, and inward base URLs; the rest are warnings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from actionmap.catalog.addresses import Network, static_findings
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.lint import contracts, maps, outcomes, outranked, references, updates
from actionmap.catalog.lint.ruleset import Ruleset, finding
from actionmap.catalog.models import Integration
from actionmap.catalog.parse import Definitions
from actionmap.errors import DefinitionError, Finding

__all__ = ["lint"]


def lint(
    definitions: Definitions, *, now: int, allow_hosts: Collection[str] = (), allow_networks: tuple[Network, ...] = ()
) -> list[Finding]:
    """All findings on ``definitions``.

    Args:
        definitions: A set, by key ``Kind/name``.
        now: Milliseconds since 1970.
        allow_hosts: Hosts that may be sent to although they are inward.
        allow_networks: Networks likewise.
    """
    findings = list(_inward_base_url(definitions, allow_hosts, allow_networks))
    try:
        compile_rulebook(definitions)
    except DefinitionError as error:
        # What warns about a set needs one that hangs together.
        return [*error.findings, *findings]
    rules = Ruleset(definitions, now)
    parts = (maps, outranked, outcomes, references, updates, contracts)
    every = [rule for part in parts for rule in part.RULES]
    return findings + [found for rule in every for found in rule(rules)]


def _inward_base_url(
    definitions: Definitions, hosts: Collection[str], networks: tuple[Network, ...]
) -> Iterator[Finding]:
    for integration in definitions.values():
        if isinstance(integration, Integration):
            for path, url in integration.urls().items():
                problem = static_findings(url, hosts, networks)
                if problem:
                    yield finding(integration, path, problem, "error")

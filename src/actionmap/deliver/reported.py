"""What an integration is meant to be, and what it is: its reported state, told from all that was noted of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from actionmap.catalog.models import Definition, Integration
from actionmap.store.integrations import IntegrationState

#: ``activating``: it is switched on, and nothing has reached it yet as it is now.
ReportedState = Literal["active", "inactive", "activating", "error"]


class Reported(Struct, frozen=True):
    """How an integration is, whatever its definition says it should be."""

    state: ReportedState
    #: In words for people; "" when there is nothing to say.
    detail: str = ""
    #: Since when, in milliseconds since 1970; None where that is not known.
    since: int | None = None


def edition_of(integration: Integration, version: int) -> str:
    """What tells ``integration`` from what it was before it was changed or switched off, and from a namesake.

    Args:
        integration: As defined now.
        version: The version that is in force.
    """
    stored = msgspec.json.encode(integration.as_stored(), order="deterministic")
    return f"{version}-{sha256(stored).hexdigest()[:12]}"


class HoldsIntegrations(Protocol):
    """Knows the definitions that are in force, and the version of each, by key ``Kind/name``."""

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """The definitions."""

    @property
    def versions(self) -> Mapping[str, int]:
        """Their versions."""


class Editions:
    """The editions that are in force, each computed once."""

    def __init__(self, holds: HoldsIntegrations) -> None:
        self._holds = holds
        self._known: dict[str, tuple[Definition, int, str]] = {}

    def __call__(self, name: str) -> str:
        """The edition of the integration ``name``; "" when there is none."""
        key = f"Integration/{name}"
        integration, version = self._holds.definitions.get(key), self._holds.versions.get(key, 1)
        if not isinstance(integration, Integration):
            return ""
        known = self._known.get(name)
        if known is None or known[0] is not integration or known[1] != version:
            known = self._known[name] = (integration, version, edition_of(integration, version))
        return known[2]


def reported(state: IntegrationState, *, active: bool, edition: str) -> Reported:
    """How an integration is.

    Args:
        state: What was noted of it.
        active: Whether its definition switches it on.
        edition: Which one is in force now (`edition_of`); what was noted of another one counts no more.
    """
    hold, health, probed = state
    if not active:
        return Reported("inactive", "active: false")
    if hold is not None:
        why = f"{hold.kind}: {hold.reason}" if hold.reason else hold.kind
        return Reported("inactive" if hold.kind == "paused" else "error", why, hold.since)
    if health.failing_since is not None and health.failed_as in ("", edition):
        return Reported("error", f"failing: {health.last_error}", health.failing_since)
    proven_at = health.proven_at if health.proven_as == edition else None
    if probed is not None and probed.edition == edition and (proven_at is None or probed.at > proven_at):
        if probed.problem:
            return Reported("error", f"not reached: {probed.problem}", probed.at)
        return Reported("active", "reached by a probe; nothing has been sent yet" if proven_at is None else "",
                        proven_at or probed.at)  # fmt: skip
    if proven_at is not None:
        return Reported("active", "", proven_at)
    return Reported("activating", "nothing has been sent yet, and nobody has probed it")

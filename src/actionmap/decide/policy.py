"""Policy: what decisions depend on beside event, visitor and rulebook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What decisions depend on beside event, visitor and rulebook."""

    company: str = "default"
    session_timeout_ms: int = 20 * 60 * 1000
    allowed_lateness_ms: int = 24 * 3600 * 1000
    #: Added to the due time of absences.
    wait_grace_ms: int = 0

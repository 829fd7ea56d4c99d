"""Settings → Policy: for those who decide live, and for those who try out what would be decided."""

from __future__ import annotations

from actionmap.decide import Policy
from actionmap.settings import Settings


def policy_of(settings: Settings) -> Policy:
    """What decisions depend on beside event, visitor and rulebook, as ``settings`` say."""
    return Policy(
        company=settings.company,
        session_timeout_ms=int(settings.session_timeout * 1000),
        allowed_lateness_ms=int(settings.allowed_lateness * 1000),
        wait_grace_ms=int(settings.wait_grace * 1000),
    )

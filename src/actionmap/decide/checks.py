"""The checks between a match and its firing, in their order (semantics §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import CompiledMap
from actionmap.decide.frequency import firings, words
from actionmap.decision import Reason
from actionmap.event import to_rfc3339

#: Reason and detail of the check that failed.
Obstacle = tuple[Reason, str]


@dataclass(frozen=True, slots=True)
class Match:
    """A map whose trigger holds, and what it is judged by."""

    action_map: CompiledMap
    scope: Scope
    #: Event time, or when the timer was due.
    at: int
    #: Number of the session in which firings are counted.
    session: int


def obstacle(match: Match) -> Obstacle | None:
    """The first check after the trigger that fails; None when all pass."""
    for check in CHECKS.values():
        found = check(match)
        if found is not None:
            return found
    return None


def _live(match: Match) -> Obstacle | None:
    return ("not-live", match.action_map.not_live) if match.action_map.not_live else None


def _dates(match: Match) -> Obstacle | None:
    start, end = match.action_map.start, match.action_map.end
    if start is not None and match.at < start:
        return "outside-dates", f"starts at {to_rfc3339(start)}"
    if end is not None and match.at >= end:
        return "outside-dates", f"ended at {to_rfc3339(end)}"
    return None


def _schedule(match: Match) -> Obstacle | None:
    hours = match.action_map.schedule
    if hours is None or hours.is_open(match.at):
        return None
    opens = hours.next_open(match.at)
    return "outside-schedule", "never opens again" if opens is None else f"opens at {to_rfc3339(opens)}"


def _page_urls(match: Match) -> Obstacle | None:
    includes, excludes = match.action_map.includes, match.action_map.excludes
    if not includes and not excludes:
        return None
    page = match.scope.event.page
    url = page.url if page else None
    if includes and (url is None or not any(test(url) for test in includes)):
        return "page-url", "the page is not among pageUrls.include"
    if url is not None and any(test(url) for test in excludes):
        return "page-url", "the page is among pageUrls.exclude"
    return None


def _frequency(match: Match) -> Obstacle | None:
    cap, visitor = match.action_map.cap, match.scope.visitor
    if cap is None or firings(visitor, match.session, cap, match.at) < cap.max:
        return None
    return "capped", words(visitor, cap, match.at)


def _holdout(match: Match) -> Obstacle | None:
    percent = match.action_map.holdout_percent
    if percent is None or holdout_place(match.action_map.name, match.scope.visitor.id) >= percent:
        return None
    return "holdout", f"held out with {percent:g} % of the visitors"


def holdout_place(action_map: str, visitor_id: str) -> float:
    """Where the visitor stands among all for the holdout of the map: from 0 to below 100, and always the same."""
    digest = blake2b(f"{action_map}\0{visitor_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100


#: The field that is checked → its check, in the order in which they are made.
CHECKS: dict[str, Callable[[Match], Obstacle | None]] = {
    "live": _live,
    "dates": _dates,
    "schedule": _schedule,
    "pageUrls": _page_urls,
    "frequency": _frequency,
    "holdoutPercent": _holdout,
}

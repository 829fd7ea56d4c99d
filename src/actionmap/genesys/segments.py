"""``genesyscloud_journey_segment`` → Segment.

A context is about the visit; each pattern of a journey is about events, and has to match ``count`` times.
"""

from __future__ import annotations

import re
from typing import Any

from actionmap.catalog.models.base import LONGEST_WINDOW, seconds
from actionmap.event import EVENT_NAME_PATTERN, PAGE_VIEWED
from actionmap.genesys import terms
from actionmap.genesys.reading import Resource, block, blocks
from actionmap.genesys.report import Draft, NotImported
from actionmap.genesys.shape import refuse_computed

_KNOWN = frozenset(
    {
        "is_active",
        "display_name",
        "description",
        "scope",
        "context",
        "journey",
        "external_segment",
        "assignment_expiration_days",
        "count",
        "for_each",
    }
)
_MEANINGLESS = frozenset({"color", "should_display_to_agent"})
_MOST_DAYS = seconds(LONGEST_WINDOW) // 86_400


def import_segment(resource: Resource, name: str) -> Draft:
    """The segment that ``resource`` describes, called ``name``.

    Raises:
        NotImported: it cannot be expressed.
    """
    body = resource.body
    refuse_computed(body)
    draft = Draft("Segment", {"name": name, "description": _description(body)}, resource)
    if blocks(body, "external_segment"):
        _external(draft, body)
    else:
        draft.fields["scope"] = _scope(body)
        draft.fields["when"] = _when(draft, body)
    _expire(draft, body)
    terms.tell_left_out(draft, body, _KNOWN, _MEANINGLESS)
    draft.fields["active"] = body.get("is_active", True) is True and not draft.decisions
    return draft


def _description(body: dict[str, Any]) -> str:
    parts = (terms.title(body, "display_name"), terms.title(body, "description"))
    return " – ".join(part for part in parts if part)[:2000]


def _external(draft: Draft, body: dict[str, Any]) -> None:
    if blocks(body, "context") or blocks(body, "journey"):
        raise NotImported("it is assigned by another system and has conditions too; here it is one or the other")
    source = block(body, "external_segment")
    draft.fields["external"] = True
    draft.decide("external", f"{source.get('source', 'another system')} assigned visitors to its segment "
                 f"{str(source.get('name') or source.get('id'))[:200]!r}; have it send PUT and DELETE "
                 f"/api/v1/visitors/{{id}}/segments/{draft.fields['name']}")  # fmt: skip


def _scope(body: dict[str, Any]) -> str:
    # The provider has no scope any more since the service knows none but Session; what expires is of the visitor.
    written = terms.text(body, "scope") or ("Customer" if "assignment_expiration_days" in body else "Session")
    scope = {"Session": "session", "Customer": "visitor"}.get(written)
    if scope is None:
        raise NotImported(f"there is no scope {written!r}")
    return scope


def _when(draft: Draft, body: dict[str, Any]) -> dict[str, Any]:
    triggers = [*_context(draft, body), *_journey(draft, body)]
    if not triggers:
        raise NotImported("it has no context, no journey and no external_segment, so nobody would ever be in it")
    return terms.all_of(triggers)


def _context(draft: Draft, body: dict[str, Any]) -> list[dict[str, Any]]:
    patterns = blocks(block(body, "context"), "patterns")
    made = []
    for criterion in (criterion for pattern in patterns for criterion in blocks(pattern, "criteria")):
        if criterion.get("entity_type", "visit") != "visit":
            raise NotImported(f"a criterion is about a {criterion['entity_type']}, not about a visit")
        made.append(terms.condition(criterion, terms.session_path(terms.text(criterion, "key"))))
    terms.decide_geolocation(draft, [one["key"] for one in made], "when")
    if len(patterns) > 1:
        draft.decide("when", "all patterns of the context have to match here; write any: where one was meant to do")
    return made


def _journey(draft: Draft, body: dict[str, Any]) -> list[dict[str, Any]]:
    patterns = blocks(block(body, "journey"), "patterns")
    if len(patterns) > 1:
        draft.decide("when", "Genesys asks for the patterns of a journey one after the other; a segment counts each, "
                     "in any order. Where order matters, use sequence: in the map")  # fmt: skip
    return [_pattern(draft, pattern) for pattern in patterns]


def _pattern(draft: Draft, pattern: dict[str, Any]) -> dict[str, Any]:
    criteria = blocks(pattern, "criteria")
    names, others = event_names(draft, pattern, criteria, "when")
    where = [terms.condition(one, terms.event_path(terms.text(one, "key"))) for one in others]
    at_least = terms.whole_number(pattern.get("count", 1), "count")
    if not 1 <= at_least <= 10_000:
        raise NotImported(f"a pattern has to match {at_least} times; here it is 1 to 10,000")
    if len(names) > 1 and at_least > 1:
        raise NotImported(f"a pattern counts events of several names together ({', '.join(names)})")
    within = "session" if draft.fields["scope"] == "session" else "lifetime"
    counts = [{"event": name, "where": where, "atLeast": at_least, "within": within} for name in names]
    return terms.any_of([{"count": {key: value for key, value in one.items() if value != []}} for one in counts])


def event_names(
    draft: Draft, written: dict[str, Any], criteria: list[dict[str, Any]], path: str
) -> tuple[list[str], list[dict[str, Any]]]:
    """The events that a pattern or a condition is about, and the criteria that do not say so.

    Raises:
        NotImported: they cannot be named, or are of a kind that is not sent here.
    """
    _check_stream(draft, written, path)
    about = [one for one in criteria if one.get("key") == "eventName"]
    others = [one for one in criteria if one.get("key") != "eventName"]
    names = [terms.text(written, "event_name")] if written.get("event_name") else []
    if about and not names:
        if len(about) > 1 or about[0].get("operator", "equal") != "equal":
            raise NotImported("the names of its events are compared with something else than equal")
        names, about = terms.texts(about[0].get("values"), "values"), []
    if not names:
        names = [PAGE_VIEWED]
        draft.decide(path, f"Genesys names no event for it; {PAGE_VIEWED} was written, put the one that is meant")
    if wrong := [name for name in names if not re.match(EVENT_NAME_PATTERN, name)]:
        raise NotImported(f"{wrong[0]!r} is no name of an event here: letters, digits, _ and dots")
    return names, [*about, *others]


def _check_stream(draft: Draft, written: dict[str, Any], path: str) -> None:
    stream, session = terms.text(written, "stream_type"), terms.text(written, "session_type")
    if stream not in ("", "Web", "App") or session not in ("", "web", "app"):
        raise NotImported(f"it is about events of {stream or session}, not of a website or an app")
    if "App" in stream or session == "app":
        draft.decide(path, "it is about events of an app; have the app send them under the same names")


def _expire(draft: Draft, body: dict[str, Any]) -> None:
    if body.get("assignment_expiration_days") is None:
        return
    days = terms.whole_number(body["assignment_expiration_days"], "assignment_expiration_days")
    if days:
        draft.fields["expiresAfter"] = f"{min(days, _MOST_DAYS)}d"
    if days > _MOST_DAYS:
        draft.decide("expiresAfter", f"it was to last {days} days; {_MOST_DAYS} are the most")

"""``genesyscloud_journey_action_map`` → ActionMap, with the webhook that it fires.

The provider takes ``webchat webMessagingOffer contentOffer architectFlow openAction`` for ``media_type``; the service
also knows ``integrationAction``, the webhook, whose ``IntegrationActionFields`` (integration action, request mappings)
an early SDK published. A flow is not in the resource, but the contract that it is called with is: its request mappings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from actionmap.catalog.models.base import LONGEST_WAIT, seconds
from actionmap.genesys import terms
from actionmap.genesys.reading import Resource, block, blocks
from actionmap.genesys.report import Draft, NotImported
from actionmap.genesys.segments import event_names
from actionmap.genesys.shape import refuse_computed

_KNOWN = frozenset(
    {
        "is_active",
        "display_name",
        "trigger_with_segments",
        "trigger_with_event_conditions",
        "page_url_conditions",
        "activation",
        "weight",
        "trigger_with_outcome_probability_conditions",
        "trigger_with_outcome_quantile_conditions",
        "action",
        "start_date",
        "end_date",
        "trigger_with_outcome_percentile_conditions",
        "action_map_schedule_groups",
        "ignore_frequency_cap",
        "count",
        "for_each",
    }
)
_WHAT_IT_SHOWS = {
    "webchat": "a web chat", "webMessagingOffer": "a messenger's invitation", "contentOffer": "an offer on the page",
    "openAction": "an action of the page's own code",
}  # fmt: skip
_PRIORITIES = {1: "low", 2: "medium", 3: "high"}
_ACTIVATIONS = {"immediate": "immediate", "delay": "delay", "on-next-visit": "onNextVisit",
                "on-next-session": "onNextSession"}  # fmt: skip
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?")


def import_action_map(resource: Resource, name: str, segments: Mapping[str, Draft]) -> Draft:
    """The action map that ``resource`` describes, called ``name``; its webhook is called the same.

    Args:
        resource: What Terraform holds.
        name: Its name here.
        segments: What was imported of segments, by address.

    Raises:
        NotImported: it cannot be expressed.
    """
    body = resource.body
    refuse_computed(body)
    _refuse_outcomes(body)
    media = media_type(resource)
    fields = {"name": name, "description": terms.title(body, "display_name"), "active": False}
    draft = Draft("ActionMap", fields, resource)
    fields["trigger"] = _trigger(draft, body, segments)
    _pages(draft, body)
    _activation(draft, body)
    fields |= _dates(body) | {"priority": _priority(body)}
    if media == "architectFlow" and not body.get("trigger_with_segments"):
        fields["frequency"] = "every"
    fields["action"] = {"webhook": name}
    _tell_what_is_open(draft, body)
    return draft


def media_type(resource: Resource) -> str:
    """What the map does: ``architectFlow`` or ``integrationAction``.

    Raises:
        NotImported: it shows something on the page instead.
    """
    media = terms.text(block(resource.body, "action"), "media_type")
    if media not in ("architectFlow", "integrationAction", "webhook"):
        shows = _WHAT_IT_SHOWS.get(media, "something that is not known here")
        raise NotImported(f"its action is {media or 'missing'}, {shows}; here a map fires a webhook and nothing else")
    return media


def _refuse_outcomes(body: dict[str, Any]) -> None:
    for kind in ("probability", "quantile", "percentile"):
        if blocks(body, f"trigger_with_outcome_{kind}_conditions"):
            raise NotImported("it is triggered by the predicted outcome of a journey, which Genesys itself takes away "
                              "without a replacement; write a trigger on segments or events")  # fmt: skip


def _trigger(draft: Draft, body: dict[str, Any], segments: Mapping[str, Draft]) -> dict[str, Any]:
    by_segment = [_segment(str(one), segments) for one in terms.several(body.get("trigger_with_segments"))]
    by_event = _events(draft, blocks(body, "trigger_with_event_conditions"))
    if by_segment and by_event:
        draft.decide("trigger", "Genesys's own screens let a map ask for segments or for events, not both; here both "
                     "are asked for")  # fmt: skip
    parts = [*([terms.any_of(by_segment)] if by_segment else []), *by_event]
    if not parts:
        raise NotImported("it has no trigger")
    return terms.all_of(parts)


def _segment(written: str, segments: Mapping[str, Draft]) -> dict[str, Any]:
    address = written.removesuffix(".id")
    found = segments.get(address)
    if found is None:
        raise NotImported(f"its segment {written} was not imported, or is not in the files")
    # A map fires once in a session, and for what belongs to the visitor once for each time it is assigned.
    of_visitor = found.fields.get("external") or found.fields["scope"] == "visitor"
    return {"segmentEntered" if of_visitor else "segment": found.fields["name"]}


def _events(draft: Draft, conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    where: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for written in conditions:
        names, others = event_names(draft, written, [written], "trigger")
        asked = where.setdefault(tuple(names), [])
        asked += [terms.condition(one, terms.event_path(terms.text(one, "key"))) for one in others]
    steps = [terms.any_of([_event(name, asked) for name in names]) for names, asked in where.items()]
    if len(steps) < 2:
        return steps
    if any("any" in step for step in steps) or len(steps) > 10:
        raise NotImported("it asks for more events one after the other than a sequence can: ten, of one name each")
    draft.decide("trigger", "Terraform keeps no order of events; the steps of the sequence stand as they were written")
    return [{"sequence": {"steps": steps, "within": "session"}}]


def _event(name: str, where: list[dict[str, Any]]) -> dict[str, Any]:
    return {"event": name, "where": where} if where else {"event": name}


def _pages(draft: Draft, body: dict[str, Any]) -> None:
    include, exclude = [], []
    for written in blocks(body, "page_url_conditions"):
        made = terms.comparison(written)
        contrary = terms.positive(made["operator"])
        if contrary:
            exclude.append(made | {"operator": contrary})
        else:
            include.append(made)
    if not include and not exclude:
        return
    both = {"include": include, "exclude": exclude}
    draft.fields["pageUrls"] = {name: conditions for name, conditions in both.items() if conditions}
    several = ", on any of those in include" if len(include) > 1 else ""
    draft.decide("pageUrls", "Genesys asks them of what is shown on a page only; here the webhook fires on such pages "
                 f"only{several}. Take them out where it fired on every page")  # fmt: skip


def _activation(draft: Draft, body: dict[str, Any]) -> None:
    written = block(body, "activation")
    type_ = _ACTIVATIONS.get(terms.text(written, "type") or "immediate")
    if type_ is None:
        raise NotImported(f"there is no activation {written['type']!r}")
    delay = written.get("delay_in_seconds")
    if type_ != "delay":
        draft.fields["activation"] = {"type": type_}
        return
    wait = terms.whole_number(delay if delay is not None else 0, "delay_in_seconds")
    if wait > seconds(LONGEST_WAIT):
        raise NotImported(f"its delay of {wait} seconds is longer than {LONGEST_WAIT}")
    if wait:
        draft.fields["activation"] = {"type": "delay", "delaySeconds": wait}
    else:
        draft.decide("activation", "it was to wait, and Genesys says no time; it fires at once here")


def _dates(body: dict[str, Any]) -> dict[str, str]:
    """The provider writes times of UTC without their zone."""
    dates = {}
    for theirs, ours in (("start_date", "startDate"), ("end_date", "endDate")):
        written = terms.text(body, theirs)
        if written:
            dates[ours] = written + ("Z" if _LOCAL_TIME.fullmatch(written) else "")
    return dates


def _priority(body: dict[str, Any]) -> str:
    weight = terms.whole_number(body.get("weight", 2), "weight")
    if weight not in _PRIORITIES:
        raise NotImported(f"there is no weight {weight}; it is 1, 2 or 3")
    return _PRIORITIES[weight]


def _tell_what_is_open(draft: Draft, body: dict[str, Any]) -> None:
    if groups := block(body, "action_map_schedule_groups"):
        named = ", ".join(str(group) for group in groups.values())
        draft.decide("schedule", f"it follows {named}, which are not imported; write its opening hours as schedule:")
    if body.get("ignore_frequency_cap") is True:
        draft.decide(
            "frequency",
            "it passed over the organisation's cap on what pages show; write the cap it is to have, or every",
        )
    if body.get("is_active", True) is True:
        draft.decide("active", "it was active at Genesys; set active: true when everything else is decided")
    terms.tell_left_out(draft, body, _KNOWN)
    fields = ("media_type", "architect_flow_fields", "integration_action_fields", "action_template_id")
    terms.tell_left_out(draft, block(body, "action"), fields, ("is_pacing_enabled",))

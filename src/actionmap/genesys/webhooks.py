"""The action of a map → Webhook, and where its data action is not known a draft of that too.

A request mapping is ``name``, ``attribute_type`` (String, Number, Integer, Boolean), ``mapping_type`` (Lookup,
HardCoded) and ``value``, always a text (``requestMappingResource`` of the provider).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from actionmap.catalog.paths import GEOLOCATION
from actionmap.genesys import terms
from actionmap.genesys.action_maps import media_type
from actionmap.genesys.reading import Resource, block, blocks
from actionmap.genesys.report import Draft, NotImported

#: Where requests of a data action go whose address is not known: a name that never resolves (RFC 2606).
NOWHERE = "https://{}.invalid"


def import_webhook(resource: Resource, name: str, data_actions: Mapping[str, Draft], names: terms.Names) -> list[Draft]:
    """The webhook of the action map ``resource``, and the data action and integration that have to be made for it.

    Args:
        resource: The action map.
        name: What the webhook is called.
        data_actions: What was imported of data actions, by address.
        names: The names that are taken.

    Raises:
        NotImported: a mapping cannot be expressed.
    """
    action = block(resource.body, "action")
    draft = Draft("Webhook", {"name": name, "state": "draft"}, resource)
    if media_type(resource) == "architectFlow":
        flow = block(action, "architect_flow_fields")
        written, target = blocks(flow, "flow_request_mappings"), f"the flow {flow.get('architect_flow_id', '')}"
        known = None
    else:
        fields = block(action, "integration_action_fields")
        written = blocks(fields, "request_mappings")
        target = str(fields.get("integration_action_id") or action.get("action_template_id") or "a webhook")
        known = data_actions.get(target.removesuffix(".id"))
    if known is not None:
        return [_mapped(draft, written, known)]
    made = [draft, *_unknown_target(resource, name, written, target, names)]
    draft.fields["dataAction"] = made[-1].fields["name"]
    draft.fields["mappings"] = {terms.text(one, "name"): _mapping(draft, one) for one in written}
    draft.decide(
        "dataAction",
        f"Genesys called {target}, which is not in the files; make it the data action that does its work, publish both",
    )
    return made


def _mapped(draft: Draft, written: list[dict[str, Any]], data_action: Draft) -> Draft:
    mappings = {terms.text(one, "name"): _mapping(draft, one) for one in written}
    for name in data_action.fields["contract"]["input"].get("properties", {}):
        if name not in mappings:
            mappings[name] = {"lookup": f"event.attributes.{name}", "onMissing": "skip"}
            draft.decide(f"mappings.{name}", "Genesys does not say where it comes from; the event's attribute of that "
                         "name was written")  # fmt: skip
    draft.fields |= {"dataAction": data_action.fields["name"], "mappings": mappings}
    draft.decide("state", "publish it, with its data action, when its mappings are right")
    return draft


def _mapping(draft: Draft, written: dict[str, Any]) -> dict[str, Any]:
    value, field = terms.text(written, "value"), terms.text(written, "name")
    type_ = terms.json_type(written.get("attribute_type"))
    if written.get("mapping_type") == "HardCoded":
        return {"value": _typed(value, type_)}
    if written.get("mapping_type") != "Lookup":
        raise NotImported(f"there is no mapping_type {written.get('mapping_type')!r}; it is Lookup or HardCoded")
    try:
        path = terms.lookup_path(value)
    except NotImported as why:
        guess = f"event.attributes.{terms.slug(field) or 'unknown'}"
        draft.decide(f"mappings.{field}", f"{why}; {guess} was written, put what is to be sent")
        return {"lookup": guess}
    if path in GEOLOCATION:
        draft.decide(f"mappings.{field}", f"{path} is never set, because no GeoIP database is read")
    return {"lookup": path}


def _typed(value: str, type_: str) -> Any:
    if type_ == "string":
        return value
    try:
        made = json.loads(value)
    except ValueError:
        made = None
    if isinstance(made, bool) != (type_ == "boolean") or not isinstance(made, int | float):
        raise NotImported(f"the value {value!r} is no {type_}")
    return made


def _unknown_target(
    resource: Resource, name: str, written: list[dict[str, Any]], target: str, names: terms.Names
) -> list[Draft]:
    properties = {terms.text(one, "name"): {"type": terms.json_type(one.get("attribute_type"))} for one in written}
    to = names.take("Integration", name)[0]
    fields = {"name": to, "baseUrl": NOWHERE.format(terms.host_label(to)), "active": False}
    integration = Draft("Integration", fields, resource)
    integration.decide("baseUrl", f"put where {target} sent its requests, auth with it, and set active: true")
    contract = {"input": {"type": "object", "properties": properties}}
    called = names.take("DataAction", name)[0]
    fields = {"name": called, "integration": to, "state": "draft", "contract": contract}
    data_action = Draft("DataAction", fields, resource)
    data_action.decide(
        "request", f"write the request that {target} made; without a body it is the object of its fields"
    )
    return [integration, data_action]

"""``genesyscloud_integration_action``, and exports of data actions → DataAction, and the Integration it goes to."""

from __future__ import annotations

import json
from typing import Any

from actionmap.catalog.answer_paths import BadAnswerPath, compile_answer_path
from actionmap.catalog.contracts import contract_problems
from actionmap.catalog.models import Contract
from actionmap.catalog.models.headers import DELIVERY_HEADERS, HTTP_HEADERS
from actionmap.genesys import credentials, terms
from actionmap.genesys.hcl import BadSource, Expression, read_json
from actionmap.genesys.integrations import Integrations, Target
from actionmap.genesys.reading import Resource, block, blocks
from actionmap.genesys.report import Draft, NotImported
from actionmap.genesys.shape import refuse_computed
from actionmap.genesys.velocity import (
    RAW,
    Untranslatable,
    finished,
    json_body,
    marked,
    pairs,
    quoted_fields,
    translated,
)

_KNOWN = frozenset(
    {
        "name",
        "contract_input",
        "contract_output",
        "config_request",
        "config_response",
        "config_timeout_seconds",
        "function_config",
        "count",
        "for_each",
        "integration_type",
    }
)
_MEANINGLESS = frozenset({"category", "secure", "integration_id"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def import_data_action(resource: Resource, name: str, integrations: Integrations) -> Draft:
    """The data action that ``resource`` describes, called ``name``; its integration is one of ``integrations``.

    Raises:
        NotImported: it cannot be expressed.
    """
    body = resource.body
    refuse_computed(body)
    if blocks(body, "function_config") or "function" in terms.text(body, "integration_type"):
        raise NotImported("it runs a function of one's own at Genesys; here a data action is an HTTP request")
    fields: dict[str, Any] = {"name": name, "description": terms.title(body, "name")}
    draft = Draft("DataAction", fields, resource)
    fields["state"] = "draft"
    fields["contract"] = _contract(body)
    request = block(body, "config_request")
    target = _address(draft, terms.text(request, "request_url_template"))
    headers = _headers(draft, request, target)
    for left_out in target.params_left_out:
        draft.decide(
            "request.params", f"{left_out} held a credential and was left out; a query holds no secrets, use auth"
        )
    made = {"method": _method(request), **target.request, **_body(draft, request, headers), **_timeout(body)}
    fields["request"] = made | ({"headers": headers} if headers else {})
    # Last of what may fail, so that no integration is made for what is not imported.
    fields["integration"] = integrations.of(target, resource).fields["name"]
    _response(draft, block(body, "config_response"))
    draft.decide("state", "try it out (actionmap webhooks test), then write state: published")
    terms.tell_left_out(draft, body, _KNOWN, _MEANINGLESS)
    return draft


def _contract(body: dict[str, Any]) -> dict[str, Any]:
    # Without a type a schema takes anything, and what is sent is an object.
    made = {"input": {"type": "object", **_schema(body, "contract_input")}, "output": _schema(body, "contract_output")}
    if problems := contract_problems(Contract.model_validate(made)):
        raise NotImported("; ".join(f"{path}: {message}" for path, message in problems))
    return made


def _schema(body: dict[str, Any], name: str) -> dict[str, Any]:
    written = body.get(name)
    if isinstance(written, str):
        try:
            written = read_json(written)
        except BadSource as error:
            raise NotImported(f"{name}: {error}") from None
    if not isinstance(written, dict) or _is_computed(written):
        raise NotImported(f"{name} is not written out, and nothing is computed here")
    return written


def _is_computed(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_computed, value.values()))
    return any(map(_is_computed, value)) if isinstance(value, list) else isinstance(value, Expression)


def _method(request: dict[str, Any]) -> str:
    method = terms.text(request, "request_type").upper()
    if method not in ("GET", "PUT", "POST", "PATCH", "DELETE"):
        raise NotImported(f"its request_type is {method or 'missing'}, none of GET, PUT, POST, PATCH and DELETE")
    return method


def _address(draft: Draft, template: str) -> Target:
    """Where it goes; a template that cannot be taken apart is left open, with its text."""
    try:
        return Target.of(marked(template), template)
    except Untranslatable as why:
        draft.decide("request.path", f"{why}; write path and params by hand: {credentials.without_query(template)}")
        return Target.of("", template)


def _headers(draft: Draft, request: dict[str, Any], target: Target) -> dict[str, str]:
    """The headers that stay; the credentials among them become the integration's."""
    made: dict[str, str] = {}
    for name, value in block(request, "headers").items():
        if credentials.is_credential(name, str(value)):
            target.credential(draft, name, str(value))
            continue
        if isinstance(value, Expression) or name.lower() in HTTP_HEADERS | DELIVERY_HEADERS:
            why = "is computed" if isinstance(value, Expression) else "is set by the delivery itself"
            draft.decide("request.headers", f"the header {name} {why}, and was left out")
            continue
        try:
            made[name] = translated(str(value))
        except Untranslatable as why:
            draft.decide(f"request.headers.{name}", f"{why}; the header was left out, write it by hand")
    return made


def _timeout(body: dict[str, Any]) -> dict[str, int]:
    if body.get("config_timeout_seconds") is None:
        return {}
    return {"timeoutSeconds": terms.whole_number(body["config_timeout_seconds"], "config_timeout_seconds")}


def _body(draft: Draft, request: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    template = terms.text(request, "request_template").strip()
    if not template or template in RAW:
        return {}
    if _method(request) not in _WITH_BODY:
        draft.decide(
            "request.body", f"{_method(request)} has no body here; see request_template in {draft.source.file}"
        )
        return {}
    header = next((name for name in headers if name.lower() == "content-type"), "")
    type_ = headers.get(header, "").lower()
    try:
        if "x-www-form-urlencoded" in type_:
            made = {"contentType": "formEncoded", "body": _without_credentials(draft, pairs(marked(template)))}
        elif "xml" in type_ or template.startswith("<"):
            return {"contentType": "xml", "body": finished(marked(template))}
        else:
            made = {"body": _without_credentials(draft, json_body(template))}
            _tell_quoted(draft, template)
    except Untranslatable as why:
        draft.decide(
            "request.body",
            f"{why}; it was left out, so all fields would be sent; see request_template in {draft.source.file}",
        )
        return {}
    if type_.startswith(("application/json", "application/x-www-form-urlencoded")):
        del headers[header]
    return made


def _without_credentials(draft: Draft, body: Any) -> Any:
    """``body`` without what is written out under the name of a credential; a body holds no references to secrets."""
    if isinstance(body, list):
        return [_without_credentials(draft, inner) for inner in body]
    if not isinstance(body, dict):
        return body
    made = {}
    for name, value in body.items():
        if isinstance(value, str) and "{{" not in value and credentials.is_credential(name, value):
            draft.decide(
                "request.body", f"{name} held a credential and was left out; a body holds no secrets, use auth"
            )
        else:
            made[name] = _without_credentials(draft, value)
    return made


def _tell_quoted(draft: Draft, template: str) -> None:
    properties = draft.fields["contract"]["input"].get("properties", {})
    for name in sorted(quoted_fields(template)):
        if "string" not in properties.get(name, {}).get("type", "string"):
            draft.decide("request.body", f"{name} stood in quotes and was sent as a text; here it keeps its type")


def _response(draft: Draft, response: dict[str, Any]) -> None:
    variables = {}
    for name, path in block(response, "translation_map").items():
        try:
            compile_answer_path(str(path))
            variables[terms.variable(name)] = str(path)
        except BadAnswerPath as why:
            draft.decide("response.variables", f"{name} was left out: {why}")
    if variables:
        draft.fields["response"] = {"variables": variables}
        draft.decide("response.variables", "they become variables of the visitor (visitor.variables.…), shared by all "
                     "data actions; keep those that a map or a lookup needs")  # fmt: skip
    if defaults := block(response, "translation_map_defaults"):
        draft.decide("response.variables", "a variable whose path leads to nothing is null; the defaults were "
                     f"{json.dumps(defaults, default=str)[:300]}: give them in the lookup, as default:")  # fmt: skip
    template = response.get("success_template")
    if template is not None and str(template).strip() not in ("", "${rawResult}", "$rawResult", "$!{rawResult}"):
        draft.notes.append(
            f"left out: success_template, since nobody here reads a data action's output: {str(template)[:200]}"
        )

"""What OpenAPI says of a route: the right that it takes, what it answers, what it reads, and how it may refuse."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from actionmap.collect.problem import PROBLEM_SCHEMA, documented

Schema = dict[str, Any]
_SCHEMAS = "#/components/schemas/"
_REFERRED: dict[str, type[BaseModel]] = {}
#: How any route may refuse, and how one that reads a body may.
_ALWAYS, _WITH_BODY = (401, 403, 422, 429, 503), (400, 408, 413, 415)
_PROBLEMS: dict[int, dict[str, Any]] = {
    400: documented(400, "The request is not as it is described; `errors` names the field.", "the body is no JSON: …"),
    401: documented(401, "No API key, or one that nobody knows.", "send an API key: Authorization: Bearer <key>"),
    403: documented(403, "The key lacks a right, or is for another company; or a page of another site asks.",
                    "this key has no right to edit"),
    404: documented(404, "There is none, or none that the key may see.", "there is no Webhook 'tell-crn'; tell-crm?"),
    408: documented(408, "The body came too slowly.", "the body did not come within 10 s"),
    409: documented(409, "What there is now does not allow it.", "Webhook 'tell-crm' is used by ActionMap hot-lead"),
    412: documented(412, "It has another version than If-Match, or `version` in the body, names.",
                    "Webhook 'tell-crm' is at version 4 by now; read it again"),
    413: documented(413, "The body is too large.", "the body is larger than 16,777,216 bytes"),
    415: documented(415, "The body is not declared as JSON, or it is compressed.",
                    "send JSON, as Content-Type: application/json"),
    422: documented(422, "Fields are wrong, or parameters, each named in `errors`.",
                    "query.limit: Input should be a valid integer",
                    errors=[{"path": "query.limit", "message": "Input should be a valid integer"}]),
    428: documented(428, "The server wants If-Match (`ACTIONMAP_REQUIRE_IF_MATCH`).",
                    "send If-Match with the version (ETag) that you have read"),
    429: documented(429, "Too many requests; see Retry-After.", "too many requests; wait as Retry-After says"),
    503: documented(503, "The store, or Kafka where it is needed, does not answer; see Retry-After. To a change also, "
                    "without that header: the stored definitions are of no use to this version of actionmap.",
                    "Redis does not answer"),
}  # fmt: skip
_KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer KEY`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    "basic": {"type": "http", "scheme": "basic", "description": "An API key as user name; for events alone."},
    "queryKey": {"type": "apiKey", "in": "query", "name": "key", "description": "An API key; for events alone."},
}


def refer(model: type[BaseModel]) -> Schema:
    """A reference to the schema of ``model``, which `complete` puts into the document."""
    known = _REFERRED.setdefault(model.__name__, model)
    assert known is model, f"two models are called {model.__name__}"
    return named(model.__name__)


def named(name: str) -> Schema:
    """A reference to the schema called ``name``."""
    return {"$ref": _SCHEMAS + name}


def many(items: Schema, description: str = "") -> Schema:
    """The schema of a list of ``items``."""
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def body(schema: Schema, example: Any, *types: str) -> dict[str, Any]:
    """What OpenAPI says of a JSON body that is required; ``types``: those it may be declared as."""
    content = {"schema": schema, "example": _carried(example)}
    return {"required": True, "content": dict.fromkeys(types or ("application/json",), content)}


def operation(
    right: str,
    answer: Schema | None,
    example: Any = None,
    *,
    status: int = 200,
    reads: dict[str, Any] | None = None,
    problems: Iterable[int] = (),
    own: Iterable[dict[str, Any]] = (),
    headers: dict[str, Any] | None = None,
    parameters: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """How a route of FastAPI is described: what its decorator takes beside path and summary.

    Args:
        right: What the key has to have.
        answer: Schema of what it answers; None for nothing.
        example: Of it.
        status: Of it.
        reads: Its body (`body`).
        problems: Statuses with which it may refuse, beside those with which every route may.
        own: Problems of which more is said than what leads to them everywhere (`documented`).
        headers: Of the answer.
        parameters: That are read of the request without FastAPI's doing.
    """
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if answer is not None:
        told["content"] = {"application/json": {"schema": answer, "example": _carried(example)}}
    if headers:
        told["headers"] = headers
    statuses = {*_ALWAYS, *problems, *(_WITH_BODY if reads else ())}
    responses = {status: told, **{number: _problem(number) for number in sorted(statuses)}}
    responses |= {_status(one): one for one in own}
    extra: dict[str, Any] = {"security": _KEYS, "x-right": right}
    if reads:
        extra["requestBody"] = reads
    if parameters:
        extra["parameters"] = list(parameters)
    return {"status_code": status, "responses": responses, "openapi_extra": extra}


def _carried(example: Any) -> str:
    """``example`` as text, until `complete`: FastAPI takes every null out of what it is given."""
    return msgspec.json.encode(example).decode()


def _problem(status: int) -> dict[str, Any]:
    """A reference to what is said of it once."""
    return {"$ref": f"#/components/responses/{_name(status)}", "description": _PROBLEMS[status]["description"]}


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _status(described: dict[str, Any]) -> int:
    (content,) = described["content"].values()
    return int(content["example"]["status"])


def complete(document: Schema, schemas: Schema) -> Schema:
    """``document``, as FastAPI makes it, with all that its routes refer to; ``schemas`` are further ones."""
    components = document.setdefault("components", {})
    _, found = models_json_schema(
        [(model, "validation") for model in _REFERRED.values()], ref_template=_SCHEMAS + "{model}"
    )
    ours = {"Problem": PROBLEM_SCHEMA, **found.get("$defs", {}), **schemas}
    components["schemas"] = {**_without_its_own(components.get("schemas", {})), **ours}
    components["responses"] = {_name(status): described for status, described in _PROBLEMS.items()}
    components["securitySchemes"] = _SECURITY_SCHEMES
    for path in document["paths"].values():
        for one in path.values():
            _tell_right(one)
            _drop_default_problem(one)
            for content in (one.get("requestBody", {}), *one["responses"].values()):
                _put_examples(content.get("content", {}))
    return document


def _tell_right(described: Schema) -> None:
    if right := described.get("x-right"):
        said = described.get("description", "")
        described["description"] = f"{said}\n\nTakes the right {right}.".strip()


def _put_examples(by_type: Schema) -> None:
    for type_, content in by_type.items():
        if type_.endswith("json") and isinstance(content.get("example"), str):
            content["example"] = msgspec.json.decode(content["example"])


#: FastAPI's words for a request that is not as described; ours are `Problem`.
_NOT_OURS = ("HTTPValidationError", "ValidationError")


def _without_its_own(schemas: Schema) -> Schema:
    return {name: schema for name, schema in schemas.items() if name not in _NOT_OURS}


def _drop_default_problem(described: Schema) -> None:
    """A path with a text in it cannot be wrong, whatever FastAPI says."""
    content = described["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if content.get("schema") == named(_NOT_OURS[0]):
        del described["responses"]["422"]

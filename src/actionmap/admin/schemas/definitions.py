"""The five kinds of definition as REST reads and answers them; their schemas come from the models they are read by."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.json_schema import models_json_schema

from actionmap.admin.definition_json import LIFECYCLE_FIELDS
from actionmap.admin.describe import Schema, many, named, refer
from actionmap.admin.schemas import EXAMPLE_TIME, Asked, Shown
from actionmap.admin.schemas.operations import INTEGRATION_STATE, ShownReported
from actionmap.catalog.lifecycle import Action
from actionmap.catalog.models import KINDS, Name

_CONTRACT = {"type": "object", "required": ["email"], "properties": {"email": {"type": "string", "format": "email"}}}
#: Kind → a definition as its author writes it.
EXAMPLES: dict[str, dict[str, Any]] = {
    "Integration": {
        "kind": "Integration", "name": "crm", "baseUrl": "https://crm.example.com",
        "auth": {"type": "bearer", "token": "${ACTIONMAP_SECRET_CRM}"}, "limits": {"ratePerSecond": 50},
    },
    "DataAction": {
        "kind": "DataAction", "name": "create-lead", "integration": "crm", "state": "published",
        "contract": {"input": _CONTRACT}, "request": {"method": "POST", "path": "/leads"},
    },
    "Webhook": {
        "kind": "Webhook", "name": "tell-crm", "dataAction": "create-lead", "state": "published",
        "mappings": {"email": {"lookup": "visitor.traits.email", "onMissing": "skip"}},
    },
    "Segment": {
        "kind": "Segment", "name": "regular",
        "when": {"key": "visitor.sessionCount", "operator": "greaterThan", "value": 3},
    },
    "ActionMap": {
        "kind": "ActionMap", "name": "hot-lead", "trigger": {"event": "pricing_viewed"},
        "frequency": {"max": 1, "per": "session"}, "action": {"webhook": "tell-crm"},
    },
}  # fmt: skip
_ADDED = {
    "version": 4, "inForceVersion": 4, "draft": None, "updatedAt": EXAMPLE_TIME, "updatedBy": "deploy-pipeline",
}  # fmt: skip
_STATES = {"intendedState": "active", "reportedState": INTEGRATION_STATE["reportedState"]}
#: Header that every answer with one definition has, and the one that a change may name it in.
ETAG = {
    "ETag": {"schema": {"type": "string"}, "required": True, "description": 'The version, in quotes, such as `"4"`.'}
}
IF_MATCH = {
    "name": "If-Match", "in": "header", "schema": {"type": "string"}, "example": '"4"',
    "description": "The ETag that was read: done only if the definition still has that version. `*`: any.",
}  # fmt: skip


def held_example(kind: str) -> dict[str, Any]:
    """A definition as the server answers it."""
    in_use = {} if "state" in EXAMPLES[kind] else {"active": True}
    return {**EXAMPLES[kind], **in_use, "company": "default", **_ADDED, **(_STATES if kind == "Integration" else {})}


def page_schema(kind: str) -> Schema:
    """A page of a list of definitions."""
    following = {"type": ["string", "null"], "description": "What `after` is for the next page; null on the last one."}
    total = {"type": "integer", "minimum": 0, "description": "How many there are on all pages."}
    items = many(named(f"Held{kind}"), "The definitions of this page.")
    return _object({"items": items, "next": following, "total": total})


def definition_schemas() -> Schema:
    """Name → schema, of each kind as its author writes it, and of what is made of that."""
    _, found = models_json_schema(
        [(model, "validation") for model in KINDS.values()], ref_template="#/components/schemas/{model}"
    )
    schemas: Schema = dict(found["$defs"])
    for kind in KINDS:
        schemas |= _forms(kind, schemas[kind])
    schemas["AnyDefinition"] = {
        "description": "A definition of any kind, which it names.",
        "anyOf": [named(kind) for kind in KINDS],
    }
    return schemas


def _forms(kind: str, model: Schema) -> Schema:
    fields = {"kind": {"const": kind, "description": "The kind."}, **model["properties"]}
    server = _server_fields(kind)
    needed = model.get("required", [])
    in_use = [name for name in LIFECYCLE_FIELDS if name in fields]
    written = {**model, "properties": fields}
    held = {**written, "properties": {**fields, **server}, "required": ["kind", *needed, *in_use, "company", *server],
            "description": f"{model['description']} With what the server adds to it."}  # fmt: skip
    replacing = {**written, "properties": {**fields, **server}, "required": [name for name in needed if name != "name"],
                 "description": f"{model['description']} Without its name, that of the URL is meant."}  # fmt: skip
    return {kind: written, f"Held{kind}": held, f"{kind}Replacement": replacing, f"{kind}Patch": _patch(kind, fields)}


def _patch(kind: str, fields: Schema) -> Schema:
    changed = {name: _changed(one) for name, one in fields.items()}
    version = {"type": "integer", "description": "The version that it is made from; another one is refused."}
    return {
        "type": "object",
        "description": f"What changes of the {kind}: of an object in it, too, only the fields that are named.",
        "properties": {**changed, "version": version},
    }


def _changed(field: Schema) -> Schema:
    """What may become of a field: of an object, any part of it, so that of its own schema only its type is left."""
    told = {"description": f"{field['description']} Null removes it."}
    forms = field.get("anyOf", [field])
    plain = [{name: value for name, value in form.items() if name not in ("default", "description", "title")}
             for form in forms if not _is_object(form)]  # fmt: skip
    is_part = [{"type": "object", "description": "What changes of it."}] if len(plain) < len(forms) else []
    null = [] if {"type": "null"} in plain else [{"type": "null"}]
    return {**told, "anyOf": [*plain, *is_part, *null]}


def _is_object(form: Schema) -> bool:
    return "$ref" in form or "oneOf" in form or form.get("type") == "object"


def _server_fields(kind: str) -> Schema:
    """What the server adds; in a body only `version` counts."""
    number = {"type": "integer", "minimum": 1}
    states = {
        "intendedState": {"enum": ["active", "inactive"], "readOnly": True, "description": "What it is meant to be."},
        "reportedState": {
            "allOf": [refer(ShownReported)], "readOnly": True,
            "description": "What it is, going by its deliveries and probes.",
        },
    }  # fmt: skip
    return {
        **(states if kind == "Integration" else {}),
        "version": {**number, "description": "Counts its writes. In a body: the one that it is made from."},
        "inForceVersion": {
            "anyOf": [number, {"type": "null"}], "readOnly": True,
            "description": "The version of what is in force, which is an older one where a draft stands beside it.",
        },
        "draft": {
            "anyOf": [named(kind), {"type": "null"}], "readOnly": True,
            "description": "The draft beside what is in force; null without one.",
        },
        "updatedAt": {
            "type": ["string", "null"], "format": "date-time", "readOnly": True,
            "description": "When it was written last; null where that is not known.",
        },
        "updatedBy": {
            "type": ["string", "null"], "readOnly": True,
            "description": "The API key that wrote it; null where that is not known.",
        },
    }  # fmt: skip


def _object(properties: Schema) -> Schema:
    return {
        "type": "object", "required": list(properties), "properties": properties, "additionalProperties": False,
    }  # fmt: skip


class Duplicate(Asked):
    """What the duplicate is called."""

    name: Name
    """Its name, which none of its kind has."""


def version_schema(kind: str) -> Schema:
    """One version of a definition."""
    return _object({
        "version": {"type": "integer", "minimum": 1, "description": "Its number."},
        "at": {"type": ["string", "null"], "format": "date-time", "description": "When it was written."},
        "by": {"type": ["string", "null"], "description": "The API key that wrote it."},
        "action": {"enum": list(Action.__args__), "description": "What was done."},  # type: ignore[attr-defined]
        "isInForce": {"type": "boolean", "description": "Whether it is what holds now."},
        "definition": {
            "anyOf": [named(kind), {"type": "null"}],
            "description": "What it said; null where this version of actionmap does not read it any more.",
        },
    })  # fmt: skip


def versions_schema(kind: str) -> Schema:
    """A page of versions."""
    following = {"type": ["integer", "null"], "description": "What `before` is for the next page; null on the last."}
    return _object({"items": many(version_schema(kind), "The versions, the newest first."), "next": following})


def version_example(kind: str) -> dict[str, Any]:
    """One version."""
    return {
        "version": 4, "at": EXAMPLE_TIME, "by": "deploy-pipeline", "action": "change", "isInForce": True,
        "definition": {**EXAMPLES[kind], "company": "default"},
    }  # fmt: skip


class Difference(Shown):
    """What is different between two versions."""

    from_: Annotated[int, Field(alias="from")]
    """The number of the one."""
    to: int
    """The number of the other."""
    diff: list[str]
    """A unified difference of their YAML, line by line; empty where they are the same."""

"""The OpenAPI document: every operation, field, example and problem of collector, REST, health and metrics."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from test_admin import Server

Found = dict[str, Any]
METHODS = ("get", "put", "post", "patch", "delete")
#: Without a key.
OPEN = ("/health/live", "/health/ready", "/metrics")
JSON = "application/json"


@pytest.fixture(scope="module")
def document() -> Found:
    return Server().app.openapi()


def operations(document: Found) -> Iterator[tuple[str, str, Found]]:
    for path, of_path in document["paths"].items():
        for method, operation in of_path.items():
            assert method in METHODS
            yield f"{method.upper()} {path}", path, operation


def resolved(document: Found, some: Found) -> Found:
    while "$ref" in some:
        place: Any = document
        for part in some["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        some = place
    return some


def answers(document: Found, operation: Found) -> dict[int, Found]:
    return {int(status): resolved(document, one) for status, one in operation["responses"].items()}


def says_something(schema: Found) -> bool:
    """Whether ``schema`` is more than any object."""
    return bool({"$ref", "anyOf", "oneOf", "properties", "items"} & schema.keys()) or schema.get("type") == "string"


def undescribed(schema: Any, place: str) -> Iterator[str]:
    """Where ``schema`` has a field of which nothing is said."""
    if isinstance(schema, list):
        for number, one in enumerate(schema):
            yield from undescribed(one, f"{place}.{number}")
    elif isinstance(schema, dict):
        fields = schema.get("properties", {})
        for name, field in fields.items() if isinstance(fields, dict) else ():
            if not field.get("description"):
                yield f"{place}.{name}"
        for name, one in schema.items():
            if name not in ("example", "examples", "default", "enum", "const"):
                yield from undescribed(one, f"{place}.{name}")


async def test_head_is_answered_as_get_without_a_body_and_an_unknown_method_names_those_that_are():
    server = Server()
    headers = {"Authorization": "Bearer key-all"}
    head = await server.raw("HEAD", "/api/v1/segments", headers)
    assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", JSON)
    assert (await server.raw("HEAD", "/api/v1/segments", {})).status_code == 401
    other = await server.raw("OPTIONS", "/api/v1/status", headers)
    assert (other.status_code, other.headers["allow"]) == (405, "GET")


def test_every_operation_says_what_it_is_and_what_it_answers(document: Found):
    wrong = []
    for name, _, operation in operations(document):
        if not (operation.get("summary") and operation.get("description") and operation.get("operationId")):
            wrong.append(f"{name}: no summary, description or id")
        good = {status: one for status, one in answers(document, operation).items() if status < 300}
        if not good:
            wrong.append(f"{name}: no answer")
        for status, one in good.items():
            contents = one.get("content", {})
            if status != 204 and not contents:
                wrong.append(f"{name}: nothing is said of {status}")
            wrong += [f"{name}: {status} is any object" for content in contents.values()
                      if not says_something(content["schema"])]  # fmt: skip
            wrong += [f"{name}: {status} has no example" for content in contents.values() if "example" not in content]
    assert wrong == []


def test_every_refusal_is_a_problem_with_an_example(document: Found):
    wrong = []
    for name, path, operation in operations(document):
        found = answers(document, operation)
        needed = set() if path in OPEN else {401, 403, 429, 503}
        reads = "requestBody" in operation or operation.get("parameters")
        if path not in OPEN and "{" in path and path.startswith("/api"):
            needed |= {404, 422} & ({404} if path.count("{") else set())
        wrong += [f"{name}: {status} is missing" for status in sorted(needed - found.keys())
                  if not (status == 404 and "visitors" in path)]  # fmt: skip
        if reads and not {400, 404, 422} & found.keys():
            wrong.append(f"{name}: says nothing of what is wrong with a request")
        for status, one in found.items():
            if status >= 400 and path not in OPEN:
                content = one["content"]["application/problem+json"]
                if content["schema"] != {"$ref": "#/components/schemas/Problem"} or "example" not in content:
                    wrong.append(f"{name}: {status} is no problem with an example")
    assert wrong == []


def test_every_field_of_every_schema_and_parameter_is_described(document: Found):
    missing = list(undescribed(document["components"]["schemas"], "schemas"))
    for name, _, operation in operations(document):
        missing += undescribed(operation.get("requestBody"), name)
        missing += undescribed(operation["responses"], name)
        missing += [f"{name}: {one['name']}" for one in operation.get("parameters", []) if not one.get("description")]
    assert missing == []


def test_every_body_has_a_schema_and_an_example(document: Found):
    wrong = [
        f"{name}: {type_}"
        for name, _, operation in operations(document)
        for type_, content in operation.get("requestBody", {}).get("content", {}).items()
        if not says_something(content["schema"]) or not {"example", "examples"} & content.keys()
    ]
    assert wrong == []


def test_every_example_is_what_its_schema_says(document: Found):
    wrong = []
    for name, _, operation in operations(document):
        contents = [("body", operation.get("requestBody", {}).get("content", {}))]
        contents += [(str(status), one.get("content", {})) for status, one in answers(document, operation).items()]
        for what, by_type in contents:
            for type_, content in by_type.items():
                if not type_.endswith("json"):
                    continue
                schema = {**content["schema"], "components": document["components"]}
                examples = [content["example"]] if "example" in content else [
                    one["value"] for one in content["examples"].values()
                ]  # fmt: skip
                check = jsonschema_rs.Draft202012Validator(schema)
                wrong += [
                    f"{name} {what}: {error.message[:200]}" for one in examples for error in check.iter_errors(one)
                ]
    assert wrong == []


def test_the_rights_and_the_ways_to_send_a_key_are_told(document: Found):
    schemes = document["components"]["securitySchemes"]
    for name, path, operation in operations(document):
        if path.startswith("/api/"):
            assert operation["x-right"] in operation["description"], name
        if path not in OPEN:
            assert {scheme for one in operation["security"] for scheme in one} <= schemes.keys(), name


@pytest.mark.parametrize(
    ("path", "method", "right"),
    [
        ("integrations", "post", "`edit` and `publish`"),
        ("integrations/{name}", "put", "`edit` and `publish`"),
        ("integrations/{name}", "delete", "`edit` and `publish`"),
        ("integrations/{name}/duplicate", "post", "`edit` and `publish`"),
        ("integrations/{name}/deactivate", "post", "`publish`"),
        ("segments/{name}/deactivate", "post", "`publish`"),
        ("segments/{name}/duplicate", "post", "`edit`"),
        ("action-maps/{name}", "put", "`edit`, and `publish` besides where what is live changes"),
        ("action-maps/{name}/deactivate", "post", "`edit`; of a map in an exclusive group, `publish`"),
        ("webhooks/{name}/archive", "post", "`edit`; of a published webhook, `publish`"),
        ("webhooks/{name}/publish", "post", "`publish`"),
        ("data-actions/{name}/draft", "delete", "`edit`"),
    ],
)
def test_the_right_that_is_told_is_the_one_that_it_takes(document: Found, path: str, method: str, right: str):
    assert document["paths"][f"/api/v1/{path}"][method]["x-right"] == right


def test_versions_are_told_as_etags_and_named_by_if_match(document: Found):
    for name, path, operation in operations(document):
        if path.endswith("/webhooks/{name}"):
            changes = not name.startswith("GET")
            headers = [one["name"] for one in operation["parameters"] if one["in"] == "header"]
            assert ("If-Match" in headers) == changes, name
            assert ("412" in operation["responses"]) == changes, name
            assert "DELETE" in name or "ETag" in operation["responses"]["200"]["headers"], name

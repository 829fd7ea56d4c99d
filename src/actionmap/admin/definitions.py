"""REST for the five kinds of definition: list, get, create, replace, delete, and their states."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from actionmap.admin.auth import ApiKeys, rights_to_change
from actionmap.admin.requests import Guard, json_body
from actionmap.catalog.documents import Document
from actionmap.catalog.models import KINDS, Definition
from actionmap.catalog.parse import nearest, parse_definition
from actionmap.collect.problem import Refusal
from actionmap.errors import DefinitionError, NotFound
from actionmap.registry import Registry

#: Kind → its name in URLs.
PLURALS = {
    "Integration": "integrations",
    "DataAction": "data-actions",
    "Webhook": "webhooks",
    "Segment": "segments",
    "ActionMap": "action-maps",
}
#: Kind → verb → fields that the verb sets, and the states it may start from (None: any).
_VERBS: dict[str, dict[str, tuple[dict[str, Any], tuple[str, ...] | None]]] = {
    "Integration": {"activate": ({"active": True}, None), "deactivate": ({"active": False}, None)},
    "DataAction": {"publish": ({"state": "published"}, None)},
    "Webhook": {
        "publish": ({"state": "published"}, ("draft", "published")),
        "archive": ({"state": "archived"}, None),
    },
    "Segment": {"activate": ({"active": True}, None), "deactivate": ({"active": False}, None)},
    "ActionMap": {"activate": ({"active": True}, None), "deactivate": ({"active": False}, None)},
}
_MAX_LISTED = 500


def definitions_router(registry: Registry, keys: ApiKeys) -> APIRouter:
    """The routes of all five kinds."""
    router = APIRouter()
    guard = Guard(keys)
    for kind, plural in PLURALS.items():
        _Routes(registry, guard, kind, plural).add_to(router)
    return router


class _Routes:
    """The routes of one kind."""

    def __init__(self, registry: Registry, guard: Guard, kind: str, plural: str) -> None:
        self._registry = registry
        self._guard = guard
        self._kind = kind
        self._plural = plural

    def add_to(self, router: APIRouter) -> None:
        tags: list[str | Enum] = [self._plural]
        base, one = f"/api/v1/{self._plural}", f"/api/v1/{self._plural}/{{name}}"
        article = "an" if self._kind[0] in "AI" else "a"
        schema = {"$ref": f"#/components/schemas/{KINDS[self._kind].__name__}"}
        body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

        def route(path: str, call: Callable[..., Any], method: str, summary: str, **more: Any) -> None:
            operation = f"{summary.split(maxsplit=1)[0].lower()}-{self._plural}"
            router.add_api_route(path, call, methods=[method], summary=summary, tags=tags, operation_id=operation,
                                 response_class=JSONResponse, **more)  # fmt: skip

        route(base, self.list, "GET", f"List {self._plural}")
        route(base, self.create, "POST", f"Create {article} {self._kind}", status_code=201, openapi_extra=body)
        route(one, self.get, "GET", f"Get {article} {self._kind}")
        route(one, self.replace, "PUT", f"Replace {article} {self._kind}", openapi_extra=body)
        route(one, self.delete, "DELETE", f"Delete {article} {self._kind}", status_code=204)
        for verb in _VERBS[self._kind]:
            route(f"{one}/{verb}", self._verb(verb), "POST", f"{verb.capitalize()} {article} {self._kind}")

    async def list(
        self,
        request: Request,
        search: Annotated[str, Query(description="a part of name or description")] = "",
        limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 100,
        after: Annotated[str, Query(description="`next` of the page before")] = "",
    ) -> JSONResponse:
        """Definitions by name, a page at a time."""
        self._guard.check(request, "read")
        await self._registry.refresh()
        found = sorted(
            (some for some in self._registry.definitions.values() if some.kind_name == self._kind),
            key=lambda some: some.name,
        )
        wanted = search.lower()
        found = [some for some in found if wanted in some.name or wanted in some.description.lower()]
        found = [some for some in found if some.name > after]
        page = found[:limit]
        following = page[-1].name if len(found) > limit else None
        return JSONResponse({"items": [self._written(some) for some in page], "next": following})

    async def get(self, request: Request, name: str) -> JSONResponse:
        """One definition, with its version as ETag."""
        self._guard.check(request, "read")
        await self._registry.refresh()
        return self._answer(self._find(name))

    async def create(self, request: Request) -> JSONResponse:
        """Create a definition that does not exist yet."""
        self._guard.check(request, "edit")
        definition = self._parsed(await json_body(request))
        await self._registry.refresh()
        if definition.key in self._registry.definitions:
            raise Refusal(409, f"{self._kind} {definition.name!r} exists already; replace it with PUT")
        self._guard.check(request, *rights_to_change(None, definition))
        return await self._save(definition, 201)

    async def replace(self, request: Request, name: str) -> JSONResponse:
        """Replace a definition as a whole; with `If-Match`, only if it still has that version."""
        self._guard.check(request, "edit")
        data = await json_body(request)
        if isinstance(data, dict):
            data.setdefault("name", name)
        expected = data.pop("version", None) if isinstance(data, dict) else None
        definition = self._parsed(data)
        if definition.name != name:
            raise Refusal(400, f"the name in the body is {definition.name!r}, in the URL {name!r}; names do not change")
        await self._registry.refresh()
        before = self._find(name)
        self._guard.check(request, *rights_to_change(before, definition))
        self._check_version(request, before, expected)
        return await self._save(definition, 200)

    async def delete(self, request: Request, name: str) -> Response:
        """Delete a definition that nothing refers to."""
        self._guard.check(request, "edit")
        await self._registry.refresh()
        definition = self._find(name)
        self._guard.check(request, *rights_to_change(definition, None))
        self._check_version(request, definition, None)
        try:
            await self._registry.change({}, frozenset((definition.key,)))
        except DefinitionError as error:
            users = sorted({finding.subject for finding in error.findings})
            raise Refusal(409, f"{self._kind} {name!r} is used by {', '.join(users)}") from None
        return Response(status_code=204)

    def _verb(self, verb: str) -> Callable[..., Any]:
        changes, allowed = _VERBS[self._kind][verb]

        async def call(request: Request, name: str) -> JSONResponse:
            self._guard.check(request, "edit" if verb == "deactivate" else "publish")
            await self._registry.refresh()
            before = self._find(name)
            self._check_version(request, before, None)
            state = getattr(before, "state", None)
            if allowed is not None and state not in allowed:
                raise Refusal(409, f"{self._kind} {name!r} is {state}, which {verb} does not start from")
            written = before.as_written()
            if all(getattr(before, field) == value for field, value in changes.items()):
                return self._answer(before)
            return await self._save(self._parsed({**written, **changes}), 200)

        call.__doc__ = f"{verb.capitalize()} it; answers the definition as it is then."
        return call

    async def _save(self, definition: Definition, status: int) -> JSONResponse:
        await self._registry.change({definition.key: definition})
        # As it is stored, where secrets have names.
        return self._answer(self._find(definition.name), status)

    def _parsed(self, data: Any) -> Definition:
        return parse_definition(Document(data=data), self._kind)

    def _find(self, name: str) -> Definition:
        found = self._registry.definitions.get(f"{self._kind}/{name}")
        if found is None:
            known = [some.name for some in self._registry.definitions.values() if some.kind_name == self._kind]
            raise NotFound(f"there is no {self._kind} {name!r}{nearest(name, known)}")
        return found

    def _check_version(self, request: Request, definition: Definition, expected: Any) -> None:
        version = self._registry.versions[definition.key]
        match = request.headers.get("if-match")
        tags = [tag.strip().strip('"') for tag in match.split(",")] if match else []
        stale = (tags and "*" not in tags and str(version) not in tags) or expected not in (None, version)
        if stale:
            raise Refusal(412, f"{self._kind} {definition.name!r} is at version {version} by now; read it again")

    def _written(self, definition: Definition) -> dict[str, Any]:
        version = self._registry.versions[definition.key]
        return {"kind": self._kind, **definition.as_written(), "version": version}

    def _answer(self, definition: Definition, status: int = 200) -> JSONResponse:
        written = self._written(definition)
        return JSONResponse(msgspec.to_builtins(written), status, {"ETag": f'"{written["version"]}"'})

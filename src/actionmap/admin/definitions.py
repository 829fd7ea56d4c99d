"""REST for the five kinds of definition: list, get, create, replace, patch, delete, and the verbs of their life."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from actionmap.admin.auth import RightFor, right_for
from actionmap.admin.definition_json import Shown
from actionmap.admin.described_definitions import PATCH_TYPES, Described
from actionmap.admin.listing import Listed, page_of
from actionmap.admin.requests import body_of, json_body
from actionmap.admin.schemas.definitions import Duplicate
from actionmap.admin.writing import Writer, names_in, without_read_only
from actionmap.catalog import lifecycle
from actionmap.catalog.documents import Document
from actionmap.catalog.lifecycle import Entry, Step, published_as, saved
from actionmap.catalog.models import PLURALS, Definition
from actionmap.catalog.parse import parse_definition
from actionmap.collect.problem import Refusal
from actionmap.errors import DefinitionError
from actionmap.registry import NAME_TAKEN, Edit

Transition = Callable[[Entry], Step | None]
Name = Annotated[str, Path(description="What the definition is called.")]
#: Of what uses a definition.
_MOST_NAMED = 10
_SWITCHES: dict[str, Transition] = {
    "activate": lambda entry: lifecycle.switched(entry, active=True),
    "deactivate": lambda entry: lifecycle.switched(entry, active=False),
}
#: Kind → verb → what it does.
_VERBS: dict[str, dict[str, Transition]] = {
    "Integration": _SWITCHES,
    "DataAction": {"publish": lifecycle.published},
    "Webhook": {"publish": lifecycle.published, "archive": lifecycle.archived},
    "Segment": _SWITCHES,
    "ActionMap": _SWITCHES,
}


def definitions_router(writer: Writer, shown: Shown) -> APIRouter:
    """The routes of all five kinds."""
    router = APIRouter()
    for kind, plural in PLURALS.items():
        _Routes(writer, shown, kind, plural).add_to(router)
    return router


class _Routes:
    """The routes of one kind."""

    def __init__(self, writer: Writer, shown: Shown, kind: str, plural: str) -> None:
        self._writer = writer
        self._shown = shown
        self._registry = writer.registry
        self._guard = writer.guard
        self._kind = kind
        self._plural = plural

    def add_to(self, router: APIRouter) -> None:
        tags: list[str | Enum] = [self._plural]
        base, one = f"/api/v1/{self._plural}", f"/api/v1/{self._plural}/{{name}}"
        some = f"{'an' if self._kind[0] in 'AI' else 'a'} {self._kind}"
        said = Described(self._kind)

        def route(path: str, call: Callable[..., Any], method: str, summary: str, described: dict[str, Any]) -> None:
            operation_id = f"{summary.split(maxsplit=1)[0].lower()}-{self._plural}"
            router.add_api_route(path, call, methods=[method], summary=summary, tags=tags, operation_id=operation_id,
                                 response_class=JSONResponse, **described)  # fmt: skip

        route(base, self.list, "GET", f"List {self._plural}", said.listed)
        route(base, self.create, "POST", f"Create {some}", said.created)
        route(one, self.get, "GET", f"Get {some}", said.got)
        route(one, self.replace, "PUT", f"Replace {some}", said.replaced)
        route(one, self.patch, "PATCH", f"Patch {some}", said.patched)
        route(one, self.delete, "DELETE", f"Delete {some}", said.deleted)
        route(f"{one}/duplicate", self.duplicate, "POST", f"Duplicate {some}", said.duplicated)
        for verb, transition in _VERBS[self._kind].items():
            summary = f"{verb.capitalize()} {some}"
            route(f"{one}/{verb}", self._verb(verb, transition), "POST", summary, said.stepped(verb))
        if "publish" in _VERBS[self._kind]:
            route(f"{one}/draft", self.discard, "DELETE", f"Discard the draft of {some}", said.stepped("discard"))

    async def list(self, request: Request, asked: Annotated[Listed, Query()]) -> JSONResponse:
        """A page of definitions, filtered, searched and sorted."""
        caller = self._guard.check_of_company(request, "read")
        await self._registry.refresh()
        found = [
            entry
            for entry in self._registry.of_kind(self._kind)
            if caller.sees(entry.definition) and asked.takes(entry)
        ]
        page, following = page_of(found, asked)
        return JSONResponse({"items": await self._shown.all(page), "next": following, "total": len(found)})

    async def get(self, request: Request, name: Name) -> JSONResponse:
        """One definition as it is in force, with the draft beside it, and its version as ETag."""
        caller = self._guard.check_of_company(request, "read")
        await self._registry.refresh()
        return await self._shown.answer(self._writer.find(caller, self._kind, name))

    async def create(self, request: Request) -> JSONResponse:
        """Create a definition that does not exist yet."""
        caller = self._guard.check_of_company(request, "edit")
        definition = self._parsed(self._writer.of_company(caller, without_read_only(await json_body(request))))
        return await self._create(request, definition, "create")

    async def _create(self, request: Request, definition: Definition, action: lifecycle.Action) -> JSONResponse:
        caller = self._guard.check_of_company(request, "edit")

        def make() -> Edit:
            if (there := self._registry.entries.get(definition.key)) is not None:
                exists = f"{self._kind} {definition.name!r} exists already; replace it with PUT"
                raise Refusal(409, exists if caller.sees(there.definition) else NAME_TAKEN)
            return self._writer.edit(request, None, Step(action, self._writer.sealed(definition)))

        after = await self._registry.update(make, caller.name)
        # Not what is there by now: somebody else may have written since, and the ETag would be theirs.
        return await self._shown.answer(after[definition.key], 201)

    async def replace(self, request: Request, name: Name) -> JSONResponse:
        """Replace a definition as a whole; of a published webhook or data action it becomes the draft beside it.

        With `If-Match`, or `version` in the body, only if it still has that version.
        """
        caller = self._guard.check_of_company(request, "edit")
        data = await json_body(request)
        expected = data.pop("version", None) if isinstance(data, dict) else None
        data = self._writer.of_company(caller, names_in(without_read_only(data), name))

        def make(entry: Entry) -> Step | None:
            given = {"company": entry.definition.company, **data} if isinstance(data, dict) else data
            wanted = self._parsed(given)
            return saved(entry, self._writer.sealed(wanted), takes_over=False)

        return await self._change(request, name, make, expected=expected, is_blind=True)

    async def patch(self, request: Request, name: Name) -> JSONResponse:
        """Change some fields (JSON Merge Patch, RFC 7396): null removes one.

        Of a published webhook or data action it changes the draft beside it, and publishes that with
        `"state": "published"`.
        """
        caller = self._guard.check_of_company(request, "edit")
        patch = await json_body(request, types=PATCH_TYPES)
        if not isinstance(patch, dict):
            raise Refusal(400, "a patch is an object with the fields that change", path="body")
        expected = patch.pop("version", None)
        patch = self._writer.of_company(caller, names_in(without_read_only(patch), name))

        def make(entry: Entry) -> Step | None:
            wanted = self._writer.sealed(self._parsed(_merged(entry.newest.as_written(), patch)))
            is_to_publish = patch.get("state") == "published"
            return published_as(entry, wanted) if is_to_publish else saved(entry, wanted, takes_over=False)

        return await self._change(request, name, make, expected=expected, is_blind=True)

    async def delete(self, request: Request, name: Name) -> Response:
        """Delete a definition that nothing refers to; its versions are kept."""
        caller = self._guard.check_of_company(request, "edit")

        def make() -> Edit:
            entry = self._writer.find(caller, self._kind, name)
            self._writer.check_version(request, entry, None, is_blind=True)
            return self._writer.edit(request, entry, None)

        try:
            await self._registry.update(make, caller.name)
        except DefinitionError as error:
            users = sorted({finding.subject for finding in error.findings})
            raise Refusal(409, f"{self._kind} {name!r} is used by {_first_of(users)}") from None
        return Response(status_code=204)

    async def duplicate(self, request: Request, name: Name) -> JSONResponse:
        """Copy it under another name, as a draft or inactive. Body: `{"name": …}`."""
        caller = self._guard.check_of_company(request, "edit")
        wanted = await body_of(request, Duplicate)
        await self._registry.refresh()
        found = self._writer.find(caller, self._kind, name).newest
        copy = lifecycle.duplicate(found, wanted.name)
        return await self._create(request, parse_definition(Document(data=copy.as_stored()), self._kind), "duplicate")

    async def discard(self, request: Request, name: Name) -> JSONResponse:
        """Forget the draft beside what is in force; it is kept as a version."""
        self._guard.check_of_company(request, "edit")
        return await self._change(request, name, lifecycle.discarded)

    def _verb(self, verb: str, transition: Transition) -> Callable[..., Any]:
        right = right_for(verb)

        async def call(request: Request, name: Name) -> JSONResponse:
            return await self._change(request, name, transition, right=right)

        call.__doc__ = f"{verb.capitalize()} it; answers the definition as it is then."
        return call

    async def _change(
        self, request: Request, name: str, transition: Transition, *, expected: Any = None, is_blind: bool = False,
        right: RightFor | None = None,
    ) -> JSONResponse:  # fmt: skip
        """Make one step of the definition ``name``, and answer what it is then."""
        caller = self._guard.caller(request)
        seen: list[Entry] = []

        def make() -> Edit:
            entry = self._writer.find(caller, self._kind, name)
            enough = right(entry.definition) if right is not None else None
            self._guard.check_of_company(request, enough or "edit")
            self._writer.check_version(request, entry, expected, is_blind=is_blind)
            seen[:] = [entry]
            step = transition(entry)
            return Edit() if step is None else self._writer.edit(request, entry, step, enough)

        after = await self._registry.update(make, caller.name)
        [held] = after.values() or seen
        return await self._shown.answer(held)

    def _parsed(self, data: Any) -> Definition:
        return parse_definition(Document(data=data), self._kind)


def _first_of(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _merged(target: Any, patch: Any) -> Any:
    """``target`` changed by ``patch``, as RFC 7396 says."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged

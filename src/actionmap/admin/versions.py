"""Versions of definitions over REST: listed, shown, compared, restored."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.definition_json import Shown, plain
from actionmap.admin.definitions import Name
from actionmap.admin.described_definitions import Described
from actionmap.admin.writing import Writer
from actionmap.catalog.lifecycle import Entry, restored
from actionmap.catalog.models import PLURALS
from actionmap.catalog.plan import difference
from actionmap.catalog.versions import StoredDefinition, former_definition, stored_of
from actionmap.collect.problem import Refusal
from actionmap.errors import ActionmapError, NotFound
from actionmap.event import to_rfc3339
from actionmap.registry import NAME_TAKEN, Edit

#: Versions, or entries of the audit, on a page.
MAX_LISTED = 100
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED, description="How many there are on a page.")]
_MOST = 2**53
Number = Annotated[int, Path(ge=1, le=_MOST, description="The number of a version.")]
Other = Annotated[int | None, Query(ge=1, le=_MOST, description="The number of the other one; the newest without it.")]


def versions_router(writer: Writer, shown: Shown) -> APIRouter:
    """``/api/v1/{kind}/{name}/versions``."""
    router = APIRouter()
    for kind, plural in PLURALS.items():
        _Routes(writer, shown, kind, plural).add_to(router)
    return router


class Versions:
    """The versions of definitions, for who may see them."""

    def __init__(self, writer: Writer) -> None:
        self._registry = writer.registry

    async def newest(self, caller: Caller, kind: str, name: str) -> tuple[Entry | None, int]:
        """What is held of the definition, None when it is deleted, and the number of its last version.

        Raises:
            NotFound: there never was one that ``caller`` may see.
        """
        key = f"{kind}/{name}"
        await self._registry.refresh()
        entry = self._registry.entries.get(key)
        if entry is not None:
            number = entry.version if caller.sees(entry.definition) else 0
        else:
            number = await self._registry.last_version(key)
            former = (await self._registry.former(key, [number])).get(number) if number else None
            number = number if former is not None and caller.sees(former_definition(former)) else 0
        if not number:
            raise NotFound(f"there is no {kind} {name!r}, and never was")
        return entry, number

    async def some(self, caller: Caller, kind: str, name: str, numbers: list[int]) -> list[StoredDefinition]:
        """Those of the versions ``numbers`` that are kept, and that ``caller`` may see."""
        key = f"{kind}/{name}"
        entry = self._registry.entries.get(key)
        found = await self._registry.former(key, numbers)
        if entry is not None and entry.version in numbers:
            found[entry.version] = stored_of(entry)
        seen = (found[number] for number in numbers if number in found)
        return [some for some in seen if caller.sees_company(some.company)]

    async def one(self, caller: Caller, kind: str, name: str, number: int) -> StoredDefinition:
        """The version ``number``.

        Raises:
            NotFound: it is not kept.
        """
        found = await self.some(caller, kind, name, [number])
        if not found:
            raise NotFound(f"{kind} {name!r} has no version {number}")
        return found[0]


class _Routes:
    """The routes of one kind."""

    def __init__(self, writer: Writer, shown: Shown, kind: str, plural: str) -> None:
        self._writer = writer
        self._shown = shown
        self._guard = writer.guard
        self._versions = Versions(writer)
        self._kind = kind
        self._plural = plural

    def add_to(self, router: APIRouter) -> None:
        tags: list[str | Enum] = [self._plural]
        base = f"/api/v1/{self._plural}/{{name}}/versions"

        one, kind, said = f"{base}/{{number}}", self._kind, Described(self._kind)

        def route(path: str, call: Any, method: str, summary: str, verb: str, described: dict[str, Any]) -> None:
            router.add_api_route(path, call, methods=[method], summary=summary, tags=tags,
                                 operation_id=f"{verb}-of-{self._plural}", response_class=JSONResponse,
                                 **described)  # fmt: skip

        route(base, self.list, "GET", f"List the versions of {kind}", "list-versions", said.versions)
        route(one, self.get, "GET", f"Show a version of {kind}", "get-version", said.version)
        route(f"{one}/diff", self.diff, "GET", f"Compare versions of {kind}", "compare-versions", said.compared)
        route(f"{one}/restore", self.restore, "POST", f"Restore a version of {kind}", "restore-version", said.restored)

    async def list(
        self,
        request: Request,
        name: Name,
        limit: Limit = 20,
        before: Annotated[int | None, Query(ge=1, le=_MOST, description="`next` of the page before")] = None,
    ) -> JSONResponse:
        """The versions, the newest first: each write of the definition is one, also after it was deleted."""
        caller = self._guard.check_of_company(request, "read")
        entry, newest = await self._versions.newest(caller, self._kind, name)
        last = min(newest, before - 1 if before else newest)
        numbers = list(range(last, max(0, last - limit), -1))
        found = await self._versions.some(caller, self._kind, name, numbers)
        following = numbers[-1] if numbers and numbers[-1] > 1 else None
        return JSONResponse({"items": [_shown(some, entry) for some in found], "next": following})

    async def get(self, request: Request, name: Name, number: Number) -> JSONResponse:
        """One version."""
        caller = self._guard.check_of_company(request, "read")
        entry, _ = await self._versions.newest(caller, self._kind, name)
        return JSONResponse(_shown(await self._versions.one(caller, self._kind, name, number), entry))

    async def diff(self, request: Request, name: Name, number: Number, to: Other = None) -> JSONResponse:
        """What is different from the version `number` to the version `to`, without which it is the newest one."""
        caller = self._guard.check_of_company(request, "read")
        _, newest = await self._versions.newest(caller, self._kind, name)
        one = await self._versions.one(caller, self._kind, name, number)
        other = await self._versions.one(caller, self._kind, name, to or newest)
        lines = difference(former_definition(one), former_definition(other))
        return JSONResponse({"from": one.version, "to": other.version, "diff": list(lines)})

    async def restore(self, request: Request, name: Name, number: Number) -> JSONResponse:
        """Bring a version back: as the draft of a webhook or data action, else at once. It becomes the newest one."""
        caller = self._guard.check_of_company(request, "edit")
        await self._versions.newest(caller, self._kind, name)
        former = former_definition(await self._versions.one(caller, self._kind, name, number))

        def make() -> Edit:
            entry = self._writer.registry.entries.get(former.key)
            if entry is not None and not caller.sees(entry.definition):
                raise Refusal(409, NAME_TAKEN)
            self._writer.check_version(request, entry, None)
            return self._writer.edit(request, entry, restored(entry, former))

        after = await self._writer.registry.update(make, caller.name)
        return await self._shown.answer(after[former.key])


def _shown(some: StoredDefinition, entry: Entry | None) -> dict[str, Any]:
    return {
        "version": some.version,
        "at": to_rfc3339(some.at) if some.at else None,
        "by": some.by or None,
        "action": some.action,
        "isInForce": entry is not None and entry.in_force == some.version,
        "definition": content(some),
    }


def content(some: StoredDefinition | None) -> dict[str, Any] | None:
    """What a version said; None where this version of actionmap does not read it any more."""
    try:
        return None if some is None else plain(former_definition(some))
    except ActionmapError:
        return None

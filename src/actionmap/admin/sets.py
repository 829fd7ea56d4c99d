"""All definitions at once, over REST: what `plan`, `apply` and `export` speak."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller, rights_for
from actionmap.admin.describe import body, operation, refer
from actionmap.admin.requests import MAX_SET_BYTES, json_body
from actionmap.admin.schemas.changes import (
    APPLIED,
    HELD_SET,
    ROTATED,
    SET,
    AppliedSet,
    DefinitionSet,
    HeldSet,
    RotatedSecrets,
)
from actionmap.admin.writing import Writer
from actionmap.catalog.documents import Document
from actionmap.catalog.lifecycle import Entry
from actionmap.catalog.models.base import DEFAULT_COMPANY
from actionmap.catalog.parse import Definitions, parse_documents
from actionmap.catalog.plan import Change, plan
from actionmap.catalog.sealing import write_out_secrets
from actionmap.collect.problem import Refusal
from actionmap.errors import DefinitionError, Finding
from actionmap.process import collector_paused
from actionmap.registry import NAME_TAKEN, Edit

_READ = operation("`read`", refer(HeldSet), HELD_SET)
_PUT = operation(
    "`edit`, and `publish` besides where what is live changes; with `dryRun`, `read`", refer(AppliedSet), APPLIED,
    reads=body(refer(DefinitionSet), SET), problems=(409, 422),
)  # fmt: skip
_ROTATE = operation("`publish`", refer(RotatedSecrets), ROTATED, problems=(409, 422))


def sets_router(writer: Writer) -> APIRouter:
    """``/api/v1/definitions``."""
    router = APIRouter(tags=["definitions as code"])
    registry, guard = writer.registry, writer.guard

    @router.get("/api/v1/definitions", summary="Read all definitions", **_READ)
    async def read_all(request: Request) -> JSONResponse:
        """What is in force; drafts beside it are not part of it."""
        caller = guard.check_of_company(request, "read")
        await registry.refresh()
        seen = [entry.definition for _, entry in sorted(registry.entries.items()) if caller.sees(entry.definition)]
        written = [{"kind": some.kind_name, **some.as_written()} for some in seen]
        return JSONResponse({"revision": registry.revision, "definitions": written})

    @router.put("/api/v1/definitions", summary="Make the definitions as given, all or nothing", **_PUT)
    async def put_all(
        request: Request,
        prune: Annotated[bool, Query(description="Delete what is not given.")] = False,
        dry_run: Annotated[bool, Query(alias="dryRun", description="Tell what would change, change nothing.")] = False,
    ) -> JSONResponse:
        """What is published takes over at once; a state before that becomes a draft beside it."""
        caller = guard.check_of_company(request, "read" if dry_run else "edit")
        given = await _read(request, writer, caller)
        if write_out_secrets(given.values()):
            # What is unchanged is what is stored: who may only read shall not find a secret out by asking.
            guard.check_of_company(request, "edit")
        changes: list[Change] = []

        def make() -> Edit:
            with collector_paused():
                wanted = registry.sealed(given)
                current = _of_companies(_own(writer, caller, wanted), wanted, caller)
                changes[:] = plan(current, wanted, prune=prune)
            return _edit_of(changes)

        def make_with_rights() -> Edit:
            edit = make()
            for key in (*edit.steps, *edit.deleted):
                guard.check_of_company(request, *rights_for(registry.entries.get(key), edit.steps.get(key)))
            return edit

        if dry_run:
            await registry.try_out(make)
        else:
            await registry.update(make_with_rights, caller.name)
        rows = [
            {"action": change.action, "kind": change.kind, "name": change.name, "diff": list(change.diff)}
            for change in changes
        ]
        return JSONResponse({"revision": registry.revision, "changes": rows})

    @router.post("/api/v1/secrets/rotate", summary="Encrypt stored secrets with the newest key", **_ROTATE)
    async def rotate(request: Request) -> JSONResponse:
        """What is stored with another key than the first of `ACTIONMAP_SECRETS_KEY`; it may be taken out then."""
        caller = guard.check(request, "publish")
        return JSONResponse({"integrations": await registry.rotate_secrets(caller.name), "revision": registry.revision})

    return router


async def _read(request: Request, writer: Writer, caller: Caller) -> Definitions:
    given = await json_body(request, MAX_SET_BYTES)
    if not isinstance(given, dict) or not isinstance(given.get("definitions"), list):
        message = 'the body is {"definitions": [{"kind": …, "name": …, …}, …]}'
        raise Refusal(400, message, path="body.definitions")
    documents = [Document(data=writer.of_company(caller, data)) for data in given["definitions"]]
    # A large set takes seconds, in which others are answered.
    definitions, _ = await asyncio.to_thread(_parsed, documents, writer.registry.definitions)
    return definitions


def _parsed(documents: Sequence[Document], stored: Definitions) -> tuple[Definitions, Mapping[str, Document]]:
    with collector_paused():
        return parse_documents(documents, stored)


def _own(writer: Writer, caller: Caller, wanted: Definitions) -> dict[str, Entry]:
    """What the caller may see of the set as it is.

    Raises:
        DefinitionError: ``wanted`` has names that are somebody else's.
    """
    entries = writer.registry.entries
    taken = [key for key in wanted if key in entries and not caller.sees(entries[key].definition)]
    if taken:
        subjects = [key.replace("/", " ", 1) for key in taken]
        raise DefinitionError([Finding(message=NAME_TAKEN, path="name", subject=subject) for subject in subjects])
    return {key: entry for key, entry in entries.items() if caller.sees(entry.definition)}


def _of_companies(current: Mapping[str, Entry], wanted: Definitions, caller: Caller) -> Mapping[str, Entry]:
    """Of ``current`` what is of the companies that ``wanted`` is of: nothing of others is pruned with it."""
    if caller.company is not None:
        return current
    companies = {(current[key].definition if key in current else some).company for key, some in wanted.items()}
    some = companies or {DEFAULT_COMPANY}
    return {key: entry for key, entry in current.items() if entry.definition.company in some}


def _edit_of(changes: list[Change]) -> Edit:
    steps = {change.key: change.step for change in changes if change.step is not None}
    return Edit(steps, frozenset(change.key for change in changes if change.action == "delete"))

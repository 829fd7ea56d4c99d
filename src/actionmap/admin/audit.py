"""The audit over REST: who changed which definition, and who did what else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.describe import operation, refer
from actionmap.admin.schemas.changes import AUDIT, AuditPage
from actionmap.admin.versions import MAX_LISTED, Limit, Versions, content
from actionmap.admin.writing import Writer
from actionmap.catalog.versions import AuditEntry
from actionmap.event import to_rfc3339

AuditedKind = Literal[
    "Integration", "DataAction", "Webhook", "Segment", "ActionMap", "ApiKey", "Visitor", "DeadLetter", "Partition",
]  # fmt: skip
_AUDIT = operation("`read`", refer(AuditPage), AUDIT)


def audit_router(writer: Writer) -> APIRouter:
    """``/api/v1/audit``. A key of a company sees what was done with what is the company's."""
    router = APIRouter(tags=["audit"])
    versions = Versions(writer)

    @router.get("/api/v1/audit", summary="Who changed which definition, or did what else, and when",
                operation_id="audit", **_AUDIT)  # fmt: skip
    async def audit(
        request: Request,
        kind: Annotated[
            AuditedKind | None,
            Query(description="Only of this kind: of definitions, or of what else is acted upon."),
        ] = None,
        name: Annotated[str | None, Query(description="Only of what is called so.")] = None,
        by: Annotated[str | None, Query(description="Only those by the API key with this name.")] = None,
        limit: Limit = 50,
        before: Annotated[
            str, Query(description="`next` of the page before", pattern=r"^([0-9]{1,15}-[0-9]{1,9})?$")
        ] = "",
    ) -> JSONResponse:
        """The newest first: changes of definitions with what was before and after, and what was done with API keys,
        integrations, visitors, dead letters and halted partitions. The newest 100,000 are kept.
        """
        caller = writer.guard.check_of_company(request, "read")
        rows: list[dict[str, Any]] = []
        following: str | None = before

        def is_asked(some: AuditEntry) -> bool:
            of_caller = caller.sees_company(some.company)
            return of_caller and kind in (None, some.kind) and name in (None, some.name) and by in (None, some.by)

        while following is not None and len(rows) < limit:
            found = await writer.registry.audit(before=following, limit=MAX_LISTED)
            following = found[-1][0] if len(found) == MAX_LISTED else None
            for id_, some in found:
                if len(rows) == limit:
                    following = rows[-1]["id"]
                    break
                if is_asked(some):
                    rows.append({"id": id_, **await _audited(versions, caller, some)})
        return JSONResponse({"items": rows, "next": following})

    return router


async def _audited(versions: Versions, caller: Caller, some: AuditEntry) -> dict[str, Any]:
    numbers = [number for number in (some.before, some.after) if number]
    found = {one.version: one for one in await versions.some(caller, some.kind, some.name, numbers)}
    return {
        "at": to_rfc3339(some.at),
        "by": some.by or None,
        "action": some.action,
        "kind": some.kind,
        "name": some.name,
        "company": some.company or None,
        "before": content(found.get(some.before)),
        "after": content(found.get(some.after)),
        "versions": {"before": some.before or None, "after": some.after or None},
        "details": some.details or None,
    }

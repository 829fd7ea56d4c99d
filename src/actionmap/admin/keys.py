"""API keys over REST: made, listed, revoked. A key is shown once, when it is made."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from actionmap.admin.auth import ApiKeys, Caller
from actionmap.admin.describe import body, operation, refer
from actionmap.admin.requests import Guard, body_of
from actionmap.admin.schemas import Asked
from actionmap.admin.schemas.operations import KEY, KeyList, MadeKey
from actionmap.catalog.models import Company
from actionmap.collect.problem import Refusal
from actionmap.errors import NotFound
from actionmap.event import to_rfc3339
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.settings import ApiKey, Right, hash_of_key
from actionmap.store.api_keys import ApiKeyStore, StoredApiKey


class NewKey(Asked):
    """The key that is asked for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$", examples=["deploy-pipeline"])]
    """What it is called in the audit; no other key is."""
    rights: Annotated[list[Right], Field(min_length=1, examples=[["read", "edit"]])]
    """What it may do: no more than the key that makes it."""
    company: Company | None = None
    """Whose definitions it may see and change; null: of all, or of the company of the key that makes it."""


KeyName = Annotated[str, Path(description="What the key is called.")]
_LIST = operation("`publish`", refer(KeyList), {"items": [KEY]})
_MAKE = operation(
    "`publish`", refer(MadeKey), {**KEY, "key": "am_4f1c…"}, status=201,
    reads=body(refer(NewKey), {"name": "deploy-pipeline", "rights": ["read", "edit"]}), problems=(409, 422),
)  # fmt: skip
_REVOKE = operation("`publish`", None, status=204, problems=(404,))


async def refresh_keys(keys: ApiKeys, store: ApiKeyStore) -> None:
    """Let ``keys`` know those that the store holds now.

    Raises:
        Unreachable: the store does not answer.
    """
    found = await store.all()
    keys.take_over({hash_: ApiKey(some.name, frozenset(some.rights), some.company) for hash_, some in found.items()})


def keys_router(keys: ApiKeys, store: ApiKeyStore, guard: Guard, registry: Registry) -> APIRouter:
    """``/api/v1/api-keys``: no key makes one that may do more; one of a company sees and revokes those of it.

    ``registry`` tells in the audit.
    """
    router = APIRouter(tags=["api keys"])

    @router.get("/api/v1/api-keys", summary="List API keys", **_LIST)
    async def list_(request: Request) -> JSONResponse:
        """Those that were made here; those of the server's settings are not listed."""
        caller = guard.check_of_company(request, "publish")
        found = sorted((await store.all()).values(), key=lambda some: some.name)
        return JSONResponse({"items": [_shown(some) for some in found if caller.company in (None, some.company)]})

    @router.post("/api/v1/api-keys", summary="Make an API key", **_MAKE)
    async def create(request: Request) -> JSONResponse:
        """The answer alone shows the key: it is kept as a hash."""
        caller = guard.check_of_company(request, "publish")
        wanted = await body_of(request, NewKey)
        company = wanted.company or caller.company
        _check(caller, wanted, company)
        key = f"am_{secrets.token_urlsafe(32)}"
        kept = StoredApiKey(wanted.name, tuple(sorted(set(wanted.rights))), company, wall_clock(), caller.name)
        await refresh_keys(keys, store)
        if keys.is_taken(wanted.name) or not await store.add(hash_of_key(key), kept):
            raise Refusal(409, f"there is a key called {wanted.name!r} already")
        await refresh_keys(keys, store)
        await registry.tell("create", "ApiKey", kept.name, by=caller.name, company=company or "", rights=kept.rights)
        return JSONResponse({**_shown(kept), "key": key}, 201)

    @router.delete("/api/v1/api-keys/{name}", summary="Revoke an API key", **_REVOKE)
    async def revoke(request: Request, name: KeyName) -> Response:
        """It is refused from now on; by other servers within a second."""
        caller = guard.check_of_company(request, "publish")
        found = [some for some in (await store.all()).values() if some.name == name]
        if not found or caller.company not in (None, found[0].company):
            raise NotFound(f"there is no key {name!r} that was made here")
        is_revoked = await store.remove(name)
        await refresh_keys(keys, store)
        if is_revoked:
            await registry.tell("revoke", "ApiKey", name, by=caller.name, company=found[0].company or "")
        return Response(status_code=204)

    return router


def _check(caller: Caller, wanted: NewKey, company: str | None) -> None:
    beyond = sorted(set(wanted.rights) - caller.rights)
    if beyond:
        raise Refusal(403, f"this key has no right to {' and '.join(beyond)}, so it makes none that has")
    if caller.company not in (None, company):
        raise Refusal(403, f"this key is for {caller.company}, so it makes none for another company")


def _shown(some: StoredApiKey) -> dict[str, Any]:
    return {
        "name": some.name,
        "rights": list(some.rights),
        "company": some.company,
        "createdAt": to_rfc3339(some.at),
        "createdBy": some.by or None,
    }

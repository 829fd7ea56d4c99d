"""What every request goes through: the key's rights, its share of requests, and a body of bounded size."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from actionmap.admin.auth import ApiKeys, Caller
from actionmap.catalog.parse import nearest
from actionmap.collect.problem import Refusal
from actionmap.collect.quota import Quota
from actionmap.collect.requests import content_type_of, key_of, read_body

MAX_BODY_BYTES = 16 * 1024 * 1024
#: Of all definitions at once: a hundred thousand maps fit.
MAX_SET_BYTES = 128 * 1024 * 1024
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_JSON = ("application/json",)


class Guard:
    """Refuses requests without the right to do what they ask."""

    def __init__(self, keys: ApiKeys, quota: Quota | None = None, origins: Collection[str] = ()) -> None:
        """Args:
        keys: The keys.
        quota: How many requests one key, or one address without a key, may make; None for any number.
        origins: The other sites whose pages may change something.
        """
        self._keys = keys
        self._quota = quota
        self._origins = frozenset(origins)

    def check(self, request: Request, *needed: str) -> Caller:
        """Let ``request`` pass if its key is one of the whole installation, and has all of the ``needed`` rights.

        Raises:
            Refusal: as `check_of_company`, and 403 where the key is one of a company alone.
        """
        caller = self.check_of_company(request, *needed)
        if caller.company is not None:
            raise Refusal(403, f"this key is for the definitions of {caller.company}; this takes a key of no company")
        return caller

    def check_of_company(self, request: Request, *needed: str) -> Caller:
        """Let ``request`` pass if its key has all of the ``needed`` rights; the caller asks what it may see of what.

        Raises:
            Refusal: 401 without a known key, 403 without the rights, or when a page of another site asks for a change,
                429 when there were too many.
        """
        if request.method not in _SAFE_METHODS and self._is_from_elsewhere(request):
            raise Refusal(403, "a page of another site may not change anything here")
        caller = self.caller(request)
        missing = [right for right in needed if right not in caller.rights]
        if missing:
            raise Refusal(403, f"this key has no right to {' and '.join(missing)}")
        return caller

    def caller(self, request: Request) -> Caller:
        """Who asks, whatever for.

        Raises:
            Refusal: 401 without a known key, 429 when there were too many requests.
        """
        caller = self._keys.caller(key_of(request))
        self._take(request, caller)
        if caller is None:
            raise Refusal(401, "send an API key: Authorization: Bearer <key>")
        return caller

    async def door(self, request: Request) -> None:
        """As dependency of a router: nobody without a key learns what is wrong with a request; raises as `caller`."""
        self.caller(request)

    def _take(self, request: Request, caller: Caller | None) -> None:
        # A request is checked again once it is known what it would change, which does not make it two.
        if self._quota is None or getattr(request.state, "is_counted", False):
            return
        request.state.is_counted = True
        address = request.client.host if request.client else ""
        wait_s = self._quota.take(f"key {caller.name}" if caller is not None else f"address {address}", 1)
        if wait_s:
            raise Refusal(429, "too many requests; wait as Retry-After says", retry_after_s=wait_s)

    def _is_from_elsewhere(self, request: Request) -> bool:
        """Whether a browser says that a page of another site, or of another port, has made it send ``request``."""
        origin = request.headers.get("origin")
        if origin in self._origins:
            return False
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return True
        # An origin that its browser hides ("null") has no host, so it is another one.
        return origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower()


async def json_body(request: Request, max_bytes: int = MAX_BODY_BYTES, types: Collection[str] = _JSON) -> Any:
    """The JSON value of the body, of at most ``max_bytes``.

    Raises:
        Refusal: 415 when it is not declared as one of ``types``, 400 when it is no JSON; and what `read_body` raises.
    """
    # A page of another site may send a form or text to loopback unasked, but not these types.
    if content_type_of(request) not in types:
        raise Refusal(415, f"send JSON, as Content-Type: {' or '.join(types)}")
    body = await read_body(request, max_bytes)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}", path="body") from None


async def refuse_unknown_parameters(request: Request) -> None:
    """As dependency of a router: what a request asks for is done, or refused, and never ignored.

    Raises:
        RequestValidationError: the query has a parameter that its route has not.
    """
    known = {name for field in request.scope["route"].dependant.query_params for name in _names(field)}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestValidationError(
            [{"type": "unknown_parameter", "loc": ("query", name), "msg": _unknown(name, known)} for name in unknown]
        )


def _unknown(name: str, known: Collection[str]) -> str:
    takes = f"; it takes {', '.join(sorted(known))}" if known else "; it takes none"
    return f"there is no such parameter{nearest(name, known) or takes}"


def _names(field: Any) -> set[str]:
    """The parameters that ``field`` of a route stands for: one, or all of a model."""
    kind = field.field_info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _fields(kind)
    return {field.alias}


def _fields(model: type[BaseModel]) -> set[str]:
    return {some.alias or name for name, some in model.model_fields.items()}


Body = TypeVar("Body", bound=BaseModel)


async def body_of(request: Request, model: type[Body]) -> Body:
    """The body as a ``model``: read once the caller is known, so that nobody else learns what is wrong with it.

    Raises:
        RequestValidationError: it is none; every finding with its path.
        Refusal: as `json_body`.
    """
    try:
        return model.model_validate(await json_body(request))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([_of_body(one, model) for one in errors]) from None


def _of_body(error: ErrorDetails, model: type[BaseModel]) -> dict[str, Any]:
    """What is wrong with a body, in our words where the library's speak of its own."""
    told = {**error, "loc": ("body", *error["loc"])}
    if error["type"] != "extra_forbidden":
        return told
    name = str(error["loc"][-1])
    known = _fields(model) if len(error["loc"]) == 1 else ()
    return {**told, "msg": f"there is no such field{nearest(name, known)}"}

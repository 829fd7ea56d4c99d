"""Errors over HTTP as problem details (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from actionmap.errors import ActionmapError

CONTENT_TYPE = "application/problem+json"


class Refusal(ActionmapError):
    """A request that is answered with an HTTP status and a reason."""

    def __init__(self, status: int, detail: str, *, retry_after_s: float | None = None) -> None:
        self._status = status
        self._retry_after_s = retry_after_s
        super().__init__(detail)

    def response(self) -> Response:
        """The answer."""
        headers = {"WWW-Authenticate": 'Bearer realm="actionmap"'} if self._status == 401 else None
        return problem(self._status, str(self), retry_after_s=self._retry_after_s, headers=headers)


def problem(
    status: int,
    detail: str,
    *,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A response of ``application/problem+json``.

    Args:
        status: HTTP status; its name is the title.
        detail: What is wrong with this request, and what to do.
        retry_after_s: Seconds for ``Retry-After``, rounded up.
        headers: Other headers.
        more: Further members of the object, such as ``results``.
    """
    members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    all_headers = dict(headers or {})
    if retry_after_s is not None:
        all_headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return Response(msgspec.json.encode(members), status, all_headers, CONTENT_TYPE)


def documented(description: str, **example: Any) -> dict[str, Any]:
    """What OpenAPI says of a problem; ``example`` gives members beside ``type``."""
    properties = {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    content = {CONTENT_TYPE: {"schema": schema, "example": {"type": "about:blank", **example}}}
    return {"description": description, "content": content}

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
#: Where OpenAPI has `PROBLEM_SCHEMA`.
PROBLEM_REF = "#/components/schemas/Problem"
_FINDING: dict[str, Any] = {
    "type": "object",
    "required": ["path", "message"],
    "additionalProperties": False,
    "properties": {
        "subject": {"type": "string", "description": "Kind and name of the definition; empty where it is no other's."},
        "path": {
            "type": "string",
            "description": "The field: of a definition as it is written, else after query, path or body.",
            "examples": ["mappings.email.lookup", "query.limit", "body.rights.0"],
        },
        "message": {"type": "string", "description": "What is wrong with it, and what to do."},
    },
}
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What is wrong with a request (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The kind of problem: about:blank."},
        "title": {"type": "string", "description": "The name of the status."},
        "status": {"type": "integer", "description": "The status, as in the answer's first line."},
        "detail": {"type": "string", "description": "What is wrong with this request, and what to do."},
        "errors": {"type": "array", "items": _FINDING, "description": "Each finding with its field."},
    },
}


class Refusal(ActionmapError):
    """A request that is answered with an HTTP status and a reason."""

    def __init__(self, status: int, detail: str, *, path: str = "", retry_after_s: float | None = None) -> None:
        """``path``: the field that is to blame, after ``query``, ``path`` or ``body``; "" where there is none."""
        self._status = status
        self._path = path
        self._retry_after_s = retry_after_s
        super().__init__(detail)

    def response(self) -> Response:
        """The answer."""
        headers = {"WWW-Authenticate": 'Bearer realm="actionmap"'} if self._status == 401 else None
        more = {"errors": [{"path": self._path, "message": str(self)}]} if self._path else {}
        return problem(self._status, str(self), retry_after_s=self._retry_after_s, headers=headers, **more)


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


_RETRY_AFTER = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait before asking again."}
_WWW_AUTHENTICATE = {"schema": {"type": "string"}, "description": "How to send a key: as a bearer token."}
_HEADERS = {
    401: {"WWW-Authenticate": _WWW_AUTHENTICATE},
    429: {"Retry-After": {**_RETRY_AFTER, "required": True}},
    503: {"Retry-After": _RETRY_AFTER},
}


def documented(status: int, description: str, detail: str, **more: Any) -> dict[str, Any]:
    """What OpenAPI says of a problem: ``description`` of what leads to it, an example with ``detail`` and ``more``."""
    title = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    content = {CONTENT_TYPE: {"schema": {"$ref": PROBLEM_REF}, "example": example}}
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"description": description, **headers, "content": content}

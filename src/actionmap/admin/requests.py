"""What every request goes through: the key's rights, and a body of bounded size."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request

from actionmap.admin.auth import ApiKeys
from actionmap.collect.problem import Refusal
from actionmap.collect.requests import content_type_of, key_of, read_body

MAX_BODY_BYTES = 16 * 1024 * 1024
#: Of all definitions at once: a hundred thousand maps fit.
MAX_SET_BYTES = 128 * 1024 * 1024
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses requests without the right to do what they ask."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def check(self, request: Request, *needed: str) -> None:
        """Let ``request`` pass if its key has all of the ``needed`` rights.

        Raises:
            Refusal: 401 without a known key, 403 without the rights, or when a page of another site asks for a change.
        """
        if request.method not in _SAFE_METHODS and _is_from_elsewhere(request):
            raise Refusal(403, "a page of another site may not change anything here")
        rights = self._keys.rights(key_of(request))
        if rights is None:
            raise Refusal(401, "send an API key: Authorization: Bearer <key>")
        missing = [right for right in needed if right not in rights]
        if missing:
            raise Refusal(403, f"this key has no right to {' and '.join(missing)}")


def _is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that a page of another site, or of another port, has made it send ``request``."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = request.headers.get("origin")
    # An origin that its browser hides ("null") has no host, so it is another one.
    return origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower()


async def json_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> Any:
    """The JSON value of the body, of at most ``max_bytes``.

    Raises:
        Refusal: 415 when it is not declared as JSON, 400 when it is no JSON; and what `read_body` raises.
    """
    # A page of another site may send a form or text to loopback unasked, but not this type.
    if content_type_of(request) != "application/json":
        raise Refusal(415, "send JSON, as Content-Type: application/json")
    body = await read_body(request, max_bytes)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}") from None

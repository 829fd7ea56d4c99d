"""What every request goes through: the key's rights, and a body of bounded size."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request

from actionmap.admin.auth import ApiKeys
from actionmap.admin.errors import Refusal
from actionmap.collect.collector import key_of

MAX_BODY_BYTES = 16 * 1024 * 1024


class Guard:
    """Refuses requests without the right to do what they ask."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def check(self, request: Request, *needed: str) -> None:
        """Let ``request`` pass if its key has all of the ``needed`` rights.

        Raises:
            Refusal: 401 without a known key, 403 without the rights.
        """
        rights = self._keys.rights(key_of(request))
        if rights is None:
            raise Refusal(401, "send an API key: Authorization: Bearer <key>")
        missing = [right for right in needed if right not in rights]
        if missing:
            raise Refusal(403, f"this key has no right to {' and '.join(missing)}")


async def json_body(request: Request) -> Any:
    """The JSON value of the body.

    Raises:
        Refusal: 415 when it is not declared as JSON, 413 when it is too large, 400 when it is no JSON.
    """
    # A page of another site may send a form or text to loopback unasked, but not this type.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "send the definition as Content-Type: application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, f"at most {MAX_BODY_BYTES:,} bytes are taken")
    try:
        return msgspec.json.decode(bytes(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}") from None

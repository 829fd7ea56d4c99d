"""What the collector and the admin API read of a request alike: its key, and a body of bounded size."""

from __future__ import annotations

import asyncio
import base64
import binascii

from fastapi import Request
from starlette.requests import ClientDisconnect

from actionmap.collect.problem import Refusal

#: Seconds in which a body must have come, so that slow senders cannot hold connections for ever.
BODY_TIMEOUT_S = 10.0


def key_of(request: Request) -> str | None:
    """The API key of ``request``: bearer token, or ``X-API-Key``."""
    scheme, credentials = _authorization(request)
    if scheme == "bearer" and credentials:
        return credentials
    return request.headers.get("x-api-key") or None


def beacon_key_of(request: Request) -> str | None:
    """As `key_of`, or the user name of Basic, or ``?key=``: for what cannot set a header of its own.

    An address ends up in logs and a browser repeats Basic by itself, so neither is for a key that may do more.
    """
    if key := key_of(request):
        return key
    scheme, credentials = _authorization(request)
    if scheme == "basic":
        try:
            name, _, _ = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return name or None
    return request.query_params.get("key") or None


def _authorization(request: Request) -> tuple[str, str]:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return scheme.lower(), credentials.strip()


def content_type_of(request: Request) -> str:
    """The type of the body, in lower case and without its parameters; "" where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, of which never more than ``max_bytes`` are kept.

    Raises:
        Refusal: 415 when it is compressed, 413 when it is too large, 408 when it is too slow, 400 when it breaks off.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "a compressed body is not taken; send it as it is")
    too_large = Refusal(413, f"the body is larger than {max_bytes:,} bytes")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise Refusal(400, "the connection ended before the body did") from None
    return bytes(body)

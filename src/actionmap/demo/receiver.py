"""A real HTTP receiver on loopback: keeps what it is sent, and checks signatures with code of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actionmap.process import wall_clock

Scheme = Literal["standardWebhooks", "xHubSignature", "xHubSignature256"]

#: Where a POST is answered with an access token, and not kept.
TOKEN_PATH = "/oauth/token"  # noqa: S105 - where tokens come from
_ACCESS_TOKEN = {"access_token": "sample", "token_type": "Bearer", "expires_in": 3600}

#: Seconds by which the time in a signature may differ from ours.
TOLERANCE_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came in."""

    method: str
    #: Path and query, still encoded.
    path: str
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes
    #: Milliseconds since 1970.
    at: int
    #: What was answered.
    status: int


class Receiver:
    """Listens on a free port of 127.0.0.1 while its ``async with`` block runs.

    Args:
        signed: Path prefix → scheme and secret: such requests are answered 401 unless they are signed so.
        port: The port to listen on; 0 takes a free one.
        keep: How many requests are kept, the newest ones; None keeps all.
    """

    def __init__(
        self, signed: Mapping[str, tuple[Scheme, str]] | None = None, *, port: int = 0, keep: int | None = None
    ) -> None:
        self._signed = dict(signed or {})
        self._port = port
        self._keep = keep
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        #: What came in, in order of arrival.
        self.requests: list[Received] = []
        #: Where it listens, such as ``http://127.0.0.1:43211``; empty before the block.
        self.url = ""

    async def __aenter__(self) -> Receiver:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:(?s:.*)}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        """The requests so far, as soon as there are at least ``count``.

        Raises:
            TimeoutError: there were fewer after ``timeout_s`` seconds.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return list(self.requests)

    async def _receive(self, request: web.Request) -> web.Response:
        if request.method == "POST" and request.path.endswith(TOKEN_PATH):
            return web.json_response(_ACCESS_TOKEN)
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = 200 if self._is_genuine(request.path, headers, body) else 401
        received = Received(
            method=request.method,
            path=request.raw_path,
            headers=headers,
            body=body,
            at=wall_clock(),
            status=status,
        )
        async with self._changed:
            self.requests.append(received)
            if self._keep is not None:
                del self.requests[: max(0, len(self.requests) - self._keep)]
            self._changed.notify_all()
        return web.json_response({"ok": status == 200}, status=status)

    def _is_genuine(self, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        for prefix, (scheme, secret) in self._signed.items():
            if path.startswith(prefix):
                return is_genuine(scheme, secret, headers, body, now_s=time.time())
        return True


def is_genuine(scheme: Scheme, secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float) -> bool:
    """Whether ``body`` was signed with ``secret``.

    Written apart from what signs, after the schemes' own texts, so that the two cannot be wrong together.

    Args:
        scheme: How it should be signed.
        secret: The shared secret; after ``whsec_`` it is base64, after ``whsk_`` an ed25519 key in base64.
        headers: The request's headers, names in lower case.
        body: The request's body.
        now_s: Seconds since 1970.
    """
    key = base64.b64decode(secret[6:] + "==") if secret.startswith("whsec_") else secret.encode()
    if scheme == "xHubSignature":
        expected = "sha1=" + hmac.digest(key, body, hashlib.sha1).hex()
        return hmac.compare_digest(expected.encode(), headers.get("x-hub-signature", "").encode())
    if scheme == "xHubSignature256":
        expected = "sha256=" + hmac.digest(key, body, hashlib.sha256).hex()
        return hmac.compare_digest(expected.encode(), headers.get("x-hub-signature-256", "").encode())
    sent_at = headers.get("webhook-timestamp", "")
    if not (sent_at.isascii() and sent_at.isdigit() and abs(now_s - int(sent_at)) <= TOLERANCE_S):
        return False
    signed = b".".join((headers.get("webhook-id", "").encode(), sent_at.encode(), body))
    if secret.startswith("whsk_"):
        return _is_signed_1a(secret, headers.get("webhook-signature", ""), signed)
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # Several signatures may stand side by side while a secret is being changed.
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)


def _is_signed_1a(secret: str, signatures: str, signed: bytes) -> bool:
    public = Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret[5:] + "==")[:32]).public_key()
    for version, _, signature in (one.partition(",") for one in signatures.split(" ")):
        with suppress(InvalidSignature, binascii.Error):
            if version == "v1a":
                public.verify(base64.b64decode(signature), signed)
                return True
    return False

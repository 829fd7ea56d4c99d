"""A token endpoint on loopback that answers as a test says, and counts."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web


class TokenServer:
    """Gives out ``token-1``, ``token-2``, … while its ``async with`` block runs.

    Set ``answer`` to answer anything else, and clear ``may_answer`` to keep everybody waiting.
    """

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.answer: Callable[[web.Request], web.StreamResponse] | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()
        #: Headers and form of each request.
        self.requests: list[tuple[dict[str, str], dict[str, str]]] = []

    async def __aenter__(self) -> "TokenServer":
        app = web.Application()
        app.router.add_post("/token", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/token"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.may_answer.set()
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, form))
        self.asked.set()
        await self.may_answer.wait()
        if self.answer is not None:
            return self.answer(request)
        token = {"access_token": f"token-{len(self.requests)}", "token_type": "bearer", "expires_in": 3600}
        return web.json_response({name: value for name, value in (token | self.fields).items() if value is not None})


def client_of(headers: dict[str, str]) -> tuple[str, str]:
    """Id and secret that a client authenticated with by HTTP Basic, as RFC 6749 has them encoded."""
    client, _, secret = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode().partition(":")
    return unquote_plus(client), unquote_plus(secret)

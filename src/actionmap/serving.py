"""HTTP served by this process: apart from `process`, which also those use who only ask a server."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from typing import Any

import uvicorn
from fastapi import FastAPI

from actionmap.process import GRACE_S

#: Connections at a time; one more is answered 503. Slow clients are for the proxy in front to cut off.
_MAX_CONNECTIONS = 2_000


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:  # signals are ours: parts stop in order
        return nullcontext()


async def serve_http(app: FastAPI, listener: socket.socket) -> None:
    """Serve ``app`` on ``listener`` until cancelled."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_S,
                            limit_concurrency=_MAX_CONNECTIONS, server_header=False, date_header=False)  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        # Requests in flight are answered before the server ends.
        server.should_exit = True
        await serving

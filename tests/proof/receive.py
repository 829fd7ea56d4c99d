"""One receiver for all runs, each under a path of its own: keeps what came, and has moods."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web
from cuts import Cut
from oracle import Sent
from scenario import Mood


@dataclass
class Mailbox:
    """What one run receives, and how it answers."""

    moods: Mapping[int, Mood]
    #: Called with the number of requests so far.
    on_received: Callable[[int], None]
    sent: list[Sent] = field(default_factory=list)
    #: The process to kill with its n-th request in this life, and when; n counts down.
    cut: Cut | None = None
    pid: int = 0
    was_cut: bool = False

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Keep ``request``, and answer it as the plan says."""
        body = (await request.read()).decode()
        status = 200 if not request.path.endswith("/gone") else 410
        mood = self.moods.get(len(self.sent) + 1)
        if mood is not None:
            status = 503 if mood == "503" else 0
        dies = self._is_cut()
        if dies == "received":
            status = 0
        self.sent.append(Sent(request.headers["webhook-id"], request.method, request.raw_path, body, status))
        self.on_received(len(self.sent))
        if dies == "received":
            self._kill()
        answer = web.Response(status=status or 200)
        if status:
            with suppress(ConnectionError):  # whoever asked may be dead
                await answer.prepare(request)
                await answer.write_eof()
        elif request.transport is not None:
            request.transport.abort()
        if dies == "answered":
            self._kill()
        return answer

    def _is_cut(self) -> str:
        if self.cut is None or self.was_cut:
            return ""
        self.cut = self.cut._replace(nth=self.cut.nth - 1)
        return self.cut.when if self.cut.nth == 0 else ""

    def _kill(self) -> None:
        if self.pid:
            self.was_cut = True
            os.kill(self.pid, signal.SIGKILL)


class Receivers:
    """Listens on loopback, and hands each request to the mailbox that its path begins with."""

    def __init__(self) -> None:
        self._mailboxes: dict[str, Mailbox] = {}
        self._runner: web.AppRunner | None = None
        self._url = ""

    def open(self, name: str, mailbox: Mailbox) -> str:
        """Where requests for ``mailbox`` go."""
        self._mailboxes[name] = mailbox
        return f"{self._url}/{name}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{name}/{path}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        return await self._mailboxes[request.match_info["name"]].take(request)

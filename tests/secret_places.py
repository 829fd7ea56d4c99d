"""A secret with a marker in every place that takes one, and a receiver that tells everything it is told."""

import json
from base64 import b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from aiohttp import web

#: What no output may hold, in any case and in the encodings that secrets travel in.
MARKERS = tuple(f"mark{number:02}er" for number in range(30))
_numbers = iter(range(len(MARKERS)))


def secret(form: str = "{}+/%&=\"'") -> str:
    """A new secret with a marker of its own."""
    return form.format(MARKERS[next(_numbers)])


def found(texts: Iterable[str | bytes]) -> list[str]:
    """Where ``texts`` show a marker: what stands around each."""
    hits = []
    for text in texts:
        plain = text.decode(errors="replace") if isinstance(text, bytes) else text
        low = plain.lower()
        for marker in MARKERS:
            for form in (marker, quote(marker), *_in_base64(marker)):
                at = low.find(form.lower()) if form == marker else plain.find(form)
                if at >= 0:
                    hits.append(f"{marker}: …{plain[max(0, at - 60) : at + 40]}…")
    return hits


def _in_base64(marker: str) -> list[str]:
    """What base64 makes of ``marker`` wherever it stands, without its ends, which depend on what is beside it."""
    return [b64encode(b"x" * shift + marker.encode()).decode().rstrip("=")[4:-2] for shift in range(3)]


class TellTale:
    """Answers every request with all that it holds, in the status line, the headers and the body.

    The path says how: ``/status/<code>/…``, ``/token``, which refuses in the same way, and ``/give``, which gives a
    token with a marker.
    """

    def __init__(self) -> None:
        self.access_token = secret("{}-token")
        self.requests = 0

    async def __aenter__(self) -> "TellTale":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        self.requests += 1
        body = (await request.read()).decode()
        if request.path.endswith("/give"):
            return web.json_response({"access_token": self.access_token})
        sent = {name.lower(): value for name, value in request.headers.items()}
        known = sent.get("authorization", "") or sent.get("x-key", "") or body
        told: dict[str, Any] = {"error": known, "headers": sent, "body": body, "form": quote(known)}
        status = int(request.path.split("/status/")[1].partition("/")[0]) if "/status/" in request.path else 401
        word = known.split(" ")[-1]
        headers = {
            "Location": f"https://{word}.example.com/{quote(known)}",
            "WWW-Authenticate": f'Basic realm="{word}"',
        }
        return web.Response(status=status, reason=f"No {word}", text=json.dumps(told), headers=headers)

"""One application for many tests: to build it takes ten times as long as most of them.

It is built of parts that stand for those of the server that is asked, which each test has for itself.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

_answering: ContextVar[dict[str, Any]] = ContextVar("_answering")


class Part:
    """Stands for a part of the server that answers the request; while none does, so do its attributes."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    def __getattr__(self, name: str) -> Any:
        try:
            part = self._find()
        except LookupError:  # the application is being built
            return Part(lambda: getattr(self._find(), name))
        return getattr(part, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._find()(*args, **named)


def part_of_each(name: str) -> Any:
    """What stands for the part with that name of each server."""
    return Part(lambda: _answering.get()[name])


class Answering:
    """``app`` with the parts of one server."""

    def __init__(self, app: ASGIApp, parts: dict[str, Any]) -> None:
        self._app, self._parts = app, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        before = _answering.set(self._parts)
        try:
            await self._app(scope, receive, send)
        finally:
            _answering.reset(before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

"""Errors of actionmap as problem details (RFC 9457)."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from actionmap.collect.problem import Refusal, problem
from actionmap.errors import (
    ActionmapError,
    Conflict,
    DefinitionError,
    LifecycleError,
    NotFound,
    RevisionRefused,
    Unreachable,
)
from actionmap.telemetry import logger


def answer(error: ActionmapError) -> Response:
    """The response that tells ``error``."""
    match error:
        case Refusal():
            return error.response()
        case DefinitionError():
            status = 409 if isinstance(error, LifecycleError) else 422
            errors = [
                {"subject": finding.subject, "path": finding.path, "message": finding.message}
                for finding in error.findings
            ]
            return problem(status, f"{len(errors)} finding(s): {error.findings[0].message}", errors=errors)
        case NotFound():
            return problem(404, str(error))
        case Conflict():
            return problem(409, f"{error}; read it again and retry")
        case Unreachable():
            return problem(503, str(error), retry_after_s=1)
        case RevisionRefused():
            return problem(503, str(error))  # until a person has done something, however often it is asked
        case _:
            return problem(400, str(error))


def _methods(request: Request) -> list[str]:
    """What may be asked of the path; Starlette itself names the methods of the first of its routes alone."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(one.matches({**request.scope, "method": method})[0] is Match.FULL for one in request.app.routes)
    ]


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error as a problem."""
    log = logger("admin")

    @app.exception_handler(ActionmapError)
    async def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, ActionmapError)
        return answer(error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
        return problem(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [
            {"path": ".".join(str(part) for part in one["loc"]), "message": str(one["msg"])} for one in error.errors()
        ]
        return problem(422, "; ".join(f"{one['path']}: {one['message']}" for one in errors), errors=errors)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        log.error("request.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
        return problem(500, "this is a bug of actionmap; the log says more")

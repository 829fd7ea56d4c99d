"""DataAction: the contract, and the HTTP request that carries it."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, Field

from actionmap.catalog.models.base import Definition, Model, Name
from actionmap.catalog.models.integration import OwnHeaderName

SuccessStatus = Annotated[str, Field(pattern=r"^[1-5]([0-9]{2}|xx)$")] | Annotated[int, Field(ge=100, le=599)]


def _check_header_value(text: str) -> str:
    if "{{" in text:
        raise ValueError("a template in a header is not acted on yet; put the value into params or the body")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("a header value has no control characters")
    return text


def _check_path(path: str) -> str:
    literal = re.sub(r"\{\{.*?\}\}", "x", path)
    if any(segment in (".", "..") for segment in unquote(literal).split("/")):
        raise ValueError("a path has no '.' or '..' between its slashes")
    if path.startswith("//") or "://" in literal:
        raise ValueError("a path follows the integration's baseUrl; it names no scheme and no host")
    if any(character.isspace() or ord(character) < 32 or character in "\\#?" for character in literal):
        raise ValueError("a path has no spaces, backslashes, '?' or '#'; use params for the query")
    return path


HeaderValue = Annotated[str, AfterValidator(_check_header_value)]


class Contract(Model):
    """Input and output of a data action, as JSON Schema; the input is a flat object of scalars."""

    input: dict[str, Any]
    output: dict[str, Any] = {}


class Request(Model):
    """The HTTP request: ``{{ field }}`` of the input contract may stand in path, params and body."""

    method: Literal["GET", "POST", "PUT", "PATCH", "HEAD", "DELETE", "OPTIONS"] = "POST"
    path: Annotated[str, AfterValidator(_check_path), Field(max_length=2000)] = ""
    headers: dict[OwnHeaderName, HeaderValue] = {}
    params: dict[str, str] = {}
    content_type: Literal["json"] = "json"
    body: Any = None
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5


class Response(Model):
    """Which statuses mean success."""

    success_statuses: Annotated[tuple[SuccessStatus, ...], Field(min_length=1, strict=False)] = ("2xx",)


class DataAction(Definition):
    """A contract and the HTTP request that carries it; only a published one is ever sent."""

    kind_name: ClassVar[str] = "DataAction"

    integration: Name
    state: Literal["draft", "published"] = "draft"
    contract: Contract
    request: Request = Request()
    response: Response = Response()

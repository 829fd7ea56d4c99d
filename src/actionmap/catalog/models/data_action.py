"""DataAction: the contract, and the HTTP request that carries it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, Field

from actionmap.catalog.answer_paths import compile_answer_path
from actionmap.catalog.models.base import Definition, Model, Name
from actionmap.catalog.models.headers import OwnHeaderName
from actionmap.catalog.places import without_places

SuccessStatus = Annotated[str, Field(pattern=r"^[1-5]([0-9]{2}|xx)$")] | Annotated[int, Field(ge=100, le=599)]


def _check_header_value(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("a header value has no control characters")
    return text


def _check_path(path: str) -> str:
    literal = without_places(path)
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
    """JSON Schema of what a webhook maps values to: a flat object of scalars."""
    output: dict[str, Any] = {}
    """JSON Schema of the answer."""


class Request(Model):
    """The HTTP request: ``{{ field }}`` of the input contract may stand in path, headers, params and body.

    A body without ``body`` (POST, PUT, PATCH) is the input object. ``xml`` takes the document as a text, with values in
    elements and attributes; ``formEncoded`` and ``formData`` take a mapping of names to values or lists of them.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "HEAD", "DELETE", "OPTIONS"] = "POST"
    """The HTTP method."""
    path: Annotated[str, AfterValidator(_check_path), Field(max_length=2000)] = ""
    """What follows the integration's `baseUrl`."""
    headers: dict[OwnHeaderName, HeaderValue] = {}
    """Headers beside those that actionmap and HTTP set."""
    params: dict[str, str] = {}
    """The query."""
    content_type: Literal["json", "xml", "formEncoded", "formData"] = "json"
    """How the body is written."""
    body: Any = None
    """The body; without it, the input object."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    """How long one attempt may take."""


def _check_answer_path(path: str) -> str:
    compile_answer_path(path)
    return path


AnswerPath = Annotated[str, AfterValidator(_check_answer_path), Field(examples=["$.lead.id", "users.0.title"])]
#: What a value from an answer is called: one part of a path, such as ``leadId`` in ``visitor.variables.leadId``.
ValueName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]


class Response(Model):
    """Which statuses mean success, and what is taken out of a successful answer.

    ``variables`` become visitor variables, ``traits`` visitor traits, each by a JSONPath or a dot path into the JSON or
    XML of the answer. ``onFailure`` are the variables that are set when the delivery is given up.
    """

    success_statuses: Annotated[tuple[SuccessStatus, ...], Field(min_length=1, strict=False)] = ("2xx",)
    """The statuses that mean success: `2xx`, or `204`."""
    variables: Annotated[dict[ValueName, AnswerPath], Field(max_length=50)] = {}
    """Visitor variables, each by its path into the answer."""
    traits: Annotated[dict[ValueName, AnswerPath], Field(max_length=50)] = {}
    """Visitor traits, each by its path into the answer."""
    on_failure: Annotated[dict[ValueName, str | int | float | bool | None], Field(max_length=50)] = {}
    """Visitor variables that are set when the delivery is given up."""


class DataAction(Definition):
    """A contract and the HTTP request that carries it; only a published one is ever sent."""

    kind_name: ClassVar[str] = "DataAction"

    integration: Name
    """Where it is sent."""
    state: Literal["draft", "published"] = "draft"
    """Only a published one is ever sent."""
    contract: Contract
    """What goes in, and what comes back."""
    request: Request = Request()
    """The HTTP request."""
    response: Response = Response()
    """What is made of the answer."""

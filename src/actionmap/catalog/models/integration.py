"""Integration: where requests go."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from actionmap.catalog.models.base import Definition, Model

#: The only names that a reference may use, so that no definition can read another part of the environment.
SECRET_REFERENCE = re.compile(r"^\$\{(ACTIONMAP_SECRET_[A-Z0-9_]{1,100})\}\Z", re.ASCII)


def _check_secret(text: str) -> str:
    if not SECRET_REFERENCE.match(text):
        raise ValueError(
            'write a reference to the environment, such as "${ACTIONMAP_SECRET_CRM}"; a secret written out in a '
            "definition is not acted on yet"
        )
    return text


def _check_base_url(url: str) -> str:
    if "{{" in url:
        raise ValueError("a template in baseUrl is not acted on yet; put it into the data action's path")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("user and password do not belong in a URL; use auth: {type: basic, …}")
    if parts.query or parts.fragment:
        raise ValueError("baseUrl has no query and no fragment; use the data action's params")
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise ValueError("a URL has no spaces, backslashes or control characters")
    return url


#: HTTP itself sets these; given by somebody else they make the receiver see a different request than we sent.
HTTP_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
#: Set from the integration and the delivery, so that a definition's own would be overwritten.
DELIVERY_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-hub-signature",
        "x-hub-signature-256",
    }
)


def _check_header(text: str) -> str:
    if text.lower() in HTTP_HEADERS:
        raise ValueError(f"the header {text} is set by HTTP itself; take it out")
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}", text):
        raise ValueError(f"{text!r} is no header name")
    return text


#: ``${ACTIONMAP_SECRET_…}``: the reference is stored, the value is read when a request is sent.
Secret = Annotated[str, AfterValidator(_check_secret), Field(examples=["${ACTIONMAP_SECRET_CRM}"])]
HeaderName = Annotated[str, AfterValidator(_check_header)]


def _check_own_header(text: str) -> str:
    if text.lower() in DELIVERY_HEADERS:
        raise ValueError(f"the header {text} is set by actionmap, from auth, signing and the delivery's id")
    return text


#: A header that a definition may set without being overwritten.
OwnHeaderName = Annotated[HeaderName, AfterValidator(_check_own_header)]


class NoAuth(Model):
    """Requests carry no credentials."""

    type: Literal["none"] = "none"


class BasicAuth(Model):
    """``Authorization: Basic …``."""

    type: Literal["basic"]
    username: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f\x7f]+$")]
    password: Secret


class BearerAuth(Model):
    """``Authorization: Bearer …``."""

    type: Literal["bearer"]
    token: Secret


class ApiKeyAuth(Model):
    """A key in a header of its own."""

    type: Literal["apiKey"]
    header: HeaderName
    value: Secret


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | ApiKeyAuth, Field(discriminator="type")]


class Signing(Model):
    """How requests are signed, so that the receiver can tell that they are ours.

    ``standardWebhooks``: ``webhook-signature: v1,…`` (HMAC-SHA256 over id, timestamp and body; the secret may begin
    with ``whsec_``, then the rest is base64). ``xHubSignature`` / ``xHubSignature256``: ``X-Hub-Signature: sha1=…`` /
    ``X-Hub-Signature-256: sha256=…`` over the body.
    """

    scheme: Literal["standardWebhooks", "xHubSignature", "xHubSignature256", "none"]
    secret: Secret | None = None

    @model_validator(mode="after")
    def _secret_to_sign_with(self) -> Self:
        if self.scheme != "none" and self.secret is None:
            raise ValueError(f"{self.scheme} needs a secret to sign with")
        if self.scheme == "none" and self.secret is not None:
            raise ValueError("scheme: none signs nothing, so it takes no secret")
        return self


class Limits(Model):
    """What one integration is sent at most."""

    concurrency: Annotated[int, Field(ge=1, le=1000, description="requests in flight, per worker")] = 8
    max_body_bytes: Annotated[int, Field(ge=1, le=10_000_000)] = 32768


class Integration(Definition):
    """Where requests go: base URL, authentication, signing; inactive, its deliveries are held."""

    kind_name: ClassVar[str] = "Integration"

    base_url: Annotated[str, AfterValidator(_check_base_url), Field(examples=["https://crm.example.com"])]
    auth: Auth = NoAuth()
    signing: Signing = Signing(scheme="none")
    limits: Limits = Limits()
    active: bool = True

    def secret_names(self) -> frozenset[str]:
        """The environment variables that its authentication and signing refer to."""
        texts = (*self.auth.model_dump().values(), self.signing.secret)
        return frozenset(found[1] for text in texts if (found := SECRET_REFERENCE.match(text or "")))

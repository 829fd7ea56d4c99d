"""Integration: where requests go."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from actionmap.catalog.models.auth import ApiKeyAuth, Auth, NoAuth, OAuth2ClientCredentials, Signing, secret_texts
from actionmap.catalog.models.base import DEFAULT_COMPANY, Definition, Model
from actionmap.catalog.places import split_base_url, without_places
from actionmap.catalog.secrets import SECRET_REFERENCE
from actionmap.vault import SEALED

#: What follows a place in a host: the rest of its label, two labels at least, a port.
_LITERAL_END = re.compile(r"[a-z0-9-]*(\.[a-z0-9-]+)*\.[a-z0-9-]+\.[a-z][a-z0-9-]*(:[0-9]+)?", re.IGNORECASE)


def _check_base_url(url: str) -> str:
    literal = without_places(url, same_length=True)
    try:
        parts = urlsplit(literal)
        _ = parts.port
    except ValueError as error:
        shown = "it" if "@" in url else repr(url)
        raise ValueError(f"{shown} is no URL") from error
    # First, so that a password in a URL is in no message about it.
    if parts.username is not None or parts.password is not None:
        raise ValueError("user and password do not belong in a URL; use auth: {type: basic, …}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https URL")
    if parts.query or parts.fragment:
        raise ValueError("baseUrl has no query and no fragment; use the data action's params")
    if re.search(r"[\s\\\x00-\x1f\x7f]", literal):
        raise ValueError("a URL has no spaces, backslashes or control characters")
    origin, _ = split_base_url(url)
    _, place, end = origin.rpartition("}}")
    if place and not _LITERAL_END.fullmatch(end):
        raise ValueError("a {{ }} in baseUrl's host stands left of a name that is written out, such as .example.com")
    return url


class Limits(Model):
    """What one integration is sent at most."""

    rate_per_second: Annotated[
        float | None, Field(ge=0.01, le=10_000, description="requests started, by all workers together")
    ] = None
    concurrency: Annotated[int, Field(ge=1, le=1000, description="requests in flight, per worker")] = 8
    max_body_bytes: Annotated[int, Field(ge=1, le=10_000_000)] = 32768
    """How large a body may be; a larger one is not sent."""


class Integration(Definition):
    """Where requests go: base URL, authentication, signing; inactive, its deliveries are held."""

    kind_name: ClassVar[str] = "Integration"

    base_url: Annotated[str, AfterValidator(_check_base_url), Field(examples=["https://crm.example.com"])]
    """What the URL of each of its data actions begins with."""
    auth: Auth = NoAuth()
    """How requests are authenticated."""
    signing: Signing = Signing(scheme="none")
    """How requests are signed."""
    limits: Limits = Limits()
    """What it is sent at most."""
    active: bool = True
    """Inactive, its deliveries are held."""

    @model_validator(mode="after")
    def _secrets_of_its_company(self) -> Self:
        """Whoever may write a company's definitions could send any other secret of the environment to itself."""
        own = f"ACTIONMAP_SECRET_{self.company.upper().replace('-', '_')}__"
        foreign = sorted(name for name in self.secret_names() if not name.startswith(own))
        if self.company != DEFAULT_COMPANY and foreign:
            raise ValueError(f"{foreign[0]} is not a secret of {self.company}; those of a company begin with {own}")
        return self

    @model_validator(mode="after")
    def _headers_of_their_own(self) -> Self:
        if isinstance(self.auth, ApiKeyAuth) and self.auth.header.lower() == (self.signing.header or "").lower():
            raise ValueError("auth and signing cannot stand in the same header")
        return self

    def urls(self) -> dict[str, str]:
        """Where requests go, by path in the definition."""
        urls = {"baseUrl": self.base_url}
        if isinstance(self.auth, OAuth2ClientCredentials):
            urls["auth.tokenUrl"] = self.auth.token_url
        return urls

    def secret_names(self) -> frozenset[str]:
        """The environment variables that its authentication and signing refer to."""
        texts = secret_texts(self.auth, self.signing)
        return frozenset(found[1] for text in texts if (found := SECRET_REFERENCE.match(text)))

    def sealed_secrets(self) -> tuple[str, ...]:
        """Its secrets that were written out, as they are stored."""
        return tuple(text for text in secret_texts(self.auth, self.signing) if SEALED.match(text))

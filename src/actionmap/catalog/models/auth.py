"""How requests of an integration are authenticated and signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from actionmap.catalog.models.base import Model
from actionmap.catalog.models.headers import HeaderName
from actionmap.catalog.secrets import Secret, SecretText, check_reference, is_written_out, secret_bytes

#: How many secrets may sign at a time: a `webhook-signature` of so many stays below 1 KB.
MOST_SECRETS = 10

#: Who we are to the receiver: a text that anybody may see, or a reference.
Identity = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_reference)]


def _check_token_url(url: str) -> str:
    if "{{" in url or "${" in url:
        raise ValueError("tokenUrl holds no template and no reference")
    if re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise ValueError("a URL has no spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    # What is wrong may be the place of a password, so it is not shown.
    if not is_one:
        raise ValueError("tokenUrl is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("user and password do not belong in a URL; use clientId and clientSecret")
    if parts.fragment:
        raise ValueError("tokenUrl has no fragment")
    return url


class NoAuth(Model):
    """Requests carry no credentials."""

    type: Literal["none"] = "none"
    """Which authentication."""


class BasicAuth(Model):
    """``Authorization: Basic …``."""

    type: Literal["basic"]
    """Which authentication."""
    username: Annotated[Identity, Field(pattern=r"^[^:\x00-\x1f\x7f]+$")]
    """Who we are to the receiver."""
    password: Secret
    """The password; shown masked."""


class BearerAuth(Model):
    """``Authorization: Bearer …``."""

    type: Literal["bearer"]
    """Which authentication."""
    token: Secret
    """The token; shown masked."""


class ApiKeyAuth(Model):
    """A key in a header of its own."""

    type: Literal["apiKey"]
    """Which authentication."""
    header: HeaderName
    """The header that carries the key."""
    value: Secret
    """The key; shown masked."""


class OAuth2ClientCredentials(Model):
    """``Authorization: Bearer …`` with a token that ``tokenUrl`` gives (RFC 6749, 4.4), kept while it lasts.

    ``clientAuthentication``: id and secret go in ``Authorization: Basic …``, which every such server takes, or in the
    body, for those that take nothing else.
    """

    type: Literal["oauth2ClientCredentials"]
    """Which authentication."""
    token_url: Annotated[str, AfterValidator(_check_token_url), Field(examples=["https://login.example.com/token"])]
    """Where tokens are asked for."""
    client_id: Annotated[Identity, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
    """Who we are to the authorization server."""
    client_secret: Secret
    """Its secret; shown masked."""
    scope: Annotated[
        str, Field(max_length=1000, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$")
    ] = Field(default="", validate_default=False)
    """The scopes that are asked for, with spaces between them."""
    client_authentication: Literal["basic", "body"] = "basic"
    """Where id and secret go."""


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | ApiKeyAuth | OAuth2ClientCredentials, Field(discriminator="type")]
#: The values of ``auth.type``.
AUTH_TYPES = ("none", "basic", "bearer", "apiKey", "oauth2ClientCredentials")


class Signing(Model):
    """How requests are signed, so that the receiver can tell that they are ours.

    ``standardWebhooks``: ``webhook-signature: v1,…`` (HMAC-SHA256 over id, timestamp and body; the secret may begin
    with ``whsec_``, then the rest is base64) or ``v1a,…`` (ed25519, where the secret begins with ``whsk_``); while a
    secret is being changed all of ``secrets`` sign. ``xHubSignature`` / ``xHubSignature256``: ``X-Hub-Signature:
    sha1=…`` / ``X-Hub-Signature-256: sha256=…`` over the body, or in the header that ``header`` names; it has place
    for one signature, so the first of ``secrets`` signs.
    """

    scheme: Literal["standardWebhooks", "xHubSignature", "xHubSignature256", "none"]
    """How requests are signed."""
    secret: Secret | None = None
    """What they are signed with; shown masked."""
    secrets: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=MOST_SECRETS, strict=False)] | None = None
    """In place of `secret` while one is being changed, the newest first; shown masked."""
    header: HeaderName | None = None
    """Where an X-Hub signature stands; without it, in its usual header."""

    @property
    def in_use(self) -> tuple[str, ...]:
        """The secrets, the newest first."""
        return self.secrets or ((self.secret,) if self.secret is not None else ())

    @model_validator(mode="after")
    def _secrets_to_sign_with(self) -> Self:
        if self.secret is not None and self.secrets is not None:
            raise ValueError("write secret, or secrets while one is being changed; not both")
        if self.scheme != "none" and not self.in_use:
            raise ValueError(f"{self.scheme} needs a secret to sign with")
        if self.scheme == "none" and (self.in_use or self.header):
            raise ValueError("scheme: none signs nothing, so it takes no secret and no header")
        for secret in filter(is_written_out, self.in_use):
            secret_bytes(secret)
            if secret.startswith("whsk_") and self.scheme != "standardWebhooks":
                raise ValueError("a secret that begins with whsk_ signs standardWebhooks only")
        return self

    @model_validator(mode="after")
    def _header_to_sign_in(self) -> Self:
        if self.header is None:
            return self
        if self.scheme == "standardWebhooks":
            raise ValueError("standardWebhooks has headers of its own, so it takes no header")
        if self.header.lower() in ("authorization", "accept-encoding", "user-agent", "content-type") or (
            self.header.lower().startswith("webhook-")
        ):
            raise ValueError(f"the header {self.header} means something else; name another one for the signature")
        return self


def secret_texts(auth: Auth, signing: Signing) -> Iterator[str]:
    """Every text of both in which a reference may stand: the secrets, and who we are to the receiver."""
    yield from (value for value in vars(auth).values() if isinstance(value, str))
    yield from signing.in_use


def secrets_of(auth: Auth, signing: Signing) -> Iterator[SecretText]:
    """The secrets of both, as the definition holds them: references, stored forms, masks, or written out."""
    yield from (text for text in secret_texts(auth, signing) if isinstance(text, SecretText))

"""Delivery + Integration → the request of one attempt: credentials and signature are added here, and only here."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from urllib.parse import unquote

from msgspec import Struct

from actionmap.catalog.models.integration import (
    HTTP_HEADERS,
    SECRET_REFERENCE,
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    Integration,
)
from actionmap.deliver.sign import signature_headers
from actionmap.delivery import Delivery
from actionmap.errors import SettingsError, Unrenderable

#: From a reference such as ``${ACTIONMAP_SECRET_CRM}`` to its value; raises SettingsError, which names the variable.
SecretReader = Callable[[str], str]

USER_AGENT = f"actionmap/{version('actionmap')}"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}")
_NO_TARGET = re.compile(r"[\x00-\x20\x7f\\#]")


class HttpRequest(Struct, frozen=True):
    """One HTTP request, ready to be sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None

    def __repr__(self) -> str:
        # Headers hold credentials: they must not end in a log or a traceback.
        return f"HttpRequest({self.method} to a URL with {len(self.headers)} headers)"


def environment_secrets(environ: Mapping[str, str]) -> SecretReader:
    """A reader of secrets from ``environ``, which is asked at each attempt."""

    def read(reference: str) -> str:
        found = SECRET_REFERENCE.match(reference)
        if found is None:
            raise SettingsError("a secret is not written as ${ACTIONMAP_SECRET_…}")
        value = environ.get(found[1], "")
        if not value:
            raise SettingsError(f"the secret {found[1]} is not set: set it in the environment of the workers")
        if _CONTROL.search(value):
            raise SettingsError(f"the secret {found[1]} holds a line end or another control character: set it without")
        return value

    return read


def build_request(
    delivery: Delivery, integration: Integration, read_secret: SecretReader, *, timestamp_s: int
) -> HttpRequest:
    """The request of one attempt.

    Args:
        delivery: What is owed.
        integration: Where it goes, as defined now.
        read_secret: Gives the values of the integration's secrets.
        timestamp_s: Seconds since 1970, for the signature.

    Raises:
        SettingsError: a secret is missing or unusable; the message names its variable. A person can mend that.
        Unrenderable: target, headers or body can never be sent.
    """
    url = integration.base_url.rstrip("/") + _checked_target(delivery.target)
    try:
        body = None if delivery.body is None else delivery.body.encode()
    except UnicodeEncodeError:
        raise Unrenderable("the body holds half a surrogate pair, which is no UTF-8") from None
    headers = _Headers()
    headers.put("User-Agent", USER_AGENT)
    for name, value in delivery.headers.items():
        if name.lower() in HTTP_HEADERS:
            raise Unrenderable(f"the header {name} is set by HTTP itself; take it out of the data action")
        headers.put(name, value)
    # What is not compressed cannot be a decompression bomb.
    headers.put("Accept-Encoding", "identity")
    headers.put("webhook-id", delivery.id)
    headers.put(delivery.idempotency_header, delivery.id)
    for name, value in (
        _credentials(integration, read_secret)
        | _signature(delivery, integration, read_secret, body or b"", timestamp_s)
    ).items():
        headers.put(name, value)
    return HttpRequest(delivery.method, url, headers.as_dict(), body)


class _Headers:
    """Headers by name, whatever its case: the later one wins, so a definition cannot overwrite a credential."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[str, str]] = {}

    def put(self, name: str, value: str) -> None:
        if not _HEADER_NAME.fullmatch(name):
            raise Unrenderable(f"{name[:50]!r} is no header name")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unrenderable(f"the header {name} holds half a surrogate pair") from None
        if _CONTROL.search(value):
            raise Unrenderable(f"the header {name} holds a line end or another control character")
        self._by_name[name.lower()] = (name, value)

    def as_dict(self) -> dict[str, str]:
        return dict(self._by_name.values())


def _checked_target(target: str) -> str:
    """``target``, beginning with ``/`` or ``?``: it can add to the base URL's path but never change its host."""
    if _NO_TARGET.search(target):
        raise Unrenderable("the path holds a space, a backslash, '#' or a control character")
    path = target.partition("?")[0]
    # A visitor's value may be `..`: URL parsers fold it, also as %2e%2e, and the request would go to another path.
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
        raise Unrenderable("the path holds a '.' or '..' segment, which would lead to another path")
    try:
        target.encode()
    except UnicodeEncodeError:
        raise Unrenderable("the path holds half a surrogate pair") from None
    return target if target.startswith(("/", "?")) or not target else "/" + target


def _credentials(integration: Integration, read_secret: SecretReader) -> dict[str, str]:
    auth = integration.auth
    if isinstance(auth, BasicAuth):
        pair = f"{auth.username}:{read_secret(auth.password)}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}
    if isinstance(auth, BearerAuth):
        return {"Authorization": "Bearer " + read_secret(auth.token)}
    if isinstance(auth, ApiKeyAuth):
        return {auth.header: read_secret(auth.value)}
    return {}


def _signature(
    delivery: Delivery, integration: Integration, read_secret: SecretReader, body: bytes, timestamp_s: int
) -> dict[str, str]:
    signing = integration.signing
    if signing.scheme == "none":
        return {}
    if signing.secret is None:
        raise SettingsError(
            f"the integration {integration.name} signs requests but names no secret: add signing.secret"
        )
    try:
        return signature_headers(
            signing.scheme,
            message_id=delivery.id,
            timestamp_s=timestamp_s,
            body=body,
            secret=read_secret(signing.secret),
        )
    except ValueError as error:
        raise SettingsError(f"the signing secret of {integration.name} ({signing.secret}): {error}") from None

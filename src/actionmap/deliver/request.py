"""Delivery + Integration → the request of one attempt: credentials and signature are added here, and only here."""

from __future__ import annotations

import re
from importlib.metadata import version
from urllib.parse import unquote

from msgspec import Struct

from actionmap.catalog.models.headers import HTTP_HEADERS
from actionmap.catalog.models.integration import Integration
from actionmap.catalog.secrets import masked
from actionmap.catalog.templates import fill_base_url
from actionmap.deliver.credentials import AttemptSecrets, authorization
from actionmap.deliver.sign import signature_headers
from actionmap.delivery import Delivery
from actionmap.errors import SettingsError, Unrenderable

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


def build_request(
    delivery: Delivery,
    integration: Integration,
    secrets: AttemptSecrets,
    *,
    timestamp_s: int,
    access_token: str | None = None,
) -> HttpRequest:
    """The request of one attempt.

    Args:
        delivery: What is owed.
        integration: Where it goes, as defined now.
        secrets: Reads the integration's secrets.
        timestamp_s: Seconds since 1970, for the signature.
        access_token: For an integration with OAuth 2.

    Raises:
        SettingsError: a secret is missing or unusable; the message names its variable. A person can mend that.
        Unrenderable: target, headers or body can never be sent.
    """
    url = _base_url(integration, delivery).rstrip("/") + _checked_target(delivery.target)
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
        authorization(integration.auth, secrets, access_token)
        | _signature(delivery, integration, secrets, body or b"", timestamp_s)
    ).items():
        headers.put(name, value)
    return HttpRequest(delivery.method, url, headers.as_dict(), body)


def _base_url(integration: Integration, delivery: Delivery) -> str:
    try:
        return fill_base_url(integration.base_url, delivery.context)
    except Unrenderable as why:
        # It could be filled when the delivery was owed, so another base URL asks for something else now.
        raise SettingsError(f"the integration {integration.name}: its baseUrl was changed, and now {why}") from None


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


def _signature(
    delivery: Delivery, integration: Integration, secrets: AttemptSecrets, body: bytes, timestamp_s: int
) -> dict[str, str]:
    signing = integration.signing
    if signing.scheme == "none":
        return {}
    # A header that has place for one signature needs the first secret only.
    in_use = signing.in_use if signing.scheme == "standardWebhooks" else signing.in_use[:1]
    keys = [secrets.read(text) for text in in_use]
    try:
        return signature_headers(
            signing.scheme,
            message_id=delivery.id,
            timestamp_s=timestamp_s,
            body=body,
            secrets=keys,
            header=signing.header,
        )
    except ValueError as error:
        written = ", ".join(map(masked, in_use)) or "none"
        raise SettingsError(f"the signing secret of {integration.name} ({written}): {error}") from None

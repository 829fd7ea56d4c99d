"""Signatures by which a receiver can tell that a request is ours: pure functions of id, time, body and secrets.

Sources: https://www.standardwebhooks.com (version 1, HMAC-SHA256, and 1a, ed25519) and WebSub's ``X-Hub-Signature`` as
GitHub and Genesys use it. Written here because the ``standardwebhooks`` package mis-signs aware times that are not in
UTC and knows no ed25519; the tests verify with it and with ``svix``.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actionmap.catalog.secrets import secret_bytes

Scheme = Literal["standardWebhooks", "xHubSignature", "xHubSignature256", "none"]

_HUB = {"xHubSignature": ("X-Hub-Signature", "sha1"), "xHubSignature256": ("X-Hub-Signature-256", "sha256")}


def header_names(scheme: Scheme, header: str | None = None) -> tuple[str, ...]:
    """Names of the headers that `signature_headers` adds to those that every request has."""
    if scheme == "none":
        return ()
    return ("webhook-timestamp", "webhook-signature") if scheme == "standardWebhooks" else (header or _HUB[scheme][0],)


def signature_headers(
    scheme: Scheme,
    *,
    message_id: str,
    timestamp_s: int,
    body: bytes,
    secrets: Sequence[str],
    header: str | None = None,
) -> dict[str, str]:
    """The headers that sign one request.

    Args:
        scheme: How; ``none`` gives no headers.
        message_id: The delivery's id, the same at every attempt; without a dot, which separates the signed parts.
        timestamp_s: Seconds since 1970 of this attempt: each attempt is signed anew, so an old one cannot be replayed.
        body: Exactly the bytes that are sent.
        secrets: The secrets, the newest first, see `secret_bytes`. All of them sign ``standardWebhooks``, so that a
            receiver may know any of them; an X-Hub-Signature has place for one signature, which is the first one's.
        header: Where an X-Hub-Signature stands, instead of in the header of that name.

    Returns:
        Header names and values.

    Raises:
        ValueError: a secret is unusable, or the id holds a dot; the message shows no secret.
    """
    if scheme == "none":
        return {}
    if not secrets:
        raise ValueError("there is none")
    if scheme != "standardWebhooks":
        name, algorithm = _HUB[scheme]
        if secrets[0].startswith("whsk_"):
            raise ValueError("what begins with whsk_ signs standardWebhooks only")
        return {header or name: f"{algorithm}={hmac.new(secret_bytes(secrets[0]), body, algorithm).hexdigest()}"}
    if "." in message_id:
        raise ValueError("the id of a signed request holds no dot")
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    signatures = " ".join(_signature(secret, signed) for secret in secrets)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": signatures}


def _signature(secret: str, signed: bytes) -> str:
    key = secret_bytes(secret)
    if secret.startswith("whsk_"):
        return f"v1a,{base64.b64encode(_private_key(key).sign(signed)).decode()}"
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def _private_key(key: bytes) -> Ed25519PrivateKey:
    """The key of 32 bytes, behind which its public key may stand."""
    private = Ed25519PrivateKey.from_private_bytes(key[:32])
    if key[32:] not in (b"", private.public_key().public_bytes_raw()):
        raise ValueError("what follows whsk_ ends with another key's public key")
    return private

"""Signatures by which a receiver can tell that a request is ours: pure functions of id, time, body and secret.

Sources: https://www.standardwebhooks.com (version 1, HMAC-SHA256) and WebSub's ``X-Hub-Signature`` as GitHub and
Genesys use it. Written here because the ``standardwebhooks`` package mis-signs aware times that are not in UTC; the
tests verify with it and with ``svix``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Literal

Scheme = Literal["standardWebhooks", "xHubSignature", "xHubSignature256", "none"]

_PREFIX = "whsec_"


def signature_headers(scheme: Scheme, *, message_id: str, timestamp_s: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers that sign one request.

    Args:
        scheme: How; ``none`` gives no headers.
        message_id: The delivery's id, the same at every attempt; without a dot, which separates the signed parts.
        timestamp_s: Seconds since 1970 of this attempt: each attempt is signed anew, so an old one cannot be replayed.
        body: Exactly the bytes that are sent.
        secret: The shared secret. After ``whsec_`` it is base64 (padding may be missing), else its UTF-8 bytes count.

    Returns:
        Header names and values.

    Raises:
        ValueError: the secret is empty or not base64, or the id holds a dot; the message shows no secret.
    """
    if scheme == "none":
        return {}
    key = secret_bytes(secret)
    if scheme == "xHubSignature":
        return {"X-Hub-Signature": "sha1=" + hmac.new(key, body, "sha1").hexdigest()}
    if scheme == "xHubSignature256":
        return {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, "sha256").hexdigest()}
    if "." in message_id:
        raise ValueError("the id of a signed request holds no dot")
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": f"v1,{digest}"}


def secret_bytes(secret: str) -> bytes:
    """The key that ``secret`` stands for.

    Raises:
        ValueError: it is empty, or what follows ``whsec_`` is no base64; the message shows nothing of it.
    """
    if secret.startswith(_PREFIX):
        text = secret.removeprefix(_PREFIX).rstrip("=")
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("what follows whsec_ is no base64") from None
    else:
        key = secret.encode()
    if not key:
        raise ValueError("the secret is empty")
    return key

"""Names of headers that definitions may give."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

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


def _check_own_header(text: str) -> str:
    if text.lower() in DELIVERY_HEADERS:
        raise ValueError(f"the header {text} is set by actionmap, from auth, signing and the delivery's id")
    return text


HeaderName = Annotated[str, AfterValidator(_check_header)]
#: A header that a definition may set without being overwritten.
OwnHeaderName = Annotated[HeaderName, AfterValidator(_check_own_header)]

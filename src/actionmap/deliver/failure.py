"""An exchange that brought no answer → an Attempt with words for people: foreign errors are translated once, here.

httpx-aiohttp maps some of aiohttp's errors to httpx's, and not always well (a connection that broke off becomes
``ConnectTimeout``; an answer that is no HTTP passes unmapped), so the original is looked up in the chain of causes.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import aiohttp
import httpx
from aiohttp.http import HttpProcessingError

from actionmap.delivery import Attempt

#: Everything that an exchange may end with, other than an answer. TimeoutError and ssl.SSLError are OSErrors,
#: UnicodeError is a ValueError.
FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,
    ValueError,
)

_BAD_URL = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, httpx.InvalidURL, httpx.UnsupportedProtocol)
_BROKEN_OFF = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError, ConnectionError)


def failed(error: BaseException) -> Attempt:
    """The attempt that ended with ``error``, one of `FAILURES`; holds neither URL nor secret nor response."""
    chain = tuple(_causes(error))
    if any(isinstance(cause, _BAD_URL) for cause in chain):
        return Attempt("dead", error="the URL is none that can be requested: look at baseUrl and path")
    words = next(filter(None, map(_words, chain)), None)
    if words is None and any(isinstance(cause, ValueError) for cause in chain):
        return Attempt("dead", error=f"the request cannot be sent ({type(chain[-1]).__name__})")
    return Attempt("retry", error=words or f"the request failed ({type(chain[-1]).__name__})")


def broke_off(error: BaseException) -> bool:
    """Whether ``error`` says that a connection that existed broke off before an answer."""
    return any(
        isinstance(cause, _BROKEN_OFF) and not isinstance(cause, aiohttp.ClientConnectorError)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it came from, the outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _words(cause: BaseException) -> str | None:
    match cause:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(cause.certificate_error, "verify_message", "") or "it is not valid"
            return f"the TLS certificate is refused: {reason}"
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "TLS failed: the other side speaks none that is accepted"
        case aiohttp.ClientConnectorError():
            was_reset = isinstance(cause.os_error, ConnectionResetError)
            why = "the other side ended it, as for TLS it does not speak" if was_reset else "refused or unreachable"
            return f"no connection: {cause.os_error.strerror or why}"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return "the answer is no valid HTTP"
        case _ if isinstance(cause, _BROKEN_OFF):
            return "the connection broke off before an answer"
        case TimeoutError():
            return "no answer in time"
        case _:
            return None

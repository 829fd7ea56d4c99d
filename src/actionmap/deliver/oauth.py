"""Access tokens by OAuth 2 client credentials (RFC 6749, 4.4): asked for once, kept while they last, shared by all."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from math import inf, isfinite
from typing import cast
from urllib.parse import quote_plus, urlencode

import httpx
import msgspec
from msgspec import Struct

from actionmap.catalog.models.auth import OAuth2ClientCredentials
from actionmap.deliver.credentials import AttemptSecrets, basic
from actionmap.deliver.egress import EgressBlocked, EgressGuard
from actionmap.deliver.failure import FAILURES, failed
from actionmap.deliver.request import USER_AGENT, HttpRequest
from actionmap.errors import ActionmapError

#: Makes one request and returns status and body, of the latter no more than shows that it is too long; raises
#: EgressBlocked and `FAILURES`.
Ask = Callable[[HttpRequest], Awaitable[tuple[int, bytes]]]

#: A token endpoint has so long for everything, whatever the deliveries that wait for it allow themselves.
TOKEN_TIMEOUT_S = 10.0
#: A longer answer is refused.
MAX_TOKEN_ANSWER = 16 * 1024
#: How long a token is used that does not say how long it lasts, and at the longest.
_DEFAULT_LIFETIME_S, _LONGEST_S = 300.0, 86_400.0
#: A token is not used in its last minute; one of less than two minutes not in its last half.
_MARGIN_S = 60.0
#: A token endpoint that failed is left alone for so long, in which the attempts fail with the same words.
_PAUSE_S = 5.0
#: RFC 6749, 5.2. Other words of the answer may echo what was sent, so they are not shown.
_ERRORS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
     "invalid_scope"}
)  # fmt: skip


async def ask_token(
    request: HttpRequest, guard: EgressGuard, transports: Mapping[str, httpx.AsyncBaseTransport]
) -> tuple[int, bytes]:
    """Status and body that ``request`` is answered with; redirects are not followed, nothing is unpacked.

    Raises:
        EgressBlocked: it may not be sent.
        OSError, httpx.HTTPError, …: one of `FAILURES`.
    """
    guard.vet(request.url)
    outgoing = httpx.Request(request.method, request.url, headers=request.headers, content=request.body)
    response = await transports[outgoing.url.scheme].handle_async_request(outgoing)
    body = bytearray()
    try:
        async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_TOKEN_ANSWER:
                    break
    finally:
        await response.aclose()
    return response.status_code, bytes(body)


class NoToken(ActionmapError):
    """The token endpoint gave no access token; the message says why, in words for people, and shows no secret."""


class TokenBlocked(NoToken):
    """The egress guard lets nothing out to the token endpoint."""


#: RFC 6750, 2.1, and what else goes into a header; within bounds that servers take.
_TOKEN = re.compile(r"[\x21-\x7e]{1,12288}", re.ASCII)


class _Answer(Struct):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a kind of token, not one
    expires_in: float | str | None = None


class _Refusal(Struct):
    error: str = ""


class _Token(Struct, frozen=True):
    value: str
    lifetime_s: float

    def __repr__(self) -> str:
        return f"_Token(for {self.lifetime_s:g} s)"


class _Held:
    """One integration's token, or the question for it that is under way."""

    def __init__(self, asked_with: tuple[str, ...], answer: asyncio.Task[_Token]) -> None:
        self.asked_with = asked_with
        self.answer = answer
        #: When it is not used any more; known once the answer is.
        self.until = inf

    def has(self, token: str) -> bool:
        """Whether ``token`` is what was answered."""
        return self.until < inf and self.answer.exception() is None and self.answer.result().value == token


class AccessTokens:
    """The access tokens of all integrations.

    Args:
        ask: Makes one request, through the same egress guard as deliveries.
        monotonic: Seconds, of a clock that is never set.
    """

    def __init__(self, ask: Ask, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._held: dict[str, _Held] = {}
        #: The last token that a receiver refused.
        self._refused: dict[str, str] = {}

    async def token(self, integration: str, auth: OAuth2ClientCredentials, secrets: AttemptSecrets) -> str:
        """A token to send with; those who ask at the same time share one question.

        Raises:
            NoToken: there is none.
            SettingsError: id or secret of the client is missing or unusable.
        """
        client, secret = secrets.identity(auth.client_id), secrets.read(auth.client_secret)
        asked_with = (auth.token_url, client, secret, auth.scope, auth.client_authentication)
        held = self._held.get(integration)
        if held is None or held.asked_with != asked_with or held.until <= self._monotonic():
            request = _token_request(auth, client, secret, secrets)
            held = _Held(asked_with, asyncio.create_task(self._fetched(request), name=f"token of {integration}"))
            held.answer.add_done_callback(partial(self._date, held))
            self._held[integration] = held
        # One attempt whose time is up must not take the answer away from the others that wait for it.
        token = await asyncio.shield(held.answer)
        return secrets.add(token.value)

    def drop(self, integration: str, token: str) -> None:
        """Forget ``token``, which the receiver refused, so that the next attempt asks for another one; once a token.

        Of many attempts that were refused with it, the first drops it, and what is held by then is a newer one; a
        server that hands out the same one again is not asked for a third.
        """
        held = self._held.get(integration)
        if held is not None and held.has(token) and self._refused.get(integration) != token:
            self._refused[integration] = token
            del self._held[integration]

    async def close(self) -> None:
        """Stop asking."""
        answers = [held.answer for held in self._held.values()]
        self._held.clear()
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    def _date(self, held: _Held, answer: asyncio.Task[_Token]) -> None:
        if answer.cancelled():
            return
        # Asking for the exception marks it as seen: everybody who waited for it may have run out of time.
        lifetime_s = _PAUSE_S if answer.exception() else answer.result().lifetime_s
        held.until = self._monotonic() + lifetime_s

    async def _fetched(self, request: HttpRequest) -> _Token:
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                status, body = await self._ask(request)
        except TimeoutError:
            raise NoToken(f"the token endpoint did not answer within {TOKEN_TIMEOUT_S:g} s") from None
        except EgressBlocked as error:
            raise TokenBlocked(f"tokenUrl is blocked: {error}") from None
        except FAILURES as error:
            raise NoToken(f"the token endpoint: {failed(error).error}") from None
        return _token(status, body)


def _token_request(auth: OAuth2ClientCredentials, client: str, secret: str, secrets: AttemptSecrets) -> HttpRequest:
    form = {"grant_type": "client_credentials"} | ({"scope": auth.scope} if auth.scope else {})
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/x-www-form-urlencoded",
        # It is asked rarely, and a connection that was kept may have been closed meanwhile.
        "Connection": "close",
    }
    if auth.client_authentication == "basic":
        # RFC 6749, 2.3.1: both are form-encoded first.
        headers["Authorization"] = basic(quote_plus(client), quote_plus(secret), secrets)
    else:
        form |= {"client_id": client, "client_secret": secret}
    return HttpRequest("POST", auth.token_url, headers, urlencode(form).encode())


def _token(status: int, body: bytes) -> _Token:
    """The token in an answer.

    Raises:
        NoToken: it holds none.
    """
    if len(body) > MAX_TOKEN_ANSWER:
        raise NoToken(f"the token endpoint answers status {status} with more than {MAX_TOKEN_ANSWER // 1024} KB")
    if not 200 <= status <= 299:
        raise NoToken(f"the token endpoint answers status {status}{_why(body)}")
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NoToken(f"the token endpoint answers status {status}, but no JSON with an access_token") from None
    if answer.token_type.lower() != "bearer":
        raise NoToken("the token endpoint answers with a token that is no bearer token")
    if not _TOKEN.fullmatch(answer.access_token):
        raise NoToken("the token endpoint answers with a token that fits into no header")
    return _Token(answer.access_token, _lifetime_s(answer.expires_in))


def _why(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    hint = "; look at clientId and clientSecret" if error == "invalid_client" else ""
    return f" ({error}){hint}" if error in _ERRORS else ""


def _lifetime_s(expires_in: float | str | None) -> float:
    """How long a token is used that expires in so many seconds."""
    try:
        seconds = _DEFAULT_LIFETIME_S + _MARGIN_S if expires_in is None else float(expires_in)
    except ValueError:
        seconds = _DEFAULT_LIFETIME_S + _MARGIN_S
    if not isfinite(seconds) or seconds <= 0:
        return 0.0
    return min(max(seconds - _MARGIN_S, seconds / 2), _LONGEST_S)

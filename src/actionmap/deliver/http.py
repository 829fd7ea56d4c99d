"""Sends one delivery over HTTP: Delivery + Integration → Attempt. Everything here distrusts the receiver."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from actionmap.catalog.models.auth import OAuth2ClientCredentials
from actionmap.catalog.models.integration import Integration
from actionmap.deliver.answer import take
from actionmap.deliver.credentials import AttemptSecrets, SecretReader
from actionmap.deliver.egress import EgressBlocked, EgressGuard, GuardedResolver, Lookup, SystemLookup
from actionmap.deliver.failure import FAILURES, broke_off, failed
from actionmap.deliver.oauth import AccessTokens, NoToken, TokenBlocked, ask_token
from actionmap.deliver.probe import probe_origin, probe_token
from actionmap.deliver.request import HttpRequest, build_request
from actionmap.deliver.retry import meaning, parse_retry_after
from actionmap.delivery import MOST_OF_BODY, Attempt, Delivery
from actionmap.errors import SettingsError, Unrenderable

#: A response's body is read this far, so that short ones leave the connection usable; then it is cut off.
MAX_RESPONSE_BYTES = 64 * 1024
#: What the kernel keeps of what a receiver sends, and hands us at once: on it depends what a flood of short answers
#: (1xx) costs all others in one turn of the event loop.
_RECEIVE_BUFFER = 32 * 1024
#: To take values out of a longer answer costs more than to hand it to a thread, and would keep all others waiting.
_READ_AT_ONCE = 2048
#: Headers of an answer that tell something of what became of the request.
_SHOWN_HEADERS = ("Content-Type", "Content-Length", "Location", "Retry-After", "WWW-Authenticate")
#: Characters of each of them that are kept.
_MOST_OF_HEADER = 200


@dataclass(slots=True)
class _Exchange:
    """What is known so far of one exchange; what it ends with when its time is up."""

    #: The connection had served an earlier request.
    on_reused_connection: bool = False
    status: int | None = None
    retry_after: str | None = None
    location: str | None = None
    #: What went wrong after the status line.
    note: str | None = None
    content_type: str = ""
    #: Those that people are shown where they ask for it.
    headers: dict[str, str] = field(default_factory=dict)
    #: What was read of the body, as far as anything is taken out of it, and whether that is all.
    body: bytes = b""
    is_whole: bool = False


#: The exchange that this task is in. httpx-aiohttp passes nothing through to aiohttp's traces.
_current: ContextVar[_Exchange | None] = ContextVar("_current", default=None)


class HttpSender:
    """Sends deliveries; open it with ``async with``.

    Args:
        guard: Where requests may go.
        read_secret: Gives the values of the integrations' secrets.
        clock: Milliseconds since 1970, for signatures and ``Retry-After``.
        lookup: Asks DNS; the system's resolver when not given.
        ssl_context: TLS settings; certificates as httpx checks them (``SSL_CERT_FILE`` is read) when not given.
    """

    def __init__(
        self,
        guard: EgressGuard,
        read_secret: SecretReader,
        *,
        clock: Callable[[], int],
        lookup: Lookup | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._read_secret = read_secret
        self._clock = clock
        self._lookup = lookup
        self._ssl_context = ssl_context
        self._open = AsyncExitStack()
        self._transports: dict[str, AiohttpTransport] = {}
        self._dials_with: tuple[Lookup, ssl.SSLContext] | None = None
        self._ask = lambda request: ask_token(request, guard, self._transports)
        self._tokens = AccessTokens(self._ask)

    async def __aenter__(self) -> HttpSender:
        lookup = self._lookup
        if lookup is None:
            lookup = system = SystemLookup()
            self._open.callback(system.close)
        context = self._ssl_context or httpx.create_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        self._dials_with = (lookup, context)
        # Two connectors, because aiohttp does not tell its resolver for which scheme it asks.
        transports = {
            "http": _transport(GuardedResolver(self._guard, lookup, plain_http=True), context),
            "https": _transport(GuardedResolver(self._guard, lookup, plain_http=False), context),
        }
        for transport in transports.values():
            self._open.push_async_callback(transport.aclose)
        self._open.push_async_callback(self._tokens.close)
        self._transports = transports
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transports, self._dials_with = {}, None
        await self._open.aclose()

    async def probe(self, integration: Integration, origin: str) -> str:
        """Why ``integration`` cannot be reached at ``origin``; see `Prober.probe`."""
        if self._dials_with is None:
            raise RuntimeError("the sender is not open: use it in `async with`")
        tokens = AccessTokens(self._ask)  # apart from those in use, so that one is asked for
        try:
            return await probe_origin(self._guard, *self._dials_with, origin) or await probe_token(
                tokens.token, integration, AttemptSecrets(self._read_secret)
            )
        finally:
            await tokens.close()

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        """Make one attempt.

        The status line alone decides: a receiver that answers 200 and then dawdles or breaks off has accepted.

        Returns:
            ``delivered``, ``retry`` or ``dead``, never an exception for what a receiver or a network does.
        """
        started = time.monotonic()
        secrets = AttemptSecrets(self._read_secret)
        try:
            token = await self._access_token(delivery, integration, secrets)
            now_s = self._clock() // 1000
            outgoing = build_request(delivery, integration, secrets, timestamp_s=now_s, access_token=token)
            self._guard.vet(outgoing.url)
            exchange = await self._exchange(outgoing, delivery.timeout_s - (time.monotonic() - started))
            exchange.location = secrets.scrubbed(exchange.location)
            attempt = _with_answer(await self._judged(delivery, exchange), delivery, exchange, secrets)
            if token is not None and attempt.status == HTTPStatus.UNAUTHORIZED:
                self._tokens.drop(integration.name, token)
        except NoToken as error:
            blocked = isinstance(error, TokenBlocked)
            attempt = Attempt("retry", error=f"no access token: {error}", is_blocked=blocked)
        except SettingsError as error:
            attempt = Attempt("retry", error=str(error), is_ours=True)
        except EgressBlocked as error:
            attempt = Attempt("dead", error=f"blocked: {error}", is_blocked=True)
        except Unrenderable as error:
            attempt = Attempt("dead", error=f"the request cannot be built: {error}")
        except FAILURES as error:
            attempt = failed(error)
        return msgspec.structs.replace(
            attempt,
            error=secrets.scrubbed(attempt.error),
            variables=secrets.scrubbed(attempt.variables),
            traits=secrets.scrubbed(attempt.traits),
            duration_s=time.monotonic() - started,
        )

    async def _access_token(self, delivery: Delivery, integration: Integration, secrets: AttemptSecrets) -> str | None:
        """The token that the integration's requests carry; waiting for it is part of the attempt's time."""
        if not isinstance(integration.auth, OAuth2ClientCredentials):
            return None
        try:
            async with asyncio.timeout(delivery.timeout_s):
                return await self._tokens.token(integration.name, integration.auth, secrets)
        except TimeoutError:
            raise NoToken(f"none within {delivery.timeout_s:g} s") from None

    async def _judged(self, delivery: Delivery, exchange: _Exchange) -> Attempt:
        status = exchange.status
        if status is None:
            return Attempt("retry", error=f"no answer within {delivery.timeout_s:g} s")
        what = meaning(status, delivery.success_statuses)
        if what == "delivered":
            return await _delivered(delivery, exchange)
        return Attempt(
            "dead" if what == "refused" else "retry",
            status=status,
            error=_status_words(status, exchange.location),
            retry_after_s=parse_retry_after(exchange.retry_after, now=self._clock()),
        )

    async def _exchange(self, outgoing: HttpRequest, timeout_s: float) -> _Exchange:
        exchange = _Exchange()
        token = _current.set(exchange)
        try:
            # One wall clock over name lookup, connection, TLS, request, headers and body: timeouts per operation
            # never end with a receiver that sends a byte now and then.
            async with asyncio.timeout(timeout_s):
                try:
                    await self._send_once(outgoing, exchange)
                except FAILURES as error:
                    # The receiver closed an idle connection in the moment we used it: that says nothing about it.
                    if not (exchange.on_reused_connection and exchange.status is None and broke_off(error)):
                        raise
                    await self._send_once(outgoing, exchange)
        except TimeoutError:
            exchange.note = "the answer's body did not end in time"
        finally:
            _current.reset(token)
        return exchange

    async def _send_once(self, outgoing: HttpRequest, exchange: _Exchange) -> None:
        if not self._transports:
            raise RuntimeError("the sender is not open: use it in `async with`")
        request = httpx.Request(
            outgoing.method,
            outgoing.url,
            # As bytes: httpx would refuse text beyond ASCII.
            headers=[(name.encode(), value.encode()) for name, value in outgoing.headers.items()],
            content=outgoing.body,
        )
        # Straight to httpx's transport: a client above it would keep cookies, log the URL, and build the next request
        # of every redirect, which fails on a Location that is no URL, although nobody follows it.
        response = await self._transports[request.url.scheme].handle_async_request(request)
        exchange.status = response.status_code
        exchange.retry_after = response.headers.get("Retry-After")
        exchange.location = response.headers.get("Location")
        exchange.content_type = response.headers.get("Content-Type", "")
        exchange.headers = {name: response.headers[name] for name in _SHOWN_HEADERS if name in response.headers}
        body = bytearray()
        try:
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        break
                else:
                    exchange.is_whole = True
        except FAILURES:
            exchange.note = "the answer's body broke off"
        finally:
            exchange.body = bytes(body[:MAX_RESPONSE_BYTES])
            # What was not read to its end is closed, not put back for another request.
            await response.aclose()


async def _delivered(delivery: Delivery, exchange: _Exchange) -> Attempt:
    if not delivery.capture.reads_answer:
        return Attempt("delivered", status=exchange.status, error=exchange.note)
    read = partial(take, delivery.capture, exchange.body, exchange.content_type, is_whole=exchange.is_whole)
    taken = read() if len(exchange.body) <= _READ_AT_ONCE else await asyncio.to_thread(read)
    note = taken.note or exchange.note
    if exchange.note and not exchange.is_whole:
        note = f"{exchange.note}, so nothing was taken out of it"
    return Attempt("delivered", exchange.status, note, variables=taken.variables, traits=taken.traits)


def _with_answer(attempt: Attempt, delivery: Delivery, exchange: _Exchange, secrets: AttemptSecrets) -> Attempt:
    """``attempt`` with what is kept of the answer for people."""
    if not delivery.logs_response or exchange.status is None:
        return msgspec.structs.replace(attempt, response_bytes=len(exchange.body))
    headers = secrets.scrubbed(exchange.headers)
    return msgspec.structs.replace(
        attempt,
        response_bytes=len(exchange.body),
        response_headers={name: value[:_MOST_OF_HEADER] for name, value in headers.items()},
        response_body=secrets.excerpt(exchange.body, MOST_OF_BODY, is_whole=exchange.is_whole),
    )


def _transport(resolver: GuardedResolver, context: ssl.SSLContext) -> AiohttpTransport:
    connector = _Connector(
        resolver=resolver,
        socket_factory=_open_socket,
        use_dns_cache=False,  # each new connection is vetted anew
        ssl=context,
        limit=0,  # who calls us limits the requests in flight; waiting for a connection would eat the attempt's time
    )
    # There is no public way to say so.
    connector._factory = cast("Any", partial(_Protocol, loop=asyncio.get_running_loop()))
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),
        skip_auto_headers=("Content-Type", "User-Agent", "Accept", "Accept-Encoding"),
        read_bufsize=MAX_RESPONSE_BYTES,
        trace_configs=[_reuse_trace()],
    )
    # aiohttp repeats GET, PUT, DELETE, … by itself when any connection breaks off before the answer: an attempt that
    # nobody counted and no schedule spaced. It has no public switch for it.
    session._retry_connection = False
    return AiohttpTransport(verify=context, trust_env=False, client=session)


class _Protocol(ResponseHandler):
    """Parses a head apart from what came with it, which, being no HTTP, would take the status line with it.

    Servers do that: some count characters for ``Content-Length`` and send more bytes.
    """

    def data_received(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        if 4 <= end < len(data):
            super().data_received(data[:end])
            data = data[end:]
        super().data_received(data)


class _Connector(aiohttp.TCPConnector):
    """Hands out no kept connection on which something came unasked: it would pass for the answer to what is sent next.

    Servers do that: some say 408 before they close a connection that was idle.
    """

    async def connect(self, *args: Any, **given: Any) -> Connection:
        while True:
            connection = await super().connect(*args, **given)
            exchange, protocol = _current.get(), connection.protocol
            is_stale = protocol is not None and protocol.should_close
            if exchange is None or not exchange.on_reused_connection or not is_stale:
                return connection
            exchange.on_reused_connection = False
            connection.close()


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    opened = socket.socket(*address[:3])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return opened


def _reuse_trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def reused(*_: Any) -> None:
        exchange = _current.get()
        if exchange is not None:
            exchange.on_reused_connection = True

    trace.on_connection_reuseconn.append(reused)
    return trace


def _status_words(status: int, location: str | None) -> str:
    try:
        words = f"status {status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = f"status {status}"
    if 300 <= status <= 399:
        return f"{words}: redirects are not followed{_origin(location)}; put the final address into baseUrl"
    if status in (401, 403):
        return f"{words}: look at the integration's auth"
    if status == 410:
        return f"{words}: the receiver says that this is gone for good"
    return words


def _origin(location: str | None) -> str:
    """Where a redirect leads, without path and query, which may echo what we sent."""
    try:
        parts = urlsplit(location or "")
        host = parts.hostname
    except ValueError:
        return ""
    return f" (to {parts.scheme}://{host[:100]})" if host and host.isprintable() else ""

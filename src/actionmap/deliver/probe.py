"""Probes: whether an integration can be reached, without sending it any request.

A probe asks DNS, vets the answer as for every delivery, connects to what was vetted, and shakes hands by TLS; where
an access token is needed, one is asked for. Nothing of the receiver's API is touched.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Protocol

from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

from actionmap.catalog.addresses import Address, normal_host, parse_address
from actionmap.catalog.models.auth import OAuth2ClientCredentials
from actionmap.catalog.models.integration import Integration
from actionmap.deliver.credentials import AttemptSecrets
from actionmap.deliver.egress import BLOCKED, EgressBlocked, EgressGuard, Lookup
from actionmap.deliver.oauth import NoToken, TokenBlocked
from actionmap.errors import SettingsError

PROBE_TIMEOUT_S = 5.0
#: As aiohttp does: the next address is tried beside the one before.
_NEXT_ADDRESS_S = 0.25

#: Gets an access token for an integration; raises NoToken and SettingsError.
GetToken = Callable[[str, OAuth2ClientCredentials, AttemptSecrets], Awaitable[str]]


class Prober(Protocol):
    """Probes integrations."""

    async def probe(self, integration: Integration, origin: str) -> str:
        """Why ``integration`` cannot be reached, in words for people that hold no secret; "" when it can.

        Args:
            integration: The integration.
            origin: Scheme, host and port that its requests go to.
        """


async def probe_origin(guard: EgressGuard, lookup: Lookup, tls: ssl.SSLContext, origin: str) -> str:
    """Why ``origin`` cannot be reached within five seconds, in words for people; "" when it can."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await _connect(guard, lookup, tls, origin)
    except EgressBlocked:
        # Neither what a name resolves to nor whether anything listens is told to who may not reach it.
        return BLOCKED
    except (OSError, ValueError) as error:
        return f"{_shown(origin)}: {_why(error)}"
    return ""


async def probe_token(get_token: GetToken, integration: Integration, secrets: AttemptSecrets) -> str:
    """Why there is no access token for ``integration``, in words for people; "" when it needs none, or has one."""
    if not isinstance(integration.auth, OAuth2ClientCredentials):
        return ""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await get_token(integration.name, integration.auth, secrets)
    except TokenBlocked:
        return f"no access token: {BLOCKED}"
    except (NoToken, SettingsError) as error:
        return secrets.scrubbed(f"no access token: {error}")
    except TimeoutError:
        return f"no access token within {PROBE_TIMEOUT_S:g} s"
    return ""


async def _connect(guard: EgressGuard, lookup: Lookup, tls: ssl.SSLContext, origin: str) -> None:
    guard.vet(origin)
    url = URL(origin)
    host, port = url.host or "", url.port or 443
    literal = parse_address(normal_host(host))
    answers = [str(literal)] if literal is not None else await lookup(host)
    addresses = guard.vet_addresses(host, answers, plain_http=url.scheme == "http")
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    connection = await start_connection(
        [_info(address, port) for address in addresses], happy_eyeballs_delay=_NEXT_ADDRESS_S
    )
    is_tls = url.scheme == "https"
    with connection:
        _, writer = await asyncio.open_connection(
            sock=connection, ssl=tls if is_tls else None, server_hostname=host if is_tls else None
        )
        writer.close()
        with suppress(OSError):  # the handshake is done: how the other side takes leave says nothing
            await writer.wait_closed()


def _info(address: Address, port: int) -> AddrInfoType:
    if isinstance(address, IPv6Address):
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)


def _shown(origin: str) -> str:
    return origin if len(origin) <= 100 else f"{origin[:99]}…"


def _why(error: OSError | ValueError) -> str:
    """What ``error`` means, in words for people."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the TLS certificate is refused: {error.verify_message or 'it is not valid'}"
        case ssl.SSLError():
            return "TLS failed: the other side speaks none that is accepted"
        case TimeoutError():
            return f"no connection within {PROBE_TIMEOUT_S:g} s"
        case socket.gaierror():
            return "the host name does not resolve"
        case ConnectionResetError() | ConnectionAbortedError():
            return "the other side ended the connection, as for TLS it does not speak"
        case OSError():
            return f"no connection: {os.strerror(error.errno) if error.errno else 'refused or unreachable'}"
        case _:
            return "it is no URL that can be dialled"

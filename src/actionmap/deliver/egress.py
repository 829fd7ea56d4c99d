"""The egress guard: what may be dialled. A name is resolved once, every answer is vetted, and only those are dialled.

aiohttp asks its resolver for every new connection, so a name that changes its address is vetted again; it does not ask
for literal addresses, so `EgressGuard.vet` looks at each URL before it is sent.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from actionmap.catalog.addresses import Address, Allowed, Network, examine, normal_host, refusal
from actionmap.errors import ActionmapError

#: Origins that are remembered as harmless.
MOST_VETTED = 4096
#: Scheme, host and port of a URL without anything odd in it; what is odd is looked at each time.
_ORIGIN = re.compile(r"(https?://[A-Za-z0-9_.:\[\]-]+)([/?][!-\[\]-~]*)?", re.ASCII)

#: What every blocked target is answered with: neither what its name resolves to, nor whether anything listens there,
#: nor how long it took to find out is told to who may not reach it.
BLOCKED = "blocked: the egress guard lets nothing out to this address; ACTIONMAP_EGRESS_ALLOW names exceptions"

#: Asks DNS: from a name to its addresses, as text. Raises OSError when the name does not resolve.
Lookup = Callable[[str], Awaitable[Sequence[str]]]


class EgressBlocked(ActionmapError):
    """A request may not be sent to where it points; the message names the rule and what to do."""


class EgressGuard:
    """Decides where requests may go.

    Args:
        hosts: Names and single addresses that are allowed although private, and over http.
        networks: Networks that are allowed likewise.
    """

    def __init__(self, hosts: Collection[str] = (), networks: Sequence[Network] = ()) -> None:
        self._allowed = Allowed.of(hosts, networks)
        #: Origins found harmless: the same few come again and again, and judging one costs a tenth of an attempt.
        self._vetted: set[str] = set()

    def vet(self, url: str) -> None:
        """Refuse ``url`` if its text alone tells that it may not be dialled.

        Raises:
            EgressBlocked: it may not.
        """
        origin = _ORIGIN.fullmatch(url)
        if origin is not None and origin[1] in self._vetted:
            return
        # Judged is what aiohttp will dial: its parser decodes `127%2e0.0.1` and full-width digits.
        try:
            dialled = str(URL(url))
        except ValueError as error:
            raise EgressBlocked(f"it is no URL: {error}") from None
        found = examine(url, self._allowed) or examine(dialled, self._allowed)
        if found is not None:
            raise EgressBlocked(found)
        if origin is not None and len(self._vetted) < MOST_VETTED:
            self._vetted.add(origin[1])

    def vet_addresses(self, host: str, addresses: Sequence[str], *, plain_http: bool) -> list[Address]:
        """The ``addresses`` that ``host`` resolved to, when every one of them may be dialled.

        One bad answer refuses all: a name that has both a public and a private address is not to be trusted.

        Raises:
            EgressBlocked: at least one may not.
        """
        parsed = [ip_address(address) for address in addresses]
        if normal_host(host) in self._allowed.names:
            return parsed
        for address in parsed:
            found = refusal(address, self._allowed, plain_http=plain_http)
            if found is not None:
                raise EgressBlocked(f"{host} resolves to {found}")
        return parsed


class GuardedResolver(AbstractResolver):
    """The resolver of one aiohttp connector: looks a name up once and hands out vetted addresses only.

    Args:
        guard: What may be dialled.
        lookup: Asks DNS.
        plain_http: The connector is used for http, where every address has to be allowed by name or network.
    """

    def __init__(self, guard: EgressGuard, lookup: Lookup, *, plain_http: bool) -> None:
        self._guard = guard
        self._lookup = lookup
        self._plain_http = plain_http

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The vetted addresses of ``host``, in the order of the answer.

        Raises:
            EgressBlocked: one of them may not be dialled.
            OSError: the name does not resolve.
        """
        answers = await self._lookup(host)
        vetted = self._guard.vet_addresses(host, answers, plain_http=self._plain_http)
        if not vetted:
            raise OSError(f"{host} has no address")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in vetted
        ]

    async def close(self) -> None:
        """Nothing to release: the lookup belongs to who made it."""


class SystemLookup:
    """Asks the system's resolver, in threads of its own.

    Lookups of one name that overlap share one question, so a name server that hangs holds one thread per name and
    cannot use up those that other receivers need.
    """

    def __init__(self, threads: int = 64) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="dns")
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of ``host``, as text.

        Raises:
            OSError: it does not resolve.
        """
        answer = self._asked.get(host)
        if answer is None:
            answer = asyncio.get_running_loop().run_in_executor(self._threads, _ask, host)
            self._asked[host] = answer
            answer.add_done_callback(lambda _: self._asked.pop(host, None))
            answer.add_done_callback(_note_failure)
        # One attempt whose time is up must not take the answer away from the others that wait for it.
        return await asyncio.shield(answer)

    def close(self) -> None:
        """Stop asking; a question that hangs is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _note_failure(answer: asyncio.Future[list[str]]) -> None:
    """Mark a failure as seen: everybody who waited for it may have run out of time."""
    if not answer.cancelled():
        answer.exception()


def _ask(host: str) -> list[str]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no host name") from error
    # A scope (`fe80::1%eth0`) stays: such an address is never public.
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))

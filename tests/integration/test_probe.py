"""An integration is probed over real sockets: vetted, connected to, shaken hands with, and sent no request."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from actionmap.catalog.models import Integration
from actionmap.deliver import probe as probing
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import BLOCKED, EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.demo.receiver import Receiver
from actionmap.demo.sandbox import SandboxSender
from actionmap.embedded import free_port
from hostile.certificates import Authority
from token_server import TokenServer

SECRET = "s3cret-of-the-client"
LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


class Listener:
    """Takes connections on loopback, and what is sent on them."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, silent: bool = False) -> None:
        self._tls = tls
        self._silent = silent
        self.connections = 0
        self.received = bytearray()
        self.ended = asyncio.Event()

    async def __aenter__(self) -> "Listener":
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=None if self._silent else self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.received += await reader.read()
        except OSError:
            pass
        finally:
            writer.close()
            self.ended.set()


class Names:
    """Answers every name with the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def __call__(self, host: str) -> Sequence[str]:
        if not self._addresses:
            raise OSError(f"{host} does not resolve")
        return self._addresses


def integration(**given: Any) -> Integration:
    return Integration.model_validate({"name": "crm", "baseUrl": "https://crm.example.com", **given})


@asynccontextmanager
async def prober(
    networks: Any = LOOPBACK, lookup: Names | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpSender]:
    read = environment_secrets({"ACTIONMAP_SECRET_C": SECRET})
    async with HttpSender(EgressGuard((), networks), read, clock=lambda: 0, lookup=lookup, ssl_context=tls) as out:
        yield out


async def test_what_listens_is_reached_and_gets_not_a_byte() -> None:
    async with Listener() as listener, prober() as out:
        assert await out.probe(integration(), f"http://127.0.0.1:{listener.port}") == ""
        await listener.ended.wait()
    assert (listener.connections, bytes(listener.received)) == (1, b"")


async def test_by_tls_the_certificate_is_checked_for_the_name_and_nothing_is_sent_inside(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Listener(authority.server("crm.example.com")) as listener:
        for name, problem in (("crm.example.com", ""), ("else.example.com", "the TLS certificate is refused")):
            listener.ended.clear()
            async with prober(lookup=Names("127.0.0.1"), tls=authority.trusted()) as out:
                found = await out.probe(integration(), f"https://{name}:{listener.port}")
            assert (found == "") == (problem == ""), found
            assert problem in found
    assert bytes(listener.received) == b""


async def test_a_port_without_a_listener_and_one_that_ends_connections_are_told_apart() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    closed = free_port()
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, prober() as out:
        refused = await out.probe(integration(), f"http://127.0.0.1:{closed}")
        ended = await out.probe(integration(), f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert refused == f"http://127.0.0.1:{closed}: no connection: Connection refused"
    assert ended.endswith(("the other side ended the connection, as for TLS it does not speak",
                           "TLS failed: the other side speaks none that is accepted"))  # fmt: skip


async def test_a_name_that_does_not_resolve_is_told() -> None:
    async with prober(lookup=Names()) as out:
        found = await out.probe(integration(), "https://gone.example.com")
    assert found.startswith("https://gone.example.com: no connection")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["203.0.114.1", "127.0.0.1"], ["10.0.0.1"]])
async def test_what_may_not_be_reached_is_not_connected_to_and_nothing_of_it_is_told(addresses: list[str]) -> None:
    async with Listener() as listener, prober(networks=(), lookup=Names(*addresses)) as out:
        for origin in (f"https://innocent.example.com:{listener.port}", f"http://127.0.0.1:{listener.port}",
                       f"https://127.0.0.1:{listener.port}", f"https://[::1]:{listener.port}"):  # fmt: skip
            assert await out.probe(integration(), origin) == BLOCKED
    assert listener.connections == 0


async def test_a_name_that_is_refused_by_its_text_is_not_asked_for() -> None:
    async with Listener() as listener, prober(lookup=Names("127.0.0.1")) as out:
        assert await out.probe(integration(), f"http://crm.example.com:{listener.port}") == ""
        assert await out.probe(integration(), f"http://metadata.example.com:{listener.port}") == BLOCKED
    assert listener.connections == 1


async def test_the_next_address_is_tried_when_one_is_dead() -> None:
    async with Listener() as listener, prober(lookup=Names("127.0.0.9", "127.0.0.1")) as out:
        assert await out.probe(integration(), f"http://crm.example.com:{listener.port}") == ""


async def test_who_takes_the_connection_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_TIMEOUT_S", 0.2)
    async with Listener(silent=True) as listener, prober() as out:
        found = await out.probe(integration(), f"https://127.0.0.1:{listener.port}")
    assert found.endswith("no connection within 0.2 s")


def needs_token(url: str, secret: str = "${ACTIONMAP_SECRET_C}") -> dict[str, Any]:
    return {"type": "oauth2ClientCredentials", "tokenUrl": url, "clientId": "me", "clientSecret": secret}


async def test_an_access_token_is_asked_for_anew_each_time_and_a_refusal_told_without_the_secret() -> None:
    from aiohttp import web

    async with Listener() as listener, TokenServer() as tokens, prober() as out:
        origin, known = f"http://127.0.0.1:{listener.port}", integration(auth=needs_token(tokens.url))
        assert [await out.probe(known, origin) for _ in range(2)] == ["", ""]
        assert len(tokens.requests) == 2
        tokens.answer = lambda _: web.json_response({"error": "invalid_client", "echo": SECRET}, status=401)
        found = await out.probe(known, origin)
        unset = await out.probe(integration(auth=needs_token(tokens.url, "${ACTIONMAP_SECRET_D}")), origin)
        inward = await out.probe(integration(auth=needs_token("https://10.0.0.1/token")), origin)
    assert "no access token: the token endpoint answers status 401 (invalid_client)" in found
    assert SECRET not in found
    assert "the secret ACTIONMAP_SECRET_D is not set" in unset
    assert inward == f"no access token: {BLOCKED}"


async def test_samples_are_probed_at_the_receiver_they_are_sent_to() -> None:
    async with Receiver() as receiver, prober() as near, prober(networks=()) as far:
        sandbox = SandboxSender(receiver, {}, near, far)
        assert await sandbox.probe(integration(), "https://crm.example.com") == ""
        other = integration(baseUrl="https://127.0.0.1:1")
        assert await sandbox.probe(other, "https://127.0.0.1:1") == BLOCKED
    assert receiver.requests == []
